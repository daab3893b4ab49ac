"""Settings: every choice of the server, read once from LUNGXAI_* and the command line, then frozen.

The variable of a field is LUNGXAI_ and its name in capitals: LUNGXAI_PORT, LUNGXAI_DATA_DIR, LUNGXAI_MAX_UPLOAD_BYTES.
A flag of the command line goes before a variable, a variable before the default.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from shared_models.contract.client import is_loopback
from shared_models.contract.codec import MAX_DECODED_BYTES
from shared_models.contract.errors import InvalidInput
from shared_models.model_bundle import MODELS_ROOT, SLIDE_MODEL, added_root

DEVICES = ("auto", "cuda", "mps", "cpu")
_PREFIX = "LUNGXAI_"
# Not read from the environment: the models are code, and code is not chosen by a variable.
_INTERNAL = frozenset({"backend"})


def _default_data_dir() -> Path:
    base = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    return Path(base).expanduser() / "lungxai"


@dataclass(frozen=True)
class Settings:
    """Choices of one server.

    Parameters
    ----------
    host, port : where to listen; port 0 takes a free one
    allow_remote : consent to listen on an address that is not loopback
    allowed_hosts : further Host headers to answer to, "name" or "name:port"
    data_dir : cases, files and the token; made with rights for its owner alone
    models : folder of model bundles
    added_models : folder of the bundles that the user added; looked through after ``models``, and for slides alone
    slide_model : name of the model that slides are given to
    device : one of DEVICES; "auto" takes the best there is and says which
    threads : of the models; 0 is one less than the machine's cores, and at least one
    worker_nice : added to the worker's niceness, so that HTTP is answered while a model computes
    max_upload_bytes, max_decoded_bytes : of one frame, as sent and as unpacked
    max_axis, max_tile_px : longest axis of a CT, longest side of a tile
    max_case_bytes, max_total_bytes : kept on disk for one case, and for all
    max_cases, max_queued_jobs, max_points : counts; points and boxes of one job
    max_uploads : at once; the next waits ``upload_wait_s`` and is then told that the server is busy
    chunk_timeout_s, min_upload_bytes_per_s : a client slower than this is let go
    disk_reserve_bytes : never filled by uploads, so that results and the record always find room
    tile_batch : tiles in one model call, over all jobs
    cancel_grace_s : a worker that does not stop a cancelled job in this time is ended and started again
    max_crashes : worker deaths in a row after which the server gives up
    backend : "module:function" that loads the models; for tests, given in code only
    """

    host: str = "127.0.0.1"
    port: int = 8765
    allow_remote: bool = False
    allowed_hosts: tuple[str, ...] = ()
    data_dir: Path = field(default_factory=_default_data_dir)
    models: Path = MODELS_ROOT
    added_models: Path = field(default_factory=added_root)
    slide_model: str = SLIDE_MODEL
    device: str = "auto"
    threads: int = 0
    worker_nice: int = 5
    max_upload_bytes: int = 1 << 30
    max_decoded_bytes: int = MAX_DECODED_BYTES
    max_axis: int = 4096
    max_tile_px: int = 1024
    max_case_bytes: int = 16 << 30
    max_total_bytes: int = 128 << 30
    max_cases: int = 10_000
    max_queued_jobs: int = 256
    max_points: int = 64
    max_uploads: int = 8
    upload_wait_s: float = 10.0
    chunk_timeout_s: float = 15.0
    min_upload_bytes_per_s: int = 16 << 10
    disk_reserve_bytes: int = 64 << 20
    tile_batch: int = 32
    cancel_grace_s: float = 1.5
    max_crashes: int = 5
    backend: str = "inference_server.models:load"

    def __post_init__(self) -> None:
        if self.device not in DEVICES:
            raise InvalidInput(f"There is no device {self.device!r}.", f"Use one of {', '.join(DEVICES)}.")
        if not 0 <= self.port <= 65535:
            raise InvalidInput(f"Port {self.port} does not exist.", "Use a port from 1024 to 65535.")
        if not is_loopback(self.host) and not self.allow_remote:
            raise InvalidInput(
                f"{self.host} can be reached from other machines, and patients' data would be too.",
                "Listen on 127.0.0.1, or add --allow-remote if that is meant.",
            )
        for name in _numbers(self):
            value = getattr(self, name)
            if value < 0 or (value == 0 and name not in ("port", "threads", "worker_nice", "disk_reserve_bytes")):
                raise InvalidInput(f"{name} must be larger than 0, not {value}.", "Correct or remove it.")

    @property
    def model_threads(self) -> int:
        """Threads of the models: all cores but one stay busy, the last one answers."""
        return self.threads or max(1, (os.cpu_count() or 2) - 1)

    @classmethod
    def read(cls, environment: Mapping[str, str], **flags: Any) -> Settings:
        """Settings from ``environment`` and from ``flags``; a flag that is None was not given.

        Raises
        ------
        InvalidInput : a value that is not of its field's type, or out of range.
        """
        chosen: dict[str, Any] = {}
        for item in dataclasses.fields(cls):
            text = environment.get(_PREFIX + item.name.upper())
            if text is not None and item.name not in _INTERNAL:
                chosen[item.name] = _parsed(item.name, str(item.type), text)
        chosen.update({name: value for name, value in flags.items() if value is not None})
        return cls(**chosen)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON, for a server in another process."""
        return {k: str(v) if isinstance(v, Path) else v for k, v in vars(self).items()}

    @classmethod
    def from_json(cls, body: dict[str, Any]) -> Settings:
        paths = {name: Path(body[name]) for name in ("data_dir", "models", "added_models")}
        return cls(**{**body, **paths, "allowed_hosts": tuple(body["allowed_hosts"])})


def _numbers(settings: Settings) -> list[str]:
    return [k for k, v in vars(settings).items() if isinstance(v, (int, float)) and not isinstance(v, bool)]


def _parsed(name: str, kind: str, text: str) -> Any:
    try:
        if kind == "bool":
            return {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}[text.lower()]
        if kind.startswith("tuple"):
            return tuple(part.strip() for part in text.split(",") if part.strip())
        if kind == "Path":
            return Path(text).expanduser()
        return {"int": int, "float": float, "str": str}[kind](text)
    except (ValueError, KeyError) as fault:
        raise InvalidInput(f"{_PREFIX}{name.upper()} is not a valid {kind}.", "Correct or remove it.") from fault

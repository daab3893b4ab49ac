"""A server for tests and the self-test: it speaks the contract and knows nothing of lungs. No model, no torch.

PracticeServer   on a free loopback port, in this process, for as long as a ``with`` block lasts

It marks voxels above -500 HU inside a sphere around the point, or around the middle of the CT, and says that they are
a nodule. What it says is made up: never use it on patients. ``behaviour`` lets tests make it slow, old, or faulty.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Optional, Union

import numpy as np

from shared_models.contract import routes
from shared_models.contract.codec import PROTOCOL_VERSION, decode, encode
from shared_models.contract.errors import InvalidInput, LungXAIError, ModelUnavailable, RequestError
from shared_models.contract.heatmap_words import FIGURES, SANITY
from shared_models.contract.jobs import JobProgress
from shared_models.contract.jsonforms import from_json, to_json
from shared_models.contract.notice import NOTICE
from shared_models.contract.provenance import Provenance
from shared_models.contract.results import (
    CT_TARGETS,
    METHODS,
    FusionResult,
    Heatmap,
    LabelVolume,
    Nodule,
    RadiologyResult,
)
from shared_models.contract.values import CLASSES, ClinicalFields, CTVolume

TOKEN = "practice-token-without-any-value"
_COVERAGE = ("adenocarcinoma", "squamous_cell", "normal")
_PROVENANCE = Provenance("practice, no model", "0" * 64, "practice", False, "cpu", _COVERAGE)
_SUBTYPE = {**dict.fromkeys(CLASSES), "adenocarcinoma": 0.6, "squamous_cell": 0.3, "normal": 0.1}
_RADIUS_MM = 15.0


@dataclass
class Behaviour:
    """How the server behaves.

    Parameters
    ----------
    protocol : that it says it speaks
    job_s : seconds that a job takes
    answer_s : seconds before each answer
    read_s : seconds between two pieces of an upload
    ready : whether its models are loaded
    modalities : that it has a model for
    fail : message of the error with which its jobs end; empty for none
    lungxai : whether it says that it is a LungXAI server at all
    signed : whether its heatmaps have what speaks against: the shell around each nodule, half as strong
    measured : words of how faithful its heatmaps are; empty for none
    sanity : how they passed the sanity check, of heatmap_words; empty where it was not made
    """

    protocol: int = PROTOCOL_VERSION
    job_s: float = 0.0
    answer_s: float = 0.0
    read_s: float = 0.0
    ready: bool = True
    modalities: tuple[str, ...] = ("radiology", "pathology")
    fail: str = ""
    lungxai: bool = True
    signed: bool = False
    measured: str = ""
    sanity: str = ""


@dataclass
class _Job:
    job_id: str
    case_id: str
    body: Mapping[str, Any]
    begun: float
    cancelled: bool = False
    done: bool = False


@dataclass
class _Case:
    case_id: str
    synthetic: bool
    volume: str = ""
    correction: Optional[LabelVolume] = None
    clinical: Optional[ClinicalFields] = None
    result: Optional[RadiologyResult] = None
    mask: Optional[LabelVolume] = None
    heatmaps: dict[str, Heatmap] = field(default_factory=dict)


class PracticeServer:
    """The server.

    Attributes
    ----------
    url, token : once it runs
    cases, jobs, volumes : what it holds
    received : bytes of upload bodies that it has read
    deleted : ids of jobs that were asked to stop
    """

    def __init__(self, behaviour: Optional[Behaviour] = None) -> None:
        self.behaviour = behaviour or Behaviour()
        self.url, self.token = "", TOKEN
        self.cases: dict[str, _Case] = {}
        self.jobs: dict[str, _Job] = {}
        self.volumes: dict[str, CTVolume] = {}
        self.deleted: list[str] = []
        self.received = 0
        self.lock = threading.RLock()
        self._server: Optional[ThreadingHTTPServer] = None
        self._thread: Optional[threading.Thread] = None

    def __enter__(self) -> PracticeServer:
        practice = self

        class Handler(_Handler):
            server_of = practice

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        self._server = server
        self.url = f"http://127.0.0.1:{server.server_address[1]}"
        self._thread = threading.Thread(target=server.serve_forever, args=(0.05,), name="practice", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        assert self._server is not None and self._thread is not None
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    # What a request asks for; (status, body)

    def answer(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        """The answer to one request whose body was read."""
        with self.lock:
            if path == routes.INFO:
                return 200, self._info()
            if path == routes.READYZ:
                if not self.behaviour.ready:
                    raise ModelUnavailable("The models are being loaded.", "Try again in a few seconds.")
                return 200, {"ready": True, "device": "cpu"}
            found = re.fullmatch(routes.VOLUMES + r"/([0-9a-f]{64})", path)
            if found:
                return self._volume(method, found[1], body)
            found = re.fullmatch(routes.JOBS + r"/([\w-]+)", path)
            if found and found[1] in self.jobs:
                if method == "DELETE":
                    self.deleted.append(found[1])
                    self.jobs[found[1]].cancelled = True
                return 200, self.progress(found[1]).to_json()
            if path == routes.CASES:
                return self._cases(method, body)
            found = re.fullmatch(routes.CASES + r"/([\w-]+)(?:/(.+))?", path)
            if found and found[1] in self.cases:
                return self._part(method, self.cases[found[1]], found[2] or "", body)
        raise _missing()

    def _info(self) -> dict[str, Any]:
        models = [
            {
                "model_id": f"practice {m}",
                "modality": m,
                "coverage": list(_COVERAGE),
                "weights_sha256": "0" * 64,
                "methods": list(METHODS),
            }
            for m in self.behaviour.modalities
        ]
        absent = {m for m in ("radiology", "pathology") if m not in self.behaviour.modalities}
        fault = ModelUnavailable("Its model is not installed.", "Install it again.")
        return {
            "protocol": self.behaviour.protocol,
            "version": "practice",
            "notice": NOTICE,
            "ready": self.behaviour.ready,
            "device": "cpu",
            "models": models if self.behaviour.ready else [],
            "problems": {m: fault.body() for m in sorted(absent)},
            "compressions": ["zlib"],
            "methods": list(METHODS),
        }

    def _volume(self, method: str, sha256: str, body: Any) -> tuple[int, Any]:
        if method == "PUT":
            if hashlib.sha256(body).hexdigest() != sha256:
                raise InvalidInput("The CT arrived damaged.", "Send it again.")
            self.volumes[sha256] = decode(body)  # type: ignore[assignment]
            return 201, {"bytes": len(body)}
        return (200 if sha256 in self.volumes else 404), {}

    def _cases(self, method: str, body: Any) -> tuple[int, Any]:
        if method == "POST":
            case_id = body.get("case_id") or f"case-{len(self.cases) + 1}"
            self.cases[case_id] = _Case(case_id, bool(body.get("synthetic")))
            return 201, {"case_id": case_id}
        return 200, {"cases": [self._case(case) for case in self.cases.values()]}

    def _case(self, case: _Case) -> dict[str, Any]:
        return {
            "case_id": case.case_id,
            "synthetic": case.synthetic,
            "radiology": case.result is not None,
            "pathology": False,
            "clinical": case.clinical is not None,
            "volume": case.volume or None,
            "slides": [],
            "heatmaps": {"radiology": sorted(case.heatmaps), "pathology": []},
        }

    def _part(self, method: str, case: _Case, part: str, body: Any) -> tuple[int, Any]:
        if not part:
            return 200, self._case(case)
        if part == "clinical":
            if method == "PUT":
                case.clinical = from_json(ClinicalFields, body)
            return 200, to_json(_there(case.clinical))
        if part == "radiology/mask" and method == "PUT":
            case.correction = decode(body)  # type: ignore[assignment]
            return 201, {"bytes": len(body)}
        if part == "radiology/mask":
            return 200, encode(_there(case.mask))
        if part == "radiology" and method == "POST":
            if body.get("target", CT_TARGETS[0]) not in CT_TARGETS:
                raise InvalidInput("There is no such target.", f"Ask for one of {', '.join(CT_TARGETS)}.")
            job_id = f"job-{len(self.jobs) + 1}"
            self.jobs[job_id] = _Job(job_id, case.case_id, body, time.monotonic())
            return 202, {"job_id": job_id}
        if part == "radiology":
            return 200, to_json(_there(case.result))
        if part.startswith("radiology/heatmaps/"):
            return 200, encode(_there(case.heatmaps.get(part.rsplit("/", 1)[1])))
        if part == "fusion":
            return 200, to_json(_fused(case))
        if part == "report":
            return 200, f"<!doctype html><title>{case.case_id}</title><p>Practice report. {NOTICE}</p>"
        raise _missing()

    # Jobs

    def progress(self, job_id: str) -> JobProgress:
        """Where a job stands."""
        with self.lock:
            job = self.jobs[job_id]
            share = 1.0 if self.behaviour.job_s <= 0 else (time.monotonic() - job.begun) / self.behaviour.job_s
            state, error = "running", None
            if job.cancelled and not job.done:
                state = "cancelled"
            elif share >= 1.0:
                state = "done"
                if self.behaviour.fail:
                    state, error = "failed", ModelUnavailable(self.behaviour.fail, "Try another server.")
                elif not job.done:
                    self._work(job)
            return JobProgress(job_id, job.case_id, "radiology", state, "pretending", min(share, 1.0), 0, error)

    def _work(self, job: _Job) -> None:
        kind, case, volume = self.behaviour, self.cases[job.case_id], self.volumes[job.body["volume"]]
        case.volume = job.body["volume"]
        corrected = bool(job.body.get("corrected"))
        labels = _there(case.correction).labels if corrected else _marked(volume, job.body)
        case.mask = LabelVolume(labels, volume.ijk_to_lps, volume.series_uid)
        found_by = "hand" if corrected else "point" if job.body.get("points_lps_mm") else "search"
        nodules = [_nodule(volume, labels, int(label), found_by) for label in np.unique(labels[labels > 0])]
        malignancy = 0.7 if nodules else None
        probabilities = _SUBTYPE if nodules else dict.fromkeys(CLASSES)
        case.result = RadiologyResult(
            volume.series_uid, tuple(nodules), malignancy, probabilities, (_PROVENANCE,), ("Made up, no model.",)
        )
        said = {"practice": True, **{k: v for k, v in ((FIGURES, kind.measured), (SANITY, kind.sanity)) if v}}
        speaks = (labels > 0) - np.float32(0.5 if kind.signed else 0.0) * _shell(labels)
        case.heatmaps = {
            method: Heatmap(
                speaks * np.float32(1 + place), volume.ijk_to_lps, volume.series_uid, "radiology", method,
                job.body.get("target", "malignancy"), _PROVENANCE, said,
            )
            for place, method in enumerate(job.body.get("explain", ()))
        }  # fmt: skip
        job.done = True


def _missing() -> RequestError:
    fault = RequestError("There is nothing at this address.", "Check the address and the client's version.")
    fault.status = 404
    return fault


def _there(value: Any) -> Any:
    if value is None:
        raise _missing()
    return value


def _marked(volume: CTVolume, body: Mapping[str, Any]) -> Any:
    """uint8 labels: one sphere at each point or box, or in the middle."""
    slices, rows, columns = volume.voxels.shape
    middle = volume.ijk_to_lps @ [columns / 2, rows / 2, slices / 2, 1.0]
    boxes = [np.mean(box, axis=0) for box in body.get("boxes_lps_mm", ())]
    points = [np.array(point) for point in body.get("points_lps_mm", ())] + boxes or [middle[:3]]
    index = np.stack(np.meshgrid(np.arange(slices), np.arange(rows), np.arange(columns), indexing="ij"), -1)
    lps = index[..., ::-1] @ volume.ijk_to_lps[:3, :3].T + volume.ijk_to_lps[:3, 3]
    labels = np.zeros(volume.voxels.shape, np.uint8)
    for label, point in enumerate(points, 1):
        near = ((lps - point) ** 2).sum(axis=-1) < _RADIUS_MM**2
        labels[near & (volume.voxels > -500) & (labels == 0)] = label
    return labels


def _shell(labels: Any) -> Any:
    """bool (slices, rows, columns): the voxels around the nodules, two deep in each direction."""
    inside = labels > 0
    grown = inside.copy()
    for axis in range(3):
        before = grown.copy()
        for step in (-2, -1, 1, 2):
            grown |= np.roll(before, step, axis)
    return grown & ~inside


def _nodule(volume: CTVolume, labels: Any, label: int, found_by: str) -> Nodule:
    own = np.argwhere(labels == label)
    centre = volume.ijk_to_lps @ [*own.mean(axis=0)[::-1], 1.0]
    size = (np.ptp(own, axis=0) + 1)[::-1] * volume.spacing_mm
    return Nodule(
        label=label,
        centre_lps_mm=(float(centre[0]), float(centre[1]), float(centre[2])),
        long_axis_mm=float(max(size[:2])),
        short_axis_mm=float(min(size[:2])),
        volume_mm3=float(len(own) * np.prod(volume.spacing_mm)),
        mean_hu=float(volume.voxels[labels == label].mean()),
        malignancy=0.7,
        subtype=_SUBTYPE,
        found_by=found_by,
    )


def _fused(case: _Case) -> FusionResult:
    took_part = {"radiology": 1.0, **({} if case.clinical is None else {"clinical": 0.5})}
    contributions = {m: {c: 0.0 for c in CLASSES} for m in took_part}
    contributions["radiology"]["adenocarcinoma"] = 0.8
    probabilities = {**dict.fromkeys(CLASSES), "adenocarcinoma": 0.5, "squamous_cell": 0.2, "normal": 0.1}
    return FusionResult(
        probabilities, 0.2, {c: 0.2 for c in CLASSES}, took_part, contributions,
        tuple(m for m in ("radiology", "pathology", "clinical") if m not in took_part), "Made up, no model.",
        (_PROVENANCE,),
    )  # fmt: skip


class _Handler(BaseHTTPRequestHandler):
    """One request: the checks of a real server, then PracticeServer.answer()."""

    protocol_version = "HTTP/1.1"
    server_of: PracticeServer

    def log_message(self, format: str, *args: Any) -> None:
        return None

    def _serve(self) -> None:
        practice = self.server_of
        path = self.path.partition("?")[0]
        try:
            body = self._body()
            time.sleep(practice.behaviour.answer_s)
            if not practice.behaviour.lungxai:
                self._send(404, b"<html>not here</html>", "text/html")
                return
            if path == routes.HEALTHZ:
                self._json(200, {"status": "ok"})
                return
            self._check()
            found = re.fullmatch(routes.JOBS + r"/([\w-]+)/events", path)
            if found and found[1] in practice.jobs:
                self._events(found[1])
                return
            if path.endswith("/report") and "format=pdf" in self.path:
                raise ModelUnavailable("The practice server lays out no pages.", "Open the report instead.")
            status, answer = practice.answer(self.command, path, self._parsed(body))
            if isinstance(answer, bytes):
                self._send(status, answer, routes.FRAME_TYPE)
            elif isinstance(answer, str):
                self._send(status, answer.encode(), "text/html; charset=utf-8")
            else:
                self._json(status, answer)
        except LungXAIError as fault:
            self._json(fault.status, fault.body())
        except OSError:
            self.close_connection = True  # the client has left

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _serve  # noqa: N815

    def _body(self) -> bytes:
        left, parts = int(self.headers.get("Content-Length", 0)), bytearray()
        while left:
            piece = self.rfile.read(min(left, 1 << 16))
            if not piece:
                raise ConnectionError("the client left in the middle")
            left -= len(piece)
            parts += piece
            self.server_of.received += len(piece)
            time.sleep(self.server_of.behaviour.read_s)
        return bytes(parts)

    def _parsed(self, body: bytes) -> Union[bytes, Any]:
        if self.headers.get("Content-Type") == routes.FRAME_TYPE:
            return body
        return json.loads(body) if body else {}

    def _check(self) -> None:
        if self.headers.get("Authorization") != f"Bearer {self.server_of.token}":
            fault = RequestError("The server's token is missing or wrong.", "Copy it from the file named at start.")
            fault.status = 401
            raise fault

    def _events(self, job_id: str) -> None:
        self.send_response(200)
        self.send_header(routes.PROTOCOL_HEADER, str(self.server_of.behaviour.protocol))
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        while True:
            progress = self.server_of.progress(job_id)
            self.wfile.write(f"data: {json.dumps(progress.to_json())}\n\n".encode())
            self.wfile.flush()
            if progress.ended:
                return
            time.sleep(0.05)

    def _json(self, status: int, body: Any) -> None:
        self._send(status, json.dumps(body).encode(), "application/json")

    def _send(self, status: int, body: bytes, kind: str) -> None:
        self.send_response(status)
        if self.server_of.behaviour.lungxai:
            self.send_header(routes.PROTOCOL_HEADER, str(self.server_of.behaviour.protocol))
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

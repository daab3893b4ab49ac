"""A TorchScript file of somebody else: looked at before it is loaded, then loaded, then tried.

checked_archive()   what can be seen without running anything: it is a TorchScript archive, whole, of a size that fits
loaded()            the module on a device; loading it runs code of the file
tried()             what it does with tiles, in a process of its own that is ended where it takes too long
main()              that process

A TorchScript file is a program. It is asked of the user to trust it; what is refused here (files that it would read or
write by name) is a net for accidents, not a sandbox.
"""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from .contract.errors import InputTooLarge, InvalidInput, LungXAIError, ModelUnavailable, from_body
from .contract.values import Array
from .wsinfer_config import WSInferConfig, parsed

MAX_BYTES = 4 << 30
_TRIAL_S = 300.0
_REMEDY = "Export the model with torch.jit.script or torch.jit.trace, in evaluation, and save it with torch.jit.save."
_TOUCHES_FILES = (b"torch.save(", b"torch.from_file(")
_MOST_CODE_BYTES = 64 << 20
_SAME = 1e-3  # between answers to one tile: alone, among others, and once more


def checked_archive(path: Path) -> None:
    """Look at a file without running it.

    Raises
    ------
    InvalidInput : it is no whole TorchScript archive, or its code names files.
    InputTooLarge : it is larger than the limit, packed or unpacked.
    """
    try:
        if not path.is_file():
            raise InvalidInput(f"There is no model file {path.name}.", "Name the TorchScript file, or its folder.")
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise InputTooLarge(f"{path.name} has {size / 1e9:.1f} GB; the limit is {MAX_BYTES / 1e9:.1f}.", _REMEDY)
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            if sum(entry.file_size for entry in entries) > MAX_BYTES:
                raise InputTooLarge(f"{path.name} unpacks to more than {MAX_BYTES / 1e9:.1f} GB.", _REMEDY)
            inner = {entry.filename.partition("/")[2] for entry in entries}
            code = [e for e in entries if e.filename.partition("/")[2].startswith("code/")]
            if not code or not {"data.pkl", "constants.pkl", "version"} <= inner:
                raise InvalidInput(f"{path.name} holds weights or a pickle, but no TorchScript.", _REMEDY)
            if sum(entry.file_size for entry in code) > _MOST_CODE_BYTES:
                raise InputTooLarge(f"{path.name} holds more code than any model.", _REMEDY)
            if archive.testzip() is not None:  # torch itself does not look at the checksums
                raise InvalidInput(f"{path.name} is damaged: its checksums do not fit.", "Download or copy it again.")
            for entry in code:
                if entry.filename.endswith(".py") and any(call in archive.read(entry) for call in _TOUCHES_FILES):
                    raise InvalidInput(
                        f"{path.name} reads or writes files when it runs, which no model of tiles has to.",
                        "Do not use it unless you know why; ask its author.",
                    )
    except (OSError, zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, ValueError, EOFError) as fault:
        if isinstance(fault, LungXAIError):
            raise
        raise InvalidInput(f"{path.name} is not a TorchScript file, or it is cut off.", _REMEDY) from fault


def loaded(path: Path, device: str) -> Any:
    """The module, in evaluation, on ``device``; runs code of the file.

    Raises
    ------
    ModelUnavailable : torch cannot load it.
    """
    import torch

    try:
        return torch.jit.load(str(path), map_location=device).eval()
    except Exception as fault:  # torch raises RuntimeError, and whatever the file's own code does
        raise ModelUnavailable(f"{path.name} cannot be loaded: {_first_line(fault)}", _REMEDY) from fault


def outputs(module: Any, inputs: Any, classes: int) -> Any:
    """What the module says of ``inputs``, a float tensor (n, classes), checked.

    Raises
    ------
    ModelUnavailable : it fails, or its output is none of ``classes`` finite numbers a tile.
    """
    import torch

    try:
        found = module(inputs)
    except Exception as fault:
        raise ModelUnavailable(f"The model cannot read these tiles: {_first_line(fault)}", _REMEDY) from fault
    if not isinstance(found, torch.Tensor):
        raise ModelUnavailable(f"The model answers with a {type(found).__name__}, not with a tensor.", _REMEDY)
    if tuple(found.shape) != (len(inputs), classes):
        raise ModelUnavailable(
            f"The model answers with the shape {tuple(found.shape)} for {len(inputs)} tiles of {classes} classes.",
            "Check num_classes and class_names of its configuration.",
        )
    found = found.float()
    if not bool(torch.isfinite(found).all()):
        raise ModelUnavailable("The model answers with values that are not numbers (NaN or infinite).", _REMEDY)
    return found


def _first_line(fault: Exception) -> str:
    # TorchScript's own errors are a trace of the model's code; its last line says what was wrong.
    lines = [line.strip() for line in str(fault).splitlines() if line.strip()]
    return (lines[-1] if lines else type(fault).__name__)[:200].rstrip(".") + "."


def tried(path: Path, body: dict[str, Any]) -> dict[str, Any]:
    """Run a model on a white tile and on noise, in a process of its own.

    Parameters
    ----------
    path : of a file that checked_archive() let through
    body : the JSON object of its configuration

    Returns
    -------
    methods : heatmap methods that work with it
    probabilities_already : whether its outputs look like probabilities before softmax

    Raises
    ------
    ModelUnavailable : it cannot be loaded or run, or its answers are of no use; the message says why.
    """
    asked = json.dumps({"path": str(path), "config": body})
    try:
        ended = subprocess.run(
            [sys.executable, "-m", "shared_models.wsinfer_script"], input=asked, capture_output=True, text=True,
            timeout=_TRIAL_S, cwd=Path(__file__).parents[1],
        )  # fmt: skip
    except subprocess.TimeoutExpired as fault:
        raise ModelUnavailable(f"The model took more than {_TRIAL_S:.0f} s for a few tiles.", _REMEDY) from fault
    try:
        said: dict[str, Any] = json.loads(ended.stdout.strip().splitlines()[-1])  # the model may print, too
    except (ValueError, IndexError) as fault:
        why = ended.stderr.strip().splitlines()[-1:] or [f"exit code {ended.returncode}"]
        raise ModelUnavailable(f"The model ended the process that tried it ({why[0][:200]}).", _REMEDY) from fault
    if "error" in said:
        raise from_body(said["error"])
    return said


def _trial(path: Path, config: WSInferConfig) -> dict[str, Any]:
    """tried(), inside its process."""
    import torch

    module, classes, side = loaded(path, "cpu"), len(config.class_names), config.patch_px
    noise = np.random.default_rng(0).integers(0, 256, (2, side, side, 3), dtype=np.uint8)
    tiles = np.concatenate([np.full((1, side, side, 3), 255, np.uint8), noise])
    inputs = torch.from_numpy(config.preparation(tiles))
    with torch.inference_mode():
        together = outputs(module, inputs, classes)
        alone = torch.cat([outputs(module, inputs[n : n + 1], classes) for n in range(len(inputs))])
        again = outputs(module, inputs, classes)
    if max(float((together - other).abs().max()) for other in (alone, again)) > _SAME * (1 + float(alone.abs().max())):
        raise ModelUnavailable(
            "The model's answer to a tile changes from call to call, or with the tiles beside it.",
            "It was exported in training: call eval() before torch.jit.script or torch.jit.trace.",
        )
    sums = together.sum(dim=1)
    like = classes > 1 and bool((together >= 0).all()) and bool((sums - 1).abs().max() < 1e-3)
    if not config.apply_softmax:
        probabilities_of(together.numpy(), False)
    return {"methods": ["saliency"] if _differentiable(module, inputs, classes) else [], "probabilities_already": like}


def _differentiable(module: Any, inputs: Any, classes: int) -> bool:
    """Whether gradients reach the pixels; a model that was exported without them cannot be explained by them."""
    import torch

    given = inputs.clone().requires_grad_(True)
    try:
        outputs(module, given, classes).sum().backward()
    except (RuntimeError, LungXAIError):
        return False
    return given.grad is not None and bool(torch.isfinite(given.grad).all()) and bool((given.grad != 0).any())


def probabilities_of(found: Array, apply_softmax: bool) -> Array:
    """float64 (n, k) of a model's outputs (n, k): softmax, or the logistic function where there is one class.

    Raises
    ------
    ModelUnavailable : ``apply_softmax`` is False, and they are no probabilities.
    """
    found = found.astype(np.float64)
    if apply_softmax:
        if found.shape[1] == 1:
            return np.asarray(0.5 * (1 + np.tanh(found / 2)))
        raised = np.exp(found - found.max(axis=1, keepdims=True))
        return np.asarray(raised / raised.sum(axis=1, keepdims=True))
    total = found.sum(axis=1)
    if not ((found >= -1e-4) & (found <= 1 + 1e-4)).all() or (found.shape[1] > 1 and np.abs(total - 1).max() > 1e-3):
        raise ModelUnavailable(
            "The model's outputs are no probabilities, and its configuration says that they are (apply_softmax).",
            "Correct apply_softmax in the configuration.",
        )
    return np.clip(found, 0.0, 1.0)


def main() -> None:
    """The process of tried(): JSON on standard input and on the last line of standard output."""
    asked = json.loads(sys.stdin.read())
    try:
        said = _trial(Path(asked["path"]), parsed(asked["config"]))
    except LungXAIError as fault:
        said = {"error": fault.body()}
    print("\n" + json.dumps(said), flush=True)


if __name__ == "__main__":
    main()

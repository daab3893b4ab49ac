"""Doctor: what this machine has, what it lacks, and what to do about it."""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import shutil
import socket
import sqlite3
import stat
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path

from shared_models.contract.errors import LungXAIError
from shared_models.model_bundle import Bundle, slide_folder

from .settings import Settings

_GIB = 1 << 30
_FREE_BYTES = 5 * _GIB


@dataclass(frozen=True)
class Finding:
    """One line: what was looked at, whether it is well, what was found, and what to do.

    Parameters
    ----------
    needed : the server cannot work without it
    """

    name: str
    ok: bool
    found: str
    remedy: str = ""
    needed: bool = True


# distribution, module, needed, what for
_PACKAGES = (
    ("numpy", "numpy", True, "everything"),
    ("requests", "requests", True, "the client"),
    ("fastapi", "fastapi", True, "the server"),
    ("uvicorn", "uvicorn", True, "the server"),
    ("torch", "torch", True, "the CT models and the heatmaps"),
    ("monai", "monai", True, "the CT models"),
    ("onnxruntime", "onnxruntime", True, "the slide model"),
    ("SimpleITK", "SimpleITK", False, "some CT formats"),
    ("pydicom", "pydicom", True, "DICOM"),
    ("scipy", "scipy", True, "measuring nodules"),
    ("tifffile", "tifffile", True, "slides (TIFF, SVS)"),
    ("Pillow", "PIL", True, "slides (PNG, JPEG) and the report"),
    ("blosc2", "blosc2", False, "faster uploads of CT volumes"),
    ("highdicom", "highdicom", False, "DICOM objects for the archive"),
    ("pynetdicom", "pynetdicom", False, "sending to an archive by C-STORE"),
    ("dicomweb-client", "dicomweb_client", False, "sending to an archive by DICOMweb"),
)


def examine(settings: Settings) -> list[Finding]:
    """Every finding, in the order a person would ask."""
    return [
        _python(),
        *(_package(*package) for package in _PACKAGES),
        _openslide(),
        _pdf(),
        _qupath(os.environ.get("PAQUO_QUPATH_DIR")),
        _device(settings),
        *_models(settings.models),
        *(_models(settings.added_models) if any(settings.added_models.glob("*/configs/metadata.json")) else ()),
        _slide_model(settings),
        *_folder(settings.data_dir),
        _port(settings),
    ]


def shown(findings: list[Finding], as_json: bool) -> str:
    """The findings as lines, or as JSON."""
    bad = [f for f in findings if f.needed and not f.ok]
    if as_json:
        return json.dumps({"ok": not bad, "findings": [asdict(f) for f in findings]}, indent=2)
    lines = []
    for finding in findings:
        mark = "ok     " if finding.ok else ("MISSING" if finding.needed else "absent ")
        lines.append(f"{mark} {finding.name}: {finding.found}")
        if not finding.ok and finding.remedy:
            lines.append(f"        -> {finding.remedy}")
    lines.append("Everything needed is there." if not bad else f"{len(bad)} needed thing(s) missing, see above.")
    return "\n".join(lines)


def _python() -> Finding:
    return Finding(
        "Python",
        sys.version_info >= (3, 11),
        f"{platform.python_version()} on {platform.system()} {platform.machine()}",
        "Install Python 3.11 or newer and run `make` again.",
    )


def _package(distribution: str, module: str, needed: bool, purpose: str) -> Finding:
    remedy = f"pip install {distribution}   (for {purpose})"
    try:
        version = metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return Finding(distribution, False, f"not installed; for {purpose}", remedy, needed)
    if importlib.util.find_spec(module) is None:
        return Finding(distribution, False, f"{version}, but it cannot be imported", remedy, needed)
    return Finding(distribution, True, version, needed=needed)


def _openslide() -> Finding:
    remedy = "pip install openslide-python openslide-bin   (for NDPI, MRXS and DICOM slides)"
    try:
        import openslide

        return Finding("openslide", True, f"library {openslide.__library_version__}", needed=False)
    except Exception as fault:  # a missing shared library raises OSError or its own class
        return Finding("openslide", False, f"cannot be loaded ({type(fault).__name__})", remedy, needed=False)


def _pdf() -> Finding:
    from .report_pdf import REMEDY, find_browser

    try:
        import weasyprint

        return Finding("PDF", True, f"WeasyPrint {weasyprint.__version__}", needed=False)
    except (ImportError, OSError):  # OSError: it is there, Pango is not
        browser = find_browser()
    if browser is None:
        return Finding("PDF", False, "neither WeasyPrint with Pango nor a browser that prints", REMEDY, needed=False)
    return Finding("PDF", True, f"by {browser.name}; WeasyPrint finds no Pango", needed=False)


def _qupath(folder: str | None) -> Finding:
    remedy = "Set PAQUO_QUPATH_DIR to a QuPath folder with lib/app/*.jar; without it, files are used instead."
    if not folder:
        return Finding("QuPath", False, "PAQUO_QUPATH_DIR is not set; projects are written as files", remedy, False)
    jars = list(Path(folder).glob("lib/app/*.jar")) + list(Path(folder).glob("Contents/app/*.jar"))
    if not jars:
        return Finding("QuPath", False, f"no lib/app/*.jar in {folder}", remedy, False)
    return Finding("QuPath", True, folder, needed=False)


def _device(settings: Settings) -> Finding:
    try:
        import torch

        from .models import resolved_device

        device = resolved_device(settings.device)
    except ImportError:
        return Finding("device", False, "cannot be asked without torch", "pip install torch")
    except LungXAIError as fault:
        return Finding("device", False, fault.message, fault.remedy)
    name = torch.cuda.get_device_name(0) if device == "cuda" else f"{settings.model_threads} thread(s) for models"
    return Finding("device", True, f"{device} ({name})")


def _models(root: Path) -> Iterator[Finding]:
    folders = sorted(path.parents[1] for path in root.glob("*/configs/metadata.json"))
    if not folders:
        yield Finding("models", False, f"none in {root}", "Install the package again, or give --models FOLDER.")
    for folder in folders:
        try:
            bundle = Bundle.load(folder)
        except LungXAIError as fault:
            yield Finding(f"model {folder.name}", False, fault.message, fault.remedy)
            continue
        coverage = ", ".join(bundle.own["coverage"]) or "no class"
        yield Finding(
            f"model {folder.name}", True, f"{bundle.model_id}, sha256 {bundle.weights_sha256[:16]}, knows {coverage}"
        )


def _slide_model(settings: Settings) -> Finding:
    """Whether the model that slides go to is there."""
    try:
        folder = slide_folder(settings.slide_model, settings.models, settings.added_models)
    except LungXAIError as fault:
        return Finding("slide model", False, fault.message, fault.remedy)
    return Finding("slide model", True, f"{settings.slide_model}, from {folder.parent}")


def _folder(data_dir: Path) -> Iterator[Finding]:
    there = data_dir
    while not there.exists():
        there = there.parent
    writable = os.access(there, os.W_OK | os.X_OK)
    yield Finding(
        "data folder",
        writable,
        f"{data_dir}" + ("" if data_dir.exists() else " (will be made)"),
        "Choose another with --data-dir, or give yourself the right to write there.",
    )
    if data_dir.exists() and os.name == "posix":
        open_to_others = bool(stat.S_IMODE(data_dir.stat().st_mode) & 0o077)
        token = data_dir / "token"
        open_to_others |= token.exists() and bool(stat.S_IMODE(token.stat().st_mode) & 0o077)
        yield Finding(
            "data folder's rights",
            not open_to_others,
            "others on this machine can read it" if open_to_others else "its owner's alone",
            f"chmod -R go= {data_dir}",
        )
    free = shutil.disk_usage(there).free
    yield Finding(
        "disk", free >= _FREE_BYTES, f"{free / _GIB:.1f} GiB free", "Free disk space; 5 GiB are advised.", needed=False
    )
    yield Finding("SQLite", sqlite3.sqlite_version_info >= (3, 37), sqlite3.sqlite_version, "Install a newer Python.")


def _port(settings: Settings) -> Finding:
    if settings.port == 0:
        return Finding("port", True, "any free one")
    with socket.socket(socket.AF_INET6 if ":" in settings.host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.host, settings.port))
        except OSError:
            return Finding(
                "port",
                False,
                f"{settings.port} is in use",
                "A server may be running already; else choose another with --port.",
                needed=False,
            )
    return Finding("port", True, f"{settings.port} is free")

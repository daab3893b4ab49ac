"""A case from the folder that ``lungxai analyze`` or ``lungxai demo`` wrote.

read_case()     case.json with its segmentation and heatmaps -> CaseResults
input_ct()      where the demonstration keeps its CT
checked_grid()  the CT and the segmentation belong together

The NRRD files are read by the scene's own reader. One that points to another file is refused: a folder from somewhere
else could name any file of this machine.
"""

from __future__ import annotations

import json
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Optional

import numpy as np

from shared_models.contract.errors import BadGeometry, InvalidInput
from shared_models.contract.jsonforms import from_json
from shared_models.contract.provenance import Provenance
from shared_models.contract.results import FusionResult, Heatmap, LabelVolume, PathologyResult, RadiologyResult
from shared_models.contract.values import Array, ClinicalFields

from .case_results import CaseResults
from .logics import SceneLogics
from .naming import remove
from .text import tr
from .volumes import affine_of, same_place, voxels_of

_AGAIN = "Run lungxai analyze again, and give its --out folder."
_MAX_JSON_BYTES = 256 << 20
_MAX_HEADER_BYTES = 1 << 16
_SINGLE_FILE, _LABELS = 4, 1  # of the volume logic's loading options


def read_case(logics: SceneLogics, folder: Path) -> CaseResults:
    """One case of files.

    Parameters
    ----------
    logics : its scene reads the NRRD files; it holds none of them afterwards
    folder : with case.json, ct_segmentation.nrrd and ct_heatmap_METHOD.nrrd

    Raises
    ------
    InvalidInput : the folder is no such case, holds no CT, or was written by an older version.
    """
    body = _json(folder / "case.json")
    if "radiology" not in body:
        raise InvalidInput(tr("This case has no CT, so there is nothing to show."), tr("Run analyze with --ct."))
    if not isinstance(body.get("heatmaps"), list):
        raise InvalidInput(tr("This case was written by an older version."), tr(_AGAIN))
    radiology = from_json(RadiologyResult, body["radiology"])
    labels, affine = _volume(logics, folder / "ct_segmentation.nrrd", labels=True)
    parts = {"pathology": PathologyResult, "clinical": ClinicalFields, "fusion": FusionResult}
    values: dict[str, Any] = {name: from_json(kind, body[name]) for name, kind in parts.items() if name in body}
    return CaseResults(
        case_id=str(body.get("case_id", "")),
        synthetic=bool(body.get("synthetic")),
        radiology=radiology,
        mask=LabelVolume(labels.astype(np.uint8), affine, radiology.series_uid),
        heatmaps=tuple(_heatmap(logics, folder, entry, radiology.series_uid) for entry in body["heatmaps"]),
        made=_made(folder / "case.json"),
        **values,
    )


def _json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise InvalidInput(tr("This folder is no case: it holds no case.json."), tr(_AGAIN))
    try:
        if path.stat().st_size > _MAX_JSON_BYTES:
            raise InvalidInput(tr("case.json is too large."), tr(_AGAIN))
        body = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as fault:
        raise InvalidInput(tr("case.json cannot be read."), tr(_AGAIN)) from fault
    if not isinstance(body, dict):
        raise InvalidInput(tr("case.json cannot be read."), tr(_AGAIN))
    return body


def _made(path: Path) -> str:
    return datetime.fromtimestamp(path.stat().st_mtime, timezone.utc).isoformat(timespec="seconds")


def _heatmap(logics: SceneLogics, folder: Path, entry: Any, series_uid: str) -> Heatmap:
    try:
        name, method, target = (str(entry[key]) for key in ("file", "method", "target"))
        provenance, parameters = from_json(Provenance, entry["provenance"]), dict(entry["parameters"])
    except (TypeError, KeyError, ValueError) as fault:
        raise InvalidInput(tr("case.json does not say what a heatmap shows."), tr(_AGAIN)) from fault
    if Path(name).name != name:
        raise InvalidInput(tr("case.json names a file outside its folder."), tr(_AGAIN))
    values, affine = _volume(logics, folder / name, labels=False)
    return Heatmap(
        values.astype(np.float32), affine, series_uid, "radiology", method, target, provenance, parameters
    )  # fmt: skip


def _volume(logics: SceneLogics, path: Path, labels: bool) -> tuple[Array, Array]:
    """Voxels (slices, rows, columns) and affine (4, 4) to LPS of one NRRD file."""
    import vtk

    _check_attached(path)
    names = vtk.vtkStringArray()
    names.InsertNextValue(str(path))
    shown = vtk.vtkObject.GetGlobalWarningDisplay()
    vtk.vtkObject.SetGlobalWarningDisplay(0)  # readers that do not fit complain although nothing is wrong
    try:
        options = _SINGLE_FILE | (_LABELS if labels else 0)
        node = logics.volumes.AddArchetypeVolume(str(path), path.stem, options, names)
    finally:
        vtk.vtkObject.SetGlobalWarningDisplay(shown)
    if node is None or node.GetImageData() is None:
        raise InvalidInput(tr("{name} cannot be read.").format(name=path.name), tr(_AGAIN))
    try:
        return voxels_of(node).copy(), affine_of(node)
    finally:
        remove(logics.scene, [node])


def _check_attached(path: Path) -> None:
    if not path.is_file():
        raise InvalidInput(tr("{name} is missing.").format(name=path.name), tr(_AGAIN))
    with path.open("rb") as file:
        header = file.read(_MAX_HEADER_BYTES).split(b"\n\n")[0].split(b"\r\n\r\n")[0]
    fields = [line.split(b":")[0].strip().lower() for line in header.splitlines()]
    if not header.startswith(b"NRRD") or b"data file" in fields or b"datafile" in fields:
        raise InvalidInput(tr("{name} is no complete NRRD file.").format(name=path.name), tr(_AGAIN))


def input_ct(folder: Path) -> Optional[Path]:
    """The CT of the demonstration, which lies beside its results; None for any other case."""
    found = folder / "input" / "ct"
    return found if found.is_dir() else None


def checked_grid(ct_node: Any, mask: LabelVolume) -> None:
    """Raise BadGeometry unless the segmentation lies on exactly the grid of the CT."""
    shape = voxels_of(ct_node).shape
    if shape != mask.labels.shape or not same_place(affine_of(ct_node), mask.ijk_to_lps, shape):
        raise BadGeometry(
            tr("This CT is not the one that was analysed: the segmentation lies on another grid."),
            tr("Give the analysed CT with --ct."),
        )

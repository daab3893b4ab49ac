"""A segmentation that another program made of a CT: cut into nodules, measured with this suite's own, and written.

separated()   one label for each connected piece, the largest first
measured()    nodules with sizes and malignancy, into segmentation.nrrd and nodules.json
kept()        the same, of outlines that are kept as they are
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .contract.errors import InvalidInput
from .contract.jsonforms import to_json
from .contract.results import LabelVolume
from .contract.values import Array, CTVolume
from .model_bundle import MODELS_ROOT
from .training_folder import unwritable, written

MASK_FILE, NODULES_FILE = "segmentation.nrrd", "nodules.json"
MOST = 255  # labels of a LabelVolume


def separated(mask: Array, spacing_mm: tuple[float, float, float], least_mm3: float = 0.0) -> tuple[Array, int]:
    """Connected pieces (by faces, edges or corners) of a mask as labels, the largest is 1.

    Parameters
    ----------
    mask : bool (slices, rows, columns)
    spacing_mm : of the voxels, any order: only their volume counts
    least_mm3 : smaller pieces are left out

    Returns
    -------
    uint8 labels of the same shape, and how many pieces were left out: too small, or beyond the MOST largest.
    """
    from scipy import ndimage

    found, count = ndimage.label(mask, np.ones((3, 3, 3), bool))
    sizes = np.bincount(found.ravel(), minlength=count + 1)[1:]
    order = np.argsort(-sizes, kind="stable")
    kept = [i for i in order[:MOST] if sizes[i] * float(np.prod(spacing_mm)) >= least_mm3]
    places = np.zeros(count + 1, np.uint8)
    for label, i in enumerate(kept, 1):
        places[i + 1] = label
    return places[found], count - len(kept)


def kept(
    volume: CTVolume, labels: Array, out: Path, made_by: Mapping[str, Any], models_root: Path = MODELS_ROOT,
) -> dict[str, Any]:  # fmt: skip
    """Measure the nodules of ``labels`` and write both files; what nodules.json holds.

    Parameters
    ----------
    labels : uint8 on the CT's grid, 0 is background
    made_by : what is said of the program or model that made them; under "made_by" in nodules.json

    Raises
    ------
    InvalidInput : another shape, or no lungs in the CT. ServerError : a file cannot be written.
    """
    if labels.shape != volume.voxels.shape:
        raise InvalidInput("The segmentation is not on the CT's grid.", "Give the segmentation of this very CT.")
    corrected = LabelVolume(labels, volume.ijk_to_lps, volume.series_uid)
    return measured(volume, out, made_by, models_root, corrected=corrected)


def measured(
    volume: CTVolume, out: Path, made_by: Mapping[str, Any], models_root: Path = MODELS_ROOT, **asked: Any
) -> dict[str, Any]:
    """What analyse_ct(..., **asked) says, into both files; see kept()."""
    from .ct_pipeline import CTModels, analyse_ct
    from .ct_writer import write_nrrd

    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as fault:
        raise unwritable(out, fault) from fault
    analysis = analyse_ct(volume, CTModels.load(models_root), **asked)
    told = {
        "notice": "Research use only, not a diagnosis. Found by another program, not validated here.",
        "made_by": dict(made_by), "nodules": to_json(analysis.result.nodules),
        "malignancy_by": to_json(analysis.result.provenance[1:]), "notes": list(analysis.result.notes),
    }  # fmt: skip
    fields = {"made_by": str(made_by.get("name", ""))[:200]}
    write_nrrd(out / MASK_FILE, analysis.mask.labels, volume.ijk_to_lps, fields)
    written(out / NODULES_FILE, (json.dumps(told, indent=1) + "\n").encode())
    return told

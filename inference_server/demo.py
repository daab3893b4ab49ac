"""The demonstration: a synthetic case, drawn here, sent through a server, and compared with what was planted.

make_case()   a thorax CT as DICOM, an H&E-like slide, clinical fields
found()       how the answer compares with what was planted, as lines of text

It shows that the chain runs and where to look. It says nothing about how the models do on patients.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from shared_models.contract.jsonforms import to_json
from shared_models.contract.values import CLASSES

from .analyze import Inputs


@dataclass(frozen=True, eq=False)
class Planted:
    """What was drawn, and the inputs that hold it."""

    inputs: Inputs
    phantom: Any
    slide: Any


def make_case(folder: Path, seed: int = 0) -> Planted:
    """Draw the case into ``folder``: ct/ (DICOM), slide.ome.tif, clinical.json."""
    from shared_models.phantom import synthetic_clinical, thorax, write_dicom
    from shared_models.phantom_slide import write_slide

    folder.mkdir(parents=True, exist_ok=True)
    phantom = thorax(seed)
    ct, slide, clinical = folder / "ct", folder / "slide.ome.tif", folder / "clinical.json"
    for old in ct.glob("*.dcm"):
        old.unlink()
    write_dicom(phantom.volume, ct)
    truth = write_slide(slide, seed)
    clinical.write_text(json.dumps(to_json(synthetic_clinical()), indent=1) + "\n")
    return Planted(Inputs(ct, slide, clinical), phantom, truth)


def found(planted: Planted, case: Mapping[str, Any], out: Path) -> list[str]:
    """How well what was planted was found."""
    return [*_nodules(planted, case, out), *_tiles(planted, case)]


def _nodules(planted: Planted, case: Mapping[str, Any], out: Path) -> list[str]:
    from shared_models.geometry import resampled

    labels, affine = _labels(out / "ct_segmentation.nrrd")
    truth = planted.phantom.truth
    wanted = resampled(truth.labels, truth.ijk_to_lps, affine, labels.shape, labels=True)
    lines, matched = [], set()
    for nodule in planted.phantom.nodules:
        own = wanted == nodule.label
        seen = {int(n) for n in np.unique(labels[own])} - {0}
        matched |= seen
        place = ", ".join(f"{v:.0f}" for v in nodule.centre_lps_mm)
        title = f"nodule of {nodule.diameter_mm:.0f} mm at LPS ({place}) mm"
        if not seen:
            lines.append(f"{title}: NOT found")
            continue
        mask = np.isin(labels, list(seen))
        dice = 2 * (mask & own).sum() / (mask.sum() + own.sum())
        sizes = [n["long_axis_mm"] for n in case["radiology"]["nodules"] if n["label"] in seen]
        lines.append(f"{title}: found, long axis measured {max(sizes):.1f} mm, Dice {dice:.2f}")
    extra = len(case["radiology"]["nodules"]) - len(matched)
    lines.append(f"pieces marked where no nodule was planted: {extra}")
    return lines


def _labels(path: Path) -> tuple[Any, Any]:
    import SimpleITK

    # The file that the user has, read with a reader that is not the writer's twin.
    image = SimpleITK.ReadImage(str(path))
    affine = np.eye(4)
    affine[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    return SimpleITK.GetArrayFromImage(image), affine


def _tiles(planted: Planted, case: Mapping[str, Any]) -> list[str]:
    import shapely

    result = case["pathology"]
    centres = np.array(result["origin_px"], float) + np.array(result["tile_px"]) / 2
    table = np.array(result["tile_probabilities"], dtype=float)
    cancer = np.nansum(table[:, : len(CLASSES) - 1], axis=1) > table[:, -1]
    lines = []
    for region in planted.slide.regions:
        inside = shapely.contains_xy(shapely.Polygon(region.outline_px), centres[:, 0], centres[:, 1])
        lines.append(f"{region.kind} tissue: {int(cancer[inside].sum())} of {int(inside.sum())} tiles called cancer")
    return lines

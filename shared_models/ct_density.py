"""Whether a nodule is solid or ground glass, computed from the HU in its outline; no reader judged it.

core_hu()      the upper quartile of HU in the nodule's middle, on the axial slice where it is largest
nodule_type()  "solid", "nonsolid", or None where that number does not tell
Agreement      how often readers said the same; read() takes it from the bundle of the segmentation network

`python -m shared_models.ct_density --data ../shared/data` measures the rule against LIDC's readers (texture rating) and
writes it into that bundle, docs/nodule_type.json; about two minutes.

A part-solid nodule is never called: a few solid voxels in ground glass look like a faint or small solid nodule whose
edge is blurred. Such nodules lie between the two limits, and so do some solid ones; there the answer is "not known".
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Optional

import numpy as np

from .code_version import git_commit
from .contract.errors import InvalidInput, LungXAIError
from .contract.values import Array
from .intervals import wilson_ci
from .model_bundle import MODELS_ROOT, Bundle
from .whole_file import written

BUNDLE, FILE = "lung_nodule_segmentation", "docs/nodule_type.json"
SOURCE = "LIDC-IDRI, Armato et al. 2011, doi 10.7937/K9/TCIA.2015.LO9QL9SX, CC BY 3.0"
# Chosen on the training patients, in steps of 50 HU: the least number from which 97 % of the nodules are solid to the
# reader, and the largest up to which 80 % are ground glass.
SOLID_HU, NONSOLID_HU = -200.0, -600.0
_SURE_SOLID, _SURE_NONSOLID, _STEPS = 0.97, 0.80, np.arange(-800.0, 1.0, 50.0)
_LEAST_CORE = 6
_READERS = {"ground glass": "nonsolid", "part-solid": "part_solid", "solid": "solid"}


def core_hu(hu: Array, mask: Array) -> float:
    """Upper quartile of the HU in the outline less one pixel at its edge, or in all of it where little is left.

    Parameters
    ----------
    hu, mask : (rows, columns), or (slices, rows, columns), of which the slice with the largest outline is looked at

    Raises
    ------
    InvalidInput : the outline is empty, or the shapes differ.
    """
    from scipy import ndimage

    if hu.shape != mask.shape or not mask.any():
        raise InvalidInput("There is no nodule to judge.", "Outline the nodule, then classify again.")
    if mask.ndim == 3:
        k = int(mask.sum(axis=(1, 2)).argmax())
        hu, mask = hu[k], mask[k]
    core = ndimage.binary_erosion(mask)
    return float(np.percentile(hu[core if core.sum() >= _LEAST_CORE else mask], 75))


def nodule_type(core: float) -> Optional[str]:
    """Of core_hu(): one of clinical_risk.NODULE_TYPES but "part_solid", or None, "not known"."""
    return "solid" if core >= SOLID_HU else "nonsolid" if core <= NONSOLID_HU else None


@dataclass(frozen=True)
class Agreement:
    """The rule beside LIDC's readers, on the validation patients, outlines by the network.

    Attributes
    ----------
    n, patients : nodules with a texture rating
    called : "solid", "nonsolid" and "not_known" to how many
    right : "solid" and "nonsolid" to the share of them that the reader says too; ci95 : Wilson, nodules independent
    confusion : reader's type to what the rule calls them, to how many
    limits_hu : (nonsolid, solid)
    weights_sha256 : of the network that outlined them; commit : of the code
    """

    n: int
    patients: int
    called: dict[str, int]
    right: dict[str, float]
    ci95: dict[str, tuple[float, float]]
    confusion: dict[str, dict[str, int]]
    limits_hu: tuple[float, float]
    weights_sha256: str
    commit: str
    split: str
    source: str


def agreement(cores: Sequence[float], readers: Sequence[str], patients: Iterable[str], **about: Any) -> Agreement:
    """Of the rule on nodules with core_hu() ``cores`` and the readers' types, of clinical_risk.NODULE_TYPES."""
    calls = [nodule_type(core) or "not_known" for core in cores]
    confusion = {said: dict.fromkeys(("solid", "nonsolid", "not_known"), 0) for said in _READERS.values()}
    for said, call in zip(readers, calls):
        confusion[said][call] += 1
    called = {name: calls.count(name) for name in ("solid", "nonsolid", "not_known")}
    same = {name: confusion[name][name] for name in ("solid", "nonsolid")}
    return Agreement(
        len(calls), len(set(patients)), called, {n: same[n] / max(1, called[n]) for n in same},
        {n: wilson_ci(same[n], called[n]) for n in same}, confusion, (NONSOLID_HU, SOLID_HU), **about,
    )  # fmt: skip


def read(models_root: Path = MODELS_ROOT) -> Optional[Agreement]:
    """What was measured of today's limits, or None."""
    try:
        held = json.loads((models_root / BUNDLE / FILE).read_text())
        found = Agreement(**{name: held[name] for name in Agreement.__dataclass_fields__})
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return found if tuple(found.limits_hu) == (NONSOLID_HU, SOLID_HU) else None


def chosen(cores: Array, readers: Array) -> tuple[float, float]:
    """(nonsolid, solid) limits by the rule at the top of this file, of core_hu() and readers' types, (n,) each."""
    solid = [h for h in _STEPS if (cores >= h).any() and (readers[cores >= h] == "solid").mean() >= _SURE_SOLID]
    faint = [h for h in _STEPS if (cores <= h).any() and (readers[cores <= h] == "nonsolid").mean() >= _SURE_NONSOLID]
    return float(max(faint)), float(min(solid))


def _rated(data: Path, split: str, network: Any) -> tuple[list[float], list[str], list[str]]:
    """core_hu, reader's type and patient's pseudonym of a split; the reader's outline where ``network`` is None."""
    from .evaluate_ct import outlined_at
    from .evidence_cases import Exclusion
    from .evidence_reading import nodules
    from .evidence_strata import density_class

    cores, readers, patients = [], [], []
    for nodule in nodules(data, "slices", split):
        if isinstance(nodule, Exclusion) or (said := density_class(nodule.row.number("texture"))) not in _READERS:
            continue
        mask = nodule.mask
        if network is not None:
            try:
                middle = np.array([0.0, *((n - 1) / 2 for n in nodule.hu.shape)])
                mask = outlined_at(network, nodule.hu[None], (nodule.pixel_mm, nodule.pixel_mm, 1.0), middle)[0]
            except LungXAIError:
                continue
        if mask.any():
            cores.append(core_hu(nodule.hu, mask))
            readers.append(_READERS[said])
            patients.append(nodule.row.group)
    return cores, readers, patients


def main() -> None:
    from . import ct_network

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--models", type=Path, default=MODELS_ROOT)
    given = parser.parse_args()
    cores, readers, _ = _rated(given.data, "train", None)
    limits = chosen(np.array(cores), np.array(readers))
    print(f"On {len(cores)} training nodules the limits would be {limits}; in the code they are "
          f"{(NONSOLID_HU, SOLID_HU)}.")  # fmt: skip
    bundle = Bundle.load(given.models / BUNDLE)
    network = ct_network.load(bundle.path("models/model.pt"))
    found = agreement(
        *_rated(given.data, "val", network), weights_sha256=bundle.weights_sha256, commit=git_commit(), split="val",
        source=SOURCE,
    )  # fmt: skip
    command = "python -m shared_models.ct_density --data ../shared/data"
    text = json.dumps({**asdict(found), "command": command}, indent=1)
    print(text)
    written(given.models / BUNDLE / FILE, (text + "\n").encode())


if __name__ == "__main__":
    main()

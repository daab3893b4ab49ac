"""What the models say of the parts that composed cases are made of: one split of ../shared/data.

Parts         tables of a split, and the models; read()
composed()    a version of the composed cohort, as cases for the fusion
radiology_of(), radiology_on(), pathology_of()   results, calibrated and raw, of a nodule, a point, tiles
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Optional

import numpy as np

from . import ct_data
from .clinical_data import ClinicalCases, read_cases
from .composed_cohort import VERSIONS, Drawn, degraded, drawn, fields_of, without
from .contract.results import MODALITIES, PathologyResult, RadiologyResult
from .contract.values import CLASSES, Abstention, Array, CTVolume
from .ct_malignancy import largest_slice
from .ct_nodules import prompt_of
from .ct_search import outlined
from .evaluate_ct import pointed_at, rated
from .fusion_cases import FusionCase, answered
from .slide_data import FOLDER, TileSet, read_tiles
from .slide_quality import LEAST_QUALITY, tile_quality


@dataclass(eq=False)
class Parts:
    """The nodules, tiles and patients of one split, and what the models say of those that were asked for.

    Parameters
    ----------
    nodules : those rated over 3.5 or under 2.5; ``malignant`` bool (n,)
    ct : CTModels; slide : SlideModel
    """

    nodules: ct_data.Nodules
    malignant: Array
    tiles: TileSet
    patients: ClinicalCases
    ct: Any
    slide: Any
    _seen: dict[Any, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, data_root: Path, split: str, models_root: Path) -> Optional[Parts]:
        """None where ``data_root`` lacks one of the three collections.

        Raises
        ------
        ModelUnavailable : a model is missing or changed.
        """
        whole = (data_root / ct_data.SLICES).is_dir() and (data_root / FOLDER / "tiles.csv").is_file()
        patients = read_cases(data_root, split) if whole else None
        tiles = read_tiles(data_root, split) if whole else None
        if patients is None or tiles is None or not len(tiles.labels):
            return None
        from .ct_pipeline import CTModels
        from .slide_pipeline import SlideModel

        held = ct_data.slices(data_root, split)
        kept, malignant = rated(held)
        nodules = ct_data.Nodules(held.hu[kept], held.mask[kept], tuple(held.rows[i] for i in kept))
        return cls(nodules, malignant, tiles, patients, CTModels.load(models_root), SlideModel.load(models_root))

    def drawn(self, seed: int = 0, *, again: bool = False, borrowed: bool = False) -> list[Drawn]:
        """composed_cohort.drawn() of these parts."""
        return drawn(
            self.nodules.patients, self.malignant, self.tiles.groups, self.tiles.labels, self.patients.squamous,
            seed=seed, again=again, borrowed=borrowed,
        )  # fmt: skip

    def radiology(self, nodule: int) -> tuple[RadiologyResult, RadiologyResult]:
        """Calibrated and raw, of one nodule, outlined by the network from a point at its middle, as on a real CT."""
        key = ("radiology", nodule)
        if key not in self._seen:
            pixel = float(self.nodules.pixel_mm[nodule])
            hu = self.nodules.hu[nodule]
            mask = pointed_at(hu[None], (pixel, pixel, 1.0), self.ct)[0]
            self._seen[key] = radiology_of(self.ct, hu, mask, (pixel, pixel), f"nodule {nodule}")
        found: tuple[RadiologyResult, RadiologyResult] = self._seen[key]
        return found

    def pathology(self, rows: Sequence[int], strength: str) -> list[tuple[PathologyResult, PathologyResult]]:
        """Calibrated and raw, of tiles degraded to ``strength``, each as the whole of its slide."""
        asked = sorted({row for row in rows if ("pathology", strength, row) not in self._seen})
        for start in range(0, len(asked), 32):
            part = asked[start : start + 32]
            found = pathology_of(self.slide, degraded(self.tiles.pixels[part], strength), [f"tile {r}" for r in part])
            self._seen.update({("pathology", strength, row): both for row, both in zip(part, found)})
        return [self._seen["pathology", strength, row] for row in rows]

    def cases(self, made_of: Sequence[Drawn], strength: str = "none") -> list[FusionCase]:
        """The drawn cases with what the models say of their parts."""
        tissue = self.pathology([case.tile for case in made_of], strength)
        found = []
        for case, (pathology, raw_pathology) in zip(made_of, tissue):
            radiology, raw_radiology = self.radiology(case.nodule)
            parts = {"radiology": str(self.nodules.patients[case.nodule]), "pathology": self.tiles.files[case.tile]}
            if case.patient is not None:
                parts["clinical"] = str(self.patients.patients[case.patient])
            clinical = fields_of(case.patient, self.patients.fields)
            found.append(
                FusionCase(
                    case.case_id, case.group, case.label, radiology, pathology, clinical, raw_radiology,
                    raw_pathology, parts,
                )
            )  # fmt: skip
        return found


def composed(parts: Parts, version: str, *, seed: int = 0, again: bool = False) -> list[FusionCase]:
    """A version, of composed_cohort.VERSIONS, of the composed cohort of one split."""
    strength, share, borrowed = VERSIONS[version]
    cases = parts.cases(parts.drawn(seed, again=again, borrowed=borrowed), strength)
    return without(cases, share, seed) if share else cases


def radiology_on(
    models: Any, volume: CTVolume, point_lps_mm: Sequence[float]
) -> tuple[RadiologyResult, RadiologyResult]:
    """radiology_of() of the nodule at a point of a whole CT, on the slice where it is largest."""
    piece = outlined(
        models.network, volume.voxels, volume.spacing_mm, prompt_of(volume, point_lps_mm, "point"), "point",
        models.device, refine=models.refine,
    )  # fmt: skip
    pixel = (volume.spacing_mm[1], volume.spacing_mm[0])
    if piece is None:
        return radiology_of(models, volume.voxels[0], np.zeros(volume.voxels.shape[1:], bool), pixel, volume.series_uid)
    return radiology_of(models, *largest_slice(volume.voxels, piece.where, piece.mask), pixel, volume.series_uid)


def radiology_of(
    models: Any, hu: Array, mask: Array, pixel_mm: tuple[float, float], series_uid: str
) -> tuple[RadiologyResult, RadiologyResult]:
    """Calibrated and raw, of one nodule on a slice (rows, columns); an abstention where nothing was outlined, and no
    malignancy where the nodule is unlike the training nodules.

    Raw are the mean log odds of the model's two parts, before they were weighed on validation patients.
    """
    nothing = dict.fromkeys(CLASSES)
    if not mask.any():
        unseen = Abstention("No nodule was recognised.", "Point at it, or use a CT with thin slices.")
        empty = RadiologyResult(series_uid, (), None, nothing, models.provenance, abstention=unseen)
        return empty, empty
    assessed = models.malignancy.assessed_slice(hu, mask, pixel_mm)
    calibrated = RadiologyResult(
        series_uid, (), assessed.malignancy, nothing, models.provenance, reliability=assessed.reliability
    )
    if assessed.malignancy is None:
        return calibrated, calibrated
    found = models.malignancy.evidence(hu, mask, pixel_mm)
    raw = 0.5 + 0.5 * np.tanh((found.features + found.network) / 4)
    return calibrated, replace(calibrated, malignancy=float(raw))


def pathology_of(model: Any, pixels: Array, names: Sequence[str]) -> list[tuple[PathologyResult, PathologyResult]]:
    """Calibrated and raw, of tiles, each as the whole of its slide; a tile that is too blurred is not looked at.

    Raw is what the network says at temperature 1 and without the offsets of the classes, both of which the card names.
    """
    from .slide_result import slide_result

    quality = tile_quality(pixels, model.mpp)
    answers = answered(model, pixels)
    own = model.card["lungxai"]
    offsets = np.array(own.get("class_offsets", np.zeros(len(model.classes))), dtype=np.float64)
    known = [CLASSES.index(name) for name in model.classes]
    # The calibrated answer is the softmax of logits / temperature + offsets.
    logits = (np.log(np.maximum(answers[:, known].astype(np.float64), 1e-30)) - offsets) * float(own["temperature"])
    plain = np.exp(logits - logits.max(axis=1, keepdims=True))
    raised = answers.copy()
    raised[:, known] = plain / plain.sum(axis=1, keepdims=True)
    side = (float(pixels.shape[2]), float(pixels.shape[1]))
    found = []
    for row, name in enumerate(names):
        seen = slice(row, row + 1) if quality[row] >= LEAST_QUALITY else slice(0, 0)
        origin = np.zeros((len(answers[seen]), 2), np.int64)
        both = [
            slide_result(name, model.mpp, side, origin, table[seen], (model.provenance,), quality=quality[seen])
            for table in (answers, raised)
        ]
        found.append((both[0], both[1]))
    return found


def accounting(cases: Sequence[FusionCase]) -> Mapping[str, Any]:
    """How many cases and parts there are, by class and modality."""
    labels = [case.label for case in cases]
    return {
        "cases": len(cases), "groups": len({case.group for case in cases}),
        "classes": {name: labels.count(name) for name in CLASSES if name in labels},
        "with": {m: sum(getattr(case, m) is not None for case in cases) for m in MODALITIES},
        "abstains": {m: sum(_abstains(getattr(case, m)) for case in cases) for m in MODALITIES[:2]},
    }  # fmt: skip


def _abstains(result: Any) -> bool:
    return result is not None and result.abstention is not None

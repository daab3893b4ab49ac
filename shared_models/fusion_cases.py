"""A case as the fusion sees it, with the class that is known: what it is fitted and measured on.

FusionCase     results of one patient, the true class, and what it stays together with
of_cohort()    truly paired cases of a cohort reader, through the CT and slide pipelines
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Optional

import numpy as np

from .contract.errors import InvalidInput
from .contract.results import PathologyResult, RadiologyResult
from .contract.values import CLASSES, ClinicalFields
from .model_bundle import MODELS_ROOT


@dataclass(frozen=True, eq=False)
class FusionCase:
    """One case.

    Parameters
    ----------
    case_id : unique in its cohort
    group : what stays together in a resampling: the patient
    label : the true class, of CLASSES
    radiology, pathology, clinical : None where the case has none
    raw_radiology, raw_pathology : the same before calibration; None where that was not computed
    parts : where each modality came from, by modality; of a composed case these are different people

    Raises
    ------
    InvalidInput : the label is none of CLASSES.
    """

    case_id: str
    group: str
    label: str
    radiology: Optional[RadiologyResult]
    pathology: Optional[PathologyResult]
    clinical: Optional[ClinicalFields]
    raw_radiology: Optional[RadiologyResult] = None
    raw_pathology: Optional[PathologyResult] = None
    parts: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.label not in CLASSES:
            raise InvalidInput(f"The class {self.label!r:.80} is unknown.", f"Known are: {', '.join(CLASSES)}.")


def of_cohort(
    cases: Iterable[Any],
    radiology_of: Optional[Callable[[Path], Optional[RadiologyResult]]] = None,
    pathology_of: Optional[Callable[[Path], Optional[PathologyResult]]] = None,
) -> Iterator[FusionCase]:
    """Truly paired cases, one patient at a time, so that a large cohort needs the memory of one.

    Parameters
    ----------
    cases : cohorts.case.CohortCase, or cohorts.paired.PairedCase; those without a known class are left out
    radiology_of : folder of a CT series -> its result; None runs the CT models that ship. Of several series of a
        patient the one with most slices is taken
    pathology_of : file of a slide -> its result; None runs the slide model that ships. Of several slides the first
    """
    ct = radiology_of if radiology_of is not None else _CTOf()
    slide = pathology_of if pathology_of is not None else _SlideOf()
    for one in cases:
        case = getattr(one, "case", one)
        if case.label is None:
            continue
        series = max((i for i in case.images if i.modality == "CT"), key=lambda i: i.count, default=None)
        tissue = next((i for i in case.images if i.modality == "slide"), None)
        yield FusionCase(
            case.case_id, case.patient_id, case.label,
            None if series is None else ct(series.path),
            None if tissue is None else slide(tissue.path),
            case.clinical,
            parts={i.modality: i.image_id for i in (series, tissue) if i is not None},
        )  # fmt: skip


class _CTOf:
    """Result of a CT series by the models that ship; they are loaded with the first."""

    def __init__(self, models_root: Path = MODELS_ROOT) -> None:
        self._root, self._models = models_root, None

    def __call__(self, folder: Path) -> RadiologyResult:
        from .ct_pipeline import CTModels, analyse_ct
        from .ct_reader import read_ct

        if self._models is None:
            self._models = CTModels.load(self._root)
        return analyse_ct(read_ct(folder)[0], self._models).result


class _SlideOf:
    """Result of a slide by the model that ships; it is loaded with the first."""

    def __init__(self, models_root: Path = MODELS_ROOT, at_once: int = 64) -> None:
        self._root, self._at_once, self._model = models_root, at_once, None

    def __call__(self, path: Path) -> PathologyResult:
        from .slide_pipeline import SlideModel
        from .slide_reader import open_slide
        from .slide_result import slide_result
        from .slide_tiles import tissue_grid, tissue_tiles

        if self._model is None:
            self._model = SlideModel.load(self._root)
        model: Any = self._model
        origins, answers, quality = [np.zeros((0, 2), np.int64)], [], []
        with open_slide(path) as slide:
            grid = tissue_grid(slide, model.tile_px, model.mpp)
            for tiles in tissue_tiles(slide, model.tile_px, model.mpp, self._at_once, grid):
                origins.append(tiles.origin_px)
                answers.append(answered(model, tiles.pixels))
                quality.append(tiles.quality)
            judged = np.concatenate(quality) if quality and all(q is not None for q in quality) else None
            table = np.concatenate(answers) if answers else np.zeros((0, len(CLASSES)), np.float32)
            return slide_result(
                slide.slide_id, model.mpp, grid.tile_px, np.concatenate(origins), table, (model.provenance,),
                quality=judged,
            )  # fmt: skip


def answered(model: Any, pixels: Any) -> Any:
    """What slide_result() takes of a slide model: with a column of reliability where the model judges it."""
    return (
        model.answers_with_reliability(pixels) if getattr(model, "judges_reliability", False) else model.answers(pixels)
    )

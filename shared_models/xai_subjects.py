"""The models whose explanations are measured, each with its cases: xai_cases.py makes these.

Subject        a model, what is explained of it, and its cases
tile_subject(), subjects()   the H&E model alone, and all for which data and model are there
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, tee
from pathlib import Path
from typing import Any, Optional

from .attribution_model import Explained
from .faithfulness import Case
from .xai_cases import lidc_slices, malignancy_cases, nodule_cases, phantom_slices, tile_cases

# What sanity_checks.checked() randomises, the head first.
TILE_STAGES = {
    "head": ("_fc",), "features": ("_conv_head", "_bn1"),
    "late blocks": tuple(f"_blocks.{n}" for n in range(15, 8, -1)),
    "early blocks and stem": (*(f"_blocks.{n}" for n in range(8, -1, -1)), "_bn0", "_conv_stem"),
}  # fmt: skip
MALIGNANCY_STAGES = {
    "head": ("head",), "features": ("features",), "middle": ("middle",), "near and stem": ("near", "stem")
}  # fmt: skip
NODULE_STAGES = {
    "head": ("final_conv",), "decoder": ("upcat_1", "upcat_2", "upcat_3", "upcat_4"),
    "encoder": ("down_4", "down_3", "down_2", "down_1", "conv_0"),
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Subject:
    """A model whose explanations are measured.

    Parameters
    ----------
    name : as in the tables; says where data is SYNTHETIC
    bundle : folder of the model, where its figures are kept
    target : what is explained, in words
    model : what the methods explain, as the viewers explain it
    settings : of the methods, as the viewers set them
    stages : name -> modules, the head first
    cases : to measure on
    validation : to choose thresholds on; empty where there are no masks
    """

    name: str
    bundle: str
    target: str
    model: Explained
    settings: Mapping[str, Mapping[str, Any]]
    stages: Mapping[str, Sequence[str]]
    cases: Sequence[Case]
    validation: Sequence[Case] = ()


    @property
    def network(self) -> Any:
        """torch, in evaluation mode."""
        return self.model.network


def subjects(data_root: Path, split: str, models_root: Path, counts: Mapping[str, int], seed: int) -> Iterator[Subject]:
    """One after the other.

    Parameters
    ----------
    counts : cases of "tiles", "nodules", "validation" and "phantom"
    seed : of which cases
    """
    tiles = tile_subject(data_root, split, models_root, counts["tiles"], seed)
    if tiles is not None:
        yield tiles
    yield from _nodules(data_root, split, models_root, counts, seed)


def tile_subject(data_root: Path, split: str, models_root: Path, count: int, seed: int) -> Optional[Subject]:
    """The H&E model with ``count`` real tiles; None where there are none."""
    from .model_bundle import Bundle
    from .slide_attribution import SETTINGS, explained
    from .slide_network import restored
    from .slide_pipeline import BUNDLE, TORCH, SlideModel

    model = SlideModel.load(models_root)
    cases = tile_cases(data_root, split, model, count, seed)
    if not cases:
        return None
    network = restored(Bundle.load(models_root / BUNDLE).path(TORCH), len(model.classes))
    shown = explained(network, model.classes, model.logits)
    return Subject("H&E tiles", BUNDLE, "predicted class", shown, SETTINGS, TILE_STAGES, cases)


def _nodules(
    data_root: Path, split: str, models_root: Path, counts: Mapping[str, int], seed: int
) -> Iterator[Subject]:  # fmt: skip
    from .ct_attribution import SETTINGS, malignancy_model, nodule_model
    from .ct_malignancy import BUNDLE as RATING
    from .ct_pipeline import BUNDLE as SEGMENTING
    from .ct_pipeline import CTModels

    models = CTModels.load(models_root)
    validation = tee(lidc_slices(data_root, "val", models.network, seed), 2)
    real = tee(lidc_slices(data_root, split, models.network, seed), 2)
    drawn = tee(islice(phantom_slices(models.network, seed), counts["phantom"]), 2)
    for which, (target, bundle, shown, cases_of, stages) in enumerate((
        ("nodule", SEGMENTING, nodule_model(models.network), nodule_cases, NODULE_STAGES),
        ("malignant", RATING, malignancy_model(models.malignancy.network), malignancy_cases, MALIGNANCY_STAGES),
    )):  # fmt: skip
        chosen = cases_of(validation[which], shown.network, counts["validation"])
        for name, slices, count in (
            ("CT nodules", real[which], counts["nodules"]), ("CT phantom, SYNTHETIC", drawn[which], counts["phantom"])
        ):  # fmt: skip
            cases = cases_of(slices, shown.network, count)
            if cases and chosen:
                yield Subject(f"{name}, {target}", bundle, target, shown, SETTINGS, stages, cases, chosen)

"""The models of one worker, behind the interface that the worker calls.

A Backend is made by a "module:function" of Settings.backend; this module's load() is the one that ships. A modality
whose bundle is missing or broken is a problem of that modality alone: the other one still works.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Callable, Optional, Protocol

from shared_models.contract.errors import LungXAIError, ModelUnavailable
from shared_models.contract.results import CT_TARGETS, Heatmap, LabelVolume, PathologyResult, RadiologyResult
from shared_models.contract.values import CLASSES, Array, CTVolume
from shared_models.model_bundle import SLIDE_MODEL, Bundle, slide_folder

from .installed_models import described, whole_bundles

Progress = Callable[[str, float], None]
Cancel = Callable[[], bool]


class CTAnswer(Protocol):
    """What a CT job makes; ct_pipeline.CTAnalysis is one."""

    @property
    def result(self) -> RadiologyResult: ...
    @property
    def mask(self) -> LabelVolume: ...
    @property
    def heatmaps(self) -> Mapping[str, Heatmap]: ...


class Backend(Protocol):
    """The models of one device.

    ``models`` holds one dict a model (model_id, modality, coverage, calibrated, weights_sha256), for slides that of the
    one in use alone; ``problems`` says for a modality why it cannot be had; ``other_classes`` are those that the slide
    model has beside CLASSES, k of them. ``answer_columns``, c, are 5 + k, and one more where the slide model judges how
    like its training tiles a tile is.
    """

    @property
    def device(self) -> str: ...
    @property
    def models(self) -> Sequence[Mapping[str, Any]]: ...
    @property
    def problems(self) -> Mapping[str, LungXAIError]: ...
    @property
    def other_classes(self) -> tuple[str, ...]: ...
    @property
    def answer_columns(self) -> int: ...

    def analyse_ct(
        self,
        volume: CTVolume,
        *,
        points_lps_mm: Sequence[Any],
        boxes_lps_mm: Sequence[Any],
        explain: Sequence[str],
        progress: Progress,
        cancelled: Cancel,
        search: bool = True,
        corrected: Optional[LabelVolume] = None,
        target: str = CT_TARGETS[0],
        known: Optional[CTAnswer] = None,
    ) -> CTAnswer:
        """The nodules of a CT: what was pointed at and, with ``search``, what both lungs hold.

        Those of ``corrected``, on the CT's grid, instead, where it is given. ``known`` is an earlier answer to the same
        question: its nodules are kept, and explained as is asked for now.
        """
        ...

    def tile_answers(self, pixels: Array) -> Array:
        """float32 (n, c) of uint8 (n, h, w, 3): CLASSES, NaN outside the coverage, ``other_classes``, reliability."""
        ...

    def slide_result(
        self, slide_id: str, mpp: float, tile_px: tuple[float, float], origin_px: Array, answers: Array,
        quality: Optional[Array] = None,
    ) -> PathologyResult:  # fmt: skip
        """The slide as a whole, of the ``answers`` (n, c) of its tiles and their ``quality`` (n,), 0 to 1."""
        ...

    def slide_heatmaps(
        self,
        methods: Sequence[str],
        result: PathologyResult,
        pixels: Callable[[int, int], Array],
        *,
        target: Optional[str],
        contrast: Optional[str],
        progress: Progress,
        cancelled: Cancel,
    ) -> Mapping[str, Heatmap]:
        """Heatmaps of a slide by method; ``pixels(start, stop)`` gives the tiles in the result's order."""
        ...


class DeviceMissing(ModelUnavailable):
    """The device that was asked for is not there; crosses the wire as ModelUnavailable."""

    def body(self) -> dict[str, str]:
        return {**super().body(), "code": "ModelUnavailable"}


def loader(name: str) -> Callable[..., Backend]:
    """The function behind "module:function"; it is called as load() below."""
    module, _, function = name.partition(":")
    found: Callable[..., Backend] = getattr(importlib.import_module(module), function)
    return found


def resolved_device(asked: str) -> str:
    """The device that will run: what was asked for, or the best there is for "auto". Never another one.

    Raises
    ------
    DeviceMissing : this machine has no such device.
    """
    import torch

    there = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if asked == "auto":
        return next(name for name, present in there.items() if present)
    if not there.get(asked, False):
        have = ", ".join(name for name, present in there.items() if present)
        raise DeviceMissing(
            f"The device {asked} was asked for, and this machine or its torch has none.",
            f"Use --device auto, or one of: {have}. `lungxai doctor` says more.",
        )
    return asked


class ModelSet:
    """The models that ship: CT and slide pipelines of shared_models, on one device.

    Parameters
    ----------
    root : folder of model bundles
    device : "cpu", "cuda" or "mps"; resolved, never "auto"
    slide_model : name of the model for slides; ``root`` is looked through first, then ``added``
    """

    def __init__(
        self, root: Path, device: str, slide_model: str = SLIDE_MODEL, added: Optional[Path] = None
    ) -> None:  # fmt: skip
        self.device = device
        self.problems: dict[str, LungXAIError] = {}
        bundles = [bundle for bundle in whole_bundles(root) if bundle.own["modality"] != "pathology"]
        self._ct = self._loaded("radiology", lambda: _ct_models(root, device))
        chosen = self._loaded("pathology", lambda: _slide_bundle(slide_model, root, added))
        self._slide: Any = None
        if chosen is not None:
            self._slide = self._loaded("pathology", lambda: _slide_model(chosen, device))
            bundles.append(chosen)
        self.other_classes: tuple[str, ...] = () if self._slide is None else self._slide.other_classes
        self.answer_columns = len(CLASSES) + len(self.other_classes) + getattr(self._slide, "judges_reliability", False)
        self.models = [described(bundle) for bundle in bundles]

    def _loaded(self, modality: str, load: Callable[[], Any]) -> Any:
        try:
            return load()
        except LungXAIError as fault:
            self.problems[modality] = fault
        except ImportError as fault:
            self.problems[modality] = ModelUnavailable(
                f"A package that {modality} needs is not installed: {fault.name}.", "Run `lungxai doctor`."
            )
        return None

    def _of(self, modality: str, model: Any) -> Any:
        if model is None:
            raise self.problems[modality]
        return model

    def analyse_ct(
        self,
        volume: CTVolume,
        *,
        points_lps_mm: Sequence[Any],
        boxes_lps_mm: Sequence[Any],
        explain: Sequence[str],
        progress: Progress,
        cancelled: Cancel,
        search: bool = True,
        corrected: Optional[LabelVolume] = None,
        target: str = CT_TARGETS[0],
        known: Optional[CTAnswer] = None,
    ) -> CTAnswer:
        from shared_models.ct_pipeline import CTAnalysis, analyse_ct, explained

        models = self._of("radiology", self._ct)
        if isinstance(known, CTAnalysis):
            return explained(volume, models, known, explain, target, progress=progress, cancelled=cancelled)
        answer: CTAnswer = analyse_ct(
            volume,
            models,
            points_lps_mm=points_lps_mm,
            boxes_lps_mm=boxes_lps_mm,
            explain=explain,
            progress=progress,
            cancelled=cancelled,
            search=search,
            corrected=corrected,
            target=target,
        )
        return answer

    def tile_answers(self, pixels: Array) -> Array:
        model = self._of("pathology", self._slide)
        # A model of others does not judge, nor does ours where what it judges by is missing.
        judges = getattr(model, "judges_reliability", False)
        answers: Array = model.answers_with_reliability(pixels) if judges else model.answers(pixels)
        return answers

    def slide_result(
        self, slide_id: str, mpp: float, tile_px: tuple[float, float], origin_px: Array, answers: Array,
        quality: Optional[Array] = None,
    ) -> PathologyResult:  # fmt: skip
        from shared_models.slide_pipeline import slide_result

        model = self._of("pathology", self._slide)
        return slide_result(
            slide_id, mpp, tile_px, origin_px, answers, (model.provenance,),
            quality=quality, other_classes=model.other_classes, notes=model.notes,
        )  # fmt: skip

    def slide_heatmaps(
        self,
        methods: Sequence[str],
        result: PathologyResult,
        pixels: Callable[[int, int], Array],
        *,
        target: Optional[str],
        contrast: Optional[str],
        progress: Progress,
        cancelled: Cancel,
    ) -> Mapping[str, Heatmap]:
        from shared_models.slide_heatmaps import slide_heatmaps

        return slide_heatmaps(
            self._of("pathology", self._slide), result, pixels, methods,
            target=target, contrast=contrast, progress=progress, cancelled=cancelled,
        )  # fmt: skip


def _ct_models(root: Path, device: str) -> Any:
    from shared_models.ct_pipeline import CTModels

    return CTModels.load(root, device)


def _slide_bundle(name: str, root: Path, added: Optional[Path]) -> Bundle:
    bundle = Bundle.load(slide_folder(name, root, added))
    if bundle.own["modality"] != "pathology":
        raise ModelUnavailable(f"The model {name} is not for slides.", "See `lungxai models list`.")
    return bundle


def _slide_model(bundle: Bundle, device: str) -> Any:
    from shared_models.slide_model import slide_model

    return slide_model(bundle, device)


def load(
    models: Path, device: str, threads: int, slide_model: str = SLIDE_MODEL, added: Optional[Path] = None
) -> Backend:
    """The backend of ``lungxai serve``; ``slide_model`` is looked for in ``models``, then in ``added``.

    Raises
    ------
    DeviceMissing : ``device`` was asked for and is not there.
    ModelUnavailable : torch is not installed, or no modality has a model.
    """
    # Before torch and ONNX Runtime are loaded, which read it then.
    os.environ["OMP_NUM_THREADS"] = str(threads)
    try:
        resolved = resolved_device(device)
        import torch
    except ImportError as fault:
        raise ModelUnavailable(f"{fault.name} is not installed.", "Run `lungxai doctor`.") from fault
    torch.set_num_threads(threads)
    backend = ModelSet(models, resolved, slide_model, added)
    if set(backend.problems) == {"radiology", "pathology"}:
        raise backend.problems["radiology"]
    return backend

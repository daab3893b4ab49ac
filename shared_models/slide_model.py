"""TileModel: what the server asks of a model of H&E tiles, whoever made it; and the one that a bundle holds.

TileModel           SlideModel (slide_pipeline.py) and WSInferModel (wsinfer_model.py) are ones
slide_model()       the model of a bundle, loaded
methods_of()        its heatmap methods, without loading it
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Optional, Protocol

from .contract.provenance import Provenance
from .contract.values import Array
from .model_bundle import WSINFER, Bundle


class TileModel(Protocol):
    """A model of tiles on one device.

    Attributes
    ----------
    provenance : what results say of it
    tile_px, mpp : side of a tile in the model's pixels, and micrometres per pixel
    other_classes : names of classes of its own, which are not among CLASSES
    methods : heatmap methods that it has
    notes : what its results say beside their own notes
    """

    provenance: Provenance
    tile_px: int
    mpp: float
    other_classes: tuple[str, ...]
    methods: tuple[str, ...]
    notes: tuple[str, ...]

    def answers(self, pixels: Array) -> Array:
        """float32 (n, 5 + k) of uint8 (n, h, w, 3) RGB: CLASSES, NaN outside the coverage, then ``other_classes``."""
        ...

    def maps(
        self, pixels: Array, methods: Sequence[str], target: str, contrast: Optional[str] = None
    ) -> dict[str, tuple[Array, dict[str, Any]]]:
        """By method: float32 (n, rows, columns), what each cell of a tile says for ``target``; and how it was made.

        ``target`` is a class of ours or of its own. With ``contrast``, what speaks for ``target`` rather than for it.
        Raises InvalidInput where a method or a class is not the model's.
        """
        ...


def slide_model(bundle: Bundle, device: str) -> TileModel:
    """The model of a bundle.

    Raises
    ------
    ModelUnavailable : it cannot be loaded.
    """
    if bundle.own.get("format") == WSINFER:
        from .wsinfer_model import WSInferModel

        return WSInferModel(bundle, device)
    from .slide_pipeline import SlideModel

    return SlideModel(bundle, device)


def methods_of(bundle: Bundle) -> tuple[str, ...]:
    """The heatmap methods of a slide model: for an added one those that worked when it was added."""
    if bundle.own.get("format") == WSINFER:
        return tuple(bundle.own["methods"])
    from .slide_pipeline import AVAILABLE

    return AVAILABLE

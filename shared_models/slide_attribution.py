"""Which parts of an H&E tile speak for a class, by any of the six methods.

explained()   the tile network as the methods see it
tile_maps()   maps of tiles, at the cells that a slide's map is made of, with how they were made
grad_cam()    Grad-CAM of one logit
SETTINGS      what each method is set to on tiles

Values are in units of the logit, the same for all tiles: a signed Grad-CAM of a tile sums to its logit less the bias,
because this network's head is linear on the mean of its features. So tiles may be compared, and background does not
glow, which it would if each tile were stretched to its own maximum.

CAMs have the cells of the features, 9 x 9 at 288 px. The other methods' maps are pooled to 28 x 28 cells of 8 x 8
pixels, so that a slide of many tiles fits the memory: Integrated Gradients by the sum, which stays complete, the
others by the mean.

Integrated Gradients starts from, and Occlusion covers with, white: the glass beside the tissue.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Callable, Optional

import numpy as np

from .attribution_record import joined
from .contract.results import METHODS
from .contract.values import Array
from .slide_network import SLIDE_CLASSES, SlideNetwork

POOLED = 28
SETTINGS: Mapping[str, Mapping[str, Any]] = {
    "integrated_gradients": {"baseline": "white", "most_steps": 128},
    "occlusion": {"baseline": "white", "window": 32, "stride": 16},
}
_AT_ONCE = 16  # tiles whose full maps are held


def explained(
    network: SlideNetwork, classes: Sequence[str], logits: Optional[Callable[[Array], Array]] = None
) -> Any:  # fmt: skip
    """The network as attribution.Explained; keep it, for it is made ready once.

    Parameters
    ----------
    network : in evaluation
    classes : of its logits
    logits : uint8 (n, h, w, 3) -> float32 (n, classes) by a faster way (SlideModel.logits on its ONNX session);
        Occlusion uses it
    """
    from .attribution_model import Explained

    def scores(batch: Array) -> Array:
        assert logits is not None
        return logits(np.clip(np.rint(batch), 0, 255).astype(np.uint8).transpose(0, 2, 3, 1))

    device = str(next(network.parameters()).device)
    return Explained(
        network, classes, layer="features", low=0.0, high=255.0, scores=scores if logits else None, device=device
    )


def tile_maps(
    model: Any, pixels: Array, methods: Sequence[str] = METHODS, target: Any = None, contrast: Any = None,
    settings: Optional[Mapping[str, Mapping[str, Any]]] = None,
) -> dict[str, tuple[Array, dict[str, Any]]]:  # fmt: skip
    """Maps of tiles by several methods, in shared passes.

    Parameters
    ----------
    model : of explained()
    pixels : uint8 (n, 224, 224, 3), RGB
    methods : of METHODS
    target, contrast : class by name or index, one for all tiles or one each; None: each tile's predicted class, and
        no class subtracted
    settings : by method, in place of those of SETTINGS

    Returns
    -------
    by method: float32 (n, 9, 9) of a CAM or (n, 28, 28), signed where the method is, and how it was made, for
    Heatmap.parameters

    Raises
    ------
    InvalidInput : a class outside the model, a method or a setting that there is not.
    """
    from .attribution import attribute_all

    chosen = {name: {**SETTINGS.get(name, {}), **(settings or {}).get(name, {})} for name in methods}
    maps: dict[str, list[Array]] = {name: [] for name in methods}
    records: dict[str, list[dict[str, Any]]] = {name: [] for name in methods}

    def of(part: Any, start: int) -> Any:
        each = isinstance(part, (list, tuple, np.ndarray))
        return list(part[start : start + _AT_ONCE]) if each else part

    for start in range(0, len(pixels), _AT_ONCE):
        batch = np.ascontiguousarray(pixels[start : start + _AT_ONCE].transpose(0, 3, 1, 2), dtype=np.float32)
        found = attribute_all(
            model, batch, of(target, start), methods, contrast=of(contrast, start),
            **{name: mine for name, mine in chosen.items() if mine},
        )  # fmt: skip
        for name, one in found.items():
            maps[name].append(one.cells if one.cells is not None else one.pooled((POOLED, POOLED)))
            how = {} if one.cells is not None else {"pooled": "sum" if one.adds_up else "mean"}
            records[name].append({**one.record, **how})
    return {name: (np.concatenate(maps[name]), joined(records[name])) for name in methods if maps[name]}


def grad_cam(network: SlideNetwork, pixels: Array, target: int, positive: bool = True) -> Array:
    """Grad-CAM of one logit.

    Parameters
    ----------
    network : in evaluation
    pixels : uint8 (n, 224, 224, 3), RGB
    target : index of the logit
    positive : cut negative values, as the paper does

    Returns
    -------
    float32 (n, cells, cells): what each cell adds to the logit
    """
    names = SLIDE_CLASSES if network._fc.out_features == len(SLIDE_CLASSES) else range(network._fc.out_features)
    model = explained(network, [str(name) for name in names])
    return tile_maps(model, pixels, ("gradcam",), target, settings={"gradcam": {"positive": positive}})["gradcam"][0]

"""Tiles that look unlike what the slide model learned from: how they are told, and what a slide says without them.

with_features()    the ONNX model with the features before its last layer as a second output
features_of()      the same features by torch
SlideAnswer        probabilities of a slide, what is to be said, and whether it abstains
mean_of()          the reliability of a slide
weighed()          a slide's answer without such tiles

A tile whose reliability is under 0.5 (out_of_distribution.py) is left out of the slide's probabilities; its own stay in
the result, as what the model said. There is no answer for the slide where MOST_FOREIGN of its tiles are left out, and
none where the likeliest class would be another one with them, by more than DECISIVE: a tumour that the model never saw
must not turn into "normal" by being left out. A tie of two classes that a few tiles tip is no reason.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Optional

import numpy as np

from .contract.values import Abstention, Array
from .out_of_distribution import UNRELIABLE

MOST_FOREIGN = 0.95
LEAST_TILES = 1
DECISIVE = 0.1  # of probability
OUTPUT = "features"

# tile probabilities (n, 5), n > 0 -> class to probability of the slide
Pooled = Callable[[Array], Mapping[str, float]]


def with_features(model: bytes) -> Optional[bytes]:
    """The serialised ONNX model with one more output, float32 (n, d): what its last layer is given.

    None where the last layer is not a fully connected one, so that there are no such features.
    """
    import onnx

    graph = onnx.load_from_string(model)
    made_by = {name: node for node in graph.graph.node for name in node.output}
    last = made_by.get(graph.graph.output[0].name)
    if last is not None and last.op_type == "Add":
        last = next((made_by[name] for name in last.input if name in made_by), None)
    if last is None or last.op_type not in ("Gemm", "MatMul"):
        return None
    source = last.input[0]
    graph.graph.node.append(onnx.helper.make_node("Identity", [source], [OUTPUT]))
    graph.graph.output.append(onnx.helper.make_tensor_value_info(OUTPUT, onnx.TensorProto.FLOAT, None))
    answer: bytes = graph.SerializeToString()
    return answer


def features_of(network: Any, batch: Any) -> tuple[Any, Any]:
    """Logits (n, k) and features (n, d) of a torch batch; ``network`` ends with its layer ``_fc``."""
    kept: list[Any] = []
    hook = network._fc.register_forward_pre_hook(lambda module, given: kept.append(given[0]))
    try:
        logits = network(batch)
    finally:
        hook.remove()
    return logits, kept[0]


@dataclass(frozen=True, eq=False)
class SlideAnswer:
    """``probabilities`` is None where there is no answer, and ``abstention`` then says why."""

    probabilities: Optional[Mapping[str, float]]
    notes: tuple[str, ...]
    abstention: Optional[Abstention]


def mean_of(reliability: Array) -> Optional[float]:
    """Of a slide: the mean over its tiles (n,); None where there is none."""
    return float(np.clip(reliability.mean(dtype=np.float64), 0.0, 1.0)) if len(reliability) else None


def weighed(tile_probabilities: Array, reliability: Optional[Array], pooled: Pooled) -> SlideAnswer:
    """What a slide shows, by the tiles that look like those the model learned from.

    Parameters
    ----------
    tile_probabilities : float32 (n, 5), n > 0
    reliability : float32 (n,), 0 to 1; NaN, or None for all, where it was not assessed: such tiles count
    """
    everything = pooled(tile_probabilities)
    if reliability is None or np.isnan(reliability).all():
        return SlideAnswer(everything, (), None)
    foreign = reliability < UNRELIABLE
    count, left_out = len(foreign), int(foreign.sum())
    if not left_out:
        return SlideAnswer(everything, (), None)
    what = f"{left_out} of {count} tiles look unlike the H&E that the model learned from"
    if count - left_out < LEAST_TILES or left_out >= MOST_FOREIGN * count:
        return SlideAnswer(None, (), Abstention(
            f"{what}, so the slide is not assessed.",
            "A slide stained with H&E and scanned in focus, with its right pixel size; or a model of that laboratory.",
        ))  # fmt: skip
    answer = pooled(tile_probabilities[~foreign])
    likeliest, with_them = (max(found, key=lambda name: found[name]) for found in (answer, everything))
    if likeliest != with_them and everything[with_them] - answer[with_them] > DECISIVE:
        names = [name.replace("_", " ") for name in (likeliest, with_them)]
        return SlideAnswer(None, (), Abstention(
            f"{what}; without them the slide would be {names[0]}, with them {names[1]}.",
            "A pathologist's look at these tiles: they may be a class that the model never saw, or artefacts.",
        ))  # fmt: skip
    return SlideAnswer(answer, (f"{what}; they were left out of the slide's probabilities.",), None)

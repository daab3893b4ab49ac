"""The layers of networks as ONNX operators, forward and backward.

Convolutions, activations, pooling, batch and group norm; importing this registers them with attribution_onnx_operators.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Optional

import numpy as np

from .attribution_onnx_operators import ATEN, Translation, only, rule, shape
from .contract.values import Array


def _single(value: Any) -> Array:
    return np.asarray(value, np.float32)


# --- convolutions


@rule(ATEN.convolution.default)
def _convolved(
    t: Translation, node: Any, x: Any, weight: Any, bias: Any, stride: Any, pad: Any, dilation: Any, transposed: bool,
    output_pad: Any, groups: int,
) -> Any:  # fmt: skip
    given = [t.name(part) for part in (x, weight, bias) if part is not None]
    how = {"strides": list(stride), "pads": [*pad, *pad], "dilations": list(dilation), "group": groups}
    if transposed:
        return t.add("ConvTranspose", *given, output_padding=list(output_pad), **how)
    return t.add("Conv", *given, **how)


@rule(ATEN.convolution_backward.default)
def _unconvolved(
    t: Translation, node: Any, g: Any, x: Any, weight: Any, bias_sizes: Any, stride: Any, pad: Any, dilation: Any,
    transposed: bool, output_pad: Any, groups: int, wanted: Any,
) -> list[Any]:  # fmt: skip
    only(list(wanted) == [True, False, False], "gradients of weights")
    if transposed:
        how = {"strides": list(stride), "pads": [*pad, *pad], "dilations": list(dilation), "group": groups}
        return [t.add("Conv", t.name(g), t.name(weight), **how)]
    only(all(d == 1 for d in dilation), "dilated kernels")
    size, first = list(shape(x)[2:]), list(pad)
    cut = _cut(node)
    if cut is not None:  # the image was padded before: its padding's gradient need not be computed
        first = [p + begin for p, begin in zip(pad, cut[1])]
        size = list(shape(cut[0])[2:])
    made = _input_gradient(t, t.name(g), shape(g)[2:], t.weight(weight), list(stride), first, size, groups)
    if cut is not None:
        t.values[cut[0]] = made
    return [made]


def _input_gradient(
    t: Translation, g: str, there: Sequence[int], weight: Array, stride: list[int], first: list[int], size: list[int],
    groups: int,
) -> Any:  # fmt: skip
    """The gradient by a convolution's input, of ``size``; ``first`` is the padding before it, ``there`` the output."""
    kernel = weight.shape[2:]
    reach = [(n - 1) * s + k - p for n, s, k, p in zip(there, stride, kernel, first)]  # where the last window ends
    before = [k - 1 - p for k, p in zip(kernel, first)]
    after = [k - 1 + s - r for k, s, r in zip(kernel, size, reach)]
    if all(s == 1 for s in stride) and min(before + after) >= 0:
        out, into = weight.shape[:2]
        turned = np.flip(weight, tuple(range(2, weight.ndim)))
        swapped = turned.reshape(groups, out // groups, into, *kernel).swapaxes(1, 2)
        swapped = swapped.reshape(groups * into, out // groups, *kernel)
        return t.add("Conv", g, swapped, pads=before + after, group=groups)
    if groups == weight.shape[0] and any(s > 1 for s in stride):
        # Of each channel alone: zeros put between first, for ONNX Runtime's transposed convolution is slow at it.
        ones = np.ones((groups, 1, *[1] * len(kernel)), np.float32)
        apart = t.add("ConvTranspose", g, ones, strides=stride, output_padding=[s - 1 for s in stride], group=groups)
        wide = [n * s for n, s in zip(there, stride)]
        return _input_gradient(t, apart, wide, weight, [1] * len(kernel), first, size, groups)
    only(min(first) >= 0, "padding that cuts")
    ends, more = [max(r - s, 0) for r, s in zip(reach, size)], [max(s - r, 0) for r, s in zip(reach, size)]
    return t.add(
        "ConvTranspose", g, t.constant(weight), strides=stride, pads=first + ends, output_padding=more, group=groups
    )


def _cut(node: Any) -> Optional[tuple[Any, list[int]]]:
    """The node that cuts padding off this gradient, if that is all that is done with it, and what it cuts off first."""
    (item, *others) = node.users
    if others or len(item.users) != 1:
        return None
    (after,) = item.users
    if after.target is not ATEN.constant_pad_nd.default:
        return None
    pad = after.args[1]
    whole = len(pad) == 2 * (len(shape(after)) - 2)
    return (after, [-p for p in pad[-2::-2]]) if whole and max(pad) <= 0 else None


# --- activations


@rule(ATEN.relu.default)
def _relu(t: Translation, node: Any, x: Any) -> Any:
    t.after[x] = t.add("Relu", t.name(x))
    return t.after[x]


@rule(ATEN.hardtanh.default)
def _clipped(t: Translation, node: Any, x: Any, low: float = -1, high: float = 1) -> Any:
    t.after[x] = t.add("Clip", t.name(x), _single(low), _single(high))
    return t.after[x]


@rule(ATEN.leaky_relu.default)
def _leaky(t: Translation, node: Any, x: Any, slope: float = 0.01) -> Any:
    only(slope > 0, "a slope that turns the sign")
    t.after[x] = t.add("LeakyRelu", t.name(x), alpha=float(slope))
    return t.after[x]


def _above(t: Translation, x: Any, low: float) -> str:
    found: str = t.add("Greater", t.after.get(x) or t.name(x), _single(low))
    return found


@rule(ATEN.threshold_backward.default)
def _unrelu(t: Translation, node: Any, g: Any, x: Any, low: float) -> Any:
    return t.masked(g, _above(t, x, low))


@rule(ATEN.hardtanh_backward.default)
def _unclipped(t: Translation, node: Any, g: Any, x: Any, low: float, high: float) -> Any:
    below = t.add("Less", t.after.get(x) or t.name(x), _single(high))
    return t.masked(g, _above(t, x, low), below)


@rule(ATEN.leaky_relu_backward.default)
def _unleaky(t: Translation, node: Any, g: Any, x: Any, slope: float, of_result: bool) -> Any:
    only(0 < slope <= 1, "a slope above 1")
    factor = t.add("Max", t.add("Cast", _above(t, x, 0), to=1), _single(slope))
    return t.add("Mul", t.name(g), factor)


# --- pooling


def _windows(kernel: Sequence[int], stride: Any, pad: Any = 0, dilation: Any = 1, ceil: bool = False) -> list[int]:
    """The window's sides, of windows that lie side by side."""
    lists = [list(part) if isinstance(part, (list, tuple)) else [part] for part in (stride, pad, dilation)]
    only(lists[0] in ([], list(kernel)), "windows that overlap")
    only(not any(lists[1]) and all(d == 1 for d in lists[2]) and not ceil, "windows beyond the edge")
    return list(kernel)


@rule(ATEN.max_pool2d_with_indices.default, ATEN.max_pool3d_with_indices.default)
def _highest(t: Translation, node: Any, x: Any, kernel: Any, stride: Any = (), *how: Any) -> Any:
    sides = _windows(kernel, stride, *how)
    return t.add("MaxPool", t.name(x), outputs=2, kernel_shape=sides, strides=sides)


@rule(ATEN.max_pool2d_with_indices_backward.default, ATEN.max_pool3d_with_indices_backward.default)
def _unhighest(
    t: Translation, node: Any, g: Any, x: Any, kernel: Any, stride: Any, pad: Any, dilation: Any, ceil: bool, at: Any
) -> Any:
    sides = _windows(kernel, stride, pad, dilation, ceil)
    size = np.array(shape(x), np.int64)
    return t.add("MaxUnpool", t.name(g), t.name(at), size, kernel_shape=sides, strides=sides)


@rule(ATEN.avg_pool2d.default, ATEN.avg_pool3d.default)
def _mean(t: Translation, node: Any, x: Any, kernel: Any, stride: Any = (), *how: Any) -> Any:
    only(not any(how), "means beyond the edge")
    sides = _windows(kernel, stride)
    return t.add("AveragePool", t.name(x), kernel_shape=sides, strides=sides)


@rule(ATEN.avg_pool2d_backward.default, ATEN.avg_pool3d_backward.default)
def _unmean(
    t: Translation, node: Any, g: Any, x: Any, kernel: Any, stride: Any, pad: Any, ceil: bool, *how: Any
) -> Any:
    sides = _windows(kernel, stride, pad, 1, ceil)
    cells = shape(g)[2:]
    only(list(shape(x)[2:]) == [c * s for c, s in zip(cells, sides)] and how[-1] is None, "means beyond the edge")
    # Each cell repeated; its share first, while there are few.
    share = t.add("Mul", t.name(g), _single(1 / np.prod(sides)))
    times = _single([1, 1, *sides])
    how = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    return t.add("Resize", share, "", times, **how)


# --- norms


@rule(ATEN.native_batch_norm.default)
def _batch_normed(
    t: Translation, node: Any, x: Any, weight: Any, bias: Any, mean: Any, variance: Any, training: bool, *how: float
) -> Any:
    only(not training and weight is not None and bias is not None, "batch norm that learns")
    given = [t.name(part) for part in (weight, bias, mean, variance)]
    return [t.add("BatchNormalization", t.name(x), *given, epsilon=how[-1]), None, None]


@rule(ATEN.native_batch_norm_backward.default)
def _unbatch_normed(
    t: Translation, node: Any, g: Any, x: Any, weight: Any, mean: Any, variance: Any, _mean: Any, _deviation: Any,
    training: bool, epsilon: float, wanted: Any,
) -> Any:  # fmt: skip
    only(not training and weight is not None, "batch norm that learns")
    scale = t.weight(weight) / np.sqrt(t.weight(variance) + epsilon)
    return [t.add("Mul", t.name(g), _single(scale.reshape(-1, *[1] * (len(shape(x)) - 2))))]


@rule(ATEN.native_group_norm.default)
def _group_normed(
    t: Translation, node: Any, x: Any, weight: Any, bias: Any, n: int, channels: int, pixels: int, groups: int,
    epsilon: float,
) -> Any:  # fmt: skip
    each = channels // groups * pixels
    standard, _, inverse = t.add(
        "LayerNormalization", t.reshaped(x, (n, groups, each)), np.ones(each, np.float32), outputs=3, axis=-1,
        epsilon=epsilon,
    )  # fmt: skip
    t.normed[x] = standard, inverse = t.reshaped(standard, shape(x)), inverse
    # Scale and shift of each channel as a convolution, because ONNX Runtime can join the activation to it.
    ones = [1] * (len(shape(x)) - 2)
    scale = t.weight(weight).reshape(channels, 1, *ones)
    return [t.add("Conv", standard, scale, t.name(bias), group=channels), None, None]


@rule(ATEN.native_group_norm_backward.default)
def _ungroup_normed(
    t: Translation, node: Any, g: Any, x: Any, _mean: Any, _deviation: Any, weight: Any, n: int, channels: int,
    pixels: int, groups: int, wanted: Any,
) -> Any:  # fmt: skip
    """With w the weight, h the standardised input, s its deviation and < > the mean over a group:
    (w g - <w g> - h <w g h>) / s.
    """  # noqa: D205
    standard, inverse = t.normed[x]
    ones, space = [1] * (len(shape(x)) - 2), np.arange(2, len(shape(x)), dtype=np.int64)
    each, scale = channels // groups, t.weight(weight).reshape(-1)
    group = np.arange(channels) // each
    mean_of_group = (group[:, None] == group) * scale[:, None] / each  # of the channels' means, weighted
    of_group = np.arange(groups)[:, None] == group
    deviation = t.add("MatMul", t.reshaped(inverse, (n, groups)), _single(of_group))

    def each_channel(values: Any) -> str:
        return t.reshaped(values, (n, channels, *ones))

    def owed(values: str) -> str:
        mean = t.add("MatMul", t.add("ReduceMean", values, space, keepdims=0), _single(mean_of_group))
        return each_channel(t.add("Mul", mean, deviation))

    gradient = t.name(g)
    shift, slope = owed(gradient), owed(t.add("Mul", gradient, standard))
    own = t.add("Mul", gradient, each_channel(t.add("Mul", deviation, _single(scale))))
    return [t.add("Sub", own, t.add("Add", t.add("Mul", standard, slope), shift))]

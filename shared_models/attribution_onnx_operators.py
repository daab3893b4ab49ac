"""ATen operators as ONNX ones: what is needed to run a network and its way back on ONNX Runtime.

onnx_model()   an ONNX model of a graph that torch traced (forward and backward in one), or Unsupported
Unsupported    there is an operator, or a use of one, that has no translation here
Translation    the ONNX graph while it grows; what the translations are written with
rule()         registers a translation; those of shapes and arithmetic are here, layers in attribution_onnx_layers

Each translation is a function of its own, registered under the ATen names that it serves. Shapes are those of the
trace. A convolution's way back is a convolution again: with the kernel turned and its channels swapped where the stride
is 1, transposed where it is not. Where an activation has a kink, the gradient is torch's: 0 at both ends of ReLU6 and
at 0 of ReLU, the slope at 0 of LeakyReLU; a maximum that stands twice in a window passes it to the first. Masks are
taken from what the activation gave, not from what it was given, so that ONNX Runtime can join it to its convolution.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any, Callable

import numpy as np
import torch

from .contract.values import Array

OPSET, IR = 18, 10
ATEN = torch.ops.aten
_RULES: dict[Any, Callable[..., Any]] = {}


class Unsupported(Exception):
    """The graph holds what has no translation."""


def onnx_model(traced: torch.fx.GraphModule, inputs: Sequence[str]) -> bytes:
    """A serialised ONNX model of ``traced``; its outputs are out0, out1, ...

    Parameters
    ----------
    traced : of make_fx, all tensors float32
    inputs : names of the placeholders

    Raises
    ------
    Unsupported : see above. ImportError : the package onnx is missing.
    """
    from . import attribution_onnx_layers  # noqa: F401  registers the layers

    return Translation(traced).model(inputs)


def rule(*names: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Registers (translation, node, *its arguments) -> value as the translation of these operators."""
    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        _RULES.update(dict.fromkeys(names, function))
        return function

    return register


class Translation:
    """The ONNX graph while it grows. Values are tensors where they are constant, and names of ONNX values else."""

    def __init__(self, traced: torch.fx.GraphModule) -> None:
        self.traced = traced
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.values: dict[torch.fx.Node, Any] = {}
        self.after: dict[torch.fx.Node, str] = {}  # of what an activation was given: what it gave
        self.normed: dict[torch.fx.Node, tuple[str, str]] = {}  # of what a norm was given: standardised, 1 / deviation
        self.count = 0

    def model(self, inputs: Sequence[str]) -> bytes:
        from onnx import helper

        names, entries, exits = iter(inputs), [], []
        for node in self.traced.graph.nodes:
            if node.op == "placeholder":
                self.values[node] = next(names)
                entries.append(helper.make_tensor_value_info(self.values[node], 1, shape(node)))
            elif node.op == "get_attr":
                self.values[node] = getattr(self.traced, node.target).detach()
            elif node.op == "output":
                for k, part in enumerate(node.args[0]):
                    self.nodes.append(helper.make_node("Identity", [self.name(part)], [f"out{k}"]))
                    exits.append(helper.make_tensor_value_info(f"out{k}", 1, shape(part)))
            elif node not in self.values:
                self.values[node] = self.translated(node)
        graph = helper.make_graph(self.nodes, "gradient", entries, exits, self.constants)
        made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR)
        result: bytes = made.SerializeToString()
        return result

    def translated(self, node: torch.fx.Node) -> Any:
        if node.target is operator.getitem:
            return self.values[node.args[0]][node.args[1]]  # type: ignore[index]
        if all(isinstance(self.values[before], torch.Tensor) for before in node.all_input_nodes):
            arguments = torch.fx.node.map_arg((node.args, node.kwargs), lambda before: self.values[before])
            return node.target(*arguments[0], **arguments[1])  # type: ignore[operator]
        if node.target not in _RULES:
            raise Unsupported(str(node.target))
        return _RULES[node.target](self, node, *node.args, **node.kwargs)

    def constant(self, values: Any) -> str:
        from onnx import numpy_helper

        self.count += 1
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(values), f"c{self.count}"))
        return f"c{self.count}"

    def name(self, of: Any) -> str:
        """The ONNX name of a node of the trace, a tensor or a number."""
        value = self.values[of] if isinstance(of, torch.fx.Node) else of
        if isinstance(value, str):
            return value
        if isinstance(value, torch.Tensor):
            return self.constant(value.detach().numpy())
        return self.constant(np.asarray(value, np.float32))

    def weight(self, of: torch.fx.Node) -> Array:
        """The values of a constant.

        Raises
        ------
        Unsupported : it is none.
        """
        value = self.values[of]
        if not isinstance(value, torch.Tensor):
            raise Unsupported("a weight that is computed")
        found: Array = value.detach().numpy()
        return found

    def add(self, kind: str, *inputs: Any, outputs: int = 1, **attributes: Any) -> Any:
        """A node; its inputs are names or constants. Returns the name of its output, or the names."""
        from onnx import helper

        names = [part if isinstance(part, str) else self.constant(part) for part in inputs]
        made = [f"v{self.count}_{k}" for k in range(outputs)]
        self.count += 1
        self.nodes.append(helper.make_node(kind, names, made, **attributes))
        return made[0] if outputs == 1 else made

    def reshaped(self, of: Any, to: Sequence[int]) -> str:
        name: str = self.add("Reshape", self.name(of), np.array(to, np.int64))
        return name

    def masked(self, gradient: Any, *masks: str) -> str:
        """The gradient where all masks are true, and 0 else; a product, for ONNX Runtime's Where is slower."""
        both = masks[0] if len(masks) == 1 else self.add("And", *masks)
        found: str = self.add("Mul", self.name(gradient), self.add("Cast", both, to=1))
        return found


def shape(node: torch.fx.Node) -> tuple[int, ...]:
    """Of the trace."""
    meta = node.meta["val"] if "val" in node.meta else node.meta["tensor_meta"]
    return tuple(int(part) for part in meta.shape)



def only(condition: bool, what: str) -> None:
    """Raises Unsupported unless the condition holds."""
    if not condition:
        raise Unsupported(what)


# --- shapes


@rule(ATEN.detach.default, ATEN.clone.default, ATEN.alias.default)
def _same(t: Translation, node: Any, x: Any, **how: Any) -> Any:
    return t.values[x]


@rule(
    ATEN.view.default, ATEN.reshape.default, ATEN._unsafe_view.default, ATEN.unsqueeze.default,
    ATEN.squeeze.dim, ATEN.squeeze.dims,
)  # fmt: skip
def _reshaped(t: Translation, node: Any, x: Any, *how: Any) -> str:
    return t.reshaped(x, shape(node))


@rule(ATEN.expand.default)
def _expanded(t: Translation, node: Any, x: Any, *how: Any, **more: Any) -> Any:
    same = shape(x) == shape(node)
    return t.name(x) if same else t.add("Expand", t.name(x), np.array(shape(node), np.int64))


@rule(ATEN.permute.default, ATEN.t.default)
def _permuted(t: Translation, node: Any, x: Any, order: Sequence[int] = (1, 0)) -> Any:
    return t.add("Transpose", t.name(x), perm=list(order))


@rule(ATEN.slice.Tensor)
def _sliced(t: Translation, node: Any, x: Any, axis: int = 0, start: Any = 0, end: Any = None, step: int = 1) -> Any:
    if shape(x) == shape(node):
        return t.name(x)
    size = shape(x)[axis]
    first, last = start or 0, size if end is None else min(end, size)
    return t.add("Slice", t.name(x), *(np.array([part], np.int64) for part in (first, last, axis, step)))


@rule(ATEN.slice_backward.default)
def _unsliced(t: Translation, node: Any, g: Any, sizes: Any, axis: int, start: int, end: int, step: int) -> Any:
    only(step == 1, "slices with steps")
    if shape(g) == shape(node):
        return t.name(g)
    pads = np.zeros((2, len(sizes)), np.int64)
    first = start + sizes[axis] if start < 0 else start
    pads[:, axis] = first, sizes[axis] - first - shape(g)[axis]
    return t.add("Pad", t.name(g), pads.ravel())


@rule(ATEN.cat.default)
def _joined(t: Translation, node: Any, parts: Sequence[Any], axis: int = 0) -> Any:
    return t.add("Concat", *(t.name(part) for part in parts), axis=axis)


@rule(ATEN.constant_pad_nd.default)
def _padded(t: Translation, node: Any, x: Any, pad: Sequence[int], value: float = 0) -> Any:
    only(value == 0, "padding that is not 0")
    missing = [0] * (len(shape(node)) - len(pad) // 2)
    return t.add("Pad", t.name(x), np.array([*missing, *pad[-2::-2], *missing, *pad[-1::-2]], np.int64))


@rule(ATEN.replication_pad2d.default)
def _replicated(t: Translation, node: Any, x: Any, pad: Sequence[int]) -> Any:
    only(not any(pad), "padding by replication")  # MONAI's U-Net asks for it even where there is nothing to pad
    return t.name(x)


@rule(ATEN.replication_pad2d_backward.default)
def _unreplicated(t: Translation, node: Any, g: Any, x: Any, pad: Sequence[int]) -> Any:
    return _replicated(t, node, g, pad)


# --- arithmetic


@rule(*(getattr(ATEN, name).Tensor for name in ("add", "sub", "mul", "div")), ATEN.div.Scalar, ATEN.mul.Scalar)
def _computed(t: Translation, node: Any, a: Any, b: Any, alpha: float = 1) -> Any:
    only(alpha == 1, "weighted sums")
    kind = str(node.target).split(".")[1].capitalize()
    return t.add(kind, t.name(a), t.name(b))


@rule(ATEN.neg.default)
def _negated(t: Translation, node: Any, x: Any) -> Any:
    return t.add("Neg", t.name(x))


@rule(ATEN.sum.dim_IntList, ATEN.mean.dim)
def _reduced(t: Translation, node: Any, x: Any, axes: Sequence[int], keep: bool = False, **how: Any) -> Any:
    kind = "ReduceMean" if node.target is ATEN.mean.dim else "ReduceSum"
    return t.add(kind, t.name(x), np.array(axes, np.int64), keepdims=int(keep))


@rule(ATEN.mm.default)
def _product(t: Translation, node: Any, a: Any, b: Any) -> Any:
    return t.add("MatMul", t.name(a), t.name(b))


@rule(ATEN.addmm.default)
def _linear(t: Translation, node: Any, bias: Any, a: Any, b: Any) -> Any:
    return t.add("Gemm", t.name(a), t.name(b), t.name(bias))

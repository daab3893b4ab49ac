"""ONNX Runtime's own optimised graph, with fewer changes of layout.

optimised()   a serialised model as ONNX Runtime would run it on this machine, and fewer changes of layout in it

ONNX Runtime convolves on blocks of channels, and reorders what other operators compute with, before and after. But an
operator that looks at each element alone does not mind the order: between two convolutions it can stay in blocks. On
the way back through a network that is every activation's mask.

What comes out is bound to this machine and this version of ONNX Runtime; it is never stored.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

_BLOCKED = "com.microsoft.nchwc"
_ELEMENTWISE = ("Add", "And", "Cast", "Greater", "Less", "Max", "Mul", "Sub")
_WHOLE_BLOCKS = 16  # channels; the blocks are of 8 or 16, by the processor


def optimised(model: bytes) -> bytes:
    """The model, to be run without further optimisation.

    Parameters
    ----------
    model : serialised ONNX

    Raises
    ------
    RuntimeError : ONNX Runtime's, if it cannot run the model or write it down.
    """
    import onnx
    import onnx.shape_inference
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "optimised.onnx"
        options.optimized_model_filepath = str(path)
        onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        found = onnx.load(path)
    known = onnx.shape_inference.infer_shapes(onnx.load_from_string(model)).graph.value_info
    shapes = {each.name: tuple(side.dim_value for side in each.type.tensor_type.shape.dim) for each in known}
    _Blocks(found.graph, shapes).applied()
    result: bytes = found.SerializeToString()
    return result


class _Blocks:
    """The rewriting of one graph; ``shapes`` are those of the values that it shares with the model it was made of."""

    def __init__(self, graph: Any, shapes: dict[str, tuple[int, ...]]) -> None:
        self.graph, self.shapes = graph, shapes
        self.makers = {name: node for node in graph.node for name in node.output}
        self.single = {each.name for each in graph.initializer if all(side == 1 for side in each.dims)}
        self.known: dict[str, str] = {}  # by a value's name: that of the same value in blocks, or none
        self.added: list[Any] = []

    def applied(self) -> None:
        kept, renamed = [], {}
        for node in self.graph.node:
            if node.op_type == "ReorderInput" and node.domain == _BLOCKED and not _channels_last(node):
                blocked = self.blocked(node.input[0])
                if blocked:
                    renamed[node.output[0]] = blocked
            kept.append(node)
        for node in [*kept, *self.added]:
            for k, name in enumerate(node.input):
                node.input[k] = renamed.get(name, name)
        ordered = _ordered([*kept, *self.added], [each.name for each in self.graph.output])
        del self.graph.node[:]
        self.graph.node.extend(ordered)

    def blocked(self, value: str) -> str:
        """The name of ``value`` in blocks, which is added if need be; "" where it has to be reordered."""
        if value not in self.known:
            self.known[value] = self._found(value)
        return self.known[value]

    def _found(self, value: str) -> str:
        node = self.makers.get(value)
        if node is None:
            return ""
        if node.op_type == "ReorderOutput" and node.domain == _BLOCKED:
            channels = next((each.i for each in node.attribute if each.name == "channels"), 1)
            return str(node.input[0]) if channels % _WHOLE_BLOCKS == 0 and not _channels_last(node) else ""
        if node.op_type not in _ELEMENTWISE or node.domain not in ("", "ai.onnx"):
            return ""
        several = [self.shapes.get(name) for name in node.input if name not in self.single]
        if any(each is None or each != self.shapes.get(value) for each in several):
            return ""  # something is repeated along an axis, which blocks have elsewhere
        names = [name if name in self.single else self.blocked(name) for name in node.input]
        if not all(names) or all(name in self.single for name in names):
            return ""
        copied = type(node)()
        copied.CopyFrom(node)
        copied.name, copied.input[:], copied.output[:] = f"{value}_blocked", names, [f"{value}_blocked"]
        self.added.append(copied)
        return f"{value}_blocked"


def _channels_last(node: Any) -> bool:
    return any(each.name == "channels_last" and each.i for each in node.attribute)


def _ordered(nodes: list[Any], wanted: list[str]) -> list[Any]:
    """Those that are needed, each after what it needs."""
    makers = {name: node for node in nodes for name in node.output}
    done: set[int] = set()
    ordered: list[Any] = []
    waiting = [(makers[name], False) for name in reversed(wanted)]
    while waiting:
        node, ready = waiting.pop()
        if ready:
            ordered.append(node)
        elif id(node) not in done:
            done.add(id(node))
            waiting.append((node, True))
            waiting += [(makers[name], False) for name in node.input if name in makers]
    return ordered

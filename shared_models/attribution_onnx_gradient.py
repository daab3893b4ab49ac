"""Gradients of a network's inputs on ONNX Runtime, which on a CPU is faster at them than torch; see tests/bench.

OnnxGradient   compiled for one shape of inputs: the gradient, the logits and what else was asked for
compiled()     an OnnxGradient, or None where there cannot be one

torch differentiates, ONNX Runtime computes: the network and its way back are traced together as one graph of ATen
operators, each of which attribution_onnx_operators translates; attribution_onnx_layout spares what ONNX Runtime would
reorder. The result is compared with torch's own on the first input. Where the package onnx is missing, an operator has
no translation or the two differ, gradients stay torch's.
Numbers are single precision on both sides and differ by rounding alone.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from typing import Callable, Optional

import torch
from torch import Tensor, nn

from .attribution_network import captured, folded
from .attribution_onnx_layout import optimised

Forward = Callable[[nn.Module, Tensor, Optional[Tensor]], Tensor]
# Of the norm. Rounding may turn a ReLU that is all but zero, which shows in a few places of the gradient.
_SAME_ANSWER, _SAME_GRADIENT = 1e-4, 3e-2


@dataclass(frozen=True, eq=False)
class Passed:
    """What one pass gave, of n inputs.

    Parameters
    ----------
    gradient : (n, channels, *space), of the seeded logits by the inputs
    logits : (n, outputs)
    features, by_features : (n, channels, *cells), what the layer gave and the gradient by it, where they were asked for
    """

    gradient: Tensor
    logits: Tensor
    features: Optional[Tensor] = None
    by_features: Optional[Tensor] = None


class OnnxGradient:
    """A session that takes one input at a time: on a CPU batches gain nothing here, and any number of inputs fits.

    Parameters
    ----------
    model : serialised ONNX, of inputs, seed and what is given
    threads : that it may use
    ready : run the model as it is
    """

    def __init__(self, model: bytes, threads: int, ready: bool = False) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = threads
        if ready:
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def __call__(self, inputs: Tensor, seed: Tensor, given: Optional[Tensor]) -> Passed:
        """Of inputs (n, channels, *space), seed (n, outputs) and given (n, ...)."""
        named = {"inputs": inputs, "seed": seed, "given": given}
        arrays = {name: part.float().contiguous().numpy() for name, part in named.items() if part is not None}
        rows = [self._session.run(None, {n: a[k : k + 1] for n, a in arrays.items()}) for k in range(len(inputs))]
        return Passed(*(torch.cat([torch.from_numpy(part) for part in parts]) for parts in zip(*rows)))


def compiled(
    network: nn.Module, layer: str, inputs: Tensor, seed: Tensor, given: Optional[Tensor], forward: Forward,
    captures: bool = False,
) -> Optional[OnnxGradient]:  # fmt: skip
    """Compile for inputs like this one.

    Parameters
    ----------
    network : in evaluation
    layer : module whose output must stay what it is, and which ``captures`` asks for
    inputs, seed, given : float (1, channels, *space), (1, outputs) and (1, ...) or None
    forward : (network, inputs, given) -> logits

    Returns
    -------
    None where that is not possible, and torch has to be asked
    """
    given = None if given is None else given.float().contiguous()
    inputs = inputs.contiguous()
    try:
        from torch.fx.experimental.proxy_tensor import make_fx

        from .attribution_onnx_operators import onnx_model
    except ImportError:
        return None
    try:
        plain = folded(network, layer, inputs, lambda net, x: forward(net, x, given))

        def passed(inputs: Tensor, seed: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
            """In the order of Passed."""
            leaf = inputs.detach().requires_grad_(True)
            with captured(plain, layer, False) if captures else nullcontext([]) as seen:
                logits = forward(plain, leaf, rest[0] if rest else None)
            gradient, *by_features = torch.autograd.grad(logits, [leaf, *seen], seed)
            return (gradient, logits, *seen, *by_features)

        arguments = (inputs, seed) if given is None else (inputs, seed, given)
        with torch.enable_grad():
            expected = Passed(*(part.detach() for part in passed(*arguments)))
            traced = make_fx(passed)(*arguments)
        traced.graph.eliminate_dead_code()
        model = onnx_model(traced, ("inputs", "seed", "given")[: len(arguments)])
    except Exception:  # whatever a network does that is unforeseen: it is explained by torch
        return None
    for rewritten in (True, False):
        try:
            made = OnnxGradient(optimised(model) if rewritten else model, torch.get_num_threads(), rewritten)
            if _alike(expected, made(inputs, seed, given)):
                return made
        except Exception:  # onnxruntime raises its own kinds
            continue
    return None


def _alike(first: Passed, other: Passed) -> bool:
    """Whether they are the same but for rounding."""
    parts = [(first.logits, other.logits, _SAME_ANSWER), (first.gradient, other.gradient, _SAME_GRADIENT)]
    if first.features is not None and first.by_features is not None:
        if other.features is None or other.by_features is None:
            return False
        parts += [(first.features, other.features, _SAME_ANSWER)]
        parts += [(first.by_features, other.by_features, _SAME_GRADIENT)]
    return all(a.shape == b.shape and bool((a - b).norm() <= part * a.norm() + 1e-7) for a, b, part in parts)

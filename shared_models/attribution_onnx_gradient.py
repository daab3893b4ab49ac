"""Gradients of a network's inputs on ONNX Runtime, which on a CPU is faster at them than torch; see tests/bench.

OnnxGradient        compiled for one shape of inputs: the gradient, the logits and what else was asked for
compiled()          an OnnxGradient, or None where there cannot be one
OnnxLogits          the logits alone
compiled_logits()   an OnnxLogits, or None

torch differentiates, ONNX Runtime computes: the network and its way back are traced together as one graph of ATen
operators, each of which attribution_onnx_operators translates; attribution_onnx_layout spares what ONNX Runtime would
reorder. The result is compared with torch's own on the first input. Where the package onnx is missing, an operator has
no translation or the two differ, gradients stay torch's.
Numbers are single precision on both sides and differ by rounding alone.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from typing import Callable, Optional, TypeVar

import torch
from torch import Tensor, nn

from .attribution_network import captured, folded
from .attribution_onnx_layout import optimised
from .attribution_onnx_session import OnnxSession

Forward = Callable[[nn.Module, Tensor, Optional[Tensor]], Tensor]
Made = TypeVar("Made", "OnnxGradient", "OnnxLogits")
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
    """The gradient as a graph that ONNX Runtime runs; made by compiled()."""

    def __init__(self, session: OnnxSession) -> None:
        self._session = session

    def __call__(self, inputs: Tensor, seed: Tensor, given: Optional[Tensor]) -> Passed:
        """Of inputs (n, channels, *space), seed (n, outputs) and given (n, ...)."""
        return Passed(*self._session.rows({"inputs": inputs, "seed": seed, "given": given}))


class OnnxLogits:
    """The same of the logits alone; made by compiled_logits()."""

    def __init__(self, session: OnnxSession) -> None:
        self._session = session

    def __call__(self, inputs: Tensor, given: Optional[Tensor]) -> Tensor:
        """float32 (n, outputs), of inputs (n, channels, *space) and given (n, ...)."""
        return self._session.rows({"inputs": inputs, "given": given})[0]


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
        plain = folded(network, layer, inputs, lambda net, x: forward(net, x, given))

        def passed(inputs: Tensor, seed: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
            """In the order of Passed."""
            leaf = inputs.detach().requires_grad_(True)
            with captured(plain, layer, False) if captures else nullcontext([]) as seen:
                logits = forward(plain, leaf, rest[0] if rest else None)
            gradient, *by_features = torch.autograd.grad(logits, [leaf, *seen], seed)
            return (gradient, logits, *seen, *by_features)

        with torch.enable_grad():
            expected = Passed(*(part.detach() for part in passed(inputs, seed, *([] if given is None else [given]))))
            model = _translated(passed, {"inputs": inputs, "seed": seed, "given": given})
    except Exception:  # whatever a network does that is unforeseen: it is explained by torch
        return None
    return _first_that_agrees(model, OnnxGradient, lambda made: _alike(expected, made(inputs, seed, given)))


def compiled_logits(
    network: nn.Module, layer: str, inputs: Tensor, given: Optional[Tensor], forward: Forward
) -> Optional[OnnxLogits]:
    """As compiled(), of the logits (1, outputs) alone."""
    given = None if given is None else given.float().contiguous()
    inputs = inputs.contiguous()
    try:
        plain = folded(network, layer, inputs, lambda net, x: forward(net, x, given))

        def passed(inputs: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
            return (forward(plain, inputs, rest[0] if rest else None),)

        with torch.no_grad():
            (expected,) = passed(inputs, *([] if given is None else [given]))
            model = _translated(passed, {"inputs": inputs, "given": given})
    except Exception:  # as in compiled()
        return None
    return _first_that_agrees(
        model, OnnxLogits, lambda made: _close(expected, made(inputs, given), _SAME_ANSWER)
    )


def _translated(passed: Callable[..., tuple[Tensor, ...]], given: dict[str, Optional[Tensor]]) -> bytes:
    """``passed`` of these arguments as ONNX; raises whatever torch, onnx or a missing translation raise."""
    from torch.fx.experimental.proxy_tensor import make_fx

    from .attribution_onnx_operators import onnx_model

    arguments = {name: part for name, part in given.items() if part is not None}
    traced = make_fx(passed)(*arguments.values())
    traced.graph.eliminate_dead_code()
    return onnx_model(traced, tuple(arguments))


def _first_that_agrees(
    model: bytes, kind: Callable[[OnnxSession], Made], agrees: Callable[[Made], bool]
) -> Optional[Made]:
    """The model as our layout rewrites it, else as ONNX Runtime does, else None."""
    for rewritten in (True, False):
        try:
            made = kind(OnnxSession(optimised(model) if rewritten else model, torch.get_num_threads(), rewritten))
            if agrees(made):
                return made
        except Exception:  # onnxruntime raises its own kinds
            continue
    return None


def _close(first: Tensor, other: Tensor, part: float) -> bool:
    return first.shape == other.shape and bool((first - other).norm() <= part * first.norm() + 1e-7)


def _alike(first: Passed, other: Passed) -> bool:
    """Whether they are the same but for rounding."""
    parts = [(first.logits, other.logits, _SAME_ANSWER), (first.gradient, other.gradient, _SAME_GRADIENT)]
    if first.features is not None and first.by_features is not None:
        if other.features is None or other.by_features is None:
            return False
        parts += [(first.features, other.features, _SAME_ANSWER)]
        parts += [(first.by_features, other.by_features, _SAME_GRADIENT)]
    return all(_close(a, b, part) for a, b, part in parts)

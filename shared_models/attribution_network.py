"""A network's copy that computes the same faster, for methods that ask it many times.

quick()      the copy: batch normalisation folded into the convolutions, ReLUs in place, pixels kept together
captured()   what a layer gave in one forward pass
BatchNorm in evaluation is a scale and a shift of each channel, so the convolution before it can do it. What may be
folded is not read from the network's code but seen while it answers once; then the copy's answer and its gradient are
compared with the network's own, and where they differ, or the copy fails, the copy is a plain one.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Callable

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

# Of the norm. Rounding turns a ReLU that is all but zero, and the gradient with it, so gradients may differ by more.
_SAME_ANSWER, _SAME_GRADIENT = 1e-4, 1e-2
_NORMS = (nn.BatchNorm2d, nn.BatchNorm3d)
_CONVOLUTIONS = (nn.Conv2d, nn.Conv3d)
_RELUS = (nn.ReLU, nn.ReLU6)
Answer = Callable[[nn.Module, Tensor], Tensor]


class Pointwise(nn.Module):
    """A 1 x 1 convolution as the matrix product that it is, where pixels lie together in memory."""

    def __init__(self, of: nn.Conv2d) -> None:
        super().__init__()
        self.weight = nn.Parameter(of.weight.detach()[:, :, 0, 0].clone(), requires_grad=False)
        self.bias = of.bias

    def forward(self, x: Tensor) -> Tensor:
        return functional.linear(x.permute(0, 2, 3, 1), self.weight, self.bias).permute(0, 3, 1, 2)


@contextmanager
def captured(network: nn.Module, layer: str, tail: bool) -> Iterator[list[Tensor]]:
    """Collects the layer's output (n, channels, *cells) in the passes made inside; see Explained.score."""
    seen: list[Tensor] = []

    def keep(module: nn.Module, given: Any, gave: Tensor) -> Tensor:
        if tail:
            gave = gave.detach().requires_grad_(True)
        seen.append(gave)
        return gave.clone()  # so that what works in place later cannot change what was kept

    handle = network.get_submodule(layer).register_forward_hook(keep)
    try:
        yield seen
    finally:
        handle.remove()


def quick(network: nn.Module, layer: str, example: Tensor, answer: Answer, fast: bool = True) -> nn.Module:
    """The copy.

    Parameters
    ----------
    network : in evaluation
    layer : module whose output must stay what it is
    example : (1, channels, *space), an input to look at it with
    answer : (network, inputs) -> logits
    fast : False: a plain copy

    Returns
    -------
    nn.Module, whose parameters take no gradients
    """
    plain = _frozen(copy.deepcopy(network))
    if not fast:
        return plain
    try:
        changed = _frozen(_changed(copy.deepcopy(network), layer, example, answer))
        if _alike(plain, changed, layer, example, answer):
            return changed
    except (RuntimeError, TypeError, ValueError, AttributeError):
        pass  # a network that does something unforeseen is explained as it is
    return plain


def _frozen(network: nn.Module) -> nn.Module:
    for parameter in network.parameters():
        parameter.requires_grad_(False)
    return network.eval()


def _changed(network: nn.Module, layer: str, example: Tensor, answer: Answer) -> nn.Module:
    calls: list[tuple[str, Tensor, Any]] = []  # held, so that no two tensors have one identity
    names = {module: name for name, module in network.named_modules()}

    def note(module: nn.Module, given: Any, gave: Any) -> None:
        calls.append((names[module], given[0] if given and isinstance(given[0], Tensor) else None, gave))  # type: ignore[arg-type]

    handles = [module.register_forward_hook(note) for module in network.modules()]
    try:
        with torch.no_grad():
            answer(network, example)
    finally:
        for handle in handles:
            handle.remove()
    count: dict[str, int] = {}
    for name, _, _ in calls:
        count[name] = count.get(name, 0) + 1
    made = {id(gave): name for name, _, gave in calls if isinstance(network.get_submodule(name), _CONVOLUTIONS)}
    normed = {id(gave) for name, _, gave in calls if isinstance(network.get_submodule(name), _NORMS)}
    watched = {id(gave) for name, _, gave in calls if name == layer}
    for name, given, _ in calls:
        module = network.get_submodule(name)
        before = made.get(id(given))
        once = count[name] == 1
        if isinstance(module, _NORMS) and before and once and count[before] == 1 and id(given) not in watched:
            fused = fuse_conv_bn_eval(network.get_submodule(before), module)  # type: ignore[type-var]
            _replaced(network, before, fused)
            _replaced(network, name, nn.Identity())
        if isinstance(module, _RELUS) and id(given) in (made.keys() | normed) and id(given) not in watched:
            module.inplace = True
    if example.ndim == 4:
        for name, module in list(network.named_modules()):
            if isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1) and module.stride == (1, 1):
                if module.groups == 1 and module.padding == (0, 0) and name != layer:
                    _replaced(network, name, Pointwise(module))
        return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]


def _replaced(network: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, last = name.rpartition(".")
    setattr(network.get_submodule(parent), last, module)


def _alike(plain: nn.Module, changed: nn.Module, layer: str, example: Tensor, answer: Answer) -> bool:
    """Whether logits, gradients and the layer's output are the same but for rounding."""
    found = []
    for network in (plain, changed):
        inputs = example.clone().requires_grad_(True)
        with captured(network, layer, False) as seen:
            logits = answer(network, inputs)
        gradient = torch.autograd.grad(logits[:, 0].sum(), inputs)[0]
        found.append((logits.detach(), gradient, [s.detach() for s in seen]))
    (logits, gradient, seen), (others, other_gradient, other_seen) = found
    if len(seen) != len(other_seen):
        return False
    parts = [(logits, others, _SAME_ANSWER), (gradient, other_gradient, _SAME_GRADIENT)]
    parts += [(a, b, _SAME_ANSWER) for a, b in zip(seen, other_seen)]
    return all(a.shape == b.shape and bool((a - b).norm() <= part * a.norm() + 1e-7) for a, b, part in parts)

"""A network's copy that computes the same faster, for methods that ask it many times.

quick()      the copy: normalisation folded into the convolutions, ReLUs in place; on a CPU padding folded too, pixels
             kept together, for which a GPU's kernels of single precision are slower, and faster group norms
folded()     the copy with normalisation folded alone, and nothing in place: what can be traced
captured()   what a layer gave in one forward pass
ieee()       single precision with all its digits

BatchNorm in evaluation is a scale and a shift of each channel, so the convolution before it can do it. What may be
folded is not read from the network's code but seen while it answers once; then the copy's answer and its gradient are
compared with the network's own, and where they differ, or the copy fails, the copy is a plain one.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Callable, Optional

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
    """A 1 x 1 convolution, and the ReLU after it, as the matrix product that it is where pixels lie together in memory.

    The ReLU works in place on the product itself: on a view of it, it would be copied on the way back.
    """

    def __init__(self, of: nn.Conv2d, highest: Optional[float] = None) -> None:
        super().__init__()
        weight = of.weight.detach()[:, :, 0, 0]
        bias = weight.new_zeros(len(weight)) if of.bias is None else of.bias.detach().clone()
        self.register_buffer("weight", weight.t().contiguous())
        self.register_buffer("bias", bias)
        self.highest = highest  # of the ReLU; None where there is none

    def forward(self, x: Tensor) -> Tensor:
        n, channels, rows, columns = x.shape
        product = torch.addmm(self.bias, x.permute(0, 2, 3, 1).reshape(-1, channels), self.weight)
        if self.highest is not None:
            product = functional.hardtanh(product, 0.0, self.highest, inplace=True)
        return product.view(n, rows, columns, -1).permute(0, 3, 1, 2)


class GroupNorm(nn.Module):
    """Group normalisation of pixels that lie together in memory, whose gradient takes fewer passes than torch's.

    On a CPU torch's took a seventh of the whole gradient of the nodule network. The weights take no gradient.
    """

    def __init__(self, of: nn.GroupNorm) -> None:
        super().__init__()
        self.groups, self.eps = of.num_groups, of.eps
        self.register_buffer("weight", of.weight.detach().clone())
        self.register_buffer("bias", of.bias.detach().clone())

    def forward(self, x: Tensor) -> Tensor:
        if x.ndim == 4 and x.is_contiguous(memory_format=torch.channels_last) and not torch.is_autocast_enabled("cpu"):
            normed: Tensor = _Grouped.apply(x, self.weight, self.bias, self.groups, self.eps)
            return normed
        return functional.group_norm(x, self.groups, self.weight, self.bias, self.eps)


class _Grouped(torch.autograd.Function):
    """y = weight r (x - mean) + bias, with the mean and 1 / r, the deviation, of each group of channels."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, groups: int, eps: float) -> Tensor:
        n, channels, rows, columns = x.shape
        y, mean, r = torch.native_group_norm(x, weight, bias, n, channels, rows * columns, groups, eps)
        ctx.save_for_backward(x, weight, mean, r)
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Optional[Tensor], ...]:
        """With dy the gradient by y: dx = weight r dy + b x - b mean - r M(weight dy), where M is the mean of a group
        and b = r^3 (mean M(weight dy) - M(weight dy x)).
        """
        x, weight, mean, r = ctx.saved_tensors
        n, channels, rows, columns = x.shape
        groups = mean.shape[1]
        dy, flat = (part.permute(0, 2, 3, 1).reshape(n, rows * columns, channels) for part in (gradients[0], x))

        def meaned(of: Tensor) -> Tensor:
            return (of.sum(1) * weight).view(n, groups, -1).sum(2) / (rows * columns * channels // groups)

        by, by_x = meaned(dy), meaned(dy * flat)
        b = (by * mean - by_x) * r**3
        r, b, shift = (part.repeat_interleave(channels // groups, 1)[:, None] for part in (r, b, -b * mean - r * by))
        found = torch.addcmul(shift, dy, r * weight).addcmul_(flat, b)
        return found.view(n, rows, columns, channels).permute(0, 3, 1, 2), None, None, None, None


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


@contextmanager
def ieee() -> Iterator[None]:
    """A GPU's convolutions and products with all digits of single precision.

    By default it may compute convolutions in TF32, which has three decimals: on H&E tiles that alone changed maps to a
    rank correlation of 0.976 to 0.988.
    """
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    if not any(before):
        yield
        return
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before


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
        with ieee():
            if _alike(plain, changed, layer, example, answer):
                return changed
    except (RuntimeError, TypeError, ValueError, AttributeError, AssertionError):
        pass  # a network that does something unforeseen is explained as it is
    return plain


def folded(network: nn.Module, layer: str, example: Tensor, answer: Answer) -> nn.Module:
    """A copy whose batch norms are folded into the convolutions before them where they can be; arguments as of quick().

    Not compared with the network.
    """
    plain = _frozen(copy.deepcopy(network))
    for module in plain.modules():
        if isinstance(getattr(module, "inplace", None), bool):
            module.inplace = False  # type: ignore[assignment]
    return _frozen(_changed(plain, layer, example, answer, norms_alone=True))


def _frozen(network: nn.Module) -> nn.Module:
    for parameter in network.parameters():
        parameter.requires_grad_(False)
    return network.eval()


def _changed(
    network: nn.Module, layer: str, example: Tensor, answer: Answer, norms_alone: bool = False
) -> nn.Module:  # fmt: skip
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
    made = {id(gave): name for name, _, gave in calls if isinstance(_at(network, name), _CONVOLUTIONS)}
    padded = {id(gave): name for name, _, gave in calls if type(_at(network, name)) is nn.ZeroPad2d}
    normed = {id(gave): made.get(id(given)) for name, given, gave in calls if isinstance(_at(network, name), _NORMS)}
    together = not norms_alone and example.device.type == "cpu"  # pixels lie together in memory
    watched = {id(gave) for name, _, gave in calls if name == layer}
    for name, given, _ in calls:
        module = _at(network, name)
        before, pad = made.get(id(given)), padded.get(id(given))
        once = count[name] == 1
        padding = pad and once and count[pad] == 1 and together
        if isinstance(module, nn.Conv2d) and padding and id(given) not in watched:
            joined = _padding_too(_at(network, pad), module)
            if joined is not None:
                _replaced(network, name, joined)
                _replaced(network, pad, nn.Identity())
        if isinstance(module, _NORMS) and before and once and count[before] == 1 and id(given) not in watched:
            fused = fuse_conv_bn_eval(_at(network, before), module)
            _replaced(network, before, fused)
            _replaced(network, name, nn.Identity())
        if isinstance(module, _RELUS) and not norms_alone and once and id(given) not in watched:
            into = made.get(id(given)) or normed.get(id(given))
            if into and together and _pointwise(_at(network, into)) and into != layer and example.ndim == 4:
                highest = 6.0 if isinstance(module, nn.ReLU6) else float("inf")
                _replaced(network, into, Pointwise(_at(network, into), highest))
                _replaced(network, name, nn.Identity())
            elif into:
                module.inplace = True
    if not together:
        return network if norms_alone else network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    if example.ndim == 4:
        for name, module in list(network.named_modules()):
            if _pointwise(module) and name != layer:
                _replaced(network, name, Pointwise(module))  # type: ignore[arg-type]
            elif isinstance(module, nn.GroupNorm) and module.affine and name != layer:
                _replaced(network, name, GroupNorm(module))
        return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]


def _at(network: nn.Module, name: str) -> Any:
    return network.get_submodule(name)


def _pointwise(module: nn.Module) -> bool:
    """Whether it is a 1 x 1 convolution of all channels."""
    one = isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1) and module.stride == (1, 1)
    return one and module.groups == 1 and module.padding == (0, 0)


def _padding_too(pad: nn.Module, convolution: nn.Conv2d) -> Optional[nn.Conv2d]:
    """The convolution that pads itself as ``pad`` did, or None where it cannot.

    A convolution pads both ends alike. What the beginning has too much is met by zeros before the kernel.
    """
    left, right, top, bottom = pad.padding  # type: ignore[misc]
    plain = convolution.padding == (0, 0) and convolution.dilation == (1, 1)
    if not plain or left < 0 or top < 0 or right < left or bottom < top:
        return None
    weight = functional.pad(convolution.weight.detach(), (right - left, 0, bottom - top, 0))
    joined = nn.Conv2d(
        convolution.in_channels, convolution.out_channels, (weight.shape[2], weight.shape[3]), convolution.stride,
        (bottom, right), groups=convolution.groups, bias=convolution.bias is not None,
    )  # fmt: skip
    joined.weight, joined.bias = nn.Parameter(weight), convolution.bias
    return joined.eval()


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

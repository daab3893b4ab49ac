"""What an attribution method explains: a network, the names of its outputs, and which of them is asked about.

Explained   a network with what the methods must know of it

The networks are explained on a copy that computes the same faster (attribution_network.py); the network itself is never
changed. Weights that change later are not seen: make a new Explained.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, Callable, Optional, Union

import numpy as np
import torch
from torch import Tensor, nn

from .attribution_aim import Aim
from .attribution_batch import SIZES, batch_cpu, even_pieces, filled, pieces, seconds_of, tuned_batch
from .attribution_network import captured, ieee, quick
from .attribution_onnx_gradient import Passed, compiled, compiled_logits
from .contract.errors import InvalidInput
from .contract.values import Array

Target = Union[None, int, str, Sequence[Union[int, str]]]
Forward = Callable[[nn.Module, Tensor, Optional[Tensor]], Tensor]
_MANY = 4  # inputs that torch takes as fast as ONNX Runtime where norms are of groups
_COMPILED = 6  # sessions that are kept, of as many shapes of inputs


class Explained:
    """A network with what the attribution methods must know of it.

    Parameters
    ----------
    network : (n, channels, *space) float -> (n, outputs) logits; space is (rows, columns) or (slices, rows, columns).
        It is put in evaluation mode
    outputs : names of the logits, in their order
    layer : name of the module whose output the CAMs look at, as in ``network.get_submodule``
    fixed_channels : channels that are not the image but a prompt: they are never masked, noised or attributed to
    low, high : the range of the image's values
    forward : (network, inputs, given) -> logits, where that is not network(inputs)
    scores : the same logits without gradients by a faster way, float32 numpy (n, channels, *space) -> (n, outputs);
        what Occlusion uses
    batch : inputs that are computed at once; None: on a CPU by their size, on a GPU what is measured to be fastest
    fast : explain on a copy that computes the same faster
    engine : "auto" is ONNX Runtime, on a CPU and for networks that it can run backwards, and else torch; see many().
        "torch" is torch

    Raises
    ------
    InvalidInput : the layer is none of the network's, or two outputs have the same name.
    """

    def __init__(
        self, network: nn.Module, outputs: Sequence[str], *, layer: str = "", fixed_channels: Sequence[int] = (),
        low: float = 0.0, high: float = 1.0, forward: Optional[Forward] = None,
        scores: Optional[Callable[[Array], Array]] = None, device: str = "cpu", batch: Optional[int] = None,
        fast: bool = True, engine: str = "auto",
    ) -> None:  # fmt: skip
        if len(set(outputs)) != len(outputs) or not outputs:
            raise InvalidInput("The outputs of the model do not have a name each.", "Name each output once.")
        if layer not in dict(network.named_modules()):
            raise InvalidInput(f"The model has no layer {layer!r}.", "Name a module of the network.")
        if not high > low:
            raise InvalidInput("The range of the image's values is empty.", "Give low < high.")
        self.network, self.outputs, self.layer = network.eval(), tuple(outputs), layer
        self.fixed_channels, self.low, self.high = tuple(fixed_channels), float(low), float(high)
        self.scores, self.device, self.fast, self.batch = scores, torch.device(device), fast, batch
        self._forward: Forward = forward or (lambda net, inputs, given: net(inputs))
        self._quick: Optional[nn.Module] = None
        self._grouped = any(isinstance(module, nn.GroupNorm) for module in network.modules())
        self._onnx = engine == "auto" and fast and self.device.type == "cpu"
        self._compiled: OrderedDict[Any, Any] = OrderedDict()  # None where torch has to; the last used at the end
        self.tuned: dict[Any, Any] = {}  # what was measured once: batch sizes and precision, by method and shape

    def over(self, network: nn.Module) -> Explained:
        """The same settings on another network of the same kind, for a few maps: nothing is compiled for it."""
        return Explained(
            network, self.outputs, layer=self.layer, fixed_channels=self.fixed_channels, low=self.low, high=self.high,
            forward=self._forward, device=str(self.device), batch=self.batch, fast=self.fast,
            engine="torch",
        )  # fmt: skip

    # --- what is asked

    def tensor(self, inputs: Any) -> Tensor:
        """float32 on the device, of numpy or torch (n, channels, *space).

        Raises
        ------
        InvalidInput : not that shape, empty, or values that are not finite.
        """
        found = inputs if isinstance(inputs, Tensor) else torch.from_numpy(np.array(inputs))
        if found.ndim not in (4, 5) or 0 in found.shape:
            raise InvalidInput("An image to explain must be (n, channels, rows, columns).", "Give at least one image.")
        found = found.detach().to(self.device, torch.float32)
        if not bool(found.isfinite().all()):
            raise InvalidInput("The image holds values that are not finite.", "Export the image again.")
        if not self.fast or self.device.type != "cpu":
            return found
        return found.contiguous(memory_format=torch.channels_last if found.ndim == 4 else torch.channels_last_3d)

    def index(self, name: Union[int, str]) -> int:
        """The output of this name or index.

        Raises
        ------
        InvalidInput : the model has no such output.
        """
        if isinstance(name, str) and name in self.outputs:
            return self.outputs.index(name)
        known = not isinstance(name, (str, bool)) and isinstance(name, (int, np.integer))
        if known and 0 <= int(name) < len(self.outputs):
            return int(name)
        asked = name if isinstance(name, str) else f"output {name}"
        raise InvalidInput(f"The model does not assess {asked}.", f"Choose one of {', '.join(self.outputs)}.")

    def aim(self, inputs: Any, target: Target = None, contrast: Target = None, given: Optional[Tensor] = None) -> Aim:
        """What is explained, checked.

        Parameters
        ----------
        target : name or index, one for all inputs or one each; None is each input's highest logit
        contrast : the same, of the output to subtract; None is none

        Raises
        ------
        InvalidInput : an output outside the model, the target contrasted with itself, or a wrong number of them.
        """
        found = self.tensor(inputs)
        if given is not None:
            given = given.to(self.device)
            if len(given) != len(found):
                raise InvalidInput("There is not one region for each image.", "Give as many as there are images.")

        def each(asked: Target) -> Tensor:
            names = [asked] * len(found) if isinstance(asked, str) or np.ndim(asked) == 0 else list(asked)  # type: ignore[arg-type]
            if len(names) != len(found):
                raise InvalidInput("There is not one class for each image.", "Give one class, or one for each image.")
            return torch.tensor([self.index(name) for name in names], device=self.device)  # type: ignore[arg-type]

        if target is None:
            targets = self.logits(found, given).argmax(1)
        else:
            targets = each(target)
        against = None if contrast is None else each(contrast)
        if against is not None and bool((against == targets).any()):
            raise InvalidInput("A class cannot be contrasted with itself.", "Choose two different classes.")
        return Aim(found, targets, against, given)

    # --- what is computed

    def computing(self, aim: Aim) -> nn.Module:
        """The copy that is explained; made, and compared with the network, on the first input it sees."""
        if self._quick is None:
            one = aim.of([0])
            self._quick = quick(
                self.network, self.layer, one.inputs, lambda net, x: self._forward(net, x, one.given), self.fast
            )
        return self._quick

    def score(self, aim: Aim, captures: bool = False, tail: bool = False) -> tuple[Tensor, list[Tensor]]:
        """Scores (n,) and, with ``captures``, what the layer gave; both with the gradients that are asked for.

        ``tail``: gradients reach back to the layer only, so that nothing before it is remembered.
        """
        network = self.computing(aim)
        if not captures:
            return aim.score(self._forward(network, aim.inputs, aim.given)), []
        with captured(network, self.layer, tail) as seen:
            score = aim.score(self._forward(network, aim.inputs, aim.given))
        if len(seen) != 1:
            raise InvalidInput("The layer is used more than once, or not at all.", "Name a layer that is used once.")
        return score, seen

    def passed(self, aim: Aim, captures: bool = False) -> Optional[Passed]:
        """Gradients of the scores by inputs, and with ``captures`` by the layer, of ONNX Runtime; None: ask torch."""
        made = self._compile(aim, captures)
        return None if made is None else made(aim.inputs, aim.seed(len(self.outputs)), aim.given)

    def many(self, count: int) -> bool:
        """Whether so many inputs are torch's though ONNX Runtime might be asked.

        It takes one input at a time and torch a batch, whose convolutions are as fast as it gets. Where norms are of
        groups, which ONNX Runtime composes of many operators, torch is ahead: 8 gradients of the nodule network, of
        64 x 64, take 104 to 110 ms on one core with ONNX Runtime, and 85 to 92 with torch.
        """
        return self._grouped and count >= _MANY

    def engine(self, aim: Aim, captures: bool = False) -> str:
        """What computes gradients of inputs like these."""
        return "torch" if self._compile(aim, captures) is None else "ONNX Runtime"

    def _compile(self, aim: Aim, captures: bool) -> Any:
        """OnnxGradient or None."""
        one = aim.of([0])
        return self._kept(aim, captures, lambda: compiled(
            self.network, self.layer, one.inputs, one.seed(len(self.outputs)), one.given, self._forward, captures
        ))  # fmt: skip

    def _kept(self, aim: Aim, what: Any, make: Callable[[], Any]) -> Any:
        """What was made for inputs of this shape; None where ONNX Runtime is not to be asked."""
        if not self._onnx or torch.is_autocast_enabled("cpu"):
            return None
        given = None if aim.given is None else aim.given.shape[1:]
        key = (aim.inputs.shape[1:], given, what, torch.get_num_threads())
        if key not in self._compiled:
            self._compiled[key] = make()
            if len(self._compiled) > _COMPILED:
                self._compiled.popitem(last=False)
        else:
            self._compiled.move_to_end(key)
        return self._compiled[key]

    def at_once(self, what: str, aim: Aim, run: Callable[[Aim], object], count: Optional[int] = None) -> int:
        """Inputs at once: what the model says, batch_cpu() on a CPU, or of SIZES what a GPU is fastest with.

        Parameters
        ----------
        what : is computed; each size is measured once for each
        aim : inputs of the shape; the first is repeated to measure with
        run : computes a batch
        count : inputs that there are in all; None: as many as ``aim`` has
        """
        if self.batch is not None:
            return self.batch
        if self.device.type == "cpu":
            return batch_cpu(aim.inputs.shape[2:])
        needed = len(aim.inputs) if count is None else count
        sizes = [size for size, smaller in zip(SIZES, (0, *SIZES)) if 2 * smaller < needed]
        if len(sizes) < 2:
            return SIZES[0]
        key = (what, "seconds", aim.inputs.shape[1:], torch.is_autocast_enabled(self.device.type))
        known: dict[int, float] = self.tuned.setdefault(key, {})

        def seconds(size: int) -> float:
            if size not in known:
                repeated = aim.of(torch.zeros(size, dtype=torch.int64, device=self.device))
                run(repeated)  # the first pass of a size allocates and chooses kernels
                known[size] = min(seconds_of(lambda: run(repeated), self.device) for _ in range(2))
            return known[size]

        return tuned_batch(seconds, sizes)

    def pieces(self, count: int, size: int) -> list[slice]:
        """``count`` inputs in batches of no more than ``size``."""
        return list((even_pieces if self.device.type == "cpu" or self.batch is not None else pieces)(count, size))

    def full(self, aim: Aim) -> Aim:
        """On a GPU the batch brought to one of SIZES, its last input repeated; what is computed of that is cut off."""
        missing = filled(len(aim.inputs)) - len(aim.inputs)
        if self.device.type == "cpu" or self.batch is not None or missing <= 0:
            return aim
        return aim.of(torch.arange(len(aim.inputs) + missing, device=self.device).clamp(max=len(aim.inputs) - 1))

    def logits(self, inputs: Any, given: Optional[Tensor] = None) -> Tensor:
        """float32 (n, outputs), without gradients, in batches."""
        found = self.tensor(inputs)
        whole = Aim(found, torch.zeros(len(found), dtype=torch.int64, device=self.device), None, given)
        network = self.computing(whole)

        def answered(part: Aim) -> Tensor:
            many = self.full(part)
            return self._forward(network, many.inputs, many.given).float()[: len(part.inputs)]

        with torch.no_grad(), ieee():
            size = self.at_once("logits", whole, answered)
            return torch.cat([answered(whole.of(part)) for part in self.pieces(len(found), size)])

    def scored(self, aim: Aim) -> Tensor:
        """float32 (n,) of the scores that are explained, without gradients, by the fastest way there is."""
        if self.scores is None:
            one = aim.of([0])
            made = None if self._grouped else self._kept(aim, "logits", lambda: compiled_logits(
                self.network, self.layer, one.inputs, one.given, self._forward
            ))  # fmt: skip
            return aim.score(self.logits(aim.inputs, aim.given) if made is None else made(aim.inputs, aim.given))
        logits = self.scores(aim.inputs.contiguous().cpu().numpy())
        return aim.score(torch.from_numpy(np.asarray(logits, np.float32)).to(self.device))

    def open_channels(self, channels: int) -> list[int]:
        """The channels that are the image."""
        return [c for c in range(channels) if c not in self.fixed_channels]

"""Preparation: from the pixels of a tile to the input of a WSInfer model, as torchvision does it to a PIL picture.

Resize      PIL's resampling (which widens its filter when it shrinks, so torchvision's ``antialias`` changes nothing);
            one number is the shorter side, and a tile is square; bilinear unless ``interpolation`` says otherwise
ToTensor    uint8 to float32 of 0 to 1, channels first
Normalize   less the mean, divided by the standard deviation, per channel

Source: torchvision.transforms, which does not import beside this torch, so its three steps are made here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Optional

import numpy as np

from .contract.errors import InvalidInput
from .contract.values import Array

_REMEDY = "A model here may have Resize, then ToTensor, then Normalize; export it again with these."
_SIDE_PX = (16, 2048)
# The codes of PIL, which torchvision takes too.
_RESAMPLINGS = {0: "nearest", 2: "bilinear", 3: "bicubic"}
_BILINEAR = 2
_ORDER = ("Resize", "ToTensor", "Normalize")
_ARGUMENTS = {
    "Resize": {"size", "interpolation", "antialias", "max_size"},
    "ToTensor": set(),
    "Normalize": {"mean", "std", "inplace"},
}  # fmt: skip


def _fault(what: str) -> InvalidInput:
    return InvalidInput(f"The model's configuration: transform {what}.", _REMEDY)


@dataclass(frozen=True)
class Preparation:
    """The steps of one configuration; made by parsed().

    Parameters
    ----------
    patch_px : side of the tile that it starts from
    size : (height, width) after Resize; the tile's own where there is none
    resampling : code of PIL, of 0, 2, 3
    mean, std : of red, green, blue, on 0 to 1; None where there is no Normalize
    """

    patch_px: int
    size: tuple[int, int]
    resampling: int = _BILINEAR
    mean: Optional[tuple[float, ...]] = None
    std: Optional[tuple[float, ...]] = None

    @classmethod
    def parsed(cls, steps: Any, patch_px: int) -> Preparation:
        """The preparation out of the "transform" of a configuration.

        Raises
        ------
        InvalidInput : a step is unknown, out of order or incomplete; the message names it.
        """
        if not isinstance(steps, list) or not all(isinstance(step, dict) for step in steps):
            raise _fault("must be a list of steps")
        names = [step.get("name") for step in steps]
        for name in names:
            if name not in _ORDER:
                raise _fault(f"has the step {name!r:.60}, which is not known")
        if names not in (list(_ORDER), ["Resize", "ToTensor"], ["ToTensor", "Normalize"], ["ToTensor"]):
            raise _fault(f"has its steps in the order {', '.join(map(str, names[:6])) or 'none'}")
        given = {str(step["name"]): _arguments(step) for step in steps}
        size, resampling = _resize(given["Resize"]) if "Resize" in given else ((patch_px, patch_px), _BILINEAR)
        mean = std = None
        if "Normalize" in given:
            mean, std = _three(given["Normalize"], "mean"), _three(given["Normalize"], "std")
            if not all(abs(value) > 1e-6 for value in std):
                raise _fault("has a Normalize whose std holds a 0")
        return cls(patch_px, size, resampling, mean, std)

    def __call__(self, pixels: Array) -> Array:
        """float32 (n, 3, height, width) of uint8 (n, h, h, 3) RGB; tiles of another side are fitted first.

        Raises
        ------
        InvalidInput : the tiles are not square 8-bit RGB pictures.
        """
        from PIL import Image

        if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[3] != 3:
            raise InvalidInput("Tiles must be 8-bit RGB pictures.", "Convert the slide to 8-bit RGB.")
        height, width = pixels.shape[1:3]
        if height != width or not 16 <= height <= 2048:
            raise InvalidInput(
                f"Tiles of {width} x {height} pixels do not fit the model.",
                f"Send {self.patch_px} x {self.patch_px} pixels.",
            )
        made = np.empty((len(pixels), 3, *self.size), np.float32)
        for place, tile in enumerate(pixels):
            picture = Image.fromarray(tile)
            if height != self.patch_px:  # WSInfer does it with PIL's default, which is bicubic
                picture = picture.resize((self.patch_px, self.patch_px), Image.Resampling.BICUBIC)
            if (picture.height, picture.width) != self.size:
                picture = picture.resize(self.size[::-1], Image.Resampling(self.resampling))
            made[place] = np.asarray(picture).transpose(2, 0, 1)
        made /= np.float32(255)
        if self.mean is not None and self.std is not None:
            made -= np.array(self.mean, np.float32).reshape(3, 1, 1)
            made /= np.array(self.std, np.float32).reshape(3, 1, 1)
        return made

    def said(self) -> str:
        """In words, for the card."""
        height, width = self.size
        steps = [f"resized to {width} x {height} pixels ({_RESAMPLINGS[self.resampling]})", "scaled to 0 to 1"]
        if self.mean is not None:
            steps.append(f"normalised with mean {list(self.mean)} and standard deviation {list(self.std or ())}")
        return ", ".join(steps)


def _arguments(step: dict[str, Any]) -> dict[str, Any]:
    name = str(step["name"])
    extra = sorted(set(step) - {"name", "arguments"})
    if extra:
        raise _fault(f"has the field {extra[0]!r:.60} in {name}")
    given = step.get("arguments")
    if given is None:
        given = {}
    if not isinstance(given, dict):
        raise _fault(f"has arguments of {name} that are not an object")
    unknown = sorted(set(given) - _ARGUMENTS[name])
    if unknown or given.get("max_size") is not None:
        raise _fault(f"has the argument {(unknown or ['max_size'])[0]!r:.60} of {name}, which is not known here")
    return given


def _resize(given: dict[str, Any]) -> tuple[tuple[int, int], int]:
    size = given.get("size")
    sides = size if isinstance(size, list) else [size]
    if len(sides) not in (1, 2) or not all(type(n) is int and _SIDE_PX[0] <= n <= _SIDE_PX[1] for n in sides):
        raise _fault(f"has a Resize whose size is not one or two whole numbers from {_SIDE_PX[0]} to {_SIDE_PX[1]}")
    code = given.get("interpolation", _BILINEAR)
    if type(code) is not int or code not in _RESAMPLINGS:
        raise _fault("has a Resize whose interpolation is not 0 (nearest), 2 (bilinear) or 3 (bicubic)")
    return (sides[0], sides[-1]), code


def _three(given: dict[str, Any], name: str) -> tuple[float, ...]:
    values = given.get(name)
    if not isinstance(values, list) or len(values) != 3 or not all(
        type(v) in (int, float) and abs(v) < 1e6 and math.isfinite(v) for v in values
    ):  # fmt: skip
        raise _fault(f"has a Normalize whose {name} is not three numbers")
    return tuple(float(v) for v in values)

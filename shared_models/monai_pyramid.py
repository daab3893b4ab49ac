"""MONAI's feature pyramid over a residual network, without torchvision.

feature_extractor()   as monai.apps.detection.networks.retinanet_network.resnet_fpn_feature_extractor

MONAI's own takes two small helpers from torchvision, which does not import beside every torch. Layers and the names of
the weights are the same, so that weights of the model zoo load. Only for inference: every layer could be trained.

Source: Lin et al. 2017, doi 10.1109/CVPR.2017.106; MONAI 1.6.1, monai/networks/blocks/backbone_fpn_utils.py.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn


class Body(nn.ModuleDict):
    """The layers of ``backbone`` up to the last that is returned; forward gives those of ``returned`` by number."""

    def __init__(self, backbone: nn.Module, returned: Sequence[int]) -> None:
        wanted = {f"layer{k}": str(place) for place, k in enumerate(returned)}
        layers: dict[str, nn.Module] = OrderedDict()
        for name, layer in backbone.named_children():
            layers[name] = layer
            if set(wanted) <= set(layers):
                break
        if not set(wanted) <= set(layers):
            raise ValueError("the backbone has no such layers")
        super().__init__(layers)
        self._wanted = wanted

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        found: dict[str, Tensor] = OrderedDict()
        for name, layer in self.items():
            x = layer(x)
            if name in self._wanted:
                found[self._wanted[name]] = x
        return found


class Pyramid(nn.Module):
    """Body and MONAI's FeaturePyramidNetwork: float (n, c, ...) -> feature maps by name, the finest first."""

    def __init__(self, backbone: Any, spatial_dims: int, returned: Sequence[int]) -> None:
        from monai.networks.blocks.feature_pyramid_network import FeaturePyramidNetwork, LastLevelMaxPool

        super().__init__()
        self.out_channels = 256
        self.body = Body(backbone, returned)
        self.fpn = FeaturePyramidNetwork(
            spatial_dims=spatial_dims, out_channels=self.out_channels, extra_blocks=LastLevelMaxPool(spatial_dims),
            in_channels_list=[backbone.in_planes // 8 * 2 ** (k - 1) for k in returned],
        )  # fmt: skip

    def forward(self, x: Tensor) -> Any:
        return self.fpn(self.body(x))


def feature_extractor(
    backbone: Any, spatial_dims: int, pretrained_backbone: bool = False, returned_layers: Sequence[int] = (1, 2, 3),
    trainable_backbone_layers: Any = None,
) -> Pyramid:  # fmt: skip
    """The pyramid over the layers ``returned_layers`` of a ResNet of MONAI's."""
    if not returned_layers or not all(1 <= k <= 4 for k in returned_layers):
        raise ValueError("each returned layer is between 1 and 4")
    return Pyramid(backbone, spatial_dims, list(returned_layers))

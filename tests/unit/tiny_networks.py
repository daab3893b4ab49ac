"""Networks small enough to work out by hand, and how the tests of attribution explain them."""

from __future__ import annotations

import torch
from torch import nn

from shared_models.attribution import Explained

NAMES = ("a", "b", "c")
# Settings of methods that suit images of 8 pixels a side.
SMALL = {
    "occlusion": {"window": 3, "stride": 1}, "smoothgrad": {"samples": 4},
    "integrated_gradients": {"steps": 4, "most_steps": 4, "baseline": 0.5},
}  # fmt: skip


def convolutional(dimensions: int = 2, classes: int = 3, seed: int = 0, norm: bool = True) -> nn.Module:
    """A random network (n, 2, *space) -> (n, classes), for two or three dimensions; CAM layer "features"."""
    torch.manual_seed(seed)
    convolution = nn.Conv2d if dimensions == 2 else nn.Conv3d
    batch_norm = nn.BatchNorm2d if dimensions == 2 else nn.BatchNorm3d

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = convolution(2, 6, 3, padding=1)
            self.norm = batch_norm(6) if norm else nn.Identity()
            self.relu = nn.ReLU()
            self.second = convolution(6, 8, 1, stride=1)
            self.features = nn.ReLU()
            self.halved = (nn.AvgPool2d if dimensions == 2 else nn.AvgPool3d)(2)
            self.hidden = convolution(8, 5, 3, padding=1)
            self.bent = nn.ReLU()
            self.head = nn.Linear(5, classes)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.features(self.second(self.relu(self.norm(self.first(x)))))
            x = self.bent(self.hidden(self.halved(x)))
            return self.head(x.flatten(2).mean(2))

    network = Network()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter *= 2.5  # far enough from linear that one step does not do
    if norm:
        network.norm.running_mean.normal_(0, 0.2)
        network.norm.running_var.uniform_(0.5, 2)
    return network.eval()


class Linear(nn.Module):
    """Logits = weights . image; what every method should say of it can be written down."""

    def __init__(self, weights: torch.Tensor) -> None:
        super().__init__()
        self.weights = nn.Parameter(weights)
        self.same = nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.einsum("nchw,kchw->nk", self.same(x), self.weights)


def images(dimensions: int = 2, count: int = 3, side: int = 8, seed: int = 1) -> torch.Tensor:
    made = torch.Generator().manual_seed(seed)
    return torch.rand((count, 2, *[side] * dimensions), generator=made)


def model_of(network: nn.Module | None = None, **settings: object) -> Explained:
    """A network, by default convolutional(), as the methods see it."""
    return Explained(convolutional() if network is None else network, NAMES, layer="features", **settings)

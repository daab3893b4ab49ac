"""Small TorchScript models with a WSInfer configuration, made on the spot.

Their weights are random: their answers mean nothing.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Optional

import torch

LUNG = ("lepidic", "benign", "acinar", "micropapillary", "mucinous", "solid")
MEAN, STD = (0.8301, 0.6600, 0.8054), (0.0864, 0.1602, 0.0647)


class Tiny(torch.nn.Module):
    """Two convolutions and a linear head; ``scale`` makes its answers differ between tiles."""

    def __init__(self, classes: int, seed: int = 0, scale: float = 8.0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.first = torch.nn.Conv2d(3, 8, 5, stride=4)
        self.norm = torch.nn.BatchNorm2d(8)
        self.second = torch.nn.Conv2d(8, 16, 3, stride=2)
        self.head = torch.nn.Linear(16, classes)
        self.scale = scale

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.norm(self.first(x)))
        return self.head(torch.relu(self.second(x)).mean(dim=(2, 3))) * self.scale


class Nan(Tiny):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) * float("nan")


class Pair(Tiny):
    """Answers with two tensors."""

    def forward(self, x: torch.Tensor):  # type: ignore[override]
        y = torch.relu(self.first(x)).mean(dim=(2, 3))
        return y, y


class Softmaxed(Tiny):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.softmax(super().forward(x), dim=1)


class Reader(torch.nn.Module):
    """Reads a file of this machine when it runs."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found = torch.from_file("/etc/hostname", False, 4, dtype=torch.uint8)
        return x.mean(dim=(2, 3)) + found.float().mean()


def config(classes: tuple[str, ...] = LUNG, **changes: Any) -> dict[str, Any]:
    """A configuration as the zoo's lung model has it; ``changes`` over it, None taking a field away."""
    body = {
        "spec_version": "1.0", "architecture": "tiny", "num_classes": len(classes), "class_names": list(classes),
        "patch_size_pixels": 350, "spacing_um_px": 0.5,
        "transform": [
            {"name": "Resize", "arguments": {"size": 224}}, {"name": "ToTensor"},
            {"name": "Normalize", "arguments": {"mean": list(MEAN), "std": list(STD)}},
        ],
    }  # fmt: skip
    return {name: value for name, value in {**body, **changes}.items() if value is not None}


def write(folder: Path, network: torch.nn.Module, body: Optional[dict[str, Any]] = None, side: int = 224) -> Path:
    """``folder`` with torchscript_model.pt and config.json, as WSInfer and QuPath have it; traced, in evaluation."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.jit.trace(network.eval(), torch.rand(2, 3, side, side)).save(str(folder / "torchscript_model.pt"))
    (folder / "config.json").write_text(json.dumps(config() if body is None else body))
    return folder

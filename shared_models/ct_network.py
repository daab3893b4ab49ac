"""The nodule segmentation network: a 2D U-Net over axial slices at one in-plane pixel size.

channels(hu)   HU -> the two windows that the network sees
network()      a new network
load(path)     the network with trained weights
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

# Finer than the 0.75 mm of training, whose random scaling is 1.4 in the middle: chosen on the validation patches.
PIXEL_MM = 0.6
_FEATURES = (16, 32, 64, 128, 192, 16)
# (lower, upper) HU: lung, where ground glass shows, and soft tissue, where solid cores and calcium show.
WINDOWS_HU = ((-1000.0, 200.0), (-160.0, 240.0))


def channels(hu: Any) -> Any:
    """float32 (n, 2, rows, columns) in [-1, 1] of HU (n, rows, columns); numpy in, numpy out, torch in, torch out."""
    if isinstance(hu, np.ndarray):
        hu = hu.astype(np.float32)
        return np.stack([np.clip((hu - lo) / (hi - lo), 0, 1) * 2 - 1 for lo, hi in WINDOWS_HU], axis=1)
    import torch

    hu = hu.float()
    return torch.stack([((hu - lo) / (hi - lo)).clamp(0, 1) * 2 - 1 for lo, hi in WINDOWS_HU], dim=1)


def network() -> Any:
    """A new network: (n, 2, rows, columns), both multiples of 16, to logits (n, 1, rows, columns)."""
    from monai.networks.nets import BasicUNet

    norm = ("group", {"num_groups": 8})
    return BasicUNet(spatial_dims=2, in_channels=2, out_channels=1, features=_FEATURES, norm=norm)


def load(path: Path) -> Any:
    """The trained network, in evaluation mode."""
    import torch

    model = network()
    model.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    return model.eval()

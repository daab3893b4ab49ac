"""The nodule network: a 2D U-Net that takes a slice and what the user pointed at.

channels(hu)         HU -> the two windows that the network sees
inputs(hu, prompt)   the windows and the prompt; no prompt is the search
network(width)       a new network
load(path)           the trained network, as wide as its weights
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Optional

import numpy as np

# In-plane pixels of LIDC: outside of this range a crop is resampled to its nearer end.
FINEST_MM, COARSEST_MM = 0.5, 0.9
# The search: once for nodules, once for tumours that are larger than any nodule of LIDC.
SEARCH_MM, COARSE_SEARCH_MM = 0.9, 2.0
MULTIPLE = 16
# Features of each level, from fine to coarse, and of the last one before the answer, by those of the first.
FEATURES = {16: (16, 32, 64, 128, 192, 16), 24: (24, 48, 96, 192, 256, 24), 32: (32, 64, 128, 256, 384, 32)}
# (lower, upper) HU: lung, where ground glass shows, and soft tissue, where solid cores and calcium show.
WINDOWS_HU = ((-1000.0, 200.0), (-160.0, 240.0))
_FIRST = "conv_0.conv_0.conv.weight"


def channels(hu: Any) -> Any:
    """float32 (n, 2, rows, columns) in [-1, 1] of HU (n, rows, columns); numpy in, numpy out, torch in, torch out."""
    if isinstance(hu, np.ndarray):
        hu = hu.astype(np.float32)
        return np.stack([np.clip((hu - lo) / (hi - lo), 0, 1) * 2 - 1 for lo, hi in WINDOWS_HU], axis=1)
    import torch

    hu = hu.float()
    return torch.stack([((hu - lo) / (hi - lo)).clamp(0, 1) * 2 - 1 for lo, hi in WINDOWS_HU], dim=1)


def inputs(hu: Any, prompt: Optional[Any] = None) -> Any:
    """torch float32 (n, 3, rows, columns) of HU and prompt (n, rows, columns), torch; None is no prompt."""
    import torch

    asked = torch.zeros_like(hu, dtype=torch.float32) if prompt is None else prompt.float()
    return torch.cat([channels(hu), asked[:, None]], dim=1)


def network(width: int = 16) -> Any:
    """A new network: (n, 3, rows, columns), both multiples of MULTIPLE, to logits (n, 1, rows, columns).

    ``width``, of FEATURES: how many features its first level has.
    """
    from monai.networks.nets import BasicUNet

    norm = ("group", {"num_groups": 8})
    return BasicUNet(spatial_dims=2, in_channels=3, out_channels=1, features=FEATURES[width], norm=norm)


def load(path: Path) -> Any:
    """The trained network, in evaluation mode.

    Weights of a network without the prompt's channel are taken over: it ignores the prompt until it is trained on.

    Raises
    ------
    ModelUnavailable : the file does not hold this network's weights.
    """
    import pickle

    import torch

    from .contract.errors import ModelUnavailable

    try:
        weights = torch.load(path, map_location="cpu", weights_only=True)
        first = weights[_FIRST]
        model = network(len(first))
        if first.shape[1] == 2:
            weights[_FIRST] = torch.cat([first, torch.zeros_like(first[:, :1])], dim=1)
        model.load_state_dict(weights)
    except (RuntimeError, pickle.UnpicklingError, KeyError, TypeError, AttributeError) as fault:
        raise ModelUnavailable("The nodule network cannot be read.", "Install the models again.") from fault
    return model.eval()

"""The frozen first layers of the tile network, run by ONNX Runtime while the rest is trained.

EarlyLayers      pixels -> features; what SlideNetwork.late() goes on with

No gradient is needed there, and on a CPU they are most of the work: stem and three blocks of 32 tiles took 2.7 s in
eager torch and 0.12 s here (one core of an AVX2 machine). A GPU runs them in torch.
"""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .slide_network import TILE_PX, SlideNetwork


class _Early(nn.Module):
    def __init__(self, network: SlideNetwork, blocks: int) -> None:
        super().__init__()
        self.network, self.blocks = network, blocks

    def forward(self, pixels: Tensor) -> Tensor:
        return self.network.early(pixels, self.blocks)


class EarlyLayers:
    """Stem and first ``blocks`` blocks of ``network`` as they are now; later changes of the network are not seen.

    Call: float (n, 3, 224, 224), RGB, 0 to 255 -> float32 (n, channels, h, w), without gradient.
    """

    def __init__(self, network: SlideNetwork, blocks: int) -> None:
        self._network, self.blocks = network, blocks
        self._session: Any = None
        device = next(network.parameters()).device
        if device.type == "cpu":
            self._session = _session(_Early(network, blocks))

    def __call__(self, pixels: Tensor) -> Tensor:
        if self._session is None:
            with torch.no_grad():
                return self._network.early(pixels, self.blocks)
        return torch.from_numpy(self._session.run(None, {"pixels": pixels.contiguous().numpy()})[0])


def _session(early: _Early) -> Any:
    import onnxruntime

    # Batch norm is exported by its running statistics, so the network has to be in evaluation for a moment.
    training = {module: module.training for module in early.modules()}
    early.eval()
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 3, torch.get_num_threads()
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = Path(folder) / "early.onnx"
        torch.onnx.export(
            early, (torch.zeros(2, 3, TILE_PX, TILE_PX),), str(path), input_names=["pixels"],
            output_names=["features"], dynamic_axes={"pixels": {0: "n"}, "features": {0: "n"}}, opset_version=17,
            dynamo=False,
        )  # fmt: skip
        session = onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
    for module, was in training.items():
        module.training = was
    return session

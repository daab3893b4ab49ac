"""Each fast way beside the plain one, turn by turn in one run, so that the machine's load falls on both alike.

codec     a CT on the wire: blosc2 and byte-shuffle + zlib, against base64 in JSON
tiles     EfficientNet-Lite0: ONNX Runtime against eager torch
nodules   the nodule network: the lungs' box in batches against whole slices one by one
"""

from __future__ import annotations

import base64
import json
import statistics
import time
from typing import Callable

import numpy as np

ROUNDS = 5


def side_by_side(title: str, ways: dict[str, Callable[[], object]], rounds: int = ROUNDS) -> None:
    """Median seconds of each way, and how many times as fast as the last one."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for way in ways.values():
        way()
    for _ in range(rounds):
        for name, way in ways.items():
            begun = time.perf_counter()
            way()
            times[name].append(time.perf_counter() - begun)
    medians = {name: statistics.median(values) for name, values in times.items()}
    plain = list(medians.values())[-1]
    print(title)
    for name, seconds in medians.items():
        print(f"  {name:44s} {1000 * seconds:9.1f} ms   {plain / seconds:6.2f} x")


def codec() -> None:
    from shared_models.contract.codec import compressions, decode, encode
    from shared_models.contract.values import CTVolume
    from shared_models.phantom import thorax

    volume = thorax().volume

    def plain() -> object:
        text = json.dumps({"voxels": base64.b64encode(volume.voxels.tobytes()).decode()})
        return CTVolume(
            np.frombuffer(base64.b64decode(json.loads(text)["voxels"]), np.int16).reshape(volume.voxels.shape),
            volume.ijk_to_lps, volume.series_uid,
        )  # fmt: skip

    ways: dict[str, Callable[[], object]] = {}
    for name in compressions():
        frame = encode(volume, name)
        label = f"{name}, {volume.voxels.nbytes / len(frame):.2f} times smaller"
        ways[label] = lambda name=name: decode(encode(volume, name))
    ways["base64 in JSON (plain), 1.33 times larger"] = plain
    side_by_side("codec: a CT of 90 x 256 x 256 to bytes and back", ways)


def tiles() -> None:
    import torch

    from shared_models.model_bundle import MODELS_ROOT
    from shared_models.slide_network import restored
    from shared_models.slide_pipeline import BUNDLE, TORCH, SlideModel

    model = SlideModel.load()
    network = restored(MODELS_ROOT / BUNDLE / TORCH)
    pixels = np.random.default_rng(0).integers(0, 256, (16, 224, 224, 3), np.uint8)

    def eager() -> object:
        with torch.inference_mode():
            return network(torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous().float())

    ways = {"ONNX Runtime, fp32": lambda: model.logits(pixels), "eager torch (plain)": eager}
    side_by_side("tiles: 16 tiles of 224 x 224", ways)


def nodules() -> None:
    from shared_models.ct_lungs import lung_box, lungs
    from shared_models.ct_pipeline import CTModels
    from shared_models.ct_segmentation import nodule_probability
    from shared_models.phantom import thorax

    volume, models = thorax().volume, CTModels.load()
    some = slice(30, 46)
    where = lung_box(lungs(volume)[1], volume.spacing_mm)
    ways = {
        "lungs' box, batches": lambda: nodule_probability(
            models.network, volume.voxels[(some, *where[1:])], volume.spacing_mm
        ),
        "whole slices, one by one (plain)": lambda: nodule_probability(
            models.network, volume.voxels[some], volume.spacing_mm, batch=1
        ),
    }
    side_by_side("nodules: 16 slices of 256 x 256", ways, 3)


if __name__ == "__main__":
    codec()
    tiles()
    nodules()

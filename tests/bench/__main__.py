"""Each fast way beside the plain one, turn by turn in one run, so that the machine's load falls on both alike.

    python -m tests.bench [NAME ...] [OPTION ...]      all of them unless named; options are those of attribution

codec     a CT on the wire: blosc2 and byte-shuffle + zlib, against base64 in JSON
tiles     EfficientNet-Lite0: ONNX Runtime against eager torch
geojson   100,000 tiles of noise to a file for QuPath: edges struck out against a union of all tiles
slides    whole slides: the bridge through the server, the model alone, an openslide loop with one request per tile
attribution   each explanation method against captum, one input at a time
nodules   the nodule network: tiles of the lungs, and the lungs' box, in batches, against whole slices one by one
"""

from __future__ import annotations

import base64
import json
import statistics
import sys
import time
from itertools import takewhile
from typing import Callable

import numpy as np

ROUNDS = 5
OPTIONS: list[str] = []


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


def geojson() -> None:
    import tempfile
    from pathlib import Path

    import shapely

    from qupath_bridge.annotations import slide_geojson, write_geojson
    from qupath_bridge.outlines import joined
    from shared_models.contract.provenance import Provenance
    from shared_models.contract.results import PathologyResult

    places = np.array([(x * 224, y * 224) for y in range(400) for x in range(250)], np.int64)
    known = {"adenocarcinoma": 0, "squamous_cell": 1, "normal": 4}
    table = np.full((len(places), 5), np.nan, np.float32)
    table[:, list(known.values())] = np.random.default_rng(0).dirichlet((1, 1, 1), len(places))
    whole = dict.fromkeys(("large_cell", "small_cell")) | dict.fromkeys(known, 1 / 3)
    by = Provenance("bench", "0" * 64, "bench", True, "cpu", tuple(known))
    result = PathologyResult("s", 0.5, (224.0, 224.0), places, table, whole, (by,))
    third = places[table[:, 0] > np.nanmax(table[:, 1:], axis=1)]
    ways: dict[str, Callable[[], object]] = {
        f"outline of {len(third)} tiles, edges struck out": lambda: joined(third, (224.0, 224.0)),
        "union of all tiles (plain)": lambda: shapely.union_all(shapely.box(*third.T, *(third + 224).T)),
    }
    side_by_side("geojson: the outline of one class", ways, 3)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "many.geojson.gz"
        file = {"to the file, all objects": lambda: write_geojson(path, slide_geojson(result, slide_mpp=0.5))}
        side_by_side("geojson: 100,000 tiles", file, 1)


def nodules() -> None:
    from shared_models.ct_lungs import lung_box, lungs
    from shared_models.ct_pipeline import CTModels
    from shared_models.ct_segmentation import nodule_probability
    from shared_models.phantom import thorax

    volume, models = thorax().volume, CTModels.load()
    lung, rim = lungs(volume)
    some = slice(30, 46)
    where = (some, *lung_box(rim, volume.spacing_mm)[1:])

    def looked(box: tuple[slice, ...], **how: object) -> object:
        return nodule_probability(models.network, volume.voxels[box], volume.spacing_mm, **how)  # type: ignore[arg-type]

    ways = {
        "tiles of the lungs, lungs' box, batches": lambda: looked(where, inside=lung[where]),
        "lungs' box, batches": lambda: looked(where),
        "whole slices, one by one (plain)": lambda: looked((some,), batch=1),
    }
    side_by_side("nodules: 16 slices of 256 x 256", ways, 3)


def slides() -> None:
    from .slides import slides as whole

    whole()


def attribution() -> None:
    from .attribution import all as each

    each(OPTIONS)


if __name__ == "__main__":
    named = list(takewhile(lambda word: not word.startswith("-"), sys.argv[1:]))
    OPTIONS = sys.argv[1 + len(named) :]
    every = {way.__name__: way for way in (codec, tiles, geojson, nodules, slides, attribution)}
    for name in named or every:
        every[name]()

"""Whole slides: the bridge through the server, beside the model alone and beside the plainest way to do the same.

a. the model alone: tiles that lie in memory, in batches of 32, in one process with every core
b. the bridge: `lungxai qupath classify` from the file to the GeoJSON, through a server that runs already
c. plain: an openslide loop, one request per tile, then the job

Turn by turn in one run. The slide is COMPOSED of real tiles (LC25000; a pyramid of JPEG tiles of 256 pixels) where the
data is there, and of noise where it is not: the network takes the same time for both.
"""

from __future__ import annotations

import io
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any, Callable

import numpy as np

DATA = Path(__file__).parents[3] / "shared" / "data"
ACROSS, DOWN, SIDE, BLOCK = 64, 64, 224, 256


def composed(path: Path) -> str:
    """Write a slide of ACROSS x DOWN tiles at the model's scale, with a pyramid; what it is made of."""
    import tifffile
    from PIL import Image

    whole = np.full((DOWN * SIDE, ACROSS * SIDE, 3), 244, np.uint8)
    files = sorted((DATA / "lc25000_lung_224").rglob("*.jp*g"))
    noise = np.random.default_rng(0)
    for n in range(ACROSS * DOWN):
        y, x = n // ACROSS * SIDE, n % ACROSS * SIDE
        tile = np.asarray(Image.open(files[n % len(files)])) if files else noise.integers(90, 220, (SIDE, SIDE, 3))
        # Each row of tiles is turned another way, so that hardly any two tiles of the slide are the same.
        whole[y : y + SIDE, x : x + SIDE] = np.rot90(tile, n // ACROSS % 4)
    levels = [whole]
    while max(levels[-1].shape) > 1024:
        size = (levels[-1].shape[1] // 4, levels[-1].shape[0] // 4)
        levels.append(np.asarray(Image.fromarray(levels[-1]).resize(size, Image.Resampling.BOX)))

    def blocks(level: Any) -> Any:
        for y in range(0, level.shape[0], BLOCK):
            for x in range(0, level.shape[1], BLOCK):
                block = np.full((BLOCK, BLOCK, 3), 244, np.uint8)
                part = level[y : y + BLOCK, x : x + BLOCK]
                block[: part.shape[0], : part.shape[1]] = part
                packed = io.BytesIO()
                Image.fromarray(block).save(packed, "JPEG", quality=80, subsampling=0)
                yield packed.getvalue()

    with tifffile.TiffWriter(path) as writer:
        for number, level in enumerate(levels):
            per_cm = 1e4 / (0.9 * 4**number)
            writer.write(
                blocks(level), shape=level.shape, dtype=np.uint8, tile=(BLOCK, BLOCK), photometric="ycbcr",
                compression="zlib", subsampling=(1, 1), resolution=(per_cm, per_cm), resolutionunit="CENTIMETER",
                subfiletype=int(number > 0),
            )  # fmt: skip
    # The blocks are JPEG already; tifffile encodes JPEG only with a package that is not needed otherwise.
    with tifffile.TiffFile(path, mode="r+b") as written:
        for page in written.pages:
            page.tags["Compression"].overwrite(7)
    return "COMPOSED of real tiles" if files else "noise"


def slides(rounds: int = 2) -> None:
    """Print tiles/s of each way, and its share of the model alone."""
    import openslide

    from inference_server.local import LocalServer
    from qupath_bridge.classify import Request, classify_image
    from qupath_bridge.files_backend import FilesBackend
    from qupath_bridge.project_writer import write_project
    from qupath_bridge.slides import described
    from shared_models.contract.client import Client
    from shared_models.contract.values import SlideTiles
    from shared_models.slide_pipeline import SlideModel
    from shared_models.slide_reader import open_slide
    from shared_models.slide_tiles import tissue_grid

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        what = composed(folder / "bench.tif")
        write_project(folder / "study" / "project.qpproj", [described(folder / "bench.tif", 0.9)])
        backend = FilesBackend(folder / "study" / "project.qpproj")
        (image,) = backend.images()
        with open_slide(folder / "bench.tif", 0.9) as slide:
            origins = tissue_grid(slide, SIDE, 0.9, min_tissue=0.0).origin_px
            inside = [slide.read(int(x), int(y), SIDE, SIDE, SIDE) for x, y in origins]
        tiles = np.stack(inside)
        import torch

        torch.set_num_threads(os.cpu_count() or 1)
        model = SlideModel.load()

        def alone() -> int:
            for start in range(0, len(tiles), 32):
                model.probabilities(tiles[start : start + 32])
            return len(tiles)

        def bridge(client: Client) -> int:
            case_id = client.create_case()
            request = Request(region="whole", again=True, case_id=case_id, synthetic=True)
            done = classify_image(backend, image, request, client)
            assert done.result is not None
            return len(done.result.origin_px)

        def plain(client: Client) -> int:
            case_id = client.create_case()
            with openslide.OpenSlide(str(folder / "bench.tif")) as opened:
                for x, y in origins:
                    tile = np.asarray(opened.read_region((int(x), int(y)), 0, (SIDE, SIDE)).convert("RGB"))
                    client.put_tiles(case_id, SlideTiles(tile[None], np.array([[x, y]]), 0.9, "plain"))
            client.wait(client.pathology(case_id, "plain"))
            return len(client.pathology_result(case_id).origin_px)

        def served(way: Callable[[Client], int]) -> float:
            """Tiles/s, by a server of its own: one that has seen the tiles would remember their answers."""
            with LocalServer(threads=os.cpu_count() or 1) as (url, token), Client(url, token) as client:
                begun = time.perf_counter()
                return way(client) / (time.perf_counter() - begun)

        def by_itself() -> float:
            begun = time.perf_counter()
            return alone() / (time.perf_counter() - begun)

        ways: dict[str, Callable[[], float]] = {
            "the model alone, tiles in memory": by_itself,
            "the bridge through the server": lambda: served(bridge),
            "openslide loop, one request per tile (plain)": lambda: served(plain),
        }
        rates: dict[str, list[float]] = {way: [] for way in ways}
        model.probabilities(tiles[:32])
        for _ in range(rounds):
            for way, run in ways.items():
                rates[way].append(run())
        print(f"slides: {len(tiles)} tiles of 224 x 224, {what}, median of {rounds} rounds")
        first = statistics.median(rates["the model alone, tiles in memory"])
        for way, values in rates.items():
            rate = statistics.median(values)
            print(f"  {way:46s} {rate:7.1f} tiles/s   {100 * rate / first:5.1f} % of the model alone")


if __name__ == "__main__":
    slides()

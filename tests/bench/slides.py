"""Whole slides: the bridge through the server, beside the model alone and beside the plainest way to do the same.

a. the model alone: tiles that lie in memory, in batches of 32, in one process with every core
b. the bridge: `lungxai qupath classify` from the file to the GeoJSON, through a server that runs already
c. plain: an openslide loop, one request per tile, then the job

Turn by turn in one run. The slide is COMPOSED of real tiles (LC25000, as stored, JPEG tiles of 256 pixels) where the
data is there, and of noise where it is not: the network takes the same time for both.
"""

from __future__ import annotations

import io
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any, Callable

import numpy as np

DATA = Path(__file__).parents[3] / "shared" / "data"
ACROSS, DOWN, SIDE, BLOCK = 32, 30, 224, 256


def composed(path: Path) -> str:
    """Write a slide of ACROSS x DOWN tiles at the model's scale; what it is made of."""
    import tifffile
    from PIL import Image

    whole = np.full((DOWN * SIDE, ACROSS * SIDE, 3), 244, np.uint8)
    files = sorted((DATA / "lc25000_lung_224").rglob("*.jp*g"))[: ACROSS * DOWN]
    noise = np.random.default_rng(0)
    for n in range(ACROSS * DOWN):
        y, x = n // ACROSS * SIDE, n % ACROSS * SIDE
        real = n < len(files)
        tile = np.asarray(Image.open(files[n])) if real else noise.integers(90, 220, (SIDE, SIDE, 3), np.uint8)
        whole[y : y + SIDE, x : x + SIDE] = tile

    def blocks() -> Any:
        for y in range(0, whole.shape[0], BLOCK):
            for x in range(0, whole.shape[1], BLOCK):
                block = np.full((BLOCK, BLOCK, 3), 244, np.uint8)
                part = whole[y : y + BLOCK, x : x + BLOCK]
                block[: part.shape[0], : part.shape[1]] = part
                packed = io.BytesIO()
                Image.fromarray(block).save(packed, "JPEG", quality=80, subsampling=0)
                yield packed.getvalue()

    with tifffile.TiffWriter(path) as writer:
        writer.write(
            blocks(), shape=whole.shape, dtype=np.uint8, tile=(BLOCK, BLOCK), photometric="ycbcr", compression="zlib",
            subsampling=(1, 1), resolution=(1e4 / 0.9, 1e4 / 0.9), resolutionunit="CENTIMETER",
        )  # fmt: skip
    # The blocks are JPEG already; tifffile encodes JPEG only with a package that is not needed otherwise.
    with tifffile.TiffFile(path, mode="r+b") as written:
        written.pages[0].tags["Compression"].overwrite(7)
    return "COMPOSED of real tiles" if len(files) == ACROSS * DOWN else "noise"


def slides(rounds: int = 3) -> None:
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
        import os

        import torch

        torch.set_num_threads(os.cpu_count() or 1)
        model = SlideModel.load()

        def alone() -> int:
            for start in range(0, len(tiles), 32):
                model.probabilities(tiles[start : start + 32])
            return len(tiles)

        with LocalServer(threads=os.cpu_count() or 1) as (url, token), Client(url, token) as client:

            def bridge() -> int:
                case_id = client.create_case()
                request = Request(region="whole", again=True, case_id=case_id, synthetic=True)
                done = classify_image(backend, image, request, client)
                client.delete_case(case_id)
                assert done.result is not None
                return len(done.result.origin_px)

            def plain() -> int:
                case_id = client.create_case()
                with openslide.OpenSlide(str(folder / "bench.tif")) as opened:
                    for x, y in origins:
                        tile = np.asarray(opened.read_region((int(x), int(y)), 0, (SIDE, SIDE)).convert("RGB"))
                        client.put_tiles(case_id, SlideTiles(tile[None], np.array([[x, y]]), 0.9, "plain"))
                client.wait(client.pathology(case_id, "plain"))
                count = len(client.pathology_result(case_id).origin_px)
                client.delete_case(case_id)
                return count

            ways: dict[str, Callable[[], int]] = {
                "the model alone, tiles in memory": alone, "the bridge through the server": bridge,
                "openslide loop, one request per tile (plain)": plain,
            }  # fmt: skip
            rates: dict[str, list[float]] = {way: [] for way in ways}
            alone()
            for _ in range(rounds):
                for way, run in ways.items():
                    begun = time.perf_counter()
                    count = run()
                    rates[way].append(count / (time.perf_counter() - begun))
        print(f"slides: {len(tiles)} tiles of 224 x 224, {what}, median of {rounds} rounds")
        first = statistics.median(rates["the model alone, tiles in memory"])
        for way, values in rates.items():
            rate = statistics.median(values)
            print(f"  {way:46s} {rate:7.1f} tiles/s   {100 * rate / first:5.1f} % of the model alone")


if __name__ == "__main__":
    slides()

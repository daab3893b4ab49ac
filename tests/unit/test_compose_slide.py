"""The composed slide: read by the slide reader, true to its tiles, of the split it names."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
from compose_slide import NOTICE, SIDE, compose
from PIL import Image

from shared_models.slide_data import FOLDER, SPACING_UM_PX
from shared_models.slide_reader import open_slide

DATA = Path(__file__).parents[3] / "shared" / "data"
pytestmark = pytest.mark.skipif(not (DATA / FOLDER / "tiles.csv").exists(), reason=f"{DATA / FOLDER} is not here")


@pytest.fixture(scope="module")
def composed(tmp_path_factory):
    path = tmp_path_factory.mktemp("slide") / "composed.tif"
    return path, compose(DATA, path, ["adenocarcinoma", "normal", "squamous_cell"])


def test_the_reader_gives_its_pixel_size_and_the_tiles_as_they_are(composed) -> None:
    path, truth = composed
    slide = open_slide(path)
    assert slide.mpp == pytest.approx(SPACING_UM_PX, rel=1e-3)
    for tile in truth["tiles"][::17]:
        pixels = slide.read(*tile["origin_px"], SIDE, SIDE, (SIDE, SIDE))
        real = np.asarray(Image.open(DATA / FOLDER / tile["file"]).convert("RGB"))
        assert np.abs(pixels.astype(int) - real).mean() < 1
    corner = slide.read(0, 0, SIDE // 2, SIDE // 2, (SIDE // 2, SIDE // 2))
    assert (corner > 230).all()
    thumbnail = slide.thumbnail(400)
    scale = thumbnail.shape[1] / slide.dimensions[0]
    for tile in truth["tiles"]:
        x, y = ((np.array(tile["origin_px"]) + SIDE / 2) * scale).astype(int)
        assert thumbnail[y, x].min() < 240
    slide.close()


def test_the_truth_is_written_and_all_of_the_test_split(composed) -> None:
    path, truth = composed
    assert json.loads(path.with_name("composed.tif.truth.json").read_text()) == truth
    with (DATA / FOLDER / "tiles.csv").open(newline="") as file:
        split = {row["file"]: row["split"] for row in csv.DictReader(file)}
    assert {split[tile["file"]] for tile in truth["tiles"]} == {"test"}
    assert len({tile["file"] for tile in truth["tiles"]}) == len(truth["tiles"]) == 3 * 36
    with tifffile.TiffFile(path) as file:
        assert file.pages[0].description == NOTICE and "not one real slide" in NOTICE
        assert len(file.series[0].levels) == 3

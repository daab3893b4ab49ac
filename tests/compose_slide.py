"""A pyramidal TIFF of real LC25000 tiles: python tests/compose_slide.py --data ../shared/data --out composed.tif

Blocks of tiles of one class each lie on white glass. It is COMPOSED: the tiles are real and of the test split,
the slide is not one specimen. Its truth (origin, label and file of each tile) is written beside it as OUT.truth.json.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
from pathlib import Path
from typing import Any

import numpy as np

from shared_models.slide_data import FOLDER, LABELS, SPACING_UM_PX

SIDE, BLOCK, GAP = 224, 6, 224
NOTICE = "COMPOSED of LC25000 tiles (test split), not one real slide. Research use only."


def compose(data: Path, out: Path, classes: list[str], split: str = "test", seed: int = 0) -> dict[str, Any]:
    """Write the slide and its truth; the truth."""
    import tifffile
    from PIL import Image

    with (data / FOLDER / "tiles.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == split]
    chance = random.Random(seed)
    width = GAP + len(classes) * (BLOCK * SIDE + GAP)
    height = BLOCK * SIDE + 2 * GAP
    whole = np.full((height, width, 3), 244, np.uint8)
    tiles = []
    for number, name in enumerate(classes):
        own = [row["file"] for row in rows if LABELS[row["label"]] == name]
        for place, file_name in enumerate(chance.sample(own, BLOCK * BLOCK)):
            x = GAP + number * (BLOCK * SIDE + GAP) + place % BLOCK * SIDE
            y = GAP + place // BLOCK * SIDE
            whole[y : y + SIDE, x : x + SIDE] = np.asarray(Image.open(data / FOLDER / file_name).convert("RGB"))
            tiles.append({"origin_px": [x, y], "label": name, "file": file_name})
    levels = [whole]
    for _ in range(2):
        last = levels[-1]
        half = (last.shape[1] // 2, last.shape[0] // 2)
        levels.append(np.asarray(Image.fromarray(last).resize(half, Image.Resampling.BOX)))
    with tifffile.TiffWriter(out) as writer:
        for level, pixels in enumerate(levels):
            per_cm = 1e4 / (SPACING_UM_PX * 2**level)
            first = {"subifds": len(levels) - 1, "description": NOTICE} if level == 0 else {"subfiletype": 1}
            writer.write(
                pixels, tile=(256, 256), photometric="rgb", compression="zlib", resolution=(per_cm, per_cm),
                resolutionunit="CENTIMETER", **first,
            )  # fmt: skip
    truth = {"notice": NOTICE, "mpp": SPACING_UM_PX, "tile_px": SIDE, "tiles": tiles}
    out.with_name(out.name + ".truth.json").write_text(json.dumps(truth, indent=1) + "\n")
    return truth


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--classes", default="adenocarcinoma,normal", help="default adenocarcinoma,normal")
    parser.add_argument("--split", default="test")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    compose(given.data, given.out, given.classes.split(","), given.split, given.seed)
    print(f"{given.out}: {NOTICE}")


if __name__ == "__main__":
    main()

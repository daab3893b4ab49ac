"""Cases for the report, made in code: SYNTHETIC, no patient. Everything follows from a seed.

stored_slide()   tiles as the server keeps them
GALLERY          name to a function that makes the CaseRecord: what a report has to stand, from a full case to an empty
                 one with the longest names that are allowed
PAGE_ONE         the one whose first page is in the README
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Optional

from inference_server.slides import StoredSlide
from shared_models.contract.codec import encode
from shared_models.contract.values import SlideTiles


def stored_slide(tiles: SlideTiles, tile_px: Optional[tuple[float, float]] = None) -> StoredSlide:
    """``tiles`` of one batch; the file goes at once, its mapping stays as long as the slide."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "frame"
        path.write_bytes(encode(tiles))
        return StoredSlide(tiles.slide_id, [path], 1 << 30, tile_px)

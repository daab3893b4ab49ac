"""One tile object per tile of a slide, with its numbers.

tile_features()  the objects, for QuPath's measurement maps and tables
tile_means()     mean of a heatmap over each tile
tile_corners()   upper left corners of the tiles that are drawn, or of the cells that regions are made of
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Optional

import numpy as np

from shared_models.contract.colours import CLASS_LABELS, METHOD_LABELS
from shared_models.contract.errors import InvalidInput
from shared_models.contract.results import Heatmap, PathologyResult
from shared_models.contract.values import Array

from .features import Geo, object_id
from .outlines import box_rings
from .tile_classes import TileClasses, own_classes

ENTROPY, MALIGNANCY = "Entropy (bits)", "Malignancy score"
QUALITY, RELIABILITY = "Quality", "Like the training tiles"

Sides = tuple[float, float]


def tile_corners(result: PathologyResult, side_px: Sides) -> Array:
    """Upper left (x, y) of rectangles of one size, each in the middle of its tile's field; float64 (n, 2).

    Parameters
    ----------
    side_px : (width, height), level-0 pixels
    """
    return result.origin_px + (np.array(result.tile_px, float) - side_px) / 2


def tile_features(
    result: PathologyResult, classes: TileClasses, heatmaps: Sequence[Heatmap], run: str, drawn_px: Sides
) -> list[Geo]:
    """The objects, in the order of the result's tiles; made of whole columns, since a slide can have 100,000.

    Parameters
    ----------
    classes : what they are drawn by
    heatmaps : of the same slide
    run : name of the run that they belong to
    drawn_px : (width, height) of what is drawn of each tile, level-0 pixels
    """
    corners = tile_corners(result, drawn_px)
    own = own_classes(result)
    columns = {f"P({name})": own.probabilities[:, k] for k, name in enumerate(own.names)}
    columns |= {f"P({name})": classes.probabilities[:, k] for k, name in enumerate(classes.names)}
    columns[ENTROPY] = classes.entropy_bits
    if "normal" in (own.keys or ()) and len(own.names) > 1:
        columns[MALIGNANCY] = 1.0 - columns[f"P({CLASS_LABELS['normal']})"]
    if result.tile_quality is not None:
        columns[QUALITY] = np.asarray(result.tile_quality, float)
    if result.tile_reliability is not None:
        columns[RELIABILITY] = np.asarray(result.tile_reliability, float)
    for heatmap in heatmaps:
        columns[f"Attribution ({METHOD_LABELS[heatmap.method]})"] = tile_means(result, heatmap, drawn_px)
    names = list(columns)
    numbers = np.round(np.stack(list(columns.values()), axis=1), 5)
    whole = np.isfinite(numbers).all()
    kinds = [{"name": name, "color": list(colour)} for name, colour in zip(classes.names, classes.colours)]
    answer: list[Geo] = []
    for (x, y), ring, kind, row in zip(
        result.origin_px.tolist(), box_rings(corners, drawn_px), classes.winner.tolist(), numbers.tolist()
    ):
        measured = dict(zip(names, row))
        if not whole:
            measured = {name: value for name, value in measured.items() if math.isfinite(value)}
        properties: Geo = {"objectType": "tile"}
        if kind >= 0:
            properties["classification"] = kinds[kind]
        properties["measurements"] = measured
        answer.append(
            {
                "type": "Feature",
                "id": object_id(f"{run} tile {x} {y}"),
                "geometry": {"type": "Polygon", "coordinates": [ring]},
                "properties": properties,
            }
        )
    return answer


def tile_means(result: PathologyResult, heatmap: Heatmap, drawn_px: Optional[Sides] = None) -> Array:
    """Mean of a heatmap's cells that have their centre in each tile, float64 (n,); NaN for a tile without any.

    Parameters
    ----------
    drawn_px : (width, height) of what is drawn of each tile; the whole field unless given

    Raises
    ------
    InvalidInput : not a heatmap of this slide, or its axes are not the slide's.
    """
    m = heatmap.index_to_world
    if heatmap.modality != "pathology" or heatmap.source_id != result.slide_id:
        raise InvalidInput("The heatmap is not one of this slide.", "Choose a heatmap of the slide.")
    if m[0, 1] or m[1, 0] or not (m[0, 0] > 0 and m[1, 1] > 0):
        raise InvalidInput("The heatmap does not lie along the slide's axes.", "Compute it again.")
    rows, columns = heatmap.values.shape
    table = np.zeros((rows + 1, columns + 1))
    table[1:, 1:] = np.cumsum(np.cumsum(heatmap.values, axis=0, dtype=float), axis=1)
    scale, first = np.diag(m)[:2], m[:2, 2]
    sides = result.tile_px if drawn_px is None else drawn_px
    corners = tile_corners(result, sides)
    begin = np.ceil((corners - first) / scale - 1e-6).astype(int)
    end = np.ceil((corners + np.array(sides) - first) / scale - 1e-6).astype(int)
    (x0, y0), (x1, y1) = (np.clip(ends, 0, [columns, rows]).T for ends in (begin, end))
    count = (x1 - x0) * (y1 - y0)
    total = table[y1, x1] - table[y0, x1] - table[y1, x0] + table[y0, x0]
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)

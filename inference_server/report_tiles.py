"""The tiles of a slide that the report shows, with their heatmaps.

tile_groups()      the representative tiles and the uncertain ones, as pictures and words
representative()   the tiles that look most like the slide's class, apart from each other
uncertain()        the tiles of which the model is least sure
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Optional

import numpy as np

from shared_models.contract.errors import LungXAIError
from shared_models.contract.heatmap_words import FAILED, SANITY
from shared_models.contract.results import METHODS, Heatmap, PathologyResult
from shared_models.contract.values import CLASSES, Array
from shared_models.out_of_distribution import UNRELIABLE
from shared_models.slide_heatmaps import shown_most

from . import report_pictures as pictures
from .case_record import CaseRecord
from .report_charts import percent
from .report_drawing import magnified, photo_uri, with_bar
from .report_heatmaps import map_words
from .report_words import _, class_words
from .slides import StoredSlide

MOST_TILES = 4
_LEAST_PX = 200  # of a side of a tile's picture
_APART = 2.0  # tile sides between the middles of two tiles that are shown, where there are enough


def _apart(order: Sequence[int], origin_px: Array, tile_px: tuple[float, float], most: int) -> list[int]:
    """The first ``most`` of ``order`` that lie apart from those before; nearer ones where there are too few."""
    chosen: list[int] = []
    for least in (_APART, 0.0):
        for tile in order:
            if len(chosen) == most:
                return chosen
            away = np.abs(origin_px[chosen] - origin_px[tile]) / np.array(tile_px)
            if tile not in chosen and (away.max(axis=1, initial=0.0) >= least).all():
                chosen.append(int(tile))
    return chosen


def representative(result: PathologyResult, name: str, most: int = MOST_TILES) -> list[int]:
    """Tiles with the highest probability of class ``name``, one of the model's, apart from each other; best first.

    Tiles that look unlike what the model learned from are left out, unless there is nothing else.
    """
    if name in CLASSES:
        values = result.tile_probabilities[:, CLASSES.index(name)]
    else:
        assert result.other_probabilities is not None
        values = result.other_probabilities[:, result.other_classes.index(name)]
    like = np.ones(len(values), bool)
    if result.tile_reliability is not None and (result.tile_reliability >= UNRELIABLE).any():
        like = result.tile_reliability >= UNRELIABLE
    order = [i for i in np.argsort(-np.nan_to_num(values, nan=-1.0), kind="stable") if like[i]]
    return _apart(order, result.origin_px, result.tile_px, most)


def uncertain(result: PathologyResult, without: Sequence[int] = (), most: int = MOST_TILES) -> list[int]:
    """Tiles with the highest entropy over the model's classes, apart from each other and none of ``without``."""
    entropy = _entropy(result)
    order = [i for i in np.argsort(-entropy, kind="stable") if i not in without and entropy[i] >= 0]
    return _apart(order, result.origin_px, result.tile_px, most)


def _entropy(result: PathologyResult) -> Array:
    """float64 (n,), of its largest; -1 where nothing was assessed."""
    table = result.tile_probabilities.astype(np.float64)
    table = table[:, np.isfinite(table).any(axis=0)]
    if not table.shape[1] and result.other_probabilities is not None:
        table = result.other_probabilities.astype(np.float64)
    if table.shape[1] < 2:
        return np.full(len(table), -1.0)
    assessed = np.isfinite(table).all(axis=1)
    p = np.clip(np.where(assessed[:, None], table, 1.0), 1e-12, 1)
    entropy: Array = np.where(assessed, -(p * np.log(p)).sum(axis=1) / np.log(table.shape[1]), -1.0)
    return entropy


def tile_groups(record: CaseRecord, um_per_level0: Optional[float]) -> list[dict[str, Any]]:
    """The representative tiles and the uncertain ones, each tile with its heatmap; none without pixels."""
    result, slide = record.pathology, record.slide
    if result is None or slide is None or not len(result.origin_px):
        return []
    try:
        name = shown_most(result)
    except LungXAIError:  # nothing was assessed
        return []
    label = class_words(name) if name in CLASSES else name
    heatmap = _best_map(record.slide_heatmaps.values())
    place = {tuple(origin): i for i, origin in enumerate(slide.origin_px.tolist())}
    best = representative(result, name)
    groups = [(_("Most representative tiles: likeliest %(name)s") % {"name": label}, best),
              (_("Most uncertain tiles"), uncertain(result, best))]  # fmt: skip
    return [
        {"title": title, "map": None if heatmap is None else map_words(heatmap),
         "tiles": [_tile(result, slide, i, place[tuple(result.origin_px[i].tolist())], heatmap, um_per_level0)
                   for i in tiles if tuple(result.origin_px[i].tolist()) in place]}
        for title, tiles in groups if tiles
    ]  # fmt: skip


def _best_map(maps: Iterable[Heatmap]) -> Optional[Heatmap]:
    """The one that is shown on tiles: the first in the order of METHODS that does not fail its sanity check."""
    ordered = sorted(maps, key=lambda h: (h.parameters.get(SANITY) == FAILED, METHODS.index(h.method)))
    return ordered[0] if ordered else None


def _tile(
    result: PathologyResult, slide: StoredSlide, index: int, stored: int, heatmap: Optional[Heatmap],
    um_per_level0: Optional[float],
) -> dict[str, Any]:  # fmt: skip
    pixels = slide.chosen(np.array([stored]))[0]
    grid = pictures.grid_of_tile(result.origin_px[index], result.tile_px, slide.shape)
    um = (um_per_level0 or 1.0) * grid[0, 0]
    x, y = result.origin_px[index].tolist()
    where = _("tile at %(x)s, %(y)s") % {"x": x, "y": y}

    def shown(rgb: Array) -> str:
        large, times = magnified(rgb, _LEAST_PX)
        return photo_uri(with_bar(large, um / times))

    overlaid = None if heatmap is None else shown(pictures.slide_overlay(pixels, grid, heatmap))
    return {
        "picture": shown(pixels),
        "alt": _("H&E, %(where)s, scale bar in it") % {"where": where},
        "heatmap": overlaid,
        "heatmap_alt": _("Heatmap over the %(where)s") % {"where": where},
        "where": where,
        "words": ", ".join(_tile_words(result, index)),
    }


def _tile_words(result: PathologyResult, index: int) -> list[str]:
    """Its two likeliest classes, and what lowers the trust in it."""
    row = result.tile_probabilities[index]
    named = [(class_words(n), float(p)) for n, p in zip(CLASSES, row) if np.isfinite(p)]
    if not named and result.other_probabilities is not None:
        named = [(n, float(p)) for n, p in zip(result.other_classes, result.other_probabilities[index])]
    said = [f"{label} {percent(p)}" for label, p in sorted(named, key=lambda pair: -pair[1])[:2]]
    if result.tile_quality is not None:
        said.append(_("quality %(value)s") % {"value": f"{result.tile_quality[index]:.2f}"})
    if result.tile_reliability is not None and result.tile_reliability[index] < UNRELIABLE:
        said.append(_("unlike what the model learned from"))
    return said

"""The classes that the tiles of a slide are drawn by: the suite's own, or those of a model of others.

TileClasses      names, colours, and one probability per tile and class
tile_classes()   what the tiles of a result are drawn by
own_classes()    the suite's own that were assessed
other_classes()  those of a model of others
OTHER_COLOURS    for classes of others: apart from the suite's own, told apart by colour-blind readers

Colours of Tol 2021, "Colour schemes", muted, without those that are near one of the suite's own; and a brown and a
violet. Their order is that of the model's classes, so that one model looks the same on every slide.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

import numpy as np

from shared_models.contract.colours import CLASS_COLOURS, CLASS_LABELS, RGB
from shared_models.contract.results import PathologyResult
from shared_models.contract.values import CLASSES, Array

OTHER_COLOURS: tuple[RGB, ...] = (
    (51, 34, 136),
    (136, 204, 238),
    (136, 34, 85),
    (153, 153, 51),
    (17, 119, 51),
    (221, 204, 119),
    (102, 51, 0),
    (120, 94, 240),
)
_OWN = frozenset(name.casefold() for name in (*CLASS_LABELS.values(), *CLASS_LABELS))


@dataclass(frozen=True, eq=False)
class TileClasses:
    """The classes that tiles are drawn by.

    Parameters
    ----------
    names : as a pathologist reads them
    colours : one per name
    probabilities : float64 (n, len(names))
    keys : the suite's own names of the same classes, in the order of ``names``; None for a model of others
    """

    names: tuple[str, ...]
    colours: tuple[RGB, ...]
    probabilities: Array
    keys: Optional[tuple[str, ...]]

    @property
    def winner(self) -> Array:
        """Index of the most probable class of each tile, int (n,).

        A model of others with one class alone says how much of it there is: -1 where that is less than a half.
        """
        best = np.asarray(self.probabilities.argmax(axis=1))
        return np.where(self.probabilities[:, 0] >= 0.5, 0, -1) if self._one_of_others else best

    @property
    def entropy_bits(self) -> Array:
        """Of each tile, float64 (n,); 0 where the model is sure."""
        table = self.probabilities
        if self._one_of_others:
            table = np.concatenate([table, 1 - table], axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.abs(np.where(table > 0, table * np.log2(table), 0.0).sum(axis=1))

    @property
    def _one_of_others(self) -> bool:
        return self.keys is None and len(self.names) == 1


def own_classes(result: PathologyResult) -> TileClasses:
    """The suite's own classes that were assessed; none where the slide has no tiles."""
    known = [i for i in range(len(CLASSES)) if len(result.origin_px) and np.isfinite(result.tile_probabilities[0, i])]
    keys = tuple(CLASSES[i] for i in known)
    return TileClasses(
        tuple(CLASS_LABELS[key] for key in keys),
        tuple(CLASS_COLOURS[key] for key in keys),
        np.asarray(result.tile_probabilities[:, known], float),
        keys,
    )


def other_classes(result: PathologyResult) -> TileClasses:
    """The classes of a model of others; none where there is no such model.

    A name that is one of the suite's own gets "(other model)" behind it, since QuPath keeps one colour for a name.
    """
    taken = result.other_classes
    names = tuple(f"{name} (other model)" if name.casefold() in _OWN else name for name in taken)
    table = np.zeros((len(result.origin_px), 0)) if result.other_probabilities is None else result.other_probabilities
    return TileClasses(names, tuple(_colour(i) for i in range(len(names))), np.asarray(table, float), None)


def tile_classes(result: PathologyResult) -> TileClasses:
    """What tiles are drawn by: the classes of a model of others where there is one, else the suite's own."""
    return other_classes(result) if result.other_classes else own_classes(result)


def _colour(index: int) -> RGB:
    """Beyond the palette its colours come again, each time nearer to black: a legend then has to be read twice."""
    again, place = divmod(index, len(OTHER_COLOURS))
    red, green, blue = (round(part * 0.6**again) for part in OTHER_COLOURS[place])
    return red, green, blue

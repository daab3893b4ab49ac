"""Does the model's answer follow the map? Curves over a picture that is erased, or built up, in the map's order.

cell_means()        a map as means over square cells
ranking()           the cells in the order of the map; ties by a seeded draw
blurred(), mean_of()   what erased cells are replaced with: the two baselines
curves()            deletion and insertion of one map, with their areas
Removals            random sets of cells taken out, and what the answer lost; made once for a picture, for all its maps
sensitivity(), infidelity()   how well a map foretells these losses

A picture is float32 (channels, rows, columns); a map float (rows, columns), higher where it speaks more for the target.
``score`` takes float32 (n, channels, rows, columns) and returns (n,): torch, ONNX Runtime, anything.

Source: Petsiuk et al. 2018, arXiv:1806.07421 (RISE), for the curves; Ancona et al. 2018, arXiv:1711.06104, for
sensitivity-n; Yeh et al. 2019, arXiv:1901.09392, for infidelity. Departs from RISE in: cells are ranked, not single
pixels, by their mean, so that a speckled map is not rewarded for patterns that no tissue has; both baselines are used
for both curves; the blur is a whole Gaussian, wider than RISE's 11 pixels; the mean is the picture's own, not the data
set's; ties are drawn by lot, so that a map that says nothing scores as a random one does, on average.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Optional

import numpy as np

from .contract.values import Array

Score = Callable[[Array], Array]
BATCH = 16


def cell_means(values: Array, cell: int) -> Array:
    """float64 (rows / cell, columns / cell).

    Raises
    ------
    ValueError : a side is no multiple of ``cell``, or a value is not finite.
    """
    rows, columns = values.shape
    if cell < 1 or rows % cell or columns % cell:
        raise ValueError(f"A map of {rows} x {columns} has no cells of {cell}.")
    if not np.isfinite(values).all():
        raise ValueError("The map holds a value that is not finite.")
    means: Array = values.astype(np.float64).reshape(rows // cell, cell, columns // cell, cell).mean(axis=(1, 3))
    return means


def ranking(values: Array, cell: int, seed: int = 0) -> Array:
    """int64 (cells,): flat cell indices, the highest mean first.

    Equal means come in the order of a permutation drawn from ``seed``: the same seed gives the same order, and over
    seeds a constant map is a random one.
    """
    means = cell_means(values, cell).ravel()
    lot = np.random.default_rng(seed).permutation(means.size)
    order: Array = np.lexsort((lot, -means))
    return order


def blurred(picture: Array, channels: Sequence[int], sigma_px: float) -> Array:
    """The picture with some channels blurred by a Gaussian; the others as they are."""
    from scipy.ndimage import gaussian_filter

    result = picture.copy()
    for channel in channels:
        result[channel] = gaussian_filter(picture[channel], sigma_px)
    return result


def mean_of(picture: Array, channels: Sequence[int]) -> Array:
    """The picture with some channels at their own mean; the others as they are."""
    result = picture.copy()
    for channel in channels:
        result[channel] = picture[channel].mean()
    return result


def scored(pictures: Array, score: Score, batch: int = BATCH) -> Array:
    """float64 (n,) of pictures (n, channels, rows, columns), some at a time."""
    parts = [np.asarray(score(pictures[i : i + batch]), np.float64) for i in range(0, len(pictures), batch)]
    return np.concatenate(parts) if parts else np.empty(0)


def _mixed(picture: Array, baseline: Array, erased: Array, cell: int) -> Array:
    """Pictures (n, ...) with ``erased`` cells, bool (n, cells), taken from the baseline."""
    rows, columns = picture.shape[1] // cell, picture.shape[2] // cell
    grid = erased.reshape(-1, rows, columns).repeat(cell, axis=1).repeat(cell, axis=2)
    return np.where(grid[:, None], baseline[None], picture[None])


@dataclass(frozen=True, eq=False)
class Curves:
    """Scores along both curves.

    Parameters
    ----------
    fraction : (steps + 1,), 0 to 1, of the cells that were erased (deletion) or are there (insertion)
    deletion, insertion : (steps + 1,), the score
    """

    fraction: Array
    deletion: Array
    insertion: Array

    @property
    def deletion_auc(self) -> float:
        """Area under the deletion curve, trapezoids; lower is better."""
        return float(np.trapezoid(self.deletion, self.fraction))

    @property
    def insertion_auc(self) -> float:
        """Area under the insertion curve, trapezoids; higher is better."""
        return float(np.trapezoid(self.insertion, self.fraction))


def curves(
    values: Array, picture: Array, baseline: Array, score: Score, *, cell: int, steps: int, seed: int = 0,
    ends: Optional[tuple[float, float]] = None, batch: int = BATCH,
) -> Curves:  # fmt: skip
    """Deletion and insertion of one map.

    Parameters
    ----------
    values : (rows, columns), the map
    picture, baseline : float32 (channels, rows, columns)
    cell : side of a cell, pixels
    steps : of each curve, at most the number of cells; each takes about as many cells
    seed : of the lots for ties
    ends : the scores of picture and baseline, where they are known: all maps of a picture share them

    Returns
    -------
    Curves. Against one step per cell the area of a curve that only falls (or only rises) is off by at most
    (highest - lowest) / (2 * steps).
    """
    order = ranking(values, cell, seed)
    if not 1 <= steps <= order.size:
        raise ValueError(f"{order.size} cells cannot be taken in {steps} steps.")
    taken = np.rint(np.linspace(0, order.size, steps + 1)).astype(int)
    place = np.empty(order.size, int)
    place[order] = np.arange(order.size)
    top = place[None] < taken[:, None]
    whole, nothing = scored(np.stack([picture, baseline]), score, batch) if ends is None else ends
    deletion, insertion = (
        scored(_mixed(picture, baseline, erased, cell), score, batch) for erased in (top[1:-1], ~top[1:-1])
    )
    return Curves(
        taken / order.size,
        np.concatenate([[whole], deletion, [nothing]]),
        np.concatenate([[nothing], insertion, [whole]]),
    )


@dataclass(frozen=True, eq=False)
class Removals:
    """What the answer loses when random cells are replaced.

    Parameters
    ----------
    cells : bool (sizes, count, cells): which were replaced; ``sizes`` different numbers of them
    losses : (sizes, count): log odds of the whole picture less those of what is left
    cell : side of a cell
    """

    cells: Array
    losses: Array
    cell: int

    @classmethod
    def drawn(
        cls, picture: Array, baseline: Array, score: Score, *, cell: int, seed: int = 0,
        shares: Sequence[float] = (0.1, 0.3, 0.5), count: int = 16, batch: int = BATCH,
    ) -> Removals:  # fmt: skip
        """``count`` sets for each of ``shares`` of the cells, from ``seed``; ``score`` is a probability."""
        total = (picture.shape[1] // cell) * (picture.shape[2] // cell)
        rng = np.random.default_rng(seed)
        sizes = [max(1, round(share * total)) for share in shares]
        cells = np.zeros((len(sizes), count, total), bool)
        for row, size in zip(cells, sizes):
            for one in row:
                one[rng.choice(total, size, replace=False)] = True
        whole = scored(picture[None], score, batch)
        left = scored(_mixed(picture, baseline, cells.reshape(-1, total), cell), score, batch)
        return cls(cells, _log_odds(whole) - _log_odds(left).reshape(len(sizes), count), cell)

    def foretold(self, values: Array) -> Array:
        """(sizes, count): what a map says that each set is worth, the sum of its cells."""
        total: Array = self.cells @ (cell_means(values, self.cell).ravel() * self.cell**2)
        return total


def _log_odds(p: Array) -> Array:
    p = np.clip(p, 1e-6, 1 - 1e-6)
    odds: Array = np.log(p / (1 - p))
    return odds


def sensitivity(values: Array, removals: Removals) -> float:
    """Sensitivity-n: Pearson correlation of foretold and real losses within each size, averaged; 0 for a flat map."""
    foretold, found = removals.foretold(values), []
    for said, lost in zip(foretold, removals.losses):
        said, lost = said - said.mean(), lost - lost.mean()
        length = float(np.linalg.norm(said) * np.linalg.norm(lost))
        flat = np.abs(said).max() <= 1e-9 * max(float(np.abs(foretold).max()), 1e-300)
        found.append(0.0 if flat or length == 0 else float(said @ lost) / length)
    return float(np.mean(found))


def infidelity(values: Array, removals: Removals) -> float:
    """Mean squared error of the foretold losses at the best scale, as a share of the mean squared loss: 0 to 1.

    It is captum.metrics.infidelity(normalize=True) over the cells' presence, divided by the mean squared loss, which
    takes the picture's own scale out; but the scale may not be negative, else a map that is upside down would score as
    well as the right one.
    """
    said, lost = removals.foretold(values).ravel(), removals.losses.ravel()
    energy, total = float(said @ said), float(lost @ lost)
    if total == 0:
        return 0.0
    scale = max(0.0, float(said @ lost)) / energy if energy > 0 else 0.0
    return float(((scale * said - lost) ** 2).sum()) / total

"""Attribution: the map that a method made, with everything that was chosen to make it.

Attribution       values in input space, targets, sign, settings
rank_correlation  Spearman's, of two maps; what "the same map" is measured by here
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Optional

import numpy as np

from .contract.errors import InvalidInput
from .contract.values import Array

Setting = bool | int | float | str


@dataclass(frozen=True, eq=False)
class Attribution:
    """Maps of one method.

    Parameters
    ----------
    values : float32 (n, *space), in input space, finite; not scaled to a maximum
    method : one of contract METHODS
    targets : names (n,) of the output that is explained, of each input
    contrast : names (n,) of the output subtracted from it; None: the logit alone is explained
    signed : negative values are evidence against; False: values are 0 or more
    settings : whatever was chosen: unit, normalisation, baseline, steps, window, stride, seed, samples, noise, layer
    cells : float32 (n, *cells), the map as it was computed, where that is coarser than the input (CAMs)
    completeness : float64 (n,), |sum(values) - (f(x) - f(baseline))| / |f(x) - f(baseline)| (Integrated Gradients)
    converged : bool (n,), whether that is as small as was asked for
    """

    values: Array
    method: str
    targets: tuple[str, ...]
    contrast: Optional[tuple[str, ...]]
    signed: bool
    settings: Mapping[str, Setting]
    cells: Optional[Array] = None
    completeness: Optional[Array] = None
    converged: Optional[Array] = None

    def __post_init__(self) -> None:
        if self.values.dtype != np.float32 or not np.isfinite(self.values).all():
            raise InvalidInput("The map holds values that are not finite.", "Report this: the result is faulty.")
        for part in (self.values, self.cells):
            if part is not None:
                part.flags.writeable = False

    def pooled(self, cells: tuple[int, ...]) -> Array:
        """float32 (n, *cells): what the values of each cell come to.

        Where values add up to the score (Integrated Gradients) their sum, so that the cells do too; else their mean.

        Raises
        ------
        InvalidInput : the input's size is no multiple of the cells.
        """
        space = self.values.shape[1:]
        if len(space) != len(cells) or any(s % c for s, c in zip(space, cells)):
            raise InvalidInput("The map cannot be divided into these cells.", "Choose cells that divide the image.")
        parts = [p for s, c in zip(space, cells) for p in (c, s // c)]
        split = self.values.reshape(len(self.values), *parts).astype(np.float64)
        axes = tuple(range(2, split.ndim, 2))
        result: Array = (split.sum(axis=axes) if self.adds_up else split.mean(axis=axes)).astype(np.float32)
        return result

    @property
    def adds_up(self) -> bool:
        """Whether the values sum to a difference of scores."""
        return self.completeness is not None

    @property
    def record(self) -> dict[str, Setting]:
        """What a Heatmap's parameters say of this map; of several inputs the worst completeness error."""
        said: dict[str, Setting] = {"sign": "signed" if self.signed else "absolute", **self.settings}
        if self.contrast is not None:
            said["contrast"] = ", ".join(sorted(set(self.contrast)))
        if self.completeness is not None and self.converged is not None:
            said["completeness_error"] = float(self.completeness.max())
            said["converged"] = bool(self.converged.all())
        return said


def rank_correlation(first: Array, second: Array) -> float:
    """Spearman's rank correlation of two maps; 1 for two flat ones, 0 where one of them is flat."""
    from scipy.stats import rankdata

    ranks = [rankdata(np.asarray(part, np.float64).ravel()) for part in (first, second)]
    ranks = [rank - rank.mean() for rank in ranks]
    scale = [float(np.linalg.norm(rank)) for rank in ranks]
    if min(scale) == 0:
        return 1.0 if max(scale) == 0 else 0.0
    return float(ranks[0] @ ranks[1] / (scale[0] * scale[1]))

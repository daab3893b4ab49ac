"""Does a map depend on what the model learned? The model is randomised from its head down; the map must change.

shuffled()        a module whose parameters are shuffled in place
rank_agreement(), structural_similarity()   of two maps
Verdict           one method's: how alike the maps stayed, stage by stage, and whether it passed
checked()         all methods on some pictures

A method fails where its maps keep much of their rank order after all parameters were shuffled: the mean over pictures
of |Spearman| is LIMIT or more. Such a map shows the picture, whatever the model thinks; one that only turned upside
down still does. The limit is a convention of this suite. Two unrelated smooth maps of one picture also agree somewhat,
so the agreement of every stage is kept with the verdict.

Source: Adebayo et al. 2018, arXiv:1810.03292, cascading randomisation. Departs from it in: each parameter tensor is
shuffled instead of drawn anew, so that its scale stays and activations neither die nor explode (Binder et al. 2023,
arXiv:2211.12486, show how this distorts the check); the running statistics of batch normalisation stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from .contract.values import Array

LIMIT = 0.5
# A map of each method, for a model and the index of a picture.
Maps = Callable[[Any, int], Mapping[str, Array]]


def shuffled(module: Any, seed: int) -> None:
    """Shuffle each parameter tensor of ``module`` (torch) in place; the order is drawn from ``seed``."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            order = torch.randperm(parameter.numel(), generator=generator).to(parameter.device)
            parameter.copy_(parameter.flatten()[order].view_as(parameter))


def rank_agreement(first: Array, second: Array) -> float:
    """Spearman's correlation of two maps of the same shape; 0 where one of them is flat: it says nothing."""
    a, b = (_ranks(values) for values in (first, second))
    length = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / length if length > 0 else 0.0


def _ranks(values: Array) -> Array:
    """Ranks of all values less their mean; equal values share theirs."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks: Array = (last - (counts - 1) / 2)[place.ravel()]
    return ranks - ranks.mean()


def structural_similarity(first: Array, second: Array, window: int = 7) -> float:
    """SSIM of two maps (rows, columns), each scaled to 0 to 1 first; over square windows that lie inside.

    Source: Wang et al. 2004, doi 10.1109/TIP.2003.819861, with uniform windows and sample covariances.
    """
    from scipy.ndimage import uniform_filter

    a, b = (_scaled(values) for values in (first, second))
    count = window * window

    def mean(values: Array) -> Array:
        filtered: Array = uniform_filter(values, window)
        return filtered

    ma, mb, sample = mean(a), mean(b), count / (count - 1)
    va, vb, both = (sample * (mean(x) - y) for x, y in ((a * a, ma * ma), (b * b, mb * mb), (a * b, ma * mb)))
    c1, c2 = 0.01**2, 0.03**2
    similar = (2 * ma * mb + c1) * (2 * both + c2) / ((ma**2 + mb**2 + c1) * (va + vb + c2))
    edge = window // 2
    return float(similar[edge : similar.shape[0] - edge, edge : similar.shape[1] - edge].mean())


def _scaled(values: Array) -> Array:
    low, high = float(values.min()), float(values.max())
    scaled: Array = (values.astype(np.float64) - low) / (high - low) if high > low else np.zeros(values.shape)
    return scaled


@dataclass(frozen=True)
class Verdict:
    """What randomising the model did to the maps of one method.

    Parameters
    ----------
    stages : what was randomised, the head first; each with all before it
    spearman, ssim : |Spearman| and SSIM of the maps before and after, mean over the pictures, for each stage
    pictures : how many
    limit : of ``spearman`` at the last stage
    """

    stages: tuple[str, ...]
    spearman: tuple[float, ...]
    ssim: tuple[float, ...]
    pictures: int
    limit: float = LIMIT

    @property
    def passed(self) -> bool:
        """Whether the maps of the fully randomised model lost their rank order."""
        return self.spearman[-1] < self.limit

    def stored(self) -> dict[str, Any]:
        """As JSON, with ``passed``."""
        return {**asdict(self), "passed": self.passed}


def checked(
    network: Any, stages: Mapping[str, Sequence[str]], maps: Maps, pictures: int, seed: int = 0
) -> dict[str, Verdict]:  # fmt: skip
    """Each method's Verdict.

    Parameters
    ----------
    network : torch; it is copied, never changed
    stages : name -> modules by their dotted names, the head first; together they should hold every parameter
    maps : of a model and the index of a picture, for a target that stays the same
    pictures : how many there are

    Raises
    ------
    ValueError : a parameter belongs to no stage, so that the model would not be random at the end.
    """
    held = {id(p) for names in stages.values() for n in names for p in network.get_submodule(n).parameters()}
    left = [name for name, parameter in network.named_parameters() if id(parameter) not in held]
    if left or not pictures:
        raise ValueError(f"Not randomised: {', '.join(left[:5])}." if left else "There is no picture.")
    before = [maps(network, index) for index in range(pictures)]
    random = deepcopy(network)
    found: dict[str, list[tuple[float, float]]] = {method: [] for method in before[0]}
    for number, modules in enumerate(stages.values()):
        for name in modules:
            shuffled(random.get_submodule(name), seed + number)
        after = [maps(random, index) for index in range(pictures)]
        for method, pairs in found.items():
            both = [(a[method], b[method]) for a, b in zip(before, after)]
            pairs.append((
                float(np.mean([abs(rank_agreement(*pair)) for pair in both])),
                float(np.mean([structural_similarity(*pair) for pair in both])),
            ))  # fmt: skip
    return {
        method: Verdict(tuple(stages), tuple(p[0] for p in pairs), tuple(p[1] for p in pairs), pictures)
        for method, pairs in found.items()
    }

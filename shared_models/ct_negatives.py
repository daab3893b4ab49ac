"""Hard negatives for the nodule network: structures of chests whose nodules are all known, which it takes for nodules.

Structures          planes around such structures, and around the nodules among them
structures()        those of one CT
of_drawn_chests()   of drawn chests, with the nodules that were planted
of_far_lung()       of the real series: the lung on the other side of its tumour

LIDC's patches show the near surroundings of nodules alone. A search of whole lungs meets the vessels of the hilum, the
heart's border and the diaphragm, of which nothing in them tells. The drawn chests hold nodules too: else the network
would learn that there are none in a drawn chest.

A CT of which a part was learned from is no test of false positives in that part: far_side() says which part that is.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

import numpy as np

from .contract.values import Array, CTVolume
from .ct_lungs import BETWEEN_MM, lungs, midline_mm
from .ct_neighbourhood import Neighbourhood, Prompt, pixel_mm
from .ct_network import COARSE_SEARCH_MM
from .ct_segmentation import nodule_probability

SIDE = 71  # of a plane, as LIDC's patches
# Never those of the demonstration, the tests and the phantom cohort, which begin at 0.
SEEDS = tuple(range(1000, 1010))
EVERY = 3  # slices: neighbours show the same structures
MOST = 40  # of one CT and one pixel size
TAKEN_FOR = 0.3  # probability of a nodule; what is nearly one is worth learning too
LEAST_MM2 = 10.0
FROM_TUMOUR_MM = 40.0
_NODULE_MM = (5.0, 20.0)  # of those that are planted
_A_CHEST = 4


@dataclass(frozen=True, eq=False)
class Structures:
    """Planes with a structure in the middle, (n, 71, 71) each: HU, what of them is a nodule, where that is known."""

    hu: Any
    mask: Any
    known: Any

    @classmethod
    def none(cls) -> Structures:
        return cls(np.empty((0, SIDE, SIDE), np.int16), *(np.empty((0, SIDE, SIDE), bool) for _ in range(2)))

    @classmethod
    def joined(cls, parts: Iterable[Structures]) -> Structures:
        every = [cls.none(), *parts]
        return cls(*(np.concatenate([getattr(p, name) for p in every]) for name in ("hu", "mask", "known")))

    @property
    def nodules(self) -> Any:
        """bool (n,): whether the middle is one."""
        return self.mask[:, SIDE // 2, SIDE // 2]


def structures(
    network: Any, volume: CTVolume, nodules: Array, allowed: Optional[Array] = None, device: str = "cpu"
) -> Structures:
    """What the network takes for nodules in one CT, and the nodules themselves.

    Parameters
    ----------
    network : of ct_network, in evaluation mode, on ``device``
    nodules : bool, on the CT's grid: all that there are
    allowed : bool, on the CT's grid: where to look, and where all nodules are known; None is both lungs, everywhere
    """
    lung, rim = lungs(volume)
    allowed = np.ones_like(rim) if allowed is None else allowed
    where = rim & allowed
    spacing = volume.spacing_mm
    chosen = np.arange(EVERY // 2, len(volume.voxels), EVERY)
    found = []
    for pixel in (pixel_mm(spacing), COARSE_SEARCH_MM):
        probability = nodule_probability(
            network, volume.voxels[chosen], (spacing[0], spacing[1], spacing[2] * EVERY), device, pixel=pixel,
            inside=(lung & where)[chosen],
        )  # fmt: skip
        places = _middles(probability * where[chosen], spacing[0] * spacing[1])
        found += [_plane(volume, nodules, allowed, (chosen[k], j, i), pixel) for k, j, i in places]
        found += [_plane(volume, nodules, allowed, place, pixel) for place in _middles_of(nodules & where)]
    if not found:
        return Structures.none()
    return Structures(*(np.array(part) for part in zip(*found)))


def _middles(probability: Array, pixel_mm2: float) -> list[tuple[int, int, int]]:
    """Index of the middle of each piece over TAKEN_FOR in each slice, the surest MOST."""
    from scipy import ndimage

    found = []
    for k, plane in enumerate(probability):
        marks, _ = ndimage.label(plane > TAKEN_FOR)
        for number, where in enumerate(ndimage.find_objects(marks), 1):
            mask = marks[where] == number
            if mask.sum() * pixel_mm2 >= LEAST_MM2:
                j, i = _deepest(mask)
                found.append((float(plane[where][mask].mean()), (k, where[0].start + j, where[1].start + i)))
    found.sort(key=lambda one: -one[0])
    return [place for _, place in found[:MOST]]


def _middles_of(nodules: Array) -> list[tuple[int, int, int]]:
    """Index of the middle of each nodule in the slice through its middle, and in the slices beside it."""
    from scipy import ndimage

    marks, _ = ndimage.label(nodules)
    found = []
    for number, where in enumerate(ndimage.find_objects(marks), 1):
        mask = marks[where] == number
        middle = len(mask) // 2
        for k in range(max(0, middle - 1), min(len(mask), middle + 2)):
            j, i = _deepest(mask[k])
            found.append((where[0].start + k, where[1].start + j, where[2].start + i))
    return found


def _deepest(mask: Array) -> tuple[int, int]:
    from scipy.ndimage import distance_transform_edt

    j, i = np.unravel_index(int(distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1].argmax()), mask.shape)
    return int(j), int(i)


def _plane(
    volume: CTVolume, nodules: Array, known: Array, place: tuple[int, int, int], pixel: float
) -> tuple[Array, Array, Array]:
    """HU, nodules and where they are known (71, 71) of the axial slice around ``place``, at ``pixel`` mm."""
    at = np.array(place, dtype=float)
    around = Neighbourhood(volume.voxels.shape, volume.spacing_mm, Prompt(at, at), SIDE, pixel)
    hu = around.planes(volume.voxels[[place[0]]])[0].numpy()
    mask, told = (around.planes(part[[place[0]]])[0].numpy() > 0.5 for part in (nodules, known))
    return np.rint(hu).astype(np.int16), mask, told


def of_drawn_chests(network: Any, seeds: Iterable[int] = SEEDS, device: str = "cpu") -> Structures:
    """Structures of drawn chests with nodules of 5 to 20 mm; the same seeds give the same chests."""
    from .phantom import Wanted, thorax

    parts = []
    for seed in seeds:
        rng = np.random.default_rng(seed)
        wanted = [
            Wanted(
                float(rng.uniform(*_NODULE_MM)), float(rng.uniform(-20, 60)), side=("left", "right")[n % 2],
                near_pleura=bool(rng.random() < 0.4),
            )
            for n in range(_A_CHEST)
        ]  # fmt: skip
        chest = thorax(seed, wanted, noise_hu=float(rng.uniform(10, 40)))
        parts.append(structures(network, chest.volume, chest.truth.labels > 0, device=device))
    return Structures.joined(parts)


def far_side(volume: CTVolume, tumour: Array) -> Optional[Array]:
    """bool, on the CT's grid: beyond the midline from a tumour's side, and well away from it.

    None where the midline is not known, or the tumour lies on it.

    Parameters
    ----------
    tumour : bool, on the CT's grid, not empty
    """
    from .geometry import index_to_lps

    midline = midline_mm(lungs(volume)[0], volume.ijk_to_lps)
    index = np.argwhere(tumour)[:, ::-1]
    x = index_to_lps(volume.ijk_to_lps, index.astype(float))[:, 0]
    if midline is None or abs(float(x.mean()) - midline) < BETWEEN_MM:
        return None
    side = np.sign(float(x.mean()) - midline)
    columns = np.arange(volume.voxels.shape[2])
    ends = index_to_lps(volume.ijk_to_lps, np.array([[0.0, 0, 0], [1.0, 0, 0]]))[:, 0]
    x_of = ends[0] + columns * (ends[1] - ends[0])
    beyond = (x_of - midline) * -side > BETWEEN_MM
    nearest = min((x - midline) * side)
    beyond &= (x_of - midline) * -side > FROM_TUMOUR_MM - nearest
    answer: Array = np.broadcast_to(beyond, volume.voxels.shape)
    return answer


def of_far_lung(network: Any, data_root: Path, device: str = "cpu") -> Structures:
    """Structures of the real series below ``data_root``, in the lung without the tumour; none where it is not there.

    Its boxes mark the tumour alone: a small nodule in the other lung, if there is one, is learned as none.
    """
    from .ct_reader import read_ct
    from .tumour_boxes import series_folders, tumour_of

    parts = []
    for folder in series_folders(data_root):
        volume, _ = read_ct(folder)
        tumour = tumour_of(data_root, folder, volume)
        allowed = far_side(volume, tumour) if tumour.any() else None
        if allowed is not None:
            parts.append(structures(network, volume, np.zeros_like(tumour), allowed, device))
    return Structures.joined(parts)

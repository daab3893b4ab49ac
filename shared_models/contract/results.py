"""The values that come back. An object that exists is valid.

LabelVolume      which nodule each voxel belongs to, on the CT's own grid
Nodule           one nodule: place, size, density, malignancy, subtype
RadiologyResult  what the CT shows
PathologyResult  what the slide shows, tile by tile and as a whole
Heatmap          one attribution map, with the grid it lies on
placed()         pastes a crop of a grid into the whole grid

FusionResult, what all modalities say together, is in fusion_result.py and can be had from here too.

In every mapping from class to probability, None is "not assessed", never 0.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Optional, Union

import numpy as np

from .errors import BadGeometry, InvalidInput, SpacingUnknown
from .fusion_result import MODALITIES as MODALITIES
from .fusion_result import FusionResult as FusionResult
from .probabilities import Probabilities, checked_probabilities, checked_probability
from .provenance import Provenance
from .values import CLASSES, Abstention, Array, _frozen, checked_affine, checked_quality

METHODS = ("gradcam", "gradcam_pp", "integrated_gradients", "occlusion", "saliency", "smoothgrad")
CT_TARGETS = ("nodule", "malignancy")
FOUND_BY = ("search", "point", "box", "hand")
SIDES = ("left", "right")

Parameter = Union[str, int, float, bool]
_MOST_OTHERS = 64


@dataclass(frozen=True, eq=False)
class LabelVolume:
    """Labels on a CT's grid.

    Parameters
    ----------
    labels : uint8 (slices, rows, columns); 0 is background, k is the nodule with ``label`` k
    ijk_to_lps : float64 (4, 4), mm; the CT's own
    series_uid : the CT's own

    Raises
    ------
    InvalidInput, BadGeometry : as for CTVolume.
    """

    labels: Array
    ijk_to_lps: Array
    series_uid: str

    def __post_init__(self) -> None:
        if self.labels.dtype != np.uint8 or self.labels.ndim != 3 or 0 in self.labels.shape:
            raise InvalidInput("A segmentation must be a 3D block of 8-bit labels.", "Check the versions.")
        object.__setattr__(self, "labels", _frozen(self.labels))
        object.__setattr__(self, "ijk_to_lps", _frozen(checked_affine(self.ijk_to_lps)))


@dataclass(frozen=True)
class Nodule:
    """One nodule.

    Parameters
    ----------
    label : 1 to 255, its value in the LabelVolume
    centre_lps_mm : centre of mass, LPS
    long_axis_mm, short_axis_mm : on the axial slice where it is largest; the short axis is across the long one
    volume_mm3, mean_hu : over the segmented voxels
    malignancy : probability, or None where not assessed
    subtype : class to probability, given malignancy; None where not assessed
    found_by : one of FOUND_BY; "hand" is a segment that a reader corrected
    side : lung, of SIDES, the patient's own left and right; None where the centre lies between the lungs
    """

    label: int
    centre_lps_mm: tuple[float, float, float]
    long_axis_mm: float
    short_axis_mm: float
    volume_mm3: float
    mean_hu: float
    malignancy: Optional[float]
    subtype: Probabilities
    found_by: str
    side: Optional[str] = None

    def __post_init__(self) -> None:
        numbers = (*self.centre_lps_mm, self.long_axis_mm, self.short_axis_mm, self.volume_mm3, self.mean_hu)
        if len(self.centre_lps_mm) != 3 or not all(math.isfinite(n) for n in numbers):
            raise InvalidInput("A nodule's measurements are not finite.", "Report this: the result is faulty.")
        if not 1 <= self.label <= 255 or self.found_by not in FOUND_BY:
            raise InvalidInput("A nodule's label is not valid.", "Check the versions of both sides.")
        if self.side is not None and self.side not in SIDES:
            raise InvalidInput("A nodule's side is not valid.", "Check the versions of both sides.")
        if self.volume_mm3 <= 0 or not 0 <= self.short_axis_mm <= self.long_axis_mm + 1e-6:
            raise InvalidInput("A nodule's size is not valid.", "Report this: the result is faulty.")
        checked_probability(self.malignancy, "Malignancy")
        checked_probabilities(self.subtype, 1.0)


@dataclass(frozen=True)
class RadiologyResult:
    """What the CT shows.

    Parameters
    ----------
    series_uid : the CT's
    nodules : ordered by malignancy, then size; labels are unique
    malignancy : of the case, or None where not assessed
    probabilities : class to probability of the case; None where not assessed
    provenance : one per model that took part
    notes : what a reader should know, in words
    abstention : set where there is no answer
    reliability : 0 (like nothing that the models were trained on) to 1 (like it); None where nobody judged it
    """

    series_uid: str
    nodules: tuple[Nodule, ...]
    malignancy: Optional[float]
    probabilities: Probabilities
    provenance: tuple[Provenance, ...]
    notes: tuple[str, ...] = ()
    abstention: Optional[Abstention] = None
    reliability: Optional[float] = None

    def __post_init__(self) -> None:
        if len({n.label for n in self.nodules}) != len(self.nodules):
            raise InvalidInput("Two nodules share one label.", "Report this: the result is faulty.")
        checked_probability(self.malignancy, "Malignancy")
        checked_probability(self.reliability, "Reliability")
        checked_probabilities(self.probabilities, 1.0)


@dataclass(frozen=True, eq=False)
class PathologyResult:
    """What the slide shows.

    Parameters
    ----------
    slide_id : name of the slide within its case
    mpp : micrometres per pixel at which the model looked
    tile_px : (width, height) of one tile in level-0 pixels
    origin_px : int64 (n, 2), upper left (x, y) of each tile in level-0 pixels
    tile_probabilities : float32 (n, 5), columns in the order of CLASSES; NaN is "not assessed"
    probabilities : class to probability of the slide; None where not assessed
    provenance, notes, abstention : as in RadiologyResult
    tile_quality : float32 (n,), 0 (useless) to 1 (sharp, whole tissue); None where nobody judged it
    other_classes : what a model of others tells apart, in its own words; empty for the models that ship
    other_probabilities : float32 (n, len(other_classes)); None where there are no other classes
    tile_reliability : float32 (n,), 0 (like no tile that the model was trained on) to 1 (like them); None where nobody
        judged it
    reliability : the same of the slide as a whole
    """

    slide_id: str
    mpp: float
    tile_px: tuple[float, float]
    origin_px: Array
    tile_probabilities: Array
    probabilities: Probabilities
    provenance: tuple[Provenance, ...]
    notes: tuple[str, ...] = ()
    abstention: Optional[Abstention] = None
    tile_quality: Optional[Array] = None
    other_classes: tuple[str, ...] = ()
    other_probabilities: Optional[Array] = None
    tile_reliability: Optional[Array] = None
    reliability: Optional[float] = None

    def __post_init__(self) -> None:
        count = len(self.origin_px)
        if self.origin_px.dtype != np.int64 or self.origin_px.shape != (count, 2):
            raise InvalidInput("Each tile needs one (x, y) origin.", "Check the versions of both sides.")
        if self.tile_probabilities.dtype != np.float32 or self.tile_probabilities.shape != (count, len(CLASSES)):
            raise InvalidInput("Each tile needs one probability per class.", "Check the versions of both sides.")
        known = self.tile_probabilities[:, ~np.isnan(self.tile_probabilities).all(axis=0)]
        # A NaN left in a known column fails the comparison too.
        if known.size and not ((known >= 0) & (known <= 1)).all():
            raise InvalidInput("A tile's value is not a probability.", "Report this: the model's output is faulty.")
        if not (math.isfinite(self.mpp) and self.mpp > 0):
            raise SpacingUnknown("The slide's pixel size is unknown.", "Give it in micrometres with --mpp.")
        if len(self.tile_px) != 2 or not all(math.isfinite(s) and s > 0 for s in self.tile_px):
            raise InvalidInput("The tile's size is not valid.", "Report this: the result is faulty.")
        checked_probabilities(self.probabilities, 1.0)
        object.__setattr__(self, "origin_px", _frozen(self.origin_px))
        object.__setattr__(self, "tile_probabilities", _frozen(self.tile_probabilities))
        checked_probability(self.reliability, "Reliability")
        for name in ("tile_quality", "tile_reliability"):
            given = getattr(self, name)
            if given is not None:
                object.__setattr__(self, name, _frozen(checked_quality(given, count, name.replace("tile_", ""))))
        self._check_others(count)

    def _check_others(self, count: int) -> None:
        names, table = self.other_classes, self.other_probabilities
        if (table is None) != (not names) or len(set(names)) != len(names) or len(names) > _MOST_OTHERS:
            raise InvalidInput("The model's own classes are not valid.", "Check the model's configuration.")
        if not all(isinstance(name, str) and 0 < len(name) <= 80 and name.isprintable() for name in names):
            raise InvalidInput("The model's own classes are not valid.", "Check the model's configuration.")
        if table is not None:
            table = table if count else np.empty((0, len(names)), np.float32)  # JSON's empty list says no width
            if table.dtype != np.float32 or table.shape != (count, len(names)):
                raise InvalidInput("Each tile needs one probability per class.", "Check the versions of both sides.")
            if not ((table >= 0) & (table <= 1)).all():
                raise InvalidInput("A tile's value is not a probability.", "Report this: the model's output is faulty.")
            object.__setattr__(self, "other_probabilities", _frozen(table))


@dataclass(frozen=True, eq=False)
class Heatmap:
    """One attribution map.

    Parameters
    ----------
    values : float32, finite; (slices, rows, columns) of a CT, or (rows, columns) of a slide
    index_to_world : float64; (4, 4) from (column, row, slice, 1) to LPS mm, or
        (3, 3) from (column, row, 1) to level-0 pixels, index (0, 0) being the centre of the first element
    source_id : series_uid or slide_id
    modality : "radiology" or "pathology"
    method : one of METHODS
    target : the class, or the output, that is explained
    provenance : of the model that is explained
    parameters : baseline, steps, window, seed, scaling: whatever was chosen
    """

    values: Array
    index_to_world: Array
    source_id: str
    modality: str
    method: str
    target: str
    provenance: Provenance
    parameters: Mapping[str, Parameter]

    def __post_init__(self) -> None:
        axes = {"radiology": 3, "pathology": 2}.get(self.modality)
        if axes is None or self.method not in METHODS or not self.target:
            raise InvalidInput("The heatmap does not say what it explains.", "Check the versions of both sides.")
        if self.values.dtype != np.float32 or self.values.ndim != axes or 0 in self.values.shape:
            raise InvalidInput("The heatmap has the wrong shape.", "Check the versions of both sides.")
        if not np.isfinite(self.values).all():
            raise InvalidInput("The heatmap holds values that are not finite.", "Report this: the result is faulty.")
        object.__setattr__(self, "values", _frozen(self.values))
        object.__setattr__(self, "index_to_world", _frozen(checked_affine(self.index_to_world, axes)))


def placed(part: Array, part_to_lps: Array, shape: tuple[int, int, int], ijk_to_lps: Array) -> Array:
    """``part``, a crop of a CT's grid, in a block of zeros of the whole grid.

    Parameters
    ----------
    part : (slices, rows, columns)
    part_to_lps, ijk_to_lps : (4, 4) mm, of the crop and of the whole grid
    shape : (slices, rows, columns) of the whole grid

    Raises
    ------
    BadGeometry : ``part`` is not aligned with the grid or reaches out of it.
    """
    step = np.linalg.solve(np.asarray(ijk_to_lps), np.asarray(part_to_lps))
    first = np.rint(step[:3, 3]).astype(int)
    if not np.allclose(step[:3, :3], np.eye(3), atol=1e-4) or not np.allclose(step[:3, 3], first, atol=1e-2):
        raise BadGeometry("The map is not on the CT's grid.", "Compute it again for this series.")
    k, j, i = first[::-1]
    ends = (k + part.shape[0], j + part.shape[1], i + part.shape[2])
    if min(k, j, i) < 0 or any(end > size for end, size in zip(ends, shape)):
        raise BadGeometry("The map reaches out of the CT.", "Compute it again for this series.")
    whole = np.zeros(shape, dtype=part.dtype)
    whole[k : ends[0], j : ends[1], i : ends[2]] = part
    return whole

"""The DICOM series that a case's CT was read from, as the exports refer to it: headers, order, geometry; no pixels.

SourceSeries.read()       one series of a folder, in the order and at the place that shared_models/ct_reader.py gives it
SourceSeries.check()      whether it is the series of a case
SourceSeries.on_stack()   an array on the case's grid, turned to the series' own slices

Axes: a *stack* is the slices as they were scanned; the case's grid is axial (geometry.axial_order), so where the series
is not, its axes are those of the stack in another order.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional, Union

import numpy as np

from shared_models.contract.errors import BadGeometry, InvalidInput
from shared_models.contract.values import Array
from shared_models.ct_dicom import Survey, series_choice, surveyed
from shared_models.ct_pixels import same_pixels
from shared_models.ct_slices import Slice
from shared_models.ct_stack import stacked
from shared_models.dicom_log import discreet
from shared_models.geometry import axial_order, slice_normal
from shared_models.phantom_dicom import new_uid

if TYPE_CHECKING:
    from .case_record import CaseRecord

# Positions have few digits, and Slicer reckons its own mean spacing: a tenth of a voxel is the same place.
_SAME_PLACE_VOXELS = 0.1
_LONG_BYTES = 1 << 20


@dataclass(frozen=True, eq=False)
class SourceSeries:
    """One CT series.

    Parameters
    ----------
    series_uid : SeriesInstanceUID
    datasets : pydicom.Dataset of each file, without pixels, sorted along the normal of the slices by the first of each
    frames : of each slice of the stack its file, an index of ``datasets``, and its frame there from 0; None where the
        file is one image
    positions : float64 (slices, 3) LPS mm, the centre of each slice's first pixel as its header has it; the affine has
        the mean spacing instead
    thickness_mm : of a slice, or the distance between two where it is not given
    stack_to_lps : float64 (4, 4) mm, maps (column, row, slice, 1) of the stack as scanned to LPS
    shape : (slices, rows, columns) of the stack
    notes : what to know of it, in words without identifiers
    """

    series_uid: str
    datasets: tuple[Any, ...]
    frames: tuple[tuple[int, Optional[int]], ...]
    positions: Array
    thickness_mm: float
    stack_to_lps: Array
    shape: tuple[int, int, int]
    notes: tuple[str, ...] = ()

    @classmethod
    def read(cls, folder: Union[str, os.PathLike[str]], series_uid: str) -> SourceSeries:
        """Read the headers of one series under ``folder`` (or in one file); others may lie beside it.

        Raises
        ------
        InvalidInput : there is no such CT series, files are damaged, their headers name no study or image, or they
            cannot be read from the disk.
        BadGeometry, SpacingUnknown, InputTooLarge : as for read_ct().
        """
        path = Path(folder)
        if not path.exists():
            raise InvalidInput("The folder of the CT's DICOM files is not there.", "Check the path.")
        try:
            with discreet():
                survey = surveyed(path)
                ordered, affine, notes = stacked(_of_series(survey, series_uid), same_pixels)
                files = list(dict.fromkeys(one.path for one in ordered))
                datasets = tuple(_header(file, next(one for one in ordered if one.path == file)) for file in files)
                named = all(d.get("StudyInstanceUID") and d.get("SOPInstanceUID") for d in datasets)
        except OSError:
            raise InvalidInput("The CT could not be read from the disk.", "Check the path and the disk.") from None
        if not named:
            raise InvalidInput(
                "The CT's DICOM files do not say which study or image they are.", "Export the original CT series."
            )
        place = {file: index for index, file in enumerate(files)}
        return cls(
            series_uid, datasets, tuple((place[one.path], one.frame) for one in ordered),
            np.array([one.position for one in ordered]), ordered[0].thickness_mm or _apart_mm(affine), affine,
            (len(ordered), ordered[0].rows, ordered[0].columns), tuple(notes),
        )  # fmt: skip

    @property
    def ijk_to_lps(self) -> Array:
        """Affine (4, 4) mm of the grid that read_ct() gives, which a case's volume and mask lie on."""
        return axial_order(np.empty(self.shape, np.bool_), self.stack_to_lps)[1]

    @property
    def apart_mm(self) -> float:
        """Mean distance between two slices across them, mm."""
        return _apart_mm(self.stack_to_lps)

    @property
    def study_uid(self) -> str:
        """StudyInstanceUID."""
        return str(self.datasets[0].StudyInstanceUID)

    @property
    def frame_of_reference_uid(self) -> str:
        """FrameOfReferenceUID; where the series has none, one that follows from the series, the same each time."""
        return str(self.datasets[0].get("FrameOfReferenceUID") or new_uid(self.series_uid, "frame of reference"))

    @property
    def instances(self) -> tuple[tuple[str, str], ...]:
        """(SOPClassUID, SOPInstanceUID) of each file, in the order of ``datasets``."""
        return tuple((str(d.SOPClassUID), str(d.SOPInstanceUID)) for d in self.datasets)

    def check(self, record: CaseRecord) -> None:
        """Whether the case's CT was read from this series.

        Raises
        ------
        InvalidInput : the case has no CT, or one of another series.
        BadGeometry : its volume or its mask lies on another grid: slices were added or taken away since.
        """
        if record.radiology is None:
            raise InvalidInput("This case has no CT.", "Analyse its CT first.")
        if record.radiology.series_uid != self.series_uid:
            raise InvalidInput(
                "The case's CT was not read from this DICOM series.",
                "Give the folder of the series that was analysed, or analyse the DICOM series itself.",
            )
        for what, held in (("CT", record.volume), ("segmentation", record.mask)):
            if held is None:
                continue
            voxels = held.voxels if what == "CT" else held.labels  # type: ignore[union-attr]
            turned, _ = self.on_stack(voxels, held.ijk_to_lps)
            if turned.shape != self.shape:
                raise BadGeometry(
                    f"The case's {what} has {turned.shape[0]} slices of {turned.shape[2]} x {turned.shape[1]} voxels, "
                    f"the DICOM series {self.shape[0]} of {self.shape[2]} x {self.shape[1]}.",
                    "Give the complete series that was analysed, or analyse this one again.",
                )

    def on_stack(self, array: Array, ijk_to_lps: Array) -> tuple[Array, tuple[int, int, int]]:
        """``array``, the case's grid or a crop of it, with the axes of the stack; a view.

        Parameters
        ----------
        array : (slices, rows, columns)
        ijk_to_lps : (4, 4) mm, of ``array``

        Returns
        -------
        (slices, rows, columns) of the stack, and the (slice, row, column) index there of its first voxel.

        Raises
        ------
        BadGeometry : the voxels are not those of the stack, or lie outside it.
        """
        step = np.linalg.solve(self.stack_to_lps, np.asarray(ijk_to_lps, dtype=np.float64))
        axes = np.rint(step[:3, :3])
        far = np.array(array.shape[::-1]) - 1.0
        corners = np.array([far * bits for bits in np.ndindex(2, 2, 2)]).T
        whole = (np.abs(axes).sum(axis=0) == 1).all() and (np.abs(axes).sum(axis=1) == 1).all()
        places = step[:3, :3] @ corners + step[:3, 3:]
        wanted = axes @ corners + np.rint(step[:3, 3:])
        if not whole or np.abs(places - wanted).max() > _SAME_PLACE_VOXELS:
            raise BadGeometry(
                "The case's CT does not lie where the DICOM series lies.",
                "Give the series that was analysed, or analyse this one again.",
            )
        low, high = wanted.min(axis=1), wanted.max(axis=1)
        if (low < 0).any() or (high >= self.shape[::-1]).any():
            raise BadGeometry(
                "The case's CT reaches out of the DICOM series.", "Give the complete series that was analysed."
            )
        # Index order is (column, row, slice), array order its reverse.
        source = [int(np.argmax(np.abs(axes[a]))) for a in (2, 1, 0)]
        turned = array.transpose([2 - axis for axis in source])
        turned = turned[tuple(slice(None, None, int(axes[2 - a, axis])) for a, axis in enumerate(source))]
        return turned, (int(low[2]), int(low[1]), int(low[0]))


def _of_series(survey: Survey, series_uid: str) -> Sequence[Slice]:
    """The slices of one series; of its acquired and its computed images those that read_ct() would take."""
    if survey.damaged:
        raise InvalidInput(
            f"{survey.damaged} of {survey.files} files are cut short or damaged DICOM files.",
            "Copy or export the series again; a CT with a slice missing is not used.",
        )
    if series_uid in survey.faults:
        raise survey.faults[series_uid]
    own = Survey([one for one in survey.slices if one.series_uid == series_uid])
    if not own.slices:
        others = len({one.series_uid for one in survey.slices})
        raise InvalidInput(
            f"The case's CT series is not in this folder ({others} other CT series found).",
            "Give the DICOM folder that the case's CT was read from.",
        )
    return series_choice(own)[0]


def _apart_mm(stack_to_lps: Array) -> float:
    return float(slice_normal(stack_to_lps) @ stack_to_lps[:3, 2])


def _header(file: Path, one: Slice) -> Any:
    """The whole header of a file that surveyed() found sound; what is long in it stays on the disk until it is used."""
    import pydicom

    return pydicom.dcmread(file, defer_size=_LONG_BYTES, stop_before_pixels=True, force=one.bare)

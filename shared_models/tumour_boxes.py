"""The real series of ../shared/data with its tumour boxes (Lung-PET-CT-Dx): one Pascal VOC file a slice.

series_folders()   folders of DICOM files
tumour_boxes()     box of each SOP instance
slice_of()         slice index of each SOP instance
tumour_of()        the boxes on the CT's grid
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np

from .contract.values import Array, CTVolume

SERIES = Path("lung_pet_ct_dx_dicom")
_MAX_XML = 1 << 20


def series_folders(data_root: Path) -> list[Path]:
    """Folders of DICOM files of the data set below ``data_root``; none where it is not there."""
    return sorted({path.parent for path in (data_root / SERIES).glob("*/*.dcm")})


def tumour_boxes(folder: Path) -> dict[str, tuple[int, int, int, int]]:
    """SOPInstanceUID to (first column, first row, last column, last row) of the Pascal VOC files below ``folder``."""
    boxes = {}
    for path in sorted(folder.rglob("*.xml")):
        if path.stat().st_size > _MAX_XML:
            continue
        box = ElementTree.fromstring(path.read_bytes()).find("./object/bndbox")
        if box is not None:
            xmin, ymin, xmax, ymax = (round(float(box.findtext(n) or "nan")) for n in ("xmin", "ymin", "xmax", "ymax"))
            boxes[path.stem] = (xmin, ymin, xmax, ymax)
    return boxes


def slice_of(folder: Path, ijk_to_lps: Array) -> dict[str, int]:
    """SOPInstanceUID to slice index, by position, of the DICOM files in ``folder``."""
    import pydicom

    from .geometry import lps_to_index

    found = {}
    for path in sorted(folder.rglob("*.dcm")):
        tags = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=["SOPInstanceUID", "ImagePositionPatient"])
        position = [float(v) for v in tags.ImagePositionPatient]
        found[str(tags.SOPInstanceUID)] = int(round(float(lps_to_index(ijk_to_lps, position)[2])))
    return found


def tumour_of(data_root: Path, folder: Path, volume: CTVolume) -> Array:
    """bool (slices, rows, columns): the tumour boxes of the series in ``folder``, at most one a slice."""
    boxes = tumour_boxes(data_root / SERIES / "Annotation" / folder.name) or tumour_boxes(data_root / SERIES)
    tumour = np.zeros(volume.voxels.shape, bool)
    for uid, k in slice_of(folder, volume.ijk_to_lps).items():
        if uid in boxes:
            x0, y0, x1, y1 = boxes[uid]
            tumour[k, y0 : y1 + 1, x0 : x1 + 1] = True
    return tumour

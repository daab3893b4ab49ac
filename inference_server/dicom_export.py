"""A case's CT results as DICOM objects for the archive that its series came from.

write_dicom()   the objects, as files

  segmentation.dcm     nodules                       none where there is no nodule    dicom_seg.py
  measurements.dcm     structured report, TID 1500                                    dicom_sr.py
  heatmap_METHOD.dcm   parametric map, one a method                                   dicom_map.py
  report.dcm           encapsulated PDF              where a PDF is given             dicom_pdf.py

They carry the patient and study modules of the source, since they go back to its archive: the one place where the suite
writes a patient's name. They hold no name of the case.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Optional

from shared_models.contract.errors import OutOfMemory, ServerError
from shared_models.dicom_log import discreet

from .case_record import CaseRecord
from .dicom_header import check_identifiers
from .dicom_source import SourceSeries

_EARLIER = ("segmentation.dcm", "measurements.dcm", "heatmap_*.dcm", "report.dcm")


def write_dicom(record: CaseRecord, series: SourceSeries, out: Path, pdf: Optional[bytes] = None) -> list[Path]:
    """Write the objects into ``out``, all of them or none; what an earlier export left there is replaced.

    Parameters
    ----------
    series : that the case's CT was read from
    out : made if missing
    pdf : the report

    Returns
    -------
    The files, the segmentation first.

    Raises
    ------
    InvalidInput : the case has no CT, the series is another one or cannot be referred to, or the results contradict
        each other.
    BadGeometry : a result does not lie on the series.
    ServerError, OutOfMemory : the files cannot be written.
    """
    series.check(record)
    with discreet():
        check_identifiers(series)
    parts: list[tuple[Path, Path]] = []
    try:
        out.mkdir(parents=True, exist_ok=True)
        with discreet():
            for name, made in _objects(record, series, pdf):
                part = out / f"{name}.part"
                parts.append((part, out / name))
                made.save_as(part, enforce_file_format=True)
        for old in [path for pattern in _EARLIER for path in out.glob(pattern)]:
            old.unlink()
        for part, path in parts:
            os.replace(part, path)
    except MemoryError:
        raise OutOfMemory("There is too little memory for the DICOM objects.", "Close programs.") from None
    except OSError as fault:
        raise ServerError(
            f"The DICOM objects could not be written: {fault.strerror}.", "Free disk space, or choose another folder."
        ) from fault
    finally:
        for part, _ in parts:
            part.unlink(missing_ok=True)
    return [path for _, path in parts]


def _objects(record: CaseRecord, series: SourceSeries, pdf: Optional[bytes]) -> Iterator[tuple[str, Any]]:
    """Name of the file, and the object, one after the other."""
    import highdicom

    from .dicom_map import parametric_map
    from .dicom_pdf import encapsulated
    from .dicom_seg import segmentation
    from .dicom_sr import measurement_report

    nodules = segmentation(record, series)
    if nodules is not None:
        yield "segmentation.dcm", nodules
    yield "measurements.dcm", measurement_report(record, series, nodules)
    maps = highdicom.UID()
    for number, (method, heatmap) in enumerate(sorted(record.ct_heatmaps.items()), 1):
        yield f"heatmap_{method}.dcm", parametric_map(heatmap, series, maps, number, record.synthetic)
    if pdf is not None:
        yield "report.dcm", encapsulated(pdf, record, series)

"""The files of a case that leave LungXAI: its report, and the standards it travels in.

Wanted          which of them
write_exports() writes them below a folder, each complete or not at all

report.html, report.pdf   for the tumour board; only the pseudonymous id
fhir.json                 an R4 Bundle; only the pseudonymous id, unless asked otherwise
dicom/*.dcm               segmentation, structured report, parametric maps, the PDF; with the patient module of the
                          series that they go back to
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from shared_models.contract.client import Client
from shared_models.contract.errors import InvalidInput, LungXAIError
from shared_models.whole_file import written

from .case_record import record_of_client

FILES = ("report.html", "report.pdf", "fhir.json", "dicom/*.dcm")


@dataclass(frozen=True)
class Wanted:
    """What to write; the report as HTML always is.

    Parameters
    ----------
    pdf : the report as PDF too
    paper : of PAPERS
    fhir : the Bundle
    identified : the Bundle names the patient as the series does; asked for, never by default
    ct : DICOM folder of the series that was analysed; with it the DICOM objects are written
    slide : DICOM slide that was analysed; with it the annotations of its tiles are written
    """

    pdf: bool = True
    paper: str = "a4"
    fhir: bool = False
    identified: bool = False
    ct: Optional[Path] = None
    slide: Optional[Path] = None

    def __post_init__(self) -> None:
        if self.identified and not (self.fhir and self.ct):
            raise InvalidInput(
                "A bundle can only name the patient as the DICOM series does.", "Give --fhir and --dicom FOLDER too."
            )
        for what, path in (("series", self.ct), ("slide", self.slide)):
            if path is not None and not path.exists():
                raise InvalidInput(f"The {what} {path} is not there.", "Check the path.")


def write_exports(client: Client, case_id: str, out: Path, wanted: Wanted) -> tuple[list[Path], list[str]]:
    """The files, and what could not be written, in words: a missing PDF does not cost the rest.

    Raises
    ------
    LungXAIError : no such case, nothing in it, the series is another one, or the folder cannot be written to.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as fault:
        raise InvalidInput(f"The folder {out} cannot be written to.", "Choose another one with --out.") from fault
    # Read before anything is written: the wrong folder is the commonest fault.
    record = series = None
    if wanted.fhir or wanted.ct or wanted.slide:
        record = record_of_client(client, case_id)
    if wanted.ct is not None and record is not None:
        from .dicom_source import SourceSeries

        if record.radiology is None:
            raise InvalidInput("This case has no CT.", "Leave --dicom out.")
        series = SourceSeries.read(wanted.ct, record.radiology.series_uid)
        series.check(record)
    files = [written(out / "report.html", client.report(case_id, wanted.paper).encode())]
    notes, pdf = [], None
    if wanted.pdf:
        try:
            pdf = client.report_pdf(case_id, wanted.paper)
            files.append(written(out / "report.pdf", pdf))
        except LungXAIError as fault:
            notes.append(f"No PDF: {fault.message} {fault.remedy}")
    if record is not None and wanted.fhir:
        from .fhir_bundle import fhir_bundle

        bundle = fhir_bundle(record, series, identified=wanted.identified)
        files.append(written(out / "fhir.json", (json.dumps(bundle, indent=1, allow_nan=False) + "\n").encode()))
    if record is not None and series is not None:
        from .dicom_export import write_dicom

        files += write_dicom(record, series, out / "dicom", pdf)
    if record is not None and wanted.slide is not None:
        from .dicom_annotations import write_annotations

        files += write_annotations(record, wanted.slide, out / "dicom")
    return files, notes

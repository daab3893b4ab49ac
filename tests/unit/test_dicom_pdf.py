"""The report as an encapsulated PDF: the bytes as they were, beside the series they are about."""

import pydicom
import pytest
from dicom_cases import case, errors, source

from inference_server.dicom_pdf import encapsulated
from inference_server.dicom_source import SourceSeries
from shared_models.contract.errors import InvalidInput

PDF = b"%PDF-1.4\n1 0 obj<</Type/Catalog>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF"


@pytest.fixture
def series(tmp_path):
    volume = source(tmp_path / "series")
    return case(volume), SourceSeries.read(tmp_path / "series", volume.series_uid)


@pytest.mark.parametrize("more", [b"", b"\n"])
def test_the_pdf_comes_out_as_it_went_in(series, tmp_path, more) -> None:
    record, read = series
    encapsulated(PDF + more, record, read).save_as(tmp_path / "report.dcm", enforce_file_format=True)
    made = pydicom.dcmread(tmp_path / "report.dcm")
    assert made.EncapsulatedDocument[: made.EncapsulatedDocumentLength] == PDF + more
    assert len(made.EncapsulatedDocument) % 2 == 0
    assert made.MIMETypeOfEncapsulatedDocument == "application/pdf"
    assert errors(tmp_path / "report.dcm") == []


def test_it_says_what_it_is_and_of_what(series) -> None:
    record, read = series
    made = encapsulated(PDF, record, read)
    assert "not a diagnosis" in made.DocumentTitle and "research use only" in made.SeriesDescription
    assert made.BurnedInAnnotation == "YES"
    references = [(r.ReferencedSOPClassUID, r.ReferencedSOPInstanceUID) for r in made.SourceInstanceSequence]
    assert tuple(references) == read.instances
    assert made.StudyInstanceUID == read.study_uid and made.SeriesInstanceUID != read.series_uid
    assert (made.Modality, made.Manufacturer) == ("DOC", "LungXAI")


@pytest.mark.parametrize("pdf", [b"", b"<html>", b"PDF"])
def test_what_is_no_pdf_is_refused(series, pdf) -> None:
    record, read = series
    with pytest.raises(InvalidInput, match="no PDF"):
        encapsulated(pdf, record, read)

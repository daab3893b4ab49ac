"""Small downloads in the layouts of the public collections, for the tests of their readers.

series()         a CT series of a patient, in a folder of its own
rtstruct()       an RT structure set of one square outline on two slices
seg()            a binary segmentation of a box, as DICOM SEG
lidc_message()   the readers' XML of a CT
voc()            a Pascal VOC file of one box
xlsx()           the least workbook that Excel would open
read_all()       every case of a reader, and what it left out
"""

import zipfile
from collections import Counter
from pathlib import Path
from xml.sax.saxutils import escape

import numpy as np
from dicom_files import COLUMNS, ROWS, SPACING_Z, ct_image, write
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import RTStructureSetStorage, SegmentationStorage

FRAME = "1.2.3.7"


def series(folder, patient, number="1", count=4, edit=None, cut=0):
    """``count`` slices; each through edit(image, index); the last is ``cut`` bytes short."""
    for index in range(count):
        image = ct_image(index, f"{number}")
        image.PatientID, image.PatientSex, image.PatientAge = patient, "F", "061Y"
        image.FrameOfReferenceUID = FRAME
        image.SeriesDescription = "CHEST"
        if edit is not None:
            edit(image, index)
        write(image, Path(folder) / f"1-{index + 1:02d}.dcm", cut if index == count - 1 else 0)
    return Path(folder)


def uid(number="1"):
    return f"1.2.3.999.{number}"


def sop(index, number="1"):
    return f"1.2.3.999.{number}.{index + 1}"


def _object(patient, sop_class):
    image = ct_image(0, "800")
    for name in ("PixelData", "Rows", "Columns", "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"):
        delattr(image, name)
    image.SOPClassUID, image.PatientID = sop_class, patient
    return image


def rtstruct(path, patient, refers="1", name="GTV-1", low=3, high=8):
    """Columns and rows ``low`` to ``high`` of slices 1 and 2, the corners on pixel centres."""
    image = _object(patient, RTStructureSetStorage)
    image.Modality = "RTSTRUCT"
    one, study, referenced = Dataset(), Dataset(), Dataset()
    referenced.SeriesInstanceUID = uid(refers)
    study.RTReferencedSeriesSequence = Sequence([referenced])
    one.FrameOfReferenceUID, one.RTReferencedStudySequence = FRAME, Sequence([study])
    image.ReferencedFrameOfReferenceSequence = Sequence([one])
    roi, drawn = Dataset(), Dataset()
    roi.ROINumber, roi.ROIName = 1, name
    drawn.ReferencedROINumber = 1
    contours = []
    for index in (1, 2):
        contour = Dataset()
        contour.ContourGeometricType, contour.NumberOfContourPoints = "CLOSED_PLANAR", 4
        corners = [(low, low), (high, low), (high, high), (low, high)]
        contour.ContourData = [
            value for i, j in corners for value in (-10 + 0.8 * i, -20 + 0.7 * j, SPACING_Z * index)
        ]  # fmt: skip
        contours.append(contour)
    drawn.ContourSequence = Sequence(contours)
    image.StructureSetROISequence, image.ROIContourSequence = Sequence([roi]), Sequence([drawn])
    return write(image, Path(path))


def seg(path, patient, refers="1", label="Nodule", shift=0.0, flipped=False):
    """Rows 2 to 4, columns 5 to 8 of slice 2; ``flipped``: stored from the last column on."""
    image = _object(patient, SegmentationStorage)
    image.Modality = "SEG"
    image.Rows, image.Columns, image.NumberOfFrames = ROWS, COLUMNS, 1
    image.BitsAllocated = image.BitsStored = 8
    image.HighBit, image.PixelRepresentation = 7, 0
    series_of, part, own, shared = Dataset(), Dataset(), Dataset(), Dataset()
    series_of.SeriesInstanceUID = uid(refers)
    part.SegmentNumber, part.SegmentLabel = 1, label
    place, turn, measures, which = Dataset(), Dataset(), Dataset(), Dataset()
    first = -10 + 0.8 * (COLUMNS - 1) if flipped else -10
    place.ImagePositionPatient = [first + shift, -20, SPACING_Z * 2]
    turn.ImageOrientationPatient = [-1 if flipped else 1, 0, 0, 0, 1, 0]
    measures.PixelSpacing = [0.7, 0.8]
    which.ReferencedSegmentNumber = 1
    own.PlanePositionSequence, own.SegmentIdentificationSequence = Sequence([place]), Sequence([which])
    shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = Sequence([turn]), Sequence([measures])
    image.ReferencedSeriesSequence, image.SegmentSequence = Sequence([series_of]), Sequence([part])
    image.SharedFunctionalGroupsSequence = Sequence([shared])
    image.PerFrameFunctionalGroupsSequence = Sequence([own])
    frame = np.zeros((ROWS, COLUMNS), np.uint8)
    frame[2:5, 5:9] = 1
    image.PixelData = (frame[:, ::-1] if flipped else frame).tobytes()
    return write(image, Path(path))


def ring(x0, y0, x1, y1):
    """The pixels of a rectangle's outline, in order."""
    top = [(x, y0) for x in range(x0, x1)]
    right = [(x1, y) for y in range(y0, y1)]
    bottom = [(x, y1) for x in range(x1, x0, -1)]
    return top + right + bottom + [(x0, y) for y in range(y1, y0, -1)]


def roi(index, points, included=True, number="1"):
    edges = "".join(f"<edgeMap><xCoord>{x}</xCoord><yCoord>{y}</yCoord></edgeMap>" for x, y in points)
    return (
        f"<roi><imageZposition>{SPACING_Z * index}</imageZposition><imageSOP_UID>{sop(index, number)}</imageSOP_UID>"
        f"<inclusion>{'TRUE' if included else 'FALSE'}</inclusion>{edges}</roi>"
    )


def lidc_message(readers, number="1", top="LidcReadMessage"):
    """``readers``: for each, a list of (rois as text, malignancy or None)."""
    sessions = []
    for nodules in readers:
        held = []
        for place, (rois, malignancy) in enumerate(nodules):
            rated = f"<characteristics><subtlety>4</subtlety><malignancy>{malignancy}</malignancy></characteristics>"
            rated = rated if malignancy else ""
            held.append(f"<unblindedReadNodule><noduleID>N{place}</noduleID>{rated}{rois}</unblindedReadNodule>")
        sessions.append(f"<readingSession>{''.join(held)}<nonNodule/></readingSession>")
    return (
        f'<?xml version="1.0" encoding="UTF-8"?><{top} xmlns="http://www.nih.gov"><ResponseHeader>'
        f"<SeriesInstanceUid>{uid(number)}</SeriesInstanceUid></ResponseHeader>{''.join(sessions)}</{top}>"
    ).encode()


def voc(path, box=(3, 2, 8, 9)):
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    inner = "".join(f"<{n}>{v}</{n}>" for n, v in zip(("xmin", "ymin", "xmax", "ymax"), box))
    path.write_text(f"<annotation><object><name>A</name><bndbox>{inner}</bndbox></object></annotation>")
    return path


def xlsx(path, rows):
    """Strings shared, numbers plain, as Excel writes them; empty cells are not written."""
    texts, lines = [], []
    for r, row in enumerate(rows, 1):
        cells = []
        for c, value in enumerate(row):
            place = f"{chr(65 + c)}{r}"
            if isinstance(value, str) and value:
                texts.append(value)
                cells.append(f'<c r="{place}" t="s"><v>{len(texts) - 1}</v></c>')
            elif value != "":
                cells.append(f'<c r="{place}"><v>{value}</v></c>')
        lines.append(f'<row r="{r}">{"".join(cells)}</row>')
    main = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as book:
        sheet = f"<worksheet {main}><sheetData>{''.join(lines)}</sheetData></worksheet>"
        book.writestr("xl/worksheets/sheet1.xml", sheet)
        shared = "".join(f"<si><t>{escape(text)}</t></si>" for text in texts)
        book.writestr("xl/sharedStrings.xml", f"<sst {main}>{shared}</sst>")
    return Path(path)


def read_all(reader, root):
    """(cases by patient, Counter of (what, reason))."""
    left_out = Counter()
    cases = {case.case_id: case for case in reader.read(root, lambda x: left_out.update([(x.what, x.reason)]))}
    return cases, left_out

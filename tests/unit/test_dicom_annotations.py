"""Annotations of a DICOM slide: where the tiles are, what they say, whose they are; as highdicom reads them."""

import subprocess
from dataclasses import replace
from pathlib import Path
from shutil import which

import highdicom
import numpy as np
import pydicom
import pytest
from dicom_slide_files import SECRETS, tissue, write_slide
from report_cases import stored_slide

from inference_server.case_record import CaseRecord
from inference_server.dicom_annotations import write_annotations
from shared_models.contract.colours import CLASS_COLOURS
from shared_models.contract.errors import InvalidInput
from shared_models.contract.provenance import Provenance
from shared_models.contract.results import PathologyResult
from shared_models.contract.values import CLASSES, SlideTiles
from shared_models.slide_reader import open_slide
from shared_models.slide_tiles import tissue_grid, tissue_tiles

KNOWN = ("adenocarcinoma", "squamous_cell", "normal")
MODEL = Provenance("lung_he 1", "3" * 64, "0.1.0", True, "cpu", KNOWN)


def case(file: Path, pixels: bool = True) -> CaseRecord:
    """SYNTHETIC: the tiles of the slide with made-up probabilities, the last two unlike the training data."""
    with open_slide(file) as slide:
        grid = tissue_grid(slide, 96, 0.5)
        (tiles,) = tissue_tiles(slide, 96, 0.5, 64, grid)
    count = grid.count
    table = np.full((count, 5), np.nan, np.float32)
    for column, name in enumerate(KNOWN):
        table[:, CLASSES.index(name)] = np.where(np.arange(count) % 3 == column, 0.7, 0.15)
    like = np.ones(count, np.float32)
    like[-2:] = 0.1
    probabilities = {name: 1 / 3 if name in KNOWN else None for name in CLASSES}
    result = PathologyResult("level0", 0.5, grid.tile_px, grid.origin_px, table, probabilities, (MODEL,),
                             tile_quality=np.full(count, 0.9, np.float32), tile_reliability=like)  # fmt: skip
    slide_tiles = SlideTiles(tiles.pixels, tiles.origin_px, 0.5, "level0")
    return CaseRecord("case-1", True, pathology=result, slide=stored_slide(slide_tiles) if pixels else None)


@pytest.fixture(scope="module")
def slide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_slide(tmp_path_factory.mktemp("slide"), tissue())


@pytest.fixture(scope="module")
def written(slide: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    (path,) = write_annotations(case(slide), slide.parent, tmp_path_factory.mktemp("out"))
    return path


def groups(path: Path) -> list:
    return list(highdicom.ann.annread(path).AnnotationGroupSequence)


def test_every_tile_is_in_the_group_of_its_class_at_its_place(slide, written) -> None:
    result = case(slide).pathology
    assert result is not None
    found = groups(written)
    assert [g.AnnotationGroupLabel for g in found] == [
        "Adenocarcinoma", "Squamous cell carcinoma", "Normal", "Unlike the training data, not rated",
    ]  # fmt: skip
    count = len(result.origin_px)
    winner = [*(number % 3 for number in range(count - 2)), 3, 3]
    for place, group in enumerate(found):
        tiles = [number for number in range(count) if winner[number] == place]
        corners = np.array(group.get_graphic_data(coordinate_type="2D"))
        assert group.GraphicType == "POLYGON" and corners.shape == (len(tiles), 4, 2)
        x, y = result.origin_px[tiles].T
        right, low = np.minimum(x + 96, 768), np.minimum(y + 96, 512)
        for number, (across, down) in enumerate(((x, y), (right, y), (right, low), (x, low))):
            assert np.array_equal(corners[:, number], np.stack([across, down], axis=1))
    assert sum(int(g.NumberOfAnnotations) for g in found) == count


def test_another_reader_reads_the_same(written) -> None:
    """wsidicom, which shares no code with highdicom."""
    pytest.importorskip("wsidicom", reason="wsidicom is not installed (of the extra dev)")
    from wsidicom.graphical_annotations import AnnotationInstance

    (instance,) = AnnotationInstance.open([written])
    own = groups(written)
    assert instance.coordinate_type == "image" and [g.label for g in instance.groups] == [
        g.AnnotationGroupLabel for g in own
    ]
    for theirs, ours in zip(instance.groups, own):
        drawn = np.array([annotation.geometry.to_coords() for annotation in theirs.annotations])
        assert np.array_equal(drawn, ours.get_graphic_data(coordinate_type="2D"))
        said = [{m.code.meaning: m.value for m in annotation.measurements} for annotation in theirs.annotations]
        for name, values in measured(ours).items():
            assert [one[name] for one in said] == pytest.approx(values)


def measured(group) -> dict[str, np.ndarray]:
    return {m.name.meaning: m.get_values(int(group.NumberOfAnnotations)) for m in group.MeasurementsSequence}


def test_the_numbers_of_a_tile_are_in_it_and_a_tile_that_is_not_rated_has_none(written) -> None:
    adenocarcinoma, *_, unlike = groups(written)
    said = measured(adenocarcinoma)
    assert said["Probability of adenocarcinoma"] == pytest.approx(0.7)
    assert said["Probability of squamous cell carcinoma"] == pytest.approx(0.15)
    entropy = -(0.7 * np.log2(0.7) + 2 * 0.15 * np.log2(0.15))
    assert said["Entropy of the class probabilities"] == pytest.approx(entropy, rel=1e-5)
    assert not any("large cell" in name or "small cell" in name for name in said)  # not assessed is not 0
    assert "Not assessed: large cell carcinoma, small cell carcinoma." in adenocarcinoma.AnnotationGroupDescription
    assert set(measured(unlike)) == {"Likeness to the training data, 0 to 1", "Quality of the picture, 0 to 1"}
    assert measured(unlike)["Likeness to the training data, 0 to 1"] == pytest.approx(0.1)
    units = {m.name.meaning: m.unit.value for m in adenocarcinoma.MeasurementsSequence}
    assert units["Entropy of the class probabilities"] == "bit" and set(units.values()) == {"bit", "1"}


def test_who_made_it_and_what_it_is_is_said(written) -> None:
    made = pydicom.dcmread(written)
    assert made.SeriesDescription == "SYNTHETIC LungXAI tiles, research use only"
    assert made.ContentDescription == "Research use only, not a diagnosis."
    first = groups(written)[0]
    assert first.algorithm_type.value == "AUTOMATIC" and first.algorithm_identification.name == "lung_he 1"
    assert "weights " + "3" * 12 in first.algorithm_identification.version
    assert first.annotated_property_type.value == "1187332001"  # SNOMED CT, adenocarcinoma
    assert "Research use only" in first.AnnotationGroupDescription
    lab = highdicom.color.CIELabColor.from_rgb(*CLASS_COLOURS["adenocarcinoma"])
    assert list(first.RecommendedDisplayCIELabValue) == list(lab.value)


def test_it_belongs_to_the_slide_and_its_patient(slide, written) -> None:
    source, made = pydicom.dcmread(slide), pydicom.dcmread(written)
    for name in ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "PatientAge", "StudyInstanceUID",
                 "StudyDate", "StudyTime", "StudyID", "AccessionNumber", "StudyDescription", "ContainerIdentifier",
                 "SpecimenDescriptionSequence", "SpecificCharacterSet"):  # fmt: skip
        assert made[name].value == source[name].value, name
    assert made.SeriesInstanceUID != source.SeriesInstanceUID and made.Modality == "ANN"
    (image,) = made.ReferencedImageSequence
    assert (image.ReferencedSOPClassUID, image.ReferencedSOPInstanceUID) == (source.SOPClassUID, source.SOPInstanceUID)
    (series,) = made.ReferencedSeriesSequence
    assert series.SeriesInstanceUID == source.SeriesInstanceUID
    assert made.AnnotationCoordinateType == "2D" and made.PixelOriginInterpretation == "VOLUME"
    assert not any("case-1" in str(element.value) for element in made.iterall())


@pytest.mark.skipif(which("dciodvfy") is None, reason="dciodvfy is not installed (Debian: dicom3tools)")
def test_dciodvfy_finds_no_error(written) -> None:
    """But one of its own: its rule that 2D has no CommonZCoordinateValue does not look whether there is one."""
    run = subprocess.run(["dciodvfy", str(written)], capture_output=True, text=True)
    said = (run.stdout + run.stderr).splitlines()
    assert "MicroscopyBulkSimpleAnnotations" in said
    errors = {line for line in said if line.startswith("Error")}
    assert errors <= {"Error - Only valid for AnnotationCoordinateType of 3D - attribute <CommonZCoordinateValue> = <>"}
    assert not any("CommonZCoordinateValue" in group for group in groups(written))


def test_a_file_of_the_slide_will_do_and_several_slides_will_not(slide, tmp_path) -> None:
    record = case(slide)
    write_slide(tmp_path / "both" / "a", tissue())
    other = write_slide(tmp_path / "both" / "b", tissue(5), series="1.2.826.0.1.3680043.10.77.2")
    with pytest.raises(InvalidInput, match="several slides"):
        write_annotations(record, tmp_path / "both", tmp_path / "out")
    flat = write_slide(tmp_path / "flat", tissue())
    other.rename(flat.with_name("of-another-slide.dcm"))
    assert write_annotations(record, flat.with_name("level1.dcm"), tmp_path / "out")
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["tiles.dcm"]


@pytest.mark.parametrize("pixels", [True, False])
def test_another_slide_is_refused(slide, tmp_path, pixels) -> None:
    record = case(slide, pixels)
    assert write_annotations(record, slide.parent, tmp_path / "right")
    for name, picture in (("elsewhere", np.roll(tissue(), 300, axis=1)), ("small", tissue(0, (128, 128)))):
        write_slide(tmp_path / name, picture)
        with pytest.raises(InvalidInput, match="not of this slide. Nothing was written") as fault:
            write_annotations(record, tmp_path / name, tmp_path / "out")
        assert not any(secret in str(fault.value) for secret in SECRETS)
    if pixels:  # the same outline, other cells
        write_slide(tmp_path / "other", tissue()[:, :, ::-1])
        with pytest.raises(InvalidInput, match="not of this slide"):
            write_annotations(record, tmp_path / "other", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_cannot_be_annotated_is_said(slide, tmp_path) -> None:
    record = case(slide)
    with pytest.raises(InvalidInput, match="no tiles"):
        write_annotations(CaseRecord("case-2"), slide.parent, tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.txt").write_text("no DICOM")
    for folder in ("empty", "absent"):
        with pytest.raises(InvalidInput, match="no DICOM slide|not there"):
            write_annotations(record, tmp_path / folder, tmp_path)

    def spoil(image: pydicom.Dataset) -> None:
        del image.ContainerIdentifier
        image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = "1.2.3"

    write_slide(tmp_path / "twice", tissue(), edit=spoil)
    (tmp_path / "twice" / "again.dcm").write_bytes((tmp_path / "twice" / "level0.dcm").read_bytes())
    with pytest.raises(InvalidInput, match="lies in several files"):
        write_annotations(record, tmp_path / "twice", tmp_path)


def test_a_name_in_japanese_comes_out_as_it_went_in(tmp_path) -> None:
    def japanese(image: pydicom.Dataset) -> None:
        image.PatientName = "Yamada^Tarou=山田^太郎"

    file = write_slide(tmp_path / "slide", tissue(), edit=japanese)
    (path,) = write_annotations(case(file), file.parent, tmp_path / "out")
    assert str(pydicom.dcmread(path).PatientName) == "Yamada^Tarou=山田^太郎"


def test_classes_of_another_model_are_named_in_its_words(slide, tmp_path) -> None:
    record = case(slide)
    result = record.pathology
    assert result is not None
    table = np.zeros((len(result.origin_px), 2), np.float32)
    table[::2] = (0.9, 0.1)
    table[1::2] = (0.2, 0.8)
    foreign = replace(
        result, tile_probabilities=np.full_like(result.tile_probabilities, np.nan), other_classes=("Tumour", "Stroma"),
        probabilities=dict.fromkeys(CLASSES), other_probabilities=table, tile_reliability=None,
    )  # fmt: skip
    (path,) = write_annotations(replace(record, pathology=foreign), slide.parent, tmp_path)
    tumour, stroma = groups(path)
    assert (tumour.AnnotationGroupLabel, stroma.AnnotationGroupLabel) == ("Tumour", "Stroma")
    assert measured(tumour)["Tumour"] == pytest.approx(0.9) and measured(stroma)["Tumour"] == pytest.approx(0.2)
    one = replace(foreign, other_classes=("Tumour",), other_probabilities=table[:, :1])
    (path,) = write_annotations(replace(record, pathology=one), slide.parent, tmp_path)
    assert [g.AnnotationGroupLabel for g in groups(path)] == ["Tumour", "Less than a half"]


def test_a_whole_slide_of_tiles_stays_exact() -> None:
    """Coordinates beyond 16 bits, and tiles whose side is no whole number of pixels."""
    from inference_server.dicom_annotations import _corners
    from inference_server.dicom_slide import DicomSlide

    slide = DicomSlide(Path(), pydicom.Dataset(), (200_000, 150_000))
    base = PathologyResult("s", 0.5, (446.0, 446.0), np.array([[199_000, 149_800]], np.int64),
                           np.full((1, 5), np.nan, np.float32), dict.fromkeys(CLASSES), (MODEL,))  # fmt: skip
    corners = _corners(base, slide)
    assert corners.dtype == np.float32
    assert corners.tolist() == [[[199_000, 149_800], [199_446, 149_800], [199_446, 150_000], [199_000, 150_000]]]
    odd = _corners(replace(base, tile_px=(445.3, 445.3), origin_px=np.array([[131_073, 5]], np.int64)), slide)
    assert odd.dtype == np.float64 and odd[0, 1, 0] == 131_073 + 445.3

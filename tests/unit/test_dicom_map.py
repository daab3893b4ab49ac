"""The DICOM parametric map: a heatmap's own values, where they were."""

from dataclasses import replace

import highdicom
import numpy as np
import pydicom
import pytest
from dicom_cases import GEOMETRIES, case, errors, on_grid, source

from inference_server.dicom_map import parametric_map
from inference_server.dicom_source import SourceSeries
from shared_models.contract.errors import BadGeometry
from shared_models.contract.results import METHODS, placed
from shared_models.geometry import cropped_affine


def _made(tmp_path, geometry="axial", method="gradcam", change=None):
    volume = source(tmp_path / "series", geometry)
    series = SourceSeries.read(tmp_path / "series", volume.series_uid)
    heatmap = case(volume).ct_heatmaps["gradcam"]
    heatmap = replace(heatmap, method=method, **(change or {}))
    made = parametric_map(heatmap, series, "1.2.3.4", 2)
    made.save_as(tmp_path / "map.dcm", enforce_file_format=True)
    return volume, heatmap, series, pydicom.dcmread(tmp_path / "map.dcm")


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_every_value_is_the_one_it_was_and_where_it_was(tmp_path, geometry) -> None:
    volume, heatmap, series, read = _made(tmp_path, geometry)
    stored = np.frombuffer(read.FloatPixelData, "<f4")
    assert stored.size == heatmap.values.size
    whole = on_grid(read, stored, volume.ijk_to_lps, volume.voxels.shape, np.float32)
    expected = placed(heatmap.values, heatmap.index_to_world, volume.voxels.shape, volume.ijk_to_lps)
    assert np.array_equal(whole, expected) and (expected < 0).any()
    assert read.FrameOfReferenceUID == series.frame_of_reference_uid
    assert errors(tmp_path / "map.dcm") == []


def test_highdicom_gives_the_values_in_their_own_unit(tmp_path) -> None:
    _, heatmap, _, read = _made(tmp_path)
    image = highdicom.imread(tmp_path / "map.dcm")
    stored = image.pixel_array  # asked for first: highdicom 0.28 cannot decode a float frame by itself
    frames = image.get_frames(apply_real_world_transform=True)
    order = np.argsort([g.PlanePositionSequence[0].ImagePositionPatient[2]
                        for g in read.PerFrameFunctionalGroupsSequence])  # fmt: skip
    assert np.array_equal(stored[order], heatmap.values)
    assert np.array_equal(frames[order].astype(np.float32), heatmap.values)
    mapping = read.SharedFunctionalGroupsSequence[0].RealWorldValueMappingSequence[0]
    assert (mapping.RealWorldValueSlope, mapping.RealWorldValueIntercept) == (1, 0)
    assert mapping.DoubleFloatRealWorldValueFirstValueMapped == float(heatmap.values.min())
    assert mapping.MeasurementUnitsCodeSequence[0].CodeValue == "1"


@pytest.mark.parametrize("method", METHODS)
def test_it_says_what_it_shows_by_which_method_and_of_what(tmp_path, method) -> None:
    _, heatmap, series, read = _made(tmp_path, method=method)
    mapping = read.SharedFunctionalGroupsSequence[0].RealWorldValueMappingSequence[0]
    said = {
        item.ConceptNameCodeSequence[0].CodeMeaning: item.ConceptCodeSequence[0]
        for item in mapping.QuantityDefinitionSequence
    }
    quantity = said["Quantity"]
    assert (quantity.CodeValue, quantity.CodingSchemeDesignator) == (
        "130403" if method.startswith("gradcam") else "130404", "DCM"
    )  # fmt: skip
    assert said["Measurement Method"].CodingSchemeDesignator == "99LUNGXAI"
    assert said["Output that is explained"].CodeMeaning == "Network output: nodule"
    assert read.CodingSchemeIdentificationSequence[0].CodingSchemeDesignator == "99LUNGXAI"
    how = read.DerivationDescription
    assert "a" * 64 in how and "steps 5" in how and "Research use only" in how
    assert len(how) <= 1024 and len(mapping.LUTLabel) <= 16
    assert read.ContentQualification == "RESEARCH"
    assert (read.SeriesInstanceUID, read.InstanceNumber) == ("1.2.3.4", 2)
    assert errors(tmp_path / "map.dcm") == []


def test_each_frame_names_the_slice_it_lies_on(tmp_path) -> None:
    _, _, series, read = _made(tmp_path)
    for group in read.PerFrameFunctionalGroupsSequence:
        image = group.DerivationImageSequence[0].SourceImageSequence[0]
        held = next(d for d in series.datasets if d.SOPInstanceUID == image.ReferencedSOPInstanceUID)
        assert held.ImagePositionPatient[2] == group.PlanePositionSequence[0].ImagePositionPatient[2]
        assert image.SpatialLocationsPreserved == "NO"  # a crop has not the pixels of its slice


@pytest.mark.parametrize("values", [np.zeros((2, 3, 4), np.float32), np.full((1, 1, 1), -2e-30, np.float32)])
def test_a_map_that_is_the_same_everywhere_is_written(tmp_path, values) -> None:
    _, heatmap, _, read = _made(tmp_path, change={"values": values})
    assert np.array_equal(np.frombuffer(read.FloatPixelData, "<f4"), values.ravel())
    assert errors(tmp_path / "map.dcm") == []


def test_a_target_of_another_program_and_long_parameters_are_written(tmp_path) -> None:
    _, _, _, read = _made(
        tmp_path, change={"target": "größer als \\ 1" + "x" * 80, "parameters": {"note": "y" * 3000}}
    )  # fmt: skip
    assert len(read.DerivationDescription) == 1024
    assert errors(tmp_path / "map.dcm") == []


def test_a_map_that_is_not_on_the_series_is_refused(tmp_path) -> None:
    volume = source(tmp_path)
    series = SourceSeries.read(tmp_path, volume.series_uid)
    heatmap = case(volume).ct_heatmaps["gradcam"]
    for first in ((20, 3, 2), (0.4, 0, 0)):
        outside = replace(heatmap, index_to_world=cropped_affine(volume.ijk_to_lps, first))
        with pytest.raises(BadGeometry):
            parametric_map(outside, series, "1.2.3.4", 1)

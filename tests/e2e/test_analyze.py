"""The commands that a user types: demo, analyze, models, evaluate; files on exactly the CT's grid."""

import gzip
import json
from pathlib import Path

import numpy as np
import pydicom
import pytest

from inference_server import doctor
from qupath_bridge.geojson_reader import read_objects, walk
from shared_models.command_line import main
from shared_models.ct_reader import read_ct

pytest.importorskip("torch")
PDF = ["report.pdf"] if doctor._pdf().ok else []  # a machine without Pango and without a browser writes the rest


def nrrd(path: Path):
    """Read by ITK, which is not the writer's twin."""
    import SimpleITK

    image = SimpleITK.ReadImage(str(path))
    affine = np.eye(4)
    affine[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    return SimpleITK.GetArrayFromImage(image), affine


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    out = tmp_path_factory.mktemp("demo")
    assert main(["demo", "--out", str(out)]) == 0
    return out


def test_the_demo_writes_every_file_and_finds_what_it_planted(demo, capsys) -> None:
    from inference_server.demo import found, make_case

    names = {
        "case.json", "ct_segmentation.nrrd", "ct_heatmap_gradcam.nrrd", "slide.geojson.gz",
        "slide_heatmap_gradcam.geojson.gz", "report.html", "fhir.json", *PDF,
    }  # fmt: skip
    assert {p.name for p in demo.iterdir() if p.is_file()} == names
    objects = {"segmentation.dcm", "measurements.dcm", "heatmap_gradcam.dcm", *(["report.dcm"] if PDF else [])}
    assert {p.name for p in (demo / "dicom").iterdir()} == objects
    case = json.loads((demo / "case.json").read_text())
    assert case["synthetic"] is True and "Research use only" in case["notice"]
    lines = found(make_case(demo / "input"), case, demo)
    assert sum("found, long axis" in line for line in lines) == 2 and not any("NOT found" in line for line in lines)


def test_its_volumes_are_on_exactly_the_grid_of_the_ct(demo) -> None:
    volume, _ = read_ct(demo / "input" / "ct")
    for name in ("ct_segmentation.nrrd", "ct_heatmap_gradcam.nrrd"):
        array, affine = nrrd(demo / name)
        assert array.shape == volume.voxels.shape
        np.testing.assert_allclose(affine, volume.ijk_to_lps, atol=1e-9)


def test_its_slide_files_and_report_say_that_it_is_synthetic(demo) -> None:
    for name in ("slide.geojson.gz", "slide_heatmap_gradcam.geojson.gz"):
        features = json.loads(gzip.decompress((demo / name).read_bytes()))["features"]
        assert features and any("SYNTHETIC" in f["properties"].get("name", "") for f in features)
    assert "SYNTHETIC CASE" in (demo / "report.html").read_text()
    tags = {tag["code"] for tag in json.loads((demo / "fhir.json").read_text())["meta"]["tag"]}
    assert "HTEST" in tags
    for path in (demo / "dicom").iterdir():
        assert "SYNTHETIC" in pydicom.dcmread(path, stop_before_pixels=True).SeriesDescription


def test_the_segmentation_for_the_archive_is_the_one_for_slicer(demo) -> None:
    import highdicom

    labels, affine = nrrd(demo / "ct_segmentation.nrrd")
    volume = highdicom.seg.segread(demo / "dicom" / "segmentation.dcm").get_volume(combine_segments=True)
    inside = np.argwhere(volume.array > 0)
    places = np.c_[volume.map_indices_to_reference(inside), np.ones(len(inside))]
    index = np.rint(np.linalg.solve(affine, places.T)[:3]).astype(int)
    found = np.zeros_like(labels)
    found[tuple(index[::-1])] = volume.array[tuple(inside.T)]
    numbers = np.searchsorted(np.unique(labels), labels)  # segments count from 1 without a gap
    assert labels.any() and np.array_equal(found, numbers)


def test_fields_alone_give_a_report(tmp_path, capsys) -> None:
    fields = tmp_path / "fields.json"
    fields.write_text('{"age_years": 70, "sex": "male", "smoking": "current", "pack_years": 50}')
    assert main(["analyze", "--clinical", str(fields), "--out", str(tmp_path / "out")]) == 0
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"case.json", "report.html", *PDF}
    assert "No CT was analysed" in (tmp_path / "out" / "report.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "nothing to analyse"),
        (["--clinical", "absent.json"], "cannot be read"),
        (["--ct", "absent"], ""),
        (["--ct", "x", "--point", "1,2"], "not a point"),
    ],
)
def test_bad_input_is_explained(tmp_path, capsys, arguments, says) -> None:
    assert main(["analyze", *arguments, "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert says in said and "Traceback" not in said


def test_a_method_that_is_not_there_is_refused_at_once(demo, tmp_path, capsys) -> None:
    ct = str(demo / "input" / "ct")
    with pytest.raises(SystemExit) as left:
        main(["analyze", "--ct", ct, "--out", str(tmp_path / "out"), "--explain", "guess"])
    assert left.value.code == 2 and "smoothgrad" in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_models_list_names_the_coverage(tmp_path, capsys) -> None:
    assert main(["models", "list", "--json"]) == 0
    models = {m["folder"]: m for m in json.loads(capsys.readouterr().out)["models"]}
    assert set(models) == {
        "lung_he_lite0", "lung_nodule_segmentation", "lung_nodule_malignancy", "lung_clinical_subtype", "lung_fusion",
    }  # fmt: skip
    assert models["lung_he_lite0"]["not_assessed"] == ["large_cell", "small_cell"]
    (tmp_path / "broken" / "configs").mkdir(parents=True)
    (tmp_path / "broken" / "configs" / "metadata.json").write_text("{}")
    assert main(["models", "list", "--models", str(tmp_path)]) == 1
    assert "BROKEN" in capsys.readouterr().out


def test_evaluate_says_when_there_is_no_data(tmp_path, capsys) -> None:
    assert main(["evaluate", "--data", str(tmp_path)]) == 2
    assert "holds no data" in capsys.readouterr().err


def test_evaluate_on_the_real_data(real_data, tmp_path, capsys) -> None:
    target = tmp_path / "result.json"
    models = ("he_tiles", "ct_slices", "ct_cubes", "ct_malignancy", "ct_series")
    asked = [part for task in models for part in ("--task", task)]  # not the fusion, which takes minutes
    assert main(["evaluate", "--data", str(real_data), "--json", str(target), *asked]) == 0
    result = json.loads(target.read_text())
    tasks = result["tasks"]
    assert set(models) == set(tasks)
    for task, names in {
        "he_tiles": ("accuracy", "macro_f1", "auroc"), "ct_slices": ("dice_mean", "dice_median"),
        "ct_cubes": ("dice_mean", "dice_median"), "ct_malignancy": ("auroc", "auroc_area_only"),
        "ct_series": ("box_hit", "false_positives"),
    }.items():  # fmt: skip
        for name in names:
            low, high = tasks[task][name]["ci95"]
            assert low <= tasks[task][name]["value"] <= high
    assert tasks["he_tiles"]["accuracy"]["value"] >= 0.95
    assert tasks["ct_slices"]["dice_mean"]["value"] >= 0.76
    assert tasks["ct_series"]["box_hit"]["value"] >= 0.7


def test_a_real_ct_and_a_composed_slide_go_through(real_data, tmp_path, capsys) -> None:
    from compose_slide import compose

    from shared_models.tumour_boxes import SERIES, slice_of, tumour_boxes

    truth = compose(real_data, tmp_path / "composed.tif", ["adenocarcinoma", "normal"])
    ct, out = real_data / SERIES / "A0001", tmp_path / "out"
    given = ["--ct", str(ct), "--slide", str(tmp_path / "composed.tif"), "--out", str(out)]
    assert main(["analyze", *given, "--synthetic"]) == 0
    labels, affine = nrrd(out / "ct_segmentation.nrrd")
    np.testing.assert_allclose(affine, read_ct(ct)[0].ijk_to_lps, atol=1e-9)
    boxes = tumour_boxes(real_data / SERIES / "Annotation" / "A0001")
    hit = []
    for uid, k in slice_of(ct, affine).items():
        if uid in boxes:
            x0, y0, x1, y1 = boxes[uid]
            hit.append((labels[k, y0 : y1 + 1, x0 : x1 + 1] > 0).any())
    assert len(hit) >= 5 and np.mean(hit) >= 0.7
    called = {
        tuple(np.mean(o.coordinates[0][:4], axis=0)): o.class_name
        for o in walk(read_objects(out / "slide.geojson.gz"))
        if o.kind == "tile"
    }
    names = {"adenocarcinoma": "Adenocarcinoma", "normal": "Normal"}
    right = []
    for tile in truth["tiles"]:
        middle = tuple(np.array(tile["origin_px"]) + 112.0)
        nearest = min(called, key=lambda c: np.hypot(c[0] - middle[0], c[1] - middle[1]))
        right.append(called[nearest] == names[tile["label"]])
    assert np.mean(right) >= 0.9
    text = (out / "report.html").read_text()
    assert "H&amp;E slide" in text and "nodule candidate" in text and "Grad-CAM" in text

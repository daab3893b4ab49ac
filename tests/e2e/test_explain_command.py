"""`lungxai explain` against a server process with the models of tests/fake_models.py; the drawing is the real one."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from fake_server import TESTS, ct, fake_server
from PIL import Image

from inference_server.explain import Asked, checked, enlarged, probabilities
from shared_models.command_line import main
from shared_models.contract.client import Client
from shared_models.contract.errors import InvalidInput
from shared_models.contract.provenance import Provenance
from shared_models.contract.results import METHODS, PathologyResult
from shared_models.contract.values import CLASSES
from shared_models.ct_writer import write_nrrd

SCALE = "qupath_paquo"  # its fake slide model says at what scale it looks


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("explain")
    environment = {
        "PYTHONPATH": os.pathsep.join((str(TESTS), str(TESTS / SCALE))), "LUNGXAI_TEST_CALLS": str(folder / "calls")
    }  # fmt: skip
    with fake_server(folder / "data", environment, backend="fake_slide_models:load") as (url, token):
        (folder / "token").write_text(token)
        (folder / "calls").touch()
        yield url, token, folder


@pytest.fixture
def explain(server, tmp_path, monkeypatch):
    """The command against this server, in an empty folder; its exit code."""
    url, _, folder = server
    monkeypatch.chdir(tmp_path)
    return lambda *given: main(["explain", *given, "--server", url, "--token-file", str(folder / "token")])


def tissue(path: Path, width: int = 64, height: int = 64) -> str:
    pixels = np.random.default_rng(0).integers(80, 200, (height, width, 3)).astype(np.uint8)
    pixels[..., 1] //= 2
    Image.fromarray(pixels).save(path)
    return str(path)


@pytest.fixture
def volume(tmp_path):
    one = ct(shape=(12, 32, 32))
    write_nrrd(tmp_path / "chest.nrrd", one.voxels, one.ijk_to_lps, {})
    return str(tmp_path / "chest.nrrd")


def record_of(path: str = "numbers.json") -> dict:
    return json.loads(Path(path).read_text())


def test_a_tile_by_all_methods(explain, server, tmp_path, capsys) -> None:
    given = tissue(tmp_path / "Doe_Jane.png")
    assert explain("--tile", given, "--json", "numbers.json") == 0
    record, picture = record_of(), Image.open("explain.png")
    assert [m["method"] for m in record["maps"]] == list(METHODS)
    assert picture.width == 1320 and "Research use only" in picture.text["Comment"]
    assert record["notice"].startswith("Research use only") and record["synthetic"] is False
    red = float(np.asarray(Image.open(given).resize((16, 16), Image.Resampling.BILINEAR))[0, 0, 0]) / 255
    assert record["probabilities"]["adenocarcinoma"] == pytest.approx(red, abs=0.1)
    assert record["probabilities"]["small_cell"] is None
    for numbers in record["maps"]:
        assert numbers["parameters"]["fake"] is True and numbers["most_against"] == 0
        assert numbers["sum"] == pytest.approx(numbers["most_for"], rel=1e-5) and numbers["most_for"] > 50
    said = capsys.readouterr()
    assert "Explained: the predicted class, Adenocarcinoma" in said.out
    assert "Integrated Gradients" in said.out and "was not measured" in said.out and "Adenocarcinoma" in said.out
    assert "Doe" not in Path("numbers.json").read_text() + said.out + picture.text["Comment"]
    with Client(*server[:2]) as client:
        assert client.cases() == []  # nothing is left on a server that others use


def test_one_method_a_class_and_its_contrast_reach_the_server(explain, server, tmp_path, capsys) -> None:
    given = "--method", "occlusion", "--target", "squamous_cell", "--contrast", "normal", "--json", "numbers.json"
    assert explain("--tile", tissue(tmp_path / "t.png"), *given, "--out", "one.png", "--synthetic") == 0
    assert (server[2] / "calls").read_text().splitlines()[-1] == "explain occlusion"
    record = record_of()
    assert [m["target"] for m in record["maps"]] == ["squamous_cell rather than normal"]
    assert record["contrast"] == "normal" and record["synthetic"] is True
    said = capsys.readouterr().out
    assert "SYNTHETIC" in Image.open("one.png").text["Comment"] and "SYNTHETIC" in said
    assert "Explained: Squamous cell carcinoma rather than Normal" in said


def test_a_place_of_a_slide(explain, tmp_path, capsys) -> None:
    slide = tissue(tmp_path / "slide.png", 200, 120)
    given = "--slide", slide, "--mpp", "0.25", "--method", "gradcam", "--json", "numbers.json"
    assert explain(*given, "--at", "100,60") == 0
    assert record_of()["tile"] == "Tile at 100, 60 (level-0 pixels), 8 µm wide"
    assert explain(*given, "--at", "200,60") == 2
    said = capsys.readouterr().err
    assert "outside the slide" in said and "x from 0 to 199 and y from 0 to 119" in said


def test_a_nodule(explain, volume, server, capsys) -> None:
    assert explain("--ct", volume, "--point", "5,6,4", "--target", "malignancy", "--json", "numbers.json") == 0
    record = record_of()
    assert [m["method"] for m in record["maps"]] == list(METHODS) and record["target"] == "malignancy"
    assert record["nodule"]["long_axis_mm"] == 8.0 and record["point_lps_mm"] == [5, 6, 4]
    assert "level -600 HU" in record["window"] and Image.open("explain.png").width == 1320
    assert "of the whole nodule" in capsys.readouterr().out
    assert (server[2] / "calls").read_text().splitlines()[-1] == f"analyse {' '.join(METHODS)} malignancy"


WRONG = {
    "no tissue": (["--tile", "glass.png"], "no tissue", "Choose a place on the tissue"),
    "no such class": (["--tile", "t.png", "--target", "mesothelioma"], "does not assess mesothelioma", "squamous_cell"),
    "no such contrast": (["--tile", "t.png", "--contrast", "small_cell"], "does not assess small_cell", "normal"),
    "not square": (["--tile", "wide.png"], "90 x 64 pixels", "--mpp"),
    "too small": (["--tile", "t.png", "--mpp", "0.05"], "shows 3 µm, and the model sees 8 µm", "Cut out more"),
    "no picture": (["--tile", "absent.png"], "is not there", "Check the path"),
    "not a picture": (["--tile", "chest.nrrd"], "cannot be read", ""),
    "no place": (["--slide", "t.png", "--mpp", "0.5"], "--slide needs --at", "--help"),
    "a place of nothing": (["--tile", "t.png", "--at", "1,2"], "--at says where on --slide", ""),
    "half a place": (["--slide", "t.png", "--at", "12"], "is not a place", "--at 18200,7400"),
    "no point": (["--ct", "chest.nrrd", "--point", "1,2,nan"], "is not a point", "--point="),
    "outside": (["--ct", "chest.nrrd", "--point", "500,2,3"], "outside the CT", "RAS"),
    "not of a CT": (["--ct", "chest.nrrd", "--point", "1,2,3", "--target", "normal"], "does not assess", "malignancy"),
    "contrast": (["--ct", "chest.nrrd", "--point", "1,2,3", "--contrast", "x"], "nothing is contrasted", ""),
    "no folder": (["--tile", "t.png", "--out", "absent/x.png"], "cannot be written", "folder"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_said_and_what_to_do(explain, volume, tmp_path, capsys, case) -> None:
    tissue(tmp_path / "t.png")
    tissue(tmp_path / "wide.png", 90, 64)
    Image.new("RGB", (64, 64), (243, 242, 244)).save(tmp_path / "glass.png")
    given, fault, remedy = WRONG[case]
    assert explain(*given) == 2
    said = capsys.readouterr().err
    assert fault in said and remedy in said and "Traceback" not in said
    assert not Path("explain.png").exists()


def test_a_method_that_the_model_has_not() -> None:
    model = {"model_id": "theirs", "modality": "pathology", "coverage": [], "methods": ["occlusion", "saliency"]}
    with pytest.raises(InvalidInput, match="theirs cannot be explained by gradcam") as fault:
        checked(Asked(("gradcam", "occlusion")), model)
    assert fault.value.remedy == "Its methods: occlusion, saliency."
    assert checked(Asked(), model) == ("occlusion", "saliency")
    assert checked(Asked(target="G3"), {**model, "other_classes": ["G3"]}) == ("occlusion", "saliency")
    with pytest.raises(InvalidInput, match="by any method"):
        checked(Asked(), {**model, "methods": []})


def test_the_classes_of_another_model_are_named_too() -> None:
    nothing = np.full((1, 5), np.nan, np.float32)
    result = PathologyResult(
        "tile", 0.5, (16.0, 16.0), np.zeros((1, 2), np.int64), nothing, dict.fromkeys(CLASSES),
        (Provenance("theirs", "0" * 64, "test", False, "cpu", ()),),
        other_classes=("lepidic", "solid"), other_probabilities=np.array([[0.25, 0.75]], np.float32),
    )  # fmt: skip
    assert probabilities(result) == {**dict.fromkeys(CLASSES), "lepidic": 0.25, "solid": 0.75}


def test_cells_are_interpolated_between_their_middles() -> None:
    wide = enlarged(np.array([[0.0, 1.0]], np.float32), (4, 8))
    np.testing.assert_allclose(wide[0], [0, 0, 0.125, 0.375, 0.625, 0.875, 1, 1], atol=1e-6)

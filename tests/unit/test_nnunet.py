"""nnU-Net v2 as a backend: its raw format, its processes, and predictions back on exactly the grid they belong to."""

from __future__ import annotations

import argparse
import csv
import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

SimpleITK = pytest.importorskip("SimpleITK")

from shared_models import nnunet_command, nnunet_run, train  # noqa: E402
from shared_models.contract.errors import BadGeometry, InvalidInput, ModelUnavailable, ServerError  # noqa: E402
from shared_models.contract.values import CTVolume  # noqa: E402
from shared_models.ct_data import CUBES  # noqa: E402
from shared_models.ct_foreign import separated  # noqa: E402
from shared_models.nnunet_export import affine_mm, export, export_ct  # noqa: E402
from shared_models.nnunet_files import read_labels, write_volume  # noqa: E402

SPLITS = ("train", "train", "train", "val", "val", "test", "exclude")


def lungxai(module, *words: object) -> int:
    parser = argparse.ArgumentParser()
    module.register(parser.add_subparsers(required=True))
    given = parser.parse_args([str(word) for word in words])
    return int(given.run(given) or 0)


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """Made-up cubes in the layout of lidc_nodule_3d_51: an ellipsoid that is longest along the rows."""
    root = tmp_path_factory.mktemp("data")
    (root / CUBES).mkdir()
    place = np.indices((51, 51, 51)) - 25
    hu, masks, rows = [], [], []
    for i, split in enumerate(SPLITS):
        mask = (place[0] / 6) ** 2 + (place[1] / 9) ** 2 + ((place[2] - i) / 4) ** 2 <= 1
        hu.append(np.where(mask, 30 + i, -850).astype(np.int16))
        masks.append(np.packbits(mask.ravel()))
        rows.append({"idx": 10 * i, "patient_id": f"PATIENT-{i if i != 1 else 0}", "split": split})
    np.savez(root / CUBES / "lidc_nodule_3d_51.npz", hu=np.array(hu), mask=np.array(masks))
    with (root / CUBES / "nodules3d.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return root


def test_the_raw_format(data, tmp_path, capsys) -> None:
    assert lungxai(nnunet_command, "nnunet", "export", "--data", data, "--out", tmp_path) == 0
    assert "3 train, 2 val, 1 test" in capsys.readouterr().out
    folder = tmp_path / "raw" / "Dataset501_LungNodules"
    told = json.loads((folder / "dataset.json").read_text())
    assert told["channel_names"] == {"0": "CT"} and told["labels"] == {"background": 0, "nodule": 1}
    assert told["numTraining"] == 5 and told["file_ending"] == ".nii.gz"
    names = [f"nodule_{n:04d}" for n in range(0, 50, 10)]
    assert sorted(p.name for p in (folder / "imagesTr").iterdir()) == [f"{name}_0000.nii.gz" for name in names]
    assert sorted(p.name for p in (folder / "labelsTr").iterdir()) == [f"{name}.nii.gz" for name in names]
    assert [p.name for p in (folder / "imagesTs").iterdir()] == ["nodule_0050_0000.nii.gz"]
    splits = json.loads((folder / "splits_final.json").read_text())
    assert splits == [{"train": ["nodule_0000", "nodule_0010", "nodule_0020"], "val": ["nodule_0030", "nodule_0040"]}]
    # Read by ITK's own reader: slices along z, as ct_data has them, 1 mm.
    from shared_models.ct_data import cubes

    image = SimpleITK.ReadImage(str(folder / "imagesTr" / "nodule_0020_0000.nii.gz"))
    label = SimpleITK.ReadImage(str(folder / "labelsTr" / "nodule_0020.nii.gz"))
    held = cubes(data, "train")
    assert (SimpleITK.GetArrayFromImage(image) == held.hu[2]).all()
    assert (SimpleITK.GetArrayFromImage(label) == held.mask[2]).all() and held.mask[2].sum() > 800
    assert image.GetSpacing() == label.GetSpacing() == (1.0, 1.0, 1.0) and image.GetOrigin() == label.GetOrigin()
    if importlib.util.find_spec("nnunetv2") is not None:
        from nnunetv2.experiment_planning.verify_dataset_integrity import verify_dataset_integrity

        verify_dataset_integrity(str(folder), 1)
    with pytest.raises(InvalidInput, match="1 to 999"):
        export(data, tmp_path, 1000)
    with pytest.raises(InvalidInput, match="holds no lidc"):
        export(tmp_path, tmp_path)


def test_a_patient_in_two_splits_is_refused(data, tmp_path) -> None:
    (tmp_path / CUBES).mkdir()
    (tmp_path / CUBES / "lidc_nodule_3d_51.npz").symlink_to(data / CUBES / "lidc_nodule_3d_51.npz")
    text = (data / CUBES / "nodules3d.csv").read_text()
    (tmp_path / CUBES / "nodules3d.csv").write_text(text.replace("PATIENT-3", "PATIENT-0"))
    with pytest.raises(InvalidInput, match="two splits"):
        export(tmp_path, tmp_path / "raw")


def oblique() -> np.ndarray:
    """A grid turned about two axes, of three spacings."""
    a, b = np.deg2rad(20), np.deg2rad(-10)
    turn = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    turn = turn @ np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    affine = np.eye(4)
    affine[:3, :3] = turn * np.array([0.7031249, 0.71, 1.25])
    affine[:3, 3] = (-173.3, -211.7, 1021.1)
    return affine


def test_labels_come_back_on_exactly_the_grid(tmp_path) -> None:
    affine, labels = oblique(), np.zeros((5, 7, 9), np.uint8)
    labels[1, 2, 3], labels[4, 6, 8] = 1, 200
    write_volume(tmp_path / "a.nii.gz", labels, affine)
    # Where ITK puts a voxel is where our affine does.
    image = SimpleITK.ReadImage(str(tmp_path / "a.nii.gz"))
    assert image.TransformIndexToPhysicalPoint((8, 6, 4)) == pytest.approx((affine @ [8, 6, 4, 1])[:3], abs=1e-3)
    assert (read_labels(tmp_path / "a.nii.gz", labels.shape, affine) == labels).all()
    moved, turned = affine.copy(), affine.copy()
    moved[0, 3] += 0.05
    turned[:3, 0] *= -1
    for other in (moved, turned):
        with pytest.raises(BadGeometry, match="mm away"):
            read_labels(tmp_path / "a.nii.gz", labels.shape, other)
    with pytest.raises(BadGeometry, match="9 x 7 x 5 voxels, the CT has 9 x 7 x 6"):
        read_labels(tmp_path / "a.nii.gz", (6, 7, 9), affine)
    tilted = affine.copy()
    tilted[1, 2] += 0.3
    with pytest.raises(BadGeometry, match="tilted gantry"):
        write_volume(tmp_path / "b.nii.gz", labels, tilted)


def test_what_is_no_segmentation_is_refused(tmp_path) -> None:
    shape, affine = (4, 4, 4), np.eye(4)
    write_volume(tmp_path / "hu.nii.gz", np.full(shape, -900, np.int16), affine)
    write_volume(tmp_path / "scores.nii.gz", np.full(shape, 0.5, np.float32), affine)
    (tmp_path / "text.nii.gz").write_text("no image")
    (tmp_path / "a.nrrd").write_text("NRRD0005\ndata file: /etc/passwd\n\n")
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(np.zeros((2, *shape), np.uint8)), str(tmp_path / "4d.nii.gz"))
    for name, said in (("hu", "no labels"), ("scores", "no labels"), ("text", "cannot be read"), ("4d", "one 3D")):
        with pytest.raises(InvalidInput, match=said):
            read_labels(tmp_path / f"{name}.nii.gz", shape, affine)
    for name in ("a.nrrd", "nothing.nii.gz"):
        with pytest.raises(InvalidInput):
            read_labels(tmp_path / name, shape, affine)


def test_a_ct_is_exported_and_its_case_named(tmp_path) -> None:
    voxels = np.random.default_rng(0).integers(-1000, 300, (6, 8, 10)).astype(np.int16)
    path = export_ct(CTVolume(voxels, oblique(), "1.2.3"), tmp_path, "case_1")
    assert path.name == "case_1_0000.nii.gz"
    assert (SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path))) == voxels).all()
    with pytest.raises(InvalidInput, match="case's name"):
        export_ct(CTVolume(voxels, oblique(), "1.2.3"), tmp_path, "../case")


def test_pieces_become_labels_the_largest_first() -> None:
    mask = np.zeros((6, 6, 20), bool)
    mask[0, 0, 0] = True
    mask[2:4, 2:4, 5:8] = True
    mask[1, 1, 15] = mask[2, 2, 16] = True  # touch at a corner: one piece
    labels, left = separated(mask, (1.0, 1.0, 2.0), least_mm3=3.0)
    assert left == 1 and labels.dtype == np.uint8 and labels[2, 2, 5] == 1 and labels[1, 1, 15] == labels[2, 2, 16] == 2
    assert labels[0, 0, 0] == 0 and ((labels > 0) <= mask).all()
    many = np.zeros((1, 40, 40), bool)
    many[0, ::2, ::2] = True
    labels, left = separated(many, (1.0, 1.0, 1.0))
    assert labels.max() == 255 and left == 400 - 255


def test_dice_of_predictions(data, tmp_path, capsys) -> None:
    from shared_models.ct_data import cubes

    held = cubes(data, "val")
    write_volume(tmp_path / "nodule_0030.nii.gz", held.mask[0].astype(np.uint8), affine_mm())
    with pytest.raises(InvalidInput, match="no nodule_0040.nii.gz"):
        lungxai(nnunet_command, "nnunet", "measure", tmp_path, "--data", data)
    half = held.mask[1].copy()
    half[:, :26] = False
    write_volume(tmp_path / "nodule_0040.nii.gz", half.astype(np.uint8), affine_mm())
    assert lungxai(nnunet_command, "nnunet", "measure", tmp_path, "--data", data) == 0
    told = json.loads(capsys.readouterr().out)
    second = 2 * half.sum() / (half.sum() + held.mask[1].sum())
    assert told["n"] == told["patients"] == 2 and told["dice_mean"]["value"] == pytest.approx((1 + second) / 2)


def test_without_nnunet_it_says_what_to_install(data, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(nnunet_run.importlib.util, "find_spec", lambda name: None)
    for words in (("nnunet", "run", "--out", tmp_path),):
        with pytest.raises(ModelUnavailable, match="not installed") as told:
            lungxai(nnunet_command, *words)
        assert "lungxai[nnunet]" in told.value.remedy
    with pytest.raises(ModelUnavailable, match="not installed"):
        lungxai(train, "train", "ct_nodule", "--backend", "nnunet", "--data", data, "--out", tmp_path / "out")
    with pytest.raises(InvalidInput, match="does not train clinical"):
        lungxai(train, "train", "clinical", "--backend", "nnunet", "--data", data, "--out", tmp_path / "out")
    with pytest.raises(InvalidInput, match="epochs"):
        lungxai(nnunet_command, "nnunet", "run", "--out", tmp_path, "--set", "epochs=7")


_PROGRAM = """
import json, os, sys
def run(name):
    raw, ready, results = (os.environ[f"nnUNet_{n}"] for n in ("raw", "preprocessed", "results"))
    with open(os.environ["SAID"], "a") as file:
        file.write(json.dumps([name, sys.argv[1:], raw, ready, results]) + "\\n")
    if name == "plan":
        os.makedirs(os.path.join(ready, "Dataset501_LungNodules"))
    if name == "train":
        place = os.path.join(results, "Dataset501_LungNodules", "t", "fold_0")
        os.makedirs(os.path.join(place, "validation"), exist_ok=True)
        for kind in ("best", "latest"):
            open(os.path.join(place, f"checkpoint_{kind}.pth"), "w").write("weights")
        with open(os.path.join(place, "validation", "summary.json"), "w") as file:
            json.dump({"foreground_mean": {"Dice": 0.75}}, file)
    if name == os.environ.get("FAILS"):
        print("out of memory, as it were")
        sys.exit(3)
"""


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """A package of nnU-Net's name that says what it was asked and writes the files that are looked for: the real one is
    run by hand only, since it takes a GPU."""
    for name, place in nnunet_run.STAGES.items():
        module, function = place.split(":")
        path = tmp_path / "packages" / Path(*module.split("."))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_suffix(".py").write_text(f"{_PROGRAM}\ndef {function}():\n    run({name!r})\n")
        for folder in path.parents:
            if folder == tmp_path / "packages":
                break
            (folder / "__init__.py").touch()
    said = tmp_path / "said"
    monkeypatch.setenv("SAID", str(said))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "packages"))
    monkeypatch.setattr(nnunet_run.importlib.util, "find_spec", lambda name: True)
    return lambda: [json.loads(line) for line in said.read_text().splitlines()]


def test_its_stages_are_run_in_turn_and_gone_on_with(data, tmp_path, stand_in, monkeypatch) -> None:
    out = tmp_path / "out"
    words = ("train", "ct_nodule", "--backend", "nnunet", "--data", data, "--out", out, "--device", "cpu")
    monkeypatch.setenv("FAILS", "predict")
    with pytest.raises(ServerError, match="predict failed: out of memory, as it were") as told:
        lungxai(train, *words, "--epochs", 250)
    assert "--resume" in told.value.remedy and "out of memory" in (out / "predict.log").read_text()
    assert not (out / "result.json").exists()
    monkeypatch.setenv("FAILS", "")
    with pytest.raises(InvalidInput, match="already"):
        lungxai(train, *words)
    assert lungxai(train, *words, "--epochs", 250, "--resume") == 0
    calls = stand_in()
    assert [call[0] for call in calls] == ["plan", "train", "predict", "train", "predict"]
    assert calls[1][1] == ["501", "3d_fullres", "0", "-tr", "nnUNetTrainer_250epochs", "-p", "nnUNetPlans", "-device",
                           "cpu", "--npz"] and calls[3][1] == [*calls[1][1], "--c"]  # fmt: skip
    assert calls[0][2:] == [str(out / name) for name in ("raw", "preprocessed", "results")]
    # The splits by patient, not its own.
    ready = json.loads((out / "preprocessed" / "Dataset501_LungNodules" / "splits_final.json").read_text())
    assert len(ready) == 1 and ready[0]["val"] == ["nodule_0030", "nodule_0040"]
    record = json.loads((out / "result.json").read_text())
    assert record["task"] == "ct_nodule_nnunet" and record["validation"] == {"dice": 0.75}
    assert list(record["weights"]) == ["results/Dataset501_LungNodules/t/fold_0/checkpoint_best.pth"]
    assert record["command"].startswith("lungxai train ct_nodule --backend nnunet --data")


def test_a_prediction_of_a_ct_becomes_measured_nodules(tmp_path, phantom) -> None:
    from shared_models.ct_reader import read_ct
    from shared_models.ct_writer import write_nrrd

    volume = phantom.volume
    write_nrrd(tmp_path / "ct.nrrd", np.asarray(volume.voxels), volume.ijk_to_lps)
    assert lungxai(nnunet_command, "nnunet", "export", "--ct", tmp_path / "ct.nrrd", "--out", tmp_path / "in") == 0
    exported, _ = read_ct(tmp_path / "in" / "case_0000.nii.gz")
    assert (exported.voxels == volume.voxels).all()
    write_volume(tmp_path / "case.nii.gz", (phantom.truth.labels > 0).astype(np.uint8), volume.ijk_to_lps)
    words = ("nnunet", "import", tmp_path / "case.nii.gz", "--ct", tmp_path / "ct.nrrd", "--out", tmp_path / "back")
    assert lungxai(nnunet_command, *words) == 0
    told = json.loads((tmp_path / "back" / "nodules.json").read_text())
    assert len(told["nodules"]) == len(phantom.nodules) and "not validated here" in told["notice"]
    assert all(0 <= nodule["malignancy"] <= 1 for nodule in told["nodules"])
    true = sorted(np.bincount(phantom.truth.labels.ravel())[1:] * np.prod(volume.spacing_mm))
    assert sorted(n["volume_mm3"] for n in told["nodules"]) == pytest.approx(true, rel=1e-6)
    image = (tmp_path / "back" / "segmentation.nrrd").read_bytes()[:2000].decode("latin-1")
    header = (tmp_path / "ct.nrrd").read_bytes()[:2000].decode("latin-1")
    for field in ("space directions", "space origin", "sizes"):
        line = next(line for line in header.splitlines() if line.startswith(field))
        assert line in image.splitlines()

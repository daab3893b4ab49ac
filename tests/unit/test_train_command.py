"""``lungxai train``: what is asked for wrongly is said with a remedy before anything is trained; the clinical fit."""

from __future__ import annotations

import argparse
import csv
import errno
import json
import os
from pathlib import Path

import numpy as np
import pytest

from shared_models import train as command
from shared_models import training_folder
from shared_models.clinical import ClinicalModel
from shared_models.clinical_data import TABLES, split_of
from shared_models.contract.errors import InvalidInput, ServerError
from shared_models.package_clinical import packaged
from shared_models.training_curves import curves
from shared_models.training_folder import written
from shared_models.training_request import TrainRequest


def lungxai(*words: object) -> int:
    """The command line with `train` alone."""
    parser = argparse.ArgumentParser()
    command.register(parser.add_subparsers(required=True))
    given = parser.parse_args(["train", *map(str, words)])
    return int(given.run(given))


@pytest.fixture
def tables(tmp_path) -> Path:
    """Made-up patients in the layout of TCGA's tables; squamous ones are older men who smoke more."""
    random = np.random.default_rng(0)
    names = ["bcr_patient_barcode", "age_at_initial_pathologic_diagnosis", "gender",
             "tobacco_smoking_history_indicator", "tobacco_smoking_pack_years_smoked"]  # fmt: skip
    (tmp_path / "data" / "clinical").mkdir(parents=True)
    for squamous, table in enumerate(TABLES.values()):
        with (tmp_path / "data" / "clinical" / table).open("w", newline="") as file:
            rows = csv.writer(file, delimiter="\t")
            rows.writerows([names, names, names])
            for i in range(80):
                smoker = random.random() < 0.5 + 0.4 * squamous
                rows.writerow([
                    f"MADE-UP-{squamous}{i:03d}", round(random.normal(62 + 6 * squamous, 8)),
                    "MALE" if random.random() < 0.4 + 0.4 * squamous else "FEMALE",
                    "Current smoker" if smoker else "Lifelong Non-smoker",
                    round(random.uniform(5, 60)) if smoker else "[Not Applicable]",
                ])  # fmt: skip
    return tmp_path / "data"


def test_the_clinical_fit_and_its_bundle(tables, tmp_path, capsys) -> None:
    pytest.importorskip("sklearn", reason="training needs the extra [train]")
    out = tmp_path / "run"
    assert lungxai("clinical", "--data", tables, "--out", out, "--seed", 3, "--set", "repeats=4") == 0
    record = json.loads((out / "result.json").read_text())
    assert record["task"] == "clinical" and record["settings"] == {"repeats": 4, "drop": 0.35, "seed": 3}
    assert record["command"] == f"lungxai train clinical --data {tables} --out {out} --seed 3 --set repeats=4"
    splits = [split_of(f"MADE-UP-{s}{i:03d}") for s in range(2) for i in range(80)]
    assert record["train_patients"] == splits.count("train") and record["val_patients"] == splits.count("val")
    assert 0.6 < record["validation"]["auroc"] <= 1 and "Research use only" in capsys.readouterr().out
    before = (out / "best.json").read_bytes()
    with pytest.raises(InvalidInput, match="already"):
        lungxai("clinical", "--data", tables, "--out", out)
    assert lungxai("clinical", "--data", tables, "--out", out, "--resume") == 0
    assert (out / "best.json").read_bytes() == before
    assert lungxai("clinical", "--data", tables, "--out", out, "--restart") == 0  # other copies of the patients
    assert (out / "best.json").read_bytes() != before
    test = packaged(tables, out, tmp_path / "models")
    assert test["n"] == splits.count("test")
    model = ClinicalModel.load(tmp_path / "models")
    kept = json.loads((model_folder(tmp_path) / "configs" / "train.json").read_text())
    record = json.loads((out / "result.json").read_text())
    assert kept["settings"] == record["settings"] and kept["command"] == record["command"] and "history" not in kept
    assert model.platt == tuple(json.loads((out / "best.json").read_text())["platt"])
    with pytest.raises(InvalidInput, match="no fitted model"):
        packaged(tables, tmp_path / "nothing", tmp_path / "models")


def model_folder(root: Path) -> Path:
    from shared_models.clinical import BUNDLE

    return root / "models" / BUNDLE


def test_what_is_asked_wrongly(tables, tmp_path) -> None:
    out = tmp_path / "run"
    wrong: list[tuple[tuple[object, ...], str]] = [
        (("--data", tmp_path / "nowhere", "--out", out), "no folder"),
        (("--data", tmp_path, "--out", out), "no clinical tables"),
        (("--out", out), "needs data"),
        (("--data", tables, "--out", out, "--set", "repeats"), "NAME=VALUE"),
        (("--data", tables, "--out", out, "--set", "rounds=3"), "no setting 'rounds'"),
        (("--data", tables, "--out", out, "--set", "drop=much"), "not of the kind float"),
        (("--data", tables, "--out", out, "--set", "drop=nan"), "not of the kind float"),
        (("--data", tables, "--out", out, "--set", "drop=1.5"), "do not go together"),
        (("--data", tables, "--out", out, "--epochs", 0), "too small"),
    ]
    for words, said in wrong:
        with pytest.raises(InvalidInput, match=said) as told:
            lungxai("clinical", *words)
        assert told.value.remedy
        assert not (out / "result.json").exists()
    (tables / "clinical" / TABLES["squamous_cell"]).unlink()
    with pytest.raises(InvalidInput, match="one class"):
        lungxai("clinical", "--data", tables, "--out", out)


def test_a_folder_of_another_task_is_left_alone(tables, tmp_path) -> None:
    for place, record, other in (
        ("one", {"task": "he_tiles"}, "he_tiles"),
        ("two/fold_0", {"command": "python -m shared_models.train_malignancy --seed 1"}, "ct_malignancy"),
    ):
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "result.json").write_text(json.dumps(record))
        out = tmp_path / place.split("/")[0]
        for more in ((), ("--restart",), ("--resume",)):
            with pytest.raises(InvalidInput, match=f"a run of {other}, not of clinical"):
                lungxai("clinical", "--data", tables, "--out", out, *more)
    for content in ("[]", "{", '{"task": 3}', "{}"):  # not ours: no reason to refuse
        (tmp_path / "one" / "result.json").write_text(content)
        assert training_folder.other_task(tmp_path / "one", "clinical") in (None, "3")


def test_the_recipe_is_shown(capsys) -> None:
    assert lungxai("clinical", "--show", "--set", "drop=0.5") == 0
    assert json.loads(capsys.readouterr().out) == {"repeats": 10, "drop": 0.5}


def test_the_command_repeats_the_training(tmp_path) -> None:
    given = TrainRequest("ct_malignancy", Path("a b"), Path("out"), seed=2, epochs=5, threads=1, device="cpu",
                         settings={"outlines": "reader"})  # fmt: skip
    said = command.command_of(given)
    assert said == ("lungxai train ct_malignancy --data 'a b' --out out --seed 2 --epochs 5 --threads 1 --device cpu "
                    "--set outlines=reader")  # fmt: skip


def test_a_full_disk_leaves_the_file_that_was_there(tmp_path, monkeypatch) -> None:
    written(tmp_path / "last.pt", b"before")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(training_folder.os, "fsync", full)
    with pytest.raises(ServerError, match="disk is full") as told:
        written(tmp_path / "last.pt", b"after")
    assert "--resume" in told.value.remedy
    assert (tmp_path / "last.pt").read_bytes() == b"before" and len(list(tmp_path.iterdir())) == 1


def test_a_folder_that_cannot_be_made(tables, tmp_path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ServerError, match="cannot be written"):
        lungxai("clinical", "--data", tables, "--out", tmp_path / "file" / "run")


def test_curves_show_losses_and_figures_apart() -> None:
    from io import BytesIO

    from PIL import Image

    rows = [{"epoch": e, "step": 5 * e, "minutes": 1.0, "loss": 1 / e, "val_loss": 1.2 / e, "val_auroc": 1 - 0.3 / e}
            for e in range(1, 8)]  # fmt: skip
    record = {"task": "he_tiles", "seed": 1, "commit": "0123456789abcdef", "best_epoch": 7, "history": rows}
    picture = np.asarray(Image.open(BytesIO(curves(record))).convert("RGB"))
    colours = {tuple(c) for c in picture.reshape(-1, 3)}
    blue, vermilion = (0x00, 0x72, 0xB2), (0xD5, 0x5E, 0x00)
    assert {blue, vermilion} <= colours
    half = picture.shape[1] // 2
    left, right = ({tuple(c) for c in part.reshape(-1, 3)} for part in (picture[:, :half], picture[:, half:]))
    assert vermilion in left and vermilion not in right and blue in right  # two losses, one figure
    one = [{name: value for name, value in row.items() if name != "val_auroc"} for row in rows]
    assert Image.open(BytesIO(curves({**record, "history": one}))).width < picture.shape[1]
    assert curves({**record, "history": []}) == b""


def test_the_fusion_is_recorded_and_packaged_as_any_other(tmp_path, monkeypatch) -> None:
    """The fit itself is tested with the fusion; here are its record, its file and its bundle."""
    from types import SimpleNamespace

    from shared_models import train_fusion
    from shared_models.clinical import ClinicalModel
    from shared_models.composed_parts import Parts
    from shared_models.fusion_weights import BUNDLE, WEIGHTS
    from shared_models.model_bundle import MODELS_ROOT
    from shared_models.package_fusion import packaged as packaged_fusion

    shipped = MODELS_ROOT / BUNDLE / WEIGHTS
    if not shipped.is_file():
        pytest.skip("the fusion's weights are not installed")
    numbers = json.loads(shipped.read_text())
    with pytest.raises(InvalidInput, match="lacks the nodules"):
        lungxai("fusion", "--data", tmp_path, "--out", tmp_path / "run")
    read = SimpleNamespace(
        nodules=SimpleNamespace(patients=[1, 2]), tiles=SimpleNamespace(groups=[1]),
        patients=SimpleNamespace(fields=[1, 2, 3]),
    )  # fmt: skip
    asked: list = []
    monkeypatch.setattr(Parts, "read", lambda *given: read)
    monkeypatch.setattr(train_fusion, "trained", lambda *given: asked.append(given) or numbers)
    assert lungxai("fusion", "--data", tmp_path, "--out", tmp_path / "run", "--seed", 4) == 0
    assert asked[0][0] is read and isinstance(asked[0][1], ClinicalModel) and asked[0][2] == 4
    record = json.loads((tmp_path / "run" / "result.json").read_text())
    assert record["task"] == "fusion" and record["clinical_patients"] == 3
    assert record["validation"]["log_loss_fixed_weights"] == numbers["fit"]["loss_of_fixed"]
    model = packaged_fusion(tmp_path / "run", tmp_path / "models")
    assert json.loads((tmp_path / "models" / BUNDLE / WEIGHTS).read_text()) == numbers
    assert model.provenance.model_id.startswith(BUNDLE)
    with pytest.raises(InvalidInput, match="no fitted fusion"):
        packaged_fusion(tmp_path / "nothing", tmp_path / "models")

"""``lungxai models``: a TorchScript model is added whole or not at all, listed as not validated, and removed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torchscript_models import LUNG, Nan, Pair, Reader, Softmaxed, Tiny, config, write  # noqa: E402

from shared_models import wsinfer_script  # noqa: E402
from shared_models.command_line import main  # noqa: E402
from shared_models.contract.errors import InputTooLarge, InvalidInput, ModelUnavailable  # noqa: E402
from shared_models.contract.values import CLASSES  # noqa: E402
from shared_models.model_bundle import MODELS_ROOT, Bundle, added_root, sha256_of, slide_folder  # noqa: E402
from shared_models.slide_model import slide_model  # noqa: E402
from shared_models.wsinfer_bundle import Wanted, add_model  # noqa: E402
from shared_models.wsinfer_config import parsed  # noqa: E402
from shared_models.wsinfer_script import _trial, checked_archive  # noqa: E402

ALL = ("benign=normal", *(f"{name}=adenocarcinoma" for name in LUNG if name != "benign"))


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return write(tmp_path_factory.mktemp("theirs") / "lung-tumor.test", Tiny(6))


@pytest.fixture
def untried(monkeypatch):
    """The process that tries a model is left out, where a test is about something else."""
    said = {"methods": ["saliency"], "probabilities_already": False}
    monkeypatch.setattr("shared_models.wsinfer_bundle.tried", lambda *_: said)


def _add(source, root, *more) -> int:
    return main(["models", "add", str(source), "--added-models", str(root), "--yes", *more])


def _listed(root, capsys) -> list[dict]:
    capsys.readouterr()
    assert main(["models", "list", "--json", "--models", str(root / "none"), "--added-models", str(root)]) == 0
    return json.loads(capsys.readouterr().out)["models"]


def test_add_list_replace_remove(source, tmp_path, capsys, monkeypatch) -> None:
    root = tmp_path / "added"
    assert _add(source, root, "--class", "benign=normal", "--license", "CC0, nobody") == 0
    said, sha = capsys.readouterr().out, sha256_of(source / "torchscript_model.pt")
    assert sha in said and "program" in said and "not validated here" in said and "Research use only" in said
    bundle = Bundle.load(root / "lung-tumor.test")
    assert bundle.weights_sha256 == sha and bundle.own["coverage"] == [] and bundle.own["methods"] == ["saliency"]
    assert (bundle.folder / "LICENSE").read_text() == "CC0, nobody\n"
    page = (bundle.folder / "docs" / "README.md").read_text()
    for word in (sha, "not validated here", "| benign | normal |", "| solid | not assigned |", "350 x 350", "0.5 µm",
                 "175 µm", "0.8301"):  # fmt: skip
        assert word in page
    assert main(["models", "list", "--models", str(root / "none"), "--added-models", str(root)]) == 0
    assert "added, not validated here" in capsys.readouterr().out
    assert [p.name for p in root.iterdir()] == ["lung-tumor.test"]
    assert _add(source, root) == 2 and "--replace" in capsys.readouterr().err
    monkeypatch.setattr("shared_models.wsinfer_bundle.tried", lambda *_: {"methods": [], "probabilities_already": True})
    assert _add(source, root, "--replace", *(w for c in ALL for w in ("--class", c))) == 0
    (model,) = _listed(root, capsys)
    assert model["coverage"] == ["adenocarcinoma", "normal"] and model["added"] and not model["calibrated"]
    assert model["other_classes"] == list(LUNG)
    assert '`"apply_softmax": false`' in (bundle.folder / "docs" / "README.md").read_text()
    assert main(["models", "remove", "lung-tumor.test", "--added-models", str(root)]) == 0
    assert list(root.iterdir()) == []
    assert main(["models", "remove", "lung-tumor.test", "--added-models", str(root)]) == 2


def test_nothing_is_added_without_trust(source, tmp_path) -> None:
    told = subprocess.run(
        [sys.executable, "-m", "shared_models.command_line", "models", "add", str(source), "--added-models",
         str(tmp_path / "added")], stdin=subprocess.DEVNULL, capture_output=True, text=True,
    )  # fmt: skip
    assert told.returncode == 2 and "--yes" in told.stderr and not (tmp_path / "added").exists()


@pytest.mark.parametrize(("typed", "code"), [("y", 0), ("Yes ", 0), ("", 2), ("no", 2), ("yeah", 2)])
def test_trust_is_asked_for_where_somebody_can_answer(source, tmp_path, monkeypatch, untried, typed, code) -> None:
    monkeypatch.setattr("sys.stdin", type("Terminal", (), {"isatty": lambda self: True})())
    monkeypatch.setattr("builtins.input", lambda question: typed)
    assert main(["models", "add", str(source), "--added-models", str(tmp_path / "a")]) == code
    assert (tmp_path / "a").exists() == (code == 0)


def test_a_shipped_model_is_neither_shadowed_nor_removed(source, tmp_path, capsys, untried) -> None:
    shipped = next(MODELS_ROOT.glob("*/configs/metadata.json")).parents[1]
    assert _add(source, tmp_path, "--name", shipped.name, "--replace") == 2
    assert "ships" in capsys.readouterr().err
    assert main(["models", "remove", shipped.name, "--added-models", str(tmp_path)]) == 2
    assert shipped.is_dir() and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["../evil", "a/b", "", ".", "..", ".hidden", "a" * 65, "a b", "C:\\x", "x\n", "-x"])
def test_a_name_is_a_name_and_no_path(source, tmp_path, name, untried) -> None:
    root = tmp_path / "deep" / "added"
    with pytest.raises(InvalidInput, match="name"):
        add_model(Wanted.found(source, name=name), root)
    for path in (tmp_path / "victim", root / "victim"):  # a folder that is none of ours is not removed either
        path.mkdir(parents=True)
    assert main(["models", "remove", "../victim", "--added-models", str(root)]) == 2
    assert main(["models", "remove", "victim", "--added-models", str(root)]) == 2
    assert (tmp_path / "victim").is_dir() and (root / "victim").is_dir()
    with pytest.raises(ModelUnavailable, match="There is no slide model"):
        slide_folder(name, tmp_path, root)


def test_replace_takes_only_what_was_added(source, tmp_path, untried) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    assert _add(source, tmp_path, "--name", "mine", "--replace") == 2
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years of work"


@pytest.mark.parametrize(("given", "words"), [
    (("benign",), "no class of the model"), (("Benign=normal",), "no class of the model"),
    (("benign=healthy",), "no class of ours"), (("benign=normal", "benign=small_cell"), "twice"),
    (tuple(f"{name}=adenocarcinoma" for name in LUNG), "always be certain"),
])  # fmt: skip
def test_a_wrong_mapping_is_named(source, given, words) -> None:
    with pytest.raises(InvalidInput, match=words):
        Wanted.found(source, classes=given)


def test_a_class_name_may_hold_an_equals_sign(source, tmp_path) -> None:
    body = config(("a=b", "c"))
    (tmp_path / "c.json").write_text(json.dumps(body))
    wanted = Wanted.found(source, tmp_path / "c.json", classes=("a=b=normal", "c=small_cell"))
    assert wanted.mapping == {"a=b": "normal", "c": "small_cell"} and wanted.coverage == ("small_cell", "normal")


def test_files_that_are_no_torchscript_are_refused_before_anything_runs(source, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(torch.jit, "load", lambda *_, **__: pytest.fail("it was loaded"))
    good = (source / "torchscript_model.pt").read_bytes()
    path = tmp_path / "m.pt"
    torch.save({"weights": torch.zeros(3)}, path)
    with pytest.raises(InvalidInput, match="no TorchScript"):
        checked_archive(path)

    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "pwned"),)

    import pickle

    path.write_bytes(pickle.dumps(Evil()))
    with pytest.raises(InvalidInput, match="not a TorchScript file"):
        checked_archive(path)
    for cut in (good[: len(good) // 2], good[:-10], b"", b"PK\x03\x04", good[:1000] * 30):
        path.write_bytes(cut)
        with pytest.raises(InvalidInput):
            checked_archive(path)
    torch.jit.script(Reader()).save(str(path))
    with pytest.raises(InvalidInput, match="reads or writes files"):
        checked_archive(path)
    with pytest.raises(InvalidInput, match="There is no model file"):
        checked_archive(tmp_path)
    assert not (tmp_path / "pwned").exists()


def test_a_file_too_large_packed_or_unpacked(source, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(wsinfer_script, "MAX_BYTES", 1 << 20)
    path = tmp_path / "m.pt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("m/data.pkl", bytes(2 << 20))
    assert path.stat().st_size < 1 << 16
    with pytest.raises(InputTooLarge, match="unpacks"):
        checked_archive(path)
    path.write_bytes(bytes(2 << 20))
    with pytest.raises(InputTooLarge, match="limit"):
        checked_archive(path)


class _Batched(torch.nn.Module):
    """Answers for two tiles, whatever it is given."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[:2].mean(dim=(2, 3))


def _saved(path, network, mode=False, side=224, count=2):
    torch.jit.trace(network.train(mode), torch.rand(count, 3, side, side), check_trace=False).save(str(path))
    return path


@pytest.mark.parametrize(("network", "classes", "words"), [
    (Nan(6), LUNG, "not numbers"), (Tiny(5), LUNG, r"shape \(3, 5\)"), (Pair(6), LUNG, "tuple"),
    (_Batched(), ("a", "b", "c"), "shape"), (Tiny(6).train(), LUNG, "in training"),
])  # fmt: skip
def test_a_model_of_no_use_is_refused(tmp_path, network, classes, words) -> None:
    path = _saved(tmp_path / "m.pt", network, network.training and words == "in training")
    with pytest.raises(ModelUnavailable, match=words):
        _trial(path, parsed(config(classes)))


def test_weights_that_were_damaged_are_not_run(source, tmp_path) -> None:
    good = bytearray((source / "torchscript_model.pt").read_bytes())
    with zipfile.ZipFile(source / "torchscript_model.pt") as archive:
        weights = max(archive.infolist(), key=lambda e: e.file_size if "/data/" in e.filename else 0)
    good[weights.header_offset + weights.file_size] ^= 0xFF  # the header before the weights is 64 bytes or more
    (tmp_path / "m.pt").write_bytes(good)
    with pytest.raises(InvalidInput, match="damaged"):
        checked_archive(tmp_path / "m.pt")


def test_a_model_that_never_ends_or_ends_its_process(source, monkeypatch) -> None:
    def ended(*_, **__):
        return subprocess.CompletedProcess([], -11, "a print\n", "")

    monkeypatch.setattr(wsinfer_script.subprocess, "run", ended)
    with pytest.raises(ModelUnavailable, match="exit code -11"):
        wsinfer_script.tried(source / "torchscript_model.pt", config())

    def forever(*_, **given):
        raise subprocess.TimeoutExpired([], given["timeout"])

    monkeypatch.setattr(wsinfer_script.subprocess, "run", forever)
    with pytest.raises(ModelUnavailable, match="took more than"):
        wsinfer_script.tried(source / "torchscript_model.pt", config())


def test_outputs_that_are_probabilities_already(tmp_path) -> None:
    path = _saved(tmp_path / "m.pt", Softmaxed(6))
    assert _trial(path, parsed(config()))["probabilities_already"]
    assert _trial(path, parsed(config(apply_softmax=False)))["methods"] == ["saliency"]
    path = _saved(tmp_path / "n.pt", Tiny(6))
    assert not _trial(path, parsed(config()))["probabilities_already"]
    with pytest.raises(ModelUnavailable, match="apply_softmax"):
        _trial(path, parsed(config(apply_softmax=False)))


def test_a_model_that_fails_leaves_nothing_and_keeps_what_was_there(source, tmp_path, capsys, untried) -> None:
    root = tmp_path / "added"
    assert _add(source, root, "--name", "m") == 0
    before = (root / "m" / "configs" / "metadata.json").read_bytes()
    bad = write(tmp_path / "bad", Tiny(6))

    def broken(*_):
        raise ModelUnavailable("The model answers with values that are not numbers.", "")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("shared_models.wsinfer_bundle.tried", broken)
        assert _add(bad, root, "--name", "m", "--replace") == 2 and _add(bad, root, "--name", "n") == 2
    assert (root / "m" / "configs" / "metadata.json").read_bytes() == before
    with pytest.MonkeyPatch.context() as patch:  # the disk is full when the new one gets its name
        moves = []

        def rename(old, new, real=os.rename):
            moves.append(new)
            if len(moves) == 2:
                raise OSError(28, "No space left on device")
            real(old, new)

        patch.setattr("shared_models.wsinfer_bundle.os.rename", rename)
        assert _add(bad, root, "--name", "m", "--replace") == 2
    assert "No space left" in capsys.readouterr().err
    assert (root / "m" / "configs" / "metadata.json").read_bytes() == before
    assert [p.name for p in root.iterdir()] == ["m"]


def test_changed_weights_and_a_changed_mapping_are_not_run(source, tmp_path, untried) -> None:
    folder = add_model(Wanted.found(source, name="m", classes=ALL), tmp_path).folder
    metadata = folder / "configs" / "metadata.json"
    whole = metadata.read_text()
    metadata.write_text(whole.replace('"solid": "adenocarcinoma"', '"solid": "small_cell"'))
    with pytest.raises(ModelUnavailable, match="mapping"):
        slide_model(Bundle.load(folder), "cpu")
    metadata.write_text(whole.replace('"patch_size_pixels": 350', '"patch_size_pixels": -1'))
    with pytest.raises(ModelUnavailable, match="patch_size_pixels"):
        slide_model(Bundle.load(folder), "cpu")
    metadata.write_text(whole)
    slide_model(Bundle.load(folder), "cpu")
    with (folder / "models" / "torchscript_model.pt").open("ab") as file:
        file.write(b"x")
    with pytest.raises(ModelUnavailable, match="not the ones its card names"):
        Bundle.load(folder)


def test_one_class_is_a_logistic_function_and_a_mapping_sums(source, tmp_path, untried) -> None:
    tiles = np.random.default_rng(5).integers(0, 256, (3, 350, 350, 3), dtype=np.uint8)
    single = write(tmp_path / "one", Tiny(1, scale=1.0), config(("tumour",)))
    model = slide_model(add_model(Wanted.found(single), tmp_path / "a"), "cpu")
    found = model.answers(tiles)
    raw = torch.jit.load(str(single / "torchscript_model.pt"))(model._inputs(tiles)).detach().numpy()
    assert found.shape == (3, 6) and np.isnan(found[:, :5]).all()
    assert np.abs(found[:, 5:] - 1 / (1 + np.exp(-raw.astype(float)))).max() < 1e-6
    mapped = slide_model(add_model(Wanted.found(source, name="mapped", classes=ALL), tmp_path / "a"), "cpu")
    found = mapped.answers(tiles)
    own = found[:, 5:]
    assert found[:, CLASSES.index("normal")] == pytest.approx(own[:, LUNG.index("benign")], abs=1e-6)
    assert found[:, 0] == pytest.approx(own.sum(axis=1) - own[:, LUNG.index("benign")], abs=1e-6)
    assert np.isnan(found[:, 1:4]).all() and own.sum(axis=1) == pytest.approx(1, abs=1e-6)
    assert mapped.answers(tiles[:0]).shape == (0, 11)


def test_saliency_is_the_slope_by_differences(source, tmp_path, untried) -> None:
    """In float64, along the pixel that counts most: a change of it moves the score as the map says."""
    model = slide_model(add_model(Wanted.found(source), tmp_path), "cpu")
    tiles = np.random.default_rng(6).integers(60, 196, (1, 350, 350, 3), dtype=np.uint8)
    found = model.attribute(tiles, "saliency", "acinar")
    assert found.shape == (1, 14, 14) and found.dtype == np.float32 and (found >= 0).all() and found.max() > 0
    module = torch.jit.load(str(source / "torchscript_model.pt")).double()
    x = model._inputs(tiles).double()
    slope = torch.zeros(16, 16, dtype=torch.double)  # the first cell: 224 pixels in 14 cells
    for row in range(0, 16, 5):
        for column in range(0, 16, 5):
            for channel in range(3):
                step = torch.zeros_like(x)
                step[0, channel, row, column] = 1e-6
                ends = [float(module(x + sign * step)[0, LUNG.index("acinar")]) for sign in (1, -1)]
                change = abs(ends[0] - ends[1]) / 2e-6 / model._config.preparation.std[channel]
                slope[row, column] = max(slope[row, column], change)
    from captum.attr import Saliency

    y = x.clone().requires_grad_(True)
    scale = torch.tensor(model._config.preparation.std, dtype=torch.double).reshape(1, 3, 1, 1)
    exact = (Saliency(module).attribute(y, target=LUNG.index("acinar")) / scale).amax(dim=1)[0, :16, :16]
    assert torch.allclose(exact[::5, ::5], slope[::5, ::5], rtol=1e-3, atol=1e-6)
    assert found[0, 0, 0] == pytest.approx(float(exact.mean()), rel=1e-3)
    for method in ("gradcam", "nonsense"):
        with pytest.raises(InvalidInput, match=method):
            model.attribute(tiles, method, "acinar")
    with pytest.raises(InvalidInput, match="does not assess"):
        model.attribute(tiles, "saliency", "adenocarcinoma")


def test_where_added_models_lie(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.delenv("LUNGXAI_ADDED_MODELS", raising=False)
    assert added_root() == tmp_path / "lungxai" / "models"
    monkeypatch.setenv("LUNGXAI_ADDED_MODELS", str(tmp_path / "x"))
    assert added_root() == tmp_path / "x"


def test_the_default_is_named_and_never_the_first(source, tmp_path, untried) -> None:
    add_model(Wanted.found(source, name="aaa"), tmp_path)
    assert slide_folder("lung_he_lite0", MODELS_ROOT, tmp_path) == MODELS_ROOT / "lung_he_lite0"
    assert slide_folder("aaa", MODELS_ROOT, tmp_path) == tmp_path / "aaa"
    with pytest.raises(ModelUnavailable, match="aaa, lung_he_lite0"):
        slide_folder("zzz", MODELS_ROOT, tmp_path)
    shutil.rmtree(tmp_path / "aaa")
    with pytest.raises(ModelUnavailable, match="There are: lung_he_lite0"):
        slide_folder("aaa", MODELS_ROOT, tmp_path)

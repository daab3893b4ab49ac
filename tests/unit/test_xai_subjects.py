"""What the explanation methods are measured on: real tiles and nodules, SYNTHETIC ones; the command's options."""

from itertools import islice

import numpy as np
import pytest

from shared_models import evaluate, xai_cases
from shared_models.command_line import main
from shared_models.contract.values import CLASSES

torch = pytest.importorskip("torch")


@pytest.fixture(scope="module")
def network():
    from shared_models.ct_pipeline import CTModels

    return CTModels.load().network


class Reddish:
    """A stand-in for the tile model: squamous as far as a tile is red."""

    classes = ("adenocarcinoma", "squamous_cell", "normal")

    def probabilities(self, pixels: np.ndarray) -> np.ndarray:
        assert pixels.dtype == np.uint8 and pixels.shape[1:] == (224, 224, 3)
        answer = np.full((len(pixels), len(CLASSES)), np.nan, np.float32)
        red = pixels[..., 0].mean(axis=(1, 2)) / 255
        for name, value in zip(self.classes, (0.6 * (1 - red), red, 0.4 * (1 - red))):
            answer[:, CLASSES.index(name)] = value
        return answer


def test_real_tiles_come_from_different_fields_and_all_classes(real_data) -> None:
    model = Reddish()
    cases = xai_cases.tile_cases(real_data, "val", model, 6, seed=1)
    assert len({case.group for case in cases}) == 6
    assert sorted(case.label for case in cases) == sorted(2 * ["adenocarcinoma", "normal", "squamous_cell"])
    for case in cases:
        assert case.mask is None and case.picture.shape == (3, 224, 224)
        p = model.probabilities(case.picture[None].transpose(0, 2, 3, 1).astype(np.uint8))[0]
        name = model.classes[case.target]
        assert case.score(case.picture[None])[0] == pytest.approx(p[CLASSES.index(name)])
        assert p[CLASSES.index(name)] == np.nanmax(p)  # the class that the model gives
    again = xai_cases.tile_cases(real_data, "val", model, 6, seed=1)
    assert [case.group for case in again] == [case.group for case in cases]
    assert [c.group for c in xai_cases.tile_cases(real_data, "val", model, 6, seed=2)] != [c.group for c in cases]


def test_real_nodules_are_outlined_by_the_network_and_compared_with_the_reader(real_data, network) -> None:
    from shared_models.ct_malignancy_network import MALIGNANT, MalignancyNetwork

    slices = list(islice(xai_cases.lidc_slices(real_data, "val", network, seed=0), 3))
    assert len({one.group for one in slices}) == 3
    assert len(xai_cases.nodule_cases(iter([slices[0]] * 3), network, 3)) == 1  # of a patient one
    assert all((one.found & one.reader).any() and not np.array_equal(one.found, one.reader) for one in slices)
    cases = xai_cases.nodule_cases(iter(slices), network, 2)
    assert len(cases) == 2
    for case, one in zip(cases, slices):
        with torch.no_grad():
            p = network(torch.from_numpy(case.picture)[None])[0, 0].sigmoid().numpy()
        assert case.score(case.picture[None])[0] == pytest.approx(p[case.region].mean(), abs=1e-4) and p.max() <= 1
        area = one.reader.sum() * one.pixel_mm[0] * one.pixel_mm[1]
        assert case.mask.sum() * case.pixel_mm**2 == pytest.approx(area, rel=0.1)
        assert np.abs(case.picture).max() <= 1 and case.channels == (0, 1)  # the prompt is not erased
    torch.manual_seed(0)
    rating = MalignancyNetwork().eval()
    with torch.no_grad():
        rating.head.bias[MALIGNANT] = 9.0
    rated = xai_cases.malignancy_cases(iter(slices), rating, 5)
    assert [case.group for case in rated] == [one.group for one in slices]
    for case, one in zip(rated, slices):
        assert case.picture[2].sum() * 0.7**2 == pytest.approx(one.found.sum() * one.pixel_mm[0] ** 2, rel=0.1)
    with torch.no_grad():
        rating.head.bias[MALIGNANT] = -9.0
    assert xai_cases.malignancy_cases(iter(slices), rating, 5) == []


def test_synthetic_nodules_have_the_planted_mask(phantom, network, monkeypatch) -> None:
    monkeypatch.setattr("shared_models.phantom.thorax", lambda seed, wanted: phantom)
    slices = list(islice(xai_cases.phantom_slices(network, 7), 2))
    assert [one.group for one in slices] == ["phantom 7 nodule 1", "phantom 7 nodule 2"]
    for one, nodule in zip(slices, phantom.nodules):
        diameter = np.sqrt(one.reader.sum() * one.pixel_mm[0] * one.pixel_mm[1] * 4 / np.pi)
        assert diameter == pytest.approx(nodule.diameter_mm, rel=0.2) and (one.found & one.reader).any()


def test_stages_hold_every_parameter_the_head_first(network) -> None:
    from shared_models.ct_malignancy_network import MalignancyNetwork
    from shared_models.slide_network import SlideNetwork
    from shared_models.xai_subjects import MALIGNANCY_STAGES, NODULE_STAGES, TILE_STAGES

    for model, stages in (
        (SlideNetwork(), TILE_STAGES), (MalignancyNetwork(), MALIGNANCY_STAGES), (network, NODULE_STAGES)
    ):  # fmt: skip
        names = [module for modules in stages.values() for module in modules]
        held = [id(p) for name in names for p in model.get_submodule(name).parameters()]
        assert sorted(held) == sorted(id(p) for p in model.parameters())
        assert next(iter(stages)) == "head"


@pytest.mark.parametrize("options", [["--cases", "5"], ["--csv", "x.csv"], ["--task", "xai", "--cases", "1"]])
def test_options_that_make_no_sense_are_refused(options: list, tmp_path, capsys) -> None:
    assert main(["evaluate", "--data", str(tmp_path), *options]) == 2
    assert "--cases" in capsys.readouterr().err


def test_the_explanations_are_measured_only_where_they_are_asked_for(tmp_path, monkeypatch, capsys) -> None:
    seen = []

    def task(data_root, split, models_root, **options):
        seen.append(options)
        return None

    monkeypatch.setattr("shared_models.evaluate_xai.evaluate_xai", task)
    for name in evaluate.TASKS:
        if name != "xai":
            module, function = evaluate.TASKS[name].split(":")
            found = {"n": 1, "m": {"value": 1, "ci95": [0, 1]}}
            monkeypatch.setattr(f"shared_models.{module}.{function}", lambda *a, found=found: found)
    assert main(["evaluate", "--data", str(tmp_path)]) == 0 and not seen
    assert main(["evaluate", "--data", str(tmp_path), "--task", "xai", "--task", "clinical", "--cases", "3"]) == 0
    assert seen == [{"cases": 3}]

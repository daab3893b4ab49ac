"""All measures of a case together, the whole evaluation on a tiny network, its table, and the figures in the bundle."""

import json

import numpy as np
import pytest

from shared_models import evaluate_xai, faithfulness, xai_figures, xai_table
from shared_models.contract.errors import InvalidInput
from shared_models.contract.heatmap_words import FAILED, FIGURES, PASSED, SANITY
from shared_models.evaluate import table

torch = pytest.importorskip("torch")
SIDE = 16


class Bright(torch.nn.Module):
    """Logit of the first class: how bright a square of the first channel is. The rest is noise to it."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.features = torch.nn.Linear(SIDE * SIDE, 2)
        with torch.no_grad():
            self.features.weight.mul_(0.1)
            square = torch.zeros(SIDE, SIDE)
            square[3:8, 8:13] = 0.4
            self.features.weight[0] += square.flatten()
            self.features.bias.fill_(-9.0)

    def forward(self, x):
        return self.features(x[:, 0].flatten(1))


NETWORK = Bright().eval()


def _case(seed: int, masked: bool = True) -> faithfulness.Case:
    rng = np.random.default_rng(seed)
    picture = rng.random((2, SIDE, SIDE)).astype(np.float32)
    mask = np.zeros((SIDE, SIDE), bool)
    mask[3:8, 8:13] = True
    picture[0][mask] += 1

    def score(x: np.ndarray) -> np.ndarray:
        assert np.array_equal(x[:, 1], np.broadcast_to(picture[1], x[:, 1].shape))  # the prompt is never erased
        with torch.no_grad():
            return NETWORK(torch.from_numpy(x))[:, 0].sigmoid().numpy()

    return faithfulness.Case(
        picture, score, f"patient {seed}", (0,), 4.0, 2, 8, mask=mask if masked else None, pixel_mm=3.0
    )


def _maps(subject, network, case) -> dict:
    weights = network.features.weight[0].detach().numpy().reshape(SIDE, SIDE)
    rows = np.linspace(1, 0, SIDE)[:, None] * np.ones(SIDE)
    return {"gradcam": weights * case.picture[0], "saliency": rows, "occlusion": -weights * case.picture[0]}


class _Subject:
    name, bundle, target, network = "tiny", "tiny_bundle", "bright", NETWORK
    stages = {"head": ("features",)}
    cases = [_case(seed) for seed in range(12)]
    validation = [_case(seed) for seed in range(20, 24)]


@pytest.fixture(scope="module")
def found() -> dict:
    return evaluate_xai.measures_of(_Subject, _maps, 0)


def test_a_map_that_is_right_beats_one_that_is_upside_down_in_every_measure() -> None:
    case = _case(0)
    maps = {**_maps(None, NETWORK, case), **faithfulness.floors((SIDE, SIDE), 1)}
    values = faithfulness.measured(case, maps, dict.fromkeys(maps, 0.5), seed=3)
    for name, more in faithfulness.MEASURES.items():
        right, wrong = values["gradcam"][name], values["occlusion"][name]
        assert right != wrong and (right > wrong) == more, name
    assert values["gradcam"]["whole"] == values["saliency"]["whole"] > 0.9 > values["gradcam"]["erased_mean"]
    assert values == faithfulness.measured(case, maps, dict.fromkeys(maps, 0.5), seed=3)
    assert "iou_best" not in faithfulness.measured(_case(0, masked=False), maps, {}, seed=3)["gradcam"]


def test_the_floors_are_noise_and_a_bell() -> None:
    maps = faithfulness.floors((9, 15), 4)
    bell = maps[faithfulness.CENTRE]
    assert np.unravel_index(bell.argmax(), bell.shape) == (4, 7) and bell[4, 7] == 1 and bell[0, 0] < 0.02
    assert np.array_equal(maps[faithfulness.RANDOM], faithfulness.floors((9, 15), 4)[faithfulness.RANDOM])


def test_the_evaluation_names_the_best_and_what_it_beats(found: dict) -> None:
    assert found["n"] == found["groups"] == 12 and found["validation"] == 4
    assert set(found["measures"]) == {"gradcam", "saliency", "occlusion", *faithfulness.FLOORS}
    best = found["best"]["insertion_mean"]
    assert best["method"] == "gradcam" and set(best["beats"]) == set(faithfulness.FLOORS) and not best["below"]
    assert not best["tied"] and found["best"]["pointing_game"]["method"] == "gradcam"
    value = found["measures"]["gradcam"]["insertion_mean"]
    assert value["ci95"][0] <= value["value"] <= value["ci95"][1] and value["ci95"][0] < value["ci95"][1]
    tests = found["tests"]["deletion_mean"]
    assert set(tests["gradcam"]) == set(faithfulness.FLOORS)
    assert set(tests["saliency"]) == {"gradcam", *faithfulness.FLOORS}
    assert tests["occlusion"]["gradcam"] < 0.05
    # What is chosen on validation is one of the stated thresholds; the best one looks at the mask, so it is no worse.
    assert found["measures"]["gradcam"]["iou_best"]["value"] >= found["measures"]["gradcam"]["iou_fixed"]["value"]
    assert not found["sanity"]["saliency"]["passed"] and found["sanity"]["gradcam"]["passed"]
    json.dumps(found)


def _result(found: dict) -> dict:
    synthetic = {**found, "bundle": "other_bundle"}
    xai = {"n": 24, "seed": 0, "subjects": {"tiny": found, "phantom, SYNTHETIC": synthetic}}
    xai["text"] = xai_table.markdown(xai)
    return {"commit": "abc1234567890", "split": "test", "tasks": {"xai": xai}}


def test_the_table_says_what_failed_and_what_is_synthetic(found: dict) -> None:
    text = table(_result(found))
    assert "| task |" not in text and "phantom, SYNTHETIC" in text and "abc123456789" in text
    line = next(line for line in text.splitlines() if line.startswith("| saliency"))
    assert "FAILED, 1.00" in line
    line = next(line for line in text.splitlines() if line.startswith("| gradcam"))
    assert "passed" in line and f"**{found['measures']['gradcam']['insertion_mean']['value']:.2f}**+" in line
    rows = list(xai_table.rows(_result(found)["tasks"]["xai"]))
    assert len(rows) == 2 * 5 * 11 and set(rows[0]) == set(xai_table.COLUMNS)
    one = next(row for row in rows if row["method"] == "saliency" and row["measure"] == "deletion_mean")
    assert one["p_gradcam"] == found["tests"]["deletion_mean"]["saliency"]["gradcam"]


def test_figures_are_kept_with_the_model_and_label_its_maps(found: dict, tmp_path) -> None:
    for name in ("tiny_bundle", "other_bundle"):
        (tmp_path / name / "docs").mkdir(parents=True)
    assert xai_figures.stored(_result(found), tmp_path) == [tmp_path / "tiny_bundle" / "docs" / "xai.json"]
    kept = xai_figures.figures(tmp_path / "tiny_bundle")
    assert set(kept) == {"gradcam", "saliency", "occlusion"}
    said = xai_figures.said_of(tmp_path / "tiny_bundle", "gradcam")
    value = found["measures"]["gradcam"]["insertion_blur"]["value"]
    assert said[SANITY] == PASSED and said[FIGURES].startswith(f"insertion AUC {value:.2f} (a random map ")
    floor = found["measures"][faithfulness.RANDOM]["deletion_blur"]["value"]
    assert f"(a random map {floor:.2f})" in said[FIGURES] and said[FIGURES].endswith("on tiny, n = 12")
    assert xai_figures.said_of(tmp_path / "tiny_bundle", "saliency")[SANITY] == FAILED
    assert xai_figures.said_of(tmp_path / "tiny_bundle", "smoothgrad") == {}
    assert xai_figures.figures(tmp_path / "other_bundle") == {}


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"methods": 3}', '{"methods": {"gradcam": {"measures": 1}}}'])
def test_a_broken_file_only_means_not_measured(tmp_path, text: str) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / xai_figures.FILE).write_text(text)
    assert xai_figures.said_of(tmp_path, "gradcam") == {}


def test_another_result_is_not_stored(tmp_path) -> None:
    with pytest.raises(InvalidInput, match="no result"):
        xai_figures.stored({"commit": "a", "tasks": {"clinical": {"n": 3}}}, tmp_path)

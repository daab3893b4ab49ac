"""Foreign tiles and foreign nodules: what a slide says without them, by hand, and what the shipped models tell."""

from dataclasses import replace

import numpy as np
import pytest

from shared_models.contract.errors import LungXAIError
from shared_models.contract.provenance import Provenance
from shared_models.contract.values import CLASSES
from shared_models.out_of_distribution_slide import weighed, with_features
from shared_models.slide_heatmaps import shown_most
from shared_models.slide_result import pooled, slide_result

KNOWN = ("adenocarcinoma", "squamous_cell", "normal")
PROVENANCE = (Provenance("test", "0" * 64, "test", False, "cpu", KNOWN),)
TUMOUR, HEALTHY = (0.9, 0.05, 0.05), (0.02, 0.03, 0.95)


def table(rows) -> np.ndarray:
    answer = np.full((len(rows), len(CLASSES)), np.nan, np.float32)
    answer[:, [CLASSES.index(name) for name in KNOWN]] = rows
    return answer


def said(rows, like):
    answers = np.concatenate([table(rows), np.array(like, np.float32)[:, None]], axis=1)
    origin = np.stack([np.arange(len(rows)) * 70, np.zeros(len(rows))], axis=1).astype(np.int64)
    return slide_result("s", 1.0, (70.0, 70.0), origin, answers, PROVENANCE)


def test_foreign_tiles_do_not_count_but_stay() -> None:
    rows, like = [TUMOUR] * 6 + [HEALTHY] * 3, [0.9] * 6 + [0.1, 0.2, 0.9]
    found = said(rows, like)
    plain = pooled(table(TUMOUR_AND_ONE), KNOWN)
    assert found.probabilities["adenocarcinoma"] == pytest.approx(plain["adenocarcinoma"])
    assert len(found.origin_px) == 9 and np.array_equal(found.tile_probabilities, table(rows), equal_nan=True)
    assert found.tile_reliability.tolist() == pytest.approx(like) and found.abstention is None
    assert found.reliability == pytest.approx(np.mean(like))
    assert any("2 of 9 tiles look unlike" in note for note in found.notes)


TUMOUR_AND_ONE = [TUMOUR] * 6 + [HEALTHY]


def test_a_slide_that_is_foreign_nearly_everywhere_has_no_answer() -> None:
    found = said([TUMOUR] * 20, [0.1] * 19 + [0.9])
    assert set(found.probabilities.values()) == {None} and "19 of 20 tiles" in found.abstention.reason
    assert found.abstention.what_would_help and found.reliability == pytest.approx(0.14)
    assert shown_most(found) == "adenocarcinoma"  # its tiles can still be explained
    assert said([TUMOUR] * 20, [0.1] * 18 + [0.9] * 2).abstention is None
    assert said([TUMOUR], [0.1]).abstention is not None and said([TUMOUR], [0.9]).abstention is None


def test_a_tumour_that_the_model_never_saw_does_not_turn_into_normal() -> None:
    rows = [TUMOUR] * 8 + [HEALTHY] * 40
    assert max(KNOWN, key=lambda name: said(rows, [0.9] * 48).probabilities[name]) == "adenocarcinoma"
    found = said(rows, [0.1] * 8 + [0.9] * 40)
    assert set(found.probabilities.values()) == {None}
    assert "without them the slide would be normal, with them adenocarcinoma" in found.abstention.reason


def test_a_tie_that_few_foreign_tiles_tip_is_still_answered() -> None:
    other = (TUMOUR[1], TUMOUR[0], TUMOUR[2])
    rows, like = [TUMOUR] * 21 + [other] * 20, [0.1] * 2 + [0.9] * 39
    with_them, found = said(rows, [0.9] * 41), said(rows, like)
    assert with_them.probabilities["adenocarcinoma"] > 0.5 * (1 - with_them.probabilities["normal"])
    assert found.abstention is None and found.probabilities["squamous_cell"] > found.probabilities["adenocarcinoma"]


def test_what_was_not_assessed_counts() -> None:
    rows = [TUMOUR] * 5 + [HEALTHY] * 5
    plain = said(rows, [np.nan] * 10)
    assert plain.tile_reliability is None and plain.reliability is None
    assert plain.probabilities == said(rows, [0.9] * 10).probabilities
    assert weighed(table(rows), None, lambda t: pooled(t, KNOWN)).probabilities == pooled(table(rows), KNOWN)


def test_features_are_what_the_last_layer_is_given(tmp_path) -> None:
    onnx, onnxruntime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    torch = pytest.importorskip("torch")

    class Tiny(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self._fc = torch.nn.Linear(4, 3), torch.nn.Linear(3, 2)

        def forward(self, x):
            return self._fc(self.first(x).relu())

    from shared_models.out_of_distribution_slide import features_of

    torch.manual_seed(0)
    network, x = Tiny().eval(), torch.randn(5, 4)
    torch.onnx.export(network, (x,), str(tmp_path / "t.onnx"), input_names=["x"], output_names=["logits"], dynamo=False)
    session = onnxruntime.InferenceSession(with_features((tmp_path / "t.onnx").read_bytes()))
    logits, features = session.run(None, {"x": x.numpy()})
    wanted = features_of(network, x)
    assert np.allclose(logits, wanted[0].detach(), atol=1e-6) and np.allclose(features, wanted[1].detach(), atol=1e-6)
    assert np.allclose(features, network.first(x).relu().detach(), atol=1e-6)
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Relu", ["x"], ["y"])], "g",
        [onnx.helper.make_tensor_value_info("x", 1, [1])], [onnx.helper.make_tensor_value_info("y", 1, [1])],
    )  # fmt: skip
    assert with_features(onnx.helper.make_model(graph).SerializeToString()) is None


@pytest.fixture(scope="module")
def slide_model():
    pytest.importorskip("onnxruntime")
    from shared_models.slide_pipeline import SlideModel

    try:
        return SlideModel.load()
    except LungXAIError as fault:
        pytest.skip(fault.message)


def test_real_tiles_are_known_and_foreign_ones_are_told(slide_model, real_data) -> None:
    from shared_models.shift_slide import by_strength
    from shared_models.slide_data import read_tiles

    assert slide_model.judges_reliability, slide_model.notes  # else fit_out_of_distribution has to be run again
    tiles = read_tiles(real_data, "val").pixels[::25][:16]
    answers = slide_model.answers_with_reliability(tiles)
    assert answers.shape == (16, 6) and np.allclose(answers[:, :5], slide_model.answers(tiles), equal_nan=True)
    assert (answers[:, 5] >= 0.5).mean() >= 0.75 and (answers[:, 5] <= 1).all()
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (3, 224, 224, 3), dtype=np.uint8)
    grey = np.repeat(np.clip(rng.normal(120, 30, (3, 224, 224, 1)), 0, 255).astype(np.uint8), 3, axis=3)
    foreign = slide_model.answers_with_reliability(np.concatenate([noise, grey]))[:, 5]
    assert (foreign < 0.05).all()
    dyed = slide_model.answers_with_reliability(by_strength(tiles, "stain_vectors", 60))[:, 5]
    assert (dyed < 0.5).mean() > (answers[:, 5] < 0.5).mean() + 0.2


def test_a_model_of_other_weights_or_another_stain_says_that_it_does_not_judge(slide_model) -> None:
    from shared_models.slide_pipeline import SlideModel

    bundle = slide_model._bundle
    if not slide_model.judges_reliability:
        pytest.skip("no parameters fit these weights: run shared_models.fit_out_of_distribution")
    told = {**bundle.metadata, "lungxai": {**bundle.own, "stain": {"method": "none"}}}
    other = SlideModel(replace(bundle, metadata=told), "cpu")
    assert not other.judges_reliability and "not assessed" in " ".join(other.notes)
    assert np.isnan(other.answers_with_reliability(np.full((1, 224, 224, 3), 200, np.uint8))[0, 5])


def test_a_nodule_is_rated_and_a_wall_of_soft_tissue_is_not() -> None:
    pytest.importorskip("torch")
    from shared_models.ct_malignancy import Assessment, MalignancyModel

    model = MalignancyModel.load()
    assert model.familiar is not None, model.why_not  # else fit_out_of_distribution has to be run again
    rows, columns = np.ogrid[:128, :128]
    grain = np.random.default_rng(0).normal(0, 15, (128, 128))
    ball = np.hypot(rows - 60, columns - 64) <= 7
    nodule = model.assessed_slice((np.where(ball, 30, -850) + grain).astype(np.int16), ball, (0.7, 0.7))
    assert nodule.malignancy == nodule.probability and nodule.reliability > 0.5
    band = (np.abs(rows - 60) <= 14) & (columns >= 0)
    tissue = np.where(np.abs(rows - 60) <= 40, 40, -850)
    wall = model.assessed_slice((tissue + grain).astype(np.int16), band, (0.7, 0.7))
    assert wall.malignancy is None and wall.reliability < 0.5
    unknown = replace(model, familiar=None).assessed_slice((tissue + grain).astype(np.int16), band, (0.7, 0.7))
    assert unknown.reliability is None and unknown.malignancy == unknown.probability
    assert Assessment(0.7, 0.49).malignancy is None and Assessment(0.7, 0.5).malignancy == 0.7

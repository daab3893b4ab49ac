"""Samples and training of the malignancy network, on made-up nodules (discs: no patient's data)."""

import json

import numpy as np
import pytest
import torch

from shared_models.ct_data import Nodules
from shared_models.ct_malignancy_network import GRID_MM, GRID_PX
from shared_models.ct_malignancy_samples import RATINGS, Outlines, Pool, as_seen, drawn, outlines
from shared_models.train_malignancy import MalignancyTask, Recipe
from shared_models.training_folds import folds_of
from shared_models.training_request import TrainRequest

SIDE = 71


def disc(row: float, column: float, radius: float) -> np.ndarray:
    rows, columns = np.ogrid[:SIDE, :SIDE]
    return np.hypot(rows - row, columns - column) <= radius


def made_up(count: int = 40, pixel: float = 0.7) -> Nodules:
    """Discs of growing size, the larger the more malignant; a bar of another density at the upper edge is a vessel."""
    hu, masks, rows = [], [], []
    for i in range(count):
        radius = 3 + 12 * i / count
        mask = disc(38, 36, radius)
        image = np.full((SIDE, SIDE), -850, np.int16)
        image[8:14, 4:66] = 120
        image[mask] = 30
        hu.append(image)
        masks.append(mask)
        row = {name: "3" for name, _, _ in RATINGS} | {"texture": "" if i % 2 else "5"}
        rows.append(row | {"pixel_mm": str(pixel), "patient_id": f"p{i // 2}", "n_readers": str(1 + i % 4),
                           "malignancy_mean": str(1 + 4 * i / count)})  # fmt: skip
    return Nodules(np.array(hu), np.array(masks), tuple(rows))


def pool(count: int = 40) -> Pool:
    data = made_up(count)
    found = data.mask.copy()
    found[0] = False
    other = np.zeros((count, SIDE, SIDE), bool)
    other[:, 8:14, 20:40] = True
    return Pool(data, Outlines(found, other, np.arange(count)))


def test_counter_examples_lie_on_something_dense_beside_the_nodule_and_are_kept(tmp_path) -> None:
    data = made_up(12)
    asked = []

    def outline(hu: np.ndarray, pixel: float, point: np.ndarray) -> np.ndarray:
        asked.append(tuple(point))
        return disc(38, 36, 5) if tuple(point) == (35.0, 35.0) else np.zeros((SIDE, SIDE), bool)

    made = outlines(data, outline, tmp_path / "val.npz", "abc", seed=3)
    assert len(made.found) == 12 and (made.found == disc(38, 36, 5)).all()
    assert len(made.other) == len(made.owner) > 12 and any(point != (35.0, 35.0) for point in asked)
    for shape, i in zip(made.other, made.owner):
        assert 12 <= shape.sum() and (data.hu[i][shape] == 120).all() and not (shape & data.mask[i]).any()
    count = len(asked)
    again = outlines(data, outline, tmp_path / "val.npz", "abc", seed=3)
    assert len(asked) == count and (again.other == made.other).all() and (again.owner == made.owner).all()
    outlines(data, outline, tmp_path / "val.npz", "other weights", seed=3)
    assert len(asked) > count


def test_part_of_a_pool_keeps_its_own_counter_examples() -> None:
    whole = pool()
    part = whole.of(np.array([3, 10, 39]))
    assert [r["patient_id"] for r in part.data.rows] == ["p1", "p5", "p19"]
    assert part.made.owner.tolist() == [0, 1, 2] and (part.made.found == whole.made.found[[3, 10, 39]]).all()
    assert whole.own(0).sum() == whole.data.mask[0].sum()  # what the network missed is taken from the reader
    assert np.isnan(part.ratings[0, -1]) and part.ratings[1, -1] == 1 and part.ratings[0, 0] == 0.5


def test_a_batch_shows_the_nodule_in_the_middle_at_its_own_size() -> None:
    held, random = pool(), np.random.default_rng(0)
    i = np.arange(8, 40)
    batch = drawn(held, i, 6, random)
    assert batch.seen.shape == (38, 3, GRID_PX, GRID_PX) and batch.nodule.tolist() == [1] * 32 + [0] * 6
    assert batch.malignant.numpy() == pytest.approx(i / 40) and batch.weight[0] == 0.5 and batch.weight[3] == 0.875
    truth = held.data.mask[i].sum((1, 2)) * 0.49
    area = batch.seen[:32, 2].sum((1, 2)).numpy() * GRID_MM**2
    assert np.median(np.abs(area / truth - 1)) < 0.15
    place = torch.arange(GRID_PX) - (GRID_PX - 1) / 2
    for axis in (1, 2):
        mean = (batch.seen[:32, 2].sum(3 - axis) * place).sum(1) / batch.seen[:32, 2].sum((1, 2))
        assert mean.abs().max() < 6
    same = drawn(held, i, 6, np.random.default_rng(0))
    assert (same.seen == batch.seen).all()
    # Unturned and unspoilt it is what the model sees at run time.
    seen = as_seen(held.data, held.data.mask[i], i)
    assert seen[:, 2].sum((1, 2)).numpy() * GRID_MM**2 == pytest.approx(truth, rel=0.03)


def test_no_patient_is_in_two_folds() -> None:
    patients = np.repeat([f"p{i}" for i in range(20)], 3)
    fold = folds_of(patients, 4, seed=1)
    assert sorted(np.bincount(fold)) == [15, 15, 15, 15]
    assert all(len(set(fold[patients == name])) == 1 for name in set(patients))
    assert (folds_of(patients, 4, seed=1) == fold).all() and (folds_of(patients, 4, seed=2) != fold).any()


class _Interrupted(Exception):
    pass


class _Measured:
    """Stands in for the validation patients: a figure that rises, and an interruption."""

    def __init__(self, stop_at: int = 99, calls: int = 0) -> None:
        self.calls, self.stop_at = calls, stop_at

    def measured(self, network: torch.nn.Module) -> dict:
        self.calls += 1
        if self.calls == self.stop_at:
            raise _Interrupted
        return {"val_auroc": 0.5 + 0.1 * self.calls, "val_auroc_nodule": 0.9 - 0.05 * self.calls}


def test_training_that_was_interrupted_ends_with_the_same_weights(tmp_path) -> None:
    pytest.importorskip("accelerate", reason="training needs the extra [train]")
    from shared_models.training_loop import train

    held, recipe = pool(32), Recipe(epochs=3, others=2)

    def trained(measured: _Measured, name: str, resume: bool = False) -> None:
        request = TrainRequest("ct_malignancy", tmp_path, tmp_path / name, device="cpu", threads=1, resume=resume)
        train(MalignancyTask(held, measured, recipe), request)

    trained(_Measured(), "whole")
    with pytest.raises(_Interrupted):
        trained(_Measured(stop_at=2), "part")
    trained(_Measured(calls=1), "part", resume=True)
    states = [torch.load(tmp_path / name / "best.pt", weights_only=True) for name in ("whole", "part")]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    # What is kept in evaluation sees the batch-norm statistics as they are now, not an average that lags behind.
    learner = torch.load(tmp_path / "whole" / "last.pt", weights_only=True)["network"]
    running = [name for name in states[0] if "running" in name]
    assert running and all(torch.equal(states[0][name], learner[f"network.{name}"]) for name in running)
    record = json.loads((tmp_path / "part" / "result.json").read_text())
    assert [entry["epoch"] for entry in record["history"]] == [1, 2, 3] and record["patients"] == 16
    # best_epoch is what the figures say, not merely the last.
    assert record["best_epoch"] == int(np.argmax([e["val_auroc"] for e in record["history"]])) + 1


def test_the_first_losses_are_those_of_the_loop_before_there_was_one_for_all(tmp_path) -> None:
    """Computed with the training script as it was at commit bb64c3f, same samples, seed 1, one thread."""
    pytest.importorskip("accelerate", reason="training needs the extra [train]")
    from shared_models.training_loop import train

    request = TrainRequest("ct_malignancy", tmp_path, tmp_path / "run", device="cpu", threads=1)
    record = train(MalignancyTask(pool(96), _Measured(), Recipe(epochs=3, others=2)), request)
    losses = [entry["loss"] for entry in record["history"]]
    assert losses == pytest.approx([0.7829872568, 0.7010887464, 0.6665002306], abs=2e-4)

"""Structures that look like nodules: found where they are, and drawn as what they are. Drawn chests, no patient."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from shared_models import ct_negatives, train_ct  # noqa: E402
from shared_models.contract.errors import InvalidInput  # noqa: E402
from shared_models.contract.results import LabelVolume  # noqa: E402
from shared_models.contract.values import CTVolume  # noqa: E402
from shared_models.ct_negatives import SIDE, Structures, far_side, structures  # noqa: E402
from shared_models.ct_sampling import Mix, Pool, drawn  # noqa: E402
from shared_models.phantom import Phantom  # noqa: E402
from shared_models.training_request import TrainRequest  # noqa: E402


class Dense(torch.nn.Module):
    """Stands in for the network: takes all that is over -100 HU for a nodule."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x[:, :1] - (900 / 1200 * 2 - 1)) * 1e3


@pytest.fixture(scope="module")
def chest(phantom) -> Phantom:
    """The slices of the phantom around its larger nodule."""
    part = slice(26, 40)
    affine = phantom.volume.ijk_to_lps.copy()
    affine[2, 3] += part.start * affine[2, 2]
    volume = CTVolume(phantom.volume.voxels[part], affine, "1.2.3")
    return Phantom(volume, LabelVolume(phantom.truth.labels[part], affine, "1.2.3"), phantom.nodules)


def plane(nodule: bool) -> tuple[np.ndarray, ...]:
    """A disc of 6 pixels in the middle, another one away from it that is a nodule."""
    rows, columns = np.ogrid[:SIDE, :SIDE]
    middle, other = np.hypot(rows - 35, columns - 35) <= 6, np.hypot(rows - 50, columns - 50) <= 4
    hu = np.where(middle | other, 40, -860).astype(np.int16)
    return hu, (middle & nodule) | other, columns + 0 * rows > 10


def pool_of(*nodule: bool) -> Pool:
    rows, columns = np.ogrid[:71, :71]
    mask = (np.hypot(rows - 35, columns - 35) <= 5)[None]
    cube = np.zeros((1, 51, 51, 51), bool)
    cube[0, 20:30, 20:30, 20:30] = True
    hu = np.where(mask, 30, -850).astype(np.int16)
    cube_hu = np.where(cube, 20, -800).astype(np.int16)
    pool = Pool(hu, mask, np.array([0.7]), cube_hu, cube, np.array([7.0]), np.array([5.0]))
    if not nodule:
        return pool
    found = [plane(one) for one in nodule]
    return dataclasses.replace(pool, structures=Structures(*(np.array(part) for part in zip(*found))))


def test_what_is_taken_for_a_nodule_is_in_the_middle_and_nodules_are_told_apart(chest) -> None:
    found = structures(Dense(), chest.volume, chest.truth.labels > 0)
    middle = SIDE // 2
    assert found.hu.shape == found.mask.shape == (len(found.hu), SIDE, SIDE)
    # Half a pixel of the crop lies between its middle and the voxel, so look beside it too.
    near = found.hu[:, middle - 1 : middle + 2, middle - 1 : middle + 2].max((1, 2))
    assert (near > -300).all()
    assert 6 <= found.nodules.sum() < len(found.hu) - 4
    assert found.hu[found.nodules][:, middle, middle].mean() > 0


def test_only_the_lung_beyond_the_midline_is_looked_at(chest) -> None:
    right = chest.truth.labels == 1
    assert chest.nodules[0].centre_lps_mm[0] < 0
    allowed = far_side(chest.volume, right)
    x = chest.volume.ijk_to_lps[0, 3] + chest.volume.ijk_to_lps[0, 0] * np.flatnonzero(allowed.any((0, 1)))
    assert x.min() > 10 and x.max() > 100, "all of the left, and the middle left out"
    assert allowed.shape == right.shape and not (allowed & right).any()
    across = np.zeros_like(right)
    across[7, 100, 60:200] = True
    assert far_side(chest.volume, across) is None
    looked = structures(Dense(), chest.volume, right, allowed)
    assert len(looked.hu) and not looked.nodules.any() and not (looked.mask & looked.known).any()
    assert looked.known.any((1, 2)).all() and not looked.known.all(), "the nodule's own side is not known"


@pytest.mark.parametrize("nodule", [False, True])
def test_a_prompt_on_a_structure_asks_for_it_alone_and_a_search_for_every_nodule(nodule) -> None:
    pool, random = pool_of(nodule), np.random.default_rng(0)
    mix = Mix(none=0, large=0, cubes=0.25, structures=0.5, searched=0, planted=float(nodule))
    asked = drawn(pool, 16, 64, random, mix)
    assert (asked.prompt[8:].amax((1, 2)) > 0.8).all()
    area = (asked.truth[8:] > 0.5).sum((1, 2))
    if nodule:
        assert (area > 60).all() and (area < 200).all(), "one disc of about 113 pixels, at scales from 0.8 to 1.25"
    else:
        assert (area == 0).all()
    searched = drawn(pool, 16, 64, random, dataclasses.replace(mix, searched=1))
    assert (searched.prompt[8:] == 0).all() and (searched.prompt[:8].amax((1, 2)) > 0.2).all()
    assert 0.3 < asked.known[8:].mean() < 1
    more = (searched.truth[8:] > 0.5).sum((1, 2)).float().mean()
    assert more > 15 if not nodule else more > 60


def test_a_share_of_the_batch_is_theirs_and_none_without_them() -> None:
    mix = Mix(none=0, negative=0, large=0, cubes=0.25, structures=0.25, searched=0, planted=0)
    truth = drawn(pool_of(False), 16, 48, np.random.default_rng(1), mix).truth.amax((1, 2))
    assert (truth[12:] == 0).all() and (truth[:8] > 0.5).all()
    empty = dataclasses.replace(pool_of(False), structures=Structures.none())
    truth = drawn(empty, 16, 48, np.random.default_rng(1), mix).truth.amax((1, 2))
    assert (truth[:12] > 0.5).all(), "patches in their place"


def test_the_chests_are_never_those_that_others_are_judged_on() -> None:
    assert min(ct_negatives.SEEDS) >= 1000, "demonstration, tests and phantom cohort count from 0"


def test_structures_are_found_with_weights_or_not_at_all(tmp_path) -> None:
    with pytest.raises(InvalidInput, match="needs weights to go on from"):
        train_ct.trained(TrainRequest("ct_nodule", tmp_path, tmp_path / "run", settings={"mix": "chests"}))


def test_the_training_draws_from_what_the_weights_that_it_goes_on_from_take_for_nodules(tmp_path, monkeypatch) -> None:
    from shared_models.ct_network import network

    held, asked, given = pool_of(True, False), [], []
    for name in ("lidc_nodule_slices", "lidc_nodule_3d_51"):
        (tmp_path / name).mkdir()
    weights = network().state_dict()
    torch.save(weights, tmp_path / "best.pt")
    monkeypatch.setattr(Pool, "read", classmethod(lambda *_: dataclasses.replace(held, structures=Structures.none())))
    monkeypatch.setattr(train_ct, "of_drawn_chests", lambda *given: asked.append(given) or held.structures)
    monkeypatch.setattr(train_ct, "of_far_lung", lambda model, root: Structures.none())
    monkeypatch.setattr(train_ct, "train", lambda task, request: given.append(task))
    settings = {"mix": "chests", "start_from": str(tmp_path / "best.pt")}
    train_ct.trained(TrainRequest("ct_nodule", tmp_path, tmp_path / "run", limit=3, settings=settings))
    (task,), ((model, seeds),) = given, asked
    assert seeds == ct_negatives.SEEDS[:3]
    assert all(torch.equal(weights[name], value) for name, value in model.state_dict().items())
    assert (task.told()["train_structures"], task.told()["train_planted"]) == (2, 1)
    assert "train_structures" not in train_ct.NoduleTask(pool_of(), pool_of(), train_ct.Recipe()).told()

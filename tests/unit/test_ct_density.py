"""The type of a nodule by its HU: the rule by hand, its limits on real nodules, what is kept of its agreement."""

import json

import numpy as np
import pytest

from shared_models import ct_density
from shared_models.contract.errors import InvalidInput
from shared_models.ct_density import Agreement, agreement, chosen, core_hu, nodule_type


def test_only_the_middle_counts_and_its_upper_quartile() -> None:
    hu, mask = np.full((9, 9), -900), np.zeros((9, 9), bool)
    mask[2:7, 2:7] = True
    hu[mask] = -800  # a blurred edge
    hu[3:6, 3:6] = [[-100, -90, -80], [-70, -60, -50], [-40, -30, -20]]
    assert core_hu(hu, mask) == -40  # of nine numbers the seventh
    assert core_hu(hu[None].repeat(2, 0), np.stack([mask & False, mask])) == -40


def test_of_a_speck_all_of_it_counts() -> None:
    hu, mask = np.full((5, 5), -900), np.zeros((5, 5), bool)
    mask[1:3, 1:3], hu[1:3, 1:3] = True, -300
    assert core_hu(hu, mask) == -300


def test_of_a_volume_the_largest_slice_counts() -> None:
    hu, mask = np.full((2, 7, 7), -900), np.zeros((2, 7, 7), bool)
    mask[0, 2:4, 2:4], mask[1, 1:6, 1:6] = True, True
    hu[0], hu[1] = 100, -700
    assert core_hu(hu, mask) == -700


def test_nothing_has_no_type() -> None:
    with pytest.raises(InvalidInput, match="no nodule"):
        core_hu(np.zeros((3, 3)), np.zeros((3, 3), bool))


@pytest.mark.parametrize(
    ("hu", "kind"), [(-200, "solid"), (40, "solid"), (-201, None), (-599, None), (-600, "nonsolid"), (-800, "nonsolid")]
)
def test_between_the_limits_it_is_not_known_and_part_solid_is_never_called(hu, kind) -> None:
    assert nodule_type(hu) == kind


def test_limits_are_the_widest_that_are_sure_enough() -> None:
    cores = np.r_[np.full(100, -290.0), np.full(100, -610.0), np.full(50, -400.0)]
    readers = np.array(["solid"] * 97 + ["nonsolid"] * 3 + ["nonsolid"] * 80 + ["solid"] * 20 + ["part_solid"] * 50)
    assert chosen(cores, readers) == (-450.0, -350.0)
    readers[:1] = "nonsolid"  # 96 of 100: not sure enough at any step
    with pytest.raises(ValueError):
        chosen(cores, readers)


def test_agreement_counts_by_hand() -> None:
    about = dict(weights_sha256="a" * 64, commit="c", split="val", source="s")
    found = agreement([0, 0, -300, -700, -700], ["solid", "part_solid", "solid", "nonsolid", "solid"], "aabbc", **about)
    assert found.called == {"solid": 2, "nonsolid": 2, "not_known": 1} and found.patients == 3
    assert found.right == {"solid": 0.5, "nonsolid": 0.5}
    assert found.confusion["solid"] == {"solid": 1, "nonsolid": 1, "not_known": 1}
    assert found.ci95["solid"][0] < 0.5 < found.ci95["solid"][1]


def test_the_bundle_holds_the_agreement_of_todays_limits_only(tmp_path, monkeypatch) -> None:
    held = ct_density.read()
    assert isinstance(held, Agreement) and held.n > 300 and held.split == "val"
    assert sum(held.called.values()) == held.n and held.right["solid"] > 0.9
    assert sum(n for row in held.confusion.values() for n in row.values()) == held.n
    assert ct_density.read(tmp_path) is None
    monkeypatch.setattr(ct_density, "SOLID_HU", -250.0)
    assert ct_density.read() is None


def test_what_is_kept_says_where_it_is_from() -> None:
    path = ct_density.MODELS_ROOT / ct_density.BUNDLE / ct_density.FILE
    kept = json.loads(path.read_text())
    assert "LIDC" in kept["source"] and kept["command"].startswith("python -m") and "dirty" not in kept["commit"]

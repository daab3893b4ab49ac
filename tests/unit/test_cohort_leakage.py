"""The leakage audit finds what leaks, in the splits and in the pictures, and nothing else."""

import numpy as np
import pytest
from cohort_files import series
from PIL import Image
from scipy import ndimage

from shared_models.cohorts.alignment import aligned
from shared_models.cohorts.case import CohortCase, CohortImage
from shared_models.cohorts.embedding import NetworkVectors, colour_vectors, ct_vectors, tile_pixels
from shared_models.cohorts.leakage import audit, chosen_threshold, near_pairs
from shared_models.contract.errors import InvalidInput


def _case(patient, split, *images, name=None):
    return CohortCase(name or patient, patient, "x", images=images, split=split)


def _slide(name, group=""):
    return CohortImage(None, "slide", slide_id=name, group=group)


def test_names_that_leak():
    cases = [
        _case("A", "train", _slide("1")), _case("A", "test", _slide("2"), name="A2"),
        _case("B", "val", _slide("1")), _case("C", "test", _slide("3", "g")), _case("D", "train", _slide("4", "g")),
        _case("E", "test", CohortImage(None, "CT", series_uid="9")),
        _case("F", "test", CohortImage(None, "CT", series_uid="9")),
    ]  # fmt: skip
    found = audit(cases)
    assert [(leak.what, leak.names, leak.splits) for leak in found.leaks] == [
        ("same patient", ("A", "A"), ("train", "test")),
        ("same slide under two patients", ("A", "B"), ("train", "val")),
        ("same group", ("g", "g"), ("test", "train")),
        ("same series under two patients", ("E", "F"), ("test", "test")),
    ]
    assert found.count == 4 and "no pictures were compared" in found.text()
    assert audit([cases[0], cases[3]]).count == 0


def _units(angles):
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def test_the_threshold_is_above_every_stranger():
    """Worked by hand: groups at 0, 30 and 70 degrees, the first with a second picture at 4."""
    vectors, groups = _units(np.radians([0, 4, 30, 70])), np.array(["a", "a", "b", "c"])
    threshold = chosen_threshold(vectors, groups)
    assert threshold.cosine == pytest.approx(np.cos(np.radians(26)), abs=2e-6)
    assert (threshold.apart, threshold.false_share, threshold.together, threshold.found_share) == (5, 0.0, 1, 1.0)
    loose = chosen_threshold(vectors, groups, 0.4)  # two of the five pairs may reach it: those of 26 and 30 degrees
    assert loose.cosine == pytest.approx(np.cos(np.radians(40)), abs=2e-6) and loose.false_share == 0.4


def test_pairs_across_splits_only():
    vectors, splits = _units(np.radians([0, 1, 3, 90])), np.array(["train", "train", "test", "test"])
    assert [(i, j) for i, j, _ in near_pairs(vectors, splits, 0.99)] == [(1, 2), (0, 2)]


def test_blocks_do_not_change_the_answer(monkeypatch):
    rng = np.random.default_rng(0)
    vectors = _units(rng.uniform(0, 6, 60))
    groups = np.array([f"g{n // 3}" for n in range(60)])
    whole = chosen_threshold(vectors, groups, 0.01), near_pairs(vectors, groups, 0.9)
    monkeypatch.setattr("shared_models.cohorts.leakage._BLOCK", 7)
    pieces = chosen_threshold(vectors, groups, 0.01), near_pairs(vectors, groups, 0.9)
    assert [pair[:2] for pair in whole[1]] == [pair[:2] for pair in pieces[1]]
    assert whole[0].cosine == pytest.approx(pieces[0].cosine, abs=1e-6) and whole[0].apart == pieces[0].apart


def _field(seed):
    """A made-up field: blurred noise with a few dark discs, in colours of its own."""
    rng = np.random.default_rng(seed)
    grey = ndimage.gaussian_filter(rng.normal(size=(224, 224)), 6)
    grey = (grey - grey.min()) / np.ptp(grey)
    rows, columns = np.mgrid[:224, :224]
    for row, column, size in rng.uniform([20, 20, 8], [200, 200, 20], (12, 3)):
        grey[(rows - row) ** 2 + (columns - column) ** 2 < size**2] *= 0.4
    return np.clip(grey[..., None] * rng.uniform(150, 255, 3), 0, 255).astype(np.uint8)


@pytest.fixture
def tiles(tmp_path):
    """Twelve training fields, two fields of test; a turned and mirrored copy of training field 3 in test."""

    def image(pixels, name, group):
        path = tmp_path / f"{name}.png"
        Image.fromarray(pixels).save(path)
        return CohortImage(path, "tile", slide_id=name, group=group)

    cases = [_case(f"f{n}", "train", image(_field(n), f"t{n}", f"f{n}")) for n in range(12)]
    cases += [_case(f"f{n}", "test", image(_field(n), f"t{n}", f"f{n}")) for n in (20, 21)]
    copy = np.ascontiguousarray(np.rot90(_field(3))[:, ::-1])
    return cases, _case("f30", "test", image(copy, "copy", "f30"))


def test_a_copy_among_the_tiles_is_found(tiles):
    cases, copy = tiles
    assert audit(cases, colour_vectors, "colours", confirm=aligned).count == 0
    found = audit([*cases, copy], colour_vectors, "colours", confirm=aligned)
    (leak,) = found.leaks
    assert (leak.names, leak.splits) == (("f3", "f30"), ("train", "test")) and leak.cosine > 0.98
    assert "near-duplicate pictures: f3 and f30 in train and test" in found.text()
    assert found.body()["threshold"]["fit"] < 0.98 and found.body()["pictures_compared"] == 15


def test_a_tile_that_cannot_be_read_is_told(tiles):
    cases, copy = tiles
    cases[13].images[0].path.write_bytes(b"no picture")
    found = audit([*cases, copy], colour_vectors, "colours", confirm=aligned)
    assert [leak.names for leak in found.leaks] == [("f3", "f30")] and "1 pictures could not be read" in found.text()


def test_alignment_follows_turns_and_shifts(tiles, tmp_path):
    cases, copy = tiles
    assert aligned(cases[3].images[0], copy.images[0]) > 0.98
    turned = ndimage.rotate(_field(3), 17, reshape=False, mode="reflect", order=1)
    Image.fromarray(turned).save(tmp_path / "turned.png")
    image = CohortImage(tmp_path / "turned.png", "tile", slide_id="turned")
    strangers = [aligned(case.images[0], image) for case in cases[:3]]
    assert aligned(cases[3].images[0], image) > max(strangers) + 0.2


def test_the_networks_features_know_a_copy(tiles):
    vectors = NetworkVectors()([tiles[0][n].images[0] for n in (3, 4, 5)] + [tiles[1].images[0]])
    assert vectors.shape == (4, 1280) and np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-5)
    alike = vectors @ vectors[3]
    assert alike[0] > 0.9 and alike[0] > alike[1:3].max() + 0.02


def test_too_few_training_tiles_are_told(tiles):
    cases, copy = tiles
    found = audit([*cases[:2], copy], colour_vectors, "colours", confirm=aligned)
    assert found.threshold is None and "too few training pictures" in found.text()


def test_a_ct_under_two_names(tmp_path):
    def other(seed):
        rng = np.random.default_rng(seed)

        def edit(image, index):
            image.PixelData = rng.integers(0, 1400, (image.Rows, image.Columns)).astype("<u2").tobytes()

        return edit

    cases = []
    for number, (split, seed) in enumerate([("train", 1), ("train", 2), ("train", 3), ("test", 4), ("test", 2)]):
        folder = series(tmp_path / str(number), f"P{number}", str(number), edit=other(seed))
        cases.append(_case(f"P{number}", split, CohortImage(folder, "CT", series_uid=f"1.{number}", count=4)))
    found = audit(cases, ct_vectors, "slices", "CT")
    assert [(leak.names, leak.splits) for leak in found.leaks] == [(("P1", "P4"), ("train", "test"))]
    assert audit(cases[:4], ct_vectors, "slices", "CT").count == 0


def test_tiles_that_cannot_be_read(tmp_path):
    path = tmp_path / "t.jpeg"
    for data in (b"", b"\xff\xd8\xff\xd9", b"GIF89a"):
        path.write_bytes(data)
        with pytest.raises(InvalidInput):
            tile_pixels(path)


def test_the_real_tiles_hold_a_field_twice(real_data):
    """Groups lung_n_177 (test) and lung_n_228 (val) are one field; by eye, and by the audit of all tiles."""
    import csv

    base = real_data / "lc25000_lung_224"
    with (base / "tiles.csv").open(newline="") as file:
        held = {}
        for row in csv.DictReader(file):
            image = CohortImage(base / row["file"], "tile", slide_id=row["file"], group=row["group"])
            held.setdefault(row["group"], []).append(image)
    best = max(aligned(one, two) for one in held["lung_n_177"][:2] for two in held["lung_n_228"])
    others = max(aligned(one, held[f"lung_n_{n}"][0]) for one in held["lung_n_177"][:1] for n in range(100, 110))
    assert best > 0.7 > 0.5 > others

"""Stains: known answers on drawn tiles, tiles without stain, batches, a card's section. All tiles are synthetic."""

from __future__ import annotations

import copy
import json
from dataclasses import replace

import numpy as np
import pytest

from shared_models.contract.errors import InvalidInput, ModelUnavailable
from shared_models.stain import METHODS, Stain, density, macenko, normalised, normaliser, vahadane
from shared_models.stain_vahadane import sparse_codes, sparse_stains

BOTH = pytest.mark.parametrize("method", sorted(METHODS))
ONE = np.array([[0.63, 0.76, 0.16], [0.28, 0.95, 0.12]])
OTHER = np.array([[0.55, 0.76, 0.34], [0.20, 0.90, 0.38]])
ONE, OTHER = (m / np.linalg.norm(m, axis=1, keepdims=True) for m in (ONE, OTHER))


def _amounts(seed: int = 0, size: int = 96) -> np.ndarray:
    """Concentrations (size, size, 2): in runs, two fifths nuclei alone, two fifths cytoplasm alone, the rest both."""
    rng = np.random.default_rng(seed)
    kind = np.kron(rng.permutation(size * size // 16) % 5, np.ones(16)).astype(int)
    amounts = rng.uniform(0.7, 2.0, (size * size, 2))
    amounts[kind < 2, 1] = 0
    amounts[(kind == 2) | (kind == 3), 0] = 0
    return amounts.reshape(size, size, 2)


def _drawn(amounts: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(240 * np.exp(-(amounts @ matrix)) - 1), 0, 255).astype(np.uint8)


def _degrees(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.degrees(np.arccos(np.clip((a * b).sum(axis=1), -1, 1))).max())


@BOTH
@pytest.mark.parametrize("matrix", [ONE, OTHER], ids=["one", "other"])
def test_the_stains_that_a_tile_was_drawn_with_are_found(method, matrix) -> None:
    amounts = _amounts()
    found = METHODS[method](_drawn(amounts, matrix)[None])
    # Rounding to 8 bits turns single pixels by about a degree; sparsity pulls the vectors a little inwards.
    assert _degrees(found.matrix, matrix) < 1.5
    assert found.max_concentration == pytest.approx(np.percentile(amounts.reshape(-1, 2), 99, axis=0), rel=0.05)


@BOTH
def test_a_tile_becomes_what_the_target_laboratory_would_have_made(method) -> None:
    amounts = _amounts(1)
    mine, theirs = _drawn(amounts * [0.7, 1.3], ONE), _drawn(amounts, OTHER)
    target = METHODS[method](_drawn(_amounts(2), OTHER)[None])
    got = normalised(mine[None], target, method)
    difference = np.abs(got.pixels[0].astype(int) - theirs)
    assert got.changed.all() and difference.mean() < 3 and np.percentile(difference, 99) <= 12
    assert np.abs(mine.astype(int) - theirs).mean() > 15


@BOTH
def test_its_own_stain_as_target_changes_next_to_nothing(method) -> None:
    tile = _drawn(_amounts(3), ONE)
    got = normalised(tile[None], METHODS[method](tile[None]), method).pixels[0].astype(int)
    assert np.abs(got - tile).mean() < 1 and np.abs(got - tile).max() <= 6


@BOTH
def test_a_tile_is_the_same_alone_in_a_batch_and_anywhere_in_it(method) -> None:
    stained = [_drawn(_amounts(s), m) for s, m in ((4, ONE), (5, OTHER), (6, ONE))]
    tiles, target = np.stack([*stained, np.full_like(stained[0], 255)]), Stain(OTHER, np.array([1.5, 1.2]))
    kept = tiles.copy()
    together = normalised(tiles, target, method)
    assert np.array_equal(tiles, kept) and together.changed.tolist() == [True, True, True, False]
    order = np.array([2, 0, 3, 1])
    assert np.array_equal(normalised(tiles[order], target, method).pixels, together.pixels[order])
    for index in range(4):
        assert np.array_equal(normalised(tiles[index : index + 1], target, method).pixels[0], together.pixels[index])


@BOTH
def test_one_stain_over_a_slide(method) -> None:
    tiles = np.stack([_drawn(_amounts(s) * [1, 0.8 + 0.2 * s], ONE) for s in range(4)])
    whole = METHODS[method](tiles)
    again = METHODS[method](tiles[::-1])
    assert again.matrix == pytest.approx(whole.matrix, abs=1e-7)
    assert again.max_concentration == pytest.approx(whole.max_concentration, abs=1e-6)
    target = Stain(OTHER, np.array([1.5, 1.2]))
    eosin = [normalised(tiles, target, method, source=s).pixels[..., 1].mean(axis=(1, 2)) for s in (whole, None)]
    # A slide's stain keeps the differences between its tiles, a tile's own takes them away.
    assert np.ptp(eosin[0]) > 2 * np.ptp(eosin[1])
    blank = np.full((1, 96, 96, 3), 250, np.uint8)
    assert normalised(blank, target, method, source=whole).changed.all()


def _hopeless() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    grey = np.repeat(np.arange(96, dtype=np.uint8)[:, None, None] * 2, 96, axis=1).repeat(3, axis=2)
    speck = np.full((96, 96, 3), 245, np.uint8)
    speck[:20, :20] = _drawn(_amounts(), ONE)[:20, :20]
    one = _drawn(np.full((96, 96, 2), 0.8), ONE)
    return {
        "white": np.full((96, 96, 3), 255, np.uint8),
        "black": np.zeros((96, 96, 3), np.uint8),
        "one colour": one,
        "one colour and noise": np.clip(one + rng.integers(-2, 3, one.shape), 0, 255).astype(np.uint8),
        "shades of grey": grey,
        "too little tissue": speck,
        "tiny": _drawn(_amounts(size=16), ONE),
        "one pixel": np.full((1, 1, 3), 120, np.uint8),
        "green": (rng.integers(0, 60, (96, 96, 3)) + [0, 190, 0]).astype(np.uint8),
    }  # fmt: skip


@BOTH
@pytest.mark.parametrize("name", sorted(_hopeless()))
@pytest.mark.filterwarnings("error")
def test_a_tile_without_stains_stays_and_is_marked(method, name) -> None:
    tile = _hopeless()[name]
    assert METHODS[method](tile[None]) is None
    got = normalised(tile[None], Stain(OTHER, np.array([1.5, 1.2])), method)
    assert not got.changed.any() and np.array_equal(got.pixels[0], tile)


@BOTH
@pytest.mark.filterwarnings("error")
def test_noise_and_no_tiles_do_no_harm(method) -> None:
    target = Stain(ONE, np.array([1.5, 1.2]))
    noise = np.random.default_rng(1).integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)
    assert normalised(noise, target, method).pixels.dtype == np.uint8
    assert normalised(noise[:0], target, method).pixels.shape == (0, 64, 64, 3)
    with pytest.raises(InvalidInput, match="8-bit"):
        normalised(noise.astype(np.float32), target, method)
    with pytest.raises(InvalidInput, match="macenko or vahadane"):
        normalised(noise, target, "reinhard")


@BOTH
def test_glass_stays_white_and_a_black_border_is_no_stain(method) -> None:
    tissue = _drawn(_amounts(7), ONE)
    glass = np.random.default_rng(2).integers(238, 256, (96, 96, 1), dtype=np.uint8).repeat(3, axis=2)
    tile = np.concatenate([tissue, glass, np.zeros_like(tissue)], axis=1)
    target = Stain(OTHER, np.array([1.9, 0.7]))
    got = normalised(tile[None], target, method).pixels[0, :, 96:192].astype(int)
    assert np.ptp(got, axis=2).max() <= 3 and np.abs(got - glass).max() <= 3
    alone, beside = METHODS[method](tissue[None]), METHODS[method](tile[None])
    assert _degrees(alone.matrix, beside.matrix) < 0.1
    assert beside.max_concentration == pytest.approx(alone.max_concentration, rel=1e-3)


def test_codes_meet_the_conditions_of_the_least_and_agree_with_scipy() -> None:
    nnls = pytest.importorskip("scipy.optimize").nnls
    rng = np.random.default_rng(3)
    pixels = rng.normal(0.3, 0.8, (400, 3))
    codes = sparse_codes(pixels, ONE)
    assert codes == pytest.approx(np.stack([nnls(ONE.T, v)[0] for v in pixels]), abs=1e-9)
    assert {tuple(row) for row in (codes > 0).tolist()} == {(a, b) for a in (True, False) for b in (True, False)}
    codes = sparse_codes(pixels, ONE, 0.1)
    slope = codes @ ONE @ ONE.T - pixels @ ONE.T + 0.1
    assert (codes >= 0).all() and slope.min() > -1e-9 and np.abs(codes * slope).max() < 1e-9


def test_the_learned_stains_do_not_hang_on_the_start() -> None:
    pixels = density(_drawn(_amounts(8), OTHER).reshape(-1, 3)).astype(np.float64)
    ends = [sparse_stains(pixels, start) for start in (ONE, OTHER, np.array([[0.8, 0.6, 0.0], [0.0, 0.8, 0.6]]))]
    assert max(_degrees(ends[0], end) for end in ends[1:]) < 0.3
    assert np.array_equal(ends[0], sparse_stains(pixels, ONE))


@pytest.mark.parametrize("matrix, most", [
    (ONE[::-1], [1, 1]), (ONE * 1.1, [1, 1]), (np.stack([ONE[0], ONE[0]]), [1, 1]), (ONE[:, :2], [1, 1]), (ONE, [1, 0]),
    (ONE, [1, np.nan]), (ONE, [1, 1, 1]), (np.array([[0.8, -0.6, 0.0], ONE[1]]), [1, 1]), (ONE, [1, 99]),
])  # fmt: skip
def test_what_is_no_stain_is_refused(matrix, most) -> None:
    with pytest.raises(InvalidInput):
        Stain(matrix, np.array(most, np.float64))


def _section(**changes: object) -> dict:
    target = {"matrix": ONE.tolist(), "max_concentration": [1.5, 1.2]}
    return {"method": "macenko", "per": "tile", "target": target, **changes}


def test_a_card_turns_it_on_and_off() -> None:
    for off in (None, {"method": None}, {"method": "none"}):
        assert normaliser(off) is None
    tiles = _drawn(_amounts(9), OTHER)[None]
    target = Stain(ONE, np.array([1.5, 1.2]))
    for method in METHODS:
        change = normaliser(json.loads(json.dumps(_section(method=method, made_from={"seed": 1}))))
        assert np.array_equal(change(tiles), normalised(tiles, target, method).pixels)


@pytest.mark.parametrize("section", [
    {}, [], "macenko", True, {"method": "macenko"}, _section(method="reinhard"), _section(method=["macenko"]),
    _section(per="slide"), _section(per=None), _section(target=None), _section(target={}), _section(typo=1),
    _section(target={"matrix": ONE.tolist(), "max_concentration": [1.5]}),
    _section(target={"matrix": [[0.6, 0.7], [0.3, 0.9]], "max_concentration": [1, 1]}),
    _section(target={"matrix": [], "max_concentration": [1, 1]}),
    _section(target={"matrix": [["0.6", 0.7, 0.1], [0.3, 0.9, 0.1]], "max_concentration": [1, 1]}),
    _section(target={"matrix": ONE[::-1].tolist(), "max_concentration": [1, 1]}),
    _section(target={"matrix": ONE.tolist(), "max_concentration": [1, float("nan")]}),
    _section(target={"matrix": ONE.tolist(), "max_concentration": [True, 1]}),
    _section(target={"matrix": ONE.tolist(), "max_concentration": [10**400, 1]}),
])  # fmt: skip
def test_a_card_that_asks_for_nonsense_is_not_run(section) -> None:
    with pytest.raises(ModelUnavailable, match="stain normalisation") as caught:
        normaliser(section)
    assert "shared_models.stain" in caught.value.remedy


def test_the_model_sees_normalised_tiles_and_says_so() -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("captum")
    from shared_models.model_bundle import MODELS_ROOT, Bundle
    from shared_models.slide_pipeline import BUNDLE, SlideModel

    if not (MODELS_ROOT / BUNDLE / "configs" / "metadata.json").is_file():
        pytest.skip("the H&E model is not installed")
    bundle = Bundle.load(MODELS_ROOT / BUNDLE)

    def with_stain(section: object) -> SlideModel:
        metadata = copy.deepcopy(bundle.metadata)
        metadata["lungxai"]["stain"] = section
        return SlideModel(replace(bundle, metadata=metadata), "cpu")

    plain, stained = SlideModel(bundle, "cpu"), with_stain(_section())
    tiles = np.stack([_drawn(_amounts(s, 224), OTHER) for s in (1, 2)])
    ready = normaliser(_section())(tiles)
    assert np.array_equal(stained.logits(tiles), plain.logits(ready))
    assert np.abs(stained.logits(tiles) - plain.logits(tiles)).max() > 0.05
    maps = [
        model.maps(pixels, ["gradcam"], "normal")["gradcam"][0] for model, pixels in ((stained, tiles), (plain, ready))
    ]
    assert np.array_equal(*maps)
    assert "macenko" in " ".join(stained.notes) and not plain.notes
    with pytest.raises(ModelUnavailable):
        with_stain(_section(per="slide"))


def test_both_methods_agree_where_tissue_is_pure() -> None:
    tile = _drawn(_amounts(10), ONE)[None]
    assert _degrees(macenko(tile).matrix, vahadane(tile).matrix) < 2

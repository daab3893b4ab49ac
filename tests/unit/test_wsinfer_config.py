"""The configuration of an added model: what is read, what is refused and in which words; and its three transforms."""

from __future__ import annotations

import json

import numpy as np
import pytest

pytest.importorskip("torch")

from PIL import Image  # noqa: E402
from torchscript_models import MEAN, STD, config  # noqa: E402

from shared_models.contract.errors import InputTooLarge, InvalidInput  # noqa: E402
from shared_models.wsinfer_config import parsed, read_config  # noqa: E402


def _steps(*steps) -> list[dict]:
    return [{"name": name, **({"arguments": given} if given is not None else {})} for name, given in steps]


NORMALIZE = ("Normalize", {"mean": list(MEAN), "std": list(STD)})


def test_the_zoo_s_lung_model_is_read() -> None:
    found = parsed(config(extra_field=1))
    assert found.class_names[1] == "benign" and (found.patch_px, found.spacing_um_px) == (350, 0.5)
    assert found.preparation.size == (224, 224) and found.preparation.std == STD
    assert found.apply_softmax and found.unused == ("extra_field",)


@pytest.mark.parametrize(("changes", "named"), [
    *(({name: None}, name) for name in config()),
    ({"spec_version": "2.0"}, "spec_version"),
    ({"architecture": 5}, "architecture"),
    ({"num_classes": 5}, "class_names has 6"),
    ({"num_classes": 6.0}, "num_classes"),
    ({"num_classes": True}, "num_classes"),
    ({"num_classes": 10**12}, "num_classes"),
    ({"num_classes": 10**400}, "num_classes"),
    ({"class_names": list("abcdea")}, "twice"),
    ({"class_names": [*"abcde", ""]}, "class_names"),
    ({"class_names": [*"abcde", "x" * 81]}, "class_names"),
    ({"class_names": [*"abcde", "a\nb"]}, "class_names"),
    ({"class_names": [*"abcde", 6]}, "class_names"),
    ({"class_names": "abcdef"}, "class_names"),
    ({"patch_size_pixels": 0}, "patch_size_pixels"),
    ({"patch_size_pixels": 100_000}, "patch_size_pixels"),
    ({"patch_size_pixels": "350"}, "patch_size_pixels"),
    ({"spacing_um_px": 0}, "spacing_um_px"),
    ({"spacing_um_px": -0.5}, "spacing_um_px"),
    ({"spacing_um_px": float("nan")}, "spacing_um_px"),
    ({"spacing_um_px": float("inf")}, "spacing_um_px"),
    ({"spacing_um_px": 10**400}, "spacing_um_px"),
    ({"spacing_um_px": "0.5"}, "spacing_um_px"),
    ({"apply_softmax": "no"}, "apply_softmax"),
    ({"object_based": True}, "object_based"),
    ({"stain_normalization": True}, "stain_normalization"),
    ({"transform": []}, "transform"),
    ({"transform": "Resize"}, "transform"),
    ({"transform": [["Resize"]]}, "transform"),
    ({"transform": _steps(("CenterCrop", {"size": 224}), ("ToTensor", None))}, "CenterCrop"),
    ({"transform": _steps(("ToTensor", None), ("Resize", {"size": 224}))}, "order"),
    ({"transform": _steps(("Resize", {"size": 224}))}, "order"),
    ({"transform": _steps(("ToTensor", None), NORMALIZE, NORMALIZE)}, "order"),
    ({"transform": _steps(("Resize", None), ("ToTensor", None))}, "size"),
    ({"transform": _steps(("Resize", {"size": 10**9}), ("ToTensor", None))}, "size"),
    ({"transform": _steps(("Resize", {"size": 224.0}), ("ToTensor", None))}, "size"),
    ({"transform": _steps(("Resize", {"size": 224, "interpolation": 1}), ("ToTensor", None))}, "interpolation"),
    ({"transform": _steps(("Resize", {"size": 224, "max_size": 300}), ("ToTensor", None))}, "max_size"),
    ({"transform": _steps(("Resize", {"size": 224, "pad": 1}), ("ToTensor", None))}, "pad"),
    ({"transform": _steps(("ToTensor", [1]))}, "ToTensor"),
    ({"transform": [{"name": "ToTensor", "when": "now"}]}, "when"),
    ({"transform": _steps(("ToTensor", None), ("Normalize", {"mean": [0.5] * 3}))}, "std"),
    ({"transform": _steps(("ToTensor", None), ("Normalize", {"mean": [0.5] * 3, "std": [0, 1, 1]}))}, "std"),
    ({"transform": _steps(("ToTensor", None), ("Normalize", {"mean": ["a", 1, 1], "std": [1] * 3}))}, "mean"),
    ({"transform": _steps(("ToTensor", None), ("Normalize", {"mean": [float("nan")] * 3, "std": [1] * 3}))}, "mean"),
    ({"transform": _steps(("ToTensor", None), ("Normalize", {"mean": [0.5], "std": [1]}))}, "mean"),
])  # fmt: skip
def test_a_wrong_field_is_named(changes, named) -> None:
    with pytest.raises(InvalidInput, match=named) as refused:
        parsed(config(**changes))
    assert refused.value.remedy and len(refused.value.message) < 300


@pytest.mark.parametrize("body", [None, 5, [], "x", [config()]])
def test_what_is_no_object_is_refused(body) -> None:
    with pytest.raises(InvalidInput, match="not a JSON object"):
        parsed(body)


def test_files_that_are_no_configuration(tmp_path) -> None:
    path = tmp_path / "config.json"
    with pytest.raises(InvalidInput, match="There is no configuration"):
        read_config(path)
    for text in (b"", b"{", b"\xff\xfe", b"[" * 200_000, json.dumps(config())[:-1].encode()):
        path.write_bytes(text)
        with pytest.raises(InvalidInput, match="not valid JSON"):
            read_config(path)
    path.write_text(json.dumps(config(spacing_um_px=float("nan"))))
    with pytest.raises(InvalidInput, match="holds NaN"):
        read_config(path)
    path.write_bytes(b" " * (2 << 20))
    with pytest.raises(InputTooLarge):
        read_config(path)


@pytest.mark.parametrize(("first", "size", "code"), [
    ({"size": 224}, (224, 224), Image.Resampling.BILINEAR), ({"size": [64]}, (64, 64), Image.Resampling.BILINEAR),
    ({"size": [96, 128], "antialias": True}, (96, 128), Image.Resampling.BILINEAR),
    ({"size": 300, "interpolation": 3}, (300, 300), Image.Resampling.BICUBIC),
    ({"size": 40, "interpolation": 0}, (40, 40), Image.Resampling.NEAREST),
])  # fmt: skip
def test_the_transforms_are_pil_s_and_arithmetic(first, size, code) -> None:
    steps = _steps(("Resize", first), ("ToTensor", None), NORMALIZE)
    made = parsed(config(patch_size_pixels=100, transform=steps)).preparation
    tiles = np.random.default_rng(3).integers(0, 256, (2, 100, 100, 3), dtype=np.uint8)
    found = made(tiles)
    assert found.shape == (2, 3, *size) and found.dtype == np.float32
    for tile, answer in zip(tiles, found):
        picture = np.asarray(Image.fromarray(tile).resize((size[1], size[0]), code), dtype=float) / 255
        assert np.abs((picture - MEAN) / STD - answer.transpose(1, 2, 0)).max() < 1e-5


def test_without_resize_and_normalize_the_pixels_stay_and_odd_tiles_are_refused() -> None:
    made = parsed(config(patch_size_pixels=64, transform=_steps(("ToTensor", None)))).preparation
    tile = np.random.default_rng(4).integers(0, 256, (1, 64, 64, 3), dtype=np.uint8)
    assert np.array_equal(np.rint(made(tile) * 255)[0].transpose(1, 2, 0), tile[0])
    for wrong in (tile[:, :, :50], tile.astype(np.float32), tile[..., :1], tile[:, :8, :8]):
        with pytest.raises(InvalidInput):
            made(wrong)

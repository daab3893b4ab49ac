"""Pictures as vectors in which copies lie close together, for the leakage audit.

tile_pixels()        the picture of a tile, bounded
colour_vectors()     plain: how often each colour is in a tile; needs no model
NetworkVectors       features of the H&E network before its last layer
ct_vectors()         three slices of each CT series, small

Every vector is float32 of length 1, so that a product is a cosine; of an image that cannot be read it is zeros, which
are like nothing (NetworkVectors raises).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..contract.errors import InvalidInput
from ..contract.values import Array
from ..dicom_log import discreet
from ..model_bundle import MODELS_ROOT, Bundle
from .case import CohortImage
from .dicom_headers import Damaged, NotDicom, header

Embed = Callable[[Sequence[CohortImage]], Array]
_MOST_PIXELS = 64_000_000
_MOST_SLICE_BYTES = 64 << 20
_BINS, _BATCH = 12, 16
SIDE = 224


def tile_pixels(path: Path, side: int = SIDE) -> Array:
    """uint8 (side, side, 3) of a tile's file.

    Raises
    ------
    InvalidInput : no picture, damaged, or of more than 64 million pixels.
    """
    from PIL import Image

    try:
        with Image.open(path, formats=["JPEG", "PNG"]) as picture:
            if picture.width * picture.height > _MOST_PIXELS:
                raise InvalidInput("A tile has more pixels than tiles have.", "Give tiles, not slides.")
            picture.draft("RGB", (side, side))
            return np.asarray(picture.convert("RGB").resize((side, side), Image.Resampling.BILINEAR))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as fault:
        raise InvalidInput("A tile cannot be read.", "Download it again.") from fault


def unit(vectors: Array) -> Array:
    """float32 (n, d), each row of length 1; a row of zeros stays."""
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    result: Array = (vectors / np.where(length > 0, length, 1)).astype(np.float32)
    return result


def colour_vectors(images: Sequence[CohortImage]) -> Array:
    """float32 (n, 1728) of tiles: square roots of the shares of 12 x 12 x 12 colours, whose product is Bhattacharyya's
    coefficient. Turning, mirroring and shifting a picture change it little; another stain or slide changes it much."""

    def shares(image: CohortImage) -> Array:
        red, green, blue = (tile_pixels(image.path).reshape(-1, 3).astype(np.int64) * _BINS // 256).T
        counts = np.bincount((red * _BINS + green) * _BINS + blue, minlength=_BINS**3)
        root: Array = np.sqrt(counts / counts.sum())
        return root

    return _stacked(images, shares, _BINS**3)


def ct_vectors(images: Sequence[CohortImage]) -> Array:
    """float32 (n, 3072) of CT series: slices at a quarter, half and three quarters of the height, 32 x 32 each."""
    return _stacked(images, lambda image: np.concatenate([_slice_vector(path) for path in _three(image.path)]), 3072)


def _stacked(images: Sequence[CohortImage], of: Callable[[CohortImage], Array], size: int) -> Array:
    vectors = np.zeros((len(images), size), np.float32)
    for row, image in zip(vectors, images):
        with contextlib.suppress(InvalidInput):
            row[:] = of(image)
    return unit(vectors)


def _three(folder: Path) -> list[Path]:
    heights = []
    with discreet():
        for path in sorted(folder.iterdir()):
            try:
                position = header(path, ("SOPInstanceUID", "SeriesInstanceUID", "ImagePositionPatient"))
                heights.append((float(position.ImagePositionPatient[2]), path))
            except (NotDicom, Damaged, AttributeError, TypeError, IndexError, OSError):
                continue
    if not heights:
        raise InvalidInput("A CT series cannot be read.", "Download it again.")
    heights.sort()
    return [heights[len(heights) * k // 4][1] for k in (1, 2, 3)]


def _slice_vector(path: Path) -> Array:
    import pydicom
    from PIL import Image

    try:
        if path.stat().st_size > _MOST_SLICE_BYTES:
            raise ValueError
        with discreet():
            dataset = pydicom.dcmread(path)
            if int(dataset.Rows) * int(dataset.Columns) > _MOST_PIXELS or int(dataset.get("NumberOfFrames") or 1) > 1:
                raise ValueError
            stored = np.asarray(dataset.pixel_array, np.float32)
        hu = stored * float(dataset.get("RescaleSlope") or 1) + float(dataset.get("RescaleIntercept") or 0)
        small = Image.fromarray(np.clip(hu, -1000, 400)).resize((32, 32), Image.Resampling.BOX)
    except Exception as fault:  # decoders fail in many ways on a damaged file
        raise InvalidInput("A CT series cannot be read.", "Download it again.") from fault
    vector = np.asarray(small).ravel()
    result: Array = vector - vector.mean()
    return result


class NetworkVectors:
    """float32 (n, 1280) of tiles: features of the H&E network that ships before its last layer, over two orientations.

    Raises
    ------
    ModelUnavailable : the model is missing or changed.
    """

    def __init__(self, models_root: Path = MODELS_ROOT, folder: str = "lung_he_lite0") -> None:
        from ..slide_network import restored

        bundle = Bundle.load(models_root / folder)
        self._network = restored(bundle.path("models/model.pt"), len(bundle.own["coverage"]))
        self.name = f"{bundle.model_id} {bundle.weights_sha256[:12]}"
        self._held: list[Any] = []
        self._network.features.register_forward_hook(lambda module, given, out: self._held.append(out.mean(dim=(2, 3))))

    def __call__(self, images: Sequence[CohortImage]) -> Array:
        import torch

        rows = []
        for start in range(0, len(images), _BATCH):
            pixels = np.stack([tile_pixels(image.path) for image in images[start : start + _BATCH]])
            total: Any = 0.0
            for turn, mirror in ((0, False), (1, True)):
                turned = np.rot90(pixels, turn, axes=(1, 2))
                turned = turned[:, :, ::-1] if mirror else turned
                batch = torch.from_numpy(np.ascontiguousarray(turned.transpose(0, 3, 1, 2), dtype=np.float32))
                with torch.inference_mode():
                    self._network(batch.contiguous(memory_format=torch.channels_last))
                total = total + self._held.pop().numpy()
            rows.append(total)
        return unit(np.concatenate(rows)) if rows else np.empty((0, 1280), np.float32)

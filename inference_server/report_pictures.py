"""The pictures of the report, as arrays.

key_image()     a nodule on its axial slice, cropped, outlined, with a scale bar and orientation letters
overlay()       the same crop with a heatmap over it: what speaks for, and what speaks against, each in its own ramp
whole_slice()   the slice with a frame where the crop lies
slide_images()  the slide and its class map; slide_overlay() the slide, or a tile of it, with a heatmap over it
grid_of_tile()  where a tile's pixels lie on the slide
How they are written, and scale bars: report_drawing.py.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Optional

import numpy as np

from shared_models.contract.colours import CLASS_COLOURS, heat_colour
from shared_models.contract.results import Heatmap, LabelVolume, Nodule, PathologyResult
from shared_models.contract.values import CLASSES, Array, CTVolume
from shared_models.geometry import lps_to_index

from .report_drawing import draw_bar, letter_px

WINDOW_HU = (-1350.0, 150.0)
WINDOW_LEVEL_WIDTH = (sum(WINDOW_HU) / 2, WINDOW_HU[1] - WINDOW_HU[0])
WINDOW_WORDS = "lung window, level {:.0f} HU, width {:.0f} HU".format(*WINDOW_LEVEL_WIDTH)
_OUTLINE = (255, 214, 0)
_SIDE_PX = 420


@dataclass(frozen=True)
class Crop:
    """A square region of one axial slice; ``rows`` and ``columns`` are (first, stop), in voxels."""

    slice_index: int
    rows: tuple[int, int]
    columns: tuple[int, int]


def crop_of(volume: CTVolume, nodule: Nodule, mask: Optional[LabelVolume] = None) -> Crop:
    """The nodule's slice, at least 60 mm wide, or three long axes.

    The slice is that of its largest outline in ``mask``, where its axes are measured, or of its centre without one.
    """
    index = np.rint(lps_to_index(volume.ijk_to_lps, nodule.centre_lps_mm)).astype(int)
    half = max(30.0, 1.5 * nodule.long_axis_mm)
    slices, rows, columns = volume.voxels.shape
    reach_r, reach_c = half / volume.spacing_mm[1], half / volume.spacing_mm[0]
    j, i = int(np.clip(index[1], 0, rows - 1)), int(np.clip(index[0], 0, columns - 1))
    k = int(np.clip(index[2], 0, slices - 1))
    return Crop(
        k if mask is None else _largest(mask, nodule.label, k),
        (max(0, round(j - reach_r)), min(rows, round(j + reach_r) + 1)),
        (max(0, round(i - reach_c)), min(columns, round(i + reach_c) + 1)),
    )


def _largest(mask: LabelVolume, label: int, near: int) -> int:
    """The slice where the outline is largest; of equal ones the nearest to ``near``, which it is without an outline."""
    from scipy import ndimage

    box = (ndimage.find_objects(mask.labels, max_label=label) or [None])[-1]
    if box is None:
        return near
    areas = (mask.labels[box] == label).sum(axis=(1, 2))
    largest = box[0].start + np.flatnonzero(areas == areas.max())
    return int(largest[np.abs(largest - near).argmin()])


def _grey(volume: CTVolume, crop: Crop) -> Array:
    hu = volume.voxels[crop.slice_index, slice(*crop.rows), slice(*crop.columns)].astype(np.float32)
    grey = np.clip((hu - WINDOW_HU[0]) / (WINDOW_HU[1] - WINDOW_HU[0]), 0, 1) * 255
    return np.repeat(grey.astype(np.uint8)[..., None], 3, axis=2)


def _size(volume: CTVolume, crop: Crop, side_px: int = _SIDE_PX) -> tuple[int, int]:
    """(width, height) in picture pixels with the true aspect."""
    width = (crop.columns[1] - crop.columns[0]) * volume.spacing_mm[0]
    height = (crop.rows[1] - crop.rows[0]) * volume.spacing_mm[1]
    scale = side_px / max(width, height)
    return max(1, round(width * scale)), max(1, round(height * scale))


def _enlarged(array: Array, size: tuple[int, int], smooth: bool = True) -> Array:
    from PIL import Image

    how = Image.Resampling.BICUBIC if smooth else Image.Resampling.NEAREST
    return np.asarray(Image.fromarray(array).resize(size, how))


def _outlined(picture: Array, mask: Array, size: tuple[int, int]) -> Array:
    from scipy import ndimage

    large = _enlarged(mask.astype(np.uint8) * 255, size, smooth=False) > 127
    edge = ndimage.binary_dilation(large, iterations=2) & ~large
    picture = picture.copy()
    picture[edge] = _OUTLINE
    return picture


def _letters(ijk_to_lps: Array) -> dict[str, str]:
    """Which side of the patient is at each edge of a slice."""
    names = (("R", "L"), ("A", "P"), ("I", "S"))

    def towards(axis: Array) -> tuple[str, str]:
        main = int(np.argmax(np.abs(axis)))
        low, high = names[main]
        return (low, high) if axis[main] > 0 else (high, low)

    left, right = towards(ijk_to_lps[:3, 0])
    top, bottom = towards(ijk_to_lps[:3, 1])
    return {"left": left, "right": right, "top": top, "bottom": bottom}


def _annotated(picture: Array, volume: CTVolume, width_mm: float) -> Array:
    """Orientation letters, and a scale bar of 10 or 50 mm."""
    from PIL import Image, ImageDraw, ImageFont

    image = Image.fromarray(picture)
    w, h = image.size
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(letter_px(w))
    at = _letters(volume.ijk_to_lps)
    for text, place, anchor in (
        (at["left"], (5, h // 2), "lm"), (at["right"], (w - 5, h // 2), "rm"),
        (at["top"], (w // 2, 4), "ma"), (at["bottom"], (w // 2, h - 4), "md"),
    ):  # fmt: skip
        draw.text(place, text, fill="white", font=font, anchor=anchor, stroke_width=2, stroke_fill="black")
    bar_mm = 10 if width_mm < 150 else 50
    draw_bar(draw, image.size, round(bar_mm / width_mm * w), f"{bar_mm} mm", "white", "black")
    return np.asarray(image)


def _width_mm(volume: CTVolume, crop: Crop) -> float:
    return (crop.columns[1] - crop.columns[0]) * volume.spacing_mm[0]


def key_image(volume: CTVolume, mask: Optional[LabelVolume], nodule: Nodule, crop: Crop) -> Array:
    """uint8 RGB: the nodule with its outline."""
    size = _size(volume, crop)
    picture = _enlarged(_grey(volume, crop), size)
    if mask is not None:
        own = mask.labels[crop.slice_index, slice(*crop.rows), slice(*crop.columns)] == nodule.label
        picture = _outlined(picture, own, size)
    return _annotated(picture, volume, _width_mm(volume, crop))


def _heat(values: Array) -> Array:
    """uint8 RGB of -1 (most against) to 1 (most for)."""
    ramps = np.array([[heat_colour(i / 255, against) for i in range(256)] for against in (False, True)], np.uint8)
    return ramps[(values < 0).astype(int), np.clip(np.abs(values) * 255, 0, 255).astype(np.uint8)]


def _blended(picture: Array, values: Array) -> Array:
    """A heatmap over a picture; ``values`` -1 to 1, of the picture's size; weak ones let the picture through."""
    strength = np.clip(np.abs(values) * 1.5, 0, 0.65)[..., None]
    return np.asarray(picture * (1 - strength) + _heat(values) * strength, dtype=np.uint8)


def overlay(volume: CTVolume, whole_map: Array, top: float, crop: Crop) -> Array:
    """uint8 RGB: the crop with the heatmap; ``whole_map`` is on the CT's grid, ``top`` its size at full colour."""
    size = _size(volume, crop)
    part = whole_map[crop.slice_index, slice(*crop.rows), slice(*crop.columns)]
    values = np.clip(_enlarged(np.ascontiguousarray(part, np.float32), size) / max(top, 1e-12), -1, 1)
    picture = _blended(_enlarged(_grey(volume, crop), size), values)
    return _annotated(picture, volume, _width_mm(volume, crop))


def crop_of_map(whole_map: Array, crop: Crop, volume: CTVolume, nodule: Nodule) -> Crop:
    """The crop on the slice to draw a map on: the nodule's own, unless the map has hardly anything there.

    A map of what one axial slice says lies on that slice alone: then the one of the nodule where it is strongest.
    """
    half = max(1, round(0.5 * nodule.long_axis_mm / volume.spacing_mm[2]))
    first = max(0, crop.slice_index - half)
    around = whole_map[first : crop.slice_index + half + 1, slice(*crop.rows), slice(*crop.columns)]
    most = np.abs(around).max(axis=(1, 2))
    if most[crop.slice_index - first] >= 0.1 * most.max():
        return crop
    return replace(crop, slice_index=first + int(most.argmax()))


def strongest(whole_map: Array, crop: Crop) -> float:
    """The size of the strongest value, of either sign, that overlay() draws."""
    return float(np.abs(whole_map[crop.slice_index, slice(*crop.rows), slice(*crop.columns)]).max())


def whole_slice(volume: CTVolume, crop: Optional[Crop], slice_index: int) -> Array:
    """uint8 RGB: an axial slice, with a frame where the crop lies."""
    from PIL import Image, ImageDraw

    whole = Crop(slice_index, (0, volume.voxels.shape[1]), (0, volume.voxels.shape[2]))
    size = _size(volume, whole)
    image = Image.fromarray(_enlarged(_grey(volume, whole), size))
    if crop is not None:
        x, y = size[0] / volume.voxels.shape[2], size[1] / volume.voxels.shape[1]
        box = (crop.columns[0] * x, crop.rows[0] * y, crop.columns[1] * x, crop.rows[1] * y)
        ImageDraw.Draw(image).rectangle(box, outline=_OUTLINE, width=2)
    return _annotated(np.asarray(image), volume, _width_mm(volume, whole))


def slide_images(result: PathologyResult, picture: Array, to_level0: Array) -> dict[str, Array]:
    """ "slide" and "classes": uint8 RGB of one size.

    Parameters
    ----------
    picture : uint8 (rows, columns, 3); to_level0 : (3, 3) from its (column, row, 1) to level-0 pixels
    """
    return {"slide": picture, "classes": _class_map(result, picture, to_level0)}


def slide_overlay(picture: Array, to_level0: Array, heatmap: Heatmap) -> Array:
    """uint8 RGB: the slide with a heatmap over it; picture and to_level0 as in slide_images()."""
    rows, columns = np.mgrid[0 : picture.shape[0], 0 : picture.shape[1]]
    step = np.linalg.solve(heatmap.index_to_world, to_level0)
    i = np.rint(step[0, 0] * columns + step[0, 1] * rows + step[0, 2]).astype(int)
    j = np.rint(step[1, 0] * columns + step[1, 1] * rows + step[1, 2]).astype(int)
    high, wide = heatmap.values.shape
    inside = (i >= 0) & (j >= 0) & (i < wide) & (j < high)
    values = np.where(inside, heatmap.values[np.clip(j, 0, high - 1), np.clip(i, 0, wide - 1)], 0.0)
    return _blended(picture, np.clip(values / max(top_of(heatmap), 1e-12), -1, 1))


def grid_of_tile(origin_px: Array, tile_px: tuple[float, float], shape: tuple[int, int]) -> Array:
    """float64 (3, 3), from (column, row, 1) of a tile's pixels, (height, width) of them, to level-0 pixels."""
    step = np.array([tile_px[0] / shape[1], tile_px[1] / shape[0]])
    first = np.asarray(origin_px) + step / 2
    return np.array([[step[0], 0, first[0]], [0, step[1], first[1]], [0, 0, 1]], dtype=float)


def top_of(heatmap: Heatmap) -> float:
    """The size of the strongest value of either sign: both are drawn on one scale."""
    return float(np.abs(heatmap.values).max())


def _class_map(result: PathologyResult, picture: Array, to_level0: Array) -> Array:
    """Each tile in the colour of its likeliest class, fainter where the model is less sure."""
    from PIL import Image, ImageDraw

    faint = (picture.astype(np.float32) * 0.3 + 255 * 0.7).astype(np.uint8)
    image = Image.fromarray(faint)
    draw: Any = ImageDraw.Draw(image, "RGBA")
    back = np.linalg.inv(to_level0)
    for (x, y), row in zip(result.origin_px.tolist(), result.tile_probabilities):
        if np.isnan(row).all():
            continue
        best = int(np.nanargmax(row))
        corners = back @ np.array([[x, x + result.tile_px[0]], [y, y + result.tile_px[1]], [1, 1]])
        left, top = corners[0, 0] + 0.5, corners[1, 0] + 0.5
        box = (left, top, max(left, corners[0, 1] - 0.5), max(top, corners[1, 1] - 0.5))
        draw.rectangle(box, fill=(*CLASS_COLOURS[CLASSES[best]], int(40 + 190 * float(row[best]))))
    return np.asarray(image)

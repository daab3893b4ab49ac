"""Anatomy of the synthetic CT: everything but the vessels of the lung and the nodules.

body()              air, skin, fat, muscle, ribs, shoulder blades, breastbone, spine, heart, great vessels, diaphragm
central_airways()   windpipe and main bronchi
blend()             paints one tissue with a soft edge

Shapes are signed distances in mm, positive inside; x grows to the patient's left, y to the back, z to the head.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .contract.values import Array
from .phantom_vessels import drawn

AIR, FAT, MUSCLE, BLOOD, LUNG, LIVER, MARROW, CORTEX = -1000, -105, 50, 42, -865, 60, 180, 620
EDGE_MM = 1.6  # an edge is spread over about this much, as by a standard reconstruction kernel


def blend(hu: Array, value: Any, inside_mm: Array, edge_mm: float = EDGE_MM) -> None:
    """Paint ``value`` where ``inside_mm`` > 0, with an edge of a given width."""
    cover = np.clip(inside_mm / edge_mm + 0.5, 0, 1)
    hu += cover * (value - hu)


def _ellipse(x: Array, y: Array, z: Array, centre: Sequence[float], radii: Sequence[float]) -> Array:
    """About the distance inside an ellipsoid, mm; exact enough near its face."""
    q = ((x - centre[0]) / radii[0]) ** 2 + ((y - centre[1]) / radii[1]) ** 2
    if len(radii) == 3:
        q = q + ((z - centre[2]) / radii[2]) ** 2
    return (1 - np.sqrt(q)) * min(radii)


def body(x: Array, y: Array, z: Array, rng: np.random.Generator) -> tuple[Array, Array]:
    """HU of everything but the inside of the lungs, and the distance inside the lungs, mm."""
    hu = np.full((z.size, y.size, x.size), AIR, np.float32)
    plane = (np.abs(x) / 140) ** 2.4 + (np.abs(y - 4) / 101) ** 2.4
    skin = (1 - plane ** (1 / 2.4)) * 110
    wobble = 2.0 * np.sin(3 * np.arctan2(y, x) + rng.uniform(0, 6))
    for value, depth in ((FAT, 0.0), (MUSCLE, 13.0)):
        blend(hu, np.float32(value), skin - depth + (wobble if depth else 0))
    # The cavity narrows towards the apex; everything in the wall is measured from its face.
    taper = np.clip(1 - 0.62 * np.clip((z - 95) / 135, 0, 1) ** 2.6, 0.2, 1)
    rho = np.sqrt((x / (112 * taper)) ** 2 + ((y - 2) / (78 * (0.35 + 0.65 * taper))) ** 2)
    wall = (rho - 1) * (88 * taper)  # mm outside the cavity
    _ribs(hu, x, y, z, wall)
    for side in (-1, 1):  # shoulder blades
        along, across = 0.8 * side * (x - side * 92) - 0.6 * (y - 68), 0.8 * (y - 68) + 0.6 * side * (x - side * 92)
        length = 34 * np.sqrt(np.clip(1 - ((z - 178) / 75) ** 2, 0.001, 1))
        blade = (1 - np.sqrt((along / length) ** 2 + ((across - along**2 / 160) / 4.4) ** 2)) * 4.4
        _bone(hu, np.minimum(blade, 66 - np.abs(z - 178)))
    _bone(hu, np.minimum(_ellipse(x, y, z, (0, -82), (19, 7)), 85 - np.abs(z - 100)))  # breastbone
    cavity = -wall
    # The lungs nearly meet behind the breastbone and come close to the spine.
    waist = 9 + 22 * np.exp(-(((y - 10) / 34) ** 2)) + 2 * np.sin(z / 17) + 2.5 * np.sin(y / 13 + z / 29)
    middle = _mediastinum(x, y, z)
    fat = np.minimum(cavity, np.maximum(waist - np.abs(x - 1), middle + 2.5))
    domes = np.maximum(_ellipse(x, y, z, (-58, 6, -22), (86, 84, 70)), _ellipse(x, y, z, (64, 8, -36), (74, 80, 68)))
    blend(hu, np.float32(FAT + 30), np.minimum(fat, cavity))
    lung = np.minimum(cavity, -np.maximum(np.maximum(fat, middle), domes))
    blend(hu, np.float32(LIVER), np.minimum(domes, cavity + 1))
    blend(hu, np.float32(BLOOD), np.minimum(middle, cavity + 4))
    lung = np.minimum(lung, -_spine(hu, x, y, z))
    return hu, lung.astype(np.float32)


def _mediastinum(x: Array, y: Array, z: Array) -> Array:
    """Distance inside heart and great vessels, mm."""
    lean = 0.25 * (z - 60)
    heart = _ellipse(x + lean, y - 0.3 * lean, z, (24, -18, 58), (56, 46, 52))
    parts = []
    top = np.where((z > 0) & (z < 152), np.float32(0), np.float32(-99))
    parts.append(_ellipse(x, y, z, (24, 44), (12.5, 12.5)) + top)  # descending aorta
    rising = np.where((z > 70) & (z < 150), np.float32(0), np.float32(-99))
    parts.append(_ellipse(x, y, z, (-12, -18), (15, 15)) + rising)
    # The arch: half a ring from the ascending to the descending aorta.
    along = np.sqrt((x - 6) ** 2 * 0.9 + (y - 13) ** 2)
    arch = 12.5 - np.sqrt(np.clip(along - 33, -30, 60) ** 2 + (z - 152) ** 2)
    parts.append(np.where((x - 6) * 0.87 + (y - 13) * -0.5 > -4, arch, np.float32(-99)))
    cava = np.where(z > 75, np.float32(0), np.float32(-99))
    parts.append(_ellipse(x, y, z, (-27, -8), (9.5, 9)) + cava)
    upper = np.where(z > 150, np.float32(0), np.float32(-99))
    for centre in ((-14, -12), (8, -14), (20, 6)):  # branches of the arch
        parts.append(_ellipse(x, y, z, centre, (6, 6)) + upper)
    parts.append(_ellipse(x, y, z, (9, 31), (8, 6)))  # gullet
    trunk = _ellipse(x, y, z, (16, -12, 112), (16, 26, 14))
    hila = [_ellipse(x, y, z, (side * 36, 14, 104), (15, 14, 18)) for side in (-1, 1)]
    whole = heart.copy()
    for part in (*parts, trunk, *hila):
        np.maximum(whole, part, out=whole)
    return whole


def _ribs(hu: Array, x: Array, y: Array, z: Array, wall: Array) -> None:
    angle = np.arctan2(np.abs(x), y - 2)  # 0 at the back, pi at the front
    drop = 38 * np.sin(np.clip(angle, 0, np.pi) / 2) ** 2 * 1.4
    pitch = 24.0
    dz = np.mod(z + drop + 6, pitch) - pitch / 2
    depth = wall - 6.5
    inside = (1 - np.sqrt((depth / 4.2) ** 2 + (dz / 6.2) ** 2)) * 4.2
    inside = np.where(np.abs(x) > 22, inside, -9)
    cartilage = np.clip((angle - 2.35) / 0.2, 0, 1)
    shell = np.clip(1 - inside / 2.2, 0, 1)
    blend(hu, (1 - cartilage) * (MARROW + (CORTEX - MARROW) * shell) + cartilage * 110, inside)


def _bone(hu: Array, inside: Array) -> None:
    blend(hu, MARROW + (CORTEX - MARROW) * np.clip(1 - inside / 2.4, 0, 1), inside)


def _spine(hu: Array, x: Array, y: Array, z: Array) -> Array:
    """Paint the spine; returns the distance inside it and its soft tissue, mm."""
    level = np.abs(np.mod(z + 4, 26.0) - 13)  # 0 in the middle of a vertebra, 13 in the middle of a disc
    body = _ellipse(x, y, z, (0, 57), (18, 14.5))
    soft = np.maximum(_ellipse(x, y, z, (0, 60), (24, 19)), _ellipse(x, y, z, (0, 88), (42, 18)))
    blend(hu, np.float32(MUSCLE), soft)
    _bone(hu, np.minimum(body, (10.5 - level)))
    blend(hu, np.float32(85), np.minimum(body - 1, level - 10.5))
    ring = 4.0 - np.abs(_ellipse(x, y, z, (0, 79), (13, 11)))
    _bone(hu, np.minimum(ring, 9 - level + 0 * x))
    spike = np.minimum(3.2 - np.abs(x), 8 - np.abs(y - 89))
    _bone(hu, np.minimum(spike, 8 - level))
    across = np.minimum(4 - np.abs(y - 78 - 0.25 * np.abs(x)), 32 - np.abs(x))
    _bone(hu, np.minimum(np.minimum(across, np.abs(x) - 10), 6 - level))
    blend(hu, np.float32(25), _ellipse(x, y, z, (0, 79), (9, 8)) + 0 * z)
    return soft


def central_airways(hu: Array, affine: Array) -> None:
    """Paint windpipe and main bronchi."""
    carina = np.array((0.0, 18.0, 128.0))
    wall, lumen = np.zeros(hu.shape, np.float32), np.zeros(hu.shape, np.float32)
    for end, radius in (((0.0, 14.0, 240.0), 8.8), ((-44.0, 16.0, 104.0), 6.8), ((48.0, 18.0, 98.0), 6.0)):
        drawn(wall, carina, np.array(end), (radius + 1.6,) * 2, affine)
        drawn(lumen, carina, np.array(end), (radius, radius * (1 if end[0] == 0 else 0.75)), affine)
    for cover, value in ((wall, 35.0), (lumen, -985.0)):
        hu += cover * (value - hu)

"""A synthetic chest CT with nodules of known size and place, for the demonstration and for tests.

thorax()              body, ribs, spine, heart, great vessels, diaphragm, airways, lung vessels, nodules, noise
write_dicom()         one CT Image Storage file per slice, labelled synthetic
synthetic_clinical()  the clinical fields that go with it

It is drawn, not scanned: it shows that the chain runs and that what was planted is found. It says nothing about how
the models do on patients. The shapes are rough anatomy in LPS mm; x grows to the patient's left, y to the back, z to
the head. Everything follows from the seed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .contract.errors import BadGeometry
from .contract.results import LabelVolume
from .contract.values import Array, ClinicalFields, CTVolume
from .geometry import grid_affine, index_to_lps
from .phantom_body import BLOOD, EDGE_MM, LUNG, blend, body, central_airways
from .phantom_dicom import new_uid, write_dicom
from .phantom_vessels import Branch, drawn, grown

__all__ = ["Phantom", "PlantedNodule", "Wanted", "synthetic_clinical", "thorax", "write_dicom"]

SPACING_MM = (1.2, 1.2, 2.5)
SHAPE = (90, 256, 256)
ORIGIN = (-153.0, -153.0, 0.0)
_NOISE_HU = 20.0


@dataclass(frozen=True)
class Wanted:
    """One nodule to plant.

    Parameters
    ----------
    diameter_mm : of the sphere of the same volume
    hu : inside, without noise
    kind : "solid" or "ground-glass"
    side : "left" or "right"
    near_pleura : a few mm from the chest wall, else well inside the lung
    """

    diameter_mm: float
    hu: float
    kind: str = "solid"
    side: str = "right"
    near_pleura: bool = False


@dataclass(frozen=True)
class PlantedNodule:
    """One nodule as it was planted; ``label`` is its value in the truth."""

    label: int
    centre_lps_mm: tuple[float, float, float]
    diameter_mm: float
    hu: float
    kind: str


@dataclass(frozen=True, eq=False)
class Phantom:
    """A synthetic CT, its true labels on the same grid, and its nodules."""

    volume: CTVolume
    truth: LabelVolume
    nodules: tuple[PlantedNodule, ...]


TWO_NODULES = (Wanted(18.0, 42.0, side="right"), Wanted(11.0, 32.0, side="left", near_pleura=True))


def thorax(seed: int = 0, wanted: Sequence[Wanted] = TWO_NODULES, noise_hu: float = _NOISE_HU) -> Phantom:
    """A chest CT of 90 slices of 256 x 256 pixels, 1.2 x 1.2 x 2.5 mm.

    Parameters
    ----------
    seed : same seed, same phantom
    wanted : nodules to plant, at most 255
    noise_hu : standard deviation of the noise

    Raises
    ------
    BadGeometry : the lung has no room for a nodule.
    """
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng(seed)
    affine = grid_affine(ORIGIN, SPACING_MM)
    x, y, z = (axis.astype(np.float32) for axis in _axes(affine, SHAPE))
    hu, lung_mm = body(x, y, z, rng)
    lungs = {side: np.where(np.sign(x) == sign, lung_mm, -99) for side, sign in (("left", 1), ("right", -1))}
    texture = gaussian_filter(rng.standard_normal([n // 2 for n in SHAPE], dtype=np.float32), 1.5)
    texture = np.repeat(np.repeat(np.repeat(texture, 2, 0), 2, 1), 2, 2) * (14 / texture.std())
    parenchyma = LUNG + texture + 0.35 * y  # blood sinks: the back is denser
    blend(hu, parenchyma, lung_mm)
    del texture, parenchyma
    branches = _trees(lungs, affine, rng)
    _draw_vessels(hu, branches, lung_mm, affine)
    central_airways(hu, affine)
    labels = np.zeros(SHAPE, np.uint8)
    nodules: list[PlantedNodule] = []
    for label, one in enumerate(wanted, 1):
        centre = _room(one, lungs[one.side], branches, nodules, affine, rng)
        nodules.append(PlantedNodule(label, centre, one.diameter_mm, one.hu, one.kind))
        _plant(hu, labels, nodules[-1], affine, rng)
    hu = gaussian_filter(hu, (0.35, 0.5, 0.5))  # the scanner's point spread
    grain = gaussian_filter(rng.standard_normal(SHAPE, dtype=np.float32), (0.3, 0.6, 0.6))
    hu += grain * (noise_hu / grain.std())
    uid = new_uid("phantom", seed, tuple(wanted), noise_hu)
    volume = CTVolume(np.clip(np.rint(hu), -1024, 3071).astype(np.int16), affine, uid)
    return Phantom(volume, LabelVolume(labels, affine, uid), tuple(nodules))


def synthetic_clinical() -> ClinicalFields:
    """Clinical fields of nobody."""
    return ClinicalFields(age_years=67.0, sex="male", smoking="former", pack_years=38.0)


def _axes(affine: Array, shape: Sequence[int]) -> tuple[Array, Array, Array]:
    """x, y, z of the voxel centres, shaped to broadcast to (slices, rows, columns)."""
    spacing, origin = np.diag(affine)[:3], affine[:3, 3]
    x, y, z = (origin[a] + spacing[a] * np.arange(shape[2 - a]) for a in range(3))
    return x[None, None, :], y[None, :, None], z[:, None, None]


def _trees(lungs: dict[str, Array], affine: Array, rng: np.random.Generator) -> list[Branch]:
    branches: list[Branch] = []
    for side, sign in (("right", -1), ("left", 1)):
        free = np.argwhere(lungs[side][::2, ::4, ::4] > 4.0)[:, ::-1] * (4, 4, 2)
        for root, count, airways in (((sign * 40, 12, 108), 500, True), ((sign * 36, 4, 84), 380, False)):
            picked = free[rng.choice(len(free), count, replace=False)]
            targets = index_to_lps(affine, picked + rng.uniform(-1.5, 1.5, picked.shape))
            branches += grown(np.array(root, np.float64), targets, rng, airways)
    return branches


def _draw_vessels(hu: Array, branches: Sequence[Branch], lung_mm: Array, affine: Array) -> None:
    wall, lumen, vessel = (np.zeros(SHAPE, np.float32) for _ in range(3))
    for branch in branches:
        drawn(vessel, branch.start, branch.end, branch.radius_mm, affine)
        if branch.airway_mm:
            shift = np.cross(branch.end - branch.start, (0.3, 0.2, 1.0))
            shift *= (branch.radius_mm[1] + branch.airway_mm + 0.4) / max(float(np.linalg.norm(shift)), 1e-6)
            ends = branch.start + shift, branch.end + shift
            drawn(wall, *ends, (branch.airway_mm * 1.25 + 0.5,) * 2, affine)
            drawn(lumen, *ends, (branch.airway_mm,) * 2, affine)
    inside = np.clip(lung_mm / EDGE_MM + 0.5, 0, 1)
    for cover, value in ((wall, 0.0), (lumen, -960.0), (vessel, float(BLOOD))):
        hu += cover * inside * (value - hu)


def _room(
    one: Wanted,
    lung_mm: Array,
    branches: Sequence[Branch],
    planted: Sequence[PlantedNodule],
    affine: Array,
    rng: np.random.Generator,
) -> tuple[float, float, float]:
    """A place in the lung that suits the nodule, away from thick vessels and from other nodules."""
    radius = one.diameter_mm / 2
    from scipy.ndimage import distance_transform_edt

    coarse = np.array(SPACING_MM[::-1]) * 2
    depth = distance_transform_edt(lung_mm[::2, ::2, ::2] > 0, sampling=coarse)
    low, high = (radius + 3.5, radius + 6) if one.near_pleura else (radius + 9, radius + 40)
    fits = np.argwhere((depth > low) & (depth < high))
    points = index_to_lps(affine, fits[:, ::-1] * 2)
    lateral = np.abs(points[:, 0]) > (75 if one.near_pleura else 40)  # the wall, not the mediastinum
    middle = (points[:, 2] > 70) & (points[:, 2] < 170)
    points = points[lateral & middle]
    for other in planted:
        points = points[np.linalg.norm(points - other.centre_lps_mm, axis=1) > radius + other.diameter_mm / 2 + 15]
    if not len(points):
        raise BadGeometry("The phantom's lung has no room for this nodule.", "Plant a smaller one.")
    points = points[rng.choice(len(points), min(200, len(points)), replace=False)]
    ends = np.array([b.end for b in branches])
    thick = np.array([b.radius_mm[1] for b in branches])
    gap = np.linalg.norm(points[:, None] - ends[None], axis=2) - thick[None] - radius
    gap[:, thick < 1.0] += 4
    x, y, z = points[int(np.argmax(gap.min(axis=1)))]
    return float(x), float(y), float(z)


def _plant(hu: Array, labels: Array, nodule: PlantedNodule, affine: Array, rng: np.random.Generator) -> None:
    radius = nodule.diameter_mm / 2
    box = _box(nodule.centre_lps_mm, 1.5 * radius + 5, affine)
    x, y, z = (a.astype(np.float64) for a in _axes(affine, SHAPE))
    offset = np.stack(
        np.broadcast_arrays(
            x[:, :, box[2]] - nodule.centre_lps_mm[0],
            y[:, box[1]] - nodule.centre_lps_mm[1],
            z[box[0]] - nodule.centre_lps_mm[2],
        ),
        -1,
    )
    distance = np.linalg.norm(offset, axis=-1)
    unit = offset / np.maximum(distance, 1e-6)[..., None]
    waves = rng.normal(size=(6, 3)) * 1.7
    lobes = sum(np.cos(unit @ w + phase) for w, phase in zip(waves, rng.uniform(0, 6, 6)))
    shape = 1 + 0.09 * np.asarray(lobes) / 2
    inside = radius * shape - distance
    # The lobes must not change the volume: one correction of the radius brings it back.
    voxel = float(np.prod(SPACING_MM))
    for _ in range(4):
        volume = np.clip(inside / EDGE_MM + 0.5, 0, 1).sum() * voxel
        inside += radius * (1 - (volume / (np.pi / 6 * nodule.diameter_mm**3)) ** (1 / 3))
    grain = rng.normal(0, 6 if nodule.kind == "solid" else 35, inside.shape)
    part = hu[box]
    if nodule.kind == "solid" and nodule.diameter_mm > 14:  # short strands into the lung around; not in the truth
        strands = np.zeros(SHAPE, np.float32)
        for way in rng.normal(size=(9, 3)):
            way *= radius / np.linalg.norm(way)
            tip = np.array(nodule.centre_lps_mm) + way * rng.uniform(1.3, 1.7)
            drawn(strands, np.array(nodule.centre_lps_mm) + 0.8 * way, tip, (0.9, 0.25), affine)
        part += strands[box] * np.clip(-20 - part, 0, None)
    cover = np.clip(inside / EDGE_MM + 0.5, 0, 1) * (1.0 if nodule.kind == "solid" else 0.9)
    # A nodule takes the place of air; a vessel that runs through it stays.
    part += cover * (np.maximum(nodule.hu + grain, np.where(part > 0, part, -2000)) - part)
    labels[box][inside > 0] = nodule.label


def _box(centre: Sequence[float], reach: float, affine: Array) -> tuple[slice, slice, slice]:
    index = (np.asarray(centre) - affine[:3, 3]) / np.diag(affine)[:3]
    steps = reach / np.diag(affine)[:3]
    low = np.maximum(0, np.floor(index - steps)).astype(int)
    high = np.minimum(SHAPE[::-1], np.ceil(index + steps) + 1).astype(int)
    return slice(low[2], high[2]), slice(low[1], high[1]), slice(low[0], high[0])

"""Changes to H&E tiles that leave their class as it is; for training, and for testing a model under shift.

augmented()          one random change of everything: place, scale, stain, light, focus, JPEG
shifted()            a fixed set of changes that other scanners and laboratories bring, one per tile, always the same
restained()          stains made stronger or weaker, in one space for all tiles ("hed")
restained_macenko()  the same in the space of each tile's own two stains ("macenko")

Stain is changed as in Tellez et al. 2018, doi 10.1109/TMI.2018.2820199. "hed" is the space of haematoxylin, eosin and
residual of Ruifrok and Johnston 2001 (the matrix below); "macenko" is that of each tile's stains as Macenko et al. 2009
find them, so that a tile of other dyes or another scanner is changed along its own colours.
"""

from __future__ import annotations

import io

import numpy as np
import torch
import torch.nn.functional as functional
from PIL import Image
from torch import Tensor

from .contract.values import Array
from .stain import macenko

_RGB_OF_HED = torch.tensor([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11], [0.27, 0.57, 0.78]])
_HED_OF_RGB = torch.linalg.inv(_RGB_OF_HED)
_MIN_SCALE, _MAX_SCALE = 0.65, 1.8
STAIN_SPACES = ("hed", "macenko", "both")


def _uniform(rng: np.random.Generator, low: float, high: float, *shape: int) -> Tensor:
    return torch.from_numpy(rng.uniform(low, high, shape).astype(np.float32))


def moved(tiles: Tensor, rng: np.random.Generator) -> Tensor:
    """Turned, mirrored, scaled and shifted; what comes in from outside is mirrored tissue. float (n, 3, h, w)."""
    n = len(tiles)
    angle = _uniform(rng, 0, 2 * np.pi, n)
    angle = torch.where(_uniform(rng, 0, 1, n) < 0.6, torch.round(angle / (np.pi / 2)) * (np.pi / 2), angle)
    step = torch.exp(_uniform(rng, np.log(1 / _MAX_SCALE), np.log(1 / _MIN_SCALE), n))
    mirror = torch.where(_uniform(rng, 0, 1, n) < 0.5, -1.0, 1.0)
    cos, sin = torch.cos(angle) * step, torch.sin(angle) * step
    rows = [torch.stack([cos * mirror, -sin], 1), torch.stack([sin * mirror, cos], 1)]
    shift = _uniform(rng, -0.25, 0.25, n, 2)
    theta = torch.cat([torch.stack(rows, 1), shift[:, :, None]], dim=2)
    grid = functional.affine_grid(theta, list(tiles.shape), align_corners=False)
    return functional.grid_sample(tiles, grid, padding_mode="reflection", align_corners=False)


def restained(tiles: Tensor, gain: Tensor, offset: Tensor) -> Tensor:
    """Each stain made stronger or weaker; tiles 0 to 255 (n, 3, h, w), gain and offset (n, 3) per stain."""
    # density_rgb = M^T diag(gain) M^-T density + M^T offset: one 3 x 3 matrix a tile
    matrix = torch.einsum("sc,ns,ks->nck", _RGB_OF_HED, gain, _HED_OF_RGB)
    return _mixed(tiles, matrix, offset @ _RGB_OF_HED)


def restained_macenko(tiles: Tensor, gain: Tensor, offset: Tensor) -> Tensor:
    """Each of a tile's own two stains made stronger or weaker; what is neither stays as it is.

    Parameters
    ----------
    tiles : float (n, 3, h, w), 0 to 255
    gain, offset : float (n, 3), per haematoxylin, eosin, residual; the residual's are used only where a tile's stains
        cannot be told, which is then changed by restained()

    Returns
    -------
    float (n, 3, h, w), 0 to 255
    """
    matrix, added = torch.eye(3).repeat(len(tiles), 1, 1), torch.zeros(len(tiles), 3)
    unknown = torch.zeros(len(tiles), dtype=torch.bool)
    seen = tiles.detach().clamp(0, 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
    for index, tile in enumerate(seen):
        found = macenko(tile[None])
        if found is None:
            unknown[index] = True
            continue
        # density + M^T ((gain - 1) * concentration + offset), the concentration being pinv(M^T) density
        stains = torch.from_numpy(found.matrix.copy()).float()
        matrix[index] += stains.T @ torch.diag(gain[index, :2] - 1) @ torch.linalg.pinv(stains.T)
        added[index] = offset[index, :2] @ stains
    changed = _mixed(tiles, matrix, added)
    if unknown.any():
        changed[unknown] = restained(tiles[unknown], gain[unknown], offset[unknown])
    return changed


def _mixed(tiles: Tensor, matrix: Tensor, added: Tensor) -> Tensor:
    """Densities of each tile through its matrix (n, 3, 3), and more density (n, 3) on top."""
    density = -torch.log((tiles.clamp(0, 255) + 1.0) / 256.0)
    density = torch.einsum("nck,nkhw->nchw", matrix, density) + added[:, :, None, None]
    return torch.exp(-density).mul(256.0).sub(1.0).clamp(0, 255)


def relit(tiles: Tensor, light: Tensor, contrast: Tensor, colour: Tensor) -> Tensor:
    """Brightness (n,), contrast about the tile's mean (n,), and a gain per channel (n, 3)."""
    mean = tiles.mean(dim=(1, 2, 3), keepdim=True)
    changed = (tiles - mean) * contrast[:, None, None, None] + mean * light[:, None, None, None]
    return (changed * colour[:, :, None, None]).clamp(0, 255)


def blurred(tiles: Tensor) -> Tensor:
    """As from a scanner of half the resolution."""
    half = functional.avg_pool2d(tiles, 2)
    return functional.interpolate(half, scale_factor=2, mode="bilinear", align_corners=False)


def jpeg(tile: Array, quality: int) -> Array:
    """uint8 (h, w, 3) after JPEG of that quality."""
    buffer = io.BytesIO()
    Image.fromarray(tile).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer).convert("RGB"))


def _compressed(tiles: Tensor, chosen: Array, qualities: Array) -> Tensor:
    for index in np.flatnonzero(chosen):
        picture = tiles[index].permute(1, 2, 0).round().to(torch.uint8).numpy()
        tiles[index] = torch.from_numpy(jpeg(picture, int(qualities[index])).copy()).permute(2, 0, 1).float()
    return tiles


def augmented(tiles: Tensor, rng: np.random.Generator, stain: str = "hed") -> Tensor:
    """``tiles`` float (n, 3, h, w) of 0 to 255, changed at random; ``stain`` is one of STAIN_SPACES.

    "both" takes one or the other, drawn for the batch.
    """
    n = len(tiles)
    tiles = moved(tiles, rng)
    if stain == "both":
        stain = "macenko" if rng.random() < 0.5 else "hed"
    change = {"hed": restained, "macenko": restained_macenko}[stain]
    tiles = change(tiles, _uniform(rng, 0.6, 1.5, n, 3), _uniform(rng, -0.06, 0.06, n, 3))
    tiles = relit(
        tiles, _uniform(rng, 0.82, 1.15, n), _uniform(rng, 0.75, 1.25, n), _uniform(rng, 0.92, 1.08, n, 3)
    )  # fmt: skip
    soft = torch.from_numpy(rng.random(n) < 0.15)
    if soft.any():
        tiles[soft] = blurred(tiles[soft])
    return _compressed(tiles, rng.random(n) < 0.35, rng.integers(35, 96, n))


def shifted(tiles: Tensor) -> Tensor:
    """``tiles`` as other laboratories would have made them; tile i always gets the same change.

    Eight in turn: strong haematoxylin, weak eosin, pale, dark, yellowish, bluish, out of focus, JPEG of quality 40.
    """
    n = len(tiles)
    kind = np.arange(n) % 8
    gain, offset = torch.ones(n, 3), torch.zeros(n, 3)
    light, colour = torch.ones(n), torch.ones(n, 3)
    gain[kind == 0, 0] = 1.5
    gain[kind == 1, 1] = 0.6
    gain[kind == 2] = 0.65
    light[kind == 3] = 0.8
    colour[kind == 4] = torch.tensor([1.0, 0.98, 0.88])
    colour[kind == 5] = torch.tensor([0.9, 0.95, 1.05])
    tiles = relit(restained(tiles, gain, offset), light, torch.ones(n), colour)
    soft = torch.from_numpy(kind == 6)
    if soft.any():
        tiles[soft] = blurred(tiles[soft])
    return _compressed(tiles, kind == 7, np.full(n, 40))

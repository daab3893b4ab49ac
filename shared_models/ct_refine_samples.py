"""Samples of the 3D network: LIDC's cubes, and what the 2D network answers there to several prompts.

Answered         cubes with prompts and the 2D network's logits
answered()       makes them, or reads them from a file that the same 2D weights made
prompts_of()     prompts of one cube: its centre, about the nodule's middle, inside it, a box
Draw             how a batch of fields is cut out of the cubes: few numbers, no image
drawn()          a random Draw: shifted, turned by quarter turns, mirrored, scaled, of other density, noisy
centred()        the Draw of the run time
cut()            the fields of a Draw, on any device
"""

from __future__ import annotations

import contextlib
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from . import ct_data
from .contract.values import Array
from .ct_neighbourhood import Prompt
from .ct_refine import MOST_LOGIT, SIDE, aligned, inputs, logit_of, prompt_map, sampled
from .ct_search import PROMPT_TURNS
from .ct_segmentation import prompted_probability
from .training_folder import written

KINDS = ("centre", "middle", "inside", "box")  # the last three in turn
_SPACING = (1.0, 1.0, 1.0)
_MIDDLE_MM, _SLACK = 1.5, 0.12
_SHIFT, _SCALE, _EXACT = 5.0, (0.85, 1.2), 0.4  # voxels; of the fields; share that keeps its size
_THREADS = 8  # that keep a GPU busy


@dataclass(frozen=True, eq=False)
class Answered:
    """Cubes of 1 mm with prompts and answers.

    Parameters
    ----------
    hu : int16 (n, s, s, s); mask : bool, same shape, one reader's
    low, high : float32 (n, p, 3), corners of the prompts, index in the cube; equal for a point
    logit : uint8 (n, p, s, s, s), the 2D network's, from -MOST_LOGIT to MOST_LOGIT
    patients, ids : str (n,)
    """

    hu: Array
    mask: Array
    low: Array
    high: Array
    logit: Array
    patients: Array
    ids: Array

    def of(self, which: Array) -> Answered:
        """Some of the cubes."""
        return Answered(*(getattr(self, name)[which] for name in self.__dataclass_fields__))


def coded(logit: Any) -> Array:
    """uint8 of logits within MOST_LOGIT, torch."""
    steps: Array = ((logit / MOST_LOGIT + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).numpy()
    return steps


def decoded(steps: Tensor) -> Tensor:
    """float32 logits of coded()."""
    return (steps.float() / 127.5 - 1) * MOST_LOGIT


def prompts_of(mask: Array, count: int, random: np.random.Generator) -> list[Prompt]:
    """``count`` prompts of a cube (bool); the first is a point at its centre."""
    centre = (np.array(mask.shape) - 1) / 2
    made = [Prompt(centre, centre)]
    places = np.argwhere(mask)
    low, high = places.min(0), places.max(0)
    for k in range(1, count):
        kind = KINDS[1 + (k - 1) % 3]
        if kind == "box":
            slack = np.maximum(1.0, _SLACK * (high - low))
            a, b = low + random.normal(0, slack), high + random.normal(0, slack)
            a, b = np.minimum(a, b), np.maximum(a, b)
        elif kind == "inside":
            a = b = places[random.integers(len(places))] + random.uniform(-0.5, 0.5, 3)
        else:
            a = b = (low + high) / 2 + random.normal(0, _MIDDLE_MM, 3)
        a, b = (np.clip(corner, 0, np.array(mask.shape) - 1) for corner in (a, b))
        made.append(Prompt(a, b))
    return made


def answered(
    data: ct_data.Nodules, network: Any, known_by: str, file: Path, count: int = 6, device: str = "cpu"
) -> Answered:
    """The cubes of ``data`` with ``count`` prompts each, read from ``file`` if the same was written there.

    Parameters
    ----------
    network : of ct_network, on ``device``
    known_by : of its weights, such as their sha256
    """
    made = [prompts_of(mask, count, np.random.default_rng([7, k])) for k, mask in enumerate(data.mask)]
    low, high = (np.array([[getattr(p, end) for p in of] for of in made], np.float32) for end in ("low", "high"))
    ids = np.array([row.get("name", str(k)) for k, row in enumerate(data.rows)], str)
    logit = _read(file, known_by, low, high)
    if logit is None:
        logit = np.stack(list(_asked(data.hu, made, network, device)))
        _write(file, known_by=np.array(known_by), low=low, high=high, logit=logit)
    return Answered(data.hu, data.mask, low, high, logit, data.patients, ids)


def _asked(hu: Array, prompts: list[list[Prompt]], network: Any, device: str) -> Iterator[Array]:
    """uint8 (p, s, s, s) of each cube."""

    def one(k: int) -> Array:
        steps = np.empty((len(prompts[k]), *hu[k].shape), np.uint8)
        for number, prompt in enumerate(prompts[k]):
            around, found = prompted_probability(network, hu[k], _SPACING, prompt, device, turns=PROMPT_TURNS)
            steps[number] = coded(torch.full(hu[k].shape, -MOST_LOGIT))
            steps[number][around.where] = coded(logit_of(found))
        return steps

    if device == "cpu":
        yield from map(one, range(len(hu)))
        return
    with ThreadPoolExecutor(_THREADS, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        yield from pool.map(one, range(len(hu)))


def _read(file: Path, known_by: str, low: Array, high: Array) -> Any:
    """The logits in ``file``, or None where it does not hold those of these weights and prompts."""
    with contextlib.suppress(OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        with np.load(file, allow_pickle=False) as held:
            same = np.array_equal(held["low"], low) and np.array_equal(held["high"], high)
            if same and str(held["known_by"]) == known_by:
                return held["logit"]
    return None


def _write(file: Path, **arrays: Array) -> None:
    import io

    content = io.BytesIO()
    np.savez_compressed(content, **arrays)  # type: ignore[arg-type]
    file.parent.mkdir(parents=True, exist_ok=True)
    written(file, content.getvalue())


@dataclass(frozen=True, eq=False)
class Draw:
    """Torch, on the CPU.

    Parameters
    ----------
    cube, prompt : int64 (n,), which of the pool
    centre : float32 (n, 3), of the field, index in the cube; step : float32 (n, 3), index per voxel of the field,
        negative where it is mirrored
    turned : bool (n,), rows and columns swapped
    gain, shift, grain : float32 (n,), of the HU; grain is the noise's standard deviation
    tilt : float32 (n,), added to the 2D network's logit
    seed : of the noise
    """

    cube: Tensor
    prompt: Tensor
    centre: Tensor
    step: Tensor
    turned: Tensor
    gain: Tensor
    shift: Tensor
    grain: Tensor
    tilt: Tensor
    seed: int


def centred(pool: Answered, cube: Array, prompt: Array) -> Draw:
    """Fields as they are at run time."""
    n = len(cube)
    middle = aligned((pool.low[cube, prompt] + pool.high[cube, prompt]) / 2)
    return Draw(
        torch.from_numpy(cube), torch.from_numpy(prompt), torch.from_numpy(middle).float(), torch.ones(n, 3),
        torch.zeros(n, dtype=torch.bool), torch.ones(n), torch.zeros(n), torch.zeros(n), torch.zeros(n), 0,
    )  # fmt: skip


def drawn(pool: Answered, cube: Array, random: np.random.Generator, tilt: float = 0.3) -> Draw:
    """Random fields of some cubes (int (n,)); ``tilt`` is the standard deviation of what the logit is moved by."""
    n = len(cube)
    draw = centred(pool, cube, random.integers(pool.low.shape[1], size=n))
    exact = random.random(n) < _EXACT
    shift = np.round(random.uniform(-_SHIFT, _SHIFT, (n, 3)))
    shift += np.where(exact, 0.0, 1.0)[:, None] * random.uniform(-0.5, 0.5, (n, 3))
    scale = np.where(exact, 1.0, np.exp(random.uniform(*np.log(_SCALE), n)))
    flip = np.where(random.random((n, 3)) < 0.5, -1.0, 1.0)
    grain = random.uniform(0, 35, n) * (random.random(n) < 0.6)
    parts = {
        "step": flip / scale[:, None], "gain": random.uniform(0.96, 1.04, n), "shift": random.uniform(-30, 30, n),
        "grain": grain, "tilt": random.normal(0, tilt, n),
    }  # fmt: skip
    return replace(
        draw, centre=draw.centre + torch.from_numpy(shift).float(), turned=torch.from_numpy(random.random(n) < 0.5),
        seed=int(random.integers(2**31)), **{name: torch.from_numpy(part).float() for name, part in parts.items()},
    )  # fmt: skip


@dataclass(frozen=True, eq=False)
class Fields:
    """float32 (n, 4, SIDE, SIDE, SIDE) what the network sees; (n, SIDE, SIDE, SIDE) the 2D network's logit, the
    truth in [0, 1], and 1 where it is known."""

    seen: Tensor
    logit: Tensor
    truth: Tensor
    known: Tensor


def cut(pool: dict[str, Tensor], draw: Draw) -> Fields:
    """The fields of a Draw.

    Parameters
    ----------
    pool : hu, mask, low, high, logit of an Answered, on the device where the fields are wanted
    """
    device = pool["hu"].device
    cube, prompt, centre, step = (p.to(device) for p in (draw.cube, draw.prompt, draw.centre, draw.step))
    across = torch.arange(SIDE, device=device) - (SIDE - 1) / 2
    along = [centre[:, axis, None] + step[:, axis, None] * across for axis in range(3)]
    hu = sampled(pool["hu"][cube].float(), along, edge=True)
    logit = sampled(decoded(pool["logit"][cube, prompt]) + MOST_LOGIT, along, edge=False) - MOST_LOGIT
    truth = sampled(pool["mask"][cube].float(), along, edge=False)
    last = pool["hu"].shape[1] - 1
    inside = [((a >= 0) & (a <= last)).float() for a in along]
    known = torch.einsum("ns,nr,nc->nsrc", *inside)
    asked = prompt_map(along, pool["low"][cube, prompt], pool["high"][cube, prompt], step.abs())
    generator = torch.Generator(device).manual_seed(draw.seed)
    noise = torch.randn(hu.shape, device=device, generator=generator)
    gain, shift, grain, tilt = (
        part.to(device).view(-1, 1, 1, 1) for part in (draw.gain, draw.shift, draw.grain, draw.tilt)
    )
    hu = hu * gain + shift + noise * grain
    logit = (logit + tilt).clamp(-MOST_LOGIT, MOST_LOGIT)
    turned = draw.turned.to(device).view(-1, 1, 1, 1)
    hu, asked, logit, truth, known = (
        torch.where(turned, part.transpose(2, 3), part) for part in (hu, asked, logit, truth, known)
    )
    return Fields(inputs(hu, asked, logit), logit, truth, known)

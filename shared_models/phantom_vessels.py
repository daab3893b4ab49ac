"""Vessel trees of the synthetic CT: grown towards random places in the lung, drawn as tapered tubes.

grown()   one tree as branches
drawn()   one branch into a cover array (0 outside, 1 inside), thin ones fainter as a scanner shows them
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .contract.values import Array

_LEAF_MM = 0.58
_STEP_MM = 7.0
_EDGE_MM = 1.4


@dataclass(frozen=True, eq=False)
class Branch:
    """A piece of vessel; ``airway_mm`` is the inner radius of the airway beside it, 0 for none."""

    start: Array
    end: Array
    radius_mm: tuple[float, float]
    airway_mm: float


def grown(root: Array, targets: Array, rng: np.random.Generator, airways: bool) -> list[Branch]:
    """A tree from ``root`` (3,) that reaches every target (n, 3), LPS mm.

    Each target joins the tree where its own way and the way back to the root are short together, which gives a few
    long stems and many short twigs. Radii follow from how many twigs a piece feeds (Murray's law, exponent 2.6).
    """
    order = np.argsort(np.linalg.norm(targets - root, axis=1))
    room = len(targets) * 24 + 1
    points, path = np.empty((room, 3)), np.empty(room)
    parent = np.full(room, -1)
    points[0], path[0], count = root, 0.0, 1
    for target in targets[order]:
        way = np.linalg.norm(points[:count] - target, axis=1)
        node = int(np.argmin(way + 0.45 * path[:count]))
        steps = max(1, min(20, int(way[node] // _STEP_MM)))
        start = points[node].copy()
        bend = rng.normal(0, 0.07 * way[node], 3)
        for step in range(1, steps + 1):
            t = step / steps
            points[count] = start + t * (target - start) + np.sin(np.pi * t) * bend
            path[count] = path[node] + np.linalg.norm(points[count] - points[node])
            parent[count], node = node, count
            count += 1
    feeds = np.zeros(count)
    has_child = np.zeros(count, bool)
    has_child[parent[1:count]] = True
    feeds[~has_child] = 1
    for node in range(count - 1, 0, -1):  # children come after their parents
        feeds[parent[node]] += feeds[node]
    radius = np.minimum(_LEAF_MM * feeds ** (1 / 2.6), 6.0)
    branches = []
    for node in range(1, count):
        above = parent[node]
        start_mm = min(float(radius[above]), float(radius[node]) * 1.25)
        airway = 0.75 * float(radius[node]) if airways and radius[node] > 1.5 else 0.0
        branches.append(Branch(points[above].copy(), points[node].copy(), (start_mm, float(radius[node])), airway))
    return branches


def drawn(cover: Array, start: Array, end: Array, radius_mm: tuple[float, float], affine: Array) -> None:
    """Add a tapered tube to ``cover`` (slices, rows, columns), from ``start`` to ``end``; the affine is diagonal."""
    spacing, origin = np.diag(affine)[:3], affine[:3, 3]
    reach = max(radius_mm) + _EDGE_MM
    low = np.maximum(0, np.floor((np.minimum(start, end) - reach - origin) / spacing)).astype(int)
    high = np.minimum(cover.shape[::-1], np.ceil((np.maximum(start, end) + reach - origin) / spacing) + 1).astype(int)
    if (low >= high).any():
        return
    x, y, z = (origin[a] + spacing[a] * np.arange(low[a], high[a]) - start[a] for a in range(3))
    x, y, z = x[None, None, :], y[None, :, None], z[:, None, None]
    way = end - start
    along = np.clip((x * way[0] + y * way[1] + z * way[2]) / max(float(way @ way), 1e-9), 0, 1)
    distance = np.sqrt((x - along * way[0]) ** 2 + (y - along * way[1]) ** 2 + (z - along * way[2]) ** 2)
    radius = radius_mm[0] + along * (radius_mm[1] - radius_mm[0])
    inside = np.clip((radius - distance) / _EDGE_MM + 0.5, 0, 1)
    part = cover[low[2] : high[2], low[1] : high[1], low[0] : high[0]]
    np.maximum(part, inside * np.minimum(1, radius / 0.7), out=part)

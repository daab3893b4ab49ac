"""What the explanation methods are measured on: pictures with targets and, for CT, a reader's mask.

tile_cases()        real H&E tiles, one of a source field, each explained for the class that the model gives it
Slice               one nodule on one axial slice, with the reader's mask and the one that is segmented from a point
lidc_slices()       real nodules; of each patient the first that suits is taken
phantom_slices()    SYNTHETIC nodules with their exact masks
malignancy_cases()  of slices whose nodule the network calls malignant
nodule_cases()      of slices, for the segmentation's logits over the nodule that it found

The outline that a network is given, or that is explained, is always the network's own; the reader's mask is only what
maps are compared with. CT grids are centred on the nodule, as in use: a bell at the centre is therefore a strong floor.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

import numpy as np

from .contract.values import CLASSES, Array
from .faithfulness import Case

TILE = {"channels": (0, 1, 2), "sigma_px": 10.0, "cell": 8, "steps": 14}
# The third channel is a prompt, or the outline. The blur is wider than a nodule of middle size is.
CT = {"channels": (0, 1), "sigma_px": 10.0, "cell": 2, "steps": 16}


def tile_cases(data_root: Path, split: str, model: Any, count: int, seed: int) -> list[Case]:
    """``count`` real tiles, the classes in turn, each of another source field; ``model`` is a SlideModel."""
    from .slide_data import read_tiles

    tiles = read_tiles(data_root, split)
    if tiles is None or not len(tiles.labels):
        return []
    chosen = _in_turn(tiles.labels, tiles.groups, count, seed)
    known = [CLASSES.index(name) for name in model.classes]
    targets = model.probabilities(tiles.pixels[chosen])[:, known].argmax(axis=1)

    def score_of(column: int) -> Callable[[Array], Array]:
        def score(x: Array) -> Array:
            pixels = np.rint(x).astype(np.uint8).transpose(0, 2, 3, 1)  # tiles are 8-bit pictures
            answer: Array = model.probabilities(np.ascontiguousarray(pixels))[:, column]
            return answer

        return score

    return [
        Case(
            tiles.pixels[index].transpose(2, 0, 1).astype(np.float32), score_of(known[target]),
            str(tiles.groups[index]), target=int(target), label=str(tiles.labels[index]), **TILE,
        )  # fmt: skip
        for index, target in zip(chosen, targets)
    ]


def _in_turn(labels: Array, groups: Array, count: int, seed: int) -> list[int]:
    """Indices, the labels in turn, no group twice."""
    order = np.random.default_rng(seed).permutation(len(labels))
    _, first = np.unique(groups[order], return_index=True)
    order = order[np.sort(first)]
    queues = [list(order[labels[order] == name]) for name in np.unique(labels)]
    turns = [queue[k] for k in range(max(map(len, queues))) for queue in queues if k < len(queue)]
    return [int(index) for index in turns[:count]]


@dataclass(frozen=True, eq=False)
class Slice:
    """One nodule.

    Parameters
    ----------
    hu : int16 (rows, columns)
    reader, found : bool, same shape; the mask that is true, and the one that was segmented from a point
    pixel_mm : (row, column) spacing
    around : Neighbourhood that it was segmented in
    group : patient, or phantom
    """

    hu: Array
    reader: Array
    found: Array
    pixel_mm: tuple[float, float]
    around: Any
    group: str


def _slice(network: Any, hu: Array, reader: Array, pixel_mm: tuple[float, float], group: str) -> Optional[Slice]:
    """None where no nodule is recognised at the point: the pixel of the reader's mask that is nearest its centroid."""
    from .ct_neighbourhood import Prompt
    from .ct_search import outlined

    places = np.argwhere(reader)
    row, column = places[np.linalg.norm(places - places.mean(axis=0), axis=1).argmin()]
    point = np.array([0.0, row, column])
    piece = outlined(network, hu[None], (pixel_mm[1], pixel_mm[0], 1.0), Prompt(point, point), "point")
    if piece is None:
        return None
    found = np.zeros((1, *hu.shape), bool)
    found[piece.where] = piece.mask
    return Slice(hu, reader, found[0], pixel_mm, piece.around, group)


def lidc_slices(data_root: Path, split: str, network: Any, seed: int) -> Iterator[Slice]:
    """Real nodules in an order drawn from ``seed``; those that are not recognised at their point are left out."""
    from . import ct_data

    if not (data_root / ct_data.SLICES).is_dir():
        return
    data = ct_data.slices(data_root, split)
    for index in np.random.default_rng(seed).permutation(len(data.rows)):
        pixel = float(data.pixel_mm[index])
        one = _slice(network, data.hu[index], data.mask[index], (pixel, pixel), str(data.patients[index]))
        if one is not None:
            yield one


def phantom_slices(network: Any, seed: int) -> Iterator[Slice]:
    """SYNTHETIC nodules, four of each drawn thorax, on the slice where they are largest.

    Each is a group of its own: their shapes and places are drawn one by one, and they lie apart.
    """
    from .phantom import Wanted, thorax

    wanted = (Wanted(18, 42, side="right"), Wanted(11, 32, side="left", near_pleura=True), Wanted(14, 35, side="left"),
              Wanted(22, 40, side="right"))  # fmt: skip
    for number in range(seed, seed + 100):
        drawn = thorax(number, wanted)
        column_mm, row_mm, _ = drawn.volume.spacing_mm
        for nodule in drawn.nodules:
            mask = drawn.truth.labels == nodule.label
            k = int(mask.sum(axis=(1, 2)).argmax())
            group = f"phantom {number} nodule {nodule.label}"
            one = _slice(network, drawn.volume.voxels[k], mask[k], (row_mm, column_mm), group)
            if one is not None:
                yield one


def _of_new_groups(slices: Iterator[Slice], cases: list[Case]) -> Iterator[Slice]:
    """Those of whose group there is no case yet; ``cases`` grows meanwhile."""
    return (one for one in slices if all(one.group != case.group for case in cases))


def malignancy_cases(slices: Iterator[Slice], network: Any, count: int) -> list[Case]:
    """``count`` nodules whose malignant logit is over 0, of a patient one; in others there is nothing to explain."""
    import torch

    from .ct_malignancy_network import GRID_MM, MALIGNANT, inputs

    def score(x: Array) -> Array:
        with torch.inference_mode():
            answer: Array = network(torch.from_numpy(x))[:, MALIGNANT].sigmoid().numpy()
        return answer

    cases: list[Case] = []
    for one in _of_new_groups(slices, cases):
        seen, grid = inputs(one.hu, one.found, one.pixel_mm)
        mask = grid.sampled(one.reader, "constant") >= 0.5
        picture = seen[0].numpy()
        if mask.any() and float(score(picture[None])[0]) > 0.5:
            cases.append(Case(picture, score, one.group, target=MALIGNANT, mask=mask, pixel_mm=GRID_MM, **CT))
        if len(cases) == count:
            break
    return cases


def nodule_cases(slices: Iterator[Slice], network: Any, count: int) -> list[Case]:
    """``count`` nodules, of a patient one; the score is the mean probability over what was found."""
    import torch

    from .ct_network import inputs

    cases: list[Case] = []
    for one in _of_new_groups(slices, cases):
        planes, asked = one.around.axial(one.hu[None], np.array([0]))
        region, mask = (one.around.planes(m[None])[0].numpy() >= 0.5 for m in (one.found, one.reader))
        if not (region.any() and mask.any()):
            continue

        def score(x: Array, region: Array = region) -> Array:
            with torch.inference_mode():
                answer: Array = network(torch.from_numpy(x))[:, 0].sigmoid().numpy()[:, region].mean(axis=1)
            return answer

        picture = inputs(planes, asked)[0].numpy()
        cases.append(Case(picture, score, one.group, region=region, mask=mask, pixel_mm=one.around.pixel, **CT))
        if len(cases) == count:
            break
    return cases

"""Heatmaps of a CT: which voxels speak for its nodules, or for their malignancy, on one crop of the CT's grid.

ct_heatmaps()   maps by several methods, nodule by nodule in shared passes

Where the neighbourhoods of two nodules meet, the stronger value is kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Callable

import numpy as np

from .attribution_record import joined
from .contract.errors import Cancelled, InvalidInput
from .contract.provenance import Provenance
from .contract.results import CT_TARGETS, Heatmap, LabelVolume
from .contract.values import Array, CTVolume
from .ct_neighbourhood import Neighbourhood, Prompt
from .ct_nodules import Candidate
from .ct_segmentation import neighbourhood
from .geometry import cropped_affine
from .xai_figures import said_of

_SCALING = "logit units of the method, the same for all nodules"


def ct_heatmaps(
    volume: CTVolume, mask: LabelVolume, pieces: Sequence[Candidate], methods: Sequence[str], *,
    model: Any, target: str, provenance: Provenance, bundle: Path,
    progress: Callable[[str, float], None] = lambda stage, fraction: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> dict[str, Heatmap]:  # fmt: skip
    """Maps of all nodules; empty where there is no nodule.

    Parameters
    ----------
    mask : the nodules' labels, 1 for the first of ``pieces``
    pieces : the nodules, with the neighbourhood that each was outlined in
    model : of ct_attribution.nodule_model() or malignancy_model(), as ``target`` of CT_TARGETS says
    provenance, bundle : of that model; the bundle's figures on its methods go into the record

    Raises
    ------
    InvalidInput : no such target, or no such method. Cancelled.
    """
    from .ct_attribution import malignancy_maps, nodule_maps

    if target not in CT_TARGETS:
        raise InvalidInput(f"A heatmap of a CT cannot explain {target:.80}.", f"Choose {' or '.join(CT_TARGETS)}.")
    maps = nodule_maps if target == "nodule" else malignancy_maps
    places: list[tuple[slice, ...]] = []
    found: dict[str, list[Array]] = {method: [] for method in methods}
    made: dict[str, list[dict[str, Any]]] = {method: [] for method in methods}
    for label, piece in enumerate(pieces, 1):
        if cancelled():
            raise Cancelled("The job was cancelled.", "")
        progress("explaining nodules", (label - 1) / len(pieces))
        around = piece.around or _around(volume, piece)
        own = mask.labels[around.where] == label
        if not own.any():
            continue
        places.append(around.where)
        for method, (values, record) in maps(model, volume.voxels, own, around, methods).items():
            found[method].append(values)
            made[method].append(record)
    if not places:
        return {}
    low = [min(where[a].start for where in places) for a in range(3)]
    high = [max(where[a].stop for where in places) for a in range(3)]
    affine = cropped_affine(volume.ijk_to_lps, low[::-1])
    answer = {}
    for method in methods:
        whole = np.zeros([b - a for a, b in zip(low, high)], np.float32)
        for where, values in zip(places, found[method]):
            part = whole[tuple(slice(s.start - a, s.stop - a) for s, a in zip(where, low))]
            np.copyto(part, values, where=np.abs(values) > np.abs(part))
        parameters = {
            **{key: value for key, value in joined(made[method]).items() if key != "slices"},
            "scale": _SCALING, "nodules": len(places), **said_of(bundle, method),
        }  # fmt: skip
        answer[method] = Heatmap(
            whole, affine, volume.series_uid, "radiology", method, target, provenance, parameters
        )  # fmt: skip
    return answer


def _around(volume: CTVolume, piece: Candidate) -> Neighbourhood:
    """Of a nodule that was outlined by hand: its own box is the prompt."""
    low, high = ([float(getattr(s, end)) for s in piece.where] for end in ("start", "stop"))
    return neighbourhood(volume.voxels.shape, volume.spacing_mm, Prompt(np.array(low), np.array(high) - 1))

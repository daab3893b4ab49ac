"""Which voxels speak for a nodule, or for its malignancy, by any of the six methods, on the CT's own grid.

nodule_model(), malignancy_model()   the two networks as the methods see them
nodule_maps()       target "nodule": the segmentation network's logit, summed over the voxels of the nodule, slice by
                    slice, with the prompt that it was outlined from. So a map says where it saw what it calls a nodule
malignancy_maps()   target "malignant": the malignancy network's logit, on the axial slice where the nodule is largest
grad_cam()          Grad-CAM of the first alone
SETTINGS            what each method is set to on CT

Maps are computed in the nodule's neighbourhood at the network's pixels and interpolated linearly onto the CT's. Values
are in logit units (the methods say of what). The prompt and the outline are not part of the image: they are neither
noised nor covered nor attributed to. Integrated Gradients starts from, and Occlusion covers with, air of -1000 HU.

Source: for segmentation, Vinogradova et al. 2020, arXiv:2002.11434.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Optional

import numpy as np

from .contract.errors import InvalidInput
from .contract.results import METHODS
from .contract.values import Array
from .ct_neighbourhood import Neighbourhood
from .ct_network import inputs

SETTINGS: Mapping[str, Mapping[str, Any]] = {
    "integrated_gradients": {"baseline": "air", "most_steps": 256},
    "occlusion": {"baseline": "air"},
}
_PROMPT = 2  # the channel that is the prompt, in both networks
Maps = dict[str, tuple[Array, dict[str, Any]]]


def nodule_model(network: Any, device: str = "cpu") -> Any:
    """The segmentation network as attribution.Explained; keep it, for it is made ready once."""
    from .attribution_model import Explained

    def summed(net: Any, seen: Any, region: Any) -> Any:
        return (net(seen) * region).sum(dim=(1, 2, 3))[:, None]

    return Explained(
        network, ("nodule",), layer="upcat_2", fixed_channels=(_PROMPT,), low=-1.0, high=1.0, forward=summed,
        device=device,
    )  # fmt: skip


def malignancy_model(network: Any, device: str = "cpu") -> Any:
    """The MalignancyNetwork as attribution.Explained; keep it, for it is made ready once."""
    from .attribution_model import Explained
    from .ct_malignancy_network import OUTPUTS

    return Explained(
        network, OUTPUTS, layer="features", fixed_channels=(_PROMPT,), low=-1.0, high=1.0, device=device
    )  # fmt: skip


def nodule_maps(
    model: Any, hu: Array, mask: Array, around: Neighbourhood, methods: Sequence[str] = METHODS,
    settings: Optional[Mapping[str, Mapping[str, Any]]] = None,
) -> Maps:  # fmt: skip
    """Maps of one nodule for the target "nodule".

    Parameters
    ----------
    model : of nodule_model()
    hu : int16 (slices, rows, columns), the CT
    mask : bool, of ``around.where``; the nodule
    around : the crops that it was outlined in
    methods : of METHODS; what they can share is computed once
    settings : by method, in place of those of SETTINGS

    Returns
    -------
    by method: float32 of ``around.where``, 0 in slices without the nodule, and how it was made

    Raises
    ------
    InvalidInput : the mask is empty or not of ``around.where``, or a method or setting that there is not.
    """
    import torch

    held = _slices_of(mask, around)
    whole = np.zeros((len(held), *hu.shape[1:]), bool)
    whole[(slice(None), *around.where[1:])] = mask[held]
    region = around.planes(whole)[:, None]
    planes, asked = around.axial(hu, held + around.where[0].start)

    def back(values: Array) -> Array:
        result = np.zeros(mask.shape, np.float32)
        result[held] = around.back(torch.from_numpy(np.array(values)))
        return result

    return _attributed(model, inputs(planes, asked), "nodule", methods, settings, back, region)


def malignancy_maps(
    model: Any, hu: Array, mask: Array, around: Neighbourhood, methods: Sequence[str] = METHODS,
    settings: Optional[Mapping[str, Mapping[str, Any]]] = None,
) -> Maps:  # fmt: skip
    """Maps of one nodule for the target "malignant"; arguments as of nodule_maps(), ``model`` of malignancy_model().

    Returns
    -------
    by method: float32 of ``around.where``, 0 but in the slice where the nodule is largest, and how it was made
    """
    from .ct_malignancy_network import inputs as seen_by_it

    _slices_of(mask, around)
    k = int(np.argmax(mask.sum(axis=(1, 2))))
    plane = np.zeros(hu.shape[1:], bool)
    plane[around.where[1:]] = mask[k]
    pixel = (float(around.spacing[1]), float(around.spacing[2]))
    seen, grid = seen_by_it(hu[around.where[0].start + k], plane, pixel)

    def back(values: Array) -> Array:
        result = np.zeros(mask.shape, np.float32)
        result[k] = grid.back(np.array(values[0]))[around.where[1:]]
        return result

    return _attributed(model, seen, "malignant", methods, settings, back)


def _slices_of(mask: Array, around: Neighbourhood) -> Array:
    if mask.shape != tuple(part.stop - part.start for part in around.where):
        raise InvalidInput("The outline does not lie where the nodule was outlined.", "Segment the nodule again.")
    held = np.flatnonzero(mask.any(axis=(1, 2)))
    if not len(held):
        raise InvalidInput("There is no nodule here.", "Outline the nodule, then ask for its map.")
    return held


def _attributed(
    model: Any, seen: Any, target: str, methods: Sequence[str],
    settings: Optional[Mapping[str, Mapping[str, Any]]], back: Any, given: Any = None,
) -> Maps:  # fmt: skip
    from .attribution import attribute_all

    chosen = {name: {**SETTINGS.get(name, {}), **(settings or {}).get(name, {})} for name in methods}
    found = attribute_all(
        model, seen, target, methods, given=given, **{name: mine for name, mine in chosen.items() if mine}
    )
    return {name: (back(one.values), {**one.record, "slices": len(one.values)}) for name, one in found.items()}


def grad_cam(network: Any, hu: Array, mask: Array, around: Neighbourhood, device: str = "cpu") -> Array:
    """Grad-CAM of one nodule: float32 of ``around.where``, 0 or more; arguments as of nodule_maps()."""
    return nodule_maps(nodule_model(network, device), hu, mask, around, ("gradcam",))["gradcam"][0]

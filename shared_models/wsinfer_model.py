"""WSInferModel: a TorchScript model of tiles that the user added, as a TileModel of slide_model.py.

Its own classes are always said. They become ours only where the user assigned every one of them; then the probabilities
of those assigned to one of ours are summed. It is never called calibrated: nothing here measured it.

attribute()   how much the score of a class changes with each pixel, by gradient, averaged over cells of the tile
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Optional

import numpy as np

from .code_version import code_version
from .contract.errors import InvalidInput, LungXAIError, ModelUnavailable
from .contract.results import METHODS
from .contract.values import CLASSES, Array
from .model_bundle import Bundle
from .wsinfer_config import parsed
from .wsinfer_script import loaded, outputs, probabilities_of

SCRIPT = "models/torchscript_model.pt"
GRID = 14
_AT_ONCE = 32


class WSInferModel:
    """An added model on one device; attributes as in TileModel.

    Raises
    ------
    ModelUnavailable : its configuration is wrong, or it cannot be loaded or run on this device.
    """

    def __init__(self, bundle: Bundle, device: str) -> None:
        self._device = device
        try:
            self._config = parsed(bundle.own["config"])
            self.mapping: Mapping[str, str] = dict(bundle.own["mapping"])
        except (InvalidInput, KeyError, TypeError, ValueError) as fault:
            why = fault.message if isinstance(fault, LungXAIError) else "its metadata is incomplete."
            raise ModelUnavailable(f"The model {bundle.folder.name}: {why}", "Add it again.") from fault
        self.provenance = bundle.provenance(device, code_version())
        self.other_classes: tuple[str, ...] = self._config.class_names
        self.tile_px, self.mpp = self._config.patch_px, self._config.spacing_um_px
        self.methods: tuple[str, ...] = tuple(bundle.own["methods"])
        self.notes: tuple[str, ...] = (f"{bundle.folder.name} was added by the user and is not validated here.",)
        coverage = self.provenance.coverage
        complete = set(self.mapping) == set(self.other_classes)
        if coverage and not (complete and set(self.mapping.values()) == set(coverage)):
            raise ModelUnavailable(f"The model {bundle.folder.name}: its mapping does not fit.", "Add it again.")
        # (k, 5): 1 where a class of its own is assigned to one of ours.
        self._sums = np.array([[float(self.mapping.get(own) == c) for c in CLASSES] for own in self.other_classes])
        self._covered = np.array([name in coverage for name in CLASSES])
        if coverage:
            said = ", ".join(f"{own} = {ours.replace('_', ' ')}" for own, ours in self.mapping.items())
            self.notes += (f"Its classes were assigned by the user: {said}.",)
        self._module = loaded(bundle.path(SCRIPT), device)
        self.answers(np.full((1, self.tile_px, self.tile_px, 3), 255, np.uint8))  # fails now, where it does

    def answers(self, pixels: Array) -> Array:
        """float32 (n, 5 + k) of uint8 (n, h, h, 3); uncalibrated.

        Raises
        ------
        InvalidInput : the tiles are not square 8-bit RGB pictures.
        ModelUnavailable : the model fails, or its outputs are of no use.
        """
        import torch

        own = np.empty((len(pixels), len(self.other_classes)))
        for start in range(0, len(pixels), _AT_ONCE):
            with torch.inference_mode():
                inputs = self._inputs(pixels[start : start + _AT_ONCE])
                found = outputs(self._module, inputs, len(self.other_classes)).cpu().numpy()
            own[start : start + _AT_ONCE] = probabilities_of(found, self._config.apply_softmax)
        ours = np.where(self._covered, np.clip(own @ self._sums, 0.0, 1.0), np.nan)
        return np.concatenate([ours, own], axis=1).astype(np.float32)

    def probabilities(self, pixels: Array) -> Array:
        """The first five columns of answers()."""
        return self.answers(pixels)[:, : len(CLASSES)]

    def attribute(self, pixels: Array, method: str, target: str) -> Array:
        """float32 (n, 14, 14), 0 or more: mean size of the score's slope over the pixels of a cell.

        The score is the logit of a class of its own; for one of ours the log of the sum of what is assigned to it. The
        slope is over pixel values of 0 to 1, the largest of the three channels.

        Raises
        ------
        InvalidInput : the method is not available, or the class is not the model's.

        Source: Simonyan et al. 2014, arXiv:1312.6034, by captum's Saliency. Departs from it in: cells are averaged.
        """
        if method not in self.methods:
            known = "not available for this slide model" if method in METHODS else "not known"
            listed = f"Use {', '.join(self.methods)}." if self.methods else "This model has no heatmaps."
            raise InvalidInput(f"The method {method} is {known}.", listed)
        names = list(self.other_classes)
        if target in self.provenance.coverage:
            columns = [place for place, name in enumerate(names) if self.mapping[name] == target]
        elif target in names:
            columns = [names.index(target)]
        else:
            raise InvalidInput(f"The model does not assess {target:.80}.", f"Choose one of {', '.join(names)}.")
        import torch
        from captum.attr import Saliency

        std = self._config.preparation.std or (1.0, 1.0, 1.0)
        scale = torch.tensor(std, device=self._device).abs().reshape(1, 3, 1, 1)
        slopes = Saliency(lambda inputs: self._score(inputs, columns)).attribute(
            self._inputs(pixels).requires_grad_(True)
        )
        strongest = (slopes / scale).amax(dim=1, keepdim=True)
        cells = torch.nn.functional.adaptive_avg_pool2d(strongest, GRID)[:, 0]
        return np.asarray(cells.detach().float().cpu().numpy(), dtype=np.float32)

    def maps(
        self, pixels: Array, methods: Sequence[str], target: str, contrast: Optional[str] = None
    ) -> dict[str, tuple[Array, dict[str, Any]]]:
        """attribute() by each method, with how it was made; an added model explains one class alone."""
        if contrast is not None:
            raise InvalidInput("A model of others explains one class at a time.", "Leave out the contrast.")
        made = {
            "input": "the tile's pixels, 0 to 1",
            "scaling": "slope of the score, largest channel, mean of a cell; the same for all tiles",
        }
        return {method: (self.attribute(pixels, method, target), dict(made)) for method in methods}

    def _inputs(self, pixels: Array) -> Any:
        import torch

        return torch.from_numpy(self._config.preparation(pixels)).to(self._device)

    def _score(self, inputs: Any, columns: list[int]) -> Any:
        found = outputs(self._module, inputs, len(self.other_classes))
        if not self._config.apply_softmax:
            found = found.clamp_min(1e-6).log()
        return found[:, columns].logsumexp(dim=1)

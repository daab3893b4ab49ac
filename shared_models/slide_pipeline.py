"""From tiles to what the slide shows.

SlideModel       the H&E tile model: probabilities (ONNX Runtime on the CPU, torch on a GPU) and attributions (torch)
turned()         a tile as it is, mirrored, turned: the test-time views that a card may ask for ("views": 1 to 8)
slide_result()   the slide as a whole, out of its tiles (slide_result.py)
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Optional

import numpy as np

from .code_version import code_version
from .contract.errors import InvalidInput, ModelUnavailable
from .contract.provenance import Provenance
from .contract.results import METHODS
from .contract.values import CLASSES, Array
from .model_bundle import MODELS_ROOT, SLIDE_MODEL, Bundle
from .out_of_distribution import load as load_score
from .out_of_distribution_slide import features_of, with_features
from .slide_result import slide_result as slide_result
from .stain import normaliser

BUNDLE = SLIDE_MODEL
ONNX, TORCH = "models/model.onnx", "models/model.pt"
AVAILABLE = METHODS


def turned(tiles: Array, view: int) -> Array:
    """Tiles (n, h, w, 3) in one of the eight symmetries of a square.

    0 as they are, 1 mirrored left to right, 2 top to bottom, 3 by a half turn; 4 to 7 the same with rows and columns
    exchanged.
    """
    rows, columns = slice(None, None, -1 if view & 2 else 1), slice(None, None, -1 if view & 1 else 1)
    return (tiles.transpose(0, 2, 1, 3) if view & 4 else tiles)[:, rows, columns]


class SlideModel:
    """The H&E tile model on one device; made by load().

    Attributes
    ----------
    card : the bundle's metadata
    provenance : what results say of it
    classes : of its logits, in their order
    tile_px, mpp : side of a tile, and micrometres per pixel it was trained at (an assumption; see the card)
    other_classes : none: all that it knows is among CLASSES
    methods : heatmap methods that it has
    notes : what its results say beside their own notes
    judges_reliability : whether it knows how like its training tiles a tile is
    """

    other_classes: tuple[str, ...] = ()
    methods: tuple[str, ...] = AVAILABLE
    notes: tuple[str, ...] = ()

    def __init__(self, bundle: Bundle, device: str) -> None:
        self._bundle, self._device = bundle, device
        self.card: dict[str, Any] = bundle.metadata
        self.provenance: Provenance = bundle.provenance(device, code_version())
        self.classes: tuple[str, ...] = tuple(bundle.own["coverage"])
        self.tile_px = int(bundle.own["tile_px"])
        self.mpp = float(bundle.own["spacing_um_px"])
        self._temperature = float(bundle.own["temperature"])
        self._views = bundle.own.get("views", 1)
        if type(self._views) is not int or not 1 <= self._views <= 8:
            raise ModelUnavailable(
                'The card of the slide model asks for test-time views that there are not: "views" is 1 to 8.',
                "Install the models again, or correct the card.",
            )
        self._restain = normaliser(bundle.own.get("stain"))
        if self._restain is not None:
            self.notes = (f"Each tile's stain was normalised first ({bundle.own['stain']['method']}).",)
        if self._views > 1:
            self.notes += (f"Each tile was read {self._views} times, mirrored or turned; maps explain it as it is.",)
        self._network: Any = None
        self._explained: Any = None
        self._session: Any = None
        self._score, why_not = load_score(bundle.folder)
        if self._score is not None and self._score.told.get("stain") != bundle.own.get("stain"):
            self._score, why_not = None, "its parameters were fitted to tiles of another stain normalisation"
        if device == "cpu":
            import onnxruntime

            options = onnxruntime.SessionOptions()
            options.log_severity_level = 3
            # Threads that wait give way to those that read and send: measured, a seventh less CPU a tile.
            options.add_session_config_entry("session.intra_op.allow_spinning", "0")
            import torch

            options.intra_op_num_threads = torch.get_num_threads()
            try:
                model = bundle.path(ONNX).read_bytes()
                more = with_features(model)
                self._session = onnxruntime.InferenceSession(more or model, options, providers=["CPUExecutionProvider"])
                if more is None and self._score is not None:
                    self._score, why_not = None, "its network has no last layer whose features could be looked at"
            except Exception as fault:  # onnxruntime raises its own kinds
                raise ModelUnavailable("The slide model cannot be loaded.", "Install the models again.") from fault
        else:
            self._torch()
        self.judges_reliability = self._score is not None
        if why_not:
            self.notes += (f"Whether the tiles are like those the model learned from is not assessed: {why_not}.",)

    @classmethod
    def load(cls, models_root: Path = MODELS_ROOT, device: str = "cpu") -> SlideModel:
        """Load the bundle under ``models_root``.

        Raises
        ------
        ModelUnavailable : it is missing, incomplete or changed.
        """
        return cls(Bundle.load(models_root / BUNDLE), device)

    def _torch(self) -> Any:
        if self._network is None:
            from .slide_network import restored

            self._network = restored(self._bundle.path(TORCH), len(self.classes), self._device)
        return self._network

    def _fitting(self, pixels: Array) -> Array:
        """uint8 (n, tile_px, tile_px, 3): of the model's size, the field staying the same, and of the card's stain."""
        if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[3] != 3:
            raise InvalidInput("Tiles must be 8-bit RGB pictures.", "Convert the slide to 8-bit RGB.")
        height, width = pixels.shape[1:3]
        if height != width or not 64 <= height <= 2048:
            raise InvalidInput(
                f"Tiles of {width} x {height} pixels do not fit the model.",
                f"Send {self.tile_px} x {self.tile_px} pixels at {self.mpp} µm per pixel.",
            )
        if height != self.tile_px and len(pixels):
            from PIL import Image

            size, smooth = (self.tile_px, self.tile_px), Image.Resampling.BILINEAR
            pixels = np.stack([np.asarray(Image.fromarray(p).resize(size, smooth)) for p in pixels])
        return pixels if self._restain is None else self._restain(pixels)

    def logits(self, pixels: Array) -> Array:
        """float32 (n, classes), of uint8 (n, h, w, 3): the mean over the card's views, without the temperature."""
        return self._judged(self._fitting(pixels))[0]

    def _judged(self, fitting: Array) -> tuple[Array, Optional[Array]]:
        """logits() of tiles that fit, and the features (n, d) of the tiles as they are, or None."""
        answer, features = self._answered(fitting)
        for view in range(1, self._views):
            answer += self._answered(turned(fitting, view))[0]
        return answer / np.float32(self._views), features

    def _unstained(self, fitting: Array) -> Array:
        """logits() of tiles that fit already, whose stain is left alone, in the one view they come in."""
        return self._answered(fitting)[0]

    def _answered(self, fitting: Array) -> tuple[Array, Optional[Array]]:
        """_unstained(), and the features (n, d) before the last layer; None where there is no such layer."""
        if not len(fitting):
            return np.empty((0, len(self.classes)), np.float32), None
        answers = []
        for start in range(0, len(fitting), 32):
            batch = np.ascontiguousarray(fitting[start : start + 32].transpose(0, 3, 1, 2), dtype=np.float32)
            if self._session is not None:
                answers.append(self._session.run(None, {"pixels": batch}))
            else:
                import torch

                with torch.inference_mode():
                    found = features_of(self._torch(), torch.from_numpy(batch).to(self._device))
                    answers.append([part.float().cpu().numpy() for part in found])
        parts = [np.concatenate(part) for part in zip(*answers)]
        return parts[0], parts[1] if len(parts) > 1 else None

    def probabilities(self, pixels: Array) -> Array:
        """Calibrated probabilities of tiles.

        Parameters
        ----------
        pixels : uint8 (n, h, w, 3), RGB, square tiles

        Returns
        -------
        float32 (n, 5) in the order of CLASSES; NaN outside the coverage
        """
        return self._calibrated(self.logits(pixels))

    def _calibrated(self, logits: Array) -> Array:
        scaled = logits.astype(np.float64) / self._temperature
        raised = np.exp(scaled - scaled.max(axis=1, keepdims=True))
        known = raised / raised.sum(axis=1, keepdims=True)
        answer = np.full((len(known), len(CLASSES)), np.nan, np.float32)
        answer[:, [CLASSES.index(name) for name in self.classes]] = known
        return answer

    def features(self, pixels: Array) -> Array:
        """float32 (n, d): what the network's last layer is given, of each tile as it comes.

        Raises
        ------
        ModelUnavailable : the model has no such layer.
        """
        found = self._answered(self._fitting(pixels))[1]
        if found is None:
            raise ModelUnavailable("This slide model has no features before its last layer.", "Export it again.")
        return found

    def answers(self, pixels: Array) -> Array:
        """The same as probabilities(): there are no columns of other classes."""
        return self.probabilities(pixels)

    def answers_with_reliability(self, pixels: Array) -> Array:
        """float32 (n, 6): answers(), and how like its training tiles each tile is, 0 to 1; NaN where not assessed."""
        logits, features = self._judged(self._fitting(pixels))
        like = np.full(len(logits), np.nan, np.float32)
        if self._score is not None and features is not None:
            like = self._score.reliability(features)
        return np.concatenate([self._calibrated(logits), like[:, None]], axis=1)

    def maps(
        self, pixels: Array, methods: Sequence[str], target: str, contrast: Optional[str] = None
    ) -> dict[str, tuple[Array, dict[str, Any]]]:
        """What each cell of a tile says for ``target``; see slide_attribution.tile_maps().

        Raises
        ------
        InvalidInput : a method that there is not, or a class that is not assessed.
        """
        from .slide_attribution import explained, tile_maps

        for name in (target, *(() if contrast is None else (contrast,))):
            if name not in self.classes:
                known = ", ".join(self.classes)
                raise InvalidInput(f"The model does not assess {name:.80}.", f"Choose one of {known}.")
        if self._explained is None:
            self._explained = explained(self._torch(), self.classes, self._unstained if self._session else None)
        found = tile_maps(self._explained, self._fitting(pixels), methods, target, contrast)
        return {name: (values, {**record, **self._trust(name)}) for name, (values, record) in found.items()}

    def _trust(self, method: str) -> dict[str, str]:
        from .xai_figures import said_of

        return said_of(self._bundle.folder, method)

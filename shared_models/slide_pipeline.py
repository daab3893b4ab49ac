"""From tiles to what the slide shows.

SlideModel       the H&E tile model: probabilities (ONNX Runtime on the CPU, torch on a GPU) and attributions (torch)
turned()         a tile as it is, mirrored, turned: the test-time views that a card may ask for ("views": 1 to 8)
slide_result()   the slide as a whole, out of its tiles

How tiles become a slide. A slide is normal only if nearly all of it is: the slide's probability of cancer C is the
mean of (1 - P(normal)) over its most suspicious tenth of tiles (at least three, where there are three). C is shared
among the cancer classes as the tiles are, each tile counting as much as it looks like cancer:
S(k) = sum_i c_i p_i(k) / sum_i c_i^2, with c_i = 1 - p_i(normal). So P(k) = C S(k), P(normal) = 1 - C, and they sum
to 1. The tile probabilities are calibrated; the slide's are this rule's, and are not.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Optional

import numpy as np

from .code_version import code_version
from .contract.errors import InvalidInput, ModelUnavailable
from .contract.provenance import Provenance
from .contract.results import METHODS, PathologyResult
from .contract.values import CLASSES, Abstention, Array
from .model_bundle import MODELS_ROOT, SLIDE_MODEL, Bundle
from .stain import normaliser

BUNDLE = SLIDE_MODEL
ONNX, TORCH = "models/model.onnx", "models/model.pt"
AVAILABLE = METHODS
_SUSPICIOUS_SHARE, _SUSPICIOUS_LEAST = 0.1, 3


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
        if device == "cpu":
            import onnxruntime

            options = onnxruntime.SessionOptions()
            options.log_severity_level = 3
            # Threads that wait give way to those that read and send: measured, a seventh less CPU a tile.
            options.add_session_config_entry("session.intra_op.allow_spinning", "0")
            import torch

            options.intra_op_num_threads = torch.get_num_threads()
            try:
                self._session = onnxruntime.InferenceSession(
                    str(bundle.path(ONNX)), options, providers=["CPUExecutionProvider"]
                )
            except Exception as fault:  # onnxruntime raises its own kinds
                raise ModelUnavailable("The slide model cannot be loaded.", "Install the models again.") from fault
        else:
            self._torch()

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
        fitting = self._fitting(pixels)
        answer = self._unstained(fitting)
        for view in range(1, self._views):
            answer += self._unstained(turned(fitting, view))
        return answer / np.float32(self._views)

    def _unstained(self, fitting: Array) -> Array:
        """logits() of tiles that fit already, whose stain is left alone, in the one view they come in."""
        if not len(fitting):
            return np.empty((0, len(self.classes)), np.float32)
        answers = []
        for start in range(0, len(fitting), 32):
            batch = np.ascontiguousarray(fitting[start : start + 32].transpose(0, 3, 1, 2), dtype=np.float32)
            if self._session is not None:
                answers.append(self._session.run(None, {"pixels": batch})[0])
            else:
                import torch

                with torch.inference_mode():
                    answers.append(self._torch()(torch.from_numpy(batch).to(self._device)).float().cpu().numpy())
        return np.concatenate(answers)

    def probabilities(self, pixels: Array) -> Array:
        """Calibrated probabilities of tiles.

        Parameters
        ----------
        pixels : uint8 (n, h, w, 3), RGB, square tiles

        Returns
        -------
        float32 (n, 5) in the order of CLASSES; NaN outside the coverage
        """
        scaled = self.logits(pixels).astype(np.float64) / self._temperature
        raised = np.exp(scaled - scaled.max(axis=1, keepdims=True))
        known = raised / raised.sum(axis=1, keepdims=True)
        answer = np.full((len(known), len(CLASSES)), np.nan, np.float32)
        answer[:, [CLASSES.index(name) for name in self.classes]] = known
        return answer

    def answers(self, pixels: Array) -> Array:
        """The same as probabilities(): there are no columns of other classes."""
        return self.probabilities(pixels)

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


def slide_result(
    slide_id: str, mpp: float, tile_px: tuple[float, float], origin_px: Array, answers: Array,
    provenance: tuple[Provenance, ...], *, quality: Optional[Array] = None, other_classes: tuple[str, ...] = (),
    notes: tuple[str, ...] = (),
) -> PathologyResult:  # fmt: skip
    """What the slide shows as a whole; the rule is at the top of this file.

    Parameters
    ----------
    mpp : micrometres per pixel at which the model looked
    tile_px : (width, height) of a tile in level-0 pixels
    origin_px : int64 (n, 2)
    answers : float32 (n, 5 + k): CLASSES, NaN outside the coverage, then ``other_classes``
    provenance : of the tile model, first
    quality : float32 (n,), 0 to 1, of each tile; None where nobody judged it. It is carried, not weighed
    other_classes : k names of a model that has classes of its own
    notes : of the model
    """
    known = provenance[0].coverage
    tile_probabilities, others = answers[:, : len(CLASSES)], answers[:, len(CLASSES) :]

    def answer(
        probabilities: dict[str, Optional[float]], said: tuple[str, ...], abstention: Optional[Abstention]
    ) -> PathologyResult:
        return PathologyResult(
            slide_id, mpp, tile_px, origin_px, tile_probabilities, probabilities, provenance, said + notes, abstention,
            quality, other_classes, others if other_classes else None,
        )  # fmt: skip

    if not len(origin_px):
        nothing = Abstention("No tissue was found on the slide.", "A slide or a region with H&E-stained tissue.")
        return answer(dict.fromkeys(CLASSES), (), nothing)
    counted = _counted(others, other_classes)
    if not known:
        foreign = Abstention(
            "The slide model names classes of its own, which are not assigned to the five of this suite.",
            "The model that ships, or the same one added again with --class THEIRS=OURS for each of its classes.",
        )
        return answer(dict.fromkeys(CLASSES), counted, foreign)
    cancers = [name for name in known if name != "normal"]
    p = {name: tile_probabilities[:, CLASSES.index(name)].astype(np.float64) for name in known}
    suspicion = np.clip(sum(p[name] for name in cancers), 0.0, 1.0)
    count = len(suspicion)
    most = min(count, max(_SUSPICIOUS_LEAST, math.ceil(_SUSPICIOUS_SHARE * count)))
    cancer = float(np.sort(suspicion)[-most:].mean())
    weights = {name: float((suspicion * p[name]).sum()) for name in cancers}
    total = sum(weights.values())
    shares = {name: weight / total if total > 0 else 1 / len(cancers) for name, weight in weights.items()}
    slide = {name: cancer * share for name, share in shares.items()}
    if "normal" in known:
        slide["normal"] = 1.0 - cancer
    winners = np.array(list(p))[np.argmax(np.stack(list(p.values())), axis=0)]
    about = [
        f"{count} tiles; the model called {int((winners != 'normal').sum())} of them cancer.",
        f"The slide's probability of cancer is the mean of its {most} most suspicious tiles.",
        "Not assessed: " + ", ".join(c.replace("_", " ") for c in CLASSES if c not in known) + ".",
    ]
    return answer({name: slide.get(name) for name in CLASSES}, (*about, *counted), None)


def _counted(others: Array, names: tuple[str, ...]) -> tuple[str, ...]:
    """How many tiles look most like each of the model's own classes, the most frequent first."""
    if not names:
        return ()
    if len(names) == 1:
        return (f"Of {len(others)} tiles, {int((others[:, 0] >= 0.5).sum())} have {names[0]} at 0.5 or more.",)
    counted = Counter(names[place] for place in others.argmax(axis=1)).most_common(12)
    return (f"{len(others)} tiles by the model's own classes: {', '.join(f'{n} {c}' for n, c in counted)}.",)

"""One tile or one nodule through a server, explained by several methods, as a client: a figure and its numbers out.

Asked             which methods, which class, against which
model_of(), checked()   the server's model, and whether it has what is asked for
explain_tile(), explain_nodule()   -> Explained
Explained         the figure's parts, and the record of every number; picture() draws, record is JSON

explain_tile.py makes the tile, explain_nodule.py the picture of the nodule, shared_models/explain_figure.py draws.

No file's name goes into a figure or a record: names of files often name patients.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

import numpy as np

from shared_models.contract.client import Client
from shared_models.contract.colours import CLASS_LABELS
from shared_models.contract.errors import InvalidInput, ModelUnavailable
from shared_models.contract.heatmap_words import SANITY, trust
from shared_models.contract.jsonforms import to_json
from shared_models.contract.notice import NOTICE
from shared_models.contract.results import CT_TARGETS, METHODS, Heatmap, PathologyResult
from shared_models.contract.values import CLASSES, Array
from shared_models.explain_figure import Panel, Subject, figure

from .explain_nodule import cropped, found_nodule, read_around
from .explain_tile import Tile
from .progress import ProgressBar

_MOST_NAMED = 6


@dataclass(frozen=True)
class Asked:
    """What is to be explained.

    Parameters
    ----------
    methods : of METHODS; empty takes all that the model has
    target : a class of a tile, or of CT_TARGETS; None: the predicted class, or the nodule
    contrast : a second class of a tile
    synthetic : what is sent is drawn or composed
    """

    methods: tuple[str, ...] = ()
    target: Optional[str] = None
    contrast: Optional[str] = None
    synthetic: bool = False


@dataclass(frozen=True, eq=False)
class Explained:
    """The parts of a figure, and its record."""

    subject: Subject
    panels: tuple[Panel, ...]
    record: dict[str, Any]

    def picture(self) -> Array:
        """uint8 (rows, columns, 3)."""
        return figure(self.subject, self.panels)


# --- what the model is asked


def model_of(client: Client, modality: str) -> Mapping[str, Any]:
    """What the server says of its model for slides, or of that for CT.

    Raises
    ------
    ModelUnavailable : it has none.
    """
    found: Optional[Mapping[str, Any]] = next((m for m in client.info()["models"] if m["modality"] == modality), None)
    if found is None or (modality == "pathology" and "tile_px" not in found):
        what = "slides" if modality == "pathology" else "CT"
        raise ModelUnavailable(f"The server has no model for {what}.", "Run `lungxai doctor` where it runs.")
    return found


def checked(asked: Asked, model: Mapping[str, Any]) -> tuple[str, ...]:
    """The methods, in the order of METHODS.

    Raises
    ------
    InvalidInput : a method or class that the model has not.
    """
    has = [method for method in METHODS if method in model.get("methods", METHODS)]
    lacking = [method for method in asked.methods if method not in has]
    if lacking or not has:
        raise InvalidInput(
            f"The model {model['model_id']} cannot be explained by {', '.join(lacking) or 'any method'}.",
            f"Its methods: {', '.join(has)}." if has else "Choose another model.",
        )
    tile = model["modality"] == "pathology"
    known = [*model["coverage"], *model.get("other_classes", ())] if tile else list(CT_TARGETS)
    for name in (asked.target, asked.contrast if tile else None):
        if name is not None and name not in known:
            raise InvalidInput(f"The model does not assess {name:.80}.", f"Choose one of {', '.join(known)}.")
    if asked.contrast is not None and not tile:
        raise InvalidInput("On a CT nothing is contrasted.", "Leave --contrast out, or explain a tile.")
    return tuple(method for method in has if not asked.methods or method in asked.methods)


# --- tiles


def explain_tile(client: Client, case_id: str, tile: Tile, asked: Asked, methods: Sequence[str]) -> Explained:
    """Send one tile, wait for its maps.

    Raises
    ------
    LungXAIError : the first fault.
    """
    tiles = tile.tiles
    with ProgressBar("Tile") as bar:
        client.put_tiles(case_id, tiles)
        job = client.pathology(
            case_id, tiles.slide_id, methods, (tile.side_px, tile.side_px), target=asked.target, contrast=asked.contrast
        )
        client.wait(job, lambda p: bar.update(p.stage or p.state, p.fraction))
    result = client.pathology_result(case_id)
    maps = [client.heatmap(case_id, "pathology", method) for method in methods]
    picture = tiles.pixels[0]
    panels = tuple(Panel(m, enlarged(m.values, picture.shape[:2]), m.values) for m in maps)
    likely = probabilities(result)
    first = maps[0]
    lines = f"Model: {first.provenance.model_id}", _named(likely, first), _explained(first, asked.target is None)
    subject = Subject(
        picture, f"{tile.said}: what the model looked at", "The tile", lines, tile.width_um, "µm",
        synthetic=asked.synthetic,
    )  # fmt: skip
    said = {"modality": "pathology", "tile": tile.said, "probabilities": likely, "notes": list(result.notes)}
    return Explained(subject, panels, _record(said, maps, asked))


def probabilities(result: PathologyResult) -> dict[str, Optional[float]]:
    """Class to the probability of the only tile; None where not assessed; the model's own classes too."""
    row = result.tile_probabilities[0].tolist()
    likely = {name: None if np.isnan(p) else float(p) for name, p in zip(CLASSES, row)}
    if result.other_probabilities is not None:
        likely |= dict(zip(result.other_classes, result.other_probabilities[0].tolist()))
    return likely


def _named(likely: Mapping[str, Optional[float]], heatmap: Heatmap) -> str:
    """The probabilities in a line, the largest first."""
    known = sorted(((p, name) for name, p in likely.items() if p is not None), reverse=True)
    said = [f"{CLASS_LABELS.get(name, name)} {_percent(p)}" for p, name in known[:_MOST_NAMED]]
    if len(known) > _MOST_NAMED:
        said.append(f"{len(known) - _MOST_NAMED} more, each {_percent(known[_MOST_NAMED][0])} or less")
    absent = [CLASS_LABELS.get(name, name) for name, p in likely.items() if p is None]
    if absent and len(absent) < len(CLASSES):
        said.append(f"not assessed: {', '.join(absent)}")
    how = "calibrated" if heatmap.provenance.calibrated else "not calibrated"
    return f"Probabilities ({how}): {'; '.join(said)}"


def _percent(p: float) -> str:
    return "under 1 %" if 0 < p < 0.01 else "over 99 %" if 0.99 < p < 1 else f"{100 * p:.0f} %"


def _explained(heatmap: Heatmap, predicted: bool) -> str:
    sides = [CLASS_LABELS.get(side, side) for side in heatmap.target.split(" rather than ")]
    return f"Explained: {'the predicted class, ' if predicted else ''}{' rather than '.join(sides)}"


def enlarged(values: Array, shape: Sequence[int]) -> Array:
    """float32 of ``shape`` (rows, columns): cells interpolated linearly between their middles."""
    from PIL import Image

    cells = Image.fromarray(np.array(values, np.float32))
    return np.asarray(cells.resize((int(shape[1]), int(shape[0])), Image.Resampling.BILINEAR))


# --- nodules


def explain_nodule(
    client: Client, case_id: str, ct: Path, point: Sequence[float], asked: Asked, methods: Sequence[str]
) -> Explained:
    """Send a CT, outline what lies at ``point`` (LPS mm), wait for its maps.

    Raises
    ------
    InvalidInput : the point lies outside the CT, or no nodule is recognised there. LungXAIError : the first fault.
    """
    with ProgressBar("CT") as bar:
        bar.update("reading", 0.0)
        volume, notes = read_around(ct, point)
        bar.update("sending", 0.0)
        sha256 = client.put_volume(volume)
        job = client.radiology(case_id, sha256, [point], explain=methods, search=False, target=asked.target)
        client.wait(job, lambda p: bar.update(p.stage or p.state, p.fraction))
    result = client.radiology_result(case_id)
    nodule = found_nodule(result, point)
    crop = cropped(volume, client.mask(case_id), nodule)
    maps = [client.heatmap(case_id, "radiology", method) for method in methods]
    panels = tuple(Panel(m, crop.of(m.values, m.index_to_world)) for m in maps)
    rated = "not assessed" if nodule.malignancy is None else f"{nodule.malignancy:.2f}"
    lines = (
        f"Model: {maps[0].provenance.model_id}",
        f"Nodule {nodule.long_axis_mm:.0f} x {nodule.short_axis_mm:.0f} mm, {nodule.volume_mm3:.0f} mm³, mean "
        f"{nodule.mean_hu:.0f} HU; malignancy, as readers rate it: {rated}",
        f"Explained: {'why it is seen as a nodule' if maps[0].target == CT_TARGETS[0] else maps[0].target}, on the "
        f"axial slice where it is largest; {crop.window}",
    )
    subject = Subject(
        crop.picture, "Nodule: what the model looked at", "Axial CT, nodule outlined", lines, crop.width_mm, "mm",
        crop.outline, ("R", "L", "A", "P"), asked.synthetic,
    )  # fmt: skip
    said = {
        "modality": "radiology", "point_lps_mm": [float(x) for x in point], "nodule": to_json(nodule),
        "window": crop.window, "slice": crop.slice_index, "notes": [*notes, *result.notes],
    }  # fmt: skip
    return Explained(subject, panels, _record(said, maps, asked))


# --- the record


def _record(said: dict[str, Any], maps: Sequence[Heatmap], asked: Asked) -> dict[str, Any]:
    return {
        "notice": NOTICE, "synthetic": asked.synthetic, **said, "target": maps[0].target, "contrast": asked.contrast,
        "maps": [_numbers(heatmap) for heatmap in maps],
    }  # fmt: skip


def _numbers(heatmap: Heatmap) -> dict[str, Any]:
    values = heatmap.values
    return {
        "method": heatmap.method, "target": heatmap.target, "most_for": max(0.0, float(values.max())),
        "most_against": max(0.0, -float(values.min())), "sum": float(values.sum(dtype=np.float64)),
        "shape": list(values.shape), "trust": trust(heatmap), "sanity_check": heatmap.parameters.get(SANITY),
        "parameters": dict(heatmap.parameters), "provenance": to_json(heatmap.provenance),
    }  # fmt: skip

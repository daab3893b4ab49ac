"""One case, shown: what the browser page asks for, done in the scene by the same code as in 3D Slicer.

opened()     a CT and its results in a scene of their own -> Viewer
Viewer
  show()     heatmap, opacity and threshold, outlines, CT window
  jump()     every view to a nodule
  nodules(), fused(), models()   what the page lists, as plain values; "not assessed" in words, never 0
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Optional

from shared_models.contract.colours import CLASS_COLOURS, CLASS_LABELS, RGB, heat_colour
from shared_models.contract.errors import InvalidInput
from shared_models.contract.fusion_result import MODALITIES, PART_LABELS, FusionResult
from shared_models.contract.fusion_words import reliability_words, set_words
from shared_models.contract.notice import NOTICE
from shared_models.contract.provenance import Provenance
from shared_models.contract.results import Nodule, Probabilities
from shared_models.contract.values import CLASSES

from . import heat_labels, heatmaps, nodules, results, segmentations
from .case_results import CaseResults
from .colours import nodule_colour
from .fusion_nodes import MODALITY_NAMES, field_share, known_fields, what_decides
from .logics import SceneLogics
from .rendering import WINDOWS
from .text import NOT_ASSESSED, probability, tr

NO_HEATMAP = ""


def opened(logics: SceneLogics, ct_node: Any, case: CaseResults) -> Viewer:
    """The case in the scene, its first heatmap over the CT.

    Raises
    ------
    InvalidInput, BadGeometry : the CT is not the one that was analysed.
    """
    viewer = Viewer(logics, results.import_case(logics, ct_node, case), case)
    segmentations.show_3d(viewer.nodes.segmentation)
    viewer.nodes.segmentation.GetDisplayNode().SetSliceIntersectionThickness(2)  # pixels
    # In 3D the surfaces show where the nodules are; a label each would hide them.
    viewer.nodes.markups.GetDisplayNode().SetVisibility3D(False)
    return viewer


@dataclass(frozen=True, eq=False)
class Viewer:
    """One case in a scene.

    Parameters
    ----------
    logics : of the scene
    nodes, case : the case's nodes, and the values they were made from
    """

    logics: SceneLogics
    nodes: results.CaseNodes
    case: CaseResults

    @property
    def title(self) -> str:
        """The pseudonymous id."""
        return self.case.case_id

    @property
    def notice(self) -> str:
        return tr(NOTICE)

    def keys(self) -> dict[str, heatmaps.Key]:
        """Name of each heatmap on the page to its key in the scene."""
        return {"|".join(key): key for key in self.nodes.heatmaps}

    def heatmaps(self) -> list[dict[str, Any]]:
        """What the page says of each heatmap that the case has."""
        return [_heatmap(name, key, self.nodes.heatmaps[key]) for name, key in self.keys().items()]

    def show(self, heat: str, opacity: float, threshold: float, outlines: bool, window: str) -> None:
        """Draw the case so.

        Parameters
        ----------
        heat : of heatmaps(), or NO_HEATMAP
        opacity, threshold : 0 to 1
        outlines : of the nodules, in the slices
        window : of WINDOWS

        Raises
        ------
        InvalidInput : no such heatmap or window, or a number out of range.
        """
        if heat != NO_HEATMAP and heat not in self.keys():
            raise InvalidInput(tr("The case has no such heatmap."), tr("Choose one of the list."))
        if window not in WINDOWS:
            raise InvalidInput(tr("There is no such CT window."), tr("Choose one of the list."))
        heatmaps.show(self.logics, self.nodes, self.keys().get(heat), opacity, threshold)
        self.nodes.segmentation.GetDisplayNode().SetVisibility2D(outlines)
        display = self.nodes.ct.GetDisplayNode()
        display.SetAutoWindowLevel(False)
        display.SetWindowLevel(*WINDOWS[window])

    def jump(self, row: int) -> str:
        """Move every view to the nodule of a row; what a reader hears of it."""
        nodules.jump_to(self.logics, self.nodes, row)
        nodule = self.case.radiology.nodules[row]
        return f"{segmentations.nodule_name(nodule)}: {nodules.describe(nodule)}"

    def nodules(self) -> list[dict[str, Any]]:
        """One entry a nodule, in the order of the rows."""
        return [_row(row, nodule) for row, nodule in enumerate(self.case.radiology.nodules)]

    def fused(self) -> Optional[dict[str, Any]]:
        """Bars of the fused answer and of what each modality adds; None where nothing was fused."""
        fusion = self.case.fusion
        if fusion is None:
            return None
        top = max((abs(v) for row in fusion.contributions.values() for v in row.values()), default=0.0) or 1.0
        bars = [_bar(name, fusion.probabilities[name]) for name in CLASSES]
        if fusion.not_assessed_mass > 0:
            words = probability(fusion.not_assessed_mass)
            bars.append(
                {"label": tr("Left to classes not assessed"), "percent": 100 * fusion.not_assessed_mass, "text": words}
            )  # fmt: skip
            bars[-1]["colour"] = "#999999"
        said = fusion.abstention
        return {
            "bars": bars,
            "agreement": " ".join(w for w in (fusion.agreement, set_words(fusion), *reliability_words(fusion)) if w),
            "abstention": "" if said is None else f"{said.reason} {said.what_would_help}".strip(),
            "modalities": [_modality(fusion, name, top) for name in MODALITIES] + _fields(fusion, top),
            "decides": what_decides(fusion),
        }

    def models(self) -> list[dict[str, str]]:
        """The record: every model that took part, once."""
        case = self.case
        every = [*case.radiology.provenance, *(heatmap.provenance for heatmap in case.heatmaps)]
        every += [p for part in (case.pathology, case.fusion) if part is not None for p in part.provenance]
        return [_model(p) for p in dict.fromkeys(every)]

    def notes(self) -> list[str]:
        """What a reader should know, of the CT and of the slide."""
        parts = (self.case.radiology, self.case.pathology)
        return list(dict.fromkeys(note for part in parts if part is not None for note in part.notes))


def _heatmap(name: str, key: heatmaps.Key, node: Any) -> dict[str, Any]:
    title, *lines = heat_labels.caption(node)
    failed, against = heat_labels.fails(node), heat_labels.is_against(key)
    # What the page shows in red stands there alone.
    warning = heat_labels.trust_of(node) if failed else ""
    most = tr("most against") if against else tr("most for")
    return {
        "key": name, "label": title, "lines": [line for line in lines if line != warning], "warning": warning,
        "ramp": heat_ramp(against), "most": most,
    }  # fmt: skip


def heat_ramp(against: bool = False) -> str:
    """A ramp of the heatmaps as a CSS gradient, from little to much; ``against``: of what speaks against."""
    steps = ", ".join(_css(heat_colour(step / 20, against)) for step in range(21))
    return f"linear-gradient(90deg, {steps})"


def _css(colour: RGB) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)


def _row(row: int, nodule: Nodule) -> dict[str, Any]:
    red, green, blue = (round(255 * part) for part in nodule_colour(nodule.label))
    return {
        "row": row,
        "number": nodule.label,
        "colour": _css((red, green, blue)),
        "side": tr(nodule.side or "no side"),
        "size": f"{nodule.long_axis_mm:.0f} × {nodule.short_axis_mm:.0f}",
        "volume": f"{nodule.volume_mm3:.0f}",
        "mean": f"{nodule.mean_hu:.0f}",
        "malignancy": probability(nodule.malignancy),
        "classes": _classes(nodule.subtype),
    }


def _classes(values: Probabilities) -> str:
    """For example "Adenocarcinoma 71.0 %; not assessed: Large cell carcinoma, Normal"."""
    known = [f"{tr(CLASS_LABELS[name])} {probability(values[name])}" for name in CLASSES if values[name] is not None]
    rest = [tr(CLASS_LABELS[name]) for name in CLASSES if values[name] is None]
    if not known:
        return tr("Histology: not assessed from the CT")
    return "; ".join([", ".join(known), *([f"{tr(NOT_ASSESSED)}: {', '.join(rest)}"] if rest else [])])


def _bar(name: str, value: Optional[float]) -> dict[str, Any]:
    percent = None if value is None else 100.0 * value
    return {
        "label": tr(CLASS_LABELS[name]), "percent": percent, "text": probability(value),
        "colour": _css(CLASS_COLOURS[name]),
    }  # fmt: skip


def _modality(fusion: FusionResult, modality: str, top: float) -> dict[str, Any]:
    """``top`` is the largest contribution of all, which fills half a bar."""
    name = tr(MODALITY_NAMES[modality])
    if modality in fusion.missing:
        return {"key": modality, "name": name, "words": tr("missing"), "bars": []}
    bars = [_signed(kind, value, top, f"{value:+.2f}") for kind, value in fusion.contributions[modality].items()]
    words = tr("weight {weight:.2f}").format(weight=fusion.weights[modality])
    return {"key": modality, "name": name, "words": words, "bars": bars}


def _fields(fusion: FusionResult, top: float) -> list[dict[str, Any]]:
    """Each known clinical field as a modality's entry, on a scale of its own, for all are small beside ``top``."""
    own = max((abs(v) for row in fusion.field_contributions.values() for v in row.values()), default=0.0)
    entries = []
    for field in known_fields(fusion):
        row = fusion.field_contributions[field]
        bars = [_signed(kind, row[kind], own, field_share(fusion, field, kind)) for kind in CLASSES if row[kind]]
        words = tr("part of the clinical fields, on a scale of its own")
        if top >= 1.5 * own:
            words = tr("part of the clinical fields, drawn {times:.0f} times larger").format(times=top / own)
        entries.append({"key": field, "name": tr(PART_LABELS[field]), "words": words, "bars": bars})
    return entries


def _signed(kind: str, value: float, top: float, text: str) -> dict[str, Any]:
    """A bar of class ``kind`` to the left or right of the middle; ``top`` fills half."""
    width = 50.0 * abs(value) / top
    left = 50.0 if value >= 0 else 50.0 - width
    colour = _css(CLASS_COLOURS[kind])
    return {"label": tr(CLASS_LABELS[kind]), "left": left, "width": width, "text": text, "colour": colour}


def _model(provenance: Provenance) -> dict[str, str]:
    known = ", ".join(tr(CLASS_LABELS[name]) for name in CLASSES if name in provenance.coverage)
    return {
        "id": provenance.model_id,
        "sha256": provenance.weights_sha256,
        "version": provenance.code_version,
        "device": provenance.device,
        "calibrated": tr("calibrated") if provenance.calibrated else tr("not calibrated"),
        "coverage": known or tr("no class"),
    }

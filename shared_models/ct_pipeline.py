"""From a CT to its nodules: lungs, search, a look from near at each place, measurements, malignancy, heatmaps.

CTModels       the networks of a CT, on one device
CTAnalysis     result, mask and heatmaps
analyse_ct()   all of it, with progress and Cancel
explained()    an analysis with other heatmaps, without a new search

No CT with a known subtype stands behind these models: every subtype is "not assessed". Malignancy is what LIDC's
readers would rate, not histology.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Callable, Optional

import numpy as np

from .code_version import code_version
from .contract.errors import Cancelled, InvalidInput
from .contract.provenance import Provenance
from .contract.results import CT_TARGETS, METHODS, Heatmap, LabelVolume, Nodule, RadiologyResult
from .contract.values import CLASSES, Abstention, CTVolume
from .ct_heatmaps import ct_heatmaps
from .ct_lungs import lungs, midline_mm, side_of
from .ct_malignancy import Assessment, MalignancyModel
from .ct_nodules import Candidate, axes_mm, handmade, prompt_of
from .ct_quality import ct_quality
from .ct_search import outlined, searched
from .geometry import index_to_lps
from .model_bundle import MODELS_ROOT, Bundle

BUNDLE, WEIGHTS = "lung_nodule_segmentation", "models/model.pt"
REFINE = "models/refine.pt"  # of the same bundle, where its card names it
AVAILABLE = METHODS
MASS_MM = 30.0  # above it a nodule is called a mass (Fleischner glossary, Bankier et al. 2024)

Progress = Callable[[str, float], None]
Cancel = Callable[[], bool]


class CTModels:
    """The models of a CT on one device; made by load().

    Attributes
    ----------
    network : of ct_network; malignancy : MalignancyModel; provenance : of both, segmentation first
    refine : of ct_refine, which corrects outlines on thin slices; None in a bundle without it
    """

    def __init__(self, bundle: Bundle, malignancy: MalignancyModel, device: str) -> None:
        from . import ct_refine
        from .ct_network import load

        self.device = device
        import torch

        # This layout computes a third faster on a CPU.
        self.network = load(bundle.path(WEIGHTS)).to(device, memory_format=torch.channels_last)
        held = REFINE in bundle.own["weights"]
        self.refine: Optional[Any] = ct_refine.load(bundle.path(REFINE)).to(device) if held else None
        self.malignancy = malignancy
        self._folders = {"nodule": bundle.folder, "malignancy": malignancy.bundle.folder}
        self._explained: dict[str, Any] = {}
        version = code_version()
        self.provenance: tuple[Provenance, ...] = (
            bundle.provenance(device, version),
            malignancy.bundle.provenance("cpu", version),
        )

    def explained(self, target: str) -> tuple[Any, Provenance, Path]:
        """The network behind ``target`` as the attribution methods see it, its provenance, and its bundle's folder.

        Raises
        ------
        InvalidInput : no such target.
        """
        from .ct_attribution import malignancy_model, nodule_model

        if target not in CT_TARGETS:
            raise InvalidInput(f"A heatmap of a CT cannot explain {target:.80}.", f"Choose {' or '.join(CT_TARGETS)}.")
        if target not in self._explained:
            self._explained[target] = (
                nodule_model(self.network, self.device) if target == "nodule"
                else malignancy_model(self.malignancy.network)
            )  # fmt: skip
        return self._explained[target], self.provenance[CT_TARGETS.index(target)], self._folders[target]

    @classmethod
    def load(cls, models_root: Path = MODELS_ROOT, device: str = "cpu") -> CTModels:
        """Load the bundles under ``models_root``.

        Raises
        ------
        ModelUnavailable : one is missing, incomplete or changed.
        """
        return cls(Bundle.load(models_root / BUNDLE), MalignancyModel.load(models_root), device)


@dataclass(frozen=True, eq=False)
class CTAnalysis:
    """What a CT shows; the mask on the CT's grid; heatmaps by method, each a crop of that grid.

    ``pieces`` are the nodules as they were outlined, in the order of their labels: what more heatmaps are made of.
    """

    result: RadiologyResult
    mask: LabelVolume
    heatmaps: Mapping[str, Heatmap] = field(default_factory=dict)
    pieces: tuple[Candidate, ...] = ()


def analyse_ct(
    volume: CTVolume,
    models: CTModels,
    *,
    points_lps_mm: Sequence[Any] = (),
    boxes_lps_mm: Sequence[Any] = (),
    explain: Sequence[str] = (),
    progress: Progress = lambda stage, fraction: None,
    cancelled: Cancel = lambda: False,
    search: bool = True,
    corrected: Optional[LabelVolume] = None,
    target: str = CT_TARGETS[0],
) -> CTAnalysis:
    """Nodules of one CT.

    Parameters
    ----------
    points_lps_mm, boxes_lps_mm : nodules that the user pointed at; they are always in the result, if recognised
    explain : methods of METHODS
    progress : called with a stage and the fraction that is done
    cancelled : asked before every batch of slices and every nodule
    search : look through both lungs too, not only at what was pointed at
    corrected : a reader's segmentation on the CT's grid; it is measured and classified, and nothing is searched
    target : what heatmaps explain, of CT_TARGETS

    Raises
    ------
    InvalidInput : no lungs, or a method that is not available. BadGeometry : a point outside. Cancelled.
    """
    for method in explain:
        if method not in AVAILABLE:
            raise InvalidInput(f"The method {method} is not known.", f"Use {', '.join(AVAILABLE)}.")

    def go_on(stage: str, fraction: float) -> None:
        if cancelled():
            raise Cancelled("The job was cancelled.", "")
        progress(stage, fraction)

    def finished(pieces: Sequence[Candidate], notes: Sequence[str]) -> CTAnalysis:
        mask, rated, kept = _measured(pieces, volume, models, midline_mm(lung, volume.ijk_to_lps), cancelled)
        analysis = CTAnalysis(_result(volume, rated, models, notes), mask, pieces=kept)
        return explained(volume, models, analysis, explain, target, progress=go_on, cancelled=cancelled)

    asked = [(prompt_of(volume, point, "point"), "point") for point in points_lps_mm]
    asked += [(prompt_of(volume, box, "box"), "box") for box in boxes_lps_mm]
    go_on("finding the lungs", 0.0)
    lung, rim = lungs(volume)
    if corrected is not None:
        pieces = handmade(corrected.labels, volume.spacing_mm)
        notes = ["The nodules' outlines are those that a reader corrected."]
        return finished(pieces, notes)
    pieces, notes = [], []
    for prompt, kind in asked:
        go_on("segmenting what was pointed at", 0.04)
        piece = outlined(
            models.network, volume.voxels, volume.spacing_mm, prompt, kind, models.device, cancelled=cancelled,
            refine=models.refine,
        )  # fmt: skip
        if piece is None:
            notes.append(f"No nodule was recognised at the {kind} that was given.")
        else:
            pieces.append(piece)
    if search:
        pieces += searched(models.network, volume, lung, rim, models.device, go_on, cancelled)
    else:
        notes.append("Only what was pointed at was looked at: the rest of the lungs was not searched.")
    go_on("measuring nodules", 0.85)
    return finished(pieces, notes)


def explained(
    volume: CTVolume, models: CTModels, analysis: CTAnalysis, methods: Sequence[str], target: str = CT_TARGETS[0], *,
    progress: Progress = lambda stage, fraction: None, cancelled: Cancel = lambda: False,
) -> CTAnalysis:  # fmt: skip
    """An analysis with other heatmaps; the nodules stay as they were found.

    Raises
    ------
    InvalidInput : a method or target that there is not. Cancelled.
    """
    if not methods:
        return replace(analysis, heatmaps={})
    model, provenance, bundle = models.explained(target)
    maps = ct_heatmaps(
        volume, analysis.mask, analysis.pieces, methods, model=model, target=target, provenance=provenance,
        bundle=bundle, progress=lambda stage, fraction: progress(stage, 0.9 + 0.1 * fraction), cancelled=cancelled,
    )  # fmt: skip
    return replace(analysis, heatmaps=maps)


def _measured(
    pieces: Sequence[Candidate], volume: CTVolume, models: CTModels, midline: Optional[float], cancelled: Cancel
) -> tuple[LabelVolume, tuple[tuple[Nodule, Assessment], ...], tuple[Candidate, ...]]:
    """The labels' volume, nodules by malignancy, then size, and the piece of each; of overlapping ones the first.

    A nodule that is not assessed, being unlike the training nodules, keeps the place that its probability would have;
    but where it is a mass, it comes first: nothing that cannot be rated may hide a large tumour behind vessels.
    """
    taken = np.zeros(volume.voxels.shape, bool)
    found = []
    for piece in pieces:
        if cancelled():
            raise Cancelled("The job was cancelled.", "")
        own = piece.mask & ~taken[piece.where]
        if own.sum() < 0.5 * piece.mask.sum():
            continue
        taken[piece.where] |= own
        assessment = models.malignancy.assessed(volume.voxels, piece.where, own, volume.spacing_mm)
        axes = axes_mm(own, (volume.spacing_mm[1], volume.spacing_mm[0]))
        found.append((piece, own, assessment, axes))
    found.sort(key=lambda f: (not _unrated_mass(f[2], f[3][0]), -f[2].probability, -int(f[1].sum())))
    labels = np.zeros(volume.voxels.shape, np.uint8)
    nodules = []
    for label, (piece, own, assessment, (long_axis, short_axis)) in enumerate(found[:255], 1):
        labels[piece.where][own] = label
        index = np.argwhere(own).mean(axis=0) + [s.start for s in piece.where]
        x, y, z = index_to_lps(volume.ijk_to_lps, index[::-1])
        nodules.append(
            Nodule(
                label=label,
                centre_lps_mm=(float(x), float(y), float(z)),
                long_axis_mm=long_axis,
                short_axis_mm=short_axis,
                volume_mm3=float(own.sum() * abs(np.linalg.det(volume.ijk_to_lps[:3, :3]))),
                mean_hu=float(volume.voxels[piece.where][own].mean()),
                malignancy=assessment.malignancy,
                subtype=dict.fromkeys(CLASSES),
                found_by=piece.found_by,
                side=side_of(float(x), midline),
            )
        )
    kept = tuple(piece for piece, _, _, _ in found[:255])
    rated = tuple(zip(nodules, (assessment for _, _, assessment, _ in found)))
    return LabelVolume(labels, volume.ijk_to_lps, volume.series_uid), rated, kept


def _unrated_mass(assessment: Assessment, long_axis_mm: float) -> bool:
    return assessment.malignancy is None and long_axis_mm > MASS_MM


def _result(
    volume: CTVolume, rated: tuple[tuple[Nodule, Assessment], ...], models: CTModels, notes: Sequence[str]
) -> RadiologyResult:
    nodules = tuple(nodule for nodule, _ in rated)
    foreign = [nodule.label for nodule in nodules if nodule.malignancy is None]
    said = [
        "Malignancy is what readers of LIDC-IDRI would rate, not histology.",
        "The subtype is not assessed on CT: no CT with a known subtype was there to learn from.",
        *notes,
    ]
    if volume.spacing_mm[2] > 3.0:
        said.append(f"Slices are {volume.spacing_mm[2]:.1f} mm apart: small nodules may be missed.")
    noisy = ct_quality(volume).note
    said += [noisy] if noisy else []
    nothing = None
    if not nodules:
        nothing = Abstention(
            "No nodule was found in the lungs; small or faint ones may have been missed.",
            "Point at a nodule that you see, or use a CT with thin slices.",
        )
    elif len(foreign) == len(nodules):
        nothing = Abstention(
            "What was found looks unlike all nodules that the malignancy model learned from, so it is not rated.",
            "A radiologist's look: these may be vessels, or lesions larger than those of LIDC-IDRI.",
        )
    elif foreign:
        which = f"nodule{'s' * (len(foreign) > 1)} {', '.join(map(str, foreign))}"
        said.append(f"Malignancy of {which} is not assessed: unlike all nodules that the model learned from.")
    if nodules and models.malignancy.why_not:
        why = models.malignancy.why_not
        said.append(f"Whether nodules are like those the model learned from is not assessed: {why}.")
    highest = max((n.malignancy for n in nodules if n.malignancy is not None), default=None)
    return RadiologyResult(
        volume.series_uid, nodules, highest, dict.fromkeys(CLASSES), models.provenance, tuple(said), nothing,
        _reliability(rated),
    )  # fmt: skip


def _reliability(rated: Sequence[tuple[Nodule, Assessment]]) -> Optional[float]:
    """That of the nodule that decides the case's malignancy, of all of them where none is assessed; None as there."""
    known = [assessment for nodule, assessment in rated if nodule.malignancy is not None]
    deciding = max(known or [one for _, one in rated], key=lambda one: one.probability, default=None)
    return None if deciding is None else deciding.reliability

"""Cases for the report, made in code: SYNTHETIC, no patient. Everything follows from a seed.

stored_slide()   tiles as the server keeps them
GALLERY          name to a function that makes the CaseRecord: what a report has to stand, from a full case to the
                 longest names that are allowed
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Callable, Optional

import numpy as np

from inference_server.case_record import CaseRecord
from inference_server.slides import StoredSlide
from shared_models.clinical import ClinicalModel
from shared_models.contract.board_note import MAX_AUTHOR, MAX_DECISION, MAX_TEXT, BoardNote
from shared_models.contract.codec import encode
from shared_models.contract.heatmap_words import FAILED, FIGURES, PASSED, SANITY
from shared_models.contract.provenance import Provenance
from shared_models.contract.results import Heatmap, LabelVolume, Nodule, PathologyResult, RadiologyResult
from shared_models.contract.values import CLASSES, Abstention, Array, ClinicalFields, CTVolume, SlideTiles
from shared_models.fusion import fuse

NOW, BEFORE = "a" * 64, "b" * 64  # what a note was written about: these results, and earlier ones
SHAPE, SPACING = (32, 200, 256), (1.2, 1.2, 2.5)
AFFINE = np.array([[1.2, 0, 0, -153.0], [0, 1.2, 0, -120.0], [0, 0, 2.5, 40.0], [0, 0, 0, 1]])
KNOWN = ("adenocarcinoma", "squamous_cell", "normal")
PATIENT = ClinicalFields(67, "female", "former", 30.0)
FINDER = Provenance("lung_nodule_segmentation 0.1.0", "1" * 64, "0.1.0", False, "cpu", ())
RATER = Provenance("lung_nodule_malignancy 0.1.0", "2" * 64, "0.1.0", True, "cpu", ())
TISSUE = Provenance("lung_he_lite0 0.1.0", "3" * 64, "0.1.0", True, "cpu", KNOWN)
# Centre as (slice, row, column), diameter in mm, malignancy; ordered as results are.
SPOTS = (
    ((16, 110, 70), 22.0, 0.93), ((10, 80, 190), 14.0, 0.71), ((22, 120, 185), 9.0, 0.44), ((6, 90, 60), 8.0, 0.31),
    ((26, 85, 66), 7.5, 0.22), ((13, 130, 80), 7.0, 0.15), ((19, 75, 200), 6.5, 0.12), ((8, 125, 195), 6.0, 0.08),
    ((24, 105, 178), 5.5, 0.05), ((28, 95, 74), 5.0, 0.004),
)  # fmt: skip


def stored_slide(tiles: SlideTiles, tile_px: Optional[tuple[float, float]] = None) -> StoredSlide:
    """``tiles`` of one batch; the file goes at once, its mapping stays as long as the slide."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "frame"
        path.write_bytes(encode(tiles))
        return StoredSlide(tiles.slide_id, [path], 1 << 30, tile_px)


def _ball(centre: Sequence[int], diameter: float) -> Array:
    """bool (slices, rows, columns): a sphere of this diameter in mm."""
    k, j, i = np.ogrid[: SHAPE[0], : SHAPE[1], : SHAPE[2]]
    steps = (
        ((k - centre[0]) * SPACING[2]) ** 2 + ((j - centre[1]) * SPACING[1]) ** 2 + ((i - centre[2]) * SPACING[0]) ** 2
    )
    return steps <= (diameter / 2) ** 2


@lru_cache
def chest() -> Array:
    """int16 (slices, rows, columns), HU: two lungs with vessels in a body, without nodules."""
    rng = np.random.default_rng(0)
    _, j, i = np.ogrid[: SHAPE[0], : SHAPE[1], : SHAPE[2]]
    hu = np.full(SHAPE, -1000.0)
    hu[np.broadcast_to(((i - 128) / 122) ** 2 + ((j - 102) / 88) ** 2 < 1, SHAPE)] = 30
    lungs = np.zeros(SHAPE, bool)
    for middle in (72, 186):
        lungs |= np.broadcast_to(((i - middle) / 46) ** 2 + ((j - 98) / 66) ** 2 < 1, SHAPE)
    hu[lungs] = -860
    for k, y, x in zip(rng.integers(0, SHAPE[0], 220), rng.integers(50, 150, 220), rng.integers(30, 230, 220)):
        vessel = np.hypot(np.arange(SHAPE[1])[:, None] - y, np.arange(SHAPE[2])[None, :] - x) < rng.uniform(0.8, 2.6)
        part = slice(max(0, k - 3), k + 4)
        hu[part][:, vessel & lungs[k]] = -20
    return (hu + rng.normal(0, 22, SHAPE)).astype(np.int16)


def ct(count: int = 2, spots: Sequence[Any] = SPOTS, **more: Any) -> dict[str, Any]:
    """What a record holds of a CT with the first ``count`` nodules."""
    voxels, labels = chest().copy(), np.zeros(SHAPE, np.uint8)
    heat, nodules = np.zeros(SHAPE, np.float32), []
    for label, (centre, diameter, malignancy) in enumerate(spots[:count], start=1):
        ball = _ball(centre, diameter)
        voxels[ball], labels[ball] = 20 + 10 * label, label
        heat[_ball(centre, 0.7 * diameter)] = 1 - 0.05 * label
        heat[_ball((centre[0], centre[1], centre[2] + 9), 5)] = -0.3
        middle = tuple(float(v) for v in (AFFINE @ [centre[2], centre[1], centre[0], 1])[:3])
        volume = float(ball.sum() * np.prod(SPACING))
        side = "right" if centre[2] < 128 else "left"
        nodules.append(Nodule(label, middle, diameter, 0.85 * diameter, volume, 25.0, malignancy,
                              dict.fromkeys(CLASSES), "search", side))  # fmt: skip
    notes = ("Malignancy is what readers of LIDC-IDRI would rate, not histology.",)
    result = RadiologyResult(
        "1.2.3", tuple(nodules), nodules[0].malignancy if nodules else None, dict.fromkeys(CLASSES), (FINDER, RATER),
        notes, reliability=0.9,
    )  # fmt: skip
    maps = {}
    if nodules:
        said = {SANITY: PASSED, FIGURES: "insertion AUC 0.81, deletion AUC 0.22 (40 nodules)", "layer": "encoder.3"}
        maps["gradcam"] = Heatmap(heat, AFFINE, "1.2.3", "radiology", "gradcam", "malignancy", RATER, said)
    given = dict(radiology=result, mask=LabelVolume(labels, AFFINE, "1.2.3"), volume=CTVolume(voxels, AFFINE, "1.2.3"),
                 ct_heatmaps=maps)  # fmt: skip
    return {**given, **more}


def _tile(rng: np.random.Generator, tumour: bool) -> Array:
    """uint8 (48, 48, 3): pink with violet nuclei, many of them in a tumour."""
    y, x = np.mgrid[:48, :48]
    picture = np.full((48, 48, 3), (232, 178, 205), float) + rng.normal(0, 7, (48, 48, 1))
    for _ in range(34 if tumour else 9):
        cy, cx, r = rng.uniform(0, 48), rng.uniform(0, 48), rng.uniform(1.5, 3.4 if tumour else 2.2)
        picture[np.hypot(y - cy, x - cx) < r] = (104, 62, 140)
    return np.clip(picture, 0, 255).astype(np.uint8)


def slide(side: int = 12, slide_id: str = "biopsy-1", best: str = "adenocarcinoma", **more: Any) -> dict[str, Any]:
    """What a record holds of a slide of about ``side`` x ``side`` tiles, its left part a tumour of class ``best``."""
    rng = np.random.default_rng(1)
    places = np.array([(c, r) for r in range(side) for c in range(side + 3)
                       if (c - side / 2) ** 2 / 1.4 + (r - side / 2) ** 2 < (side / 2) ** 2])  # fmt: skip
    tumour = places[:, 0] < 0.55 * side
    origin = (places * 224).astype(np.int64)
    pixels = np.stack([_tile(rng, bool(t)) for t in tumour])
    table = np.full((len(places), 5), np.nan, np.float32)
    sure = rng.uniform(0.55, 0.99, len(places)).astype(np.float32)
    second = "squamous_cell" if best == "adenocarcinoma" else "adenocarcinoma"
    for row, (t, p) in enumerate(zip(tumour, sure)):
        table[row, [CLASSES.index(n) for n in KNOWN]] = 0
        table[row, CLASSES.index(best if t else "normal")] = p
        table[row, CLASSES.index(second)] = 1 - p
    whole = {**dict.fromkeys(CLASSES), best: 0.86, second: 0.11, "normal": 0.03}
    quality = rng.uniform(0.4, 1, len(places)).astype(np.float32)
    result = PathologyResult(slide_id, 0.5, (224.0, 224.0), origin, table, whole, (TISSUE,), tile_quality=quality,
                             tile_reliability=quality, reliability=0.8)  # fmt: skip
    values = np.zeros((2 * side, 2 * side + 6), np.float32)
    values[2:side, 3:side] = rng.uniform(0.2, 1, (side - 2, side - 3))
    place = np.array([[112.0, 0, 56], [0, 112, 56], [0, 0, 1]])
    said = {SANITY: FAILED, FIGURES: "insertion AUC 0.62 (200 tiles)"}
    heat = Heatmap(values, place, slide_id, "pathology", "gradcam", best, TISSUE, said)
    stored = stored_slide(SlideTiles(pixels, origin, 2.33, slide_id), (224.0, 224.0))
    return {**dict(pathology=result, slide=stored, slide_heatmaps={"gradcam": heat}), **more}


def case(case_id: str = "case-3f9a1c20b7d4", clinical: Optional[ClinicalFields] = PATIENT, **parts: Any) -> CaseRecord:
    """The record of these parts, fused with the models' own rules."""
    fusion = fuse(parts.get("radiology"), parts.get("pathology"), clinical, clinical_model=ClinicalModel.load())
    given = dict(synthetic=True, created="2026-03-02T09:15:00+00:00", clinical=clinical, fusion=fusion, about=NOW)
    return CaseRecord(case_id, **{**given, **parts})


def note(text: str = "", decision: str = "", author: str = "", day: int = 3, about: str = NOW) -> BoardNote:
    return BoardNote(text, decision, author, f"2026-03-{day:02d}T14:05:00+00:00", about)


NOTES = (
    note("CT and slide fit. PET/CT asked for before staging.", "", "Dr. R. Pulmo", 2, BEFORE),
    note(
        "PET/CT: no distant lesion.\nEBUS of station 7 negative.", "Lobectomy, right upper lobe.", "Tumour board A", 4
    ),
)


def board() -> CaseRecord:
    """With the notes of two meetings, and a set of likely classes."""
    record = case(notes=NOTES, **ct(), **slide())
    likely = dataclasses.replace(
        record.fusion, conformal_set=("adenocarcinoma", "squamous_cell"), conformal_coverage=0.9
    )
    return dataclasses.replace(record, fusion=likely)


def abstention() -> CaseRecord:
    """CT and slide say nothing, so nobody does."""
    nothing = dict.fromkeys(CLASSES)
    seen = Abstention(
        "What was found looks unlike all nodules that the malignancy model learned from, so it is not rated.",
        "A radiologist's look: these may be vessels, or lesions larger than those of LIDC-IDRI.",
    )
    scan = ct(1)
    unrated = tuple(dataclasses.replace(n, malignancy=None) for n in scan["radiology"].nodules)
    scan["radiology"] = dataclasses.replace(scan["radiology"], nodules=unrated, malignancy=None, abstention=seen)
    tissue = slide()
    blurred = Abstention("134 of 140 tiles look like none that the model learned from, so the slide is not assessed.",
                         "A slide stained with H&E and scanned in focus, with its right pixel size; or a model of that "
                         "laboratory.")  # fmt: skip
    table = np.full_like(tissue["pathology"].tile_probabilities, np.nan)
    tissue["pathology"] = dataclasses.replace(
        tissue["pathology"], probabilities=nothing, tile_probabilities=table, abstention=blurred
    )
    return case(clinical=ClinicalFields(), **scan, **tissue)


def others_model() -> CaseRecord:
    """A slide model of somebody else: its classes are not the suite's, so no tumour type is assessed."""
    tissue = slide()
    known = tissue["pathology"]
    count = len(known.origin_px)
    own = np.random.default_rng(2).dirichlet((4, 2, 1), count).astype(np.float32)
    theirs = Provenance("hospital_grading 2", "9" * 64, "0.1.0", False, "cpu", ())
    tissue["pathology"] = dataclasses.replace(
        known, probabilities=dict.fromkeys(CLASSES), tile_probabilities=np.full((count, 5), np.nan, np.float32),
        provenance=(theirs,), other_classes=("lepidic", "acinar", "solid"), other_probabilities=own,
        abstention=Abstention(
            "The slide model names classes of its own, which are not assigned to the five of this suite.",
            "The model that ships, or the same one added again with --class THEIRS=OURS.",
        ),
    )  # fmt: skip
    return case(**ct(), **tissue)


def long_names() -> CaseRecord:
    """Everything as long as the contract allows, or longer than anybody would choose; every box is full."""
    by = tuple(
        Provenance(f"a_model_with_a_name_that_says_everything_about_how_it_was_trained_{i} 12.34.56", f"{i:x}" * 64,
                   "0.1.0+g0123456789ab.dirty-and-a-long-local-version", i % 2 == 0, "cpu", KNOWN) for i in range(10)
    )  # fmt: skip
    scan, tissue = ct(3), slide(12, "SLIDE_" + "A_very_long_slide_name_" * 6)
    scan["radiology"] = dataclasses.replace(scan["radiology"], provenance=by[:7], notes=("A long note. " * 30,))
    tissue["pathology"] = dataclasses.replace(tissue["pathology"], provenance=by[7:])
    text, decision = ("A long note, said again. " * 15 + "\n") * (MAX_TEXT // 376), "D" * 70 + " and more" * 45
    history = (note("", "D" * MAX_DECISION, "", 2), note(text, decision, "Dr. " + "A" * 116, 3, BEFORE))
    assert len(decision) <= MAX_DECISION and len(history[1].author) == MAX_AUTHOR
    record = case("case-" + "W" * 59, notes=history, **scan, **tissue)
    return dataclasses.replace(record, fusion=dataclasses.replace(
        record.fusion, agreement="Strong conflict: radiology and pathology disagree (cancer and normal); " * 4,
        provenance=by, abstention=Abstention("Two modalities contradict each other, each of them sure. " * 6,
                                             "Check that all are of one patient and one lesion; review both. " * 6),
    ))  # fmt: skip


GALLERY: dict[str, Callable[[], CaseRecord]] = {
    "both": lambda: case(**ct(), **slide()),
    "ct_only": lambda: case(**ct(3)),
    "slide_only": lambda: case(clinical=None, **slide()),
    "fields_only": lambda: case(),
    "ten_nodules": lambda: case(**ct(10), **slide()),
    "no_nodule": lambda: case(**ct(0), **slide()),
    "abstention": abstention,
    "not_assessed": others_model,
    "conflict": lambda: case(**ct(1), **slide(best="squamous_cell"), synthetic=False),
    "board": board,
    "long_names": long_names,
}

"""What the report says of the CT.

ct_values()       CaseRecord -> what templates/report_ct.html shows, and under "summary" what the first page shows of it
MOST_NODULES      so many nodules get pictures; the table holds all
rated_words()     a malignancy beside how often nodules rated about the same came true
interval_words()  for example "61 to 89 %"
type_of()         solid or ground glass, computed from the voxels
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Optional

from shared_models import ct_density
from shared_models.calibration_record import Calibration
from shared_models.contract.results import Nodule, RadiologyResult, placed
from shared_models.contract.values import Array, CTVolume

from . import report_pictures as pictures
from .case_record import CaseRecord
from .report_charts import percent
from .report_drawing import data_uri
from .report_guidelines import Guidelines, guidelines_of, kind_words
from .report_heatmaps import MapWords, map_words
from .report_models import measured
from .report_words import _, class_words, ngettext

MOST_NODULES, MOST_ON_PAGE_ONE = 5, 3
MALIGNANCY_MODEL, _MALIGNANT = "lung_nodule_malignancy", "malignant"
# Of a map's strongest value: with less of it a picture shows next to nothing, and says so, or is left out.
_WEAK, _NOTHING = 0.1, 0.01
_THICK_MM = 3.0  # slices of LIDC, on which the rule for the type was measured, are mostly thinner


def ct_values(record: CaseRecord) -> Optional[dict[str, Any]]:
    """What the template shows as ``ct``; None where no CT was analysed."""
    result, volume = record.radiology, record.volume
    if result is None:
        return None
    calibration = measured(result.provenance, MALIGNANCY_MODEL)
    rows = [_row(record, nodule, calibration) for nodule in result.nodules]
    if volume is not None:
        _add_pictures(rows[:MOST_NODULES], record, volume)
    for i, row in enumerate(rows):  # said once
        same = [r["nodule"].label for r in rows[:i] if r["guidelines"].scenes == row["guidelines"].scenes]
        row["same_rows"] = same[0] if same else None
    middle = None
    if volume is not None and not rows:
        middle = data_uri(pictures.whole_slice(volume, None, len(volume.voxels) // 2))
    return {
        "result": result,
        "rows": rows,
        "most": MOST_NODULES,
        "window": _window_words(),
        "middle": middle,
        "has_maps": bool(record.ct_heatmaps) and volume is not None,
        "has_pixels": volume is not None,
        "malignancy": percent(result.malignancy),
        "spacing": None if volume is None else " x ".join(f"{s:.2f}" for s in volume.spacing_mm),
        "type_rule": _type_rule(record) if rows else [],
        "interval_rule": _interval_rule(calibration) if rows else "",
        "assumed": list(dict.fromkeys(words for row in rows for words in row["guidelines"].assumed)),
        "premises": rows[0]["guidelines"].premises if rows else (),
        "tissue": record.pathology is not None,
        "subtype": bool(rows) and any(value is not None for n in result.nodules for value in n.subtype.values()),
        "summary_words": _summary_words(result),
        "summary": [_on_page_one(row) for row in rows[:MOST_ON_PAGE_ONE]],
    }


def _window_words() -> str:
    level, width = pictures.WINDOW_LEVEL_WIDTH
    return _("lung window, level %(level)s HU, width %(width)s HU") % {"level": f"{level:.0f}", "width": f"{width:.0f}"}


def _row(record: CaseRecord, nodule: Nodule, calibration: Optional[Calibration]) -> dict[str, Any]:
    assert record.radiology is not None
    x, y, z = nodule.centre_lps_mm
    kind = type_of(record, nodule)
    return {
        "nodule": nodule,
        "size": _("%(long)s x %(short)s mm") % {"long": f"{nodule.long_axis_mm:.1f}",
                                                "short": f"{nodule.short_axis_mm:.1f}"},
        "malignancy": percent(nodule.malignancy),
        **rated_words(nodule.malignancy, calibration),
        "place": f"{x:.0f}, {y:.0f}, {z:.0f}",
        "side": {"left": _("left lung"), "right": _("right lung"), None: _("side not told")}[nodule.side],
        "found_by": {"search": _("search"), "point": _("a point of the user"), "box": _("a box of the user"),
                     "hand": _("outlined by hand")}[nodule.found_by],
        "kind": kind_words(kind) if kind is None else _("%(kind)s (computed)") % {"kind": kind_words(kind)},
        "subtype": ", ".join(f"{class_words(n)} {percent(p)}" for n, p in nodule.subtype.items() if p is not None)
        or _("not assessed"),
        "guidelines": guidelines_of(nodule, kind, len(record.radiology.nodules), record.clinical),
        "images": [],
        "not_here": [],
        "slice": None,
    }  # fmt: skip


def _add_pictures(rows: Sequence[dict[str, Any]], record: CaseRecord, volume: CTVolume) -> None:
    """To each row key image, heatmaps over it, and where it lies: (URI, alt text, caption, MapWords or None) each."""
    crops = [pictures.crop_of(volume, row["nodule"], record.mask) for row in rows]
    for row, crop in zip(rows, crops):
        nodule: Nodule = row["nodule"]
        row["slice"] = crop.slice_index + 1
        row["where"] = _("nodule %(label)s, slice %(slice)s") % {"label": nodule.label, "slice": row["slice"]}
        outlined = record.mask is not None and bool((record.mask.labels[crop.slice_index] == nodule.label).any())
        drawn = _("outline of the segmentation") if outlined else _("its outline is not on this slice")
        key = data_uri(pictures.key_image(volume, record.mask, nodule, crop))
        row["images"].append((
            key, _("Enlarged axial CT of %(where)s, %(drawn)s") % {"where": row["where"], "drawn": drawn},
            _("Key image: %(drawn)s, %(window)s") % {"drawn": drawn, "window": _window_words()}, None,
        ))  # fmt: skip
    shape = (volume.voxels.shape[0], volume.voxels.shape[1], volume.voxels.shape[2])
    for heatmap in record.ct_heatmaps.values() if rows else ():
        # One at a time: on the CT's own grid a map is as large as the CT.
        values = placed(heatmap.values, heatmap.index_to_world, shape, volume.ijk_to_lps)
        words, top = map_words(heatmap), pictures.top_of(heatmap)
        for row, crop in zip(rows, crops):
            _add_heatmap(row, crop, volume, values, top, words)
    for row, crop in zip(rows, crops):
        full = data_uri(pictures.whole_slice(volume, crop, crop.slice_index))
        alt = _("Axial slice with a frame at %(where)s") % {"where": row["where"]}
        row["images"].append((full, alt, _("Where it lies"), None))


def _add_heatmap(
    row: dict[str, Any], crop: pictures.Crop, volume: CTVolume, values: Array, top: float, words: MapWords
) -> None:
    """Its picture, or under "not_here" that nothing of it lies at this nodule; ``values`` on the CT's grid."""
    shown = pictures.crop_of_map(values, crop, volume, row["nodule"])
    share = pictures.strongest(values, shown) / max(top, 1e-12)
    if share < _NOTHING:
        row["not_here"].append(words)
        return
    uri = data_uri(pictures.overlay(volume, values, top, shown))
    if shown.slice_index != crop.slice_index:
        titled = _("%(title)s, slice %(slice)s") % {"title": words.title, "slice": shown.slice_index + 1}
        words = replace(words, title=titled)
    here = _("Here it reaches %(share)s of its strongest value.") % {"share": percent(share)} if share < _WEAK else ""
    alt = _("Heatmap %(title)s over %(where)s") % {"title": words.title, "where": row["where"]}
    row["images"].append((uri, alt, here, words))


def type_of(record: CaseRecord, nodule: Nodule) -> Optional[str]:
    """The nodule's type, computed from the voxels; None where they are not at hand or do not tell."""
    if record.volume is None or record.mask is None:
        return None
    from scipy import ndimage

    where = ndimage.find_objects(record.mask.labels, max_label=nodule.label)[nodule.label - 1]
    if where is None:
        return None
    own = record.mask.labels[where] == nodule.label
    return ct_density.nodule_type(ct_density.core_hu(record.volume.voxels[where], own))


def rated_words(probability: Optional[float], calibration: Optional[Calibration]) -> dict[str, str]:
    """ "interval" and "support" of a malignancy: how uncertain its calibration is there, and how often nodules rated
    about the same came true. Both are empty where there is no malignancy or nothing was measured of these weights."""
    nothing = {"interval": "", "support": ""}
    if probability is None or calibration is None:
        return nothing
    bar, interval = calibration.like(_MALIGNANT, probability), calibration.interval(_MALIGNANT, probability)
    if bar is None or interval is None:
        return nothing
    support = _("Of %(n)s validation nodules that the model rated %(from)s to %(to)s, readers rated %(rate)s as "
                "malignant (95 %% interval %(low)s to %(high)s %%).") % {
        "n": bar.n, "from": f"{bar.low:.2f}", "to": f"{bar.high:.2f}", "rate": f"{100 * bar.rate:.0f} %",
        "low": f"{100 * bar.ci95[0]:.0f}", "high": f"{100 * bar.ci95[1]:.0f}",
    }  # fmt: skip
    return {"interval": interval_words(*interval), "support": support}


def interval_words(low: float, high: float) -> str:
    """For example "61 to 89 %"; what is only unlikely is never "0 %"."""
    ends = [f"{100 * low:.0f}" if low >= 0.01 else _("under 1"), f"{100 * high:.0f}" if high <= 0.99 else _("over 99")]
    return _("%(low)s to %(high)s %%") % {"low": ends[0], "high": ends[1]}


def _interval_rule(calibration: Optional[Calibration]) -> str:
    if calibration is None:
        return _("No interval: of the model that rated these nodules it was not measured how often its ratings come "
                 "true.")  # fmt: skip
    return _("Interval: 95 %% of the calibration curve at this malignancy, refitted on resamples of the %(n)s LIDC "
             "validation nodules of %(groups)s patients, outlined by the same network; it says how well the rating is "
             "calibrated, not what this one nodule is. The model was calibrated on these nodules too, so it is a "
             "little too narrow. It is about readers' opinions, not histology, and does not hold for what is no "
             "nodule. The shares beside it are Wilson intervals, nodules counted as independent.") % {
        "n": calibration.n, "groups": calibration.groups}  # fmt: skip


def _type_rule(record: CaseRecord) -> list[str]:
    """How the type is computed, and how often readers said the same."""
    said = [_("Type: computed, not read. Solid where the upper quartile of the HU within the outline, on the slice "
              "where it is largest, is %(solid)s or more; ground glass where it is %(faint)s or less; between them it "
              "is not known. Part-solid is never called.") % {
        "solid": f"{ct_density.SOLID_HU:.0f}", "faint": f"{ct_density.NONSOLID_HU:.0f}"}]  # fmt: skip
    found = ct_density.read()
    if found is not None:
        shares = {}
        for name in ("solid", "nonsolid"):
            low, high = found.ci95[name]
            shares[name] = f"{100 * found.right[name]:.0f} % ({100 * low:.0f} to {100 * high:.0f} %)"
        said.append(_("Of %(n)s validation nodules of LIDC, %(s)s were called solid and readers agreed in %(sr)s; "
                      "%(g)s ground glass, readers agreed in %(gr)s; %(u)s were not called.") % {
            "n": found.n, "s": found.called["solid"], "sr": shares["solid"], "g": found.called["nonsolid"],
            "gr": shares["nonsolid"], "u": found.called["not_known"]})  # fmt: skip
        assert record.radiology is not None
        if found.weights_sha256 not in {p.weights_sha256 for p in record.radiology.provenance}:
            said.append(_("That was measured on outlines by another version of the segmentation network."))
    if record.volume is None or record.mask is None:
        said.append(_("The CT's voxels are not at hand here, so no type was computed."))
    elif record.volume.spacing_mm[2] > _THICK_MM:
        said.append(_("The slices of this CT are %(mm)s mm apart: small nodules look fainter than they are.") % {
            "mm": f"{record.volume.spacing_mm[2]:.1f}"})  # fmt: skip
    return said


def _on_page_one(row: dict[str, Any]) -> dict[str, Any]:
    """What the first page shows of one nodule; pictures are data URIs, or None."""
    nodule: Nodule = row["nodule"]
    guidelines: Guidelines = row["guidelines"]
    rated = row["malignancy"]
    if row["interval"]:
        rated = _("%(share)s (%(interval)s)") % {"share": rated, "interval": row["interval"]}
    maps = [image for image in row["images"] if image[3] is not None]
    key = row["images"][0] if row["images"] else (None, "", "", None)
    heatmap = maps[0] if maps else (None, "", "", None)
    return {
        "label": nodule.label,
        "size": _("%(size)s, %(mm3)s mm³, %(hu)s HU, %(side)s") % {
            "size": row["size"], "mm3": f"{nodule.volume_mm3:.0f}", "hu": f"{nodule.mean_hu:.0f}", "side": row["side"]},
        "malignancy": rated,
        "guideline": guidelines.short,
        "picture": key[0], "picture_alt": key[1],
        "heatmap": heatmap[0], "heatmap_alt": heatmap[1], "map": heatmap[3],
    }  # fmt: skip


def _summary_words(result: RadiologyResult) -> str:
    """How many nodules there are, and how many of them the first page does not show."""
    count = len(result.nodules)
    if not count:
        return _("No nodule was marked.")
    said = ngettext("%(n)s nodule candidate; highest malignancy %(share)s.",
                    "%(n)s nodule candidates; highest malignancy %(share)s.", count) % {
        "n": count, "share": percent(result.malignancy)}  # fmt: skip
    if count > MOST_ON_PAGE_ONE:
        said += " " + _("The first %(n)s are shown; all stand in the CT's table.") % {"n": MOST_ON_PAGE_ONE}
    return said

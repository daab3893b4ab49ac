"""What the report says of its own limits, of its models, of the data that they learned from, and of its sources.

limits_values()       CaseRecord -> what templates/report_limits.html shows; under "summary" what fits on the first page
calibration_words()   how well a model's probabilities came true, as its bundle says

Data, limits and errors are read from the models' own cards and records, so that they cannot differ from them.
"""

from __future__ import annotations

from typing import Any

from shared_models import calibration_record, fleischner, lung_rads
from shared_models.contract.heatmap_words import SANITY
from shared_models.contract.provenance import Provenance
from shared_models.contract.values import CLASSES
from shared_models.model_bundle import FUSION

from .case_record import CaseRecord
from .report_heatmaps import map_words
from .report_models import bundle_of, paragraph, ships, told_apart
from .report_words import _, class_words, method_words, ngettext, part_words

# Key to citation; citations are not translated.
_REFERENCES = {
    "method": "arXiv 2604.16104: a CNN for each modality, clinical fields, fusion of the decisions, heatmaps",
    "lung_rads": "Christensen et al. 2024, J Am Coll Radiol 21:473, doi 10.1016/j.jacr.2023.09.009",
    "fleischner": "MacMahon et al. 2017, Radiology 284:228, doi 10.1148/radiol.2017161659",
    "mayo": "Swensen et al. 1997, Arch Intern Med 157:849",
    "brock": "McWilliams et al. 2013, doi 10.1056/NEJMoa1214726",
    "wilson": "Wilson 1927, doi 10.1080/01621459.1927.10502953",
    "gradcam": "Selvaraju et al. 2017, arXiv:1610.02391",
    "gradcam_pp": "Chattopadhay et al. 2018, arXiv:1710.11063",
    "integrated_gradients": "Sundararajan et al. 2017, arXiv:1703.01365",
    "occlusion": "Zeiler and Fergus 2014, arXiv:1311.2901",
    "saliency": "Simonyan et al. 2014, arXiv:1312.6034",
    "smoothgrad": "Smilkov et al. 2017, arXiv:1706.03825",
    "sanity": "Adebayo et al. 2018, arXiv:1810.03292",
    "ece": "Guo et al. 2017, arXiv:1706.04599",
    "platt": "Platt 1999, in Advances in Large Margin Classifiers",
    "pool": "Genest and Zidek 1986, doi 10.1214/ss/1177013825",
    "conformal": "Sadinle et al. 2019, doi 10.1080/01621459.2017.1395341",
    "colours": "Okabe and Ito 2008, Color Universal Design; viridis, van der Walt and Smith, CC0",
}


def limits_values(record: CaseRecord) -> dict[str, Any]:
    """What the templates show as ``limits``."""
    models = [_model(provenance) for provenance in told_apart(record)]
    known = {name for model in models for name in model["provenance"].coverage}
    never = [class_words(name, within=True) for name in CLASSES if name not in known] if models else []
    return {
        "models": models,
        "never": ", ".join(never),
        "fixed_weights": record.fusion is not None and not record.fusion.class_weights,
        "maps": [
            (map_words(heatmap).title, part_words(heatmap.modality), heatmap.parameters)
            for maps in (record.ct_heatmaps, record.slide_heatmaps)
            for heatmap in maps.values()
        ],
        "references": _references(record),
        "summary": {"calibration": " ".join(m["calibration_short"] for m in models if m["calibration_short"])},
    }


def _model(provenance: Provenance) -> dict[str, Any]:
    bundle = bundle_of(provenance)
    short, words = calibration_words(provenance)
    named: dict[str, Any] = {
        "provenance": provenance,
        "coverage": ", ".join(class_words(name) for name in provenance.coverage) or _("names no class"),
        "calibration": words,
        "calibration_short": short,
        "data": _("not known here: this machine does not hold the bundle of these weights"),
        "limits": "", "trained": "", "added": False,
    }  # fmt: skip
    if bundle is not None:
        training = bundle.own.get("training") or {}
        source = str(bundle.metadata.get("data_source") or "").strip()
        named["data"] = source or _("its bundle does not say what it learned from")
        named["limits"] = paragraph(bundle, "Limits")
        named["added"] = not ships(bundle)
        if training.get("commit"):
            named["trained"] = _("trained by code %(commit)s") % {"commit": str(training["commit"])[:12]}
    return named


def calibration_words(provenance: Provenance) -> tuple[str, str]:
    """In short, for the first page, and in full; the short one is "" where nothing was measured."""
    if not provenance.calibrated:
        return "", _("not calibrated")
    bundle = bundle_of(provenance)
    found = None if bundle is None else calibration_record.read(bundle.folder, bundle.weights_sha256)
    if found is None and bundle is not None and bundle.own["modality"] == FUSION:
        return "", _("calibrated on composed cases; on patients it was not measured")
    if found is None:
        return "", _("calibrated; its error is not in its bundle")
    low, high = found.ece_ci95
    mean, least, most = found.by_chance
    units = {"nodule": ngettext("nodule", "nodules", found.test_n), "tile": ngettext("tile", "tiles", found.test_n),
             "patient": ngettext("patient", "patients", found.test_n)}  # fmt: skip
    unit = units.get(found.unit, ngettext("case", "cases", found.test_n))
    name = provenance.model_id.split(" ")[0]
    short = _("%(name)s: calibration error %(ece)s (%(low)s to %(high)s) on %(n)s %(unit)s.") % {
        "name": name, "ece": f"{found.ece:.3f}", "low": f"{low:.3f}", "high": f"{high:.3f}", "n": found.test_n,
        "unit": unit,
    }  # fmt: skip
    words = _("expected calibration error %(ece)s (95 %% interval %(low)s to %(high)s) on %(n)s %(unit)s of the test "
              "split; a perfectly calibrated model would show %(mean)s (%(least)s to %(most)s) on as many") % {
        "ece": f"{found.ece:.3f}", "low": f"{low:.3f}", "high": f"{high:.3f}", "n": found.test_n, "unit": unit,
        "mean": f"{mean:.3f}", "least": f"{least:.3f}", "most": f"{most:.3f}",
    }  # fmt: skip
    return short, words


def _references(record: CaseRecord) -> list[tuple[str, str]]:
    """(what, source) of all that this report makes use of."""
    used = [("method", _("Method"))]
    if record.radiology is not None and record.radiology.nodules:
        used += [
            ("lung_rads", lung_rads.GUIDELINE), ("fleischner", fleischner.GUIDELINE), ("mayo", _("Mayo model")),
            ("brock", _("Brock model")), ("wilson", _("Interval of a share")), ("platt", _("Calibration curve")),
        ]  # fmt: skip
    maps = [*record.ct_heatmaps.values(), *record.slide_heatmaps.values()]
    used += [(method, method_words(method)) for method in dict.fromkeys(heatmap.method for heatmap in maps)]
    if any(SANITY in heatmap.parameters for heatmap in maps):
        used.append(("sanity", _("Sanity check of heatmaps")))
    if any(provenance.calibrated for provenance in told_apart(record)):
        used.append(("ece", _("Calibration error")))
    if record.fusion is not None:
        used.append(("pool", _("Fusion")))
        if record.fusion.conformal_set:
            used.append(("conformal", _("Set of likely classes")))
    used.append(("colours", _("Colours")))
    return [(what, _REFERENCES[key]) for key, what in used]

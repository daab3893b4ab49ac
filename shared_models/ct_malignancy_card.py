"""What the malignancy bundle says of itself: metadata() for programs, card() for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .ct_malignancy import BUNDLE, NAMES
from .ct_malignancy_network import CHANNELS, GRID_MM, GRID_PX, OUTPUTS, WINDOWS_HU

_SOURCE = "LIDC-IDRI, Armato et al. 2011, doi 10.7937/K9/TCIA.2015.LO9QL9SX, CC BY 3.0"
_DRAWN = {True: "one reader", False: "one reader or the segmentation network"}
_HEAD = "| measure | value | 95 % interval |\n|---|---|---|"


def metadata(own: Mapping[str, Any]) -> dict[str, Any]:
    """configs/metadata.json; ``own`` is added to its "lungxai" section."""
    import numpy
    import torch

    image = {
        "type": "image", "format": "hounsfield", "modality": "CT", "num_channels": len(CHANNELS),
        "spatial_shape": [GRID_PX, GRID_PX], "dtype": "float32", "value_range": [-1, 1], "is_patch_data": True,
        "channel_def": {str(i): name for i, name in enumerate(CHANNELS)},
    }  # fmt: skip
    answer = {
        "type": "probabilities", "format": "classes", "num_channels": len(OUTPUTS), "spatial_shape": [],
        "dtype": "float32", "value_range": [], "is_patch_data": False,
        "channel_def": {str(i): f"{name}, logit" for i, name in enumerate(OUTPUTS)},
    }  # fmt: skip
    return {
        "version": "0.3.0",
        "changelog": {
            "0.3.0": "the network trained longer", "0.2.0": "a network on the image beside the features",
            "0.1.0": "first weights",
        },
        "monai_version": "1.6.1", "pytorch_version": torch.__version__.split("+")[0],
        "numpy_version": numpy.__version__, "task": "malignancy of a lung nodule as readers rate it",
        "description": f"Logistic regression over {len(NAMES)} measurements and a small residual network, added.",
        "authors": "the LungXAI developers", "copyright": "see LICENSE", "data_source": _SOURCE, "data_type": "DICOM",
        "image_classes": "CT in HU", "intended_use": "Research use only, not a diagnosis.",
        "network_data_format": {"inputs": {"image": image}, "outputs": {"pred": answer}},
        "lungxai": {
            "model_id": BUNDLE, "modality": "radiology", "coverage": [], "calibrated": True,
            "grid_px": GRID_PX, "grid_mm": GRID_MM, "windows_hu": WINDOWS_HU, **own,
        },
    }  # fmt: skip


def _row(name: str, found: Mapping[str, Any]) -> str:
    low, high = found["ci95"]
    p = f"; DeLong p = {found['p_delong']:.3g}" if "p_delong" in found else ""
    return f"| {name} | {found['value']:.3f} | {low:.3f} to {high:.3f}{p} |"


def _rows(found: Mapping[str, Any], names: Mapping[str, str]) -> str:
    return "\n".join([_HEAD, *(_row(said, found[name]) for name, said in names.items())])


def _verdict(over: Mapping[str, Any]) -> str:
    low, high = over["ci95"]
    sure = over["p_delong"] < 0.05 and (low > 0 or high < 0)
    better = "better" if over["value"] > 0 else "worse"
    return f"is {better} than the area alone" if sure else "is not shown to differ from the area alone"


def _of_test(test: Any) -> str:
    if test is None:
        return "**Test split.** Not measured yet."
    names = {
        "auroc": "AUROC, the network's own outline", "auroc_reader_mask": "AUROC, the reader's outline",
        "auroc_features_only": "AUROC, features alone (own outline)",
        "auroc_network_only": "AUROC, network on the image alone (own outline)",
        "auroc_area_only": "AUROC, area of the reader's outline alone",
        "auroc_area_own_mask": "AUROC, area of the own outline alone",
        "over_area_only": "difference to the reader's area", "over_features_only": "difference to features alone",
        "brier": "Brier score", "ece": "calibration error, ten bins of equal mass",
    }  # fmt: skip
    return f"""**Test split**, measured once with this model (the features alone had been measured before), {test["n"]}
nodules ({test["malignant"]} rated malignant) of {test["patients"]} patients:

{_rows(test, names)}

With {test["malignant"]} malignant nodules the model {_verdict(test["over_area_only"])} on the test split. Intervals are
by bootstrap over patients; DeLong's test takes nodules as independent."""


def _of_folds(crossed: Any) -> str:
    if crossed is None:
        return ""
    names = {
        "auroc_both": "AUROC, both models", "auroc_features": "AUROC, features alone",
        "auroc_network": "AUROC, network on the image alone", "auroc_area": "AUROC, area of the outline alone",
        "over_area": "difference to the area", "over_features": "difference to features alone",
    }  # fmt: skip
    return f"""
**Cross-validation**, for a comparison with more cases than the test split has: {crossed["folds"]} folds over the
training patients, everything fitted anew without the patients of the fold; {crossed["n"]} nodules
({crossed["malignant"]} rated malignant) of {crossed["patients"]} patients. The epoch and the weights of the two models
were chosen on the validation patients, who are in no fold. By the reader's outline: the segmentation network was
trained on these nodules.

{_rows(crossed, names)}

Over these folds the model {_verdict(crossed["over_area"])}.
{_of_calibration(crossed.get("calibration"))}"""


def _of_calibration(found: Any) -> str:
    if found is None:
        return ""
    mean, low, high = found["ece_by_chance"]
    reliability, resolution, uncertainty = found["brier_parts"]
    sign = "no sign" if found["ece"] <= high and found["spiegelhalter_p"] >= 0.05 else "a sign"
    return f"""
**Calibration**, of the {found["n"]} nodules of these folds, the weights of the two models fitted on the other folds:
expected calibration error {found["ece"]:.3f} (winning class, 15 bins of equal width), {found["ece_debiased"]:.3f}
debiased (bins of equal mass). A perfectly calibrated model would show {mean:.3f} ({low:.3f} to {high:.3f}) on as many.
Brier score {found["brier"]:.3f}: reliability {reliability:.4f}, resolution {resolution:.4f}, uncertainty
{uncertainty:.4f}. Spiegelhalter's test p = {found["spiegelhalter_p"]:.3f}: {sign} of miscalibration.
"""


def card(run: Mapping[str, Any], own: Mapping[str, Any], measures: Mapping[str, Any], tried: str = "") -> str:
    """docs/README.md.

    Parameters
    ----------
    run : result.json of the network's training
    own : the numbers of models/model.json
    measures : "validation", "cross_validation" (or None) and "test" (or None)
    tried : what else was tried, Markdown
    """
    val = measures["validation"]
    called = val["others_called_malignant"]
    by_features, by_network, intercept = own["weights"]
    return f"""# {BUNDLE}: how readers would rate a nodule

Research use only, not a diagnosis. Two models look at the axial slice where a nodule is largest; their log odds are
added: {by_features:.3f} x features + {by_network:.3f} x network {intercept:+.3f}.

- Features: logistic regression over {len(NAMES)} measurements of the outline and the HU in it:
  {", ".join(NAMES[:7])},
  {", ".join(NAMES[7:])}.
- Network: a residual network of seven convolutions (models/network.pt, a state dict in half precision) on
  {GRID_PX} x {GRID_PX} pixels of {GRID_MM} mm, centred on the outline: lung window {WINDOWS_HU[0]}, soft-tissue window
  {WINDOWS_HU[1]} HU, and the outline. Its last block, `features`, has 16 x 16 cells of 2.8 mm.
- A second output says whether it is a nodule at all. Log odds under {own["least_nodule"]:.2f}, which 98 of 100
  validation nodules reach, lower the rating by what is missing.

**Data.** {_SOURCE}. Split by patient.
Network: {run["nodules"]} nodules of {run["patients"]} patients, target the
readers' mean rating from 1 to 5, so that uncertain nodules teach too; the readers' other ratings as side targets;
outlines by {_DRAWN["--outlines reader" in run["command"] or "outlines=reader" in run["command"]]}, some of them frayed;
{run["counter_examples"]} outlines of vessels and chest wall in the same patches as counter-examples.
Features: the {own["n_train"]} of them rated over 3.5 or under 2.5 on average.
Epoch {run["best_epoch"]}, shrinkage and weights chosen on the {own["n_val"]} such nodules of the validation patients,
outlined by the segmentation network. Commit {run["commit"][:12]},
`{run["command"]}`.
{run["note"] + "." if "note" in run else ""}

**Validation** (what was chosen on it, so too good): AUROC {val["auroc"]["both"]:.3f}; features alone
{val["auroc"]["features"]:.3f}, network alone {val["auroc"]["network"]:.3f}, area of the reader's outline alone
{val["auroc"]["area"]:.3f}. Nodules against {val["others"]} counter-examples of these patients: AUROC
{val["nodule_auroc"]:.3f}. Of the counter-examples {called["features"]:.1%} are rated over 0.5 by the features alone,
{called["without_nodule_output"]:.1%} by both models, {called["all"]:.1%} with the second output.

{_of_test(measures["test"])}
{_of_folds(measures["cross_validation"])}
{tried}

**Limits.** Ratings are opinions, not histology. Nodules that readers rated near 3 are left out of validation and test:
figures on all nodules would be lower. Area alone is a strong rule on LIDC, and readers saw the size when they rated.
The field is 44.8 mm wide and LIDC's nodules reach about 38 mm: a larger tumour fills the field, which the network has
never seen. One slice is looked at, not the volume. The counter-examples lie beside nodules, in patches of 71 pixels:
large vessels of the hilum and the mediastinum are rare among them, and some may still be rated as malignant.
Calibration holds for nodules with the share of malignant ones of validation ({own["prevalence"]:.2f}).
Coverage: none; it tells no subtype.
"""

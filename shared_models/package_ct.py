"""Make the segmentation bundle: python -m shared_models.package_ct --data ../shared/data --run out/ct

    --refine out/refine   with the 3D network of thin slices, which train_refine made for these weights

bundled()   the weights with their metadata
measured()  the figures of one task on the test split
trained()   what the card says of the training
card()      what the card says

Without --run the weights stay as they are, and only their figures are measured anew, after a change of the code. New
weights take the 3D network of the old ones away.

The weights come from train_ct. The test split is measured once, for the card, and for that --models has to hold a
malignancy bundle too: made by package_malignancy, and again after this one, as it learns from this network's outlines.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from .code_version import git_commit
from .ct_network import COARSE_SEARCH_MM, COARSEST_MM, FINEST_MM, SEARCH_MM, WINDOWS_HU
from .ct_nodules import LEAST_OF_LARGEST, LEAST_VERIFIED, MOST_KEPT, THRESHOLD_3D, THRESHOLD_FLAT
from .ct_pipeline import BUNDLE as SEGMENTATION
from .ct_pipeline import REFINE
from .ct_prompts import SIGMA_ACROSS_MM, SIGMA_PX
from .evaluate_ct import evaluate_ct_cubes, evaluate_ct_series, evaluate_ct_slices, measure
from .evidence_cases import Cases
from .evidence_strata import in_order
from .model_bundle import MODELS_ROOT, sha256_of
from .package_ct_refine import refinement, with_refinement, without_refinement
from .package_ct_tried import TRIED
from .training_record import configuration

_SOURCE = "LIDC-IDRI, Armato et al. 2011, doi 10.7937/K9/TCIA.2015.LO9QL9SX, CC BY 3.0"
_LICENSE = f"""The weights in this folder are under the Creative Commons Attribution 4.0 International licence
(https://creativecommons.org/licenses/by/4.0/). They were made from {_SOURCE}.
"""


_WITHOUT_PROMPTS = (
    "those of this bundle at commit 7ba388af1, a network without prompts that was trained on the same training "
    "patients, its epoch chosen on the same validation patients."
)
_TRAIN = "python -m shared_models.train_ct"
# Weights that this bundle held before, by the start of their sha256.
_EARLIER = {
    "c37ec1a3be7d3354": _WITHOUT_PROMPTS,
    "86741e203af11167": f"""those of this bundle at commit 8626cf0, version 0.1.0, made
by `{_TRAIN} --steps 1000 --rate 0.0004 --seed 2` at commit 750d7067e84d (the weights of step 200), which went
on from `{_TRAIN} --steps 3000 --rate 0.001 --seed 1` at commit a196d51138be (the weights of step 1800), and
that from {_WITHOUT_PROMPTS}""",
}


def _metadata(model_id: str, task: str, description: str, calibrated: bool, own: dict[str, Any]) -> dict[str, Any]:
    return {
        "version": "0.1.0", "changelog": {"0.1.0": "first weights"}, "monai_version": "1.6.1",
        "pytorch_version": "2.13.0", "numpy_version": np.__version__, "task": task, "description": description,
        "authors": "the LungXAI developers", "copyright": "see LICENSE", "data_source": _SOURCE, "data_type": "DICOM",
        "image_classes": "CT in HU", "intended_use": "Research use only, not a diagnosis.",
        "network_data_format": {
            "inputs": {"image": {"type": "image", "format": "hounsfield", "modality": "CT", "num_channels": 3,
                                 "spatial_shape": ["16*n", "16*n"], "dtype": "float32", "value_range": [-1, 1],
                                 "is_patch_data": False,
                                 "channel_def": {"0": "lung window", "1": "soft tissue", "2": "prompt, 0 to 1"}}},
            "outputs": {"pred": {"type": "image", "format": "segmentation", "num_channels": 1,
                                 "spatial_shape": ["16*n", "16*n"], "dtype": "float32", "value_range": [],
                                 "is_patch_data": False, "channel_def": {"0": "nodule, logit"}}},
        },
        "lungxai": {"model_id": model_id, "modality": "radiology", "coverage": [], "calibrated": calibrated, **own},
    }  # fmt: skip


def _written(folder: Path, metadata: dict[str, Any]) -> None:
    (folder / "configs").mkdir(parents=True, exist_ok=True)
    (folder / "docs").mkdir(exist_ok=True)
    names = sorted(p.name for p in (folder / "models").iterdir())
    metadata["lungxai"]["weights"] = {f"models/{n}": sha256_of(folder / "models" / n) for n in names}
    (folder / "configs" / "metadata.json").write_text(json.dumps(metadata, indent=1) + "\n")
    (folder / "LICENSE").write_text(_LICENSE)


def _lines(task: dict[str, Any], *names: str) -> str:
    rows = [(name, task.get(name) or task["baseline"][name]) for name in names]
    return "\n".join(f"| {n} | {m['value']:.3f} | {m['ci95'][0]:.3f} to {m['ci95'][1]:.3f} |" for n, m in rows)


def _final(run: dict[str, Any]) -> str:
    """What the card says of a last round with the validation patients."""
    return ", which a last round then trained on too" if _is_final(run) else ""


def _is_final(run: dict[str, Any]) -> bool:
    return bool(run.get("settings", {}).get("final")) or "--final" in run["command"]


def _kept(run: dict[str, Any]) -> str:
    """What the card says of the step that the weights are of."""
    history = run["history"]
    last = history[-1]["step"]
    best = last if _is_final(run) else max(history, key=lambda entry: entry["val_dice"])["step"]
    return f"stopped after step {last}, the weights are those of step {best}"


def _lineage(run: dict[str, Any]) -> str:
    """What the card says of the weights that the training went on from."""
    started = run["started_from"]
    if started is None:
        return "Trained from random weights."
    told = started["result"]
    if told is not None:
        earlier = f"by `{told['command']}` at commit {told['commit'][:12]} ({_kept(told)})"
        return f"It went on from weights made {earlier}. {_lineage(told)}"
    known = _EARLIER.get(started["sha256"][:16], "of which nothing more is known")
    return f"It went on from weights with sha256 {started['sha256'][:16]}: {known}"

_DATA, _TEST = "**Data.**", "**Test split**"
_HEAD = "| measure | value | 95 % interval |\n|---|---|---|"


def bundled(run: dict[str, Any], weights: Path, models: Path) -> None:
    """The bundle with ``weights``, but for its card; ``run`` is the record that train_ct wrote."""
    nodules = models / SEGMENTATION
    (nodules / "models").mkdir(parents=True, exist_ok=True)
    (nodules / REFINE).unlink(missing_ok=True)  # it corrects other weights
    shutil.copyfile(weights, nodules / "models" / "model.pt")
    started = run["started_from"] or {}
    _written(nodules, _metadata(
        SEGMENTATION, "segmentation of lung nodules on CT, by search or from a point or box",
        "2D U-Net (MONAI BasicUNet) with a channel for what the user pointed at.",
        False, {"pixel_mm": [FINEST_MM, COARSEST_MM], "search_pixel_mm": [SEARCH_MM, COARSE_SEARCH_MM],
                "windows_hu": WINDOWS_HU, "prompt_sigma_px": SIGMA_PX, "prompt_sigma_across_mm": SIGMA_ACROSS_MM,
                "prompt_thresholds": [THRESHOLD_FLAT, THRESHOLD_3D], "least_verified": LEAST_VERIFIED,
                "most_kept": MOST_KEPT, "least_of_largest": LEAST_OF_LARGEST,
                "training": {"commit": run["commit"], "seed": run["seed"], "command": run["command"],
                             "kept": _kept(run), "started_from_sha256": started.get("sha256")}},
    ))  # fmt: skip
    configuration(run, nodules)


def measured(task: str, data: Path, models: Path) -> dict[str, Any]:
    """The figures of "slices", "cubes" or "series" on the test split; Dice by subgroup under "subgroups".

    Raises
    ------
    FileNotFoundError : there is no data for the task below ``data``.
    """
    of = {"slices": evaluate_ct_slices, "cubes": evaluate_ct_cubes, "series": evaluate_ct_series}[task]
    found = of(data, "test", models)
    if found is None:
        raise FileNotFoundError(f"no data for {task} below {data}")
    cases = found.pop("cases", None)
    if task != "series":
        found["subgroups"] = _subgroups(cases)
    return found


def _subgroups(cases: Cases) -> list[dict[str, Any]]:
    """Mean Dice by size, density and contact."""
    found = []
    for by in ("size", "density", "contact"):
        for name in in_order(cases.strata[by]):
            kept = np.flatnonzero(cases.strata[by] == name)
            values, groups = cases.values["Dice"][kept], cases.groups[kept]
            mean = measure(lambda i, v=values: float(v[i].mean()), groups)
            found.append({"by": by, "name": name, "n": len(kept), "patients": len(set(groups.tolist())), **mean})
    return found


def _by_subgroup(task: dict[str, Any]) -> str:
    rows = [
        f"| {g['by']}: {g['name']} | {g['n']} | {g['patients']} | {g['value']:.3f} | "
        f"{g['ci95'][0]:.3f} to {g['ci95'][1]:.3f} |"
        for g in task["subgroups"]
    ]
    return "| subgroup | nodules | patients | mean Dice | 95 % interval |\n|---|---|---|---|---|\n" + "\n".join(rows)


def trained(run: dict[str, Any]) -> str:
    """What the card says of the training; ``run`` is the record that train_ct wrote."""
    return f"""{_DATA} {_SOURCE}. Trained on {run['train_patches']} patches of 71 x 71 pixels (largest slice of a
nodule, one reader's contour) and planes of {run['train_cubes']} cubes, with random points, boxes, prompts beside the
nodule (whose truth is empty) and none; every choice was made on {run['val_patches']} patches and {run['val_cubes']}
cubes of validation patients{_final(run)}. Split by patient. Commit {run['commit'][:12]}, `{run['command']}`
({_kept(run)}).
{_lineage(run)}"""


def _told_before(card: Path) -> str:
    """What a card says of the training."""
    text = card.read_text()
    return text[text.index(_DATA) : text.index(_TEST)].rstrip()


def _corrected(corrects: bool) -> str:
    return ", whose median a 3D network corrects where the user pointed" if corrects else ""


def card(
    told: str, flat: dict[str, Any], cubes: dict[str, Any], series: dict[str, Any], corrects: bool = False
) -> str:
    """The card, Markdown, from what trained() says and the figures of measured(); ``corrects``: with a 3D network."""
    return f"""# {SEGMENTATION}: lung nodules on CT

Research use only, not a diagnosis. A 2D U-Net of three channels: lung window, soft-tissue window, and what the user
pointed at (a bell around a point, a filled box, or nothing: the search of both lungs at {SEARCH_MM} and
{COARSE_SEARCH_MM} mm per pixel). A prompt is answered in its neighbourhood, on the CT's own pixels, turned and mirrored
and averaged; where slices are thin, from axial, coronal and sagittal planes{_corrected(corrects)}.
What the search finds is looked at in the same way and dropped if the network is not sure of it from near (mean
probability under {LEAST_VERIFIED}).

{told}

{_TEST}, code at commit {git_commit()[:12]}; intervals by bootstrap over patients. The baseline is the piece
over -400 HU at the centre. Measured before and after the threshold that follows a nodule's size, which was chosen on
validation patches, and again after the rule for a nodule's caps, which was chosen on cubes of training and validation.

{flat["n"]} slices of {flat["patients"]} patients, from a point at the patch's centre:

{_HEAD}
{_lines(flat, "dice_mean", "dice_median", "threshold_dice_mean")}

{_by_subgroup(flat)}

The contact with wall and vessels is by a rule on the slice (evidence_strata.contact_class), no reader judged it.

{cubes["n"]} cubes of {cubes["patients"]} patients, Dice in 3D, from a point at the cube's centre (about 2.6 mm beside
the nodule's):

{_HEAD}
{_lines(cubes, "dice_mean", "dice_median", "threshold_dice_mean")}

{TRIED}

One whole series with a biopsy-proven adenocarcinoma that no model saw (Lung-PET-CT-Dx, doi
10.7937/TCIA.2020.NNC20461, CC BY 4.0; {series["box_slices"]} slices with a tumour box, 5 mm apart):
the mask meets the box in {series["box_hit"]["value"]:.2f} of them;
{series["false_positives"]["value"]:.0f} pieces meet no box. This one series was looked at while the search was written,
so it is no blind test: the rule for tumours that lie outside the air and the number of pieces kept were set on it.
Following a lesion through slices that are more than 2.5 mm apart was written because one box slice was missed; its
numbers were not tuned on the series (on 26 cubes of training and validation, read as 5 mm slices, it changes the Dice
by -0.001).
At most {MOST_KEPT} pieces of a search are kept,
and here that is what bounds the false positives: vessels of the hilum.

**Coverage.** None: it finds nodules, it names no class.

**Limits.** The training patches are centred on nodules of 3 to about 30 mm: larger tumours are only seen as if from
further away. Expect false positives on whole series. Sensitivity per nodule on whole CTs was not measured, for want of
whole CTs with every nodule marked. A point on a vessel or on the chest wall should find nothing, and may find
something. Slices more than 2.5 mm apart are judged one by one, and a lesion is followed through them. One reader's
contour is the reference.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--run", type=Path, help="folder that train_ct wrote; without it, the weights stay")
    parser.add_argument("--refine", type=Path, help="folder that `lungxai train ct_refine` wrote for these weights")
    parser.add_argument("--models", type=Path, default=MODELS_ROOT)
    given = parser.parse_args()
    page = given.models / SEGMENTATION / "docs" / "README.md"
    if given.run is None:
        told = _told_before(page)
    else:
        run = json.loads((given.run / "result.json").read_text())
        bundled(run, given.run / "best.pt", given.models)
        told = trained(run)
    if given.refine is not None:
        with_refinement(given.refine, given.models)
        told = f"{without_refinement(told)}\n\n{refinement(given.refine, given.data, given.models)}"
    try:
        flat, cubes, series = (measured(task, given.data, given.models) for task in ("slices", "cubes", "series"))
    except FileNotFoundError as fault:
        parser.error(str(fault))
    print(json.dumps({"slices": flat, "cubes": cubes, "series": series}, indent=1))
    page.write_text(card(told, flat, cubes, series, (given.models / SEGMENTATION / REFINE).is_file()))


if __name__ == "__main__":
    main()

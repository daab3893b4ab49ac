"""Make the H&E bundle of trained weights: python -m shared_models.package_slide --data ../shared/data --run out/slide

Averages the weights of the runs (one run: its own), lets the network enlarge its tiles, fits temperature and class
offsets on the validation split as it is and shifted (slide_calibration), puts the offsets into the network's last bias,
exports ONNX, measures the test split once, writes metadata and card. "docs/tried.md" of the bundle is kept by hand and
goes into the card.

Average of weights: Wortsman et al. 2022, arXiv:2203.05482, "model soups"; the runs must start from the same weights.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .calibration import BiasCorrectedTemperature, negative_log_likelihood
from .code_version import git_commit
from .contract.values import Array
from .evaluate_slide import tile_metrics
from .model_bundle import MODELS_ROOT, sha256_of
from .slide_calibration import cross_fitted
from .slide_conditions import CONDITIONS, condition_figures
from .slide_data import SPACING_UM_PX, TileSet, read_tiles
from .slide_network import SLIDE_CLASSES, TILE_PX, SlideNetwork, restored
from .slide_pipeline import BUNDLE, SlideModel
from .statistics import ece
from .training_record import configuration, tried

_LICENSE = """The weights in this folder are under the Apache License 2.0 (https://www.apache.org/licenses/LICENSE-2.0).
They start from the ImageNet weights of EfficientNet-Lite0 (Apache-2.0) and were fine-tuned on LC25000 (Borkowski et
al., arXiv:1912.12142; "freely available for download to be used by AI researchers in any way they see fit"), grouped by
Batchkala et al. 2024, doi 10.1007/978-3-031-73748-0_2 (CC BY 4.0).
"""


def averaged(runs: Sequence[Path], target: Path, enlarged_px: int = TILE_PX) -> None:
    """Write the mean of the runs' best weights to ``target``, to be run on tiles enlarged to that side."""
    import torch

    states = [torch.load(run / "best.pt", map_location="cpu", weights_only=True) for run in runs]
    mean = {
        name: torch.stack([state[name].double() for state in states]).mean(0).to(value.dtype)
        for name, value in states[0].items() if name != "enlarge"
    }  # fmt: skip
    if enlarged_px != TILE_PX:
        mean["enlarge"] = SlideNetwork(enlarged_px=enlarged_px).enlarge
    torch.save(mean, target)


def biased(weights: Path, bias: Array) -> None:
    """Add to the network's last bias, in place."""
    import torch

    state = torch.load(weights, map_location="cpu", weights_only=True)
    state["_fc.bias"] = state["_fc.bias"] + torch.from_numpy(np.asarray(bias, np.float32))
    torch.save(state, weights)


def export(weights: Path, target: Path) -> None:
    """ONNX with a free batch size: "pixels" float32 (n, 3, 224, 224), RGB 0 to 255 -> "logits"."""
    import torch

    network = restored(weights)
    torch.onnx.export(
        network, (torch.zeros(2, 3, TILE_PX, TILE_PX),), str(target), input_names=["pixels"], output_names=["logits"],
        dynamic_axes={"pixels": {0: "n"}, "logits": {0: "n"}}, opset_version=17, dynamo=False,
    )  # fmt: skip


def _metadata(
    folder: Path, runs: Sequence[dict[str, Any]], calibration: BiasCorrectedTemperature, views: int, version: str,
    enlarged_px: int,
) -> dict[str, Any]:  # fmt: skip
    stain = runs[0].get("stain")
    return {
        "version": version, "changelog": {version: "see docs/README.md"}, "monai_version": "1.6.1",
        "pytorch_version": "2.13.0", "numpy_version": np.__version__, "task": "H&E tile classification of lung tissue",
        "description": "EfficientNet-Lite0: adenocarcinoma, squamous cell carcinoma, normal lung. Research use only.",
        "authors": "the LungXAI developers", "copyright": "see LICENSE",
        "data_source": "LC25000, Borkowski et al., arXiv:1912.12142; groups by Batchkala et al. 2024",
        "data_type": "JPEG", "image_classes": "RGB, 0 to 255", "intended_use": "Research use only, not a diagnosis.",
        "network_data_format": {
            "inputs": {"pixels": {"type": "image", "format": "RGB", "num_channels": 3, "spatial_shape": [224, 224],
                                  "dtype": "float32", "value_range": [0, 255], "is_patch_data": True,
                                  "channel_def": {"0": "R", "1": "G", "2": "B"}}},
            "outputs": {"logits": {"type": "probabilities", "format": "classes", "num_channels": 3,
                                   "spatial_shape": [], "dtype": "float32", "value_range": [], "is_patch_data": False,
                                   "channel_def": {str(i): name for i, name in enumerate(SLIDE_CLASSES)}}},
        },
        "lungxai": {
            "model_id": BUNDLE, "modality": "pathology",
            "weights": {f"models/{n}": sha256_of(folder / "models" / n) for n in ("model.onnx", "model.pt")},
            "coverage": list(SLIDE_CLASSES), "classes": list(SLIDE_CLASSES), "calibrated": True,
            "temperature": round(calibration.temperature, 4),
            "class_offsets": [round(x, 4) for x in calibration.biases], "enlarged_px": enlarged_px,
            "tile_px": TILE_PX, "spacing_um_px": SPACING_UM_PX,
            **({} if views == 1 else {"views": views}), **({} if stain is None else {"stain": stain}),
            "training": {"commit": runs[0]["commit"], "seed": runs[0]["settings"]["seed"],
                         "command": runs[0]["command"], "start": runs[0]["settings"].get("start")},
            "averaged_with": [{"commit": run["commit"], "seed": run["settings"]["seed"], "command": run["command"],
                               "start": run["settings"].get("start")} for run in runs[1:]],
        },
    }  # fmt: skip


def _line(name: str, measure: dict[str, Any]) -> str:
    return f"| {name} | {measure['value']:.3f} | {measure['ci95'][0]:.3f} to {measure['ci95'][1]:.3f} |"


def _under(figures: dict[str, Any]) -> str:
    rows = ["| tiles | accuracy | wrong | loss | macro AUROC | ECE |", "|---|---|---|---|---|---|"]
    for name, row in figures.items():
        numbers = f"{row['accuracy']:.3f} | {row['wrong']} | {row['loss']:.3f} | {row['auroc']:.4f} | {row['ece']:.3f}"
        rows.append(f"| {name} | {numbers} |")
    return "\n".join(rows)


def _errors(logits: Array, tiles: TileSet) -> str:
    guess = np.array(SLIDE_CLASSES)[logits.argmax(axis=1)]
    wrong = guess != tiles.labels
    counted = Counter(zip(tiles.labels[wrong].tolist(), guess[wrong].tolist())).most_common()
    kinds = ", ".join(f"{true} called {called} {count}" for (true, called), count in counted)
    return f"{kinds or 'none'}; in {len(set(tiles.groups[wrong]))} of {len(set(tiles.groups))} groups"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--run", type=Path, required=True, nargs="+", help="folders that train_slide wrote")
    parser.add_argument("--models", type=Path, default=MODELS_ROOT)
    parser.add_argument("--views", type=int, choices=range(1, 9), default=1, metavar="1-8",
                        help="test-time views of each tile: mirrored, turned; each costs as much as the first")
    parser.add_argument("--enlarged-px", type=int, default=TILE_PX,
                        help="side to which the network enlarges its tiles, a multiple of 32; it costs by its square")
    parser.add_argument("--version", default="0.3.0")  # fmt: skip
    given = parser.parse_args()
    runs = [json.loads((run / "result.json").read_text()) for run in given.run]
    if len({(run["settings"].get("start"), json.dumps(run.get("stain"))) for run in runs}) > 1:
        parser.error("the runs do not start from the same weights, or not with the same stain: no average of them")
    sets = {split: read_tiles(given.data, split) for split in ("train", "val", "test")}
    if any(tiles is None for tiles in sets.values()):
        parser.error("the tiles are not below --data")
    folder = given.models / BUNDLE
    for name in ("configs", "docs", "models"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    weights = folder / "models" / "model.pt"
    averaged(given.run, weights, given.enlarged_px)

    def written(calibration: BiasCorrectedTemperature) -> SlideModel:
        export(weights, folder / "models" / "model.onnx")
        card = _metadata(folder, runs, calibration, given.views, given.version, given.enlarged_px)
        (folder / "configs" / "metadata.json").write_text(json.dumps(card, indent=1) + "\n")
        return SlideModel.load(given.models, "cpu")

    model = written(BiasCorrectedTemperature(1.0, (0.0,) * len(SLIDE_CLASSES)))
    val, test = sets["val"], sets["test"]
    labels = np.array([SLIDE_CLASSES.index(name) for name in val.labels])
    logits, shifted = (
        np.concatenate([
            model.logits(CONDITIONS[name](val.pixels[i : i + 64])) for i in range(0, len(labels), 64)
        ]) for name in ("as they are", "mixed shifts")
    )  # fmt: skip
    calibration = BiasCorrectedTemperature.fit(np.concatenate([logits, shifted]), np.tile(labels, 2))
    crossed = cross_fitted(np.concatenate([logits, shifted]), np.tile(labels, 2), np.tile(val.groups, 2))[: len(labels)]
    biased(weights, calibration.last_layer())
    model, logits = written(calibration), logits + calibration.last_layer()
    temperature = model.card["lungxai"]["temperature"]
    held_out, under = tile_metrics(model, val), condition_figures(model, val, temperature)
    after = tile_metrics(model, test)
    others = [{name: value for name, value in run.items() if name != "history"} for run in runs[1:]]
    configuration({**runs[0], "averaged_with": others}, folder)
    (folder / "LICENSE").write_text(_LICENSE)
    counts = "\n".join(
        f"| {split} | " + " | ".join(str(int((t.labels == c).sum())) for c in SLIDE_CLASSES)
        + f" | {len(set(t.groups))} |" for split, t in sets.items()
    )  # fmt: skip
    lineage = "\n".join(
        f"- `{run['command']}` at commit {run['commit'][:12] + run['commit'][40:]}, from "
        + ("ImageNet's weights" if run["settings"].get("start") is None
           else f"the weights of sha256 {run['settings']['start'][:12]}")
        for run in runs
    )  # fmt: skip
    notes = "".join(f"\n{run['note']}.\n" for run in runs if "note" in run)
    (folder / "docs" / "README.md").write_text(f"""# {BUNDLE}: H&E tiles of the lung

Research use only, not a diagnosis. EfficientNet-Lite0, ImageNet weights, fine-tuned on LC25000. Intended use: to show
where an H&E slide of lung tissue looks like adenocarcinoma, squamous cell carcinoma or normal lung, in research.

**Data.** LC25000 lung tiles (Borkowski et al., arXiv:1912.12142), 768 px originals at 224 px; groups of tiles from one
field by Batchkala et al. 2024, doi 10.1007/978-3-031-73748-0_2 (CC BY 4.0). Split by group, never by file.

| split | adenocarcinoma | squamous_cell | normal | groups |
|---|---|---|---|---|
{counts}

**Coverage.** Adenocarcinoma, squamous cell carcinoma, normal lung. Large cell and small cell carcinoma were never
seen: they are "not assessed", and such a tumour will be called one of the others.

**Lineage.** {"The mean of the weights of these runs:" if len(runs) > 1 else "One run:"}

{lineage}
{notes}
**Test split** ({after["n"]} tiles of {after["groups"]} groups, interval by bootstrap over groups; measured once, by the
code at commit {git_commit()[:12]}):

| measure | value | 95 % interval |
|---|---|---|
{_line("accuracy", after["accuracy"])}
{_line("macro_f1", after["macro_f1"])}
{_line("auroc", after["auroc"])}

Expected calibration error on test {after["ece"]:.3f}; temperature {temperature} and offsets of the classes
({", ".join(f"{name} {x:+.2f}" for name, x in zip(SLIDE_CLASSES, calibration.biases))}) were fitted on validation,
tiles as they are and shifted. The offsets are in the network's last bias.
Baselines: always the most frequent class of the test split {after["baseline"]["majority_accuracy"]:.3f}; a linear probe
on the frozen ImageNet network 0.951 (as given with the data, not run here).

**Validation split** ({held_out["n"]} tiles; it chose recipe, temperature and offsets, so these figures flatter):
accuracy {held_out["accuracy"]["value"]:.3f}, 95 % interval {held_out["accuracy"]["ci95"][0]:.3f} to
{held_out["accuracy"]["ci95"][1]:.3f}.
With temperature and offsets fitted on the other four fifths of the groups: accuracy
{float((crossed.argmax(axis=1) == labels).mean()):.3f}, {int((crossed.argmax(axis=1) != labels).sum())} wrong, loss
{negative_log_likelihood(crossed, labels):.3f}, ECE {float(ece(labels, crossed)):.3f}.
Changed as other laboratories and scanners would (slide_conditions), with the same temperature and offsets:

{_under(under)}

The network enlarges its tiles to {given.enlarged_px} px before its first layer (Touvron et al. 2019, arXiv:1906.06423).
Test-time views of each tile: {given.views}. A card may ask for up to 8 ("views": mirrored and turned tiles, the mean of
their logits); each costs as much as the first.

{tried(folder)}

**Pixel size.** LC25000 does not publish it. {SPACING_UM_PX} um per pixel at 224 px is an estimate from the diameter of
red cells in the normal tiles (median 7.5 px); slides are read at that scale. If it is wrong, so is the scale.

**Limits.** Few source slides, no patient identifiers (so tiles of one patient may lie in two splits), one laboratory's
staining, choice fields without mixed tissue, no stroma, necrosis, inflammation or artefacts as classes. Accuracy
on other laboratories' slides was not measured and must be expected to be lower.

**Known failures.** Errors on validation, true class first: {_errors(logits, val)}.
""")
    print(json.dumps(after, indent=1), f"\ncode {git_commit()[:12]}")


if __name__ == "__main__":
    main()

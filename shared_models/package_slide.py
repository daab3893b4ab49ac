"""Make the H&E bundle of trained weights: python -m shared_models.package_slide --data ../shared/data --run out/slide

Fits the temperature on the validation split, exports ONNX, measures the test split once, writes metadata and card.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from .code_version import git_commit
from .evaluate_slide import tile_metrics
from .model_bundle import MODELS_ROOT, sha256_of
from .slide_data import SPACING_UM_PX, read_tiles
from .slide_network import SLIDE_CLASSES, TILE_PX, restored
from .slide_pipeline import BUNDLE, SlideModel

_LICENSE = """The weights in this folder are under the Apache License 2.0 (https://www.apache.org/licenses/LICENSE-2.0).
They start from the ImageNet weights of EfficientNet-Lite0 (Apache-2.0) and were fine-tuned on LC25000 (Borkowski et
al., arXiv:1912.12142; "freely available for download to be used by AI researchers in any way they see fit"), grouped by
Batchkala et al. 2024, doi 10.1007/978-3-031-73748-0_2 (CC BY 4.0).
"""


def _temperature(logits: Any, labels: Any) -> float:
    """The temperature of least negative log-likelihood. Source: Guo et al. 2017, arXiv:1706.04599."""
    tried = np.exp(np.linspace(np.log(0.25), np.log(4), 241))

    def loss(t: float) -> float:
        z = logits / t
        return float((np.log(np.exp(z - z.max(1, keepdims=True)).sum(1)) + z.max(1) - z[range(len(z)), labels]).mean())

    return float(min(tried, key=loss))


def export(weights: Path, target: Path) -> None:
    """ONNX with a free batch size: "pixels" float32 (n, 3, 224, 224), RGB 0 to 255 -> "logits"."""
    import torch

    network = restored(weights)
    torch.onnx.export(
        network, (torch.zeros(2, 3, TILE_PX, TILE_PX),), str(target), input_names=["pixels"], output_names=["logits"],
        dynamic_axes={"pixels": {0: "n"}, "logits": {0: "n"}}, opset_version=17, dynamo=False,
    )  # fmt: skip


def _metadata(folder: Path, run: dict[str, Any], temperature: float) -> dict[str, Any]:
    return {
        "version": "0.1.0", "changelog": {"0.1.0": "first weights"}, "monai_version": "1.6.1",
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
            "temperature": temperature, "tile_px": TILE_PX, "spacing_um_px": SPACING_UM_PX,
            "training": {"commit": run["commit"], "seed": run["settings"]["seed"], "command": run["command"]},
        },
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--run", type=Path, required=True, help="folder that train_slide wrote")
    parser.add_argument("--models", type=Path, default=MODELS_ROOT)
    given = parser.parse_args()
    folder = given.models / BUNDLE
    for name in ("configs", "docs", "models"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    shutil.copyfile(given.run / "best.pt", folder / "models" / "model.pt")
    export(folder / "models" / "model.pt", folder / "models" / "model.onnx")
    run = json.loads((given.run / "result.json").read_text())

    def written(temperature: float) -> SlideModel:
        text = json.dumps(_metadata(folder, run, temperature), indent=1) + "\n"
        (folder / "configs" / "metadata.json").write_text(text)
        return SlideModel.load(given.models, "cpu")

    sets = {split: read_tiles(given.data, split) for split in ("train", "val", "test")}
    if any(tiles is None for tiles in sets.values()):
        parser.error("the tiles are not below --data")
    model = written(1.0)
    val, test = sets["val"], sets["test"]
    logits = np.concatenate([model.logits(val.pixels[i : i + 64]) for i in range(0, len(val.pixels), 64)])
    labels = np.array([SLIDE_CLASSES.index(name) for name in val.labels])
    temperature = round(_temperature(logits.astype(np.float64), labels), 4)
    before = tile_metrics(model, test)
    model = written(temperature)
    after = tile_metrics(model, test)
    (folder / "LICENSE").write_text(_LICENSE)
    counts = "\n".join(
        f"| {split} | " + " | ".join(str(int((t.labels == c).sum())) for c in SLIDE_CLASSES)
        + f" | {len(set(t.groups))} |" for split, t in sets.items()
    )  # fmt: skip

    def line(name: str) -> str:
        m = after[name]
        return f"| {name} | {m['value']:.3f} | {m['ci95'][0]:.3f} to {m['ci95'][1]:.3f} |"

    (folder / "docs" / "README.md").write_text(f"""# {BUNDLE}: H&E tiles of the lung

Research use only, not a diagnosis. EfficientNet-Lite0, ImageNet weights, fine-tuned on LC25000.

**Data.** LC25000 lung tiles (Borkowski et al., arXiv:1912.12142), 768 px originals at 224 px; groups of tiles from one
field by Batchkala et al. 2024, doi 10.1007/978-3-031-73748-0_2 (CC BY 4.0). Split by group, never by file.

| split | adenocarcinoma | squamous_cell | normal | groups |
|---|---|---|---|---|
{counts}

**Coverage.** Adenocarcinoma, squamous cell carcinoma, normal lung. Large cell and small cell carcinoma were never
seen: they are "not assessed", and such a tumour will be called one of the others.

**Test split** ({after["n"]} tiles, interval by bootstrap over groups; trained at commit {run["commit"][:12]}):

| measure | value | 95 % interval |
|---|---|---|
{line("accuracy")}
{line("macro_f1")}
{line("auroc")}

Baselines: always the most frequent class of the test split {after["baseline"]["majority_accuracy"]:.3f}; a linear probe
on the frozen ImageNet network 0.951 (as given with the data, not run here). Temperature {temperature} fitted on
validation: expected calibration error on test {before["ece"]:.3f} before, {after["ece"]:.3f} after.

**Pixel size.** LC25000 does not publish it. {SPACING_UM_PX} um per pixel at 224 px is an estimate from the diameter of
red cells in the normal tiles (median 7.5 px); slides are read at that scale. If it is wrong, so is the scale.

**Limits.** Few source slides, no patient identifiers (so tiles of one patient may lie in two splits), one laboratory's
staining, choice fields without mixed tissue, no stroma, necrosis, inflammation or artefacts as classes. Accuracy on
other laboratories' slides was not measured and must be expected to be lower.
""")
    print(json.dumps(after, indent=1), f"\ncode {git_commit()[:12]}, ECE {before['ece']:.3f} before the temperature")


if __name__ == "__main__":
    main()

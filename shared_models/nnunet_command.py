"""``lungxai nnunet``: export data for nnU-Net v2, run it, bring its predictions back, measure them.

imported()   a prediction of a CT -> nodules on exactly the CT's grid
measured()   Dice of predictions of the exported cubes
"""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path
from typing import Any

import numpy as np

from .contract.errors import InvalidInput
from .model_bundle import MODELS_ROOT
from .nnunet_export import CASES, DEFAULT_ID, FILE_ENDING, affine_mm, export, export_ct
from .nnunet_files import read_labels
from .nnunet_run import PLANS, STAGES, Recipe, check_installed, folders, run_stage
from .training_request import chosen

_EXAMPLES = """\
examples:
  lungxai train ct_nodule --backend nnunet --data ../shared/data --out out/nnunet     all of it in one
  lungxai nnunet export --data ../shared/data --out out/nnunet                        the cubes of LIDC-IDRI
  lungxai nnunet run --out out/nnunet --stage plan --stage train --device cuda --set epochs=250
  lungxai nnunet measure out/nnunet/predicted --data ../shared/data --split test
  lungxai nnunet export --ct dicom_folder --case patient1 --out out/toPredict         one CT, for nnUNetv2_predict
  lungxai nnunet import out/predicted/patient1.nii.gz --ct dicom_folder --out result  back on the CT's grid

OUT holds raw, preprocessed and results, the three folders of nnU-Net. nnU-Net is the extra [nnunet].
Research use only, not a diagnosis.
"""


def register(subparsers: Any) -> None:
    """Add ``nnunet`` to the command line."""
    parser = subparsers.add_parser(
        "nnunet", help="segmentation with nnU-Net v2", epilog=_EXAMPLES,
        description="Export data for nnU-Net v2, run it, and bring its predictions back.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    out = commands.add_parser("export", help="write nnU-Net's raw format")
    source = out.add_mutually_exclusive_group(required=True)
    source.add_argument("--data", type=Path, metavar="ROOT", help="folder of the data sets: nodule cubes to train on")
    source.add_argument("--ct", type=Path, metavar="PATH", help="one CT to predict: DICOM folder, NRRD, NIfTI")
    out.add_argument("--out", type=Path, required=True, metavar="DIR")
    out.add_argument("--case", default="case", metavar="NAME", help="of the CT (default case); no patient's name")
    out.add_argument("--dataset", type=int, default=DEFAULT_ID, metavar="N", help=f"number (default {DEFAULT_ID})")
    out.set_defaults(run=_export)
    run = commands.add_parser("run", help="plan, train or predict")
    run.add_argument("--out", type=Path, required=True, metavar="DIR", help="as given to export")
    run.add_argument("--stage", action="append", choices=list(STAGES), help="may be repeated (default: all in turn)")
    run.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    run.add_argument("--resume", action="store_true", help="go on with the training")
    run.add_argument("--set", action="append", default=[], dest="settings", metavar="NAME=VALUE",
                     help=f"dataset, configuration, planner ({', '.join(PLANS)}), epochs, trainer")  # fmt: skip
    run.set_defaults(run=_run)
    back = commands.add_parser("import", help="a prediction onto its CT, nodules measured")
    back.add_argument("prediction", type=Path, metavar="FILE", help="NAME.nii.gz that nnU-Net wrote")
    back.add_argument("--ct", type=Path, required=True, metavar="PATH", help="the CT that was exported for it")
    back.add_argument("--out", type=Path, required=True, metavar="DIR", help="segmentation.nrrd and nodules.json")
    back.add_argument("--models", type=Path, default=MODELS_ROOT, metavar="DIR", help="folder of the models")
    back.set_defaults(run=_import)
    of = commands.add_parser("measure", help="Dice of predictions of the exported cubes")
    of.add_argument("predictions", type=Path, metavar="DIR")
    of.add_argument("--data", type=Path, required=True, metavar="ROOT")
    of.add_argument("--split", choices=("train", "val", "test"), default="val", help="default val")
    of.add_argument("--json", type=Path, metavar="FILE", help="write the measures there")
    of.set_defaults(run=_measure)


def _export(given: argparse.Namespace) -> int:
    if given.ct is not None:
        from .ct_reader import read_ct

        volume, notes = read_ct(given.ct)
        path = export_ct(volume, given.out, given.case)
        print("\n".join([*notes, f"wrote {path}: predict with nnUNetv2_predict -i {given.out} ..."]))
        return 0
    raw = folders(given.out)["nnUNet_raw"]
    folder = export(given.data, raw, given.dataset)
    with (folder / CASES).open(newline="") as file:
        splits = [row["split"] for row in csv.DictReader(file)]
    counts = ", ".join(f"{splits.count(name)} {name}" for name in ("train", "val", "test"))
    print(f"wrote {folder}: {counts} cubes. Research use only.")
    return 0


def _settings(given: argparse.Namespace) -> Recipe:
    pairs = [text.partition("=") for text in given.settings]
    if any(not sign for _, sign, _ in pairs):
        raise InvalidInput("--set takes NAME=VALUE.", "Write it as --set epochs=250.")
    return chosen(Recipe(), {name: value for name, _, value in pairs})


def _run(given: argparse.Namespace) -> int:
    recipe = _settings(given)
    check_installed()
    for stage in given.stage or STAGES:
        run_stage(stage, recipe, given.out, given.device, given.resume)
    return 0


def imported(prediction: Path, ct: Path, out: Path, models_root: Path = MODELS_ROOT) -> dict[str, Any]:
    """Nodules of a prediction: every voxel that is not 0 belongs to one; see ct_foreign.kept().

    Raises
    ------
    BadGeometry : the prediction is not on the CT's grid. InvalidInput : one of both cannot be read.
    """
    from .ct_foreign import kept, separated
    from .ct_reader import read_ct

    volume, _ = read_ct(ct)
    found = read_labels(prediction, volume.voxels.shape, volume.ijk_to_lps)
    labels, left = separated(found > 0, volume.spacing_mm)
    return kept(volume, labels, out, {"name": "nnU-Net v2", "pieces_left_out": left}, models_root)


def _import(given: argparse.Namespace) -> int:
    told = imported(given.prediction, given.ct, given.out, given.models)
    print(f"{len(told['nodules'])} nodules in {given.out}. Outlines by nnU-Net, not validated here. Research use only.")
    return 0


def measured(predictions: Path, data_root: Path, split: str) -> dict[str, Any]:
    """Dice in 3D of the cubes of a split, mean with interval by bootstrap over patients; one reader is the truth.

    Raises
    ------
    InvalidInput : a prediction is missing. BadGeometry : one is not on its cube's grid.
    """
    from . import ct_data
    from .statistics import bootstrap_ci

    if not (data_root / ct_data.CUBES).is_dir():
        raise InvalidInput(f"{data_root} holds no {ct_data.CUBES}.", "Give the folder of the data sets with --data.")
    data, dice = ct_data.cubes(data_root, split), []
    for row, mask in zip(data.rows, data.mask):
        path = predictions / f"nodule_{int(row['idx']):04d}{FILE_ENDING}"
        if not path.is_file():
            raise InvalidInput(f"{predictions} holds no {path.name}.", f"Predict all cubes of the split {split} first.")
        found = read_labels(path, mask.shape, affine_mm()) > 0
        total = int(found.sum() + mask.sum())
        dice.append(2 * float((found & mask).sum()) / total if total else 1.0)
    values = np.array(dice)
    interval = [float(x) for x in bootstrap_ci(lambda i: float(values[i].mean()), data.patients)]
    return {
        "split": split, "n": len(dice), "patients": len(set(data.patients)),
        "dice_mean": {"value": float(values.mean()), "ci95": interval}, "dice_median": float(np.median(values)),
    }  # fmt: skip


def _measure(given: argparse.Namespace) -> int:
    told = measured(given.predictions, given.data, given.split)
    text = json.dumps(told, indent=1)
    print(text)
    if given.json:
        from .training_folder import written

        written(given.json, text.encode())
    return 0

"""nnU-Net v2 run on an exported dataset, each stage in a process of its own: plan, train, predict.

Stage, STAGES   what can be run
folders()       nnU-Net's three folders below one
run_stage()     one stage
trained()       `lungxai train ct_nodule --backend nnunet`: export, plan, train, predict the test cubes, record

nnU-Net is an optional package (extra [nnunet]) under the Apache License 2.0. It brings its own recipe: rates, losses
and augmentation are its trainer's, not ours, and its checkpoints are its own.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

from .contract.errors import InvalidInput, ModelUnavailable, ServerError
from .nnunet_export import DEFAULT_ID, SPLITS, dataset_name, export
from .training_folder import RECORD, RunFolder
from .training_record import new_record
from .training_request import TrainRequest

WITHOUT_EPOCHS = True  # none that this suite counts
TASK = "ct_nodule_nnunet"
# Stage: the function that nnU-Net's own command calls.
STAGES = {
    "plan": "nnunetv2.experiment_planning.plan_and_preprocess_entrypoints:plan_and_preprocess_entry",
    "train": "nnunetv2.run.run_training:run_training_entry",
    "predict": "nnunetv2.inference.predict_from_raw_data:predict_entry_point",
}
# Planner: the name of the plans that it writes.
PLANS = {
    "ExperimentPlanner": "nnUNetPlans", "nnUNetPlannerResEncM": "nnUNetResEncUNetMPlans",
    "nnUNetPlannerResEncL": "nnUNetResEncUNetLPlans", "nnUNetPlannerResEncXL": "nnUNetResEncUNetXLPlans",
}  # fmt: skip
# Trainers with another length that nnU-Net brings.
EPOCHS = (1, 5, 10, 20, 50, 100, 250, 500, 750, 1000, 2000, 4000, 8000)


@dataclass(frozen=True)
class Recipe:
    """nnU-Net's own choices; what they mean is in its documentation.

    Parameters
    ----------
    dataset : number, 1 to 999
    configuration : "2d", "3d_fullres", "3d_lowres", "3d_cascade_fullres"
    planner : of PLANS; those with ResEnc have residual encoders, M, L and XL for 9, 24 and 40 GB of GPU memory
    epochs : of EPOCHS
    trainer : a trainer of your own in place of nnUNetTrainer; its length is then its own
    """

    dataset: int = DEFAULT_ID
    configuration: str = "3d_fullres"
    planner: str = "ExperimentPlanner"
    epochs: int = 1000
    trainer: str = ""

    def __post_init__(self) -> None:
        dataset_name(self.dataset)
        if not self.trainer and self.epochs not in EPOCHS:
            raise ValueError(f"nnU-Net has trainers of {', '.join(map(str, EPOCHS))} epochs")
        if self.planner not in PLANS:
            raise ValueError(f"planner is one of {', '.join(PLANS)}")
        for name in (self.configuration, self.trainer):
            if not all(letter.isalnum() or letter in "_-." for letter in name):
                raise ValueError(f"{name!r:.40} is no name of nnU-Net's")

    @property
    def trainer_name(self) -> str:
        """As nnU-Net names it."""
        if self.trainer or self.epochs == 1000:
            return self.trainer or "nnUNetTrainer"
        return f"nnUNetTrainer_{self.epochs}epoch{'s' if self.epochs > 1 else ''}"


def folders(work: Path) -> dict[str, Path]:
    """nnU-Net's environment variables and what they name below ``work``."""
    return {f"nnUNet_{name}": (work / name).resolve() for name in ("raw", "preprocessed", "results")}


def check_installed() -> None:
    """Raise ModelUnavailable where nnU-Net is not installed."""
    if importlib.util.find_spec("nnunetv2") is None:
        raise ModelUnavailable(
            "nnU-Net is not installed.",
            "pip install 'lungxai[nnunet]' in an environment with the torchvision that fits its torch.",
        )


def arguments(stage: str, recipe: Recipe, device: str, work: Path, again: bool = False) -> list[str]:
    """What nnU-Net's own command of ``stage`` would be given.

    Parameters
    ----------
    again : go on with the training that was interrupted
    """
    number, trainer, plans = str(recipe.dataset), recipe.trainer_name, PLANS[recipe.planner]
    if stage == "plan":
        few = str(max(1, min(8, os.cpu_count() or 1)))
        return ["-d", number, "--verify_dataset_integrity", "-pl", recipe.planner, "-c", recipe.configuration,
                "-np", few, "-npfp", few]  # fmt: skip
    if stage == "train":
        return [number, recipe.configuration, "0", "-tr", trainer, "-p", plans, "-device", device, "--npz",
                *(["--c"] if again else [])]  # fmt: skip
    raw = folders(work)["nnUNet_raw"] / dataset_name(recipe.dataset)
    return ["-i", str(raw / "imagesTs"), "-o", str(work / "predicted"), "-d", number, "-c", recipe.configuration,
            "-f", "0", "-tr", trainer, "-p", plans, "-device", device, "-chk", "checkpoint_best.pth",
            "-npp", "1", "-nps", "1"]  # fmt: skip


def run_stage(
    stage: str, recipe: Recipe, work: Path, device: str = "cpu", again: bool = False,
    environment: Optional[Mapping[str, str]] = None,
) -> None:  # fmt: skip
    """Run one of STAGES on the dataset exported below ``work``; its words go to the screen and to work/STAGE.log.

    Raises
    ------
    InvalidInput : there is no dataset. ModelUnavailable : nnU-Net is not installed. ServerError : nnU-Net failed.
    KeyboardInterrupt : and nnU-Net was ended.
    """
    check_installed()
    there = folders(work)
    if not (there["nnUNet_raw"] / dataset_name(recipe.dataset) / "dataset.json").is_file():
        raise InvalidInput(f"{work} holds no {dataset_name(recipe.dataset)}.", "Run `lungxai nnunet export` first.")
    for path in there.values():
        path.mkdir(parents=True, exist_ok=True)
    if stage == "train":
        # nnU-Net takes the splits that lie there; its own would not keep patients apart.
        prepared = there["nnUNet_preprocessed"] / dataset_name(recipe.dataset)
        if not prepared.is_dir():
            raise InvalidInput("The dataset was not planned yet.", "Run the stage plan first.")
        shutil.copyfile(there["nnUNet_raw"] / dataset_name(recipe.dataset) / SPLITS, prepared / SPLITS)
    module, function = STAGES[stage].split(":")
    code = f"from {module} import {function} as run; run()"
    command = [sys.executable, "-c", code, *arguments(stage, recipe, device, work, again)]
    given = {**os.environ, **(environment or {}), **{name: str(path) for name, path in there.items()}}
    begun, log = time.monotonic(), work / f"{stage}.log"
    with log.open("w") as file:
        process = subprocess.Popen(
            command, env=given, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
            start_new_session=True,
        )  # fmt: skip
        assert process.stdout is not None
        last = ""
        try:
            for line in process.stdout:
                file.write(line)
                sys.stdout.write(line)
                sys.stdout.flush()
                last = line.strip() or last
            ended = process.wait()
        except BaseException:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(timeout=30)
            raise
    if ended:
        raise ServerError(
            f"nnU-Net's stage {stage} failed: {last:.200}",
            f"Its words are in {log}. After mending the cause, go on with --resume.",
        )
    print(f"nnU-Net's stage {stage} took {(time.monotonic() - begun) / 60:.1f} min", flush=True)


def trained(request: TrainRequest) -> None:
    """Export, plan, train and predict the test cubes into request.out.

    Raises
    ------
    As run_stage(); InvalidInput : the folder holds a run, and neither --resume nor --restart was given.
    """
    recipe = request.with_recipe(Recipe())
    check_installed()
    device = "cuda" if request.device == "auto" and _cuda() else request.device.replace("auto", "cpu")
    folder = RunFolder(request.out)
    with folder.locked():
        began = (request.out / "raw").exists()
        if began and not (request.resume or request.restart):
            raise InvalidInput(f"{request.out} holds a run of {TASK} already.",
                               "Go on with --resume, begin anew with --restart, or choose another --out.")  # fmt: skip
        if request.restart:
            for path in (*folders(request.out).values(), request.out / "predicted"):
                shutil.rmtree(path, ignore_errors=True)
        begun = time.monotonic()
        record = {**new_record(request, dataclasses.asdict(recipe), {"device": device}), "task": TASK}
        there = folders(request.out)
        if not (request.resume and (there["nnUNet_raw"] / dataset_name(recipe.dataset) / "dataset.json").is_file()):
            export(request.data, there["nnUNet_raw"], recipe.dataset)
        if not (request.resume and (there["nnUNet_preprocessed"] / dataset_name(recipe.dataset)).is_dir()):
            run_stage("plan", recipe, request.out, device)
        again = request.resume and any(there["nnUNet_results"].rglob("checkpoint_latest.pth"))
        run_stage("train", recipe, request.out, device, again)
        run_stage("predict", recipe, request.out, device)
        record.update(minutes=round((time.monotonic() - begun) / 60, 3), ended="all epochs", **_weights(request.out))
        folder.record(record)
        print(f"predictions of the test cubes lie in {request.out / 'predicted'}; measure them with `lungxai nnunet "
              f"measure`; the record is {request.out / RECORD}")  # fmt: skip


def _cuda() -> bool:
    import torch

    return torch.cuda.is_available()


def _weights(work: Path) -> dict[str, Any]:
    from .model_bundle import sha256_of

    results = folders(work)["nnUNet_results"]
    weights = {str(path.relative_to(work.resolve())): sha256_of(path) for path in results.rglob("checkpoint_best.pth")}
    told: dict[str, Any] = {"weights": weights}
    for path in results.rglob("fold_0/validation/summary.json"):  # nnU-Net's own, at the end of its training
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            told["validation"] = {"dice": float(json.loads(path.read_bytes())["foreground_mean"]["Dice"])}
    return told

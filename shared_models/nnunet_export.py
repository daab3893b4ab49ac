"""LIDC's nodule cubes and whole CTs as nnU-Net v2 reads them.

export()       RAW/DatasetNNN_LungNodules: dataset.json, imagesTr, labelsTr, imagesTs, cases.csv, splits_final.json
export_ct()    one CT as CASE_0000.nii.gz, to be predicted
affine_mm()    of a cube: 1 mm, slices first

The training cases are those of train and val, and splits_final.json keeps them apart by patient: nnU-Net's own five
folds would put nodules of one patient on both sides. The cases of test go to imagesTs, without labels.

Format: documentation/dataset_format.md of nnU-Net v2 (Isensee et al. 2021, doi 10.1038/s41592-020-01008-z).
"""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np

from . import ct_data
from .contract.errors import InvalidInput
from .contract.values import Array, CTVolume
from .nnunet_files import write_volume
from .training_folder import RunFolder, written

DEFAULT_ID, NAME = 501, "LungNodules"
FILE_ENDING, SPLITS, CASES = ".nii.gz", "splits_final.json", "cases.csv"
CUBE_MM = 1.0
LABELS = {"background": 0, "nodule": 1}
_CASE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")
_SOURCE = "LIDC-IDRI, Armato et al. 2011, doi 10.7937/K9/TCIA.2015.LO9QL9SX"


def dataset_name(number: int) -> str:
    """Such as "Dataset501_LungNodules"; nnU-Net wants three digits.

    Raises
    ------
    InvalidInput : not 1 to 999.
    """
    if not 1 <= number <= 999:
        raise InvalidInput(f"A dataset of nnU-Net has a number from 1 to 999, not {number}.", "Give --dataset 501.")
    return f"Dataset{number:03d}_{NAME}"


def affine_mm() -> Array:
    """(4, 4): the cubes have no known place in the body, so theirs begins at 0, 1 mm a voxel."""
    return np.diag([CUBE_MM, CUBE_MM, CUBE_MM, 1.0])


def _cases(data: ct_data.Nodules) -> list[str]:
    """A name each; no patient's number is in it."""
    return [f"nodule_{int(row['idx']):04d}" for row in data.rows]


def export(data_root: Path, raw: Path, number: int = DEFAULT_ID) -> Path:
    """Write the dataset below ``raw`` (nnU-Net's nnUNet_raw); its folder.

    Raises
    ------
    InvalidInput : the cubes are not below ``data_root``, or one patient is in two splits.
    ServerError : the folder cannot be written.
    """
    if not (data_root / ct_data.CUBES).is_dir():
        raise InvalidInput(f"{data_root} holds no {ct_data.CUBES}.", "Give the folder of the data sets with --data.")
    folder = RunFolder(raw / dataset_name(number)).path
    held = {split: ct_data.cubes(data_root, split) for split in ("train", "val", "test")}
    patients = {split: set(data.patients) for split, data in held.items()}
    if any(patients[a] & patients[b] for a, b in (("train", "val"), ("train", "test"), ("val", "test"))):
        raise InvalidInput("A patient is in two splits of the cubes.", "Mend the table of the cubes.")
    rows = []
    for split, data in held.items():
        images = folder / ("imagesTs" if split == "test" else "imagesTr")
        for case, hu, mask, patient in zip(_cases(data), data.hu, data.mask, data.patients):
            write_volume(images / f"{case}_0000{FILE_ENDING}", hu.astype(np.int16), affine_mm())
            if split != "test":
                write_volume(folder / "labelsTr" / f"{case}{FILE_ENDING}", mask.astype(np.uint8), affine_mm())
            rows.append({"case": case, "patient": patient, "split": split})
    names = {split: [row["case"] for row in rows if row["split"] == split] for split in held}
    dataset: dict[str, Any] = {
        "channel_names": {"0": "CT"}, "labels": LABELS, "numTraining": len(names["train"]) + len(names["val"]),
        "file_ending": FILE_ENDING, "overwrite_image_reader_writer": "SimpleITKIO", "name": NAME,
        "description": "51 mm cubes around lung nodules, one reader's outline each; research use only",
        "reference": _SOURCE, "licence": "CC BY 3.0",
    }  # fmt: skip
    table = io.StringIO()
    writer = csv.DictWriter(table, ["case", "patient", "split"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    written(folder / CASES, table.getvalue().encode())
    # As nnU-Net has it: a list of folds. There is one, the same patients as everywhere in this suite.
    written(folder / SPLITS, json.dumps([{"train": names["train"], "val": names["val"]}], indent=1).encode())
    written(folder / "dataset.json", (json.dumps(dataset, indent=1) + "\n").encode())  # last: the folder is whole now
    return folder


def export_ct(volume: CTVolume, folder: Path, case: str) -> Path:
    """Write a CT as the only channel of a case that nnU-Net is to predict; the file.

    Raises
    ------
    InvalidInput : a name that is none. BadGeometry : a tilted gantry. ServerError : the folder cannot be written.
    """
    if not _CASE.fullmatch(case):
        raise InvalidInput(f"{case!r:.80} cannot be a case's name.", "Use letters, digits, dashes and underscores.")
    path = folder / f"{case}_0000{FILE_ENDING}"
    write_volume(path, np.asarray(volume.voxels), volume.ijk_to_lps)
    return path

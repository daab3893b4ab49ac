"""A small data folder in the known layout with cases that nobody tuned anything on, and with what goes wrong.

written()   writes it; the names in NAMES are real ones that must not come out again
"""

import csv
from pathlib import Path

import numpy as np
from PIL import Image

from shared_models.clinical_data import split_of

NAMES = ("JaneDoe", "St-Elsewhere", "slide_of_JaneDoe")


def written(root: Path, seed: int = 5) -> Path:
    rng = np.random.default_rng(seed)
    _tiles(root / "lc25000_lung_224", rng)
    _nodules(root / "lidc_nodule_slices", rng)
    _patients(root / "clinical", rng)
    return root


def _tiles(folder: Path, rng: np.random.Generator) -> None:
    """No split, no group; squamous tiles are absent."""
    folder.mkdir(parents=True)
    rows = []
    for k in range(12):
        name = f"slide_of_JaneDoe_{k}.png"
        base = (225, 170, 205) if k % 2 else (140, 90, 150)
        noise = rng.normal(0, 30, (256, 256, 3))
        Image.fromarray(np.clip(np.array(base) + noise, 0, 255).astype(np.uint8)).save(folder / name)
        rows.append((name, "lung_n" if k % 2 else "lung_aca"))
    (folder / "cut.jpeg").write_bytes(b"\xff\xd8\xff\xe0 a picture that was cut short")
    Image.new("RGB", (224, 100)).save(folder / "wide.png")
    for name, label in (
        ("cut.jpeg", "lung_n"), ("missing.png", "lung_n"), ("../lidc_nodule_slices/nodules.csv", "lung_n"),
        ("wide.png", "lung_n"), ("slide_of_JaneDoe_0.png", "mesothelioma"), ("slide_of_JaneDoe_1.png", "small_cell"),
    ):  # fmt: skip
        rows.append((name, label))
    _table(folder / "tiles.csv", ("file", "label"), rows)


def _nodules(folder: Path, rng: np.random.Generator) -> None:
    """Without texture, subtlety and margin; 3 rows cannot be used, one lies behind the end of the archive."""
    folder.mkdir(parents=True)
    y, x = np.mgrid[:71, :71] - 35
    hu, masks, rows = [], [], []
    for k in range(12):
        mask = np.hypot(y, x) < 3 + k
        hu.append(np.where(mask, 30, -850) + rng.normal(0, 20, (71, 71)))
        masks.append(mask)
        rows.append([f"JaneDoe-{k // 2}", "0.7", "test", "1.5" if k < 6 else "4.5"])
    masks[3] = np.zeros((71, 71), bool)
    hu[4] = np.full((71, 71), -1000.0)
    rows[5][1] = "unknown"
    rows[6][3], rows[7][3] = "3", ""
    rows.append(["JaneDoe-9", "0.7", "test", "5"])
    packed = np.packbits(np.array(masks).reshape(12, -1), axis=1)
    np.savez_compressed(folder / "lidc_nodule_slices_71px.npz", hu=np.array(hu).astype(np.int16), mask=packed)
    _table(folder / "nodules.csv", ("patient_id", "pixel_mm", "split", "malignancy_mean"), rows)


def _patients(folder: Path, rng: np.random.Generator) -> None:
    """Adenocarcinoma alone, and no column of pack-years; one patient of whom nothing is known."""
    folder.mkdir(parents=True)
    names = [name for name in (f"St-Elsewhere-{k}" for k in range(200)) if split_of(name) == "test"][:12]
    rows = [("header",) * 4, ("header",) * 4]
    for k, name in enumerate(names):
        rows.append((name, ("MALE", "FEMALE")[k % 2], "Lifelong Non-smoker", str(50 + int(rng.integers(30)))))
    rows[2] = (names[0], "[Not Available]", "[Not Available]", "[Not Available]")
    head = ("bcr_patient_barcode", "gender", "tobacco_smoking_history_indicator", "age_at_initial_pathologic_diagnosis")
    _table(folder / "tcga_luad_clinical.tsv", head, rows, "\t")


def _table(path: Path, head: tuple, rows: list, parted_by: str = ",") -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file, delimiter=parted_by)
        writer.writerow(head)
        writer.writerows(rows)

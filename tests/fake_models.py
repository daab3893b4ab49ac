"""A backend without models, for tests of the server: ``Settings(backend="fake_models:load")``.

What a CT job does is said by its series_uid, commands parted by spaces:
  sleep=S       work for S seconds, in steps of 20 ms that look at ``cancelled``
  hang=S        work for S seconds without looking
  die           end the process with SIGKILL, as the system does when memory runs out
  die_once=FILE the same, unless FILE exists; FILE is made first
  fail          raise an exception that is none of ours
What a call on tiles does is said by its brightest pixel: 251 ends the process, 250 takes 50 ms a call.
Each call on tiles appends its number of tiles to the file that LUNGXAI_TEST_CALLS names, where it is set; each call
that explains appends what it was asked for.
"""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from shared_models.contract.errors import Cancelled
from shared_models.contract.provenance import Provenance
from shared_models.contract.results import METHODS, Heatmap, LabelVolume, Nodule, PathologyResult, RadiologyResult
from shared_models.contract.values import CLASSES, CTVolume

KNOWN = ("adenocarcinoma", "squamous_cell", "normal")
SUBTYPE = {"adenocarcinoma": 0.6, "squamous_cell": 0.3, "normal": 0.1, "large_cell": None, "small_cell": None}


@dataclass
class Analysis:
    result: RadiologyResult
    mask: LabelVolume
    heatmaps: dict[str, Heatmap]


def called(what: str) -> None:
    calls = os.environ.get("LUNGXAI_TEST_CALLS")
    if calls:
        with open(calls, "a") as file:
            file.write(f"{what}\n")


class FakeBackend:
    device = "cpu"
    problems: dict[str, Any] = {}
    other_classes: tuple[str, ...] = ()
    answer_columns = len(CLASSES)

    def __init__(self) -> None:
        self.provenance = Provenance("fake, tests only", "0" * 64, "test", False, "cpu", KNOWN)
        self.models = [
            {
                "model_id": f"fake-{modality}, tests only",
                "modality": modality,
                "coverage": list(KNOWN),
                "calibrated": False,
                "weights_sha256": "0" * 64,
                "methods": list(METHODS),
            }
            for modality in ("radiology", "pathology")
        ]

    def analyse_ct(
        self, volume: CTVolume, *, points_lps_mm, boxes_lps_mm, explain, progress, cancelled, search=True,
        corrected=None, target="nodule", known=None,
    ) -> Analysis:  # fmt: skip
        if explain or known is not None:
            called(f"{'explain' if known else 'analyse'} {' '.join(explain)} {target}")
        for command in volume.series_uid.split():
            name, _, value = command.partition("=")
            if name == "sleep":
                end = time.monotonic() + float(value)
                while time.monotonic() < end:
                    if cancelled():
                        raise Cancelled("The job was cancelled.", "")
                    progress("pretending", 1 - (end - time.monotonic()) / float(value))
                    time.sleep(0.02)
            elif name == "hang":
                time.sleep(float(value))
            elif name == "die" or (name == "die_once" and not Path(value).exists()):
                if name == "die_once":
                    Path(value).touch()
                os.kill(os.getpid(), signal.SIGKILL)
            elif name == "fail":
                raise KeyError("Jane Doe")  # a name that must not reach an answer or the log
        labels = (volume.voxels > 0).astype(np.uint8) if corrected is None else corrected.labels
        found_by = "search" if corrected is None else "hand"
        found_by = "point" if not search and corrected is None else found_by
        nodule = Nodule(1, (1.0, 2.0, 3.0), 8.0, 6.0, 150.0, float(volume.voxels.mean()), 0.7, SUBTYPE, found_by)
        result = RadiologyResult(volume.series_uid, (nodule,), 0.7, SUBTYPE, (self.provenance,), ("fake model",))
        heatmaps = {
            method: Heatmap(
                np.abs(volume.voxels) * np.float32(1.1), volume.ijk_to_lps, volume.series_uid, "radiology", method,
                target, self.provenance, {"fake": True},
            )
            for method in explain
        }  # fmt: skip
        return Analysis(result, LabelVolume(labels, volume.ijk_to_lps, volume.series_uid), heatmaps)

    def tile_answers(self, pixels: np.ndarray) -> np.ndarray:
        called(str(len(pixels)))
        brightest = int(pixels.max())
        if brightest == 251:
            os.kill(os.getpid(), signal.SIGKILL)
        if brightest == 250:
            time.sleep(0.05)
        share = pixels[:, 0, 0, 0].astype(np.float32) / 255
        answer = np.full((len(pixels), len(CLASSES)), np.nan, dtype=np.float32)
        answer[:, CLASSES.index("adenocarcinoma")] = share
        answer[:, CLASSES.index("squamous_cell")] = 1 - share
        answer[:, CLASSES.index("normal")] = 0
        return answer

    def slide_result(self, slide_id, mpp, tile_px, origin_px, answers, quality=None) -> PathologyResult:
        mean = {name: float(value) for name, value in zip(CLASSES, answers.mean(axis=0))}
        known = {name: mean[name] if name in KNOWN else None for name in CLASSES}
        return PathologyResult(
            slide_id, mpp, tile_px, origin_px, answers, known, (self.provenance,), tile_quality=quality
        )

    def slide_heatmaps(self, methods, result, pixels, *, target, contrast, progress, cancelled) -> dict[str, Heatmap]:
        called(f"explain {' '.join(methods)}")
        values = pixels(0, len(result.origin_px)).mean(axis=(1, 2, 3), dtype=np.float32).reshape(1, -1)
        named = (target or "adenocarcinoma") + (f" rather than {contrast}" if contrast else "")
        return {
            method: Heatmap(
                values, np.eye(3), result.slide_id, "pathology", method, named, self.provenance, {"fake": True}
            )
            for method in methods
        }  # fmt: skip


def load(models: Path, device: str, threads: int, slide_model: str = "", added: Path | None = None) -> FakeBackend:
    return FakeBackend()

"""A MONAI Bundle of others on one CT: its transforms, its network, and back onto exactly the CT's grid.

segmented()   mask of the named channels, on the CT's grid
detected()    boxes in LPS mm with their scores
run_on_ct()   either, measured with this suite's own networks, and written

MONAI works in RAS with axes (column, row, slice); it is turned in and out here. Boxes of a detector are corners in the
index of the prepared image, which its affine maps to the body, as MONAI's own box transforms do.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Optional

import numpy as np

from .contract.errors import InvalidInput, ModelUnavailable, OutOfMemory
from .contract.jsonforms import to_json
from .contract.values import Array, CTVolume
from .ct_foreign import kept, measured, separated
from .geometry import ras_to_lps
from .model_bundle import MODELS_ROOT, Bundle
from .monai_bundle import Loaded, channels_of
from .training_folder import written

DETECTIONS_FILE = "detections.json"
MOST_BOXES = 50


def _prepared(volume: CTVolume, loaded: Loaded) -> tuple[dict[str, Any], Any, str]:
    """The CT as the bundle's transforms leave it, the transforms, and the name of the image among the data."""
    import torch
    from monai.data import MetaTensor
    from monai.transforms import Compose

    key = loaded.config.raw("image_key")
    key = key if isinstance(key, str) and key.isidentifier() else "image"
    voxels = np.ascontiguousarray(np.asarray(volume.voxels).transpose(2, 1, 0)[None].astype(np.float32))
    affine = torch.from_numpy(ras_to_lps(np.asarray(volume.ijk_to_lps)))
    image = MetaTensor(torch.from_numpy(voxels), affine=affine, meta={"original_channel_dim": 0})
    prepare = Compose(loaded.config.transforms("preprocessing"))
    return _tried(lambda: prepare({key: image}), "prepare the CT"), prepare, key


def _tried(work: Any, what: str) -> Any:
    import torch

    try:
        with torch.inference_mode():
            return work()
    except (MemoryError, torch.OutOfMemoryError) as fault:
        raise OutOfMemory("There is too little memory for this bundle and CT.", "Crop the CT.") from fault
    except Exception as fault:  # whatever the bundle's own network or transforms raise
        cause: BaseException = fault
        while cause.__cause__ is not None:  # MONAI says first which transform it was, and why far below
            cause = cause.__cause__
        if isinstance(cause, ImportError):
            missing = str(cause).strip()[:200]
            raise ModelUnavailable(f"MONAI lacks a package: {missing}", "Install it with pip.") from fault
        why = (str(cause).strip().splitlines() or [type(cause).__name__])[-1]
        raise ModelUnavailable(f"The bundle could not {what}: {why:.200}", "Ask the bundle's author.") from fault


def segmented(volume: CTVolume, loaded: Loaded, channels: Optional[Sequence[int]] = None) -> tuple[Array, list[str]]:
    """bool (slices, rows, columns) on the CT's grid, and the names of the channels that it is made of.

    Parameters
    ----------
    channels : of the output; by default all but the background

    Raises
    ------
    InvalidInput : no such channel. ModelUnavailable : the bundle fails. OutOfMemory.
    """
    from monai.data import MetaTensor
    from monai.transforms import Activationsd, AsDiscreted, Compose, Invertd

    names = channels_of(loaded.bundle.metadata)
    wanted = list(channels) if channels is not None else [c for c, n in names.items() if "background" not in n.lower()]
    if not wanted or not set(wanted) <= set(names):
        known = ", ".join(f"{c} {n}" for c, n in names.items())
        raise InvalidInput("The bundle has no such channel.", f"It has: {known}.")
    data, prepare, key = _prepared(volume, loaded)
    inferer = loaded.runner()

    def answer() -> Any:
        found = inferer(data[key][None].float().to(loaded.device), loaded.network)
        return found[0] if isinstance(found, (tuple, list)) else found

    scores = _tried(answer, "segment the CT")
    if scores.ndim != 5 or scores.shape[0] != 1 or scores.shape[2:] != data[key].shape[1:]:
        raise ModelUnavailable(f"The bundle answers with the shape {tuple(scores.shape)}, which is no segmentation.",
                               "Ask the bundle's author.")  # fmt: skip
    own = loaded.config.transforms("postprocessing")
    if not own:
        one = scores.shape[1] == 1
        own = [Activationsd(keys="pred", sigmoid=one, softmax=not one), AsDiscreted(keys="pred", argmax=not one,
               threshold=0.5 if one else None)]  # fmt: skip
    first = next((i for i, t in enumerate(own) if type(t).__name__.startswith("AsDiscrete")), len(own))

    def finished() -> Any:
        image = data[key]
        held: Any = {key: image, "pred": MetaTensor(scores[0].float().cpu(), meta=image.meta)}
        held = Compose(own[:first])(held)  # scores go back to the CT's grid before they are cut to labels
        held = Invertd(keys="pred", transform=prepare, orig_keys=key, nearest_interp=False, to_tensor=True)(held)
        return np.asarray(Compose(own[first:])(held)["pred"])

    labels = _tried(finished, "put its answer back onto the CT")
    if labels.shape[0] == 1:
        mask = labels[0] > 0.5 if len(names) == 1 else np.isin(np.rint(labels[0]), wanted)
    else:
        mask = (labels[wanted] > 0.5).any(axis=0)
    mask = np.ascontiguousarray(mask.transpose(2, 1, 0))
    if mask.shape != volume.voxels.shape:
        raise ModelUnavailable("The bundle's answer cannot be put back onto the CT's grid.", "Ask the bundle's author.")
    return mask, [names[c] for c in wanted]


def detected(volume: CTVolume, loaded: Loaded, least: float = 0.3) -> list[dict[str, Any]]:
    """Boxes with a score of at least ``least``, the highest first: {"box_lps_mm": (2, 3), "score", "label"}.

    Raises
    ------
    ModelUnavailable : the bundle fails. OutOfMemory.
    """
    data, _, key = _prepared(volume, loaded)
    detector, image = loaded.runner(), data[key]
    found = _tried(
        lambda: detector([image.as_tensor().float().to(loaded.device)], use_inferer=detector.inferer is not None)[0],
        "search the CT",
    )
    boxes = found[detector.target_box_key].cpu().numpy().reshape(-1, 6)
    scores = found[detector.pred_score_key].cpu().numpy().ravel()
    to_lps = ras_to_lps(np.asarray(image.affine))
    answer = []
    for n in np.argsort(-scores, kind="stable"):
        if scores[n] < least or len(answer) == MOST_BOXES:
            break
        low, high = boxes[n, :3], boxes[n, 3:]
        corners = np.array([[(low, high)[b >> axis & 1][axis] for axis in range(3)] + [1] for b in range(8)]) @ to_lps.T
        box = [corners[:, :3].min(0).tolist(), corners[:, :3].max(0).tolist()]
        label = int(found[detector.target_label_key].cpu().numpy().ravel()[n])
        answer.append({"box_lps_mm": box, "score": float(scores[n]), "label": label})
    return answer


def run_on_ct(
    volume: CTVolume, bundle: Bundle, out: Path, *, channels: Optional[Sequence[int]] = None, least: float = 0.3,
    device: str = "cpu", models_root: Path = MODELS_ROOT,
) -> dict[str, Any]:  # fmt: skip
    """Run an added bundle; segmentation.nrrd and nodules.json into ``out``, for a detector detections.json too.

    A segmentation's pieces are measured as they are. A detector has no outlines: this suite's own network outlines what
    lies in its boxes.
    """
    loaded = Loaded.of(bundle, device)
    made_by = {"name": bundle.model_id, "format": "MONAI Bundle", "weights_sha256": bundle.weights_sha256}
    if loaded.task == "segmentation":
        mask, names = segmented(volume, loaded, channels)
        labels, left = separated(mask, volume.spacing_mm)
        return kept(volume, labels, out, {**made_by, "channels": names, "pieces_left_out": left}, models_root)
    boxes = detected(volume, loaded, least)
    told = measured(volume, out, {**made_by, "boxes": len(boxes), "least_score": least}, models_root,
                    boxes_lps_mm=[box["box_lps_mm"] for box in boxes], search=False)  # fmt: skip
    shown = {"notice": "Research use only, not a diagnosis.", "made_by": made_by, "boxes": to_json(boxes)}
    written(out / DETECTIONS_FILE, (json.dumps(shown, indent=1) + "\n").encode())
    return told

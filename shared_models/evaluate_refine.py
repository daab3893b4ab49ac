"""What the 3D network of thin slices changes: python -m shared_models.evaluate_refine --data ROOT --run out/refine

    --models DIR    the bundle whose 2D network is corrected
    --folds         on the training cubes that the run's folds held out: Dice by threshold and by the rule for caps

members_of()     the networks of a run
corrected_by()   probabilities of cubes after the correction
piece_dice()     Dice of the piece that each prompt means
by_rule()        its mean by threshold and share of the largest slice
chosen()         the best of these
of_folds()       of the training cubes, each by the fold that held it out
judged()         validation cubes as a user sees them: from a point at the centre, before and after

The test split is not looked at here.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from . import ct_data
from .contract.errors import InvalidInput
from .contract.values import Array
from .ct_neighbourhood import Prompt
from .ct_network import load as load_2d
from .ct_nodules import PLAIN, REFINED, Rule, piece_at, without_caps
from .ct_pipeline import BUNDLE, WEIGHTS
from .ct_refine import Field, corrected, correction, inputs, load
from .ct_refine_samples import Answered, decoded
from .evaluate_ct import dice, outlined_at
from .model_bundle import MODELS_ROOT, Bundle
from .training_folder import BEST

HELD = "held.npz"  # of each fold
THRESHOLDS = (0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75)
SHARES = (0.0, 0.1, 0.2, 0.3, 0.4)
_SPACING = (1.0, 1.0, 1.0)


def before(pool: Answered, prompt: int) -> Array:
    """float32 (n, s, s, s): the 2D network's probability, from prompt number ``prompt`` of each cube."""
    found: Array = decoded(torch.from_numpy(pool.logit[:, prompt])).sigmoid().numpy()
    return found


def members_of(run: Path) -> list[Path]:
    """The weights of a run that are used together: of all training cubes, and of each fold."""
    return [run / "network" / BEST, *sorted(run.glob(f"fold_*/{BEST}"))]


def corrected_by(members: Any, pool: Answered, prompt: int, device: str = "cpu") -> Array:
    """float32 (n, s, s, s): the probability after the correction."""
    result = before(pool, prompt)
    whole = tuple(slice(0, n) for n in pool.hu.shape[1:])
    fields = [Field(Prompt(low, high), _SPACING) for low, high in zip(pool.low[:, prompt], pool.high[:, prompt])]
    logit = decoded(torch.from_numpy(pool.logit[:, prompt]))
    seen = torch.cat([
        inputs(field.seen(hu), field.asked(), field.answered(own, whole))
        for field, hu, own in zip(fields, pool.hu, logit)
    ])  # fmt: skip
    for k, change in enumerate(correction(members, seen, device)):
        result[k] = corrected(result[k], fields[k].back(change[None], whole)).numpy()
    return result


def piece_dice(probability: Array, pool: Answered, prompt: int, rule: Rule) -> Array:
    """float64 (n,): Dice of the piece that each cube's prompt means, against the reader; 0 where none is seen."""
    scores = []
    for k, found in enumerate(probability):
        piece = piece_at(found, Prompt(pool.low[k, prompt], pool.high[k, prompt]), _SPACING, rule=rule)
        scores.append(0.0 if piece is None else dice(piece, pool.mask[k]))
    return np.array(scores)


def by_rule(probability: Array, pool: Answered, prompt: int) -> Array:
    """float64 (THRESHOLDS, SHARES): mean Dice."""
    scores = np.zeros((len(THRESHOLDS), len(SHARES), len(probability)))
    for k, found in enumerate(probability):
        asked = Prompt(pool.low[k, prompt], pool.high[k, prompt])
        for row, threshold in zip(scores, THRESHOLDS):
            piece = piece_at(found, asked, _SPACING, rule=Rule(threshold, 0.0))
            if piece is not None:
                row[:, k] = [dice(without_caps(piece, share), pool.mask[k]) for share in SHARES]
    mean: Array = scores.mean(2)
    return mean


def held_out(run: Path, pool: Answered, prompt: int) -> Array:
    """float32 (n, s, s, s): the corrected probability of each training cube by the fold that held it out."""
    found = np.full(pool.hu.shape, np.nan, np.float32)
    for file in sorted(run.glob(f"fold_*/{HELD}")):
        with np.load(file, allow_pickle=False) as held:
            found[held["which"]] = held["probability"][:, prompt].astype(np.float32) / 255
    if np.isnan(found).any():
        raise InvalidInput(f"{run} does not hold every fold.", "Train it with --set folds=5.")
    return found


def judged(data: Path, models: Path, refine: Any, split: str = "val", limit: Any = None) -> dict[str, Any]:
    """Dice of each cube of a split from a point at its centre, before and after the correction."""
    cubes = ct_data.cubes(data, split)
    network = load_2d(Bundle.load(models / BUNDLE).path(WEIGHTS)).to(memory_format=torch.channels_last)
    rows = []
    for hu, mask, row in list(zip(cubes.hu, cubes.mask, cubes.rows))[:limit]:
        middle = (np.array(hu.shape) - 1) / 2
        plain, after = (outlined_at(network, hu, _SPACING, middle, refine=r) for r in (None, refine))
        rows.append({"cube": row["name"], "patient": row["patient_id"], "voxels": int(mask.sum()),
                     "before": dice(plain, mask), "after": dice(after, mask)})  # fmt: skip
    return {"cubes": rows, **summary(np.array([r["before"] for r in rows]), np.array([r["after"] for r in rows]))}


def summary(plain: Array, after: Array) -> dict[str, float]:
    """Means, medians and how many gain or lose over 0.005."""
    return {
        "n": len(plain), "mean_before": float(plain.mean()), "mean_after": float(after.mean()),
        "median_before": float(np.median(plain)), "median_after": float(np.median(after)),
        "better": int((after - plain > 0.005).sum()), "worse": int((plain - after > 0.005).sum()),
    }  # fmt: skip


def _table(title: str, values: Array) -> str:
    best = values.max()
    lines = [title, "threshold  " + "  ".join(f"caps {share:.1f}" for share in SHARES)]
    for t, row in zip(THRESHOLDS, values):
        lines.append(f"{t:9.2f}  " + "  ".join(f"{v:7.4f}" + ("*" if v == best else " ") for v in row))
    return "\n".join(lines)


def chosen(probability: Array, pool: Answered, prompts: Sequence[int]) -> dict[str, float]:
    """The best rule of by_rule() and its mean Dice, over some prompts."""
    mean = np.mean([by_rule(probability[:, prompt], pool, prompt) for prompt in prompts], axis=0)
    t, share = np.unravel_index(int(mean.argmax()), mean.shape)
    return {"threshold": THRESHOLDS[t], "least_of_largest": SHARES[share], "dice": float(mean[t, share])}


def _held_cubes(run: Path, data: Path) -> Answered:
    """The training cubes of a run with the answers that it kept."""
    with np.load(run / "train.npz", allow_pickle=False) as held:
        low, high, logit = held["low"], held["high"], held["logit"]
    cubes, n = ct_data.cubes(data, "train"), len(logit)
    return Answered(cubes.hu[:n], cubes.mask[:n], low, high, logit, cubes.patients[:n], np.arange(n).astype(str))


def of_folds(run: Path, data: Path, prompt: int) -> dict[str, float]:
    """summary() of the training cubes, each corrected by the fold that held it out."""
    pool = _held_cubes(run, data)
    plain = piece_dice(before(pool, prompt), pool, prompt, PLAIN)
    return summary(plain, piece_dice(held_out(run, pool, prompt), pool, prompt, REFINED))


def figures(found: Mapping[str, float]) -> str:
    """A summary() in words."""
    return (
        f"mean Dice {found['mean_before']:.3f} before, {found['mean_after']:.3f} after, median "
        f"{found['median_before']:.3f} and {found['median_after']:.3f} ({found['n']} cubes, {found['better']} better, "
        f"{found['worse']} worse)"
    )


def _folds(data: Path, run: Path, prompts: Sequence[int]) -> None:
    pool = _held_cubes(run, data)
    for prompt in prompts:
        print(f"prompt {prompt}: {figures(of_folds(run, data, prompt))}")
        print(_table("before", by_rule(before(pool, prompt), pool, prompt)))
        print(_table("after", by_rule(held_out(run, pool, prompt), pool, prompt)), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--run", type=Path, required=True, help="folder that `lungxai train ct_refine` wrote")
    parser.add_argument("--models", type=Path, default=MODELS_ROOT)
    parser.add_argument("--folds", action="store_true", help="the training cubes that folds held out")
    parser.add_argument("--prompts", type=int, nargs="+", default=[0, 1, 3], help="of --folds; 0 is the cube's centre")
    parser.add_argument("--limit", type=int, help="so many cubes")
    given = parser.parse_args()
    if given.folds:
        _folds(given.data, given.run, given.prompts)
        return
    told = judged(given.data, given.models, load(*members_of(given.run)), limit=given.limit)
    for row in told.pop("cubes"):
        print(f"{row['cube']:20} {row['voxels']:6} voxels  {row['before']:.3f} -> {row['after']:.3f}")
    print(figures(told))


if __name__ == "__main__":
    main()

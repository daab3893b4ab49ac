"""How unlike its training data an input is, and from where on there is no answer.

Score            a Gaussian around each class of a network's features; made by fitted(), or by load()
fitted()         of training features
at_rate()        the score with the threshold that a stated share of validation groups exceeds
false_alarms()   the share that exceeds it, every group counting the same
reliability()    0 to 1 of a score: 1 like the training data, 0.5 at the threshold, 0 far beyond
save(), load()   beside the weights that it was fitted to, and bound to them

The score is the Mahalanobis distance of the features to the nearest class mean (Lee et al. 2018, arXiv:1807.03888),
under one covariance for all classes: the largest ``directions`` of the pooled within-class scatter as they are, and one
variance for all that is across them (probabilistic PCA, Tipping and Bishop 1999, doi 10.1111/1467-9868.00196). That is
the shrinkage: with more features than independent training cases the small variances cannot be told apart.

    models/out_of_distribution.npz     means, directions, variances, float32
    configs/out_of_distribution.json   threshold and rates, sha256 of that file, sha256 of each weights file that the
                                       features come from ("made_with": "BUNDLE/models/FILE"), commit, command

``python -m shared_models.fit_out_of_distribution`` writes both. Where they are missing, or any weights are not those
that were fitted to, load() gives no score but the reason: the answer then says "not assessed".
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Optional

import numpy as np

from .contract.errors import InvalidInput
from .contract.values import Array
from .model_bundle import sha256_of
from .whole_file import written

ARRAYS, TOLD = "models/out_of_distribution.npz", "configs/out_of_distribution.json"
UNRELIABLE = 0.5  # below this reliability an input counts as out of distribution
_STEEPNESS = 8.0
_NAMES = ("centre", "scale", "means", "directions", "variances", "rest")


@dataclass(frozen=True, eq=False)
class Score:
    """What was fitted.

    Parameters
    ----------
    centre, scale : float (d,), by which features are standardised first
    means : float (k, d), of each class
    directions : float (q, d), rows orthonormal; variances : (q,) along them; rest : the variance across them
    threshold : of the score; above it an input is out of distribution
    false_alarm_rate : share of validation groups that was allowed above the threshold
    told : what the JSON file says beside
    """

    centre: Array
    scale: Array
    means: Array
    directions: Array
    variances: Array
    rest: float
    threshold: float = float("nan")
    false_alarm_rate: float = float("nan")
    told: Mapping[str, Any] = field(default_factory=dict)

    def of(self, features: Array) -> Array:
        """float64 (n,): Mahalanobis distance to the nearest class mean, of features (n, d).

        Raises
        ------
        InvalidInput : not as many features as were fitted.
        """
        if features.ndim != 2 or features.shape[1] != len(self.centre):
            raise InvalidInput("These are not the features that were fitted.", "Fit the score to this model again.")
        standard = (features.astype(np.float64) - self.centre) / self.scale
        squared = []
        for mean in self.means:
            off = standard - mean
            along = off @ self.directions.T
            across = np.maximum((off**2).sum(axis=1) - (along**2).sum(axis=1), 0.0)
            squared.append((along**2 / self.variances).sum(axis=1) + across / self.rest)
        answer: Array = np.sqrt(np.min(squared, axis=0))
        return answer

    def reliability(self, features: Array) -> Array:
        """float32 (n,) in [0, 1] of features (n, d); see reliability()."""
        return reliability(self.of(features), self.threshold)


def reliability(score: Array, threshold: float) -> Array:
    """float32, shape of ``score``: 1 / (1 + (score / threshold)^8), so 0.5 at the threshold.

    Half the threshold has 0.996, three quarters 0.91, one and a half times 0.04. It is an order, not a probability.
    """
    with np.errstate(over="ignore"):
        return (1.0 / (1.0 + (np.asarray(score, np.float64) / threshold) ** _STEEPNESS)).astype(np.float32)


def fitted(features: Array, classes: Array, directions: int, standardise: bool = False) -> Score:
    """The score without its threshold.

    Parameters
    ----------
    features : (n, d), of training cases
    classes : (n,), any labels
    directions : how many of the largest are kept, fewer than n and d
    standardise : whether features are of different units

    Raises
    ------
    InvalidInput : not finite, or too few cases for so many directions.
    """
    from sklearn.decomposition import PCA

    x = features.astype(np.float64)
    if x.ndim != 2 or len(x) != len(classes) or not np.isfinite(x).all() or not 0 < directions < min(x.shape):
        raise InvalidInput("The features cannot be fitted.", "Give more training cases, or fewer directions.")
    centre = x.mean(axis=0) if standardise else np.zeros(x.shape[1])
    scale = np.maximum(x.std(axis=0), 1e-6) if standardise else np.ones(x.shape[1])
    x = (x - centre) / scale
    names, index = np.unique(classes, return_inverse=True)
    means = np.stack([x[index == k].mean(axis=0) for k in range(len(names))])
    found = PCA(directions, svd_solver="covariance_eigh").fit(x - means[index])
    return Score(centre, scale, means, found.components_, found.explained_variance_, float(found.noise_variance_))


def at_rate(score: Score, values: Array, groups: Array, rate: float) -> Score:
    """The score with the least threshold at which at most ``rate`` of the groups exceed it; see false_alarms().

    Parameters
    ----------
    values : (n,), of() of validation cases; groups : (n,) patient or source field
    """
    if len(values) != len(groups) or not len(values) or not 0 < rate < 1:
        raise InvalidInput("A threshold needs validation cases and a rate between 0 and 1.", "Give a rate like 0.05.")
    for value in np.unique(values):
        if false_alarms(values, groups, float(value)) <= rate:
            return replace(score, threshold=float(value), false_alarm_rate=rate)
    raise AssertionError("the largest value is exceeded by none")


def false_alarms(values: Array, groups: Array, threshold: float) -> float:
    """Share of cases above the threshold, (n,), averaged within each group and then over the groups."""
    _, index = np.unique(groups, return_inverse=True)
    above = np.bincount(index, weights=np.asarray(values) > threshold) / np.bincount(index)
    return float(above.mean())


def weights_of(models_root: Path, *bundles: str) -> dict[str, str]:
    """ "BUNDLE/FILE" -> sha256, as the metadata of each bundle names its weights; empty where one cannot be read."""
    found: dict[str, str] = {}
    try:
        for name in bundles:
            own = json.loads((models_root / name / "configs" / "metadata.json").read_bytes())["lungxai"]["weights"]
            found |= {f"{name}/{file}": str(sha) for file, sha in own.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}
    return found


def save(score: Score, folder: Path, made_with: Mapping[str, str], told: Mapping[str, Any]) -> None:
    """Write both files of a bundle; ``made_with`` as weights_of() gives it, ``told`` is kept for people."""
    arrays = {name: np.asarray(getattr(score, name), np.float32) for name in _NAMES}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    written(folder / ARRAYS, buffer.getvalue())
    said = {
        "threshold": score.threshold, "false_alarm_rate": score.false_alarm_rate, "made_with": dict(made_with),
        "sha256": sha256_of(folder / ARRAYS), **told,
    }  # fmt: skip
    written(folder / TOLD, (json.dumps(said, indent=1) + "\n").encode())


def load(folder: Path) -> tuple[Optional[Score], str]:
    """The score of the bundle ``folder``, or None and why there is none, in words.

    It is None where the files are missing or broken, or where any weights that they name are now others.
    """
    if not (folder / TOLD).is_file():
        return None, "no parameters were fitted for this model"
    try:
        told = json.loads((folder / TOLD).read_bytes())
        made_with = {str(name): str(sha) for name, sha in told["made_with"].items()}
        now = weights_of(folder.parent, *sorted({folder.name, *(name.split("/")[0] for name in made_with)}))
        if not made_with or now != made_with:
            return None, "its parameters were fitted to other weights; fit them again"
        if sha256_of(folder / ARRAYS) != told["sha256"]:
            return None, "its parameters were changed"
        with np.load(folder / ARRAYS, allow_pickle=False) as held:
            arrays = {name: held[name].astype(np.float64) for name in _NAMES}
        score = Score(**{**arrays, "rest": float(arrays["rest"])}, threshold=float(told["threshold"]),
                      false_alarm_rate=float(told["false_alarm_rate"]), told=told)  # fmt: skip
        whole = all(np.isfinite(a).all() for a in arrays.values()) and score.threshold > 0 and score.rest > 0
        if not whole or score.variances.min() <= 0 or score.scale.min() <= 0:
            raise ValueError("not finite")
        score.of(np.zeros((1, len(score.centre))))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError, InvalidInput):
        return None, "its parameters cannot be read"
    return score, ""

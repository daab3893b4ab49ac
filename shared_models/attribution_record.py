"""The record of a heatmap that was made of several attributions: of batches of tiles, or of several nodules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_LARGEST = ("steps", "windows_evaluated", "completeness_error")


def joined(records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One record of all, Attribution.record each, of one method: the most steps and windows, the largest error.

    It converged where all did. How many maps did not ("completeness") is told of one record alone: each counts its own.
    What else the records say is taken from the last.
    """
    one = dict(records[-1])
    for key in _LARGEST:
        if key in one:
            one[key] = max(record[key] for record in records)
    if "converged" in one:
        one["converged"] = all(record["converged"] for record in records)
    if len(records) > 1:
        one.pop("completeness", None)
    return one

"""A model's own faithfulness figures, kept in its bundle and read where a map is labelled.

NAME/docs/xai.json   {"commit", "split", "methods": {method: {"target", "subject", "n", "measures": {measure: {"value",
                     "ci95"}}, "random": the same of a random map, "sanity": a stored Verdict}}}
figures()            of a bundle, by method; empty where it was not measured
said_of()            what they say, for a heatmap's parameters, which viewers read
stored()             writes them, from the JSON of `lungxai evaluate --task xai`

    lungxai evaluate --data ../shared/data --task xai --json out/xai.json
    python -m shared_models.xai_figures --result out/xai.json

The file is a card of what was measured, not a weight: it has no hash in the metadata, and a missing or broken one only
means that a map is labelled "not measured".
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Optional

from .contract.errors import InvalidInput
from .contract.heatmap_words import FAILED, FIGURES, PASSED, SANITY
from .faithfulness import RANDOM
from .model_bundle import MODELS_ROOT

FILE = Path("docs") / "xai.json"
_MAX_BYTES = 1 << 20
_SHOWN = (
    ("insertion_blur", "insertion AUC"), ("deletion_blur", "deletion AUC (lower is better)"), ("iou_fixed", "IoU"),
)  # fmt: skip


def figures(bundle: Path) -> Mapping[str, Any]:
    """method -> what the file says of it, of the bundle's folder."""
    path = bundle / FILE
    try:
        if path.stat().st_size > _MAX_BYTES:
            return {}
        methods = json.loads(path.read_bytes())["methods"]
        return methods if isinstance(methods, dict) else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def said_of(bundle: Path, method: str) -> dict[str, str]:
    """What a heatmap's parameters say of its method, for heatmap_words.trust(); empty where it was not measured."""
    own = figures(bundle).get(method)
    try:
        if own is None:
            return {}
        said = [
            f"{name} {own['measures'][key]['value']:.2f} (a random map {own['random'][key]['value']:.2f})"
            for key, name in _SHOWN
            if key in own["measures"]
        ]
        return {
            FIGURES: f"{', '.join(said)} on {own['subject']}, n = {int(own['n'])}",
            SANITY: PASSED if own["sanity"]["passed"] is True else FAILED,
        }
    except (KeyError, TypeError, ValueError, IndexError, AttributeError):
        return {}


def stored(result: Mapping[str, Any], models_root: Path = MODELS_ROOT) -> list[Path]:
    """Write each measured bundle's file, of real cases only; the paths.

    Parameters
    ----------
    result : the JSON of ``lungxai evaluate --task xai``

    Raises
    ------
    InvalidInput : it holds no such result, or was not made from a commit.
    """
    subjects = result.get("tasks", {}).get("xai", {}).get("subjects", {})
    if not subjects or not result.get("commit"):
        raise InvalidInput("This is no result of the task xai.", "Run `lungxai evaluate --task xai --json FILE`.")
    written = []
    for name, subject in subjects.items():
        if "SYNTHETIC" in name:
            continue
        methods = {
            method: {
                "subject": name, "target": subject["target"], "n": subject["n"],
                "measures": subject["measures"][method], "random": subject["measures"][RANDOM], "sanity": verdict,
            }
            for method, verdict in subject["sanity"].items()
        }  # fmt: skip
        path = models_root / subject["bundle"] / FILE
        path.write_text(
            json.dumps({"commit": result["commit"], "split": result["split"], "methods": methods}, indent=1) + "\n"
        )
        written.append(path)
    return written


def main(arguments: Optional[Sequence[str]] = None) -> None:
    parser = argparse.ArgumentParser(description="Keep the figures of the explanation methods with their models.")
    parser.add_argument("--result", type=Path, required=True, metavar="FILE", help="of `lungxai evaluate --json`")
    parser.add_argument("--models", type=Path, default=MODELS_ROOT, metavar="DIR")
    given = parser.parse_args(arguments)
    for path in stored(json.loads(given.result.read_text()), given.models):
        print(path)


if __name__ == "__main__":
    main()

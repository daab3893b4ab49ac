"""``lungxai evaluate``: the models on real held-out cases, each measure with its 95 % interval and its baseline.

TASKS       name -> "module:function(data_root, split, models_root)", which returns None where there is no data
CASES       name -> the same function for the cases alone: of the split that thresholds are chosen on
table()     the results as a Markdown table

With --out every answer is kept case by case, and a page, tables and pictures are made of them: evidence.py.
"""

from __future__ import annotations

import argparse
import csv
import importlib
import io
import json
import logging
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from . import whole_file
from .code_version import git_commit
from .contract.errors import InvalidInput, LungXAIError, ModelUnavailable, ServerError
from .model_bundle import MODELS_ROOT

TASKS = {
    "he_tiles": "evaluate_slide:evaluate_he_tiles",
    "ct_slices": "evaluate_ct:evaluate_ct_slices",
    "ct_cubes": "evaluate_ct:evaluate_ct_cubes",
    "ct_malignancy": "evaluate_ct:evaluate_ct_malignancy",
    "ct_series": "evaluate_ct:evaluate_ct_series",
    "clinical": "evaluate_clinical:evaluate_clinical",
    "fusion": "evaluate_fusion:evaluate_fusion",
    "shift": "evaluate_shift:evaluate_shift",
    "out_of_distribution": "evaluate_out_of_distribution:evaluate_out_of_distribution",
    "xai": "evaluate_xai:evaluate_xai",
}
CASES = {
    "he_tiles": "evaluate_slide:he_tile_cases",
    "ct_malignancy": "evaluate_ct:malignancy_cases",
    "clinical": "evaluate_clinical:clinical_cases",
}
TUNED_ON = {"test": "val"}  # split -> where thresholds and conformal sets of the page are chosen
ON_REQUEST = ("xai", "shift", "out_of_distribution")  # too slow to run unless it is named
SPLITS = ("train", "val", "test")
_EXAMPLES = """\
examples:
  lungxai evaluate --data ../shared/data --split test
  lungxai evaluate --data ../shared/data --split test --json result.json --markdown table.md
  lungxai evaluate --data ../shared/data --out evidence      # evidence/index.html, JSON, CSV, pictures
  lungxai evaluate --from evidence                           # the page again, without models
  lungxai evaluate --paired tcga-lung /data/tcga --out paired
  lungxai evaluate --data ../shared/data --split val --task he_tiles
  lungxai evaluate --data ../shared/data --task xai --json xai.json --csv xai.csv --markdown xai.md

The task xai measures the explanation methods, shift what other scanners and laboratories do. They take minutes, so they
run only where they are named; --cases makes them quicker and their intervals wider.
Intervals are by bootstrap over whole groups: patients for CT and clinical fields, source fields for tiles.
Research use only, not a diagnosis.
"""


def register(subparsers: Any) -> None:
    """Add ``evaluate`` to the command line."""
    parser = subparsers.add_parser(
        "evaluate", help="measure the models on real cases", epilog=_EXAMPLES,
        description="Measure the models on real cases that they were not trained on.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--data", type=Path, metavar="ROOT", help="folder of the data sets")
    source.add_argument("--from", dest="again", type=Path, metavar="DIR", help="make the page of an earlier --out anew")
    source.add_argument(
        "--paired", nargs=2, metavar=("COHORT", "ROOT"),
        help="the fusion on a cohort's truly paired patients; COHORT as in `lungxai cohorts`",
    )  # fmt: skip
    parser.add_argument("--out", type=Path, metavar="DIR", help="write the evidence page, tables and pictures there")
    parser.add_argument("--split", choices=SPLITS, default="test", help="default test")
    parser.add_argument("--task", action="append", choices=list(TASKS), help="only this one; may be repeated")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the measures there")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the table there")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="of the task xai: write every figure there")
    parser.add_argument("--cases", type=int, metavar="N", help="of the tasks xai and shift: so many cases of each kind")
    parser.add_argument("--models", type=Path, default=MODELS_ROOT, metavar="DIR", help="folder of the models")
    parser.set_defaults(run=_run)


def evaluated(name: str, data_root: Path, split: str, models_root: Path, **options: Any) -> Any:
    """One task's measures; None where there is no data for it. ``options`` are the task's own."""
    return _called(TASKS[name], data_root, split, models_root, **options)


def _called(where: str, data_root: Path, split: str, models_root: Path, **options: Any) -> Any:
    module, function = where.split(":")
    try:
        found = importlib.import_module(f".{module}", __package__)
    except ImportError as fault:
        raise ModelUnavailable(f"{fault.name} is not installed.", "Run `lungxai doctor`.") from fault
    return getattr(found, function)(data_root, split, models_root, **options)


def _run(given: argparse.Namespace) -> int:
    if given.again is not None:
        from .evidence import written

        print(written(given.again))
        return 0
    _checked(given)
    tasks: dict[str, Any] = {}
    commit = git_commit()  # before the hours in which it may change
    run = _run_of(given, commit) if given.out else {}
    failed: dict[str, str] = {}
    for name in ["fusion"] if given.paired else given.task or [name for name in TASKS if name not in ON_REQUEST]:
        begun = time.monotonic()
        print(f"{name} ...", end=" ", file=sys.stderr, flush=True)
        try:
            found = _found(name, given)
            if found is not None and given.out:
                _keep(name, given, found, run)
        except LungXAIError as fault:
            failed[name] = f"{fault.message} {fault.remedy}"
        except (LookupError, OSError, TypeError, ValueError) as fault:  # one task's trouble must not cost the others
            failed[name] = f"This data is not as the task needs it ({type(fault).__name__})."
            logging.getLogger(__name__).debug("%s", name, exc_info=True)
        if name in failed:
            print(f"failed: {failed[name]}", file=sys.stderr)
            continue
        print("no data" if found is None else f"{time.monotonic() - begun:.0f} s", file=sys.stderr)
        if found is not None:
            tasks[name] = {key: value for key, value in found.items() if key != "cases"}
    if not tasks and not failed:
        raise InvalidInput(f"{given.data} holds no data of these tasks.", "Its layout is in the README.")
    result = {"commit": commit, "split": given.split, "tasks": tasks}
    text = table(result)
    print(text)
    if given.json:
        whole_file.written(given.json, (json.dumps(result, indent=1) + "\n").encode())
    if given.markdown:
        whole_file.written(given.markdown, text.encode())
    if given.csv and "xai" in tasks:
        from .xai_table import COLUMNS, rows

        lines = io.StringIO()
        writer = csv.DictWriter(lines, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows(tasks["xai"]))
        whole_file.written(given.csv, lines.getvalue().encode())
    if given.out and run["tasks"]:
        from .evidence import finish, written
        from .evidence_accounting import models_in

        run["models"] = models_in(given.models)  # as they were loaded, should they have been changed since the start
        finish(given.out, {**run, "failed": failed})
        print(written(given.out))
    return 1 if failed else 0


def _found(name: str, given: argparse.Namespace) -> Any:
    if given.paired:
        from .evaluate_paired import evaluate_cohort

        return evaluate_cohort(given.paired[0], Path(given.paired[1]), given.split, given.models)
    options = {"cases": given.cases} if name in ON_REQUEST else {}
    return evaluated(name, given.data, given.split, given.models, **options)


def _checked(given: argparse.Namespace) -> None:
    """Look at everything that was asked for before the hours that go into it."""
    folder = Path(given.paired[1]) if given.paired else given.data
    if not folder.is_dir():
        raise InvalidInput(f"There is no folder {folder}.", "Give the folder of the data sets with --data or --paired.")
    if given.paired and set(given.task or ()) - {"fusion"}:
        raise InvalidInput("Paired cases are of the task fusion only.", "Leave the other --task out.")
    if given.cases is not None and given.cases < 2:
        raise InvalidInput("Fewer than two cases have no interval.", "Give --cases 2 or more.")
    if (given.csv or given.cases is not None) and not set(ON_REQUEST) & set(given.task or ()):
        raise InvalidInput("--csv and --cases belong to the tasks xai and shift.", "Add --task xai, or leave them out.")
    for path in (given.json, given.markdown, given.csv):
        if path is not None:
            _prepared(path)
    if given.out:
        from .evidence import RUN

        _prepared(given.out / RUN)
        if (given.out / RUN).is_file():  # what lies here is ours: answers of an earlier run must not mix with these
            for path in given.out.glob("cases_*.*"):
                path.unlink()


def _keep(name: str, given: argparse.Namespace, found: Any, run: dict[str, Any]) -> None:
    """Put a task's answers into the folder of --out, so that an interrupted run still makes a page of what it has."""
    from .evidence import finish, keep

    run["tasks"].update(keep(given.out, name, given.split, found))
    if name in CASES and given.split in TUNED_ON:
        tuning = _called(CASES[name], given.data, TUNED_ON[given.split], given.models)
        if tuning is not None:
            tuning.save(given.out)
    finish(given.out, run)


def _run_of(given: argparse.Namespace, commit: str) -> dict[str, Any]:
    """What run.json says before any task has run."""
    from .evidence_accounting import accounting, models_in

    return {
        "commit": commit, "split": given.split, "tuned_on": None if given.paired else TUNED_ON.get(given.split),
        "data": given.paired[0] if given.paired else given.data.resolve().name, "models": models_in(given.models),
        "accounting": [] if given.paired else accounting(given.data), "tasks": {},
    }  # fmt: skip


def _prepared(path: Path) -> None:
    """Make the folder of a result before the hours that go into it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_name(path.name + ".part").touch()
        path.with_name(path.name + ".part").unlink()
    except OSError as fault:
        raise ServerError(f"{path} cannot be written: {fault.strerror}.", "Choose another place.") from fault


def _measures(task: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in task.items():
        if isinstance(value, Mapping) and "value" in value:
            yield name, value
    for name, value in task.get("baseline", {}).items():
        yield f"baseline: {name}", value


def table(result: Mapping[str, Any]) -> str:
    """Markdown: one row a measure; baselines stand below the measures that they belong to.

    A task with a "text" has tables of its own.
    """
    plain_tasks = {name: task for name, task in result["tasks"].items() if "text" not in task}
    lines = ["| task | n | measure | value | 95 % interval |", "|---|---|---|---|---|"] if plain_tasks else []
    for name, task in plain_tasks.items():
        for measure, value in _measures(task):
            plain = not isinstance(value, Mapping)
            number = value if plain else value["value"]
            interval = "" if plain else "{:.3f} to {:.3f}".format(*value["ci95"])
            lines.append(f"| {name} | {task['n']} | {measure} | {number:.3f} | {interval} |")
    lines += [f"\n{task['text']}" for task in result["tasks"].values() if "text" in task]
    lines.append(f"\nSplit {result['split']}, code at commit {result['commit'][:12]}. Research use only.\n")
    return "\n".join(lines)

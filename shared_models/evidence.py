"""The evidence folder: a page with pictures, JSON and CSV, made from what the models answered case by case.

keep()      put a run into the folder: the cases of each task, and what is not a case
written()   make the page and the tables anew from what keep() left there; no model is needed

run.json             what was run: commit, split, models, accounting, figures of tasks without cases
cases_TASK_SPLIT.*   the answers; ids are pseudonyms
evidence.json        every figure and test; two runs differ in "written" only
measures.csv, tests.csv, confusion.csv, exclusions.csv
figures/*.svg, index.html
"""

from __future__ import annotations

import csv
import datetime
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Optional

from . import whole_file
from .contract.errors import InvalidInput, ServerError
from .contract.notice import NOTICE
from .evidence_cases import Cases, of_task, replaced
from .evidence_curves import of_result
from .evidence_figures import figures_of
from .evidence_measures import measured, plain
from .evidence_tests import corrected, tests_of

RUN, RESULT, PAGE = "run.json", "evidence.json", "index.html"


def parts_of(name: str, found: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """(name, result) of a task, or of each of its "parts", e.g. one a cohort."""
    if "parts" not in found:
        yield name, found
        return
    for part, one in found["parts"].items():
        yield f"{name}_{part}", one


def keep(folder: Path, name: str, split: str, found: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Write the cases of one task; what else it found, by part, for run.json."""
    kept = {}
    for part, one in parts_of(name, found):
        cases = of_task(part, split, one)
        if cases is not None and len(cases):
            cases.save(folder)
        kept[part] = plain({key: value for key, value in one.items() if key not in ("cases", "parts")})
    return kept


def finish(folder: Path, run: Mapping[str, Any]) -> None:
    """Write run.json: {"commit", "split", "data", "models", "accounting", "tasks": part -> what keep() gave back},
    and where there are any "tuned_on" and "failed": task -> why it was not measured."""
    with replaced(folder / RUN) as file:
        file.write(json.dumps(plain(run), indent=1, allow_nan=False) + "\n")


def written(folder: Path) -> Path:
    """The page, index.html, and everything beside it.

    Raises
    ------
    InvalidInput : the folder holds no run. ServerError : it cannot be written to.
    """
    try:
        run = json.loads((folder / RUN).read_text())
        split, tasks = run["split"], run["tasks"]
    except (OSError, ValueError, KeyError, TypeError) as fault:
        raise InvalidInput(
            f"{folder} holds no run of this command.", "Make one with `lungxai evaluate --data ROOT --out DIR`."
        ) from fault
    sections, tests, excluded = [], [], []
    for name, own in tasks.items():
        print(f"figures of {name} ...", file=sys.stderr, flush=True)
        cases, tuning = _cases(folder, name, split), _cases(folder, name, run.get("tuned_on") or "")
        section: dict[str, Any] = {"name": name, "own": own, "figures": None, "pictures": []}
        if cases is not None:
            section["figures"] = measured(cases, tuning)
            section["pictures"] = figures_of(cases, section["figures"])
            tests += tests_of(cases, tuning)
            excluded += [{"task": name, "case": one.case, "reason": one.reason} for one in cases.exclusions]
        section["pictures"] += of_result(own)
        sections.append(section)
    tests = corrected(tests)
    now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
    result = {
        "written": now, "commit": run["commit"], "split": split, "tuned_on": run.get("tuned_on"), "data": run["data"],
        "failed": run.get("failed", {}), "notice": NOTICE, "models": run["models"], "accounting": run["accounting"],
        "tasks": {one["name"]: {"own": one["own"], "figures": one["figures"]} for one in sections}, "tests": tests,
    }  # fmt: skip
    try:
        _files(folder, plain(result), sections, excluded)
    except OSError as fault:
        raise ServerError(f"{folder} cannot be written to: {fault.strerror}.", "Choose another place.") from fault
    return folder / PAGE


def _cases(folder: Path, name: str, split: str) -> Optional[Cases]:
    about = folder / f"cases_{name}_{split}.json"
    return Cases.load(about) if split and about.is_file() else None


def _files(folder: Path, result: dict[str, Any], sections: list[dict[str, Any]], excluded: list[Any]) -> None:
    from .evidence_page import page

    pictures = folder / "figures"
    pictures.mkdir(exist_ok=True)
    for section in sections:
        for one in section["pictures"]:
            whole_file.written(pictures / f"{section['name']}_{one.name}.svg", one.svg)
    with replaced(folder / RESULT) as file:
        file.write(json.dumps(result, indent=1, allow_nan=False) + "\n")
    figures = {name: task["figures"] for name, task in result["tasks"].items() if task["figures"]}
    about = {"split": result["split"], "commit": result["commit"], "use": NOTICE}
    _table(folder / "measures.csv", _measure_rows(figures), about)
    _table(folder / "confusion.csv", _confusion_rows(figures), about)
    _table(folder / "tests.csv", [{**t, "ci95": None, "low": t["ci95"][0], "high": t["ci95"][1]}
                                  for t in result["tests"]], about)  # fmt: skip
    _table(folder / "exclusions.csv", excluded, about, ("task", "case", "reason"))
    with replaced(folder / PAGE) as file:
        file.write(page(result, sections))


def _table(path: Path, rows: Any, about: Mapping[str, str], columns: Sequence[str] = ()) -> None:
    """CSV: the rows' own columns (``columns`` where there may be no row), then what every table says of itself."""
    every = [{**{k: v for k, v in row.items() if k != "ci95"}, **about} for row in rows]
    with replaced(path) as file:
        writer = csv.DictWriter(file, list(every[0] if every else (*columns, *about)), lineterminator="\n")
        writer.writeheader()
        writer.writerows(every)


def _measure_rows(figures: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for task, one in figures.items():
        groups: list[tuple[str, int, Mapping[str, Any]]] = [("all", one["n"], one["measures"])]
        for name, of in one.get("per_class", {}).items():
            groups.append((f"class {name}", of["n"], {k: v for k, v in of.items() if isinstance(v, dict)}))
        for name, of in one.get("calibration", {}).items():
            groups.append((f"calibration of {name}", one["n"], {k: of[k] for k in ("ece_debiased", "brier")}))
        for name, of in one["rivals"].items():
            groups.append((f"baseline: {name}", one["n"], of))
        for by, strata in one["subgroups"].items():
            groups += [(f"{by}: {name}", of["n"], of.get("measures", {})) for name, of in strata.items()]
        for part, n, measures in groups:
            for name, value in measures.items():
                yield {"task": task, "part": part, "n": n, "measure": name, "value": value["value"],
                       "low": value["ci95"][0], "high": value["ci95"][1], "interval": value["interval"]}  # fmt: skip


def _confusion_rows(figures: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for task, one in figures.items():
        for truth, row in zip(one["classes"], one.get("confusion", ())):
            for called, count in zip(one["classes"], row):
                share = count / sum(row) if sum(row) else None
                yield {"task": task, "truth": truth, "called": called, "count": count, "share_of_row": share}

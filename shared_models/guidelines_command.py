"""``lungxai guideline NAME``: the nodule guidelines of lung_rads.py and fleischner.py from the command line.

Every input is a flag made from the guideline's own fields. What is not given is "not known"; where no single row of the
table fits, the reason is printed and what remains possible, never a guess.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any, Union

from . import fleischner, lung_rads
from .clinical_risk import NODULE_TYPES
from .contract.notice import NOTICE
from .field_flags import add_flags, filled
from .nodule_guideline import Advice, NotApplicable

GUIDELINES: dict[str, tuple[Callable[[Any], Union[Advice, NotApplicable]], type, Mapping[str, str], str]] = {
    "lung-rads": (lung_rads.lung_rads, lung_rads.ScreeningNodule, lung_rads.INPUT_NAMES,
                  "a nodule of lung cancer screening (ACR Lung-RADS v2022)"),
    "fleischner": (fleischner.fleischner, fleischner.IncidentalNodule, fleischner.INPUT_NAMES,
                   "a nodule found by chance (Fleischner Society 2017)"),
}  # fmt: skip
_CHOICES = {"nodule_type": NODULE_TYPES, "found": lung_rads.FOUND, "previous_category": lung_rads.PREVIOUS,
            "count": fleischner.COUNTS, "risk": fleischner.RISKS}  # fmt: skip
_FLAGS = {"nodule_type": "type"}
_EXAMPLES = """\
examples:
  lungxai guideline fleischner --mean-mm 7.2 --type solid --count single --risk high --age-years 63 \\
      --screening no --known-cancer no --immunosuppressed no
  lungxai guideline lung-rads --mean-mm 8.0 --type solid --found baseline --screening yes --age-years 63 \\
      --pack-years 30 --years-since-quitting 2 --symptoms no --known-lung-cancer no
  lungxai guideline lung-rads --help        says what it needs

Published tables, each within the limits that it was made for. Research use only, not a diagnosis.
"""


def register(subparsers: Any) -> None:
    """Add ``guideline`` to the command line."""
    parser = subparsers.add_parser(
        "guideline", help="nodule guidelines: Lung-RADS v2022, Fleischner 2017", epilog=_EXAMPLES,
        description="Published nodule guidelines, within the limits that each was made for.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    guidelines = parser.add_subparsers(metavar="NAME", required=True)
    for name, (guideline, inputs, words, what) in GUIDELINES.items():
        one = guidelines.add_parser(name, help=f"what to do about {what}", epilog=_EXAMPLES,
                                    description=(guideline.__doc__ or "").strip(),
                                    formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
        add_flags(one, inputs, words, _CHOICES, _FLAGS)
        one.set_defaults(run=_run, guideline=name)


def _run(given: argparse.Namespace) -> int:
    guideline, inputs, _, _ = GUIDELINES[given.guideline]
    answer = guideline(filled(inputs, given))
    if given.json:
        print(json.dumps({"name": given.guideline, "applies": isinstance(answer, Advice), **asdict(answer),
                          "notice": NOTICE}, ensure_ascii=False))  # fmt: skip
    elif isinstance(answer, Advice):
        print(f"{f'Category {answer.category}.' if answer.category else ''} {answer.next_step}".strip())
        print(f"Row {answer.row}: {answer.condition}.\n{answer.source}.")
        if answer.assumed:
            print(f"Not said, taken as absent: {'; '.join(answer.assumed)}.")
        print(NOTICE)
    else:
        print(f"No single answer. {answer.reason}\n{answer.what_would_help}")
        if answer.possible:
            print("Possible: " + " / ".join(answer.possible))
        print(NOTICE)
    return 0

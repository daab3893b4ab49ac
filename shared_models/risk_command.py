"""``lungxai risk MODEL``: the published risk models of clinical_risk.py from the command line.

Every input is a flag made from the model's own fields. What is not given is "not known"; then, and outside the model's
limits, there is no number but the reason.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from .clinical_risk import (
    EDUCATION,
    INPUT_NAMES,
    NODULE_TYPES,
    ORIGINS,
    BrockNodule,
    MayoNodule,
    Risk,
    ScreeningCandidate,
    brock,
    mayo,
    plco_m2012,
)
from .field_flags import add_flags, filled

MODELS: dict[str, tuple[Callable[[Any], Any], type, str]] = {
    "mayo": (mayo, MayoNodule, "a solitary nodule found by chance is malignant (Swensen 1997)"),
    "brock": (brock, BrockNodule, "a nodule of a first screening CT is cancer (McWilliams 2013)"),
    "plcom2012": (plco_m2012, ScreeningCandidate, "lung cancer in six years, of people who smoked (Tammemägi 2013)"),
}
_CHOICES = {"sex": ("female", "male"), "nodule_type": NODULE_TYPES, "education": EDUCATION, "origin": ORIGINS}
_EXAMPLES = """\
examples:
  lungxai risk mayo --age-years 63 --ever-smoked yes --extrathoracic-cancer no --cancer-within-5-years no \\
      --lung-cancer-before no --diameter-mm 14 --spiculated no --upper-lobe yes --solitary yes
  lungxai risk brock --help                 says what it needs
  lungxai risk plcom2012 --age-years 60     says what is missing

Published models, not fitted here, each within the limits that it was made for. Research use only, not a diagnosis.
"""


def register(subparsers: Any) -> None:
    """Add ``risk`` to the command line."""
    parser = subparsers.add_parser(
        "risk", help="published risk models: Mayo, Brock, PLCOm2012", epilog=_EXAMPLES,
        description="Published risk models, within the limits that each was made for.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    models = parser.add_subparsers(metavar="MODEL", required=True)
    for name, (model, inputs, what) in MODELS.items():
        one = models.add_parser(name, help=f"probability: {what}", description=(model.__doc__ or "").strip(),
                                formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
        add_flags(one, inputs, INPUT_NAMES, _CHOICES)
        one.set_defaults(run=_run, risk_model=name)


def _run(given: argparse.Namespace) -> int:
    model, inputs, _ = MODELS[given.risk_model]
    answer = model(filled(inputs, given))
    if given.json:
        print(json.dumps({"model": given.risk_model, "answered": isinstance(answer, Risk), **asdict(answer)}))
    elif isinstance(answer, Risk):
        print(f"{answer.probability:.1%}  {answer.outcome}\n{answer.source}. Research use only, not a diagnosis.")
    else:
        print(f"No number. {answer.reason}\n{answer.what_would_help}")
    return 0

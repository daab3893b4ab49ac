"""The clinical form: what the user typed <-> ClinicalFields.

FIELDS     what each field is called, its unit, its range or its choices
read()     texts of the form -> ClinicalFields, or what is wrong with each field
shown()    ClinicalFields -> texts of the form

An empty text is "not known". Nothing is filled in.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Optional

from shared_models.contract.errors import InvalidInput
from shared_models.contract.values import SEXES, SMOKING, ClinicalFields

from .text import tr


@dataclass(frozen=True)
class FormField:
    """One field.

    Parameters
    ----------
    label : as it is shown
    unit : empty where there is none
    lower, upper : range of a number
    choices : of a field that is chosen, else empty
    """

    label: str
    unit: str = ""
    lower: float = 0.0
    upper: float = 0.0
    choices: tuple[str, ...] = ()


FIELDS: Mapping[str, FormField] = {
    "age_years": FormField("Age", "years", 0.0, 120.0),
    "sex": FormField("Sex", choices=SEXES),
    "smoking": FormField("Smoking", choices=SMOKING),
    "pack_years": FormField("Pack-years", "packs a day x years", 0.0, 300.0),
}


@dataclass(frozen=True)
class Form:
    """What was read.

    Parameters
    ----------
    fields : None while something is wrong
    errors : field to what is wrong with it, in words
    """

    fields: Optional[ClinicalFields] = None
    errors: Mapping[str, str] = field(default_factory=dict)


def read(texts: Mapping[str, str]) -> Form:
    """Read the form; a field that is absent is empty."""
    values: dict[str, Any] = {}
    errors: dict[str, str] = {}
    for name, spec in FIELDS.items():
        text = texts.get(name, "").strip()
        try:
            values[name] = None if not text else _value(spec, text)
        except ValueError as fault:
            errors[name] = str(fault)
    if not errors and values["smoking"] == "never" and values["pack_years"]:
        errors["pack_years"] = tr("A never-smoker has no pack-years: correct one of the two.")
    if errors:
        return Form(errors=errors)
    try:
        return Form(ClinicalFields(**values))
    except InvalidInput as fault:  # a rule of the contract that this form does not know yet
        return Form(errors={"pack_years": str(fault)})


def _value(spec: FormField, text: str) -> Any:
    if spec.choices:
        if text not in spec.choices:
            raise ValueError(tr("Choose one of {choices}.").format(choices=", ".join(spec.choices)))
        return text
    try:
        number = float(text.replace(",", "."))
    except ValueError:
        raise ValueError(tr("Not a number.")) from None
    if not (math.isfinite(number) and spec.lower <= number <= spec.upper):
        raise ValueError(tr("Between {a:g} and {b:g} {unit}.").format(a=spec.lower, b=spec.upper, unit=tr(spec.unit)))
    return number


def shown(fields: Optional[ClinicalFields]) -> dict[str, str]:
    """Texts of the form; empty where not known."""
    if fields is None:
        return dict.fromkeys(FIELDS, "")
    values = {name: getattr(fields, name) for name in FIELDS}
    return {
        name: "" if value is None else (value if isinstance(value, str) else f"{value:g}")
        for name, value in values.items()
    }

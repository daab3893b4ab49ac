"""What the nodule guidelines say of a measured nodule, for each thing that the case does not tell.

Branch             one answer under one condition, with the row of the guideline's table that fired
Scene              a guideline and what has to hold for it: "found by chance"
guidelines_of()    Lung-RADS v2022 and Fleischner 2017 of one nodule
kind_words()       a nodule's type in words

A case does not say whether its CT was made for screening, whether there is an earlier one, or how a clinician judges
the patient's risk. Nothing of it is guessed: each possibility is a scene or a branch of its own, and where more than
one row remains all are named. Age and smoking are taken from the clinical fields where they are known.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Optional, Union

from shared_models import fleischner, lung_rads
from shared_models.clinical_risk import NODULE_TYPES
from shared_models.contract.errors import LungXAIError
from shared_models.contract.results import Nodule
from shared_models.contract.values import ClinicalFields
from shared_models.lung_rads_table import CATEGORIES
from shared_models.nodule_guideline import Advice, NotApplicable, half_up

from .report_words import _

# A person for whom screening is meant and the guideline for incidental nodules holds; said wherever it is assumed.
_SCREENED_AGE, _PACK_YEARS, _ADULT = 65.0, 20.0, 50.0
_SHORT_STEP = 55  # characters that fit on the first page
Outcome = Union[Advice, NotApplicable]


@dataclass(frozen=True)
class Branch:
    """One answer.

    Attributes
    ----------
    when : the condition, as "solid, low risk"; "" where there is only one
    answer : a category, categories that remain, a next step, or "not applicable"
    row : the row that fired, or the reason why none did
    source : table and row of the publication; "" where none fired
    next_step : what the source says to do next; "" where the answer is that
    applies : one row fired
    possible : the category, or those that remain; empty where the guideline has none
    """

    when: str
    answer: str
    row: str
    source: str
    next_step: str
    applies: bool
    possible: tuple[str, ...] = ()


@dataclass(frozen=True)
class Scene:
    """One guideline, if the case is of the kind that it is for.

    Attributes
    ----------
    guideline : its name and version
    premise : what has to hold, as "first screening CT"
    answer : of all branches, short: categories or next steps
    branches : at least one
    notes : what else is to be said
    """

    guideline: str
    premise: str
    answer: str
    branches: tuple[Branch, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Guidelines:
    """Of one nodule.

    Attributes
    ----------
    mean_mm : the size that they go by
    scenes : in the order of the report
    premises : (guideline, what is taken to hold), as the case does not say it
    assumed : what was not said and is taken as absent
    short : both in one line, for the first page
    """

    mean_mm: float
    scenes: tuple[Scene, ...]
    premises: tuple[tuple[str, str], ...]
    assumed: tuple[str, ...]
    short: str


def kind_words(kind: Optional[str]) -> str:
    """One of NODULE_TYPES, or None, in words."""
    return {"solid": _("solid"), "part_solid": _("part-solid"), "nonsolid": _("ground glass"), None: _("not known")}[
        kind
    ]


def guidelines_of(nodule: Nodule, kind: Optional[str], count: int, clinical: Optional[ClinicalFields]) -> Guidelines:
    """Both guidelines.

    Parameters
    ----------
    kind : one of NODULE_TYPES; None is "not known"
    count : nodules of the case, this one included
    """
    mean_mm = half_up((nodule.long_axis_mm + nodule.short_axis_mm) / 2, 1)
    kinds = NODULE_TYPES if kind is None else (kind,)
    screened, screening_premise = _screening(clinical)
    by_chance, chance_premise = _incidental(clinical, count)
    scenes: list[Scene] = []
    assumed: dict[str, None] = {}

    def asked(outcome_of: Callable[[], Outcome]) -> Outcome:
        try:
            outcome = outcome_of()
        except LungXAIError as fault:  # a size that no table is for
            return NotApplicable(fault.message, fault.remedy)
        if isinstance(outcome, Advice):
            assumed.update(dict.fromkeys(outcome.assumed))
        return outcome

    def rads(found: str, one: str, volume: Optional[float] = None) -> Outcome:
        return asked(lambda: lung_rads.lung_rads(lung_rads.ScreeningNodule(
            mean_mm=mean_mm, volume_mm3=volume, nodule_type=one, found=found, **screened)))  # fmt: skip

    def chance(risk: str, one: str, volume: Optional[float] = None) -> Outcome:
        return asked(lambda: fleischner.fleischner(fleischner.IncidentalNodule(
            mean_mm=mean_mm, volume_mm3=volume, nodule_type=one, risk=risk, **by_chance)))  # fmt: skip

    found_words = {"baseline": _("first screening CT"), "new": _("new since an earlier screening CT")}
    for found, premise in found_words.items():
        branches = [_branch(rads(found, one), kind_words(one) if kind is None else "") for one in kinds]
        notes = _by_volume(kinds, lambda one, mm3, found=found: rads(found, one, mm3), nodule.volume_mm3)
        scenes.append(_scene(lung_rads.GUIDELINE, premise, branches, notes))
    known = _branch(rads("known", kinds[0]), "")
    if known.row != scenes[0].branches[0].row:  # not a reason that holds for any nodule of this patient
        known = replace(known, answer=_("depends on its growth"), row=_(
            "Say the nodule's size on the earlier CT, the months since, and its category then; of a part-solid one its "
            "solid component too."))  # fmt: skip
    scenes.append(_scene(lung_rads.GUIDELINE, _("an earlier screening CT shows it"), [known], ()))
    scenes = _merged(scenes, _("lung cancer screening"))
    branches = []
    for one in kinds:
        low, high = (_branch(chance(risk, one), "") for risk in fleischner.RISKS)
        about = [kind_words(one)] if kind is None else []
        if low == high:
            branches.append(replace(low, when=", ".join(about)))
        else:
            branches += [replace(low, when=", ".join([*about, _("low risk")])),
                         replace(high, when=", ".join([*about, _("high risk")]))]  # fmt: skip
    notes = _by_volume(kinds, lambda one, mm3: chance("high", one, mm3), nodule.volume_mm3)
    scenes.append(_scene(fleischner.GUIDELINE, _("found by chance"), branches, notes))
    premises = ((lung_rads.GUIDELINE, screening_premise), (fleischner.GUIDELINE, chance_premise))
    return Guidelines(mean_mm, tuple(scenes), premises, tuple(assumed), _short(scenes, kind is not None))


def _screening(clinical: Optional[ClinicalFields]) -> tuple[dict[str, Any], str]:
    """What ScreeningNodule needs of the person, and in words what of it is assumed."""
    fields = clinical or ClinicalFields()
    packs = 0.0 if fields.smoking == "never" else fields.pack_years
    said = [_("the CT was made for lung cancer screening")]
    if fields.age_years is None:
        said.append(_("age 50 to 80 years"))
    if packs is None:
        said.append(_("20 pack-years or more"))
    if fields.smoking not in ("current", "never"):
        said.append(_("smokes, or quit within 15 years"))
    said += [_("no symptoms of lung cancer"), _("no known lung cancer")]
    given = {
        "age_years": _SCREENED_AGE if fields.age_years is None else fields.age_years,
        "pack_years": _PACK_YEARS if packs is None else packs, "years_since_quitting": 0.0,
        "screening": True, "symptoms": False, "known_lung_cancer": False,
    }  # fmt: skip
    return given, "; ".join(said)


def _incidental(clinical: Optional[ClinicalFields], count: int) -> tuple[dict[str, Any], str]:
    """What IncidentalNodule needs of the person, and in words what of it is assumed."""
    age = None if clinical is None else clinical.age_years
    said = [_("the nodule was found by chance")]
    if age is None:
        said.append(_("age 35 years or more"))
    said += [_("no known cancer"), _("no immunosuppression")]
    said.append(_("a single nodule, as one was marked") if count == 1 else _("one of several nodules, as marked"))
    given = {
        "age_years": _ADULT if age is None else age, "screening": False, "known_cancer": False,
        "immunosuppressed": False, "count": "single" if count == 1 else "multiple",
    }  # fmt: skip
    return given, "; ".join(said)


def _joined(words: Sequence[str]) -> str:
    listed = list(dict.fromkeys(words))
    if len(listed) < 2:
        return "".join(listed)
    return _("%(first)s or %(last)s") % {"first": ", ".join(listed[:-1]), "last": listed[-1]}


def _branch(outcome: Outcome, when: str) -> Branch:
    if isinstance(outcome, Advice):
        if not outcome.category:
            return Branch(when, outcome.next_step, outcome.condition, outcome.source, "", True)
        answer, own = _category_words((outcome.category,)), (outcome.category,)
        return Branch(when, answer, outcome.condition, outcome.source, outcome.next_step, True, own)
    reason = f"{outcome.reason} {outcome.what_would_help}"
    if set(outcome.possible) <= {"0", *CATEGORIES} and outcome.possible:
        return Branch(when, _category_words(outcome.possible), reason, "", "", False, outcome.possible)
    return Branch(when, _joined(outcome.possible) or _("not applicable"), reason, "", "", False)


def _category_words(names: Sequence[str]) -> str:
    return _("category %(name)s") % {"name": _joined(_sorted(names))}


def _sorted(names: Iterable[str]) -> list[str]:
    return sorted(set(names), key=("0", *CATEGORIES).index)


def _scene(guideline: str, premise: str, branches: list[Branch], notes: tuple[str, ...]) -> Scene:
    """Branches that say the same, whatever the condition, become one."""
    if len({replace(branch, when="") for branch in branches}) == 1:
        branches = [replace(branches[0], when="")]
    if all(branch.possible for branch in branches):
        answer = _category_words([name for branch in branches for name in branch.possible])
    else:
        answer = _joined([branch.answer for branch in branches])
    return Scene(guideline, premise, answer, tuple(branches), notes)


def _merged(scenes: list[Scene], premise: str) -> list[Scene]:
    """One scene where all say the same: that the guideline is not for this patient."""
    if len({scene.branches for scene in scenes}) == 1:
        return [replace(scenes[0], premise=premise, notes=())]
    return scenes


def _by_volume(
    kinds: Sequence[str], outcome_of: Callable[[str, Optional[float]], Outcome], volume_mm3: float
) -> tuple[str, ...]:
    """A note where the nodule's volume would lead to another row than its diameter; of a known type only."""
    if len(kinds) != 1:
        return ()
    by_mm, by_both = outcome_of(kinds[0], None), outcome_of(kinds[0], volume_mm3)
    if not isinstance(by_mm, Advice) or isinstance(by_both, Advice):
        return ()
    own = by_mm.category or by_mm.next_step
    others = [name for name in by_both.possible if name != own]
    if not others:
        return ()
    return (_("By its volume, %(mm3)s mm³, instead of its diameter: %(answer)s") % {
        "mm3": f"{volume_mm3:.0f}", "answer": _joined(others)},)  # fmt: skip


def _short(scenes: Sequence[Scene], kind_known: bool) -> str:
    """Both guidelines in one line of about 100 characters, for the first page."""
    rads = [s for s in scenes if s.guideline == lung_rads.GUIDELINE and any(branch.possible for branch in s.branches)]
    said = _("Lung-RADS: not applicable.")
    if rads:
        first, new = (
            _joined(_sorted(name for branch in scene.branches for name in branch.possible))
            for scene in (rads[0], rads[-1])
        )
        said = _("Screened: Lung-RADS %(first)s.") % {"first": first}
        if new != first:
            said = _("Screened: Lung-RADS %(first)s (new: %(new)s).") % {"first": first, "new": new}
    steps = list(dict.fromkeys(branch.answer for branch in scenes[-1].branches if branch.applies))
    if not steps:
        chance = _("Fleischner: not applicable.")
    elif len(steps) == 1 == len(scenes[-1].branches) and len(steps[0]) <= _SHORT_STEP:
        chance = _("By chance, Fleischner: %(step)s") % {"step": steps[0]}
    elif len(scenes[-1].branches) == 1:
        chance = _("By chance, Fleischner: see the details.")
    else:
        chance = _("By chance, Fleischner: by risk.") if kind_known else _("By chance, Fleischner: by type and risk.")
    return f"{said} {chance}"

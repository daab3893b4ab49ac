"""Entries of a FHIR bundle under construction: their ids, and references that resolve within it.

Entries   adds resources, refers to them, gives the Bundle's entries
clean()   text as FHIR and XHTML allow it
notes()   texts as Annotations
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable

from .fhir_codes import CODED, Json, coded

# Ids follow from it, the case and what the resource is, so that a case sent again replaces itself.
_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "LungXAI FHIR")
# FHIR's strings know four kinds of white space.
_RARE_SPACE = re.compile(r"[^\S \t\r\n]")
_NO_TEXT = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def clean(text: str) -> str:
    """``text`` without characters that XML has no place for, rare white space as spaces; "?" where nothing remains."""
    kept = _RARE_SPACE.sub(" ", _NO_TEXT.sub("", text))
    return kept if kept.strip() else "?"


def notes(texts: Iterable[str]) -> Json:
    """``{"note": [...]}`` of those that say anything; {} where none does."""
    said = [{"text": clean(text)} for text in texts if text.strip()]
    return {"note": said} if said else {}


class Entries:
    """Resources of one case.

    Parameters
    ----------
    case_id : pseudonymous
    synthetic : marks every resource as test data
    """

    def __init__(self, case_id: str, synthetic: bool) -> None:
        self.case_id = case_id
        test = [CODED["test"]] if synthetic else []
        # On each resource, since a receiver stores them one by one.
        self.meta: Json = {"security": [CODED["research"], *test], "tag": [coded("research-use-only"), *test]}
        self._resources: dict[str, Json] = {}

    def id_of(self, kind: str) -> str:
        """UUID of what ``kind`` names, as "Observation/nodule/1"."""
        return str(uuid.uuid5(_NAMESPACE, f"{self.case_id}\n{kind}"))

    def reference(self, kind: str) -> Json:
        """Reference to a resource that is, or will be, among the entries."""
        return {"reference": f"urn:uuid:{self.id_of(kind)}"}

    def add(self, kind: str, resource: Json) -> Json:
        """Add a resource under its kind; its Reference."""
        if kind in self._resources:
            raise ValueError(f"{kind} is there already")
        named = {"resourceType": kind.split("/")[0], "id": self.id_of(kind), "meta": self.meta}
        self._resources[kind] = {**named, **{key: value for key, value in resource.items() if key not in named}}
        return self.reference(kind)

    def __contains__(self, kind: str) -> bool:
        return kind in self._resources

    def kinds(self, start: str) -> list[str]:
        """Kinds that begin with ``start``, in the order they were added."""
        return [kind for kind in self._resources if kind.startswith(start)]

    def entries(self, first: str) -> list[Json]:
        """Bundle.entry of all, ``first`` first."""
        order = sorted(self._resources, key=lambda kind: kind != first)
        return [{"fullUrl": f"urn:uuid:{self.id_of(k)}", "resource": self._resources[k]} for k in order]

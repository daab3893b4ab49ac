"""Whether a Bundle is FHIR R4, by those who say what that is; nothing here knows how ours are made.

schema_faults()    HL7's own JSON Schema of R4 (tests/fhir/); it does not say which texts must be there
model_faults()     fhir.resources, generated from R4B's definitions: what must be there, which codes are allowed. R4B
                   differs from R4 in resources that we do not make
rule_faults()      rules of the specification that neither checks: references, narrative, values that exclude each other
faults()           all of them; empty for a valid Bundle
"""

import json
import lzma
from functools import cache, lru_cache
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import jsonschema

_SCHEMA = Path(__file__).parent / "fhir" / "fhir.schema.json.xz"
_XHTML = "{http://www.w3.org/1999/xhtml}"
_TAGS = {"div", "p", "h2", "h3", "table", "caption", "thead", "tbody", "tr", "th", "td"}


@lru_cache(maxsize=1)
def _definitions() -> dict[str, Any]:
    return json.loads(lzma.decompress(_SCHEMA.read_bytes()))["definitions"]


@cache
def _validator(kind: str) -> jsonschema.Draft6Validator:
    # Of one resource: the schema of a whole Bundle would try each entry as each of 146 resources.
    return jsonschema.Draft6Validator({"$ref": f"#/definitions/{kind}", "definitions": _definitions()})


def schema_faults(bundle: dict) -> list[str]:
    empty = {**bundle, "entry": [{k: v for k, v in e.items() if k != "resource"} for e in bundle["entry"]]}
    found = []
    for resource in [empty, *(entry["resource"] for entry in bundle["entry"])]:
        kind = resource["resourceType"]
        if kind not in _definitions():
            found.append(f"{kind} is no resource")
            continue
        found += [
            f"{kind} {fault.json_path}: {fault.message[:200]}" for fault in _validator(kind).iter_errors(resource)
        ]
    return found


def model_faults(bundle: dict) -> list[str]:
    from fhir.resources.R4B.bundle import Bundle
    from pydantic import ValidationError

    try:
        Bundle.model_validate(bundle)
    except ValidationError as fault:
        return [f"{error['loc']}: {error['msg']}" for error in fault.errors()]
    return []


def references(part: Any) -> list[str]:
    """Every Reference.reference within."""
    if isinstance(part, list):
        return [found for item in part for found in references(item)]
    if not isinstance(part, dict):
        return []
    own = [part["reference"]] if isinstance(part.get("reference"), str) else []
    return own + [found for item in part.values() for found in references(item)]


def rule_faults(bundle: dict) -> list[str]:
    urls = [entry["fullUrl"] for entry in bundle["entry"]]
    found = ["two entries have one fullUrl"] if len(set(urls)) != len(urls) else []
    found += [f"{target} is not in the Bundle" for target in references(bundle) if target not in urls]
    for entry in bundle["entry"]:
        resource = entry["resource"]
        if entry["fullUrl"] != f"urn:uuid:{resource['id']}":
            found.append(f"{entry['fullUrl']} is not the id of its resource")
        for part in (resource, *resource.get("component", [])):
            if "dataAbsentReason" in part and any(name.startswith("value") for name in part):  # obs-6
                found.append(f"{resource['id']} has a value and a reason for none")
        if resource["resourceType"] == "Observation" and any(
            part["code"] == resource["code"] for part in resource.get("component", [])
        ):  # obs-7
            found.append(f"{resource['id']} has a component with its own code")
        if "text" in resource:
            found += narrative_faults(resource["text"]["div"])
        found += _extension_faults(resource)
    return found


def narrative_faults(div: str) -> list[str]:
    """txt-1, txt-2: well-formed XHTML of a div, of plain elements without attributes, that says something."""
    root = ElementTree.fromstring(div)
    wrong = [e.tag for e in root.iter() if e.tag.replace(_XHTML, "") not in _TAGS or e.attrib]
    named = root.tag == f"{_XHTML}div" and "".join(root.itertext()).strip()
    return [f"{tag} in a narrative" for tag in wrong] + ([] if named else ["an empty narrative"])


def _extension_faults(part: Any) -> list[str]:
    """ext-1: an extension has either parts or a value."""
    if isinstance(part, list):
        return [fault for item in part for fault in _extension_faults(item)]
    if not isinstance(part, dict):
        return []
    found = [fault for item in part.values() for fault in _extension_faults(item)]
    for one in [*part.get("extension", []), *part.get("modifierExtension", [])]:
        values = [name for name in one if name.startswith("value")]
        if len(values) + ("extension" in one) != 1:
            found.append(f"extension {one.get('url')}")
    return found


def faults(bundle: dict) -> list[str]:
    return schema_faults(bundle) + model_faults(bundle) + rule_faults(bundle)

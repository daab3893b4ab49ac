"""A case as FHIR R4: valid by others' word, complete in itself, true to the record, and silent about the patient."""

import ast
import dataclasses
import datetime
import json
import re
from functools import cache
from pathlib import Path

import pytest
from fhir_validator import faults, model_faults, references, rule_faults, schema_faults
from report_cases import GALLERY, NOTES, case, ct, note, slide

from inference_server.case_record import CaseRecord
from inference_server.fhir_bundle import fhir_bundle
from inference_server.fhir_codes import CODED, LOCAL, SYSTEM
from inference_server.fhir_observations import area_fractions
from shared_models.contract.values import CLASSES, Abstention, ClinicalFields

MOMENT = datetime.datetime(2026, 3, 5, 12, 30, tzinfo=datetime.timezone.utc)
ICD_O_3 = "http://terminology.hl7.org/CodeSystem/icd-o-3"
ABSENT = "http://terminology.hl7.org/CodeSystem/data-absent-reason"
ODD = "<b>&\"'Ünïcode\u2028 \x00\x0bñ 肺 🫁</b>"


def made(record: CaseRecord, **more) -> dict:
    return fhir_bundle(record, created=MOMENT, **more)


def resources(bundle: dict, kind: str) -> list[dict]:
    return [e["resource"] for e in bundle["entry"] if e["resource"]["resourceType"] == kind]


def observation(bundle: dict, code: str) -> dict:
    """The one Observation with this code."""
    (found,) = [o for o in resources(bundle, "Observation") if code in codes(o["code"])]
    return found


def codes(concept: dict) -> list[str]:
    return [coding["code"] for coding in concept.get("coding", [])]


def component(resource: dict, code: str) -> dict:
    (found,) = [part for part in resource["component"] if code in codes(part["code"])]
    return found


def amount(part: dict) -> tuple:
    quantity = part["valueQuantity"]
    assert quantity["system"] == "http://unitsofmeasure.org"
    return quantity["value"], quantity["code"]


def reason(part: dict) -> str:
    (coding,) = part["dataAbsentReason"]["coding"]
    assert coding["system"] == ABSENT
    return coding["code"]


def odd_case() -> CaseRecord:
    """Words that are no markup and no codes, wherever words may come from."""
    tissue = slide(slide_id="s" + ODD)
    tissue["pathology"] = dataclasses.replace(tissue["pathology"], notes=(ODD, " "))
    notes = (note("</div><script>alert(1)</script> " + "Ä\n\t&amp;", "<i>none</i>", "Dr. <O'Neil> & Søn"),)
    record = case("case-<&>\"'é", notes=notes, **ct(1), **tissue)
    return dataclasses.replace(record, fusion=dataclasses.replace(record.fusion, agreement=ODD))


MAKERS = {**GALLERY, "odd_words": odd_case, "nothing": lambda: CaseRecord("case-nothing")}


@cache
def record_of(name: str) -> CaseRecord:
    return MAKERS[name]()


@cache
def _text_of(name: str) -> str:
    return json.dumps(made(record_of(name)))


def bundle_of(name: str) -> dict:
    """As a receiver reads it."""
    return json.loads(_text_of(name))


@pytest.mark.parametrize("name", MAKERS)
def test_every_kind_of_case_is_valid_r4(name) -> None:
    assert faults(bundle_of(name)) == []


@pytest.mark.parametrize(
    "spoil, finds",
    [
        (lambda b: b["entry"][0]["resource"].update(status="ready"), schema_faults),
        (lambda b: b["entry"][0]["resource"].update(verdict="x"), schema_faults),
        (lambda b: b.update(timestamp="yesterday"), schema_faults),
        (lambda b: b["entry"][0]["resource"].pop("code"), schema_faults),
        (lambda b: b["entry"][0]["resource"].pop("status"), model_faults),
        (lambda b: b["entry"].remove(b["entry"][1]), rule_faults),
        (lambda b: b["entry"][0]["resource"]["text"].update(div="<div><script/></div>"), rule_faults),
        (lambda b: observation(b, "30525-0").update(dataAbsentReason={"text": "x"}), rule_faults),
        (lambda b: resources(b, "Patient")[0].update(extension=[{"url": "urn:x"}]), rule_faults),
    ],
)
def test_what_is_not_r4_would_be_found(spoil, finds) -> None:
    bundle = bundle_of("fields_only")
    assert finds(bundle) == []
    spoil(bundle)
    assert finds(bundle)


@pytest.mark.parametrize("name", MAKERS)
def test_whatever_is_in_the_bundle_is_said_to_be_research_and_test_data_to_be_that(name) -> None:
    record, bundle = record_of(name), bundle_of(name)
    for resource in (bundle, *(entry["resource"] for entry in bundle["entry"])):
        assert "research-use-only" in codes({"coding": resource["meta"]["tag"]})
        for where in ("tag", "security"):
            marked = "HTEST" in codes({"coding": resource["meta"][where]})
            assert marked == record.synthetic, resource["resourceType"]
    (report,) = resources(bundle, "DiagnosticReport")
    assert report["status"] == "preliminary" and "conclusionCode" not in report
    assert {o["status"] for o in resources(bundle, "Observation")} == {"preliminary"}
    assert "Research use only" in report["conclusion"] and "Research use only" in report["text"]["div"]
    assert ("SYNTHETIC" in report["conclusion"]) == record.synthetic
    assert bundle["entry"][0]["resource"] is report and bundle["type"] == "collection"


@pytest.mark.parametrize("name", MAKERS)
def test_nothing_in_the_bundle_stands_alone(name) -> None:
    """Each resource is referred to, or refers to what it is about; each result hangs on the report."""
    bundle = bundle_of(name)
    told = set(references(bundle))
    for entry in bundle["entry"]:
        kind = entry["resource"]["resourceType"]
        assert entry["fullUrl"] in told or kind in ("Provenance", "ClinicalImpression", "CodeSystem"), kind
    (report,) = resources(bundle, "DiagnosticReport")
    hung = set(references(report["result"]))
    hung |= {t for o in resources(bundle, "Observation") for t in references(o.get("hasMember", []))}
    assert hung == {e["fullUrl"] for e in bundle["entry"] if e["resource"]["resourceType"] == "Observation"}


def test_the_same_case_is_the_same_and_keeps_its_ids_when_results_change() -> None:
    record = record_of("board")
    assert json.dumps(made(record)) == json.dumps(made(record))
    elsewhere = MOMENT.astimezone(datetime.timezone(datetime.timedelta(hours=9)))
    assert made(record) == fhir_bundle(record, created=elsewhere)
    again = dataclasses.replace(record, radiology=dataclasses.replace(record.radiology, malignancy=0.5))
    first, second = made(record), made(again)
    assert first != second
    assert [e["fullUrl"] for e in first["entry"]] == [e["fullUrl"] for e in second["entry"]]
    other = made(dataclasses.replace(record, case_id="case-other"))
    assert not {e["fullUrl"] for e in first["entry"]} & {e["fullUrl"] for e in other["entry"]}


def test_no_two_parts_are_one_object() -> None:
    bundle = bundle_of("both")
    bundle["entry"][0]["resource"]["meta"]["tag"].clear()
    assert all(e["resource"]["meta"]["tag"] for e in bundle["entry"][1:])
    assert bundle_of("both")["entry"][0]["resource"]["meta"]["tag"]


def test_the_fused_answer_is_the_records() -> None:
    record = record_of("both")
    fused = observation(made(record), "fused-classes")
    morphology = {
        "adenocarcinoma": "8140/3", "squamous_cell": "8070/3", "large_cell": "8012/3", "small_cell": "8041/3",
    }  # fmt: skip
    for name, code in morphology.items():
        part = component(fused, code)
        assert part["code"]["coding"][0]["system"] == ICD_O_3
        value = record.fusion.probabilities[name]
        if value is None:
            assert reason(part) == "unsupported" and "valueQuantity" not in part
        else:
            assert amount(part) == (value, "1")
    normal = component(fused, "17621005")
    assert amount(normal) == (record.fusion.probabilities["normal"], "1")
    assert codes(fused["valueCodeableConcept"]) == ["8140/3"] and record.fusion.answer == "adenocarcinoma"
    assert amount(component(fused, "na_share")) == (record.fusion.not_assessed_mass, "1")
    for name, weight in record.fusion.weights.items():
        assert amount(component(fused, f"weight-{name}")) == (weight, "1")
    assert record.fusion.agreement in [one["text"] for one in fused["note"]]
    div = resources(bundle_of("both"), "DiagnosticReport")[0]["text"]["div"]
    assert "<td>Left to the classes not assessed</td><td>10 %</td>" in div and "67 years" in div and ">?<" not in div
    likely = [codes(p["code"])[0] for p in fused["component"] if "interpretation" in p]
    assert sorted(likely) == sorted(morphology.get(n, "17621005") for n in record.fusion.conformal_set)


def test_the_conformal_set_is_marked() -> None:
    record = record_of("both")
    fusion = dataclasses.replace(
        record.fusion, conformal_set=("adenocarcinoma", "squamous_cell"), conformal_coverage=0.9
    )
    fused = observation(made(dataclasses.replace(record, fusion=fusion)), "fused-classes")
    likely = [codes(p["code"]) for p in fused["component"] if "in-conformal-set" in str(p.get("interpretation"))]
    assert likely == [["8140/3"], ["8070/3"]]
    assert any("90 %" in one["text"] for one in fused["note"])


def test_each_nodule_is_the_records_in_ucum() -> None:
    record = record_of("ten_nodules")
    bundle = made(record)
    found = [o for o in resources(bundle, "Observation") if "786838002" in codes(o["code"])]
    assert len(found) == 10
    for nodule, seen in zip(record.radiology.nodules, found):
        assert seen["code"]["text"] == f"Nodule {nodule.label}"
        assert amount(component(seen, "103339001")) == (nodule.long_axis_mm, "mm")
        assert amount(component(seen, "103340004")) == (nodule.short_axis_mm, "mm")
        assert amount(component(seen, "118565006")) == (nodule.volume_mm3, "mm3")
        assert amount(component(seen, "112181")) == (nodule.mean_hu, "[hnsf'U]")
        assert amount(component(seen, "malignancy")) == (nodule.malignancy, "1")
        assert [amount(component(seen, f"centre-{a}"))[0] for a in "xyz"] == list(nodule.centre_lps_mm)
        assert codes(seen["bodySite"]) == [{"left": "44029006", "right": "3341006"}[nodule.side]]
    (whole,) = [o for o in resources(bundle, "Observation") if "hasMember" in o]
    assert amount(whole) == (record.radiology.malignancy, "1")
    assert component(whole, "nodules")["valueInteger"] == 10
    assert len(whole["hasMember"]) == 10
    (study,) = resources(bundle, "ImagingStudy")
    assert [s["uid"] for s in study["series"]] == ["1.2.3"] and "instance" not in study["series"][0]


def test_a_nodule_between_the_lungs_that_nobody_rated_and_one_with_a_subtype() -> None:
    scan = ct(2)
    subtype = {**dict.fromkeys(CLASSES), "adenocarcinoma": 0.6, "squamous_cell": 0.4}
    one, two = scan["radiology"].nodules
    nodules = (
        dataclasses.replace(one, side=None, malignancy=None, found_by="hand"), dataclasses.replace(two, subtype=subtype)
    )  # fmt: skip
    scan["radiology"] = dataclasses.replace(scan["radiology"], nodules=nodules)
    bundle = made(case(**scan))
    assert faults(bundle) == []
    first, second = [o for o in resources(bundle, "Observation") if "786838002" in codes(o["code"])]
    assert codes(first["bodySite"]) == ["39607008"]
    assert reason(component(first, "malignancy")) == "not-performed"
    assert codes(component(first, "found_by")["valueCodeableConcept"]) == ["found_hand"]
    assert amount(component(second, "8070/3")) == (0.4, "1") and reason(component(second, "8041/3")) == "unsupported"


def test_a_ct_that_is_no_dicom_is_named_by_its_name() -> None:
    scan = ct(1)
    scan["radiology"] = dataclasses.replace(scan["radiology"], series_uid="chest <1>.nrrd")
    bundle = made(case(**scan))
    assert faults(bundle) == []
    (study,) = resources(bundle, "ImagingStudy")
    assert "series" not in study and study["identifier"][0]["value"] == "chest <1>.nrrd"


def test_the_slide_is_the_records() -> None:
    record = record_of("slide_only")
    bundle = made(record)
    seen, areas = observation(bundle, "slide-classes"), observation(bundle, "slide-areas")
    assert amount(component(seen, "8140/3")) == (0.86, "1") and amount(component(seen, "pixel-size")) == (0.5, "um")
    assert component(seen, "tile-count")["valueInteger"] == len(record.pathology.origin_px)
    assert codes(seen["valueCodeableConcept"]) == ["8140/3"]
    table = record.pathology.tile_probabilities
    for name in ("adenocarcinoma", "squamous_cell", "normal"):
        column = CLASSES.index(name)
        most = sum(row[column] == max(p for p in row if p == p) for row in table)
        share, unit = amount(component(areas, CODED[name]["code"]))
        assert unit == "1" and share == pytest.approx(most / len(table), abs=1 / len(table))
    assert sum(area_fractions(record.pathology).values()) == pytest.approx(1)
    assert reason(component(areas, "8041/3")) == "unsupported"
    (specimen,) = resources(bundle, "Specimen")
    assert specimen["identifier"][0]["value"] == "biopsy-1"
    assert references(seen["specimen"]) == references(areas["specimen"])


def test_classes_of_others_are_told_in_their_words() -> None:
    record = record_of("not_assessed")
    bundle = made(record)
    (own,) = [o for o in resources(bundle, "Observation") if "own model" in o["code"].get("text", "")]
    assert [p["code"]["text"] for p in own["component"]] == ["lepidic", "acinar", "solid"]
    values = [amount(p)[0] for p in own["component"]]
    assert values == pytest.approx(record.pathology.other_probabilities.mean(axis=0).tolist())
    seen = observation(bundle, "slide-classes")
    assert {reason(component(seen, CODED[n]["code"])) for n in CLASSES} == {"unsupported"}


def test_what_was_not_done_is_told_from_what_has_no_answer() -> None:
    bundle = bundle_of("fields_only")
    assert reason(observation(bundle, "slide-classes")) == "not-performed"
    assert reason(observation(bundle, "malignancy")) == "not-performed"
    fused = observation(bundle, "fused-classes")
    assert {reason(component(fused, f"weight-{n}")) for n in ("radiology", "pathology")} == {"not-performed"}
    assert not resources(bundle, "ImagingStudy") and not resources(bundle, "Specimen")
    nothing = made(CaseRecord("case-nothing"))
    assert reason(observation(nothing, "fused-classes")) == "not-performed"

    record = record_of("abstention")
    bundle = bundle_of("abstention")
    fused, seen = observation(bundle, "fused-classes"), observation(bundle, "slide-classes")
    whole = next(o for o in resources(bundle, "Observation") if "hasMember" in o)
    for one, abstention in ((seen, record.pathology.abstention), (whole, record.radiology.abstention)):
        assert reason(one) == "unknown" and not any(key.startswith("value") for key in one)
        told = one["note"][0]["text"]
        assert abstention.reason in told and abstention.what_would_help in told
    assert reason(fused) == "unknown" and record.fusion.answer is None
    assert reason(component(fused, "weight-radiology")) == "unknown"
    # The model knows this class and says nothing; the other no model knows.
    areas = observation(bundle, "slide-areas")
    assert reason(component(areas, "8140/3")) == "unknown" and reason(component(areas, "8041/3")) == "unsupported"


def test_no_nodule_is_no_malignancy_of_zero() -> None:
    bundle = bundle_of("no_nodule")
    whole = observation(bundle, "malignancy")
    assert reason(whole) == "not-performed" and component(whole, "nodules")["valueInteger"] == 0
    assert "hasMember" not in whole


def test_clinical_fields_are_the_records_and_the_unknown_ones_are_unknown() -> None:
    bundle = made(case(clinical=ClinicalFields(67.5, "male", "current", 12.25)))
    age, packs = observation(bundle, "30525-0"), observation(bundle, "8664-5")
    assert amount(age) == (67.5, "a") and amount(packs) == (12.25, "{pack-years}")
    assert codes(packs["code"]) == ["8664-5", "401201003"]
    assert codes(observation(bundle, "46098-0")["valueCodeableConcept"]) == ["male"]
    assert codes(observation(bundle, "72166-2")["valueCodeableConcept"]) == ["77176002"]
    assert "device" not in age
    bundle = made(case(clinical=ClinicalFields(smoking="never", pack_years=0)))
    assert amount(observation(bundle, "8664-5")) == (0, "{pack-years}")
    assert codes(observation(bundle, "72166-2")["valueCodeableConcept"]) == ["266919005"]
    assert reason(observation(bundle, "30525-0")) == reason(observation(bundle, "46098-0")) == "unknown"


def test_the_boards_notes_keep_their_order_and_say_which_results_they_saw() -> None:
    bundle = bundle_of("board")
    first, second = resources(bundle, "ClinicalImpression")
    old, new = NOTES
    assert first["note"] == [{"text": old.text, "authorString": old.author, "time": old.created}]
    assert second["summary"] == new.decision and "summary" not in first
    urls = {e["fullUrl"]: e["resource"] for e in bundle["entry"]}
    assert urls[second["previous"]["reference"]] is first and "previous" not in first
    (seen,) = second["investigation"][0]["item"]
    assert urls[seen["reference"]]["resourceType"] == "DiagnosticReport"
    (seen,) = first["investigation"][0]["item"]
    assert "reference" not in seen and seen["identifier"]["value"] == old.about
    assert new.decision in resources(bundle, "DiagnosticReport")[0]["text"]["div"]


def test_each_model_is_a_device_once_and_provenance_says_what_it_made() -> None:
    record = record_of("both")
    bundle = made(record)
    models = {p.weights_sha256: p for r in (record.radiology, record.pathology, record.fusion) for p in r.provenance}
    devices = {d["identifier"][0]["value"]: d for d in resources(bundle, "Device") if "identifier" in d}
    assert devices.keys() == models.keys()
    urls = {e["resource"]["id"]: e["fullUrl"] for e in bundle["entry"]}
    for sha, device in devices.items():
        assert device["deviceName"] == [{"name": models[sha].model_id, "type": "model-name"}]
        assert device["version"][0]["value"] == models[sha].code_version
        (known,) = [p["valueCode"] for p in device["property"] if "coverage" in codes(p["type"])]
        assert [c for one in known for c in codes(one)] == [CODED[n]["code"] for n in models[sha].coverage]
    by_target = {t: p for p in resources(bundle, "Provenance") for t in references(p["target"])}
    slide_made = by_target[urls[observation(bundle, "slide-classes")["id"]]]
    agents = {r for a in slide_made["agent"] if "performer" in codes(a["type"]) for r in references(a)}
    assert agents == {urls[devices[p.weights_sha256]["id"]] for p in record.pathology.provenance}
    assert references(slide_made["entity"]) == [urls[resources(bundle, "Specimen")[0]["id"]]]
    nodule = next(o for o in resources(bundle, "Observation") if "786838002" in codes(o["code"]))
    agents = {r for a in by_target[urls[nodule["id"]]]["agent"] for r in references(a)}
    assert {urls[devices[p.weights_sha256]["id"]] for p in record.radiology.provenance} <= agents
    assert slide_made["recorded"] == bundle["timestamp"] == "2026-03-05T12:30:00+00:00"


def test_words_stay_words() -> None:
    record = odd_case()
    bundle = made(record)
    div = resources(bundle, "DiagnosticReport")[0]["text"]["div"]
    assert "<script" not in div and "&lt;script&gt;" in div and "<i>" not in div
    (specimen,) = resources(bundle, "Specimen")
    assert specimen["identifier"][0]["value"] == "s<b>&\"'Ünïcode  ñ 肺 🫁</b>"
    (patient,) = resources(bundle, "Patient")
    assert [i["value"] for i in patient["identifier"]] == [record.case_id]


def test_an_abstention_of_all_keeps_its_words() -> None:
    record = record_of("both")
    nobody = Abstention("They contradict each other.", "Look again.")
    fusion = dataclasses.replace(record.fusion, abstention=nobody)
    bundle = made(dataclasses.replace(record, fusion=fusion))
    (report,) = resources(bundle, "DiagnosticReport")
    assert "No answer. They contradict each other. Look again." in report["conclusion"]
    fused = observation(bundle, "fused-classes")
    assert reason(fused) == "unknown" and "valueCodeableConcept" not in fused
    assert amount(component(fused, "8140/3")) == (fusion.probabilities["adenocarcinoma"], "1")


def test_every_code_is_known_and_ours_are_explained() -> None:
    ours, used = set(), set()
    for name in MAKERS:
        bundle = bundle_of(name)
        (system,) = resources(bundle, "CodeSystem")
        assert system["url"] == SYSTEM and {c["code"] for c in system["concept"]} == set(LOCAL)
        for coding in _codings(bundle):
            if coding["system"] == SYSTEM:
                ours.add(coding["code"])
                assert coding["display"] == LOCAL[coding["code"]][0]
            else:
                used.add((coding["system"], coding["code"]))
    assert ours <= set(LOCAL) and set(LOCAL) - ours <= {"in-conformal-set", "found_point", "found_box", "found_hand"}
    assert used <= {(c["system"], c["code"]) for c in CODED.values()}


def _codings(part) -> list[dict]:
    if isinstance(part, list):
        return [c for item in part for c in _codings(item)]
    if not isinstance(part, dict):
        return []
    coding = [part] if {"system", "code", "display"} <= part.keys() else []
    return coding + [c for item in part.values() for c in _codings(item)]


def test_displays_are_those_of_dicoms_own_dictionaries() -> None:
    """Somebody else's word for each code of SNOMED CT and DICOM that PS3.16 holds."""
    from pydicom.sr._concepts_dict import concepts

    systems = {"http://snomed.info/sct": "SCT", "http://dicom.nema.org/resources/ontology/DCM": "DCM"}
    known: dict = {}
    for scheme in systems.values():
        for meanings in concepts[scheme].values():
            for code, (meaning, _) in meanings.items():
                known.setdefault((scheme, code), set()).add(meaning.split(" (")[0].lower())
    # DICOM has its own words for these two.
    others = {"current": "smoker", "lung": "lung structure"}
    checked = 0
    for name, coding in CODED.items():
        words = known.get((systems.get(coding["system"]), coding["code"]))
        if words is not None:
            checked += 1
            assert others.get(name, coding["display"].lower()) in words, name
            assert name not in others or coding["display"].lower() == others[name]
    assert checked == 13


def test_nothing_but_the_tests_needs_a_fhir_library() -> None:
    package = Path(__file__).parents[2] / "inference_server"
    for path in package.glob("fhir_*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) and node.level == 0 else []
            assert not [n for n in names if n.split(".")[0] in ("fhir", "pydantic", "jsonschema")], path.name


def test_the_documentation_names_the_systems_and_its_transaction_is_valid() -> None:
    text = (Path(__file__).parents[2] / "docs" / "standards.md").read_text()
    used = set()
    for name in MAKERS:
        used |= set(re.findall(r"urn:oid:2\.25\.\d+", json.dumps(bundle_of(name))))
    assert len(used) == 8 and not [system for system in used if f"`{system}`" not in text]
    (example,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    lines = example.splitlines()
    assert lines[0].startswith("bundle = json.loads(")
    held = {"bundle": bundle_of("fields_only")}
    exec("\n".join(lines[1:]), held)
    assert held["bundle"]["type"] == "transaction" and faults(held["bundle"]) == []

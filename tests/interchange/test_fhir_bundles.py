"""A bundle has what R4 requires of each resource, and every reference leads into it."""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from dagster_project.interchange.fhir_bundles import BundledVisit, build_bundle
from dagster_project.interchange.identifiers import tracking_uid
from dagster_project.interchange.measurement_reports import Visit
from tests.interchange.test_measurement_reports import ABSENT, BLOCK, BY_HAND, RESPONSE, SMALL

MEASURED = {
    **BY_HAND,
    "lesion": "L1",
    "organ": "lung",
    "role": "target",
    "mask_digest": "m",
    "volume_mm3": 22858.7651,
    "longest_diameter_mm": 35.56726866094724,
    "short_axis_mm": 34.14457791450939,
}
CUT = {**MEASURED, "lesion": "L6", "volume_mm3": None}
CUT |= {"longest_diameter_mm": None, "short_axis_mm": None}
LESIONS = (MEASURED, BY_HAND, ABSENT, SMALL, CUT)
VISITS = (
    BundledVisit("T0", dt.date(2024, 3, 1), "2.25.1", Visit(0), LESIONS[:2]),
    BundledVisit("T1", dt.date(2024, 5, 1), "2.25.2", Visit(58, RESPONSE, BLOCK), LESIONS),
    BundledVisit("T2", None, "2.25.3", Visit(None)),
)

REQUIRED = {
    "Patient": set(),
    "ImagingStudy": {"status", "subject"},
    "BodyStructure": {"patient"},
    "Observation": {"status", "code"},
}
"""Elements of cardinality 1 in R4 (hl7.org/fhir/R4) of each resource that a bundle may have."""

LEADS_TO = {
    "subject": {"Patient"},
    "patient": {"Patient"},
    "focus": {"BodyStructure"},
    "derivedFrom": {"ImagingStudy", "Observation"},
}
CODES = {
    ("ImagingStudy", "status"): {"registered", "available", "cancelled", "entered-in-error"},
    ("Observation", "status"): {"registered", "preliminary", "final", "amended"},
}
URI = re.compile(r"(urn:(oid|uuid):|https?://)\S+")


@pytest.fixture(scope="module")
def bundle() -> dict[str, Any]:
    return json.loads(json.dumps(build_bundle("AA-P1", VISITS)))


def resources(bundle: dict[str, Any], kind: str | None = None) -> list[dict[str, Any]]:
    found = [entry["resource"] for entry in bundle["entry"]]
    return [r for r in found if kind in {None, r["resourceType"]}]


def within(value: Any) -> Iterator[tuple[str, Any]]:
    """Every element at every depth, by its name."""
    if isinstance(value, dict):
        for name, one in value.items():
            yield name, one
            yield from within(one)
    elif isinstance(value, list):
        for one in value:
            yield from within(one)


def test_each_resource_has_what_r4_requires(bundle) -> None:
    assert (bundle["resourceType"], bundle["type"]) == ("Bundle", "collection")
    for one in resources(bundle):
        kind = one["resourceType"]
        assert REQUIRED[kind] <= set(one)
        assert re.fullmatch(r"[A-Za-z0-9\-.]{1,64}", one["id"])
        for element in set(one) & {name for of, name in CODES if of == kind}:
            assert one[element] in CODES[kind, element]


def test_no_element_is_empty_and_every_coding_names_its_system(bundle) -> None:
    for name, value in within(bundle):
        assert value not in (None, "", [], {}), name
        if name == "coding":
            assert all(URI.fullmatch(c["system"]) and c["code"] for c in value)
        if name == "valueQuantity":
            assert set(value) == {"value", "unit", "system", "code"}
            assert value["system"] == "http://unitsofmeasure.org"


def test_every_reference_leads_to_a_resource_of_its_kind_in_the_bundle(bundle) -> None:
    kinds = {e["fullUrl"]: e["resource"]["resourceType"] for e in bundle["entry"]}
    assert len(kinds) == len(bundle["entry"])
    found = 0
    for one in resources(bundle):
        for name, allowed in LEADS_TO.items():
            targets = one.get(name, [])
            for target in targets if isinstance(targets, list) else [targets]:
                found += 1
                assert kinds[target["reference"]] == target["type"]
                assert target["type"] in allowed
    assert found == sum(name == "reference" for name, _ in within(bundle)) > 10


def test_an_observation_has_a_value_or_components_and_is_preliminary(bundle) -> None:
    for one in resources(bundle, "Observation"):
        assert one["status"] == "preliminary"
        values = [name for name in one if name.startswith("value")]
        assert len(values) == 1 or one["component"]
        for component in one.get("component", []):
            assert component["code"]["coding"]
            assert sum(name.startswith("value") for name in component) == 1


def sizes(bundle) -> list[dict[str, Any]]:
    return [o for o in resources(bundle, "Observation") if "focus" in o]


def test_a_tumour_has_its_size_to_the_digit_at_each_visit(bundle) -> None:
    assert len(sizes(bundle)) == 2 + 5
    first = sizes(bundle)[2]
    assert first["code"]["coding"][0] == {
        "system": "http://loinc.org",
        "code": "21889-1",
        "display": "Size Tumor",
    }
    found = {
        c["code"]["coding"][0]["code"]: (c["valueQuantity"]["value"], c["valueQuantity"]["code"])
        for c in first["component"]
        if "valueQuantity" in c
    }
    assert found == {
        "33728-7": (MEASURED["longest_diameter_mm"], "mm"),
        "103340004": (MEASURED["short_axis_mm"], "mm"),
        "118565006": (MEASURED["volume_mm3"], "mm3"),
    }
    states = [o["valueCodeableConcept"]["coding"][0]["code"] for o in sizes(bundle)[4:]]
    assert states == ["absent", "too_small", "not_measured"]


def test_a_lesion_is_one_body_structure_with_the_tracking_uid_of_its_segment(bundle) -> None:
    structures = resources(bundle, "BodyStructure")
    assert [s["description"] for s in structures] == ["L1", "L3", "L4", "L5", "L6"]
    assert structures[0]["identifier"][0]["value"] == f"urn:oid:{tracking_uid('AA-P1', 'L1')}"
    of_l1 = [o["focus"][0]["reference"] for o in sizes(bundle)[::2][:2]]
    assert of_l1 == [f"urn:uuid:{structures[0]['id']}"] * 2


def test_a_response_has_its_method_and_is_derived_from_the_sizes_of_its_visit(bundle) -> None:
    recist, irecist = resources(bundle, "Observation")[-2:]
    assert recist["method"]["coding"][0]["code"] == "126081"
    assert recist["valueCodeableConcept"]["coding"][0]["code"] == "PD"
    target = recist["component"][0]["valueCodeableConcept"]["coding"][0]
    assert (target["system"], target["code"]) == (
        "http://dicom.nema.org/resources/ontology/DCM",
        "112043",
    )
    of_visit = [f"urn:uuid:{o['id']}" for o in sizes(bundle)[2:]]
    assert [r["reference"] for r in recist["derivedFrom"]] == of_visit
    assert irecist["valueCodeableConcept"]["coding"][0]["code"] == "iUPD"
    assert irecist["component"][0]["valueCodeableConcept"]["coding"][0]["code"] == "waiting"
    assert irecist["derivedFrom"][0]["reference"] == f"urn:uuid:{recist['id']}"


def test_a_visit_whose_results_may_not_leave_has_its_study_alone(bundle) -> None:
    t2 = [r for r in resources(bundle) if r.get("description") == "T2"]
    assert [r["resourceType"] for r in t2] == ["ImagingStudy"]
    assert len(resources(bundle, "ImagingStudy")) == 3


def test_nothing_is_of_a_model_and_the_same_rows_give_the_same_bundle(bundle) -> None:
    text = json.dumps(bundle, ensure_ascii=False)
    assert not re.search(r"probab|risk|advice|predict|概率|风险", text, re.IGNORECASE)
    assert text == json.dumps(build_bundle("AA-P1", VISITS), ensure_ascii=False)
    dates = set(re.findall(r"\d{4}-\d\d-\d\d(?!\d)", text)) - {"2024-03-01", "2024-05-01"}
    assert dates == set()

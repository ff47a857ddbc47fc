"""One FHIR R4 bundle of a patient: tumour sizes and responses as Observations.

Codes are LOINC's (sizes of tumours, as mCODE uses them), SNOMED CT's and DICOM's as `codes` cites
them, and of the private scheme.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydicom.sr.coding import Code

from dagster_project.interchange import codes
from dagster_project.interchange.identifiers import DATES_SHIFTED, NOT_SIGNED, tracking_uid
from dagster_project.interchange.measurement_reports import (
    AXES,
    SIMULATED,
    Visit,
    is_measured,
    state_of,
)

Row = Mapping[str, Any]
Resource = dict[str, Any]

LOINC = "http://loinc.org"
SIZE_TUMOR = {"system": LOINC, "code": "21889-1", "display": "Size Tumor"}
LONGEST = {"system": LOINC, "code": "33728-7", "display": "Size.maximum dimension in Tumor"}

SYSTEMS: Mapping[str, str] = {
    "DCM": "http://dicom.nema.org/resources/ontology/DCM",
    "SCT": "http://snomed.info/sct",
    codes.SCHEME: f"urn:oid:{codes.SCHEME_UID}",
}
"""FHIR's system of each coding scheme designator."""

UCUM = "http://unitsofmeasure.org"

IMAGING = {
    "coding": [
        {"system": "http://terminology.hl7.org/CodeSystem/observation-category", "code": "imaging"}
    ]
}

NAMESPACE = uuid.uuid5(uuid.NAMESPACE_OID, codes.SCHEME_UID)
"""Of the identifiers of resources: the same row has the same one."""


@dataclass(frozen=True)
class BundledVisit:
    """A visit whose results may be sent out, or whose study alone is named.

    Attributes
    ----------
    study_uid
        Of the scan, keyed.
    lesions
        Rows of `lesions`; none where results may not leave.
    """

    visit: str
    date: dt.date | None
    study_uid: str
    facts: Visit
    lesions: Sequence[Row] = ()


def build_bundle(patient: str, visits: Sequence[BundledVisit]) -> Resource:
    """A Bundle of type collection whose references all lead into it.

    1. Patient, with the pseudonym alone. 2. ImagingStudy of each visit. 3. BodyStructure of each
       lesion, by its tracking UID. 4. Observation of each lesion and visit: size. 5. Observation of
       RECIST 1.1 and of iRECIST at each visit, derived from those sizes.

    Every Observation is preliminary: nobody has signed it.
    """
    lesions = sorted({row["lesion"] for visit in visits for row in visit.lesions})
    resources = [
        _patient(patient),
        *(_study(patient, visit) for visit in visits),
        *(_structure(patient, lesion, visits) for lesion in lesions),
        *(one for visit in visits for one in _observations(patient, visit)),
    ]
    return {
        "resourceType": "Bundle",
        "id": _id(patient, "bundle"),
        "type": "collection",
        "entry": [
            {"fullUrl": f"urn:uuid:{resource['id']}", "resource": resource}
            for resource in resources
        ],
    }


def _id(*parts: str) -> str:
    return str(uuid.uuid5(NAMESPACE, "\n".join(parts)))


def _reference(kind: str, *parts: str) -> Resource:
    return {"reference": f"urn:uuid:{_id(*parts)}", "type": kind}


def _subject(patient: str) -> Resource:
    return _reference("Patient", patient, "patient")


def _patient(patient: str) -> Resource:
    return {
        "resourceType": "Patient",
        "id": _id(patient, "patient"),
        "identifier": [
            {
                "system": SYSTEMS[codes.SCHEME],
                "value": patient,
                "type": {"text": "Pseudonym in the study 研究编号"},
            }
        ],
    }


def _study(patient: str, visit: BundledVisit) -> Resource:
    started = {"started": visit.date.isoformat()} if visit.date else {}
    return {
        "resourceType": "ImagingStudy",
        "id": _id(patient, visit.visit, "study"),
        "identifier": [{"system": "urn:dicom:uid", "value": f"urn:oid:{visit.study_uid}"}],
        "status": "available",
        "subject": _subject(patient),
        **started,
        "note": [{"text": DATES_SHIFTED}],
        "description": visit.visit,
    }


def _structure(patient: str, lesion: str, visits: Sequence[BundledVisit]) -> Resource:
    organs = [r["organ"] for v in visits for r in v.lesions if r["lesion"] == lesion]
    organ = next((codes.ORGANS[o] for o in organs if o in codes.ORGANS), None)
    return {
        "resourceType": "BodyStructure",
        "id": _id(patient, lesion, "lesion"),
        "identifier": [
            {"system": "urn:dicom:uid", "value": f"urn:oid:{tracking_uid(patient, lesion)}"}
        ],
        **({"location": _concept(organ)} if organ else {}),
        "description": lesion,
        "patient": _subject(patient),
    }


def _observations(patient: str, visit: BundledVisit) -> Iterator[Resource]:
    for row in visit.lesions:
        yield _size(patient, visit, row)
    if visit.facts.response is not None:
        yield _recist(patient, visit, visit.facts.response)
        yield _irecist(patient, visit, visit.facts.response)


def _observation(patient: str, visit: BundledVisit, *parts: str) -> Resource:
    """What every Observation has."""
    notes = [DATES_SHIFTED, NOT_SIGNED, *([SIMULATED] if visit.facts.simulated else [])]
    effective = {"effectiveDateTime": visit.date.isoformat()} if visit.date else {}
    return {
        "resourceType": "Observation",
        "id": _id(patient, visit.visit, *parts),
        "status": "preliminary",
        "category": [IMAGING],
        "subject": _subject(patient),
        **effective,
        "note": [{"text": text} for text in notes],
    }


def _size(patient: str, visit: BundledVisit, row: Row) -> Resource:
    made = {
        **_observation(patient, visit, row["lesion"], "size"),
        "code": {"coding": [SIZE_TUMOR]},
        "focus": [_reference("BodyStructure", patient, row["lesion"], "lesion")],
        "method": _concept(codes.RECIST_1_1),
        "derivedFrom": [_reference("ImagingStudy", patient, visit.visit, "study")],
    }
    components = [
        {"code": _concept(codes.LESION_ROLE), "valueCodeableConcept": _role(row)},
        *_measured(row),
    ]
    if not is_measured(row):
        made["valueCodeableConcept"] = _concept(codes.LESION_STATES[state_of(row)])
    return {**made, "component": components}


def _role(row: Row) -> Resource:
    return _concept(codes.LESION_ROLES[row["role"]])


def _measured(row: Row) -> Iterator[Resource]:
    if not is_measured(row):
        return
    for column, name in AXES.items():
        if row[column] is not None:
            concept = (
                {"coding": [LONGEST, _coding(name)]} if name == codes.LONG_AXIS else _concept(name)
            )
            yield {"code": concept, "valueQuantity": _quantity(row[column], codes.MM)}
    if row["volume_mm3"] is not None:
        yield {
            "code": _concept(codes.VOLUME),
            "valueQuantity": _quantity(row["volume_mm3"], codes.MM3),
        }


def _derived_from(patient: str, visit: BundledVisit) -> list[Resource]:
    return [
        _reference("Observation", patient, visit.visit, row["lesion"], "size")
        for row in visit.lesions
    ]


def _recist(patient: str, visit: BundledVisit, response: Row) -> Resource:
    answers = (
        codes.code_of_target(response["target_response"]),
        codes.code_of_nontarget(response["nontarget_response"]),
    )
    return {
        **_observation(patient, visit, "recist"),
        "code": _concept(codes.CURRENT_RESPONSE),
        "method": _concept(codes.RECIST_1_1),
        "valueCodeableConcept": _concept(codes.OVERALL_RESPONSES[response["overall_response"]]),
        "component": [
            *(
                {"code": _concept(codes.CURRENT_RESPONSE), "valueCodeableConcept": _concept(answer)}
                for answer in answers
            ),
            {"code": _concept(codes.NEW_LESION), "valueBoolean": bool(response["new_lesion"])},
            *(
                {"code": _concept(name), "valueQuantity": _quantity(response[column], unit)}
                for column, (name, unit) in codes.FIGURES.items()
                if response[column] is not None
            ),
        ],
        "derivedFrom": _derived_from(patient, visit),
    }


def _irecist(patient: str, visit: BundledVisit, response: Row) -> Resource:
    block = visit.facts.block
    states = [codes.BLOCK_STATES[block["status"]]] if block else []
    made = {
        **_observation(patient, visit, "irecist"),
        "code": _concept(codes.IRECIST_RESPONSE),
        "method": _concept(codes.IRECIST),
        "valueCodeableConcept": _concept(codes.IRECIST_RESPONSES[response["irecist_response"]]),
        "derivedFrom": [
            _reference("Observation", patient, visit.visit, "recist"),
            *_derived_from(patient, visit),
        ],
    }
    components = [
        {"code": _concept(codes.BLOCK_STATUS), "valueCodeableConcept": _concept(state)}
        for state in states
    ]
    return {**made, **({"component": components} if components else {})}


def _coding(code: Code) -> Resource:
    return {"system": SYSTEMS[code.scheme_designator], "code": code.value, "display": code.meaning}


def _concept(code: Code) -> Resource:
    return {"coding": [_coding(code)]}


def _quantity(value: float, unit: Code) -> Resource:
    return {"value": value, "unit": unit.value, "system": UCUM, "code": unit.value}

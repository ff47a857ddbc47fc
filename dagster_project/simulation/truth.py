"""The truth behind a simulated landing, kept outside it.

What was planted, what is expected, and every identifier to search for.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from dagster_project.simulation.biology import Lesion, Patient, scanned_visits
from dagster_project.simulation.case_report import duplicate_identity, write_date
from dagster_project.simulation.headers import Study
from dagster_project.simulation.identities import SiteIdentity, draw_site_identity
from dagster_project.simulation.plan import (
    EXCLUDING,
    EXPECTED,
    READERS,
    TROUBLES,
    VISITS,
    Plan,
    Trouble,
)
from dagster_project.simulation.reading import Reads, sum_of
from dagster_project.simulation.scans import place_scan
from dagster_project.simulation.surfaces import cut, diameters, dice, volume_mm3

ARBITER = "ARBITER1"
"""Who decides; neither of the readers."""

TRUE_STEP_MM = 0.5
"""Distance of the planes by which true diameters and volumes are measured."""

LOCKED_AFTER_DAYS, DECIDED_AFTER_DAYS = 20, 90
"""Days until a read is locked, and until it is decided.

The first are counted from the site's last scan, the second from the last day on which a patient
might be scanned.
"""


def patient_truth(plan: Plan, patient: Patient, site: SiteIdentity, reads: Reads) -> dict[str, Any]:
    """Everything true of one patient."""
    visits = scanned_visits(plan, patient)
    return {
        "site": patient.site.name,
        "ordinal": patient.ordinal,
        "hospital_number": patient.identity.hospital_number,
        "birth_date": patient.identity.birth_date.isoformat(),
        "sex": patient.identity.sex,
        "course": patient.course,
        "responder": patient.responder,
        "latent": patient.latent,
        "change": patient.change,
        "eligible": not patient.troubles & EXCLUDING,
        "excluded_by": sorted(patient.troubles & EXCLUDING),
        "troubles": sorted(patient.troubles),
        "careless_reader": READERS[1] if patient.careless else None,
        "day_zero": patient.day_zero.isoformat(),
        "cycle_days": list(patient.cycle_days),
        "expected_responses": {
            visit: answer for visit, answer in EXPECTED[patient.course].items() if visit in visits
        },
        "visits": {visit: _visit_truth(plan, patient, site, reads, visit) for visit in visits},
        "lesions": {
            lesion.label: _lesion_truth(plan, patient, lesion, reads, visits)
            for lesion in patient.lesions
        },
    }


def _visit_truth(
    plan: Plan, patient: Patient, site: SiteIdentity, reads: Reads, visit: str
) -> dict[str, Any]:
    study = Study(patient, site, visit)
    return {
        "day": patient.visit_days[visit],
        "date": patient.visit_date(visit).isoformat(),
        "study_uid": study.study_uid,
        "series_uid": study.series_uid,
        "sum_mm": {reader: sum_of(patient, reads, reader, visit) for reader in READERS},
        "shape_zyx": list(place_scan(plan, patient, visit).grid.shape),
        "spacing_zyx_mm": list(place_scan(plan, patient, visit).grid.spacing_mm),
    }


def _lesion_truth(
    plan: Plan, patient: Patient, lesion: Lesion, reads: Reads, visits: Sequence[str]
) -> dict[str, Any]:
    return {
        "role": lesion.role,
        "organ": lesion.organ,
        "node": lesion.node,
        "mean_hu": lesion.mean_hu,
        "visits": {
            visit: _state_truth(plan, patient, lesion, reads, visit)
            for visit in visits
            if visit in lesion.states
        },
    }


def _state_truth(
    plan: Plan, patient: Patient, lesion: Lesion, reads: Reads, visit: str
) -> dict[str, Any]:
    state = asdict(lesion.states[visit]) | {"present": lesion.seen(visit)}
    if not lesion.seen(visit):
        return state
    surface, centre = lesion.surface(visit), place_scan(plan, patient, visit).centre(lesion)
    half = surface.reach_mm
    sections = cut(surface, centre, np.arange(centre[2] - half, centre[2] + half, TRUE_STEP_MM))
    longest, short = diameters(sections)
    outlines = {reader: reads[visit, reader, lesion.label] for reader in READERS}
    return state | {
        "centre_mm": list(centre),
        "longest_diameter_mm": longest,
        "short_axis_mm": short,
        "volume_mm3": volume_mm3(sections, TRUE_STEP_MM),
        "dice": dice(*(outline.mask for outline in outlines.values())),
        "readers": {
            reader: {
                "longest_diameter_mm": o.longest_mm,
                "short_axis_mm": o.short_mm,
                "voxel_count": int(o.mask.voxels.sum()),
            }
            for reader, o in outlines.items()
        },
    }


def trouble_truth(plan: Plan, trouble: Trouble, hospital_number: str) -> dict[str, Any]:
    """One planted trouble in words."""
    return {
        "kind": trouble.kind,
        "description": TROUBLES[trouble.kind],
        "site": plan.sites[trouble.site].name,
        "ordinal": trouble.ordinal,
        "hospital_number": hospital_number,
    }


def site_truth(plan: Plan, site_index: int, patients: Sequence[Patient]) -> dict[str, Any]:
    """One site: its scanner, its readers, and whom the careless one touched."""
    site = plan.sites[site_index]
    careless = [patient.identity.hospital_number for patient in patients if patient.careless]
    return {
        "scanner": asdict(site.scanner),
        "readers": dict(zip(READERS, site.formats, strict=True)),
        "careless_reader": READERS[1] if careless else None,
        "careless_patients": careless,
        "locked_at": locked_at(plan, patients),
    }


def identifiers(plan: Plan, patients: Sequence[Patient]) -> list[str]:
    """Every identifying string in the landing of these patients and their sites.

    Birth dates are as a case report writes them.
    """
    found: set[str] = set()
    for index, site in enumerate(plan.sites):
        found.update(draw_site_identity(plan, index).strings(chinese=site.chinese))
    for patient in patients:
        found.update(patient.identity.strings(chinese=patient.site.chinese))
        if patient.site.csv_separator != ";":
            found.add(write_date(patient.site, patient.identity.birth_date))
        if "duplicate_patient" in patient.troubles:
            found.add(duplicate_identity(plan, patient).name.text(chinese=patient.site.chinese))
        if "unknown_patient" in patient.troubles:
            found.add(unknown_number(plan, patient))
    return sorted(found)


def unknown_number(plan: Plan, patient: Patient) -> str:
    """The hospital number that nobody has, of the trouble `unknown_patient`."""
    return f"""ZY{
        plan.random("unknown number", patient.site_index, patient.ordinal).integers(10**11, 10**12)
    }"""


def last_day(plan: Plan, patients: Sequence[Patient], *, scanned: bool) -> date:
    """Date of the site's last scan, or of the last that there might be."""
    return max(
        patient.visit_date(visit)
        for patient in patients
        for visit in (scanned_visits(plan, patient) if scanned else VISITS)
    )


def locked_at(plan: Plan, patients: Sequence[Patient]) -> str:
    """When the readers of a site locked their reads."""
    return f"""{
        (last_day(plan, patients, scanned=True) + timedelta(days=LOCKED_AFTER_DAYS)).isoformat()
    }T18:30:00+08:00"""


def write_decisions(truth: Path, plan: Plan, patients: Sequence[Patient]) -> None:
    """The arbiter's decisions of one site, to be copied into its landing.

    The careful reader is accepted for every careless pair, and where the other one overlooked a
    lesion.
    """
    site = patients[0].site
    settled = [p for p in patients if p.careless or "missed_new_lesion" in p.troubles]
    if not settled:
        return
    decided = f"""{
        (last_day(plan, patients, scanned=False) + timedelta(days=DECIDED_AFTER_DAYS)).isoformat()
    }T10:00:00+08:00"""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["patient_id", "accepted_reader", "arbiter", "decided_at"])
    writer.writerows(
        [patient.identity.hospital_number, READERS[0], ARBITER, decided] for patient in settled
    )
    path = truth / "arbitration" / site.name / "decisions.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(buffer.getvalue(), encoding="utf-8")


def write_json(path: Path, content: object) -> None:
    """Write JSON that people can read."""
    path.write_text(json.dumps(content, ensure_ascii=False, indent=1), encoding="utf-8")

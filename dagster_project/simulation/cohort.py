"""A whole simulated cohort.

Landings of several hospitals on one side, the truth about them on the other.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from dagster_project.simulation.anatomy import (
    Patterns,
    body_extent_mm,
    build_anatomy,
    draw_patterns,
)
from dagster_project.simulation.biology import Patient, draw_patient, scanned_visits
from dagster_project.simulation.case_report import (
    Row,
    case_number,
    draw_case_report,
    write_date,
    write_rows,
)
from dagster_project.simulation.contour_files import reader_format, roi_name, write_contours
from dagster_project.simulation.dicom_series import write_series
from dagster_project.simulation.headers import Study
from dagster_project.simulation.identities import draw_site_identity
from dagster_project.simulation.plan import HIDDEN_IN_DICOM, READERS, Plan
from dagster_project.simulation.reading import Reads, read_patient
from dagster_project.simulation.scans import draw_scan
from dagster_project.simulation.troubles import OrphanStudy, write_orphan_contours, write_trouble
from dagster_project.simulation.truth import (
    identifiers,
    locked_at,
    patient_truth,
    site_truth,
    trouble_truth,
    unknown_number,
    write_decisions,
    write_json,
)

MARKER = "This landing was simulated; no person is behind it.\n"
"""Content of landing/<site>/SIMULATED."""

Progress = Callable[[int, int], None]
"""Called with the number of scans written and the number of all."""


def simulate_cohort(
    landing: Path, truth: Path, plan: Plan, progress: Progress | None = None
) -> None:
    """Write the landing of every site of the plan, and the truth about it elsewhere.

    The same plan gives the same bytes. `truth/` holds truth.json (plan, sites, patients, troubles),
    identifiers.json (every identifying string) and arbitration/<site>/decisions.csv (to be copied
    into the landing once the cases are open). Both hold identities: treat `truth` as you would a
    landing.

    Raises
    ------
    ValueError
        If `truth` lies inside `landing`.
    FileExistsError
        If the landing already has a site of the plan: nothing is overwritten.
    """
    _check_places(landing, truth, plan)
    cohort = [draw_site(plan, index) for index in range(len(plan.sites))]
    report = _counter(
        progress,
        sum(len(scanned_visits(plan, patient)) for patients in cohort for patient in patients),
    )
    records = []
    for index, patients in enumerate(cohort):
        records += _write_site(landing / plan.sites[index].name, plan, index, patients, report)
    truth.mkdir(parents=True, exist_ok=True)
    for patients in cohort:
        write_decisions(truth, plan, patients)
    _write_truth(truth, plan, cohort, records)


def add_scan(landing: Path, truth: Path, plan: Plan, site: str, ordinal: int) -> Plan:
    """Add the visit V1 of one patient to a landing written by `simulate_cohort`.

    Both readers read it. The landing is then byte for byte what the returned plan, which has the
    scan among its `extra_scans`, would have given.

    Raises
    ------
    ValueError
        If the patient already has that scan.
    """
    index = [place.name for place in plan.sites].index(site)
    if (index, ordinal) in plan.extra_scans:
        raise ValueError(
            f"site {site}, ordinal {ordinal} has its V1 already; choose another patient"
        )
    grown = replace(plan, extra_scans=(*plan.extra_scans, (index, ordinal)))
    patients, folder = draw_site(grown, index), landing / site
    patient = patients[ordinal]
    patterns = draw_patterns(grown, index)
    reads = read_patient(grown, patient)
    _write_visit(
        folder,
        grown,
        patient,
        "V1",
        build_anatomy(grown, index, ordinal, patterns),
        patterns,
        reads,
    )
    _write_reads(folder, grown, patients)
    record = patient_truth(grown, patient, draw_site_identity(grown, index), reads)
    known = json.loads((truth / "truth.json").read_text(encoding="utf-8"))["patients"]
    records = [record if (r["site"], r["ordinal"]) == (site, ordinal) else r for r in known]
    _write_truth(truth, grown, [draw_site(grown, i) for i in range(len(grown.sites))], records)
    return grown


def draw_site(plan: Plan, index: int) -> list[Patient]:
    """The patients of one site."""
    extent = body_extent_mm(plan, plan.sites[index].scanner)
    return [draw_patient(plan, index, ordinal, extent) for ordinal in range(plan.patients_per_site)]


def _check_places(landing: Path, truth: Path, plan: Plan) -> None:
    if truth.resolve().is_relative_to(landing.resolve()):
        raise ValueError(
            "truth lies inside the landing, where the pipeline would read it; "
            "choose a folder outside"
        )
    taken = [site.name for site in plan.sites if (landing / site.name).exists()]
    if taken:
        raise FileExistsError(
            f"the landing already has {', '.join(taken)}; "
            "nothing is overwritten: choose an empty folder or remove them first"
        )


def _counter(progress: Progress | None, total: int) -> Callable[[], None]:
    done = iter(range(1, total + 1))
    return lambda: progress(next(done), total) if progress else None


def _write_site(
    folder: Path, plan: Plan, index: int, patients: Sequence[Patient], report: Callable[[], None]
) -> list[dict[str, Any]]:
    patterns, identity = draw_patterns(plan, index), draw_site_identity(plan, index)
    folder.mkdir(parents=True)
    (folder / "SIMULATED").write_text(MARKER, encoding="utf-8")
    records = []
    for patient in patients:
        reads = read_patient(plan, patient)
        anatomy = build_anatomy(plan, index, patient.ordinal, patterns)
        for visit in scanned_visits(plan, patient):
            _write_visit(folder, plan, patient, visit, anatomy, patterns, reads)
            report()
        records.append(patient_truth(plan, patient, identity, reads))
    clinical = draw_case_report(plan, patients)
    for name in ("patients", "treatments", "follow_up", "visits"):
        write_rows(folder / "clinical" / f"{name}.csv", plan.sites[index], getattr(clinical, name))
    _write_reads(folder, plan, patients)
    return records


def _write_visit(
    folder: Path,
    plan: Plan,
    patient: Patient,
    visit: str,
    anatomy: Any,
    patterns: Patterns,
    reads: Reads,
) -> None:
    study = Study(patient, draw_site_identity(plan, patient.site_index), visit)
    scan = draw_scan(plan, patient, visit, anatomy, patterns)
    home = folder / "dicom" / f"{study.name_text()}_{patient.identity.hospital_number}"
    write_series(home / f"{study.date}_{patient.identity.accession(visit)}" / "CT", study, scan)
    lesions = {lesion.label: lesion for lesion in patient.lesions}
    for reader in READERS:
        outlines = {
            label: outline
            for (v, r, label), outline in reads.items()
            if (v, r) == (visit, reader) and not patient.overlooks(reader, lesions[label])
        }
        write_contours(folder / "reads" / reader, study, scan, reader, outlines)
    if visit == "T0":
        for kind in sorted(patient.troubles & HIDDEN_IN_DICOM):
            write_trouble(kind, home, study, scan)
        if "contour_without_series" in patient.troubles:
            first = {
                label: outline
                for (v, r, label), outline in reads.items()
                if (v, r) == ("T0", READERS[0])
            }
            write_orphan_contours(folder / "reads" / READERS[0] / "later", study, scan, first)


def _write_reads(folder: Path, plan: Plan, patients: Sequence[Patient]) -> None:
    """lesions.csv and LOCKED of both readers."""
    for reader in READERS:
        rows = [row for patient in patients for row in _lesion_rows(plan, patient, reader)]
        rows += [
            _unknown_row(plan, patient)
            for patient in patients
            if reader == READERS[0] and "unknown_patient" in patient.troubles
        ]
        write_rows(folder / "reads" / reader / "lesions.csv", patients[0].site, rows)
        (folder / "reads" / reader / "LOCKED").write_text(
            locked_at(plan, patients) + "\n", encoding="utf-8"
        )


def _lesion_rows(plan: Plan, patient: Patient, reader: str) -> list[Row]:
    """One row per lesion and visit.

    Sites with Chinese forms name the visit by its date, the others by the series.
    """
    identity = draw_site_identity(plan, patient.site_index)
    rows = []
    for visit in scanned_visits(plan, patient):
        study = Study(patient, identity, visit)
        for lesion in patient.lesions:
            if visit in lesion.states and not patient.overlooks(reader, lesion):
                named = {
                    "lesion": lesion.label,
                    "role": lesion.role,
                    "organ": lesion.organ,
                    "node": _yes(lesion.node),
                    "present": _yes(lesion.seen(visit)),
                }
                judged = {
                    "too_small": "n",
                    "nontarget_state": "NON_CR_NON_PD"
                    if lesion.role == "non_target" and visit != "T0"
                    else "",
                }
                judged["unequivocal"] = "y" if lesion.role == "new" else ""
                rows.append(
                    {
                        "patient_id": case_number(patient),
                        **_visit_of(study),
                        **named,
                        **judged,
                        **_roi_of(study, reader, lesion.label),
                    }
                )
    return rows


def _visit_of(study: Study) -> Row:
    site = study.patient.site
    return (
        {"visit_date": write_date(site, study.patient.visit_date(study.visit))}
        if site.chinese_forms
        else {"series_uid": study.series_uid}
    )


def _roi_of(study: Study, reader: str, label: str) -> Row:
    return (
        {"roi": roi_name(study, reader, label)}
        if reader_format(study, reader) == "RTSTRUCT"
        else {}
    )


def _unknown_row(plan: Plan, patient: Patient) -> Row:
    study = OrphanStudy(patient, draw_site_identity(plan, patient.site_index), "T0")
    return {
        "patient_id": unknown_number(plan, patient),
        **_visit_of(study),
        "lesion": "L1",
        "role": "target",
        "organ": "lung",
        "node": "n",
        "present": "y",
        "too_small": "n",
    }


def _yes(value: bool) -> str:
    return "y" if value else "n"


def _write_truth(
    truth: Path, plan: Plan, cohort: Sequence[Sequence[Patient]], records: Sequence[dict[str, Any]]
) -> None:
    write_json(
        truth / "truth.json",
        {
            "plan": asdict(plan),
            "signal_auc": plan.signal_auc,
            "sites": {
                site.name: site_truth(plan, index, cohort[index])
                for index, site in enumerate(plan.sites)
            },
            "patients": records,
            "troubles": [
                trouble_truth(plan, t, cohort[t.site][t.ordinal].identity.hospital_number)
                for t in plan.planted()
            ],
        },
    )
    write_json(
        truth / "identifiers.json",
        identifiers(plan, [patient for patients in cohort for patient in patients]),
    )

"""ADTR: diameter of each lesion and sum of the targets at each visit, with their changes."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator, Mapping, Sequence

import polars as pl

from dagster_project.domain.adam.responses import RECIST, visit_number
from dagster_project.domain.adam.subjects import Patient, Row, Subject
from dagster_project.domain.adam.variables import ADTR
from dagster_project.domain.imaging.timepoints import BASELINE
from dagster_project.domain.response.findings import (
    RecistVisit,
    Rules,
    measure,
    measure_targets,
    read_baseline,
)
from dagster_project.domain.response.responses import change_percent, finding_of

PARAMETERS: Mapping[tuple[str, bool], tuple[str, str, str]] = {
    ("target", False): ("LDIAM", "Target Lesion {n} Analysis Diameter (mm)", "Target Lesion(s)"),
    ("target", True): (
        "NLDIAM",
        "Target Lesion {n} Analysis Perpendicular (mm)",
        "Target Lesion(s)",
    ),
    ("non_target", False): (
        "NTDIA",
        "Non-Target Lesion {n} Analysis Diameter (mm)",
        "Non-Target Lesion(s)",
    ),
    ("non_target", True): (
        "NTPER",
        "Non-Target Lesion {n} Analysis Perpendicular (mm)",
        "Non-Target Lesion(s)",
    ),
    ("new", False): ("NWDIA", "New Lesion {n} Analysis Diameter (mm)", "New Lesion(s)"),
    ("new", True): ("NWPER", "New Lesion {n} Analysis Perpendicular (mm)", "New Lesion(s)"),
}
"""PARAMCD, PARAM and PARCAT1 by role and whether it is a node; n counts the lesions of a role."""

SUM = ("SDIAM", "Target Lesions Sum of Diameters (mm)", "Target Lesion(s)")

GROUPS: Mapping[str, str] = {"target": "TARGET", "non_target": "NON-TARGET", "new": "NEW"}
"""TRGRPID of a role."""

GONE, TOO_SMALL = "ABSENT", "TOO SMALL TO MEASURE"


def derive_adtr(
    subjects: Sequence[Subject], lesions: pl.DataFrame, timepoints: pl.DataFrame, recist: Rules
) -> pl.DataFrame:
    """Derive ADTR from the accepted read, with ASEQ by PARAMCD and date within a subject.

    1. LDIAMn: the longest diameter of a lesion; NLDIAMn: the short axis of a node; AVAL is what the
       lesion adds to the sum
       (findings.measure): 0 where it is gone, 5 mm where it is too small to measure, none where it
       was not evaluated: no record
    2. SDIAM: the sum over the targets of the baseline (findings.measure_targets), at T0 and the
       dated visits after it; no record where
       one is missing, so that the lesions assessed (LSASS) are those expected (LSEXP)
    3. ABLFL is Y at T0; BASE, CHG and PCHG compare with it, NADIR, CHGNAD and PCHGNAD with the
       smallest value before; a change in
       percent of 0 is missing, and so is every change where there is no T0
    """
    dates = {
        (t["site"], t["patient"], t["visit"]): t["scan_date"]
        for t in timepoints.iter_rows(named=True)
    }
    rows: dict[Patient, list[Row]] = {}
    for row in lesions.iter_rows(named=True):
        date = dates.get((row["site"], row["patient"], row["visit"]))
        rows.setdefault((row["site"], row["patient"]), []).append({**row, "date": date})
    return ADTR.frame(
        [
            record
            for subject in subjects
            for record in _of_subject(subject, rows.get(subject.patient, []), recist)
        ]
    )


def _of_subject(subject: Subject, lesions: Sequence[Row], recist: Rules) -> list[Row]:
    numbers = _numbers(lesions)
    records = [
        *(r for lesion in lesions for r in _diameter(lesion, numbers, recist)),
        *_sums(lesions, recist),
    ]
    by_code: dict[str, list[Row]] = {}
    for record in sorted(
        records, key=lambda r: (r["PARAMCD"], r["ADT"] or dt.date.max, r["AVISIT"])
    ):
        by_code.setdefault(record["PARAMCD"], []).append(record)
    compared = [row for own in by_code.values() for row in _with_changes(own)]
    return [
        {**subject.shared, **row, "ADY": subject.relative_day(row["ADT"]), "ASEQ": n}
        for n, row in enumerate(compared, start=1)
    ]


def _numbers(lesions: Sequence[Row]) -> dict[str, tuple[str, bool, int]]:
    """Role, node and number within the role of each lesion; its role is that of its first visit."""
    first: dict[str, tuple[str, bool]] = {}
    for row in sorted(lesions, key=lambda r: (r["date"] or dt.date.max, r["visit"])):
        first.setdefault(row["lesion"], (row["role"], row["is_lymph_node"]))
    counts: dict[str, int] = {}
    found: dict[str, tuple[str, bool, int]] = {}
    for label in sorted(first, key=_natural):
        role, node = first[label]
        counts[role] = counts.get(role, 0) + 1
        found[label] = role, node, counts[role]
    return found


def _natural(label: str) -> list[tuple[int, str]]:
    """L2 before L10."""
    return [(int(part), "") if part.isdigit() else (0, part) for part in re.split(r"(\d+)", label)]


def _visit_of(row: Row) -> Row:
    return {
        "ADT": row["date"],
        "AVISIT": row["visit"],
        "AVISITN": visit_number(row["visit"]),
        "PARCAT2": "Reader",
        "PARCAT3": RECIST,
    }


def _diameter(
    row: Row, numbers: Mapping[str, tuple[str, bool, int]], recist: Rules
) -> Iterator[Row]:
    finding = finding_of(row)
    size = measure(finding, recist)
    role, node, n = numbers[row["lesion"]]
    code, name, category = PARAMETERS[role, node]
    if size is None:
        return
    word = _written(size) if finding.diameter_mm is not None else TOO_SMALL
    if not finding.present:
        word = GONE
    yield {
        **_visit_of(row),
        "PARAMCD": f"{code}{n}",
        "PARAM": name.format(n=n),
        "PARCAT1": category,
        "AVAL": size,
        "ANL01FL": "Y",
        "TRGRPID": GROUPS[role],
        "TRLNKID": row["lesion"],
        "TRTESTCD": "SAXIS" if node else "LDIAM",
        "TRSTRESC": word,
        "TULOC": row["organ"],
        "TULOCGR1": "NODAL" if node else "NON-NODAL",
        "LSEXP": row["lesion"],
        "LSASS": row["lesion"],
    }


def _sums(lesions: Sequence[Row], recist: Rules) -> Iterator[Row]:
    visits: dict[str, list[Row]] = {}
    for row in lesions:
        visits.setdefault(row["visit"], []).append(row)
    if BASELINE not in visits:
        return
    baseline, start = (
        read_baseline(_visit(BASELINE, visits[BASELINE]), recist),
        visits[BASELINE][0]["date"],
    )
    expected = ", ".join(sorted(baseline.targets, key=_natural))
    for name, rows in visits.items():
        later = None not in {start, rows[0]["date"]} and rows[0]["date"] > start
        total = baseline.sum_mm if name == BASELINE else None
        if later and name != BASELINE:
            total = measure_targets(_visit(name, rows), baseline, recist).sum_mm
        if baseline.targets and total is not None:
            yield _sum(rows[0], total, expected)


def _sum(row: Row, total: float, expected: str) -> Row:
    code, title, category = SUM
    return {
        **_visit_of(row),
        "PARAMCD": code,
        "PARAM": title,
        "PARCAT1": category,
        "AVAL": total,
        "ANL01FL": "Y",
        "TRGRPID": GROUPS["target"],
        "TRTESTCD": "SUMDIAM",
        "TRSTRESC": _written(total),
        "LSEXP": expected,
        "LSASS": expected,
    }


def _written(size: float) -> str:
    """A size as text, without the noise of binary fractions."""
    return f"{size:.15g}"


def _visit(name: str, rows: Sequence[Row]) -> RecistVisit:
    return RecistVisit(name, None, tuple(finding_of(row) for row in rows))


def _with_changes(records: Sequence[Row]) -> Iterator[Row]:
    """The records of one parameter in order of date, each with its changes."""
    base = next((r["AVAL"] for r in records if r["AVISIT"] == BASELINE), None)
    nadir: float | None = None
    for record in records:
        value, is_base = record["AVAL"], record["AVISIT"] == BASELINE
        yield {
            **record,
            "ABLFL": "Y" if is_base else None,
            "BASE": base,
            "CHG": None if base is None else value - base,
            "PCHG": change_percent(value, base),
            "NADIR": nadir,
            "CHGNAD": None if nadir is None else value - nadir,
            "PCHGNAD": change_percent(value, nadir),
        }
        if nadir is not None or is_base or base is None:
            nadir = value if nadir is None else min(nadir, value)

"""Lesions of a follow-up visit that the same reader does not have before treatment."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from dagster_project.domain.response.findings import parents

Row = Mapping[str, Any]
Person = tuple[str, str, str]
"""Site, patient and reader."""

NOT_AT_BASELINE = (
    "role target or non_target, but the reader has no lesion of that label at T0: "
    "such a lesion enters no sum and no response. Write the label as at T0, "
    "or the role new where it was not there at T0"
)
OTHER_ROLE = (
    "the role is another than at T0; the role at T0 counts for the response. "
    "Correct one of the rows"
)
NODE_ONCE = (
    "the lesion is a lymph node at one visit and none at another, so that its short axis is "
    "compared with its longest diameter; correct column node or organ of one of the rows"
)
ONLY_PART = (
    "the label is read as a part of a lesion that has split, "
    "but it is the only part at that visit; where the whole lesion is meant write its label as at "
    "T0"
)


def question_labels(
    rows: Sequence[Row], visit_of: Mapping[tuple[str, str], str], baseline: str
) -> Iterator[tuple[Row, str]]:
    """Reads at a follow-up visit whose label cannot be as meant, each with the question.

    1. Readers without a read at the baseline visit are left out: nothing is known to compare with.
    2. A target or non-target that denotes no lesion of the baseline: `NOT_AT_BASELINE`.
    3. A single fragment of a lesion, without another fragment or the lesion itself: `ONLY_PART`.
    4. A lesion of the baseline with another role than there: `OTHER_ROLE`.
    5. A lesion of the baseline that is a node at one of the two visits alone: `NODE_ONCE`.

    Parameters
    ----------
    rows
        Reads with site, patient, scan, reader, lesion and role.
    visit_of
        Visit by site and scan.
    baseline
        Name of the visit before treatment.
    """
    at_visit: dict[tuple[Person, str], list[Row]] = defaultdict(list)
    for row in rows:
        at_visit[_person(row), visit_of[row["site"], row["scan"]]].append(row)
    for (person, visit), here in at_visit.items():
        known = {row["lesion"]: row for row in at_visit.get((person, baseline), ())}
        if known and visit != baseline:
            yield from _of_visit(here, set(known))
            yield from _unlike_baseline(here, known)


def _person(row: Row) -> Person:
    return row["site"], row["patient"], row["reader"]


def _unlike_baseline(rows: Sequence[Row], known: Mapping[str, Row]) -> Iterator[tuple[Row, str]]:
    for row in (r for r in rows if r["lesion"] in known):
        before = known[row["lesion"]]
        if row["role"] != before["role"]:
            yield row, OTHER_ROLE
        if (
            row["is_present"]
            and before["is_present"]
            and row["is_lymph_node"] != before["is_lymph_node"]
        ):
            yield row, NODE_ONCE


def _of_visit(rows: Sequence[Row], known: set[str]) -> Iterator[tuple[Row, str]]:
    stood_for = {row["lesion"]: parents(row["lesion"], known) for row in rows}
    for row in (r for r in rows if r["role"] in {"target", "non_target"}):
        old = stood_for[row["lesion"]]
        if not old:
            yield row, NOT_AT_BASELINE
        elif (
            old != (row["lesion"],)
            and len(old) == 1
            and sum(old[0] in others for others in stood_for.values()) == 1
        ):
            yield row, ONLY_PART

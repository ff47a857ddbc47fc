"""Rows and images of a simulated hospital name the same people.

The exceptions are those whom the simulator separates.
"""

from __future__ import annotations

from tests.trial import Stage


def test_every_finding_is_of_a_patient_who_has_only_one_of_the_two(closed: Stage) -> None:
    patients = {
        r["patient"]: r["in_case_report"] for r in closed.table("patients").iter_rows(named=True)
    }
    scanned = set(closed.table("scans")["patient"])
    for row in closed.table("reconciliation").iter_rows(named=True):
        if row["finding"] == "row_without_images":
            assert patients[row["patient"]]
            assert row["patient"] not in scanned
        elif row["finding"] == "images_without_row":
            assert not patients[row["patient"]]


def test_nothing_of_it_is_a_hospital_number(closed: Stage) -> None:
    text = str(closed.table("reconciliation").to_dicts())
    assert not any(
        truth["hospital_number"] in text
        for _, truth in closed.trial.everyone()
        if "hospital_number" in truth
    )

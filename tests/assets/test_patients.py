"""Everybody whom the case report or the images name has one row, and nobody else."""

from __future__ import annotations

import datetime as dt

from tests.trial import Stage


def test_every_simulated_patient_is_there_once(closed: Stage) -> None:
    rows = closed.table("patients")
    assert sorted(rows["patient"]) == sorted(patient for patient, _ in closed.trial.everyone())
    assert rows["in_case_report"].all()
    told = {patient: (truth["sex"], truth["site"]) for patient, truth in closed.trial.everyone()}
    assert {row["patient"]: (row["sex"], row["site"]) for row in rows.iter_rows(named=True)} == told


def test_age_is_that_of_the_first_cycle(closed: Stage) -> None:
    """From the birth date at one site, as given at the other.

    Unknown where two rows contradict each other.
    """
    ages = dict(closed.table("patients").select("patient", "age_years").iter_rows())
    for patient, truth in closed.trial.everyone():
        born, began = (dt.date.fromisoformat(truth[name]) for name in ("birth_date", "day_zero"))
        expected = began.year - born.year - ((began.month, began.day) < (born.month, born.day))
        assert ages[patient] == (None if "duplicate_patient" in truth["troubles"] else expected)

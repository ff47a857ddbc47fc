"""Cycles keep their intervals to the day, and their dates are not the true ones."""

from __future__ import annotations

import datetime as dt

from tests.trial import Stage


def test_days_are_true_and_dates_are_shifted(closed: Stage) -> None:
    rows = closed.table("treatments")
    for patient, truth in closed.trial.everyone():
        own = rows.filter(patient=patient).sort("cycle")
        assert own["day"].to_list() == truth["cycle_days"]
        shifts = {
            date - dt.date.fromisoformat(truth["day_zero"]) - dt.timedelta(days=day)
            for date, day in own.select("treatment_date", "day").iter_rows()
        }
        assert len(shifts) == 1, "one shift per patient"
        assert shifts != {dt.timedelta(0)}


def test_drugs_are_generic_names_in_either_language(closed: Stage) -> None:
    drugs = {drug for text in closed.table("treatments")["drugs"] for drug in text.split("+")}
    assert drugs <= {
        "pembrolizumab",
        "sintilimab",
        "tislelizumab",
        "camrelizumab",
        "pemetrexed",
        "carboplatin",
        "paclitaxel",
    }

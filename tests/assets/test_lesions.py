"""One accepted read a lesion and visit, close to the truth."""

from __future__ import annotations

from tests.trial import Stage


def test_every_lesion_and_visit_has_one_accepted_read(opened: Stage) -> None:
    found = set(opened.table("lesions").select("patient", "visit", "lesion").iter_rows())
    true = {
        (patient, visit, label)
        for patient, truth in opened.trial.everyone()
        for label, lesion in truth["lesions"].items()
        for visit in lesion["visits"]
        if visit != "V1"
    }
    assert {key for key in found if key[1] != "V1"} == true


def test_accepted_diameters_are_near_the_true_ones(opened: Stage) -> None:
    rows = {
        (r["patient"], r["visit"], r["lesion"]): r["longest_diameter_mm"]
        for r in opened.table("lesions").iter_rows(named=True)
    }
    errors = [
        abs(rows[patient, visit, label] - state["longest_diameter_mm"])
        for patient, truth in opened.trial.everyone()
        for label, lesion in truth["lesions"].items()
        for visit, state in lesion["visits"].items()
        if state["present"] and (patient, visit, label) in rows
    ]
    assert len(errors) > 40
    assert sum(errors) / len(errors) < 1.5
    assert max(errors) < 5

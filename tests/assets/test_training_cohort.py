"""Who is learnt from, with what label, and why the others are not."""

from __future__ import annotations

from tests.trial import Stage


def test_eligible_patients_with_their_later_response(opened: Stage) -> None:
    rows = {row["patient"]: row for row in opened.table("training_cohort").iter_rows(named=True)}
    for patient, truth in opened.trial.everyone():
        assert rows[patient]["included"] == truth["eligible"]
        if truth["eligible"]:
            assert rows[patient]["label"] == truth["responder"]


def test_row_rules_name_what_leaves_a_patient_out(opened: Stage) -> None:
    left_out = opened.table("training_cohort").filter(included=False)
    assert sorted(left_out["exclusion"]) == ["missing_visit", "slice_thickness"]


def test_it_rests_on_the_snapshot_that_was_judged(opened: Stage) -> None:
    snapshot = opened.table("training_cohort")["snapshot"].unique().to_list()
    assert len(snapshot) == 1
    assert opened.trial.table("arbitrations", as_of=snapshot[0])["status"].to_list() == ["settled"]

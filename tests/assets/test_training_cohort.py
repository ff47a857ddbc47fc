"""Who is trained on, with what label, and why the others are not."""

from __future__ import annotations

from tests.trial import Stage


def test_eligible_patients_with_their_later_response(opened: Stage) -> None:
    rows = {
        row["patient"]: row
        for row in opened.table("training_cohort").filter(task="T1").iter_rows(named=True)
    }
    for patient, truth in opened.trial.everyone():
        assert rows[patient]["included"] == truth["eligible"]
        if truth["eligible"]:
            assert rows[patient]["label"] == truth["responder"]


def test_row_rules_name_what_leaves_a_patient_out(opened: Stage) -> None:
    left_out = opened.table("training_cohort").filter(included=False)
    for task in ("T0", "T1"):
        assert sorted(left_out.filter(task=task)["exclusion"]) == [
            "missing_visit",
            "slice_thickness",
        ]
    assert {"missing_visit", "slice_thickness"} <= set(left_out.filter(task="T2")["exclusion"])


def test_the_landmarks_label_is_what_follow_up_tells(opened: Stage) -> None:
    """Six months after T2 without progression or death.

    Known where follow-up reaches that far, or an event came before.
    """
    follow_up = {
        o["patient"]: (o["pfs_from_t2_days"], o["pfs_from_t2_event"])
        for o in opened.table("outcomes").iter_rows(named=True)
    }
    for row in opened.table("training_cohort").filter(task="T2").iter_rows(named=True):
        days, event = follow_up[row["patient"]]
        expected = None if days is None else True if days >= 183 else False if event else None
        assert row["label"] == expected


def test_it_rests_on_the_snapshot_that_was_judged(opened: Stage) -> None:
    snapshot = opened.table("training_cohort")["snapshot"].unique().to_list()
    assert len(snapshot) == 1
    assert opened.trial.table("arbitrations", as_of=snapshot[0])["status"].to_list() == ["settled"]

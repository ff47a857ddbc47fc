"""Labels of progressions: one per block of the accepted read, and no response."""

from __future__ import annotations

from tests.trial import Stage


def test_each_block_of_the_accepted_read_has_one_label_or_a_reason(opened: Stage) -> None:
    rows, key = opened.table("iupd_cohort"), ["site", "patient", "block"]
    blocks = opened.table("irecist_blocks").filter(evaluator="accepted")
    assert rows.height
    assert rows.select(key).sort(key).equals(blocks.select(key).sort(key))
    without = rows.filter(rows["next_outcome"].is_null())
    assert without["reason"].null_count() == 0


def test_a_block_that_the_next_ct_ended_is_labelled_by_its_outcome(opened: Stage) -> None:
    rows = opened.table("iupd_cohort")
    ended = rows.filter(rows["next_outcome"].is_in(["confirmed", "reset"]))
    assert ended["next_outcome"].to_list() == ended["outcome"].to_list()


def test_no_gate_holds_it_back(closed: Stage) -> None:
    assert closed.table("iupd_cohort").height

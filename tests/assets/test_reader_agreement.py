"""Agreement is high where both readers were careful and low where one was not."""

from __future__ import annotations

import pytest

from tests.trial import Stage


def test_dice_of_each_lesion_is_that_of_the_drawn_masks(closed: Stage) -> None:
    """From 1 cm3; below, the surface is compared."""
    rows = {
        (r["patient"], r["visit"], r["lesion"]): r["dice_median"]
        for r in closed.table("reader_agreement").filter(scope="lesion").iter_rows(named=True)
    }
    large = [
        (rows[patient, visit, label], state["dice"])
        for patient, truth in closed.trial.everyone()
        for label, lesion in truth["lesions"].items()
        for visit, state in lesion["visits"].items()
        if state.get("volume_mm3", 0) > 1500 and truth["careless_reader"] is None
    ]
    assert len(large) > 10
    assert all(found == pytest.approx(true, abs=0.03) for found, true in large)


def test_one_site_agrees_and_the_other_does_not(closed: Stage) -> None:
    rows = (
        closed.table("reader_agreement")
        .filter(scope="site", measurement="longest_diameter_mm")
        .select("site", "icc_resolved")
    )
    found = dict(rows.iter_rows())
    assert found["BJCH"] > 0.9
    assert found["SHPH"] < 0.85


def test_what_an_arbiter_settled_no_longer_rests_on_agreement(
    repeated: Stage, opened: Stage
) -> None:
    before, now = (
        s.table("reader_agreement")
        .filter(scope="site", site="SHPH", measurement="volume_mm3")
        .row(0, named=True)
        for s in (repeated, opened)
    )
    assert (now["icc_raw"], now["n"]) == (before["icc_raw"], before["n"])
    assert now["n"] - now["n_resolved"] == opened.table("arbitrations")["n_lesion_visits"].sum()
    assert now["icc_resolved"] > before["icc_resolved"]
    assert 0 < now["arbitrated_share"] <= 0.5

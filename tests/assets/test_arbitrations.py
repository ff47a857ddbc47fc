"""The careless read alone is brought before the arbiter, and stays open until it is decided."""

from __future__ import annotations

from tests.trial import Stage


def test_the_careless_pair_is_open_with_its_triggers(closed: Stage) -> None:
    careless = {patient for patient, truth in closed.trial.everyone() if truth["careless_reader"]}
    rows = closed.table("arbitrations")
    assert set(rows["patient"]) == careless
    assert rows["status"].to_list() == ["open"]
    assert "dice T0 L1" in rows["triggers"][0].to_list()
    assert not [t for t in rows["triggers"][0] if "R1" in t or "R2" in t], "the list stays blinded"


def test_a_decision_settles_it(opened: Stage) -> None:
    row = opened.table("arbitrations").row(0, named=True)
    assert (row["status"], row["accepted_reader"], row["arbiter"]) == ("settled", "R1", "ARBITER1")
    assert (
        row["decided_at"] > opened.table("reads").filter(patient=row["patient"])["locked_at"].max()
    )

"""Clinical states of the simulated cohort: one a CT, dated as it, with unknown left unknown."""

from __future__ import annotations

from tests.trial import Stage


def test_each_state_is_on_the_day_of_a_ct(opened: Stage) -> None:
    states = opened.table("clinical_status")
    scans = opened.table("timepoints").select("patient", status_date="scan_date")
    assert states.height
    assert states.join(scans, on=["patient", "status_date"], how="anti").is_empty()


def test_stability_is_known_or_null_and_never_guessed(opened: Stage) -> None:
    assert set(opened.table("clinical_status")["clinically_stable"]) <= {True, None}

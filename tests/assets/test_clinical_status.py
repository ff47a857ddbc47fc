"""Clinical states of the simulated cohort, whose sites recorded none."""

from __future__ import annotations

from tests.trial import Stage


def test_what_no_site_recorded_is_not_invented(opened: Stage) -> None:
    assert opened.table("clinical_status").is_empty()

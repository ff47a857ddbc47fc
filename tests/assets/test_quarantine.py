"""What each stage refuses now, gathered."""

from __future__ import annotations

from tests.trial import Stage


def test_it_holds_what_the_stages_refuse(grown: Stage) -> None:
    with grown.trial.entered():
        kept = grown.trial.lakehouse.refusals()
    rows = grown.table("quarantine")
    assert rows.sort(rows.columns).equals(kept.select(rows.columns).sort(rows.columns))
    assert set(rows["stage"]) == {"intake", "case_report", "reads"}


def test_what_is_mended_leaves_it(closed: Stage, grown: Stage) -> None:
    """Nothing was mended here, and nothing is told twice."""
    assert grown.table("quarantine").height == closed.table("quarantine").height
    assert grown.trial.told("quarantine")["dagster/row_count"] == grown.table("quarantine").height

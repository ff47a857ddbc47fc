"""Evidence of the simulated cohort: each graded visit has each item, a reason beside each NULL."""

from __future__ import annotations

import polars as pl

from dagster_project.lake.tables import DYNAMIC_EVIDENCE
from tests.trial import Stage


def test_each_visit_of_the_accepted_read_has_each_item(opened: Stage) -> None:
    visits = opened.table("responses").filter(evaluator="accepted").select("patient", "visit")
    found = opened.table("dynamic_evidence")
    items = len(DYNAMIC_EVIDENCE.column("item").allowed or ())
    assert found.height == visits.height * items
    assert found.filter(pl.col("value").is_null())["reason"].null_count() == 0

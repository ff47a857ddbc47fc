"""A refusal is a warning beside the quarantine, counted by site and stage."""

from __future__ import annotations

from checks.quarantine import nothing_refused
from dagster_project.resources import Lakehouse


def test_refusals_are_counted_by_site_and_stage(lakehouse: Lakehouse, fill) -> None:
    assert nothing_refused(lakehouse).passed
    fill(
        "quarantine",
        *(
            {"site": s, "stage": "intake", "item": f"dicom/ file {n}", "reason": "r"}
            for s, n in (("AA", 1), ("AA", 2), ("BB", 1))
        ),
    )
    result = nothing_refused(lakehouse)
    assert not result.passed
    assert {k: v.value for k, v in result.metadata.items()} == {"AA intake": 2, "BB intake": 1}

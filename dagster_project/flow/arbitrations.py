"""What the arbiters of all sites decided."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

if TYPE_CHECKING:
    from dagster_project.resources import Lakehouse


def arbiter_decisions(lakehouse: Lakehouse) -> pl.DataFrame:
    """The arbiters' decisions of all sites, as intake took them in."""
    found = [rows for site in lakehouse.home.sites() if (rows := lakehouse.case_report(site, "arbitrations")).height]
    return pl.concat(found) if found else pl.DataFrame(
        schema={"site": pl.String, "patient": pl.String, "accepted_reader": pl.String, "arbiter": pl.String,
                "decided_at": pl.Datetime("us", "UTC"), "row_number": pl.Int64, "simulated": pl.Boolean})

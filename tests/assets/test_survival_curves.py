"""The curves are those of the study report's patients, of all and of each hospital."""

from __future__ import annotations

import polars as pl

from tests.trial import SITES, Stage


def test_curves_end_with_everybody_counted(opened: Stage) -> None:
    curves = opened.table("survival_curves")
    assert set(curves["site"]) <= {"*", *SITES}
    assert set(curves["population"]) == {"eligible"}
    main = curves.filter(site="*", endpoint="pfs", version="main", origin="first_cycle")
    assert main["n_at_risk"].max() == (main["n_events"] + main["n_censored"]).sum()
    assert main["survival"].is_sorted(descending=True)


def test_hospitals_add_up_to_all(opened: Stage) -> None:
    ended = (
        opened.table("survival_curves")
        .group_by("endpoint", "version", "origin")
        .agg(
            of_all=(pl.col("n_events") + pl.col("n_censored")).filter(pl.col("site") == "*").sum(),
            of_sites=(pl.col("n_events") + pl.col("n_censored"))
            .filter(pl.col("site") != "*")
            .sum(),
        )
    )
    assert (ended["of_all"] == ended["of_sites"]).all()

"""Further figures of the two readers come from the masks and cases that are in the lake."""

from __future__ import annotations

import polars as pl
import pytest

from tests.trial import SITES, Stage


def figure(stage: Stage, name: str, **where: str) -> pl.DataFrame:
    return stage.table("reader_figures").filter(pl.col("statistic") == name).filter(**where)


def test_the_form_that_the_gate_asks_for_is_the_one_that_it_got(closed: Stage) -> None:
    rows = figure(closed, "ICC(2,1)", scope="cohort", measurement="volume_mm3")
    judged = closed.table("reader_agreement").filter(scope="cohort", measurement="volume_mm3")
    assert rows["value"].to_list() == pytest.approx(judged["icc_raw"].to_list())
    assert (
        figure(closed, "ICC(2,1) by patient", scope="cohort", measurement="volume_mm3")["n"].item()
        == 8
    )


def test_careless_outlines_lie_far_from_careful_ones(closed: Stage) -> None:
    careless = closed.trial.pseudonym(SITES[1], 0)
    far = (
        figure(closed, "hd95_mm", scope="lesion")
        .with_columns(careless=pl.col("patient") == careless)
        .group_by("careless")
        .agg(pl.col("value").median())
    )
    median = dict(far.iter_rows())
    assert median[True] > 2 * median[False] > 0


def test_who_was_overruled_and_how_often_cases_arise_is_watched(
    closed: Stage, opened: Stage
) -> None:
    assert figure(opened, "adjudication_rate", site=SITES[1])["value"].to_list() == [0.25]
    assert dict(
        figure(closed, "disagreement_index", site=SITES[1]).select("reader", "value").iter_rows()
    ) == {"R1": 0.0, "R2": 0.0}
    assert dict(
        figure(opened, "disagreement_index", site=SITES[1]).select("reader", "value").iter_rows()
    ) == {"R1": 0.0, "R2": 0.25}
    drift = figure(opened, "drift_percent", site=SITES[1])
    assert drift["value"].sum() == pytest.approx(0, abs=1e-9), (
        "what one reader draws larger the other draws smaller"
    )

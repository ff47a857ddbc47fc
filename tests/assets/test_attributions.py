"""Every patient of whom the chosen model says something has what it rests on."""

from __future__ import annotations

import numpy as np
import polars as pl

from tests.trial import Stage

KEY = ["site", "patient", "task", "model", "model_version"]


def test_they_are_of_the_model_that_holds_an_alias_and_of_all_whom_it_predicts(opened: Stage) -> None:
    chosen = opened.table("predictions").drop_nulls("alias").select(KEY).sort(KEY)
    assert chosen.height > 6, "patients held out and patients outside the cohort"
    assert opened.table("attributions").select(KEY).unique().sort(KEY).equals(chosen)


def test_one_model_differs_between_patients_by_their_blocks_alone(grown: Stage) -> None:
    """Outside the cohort one model predicts all: logit less the sum over blocks is its baseline, the same for each."""
    rows = grown.table("predictions").filter(pl.col("fold").is_null())
    blocks = grown.table("attributions").filter(scope="block").group_by(KEY).agg(pl.col("value").sum())
    both = rows.join(blocks, on=KEY)
    assert both.height == rows.height > 1
    baseline = np.log(both["probability"] / (1 - both["probability"])) - both["value"]
    assert np.ptp(baseline.to_numpy()) < 1e-6

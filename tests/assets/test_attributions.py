"""Every patient of whom the chosen model says something has what it is based on."""

from __future__ import annotations

from tests.trial import Stage

KEY = ["site", "patient", "task", "model", "model_version"]


def test_they_are_of_the_model_that_holds_an_alias_and_of_all_whom_it_predicts(
    opened: Stage,
) -> None:
    chosen = opened.table("predictions").drop_nulls("alias").select(KEY).sort(KEY)
    assert chosen.height >= 6, "those that a fold held out, and whoever is outside the cohort"
    assert opened.table("attributions").select(KEY).unique().sort(KEY).equals(chosen)

"""Predictive values at the share in practice: published intervals, weights, draws, invariants."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import logit

from dagster_project.statistics.predictive_values import (
    outcome_weights,
    predictive_values_in_practice,
)
from models.evaluation.evaluation import evaluate

GOLDEN = pl.read_csv(Path(__file__).parent / "golden" / "predictive_values.csv")


def calls(found: int, responders: int, cleared: int, others: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels and calls of such counts."""
    labels = np.arange(responders + others) < responders
    return labels, np.r_[np.arange(responders) < found, np.arange(others) >= cleared]


@pytest.mark.parametrize(
    "row", GOLDEN.to_dicts(), ids=lambda row: f"{row['figure']} {row['method']}"
)
def test_1_bounds_are_the_published_ones(row):
    """Where a rate is 1 the bounds hold the figure, which the published ones do not."""
    e = predictive_values_in_practice(
        *calls(row["found"], row["responders"], row["cleared"], row["others"]), row["share"]
    )[row["figure"]]
    assert (e.value, e.lower) == pytest.approx((row["value"], row["lower"]), abs=1e-6)
    assert e.upper == pytest.approx(max(row["upper"], row["value"]), abs=1e-6)


def test_2_the_figures_are_shares_of_those_called_under_the_weights_of_enrolment_by_outcome():
    y, called = calls(180, 250, 200, 250)
    weights = np.array(outcome_weights(y.tolist(), 0.2))
    found = predictive_values_in_practice(y, called, 0.2)
    assert found["ppv_in_practice"].value == pytest.approx(
        np.average(y[called], weights=weights[called])
    )
    assert found["npv_in_practice"].value == pytest.approx(
        np.average(~y[~called], weights=weights[~called])
    )


def test_3_bounds_reach_as_far_as_calls_drawn_again_spread():
    """A parametric bootstrap.

    Its spread is compared on the scale of the bounds, its quantiles where they are used.
    """
    y, called = calls(180, 250, 200, 250)
    rng = np.random.default_rng(5)
    se, sp = (
        rng.binomial(250, 180 / 250, 200_000) / 250,
        rng.binomial(250, 200 / 250, 200_000) / 250,
    )
    ppv, npv = 0.48 * se / (0.48 * se + 0.52 * (1 - sp)), 0.52 * sp / (0.52 * sp + 0.48 * (1 - se))
    for drawn, e in zip(
        (ppv, npv), predictive_values_in_practice(y, called, 0.48).values(), strict=True
    ):
        assert logit(e.upper) - logit(e.lower) == pytest.approx(
            2 * 1.959964 * logit(drawn).std(), rel=0.015
        )
        assert [e.lower, e.upper] == pytest.approx(
            np.quantile(drawn, [0.025, 0.975]).tolist(), abs=0.006
        )


def test_4_bounds_hold_the_truth_about_as_often_as_they_say():
    rng, held = np.random.default_rng(8), 0
    truth = 0.48 * 0.7 / (0.48 * 0.7 + 0.52 * 0.25)
    for _ in range(400):
        e = predictive_values_in_practice(
            *calls(rng.binomial(60, 0.7), 60, rng.binomial(60, 0.75), 60), 0.48
        )["ppv_in_practice"]
        held += e.lower <= truth <= e.upper
    assert 0.92 < held / 400 < 0.98


@given(st.integers(0, 30), st.integers(0, 40), st.floats(0.02, 0.98))
def test_5_at_any_counts_the_bounds_hold_the_figure_and_classes_may_be_exchanged(
    found, cleared, share
):
    y, called = calls(found, 30, cleared, 40)
    one, two = (
        predictive_values_in_practice(y, called, share),
        predictive_values_in_practice(~y, ~called, 1 - share),
    )
    for e, mirrored in (
        (one["ppv_in_practice"], two["npv_in_practice"]),
        (one["npv_in_practice"], two["ppv_in_practice"]),
    ):
        assert (e.value is None) == bool(e.reason)
        assert e.value is None or 0 <= e.lower <= e.value <= e.upper <= 1
        assert e.value == pytest.approx(mirrored.value)


@given(st.integers(1, 29), st.integers(1, 39))
def test_6_at_the_cohorts_own_share_they_are_the_cohorts(found, cleared):
    y, called = calls(found, 30, cleared, 40)
    own, plain = (
        predictive_values_in_practice(y, called, 30 / 70),
        evaluate(y, called * 1.0, called, ["A"] * 70, folds=5),
    )
    assert (own["ppv_in_practice"].value, own["npv_in_practice"].value) == pytest.approx(
        (plain.ppv.value, plain.npv.value)
    )


def test_7_nobody_called_and_an_impossible_share_are_said():
    y, called = calls(0, 5, 5, 5)
    assert (
        predictive_values_in_practice(y, called, 0.4)["ppv_in_practice"].reason
        == "nobody is called so"
    )
    for share in (0.0, 1.0, 48.0):
        with pytest.raises(
            ValueError, match=rf"share of responders is {share}: give a share between 0 and 1"
        ):
            predictive_values_in_practice(y, called, share)

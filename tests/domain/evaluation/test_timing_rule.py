"""A threshold is used only where it beats the calendar on patients that it was not fitted on."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dagster_project.domain.evaluation.timing_rule import (
    NOT_BEATEN,
    best_threshold,
    fit_rule,
    is_signed,
    net_values,
)
from tests.domain.courses import STUDY

RATE = 4.0


def marked(n, auc, *, found=0.5, extra=0.4, seed=1):
    """Markers of an AUC for progressions found earlier against extra CTs, and their values."""
    random = np.random.default_rng(seed)
    kind = random.random(n)
    is_found, is_extra = kind < found, (kind >= found) & (kind < found + extra)
    apart = 2**0.5 * NormalDist().inv_cdf(auc)
    markers = random.normal(size=n) + apart * is_found
    return markers, net_values(is_found, is_extra, RATE), np.arange(n) % 10


def test_values_are_progressions_found_less_extra_cts_at_the_rate():
    found, extra = np.array([True, False, False]), np.array([False, True, False])
    assert net_values(found, extra, 2.0).tolist() == [1.0, -0.5, 0.0]


def test_a_marker_that_tells_moves_those_below_its_threshold():
    markers, values, folds = marked(400, 0.95, found=0.15, extra=0.8)
    rule = fit_rule(markers, values, folds, RATE)
    early = rule.scans_early(markers)
    assert rule.threshold is not None
    assert not early.all()
    assert rule.gain.lower > 0
    assert values[early].sum() > values.sum()


@pytest.mark.parametrize("seed", range(20))
def test_a_marker_that_tells_nothing_changes_no_advice(seed):
    markers, values, folds = marked(150, 0.5, seed=seed)
    rule = fit_rule(markers, values, folds, RATE)
    assert rule.threshold is None
    assert rule.scans_early(markers).all()


def test_without_an_extra_ct_the_calendar_cannot_be_beaten():
    markers, _, folds = marked(100, 0.9)
    rule = fit_rule(markers, np.ones(100), folds, RATE)
    assert (rule.threshold, rule.gain.reason) == (None, NOT_BEATEN)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.tuples(st.integers(0, 5), st.sampled_from([-0.25, 0.0, 1.0])), min_size=1, max_size=30
    )
)
def test_the_threshold_is_the_best_of_all_that_can_be_tried(rows):
    markers, values = np.array([r[0] for r in rows], float), np.array([r[1] for r in rows])
    chosen = values[markers >= best_threshold(markers, values)].sum()
    tried = [values.sum(), *(values[markers >= c].sum() for c in markers)]
    assert chosen == pytest.approx(max(tried))


def test_the_digest_is_of_threshold_and_rate():
    markers, values, folds = marked(400, 0.95, found=0.15, extra=0.8)
    one, two = (fit_rule(markers, values, folds, rate).digest for rate in (4.0, 5.0))
    assert one != two
    assert one == fit_rule(markers, values, folds, 4.0).digest


def test_a_rate_needs_who_signed_it_and_when():
    risk = STUDY.section("risk")
    assert not is_signed(risk), "the protocol that is shipped has a placeholder"
    assert not is_signed({**risk, "rate_signed_by": "PI"})
    assert is_signed({**risk, "rate_signed_by": "PI", "rate_signed_on": "2026-05-01"})

"""The quantile of every interval."""

from __future__ import annotations

import pytest
from scipy.stats import norm

from dagster_project.statistics.estimate import CONFIDENCE, TAIL, normal_quantile


@pytest.mark.parametrize("level", [0.5, 0.9, 0.95, 0.99])
def test_the_quantile_leaves_half_of_the_rest_above(level):
    assert norm.sf(normal_quantile(level)) == pytest.approx((1 - level) / 2, rel=1e-12)


def test_the_tail_is_what_the_level_leaves():
    assert pytest.approx(1 - CONFIDENCE) == 2 * TAIL

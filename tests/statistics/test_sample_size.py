"""Patients needed: the example of pmsampsize, and intervals of simulated cohorts."""

from __future__ import annotations

import numpy as np
import pytest

from dagster_project.statistics.roc import auc_of_folds
from dagster_project.statistics.sample_size import expected_auc_reach, greatest_r2, sample_size

RNG = np.random.default_rng(9)


def test_1_sample_size_is_that_of_pmsampsize():
    """The example of pmsampsize's manual: 24 parameters, share .174, R² .288."""
    assert [c.needed for c in sample_size(24, 0.174, 0.288)] == [623, 662, 221]
    assert greatest_r2(0.5) == pytest.approx(0.75)
    assert sample_size(10, 0.5)[2].needed == 385


def test_2_the_expected_reach_is_that_of_simulated_intervals():
    labels = np.arange(500) % 2 == 0
    reaches = [
        (e.upper - e.lower) / 2
        for e in (auc_of_folds(labels, RNG.normal(labels * 0.9539, 1), 5) for _ in range(20))
    ]
    assert expected_auc_reach(0.75, 250, 250, 5) == pytest.approx(np.mean(reaches), abs=0.003)

"""Net benefit by hand, and its bounds: by other code, by simulation, and at their edges."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest, norm

from dagster_project.statistics.cross_fitting import fold_variance
from dagster_project.statistics.decision_curve import net_benefit


def test_net_benefit_by_hand():
    labels, p = np.array([True, True, False, False, False]), np.array([0.9, 0.3, 0.6, 0.2, 0.1])
    (row,) = net_benefit(labels, p, 5, [0.25])
    assert row["model"] == pytest.approx(2 / 5 - 1 / 5 * (0.25 / 0.75))
    assert row["all"] == pytest.approx(2 / 5 - 3 / 5 / 3)


def test_bounds_are_put_together_from_scipys_of_both_rates():
    labels = np.arange(100) < 40
    p = np.where(labels, np.arange(100) < 30, np.arange(100) < 52).astype(float)
    (row,) = net_benefit(labels, p, 5, [0.2])
    (l1, u1), (l2, u2) = (
        binomtest(x, n).proportion_ci(method="wilson") for x, n in ((30, 40), (12, 60))
    )
    gain, loss, wider = 0.4, 0.25 * 0.6, np.sqrt(fold_variance(5))
    below = np.sqrt((gain * (0.75 - l1)) ** 2 + (loss * (u2 - 0.2)) ** 2)
    above = np.sqrt((gain * (u1 - 0.75)) ** 2 + (loss * (0.2 - l2)) ** 2)
    assert row["model"] - row["lower"] == pytest.approx(wider * below)
    assert row["upper"] - row["model"] == pytest.approx(wider * above)


@pytest.mark.parametrize(("patients", "threshold"), [(60, 0.1), (60, 0.5), (200, 0.9)])
def test_of_a_given_model_bounds_without_the_factor_for_folds_cover_what_they_say(
    patients, threshold
):
    rng = np.random.default_rng(patients)
    labels, odds, held = np.arange(patients) % 2 == 0, threshold / (1 - threshold), []
    cutoff = np.log(odds) + 0.5
    truth = (norm.sf(cutoff - 1) - odds * norm.sf(cutoff)) / 2
    for _ in range(500):
        logits = rng.normal(labels * 1.0, 1) - 0.5
        (row,) = net_benefit(labels, 1 / (1 + np.exp(-logits)), 5, [threshold])
        low, high = (
            row["model"] + (row[end] - row["model"]) / np.sqrt(fold_variance(5))
            for end in ("lower", "upper")
        )
        held.append(low <= truth <= high)
    assert 0.925 <= np.mean(held) <= 0.98


def test_where_all_or_nobody_is_called_there_is_still_a_band():
    labels = np.arange(20) < 10
    for p in (np.ones(20), np.zeros(20)):
        (row,) = net_benefit(labels, p, 5, [0.3])
        assert row["lower"] <= row["model"] <= row["upper"]
        assert row["upper"] - row["lower"] > 0.05

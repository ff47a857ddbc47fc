"""Net benefit by hand."""

from __future__ import annotations

import numpy as np
import pytest

from dagster_project.statistics.decision_curve import net_benefit


def test_net_benefit_by_hand():
    labels, p = np.array([True, True, False, False, False]), np.array([0.9, 0.3, 0.6, 0.2, 0.1])
    (row,) = net_benefit(labels, p, [0.25])
    assert row["model"] == pytest.approx(2 / 5 - 1 / 5 * (0.25 / 0.75))
    assert row["all"] == pytest.approx(2 / 5 - 3 / 5 / 3)

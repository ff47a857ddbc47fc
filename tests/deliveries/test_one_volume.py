"""A series is one volume in Hounsfield units, or it is refused by tag.

Nothing is measured on a refused series.
"""

from __future__ import annotations

import pytest

from tests.deliveries.conftest import Deliveries

pytestmark = pytest.mark.real_data


def test_two_kernels_interleaved_in_one_series_are_refused(landed: Deliveries) -> None:
    assert landed.reads("B01") == []
    (scan,) = landed.refused("B01", "scans")
    assert "several volumes in one series, told apart by (0018,1210) ConvolutionKernel" in scan
    assert "send each as its own series" in scan
    assert any("refers to no series" in reason for reason in landed.refused("B01", "reads"))


def test_slices_without_rescale_are_refused_one_by_one(landed: Deliveries) -> None:
    assert landed.reads("B10", "900110") == []
    refused = [reason for reason in landed.refused("B10", "intake") if "Rescale" in reason]
    assert len(refused) == 30
    assert all("required element Rescale" in reason for reason in refused)


def test_slices_that_each_have_their_own_rescale_are_measured(landed: Deliveries) -> None:
    (read,) = landed.reads("B10", "900111")
    assert read["volume_mm3"] == pytest.approx(3028.5, abs=0.1)
    assert read["mean_hu"] == pytest.approx(40.2, abs=0.5)

"""Deliveries that go wrong never end the run."""

from __future__ import annotations

import pytest

from tests.deliveries.conftest import Deliveries

pytestmark = pytest.mark.real_data


def test_the_run_of_all_cases_ends_with_0(landed: Deliveries) -> None:
    assert landed.exit_code == 0, landed.output

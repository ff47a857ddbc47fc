"""Where the real data lie, and what all tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
SHARED_DATA = Path(os.environ.get("LAKEHOUSE_SHARED_DATA", REPOSITORY.parent / "shared" / "data"))
"""Real data made by others; where the folder is absent the tests on it are not collected, and the header says so."""


def pytest_report_header() -> str:
    """Say whether the real data are there."""
    return f"real data: {'present' if SHARED_DATA.is_dir() else 'ABSENT, the tests on it are not collected'}"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out tests marked `real_data` where the data are absent."""
    if SHARED_DATA.is_dir():
        return
    absent = [item for item in items if item.get_closest_marker("real_data")]
    config.hook.pytest_deselected(items=absent)
    items[:] = [item for item in items if item not in absent]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data."""
    return SHARED_DATA

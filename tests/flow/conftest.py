"""A lake of its own for tests of single steps: a site of one scan per test."""

from __future__ import annotations

import itertools

import pytest

from dagster_project.resources import Lakehouse
from tests.flow.site import Site


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Lakehouse:
    """One lake; each test has a site of its own in it."""
    return Lakehouse(root=str(tmp_path_factory.mktemp("flow")))


NUMBERS = itertools.count()


@pytest.fixture
def site(shared: Lakehouse, monkeypatch: pytest.MonkeyPatch) -> Site:
    monkeypatch.setenv("LAKEHOUSE_WORKERS", "0")
    made = Site(shared, f"SITE{next(NUMBERS)}")
    made.folder.mkdir(parents=True)
    (made.folder / "0001.dcm").write_bytes(b"slice")
    return made

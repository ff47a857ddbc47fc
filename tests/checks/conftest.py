"""One lake for all tests of checks; each leaves empty what it filled."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from dagster_project.lake.schema import empty
from dagster_project.lake.tables import BY_NAME
from dagster_project.resources import Lakehouse
from tests.domain.records import table


@pytest.fixture(scope="session")
def lakehouse(tmp_path_factory: pytest.TempPathFactory) -> Lakehouse:
    """The resource of assets and checks, on an empty lake."""
    return Lakehouse(root=str(tmp_path_factory.mktemp("checks")))


@pytest.fixture
def fill(lakehouse: Lakehouse) -> Iterator[Callable[..., None]]:
    """Make rows the content of a table; what a row does not say is filled as declared."""
    filled = []

    def write(name: str, *rows: dict[str, object]) -> None:
        filled.append(name)
        lakehouse.lake.replace(name, table(name, *rows))

    yield write
    for name in filled:
        lakehouse.lake.replace(name, empty(BY_NAME[name]))

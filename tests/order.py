"""A pytest plugin for any order of tests: `--shuffle SEED` draws one.

What a test draws does not depend on the tests before it.
"""

from __future__ import annotations

import random
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

AS_LOADED: dict[str, Any] = {}
"""State of each test module's generator `RNG` once the module was loaded."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--shuffle SEED`: another order, the same at every run with this seed."""
    parser.addoption(
        "--shuffle",
        type=int,
        metavar="SEED",
        help="run files, and the tests of a file, in an order drawn with this seed",
    )


def pytest_report_header(config: pytest.Config) -> str:
    """Name the order, so that a run can be repeated."""
    seed = config.getoption("shuffle")
    return f"order: {'as written' if seed is None else f'shuffled with seed {seed}'}"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Shuffle where asked; and note where the generator of each module stands."""
    if config.getoption("shuffle") is not None:
        items[:] = shuffled(items, random.Random(config.getoption("shuffle")))
    for module in {item.getparent(pytest.Module).obj for item in items}:
        if (generator := _generator(module)) is not None:
            AS_LOADED[module.__name__] = generator.bit_generator.state


def shuffled(items: list[pytest.Item], draw: random.Random) -> list[pytest.Item]:
    """A file's tests stay together, since they share what is made once for the file."""
    files: dict[Path, list[pytest.Item]] = {}
    for item in items:
        files.setdefault(item.path, []).append(item)
    found = list(files.values())
    draw.shuffle(found)
    for tests in found:
        draw.shuffle(tests)
    return [item for tests in found for item in tests]


@pytest.hookimpl(tryfirst=True)
def pytest_fixture_setup(fixturedef: pytest.FixtureDef, request: pytest.FixtureRequest) -> None:
    """A fixture of a file draws from the start, whichever test asks for it first."""
    if fixturedef.scope == "module":
        _restart(request.module)


@pytest.fixture(autouse=True)
def draws_from_the_start(request: pytest.FixtureRequest) -> None:
    """Each test draws from where its module left the generator `RNG`."""
    _restart(request.module)


def _generator(module: ModuleType) -> np.random.Generator | None:
    found = getattr(module, "RNG", None)
    return found if isinstance(found, np.random.Generator) else None


def _restart(module: ModuleType) -> None:
    if module.__name__ in AS_LOADED and (generator := _generator(module)) is not None:
        generator.bit_generator.state = AS_LOADED[module.__name__]

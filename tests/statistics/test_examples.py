"""The examples in the docstrings give what they print."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import dagster_project.statistics

MODULES = sorted(
    module.name for module in pkgutil.iter_modules(dagster_project.statistics.__path__)
)


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    module = importlib.import_module(f"dagster_project.statistics.{name}")
    assert doctest.testmod(module).failed == 0

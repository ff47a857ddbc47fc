"""The examples in the docstrings give what they print."""

import doctest
import importlib
import pkgutil

import pytest

import dagster_project.federated

MODULES = sorted(m.name for m in pkgutil.iter_modules(dagster_project.federated.__path__))


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    module = importlib.import_module(f"dagster_project.federated.{name}")
    assert doctest.testmod(module).failed == 0

"""The examples in the docstrings give what they print."""

import doctest
import importlib
import pkgutil

import pytest

import dagster_project.federated

PREFIX = "dagster_project.federated."
OF_NVFLARE = {f"{PREFIX}engine.{name}" for name in ("controller", "executor", "gate", "launcher")}
"""They have no examples, and NVFlare draws random numbers where it is imported."""

FOUND = {m.name for m in pkgutil.walk_packages(dagster_project.federated.__path__, PREFIX)}
MODULES = sorted(FOUND - OF_NVFLARE)


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    module = importlib.import_module(name)
    assert doctest.testmod(module).failed == 0

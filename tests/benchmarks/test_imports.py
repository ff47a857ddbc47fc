"""Every benchmark's module can be imported: what it takes from the product is still there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
OTHER_ENVIRONMENT = {"benchmarks.accountant"}
"""Needs dp-accounting, whose pins do not agree with ours."""

IMPORT_EACH = "import importlib, sys; [importlib.import_module(name) for name in sys.argv[1:]]"


def test_every_benchmark_is_imported():
    names = {
        ".".join(file.relative_to(REPOSITORY).with_suffix("").parts)
        for file in (REPOSITORY / "benchmarks").rglob("*.py")
        if not file.name.startswith("__")
    }
    ran = subprocess.run(
        [sys.executable, "-c", IMPORT_EACH, *sorted(names - OTHER_ENVIRONMENT)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr

"""Faults of a night, each counted against an undisturbed home.

python -m benchmarks.faults kills [--home DIR] [--seed 1] [--of STAGE=NUMBER …]
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from pathlib import Path

os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import dagster_project.definitions  # noqa: F401 - what is forked has it already
from benchmarks.faults import kills

KILLS = {"intake": 300, "imaging": 150, "cohort": 150, "training": 80, "publication": 200, "pages": 100, "whole run": 40}


def main() -> None:
    """Print a table, and end with 1 where anything went wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("kills",))
    parser.add_argument("--home", type=Path)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--of", nargs="*", default=[f"{stage}={number}" for stage, number in KILLS.items()])
    arguments = parser.parse_args()
    folder = arguments.home or Path(tempfile.mkdtemp())
    folder.mkdir(parents=True, exist_ok=True)
    wanted = {stage: int(number) for stage, _, number in (one.partition("=") for one in arguments.of)}
    found = kills.run(folder, wanted, arguments.seed)
    print(kills.table(found))
    if not arguments.home:
        shutil.rmtree(folder)
    sys.exit(not all(count.passed for count in found.values()))


if __name__ == "__main__":
    main()

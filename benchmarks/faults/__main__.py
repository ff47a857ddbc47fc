"""Faults of a night, each counted against an undisturbed home.

    python -m benchmarks.faults kills     [--home DIR] [--seed 1] [--rounds 2] [--of STAGE=NUMBER …]
    python -m benchmarks.faults disk      [--home DIR] [--of STAGE=NUMBER …]
    python -m benchmarks.faults queries   [--home DIR] [--number 10000] [--rounds 2]
    python -m benchmarks.faults network   [--home DIR]
    python -m benchmarks.faults listener  [--home DIR] [--minutes 60]

Each prints a table and ends with 1 where anything went wrong. `disk` and `network` need root.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import dagster_project.definitions  # noqa: F401 - what is forked has it already
from benchmarks.faults import full_disk, kills, listener, network, queries

KILLS = {
    "intake": 300,
    "imaging": 150,
    "cohort": 150,
    "training": 80,
    "publication": 200,
    "pages": 100,
    "whole run": 40,
}
SIZES = {"intake": 40, "imaging": 40, "cohort": 40, "training": 20, "publication": 40, "pages": 20}


def main() -> None:
    """Parse, try, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("kills", "disk", "queries", "network", "listener"))
    parser.add_argument("--home", type=Path)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--number", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--of", nargs="*")
    arguments = parser.parse_args()
    folder = arguments.home or Path(tempfile.mkdtemp())
    folder.mkdir(parents=True, exist_ok=True)
    passed = _try(arguments, folder)
    if not arguments.home:
        shutil.rmtree(folder)
    sys.exit(not passed)


def _try(arguments: argparse.Namespace, folder: Path) -> bool:
    if arguments.what == "kills":
        killed = kills.run(folder, _numbers(arguments.of, KILLS), arguments.seed, arguments.rounds)
        print(kills.table(killed))
        return all(count.passed for count in killed.values())
    if arguments.what == "disk":
        filled = full_disk.run(folder, _numbers(arguments.of, SIZES))
        print(full_disk.table(filled))
        return all(count.passed for count in filled.values())
    if arguments.what == "queries":
        answers, ended = queries.run(folder, arguments.number, arguments.rounds)
        print(queries.table(answers, ended), *answers.errors[:5], sep="\n")
        return not (answers.errors or answers.orphans or any(map(any, ended.values())))
    if arguments.what == "listener":
        sent = listener.run(folder, arguments.minutes, arguments.seed)
        print(listener.table(sent))
        return sent.passed
    trace = network.run(folder)
    print(network.table(trace), *trace.outside[:10], sep="\n")
    return trace.passed


def _numbers(given: list[str] | None, usual: Mapping[str, int]) -> dict[str, int]:
    return (
        {stage: int(number) for stage, _, number in (one.partition("=") for one in given)}
        if given
        else dict(usual)
    )


if __name__ == "__main__":
    main()

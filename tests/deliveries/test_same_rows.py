"""The same delivery gives the same rows in every table.

It does so whatever the seed of Python's hashes, the order and names of the files, the number of
workers, and what is killed or interrupted meanwhile.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable
from itertools import zip_longest
from pathlib import Path

import duckdb
import polars as pl
import pytest

from dagster_project.lake.store import open_lake
from dagster_project.lake.tables import TABLES
from dagster_project.simulation.cohort import simulate_cohort
from tests.conftest import REPOSITORY
from tests.processes import Run
from tests.test_interrupted import stops
from tests.trial import OF_THE_RUN, SETTINGS, SMALLEST, Trial, write_protocol

CASES = REPOSITORY.parent / "shared" / "cases"

ODD = ("03", "08")
"""Deliveries whose contours name several series, or are half bad.

Which image they are on once depended on the seed.
"""

SNAPSHOTS = "snapshot"
"""Counts the transactions of a lake.

A run that was interrupted has had other ones, and only there it may differ.
"""

UNDISTURBED, IDLE_KILLED, INTERRUPTED = (
    "seed 0, one worker",
    "seed 1, two workers, other order, an idle worker killed",
    "seed 12345, two workers, interrupted, a busy worker killed",
)


def _other_order(landing: Path) -> None:
    """DICOM under other names and times, made last to first: a folder lists it in another order."""
    for folder in sorted({f.parent for f in landing.rglob("*.dcm")}):
        for number, file in enumerate(sorted(folder.glob("*.dcm"), reverse=True)):
            copy = folder / f"z{number:04d}.dcm"
            copy.write_bytes(file.read_bytes())
            file.unlink()
            os.utime(copy, (1_600_000_000 + number, 1_600_000_000 + number))


def _ends_well(run: Run) -> None:
    code, said = run.end()
    assert code == 0, said


def _undisturbed(trial: Trial) -> None:
    _ends_well(Run(trial, "run", "--require-model", PYTHONHASHSEED="0", LAKEHOUSE_WORKERS="1"))


def _idle_worker_killed(trial: Trial) -> None:
    """Between two steps, when all have ended what they had."""
    _other_order(trial.home.landing)
    run = Run(trial, "run", "--require-model", PYTHONHASHSEED="1")
    run.wait_for("cohort")
    run.workers()[0].kill()
    _ends_well(run)


def _published(trial: Trial) -> dict[str, str]:
    files = sorted(p for p in trial.home.published.rglob("*") if p.is_file())
    return {
        str(p.relative_to(trial.root)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files
    }


def _interrupted(trial: Trial) -> None:
    """Interrupt a run twice, then let it run to the end.

    Ctrl-C comes while lesions are measured; then a busy worker is killed, and SIGTERM comes while
    pairs are compared.
    """
    with trial.entered():
        open_lake(trial.home).close()
    assert trial.call("publish").exit_code == 0
    before = _published(trial)
    for number, words in ((signal.SIGINT, "lesions measured"), (signal.SIGTERM, "pairs compared")):
        run = Run(trial, PYTHONHASHSEED="12345")
        if number == signal.SIGTERM:
            run.wait_for("lesions measured")
            run.busy_worker().kill()
        run.wait_for(words)
        if number == signal.SIGINT:  # a terminal's Ctrl-C reaches the whole group
            os.killpg(run.process.pid, number)
        else:
            run.process.terminate()
        stops(run, 128 + number, "site" if number == signal.SIGINT else "cohort")
        assert _published(trial) == before, (
            "what was published stays, and nothing half-written is beside it"
        )
    _ends_well(Run(trial, "run", "--require-model", PYTHONHASHSEED="12345"))


RUNS = {UNDISTURBED: _undisturbed, IDLE_KILLED: _idle_worker_killed, INTERRUPTED: _interrupted}

Tables = dict[str, pl.DataFrame]


def _rows(trial: Trial) -> Tables:
    """Every table and view of the published file, as it lies there."""
    with duckdb.connect(str(trial.home.published / "lakehouse.duckdb"), read_only=True) as store:
        names = store.execute(
            "SELECT table_name FROM duckdb_tables() "
            "UNION ALL SELECT view_name FROM duckdb_views() WHERE NOT internal"
        ).fetchall()
        return {
            name: store.execute(f'SELECT * FROM "{name}"').pl().drop(OF_THE_RUN, strict=False)
            for (name,) in names
        }


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tables]:
    """What three runs published of one delivery.

    They share the key medium and the crosswalk: pseudonyms are drawn by chance, and stand in every
    file of the vault.
    """
    folder = tmp_path_factory.mktemp("same")
    protocol = write_protocol(folder / "study.toml", SETTINGS)
    trials = {name: Trial(folder / f"home{number}", protocol) for number, name in enumerate(RUNS)}
    first, *others = trials.values()
    simulate_cohort(first.home.make().landing, folder / "truth", SMALLEST)
    for case in ODD if CASES.is_dir() else ():
        subprocess.run(
            [sys.executable, "build.py", case, str(first.home.landing)],
            cwd=CASES,
            check=True,
            capture_output=True,
        )
    _undisturbed(first)
    for trial in others:
        trial.root.mkdir()
        for part in ("landing", "crosswalk", "throwaway-key-medium"):
            shutil.copytree(first.root / part, trial.root / part)
        trial.home.make()
    for name in (IDLE_KILLED, INTERRUPTED):
        RUNS[name](trials[name])
    return {name: _rows(trial) for name, trial in trials.items()}


@pytest.mark.parametrize("name", [IDLE_KILLED, INTERRUPTED])
def test_every_table_has_the_same_rows(found: dict[str, Tables], name: str) -> None:
    left_out = SNAPSHOTS if name == INTERRUPTED else ()
    first, other = (
        {t: _comparable(rows, left_out) for t, rows in found[one].items()}
        for one in (UNDISTURBED, name)
    )
    assert first.keys() == other.keys() >= {table.name for table in TABLES}
    differing = {
        t: [pair for pair in zip_longest(first[t], other[t]) if pair[0] != pair[1]][:2]
        for t in first
        if first[t] != other[t]
    }
    assert differing == {}


def _comparable(rows: pl.DataFrame, left_out: Iterable[str]) -> list[str]:
    return sorted(repr(row) for row in rows.drop(left_out, strict=False).iter_rows())


def test_the_delivery_fills_every_part_of_the_flow(found: dict[str, Tables]) -> None:
    """Else the comparison would say nothing of what is empty."""
    empty = {name for name, rows in found[UNDISTURBED].items() if not rows.height}
    agreed = {"arbitrations", "reconciliation", "board_decisions"}
    federated = {"federated_runs", "federated_results", "privacy_ledger"}
    assert empty <= agreed | federated, (
        "the readers agree, rows and images belong together, no board has decided, "
        "and nothing is trained over sites"
    )

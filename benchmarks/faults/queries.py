"""Two runs, the schedule's run and an analyst at once.

No query fails, and each sees one publication whole.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import duckdb

from benchmarks.faults.kills import prepare
from benchmarks.faults.setting import in_process, restore
from benchmarks.faults.viewing import SECONDS
from dagster_project.simulation.cohort import add_scan
from tests.trial import SITES, SMALLEST, Trial

QUESTIONS = (
    "SELECT count(*), count(DISTINCT patient) FROM scans",
    (
        "SELECT (SELECT count(*) FROM reads r WHERE NOT EXISTS "
        "(SELECT 1 FROM scans s WHERE s.scan = r.scan AND s.site = r.site)), "
        "(SELECT count(*) FROM reads)"
    ),
    "SELECT site, count(*) FROM radiomic_features GROUP BY ALL ORDER BY ALL",
    (
        "SELECT patient, visit, overall_response FROM responses "
        "WHERE evaluator = 'accepted' ORDER BY ALL"
    ),
    "SELECT count(*) FROM dhi d JOIN outcomes o USING (site, patient)",
)
ORPHANS = 1
"""Of the second question the first figure has to be 0: reads and scans are of one snapshot."""


PAUSE = 0.2
"""Seconds between two turns of questions while runs go on."""


@dataclass
class Answers:
    """What an analyst's session saw."""

    queries: int = 0
    errors: list[str] = field(default_factory=list)
    orphans: int = 0
    seen: set[str] = field(default_factory=set)
    slowest: float = 0.0


def run(root: Path, number: int, rounds: int) -> tuple[Answers, dict[str, list[int]]]:
    """Ask at least `number` questions while three processes run, each so many times.

    1. Runs of one home wait for each other, by their locks; none is refused.
    2. A run is started anew when it ends, until it has run `rounds` times.
    3. Questions come in turns with a pause in between, which an analyst needs too, until all have
       been asked and all runs have ended.

    Returns the answers and the exit codes of the runs.
    """
    trial, snapshots, _ = prepare(root)
    restore(snapshots["end"], trial.root)
    in_process(partial(_one_more_scan, trial), root / "log")
    runs = {name: _started(trial, name, root) for name in ("one", "other", "schedule")}
    ended: dict[str, list[int]] = {name: [] for name in runs}
    answers, deadline = Answers(), time.monotonic() + 6 * rounds * SECONDS
    held = duckdb.connect(str(trial.home.published / "lakehouse.duckdb"), read_only=True)
    while answers.queries < number or runs:
        if time.monotonic() > deadline:
            answers.errors.append("the runs did not end")
            break
        _ask(held, answers)
        with duckdb.connect(
            str((trial.home.published / "lakehouse.duckdb").resolve()), read_only=True
        ) as again:
            _ask(again, answers)
        for name in [name for name, process in runs.items() if process.poll() is not None]:
            ended[name].append(runs.pop(name).returncode)
            if len(ended[name]) < rounds:
                runs[name] = _started(trial, name, root)
        time.sleep(PAUSE if runs else 0.0)
    for process in runs.values():
        os.killpg(process.pid, signal.SIGKILL)
    return answers, ended


def _one_more_scan(trial: Trial) -> None:
    """Something to do for whoever runs first."""
    add_scan(trial.home.landing, trial.root.parent / "truth", SMALLEST, SITES[0], 0)


def _started(trial: Trial, name: str, root: Path) -> subprocess.Popen[bytes]:
    """Start `lakehouse run`, or the three jobs as the schedule has them run.

    The jobs run one after the other in Dagster's own processes.
    """
    environment = {
        **os.environ,
        **trial.settings,
        "PYTHONPATH": str(Path(__file__).resolve().parents[2]),
    }
    run_command = f"{sys.executable} -m dagster_project.cli --home {trial.root} run"
    execute = f"{sys.executable} -m dagster job execute -m dagster_project.definitions -j"
    of_sites = [f'{execute} site --tags \'{{"dagster/partition": "{site}"}}\'' for site in SITES]
    command = (
        run_command
        if name != "schedule"
        else " && ".join(
            [*of_sites, f"{{ {execute} cohort; code=$?; {execute} report && exit $code; }}"]
        )
    )
    with (root / f"log of {name}").open("ab") as log:
        return subprocess.Popen(
            command, shell=True, env=environment, stdout=log, stderr=log, start_new_session=True
        )


def _ask(connection: duckdb.DuckDBPyConnection, answers: Answers) -> None:
    for k, question in enumerate(QUESTIONS):
        began = time.monotonic()
        try:
            rows: list[tuple[Any, ...]] = connection.execute(question).fetchall()
        except duckdb.Error as error:
            answers.errors.append(f"{type(error).__name__}: {str(error)[:200]}")
            continue
        finally:
            answers.queries += 1
            answers.slowest = max(answers.slowest, time.monotonic() - began)
        answers.orphans += k == ORPHANS and rows[0][0] != 0
        answers.seen |= {str(rows)} if k == 0 else set()


def table(answers: Answers, ended: dict[str, list[int]]) -> str:
    """Figures of the session and of the runs beside it."""
    good, bad = (
        sum(code == 0 for codes in ended.values() for code in codes),
        sum(code != 0 for codes in ended.values() for code in codes),
    )
    return "\n".join(
        [
            "| queries | errors | reads without their scan | publications seen | slowest, s "
            "| runs beside it | of these ended badly |",
            "| ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
            f"| {answers.queries} | {len(answers.errors)} | {answers.orphans} "
            f"| {len(answers.seen)} | {answers.slowest:.2f} | {good + bad} | {bad} |",
        ]
    )

"""A run whose process was killed is marked as failed by whoever comes next: it stops no night."""

from __future__ import annotations

import datetime as dt
import json
import platform
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.test_utils import create_run_for_test

from dagster_project import run_processes
from dagster_project.commands.run import _instance
from dagster_project.definitions import defs
from dagster_project.lake.home import Home
from dagster_project.run_processes import BEGINNING, MACHINE, PROCESS, end_dead_runs, process_tags
from dagster_project.schedules import nightly
from dagster_project.sensors import landing, next_job
from tests.test_interrupted import Run

STARTED, FAILURE = dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.FAILURE
TAGS = (
    "import json, time; from dagster_project.run_processes import process_tags; "
    "print(json.dumps(process_tags()), flush=True); time.sleep(600)"
)


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as made:
        yield made


@pytest.fixture
def other() -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-c", TAGS], stdout=subprocess.PIPE, text=True
    ) as process:
        yield process
        process.kill()


def tags_of(process: subprocess.Popen[str]) -> dict[str, str]:
    assert process.stdout is not None
    return json.loads(process.stdout.readline())


def status_of(instance: dg.DagsterInstance, run: dg.DagsterRun) -> dg.DagsterRunStatus:
    found = instance.get_run_by_id(run.run_id)
    assert found is not None
    return found.status


def started(instance: dg.DagsterInstance, tags: dict[str, str], job: str = "site") -> dg.DagsterRun:
    run = create_run_for_test(
        instance, job_name=job, status=dg.DagsterRunStatus.NOT_STARTED, tags=tags
    )
    instance.report_dagster_event(
        dg.DagsterEvent(event_type_value="PIPELINE_START", job_name=job), run_id=run.run_id
    )
    return run


def after_a_site(instance: dg.DagsterInstance) -> dg.RunRequest | dg.SkipReason:
    """What the sensor does after the last site of a night."""
    create_run_for_test(instance, job_name="site", status=dg.DagsterRunStatus.SUCCESS)
    repository = defs.get_repository_def()
    return next_job(dg.build_sensor_context(instance=instance, repository_def=repository))


def test_a_run_lives_as_long_as_its_process(
    instance: dg.DagsterInstance, other: subprocess.Popen[str]
) -> None:
    """Killed it is dead also as a zombie, before anybody has waited for it."""
    run = started(instance, tags_of(other))
    assert isinstance(after_a_site(instance), dg.SkipReason)
    assert status_of(instance, run) == STARTED
    other.kill()
    time.sleep(0.5)
    assert isinstance(after_a_site(instance), dg.RunRequest)
    assert status_of(instance, run) == FAILURE


def test_another_process_of_the_same_number_is_not_the_runs(instance: dg.DagsterInstance) -> None:
    boot, _, ticks = process_tags()[BEGINNING].partition(" ")
    runs = {
        name: started(instance, {**process_tags(), BEGINNING: text})
        for name, text in {
            "mine": f"{boot} {ticks}",
            "other": f"{boot} {int(ticks) - 1}",
            "before the machine was started anew": f"0 {ticks}",
        }.items()
    }
    assert len(end_dead_runs(instance)) == 2
    assert [name for name, run in runs.items() if status_of(instance, run) == STARTED] == ["mine"]


@pytest.mark.parametrize("tags", [{}, {MACHINE: "another", PROCESS: "1", BEGINNING: "x 1"}])
def test_a_run_of_another_machine_is_dead_after_the_longest_time(
    instance: dg.DagsterInstance, tags: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = started(instance, tags)
    assert end_dead_runs(instance) == []
    monkeypatch.setattr(run_processes, "LONGEST_SECONDS", -1.0)
    assert end_dead_runs(instance) == ["site"]
    assert status_of(instance, run) == FAILURE


def test_the_landing_sensor_and_the_nightly_schedule_look_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAKEHOUSE_HOME", str(tmp_path))
    dead = {**process_tags(), BEGINNING: "0 0"}
    with dg.instance_for_test(temp_dir=str(tmp_path)) as stored:
        first = started(stored, dead)
        landing(dg.build_sensor_context(instance=stored))
        assert status_of(stored, first) == FAILURE
        second = started(stored, dead)
        with dg.build_schedule_context(
            instance=stored,
            scheduled_execution_time=dt.datetime(2026, 1, 12, 17, 30, tzinfo=dt.UTC),
            repository_def=defs.get_repository_def(),
        ) as context:
            list(nightly(context))  # type: ignore[call-overload]
        assert status_of(stored, second) == FAILURE


def test_tags_name_no_machine() -> None:
    assert platform.node() not in str(process_tags())


class Small:
    """A home whose one site delivered a table alone: a whole run of it takes half a minute."""

    def __init__(self, root: Path) -> None:
        self.root, self.settings = root, {"LAKEHOUSE_WORKERS": "1"}
        table = Home(root).make().landing / "AA" / "clinical" / "patients.csv"
        table.parent.mkdir(parents=True)
        table.write_text("patient_id,sex\nZY0012345,F\n", encoding="utf-8")


def test_a_run_that_was_killed_stops_neither_the_sensors_nor_the_next_run(tmp_path: Path) -> None:
    home = Small(tmp_path / "home")
    run = Run(home)
    run.wait_for("site AA")
    with _instance(Home(home.root)) as stored:
        while [r.status for r in stored.get_runs()] != [STARTED]:
            time.sleep(0.01)
        run.process.kill()
        run.end()
        tags = stored.get_runs()[0].tags
        assert isinstance(after_a_site(stored), dg.RunRequest)
        assert sorted(r.status.value for r in stored.get_runs()) == ["FAILURE", "SUCCESS"]
        again = started(stored, {k: v for k, v in tags.items() if k.startswith("lakehouse/")})
    following = Run(home)
    code, said = following.end(900)
    assert code == 0, said
    assert "An earlier run (site): its process is gone" in said
    with _instance(Home(home.root)) as stored:
        assert status_of(stored, again) == FAILURE
        assert not stored.get_runs(dg.RunsFilter(statuses=[STARTED]))

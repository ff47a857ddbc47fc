"""New deliveries start their site's run once they are at rest.

The cohort's run waits for the last site's.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.test_utils import create_run_for_test

from dagster_project.lake.home import Home, delivery_signature
from dagster_project.schedules import nightly
from dagster_project.sensors import SENSORS, landing

BY_NAME = {sensor.name: sensor for sensor in SENSORS}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LAKEHOUSE_HOME", str(tmp_path))
    for site in ("AA", "BB"):
        deliver(tmp_path / "landing" / site / "clinical" / "patients.csv")
    return tmp_path


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as made:
        yield made


@pytest.fixture
def stored(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    """An instance on disk, which the daemon's processes reach by reference."""
    with dg.instance_for_test(temp_dir=str(tmp_path)) as made:
        yield made


def deliver(file: Path, text: str = "patient_id\n1\n") -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")


class Look:
    """Looks at the landing, one after the other; each knows what the last one saw."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self.instance, self.cursor = instance, None

    def __call__(self) -> list[str | None]:
        self.last = landing(dg.build_sensor_context(instance=self.instance, cursor=self.cursor))
        self.cursor = self.last.cursor
        return [request.partition_key for request in self.last.run_requests or []]


def test_a_delivery_is_run_when_it_has_come_to_rest(
    home: Path, instance: dg.DagsterInstance
) -> None:
    look = Look(instance)
    assert look() == [], "1. seen for the first time: it may still be arriving"
    assert look() == ["AA", "BB"], "2. unchanged since: at rest"
    assert look() == [], "3. nothing new"
    deliver(home / "landing" / "BB" / "dicom" / "1.dcm")
    assert look() == [], "4. changed: it may still be arriving"
    deliver(home / "landing" / "BB" / "dicom" / "2.dcm")
    assert look() == [], "5. indeed it was"
    assert look() == ["BB"], "6. at rest again, and only that site"
    assert look() == [], "7. once"


def test_what_a_run_by_hand_took_in_is_not_run_again(
    home: Path, instance: dg.DagsterInstance
) -> None:
    """`lakehouse run`, then `lakehouse dev`: the cursor is empty, the vault is not."""
    taken = home / "vault" / "AA" / "delivery"
    deliver(taken, Home(home).delivery("AA"))
    look = Look(instance)
    assert [look(), look()] == [[], ["BB"]]
    deliver(home / "landing" / "AA" / "dicom" / "1.dcm")
    assert [look(), look(), look()] == [[], ["AA"], []], "what came afterwards is run"


def test_a_delivery_is_run_once_even_if_the_cursor_is_lost(
    home: Path, instance: dg.DagsterInstance
) -> None:
    """The run key is the delivery's signature."""
    look = Look(instance)
    look()
    look()
    keys = [request.run_key for request in look.last.run_requests or []]
    assert keys == [
        f"{site}-{delivery_signature(home / 'landing' / site)}" for site in ("AA", "BB")
    ]


def test_a_folder_that_is_no_site_becomes_no_partition_and_no_run(
    home: Path, instance: dg.DagsterInstance
) -> None:
    deliver(home / "landing" / "zhang san" / "clinical" / "patients.csv")
    look = Look(instance)
    assert look() == []
    assert look() == ["AA", "BB"]
    assert "zhang" not in str(look.last)


def test_new_sites_become_partitions(home: Path, instance: dg.DagsterInstance) -> None:
    look = Look(instance)
    look()
    (request,) = look.last.dynamic_partitions_requests or []
    assert list(request.partition_keys) == ["AA", "BB"]


def test_an_empty_landing_asks_for_nothing(
    tmp_path: Path, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAKEHOUSE_HOME", str(tmp_path / "nowhere"))
    assert Look(instance)() == []


def test_a_file_that_vanishes_meanwhile_stops_no_look(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = delivery_signature(home / "landing" / "AA")
    link = home / "landing" / "AA" / "dicom"
    link.mkdir()
    monkeypatch.setattr(Path, "is_file", lambda _: True)
    (link / "gone").symlink_to(home / "nothing")
    assert delivery_signature(home / "landing" / "AA") != before


def test_the_cursor_names_no_file(home: Path, instance: dg.DagsterInstance) -> None:
    deliver(home / "landing" / "AA" / "dicom" / "欧阳慕霜_ZY123456789.dcm")
    look = Look(instance)
    look()
    look()
    told = json.dumps(
        [
            look.cursor,
            *(r.run_key for r in look.last.run_requests or []),
            *(str(r.tags) for r in look.last.run_requests or []),
        ],
        ensure_ascii=False,
    )
    assert "ZY123456789" not in told
    assert "欧阳" not in told


def test_ticks_as_the_daemon_makes_them(home: Path, stored: dg.DagsterInstance) -> None:
    """With run requests resolved against the partitions that the first tick asked for."""
    from dagster_project.definitions import defs

    repository, cursor, asked = defs.get_repository_def(), None, []
    for _ in range(3):
        context = dg.SensorEvaluationContext(
            instance_ref=stored.get_ref(),
            last_tick_completion_time=None,
            last_run_key=None,
            cursor=cursor,
            repository_name=repository.name,
            repository_def=repository,
        )
        with context:
            result = landing.evaluate_tick(context)
        cursor = result.cursor
        asked.append([request.partition_key for request in result.run_requests or []])
        for request in result.dynamic_partitions_requests or []:
            stored.add_dynamic_partitions(request.partitions_def_name, list(request.partition_keys))
    assert asked == [[], ["AA", "BB"], []]


def test_every_night_asks_for_every_site(home: Path, stored: dg.DagsterInstance) -> None:
    night = dt.datetime(2026, 1, 12, 17, 30, tzinfo=dt.UTC)
    with dg.build_schedule_context(instance=stored, scheduled_execution_time=night) as context:
        requests = list(nightly(context))  # type: ignore[call-overload]
    assert [(r.partition_key, r.run_key) for r in requests] == [
        ("AA", "2026-01-12-AA"),
        ("BB", "2026-01-12-BB"),
    ]
    assert stored.get_dynamic_partitions("site") == ["AA", "BB"]


CHAIN = [
    ("cohort_after_site_success", "site", "cohort"),
    ("cohort_after_site_failure", "site", "cohort"),
    ("report_after_cohort_success", "cohort", "report"),
    ("report_after_cohort_failure", "cohort", "report"),
]


@pytest.mark.parametrize(("name", "first", "then"), CHAIN, ids=[c[0] for c in CHAIN])
def test_the_next_job_waits_until_none_of_the_first_is_left(
    instance: dg.DagsterInstance, name: str, first: str, then: str
) -> None:
    sensor = BY_NAME[name]
    ended = create_run_for_test(instance, job_name=first, status=dg.DagsterRunStatus.SUCCESS)
    event = dg.DagsterEvent(event_type_value="PIPELINE_SUCCESS", job_name=first)
    context = dg.build_run_status_sensor_context(
        sensor_name=name, dagster_instance=instance, dagster_run=ended, dagster_event=event
    )
    going = create_run_for_test(instance, job_name=first, status=dg.DagsterRunStatus.STARTED)
    waiting = sensor(context)
    assert isinstance(waiting, dg.SkipReason)
    assert first in str(waiting.skip_message)
    instance.delete_run(going.run_id)
    create_run_for_test(instance, job_name=then, status=dg.DagsterRunStatus.STARTED)
    request = sensor(context)
    assert isinstance(request, dg.RunRequest)
    assert request.run_key == ended.run_id
    assert sensor.job.name == then


def test_three_quiet_sites_start_nothing_and_a_changed_one_one_run_of_the_cohort(
    home: Path, instance: dg.DagsterInstance
) -> None:
    """The cohort's run follows a site's; a run key is run once, however often it is asked for."""
    deliver(home / "landing" / "CC" / "clinical" / "patients.csv")
    look = Look(instance)
    assert [look(), look()] == [[], ["AA", "BB", "CC"]]
    assert [look(), look()] == [[], []], "quiet"
    deliver(home / "landing" / "BB" / "dicom" / "1.dcm")
    assert [look(), look(), look()] == [[], ["BB"], []]
    ended = create_run_for_test(instance, job_name="site", status=dg.DagsterRunStatus.SUCCESS)
    name = "cohort_after_site_success"
    context = dg.build_run_status_sensor_context(
        sensor_name=name,
        dagster_instance=instance,
        dagster_run=ended,
        dagster_event=dg.DagsterEvent(event_type_value="PIPELINE_SUCCESS", job_name="site"),
    )
    requests = [BY_NAME[name](context) for _ in range(2)]
    assert {request.run_key for request in requests} == {ended.run_id}

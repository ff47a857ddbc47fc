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
from dagster._core.definitions.assets.graph.asset_graph import AssetGraph
from dagster._core.test_utils import create_run_for_test

from dagster_project import run_processes, sensors
from dagster_project.commands.run import _tags
from dagster_project.definitions import defs
from dagster_project.flow.vault_audit import KEPT
from dagster_project.lake.home import Home, delivery_signature
from dagster_project.run_inputs import INPUTS, CohortInputs, cohort_inputs
from dagster_project.run_processes import process_tags
from dagster_project.schedules import nightly
from dagster_project.sensors import landing, next_job
from dagster_project.study import PROTOCOL
from tests.test_data_versions import SITES as THREE
from tests.test_data_versions import Nights, after_the_first_night


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


REPOSITORY = defs.get_repository_def()


class Look:
    """Looks at the landing, one after the other; each knows what the last one saw."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self.instance, self.cursor = instance, None

    def __call__(self) -> list[str | None]:
        context = dg.build_sensor_context(
            instance=self.instance, cursor=self.cursor, repository_def=REPOSITORY
        )
        self.last = landing(context)
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
    repository, cursor, requested = defs.get_repository_def(), None, []
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
        requested.append([request.partition_key for request in result.run_requests or []])
        for request in result.dynamic_partitions_requests or []:
            stored.add_dynamic_partitions(request.partitions_def_name, list(request.partition_keys))
    assert requested == [[], ["AA", "BB"], []]


def test_every_night_asks_for_every_site(home: Path, stored: dg.DagsterInstance) -> None:
    night = dt.datetime(2026, 1, 12, 17, 30, tzinfo=dt.UTC)
    with dg.build_schedule_context(
        instance=stored, scheduled_execution_time=night, repository_def=REPOSITORY
    ) as context:
        requests = list(nightly(context))  # type: ignore[call-overload]
    assert [(r.partition_key, r.run_key) for r in requests] == [
        ("AA", "2026-01-12-AA"),
        ("BB", "2026-01-12-BB"),
    ]
    assert stored.get_dynamic_partitions("site") == ["AA", "BB"]


# -- the next job ---------------------------------------------------------------------------------


def tick(instance: dg.DagsterInstance) -> dg.RunRequest | dg.SkipReason:
    """One look of the sensor that starts the cohort's run and the reports'."""
    return next_job(dg.build_sensor_context(instance=instance, repository_def=REPOSITORY))


def asked(instance: dg.DagsterInstance) -> str:
    """The job of which one look asks for a run; empty where it asks for none."""
    found = tick(instance)
    return found.job_name or "" if isinstance(found, dg.RunRequest) else ""


def why_not(instance: dg.DagsterInstance) -> str:
    found = tick(instance)
    assert isinstance(found, dg.SkipReason)
    return str(found.skip_message)


def started(
    instance: dg.DagsterInstance, job: str, tags: dict[str, str] | None = None
) -> dg.DagsterRun:
    """A run that this process carries."""
    run = create_run_for_test(
        instance,
        job_name=job,
        status=dg.DagsterRunStatus.NOT_STARTED,
        tags={**process_tags(), **(tags or {})},
    )
    event = dg.DagsterEvent(event_type_value="PIPELINE_START", job_name=job)
    instance.report_dagster_event(event, run_id=run.run_id)
    return run


def end(instance: dg.DagsterInstance, run: dg.DagsterRun, how: str = "SUCCESS") -> None:
    event = dg.DagsterEvent(event_type_value=f"PIPELINE_{how}", job_name=run.job_name)
    instance.report_dagster_event(event, run_id=run.run_id)


def ended(
    instance: dg.DagsterInstance, job: str, how: str = "SUCCESS", tags: dict[str, str] | None = None
) -> dg.DagsterRun:
    run = started(instance, job, tags)
    end(instance, run, how)
    return run


@pytest.mark.parametrize("how", ["SUCCESS", "FAILURE"])
def test_the_cohort_follows_the_last_site_and_the_reports_the_cohort(
    home: Path, instance: dg.DagsterInstance, how: str
) -> None:
    """It does not matter whether a run succeeded or failed."""
    assert asked(instance) == "", "nothing has run"
    first, last = started(instance, "site"), started(instance, "site")
    end(instance, first, how)
    assert "a run of site is still going" in why_not(instance)
    end(instance, last, how)
    request = tick(instance)
    assert isinstance(request, dg.RunRequest)
    assert (request.job_name, request.run_key) == ("cohort", last.run_id)
    cohort = started(instance, "cohort", dict(request.tags))
    assert "a run of cohort is still going" in why_not(instance)
    end(instance, cohort, how)
    request = tick(instance)
    assert isinstance(request, dg.RunRequest)
    assert (request.job_name, request.run_key) == ("report", cohort.run_id)
    ended(instance, "report")
    assert asked(instance) == ""


def test_a_run_that_was_asked_for_and_has_not_begun_is_waited_for(
    home: Path, instance: dg.DagsterInstance
) -> None:
    """Two sites run side by side, and the third one waits."""
    ended(instance, "site")
    waiting = create_run_for_test(instance, job_name="site", status=dg.DagsterRunStatus.NOT_STARTED)
    assert asked(instance) == ""
    instance.delete_run(waiting.run_id)
    assert asked(instance) == "cohort"


def test_a_run_older_than_the_longest_time_is_not_waited_for(
    home: Path, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    started(instance, "site")
    ended(instance, "site")
    assert asked(instance) == ""
    monkeypatch.setattr(run_processes, "LONGEST_SECONDS", -1.0)
    assert asked(instance) == "cohort"


def test_a_failed_run_of_the_cohort_is_tried_again_after_the_next_site_and_not_before(
    home: Path, instance: dg.DagsterInstance
) -> None:
    ended(instance, "site")
    request = tick(instance)
    assert isinstance(request, dg.RunRequest)
    ended(instance, "cohort", "FAILURE", dict(request.tags))
    ended(instance, "report")
    assert "no run of site has ended since" in why_not(instance)
    ended(instance, "site")
    assert asked(instance) == "cohort"


def test_what_was_begun_before_a_site_ended_is_run_again(
    home: Path, instance: dg.DagsterInstance
) -> None:
    """A site that ends while the cohort runs is not in it."""
    site = started(instance, "site")
    cohort = started(instance, "cohort")
    end(instance, site)
    end(instance, cohort)
    assert asked(instance) == "cohort"


@pytest.fixture
def nights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Nights]:
    yield from after_the_first_night(tmp_path, monkeypatch)


class Daemon:
    """Site runs and the sensor's ticks over three sites in one home; requests are run."""

    def __init__(self, nights: Nights) -> None:
        self.nights, self.instance = nights, nights.instance

    def ticks(self) -> list[str]:
        """Jobs that are started until the sensor asks for nothing more."""
        made: list[str] = []
        while isinstance(found := tick(self.instance), dg.RunRequest):
            again = tick(self.instance)
            assert isinstance(again, dg.RunRequest)
            assert again.run_key == found.run_key, "what is not begun yet is asked for once"
            made.append(str(found.job_name))
            self.run(str(found.job_name), dict(found.tags))
            assert len(made) < 5
        return made

    def run(self, job: str, tags: dict[str, str]) -> None:
        """Of the cohort the one table that depends on patients alone; of the reports nothing."""
        if job == "report":
            ended(self.instance, job)
            return
        made = defs.resolve_job_def(job).execute_in_process(
            instance=self.instance, asset_selection=[dg.AssetKey("disclosure")], tags=tags
        )
        assert made.success

    def night(self) -> list[str]:
        """Three site runs that end between two ticks, and what follows them."""
        for site in THREE:
            self.nights.run_site(site)
        return self.ticks()


def test_three_quiet_sites_start_no_run_of_the_cohort_and_a_changed_one_exactly_one(
    nights: Nights,
) -> None:
    """The three site runs of a night end in one tick, which starts one run and not three."""
    daemon = Daemon(nights)
    assert daemon.night() == ["cohort", "report"], "its last run does not say what it is made from"
    assert daemon.night() == [], "quiet"
    nights.deliver("BB", "1", "2", "3")
    assert daemon.night() == ["cohort", "report"], "one site changed"
    for site in THREE:
        nights.deliver(site, "1", "2", "4")
    assert daemon.night() == ["cohort", "report"], "all sites changed"
    jobs = [run.job_name for run in nights.instance.get_runs()]
    assert jobs.count("cohort") == 1 + 3, "one by hand before the first night"


def after_a_quiet_site(instance: dg.DagsterInstance) -> list[str]:
    """Jobs that follow a site's run; each is begun as it was asked for, and ends well."""
    ended(instance, "site")
    made: list[str] = []
    while isinstance(found := tick(instance), dg.RunRequest):
        made.append(str(found.job_name))
        ended(instance, made[-1], tags=dict(found.tags))
    return made


def test_whatever_else_the_cohort_is_made_from_starts_a_run(
    home: Path, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    protocol = home / "study.toml"

    def decide() -> None:
        deliver(home / "vault" / "AA" / "AA-1" / "decisions" / "0001.json", "{}")

    def end_a_federated_run() -> None:
        deliver(home / "federated" / "runs" / "1" / "outcome.json", "{}")

    def amend() -> None:
        protocol.write_text(PROTOCOL.read_text(encoding="utf-8") + "\n", encoding="utf-8")
        monkeypatch.setenv("LAKEHOUSE_STUDY", str(protocol))

    def find_something() -> None:
        image = home / "vault" / "BB" / "image.dcm"
        deliver(image)
        found = {"findings": [("text", "BB/image.dcm", "(0010,0010)")]}
        (image.parent / KEPT).write_text(json.dumps(found), encoding="utf-8")

    def wait_a_day() -> None:
        monkeypatch.setattr(sensors, "cohort_inputs", tomorrow)

    assert after_a_quiet_site(instance) == ["cohort", "report"]
    for change in (decide, end_a_federated_run, amend, find_something, wait_a_day):
        assert after_a_quiet_site(instance) == [], change.__name__
        change()
        assert after_a_quiet_site(instance) == ["cohort", "report"], change.__name__


def tomorrow(
    instance: dg.DagsterInstance, home: Home, graph: AssetGraph, now: dt.datetime
) -> CohortInputs:
    return cohort_inputs(instance, home, graph, now + dt.timedelta(days=1))


def test_another_version_of_the_code_is_another_digest(
    home: Path, instance: dg.DagsterInstance
) -> None:
    now, graph = dt.datetime(2026, 1, 12, tzinfo=dt.UTC), REPOSITORY.asset_graph
    before = cohort_inputs(instance, Home(home), graph, now)
    assert before == cohort_inputs(instance, Home(home), graph, now)

    @dg.asset(code_version="another")
    def disclosure() -> None: ...

    other = dg.Definitions(assets=[disclosure]).resolve_asset_graph()
    assert cohort_inputs(instance, Home(home), other, now) != before


def test_a_run_of_the_cohort_by_hand_bears_the_same_digest(
    home: Path, instance: dg.DagsterInstance
) -> None:
    """After `lakehouse run` quiet sites start no run of the cohort either."""
    tags = _tags(defs, instance, "cohort", None, whole=True)
    assert INPUTS not in _tags(defs, instance, "cohort", None, whole=False)
    assert INPUTS not in _tags(defs, instance, "report", None, whole=True)
    ended(instance, "site")
    request = tick(instance)
    assert isinstance(request, dg.RunRequest)
    assert request.tags[INPUTS] == tags[INPUTS]
    ended(instance, "cohort", tags=tags)
    assert after_a_quiet_site(instance) == ["report"]


def test_without_the_definitions_the_sensor_says_so(
    home: Path, instance: dg.DagsterInstance
) -> None:
    ended(instance, "site")
    with pytest.raises(LookupError, match="needs the definitions"):
        next_job(dg.build_sensor_context(instance=instance))

"""A night on which nothing is new looks at deliveries and at the calendar, and at nothing else."""

from __future__ import annotations

import datetime as dt
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import dagster as dg
import polars as pl
import pytest
from dagster._core.test_utils import create_run_for_test

from dagster_project import run_inputs
from dagster_project.definitions import defs
from dagster_project.domain.reading.locked_reads import IN_FUTURE
from dagster_project.flow.nights import QUIET
from dagster_project.jobs import BY_DAY_ASSETS, REPORT_ASSETS
from dagster_project.lake.home import Home
from dagster_project.lake.schema import conform
from dagster_project.lake.store import open_lake
from dagster_project.lake.tables import BY_NAME, PATIENTS, QUARANTINE, TABLES
from dagster_project.materialisation import FRESH
from dagster_project.run_inputs import PARTITION, CohortInputs, is_quiet_cohort, is_quiet_site
from dagster_project.schedules import nightly
from dagster_project.sensors import landing
from dagster_project.study import PROTOCOL

ROOT = Path(__file__).resolve().parents[1]
REPOSITORY = defs.get_repository_def()
GRAPH = REPOSITORY.asset_graph
NOW = dt.datetime.now(dt.UTC)
INTAKE = dg.AssetKey("intake")


class Site:
    """One site with a case report, and the runs that its schedule and its sensor ask for."""

    def __init__(self, home: Home, instance: dg.DagsterInstance) -> None:
        self.home, self.instance, self.cursor = home, instance, None

    def deliver(self, *numbers: str) -> None:
        folder = self.home.landing / "AA" / "clinical"
        folder.mkdir(parents=True, exist_ok=True)
        rows = "".join(f"AA00{number},F\n" for number in numbers)
        (folder / "patients.csv").write_text(f"patient_id,sex\n{rows}", encoding="utf-8")

    def night(self) -> dg.RunRequest:
        """The run that the schedule asks for."""
        with dg.build_schedule_context(
            instance=self.instance, scheduled_execution_time=NOW, repository_def=REPOSITORY
        ) as context:
            (request,) = nightly(context)  # type: ignore[call-overload]
        return request

    def looks(self) -> list[dg.RunRequest]:
        """The runs that the sensor of deliveries asks for, once they have come to rest."""
        for _ in range(2):
            context = dg.build_sensor_context(
                instance=self.instance, cursor=self.cursor, repository_def=REPOSITORY
            )
            found = landing(context)
            self.cursor = found.cursor
        return found.run_requests or []

    def run(self, request: dg.RunRequest) -> dg.ExecuteInProcessResult:
        self.instance.add_dynamic_partitions("site", ["AA"])
        made = defs.resolve_job_def("site").execute_in_process(
            instance=self.instance,
            partition_key="AA",
            asset_selection=request.asset_selection and list(request.asset_selection),
            tags=dict(request.tags),
            raise_on_error=False,
        )
        assert made.success
        return made

    def is_quiet(self, now: dt.datetime = NOW) -> bool:
        inputs = run_inputs.site_inputs(self.home, GRAPH, "AA")
        return is_quiet_site(self.instance, self.home, "AA", inputs, now)


def settings(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    for name in ("KEYS", "PASSPHRASE_FILE", "CATALOG", "DATA"):
        monkeypatch.delenv(f"LAKEHOUSE_{name}", raising=False)
    monkeypatch.setenv("LAKEHOUSE_HOME", str(folder / "home"))
    monkeypatch.setenv("LAKEHOUSE_WORKERS", "0")


@pytest.fixture(scope="module")
def after_the_first_night(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home, and Dagster's, of one site of which every table was made."""
    folder = tmp_path_factory.mktemp("first")
    with pytest.MonkeyPatch.context() as monkeypatch:
        settings(monkeypatch, folder)
        (folder / "dagster").mkdir()
        with dg.instance_for_test(temp_dir=str(folder / "dagster")) as instance:
            made = Site(Home(folder / "home").make(), instance)
            made.deliver("1", "2")
            first = made.night()
            assert first.asset_selection is None
            assert QUIET not in first.tags
            made.run(first)
    return folder


@pytest.fixture
def site(
    after_the_first_night: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Site]:
    """The site as the first night left it."""
    shutil.copytree(after_the_first_night, tmp_path, dirs_exist_ok=True)
    settings(monkeypatch, tmp_path)
    with dg.instance_for_test(temp_dir=str(tmp_path / "dagster")) as instance:
        yield Site(Home(tmp_path / "home"), instance)


def test_a_site_with_nothing_new_is_looked_at_and_nothing_of_it_is_made(site: Site) -> None:
    for _ in range(2):
        request = site.night()
        assert request.asset_selection == [INTAKE]
        made = site.run(request)
        assert {e.asset_key for e in made.get_asset_materialization_events()} == {INTAKE}
        assert made.get_asset_check_evaluations(), "its vault is audited"
    assert site.looks() == []


def amend(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    protocol = site.home.root / "study.toml"
    protocol.write_text(PROTOCOL.read_text(encoding="utf-8") + "\n", encoding="utf-8")
    monkeypatch.setenv("LAKEHOUSE_STUDY", str(protocol))


def change_code(_site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    other = run_inputs._protocol_and_code(GRAPH) | {"code": "another"}
    monkeypatch.setattr(run_inputs, "_protocol_and_code", lambda _: other)


def deliver(site: Site, _monkeypatch: pytest.MonkeyPatch) -> None:
    site.deliver("1", "2", "3")


def lose_rows(site: Site, _monkeypatch: pytest.MonkeyPatch) -> None:
    with open_lake(site.home) as lake:
        rows = lake.read(PATIENTS.name)
        lake.replace(PATIENTS.name, rows.head(1), site="AA")


def lose_the_lake(site: Site, _monkeypatch: pytest.MonkeyPatch) -> None:
    site.home.lake.rename(site.home.lake.with_name("lake-before"))


def damage_the_lake(site: Site, _monkeypatch: pytest.MonkeyPatch) -> None:
    (site.home.lake / "catalog.sqlite").write_bytes(b"no database")


def wait_for_a_lock(site: Site, _monkeypatch: pytest.MonkeyPatch) -> None:
    row = {"site": "AA", "stage": "reads", "item": "reads/R1/LOCKED", "reason": IN_FUTURE}
    file = site.home.vault / "AA" / "refused" / "reads.parquet"
    conform(pl.DataFrame([{**row, "simulated": False}]), QUARANTINE).write_parquet(file)


def run_elsewhere(site: Site, _monkeypatch: pytest.MonkeyPatch) -> None:
    """As a command does that makes some tables anew."""
    create_run_for_test(
        site.instance, job_name="site", status=dg.DagsterRunStatus.SUCCESS, tags={PARTITION: "AA"}
    )


def fail(site: Site, _monkeypatch: pytest.MonkeyPatch) -> None:
    create_run_for_test(
        site.instance,
        job_name="site",
        status=dg.DagsterRunStatus.FAILURE,
        tags={PARTITION: "AA", **run_inputs.site_inputs(site.home, GRAPH, "AA").tags},
    )


@pytest.mark.parametrize(
    "change",
    [
        amend,
        change_code,
        deliver,
        lose_rows,
        lose_the_lake,
        damage_the_lake,
        wait_for_a_lock,
        run_elsewhere,
        fail,
    ],
)
def test_whatever_a_table_is_made_from_makes_the_whole_site_anew(
    site: Site, monkeypatch: pytest.MonkeyPatch, change: Callable[..., None]
) -> None:
    assert site.is_quiet()
    change(site, monkeypatch)
    assert not site.is_quiet()
    assert site.night().asset_selection is None


def test_once_a_week_a_quiet_site_is_made_whole(site: Site) -> None:
    nights = [NOW + dt.timedelta(days=day) for day in range(1, 15)]
    assert [site.is_quiet(night) for night in nights] == [True] * 6 + [False] * 8


def test_what_arrives_between_the_request_and_the_quiet_run_runs_the_site_once_more(
    site: Site,
) -> None:
    request = site.night()
    assert request.asset_selection == [INTAKE]
    site.deliver("1", "2", "3")
    site.run(request)
    (again,) = site.looks()
    site.run(again)
    with open_lake(site.home) as lake:
        assert lake.count("patients", site="AA") == 3


@pytest.mark.parametrize(
    ("tags", "day", "quiet"),
    [
        ([{QUIET: "yes"}, {QUIET: "yes"}], 1, True),
        ([{QUIET: "yes"}, {}], 1, False),  # a site was made whole
        ([{QUIET: "yes"}], 7, False),  # a week has passed
    ],
)
def test_after_quiet_sites_the_cohort_makes_what_moves_with_the_calendar(
    tags: list[dict[str, str]], day: int, quiet: bool
) -> None:
    inputs = CohortInputs("a", "b")
    with dg.DagsterInstance.ephemeral() as instance:
        lesions = dg.AssetMaterialization("lesions")
        instance.report_runless_asset_event(lesions)
        done = dg.DagsterRunStatus.SUCCESS
        create_run_for_test(instance, job_name="cohort", status=done, tags=inputs.tags)
        for tag in tags:
            create_run_for_test(instance, job_name="site", status=done, tags=tag)
        later = NOW + dt.timedelta(days=day)
        assert is_quiet_cohort(instance, CohortInputs("another", "b"), later) is quiet
        assert not is_quiet_cohort(instance, CohortInputs("another", "another"), later)


def test_what_moves_with_the_calendar_is_due_every_morning_and_the_rest_once_a_week() -> None:
    by_day = {
        key.to_user_string() for key in (BY_DAY_ASSETS | REPORT_ASSETS).resolve(GRAPH)
    } & BY_NAME.keys()
    nodes = {table.name: GRAPH.get(dg.AssetKey(table.name)) for table in TABLES}
    daily = {name for name, node in nodes.items() if node.freshness_policy == FRESH}
    never = {name for name, node in nodes.items() if node.freshness_policy is None}
    assert daily == by_day - never


CLOCKS = {
    "flow/irecist_blocks.py": "the day of the last intake: blocks and what follows them",
    "flow/pages.py": "the day on the pages of the reports, which are made each night",
    "flow/reads.py": "locks that have not come yet, by which a site is not quiet",
    "flow/responses.py": "the time of recording, which stays where nothing changed",
    "flow/gate.py": "the time of a verdict, which stays where nothing changed",
    "flow/dataset_json.py": "the time at which a file for analysts was written",
}
"""Modules of the flow that look at a clock, and why a quiet night may leave them out or does not.

A module that is new here needs its tables among BY_DAY_ASSETS, or a reason.
"""


def test_no_other_table_depends_on_a_clock() -> None:
    clock = re.compile(r"\.clock\(|CLOCK\b|datetime\.now\(|date\.today\(|\btime\.time\(")
    folders = (*(ROOT / "dagster_project" / n for n in ("flow", "domain", "radiomics")), "assets")
    files = [file for folder in folders for file in (ROOT / folder).rglob("*.py")]
    found = {
        "/".join(file.parts[-2:])
        for file in files
        if clock.search(file.read_text(encoding="utf-8"))
    }
    assert found - {"flow/intake.py", "flow/nights.py", "flow/home_state.py"} == CLOCKS.keys()

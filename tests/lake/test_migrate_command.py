"""`lakehouse migrate`, and what every other command says of a lake that is not migrated yet."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import dagster as dg
import gdcm  # noqa: F401 - sets a variable of the environment where a command first imports it
import pytest
from click.testing import CliRunner, Result

from dagster_project.cli import main
from dagster_project.commands.run import install_dagster_settings
from dagster_project.lake.errors import UnmigratedLake
from dagster_project.lake.home import Home
from dagster_project.lake.locks import locked
from dagster_project.lake.migrations import MIGRATIONS
from dagster_project.lake.store import open_lake
from dagster_project.resources import Lakehouse
from dagster_project.run_processes import BEGINNING, PROCESS, process_tags
from tests.lake.test_migrations import content
from tests.lakes.kept import ALONE, BASELINE, unpack


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """The lake of schema version 1, and what commands set in the environment taken back."""
    for name in ("LAKEHOUSE_CATALOG", "LAKEHOUSE_DATA"):
        monkeypatch.delenv(name, raising=False)
    for name in ("MLFLOW_DISABLE_TELEMETRY", "GX_ANALYTICS_ENABLED"):
        monkeypatch.setenv(name, os.environ.get(name, "true"))
    made = unpack(BASELINE, Home(tmp_path / "home"))
    monkeypatch.setenv("LAKEHOUSE_HOME", str(made.root))
    monkeypatch.setenv("DAGSTER_HOME", str(made.dagster))
    return made


def call(home: Home, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["--home", str(home.root), *arguments])


def files(home: Home) -> set[Path]:
    return {p for p in home.root.rglob("*") if p.is_file() and home.lake not in p.parents}


def test_the_plan_is_printed_and_nothing_is_written(home: Home) -> None:
    was = content(home)
    english, chinese = (
        call(home, "migrate", "--check"),
        call(home, "migrate", "--check", "--lang", "zh"),
    )
    assert (english.exit_code, chinese.exit_code) == (0, 0)
    for text in (
        "The lake has schema version 1; this program needs 2.",
        "lake/backups/catalog-version-1.sqlite",
        "version 1 (baseline)",
        "no row is touched",
        "responses: rename known_from to recorded_at",
        "timepoints: rename chosen_because to selection_reason",
    ):
        assert text in english.output
    assert "数据湖的结构版本为 1；本程序需要 2。" in chinese.output
    assert "目录库" in chinese.output
    assert content(home) == was


def test_the_lake_is_migrated_once(home: Home) -> None:
    first = call(home, "migrate")
    assert first.exit_code == 0, first.output
    assert f"Schema version 2 was applied: {MIGRATIONS[-1].name}." in first.output
    assert "The lake has schema version 2." in first.output
    assert "catalog-version-1.sqlite" in first.output
    assert (home.lake / "backups" / "catalog-version-1.sqlite").is_file()
    second = call(home, "migrate", "--lang", "zh")
    assert second.exit_code == 0
    assert "无需迁移" in second.output
    assert "nothing to migrate" in call(home, "migrate", "--check").output


@pytest.mark.parametrize(
    "command",
    [
        "run",
        "publish",
        "report",
        "rebuild",
        "tidy",
        "audit",
        "status",
        "dev",
        "adam --out {out}",
        "withdraw AA-P --purpose consent --yes",
        "site remove AA --purpose closed --yes",
        "arbitration list",
        "arbitration decide P0123456789AB --accept A --by ARBITER1",
    ],
)
def test_every_other_command_refuses_before_it_writes(home: Home, command: str) -> None:
    was, beside = content(home), files(home)
    found = call(home, *command.format(out=home.root / "adam").split())
    assert found.exit_code == 1
    assert "schema version 1, and this program needs 2" in found.output
    assert "`lakehouse migrate`" in found.output
    assert "请先停止服务" in found.output
    assert "Traceback" not in found.output
    assert content(home) == was
    assert files(home) == beside


def test_a_query_is_answered_beside_the_notice_and_earlier_ones_under_names_of_today(
    home: Home,
) -> None:
    now = call(home, "sql", "--csv", "SELECT count(known_from) AS n FROM responses")
    assert now.exit_code == 0
    assert now.stdout == "n\n5\n"
    assert "`lakehouse migrate`" in now.stderr
    earlier = call(
        home, "sql", "--as-of", str(ALONE), "--csv", "SELECT count(recorded_at) AS n FROM responses"
    )
    assert (earlier.exit_code, earlier.stdout, earlier.stderr) == (0, "n\n3\n", "")


def test_a_run_that_dagster_starts_ends_before_any_step(home: Home) -> None:
    lakehouse = Lakehouse(root=str(home.root))
    with (
        pytest.raises(UnmigratedLake),
        lakehouse.yield_for_execution(dg.build_init_resource_context()),
    ):
        raise AssertionError


def test_a_home_in_use_is_not_migrated_and_says_by_whom(home: Home) -> None:
    was, held, over = content(home), threading.Event(), threading.Event()

    def hold() -> None:
        with locked(home.root / "run.lock", "lakehouse run"):
            held.set()
            over.wait()

    other = threading.Thread(target=hold)
    other.start()
    held.wait()
    found = call(home, "migrate")
    over.set()
    other.join()
    assert found.exit_code == 1
    assert "in use (lakehouse run, process" in found.output
    assert content(home) == was


def test_a_run_that_works_is_named_and_one_that_was_killed_is_not_waited_for(home: Home) -> None:
    install_dagster_settings(home)
    with dg.DagsterInstance.get() as instance:
        tags = process_tags() | {"dagster/partition": "AA"}
        instance.add_run(
            dg.DagsterRun("cohort", status=dg.DagsterRunStatus.STARTED, tags=tags, run_id="1")
        )
        found = call(home, "migrate")
        assert found.exit_code == 1
        assert "have begun and not ended: cohort AA" in found.output
        instance.delete_run("1")
        gone = tags | {PROCESS: "1", BEGINNING: "before 0"}
        instance.add_run(
            dg.DagsterRun("cohort", status=dg.DagsterRunStatus.STARTED, tags=gone, run_id="2")
        )
    assert call(home, "migrate").exit_code == 0
    with open_lake(home) as lake:
        assert lake.version() == 2

"""The command line says what it does, what was found, and what to do next.

It never shows a value that identifies.
"""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import click
import pytest
from click.testing import CliRunner, Result

from dagster_project import cli
from dagster_project.commands import run as run_command
from dagster_project.commands.run import Flow
from dagster_project.lake.migrations import latest
from dagster_project.lake.tables import TABLES
from tests.conftest import REPOSITORY
from tests.trial import SITES, Stage


class Call:
    """The command line in a home."""

    def __init__(self, home: Path) -> None:
        self.home = home

    def __call__(self, *arguments: str) -> Result:
        return CliRunner().invoke(cli.main, ["--home", str(self.home), *arguments])


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    for name in (
        "LAKEHOUSE_CATALOG",
        "LAKEHOUSE_DATA",
        "MLFLOW_DISABLE_TELEMETRY",
        "GX_ANALYTICS_ENABLED",
    ):
        monkeypatch.setenv(name, "")  # so that what the command sets is taken back
        monkeypatch.delenv(name)
    monkeypatch.setenv("LAKEHOUSE_HOME", str(tmp_path))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    return Call(tmp_path / "home")


def leaves(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        yield from (
            leaves(command, (*path, name)) if isinstance(command, click.Group) else [(*path, name)]
        )


# -- help ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("before", ["/elsewhere", None])
@pytest.mark.parametrize("command", ["status", "nothing"])
def test_the_homes_are_named_in_the_environment_while_a_command_runs(
    call: Call, monkeypatch: pytest.MonkeyPatch, before: str | None, command: str
) -> None:
    for name in ("LAKEHOUSE_HOME", "DAGSTER_HOME"):
        monkeypatch.delenv(name) if before is None else monkeypatch.setenv(name, before)
    call(command)
    assert (os.environ.get("LAKEHOUSE_HOME"), os.environ.get("DAGSTER_HOME")) == (before, before)


@pytest.mark.parametrize("path", leaves(cli.main), ids=" ".join)
def test_every_command_has_help_with_an_example_of_itself(
    call: Call, path: tuple[str, ...]
) -> None:
    text = call(*path, "--help").output
    example = text.partition("Example")[2]
    assert "lakehouse" in example
    assert path[-1] in example


def test_the_commands_of_the_design_are_there() -> None:
    assert {"run", "simulate", "sql", "status", "report", "publish", "demo", "dev"} <= set(
        cli.COMMANDS
    )


def test_help_names_every_command_in_a_line_of_its_own_and_imports_none() -> None:
    program = (
        "import sys; from dagster_project.cli import main; "
        "main(['--help'], standalone_mode=False); "
        "print(sorted(m for m in sys.modules "
        "if m.split('.')[0] in ('polars', 'duckdb', 'pydicom', 'dagster')))"
    )
    said = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=REPOSITORY
    ).stdout.splitlines()
    assert said[-1] == "[]"
    lines = {
        line.split()[0]: line.strip()
        for line in said
        if line.startswith("  ") and line.split()[0] in cli.COMMANDS
    }
    assert lines.keys() == cli.COMMANDS.keys()
    for name, (_, summary) in cli.COMMANDS.items():
        assert lines[name].endswith(summary), "in one line of 80 columns, not cut"


def test_the_version_is_the_packages(call: Call) -> None:
    program = version("dynamic-irecist-lakehouse")
    said = call("--version").output
    assert said == f"lakehouse, version {program}, schema version {latest()} of the lake\n"


# -- where there is nothing yet --------------------------------------------------------------------


def test_an_empty_landing_is_told_what_to_put_where(call: Call) -> None:
    result = call("run")
    assert result.exit_code == 0
    assert "holds no site" in result.output
    assert "clinical/patients.csv" in result.output
    assert "lakehouse simulate" in result.output


@pytest.mark.parametrize(
    "command", [("sql", "SELECT 1"), ("status",), ("publish",), ("report",)], ids=lambda c: c[0]
)
@pytest.mark.parametrize("before", [(), ("run",)], ids=["no folder", "empty folders"])
def test_where_there_is_no_lake_the_way_to_one_is_told(
    call: Call, before: tuple[str, ...], command: tuple[str, ...]
) -> None:
    _ = before and call(*before)
    result = call(*command)
    assert result.exit_code == 1
    assert "there is no lake" in result.output
    assert "lakehouse run" in result.output


def test_a_site_that_nobody_knows_is_refused_before_anything_is_made(call: Call) -> None:
    (call.home / "landing" / "BJCH").mkdir(parents=True)
    result = call("run", "--site", "BJHC")
    assert result.exit_code == 1
    assert "BJHC" in result.output
    assert "sites are BJCH" in result.output
    assert not (call.home / "vault" / "BJHC").exists()


@pytest.mark.parametrize(
    "name",
    [
        "bjch",
        "BJCH (1)",
        "Zhang San",
        "ＢＪＣＨ",
        "B",
        "BEIJINGCHAOYANG",
        "00412877",
        "ZY001234",
        "1949",
        ".hidden",
        "BJ-CH",
    ],
)
def test_a_folder_that_is_no_site_is_counted_and_nothing_is_made_of_it(
    call: Call, name: str
) -> None:
    (call.home / "landing" / name / "dicom").mkdir(parents=True)
    result = call("run")
    assert result.exit_code == 0
    assert "1 folders and 0 files" in result.output
    assert "2 to 8 characters, capital letters first" in result.output
    assert name not in result.output.replace("BJCH)", ""), "it may be a person's name"
    assert list((call.home / "vault").iterdir()) == []
    assert not list((call.home / "dagster").iterdir()), "no run, no partition"


def test_files_in_the_landing_root_are_counted_and_what_systems_leave_is_not(call: Call) -> None:
    (call.home / "landing").mkdir(parents=True)
    for name in (".DS_Store", "Thumbs.db", "._x", "patients.csv", "BJCH.zip", "BJCH"):
        (call.home / "landing" / name).touch()
    assert "0 folders and 3 files" in call("run").output


def test_of_two_folders_that_differ_in_case_one_is_the_site(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("BJCH", "bjch"):
        (call.home / "landing" / name).mkdir(parents=True)
    asked: list[object] = []
    monkeypatch.setattr(
        run_command, "run_flow", lambda home, _: (asked.append(home.sites()), Flow((), True, ""))[1]
    )
    assert "1 folders and 0 files" in call("run").output
    assert asked == [["BJCH"]]
    assert call("run", "--site", "bjch").exit_code == 1


# -- run -------------------------------------------------------------------------------------------

FLOWS = {
    "open": (Flow((), True, ""), 0, 0),
    "closed by the data": (Flow((), False, "The gate is closed. minimum_patients"), 0, 3),
    "a step failed": (Flow(("BJCH scans: MemoryError",), False, ""), 1, 1),
}


@pytest.mark.parametrize(("flow", "plain", "required"), FLOWS.values(), ids=FLOWS)
def test_the_exit_code_tells_how_a_run_ended(
    call: Call, monkeypatch: pytest.MonkeyPatch, flow: Flow, plain: int, required: int
) -> None:
    (call.home / "landing" / "BJCH").mkdir(parents=True)
    asked: list[list[str]] = []
    monkeypatch.setattr(run_command, "run_flow", lambda _, sites: (asked.append(sites), flow)[1])
    assert call("run", "--site", "BJCH").exit_code == plain
    assert call("run", "--require-model").exit_code == required
    assert asked == [["BJCH"], []]


# -- sql and status, on the shared study -----------------------------------------------------------


def test_one_answer_in_three_forms(grown: Stage) -> None:
    asked = "SELECT site, count(*) AS n, NULL AS nothing FROM patients GROUP BY site ORDER BY site"
    table, text, array = (
        grown.trial.call("sql", asked, *form).output for form in ((), ("--csv",), ("--json",))
    )
    assert list(csv.reader(io.StringIO(text))) == [
        ["site", "n", "nothing"],
        *([site, "4", ""] for site in SITES),
    ]
    assert json.loads(array) == [{"site": site, "n": 4, "nothing": None} for site in SITES]
    assert all(site in table for site in SITES)


def test_texts_in_square_brackets_are_shown_as_they_are(grown: Stage) -> None:
    """They are values, not the terminal's markup: `[reads] target_roi` is part of a reason."""
    shown = grown.trial.call("sql", "SELECT '[reads] target_roi' AS a, '[/b]' AS b").output
    assert "[reads] target_roi" in shown
    assert "[/b]" in shown


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM patient",
        "SELECT no_such FROM scans",
        "SELEC 1",
        "DELETE FROM scans",
        "SELECT 1; DROP TABLE scans",
    ],
)
def test_a_statement_that_fails_leaves_a_hint_and_the_lake(grown: Stage, statement: str) -> None:
    result = grown.trial.call("sql", statement)
    assert result.exit_code == 1
    assert "SHOW TABLES" in result.output
    assert "Traceback" not in result.output
    assert grown.trial.snapshot() == grown.snapshot


def test_a_snapshot_that_never_was_is_said_to_be_none(grown: Stage) -> None:
    result = grown.trial.call("sql", "SELECT 1", "--as-of", "999999")
    assert result.exit_code == 1
    assert "999999" in result.output
    assert "Traceback" not in result.output


def test_tables_and_columns_can_be_found_by_asking(grown: Stage) -> None:
    shown = grown.trial.call("sql", "SHOW TABLES", "--csv").output.split()
    assert {t.name for t in TABLES} <= set(shown)
    assert "pixel_digest" in grown.trial.call("sql", "DESCRIBE scans").output


def test_status_tells_rows_deliveries_refusals_and_the_gate(grown: Stage) -> None:
    text = grown.trial.call("status").output
    assert f"snapshot {grown.snapshot}" in text
    assert "taken in" in text
    assert "Gate open" in text
    assert "Open for arbitration: none" in text


def test_status_sees_a_delivery_that_changed(grown: Stage) -> None:
    file = grown.trial.home.landing / SITES[0] / "dicom" / "one_more"
    file.touch()
    try:
        assert "changed since the last run" in grown.trial.call("status").output
    finally:
        file.unlink()


def test_publishing_what_is_published_says_so(grown: Stage) -> None:
    assert "published already" in grown.trial.call("publish").output


def test_the_demo_spares_a_folder_that_is_not_its_own(call: Call) -> None:
    (call.home / "landing").mkdir(parents=True)
    result = call("demo")
    assert result.exit_code == 1
    assert "holds another study" in result.output
    assert (call.home / "landing").is_dir()


# -- arbitration -----------------------------------------------------------------------------------


def wide(trial, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> Result:
    from rich.console import Console

    for module in ("terminal", "arbitration"):
        monkeypatch.setattr(
            f"dagster_project.commands.{module}.CONSOLE", Console(highlight=False, width=400)
        )
    return trial.call("arbitration", *arguments)


def test_the_worklist_names_cases_and_no_reader(
    closed: Stage, opened: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = opened.trial.pseudonym(SITES[1], 0)
    listed = wide(opened.trial, monkeypatch, "list", "--all").output
    assert case in listed
    assert "settled" in listed
    assert case not in wide(opened.trial, monkeypatch, "list").output, "a settled case is no work"
    assert not {"R1", "R2"} & set(listed.split())


def test_a_case_shows_both_reads_masked(opened: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    case = opened.trial.pseudonym(SITES[1], 0)
    shown = wide(opened.trial, monkeypatch, "show", case).output
    sums = (
        opened.table("responses")
        .filter(patient=case, visit="T1")
        .filter(evaluator="R2")["sum_mm"]
        .item()
    )
    assert f"{sums:.4g}" in shown
    assert not {"R1", "R2"} & set(shown.split())
    refused = wide(opened.trial, monkeypatch, "show", "NOBODY")
    assert refused.exit_code == 1
    assert "no case bears that pseudonym" in refused.output


def test_the_worklist_is_json_for_a_machine_and_names_no_reader(opened: Stage) -> None:
    assert json.loads(opened.trial.call("arbitration", "list", "--json").output) == []
    (case,) = json.loads(opened.trial.call("arbitration", "list", "--all", "--json").output)
    assert (case["site"], case["status"]) == (SITES[1], "settled")
    assert case["patient"] == opened.trial.pseudonym(SITES[1], 0)
    assert case["triggers"]
    assert not {"R1", "R2"} & set(" ".join(case["triggers"]).split())
    assert case.keys() == {"site", "patient", "status", "n_lesion_visits", "triggers"}


def test_a_settled_case_takes_no_other_decision(
    opened: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = opened.trial.pseudonym(SITES[1], 0)
    refused = wide(opened.trial, monkeypatch, "decide", case, "--accept", "A", "--by", "ARBITER2")
    assert refused.exit_code == 1
    assert "not open" in refused.output
    assert list(opened.trial.home.vault.glob("*/*/decisions/*")) == []


def test_pages_of_cases_name_no_reader_and_ask_nothing_of_the_network(opened: Stage) -> None:
    from tests.reports.pages import Page

    case = opened.trial.pseudonym(SITES[1], 0)
    worklist, page = (
        Page((opened.trial.home.reports / name).read_text(encoding="utf-8"))
        for name in ("arbitration.html", f"arbitration/{case}.html")
    )
    assert f"arbitration/{case}.html" in worklist.addresses
    assert not {"R1", "R2"} & set(page.text.split())
    assert [a for a in page.addresses if not a.startswith("data:image/png")] == [
        "../arbitration.html"
    ]
    assert len([a for a in page.addresses if a.startswith("data:")]) >= 6
    assert page.unclosed == worklist.unclosed == []


def test_a_run_that_did_not_start_is_a_failure() -> None:
    error = SimpleNamespace(cause=None, message="the resource could not be made\n")
    event = SimpleNamespace(
        is_step_failure=False, is_job_failure=True, job_failure_data=SimpleNamespace(error=error)
    )
    (failed,) = run_command._failures(SimpleNamespace(success=False, all_events=[event]))
    assert (failed.step, failed.reason) == ("did not start", "the resource could not be made")
    assert list(run_command._failures(SimpleNamespace(success=True, all_events=[]))) == []

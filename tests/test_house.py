"""The house is complete and obeys its rules.

There is one name everywhere, imports cost nothing, and nothing belongs to one machine.
"""

from __future__ import annotations

import importlib
import json
import re
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest
import yaml

from dagster_project.definitions import defs
from dagster_project.lake.schema import comment
from dagster_project.lake.tables import BY_NAME, TABLES, Table
from dagster_project.study import tomllib

REPOSITORY = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
GRAPH = defs.resolve_asset_graph()
NO_TABLE = {
    "arbitration_pages",
    "board_pages",
    "due_list",
    "evaluation_page",
    "intake",
    "reader_pages",
    "study_report",
    "patient_reports",
    "published",
}
HEAVY = (
    "great_expectations",
    "mlflow",
    "torch",
    "radiomics",
    "sklearn",
    "matplotlib",
    "numba",
    "highdicom",
    "distributed",
)
MACHINE = re.compile(r"(?<![\w.])/(?:work|root|home|Users|mnt|data)/\w|[A-Z]:\\\\")
ELSEWHERE = re.compile(
    r"(?:https?:)?//[\w.-]+\.\w{2,}|\bcdn\b|@import|url\(\s*['\"]?(?!data:|#)", re.IGNORECASE
)


def sources() -> list[Path]:
    """Every text file that git keeps or would keep."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    return [
        REPOSITORY / name for name in listed.stdout.splitlines() if (REPOSITORY / name).is_file()
    ]


def node(table: Table) -> dg.AssetsDefinition:
    return defs.resolve_assets_def(table.name)


# -- one name everywhere ---------------------------------------------------------------------------


@pytest.mark.parametrize("table", TABLES, ids=lambda t: t.name)
def test_a_table_has_an_asset_of_its_name_in_a_module_of_its_name(table: Table) -> None:
    module = importlib.import_module(f"assets.{table.name}")
    asset = getattr(module, table.name)
    assert isinstance(asset, dg.AssetsDefinition)
    assert asset.keys == {dg.AssetKey(table.name)}
    assert module.__doc__


@pytest.mark.parametrize("table", TABLES, ids=lambda t: t.name)
def test_an_asset_tells_what_the_table_declares(table: Table) -> None:
    spec = node(table).get_asset_spec(dg.AssetKey(table.name))
    assert spec.group_name == table.group
    assert table.en in (spec.description or "")
    assert table.zh in (spec.description or "")
    assert spec.owners
    assert {"ducklake", "parquet"} <= spec.kinds
    assert (node(table).partitions_def is not None) == table.by_site
    shown = spec.metadata["dagster/column_schema"].columns
    assert [(c.name, c.type, c.description) for c in shown] == [
        (c.name, c.type, comment(c)) for c in table.columns
    ]
    assert [c.constraints.nullable for c in shown] == [c.nullable for c in table.columns]


@pytest.mark.parametrize("table", TABLES, ids=lambda t: t.name)
def test_a_table_has_both_generated_checks_and_a_test(table: Table) -> None:
    checks = {key.name for key in GRAPH.get_check_keys_for_assets({dg.AssetKey(table.name)})}
    assert {"contract", "expectations"} <= checks
    assert (REPOSITORY / "tests" / "assets" / f"test_{table.name}.py").is_file()


def test_every_other_asset_is_known() -> None:
    assert {key.to_user_string() for key in GRAPH.get_all_asset_keys()} == set(BY_NAME) | NO_TABLE


def test_a_check_module_is_named_after_its_table_or_its_rule() -> None:
    modules = {p.stem for p in (REPOSITORY / "checks").glob("*.py")} - {"__init__"}
    assert modules <= set(BY_NAME) | NO_TABLE | {"contracts", "expectations", "tables"}
    for name in modules & (set(BY_NAME) | NO_TABLE):
        module = importlib.import_module(f"checks.{name}")
        found = [c for c in vars(module).values() if isinstance(c, dg.AssetChecksDefinition)]
        assert name in {
            key.asset_key.to_user_string() for check in found for key in check.check_keys
        }


@pytest.mark.parametrize("table", TABLES, ids=lambda t: t.name)
def test_everything_is_described_in_both_languages(table: Table) -> None:
    texts = {"": (table.en, table.zh), **{c.name: (c.en, c.zh) for c in table.columns}}
    assert [
        name for name, (en, zh) in texts.items() if not en or not re.search(r"[\u4e00-\u9fff]", zh)
    ] == []


def test_every_job_takes_each_asset_once() -> None:
    jobs = {name: defs.resolve_job_def(name) for name in ("site", "cohort", "report")}
    taken = [
        key.to_user_string()
        for job in jobs.values()
        for key in job.asset_layer.executable_asset_keys
    ]
    assert sorted(taken) == sorted(set(BY_NAME) | NO_TABLE)


# -- where things come together --------------------------------------------------------------------


def test_definitions_stay_short_and_valid() -> None:
    assert (
        len(
            (REPOSITORY / "dagster_project" / "definitions.py")
            .read_text(encoding="utf-8")
            .splitlines()
        )
        <= 60
    )
    dg.Definitions.validate_loadable(defs)


def test_workspace_loads_the_definitions_by_a_relative_path() -> None:
    workspace = yaml.safe_load((REPOSITORY / "workspace.yaml").read_text(encoding="utf-8"))
    file = workspace["load_from"][0]["python_file"]
    assert not Path(file["relative_path"]).is_absolute()
    assert (REPOSITORY / file["relative_path"]).is_file()


def test_what_starts_by_itself_is_running() -> None:
    assert {s.name: s.default_status.value for s in defs.schedules or []} == {"nightly": "RUNNING"}
    sensors = {s.name: s.default_status.value for s in defs.sensors or []}
    assert set(sensors.values()) == {"RUNNING"}
    assert "landing" in sensors


def test_the_four_names_are_those_of_this_repository() -> None:
    for name in ("assets", "checks", "models", "dagster_project"):
        found = importlib.import_module(name)
        assert Path(str(found.__file__)).resolve() == REPOSITORY / name / "__init__.py"


def test_both_workspaces_load_the_same_definitions() -> None:
    """One for the units and whoever works in the repository, one for an installed wheel."""
    found = []
    for file in (REPOSITORY / "workspace.yaml", REPOSITORY / "dagster_project" / "workspace.yaml"):
        (place,) = yaml.safe_load(file.read_text(encoding="utf-8"))["load_from"]
        python_file = place["python_file"]
        found.append((file.parent / python_file["relative_path"], python_file["location_name"]))
    assert found[0] == found[1]
    assert found[0][0].is_file()


def loaded_by(loading: str, names: tuple[str, ...]) -> list[str]:
    """Which of these modules a fresh Python has loaded after the statement."""
    shown = f"print(json.dumps([m for m in {names!r} if m in sys.modules]))"
    program = f"{loading}\nimport json, sys\n{shown}"
    found = subprocess.run(
        [sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    loaded: list[str] = json.loads(found.stdout)
    return loaded


def test_loading_the_definitions_imports_nothing_heavy() -> None:
    loading = "import runpy; runpy.run_path('dagster_project/definitions.py')"
    assert loaded_by(loading, HEAVY) == []


def test_the_command_line_starts_without_dagster() -> None:
    assert loaded_by("import dagster_project.cli", ("dagster", "polars", *HEAVY)) == []


@pytest.mark.parametrize("step", ["scans", "reads", "radiomic_features", "dhi", "habitats"])
def test_a_worker_does_not_load_dagster(step: str) -> None:
    program = f"import sys, dagster_project.flow.{step}; print('dagster' in sys.modules)"
    assert (
        subprocess.run(
            [sys.executable, "-c", program],
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        == "False"
    )


# -- nothing of one machine, nothing from elsewhere ------------------------------------------------


def test_no_path_of_a_machine_is_in_the_repository() -> None:
    texts = {
        p: p.read_text(encoding="utf-8", errors="replace")
        for p in sources()
        if p.suffix not in {".png", ".parquet", ".gz", ".dcm"}
    }
    assert [
        str(p.relative_to(REPOSITORY)) for p, text in texts.items() if MACHINE.search(text)
    ] == []


def test_templates_ask_nothing_of_the_network() -> None:
    templates = list((REPOSITORY / "dagster_project" / "reports" / "templates").iterdir())
    assert len(templates) >= 4
    assert [
        (p.name, m.group())
        for p in templates
        for m in ELSEWHERE.finditer(p.read_text(encoding="utf-8"))
    ] == []


def test_telemetry_is_off() -> None:
    settings = yaml.safe_load(
        (REPOSITORY / "dagster_project" / "dagster.yaml").read_text(encoding="utf-8")
    )
    assert settings["telemetry"] == {"enabled": False}
    assert settings["run_monitoring"]["free_slots_after_run_end_seconds"] > 0


ROOMS = "domain|federated|flow|intake|models|radiomics|reports|statistics"
NAMED = re.compile(rf"`((?:dagster_project\.)?(?:{ROOMS})(?:\.\w+)+)")
AS_THEY_WERE = ("docs/decisions/", "docs/changelog.md", "tests/lakes/")
"""Texts that name modules as they were in their time."""


def is_there(name: str) -> bool:
    """Whether a dotted name is a module or package, or is defined in a module."""
    path = REPOSITORY.joinpath(*name.split("."))
    if path.with_suffix(".py").is_file() or (path / "__init__.py").is_file():
        return True
    module = path.parent.with_suffix(".py")
    defined = rf"^(?:(?:def|class) )?{path.name}\b"
    return module.is_file() and bool(
        re.search(defined, module.read_text(encoding="utf-8"), re.MULTILINE)
    )


def test_every_module_that_a_text_names_is_there() -> None:
    found = [
        f"{name}: {named}"
        for file in sources()
        if file.suffix in {".py", ".md", ".toml"}
        and not (name := file.relative_to(REPOSITORY).as_posix()).startswith(AS_THEY_WERE)
        for named in NAMED.findall(file.read_text(encoding="utf-8"))
        if not is_there(named) and not is_there(f"dagster_project.{named}")
    ]
    assert found == []


@pytest.mark.parametrize("named", ["models.tracking.log_models", "domain.imaging.masks.nothing"])
def test_a_module_that_is_gone_is_seen(named: str) -> None:
    assert not is_there(named)
    assert not is_there(f"dagster_project.{named}")


def test_the_state_of_a_home_is_shown_without_dagster_and_scipy() -> None:
    assert loaded_by("import dagster_project.commands.status", ("dagster", "scipy", *HEAVY)) == []

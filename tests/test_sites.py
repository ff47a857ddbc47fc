"""A protocol may list its sites; a folder of another name is refused.

It is refused before anything knows the name. Pages show full names.
"""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest
from click.testing import CliRunner, Result

from dagster_project import cli, schedules, sensors
from dagster_project.commands import run as run_command
from dagster_project.commands.run import Flow
from dagster_project.definitions import defs
from dagster_project.intake.vault.vault import IntakeError, Reception, take_in
from dagster_project.lake.home import Home, is_site
from dagster_project.lake.store import open_lake
from dagster_project.reports.arbitration import render_worklist
from dagster_project.reports.patient_index import render_patient_index
from dagster_project.reports.patient_reports import render_patient_report
from dagster_project.reports.study_report import render_study_report
from dagster_project.study import PROTOCOL, StudyError, load_study
from tests.intake.builders import KEYS
from tests.reports.cohort import MOMENT, whole

NAMED = '{ BJCH = "Beijing Chaoyang Hospital", NORTH = "北方医院", SOUTH = "" }'


@pytest.fixture
def listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return protocol(NAMED, tmp_path, monkeypatch)


def protocol(sites: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = folder / "study.toml"
    text = PROTOCOL.read_text(encoding="utf-8")
    file.write_text(text.replace("[study]\n", f"[study]\nsites = {sites}\n", 1), encoding="utf-8")
    monkeypatch.setenv("LAKEHOUSE_STUDY", str(file))
    return file


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.setenv("LAKEHOUSE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home" / "dagster"))
    return Home(tmp_path / "home").make()


def call(home: Home, *arguments: str) -> Result:
    return CliRunner().invoke(cli.main, ["--home", str(home.root), *arguments])


# -- which folder is a site ------------------------------------------------------------------------


@pytest.mark.parametrize("sites", [NAMED, '["BJCH", "NORTH", "SOUTH"]'])
def test_where_the_protocol_lists_sites_only_these_are_sites(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sites: str
) -> None:
    assert is_site("WANGLI")
    protocol(sites, tmp_path, monkeypatch)
    assert [is_site(name) for name in ("BJCH", "SOUTH", "WANGLI", "bjch", "BJCH1")] == [
        True,
        True,
        False,
        False,
        False,
    ]


@pytest.mark.parametrize("sites", ["[]", "{}"])
def test_an_empty_list_leaves_the_form_of_a_code_as_the_rule(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sites: str
) -> None:
    protocol(sites, tmp_path, monkeypatch)
    assert [is_site(name) for name in ("WANGLI", "00412877")] == [True, False]


@pytest.mark.parametrize(
    "sites",
    ['"BJCH"', "[1]", "{ BJCH = 1 }", '["00412877"]', '{ bjch = "x" }', '[{ code = "BJCH" }]'],
)
def test_a_list_that_cannot_be_used_is_named_by_its_entry(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sites: str
) -> None:
    protocol(sites, tmp_path, monkeypatch)
    (home.landing / "BJCH").mkdir()
    with pytest.raises(StudyError, match=r"\[study\] sites"):
        is_site("BJCH")
    told = call(home, "run")
    assert told.exit_code == 1
    assert told.output.startswith("Error: study.toml [study] sites")


def test_a_changed_list_counts_at_once(listed: Path) -> None:
    assert not is_site("WANGLI")
    listed.write_text(
        listed.read_text(encoding="utf-8").replace("SOUTH =", "WANGLI ="), encoding="utf-8"
    )
    assert is_site("WANGLI")


# -- every way in ----------------------------------------------------------------------------------


@pytest.mark.usefixtures("listed")
def test_a_run_counts_the_folder_and_makes_nothing_of_it(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[str]] = []
    monkeypatch.setattr(
        run_command, "run_flow", lambda home, _: (asked.append(home.sites()), Flow((), True, ""))[1]
    )
    for name in ("BJCH", "WANGLI"):
        (home.landing / name / "dicom").mkdir(parents=True)
    told = call(home, "run")
    assert asked == [["BJCH"]]
    assert "1 folders and 0 files" in told.output
    assert "[study] sites: BJCH, NORTH, SOUTH" in " ".join(told.output.split())
    assert "WANGLI" not in told.output
    assert call(home, "run", "--site", "WANGLI").exit_code == 1
    assert not any(
        "WANGLI" in str(path)
        for path in home.root.rglob("*")
        if not path.is_relative_to(home.landing)
    )


@pytest.mark.usefixtures("listed")
def test_status_counts_it_in_both_languages(home: Home) -> None:
    (home.landing / "WANGLI").mkdir()
    open_lake(home).close()
    for lang, words in (("en", "that the protocol lists"), ("zh", "研究方案所列的中心代码")):
        told = call(home, "status", "--lang", lang).output
        assert words in told
        assert "WANGLI" not in told
    assert call(home, "status", "--site", "WANGLI").exit_code == 1


@pytest.mark.usefixtures("listed")
def test_the_sensor_and_the_night_make_no_partition_of_it(home: Home) -> None:
    for name in ("BJCH", "WANGLI"):
        (home.landing / name / "clinical").mkdir(parents=True)
    with dg.instance_for_test() as instance:
        context = dg.build_sensor_context(instance=instance)
        first = sensors.landing(context)
        assert isinstance(first, dg.SensorResult)
        assert first.dynamic_partitions_requests
        assert [request.partition_keys for request in first.dynamic_partitions_requests] == [
            ["BJCH"]
        ]
        assert "WANGLI" not in str(first.cursor)
        night = dg.build_schedule_context(
            instance=instance,
            scheduled_execution_time=MOMENT,
            repository_def=defs.get_repository_def(),
        )
        assert [request.partition_key for request in schedules.nightly(night)] == ["BJCH"]
        assert instance.get_dynamic_partitions("site") == ["BJCH"]


@pytest.mark.usefixtures("listed")
def test_nothing_comes_in_by_the_network_or_by_a_call_for_it(home: Home) -> None:
    folder, vault = home.landing / "WANGLI", home.vault / "WANGLI"
    for begin in (take_in, Reception):
        with pytest.raises(IntakeError, match="lists the sites of the study") as refused:
            begin(folder, vault, keys=KEYS, crosswalk=home.crosswalk)
        assert "WANGLI" not in str(refused.value)
    for command in (("pacs", "listen"), ("pacs", "pull")):
        assert "lists the sites of the study" in call(home, *command, "--site", "WANGLI").output
    assert not folder.exists()
    assert not vault.exists()


@pytest.mark.usefixtures("listed")
def test_a_vault_of_a_site_that_is_no_longer_listed_is_named_and_left_alone(home: Home) -> None:
    (home.vault / "OLDSITE").mkdir()
    (home.landing / "OLDSITE").mkdir()
    assert home.sites() == []
    assert home.former_sites() == ["OLDSITE"]
    assert "OLDSITE: taken in before" in call(home, "run").output


# -- pages -----------------------------------------------------------------------------------------


@pytest.mark.usefixtures("listed")
def test_pages_show_the_full_name_where_there_is_one() -> None:
    tables, study = whole(), load_study()
    pages = [
        render_study_report(tables, study, 1, MOMENT),
        render_patient_index(tables, study, snapshot=1, generated_at=MOMENT),
        render_worklist(tables, study, snapshot=1, generated_at=MOMENT),
    ]
    for page in pages:
        assert "北方医院 (NORTH)" in page
    assert "<td>SOUTH</td>" in pages[1]
    patient = tables["patients"].filter(site="NORTH")["patient"][0]
    assert "北方医院 (NORTH)" in render_patient_report(
        patient, tables, study, snapshot=1, generated_at=MOMENT
    )


def test_without_a_list_pages_show_the_code() -> None:
    page = render_patient_index(whole(), load_study(), snapshot=1, generated_at=MOMENT)
    assert "<td>NORTH</td>" in page

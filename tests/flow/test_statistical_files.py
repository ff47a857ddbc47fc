"""Files of SAS, SPSS and Stata hold what the published file holds, under the dictionary's names."""

from __future__ import annotations

import datetime as dt

import duckdb
import polars as pl
import pyreadstat
import pytest
from click.testing import CliRunner

from dagster_project.cli import main
from dagster_project.flow.statistical_files import LONGEST_NAME, SUFFIX, write_statistical_files
from dagster_project.lake.home import Home
from dagster_project.lake.publish import publish
from dagster_project.lake.store import open_lake
from dagster_project.lake.tables import PUBLISHED
from dagster_project.lake.views import VIEWS
from tests.lake.test_publish import rows
from tests.reports.cohort import whole

READ = {"sas": pyreadstat.read_xport, "spss": pyreadstat.read_sav, "stata": pyreadstat.read_dta}

SHOWN = ("treatments", "outcomes", "patients", "reads")


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    home = Home(tmp_path_factory.mktemp("statistics") / "home").make()
    with open_lake(home) as lake:
        lake.replace("treatments", rows("AA", "p1"), site="AA")
        for name in ("patients", "outcomes"):
            north = whole()[name].filter(pl.col("site") == "NORTH")
            lake.replace(name, north, site="NORTH")
        database = publish(lake, home.published).database
    folder = tmp_path_factory.mktemp("files")
    return database, folder, write_statistical_files(database, folder)


def test_every_table_and_view_is_in_each_format(written):
    _, folder, counts = written
    assert counts == dict.fromkeys(SUFFIX, len(PUBLISHED) + len(VIEWS))
    for kind, suffix in SUFFIX.items():
        assert len(list((folder / kind).glob(f"*{suffix}"))) == counts[kind]


def _expected(value):
    return "" if value is None else value


@pytest.mark.parametrize("kind", SUFFIX)
@pytest.mark.parametrize("table", SHOWN)
def test_values_names_and_labels_come_back(written, kind, table):
    database, folder, _ = written
    with duckdb.connect(str(database), read_only=True) as c:
        published = c.execute(f"SELECT * FROM {table}").pl()
    frame, found = READ[kind](folder / kind / f"{table}{SUFFIX[kind]}", output_format="polars")
    declared = {c.name: c.en for t in PUBLISHED if t.name == table for c in t.columns}
    assert found.column_names == [n for n in published.columns if n in declared]
    for name, label in found.column_names_to_labels.items():
        assert declared[name].startswith(label)
        assert len(label) > 2
    for name in found.column_names:
        theirs = frame[name] if frame.height else pl.Series()
        _compare(published[name], theirs, published.schema[name])


def _compare(published, read, kind):
    assert len(read) == len(published)
    for ours, theirs in zip(published.to_list(), read.to_list(), strict=True):
        if isinstance(kind, pl.List):
            assert (theirs or "") == "; ".join(ours or [])
        elif kind == pl.String:
            assert (theirs or "") == _expected(ours)
        elif isinstance(ours, dt.date):
            assert str(theirs)[:10] == str(ours)
        elif ours is None:
            assert theirs is None
        else:
            assert float(theirs) == pytest.approx(float(ours), rel=1e-12)


@pytest.mark.parametrize("kind", ["spss", "stata"])
def test_truth_values_are_labelled(written, kind):
    _, folder, _ = written
    _, found = READ[kind](folder / kind / f"outcomes{SUFFIX[kind]}")
    assert found.variable_value_labels["responder"] == {0: "no", 1: "yes"}


def test_no_name_is_longer_than_the_programs_take():
    for table in (*PUBLISHED, *VIEWS.values()):
        assert len(table.name) <= LONGEST_NAME
        assert all(len(c.name) <= LONGEST_NAME for c in table.columns)


def test_the_command_writes_them_outside_the_home_alone(tmp_path):
    home = Home(tmp_path / "home").make().root
    open_lake(Home(home)).close()
    refused = CliRunner().invoke(
        main, ["--home", str(home), "publish", "--statistics", str(home / "published" / "files")]
    )
    assert refused.exit_code == 1
    assert "name one outside" in refused.output
    made = CliRunner().invoke(
        main, ["--home", str(home), "publish", "--statistics", str(tmp_path / "files")]
    )
    assert made.exit_code == 0, made.output
    assert (tmp_path / "files" / "spss" / "patients.sav").is_file()

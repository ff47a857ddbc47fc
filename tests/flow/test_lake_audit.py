"""What could identify a person in a table of the lake is found before it is published.

Its site is left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from dagster_project.flow.lake_audit import (
    LARGE_NUMBER,
    OF_THE_PROTOCOL,
    STRANGE_DAY,
    audit_lake,
    open_lake_findings,
)
from dagster_project.flow.publication import NothingPublished, publish_home
from dagster_project.flow.vault_audit import blocked_sites, open_findings
from dagster_project.intake.vault.audit_words import words_fault
from dagster_project.lake.home import Home
from dagster_project.lake.store import Lake, open_lake
from dagster_project.lake.tables import BY_NAME, TABLES
from dagster_project.radiomics.extraction import feature_names
from dagster_project.study import load_study
from tests.lake.test_store import rows
from tests.test_sites import protocol

P1, P2 = "AA-" + "P" * 17, "AA-" + "Q" * 17


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    for name in ("LAKEHOUSE_DATA", "LAKEHOUSE_CATALOG"):
        monkeypatch.delenv(name, raising=False)
    made = Home(tmp_path / "home").make()
    for site in ("AA", "BB"):
        (made.vault / site).mkdir()
    return made


@pytest.fixture
def lake(home: Home) -> Iterator[Lake]:
    with open_lake(home) as opened:
        opened.replace("treatments", rows("AA", P1, P2), site="AA")
        opened.replace("treatments", rows("BB", P1.replace("AA", "BB")), site="BB")
        yield opened


def published_sites(home: Home) -> set[str]:
    with duckdb.connect(str(home.published / "lakehouse.duckdb"), read_only=True) as store:
        return {
            site for (site,) in store.execute("SELECT DISTINCT site FROM treatments").fetchall()
        }


def test_a_lake_of_our_own_words_has_no_finding(home: Home, lake: Lake) -> None:
    assert audit_lake(lake, home) == {}
    publish_home(lake, home, load_study())
    assert published_sites(home) == {"AA", "BB"}


def test_rows_of_a_site_that_the_protocol_no_longer_lists_are_no_findings(
    home: Home, lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    protocol('["AA"]', tmp_path, monkeypatch)
    assert home.former_sites() == ["BB"]
    assert audit_lake(lake, home) == {}


@pytest.mark.parametrize(
    "value",
    [
        "慕容霜雁",
        "murong shuangyan",
        "MURONG^SHUANGYAN",
        "ZY0012345",
        "13800138000",
        "1949-05-11",
        "11010519491231002X",
        "北京市朝阳区建国路88号",
    ],
)
def test_an_identifier_is_found(home: Home, lake: Lake, value: str) -> None:
    lake.query("UPDATE treatments SET drugs = ? WHERE patient = ?", [value, P1])
    found = audit_lake(lake, home)
    assert {site: {finding[1:3] for finding in findings} for site, findings in found.items()} == {
        "AA": {("treatments", "drugs")}
    }
    assert value not in str(found)


def test_an_identifier_leaves_its_site_out_until_it_is_gone(home: Home, lake: Lake) -> None:
    value = "慕容霜雁"
    lake.query("UPDATE treatments SET drugs = ? WHERE patient = ?", [value, P1])
    publish_home(lake, home, load_study())
    assert blocked_sites(home) == {"AA"}
    assert published_sites(home) == {"BB"}
    assert {(table, column) for _, table, column in open_findings(home)["AA"]} == {
        ("treatments", "drugs")
    }
    assert value not in str(open_findings(home))
    lake.query("UPDATE treatments SET drugs = 'pembrolizumab'")
    publish_home(lake, home, load_study())
    assert published_sites(home) == {"AA", "BB"}


def test_a_true_date_among_shifted_ones_does_not_fit_its_day(home: Home, lake: Lake) -> None:
    follow_up = (
        "INSERT INTO follow_up VALUES ('AA', ?, 1, DATE '2020-02-01', 31, 'alive', NULL, true, 'f')"
    )
    lake.query(follow_up, [P1])
    assert audit_lake(lake, home) == {}
    lake.query("UPDATE follow_up SET event_date = DATE '2024-02-01'")
    assert {what for what, *_ in audit_lake(lake, home)["AA"]} == {STRANGE_DAY}


def test_a_finding_in_a_table_of_all_sites_stops_the_publication(home: Home, lake: Lake) -> None:
    publish_home(lake, home, load_study())
    before = (home.published / "lakehouse.duckdb").resolve()
    lake.query("""
        INSERT INTO feature_stability (region, feature, reason, n_pairs, n_lesions_perturbed, \
n_lesions_repeated, stable, simulated)
        VALUES ('tumor', 'original_firstorder_Mean', 'murong shuangyan', 0, 0, 0, false, true)""")
    with pytest.raises(NothingPublished):
        publish_home(lake, home, load_study())
    assert (home.published / "lakehouse.duckdb").resolve() == before
    assert open_lake_findings(home).keys() == {"*"}


def test_a_table_that_holds_what_it_held_is_not_read_again(
    home: Home, lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    audit_lake(lake, home)
    monkeypatch.setattr(
        "dagster_project.flow.lake_audit._audit", lambda *_: pytest.fail("read again")
    )
    assert audit_lake(lake, home) == {}


def test_every_value_that_a_column_may_take_is_made_of_our_own_words() -> None:
    """Also names of features and of models.

    A table of all sites with a strange word would stop the publication.
    """
    names = feature_names(load_study().section("radiomics"))
    values = [
        value for table in TABLES for column in table.columns for value in column.allowed or ()
    ]
    assert [text for text in (*names, *values) if words_fault(text)] == []


def test_a_recorded_decision_of_the_protocol_may_name_who_made_it(home: Home, lake: Lake) -> None:
    columns = {c.name for table in TABLES for c in table.columns}
    assert columns >= OF_THE_PROTOCOL
    insert(lake, "model_runs", amendments="'Murong Shuangyan, 2025-03-01: floor of ICC'")
    assert audit_lake(lake, home) == {}


@pytest.mark.parametrize(("table", "column"), [("dhi", "n_voxels"), ("reads", "n_outside")])
def test_a_large_tumour_has_a_million_voxels(
    home: Home, lake: Lake, table: str, column: str
) -> None:
    insert(lake, table, site="'AA'", patient=f"'{P1}'", **{column: "1500000"})
    assert audit_lake(lake, home) == {}


def test_a_number_too_long_for_a_measurement_is_found(home: Home, lake: Lake) -> None:
    insert(lake, "scans", site="'AA'", patient=f"'{P1}'", series_number="19490511")
    assert audit_lake(lake, home) == {"AA": [(LARGE_NUMBER, "scans", "series_number")]}


def insert(lake: Lake, table: str, **values: str) -> None:
    """A row of SQL literals; what is not given and must not be NULL is empty."""
    empty = {
        "string": "'x'",
        "bool": "false",
        "timestamp": "now()",
        "date": "current_date",
        "list<string>": "[]",
    }
    row = {
        c.name: empty.get(c.type, "0") for c in BY_NAME[table].columns if not c.nullable
    } | values
    lake.query(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({', '.join(row.values())})")

"""What analysts open holds the lake's rows and meanings.

Nobody who has it open is in the way.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from pathlib import Path

import duckdb
import polars as pl
import pyarrow.parquet as pq
import pytest
from pyarrow import dataset

from dagster_project.lake import published_database, published_files
from dagster_project.lake.home import Home
from dagster_project.lake.publish import Published, publish, withdraw_publications
from dagster_project.lake.published_files import by_site
from dagster_project.lake.schema import arrow_schema, comment
from dagster_project.lake.store import Lake, open_lake
from dagster_project.lake.tables import PUBLISHED
from tests.lake.test_store import rows

WRITTEN = ("treatments", "radiomic_features", "quarantine")
"""Tables that these tests write."""


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home").make()


def _feature(
    name: str, value: float, *, site: str = "AA", patient: str = "AA-AAAAAAAA", scan: str = "S1"
) -> dict[str, object]:
    return dict(
        site=site,
        patient=patient,
        visit="T0",
        scan=scan,
        lesion="L1",
        reader="R1",
        region="tumor",
        feature=name,
        value=value,
        reason=None,
        region_volume_mm3=10.0,
        settings_digest="d",
        engine="e",
        simulated=True,
        input_fingerprint=f"{patient}{scan}{value}",
    )


def _measured(
    lake: Lake,
    site: str,
    *patients: str,
    value: float = 1.0,
    scan: str = "S1",
    features: str = "ab",
) -> None:
    rows = [
        _feature(name, value + ord(name), site=site, patient=p, scan=f"{p}{scan}")
        for p in patients
        for name in features
    ]
    lake.replace_by_fingerprint(
        "radiomic_features", site=site, removed=[], added=pl.DataFrame(rows)
    )


def _everything(database: Path) -> dict[str, list[tuple[object, ...]]]:
    """The rows of every table of a published file, in an order of their own."""
    with duckdb.connect(str(database), read_only=True) as c:
        names = [
            name
            for (name,) in c.execute("SELECT table_name FROM duckdb_tables() ORDER BY 1").fetchall()
        ]
        return {
            name: sorted(c.execute(f'SELECT COLUMNS(*)::VARCHAR FROM "{name}"').fetchall(), key=str)
            for name in names
        }


def _same_as_from_nothing(lake: Lake, made: Published) -> bool:
    """Whether the database equals one that is written anew from the Parquet files.

    The tables that these tests write must also equal the lake's.
    """
    other = made.parquet.parent / ".other.duckdb"
    published_database.write_database(made.parquet, other, memory="1GB")
    here = {
        name: pl.read_parquet(made.parquet / f"{name}.parquet").sort(pl.all()) for name in WRITTEN
    }
    return _everything(made.database) == _everything(other) and all(
        here[name].equals(lake.read(name).sort(pl.all())) for name in WRITTEN
    )


def _manifest(parquet: Path) -> dict[str, dict[str, dict[str, object]]]:
    return json.loads((parquet / "manifest.json").read_text(encoding="utf-8"))


def test_published_file_is_self_contained_and_commented(home: Home) -> None:
    with open_lake(home) as lake:
        lake.replace("treatments", rows("AA", "p1"), site="AA")
        lake.replace(
            "radiomic_features", pl.DataFrame([_feature("a", 1.0), _feature("b", 2.0)]), site="AA"
        )
        made = publish(lake, home.published)
    with duckdb.connect(str(home.published / "lakehouse.duckdb"), read_only=True) as c:
        assert c.execute("SELECT patient FROM treatments").fetchall() == [("p1",)]
        assert c.execute("SELECT a, b FROM radiomic_features_wide").fetchall() == [(1.0, 2.0)]
        told = {
            (t, n): text
            for t, n, text in c.execute(
                "SELECT table_name, column_name, comment FROM duckdb_columns()"
            ).fetchall()
        }
    assert {
        (t.name, c.name): comment(c) for t in PUBLISHED for c in t.columns
    }.items() <= told.items()
    schema = pq.read_schema(home.published / "parquet" / "latest" / "reads.parquet")
    assert schema.field("volume_mm3").metadata[b"unit"] == b"mm3"
    assert (home.published / "parquet" / "latest").resolve() == made.parquet.resolve()


def test_publications_of_another_layout_go_since_they_may_hold_what_is_published_no_more(
    home: Home, monkeypatch
) -> None:
    with open_lake(home) as lake:
        for n, key in enumerate((("site",), ("site", "patient"), ("site", "patient"))):
            monkeypatch.setattr("dagster_project.lake.publish.WIDE_KEY", key)
            lake.replace("treatments", rows("AA", f"p{n}"), site="AA")
            publish(lake, home.published)
    assert len(list(home.published.glob("lakehouse-*.duckdb"))) == 2
    assert len([p for p in (home.published / "parquet").iterdir() if p.name.isdigit()]) == 2


def test_an_open_analyst_holds_up_no_publication(home: Home) -> None:
    with open_lake(home) as lake:
        lake.replace("treatments", rows("AA", "p1"), site="AA")
        publish(lake, home.published)
        analyst = duckdb.connect(
            str((home.published / "lakehouse.duckdb").resolve()), read_only=True
        )
        for n in range(5):
            lake.replace("treatments", rows("AA", f"p{n + 2}"), site="AA")
            publish(lake, home.published)
        assert analyst.execute("SELECT patient FROM treatments").fetchall() == [("p1",)]
        analyst.close()
    assert len(list(home.published.glob("lakehouse-*.duckdb"))) == 3


def test_publishing_the_same_snapshot_again_writes_nothing(home: Home) -> None:
    with open_lake(home) as lake:
        assert publish(lake, home.published).fresh
        assert not publish(lake, home.published).fresh


def test_a_blocked_site_is_left_out_until_it_is_not(home: Home) -> None:
    """Also of a snapshot that is published already, and of what is built on it."""

    def sites() -> set[str]:
        with duckdb.connect(str(home.published / "lakehouse.duckdb"), read_only=True) as c:
            rows = c.execute(
                "SELECT site FROM treatments UNION ALL SELECT site FROM radiomic_features_wide"
            ).fetchall()
        parquet = home.published / "parquet" / "latest" / "radiomic_features.parquet"
        return {site for (site,) in rows} | {file.stem for file in parquet.iterdir()}

    with open_lake(home) as lake:
        for site in ("AA", "BB"):
            lake.replace("treatments", rows(site, "p1"), site=site)
            _measured(lake, site, f"{site}-AAAAAAAA")
        publish(lake, home.published)
        assert sites() == {"AA", "BB"}
        assert publish(lake, home.published, without=frozenset({"AA"})).fresh
        assert sites() == {"BB"}
        assert not publish(lake, home.published, without=frozenset({"AA"})).fresh
        _measured(lake, "BB", "BB-BBBBBBBB")
        assert publish(lake, home.published).from_nothing
        assert sites() == {"AA", "BB"}


@pytest.fixture(scope="module")
def published_home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """Two sites of forty patients with features of one scan each, published once."""
    home = Home(tmp_path_factory.mktemp("cohort") / "home").make()
    with open_lake(home) as lake:
        for site in ("AA", "BB"):
            patients = [f"{site}-{n:08d}" for n in range(40)]
            lake.replace("treatments", rows(site, *patients), site=site)
            _measured(lake, site, *patients)
        publish(lake, home.published)
    return home


@pytest.fixture
def cohort(published_home: Home, home: Home):
    """A copy of that home, open, and what is published in it."""
    shutil.copytree(published_home.root, home.root, symlinks=True, dirs_exist_ok=True)
    with open_lake(home) as lake:
        made = publish(lake, home.published)
        assert not made.fresh
        yield lake, made


def test_one_new_scan_writes_its_site_alone_and_gives_what_a_publication_from_nothing_gives(
    home: Home, cohort
) -> None:
    lake, before = cohort
    _measured(lake, "AA", "AA-00000003", scan="S2", value=5.0)
    after = publish(lake, home.published)
    assert not after.from_nothing
    assert _same_as_from_nothing(lake, after)
    inodes = {
        name: (before.parquet / name).stat().st_ino == (after.parquet / name).stat().st_ino
        for name in _manifest(after.parquet)["files"]
    }
    assert [name for name, linked in inodes.items() if not linked] == [
        "radiomic_features.parquet/AA.parquet"
    ]


@pytest.mark.parametrize(
    "case",
    [
        "changed value",
        "scan taken back",
        "new patient",
        "new site",
        "new feature",
        "treatment",
        "nothing for that table",
    ],
)
def test_whatever_differs_the_file_is_as_one_written_from_nothing(
    home: Home, cohort, case: str
) -> None:
    lake, _ = cohort
    _measured(lake, "AA", "AA-00000003", scan="S2", value=5.0)
    publish(lake, home.published)
    if case == "changed value":
        lake.query(
            "UPDATE radiomic_features SET value = 77 "
            "WHERE patient = 'BB-00000007' AND feature = 'a'"
        )
    elif case == "scan taken back":
        lake.query("DELETE FROM radiomic_features WHERE scan = 'AA-00000003S2'")
    elif case == "new patient":
        _measured(lake, "AA", "AA-00000099")
    elif case == "new site":
        _measured(lake, "CC", "CC-00000001")
    elif case == "new feature":
        _measured(lake, "BB", "BB-00000001", scan="S3", features="abc")
    elif case == "treatment":
        lake.replace(
            "treatments",
            rows("AA", *[f"AA-{n:08d}" for n in range(40)], drugs="nivolumab"),
            site="AA",
        )
    else:
        lake.replace(
            "quarantine",
            pl.DataFrame([dict(site="AA", stage="intake", item="x", reason="r", simulated=True)]),
            site="AA",
        )
    after = publish(lake, home.published)
    assert not after.from_nothing
    assert _same_as_from_nothing(lake, after)


def _order_of_patients(made: Published) -> list[list[str]]:
    """Patients in the order in which their rows lie, in the file and in Parquet."""
    with duckdb.connect(str(made.database), read_only=True) as c:
        in_file = [
            p
            for (p,) in c.execute("SELECT patient FROM radiomic_features ORDER BY rowid").fetchall()
        ]
    in_parquet = pl.read_parquet(made.parquet / "radiomic_features.parquet" / "*.parquet")[
        "patient"
    ].to_list()
    return [list(dict.fromkeys(rows)) for rows in (in_file, in_parquet)]


def test_a_publication_written_anew_tells_nobody_who_came_last(home: Home, cohort) -> None:
    """A night's publication is built on the one before: whose rows differ lie behind the others."""
    lake, _ = cohort
    _measured(lake, "AA", "AA-00000003", scan="S2", value=5.0)
    night = publish(lake, home.published)
    assert _order_of_patients(night)[0][-1] == "AA-00000003"
    handed_on = publish(lake, home.published, anew=True)
    assert handed_on.fresh
    assert handed_on.from_nothing
    assert handed_on.database == night.database
    assert all(order == sorted(order) for order in _order_of_patients(handed_on))
    assert _same_as_from_nothing(lake, handed_on)
    assert (home.published / "lakehouse.duckdb").resolve() == handed_on.database.resolve()


def test_the_manifest_tells_the_digest_and_rows_of_every_file_linked_or_written(
    home: Home, cohort
) -> None:
    lake, _ = cohort
    _measured(lake, "AA", "AA-00000003", scan="S2")
    parquet = publish(lake, home.published).parquet
    told = _manifest(parquet)["files"]
    assert set(told) == {
        str(f.relative_to(parquet)) for f in parquet.rglob("*.parquet") if f.is_file()
    }
    for name, facts in told.items():
        assert facts["sha256"] == hashlib.sha256((parquet / name).read_bytes()).hexdigest()
        assert facts["rows"] == pq.read_metadata(parquet / name).num_rows


def test_a_patient_who_leaves_is_in_no_file_of_the_next_publication_nor_in_its_bytes(
    home: Home, cohort
) -> None:
    lake, before = cohort
    assert b"AA-00000003" in before.database.read_bytes()
    lake.remove_patient("AA-00000003")
    after = publish(lake, home.published)
    assert after.from_nothing
    assert b"AA-00000003" not in after.database.read_bytes()
    files = [f for f in after.parquet.rglob("*.parquet") if f.is_file()]
    assert not any(b"AA-00000003" in pl.read_parquet(f).write_ndjson().encode() for f in files)
    assert _same_as_from_nothing(lake, after)


def test_after_a_withdrawal_no_link_to_an_older_file_is_left(home: Home, cohort) -> None:
    lake, before = cohort
    _measured(lake, "BB", "BB-00000003", scan="S2")
    linked = publish(lake, home.published).parquet / "radiomic_features.parquet" / "AA.parquet"
    assert linked.stat().st_nlink == 2
    lake.remove_patient("AA-00000003")
    lake.purge_history()
    withdraw_publications(home.published)
    assert [p for p in home.published.rglob("*") if p.is_file()] == []
    after = publish(lake, home.published)
    assert after.from_nothing
    assert all(f.stat().st_nlink == 1 for f in home.published.rglob("*") if f.is_file())
    assert not before.parquet.exists()


@pytest.mark.parametrize("case", ["database", "parquet", "rows", "layout", "expired"])
def test_what_cannot_be_trusted_is_written_from_nothing(
    home: Home, cohort, monkeypatch, case: str
) -> None:
    lake, before = cohort
    if case == "database":
        with duckdb.connect(str(before.database)) as c:
            c.execute("DELETE FROM treatments")
    elif case == "parquet":
        (before.parquet / "treatments.parquet").write_bytes(b"not what was written")
    elif case == "rows":
        with duckdb.connect(str(before.database)) as c:
            c.execute("DELETE FROM radiomic_features WHERE site = 'BB' AND patient = 'BB-00000001'")
        facts = _manifest(before.parquet) | {
            "database": published_files.size_and_time(before.database)
        }
        (before.parquet / "manifest.json").write_text(json.dumps(facts), encoding="utf-8")
    elif case == "layout":
        monkeypatch.setattr("dagster_project.lake.publish.WIDE_KEY", ("site",))
    _measured(lake, "AA", "AA-00000003", scan="S2")
    if case == "expired":
        lake.purge_history()
    after = publish(lake, home.published)
    monkeypatch.undo()
    assert after.from_nothing == (case != "parquet")
    assert pl.read_parquet(after.parquet / "treatments.parquet").height == 80
    assert _same_as_from_nothing(lake, after)


def test_a_file_in_which_much_has_been_exchanged_is_written_from_nothing(
    home: Home, cohort, monkeypatch
) -> None:
    lake, _ = cohort
    monkeypatch.setattr(published_database, "REPLACED_SHARE", 0.02)
    said = []
    for value in (50.0, 60.0, 70.0):
        lake.query("UPDATE radiomic_features SET value = ? WHERE patient = 'AA-00000001'", [value])
        said.append(publish(lake, home.published).from_nothing)
    assert said == [False, True, False]


def test_parquet_bears_the_types_units_and_descriptions_that_the_schema_declares(
    home: Home, cohort
) -> None:
    _, made = cohort
    for table in PUBLISHED:
        files = (
            sorted((made.parquet / f"{table.name}.parquet").glob("*.parquet"))
            if by_site(table)
            else [made.parquet / f"{table.name}.parquet"]
        )
        for file in files:
            found, declared = pq.read_schema(file), arrow_schema(table)
            assert [(f.name, f.type, f.metadata) for f in found] == [
                (f.name, f.type, f.metadata or None) for f in declared
            ]
            assert declared.metadata is not None
            assert found.metadata is not None
            assert declared.metadata.items() <= found.metadata.items()


def test_a_table_by_sites_opens_as_one_in_every_reader(cohort) -> None:
    import pandas as pd

    lake, made = cohort
    whole = str(made.parquet / "radiomic_features.parquet")
    read = {
        "polars": pl.read_parquet(whole).height,
        "pandas": len(pd.read_parquet(whole)),
        "arrow": pq.read_table(whole).num_rows,
        "duckdb": len(duckdb.sql(f"FROM '{whole}/*.parquet'").fetchall()),
    }
    assert set(read.values()) == {lake.count("radiomic_features")}


@pytest.mark.parametrize("readme", ["README.md", "README.zh-CN.md"])
def test_what_the_readme_shows_in_r_finds_the_rows(home: Home, cohort, readme: str) -> None:
    """R itself is not run.

    Its packages duckdb and arrow open what the Python libraries of the same name open.
    """
    lake, _ = cohort
    lake.replace_by_fingerprint(
        "radiomic_features",
        site="AA",
        removed=[],
        added=pl.DataFrame([_feature("original_firstorder_Mean", 7.0)]),
    )
    publish(lake, home.published)
    shown = (
        (Path(__file__).parents[2] / readme)
        .read_text(encoding="utf-8")
        .split("```r\n")[1]
        .split("```")[0]
    )
    statements, (database, folder) = (
        re.findall(r'dbGetQuery\(con, "(.*?)"\)', shown),
        re.findall(r'"(published/[^"]+)"', shown),
    )
    feature, region = re.findall(r'filter\(feature == "(\w+)", region == "(\w+)"\)', shown)[0]
    with duckdb.connect(str(home.root / database), read_only=True) as c:
        outcomes, values = (c.execute(statement).pl() for statement in statements)
    of_folder = dataset.dataset(home.root / folder).to_table(
        filter=(dataset.field("feature") == feature) & (dataset.field("region") == region)
    )
    assert "pfs_days" in outcomes.columns
    assert values["value"].to_list() == of_folder["value"].to_pylist() == [7.0]


def test_a_tidied_lake_still_tells_what_changed(home: Home, cohort) -> None:
    lake, before = cohort
    _measured(lake, "AA", "AA-00000003", scan="S2")
    lake.tidy(days=1, kept=[before.snapshot])
    after = publish(lake, home.published)
    assert not after.from_nothing
    assert _same_as_from_nothing(lake, after)

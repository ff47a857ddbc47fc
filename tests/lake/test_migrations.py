"""A lake outlives its schema.

Rows, times and snapshots of a lake that an earlier version wrote are what they were, whenever the
migration is killed; nothing is written to a lake of another schema.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pyarrow.parquet as pq
import pytest

from dagster_project.lake import migrations, schema_version, sql, store, views
from dagster_project.lake.columns import boolean, string
from dagster_project.lake.damage import data_files
from dagster_project.lake.errors import LaterSchema, NoBackup, OtherSchema, UnmigratedLake
from dagster_project.lake.home import Home
from dagster_project.lake.migrations import (
    AddColumn,
    AllowNull,
    DropColumn,
    DropTable,
    Migration,
    NewTable,
    RenameColumn,
    RenameTable,
    latest,
    since,
)
from dagster_project.lake.publish import publish
from dagster_project.lake.schema import Kind, declared_shape
from dagster_project.lake.store import Lake, open_lake, read_lake
from dagster_project.lake.tables import BY_NAME, QUARANTINE, TABLES, TREATMENTS, Table
from dagster_project.lake.upgrade import plan_upgrade, upgrade
from dagster_project.lake.views import View
from tests.lake.test_store import rows
from tests.lakes import write
from tests.lakes.kept import ALONE, BASELINE, BOTH, FOLDER, LAST, as_stored, copy_baseline, unpack
from tests.lakes.killed import migrate_and_kill
from tests.lakes.write import row

NEW_VIEWS = {"patient_summary", "patient_timeline"}
"""Views that the released lakes do not have; they name columns of treatments."""

RELEASED_VIEWS = set(views.VIEWS) - NEW_VIEWS

READ = {"node": "is_lymph_node", "present": "is_present", "too_small": "too_small_to_measure"}

RENAMED = {
    "responses": {"known_from": "recorded_at"},
    "timepoints": {"chosen_because": "selection_reason", "runners_up": "alternative_scans"},
    "reads": READ,
    "lesions": {**READ, "accepted_because": "acceptance_basis"},
    "control_features": {"control": "control_type", "copy": "replicate"},
    "reader_figures": {"figure": "statistic"},
    "dhi": {"dhi_amount": "dhi_magnitude"},
    "predictions": {
        "positive": "predicted_positive",
        "label": "observed_response",
        "spread": "ensemble_sd",
        "novelty": "ood_score",
    },
    "attributions": {"spread": "ensemble_sd"},
    "quality_verdicts": {"figure": "statistic", "limit": "threshold"},
}
"""What version 2 renames: written by hand, since the declaration is what is tested."""

DROPPED = {
    "dynamic_irecist": (
        "dynamic_label",
        "probability",
        "model",
        "model_version",
        "gate",
        "amendments",
    )
}
"""What version 2 takes away; earlier snapshots keep it."""

ASKED_EARLIER = (*RENAMED, "radiomic_features", "model_runs")
"""Tables of which earlier snapshots are compared."""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """The lake of schema version 1, which records no version."""
    for name in ("LAKEHOUSE_DATA", "LAKEHOUSE_CATALOG"):
        monkeypatch.delenv(name, raising=False)
    return unpack(BASELINE, Home(tmp_path / "home"))


@pytest.fixture(scope="module")
def upgraded(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """The same lake, migrated; tests only read it."""
    home = unpack(BASELINE, Home(tmp_path_factory.mktemp("upgraded") / "home"))
    upgrade(home)
    return home


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, int], pl.DataFrame]:
    """Its rows by table and snapshot, as DuckDB alone gives them, under the names of today."""
    home = unpack(BASELINE, Home(tmp_path_factory.mktemp("before") / "home"))
    with as_stored(home) as stored:
        return {
            (table, snapshot): stored.execute(f'SELECT * FROM "{table}" AT (VERSION => {snapshot})')
            .pl()
            .rename(RENAMED.get(table, {}))
            .drop(DROPPED.get(table, ()))
            .sort(pl.all())
            for table in sorted({t for t, *_ in stored.execute(sql.STORED_COLUMNS).fetchall()})
            for snapshot in ((ALONE, BOTH, LAST) if table in ASKED_EARLIER else (LAST,))
        }


def content(home: Home) -> dict[str, str]:
    """Every file of a lake by its bytes, without those that a reader of SQLite makes."""
    files = (p for p in home.lake.rglob("*") if p.is_file())
    return {
        str(p.relative_to(home.lake)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in files
        if not p.name.endswith(("-wal", "-shm", "migration.lock"))
    }


# -- rows and snapshots ----------------------------------------------------------------------------


def test_every_row_is_what_it_was_with_its_times_and_marks(
    upgraded: Home, before: dict[tuple[str, int], pl.DataFrame]
) -> None:
    with open_lake(upgraded) as lake:
        for (table, snapshot), were in before.items():
            if snapshot == LAST:
                now = lake.read(table).sort(pl.all())
                assert now.select(were.columns).sort(pl.all()).equals(were), table
        assert set(before["responses", LAST]["simulated"]) == {True, False}
        assert lake.read("responses")["recorded_at"].max() < dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


@pytest.mark.parametrize("snapshot", [ALONE, BOTH])
def test_earlier_snapshots_answer_under_the_names_of_today(
    upgraded: Home, before: dict[tuple[str, int], pl.DataFrame], snapshot: int
) -> None:
    with open_lake(upgraded) as lake, read_lake(upgraded, as_of=snapshot) as attached:
        for table in ASKED_EARLIER:
            were = before[table, snapshot]
            for found in (lake.read(table, as_of=snapshot), attached.read(table)):
                assert found.columns == list(BY_NAME[table].names)
                assert found.select(were.columns).sort(pl.all()).equals(were), table
        attached.check_schema()
        attached.confine()
        asked = attached.query("SELECT max(recorded_at) FROM responses").fetchall()
        assert asked == [(before["responses", snapshot]["recorded_at"].max(),)]
        assert attached.query("SELECT count(*) FROM patient_eligibility").fetchall() != [(0,)]


def test_snapshots_that_models_were_trained_on_still_resolve(upgraded: Home) -> None:
    with open_lake(upgraded) as lake:
        named = set(lake.read("model_runs")["snapshot"])
        assert named == {BOTH}
        assert lake.read("training_cohort", as_of=BOTH).height > lake.count("training_cohort")


def test_a_second_migration_writes_no_snapshot(upgraded: Home) -> None:
    with open_lake(upgraded) as lake:
        newest = lake.snapshot()
    assert upgrade(upgraded) == []
    assert len(list(upgraded.backups.iterdir())) == 1
    with open_lake(upgraded) as lake:
        assert lake.snapshot() == newest
        recorded = lake.query("SELECT version, name FROM schema_version ORDER BY 1").fetchall()
        messages = lake.query(
            "SELECT author, commit_message FROM lake.snapshots() "
            f"WHERE snapshot_id > {LAST} AND author IS NOT NULL ORDER BY snapshot_id"
        ).fetchall()
    assert recorded == [(m.version, m.name) for m in since(0)]
    assert messages == [("lakehouse migrate", m.message) for m in since(0)]


def test_a_name_that_changed_is_no_row_that_differs(upgraded: Home) -> None:
    """Or a model would be trained anew, and every file published anew."""
    with open_lake(upgraded) as lake:
        touched = lake.tables_written(since=LAST, until=lake.snapshot())
        assert touched == {"schema_version", *DROPPED}
        assert set(lake.changed_patients(since=LAST, until=lake.snapshot())) <= set(DROPPED)


def test_a_new_lake_records_every_version_and_executes_none(tmp_path: Path) -> None:
    with open_lake(Home(tmp_path / "home")) as lake:
        found = lake.query("SELECT version FROM schema_version ORDER BY 1").fetchall()
        assert found == [(m.version,) for m in since(0)]
        assert lake.query("SELECT count(*) FROM lake.snapshots()").fetchall() == [(2,)]
        assert lake.pending() == ()


@pytest.mark.parametrize("archive", sorted(FOLDER.glob("lake-*.tar.xz")), ids=lambda p: p.stem)
def test_the_lake_of_each_released_version_becomes_what_is_declared(
    archive: Path, tmp_path: Path
) -> None:
    home = unpack(archive, Home(tmp_path / "home"))
    upgrade(home)
    with open_lake(home) as lake:
        declared = {t.name: set(t.names) for t in TABLES}
        stored = {name: set(columns) for name, columns in lake.shape().items()}
        assert stored == declared | {"schema_version": {"version", "name", "applied_at"}}
        comments = dict(
            lake.query(
                "SELECT column_name, comment FROM duckdb_columns() "
                "WHERE database_name = 'lake' AND table_name = 'responses'"
            ).fetchall()
        )
        assert all(comments.values())
        assert set(schema_version.read_views(lake._connection)) == set(views.VIEWS)
        assert lake.query("FROM response_over_time").fetchall() is not None


# -- nothing is written to another schema ----------------------------------------------------------


def test_an_unmigrated_lake_is_refused_before_any_write(home: Home) -> None:
    was = content(home)
    with pytest.raises(UnmigratedLake, match=r"schema version 1, .* needs 2.*`lakehouse migrate`"):
        open_lake(home)
    with pytest.raises(UnmigratedLake, match="请先停止服务"):
        open_lake(home)
    assert content(home) == was


def test_a_later_lake_is_refused_by_both_numbers(upgraded: Home, tmp_path: Path) -> None:
    home = Home(Path(shutil.copytree(upgraded.root, tmp_path / "later")))
    with Lake(home.catalog, home.data) as lake:
        lake.query(
            "INSERT INTO schema_version BY NAME "
            "SELECT 99 AS version, 'later' AS name, now() AS applied_at"
        )
    for use in (open_lake, plan_upgrade, upgrade):
        with pytest.raises(LaterSchema, match=r"schema version 99, .* up to 2"):
            use(home)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda c: c.pop("kernel"), "table scans lacks the column kernel"),
        (lambda c: c.update(dose=Kind("DOUBLE")), "has the column dose, which this version"),
        (lambda c: c.update(n_slices=Kind("BIGINT")), "another type.* in the column n_slices"),
        (lambda c: c.update(simulated=Kind("BOOLEAN", nullable=True)), "NULL otherwise.*simulated"),
    ],
)
def test_names_types_and_null_of_columns_are_those_that_are_declared(
    change: Any, named: str
) -> None:
    shape = declared_shape(TABLES)
    assert schema_version.fault_of(shape, latest()) is None
    change(shape["scans"])
    with pytest.raises(OtherSchema, match=named):
        raise schema_version.fault_of(shape, latest()) or AssertionError


def test_a_lake_that_no_migration_makes_is_refused_with_nothing_written(home: Home) -> None:
    """A table that nobody declares too: rows of a patient who withdraws would stay in it."""
    with Lake(home.catalog, home.data) as lake:
        lake.query("CREATE TABLE notes (patient VARCHAR)")
    was = content(home)
    for use in (plan_upgrade, upgrade):
        with pytest.raises(OtherSchema, match="table notes is not known to this version"):
            use(home)
    assert content(home) == was


def test_what_differs_after_the_last_step_takes_the_migration_back(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A declaration without its migration; as-if and the stored columns are judged alike."""
    monkeypatch.setattr(schema_version, "fault_of", lambda *_, **__: None)
    wrong = replace(
        TREATMENTS, columns=(*TREATMENTS.columns, string("note", "", "", nullable=True))
    )
    monkeypatch.setattr(migrations, "TABLES", _with(wrong))
    with Lake(home.catalog, home.data) as lake:
        with pytest.raises(OtherSchema, match="table treatments lacks the column note"):
            lake.migrate()
        assert lake.version() == 1
        assert "known_from" in lake.shape()["responses"]
        assert set(schema_version.read_views(lake._connection)) == RELEASED_VIEWS


# -- killed ----------------------------------------------------------------------------------------

MOMENTS: list[dict[str, Any]] = [
    *(dict(statement=n) for n in (1, 5, 9, 13, 17, 22, 28, 40)),
    *(dict(commit=1, seconds=s) for s in (0.0, 0.004)),
    *(dict(commit=2, seconds=s) for s in (0.0, 0.003, 0.008, 0.015, 0.04)),
]
"""From before the first transaction, which records the baseline, to after the second.

A process that is quicker than the last of them ends by itself.
"""


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Home, int]]:
    """A lake for each moment, whose migration was killed then; and the process's exit code."""
    homes = [unpack(BASELINE, Home(tmp_path_factory.mktemp("killed") / "home")) for _ in MOMENTS]
    return list(zip(homes, migrate_and_kill(list(zip(homes, MOMENTS, strict=True))), strict=True))


@pytest.mark.parametrize("number", range(len(MOMENTS)))
def test_a_migration_that_is_killed_leaves_a_whole_version_and_the_next_goes_on(
    killed: list[tuple[Home, int]], before: dict[tuple[str, int], pl.DataFrame], number: int
) -> None:
    home, code = killed[number]
    assert code == -9 or "seconds" in MOMENTS[number]
    assert _state(home) in {(1, False), (1, True), (2, True)}
    with Lake(home.catalog, home.data) as lake:
        lake.migrate()
        assert lake.fault() is None
        for table in RENAMED:
            were = before[table, LAST]
            assert lake.read(table).select(were.columns).sort(pl.all()).equals(were)


def test_processes_were_killed_indeed(killed: list[tuple[Home, int]]) -> None:
    codes = [code for _, code in killed]
    assert set(codes) <= {-9, 0}
    assert codes.count(-9) >= 10


def _state(home: Home) -> tuple[int, bool]:
    """The version that the columns have, and whether a version is recorded.

    Fails where anything of the lake is of another version.
    """
    with as_stored(home) as stored:
        columns = {(t, c) for t, c, *_ in stored.execute(sql.STORED_COLUMNS).fetchall()}
        stored_views = {v for v, _ in stored.execute(sql.STORED_VIEWS).fetchall()}
        recorded = ("schema_version", "version") in columns
        newest = (
            stored.execute("SELECT max(version) FROM schema_version").fetchall()[0][0]
            if recorded
            else 1
        )
    old = {(t, was) in columns for t, names in RENAMED.items() for was in names}
    new = {(t, now) in columns for t, names in RENAMED.items() for now in names.values()}
    assert (old, new) == ({newest == 1}, {newest == 2})
    assert stored_views in ([RELEASED_VIEWS] if newest == 1 else [set(), set(views.VIEWS)]), (
        "views come back with the tables that are new"
    )
    return newest, recorded


# -- steps -----------------------------------------------------------------------------------------


def _with(*tables: Table) -> tuple[Table, ...]:
    others = {t.name: t for t in tables}
    return tuple(others.pop(t.name, t) for t in TABLES) + tuple(others.values())


def declare(
    monkeypatch: pytest.MonkeyPatch, tables: tuple[Table, ...], *further: Migration
) -> None:
    """As though the program declared these tables, and these versions after its own.

    Views that name columns of treatments, which these versions change, are not declared.
    """
    others = {name: view for name, view in views.VIEWS.items() if name not in NEW_VIEWS}
    monkeypatch.setattr(views, "VIEWS", others)
    monkeypatch.setattr(migrations, "MIGRATIONS", (*since(0), *further))
    for module in (migrations, schema_version, store, sql):
        monkeypatch.setattr(module, "TABLES", tables)
    for table in tables:
        monkeypatch.setitem(BY_NAME, table.name, table)


TEXT, TRUTH = Kind("VARCHAR", nullable=True), Kind("BOOLEAN")
GIVEN = boolean("given_in_full", "", "")
PLACE = TREATMENTS.names.index("simulated")
CHANGED = replace(
    TREATMENTS,
    columns=tuple(
        replace(c, nullable=True) if c.name == "cycle" else c
        for c in (
            *TREATMENTS.columns[:PLACE],
            GIVEN,
            *TREATMENTS.columns[PLACE:],
            string("route", "", "", nullable=True),
            string("note", "", "", nullable=True),
        )
        if c.name != "drugs"
    ),
)
"""The treatments with a column of every step, one of them declared before `simulated`."""

STEPS = (
    AddColumn("treatments", "given_in_full", TRUTH, "false"),
    AddColumn("treatments", "route", TEXT, "it's intravenous"),
    AddColumn("treatments", "note", TEXT),
    DropColumn("treatments", "drugs"),
    AllowNull("treatments", "cycle"),
    AddColumn("quarantine", "seen", TRUTH, "true"),
)


@pytest.fixture
def written(tmp_path: Path) -> tuple[Home, int]:
    """A lake of today with two treatments, and a table that has never held a row."""
    home = Home(tmp_path / "home")
    with open_lake(home) as lake:
        lake.replace("treatments", rows("AA", "p1", "p2"), site="AA")
        snapshot = lake.snapshot()
    return home, snapshot


def test_columns_are_added_dropped_and_relaxed_and_rows_enter_by_name(
    written: tuple[Home, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    home, snapshot = written
    seen = replace(QUARANTINE, columns=(*QUARANTINE.columns, boolean("seen", "", "")))
    declare(monkeypatch, _with(CHANGED, seen), Migration(3, "every step", STEPS))
    with pytest.raises(UnmigratedLake):
        open_lake(home)
    upgrade(home)
    with open_lake(home) as lake:
        now, was = lake.read("treatments"), lake.read("treatments", as_of=snapshot)
        assert now.equals(was)
        assert now.columns == list(CHANGED.names)
        assert (
            now.select("simulated", "given_in_full", "route", "note").rows()
            == [(True, False, "it's intravenous", None)] * 2
        )
        third = now.head(1).with_columns(patient=pl.lit("p3"), cycle=pl.lit(None, pl.Int32))
        lake.replace_by_fingerprint("treatments", site="AA", removed=[], added=third)
        assert lake.read("treatments")["given_in_full"].to_list() == [False] * 3
        assert lake.read("treatments")["simulated"].to_list() == [True] * 3
        refused = dict(site="AA", stage="s", item="i", reason="r", simulated=True, seen=False)
        lake.replace("quarantine", pl.DataFrame([refused]))
        assert lake.read("quarantine")["seen"].to_list() == [False]
        assert lake.read("treatments", where="route = 'it''s intravenous'").height == 3
        assert lake.read("treatments", where="given_in_full").is_empty()
        now = lake.read("treatments")
        lake.tidy(days=1, kept=[])
        assert lake.read("treatments").equals(now)
        assert lake.read("treatments", as_of=snapshot).equals(was)
    with read_lake(home, as_of=snapshot) as lake:
        asked = "SELECT DISTINCT given_in_full, route, note FROM treatments"
        assert lake.query(asked).fetchall() == [(False, "it's intravenous", None)]


def test_a_table_is_renamed_and_read_under_its_name_of_today(
    written: tuple[Home, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    home, snapshot = written
    columns = (*TREATMENTS.columns[:-1], replace(TREATMENTS.columns[-1], en="Another text"))
    therapies = replace(TREATMENTS, name="therapies", columns=columns)
    others = tuple(t for t in TABLES if t.name != "treatments")
    rename = Migration(3, "therapies", (RenameTable("treatments", "therapies"),))
    view = View("given", "Treatments", "治疗", (), "SELECT patient, drugs FROM therapies")
    monkeypatch.setattr(views, "VIEWS", {**views.VIEWS, "given": view})
    declare(monkeypatch, (*others, therapies), rename)
    upgrade(home)
    with open_lake(home) as lake:
        assert lake.read("therapies").equals(rows("AA", "p1", "p2"))
        assert lake.read("therapies", as_of=snapshot).equals(rows("AA", "p1", "p2"))
        lake.replace("therapies", rows("AA", "p1", "p2", "p3"), site="AA")
    with open_lake(home) as lake, read_lake(home, as_of=snapshot) as attached:
        assert lake.count("therapies") == 3
        assert attached.read("therapies").height == 2
        assert attached.query("SELECT count(*) FROM given").fetchall() == [(2,)]
        assert (len(lake.state("therapies")), lake.count("therapies")) == (2, 3)
        assert {f.site for f in data_files(lake, [therapies])} == {"AA"}
        lake.tidy(days=1, kept=[])
        assert lake.count("therapies") == 3


def test_a_table_is_made_of_another_and_one_goes(
    written: tuple[Home, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    home, snapshot = written
    drugs = replace(
        QUARANTINE, name="drugs", key=("drug",), columns=(string("drug", "", ""),), by_site=False
    )
    steps = (
        NewTable(
            "treatments",
            "drugs",
            {"drug": Kind("VARCHAR")},
            "SELECT DISTINCT drugs AS drug FROM treatments",
        ),
        DropTable("treatments"),
    )
    others = tuple(t for t in TABLES if t.name != "treatments")
    declare(monkeypatch, (*others, drugs), Migration(3, "drugs", steps))
    upgrade(home)
    with open_lake(home) as lake:
        assert lake.read("drugs")["drug"].to_list() == ["pembrolizumab"]
        assert "treatments" not in lake.shape()
        assert lake.query(f"FROM treatments AT (VERSION => {snapshot})").fetchall() != []
        lake.tidy(days=1, kept=[])
        lake.purge_history()
        assert lake.read("drugs").height == 1


def test_names_that_change_places_are_followed_back(
    written: tuple[Home, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A column that has another's former name is not taken for it in earlier snapshots."""
    home, snapshot = written
    steps = (
        RenameColumn("treatments", "drugs", "held"),
        RenameColumn("treatments", "input_fingerprint", "drugs"),
        RenameColumn("treatments", "held", "input_fingerprint"),
    )
    swapped = {"drugs": "input_fingerprint", "input_fingerprint": "drugs"}
    columns = tuple(
        replace(c, nullable=TREATMENTS.column(swapped.get(c.name, c.name)).nullable)
        for c in TREATMENTS.columns
    )
    declare(
        monkeypatch, _with(replace(TREATMENTS, columns=columns)), Migration(3, "swapped", steps)
    )
    upgrade(home)
    with open_lake(home) as lake:
        for found in (lake.read("treatments"), lake.read("treatments", as_of=snapshot)):
            assert set(found["drugs"]) == {"f"}
            assert set(found["input_fingerprint"]) == {"pembrolizumab"}


def test_a_step_on_a_table_that_is_not_there_does_nothing(
    written: tuple[Home, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    home, _ = written
    with Lake(home.catalog, home.data) as lake:
        lake.query("DROP VIEW response_over_time")
        lake.query("DROP TABLE responses")
    note = replace(
        BY_NAME["responses"],
        columns=(*BY_NAME["responses"].columns, string("note", "", "", nullable=True)),
    )
    declare(monkeypatch, _with(note), Migration(3, "note", (AddColumn("responses", "note", TEXT),)))
    upgrade(home)
    with open_lake(home) as lake:
        assert "note" in lake.shape()["responses"]


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Migration(3, "x", (RenameTable("a", "b"), RenameColumn("b", "c", "d"))),
        lambda: Migration(3, "x", (AddColumn("a", "b", TEXT), RenameTable("a", "b"))),
        lambda: DropColumn("reads", "site"),
        lambda: DropColumn("radiomic_features", "feature"),
        lambda: AddColumn("a", "b", TRUTH),
        lambda: AddColumn("a", "b", Kind("VARCHAR[]", nullable=True), "[]"),
    ],
)
def test_what_damages_a_lake_or_is_refused_by_it_cannot_be_declared(wrong: Any) -> None:
    with pytest.raises(ValueError, match=r"table|arranged|NULL|list"):
        wrong()


def test_a_lake_of_this_version_can_be_written_packed_and_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a release does; by a few tables, for speed."""
    monkeypatch.delenv("LAKEHOUSE_CATALOG", raising=False)
    assert all(row(t, "AA", n, 0, 1).keys() == set(t.names) for t in TABLES for n in range(3))
    monkeypatch.setattr(write, "TABLES", [BY_NAME[name] for name in RENAMED])
    home = Home(tmp_path / "home").make()
    snapshots = write.write_lake(home)
    write.pack(home, tmp_path / "lake.tar.xz")
    unpacked = unpack(tmp_path / "lake.tar.xz", Home(tmp_path / "unpacked"))
    assert plan_upgrade(unpacked).migrations == ()
    with read_lake(unpacked) as lake:
        assert [lake.read("responses", as_of=s).height for s in snapshots] == [3, 6, 5]


def test_versions_follow_one_another() -> None:
    assert [m.version for m in since(0)] == list(range(1, latest() + 1))
    assert since(0)[0].steps == ()


# -- tables and views that are new -----------------------------------------------------------------


def test_missing_tables_changed_views_and_changed_comments_are_made_without_a_version(
    upgraded: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = Home(Path(shutil.copytree(upgraded.root, tmp_path / "copy")))
    with Lake(home.catalog, home.data) as lake:
        lake.query("DROP TABLE quarantine")
    view = views.VIEWS["response_over_time"]
    limited = replace(view, query=f"{view.query} LIMIT 1")
    changed = {**views.VIEWS, "response_over_time": limited}
    monkeypatch.setattr(views, "VIEWS", changed)
    columns = (replace(TREATMENTS.columns[0], en="Another text"), *TREATMENTS.columns[1:])
    declare(monkeypatch, _with(replace(TREATMENTS, columns=columns)))
    with open_lake(home) as lake:
        assert lake.read("quarantine").is_empty()
        assert "LIMIT 1" in schema_version.read_views(lake._connection)["response_over_time"]
        assert lake.query(
            "SELECT count(*) FROM duckdb_columns() "
            "WHERE database_name = 'lake' AND comment LIKE 'Another text%'"
        ).fetchall() == [(1,)]
        newest = lake.snapshot()
    with open_lake(home) as lake:
        assert lake.snapshot() == newest


# -- the catalogue's backup ------------------------------------------------------------------------


def test_the_backup_is_the_lake_as_it_was(
    home: Home, before: dict[tuple[str, int], pl.DataFrame], tmp_path: Path
) -> None:
    upgrade(home)
    (backup,) = home.backups.iterdir()
    assert backup.stat().st_mode & 0o077 == 0
    restored = Home(tmp_path / "restored").make()
    shutil.copytree(home.lake / "data", restored.lake / "data")
    shutil.copyfile(backup, restored.lake / "catalog.sqlite")
    with as_stored(restored) as stored:
        found = stored.execute("SELECT * FROM responses").pl().rename(RENAMED["responses"])
    assert found.sort(pl.all()).equals(before["responses", LAST])
    with pytest.raises(UnmigratedLake):
        open_lake(restored)


def test_without_a_backup_nothing_is_migrated_unless_it_is_asked_for(home: Home) -> None:
    home.backups.write_text("in the way of the folder")
    was = content(home)
    with pytest.raises(NoBackup, match="`lakehouse migrate --no-backup`"):
        upgrade(home)
    assert content(home) == was
    assert [m.version for m in upgrade(home, backup=False)] == [1, 2]


# -- other lakes -----------------------------------------------------------------------------------


def test_an_encrypted_lake_is_migrated_alike(
    home: Home, before: dict[tuple[str, int], pl.DataFrame], tmp_path: Path
) -> None:
    (tmp_path / "data").mkdir()
    place = (f"sqlite:{tmp_path / 'catalog.sqlite'}", str(tmp_path / "data"))
    with Lake(*place, encrypted=True) as lake:
        copy_baseline(home, lake)
        last = lake.snapshot()
        assert [m.version for m in lake.migrate()] == [1, 2]
        for table in RENAMED:
            were = before[table, LAST]
            for found in (lake.read(table), lake.read(table, as_of=last)):
                assert found.select(were.columns).sort(pl.all()).equals(were), table


# -- what analysts open ----------------------------------------------------------------------------


def test_the_published_file_has_both_names_and_parquet_todays(
    upgraded: Home, tmp_path: Path
) -> None:
    home = Home(Path(shutil.copytree(upgraded.root, tmp_path / "copy")))
    with open_lake(home) as lake:
        made = publish(lake, home.published)
        assert _both_names(made.database) == set(lake.read("timepoints")["selection_reason"])
        more = lake.read("timepoints").head(1).with_columns(selection_reason=pl.lit("more"))
        lake.replace(
            "timepoints", pl.concat([lake.read("timepoints"), more.with_columns(site=pl.lit("CC"))])
        )
        patched = publish(lake, home.published)
    assert (patched.fresh, patched.from_nothing) == (True, False)
    assert "more" in _both_names(patched.database)
    names = pq.read_schema(patched.parquet / "timepoints.parquet").names
    assert "selection_reason" in names
    assert "chosen_because" not in names


def _both_names(database: Path) -> set[str]:
    with duckdb.connect(str(database), read_only=True) as c:
        pairs = c.execute("SELECT selection_reason, chosen_because FROM timepoints").fetchall()
        comments = c.execute(
            "SELECT comment FROM duckdb_columns() WHERE column_name = 'chosen_because'"
        ).fetchall()
        assert "known_from" not in {n for n, *_ in c.execute("DESCRIBE responses").fetchall()}
    assert all(new == old for new, old in pairs)
    assert "selection_reason" in comments[0][0]
    return {new for new, _ in pairs}

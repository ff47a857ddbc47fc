"""The store holds every acknowledged row and shows every earlier state.

Several processes can write at once.
"""

from __future__ import annotations

import datetime as dt
import multiprocessing
import re
from dataclasses import replace
from pathlib import Path

import duckdb
import polars as pl
import pytest

from dagster_project.lake.columns import boolean
from dagster_project.lake.errors import SnapshotGone
from dagster_project.lake.home import Home
from dagster_project.lake.schema import UnknownColumns, empty
from dagster_project.lake.store import Lake, RepeatedKey, open_lake, read_lake
from dagster_project.lake.tables import BY_NAME, QUARANTINE, TREATMENTS
from tests.conftest import REPOSITORY


def rows(
    site: str, *patients: str, drugs: str = "pembrolizumab", fingerprint: str = "f"
) -> pl.DataFrame:
    data = [
        dict(
            site=site,
            patient=p,
            cycle=1,
            treatment_date=dt.date(2020, 1, 1),
            day=0,
            drugs=drugs,
            simulated=True,
            input_fingerprint=fingerprint,
        )
        for p in patients
    ]
    return (
        pl.concat([empty(TREATMENTS), pl.DataFrame(data)], how="vertical_relaxed")
        if data
        else empty(TREATMENTS)
    )


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home").make()


def test_replace_touches_only_what_differs_and_keeps_other_sites(home: Home) -> None:
    with open_lake(home) as lake:
        lake.replace("treatments", rows("AA", "p1", "p2"), site="AA")
        lake.replace("treatments", rows("BB", "p3"), site="BB")
        before = lake.snapshot()
        write = lake.replace(
            "treatments",
            pl.concat([rows("AA", "p1"), rows("AA", "p2", drugs="nivolumab")]),
            site="AA",
        )
        assert (write.rows, write.inserted, write.deleted) == (2, 1, 1)
        assert lake.read("treatments")["drugs"].to_list() == [
            "pembrolizumab",
            "nivolumab",
            "pembrolizumab",
        ]
        assert lake.read("treatments", as_of=before)["drugs"].unique().to_list() == [
            "pembrolizumab"
        ]


def test_writing_the_same_rows_again_makes_no_snapshot(home: Home) -> None:
    with open_lake(home) as lake:
        first = lake.replace("treatments", rows("AA", "p1"), site="AA")
        second = lake.replace("treatments", rows("AA", "p1"), site="AA")
        assert (second.inserted, second.deleted, second.snapshot) == (0, 0, first.snapshot)


def test_an_empty_table_is_read_as_a_statement_reads_it(home: Home) -> None:
    """It is read without a scan: also after its rows went, and of an earlier snapshot."""
    with open_lake(home) as lake:
        for name in BY_NAME:
            assert lake.read(name).schema == lake.query(f'SELECT * FROM "{name}"').pl().schema
        lake.replace("treatments", rows("AA", "p1"), site="AA")
        before = lake.snapshot()
        lake.replace("treatments", rows("AA"), site="AA")
        assert lake.read("treatments").height == 0
        assert lake.read("treatments", as_of=before).height == 1
    with read_lake(home, as_of=before) as former:
        assert former.read("treatments").height == 1


def test_what_is_read_of_one_snapshot_sees_no_write_of_another_process(home: Home) -> None:
    with open_lake(home) as lake, open_lake(home) as other:
        lake.replace("treatments", rows("AA", "p1"), site="AA")
        with lake.one_snapshot():
            first = lake.read("treatments")
            other.replace("treatments", rows("AA", "p1", "p2"), site="AA")
            assert lake.read("treatments").equals(first)
            assert other.read("treatments").height == 2
        assert lake.read("treatments").height == 2


def test_exchange_removes_by_fingerprint(home: Home) -> None:
    with open_lake(home) as lake:
        lake.replace(
            "treatments",
            pl.concat([rows("AA", "p1", fingerprint="old"), rows("AA", "p2", fingerprint="kept")]),
            site="AA",
        )
        write = lake.replace_by_fingerprint(
            "treatments", site="AA", removed=["old"], added=rows("AA", "p3", fingerprint="new")
        )
        assert (write.rows, write.inserted, write.deleted) == (2, 1, 1)
        assert lake.read("treatments")["patient"].to_list() == ["p2", "p3"]


def test_a_failed_write_leaves_nothing_behind(home: Home) -> None:
    with open_lake(home) as lake:
        lake.replace("treatments", rows("AA", "p1"), site="AA")
        before = lake.snapshot()
        with pytest.raises(RepeatedKey, match="treatments: 1 rows repeat a key"):
            lake.replace("treatments", rows("AA", "p9", "p9"), site="AA")
        with pytest.raises(UnknownColumns, match="undeclared columns \\['surprise'\\]"):
            lake.replace("treatments", rows("AA", "p1").with_columns(surprise=1), site="AA")
        with pytest.raises(duckdb.ConstraintException):
            lake.replace(
                "treatments",
                rows("AA", "p1").with_columns(simulated=pl.lit(None, pl.Boolean)),
                site="AA",
            )
        assert lake.snapshot() == before
        assert lake.read("treatments")["patient"].to_list() == ["p1"]


def test_as_of_attaches_the_whole_lake_at_a_snapshot(home: Home) -> None:
    with open_lake(home) as lake:
        earlier = lake.replace("treatments", rows("AA", "p1"), site="AA").snapshot
        lake.replace("treatments", rows("AA", "p2"), site="AA")
    with read_lake(home, as_of=earlier) as lake:
        assert lake.query("SELECT patient FROM treatments").fetchall() == [("p1",)]
        with pytest.raises(duckdb.Error):
            lake.query("DELETE FROM treatments")


def _write_quarantine(root: Path, site: str, n: int) -> None:
    with open_lake(Home(root)) as lake:
        for i in range(n):
            frame = pl.DataFrame(
                [
                    dict(site=site, stage="intake", item=f"{k}", reason="r", simulated=True)
                    for k in range(i + 1)
                ]
            )
            lake.replace("quarantine", frame, site=site)


def test_writers_of_several_processes_all_arrive(home: Home) -> None:
    context = multiprocessing.get_context("spawn")
    writers = [
        context.Process(target=_write_quarantine, args=(home.root, site, 4))
        for site in ("AA", "BB", "CC")
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [w.exitcode for w in writers] == [0, 0, 0]
    with read_lake(home) as lake:
        assert lake.query(
            "SELECT site, count(*) FROM quarantine GROUP BY site ORDER BY site"
        ).fetchall() == [("AA", 4), ("BB", 4), ("CC", 4)]


def test_files_are_encrypted_where_the_data_path_is_remote(tmp_path: Path) -> None:
    """Forced here on a local path: the same option that an object store gets."""
    (tmp_path / "data").mkdir()
    with Lake(f"sqlite:{tmp_path / 'c.sqlite'}", str(tmp_path / "data"), encrypted=True) as lake:
        lake.create_missing()
        lake.replace("treatments", rows("AA", "p1", drugs="pembrolizumab"), site="AA")
        assert lake.read("treatments")["drugs"].to_list() == ["pembrolizumab"]
    files = list((tmp_path / "data").rglob("*.parquet"))
    assert files
    assert all(
        b"pembrolizumab" not in f.read_bytes() and b"PAR1" not in f.read_bytes()[:4] for f in files
    )


def test_comments_stand_on_tables_and_columns(home: Home) -> None:
    with open_lake(home) as lake:
        told = dict(
            lake.query(
                "SELECT column_name, comment FROM duckdb_columns() WHERE table_name = 'quarantine'"
            ).fetchall()
        )
        assert told["reason"] == "Why, and what to do | 原因与处理建议"
        assert set(told) == set(QUARANTINE.names)


def test_a_moved_home_opens_where_it_is(home: Home, tmp_path: Path) -> None:
    with open_lake(home) as lake:
        lake.replace("treatments", rows("AA", "p1"), site="AA")
    moved = Home(home.root.rename(tmp_path / "elsewhere"))
    with open_lake(moved) as lake:
        assert lake.read("treatments")["patient"].to_list() == ["p1"]
        lake.replace("treatments", rows("AA", "p1", "p2"), site="AA")
    with read_lake(moved) as lake:
        assert lake.count("treatments") == 2
    assert not home.root.exists()


def test_a_snapshot_that_has_expired_is_named_with_what_to_do(home: Home) -> None:
    with open_lake(home) as lake:
        lake.replace("treatments", rows("AA", "p1"))
        gone = lake.snapshot()
        lake.replace("treatments", rows("AA", "p2"))
        assert lake.read("treatments", as_of=gone).height == 1
        lake.purge_history()
        with pytest.raises(
            SnapshotGone, match=f"no snapshot {gone}: it has expired .* train anew on the newest"
        ):
            lake.read("treatments", as_of=gone)
    with pytest.raises(SnapshotGone, match=f"no snapshot {gone}"):
        read_lake(home, as_of=gone)


def test_tidying_lets_go_of_old_snapshots_that_nobody_names_and_changes_no_row(home: Home) -> None:
    def files() -> int:
        return len(list((home.lake / "data" / "main" / "treatments").rglob("*.parquet")))

    with open_lake(home) as lake:
        made = [
            lake.replace_by_fingerprint(
                "treatments", site="AA", removed=[], added=rows("AA", f"p{n}")
            ).snapshot
            for n in range(6)
        ]
        before = lake.read("treatments")
        assert lake.tidy(days=1, kept=[]) == 0  # all of today
        assert files() == 6 + 1  # merged, and for queries that began before what was merged
        _make_older(lake, days=10)
        assert lake.tidy(days=30, kept=[]) == 0
        assert files() == 1
        assert lake.tidy(days=5, kept=[made[1]]) > 0
        left = {n for (n,) in lake.query("SELECT snapshot_id FROM lake.snapshots()").fetchall()}
        assert made[1] in left
        assert not left & set(made[2:5])
        assert lake.read("treatments", as_of=made[1])["patient"].to_list() == ["p0", "p1"]
        assert lake.read("treatments").equals(before)


def _make_older(lake: Lake, *, days: int) -> None:
    """As though everything had been done so many days ago."""
    for table, column in (
        ("ducklake_snapshot", "snapshot_time"),
        ("ducklake_files_scheduled_for_deletion", "schedule_start"),
    ):
        lake.query(
            f"UPDATE __ducklake_metadata_lake.{table} "
            f"SET {column} = ({column}::TIMESTAMPTZ - to_days({days}))::VARCHAR"
        )


def test_no_statement_inserts_by_position() -> None:
    sources = (REPOSITORY / "dagster_project" / "lake").glob("*.py")
    found = [m for f in sources for m in re.findall(r"(?s)INSERT INTO .{40}", f.read_text())]
    assert len(found) >= 7
    assert [statement for statement in found if "BY NAME" not in statement] == []


def test_rows_enter_by_name_where_the_columns_are_declared_in_another_order_than_stored(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_lake(home) as lake:
        monkeypatch.setitem(
            BY_NAME, "treatments", replace(TREATMENTS, columns=TREATMENTS.columns[::-1])
        )
        lake.replace("treatments", rows("AA", "p1"), site="AA")
        lake.replace_by_fingerprint("treatments", site="AA", removed=[], added=rows("AA", "p2"))
        found = lake.read("treatments").sort("patient")
    assert found.select(TREATMENTS.names).equals(rows("AA", "p1", "p2"))


def test_a_boolean_that_is_declared_before_simulated_is_not_taken_for_it(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The column is stored behind `simulated`, as an ALTER TABLE leaves it.

    By position, the two would change places.
    """
    place = TREATMENTS.names.index("simulated")
    columns = (
        *TREATMENTS.columns[:place],
        boolean("given_in_full", "", "", nullable=True),
        *TREATMENTS.columns[place:],
    )
    with open_lake(home) as lake:
        lake.query("ALTER TABLE treatments ADD COLUMN given_in_full BOOLEAN")
        monkeypatch.setitem(BY_NAME, "treatments", replace(TREATMENTS, columns=columns))
        one, other = (
            rows("AA", p).with_columns(given_in_full=pl.lit(value=False)) for p in ("p1", "p2")
        )
        lake.replace("treatments", one, site="AA")
        lake.replace_by_fingerprint("treatments", site="AA", removed=[], added=other)
        assert lake.query(
            "SELECT DISTINCT simulated, given_in_full FROM treatments"
        ).fetchall() == [(True, False)]

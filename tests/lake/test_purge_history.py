"""After `purge_history`, nothing is left of removed rows, and everything of the others.

This holds wherever the data folder is declared to be.
"""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from dagster_project.flow import withdrawal
from dagster_project.flow.trace_search import search_home
from dagster_project.flow.withdrawal import _compact
from dagster_project.lake.catalogue_backup import back_up
from dagster_project.lake.home import Home
from dagster_project.lake.store import open_lake
from dagster_project.resources import Lakehouse
from tests.lake.test_store import rows

LEAVES = "AA-" + "P" * 17


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    for name in ("LAKEHOUSE_DATA", "LAKEHOUSE_CATALOG"):
        monkeypatch.delenv(name, raising=False)
    home = Home(tmp_path / "home").make()
    with open_lake(home) as lake:
        for patients in ("p1", LEAVES), ("p1", LEAVES, "p2"), (LEAVES, "p2"):
            lake.replace("treatments", rows("AA", *patients), site="AA")
    return home


def purge_history(home: Home) -> None:
    with open_lake(home) as lake:
        lake.remove_patient(LEAVES)
        lake.purge_history()
    _compact([home.lake / "catalog.sqlite"])


def left(home: Home) -> list[str]:
    with open_lake(home) as lake:
        return lake.read("treatments")["patient"].to_list()


def test_copies_of_the_catalogue_go_too(home: Home) -> None:
    """Bounds of a column in a copy from before a migration may be who leaves."""
    copy = back_up(home, 1)
    assert str(copy.relative_to(home.root)) in search_home(home, [LEAVES])
    with open_lake(home) as lake:
        lake.remove_patient(LEAVES)
    withdrawal.purge_history(Lakehouse(root=str(home.root)))
    assert search_home(home, [LEAVES]) == []


def test_rows_bounds_snapshots_and_files_go(home: Home) -> None:
    assert len(search_home(home, [LEAVES])) >= 2
    purge_history(home)
    assert search_home(home, [LEAVES]) == []
    assert left(home) == ["p2"]


@pytest.mark.parametrize(
    "spell", [lambda f: f"{f}/", lambda f: f"{f.parent}/../{f.parent.name}/{f.name}"]
)
def test_a_data_folder_spelt_otherwise_loses_no_live_file(
    home: Home, monkeypatch: pytest.MonkeyPatch, spell
) -> None:
    """Files that no snapshot knows are recognised by their paths.

    A live file whose path is spelt in another way must not be taken for one of them.
    """
    monkeypatch.setenv("LAKEHOUSE_DATA", spell(home.lake / "data"))
    purge_history(home)
    assert left(home) == ["p2"]
    assert search_home(home, [LEAVES]) == []


def test_a_home_that_was_moved_or_linked_loses_no_live_file(home: Home, tmp_path: Path) -> None:
    shutil.move(home.root, tmp_path / "elsewhere")
    (tmp_path / "linked").symlink_to(tmp_path / "elsewhere")
    linked = Home(tmp_path / "linked")
    purge_history(linked)
    assert left(linked) == ["p2"]
    assert search_home(Home(tmp_path / "elsewhere"), [LEAVES]) == []


def test_pages_that_sqlite_has_freed_and_its_log_are_overwritten(tmp_path: Path) -> None:
    file = tmp_path / "store.db"
    with closing(sqlite3.connect(file)) as store:
        store.execute("PRAGMA journal_mode = WAL")
        store.execute("CREATE TABLE t (text)")
        store.executemany("INSERT INTO t VALUES (?)", [(LEAVES * 20,)] * 2000)
        store.commit()
        store.execute("DELETE FROM t")
        store.commit()
        assert any(LEAVES.encode() in f.read_bytes() for f in tmp_path.iterdir())
        _compact([file])
        assert not any(LEAVES.encode() in f.read_bytes() for f in tmp_path.iterdir())

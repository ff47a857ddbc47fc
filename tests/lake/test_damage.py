"""A data file that is lost or no longer what was written is named by table and site.

Its rows can be written anew.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from dagster_project.lake.damage import data_files, find_damage, let_go, note_files
from dagster_project.lake.errors import DamagedFile, OtherSchema, UnreadableCatalogue, name_fault
from dagster_project.lake.home import Home
from dagster_project.lake.publish import publish
from dagster_project.lake.store import open_lake, read_lake
from tests.lake.test_store import rows


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """Two sites: AA with two patients, BB with one.

    One row of AA was deleted, so that a file of deletions lies there.
    """
    made = Home(tmp_path / "home").make()
    with open_lake(made) as lake:
        lake.replace("treatments", rows("AA", "p1", "p2", "p3"), site="AA")
        lake.replace("treatments", rows("BB", "p4"), site="BB")
        lake.replace("treatments", rows("AA", "p1", "p2"), site="AA")
        note_files(lake, made)
    return made


def _flip(file: Path) -> None:
    """One bit of a row's value, of the same size and time: what an ageing disk does."""
    content, times = bytearray(file.read_bytes()), file.stat()
    content[len(content) // 4] ^= 1
    file.write_bytes(bytes(content))
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "removed": (Path.unlink, "is lost"),
    "cut": (lambda f: f.write_bytes(f.read_bytes()[:-100]), "has another size than was written"),
    "emptied": (lambda f: f.write_bytes(b""), "has another size than was written"),
    "one bit": (_flip, "has other bytes than were written"),
    "zeros": (
        lambda f: f.write_bytes(bytes(f.stat().st_size)),
        "has other bytes than were written",
    ),
}


@pytest.mark.parametrize(
    ("part", "harm", "what"),
    [(part, *d) for part in (0, 1) for d in DAMAGES.values()],
    ids=[f"{name} {part}" for part in ("rows", "deletions") for name in DAMAGES],
)
def test_each_damage_is_named_and_the_rows_come_back(
    home: Home, part: int, harm: Callable[[Path], object], what: str
) -> None:
    with open_lake(home) as lake:
        before = lake.read("treatments")
        damaged = next(f for f in data_files(lake) if f.site == "AA" and len(f.parts) > part)
        path = damaged.parts[part][0]
    harm(path)
    with open_lake(home) as lake:
        (found,) = find_damage(lake, home, every_byte=True)
        assert (found.table, found.site, found.what) == ("treatments", "AA", what)
        assert found.command == "lakehouse rebuild treatments --site AA"
        assert lake.read("treatments", site="BB").height == 1, "the other site is whole"
        let_go(lake, [found])
    with open_lake(home) as lake:
        assert find_damage(lake, home) == []
        assert lake.read("treatments", site="AA").height == 0
        lake.replace("treatments", rows("AA", "p1", "p2"), site="AA")
        assert lake.read("treatments").equals(before)


@pytest.mark.parametrize("part", [0, 1], ids=["rows", "deletions"])
def test_a_lake_that_was_mended_is_published_and_its_history_can_expire(
    home: Home, part: int
) -> None:
    with open_lake(home) as lake:
        publish(lake, home.published)
        _flip(next(f for f in data_files(lake) if len(f.parts) == 2).parts[part][0])
        let_go(lake, find_damage(lake, home, every_byte=True))
    with open_lake(home) as lake:
        lake.replace("treatments", rows("AA", "p1", "p2"), site="AA")
        made = publish(lake, home.published)
        assert pl.read_parquet(made.parquet / "treatments.parquet")["patient"].to_list() == [
            "p1",
            "p2",
            "p4",
        ]
        lake.purge_history()
        assert lake.read("treatments")["patient"].to_list() == ["p1", "p2", "p4"]


def test_whole_files_are_no_damage_and_the_second_note_writes_nothing(home: Home) -> None:
    with open_lake(home) as lake:
        assert find_damage(lake, home, every_byte=True) == []
        assert note_files(lake, home) == 0


def test_without_notes_a_file_that_cannot_be_read_is_found_all_the_same(home: Home) -> None:
    (home.lake / "files.json").unlink()
    with open_lake(home) as lake:
        path = next(f for f in data_files(lake) if f.site == "BB").parts[0][0]
        path.write_bytes(bytes(path.stat().st_size))
        (found,) = find_damage(lake, home)
        assert (found.site, found.what) == ("BB", "cannot be read")


def test_an_earlier_snapshot_says_that_its_rows_are_lost(home: Home) -> None:
    """Rows that are lost must not look like none."""
    with open_lake(home) as lake:
        snapshot = lake.snapshot() - 1
        path = next(f for f in data_files(lake) if f.site == "AA").parts[0][0]
        path.unlink()
        let_go(lake, find_damage(lake, home))
    with open_lake(home) as lake, pytest.raises(Exception, match="Cannot open file") as told:
        lake.read("treatments", as_of=snapshot)
    fault = name_fault(str(told.value))
    assert isinstance(fault, DamagedFile)
    assert (fault.table, fault.site) == ("treatments", "AA")
    assert str(home.root) not in str(fault)


def test_a_lake_of_another_version_is_named_with_what_to_do(home: Home) -> None:
    with open_lake(home) as lake:
        lake.query("ALTER TABLE treatments DROP COLUMN drugs")
        lake.query("ALTER TABLE treatments ADD COLUMN dose DOUBLE")
    with pytest.raises(
        OtherSchema,
        match=r"table treatments lacks the column drugs and has the column dose.*"
        r"mv lake lake-before.*lakehouse run",
    ):
        open_lake(home)


@pytest.mark.parametrize(
    "content", [b"no catalogue at all" * 100, b"SQLite format 3\0" + bytes(5000)]
)
def test_a_catalogue_that_is_none_is_named_with_what_to_do(home: Home, content: bytes) -> None:
    for file in home.lake.glob("catalog.sqlite*"):
        file.write_bytes(content if file.suffix == ".sqlite" else b"")
    with pytest.raises(UnreadableCatalogue, match="Backup and restore"):
        read_lake(home)


def test_what_is_about_something_else_is_left_as_it_is() -> None:
    assert name_fault("Table with name patient does not exist") is None

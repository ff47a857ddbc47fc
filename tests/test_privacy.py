"""No identifier of a simulated person or hospital is in a home outside its landing.

Every byte is searched.
"""

from __future__ import annotations

import gzip
import json
import sqlite3
import zipfile
from collections.abc import Iterator
from pathlib import Path

import duckdb
import polars as pl

from tests.needles import Needles
from tests.trial import SITES, Stage, Trial

ENCODINGS = ("utf-8", "gb18030", "utf-16-le")
IDENTIFIED = ("landing", "truth")


def needles(trial: Trial) -> Needles:
    """Every identifying string of the simulation.

    Each is in every encoding in which it might have been copied.
    """
    strings = json.loads((trial.root / "truth" / "identifiers.json").read_text(encoding="utf-8"))
    assert len(strings) > 100
    assert min(map(len, strings)) >= 3
    return Needles(s.encode(e, "replace") for s in strings for e in ENCODINGS)


def unfolded(file: Path) -> Iterator[bytes]:
    """A file's bytes as they lie; and what is compressed or scattered in it, put plainly."""
    data = file.read_bytes()
    yield data
    if data[:2] == b"\x1f\x8b":
        yield gzip.decompress(data)
    if data[:4] == b"PK\x03\x04":
        with zipfile.ZipFile(file) as archive:
            yield from (archive.read(name) for name in archive.namelist())
    if data[:4] == b"PAR1":
        yield pl.read_parquet(file).write_ndjson().encode()
    if data[:15] == b"SQLite format 3":
        with sqlite3.connect(f"file:{file}?mode=ro", uri=True) as store:
            yield from (
                row
                for (table,) in store.execute(
                    "SELECT name FROM sqlite_master WHERE type = 'table'"
                ).fetchall()
                for row in _cells(store, table)
            )
    if file.suffix == ".duckdb":
        with duckdb.connect(str(file), read_only=True) as store:
            for (table,) in store.execute("SELECT table_name FROM duckdb_tables()").fetchall():
                yield "\n".join(
                    map(
                        str,
                        store.execute(
                            f'SELECT DISTINCT COLUMNS(*)::VARCHAR FROM "{table}"'
                        ).fetchall(),
                    )
                ).encode()


def _cells(store: sqlite3.Connection, table: str) -> Iterator[bytes]:
    for row in store.execute(f'SELECT * FROM "{table}"'):
        yield b"\n".join(cell if isinstance(cell, bytes) else str(cell).encode() for cell in row)


def searched(trial: Trial) -> list[Path]:
    return [
        p
        for p in sorted(trial.root.rglob("*"))
        if p.is_file() and p.relative_to(trial.root).parts[0] not in IDENTIFIED
    ]


def test_the_search_finds_what_is_there(grown: Stage) -> None:
    """Every kind of identifier is found in the landing.

    Not finding one elsewhere therefore means something.
    """
    pattern, trial = needles(grown.trial), grown.trial
    found = {
        match
        for file in trial.home.landing.rglob("*")
        if file.is_file()
        for match in pattern.findall(file.read_bytes())
    }
    numbers = {p["hospital_number"].encode() for p in trial.truth["patients"]}
    assert (
        numbers - found == {trial.patient_truth(SITES[0], 2)["hospital_number"].encode()} - found
    ), "all but the number in full-width digits"
    assert len(found) > 80


def test_no_identifier_left_the_landing(grown: Stage) -> None:
    pattern, trial = needles(grown.trial), grown.trial
    files = searched(trial)
    assert {p.relative_to(trial.root).parts[0] for p in files} >= {
        "vault",
        "crosswalk",
        "lake",
        "reports",
        "published",
        "mlflow",
        "dagster",
    }
    leaks = {
        f"{file.relative_to(trial.root)}: {match.group()[:3]!r}…"
        for file in files
        for part in unfolded(file)
        if (match := pattern.search(part))
    }
    assert leaks == set()


def test_no_identifier_is_in_a_files_name(grown: Stage) -> None:
    pattern = needles(grown.trial)
    assert [
        p
        for p in searched(grown.trial)
        if pattern.search(str(p.relative_to(grown.trial.root)).encode())
    ] == []


def test_no_identifier_was_said(grown: Stage) -> None:
    """Neither on standard output and error, nor by a worker, nor in what commands printed."""
    pattern, said = needles(grown.trial), grown.trial.said
    assert sum(map(len, said)) > 10_000
    assert [text for text in said if pattern.search(text.encode())] == []


def test_landing_and_vault_are_closed_to_others(grown: Stage) -> None:
    home = grown.trial.home
    assert {
        folder.name: oct(folder.stat().st_mode & 0o077)
        for folder in (home.landing, home.vault, home.crosswalk, home.lake)
    } == dict.fromkeys(("landing", "vault", "crosswalk", "lake"), "0o0")

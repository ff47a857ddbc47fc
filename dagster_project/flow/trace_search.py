"""The search for what is left of a patient, in every file of a home.

Packed and columnar files are unpacked; thousands of texts are searched for at once.
"""

from __future__ import annotations

import base64
import gzip
import re
import sqlite3
import zipfile
from collections.abc import Container, Iterable, Iterator
from contextlib import closing
from pathlib import Path

import duckdb
import numpy as np
import polars as pl

from dagster_project.intake.vault.vault_names import TAKEN_IN
from dagster_project.lake.home import Home
from dagster_project.lake.store import Lake

IDENTIFIED = ("landing", "truth", "throwaway-key-medium")
"""Folders of a home that are not searched: what sites deliver is theirs to take away."""

PIECE, AT_ONCE = 2**20, 64 * 2**20
"""Bytes of one text that is searched, and of all that are searched in one call."""

HEADER_BYTES = 2**14
"""Bytes read of an image that intake noted for another patient.

They hold everything before its pixels, and some more.
"""

PICTURE_MARK = 48
"""Bytes at the end of a picture's pixels that identify it, also within a page.

The pixels' checksums are there.
"""

LAST_CHUNK = 12
"""Bytes of IEND, which ends every PNG."""

_PICTURE = re.compile(rb"data:image/png;base64,([A-Za-z0-9+/=]{100,})")
_CROP = re.compile(rb'<script type="text/plain" id="crop-[^"]*">([A-Za-z0-9+/=]{100,})<')


def picture_marks(pages: Iterable[bytes]) -> frozenset[str]:
    """What the pictures and the CT of pages are known by: base64 of the last bytes of each."""
    found: set[str] = set()
    for page in pages:
        found |= {mark_of_picture(base64.b64decode(one)) for one in _PICTURE.findall(page)}
        found |= {mark_of_picture(base64.b64decode(one), 0) for one in _CROP.findall(page)}
    return frozenset(found)


def mark_of_picture(content: bytes, after: int = LAST_CHUNK) -> str:
    """The end of the pixels, at a place where base64 of it is a piece of the base64 of the whole.

    A piece from the middle may be blank, and then it is a piece of other patients' pictures too.

    Parameters
    ----------
    after
        Bytes behind the pixels: the last chunk of a PNG, none of a crop.
    """
    start = (len(content) - after - PICTURE_MARK) // 3 * 3
    return base64.b64encode(content[start : start + PICTURE_MARK]).decode()


def search_home(
    home: Home,
    traces: Iterable[str],
    *,
    besides: Container[Path] = (),
    pictures: Iterable[str] = (),
    lake: Lake | None = None,
) -> list[str]:
    """Files of the home in whose name or bytes a trace is left.

    The folders `IDENTIFIED` (landing, truth, key drive) and the files in `besides` are left out.

    1. Names, and the bytes as they lie; compressed files unpacked; of Parquet, SQLite and DuckDB
       every text that a column holds.
    2. Of images that intake noted for other patients, everything before the pixels.
    3. Pictures (`picture_marks`), as bytes and within pages.
    4. A catalogue that is no file, where `lake` is given.
    """
    pictures = list(pictures)
    raw = [base64.b64decode(picture).decode("latin-1") for picture in pictures]
    wanted = [*(trace.encode().decode("latin-1") for trace in traces), *pictures, *raw]
    files = [
        f
        for f in sorted(home.root.rglob("*"))
        if f.relative_to(home.root).parts[0] not in IDENTIFIED and f not in besides
    ]
    found = _holding(_everything(home, files), sorted(set(wanted)))
    return found + (
        [f"catalogue {t}" for t in _holding(lake.catalogue_texts(), wanted)] if lake else []
    )


def _everything(home: Home, files: Iterable[Path]) -> Iterator[tuple[str, bytes]]:
    for file in files:
        name = str(file.relative_to(home.root))
        yield name, name.encode("utf-8", "surrogateescape")
        if file.is_symlink() or not file.is_file():
            continue
        for content in _contents(home, file):
            yield name, content


def _holding(texts: Iterable[tuple[str, bytes]], wanted: list[str]) -> list[str]:
    """Names of those texts that hold one of what is wanted."""
    found: dict[str, None] = {}
    names, pieces, size = [], [], 0
    overlap = max(map(len, wanted), default=1)
    for name, content in texts:
        for start in range(0, max(len(content), 1), PIECE):
            names.append(name)
            pieces.append(content[start : start + PIECE + overlap].decode("latin-1"))
            size += len(pieces[-1])
        if size > AT_ONCE:
            found.update(dict.fromkeys(_hits(names, pieces, wanted)))
            names, pieces, size = [], [], 0
    found.update(dict.fromkeys(_hits(names, pieces, wanted)))
    return list(found)


def _hits(names: list[str], pieces: list[str], wanted: list[str]) -> list[str]:
    """Latin letters stand for bytes, so that one search knows all encodings."""
    if not pieces or not wanted:
        return []
    hit = pl.Series(pieces, dtype=pl.String).str.contains_any(wanted)
    return pl.Series(names, dtype=pl.String).filter(hit).unique(maintain_order=True).to_list()


def _contents(home: Home, file: Path) -> Iterator[bytes]:
    """Everything of a file that may hold a text."""
    if _is_noted_image(home, file):
        with file.open("rb") as image:
            yield image.read(HEADER_BYTES)
        return
    data = file.read_bytes()
    yield data
    if data[:2] == b"\x1f\x8b":
        yield gzip.decompress(data)
    elif data[:4] == b"PK\x03\x04":
        yield from _members(file)
    elif data[:4] == b"PAR1":
        yield from _columns(file, "read_parquet")
    elif data[:15] == b"SQLite format 3":
        yield from _cells(file)
    elif data[8:12] == b"DUCK":
        yield from _tables(file)


def _is_noted_image(home: Home, file: Path) -> bool:
    """A slice of a series; contours are small, and read whole."""
    if not file.is_relative_to(home.vault):
        return False
    below = "/".join(file.relative_to(home.vault).parts[1:])
    return TAKEN_IN.fullmatch(below) is not None and "/contours/" not in below


def _members(file: Path) -> Iterator[bytes]:
    with zipfile.ZipFile(file) as archive:
        yield archive.comment
        for entry in archive.infolist():
            yield entry.filename.encode() + entry.comment
            if not (entry.filename.endswith(".npy") and _is_of_numbers(archive, entry)):
                yield archive.read(entry)


def _is_of_numbers(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bool:
    """An array whose values are numbers: a mask of a chest unpacks to a hundred megabytes."""
    with archive.open(entry) as array:
        version = np.lib.format.read_magic(array)
        reader = (
            np.lib.format.read_array_header_1_0
            if version == (1, 0)
            else np.lib.format.read_array_header_2_0
        )
        return bool(reader(array)[2].kind in "buifc")


def _columns(file: Path, reader: str) -> Iterator[bytes]:
    with duckdb.connect() as memory:
        yield from _texts_of(memory, f"{reader}('{str(file).replace(chr(39), chr(39) * 2)}')")


def _tables(file: Path) -> Iterator[bytes]:
    with duckdb.connect(str(file), read_only=True) as store:
        for (table,) in store.execute("SELECT table_name FROM duckdb_tables()").fetchall():
            yield from _texts_of(store, f'"{table}"')


def _texts_of(store: duckdb.DuckDBPyConnection, table: str) -> Iterator[bytes]:
    """Each text of each column once: a column of millions of rows has few."""
    columns = store.execute(f"DESCRIBE SELECT * FROM {table}").fetchall()
    for name, kind in ((column[0], column[1]) for column in columns):
        if kind.startswith("VARCHAR") or "VARCHAR" in kind or kind in {"BLOB", "JSON"}:
            rows = store.execute(f'SELECT DISTINCT "{name}"::VARCHAR FROM {table}').fetchall()
            yield "\n".join(row[0] for row in rows if row[0] is not None).encode()


def _cells(file: Path) -> Iterator[bytes]:
    """Cells of SQLite: a long text lies on several pages, and is cut in the bytes of the file."""
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=60)) as store:
        store.text_factory = bytes
        tables = store.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        for (table,) in tables:
            rows = store.execute(f'SELECT * FROM "{table.decode()}"')
            yield b"\n".join(cell for row in rows for cell in row if isinstance(cell, bytes))

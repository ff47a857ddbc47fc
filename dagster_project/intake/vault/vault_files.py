"""Audits what else lies in a vault, and whether files, register and manifest agree.

That is names, tables, masks and notes.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import json
import re
import sqlite3
import struct
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from dagster_project.intake.vault.audit_words import words_fault
from dagster_project.intake.vault.manifest import verify_manifest
from dagster_project.intake.vault.vault_names import TAKEN_IN, is_known, shown
from dagster_project.lake.home import is_site

Find = Callable[[str, str, str], None]
"""Finding, place in the vault, element or column: never a value."""

UNNOTED = "file that intake did not note"
MISSING = "noted file is missing"
OTHER_BYTES = "other bytes than were noted"
NO_LINE = "file without a line in the manifest"
NO_FILE = "line of the manifest without its file"
BROKEN = "manifest is broken"
NAME = "name that is none of the vault's"
EACH_TIME = frozenset({UNNOTED, MISSING, NO_LINE, NO_FILE, BROKEN, NAME})
"""Findings that each audit looks for anew: gone when they are not found again."""

HEADER = "header that is not empty"
UNREADABLE = "cannot be read"

MANIFEST, REGISTER, INCOMING = "manifest.jsonl", "intake.sqlite", ".incoming/"
OWN_NOTES = frozenset({"audit.json", ".lock"})
"""What the audit writes itself, and who holds the site: a process and a moment."""

UNFINISHED = re.compile(r"(?:.+/)?\.[a-z0-9_]{8}\.part|intake\.sqlite-(?:journal|wal|shm)")
"""Names of files that are being written, or were when a process was killed.

The next intake removes or completes them.
"""

PLAIN_CHUNKS = frozenset({b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"pHYs", b"sRGB", b"gAMA"})
"""Parts of a PNG that hold no text."""

_NIFTI_TEXTS = ((4, 32), (148, 252), (328, 344))
_NIFTI_VOXELS = 352
_GZIP_FLAGS = 3


def audit_site_files(vault: Path, site: str, find: Find, *, since: int = 0) -> None:
    """Look at everything of a site's vault that is no DICOM.

    1. Every name is of the vault's own making, and every file of a kind that it holds.
    2. Texts in tables, notes and the register are words of this program; headers of masks and
       pictures are empty, and nothing follows them.
    3. Files, register and manifest name the same objects, both ways. A listener may write
       meanwhile: what it takes in between two looks is no finding.

    Parameters
    ----------
    since
        Contents of files that did not change after this moment (nanoseconds) are not read again.
    """
    folder, sites = (
        vault / site,
        frozenset({site, *(f.name for f in vault.iterdir() if is_site(f.name))}),
    )
    lines = _lines_of(folder / MANIFEST)
    listed = {f.relative_to(folder).as_posix(): f for f in sorted(folder.rglob("*")) if f.is_file()}
    files = {
        name: f
        for name, f in listed.items()
        if not name.startswith(INCOMING) and not UNFINISHED.fullmatch(name)
    }
    for name in files:
        if not is_known(name):
            find(NAME, shown(f"{site}/{name}"), "")
    fresh = {name: f for name, f in files.items() if f.stat().st_ctime_ns > since}
    for name, file in fresh.items():
        reader = READERS.get(".nii.gz" if name.endswith(".nii.gz") else file.suffix)
        if reader is not None and name not in OWN_NOTES:
            _audit_contents(reader(file, sites), shown(f"{site}/{name}"), find)
    if MANIFEST in files or any(map(TAKEN_IN.fullmatch, files)):
        _compare(folder, site, files, fresh, lines, find)


def _audit_contents(faults: Iterator[tuple[str, str]], where: str, find: Find) -> None:
    try:
        for fault, element in dict.fromkeys(faults):
            find(fault, where, element)
    # whatever a spoilt file makes of a reader: it is a finding, and the others are looked at
    except Exception:
        find(UNREADABLE, where, "")


# ── contents: finding and column, key or part ──


def _texts_of_table(file: Path, words: frozenset[str]) -> Iterator[tuple[str, str]]:
    rows = pl.read_parquet(file)
    for name, dtype in rows.schema.items():
        if words_fault(name):
            yield "column that is none of ours", ""
        texts = rows[name].explode() if dtype == pl.List(pl.String) else rows[name]
        if texts.dtype == pl.String:
            yield from _faults(texts.drop_nulls().unique().to_list(), name, words)
    notes = pl.read_parquet_metadata(file)
    yield from _faults([v for k, v in notes.items() if k != "ARROW:schema"], "metadata", words)


def _texts_of_json(file: Path, words: frozenset[str]) -> Iterator[tuple[str, str]]:
    content = file.read_text(encoding="utf-8")
    lines = content.splitlines() if file.suffix == ".jsonl" else [content]
    for line in lines:
        for key, text in _leaves(json.loads(line), ""):
            yield from _faults([text], key, words)


_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:?\d\d)")
_TAG = re.compile(r"[0-9A-F]{8}")
"""An element, followed by how often it occurs."""

_NUMBERS = re.compile(r"[\d.,;\-+eE ]*")
MOMENTS = frozenset({"at", "decided_at"})
"""Keys of notes that hold a moment."""


def _leaves(value: Any, key: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for name, part in value.items():
            is_tag = _TAG.fullmatch(name) is not None and isinstance(part, int)
            yield from [] if is_tag else [(key, name)]
            yield from _leaves(part, key if is_tag or words_fault(name) else name)
    elif isinstance(value, list):
        for part in value:
            yield from _leaves(part, key)
    elif isinstance(value, str) and not (key in MOMENTS and _MOMENT.fullmatch(value)):
        yield key, value


def _texts_of_register(file: Path, words: frozenset[str]) -> Iterator[tuple[str, str]]:
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as register:
        tables = register.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        for (table,) in tables:
            rows = register.execute(f'SELECT * FROM "{table}"')
            names = [column[0] for column in rows.description]
            cells = {
                (name, str(cell))
                for row in rows
                for name, cell in zip(names, row, strict=True)
                if isinstance(cell, str)
            }
            for name, cell in cells:
                yield from _faults([cell], f"{table}.{name}", words)


def _texts_of_arrays(file: Path, words: frozenset[str]) -> Iterator[tuple[str, str]]:
    # a lesion too small for habitats: nothing in it, and nothing to read
    if not file.stat().st_size:
        return
    with zipfile.ZipFile(file) as archive:
        if archive.comment or any(entry.comment for entry in archive.infolist()):
            yield HEADER, "comment"
    with np.load(file, allow_pickle=False) as arrays:
        yield from _faults([name.removesuffix(".npy") for name in arrays.files], "array", words)
        for name in arrays.files:
            if arrays[name].dtype.kind in "US":
                yield from _faults([str(text) for text in arrays[name].ravel()], "array", words)


def _texts_of_picture(file: Path, _words: frozenset[str]) -> Iterator[tuple[str, str]]:
    data, at = file.read_bytes(), 8
    while at + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        if kind not in PLAIN_CHUNKS and not (
            kind == b"tEXt" and data[at + 8 : at + 16] == b"Software"
        ):
            yield HEADER, kind.decode("latin-1")
        at += 12 + length
        if kind == b"IEND" and at < len(data):
            yield "bytes behind the picture", ""
            return


def _header_of_mask(file: Path, _words: frozenset[str]) -> Iterator[tuple[str, str]]:
    packed = file.read_bytes()
    if packed[_GZIP_FLAGS] != 0:
        yield HEADER, "gzip"
    data = gzip.decompress(packed)
    if any(any(data[start:stop]) for start, stop in _NIFTI_TEXTS) or any(data[348:_NIFTI_VOXELS]):
        yield HEADER, "NIfTI"
    shape, bits = struct.unpack_from("<8h", data, 40), struct.unpack_from("<h", data, 72)[0]
    voxels = int(np.prod([max(n, 1) for n in shape[1 : 1 + shape[0]]]))
    if len(data) != _NIFTI_VOXELS + voxels * bits // 8:
        yield "bytes behind the mask", ""
    elif np.frombuffer(data, np.uint8, offset=_NIFTI_VOXELS).max(initial=0) > 1:
        yield "mask of other values than 0 and 1", ""


def _texts_of_crop(file: Path, words: frozenset[str]) -> Iterator[tuple[str, str]]:
    """A header as JSON and its voxels, packed together (reports/crops.py)."""
    packed = file.read_bytes()
    if packed[_GZIP_FLAGS] != 0:
        yield HEADER, "gzip"
    data = gzip.decompress(packed)
    (length,) = struct.unpack_from("<I", data)
    header = json.loads(data[4 : 4 + length])
    for key, text in _leaves(header, ""):
        yield from _faults([text], key, words)
    if len(data) != 4 + length + 2 * int(np.prod(header["shape"])):
        yield "bytes behind the crop", ""


def _text_of_note(file: Path, words: frozenset[str]) -> Iterator[tuple[str, str]]:
    yield from _faults([file.read_text(encoding="utf-8")], "", words)


READERS: Mapping[str, Callable[[Path, frozenset[str]], Iterator[tuple[str, str]]]] = {
    ".parquet": _texts_of_table,
    ".json": _texts_of_json,
    ".jsonl": _texts_of_json,
    ".sqlite": _texts_of_register,
    ".npz": _texts_of_arrays,
    ".png": _texts_of_picture,
    ".crop": _texts_of_crop,
    ".nii.gz": _header_of_mask,
    "": _text_of_note,
}
"""How the texts of a file are found, by the end of its name."""


def _faults(texts: list[str], element: str, words: frozenset[str]) -> Iterator[tuple[str, str]]:
    for text in texts:
        if not _NUMBERS.fullmatch(text) or len(text) < 40:
            fault = words_fault(text, words)
            if fault:
                yield fault, element


# ── files, register and manifest ──


@dataclass(frozen=True)
class _Noted:
    """What the register holds: digest of each file that is in its place, by name."""

    digests: Mapping[str, str]
    incoming: frozenset[str]


def _compare(
    folder: Path,
    site: str,
    files: Mapping[str, Path],
    fresh: Mapping[str, Path],
    before: _Lines,
    find: Find,
) -> None:
    noted = _noted(folder / REGISTER)
    for name in (n for n in files if TAKEN_IN.fullmatch(n) and n not in noted.digests):
        find(UNNOTED, f"{site}/{name}", "")
    for name, digest in noted.digests.items():
        if name not in files:
            if name not in noted.incoming and not (folder / name).exists():
                find(MISSING, f"{site}/{name}", "")
        elif name in fresh and _digest(files[name]) != digest:
            find(OTHER_BYTES, f"{site}/{name}", "")
    _compare_with_manifest(folder / MANIFEST, site, noted, before, find)


def _compare_with_manifest(
    manifest: Path, site: str, noted: _Noted, before: _Lines, find: Find
) -> None:
    """Lines are read before and after the register: one that is written between is no finding."""
    if not manifest.is_file() or verify_manifest(manifest).broken_line:
        find(BROKEN, f"{site}/{MANIFEST}", "")
        return
    lines = _lines_of(manifest)
    for name, digest in noted.digests.items():
        if digest not in lines.ever and name not in noted.incoming:
            find(NO_LINE, f"{site}/{name}", "")
    left = (before.held & lines.held) - set(noted.digests.values())
    if left and lines.complete:
        find(NO_FILE, f"{site}/{MANIFEST}", f"{len(left)} lines")


@dataclass(frozen=True)
class _Lines:
    """Digests that were ever taken in, and those that have not left since.

    Lines about patients who left name no digests where an earlier version wrote them: then nobody
    can say which lines have lost their file, and `complete` is False.
    """

    ever: frozenset[str]
    held: frozenset[str]
    complete: bool


def _lines_of(manifest: Path) -> _Lines:
    ever, held, complete = set[str](), set[str](), True
    with (
        contextlib.suppress(FileNotFoundError, ValueError),
        manifest.open(encoding="utf-8") as lines,
    ):
        for record in map(json.loads, lines):
            if record["event"] in {"accepted", "recovered"}:
                ever.add(record["output"])
                held.add(record["output"])
            elif record["event"] == "renumbered":
                ever.add(record["output"])
                held.discard(record["former"])
                held.add(record["output"])
            elif record["event"] in {"superseded", "retracted", "lost"}:
                held.discard(record["output"])
            elif record["event"] in {"withdrawn", "given_up"}:
                complete &= "outputs" in record
                held.difference_update(record.get("outputs", ()))
    return _Lines(frozenset(ever), frozenset(held), complete)


def _noted(register: Path) -> _Noted:
    if not register.is_file():
        return _Noted({}, frozenset())
    with closing(sqlite3.connect(f"file:{register}?mode=ro", uri=True)) as connection:
        rows = connection.execute("SELECT output, output_digest, incoming FROM object").fetchall()
    return _Noted(
        {name: digest for name, digest, _ in rows}, frozenset(n for n, _, copy in rows if copy)
    )


def _digest(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()

"""CDISC Dataset-JSON 1.1: one object (.json), a line per row (.ndjson), that compressed (.dsjc)."""

from __future__ import annotations

import datetime as dt
import gzip
import json
import re
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from dagster_project.domain.adam import Dataset, Variable
from dagster_project.flow.trial_files import TrialFile, UnreadableFileError, numbered

SUFFIXES = frozenset({".json", ".ndjson", ".dsjc"})

READ_VERSION = re.compile(r"1\.1(?:\.\d+)?")
VERSION = "datasetJSONVersion"

_COLUMNS = re.compile(r'"columns"\s*:\s*\[')

CUT = "is cut off or damaged; copy it again"
OTHER_VERSION = (
    "is Dataset-JSON of another version than 1.1; write it as 1.1, as SAS transport file or as CSV"
)
NO_COLUMNS = "is Dataset-JSON without columns or rows as version 1.1 has them; write it anew"


def read_dataset_json(path: Path) -> TrialFile | None:
    """Read a data set; None for a JSON file of another kind.

    1. another version, a file that is cut off, fewer or more rows than `records` states, and a row
       of more or fewer values than there are columns are refused by name
    2. numbers as Python prints them; null is empty

    Raises
    ------
    UnreadableFileError
        Where one of these is so; with the columns, where they are known.
    """
    head, rows = _parts(path)
    if not isinstance(head, Mapping) or VERSION not in head:
        return None
    if not READ_VERSION.fullmatch(str(head[VERSION])):
        raise UnreadableFileError(path.name, OTHER_VERSION)
    columns = _columns(head, path.name)
    if rows is None or len(rows) != head.get("records"):
        raise UnreadableFileError(path.name, CUT, columns)
    if any(not isinstance(row, list) or len(row) != len(columns) for row in rows):
        raise UnreadableFileError(path.name, NO_COLUMNS, columns)
    return TrialFile(
        path.name, columns, numbered([[_text(value) for value in row] for row in rows])
    )


def _parts(path: Path) -> tuple[Any, Sequence[Any] | None]:
    """What stands before the rows, and the rows; None for rows that cannot be read."""
    text = _decompressed(path)
    if VERSION not in text:
        return None, None
    try:
        if path.suffix.lower() == ".json":
            head = json.loads(text)
            return head, head.get("rows", []) if isinstance(head, Mapping) else None
        first, *rest = [line for line in text.split("\n") if line.strip()]
        head = json.loads(first)
    except (RecursionError, ValueError):
        raise UnreadableFileError(path.name, CUT, _columns_in(text)) from None
    try:
        return head, [json.loads(line) for line in rest]
    except (RecursionError, ValueError):
        return head, None


def _decompressed(path: Path) -> str:
    data = path.read_bytes()
    try:
        return (gzip.decompress(data) if path.suffix.lower() == ".dsjc" else data).decode(
            "utf-8-sig"
        )
    except (EOFError, OSError, ValueError, zlib.error):
        raise UnreadableFileError(path.name, CUT) from None


def _columns_in(text: str) -> list[str]:
    """The columns of an object that is cut off behind them; empty where it is cut before."""
    found = _COLUMNS.search(text)
    try:
        columns, _ = json.JSONDecoder().raw_decode(text, found.end() - 1) if found else ([], 0)
        return _columns({"columns": columns}, "")
    except (RecursionError, ValueError):
        return []


def _columns(head: Mapping[str, Any], name: str) -> list[str]:
    try:
        return [str(column["name"]).strip().upper() for column in head["columns"]]
    except (KeyError, TypeError):
        raise UnreadableFileError(name, NO_COLUMNS) from None


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.15g}"
    return "" if value is None else str(value)


WRITTEN_VERSION = "1.1.0"

_TYPES: Mapping[str, Mapping[str, str]] = {
    "text": {"dataType": "string"},
    "integer": {"dataType": "integer"},
    "float": {"dataType": "float"},
    "date": {"dataType": "date", "targetDataType": "integer", "displayFormat": "DATE9."},
}


def write_dataset_json(dataset: Dataset, frame: pl.DataFrame, path: Path, *, study: str) -> None:
    """Write a data set as one object; `study` is the OID of the study."""
    head = {
        "datasetJSONCreationDateTime": dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "datasetJSONVersion": WRITTEN_VERSION,
        "fileOID": f"{study}.{dataset.name}",
        "studyOID": study,
        "metaDataVersionOID": f"MDV.{study}",
        "itemGroupOID": f"IG.{dataset.name}",
        "records": frame.height,
        "name": dataset.name,
        "label": dataset.label,
        "columns": [_column(dataset, variable, frame) for variable in dataset.variables],
    }
    rows = frame.with_columns(pl.col(pl.Date).dt.to_string("%Y-%m-%d")).rows()
    path.write_text(json.dumps({**head, "rows": rows}, ensure_ascii=False), encoding="utf-8")


def _column(dataset: Dataset, variable: Variable, frame: pl.DataFrame) -> dict[str, Any]:
    found: dict[str, Any] = {
        "itemOID": f"IT.{dataset.name}.{variable.name}",
        "name": variable.name,
        "label": variable.label,
        **_TYPES[variable.type],
    }
    if variable.type == "text":
        found["length"] = max(1, frame[variable.name].str.len_chars().max() or 0)
    if variable.name in dataset.keys:
        found["keySequence"] = list(dataset.keys).index(variable.name) + 1
    return found

"""The published tables and views as files of SAS, SPSS and Stata.

They are read from the published file, so that what it leaves out is left out here too.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from functools import partial
from pathlib import Path

import duckdb
import polars as pl

from dagster_project.flow.whole_files import write_together
from dagster_project.lake.schema import quoted
from dagster_project.lake.tables import PUBLISHED
from dagster_project.lake.views import VIEWS

LONGEST_NAME = 32
"""Characters of a name in transport files of version 8 and in Stata; SPSS takes more."""

LONGEST_LABEL = {"sas": 256, "spss": 256, "stata": 80}
"""Bytes of a label that each program keeps, and characters in Stata."""

YES_NO: dict[int | float, str] = {0: "no", 1: "yes"}
"""Labels of truth values, which are numbers there."""

SUFFIX = {"sas": ".xpt", "spss": ".sav", "stata": ".dta"}
"""Formats, each in a folder of its name."""


def write_statistical_files(database: Path, folder: Path) -> dict[str, int]:
    """Write every published table and view as transport file (version 8), .sav and .dta.

    1. Names are those of the dictionary; labels are its comments in English, cut where a program
       takes no more.
    2. Truth values are 0 and 1, labelled no and yes in SPSS and Stata; dates are dates; lists are
       texts with `; ` between their entries; NULL is the program's missing value, of a text ''.
    3. Each folder is written whole or not at all.

    Returns
    -------
    dict of str to int
        Tables written, by format.
    """
    tables = {t.name: t.columns for t in PUBLISHED} | {v.name: v.columns for v in VIEWS.values()}
    labels = {name: {c.name: c.en for c in columns} for name, columns in tables.items()}
    frames = _read(database, labels)
    written = {}
    for kind, suffix in SUFFIX.items():
        files: dict[Path, Callable[[Path], object]] = {
            folder / kind / f"{name}{suffix}": partial(_WRITERS[kind], frame, name, labels[name])
            for name, frame in frames.items()
        }
        write_together(files)
        written[kind] = len(files)
    return written


def _read(database: Path, declared: Mapping[str, Collection[str]]) -> dict[str, pl.DataFrame]:
    """The tables that are there, without columns that are former names of others."""
    with duckdb.connect(str(database), read_only=True) as c:
        there = {name for (name,) in c.execute("SELECT table_name FROM duckdb_tables()").fetchall()}
        there |= {name for (name,) in c.execute("SELECT view_name FROM duckdb_views()").fetchall()}
        found = {
            name: c.execute(f"SELECT * FROM {quoted(name)}").pl()
            for name in declared
            if name in there
        }
    return {
        name: _plain(frame.select(pl.col(n) for n in frame.columns if n in declared[name]))
        for name, frame in found.items()
    }


def _plain(frame: pl.DataFrame) -> pl.DataFrame:
    """The frame in the few types that all three programs have."""
    kinds = frame.schema
    return frame.with_columns(
        *(pl.col(n).list.join("; ") for n, k in kinds.items() if isinstance(k, pl.List)),
        *(pl.col(n).cast(pl.Int8) for n, k in kinds.items() if k == pl.Boolean),
        *(pl.col(n).cast(pl.Float64) for n, k in kinds.items() if k == pl.Int64),
    )


def _truths(frame: pl.DataFrame) -> dict[str, dict[int | float, str]]:
    return {name: YES_NO for name, kind in frame.schema.items() if kind == pl.Int8}


def _labels(frame: pl.DataFrame, labels: Mapping[str, str], kind: str) -> list[str | None]:
    longest = LONGEST_LABEL[kind]
    return [labels.get(c, c).encode()[:longest].decode(errors="ignore") for c in frame.columns]


def _write_sas(frame: pl.DataFrame, name: str, labels: Mapping[str, str], path: Path) -> None:
    import pyreadstat

    dates = {n: "DATE9." for n, kind in frame.schema.items() if kind == pl.Date}
    pyreadstat.write_xport(
        frame,
        path,
        table_name=name[:LONGEST_NAME],
        file_format_version=8,
        column_labels=_labels(frame, labels, "sas"),
        variable_format=dates,
    )


def _write_spss(frame: pl.DataFrame, name: str, labels: Mapping[str, str], path: Path) -> None:
    import pyreadstat

    pyreadstat.write_sav(
        frame,
        path,
        file_label=name,
        compress=True,
        column_labels=_labels(frame, labels, "spss"),
        variable_value_labels=_truths(frame),
    )


def _write_stata(frame: pl.DataFrame, name: str, labels: Mapping[str, str], path: Path) -> None:
    import pyreadstat

    pyreadstat.write_dta(
        frame,
        path,
        file_label=name,
        version=14,
        column_labels=_labels(frame, labels, "stata"),
        variable_value_labels=_truths(frame),
    )


_WRITERS: dict[str, Callable[[pl.DataFrame, str, Mapping[str, str], Path], None]] = {
    "sas": _write_sas,
    "spss": _write_spss,
    "stata": _write_stata,
}

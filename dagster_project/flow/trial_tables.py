"""Files of another trial's tumour tables, read into rows with their places, and what was graded written beside its flags."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl

from dagster_project.domain.trial_rows import TrialRow

DOMAINS = {"TU": "TUTESTCD", "TR": "TRTESTCD", "RS": "RSTESTCD", "DM": "DTHDTC"}
"""Domains that are read, and the column by which a file is known whatever its name; TU may do without it (TULNKID)."""

ALSO_TU = "TULNKID"

SUMS = ("PATIENT", "DAY", "TARGET_LESION_LONG_DIAM_MM")
"""Columns of a table of sums: one diameter a patient and study day, as trials publish them without single lesions."""

LAST_BASELINE_DAY = 7
"""A sum up to this study day may be the baseline of a table of sums: the last one that has a size is."""


class UnreadableTable(ValueError):
    """A folder or file from which no tumour table can be read."""


def read_trial(folder: Path) -> dict[str, list[TrialRow]]:
    """Rows by domain of every CSV and Parquet file of a folder; the others are left alone.

    Raises
    ------
    UnreadableTable
        Where the folder holds no TR and no RS, or a file cannot be read.
    """
    found: dict[str, list[TrialRow]] = {name: [] for name in DOMAINS}
    for path in sorted(p for p in folder.iterdir() if p.suffix.lower() in {".csv", ".parquet"}):
        names, rows = _read(path)
        domain = next((d for d, column in DOMAINS.items() if column in names), "TU" if ALSO_TU in names else None)
        if domain or names.issuperset(SUMS):
            found[domain or "TR"] += rows if domain else _as_measurements(rows)
    if not found["TR"] and not found["RS"]:
        raise UnreadableTable("no file of this folder is an SDTM TR or RS table; a CSV or Parquet file with a column TRTESTCD or RSTESTCD is one")
    return found


def _as_measurements(sums: Sequence[TrialRow]) -> list[TrialRow]:
    """Sums as rows of TR: one target a patient, a visit a day."""
    baseline: dict[str, int] = {}
    for row in sums:
        if int(row("DAY")) <= LAST_BASELINE_DAY and row(SUMS[2]).replace(".", "").isdigit() and float(row(SUMS[2])) > 0:
            baseline[row("PATIENT")] = max(int(row("DAY")), baseline.get(row("PATIENT"), int(row("DAY"))))
    return [replace(row, cells={
        "USUBJID": row("PATIENT"), "VISIT": f"DAY {row('DAY')}", "VISITNUM": row("DAY"), "TRDY": row("DAY"), "TRLNKID": "SUM", "TRGRPID": "TARGET",
        "TRTESTCD": "LDIAM", "TRSTRESC": row(SUMS[2]), "TRSTRESU": "mm", "TRBLFL": "Y" if baseline.get(row("PATIENT")) == int(row("DAY")) else ""})
        for row in sums]


def _read(path: Path) -> tuple[set[str], list[TrialRow]]:
    try:
        names, values = _parquet(path) if path.suffix.lower() == ".parquet" else _csv(path)
    except (OSError, UnicodeDecodeError, csv.Error, pl.exceptions.PolarsError):
        raise UnreadableTable(f"{path.name} cannot be read; save it as CSV (UTF-8, comma, semicolon or tab) or Parquet") from None
    return set(names), [TrialRow(path.name, number, dict(zip(names, row, strict=False))) for number, row in enumerate(values, start=2) if any(row)]


def _csv(path: Path) -> tuple[list[str], Sequence[Sequence[str]]]:
    text = path.read_text(encoding="utf-8-sig")
    delimiter = max(",;\t", key=text.partition("\n")[0].count)
    lines = list(csv.reader(text.splitlines(), delimiter=delimiter))
    return ([name.strip().upper() for name in lines[0]], lines[1:]) if lines else ([], [])


def _parquet(path: Path) -> tuple[list[str], Sequence[Sequence[str]]]:
    frame = pl.read_parquet(path).cast(pl.String)
    return [name.strip().upper() for name in frame.columns], [["" if v is None else v for v in row] for row in frame.iter_rows()]


def write_frame(frame: pl.DataFrame, path: Path, metadata: Mapping[str, Any] | None = None) -> None:
    """Write Parquet or CSV by the suffix; lists become texts with `; ` in CSV."""
    if path.suffix.lower() == ".parquet":
        frame.write_parquet(path, metadata={k: str(v) for k, v in metadata.items()} if metadata else None)
        return
    lists = [name for name, kind in frame.schema.items() if isinstance(kind, pl.List)]
    frame.with_columns(pl.col(name).list.join("; ") for name in lists).write_csv(path)

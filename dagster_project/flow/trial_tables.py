"""Files of another trial's tumour tables, read into rows with their places, and what was graded written beside its flags."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl

from dagster_project.domain.trial_rows import TrialRow
from dagster_project.intake.csv_tables import read_records

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
    trials: set[str] = set()
    for path in sorted(p for p in folder.iterdir() if p.suffix.lower() in {".csv", ".parquet"}):
        names, rows = _read(path)
        domain = next((d for d, column in DOMAINS.items() if column in names), "TU" if ALSO_TU in names else None)
        trials |= {trial for row in rows if (trial := row("STUDYID"))}
        if domain or names.issuperset(SUMS):
            found[domain or "TR"] += rows if domain else _as_measurements(rows)
    if len(trials) > 1:
        raise UnreadableTable(f"the files of this folder name {len(trials)} trials in STUDYID; give each trial a folder of its own")
    if not found["TR"] and not found["RS"]:
        raise UnreadableTable("no file of this folder is an SDTM TR or RS table; a CSV or Parquet file with a column TRTESTCD or RSTESTCD is one")
    return found


def _as_measurements(sums: Sequence[TrialRow]) -> list[TrialRow]:
    """Sums as rows of TR: one target per patient, one visit per day; a row whose day is no number is in no visit."""
    baseline: dict[str, float] = {}
    for row in sums:
        day = _day(row)
        if day is not None and day <= LAST_BASELINE_DAY and _is_size(row(SUMS[2])):
            baseline[row("PATIENT")] = max(day, baseline.get(row("PATIENT"), day))
    return [_as_measurement(row, baseline.get(row("PATIENT"))) for row in sums]


def _as_measurement(row: TrialRow, baseline: float | None) -> TrialRow:
    day = _day(row)
    visit = {} if day is None else {"VISIT": f"DAY {day:g}", "VISITNUM": f"{day:g}", "TRDY": f"{day:g}"}
    flag = "Y" if day is not None and day == baseline else ""
    lesion = {"USUBJID": row("PATIENT"), "TRLNKID": "SUM", "TRGRPID": "TARGET", "TRBLFL": flag}
    size = {"TRTESTCD": "LDIAM", "TRSTRESC": row(SUMS[2]), "TRSTRESU": "mm"}
    return replace(row, cells={**lesion, **visit, **size})


def _day(row: TrialRow) -> float | None:
    try:
        day = float(row("DAY"))
    except ValueError:
        return None
    return day if day == round(day) else None


def _is_size(text: str) -> bool:
    return text.replace(".", "").isdigit() and float(text) > 0


def _read(path: Path) -> tuple[set[str], list[TrialRow]]:
    try:
        names, values = _parquet(path) if path.suffix.lower() == ".parquet" else _csv(path)
    except (OSError, UnicodeDecodeError, pl.exceptions.PolarsError):
        raise UnreadableTable(f"{path.name} cannot be read; save it as CSV (UTF-8, comma, semicolon or tab) or Parquet") from None
    return set(names), [TrialRow(path.name, number, dict(zip(names, row, strict=False))) for number, row in values if any(row)]


def _csv(path: Path) -> tuple[list[str], Sequence[tuple[int, Sequence[str]]]]:
    lines = read_records(path)
    fault = next((line for line in lines if line.fault), None)
    if fault:
        raise UnreadableTable(f"{path.name} row {fault.number} cannot be read: it has an open quotation mark, a line break or another encoding; correct it")
    return ([name.upper() for name in lines[0].cells], [(line.number, line.cells) for line in lines[1:]]) if lines else ([], [])


def _parquet(path: Path) -> tuple[list[str], Sequence[tuple[int, Sequence[str]]]]:
    frame = pl.read_parquet(path).cast(pl.String)
    rows = [["" if v is None else v for v in row] for row in frame.iter_rows()]
    return [name.strip().upper() for name in frame.columns], list(enumerate(rows, start=2))


def write_frame(frame: pl.DataFrame, path: Path, metadata: Mapping[str, Any] | None = None) -> None:
    """Write Parquet or CSV by the suffix; lists become texts with `; ` in CSV."""
    if path.suffix.lower() == ".parquet":
        frame.write_parquet(path, metadata={k: str(v) for k, v in metadata.items()} if metadata else None)
        return
    lists = [name for name, kind in frame.schema.items() if isinstance(kind, pl.List)]
    frame.with_columns(pl.col(name).list.join("; ") for name in lists).write_csv(path)

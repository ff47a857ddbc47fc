"""The tumour tables of another trial, known by their columns; what is not read is named."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import polars as pl

from dagster_project.domain.external_trials.trial_grading import Graded, grade_trial
from dagster_project.domain.external_trials.trial_rows import TrialRow
from dagster_project.flow.dataset_json import SUFFIXES, read_dataset_json
from dagster_project.flow.sas_transport import read_data_sets
from dagster_project.flow.trial_files import TrialFile, UnreadableFileError, numbered
from dagster_project.intake.case_report.csv_tables import read_records
from dagster_project.study import Study

DOMAINS = {"TU": "TUTESTCD", "TR": "TRTESTCD", "RS": "RSTESTCD", "DM": "DTHDTC"}
"""Domains that are read, and the column by which a file is known; TU may do without (TULNKID)."""

ALSO_TU = "TULNKID"

ANALYSIS = "PARAMCD"
"""A column of ADaM's tables alone: they repeat columns of TR and RS, and are no collected data."""

MEASURED = frozenset({"TU", "TR"})
"""Domains without which a response would be another one."""

SUMS = ("PATIENT", "DAY", "TARGET_LESION_LONG_DIAM_MM")
"""Columns of a table of sums: one diameter per patient and study day."""

LAST_BASELINE_DAY = 7
"""The last sum up to this study day that has a size is the baseline of a table of sums."""

UNKNOWN_FORMAT = (
    "is in a format that is not read; save it as CSV, Parquet, SAS transport (XPT) or Dataset-JSON"
)
OTHER_FORMAT = "not read: no CSV, Parquet, SAS transport or Dataset-JSON file"
OTHER_TABLE = "not read: no table of TU, TR, RS or DM (DM with DTHDTC)"
OTHER_JSON = "not read: JSON, but no Dataset-JSON"
ADAM = "not read: an analysis table (ADaM); the collected tables TU, TR and RS are graded"
FOLDER = "not read: a folder"
REPEATED = "not read: the same rows as {name}"
UNREADABLE = "not read: {why}"


class UnreadableTable(ValueError):
    """A folder or file from which no tumour table can be read."""


@dataclass(frozen=True, slots=True)
class Unread:
    """What lies in the folder and was not read, and why; `broken` where it should have been."""

    name: str
    why: str
    broken: bool = False


@dataclass(slots=True)
class Trial:
    """Rows by domain; how many each file gave, by its name and domain; and what was not read."""

    tables: dict[str, list[TrialRow]] = field(
        default_factory=lambda: {name: [] for name in DOMAINS}
    )
    files: list[tuple[str, str, int]] = field(default_factory=list)
    unread: list[Unread] = field(default_factory=list)

    def __getitem__(self, domain: str) -> list[TrialRow]:
        """The rows of a domain."""
        return self.tables[domain]


def read_trial(folder: Path) -> Trial:
    """Read every CSV, Parquet, SAS transport (XPT) and Dataset-JSON file of a folder.

    1. a table is TU, TR, RS or DM by its columns; one with PARAMCD is ADaM and no source; others
       are named, not read
    2. the same rows in a second file are read once
    3. a file that cannot be read, or is called TU or TR and is in another format, is named and left
       out where it is known not to be
       TU or TR, by its columns, or where these are not known and both were found in others; else
       nothing is read, since a lost
       lesion would be another response
    4. one folder holds one trial (STUDYID)

    Raises
    ------
    UnreadableTable
        Where the folder holds no TR and no RS, two trials, or a file of 3 cannot be read.
    """
    trial, broken = Trial(), []
    for path in sorted(p for p in folder.iterdir() if not p.name.startswith((".", "~$"))):
        try:
            for table in _tables(path, trial):
                if isinstance(table, UnreadableFileError):
                    broken.append(table)
                else:
                    _take(table, trial)
        except UnreadableFileError as error:
            broken.append(error)
    for one in broken:
        _leave_out(one, trial)
    _check_trials(trial)
    if not trial["TR"] and not trial["RS"]:
        raise UnreadableTable(
            "no file of this folder is an SDTM TR or RS table; "
            "a CSV, Parquet, SAS transport (XPT) or Dataset-JSON "
            "file with a column TRTESTCD or RSTESTCD is one"
        )
    return trial


def grade_tables(trial: Trial, study: Study) -> Graded:
    """The tables of a trial, graded by the protocol's rules."""
    recist, irecist = study.section("recist"), study.section("irecist")
    return grade_trial(trial["TU"], trial["TR"], trial["RS"], trial["DM"], recist, irecist)


def _tables(path: Path, trial: Trial) -> Sequence[TrialFile | UnreadableFileError]:
    reader = _READERS.get(path.suffix.lower())
    if reader is None and path.is_file() and path.stem.upper() in MEASURED:
        raise UnreadableFileError(path.name, UNKNOWN_FORMAT)
    if path.is_dir() or reader is None:
        trial.unread.append(Unread(path.name, FOLDER if path.is_dir() else OTHER_FORMAT))
        return []
    try:
        found = reader(path)
    except (OSError, UnicodeDecodeError, pl.exceptions.PolarsError):
        why = "cannot be read; save it as CSV (UTF-8, comma, semicolon or tab) or Parquet"
        raise UnreadableFileError(path.name, why) from None
    if not found:
        trial.unread.append(Unread(path.name, OTHER_JSON))
    return found


def domain_of(columns: Iterable[str]) -> str | None:
    """The domain of a table by its columns; a table of sums is TR; None for every other table.

    >>> domain_of(["USUBJID", "TRTESTCD"]), domain_of(["USUBJID", "PARAMCD", "TRTESTCD"])
    ('TR', None)
    """
    names = set(columns)
    if ANALYSIS in names:
        return None
    known = next(
        (domain for domain, column in DOMAINS.items() if column in names),
        "TU" if ALSO_TU in names else None,
    )
    return known or ("TR" if names.issuperset(SUMS) else None)


def _take(table: TrialFile, trial: Trial) -> None:
    domain = domain_of(table.columns)
    if domain is None:
        trial.unread.append(Unread(table.name, ADAM if ANALYSIS in table.columns else OTHER_TABLE))
        return
    rows = [
        TrialRow(table.name, number, dict(zip(table.columns, row, strict=False)))
        for number, row in table.rows
        if any(row)
    ]
    rows = (
        rows
        if DOMAINS[domain] in table.columns or ALSO_TU in table.columns
        else _as_measurements(rows)
    )
    earlier = _same_rows(rows, trial[domain])
    if earlier:
        trial.unread.append(Unread(table.name, REPEATED.format(name=earlier)))
        return
    trial[domain].extend(rows)
    trial.files.append((table.name, domain, len(rows)))


def _same_rows(rows: Sequence[TrialRow], known: Sequence[TrialRow]) -> str:
    """The file among those already read that has the same rows; empty where none has."""
    counts = Counter(row.file for row in known)
    for name in [file for file, n in counts.items() if rows and n == len(rows)]:
        others = (row for row in known if row.file == name)
        if all(_filled(a) == _filled(b) for a, b in zip(rows, others, strict=True)):
            return name
    return ""


def _filled(row: TrialRow) -> dict[str, str]:
    return {name: cell for name, cell in row.cells.items() if cell}


def _leave_out(error: UnreadableFileError, trial: Trial) -> None:
    may_be_measured = (
        domain_of(error.columns) in MEASURED if error.columns else not (trial["TU"] and trial["TR"])
    )
    if may_be_measured:
        raise UnreadableTable(str(error)) from None
    trial.unread.append(
        Unread(
            error.name,
            UNREADABLE.format(why=str(error).removeprefix(f"{error.name} ")),
            broken=True,
        )
    )


def _check_trials(trial: Trial) -> None:
    files: dict[str, list[str]] = defaultdict(list)
    for rows in trial.tables.values():
        for row in rows:
            study = row("STUDYID").upper()
            if study and row.file not in files[study]:
                files[study].append(row.file)
    if len(files) > 1:
        groups = "; ".join(", ".join(names) for names in files.values())
        raise UnreadableTable(
            f"the files of this folder name {len(files)} trials in STUDYID ({groups}); "
            "give each trial a folder of its own"
        )


def _as_measurements(sums: Sequence[TrialRow]) -> list[TrialRow]:
    """Sums as rows of TR: one target per patient, one visit per day; without a day in no visit."""
    baseline: dict[str, float] = {}
    for row in sums:
        day = _day(row)
        if day is not None and day <= LAST_BASELINE_DAY and _is_size(row(SUMS[2])):
            baseline[row("PATIENT")] = max(day, baseline.get(row("PATIENT"), day))
    return [_as_measurement(row, baseline.get(row("PATIENT"))) for row in sums]


def _as_measurement(row: TrialRow, baseline: float | None) -> TrialRow:
    day = _day(row)
    visit = (
        {} if day is None else {"VISIT": f"DAY {day:g}", "VISITNUM": f"{day:g}", "TRDY": f"{day:g}"}
    )
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


def _csv(path: Path) -> list[TrialFile]:
    lines = read_records(path)
    columns = [name.strip().upper() for name in lines[0].cells] if lines else []
    fault = next((line for line in lines if line.fault), None)
    if fault:
        why = (
            f"row {fault.number} cannot be read: it has an open quotation mark, a line break or "
            "another encoding; correct it"
        )
        raise UnreadableFileError(path.name, why, columns)
    shifted = next((line for line in lines[1:] if any(line.cells[len(columns) :])), None)
    if shifted:
        why = (
            f"row {shifted.number} cannot be read: it has more cells than the header; "
            "put the cell with a comma in quotation marks"
        )
        raise UnreadableFileError(path.name, why, columns)
    return [TrialFile(path.name, columns, [(line.number, line.cells) for line in lines[1:]])]


def _parquet(path: Path) -> list[TrialFile]:
    frame = pl.read_parquet(path).cast(pl.String)
    rows = [["" if v is None else v for v in row] for row in frame.iter_rows()]
    return [TrialFile(path.name, [name.strip().upper() for name in frame.columns], numbered(rows))]


def _transport(path: Path) -> list[TrialFile | UnreadableFileError]:
    return read_data_sets(path, lambda columns: domain_of(columns) is not None)


def _json(path: Path) -> list[TrialFile]:
    table = read_dataset_json(path)
    return [table] if table else []


_READERS: Mapping[str, Callable[[Path], Sequence[TrialFile | UnreadableFileError]]] = {
    ".csv": _csv,
    ".parquet": _parquet,
    ".xpt": _transport,
    **dict.fromkeys(SUFFIXES, _json),
}

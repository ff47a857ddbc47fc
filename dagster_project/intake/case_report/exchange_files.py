"""The tables of the case report from every file of clinical/ that holds them."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

from dagster_project.intake.case_report.csv_tables import (
    WORKBOOKS,
    CsvTable,
    Refusal,
    read_other_sheets,
    read_table,
    table_files,
)
from dagster_project.intake.case_report.exchange_rows import TABLES
from dagster_project.intake.case_report.odm import read_odm
from dagster_project.intake.case_report.redcap import read_redcap
from dagster_project.intake.opening import open_delivered

_NAMED = frozenset({"redcap.csv", "redcap.json", "redcap.xml", "odm.xml", "redcap_dictionary.csv"})
"""Names of the delivery specification, which may stand in a reason; others may name a person."""

_KINDS = {
    "dictionary": re.compile(
        r".*data[ _-]?dictionary.*\.(csv|json)|redcap_dictionary\.(csv|json)", re.IGNORECASE
    ),
    "odm": re.compile(r"odm.*\.xml|.*_odm[_-].*\.xml|.*\.redcap\.xml", re.IGNORECASE),
    "redcap": re.compile(
        r"redcap.*\.(csv|json|xml)|.+_data(_labels)?_\d{4}-\d{2}-\d{2}.*\.csv", re.IGNORECASE
    ),
}
"""Names that REDCap's menu gives, and those of the delivery specification, with their meaning."""

_ROOT = re.compile(rb"<(\w+:)?ODM[\s>]")
_DICTIONARY = re.compile(
    rb"Variable / Field Name|\"?field_name\"?.{1,200}\"?form_name\"?.{1,400}field_type", re.DOTALL
)
TOO_MUCH_MEMORY = (
    "needs too much memory to be read; "
    "export the rows and fields of the delivery specification alone"
)
CANNOT_BE_READ = (
    "cannot be read by any rule that is known here; "
    "save it anew as CSV UTF-8 or .xlsx, and report this to the data manager"
)
_CALLED = {"dictionary": "REDCap dictionary", "odm": "ODM", "redcap": "REDCap"}


def exchange_files(clinical: Path) -> dict[str, list[Path]]:
    """The files of study databases in clinical/, in order of their names: dictionary, odm, redcap.

    A data dictionary is known by its header, ODM under a name of REDCap's by its root.
    """
    found: dict[str, list[Path]] = {kind: [] for kind in _KINDS}
    for path in sorted(clinical.iterdir()) if clinical.is_dir() else []:
        kind = "" if path.is_dir() else _kind(path)
        if kind:
            found[kind].append(path)
    return found


def _kind(path: Path) -> str:
    named = next((kind for kind, pattern in _KINDS.items() if pattern.fullmatch(path.name)), "")
    ending = path.suffix.lower()
    if named == "redcap" and ending == ".xml" and _begins(path, _ROOT):
        return "odm"
    if named != "dictionary" and ending in {".csv", ".json"} and _begins(path, _DICTIONARY):
        return "dictionary"
    return named


def _begins(path: Path, pattern: re.Pattern[bytes]) -> bool:
    try:
        with open_delivered(path) as file:
            return pattern.search(file.read(4096)) is not None
    except OSError:
        return False


def _called(files: list[Path], kind: str) -> dict[str, Path]:
    """Files by the name that they have in reasons."""
    return {
        f"clinical/{path.name}"
        if path.name in _NAMED
        else f"clinical/ {_CALLED[kind]} file {number}": path
        for number, path in enumerate(files, start=1)
    }


def clinical_tables(path: Path, table: str, name: str) -> list[CsvTable]:
    """A table of the case report from the CSV file, workbooks, and files of study databases.

    What a whole file is refused for is reported once, with the patients.
    """
    found: list[CsvTable] = []
    for file in table_files(path):
        called = (
            name.removesuffix(path.suffix) + file.suffix if name.endswith(path.suffix) else name
        )
        found += _named(called, partial(_one_table, file, table, called))
    if table in TABLES[1:]:
        for file in (path.with_name("patients" + ending) for ending in WORKBOOKS):
            called = f"clinical/{file.name}"
            if file.exists():
                found += _named(called, partial(read_other_sheets, file, table, called))
    if table in TABLES and path.parent.name == "clinical":
        found += _named("clinical/", partial(_of_databases, path.parent, table))
    return found


def _one_table(file: Path, table: str, called: str) -> list[CsvTable]:
    return [read_table(file, table, called)]


def _named(name: str, read: Callable[[], list[CsvTable]]) -> list[CsvTable]:
    """The tables that are read from a file.

    Where a reader fails on the file, it is refused by its name, and the others are read.
    """
    try:
        return read()
    except MemoryError:
        reason = TOO_MUCH_MEMORY
    except Exception:  # whatever a file makes of a reader; what it says may quote the file
        reason = CANNOT_BE_READ
    return [CsvTable(name, refusals=(Refusal(name, reason),))]


def _of_databases(clinical: Path, table: str) -> list[CsvTable]:
    files = {kind: _called(found, kind) for kind, found in exchange_files(clinical).items()}
    site, made = clinical.parent.name, []
    if files["redcap"] or files["dictionary"]:
        made += read_redcap(files["redcap"], files["dictionary"], site)[table]
    if files["odm"]:
        made += read_odm(files["odm"], site)[table]
    return made

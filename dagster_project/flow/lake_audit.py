"""Audits the lake before it is published.

No text of a table is anybody's, and dates fit their days.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from dagster_project.lake import sql
from dagster_project.lake.files import write_whole
from dagster_project.lake.home import Home
from dagster_project.lake.query_cache import cached_query
from dagster_project.lake.store import Lake
from dagster_project.lake.tables import TABLES, Table

Finding = tuple[str, str, str]
"""What it is, the table, the column: never the value."""

TEXTS = ("string", "list<string>")
"""Types of columns that hold texts."""

EVERY_SITE = "*"
"""Whose a finding is in a table that names no site."""

STRANGE_DAY = "date that does not fit its day"
LARGE_NUMBER = "number too long for a measurement"

OF_THE_PROTOCOL = frozenset({"amendments"})
"""Columns that quote a recorded decision: who made it, when and why."""

LARGEST_INTEGER = 999_999
"""Limit of a 32-bit column without an upper bound.

A hospital number, a date and a telephone number have more digits.
"""

COUNTS_OF_VOXELS = frozenset({"n_voxels", "n_outside"})
"""Columns that may hold more: a large tumour has a million voxels."""


def audit_lake(lake: Lake, home: Home) -> dict[str, list[Finding]]:
    """What is found in the lake's tables, by site; written down for `lakehouse status`.

    1. Every text of every column is made of words of this program, codes of sites (also of former
       ones) and forms of our own; recorded decisions of the protocol are left out.
    2. Whole numbers have at most six digits, counts of voxels left out.
    3. A patient's dates less their days from cycle 1 are one day, in all tables.

    A table that holds what it held is not read again.
    """
    sites = frozenset({*home.sites(), *home.former_sites()})
    found: dict[str, list[Finding]] = {}
    for table in TABLES:
        question = [_rules(), sorted(sites), table.names]
        file = home.answers / f"audit-{table.name}.json"
        for site, what, column in cached_query(
            lake, file, [table.name], question, partial(_audit, lake, table, sites)
        ):
            found.setdefault(site, []).append((what, table.name, column))
    for site in _strange_days(lake):
        found.setdefault(site, []).append(
            (
                STRANGE_DAY,
                "scans, timepoints, treatments, follow_up, clinical_status, board_decisions",
                "",
            )
        )
    write_whole(_file(home), json.dumps(found).encode())
    return found


def _file(home: Home) -> Path:
    return home.lake / "audit.json"


def open_lake_findings(home: Home) -> dict[str, list[Finding]]:
    """What the last audit of the lake found, by site."""
    file = _file(home)
    written: dict[str, list[Any]] = (
        json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    )
    return {
        site: [(what, table, column) for what, table, column in rows]
        for site, rows in written.items()
    }


def _audit(lake: Lake, table: Table, sites: frozenset[str]) -> list[list[str]]:
    """Site, finding and column, each once."""
    if not lake.state(table.name):
        return []
    found = dict.fromkeys((*_text_findings(lake, table, sites), *_number_findings(lake, table)))
    return [list(one) for one in found]


def _text_findings(lake: Lake, table: Table, sites: frozenset[str]) -> Iterator[Finding]:
    from dagster_project.intake.vault.audit_words import words_fault

    columns = [c.name for c in table.columns if c.type in TEXTS and c.name not in OF_THE_PROTOCOL]
    rows = lake.query(sql.texts_by_site(table, columns)).fetchall() if columns else []
    for site, *found in rows:
        owner = site if site in sites else EVERY_SITE
        for column, texts in zip(columns, found, strict=True):
            faults = {words_fault(text, sites) for text in _flat(texts or [])}
            yield from ((owner, fault, column) for fault in sorted(faults - {""}))


def _flat(texts: Iterable[str | list[str | None]]) -> set[str]:
    """Texts, and those of lists, each once."""
    lists = ([one] if isinstance(one, str) else one for one in texts)
    return {text for texts in lists for text in texts if text is not None}


def _number_findings(lake: Lake, table: Table) -> Iterator[Finding]:
    """Sites with a whole number too long for a measurement."""
    columns = [
        c.name
        for c in table.columns
        if c.type == "int32"
        and c.maximum is None
        and c.name not in OF_THE_PROTOCOL | COUNTS_OF_VOXELS
    ]
    statement = sql.sites_above(table, columns, LARGEST_INTEGER)
    for site, *above in lake.query(statement).fetchall() if columns else []:
        yield from (
            (site, LARGE_NUMBER, name)
            for name, is_above in zip(columns, above, strict=True)
            if is_above
        )


def _strange_days(lake: Lake) -> list[str]:
    """Sites of patients whose dates and days are not of one calendar."""
    return [site for (site,) in lake.query(sql.STRANGE_DAYS).fetchall()]


def _rules() -> str:
    from dagster_project.intake.dicom import audit_texts
    from dagster_project.intake.vault import audit_words

    modules = (audit_words, audit_texts)
    sources = (
        *(Path(module.__file__ or "") for module in modules),
        audit_texts.VOCABULARIES,
        Path(__file__),
    )
    return hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()

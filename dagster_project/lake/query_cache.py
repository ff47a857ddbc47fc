"""Answers about whole tables, kept as long as the tables hold the same rows.

A night with nothing new reads no table of features to answer again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from dagster_project.lake.contracts import HASHED_KEY, Violation, contract_query, find_violations
from dagster_project.lake.files import write_whole
from dagster_project.lake.home import Home
from dagster_project.lake.schema import constraints
from dagster_project.lake.store import Lake
from dagster_project.lake.tables import Table
from dagster_project.study import digest_of


def cached_query(
    lake: Lake,
    file: Path,
    tables: Sequence[str],
    question: object,
    answer: Callable[[], Any],
    *,
    site: str | None = None,
) -> Any:
    """The kept answer to this question about these tables, or a new one.

    It is answered anew where the tables hold other rows or the question is another. An answer found
    while someone wrote one of the tables is given, and not kept.

    Parameters
    ----------
    file
        One a kind of question; it holds the last answer.
    question
        All that the answer depends on beside the tables: statements, limits, versions.
    answer
        Gives what JSON can hold, and names no patient.
    site
        The answer depends on this site's rows alone.
    """
    state = _state(lake, tables, question, site)
    before = _kept(file)
    if before.get("state") == state:
        return before["answer"]
    found = answer()
    if _state(lake, tables, question, site) == state:
        write_whole(file, json.dumps({"state": state, "answer": found}).encode())
    return found


def violations_of(
    lake: Lake, home: Home, table: Table, *, site: str | None = None
) -> list[Violation]:
    """What `find_violations` finds in a table, or in one site's rows of it.

    Rows are read only where they have changed since the last call.
    """
    statement = contract_query(table, constraints(table), key=HASHED_KEY, site=site)

    def ask() -> list[list[object]]:
        found = find_violations(lambda q: lake.query(q).fetchone() or (), table, site=site)
        return [[v.constraint, v.rows] for v in found]

    answers = cached_query(
        lake,
        answer_file(home, "contract", table, site),
        [table.name],
        (statement, table.minimum_rows),
        ask,
        site=site,
    )
    return [Violation(table.name, constraint, rows) for constraint, rows in answers]


def answer_file(home: Home, kind: str, table: Table, site: str | None) -> Path:
    """Where the last answer of a kind about a table is held; those of a site in its folder."""
    return home.answers / (site or "") / f"{kind}-{table.name}.json"


def _state(lake: Lake, tables: Sequence[str], question: object, site: str | None) -> str:
    return digest_of([question, *(lake.state(name, site=site) for name in tables)])


def _kept(file: Path) -> dict[str, Any]:
    """Nothing where a file is not there, or is not what this module writes."""
    try:
        stored = json.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return stored if isinstance(stored, dict) and "answer" in stored else {}

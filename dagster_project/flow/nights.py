"""Runs as Dagster's own store has them, read without opening it for writing.

So they can be read from a read-only mount, and while Dagster is down.
"""

from __future__ import annotations

import datetime as dt
import sqlite3
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dagster_project.lake.home import Home
from dagster_project.run_processes import LONGEST_SECONDS, death_of

QUIET = "lakehouse/quiet"
"""Tag of a run that makes only what may differ on a night with nothing new."""

Status = Literal["good", "failed", "killed", "going on"]

STATUS: Mapping[str, Status] = {
    "SUCCESS": "good",
    "FAILURE": "failed",
    "CANCELED": "failed",
    "STARTING": "going on",
    "STARTED": "going on",
    "CANCELING": "going on",
}
"""Dagster's words for a run that has begun; one that waits in the queue has not."""

RUNS = """
SELECT run_id, pipeline_name, coalesce(partition, ''), status,
       coalesce(start_time, strftime('%s', create_timestamp)), end_time
FROM runs ORDER BY id"""
TAGS = "SELECT run_id, key, value FROM run_tags WHERE key LIKE 'lakehouse/%'"


@dataclass(frozen=True)
class Night:
    """One run of a job: of which site, how it ended, and when."""

    run_id: str
    job: str
    site: str
    """Empty for the cohort and the reports."""
    status: Status
    began: dt.datetime
    ended: dt.datetime | None
    quiet: bool = False
    """Whether it made only what may differ on a night with nothing new."""


def read_nights(home: Home, now: dt.datetime) -> list[Night]:
    """Every run that has begun, the earliest first; none where Dagster has no store yet."""
    file = home.dagster / "history" / "runs.db"
    if not file.is_file():
        return []
    with read_only(file) as connection:
        tags: dict[str, dict[str, str]] = defaultdict(dict)
        for run, key, value in connection.execute(TAGS):
            tags[run][key] = value
        rows = [row for row in connection.execute(RUNS) if row[3] in STATUS]
    return [_night(row, tags[row[0]], now) for row in rows]


def _night(row: tuple, tags: Mapping[str, str], now: dt.datetime) -> Night:
    run, job, site, status, began, ended = row
    started = dt.datetime.fromtimestamp(float(began), dt.UTC)
    state = STATUS[status]
    if state == "going on" and _is_dead(tags, started, now):
        state = "killed"
    at_end = dt.datetime.fromtimestamp(ended, dt.UTC) if ended else None
    return Night(run, job, site, state, started, at_end, QUIET in tags)


def _is_dead(tags: Mapping[str, str], began: dt.datetime, now: dt.datetime) -> bool:
    return bool(death_of(tags, (now - began).total_seconds(), LONGEST_SECONDS))


def newest_of_each(nights: list[Night]) -> dict[tuple[str, str], Night]:
    """The last run of each job and site."""
    return {(night.job, night.site): night for night in nights}


def last_good(nights: list[Night], job: str, site: str = "") -> dt.datetime | None:
    """When the last run of a job (and site) that ended well ended."""
    ends = [n.ended for n in nights if (n.job, n.site, n.status) == (job, site, "good") and n.ended]
    return max(ends, default=None)


@contextmanager
def read_only(file: Path) -> Iterator[sqlite3.Connection]:
    """A database of SQLite for reading.

    On a read-only mount SQLite cannot make the files beside it that its journal needs; there
    nobody else writes either, and it is read as a file that does not change.
    """
    for mode in ("mode=ro", "immutable=1"):
        with closing(sqlite3.connect(f"{file.as_uri()}?{mode}", uri=True)) as connection:
            try:
                connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
            except sqlite3.OperationalError:
                if mode == "immutable=1":
                    raise
                continue
            yield connection
            return

"""The state of a home for a machine that watches it; nothing is written, no lock is taken.

It names sites, rules and reasons, and nothing that identifies a person: no pseudonym, no file.
"""

from __future__ import annotations

import datetime as dt
import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from dagster_project.domain.cohort.quality import CLOSING
from dagster_project.flow.nights import Night, last_good, newest_of_each, read_nights
from dagster_project.flow.result_cache import CODE_VERSION
from dagster_project.flow.vault_audit import open_findings, summarise
from dagster_project.lake.catalogue_backup import SQLITE
from dagster_project.lake.damage import find_damage
from dagster_project.lake.free_space import free_bytes
from dagster_project.lake.home import Home
from dagster_project.lake.migrations import latest
from dagster_project.lake.store import Lake, read_lake
from dagster_project.study import Study, load_study

FORMAT = 1
"""Version of the state's form: a key that is there stays, others may be added."""

State = Mapping[str, Any]

VERDICTS = """
SELECT rule, scope, statistic, threshold, verdict, protocol_digest FROM quality_verdicts
WHERE kind = 'cohort' ORDER BY ALL"""
REFUSALS = """
SELECT site, stage, reason, count(*) FROM quarantine GROUP BY ALL ORDER BY ALL"""
OPEN_CASES = """
SELECT site, count(*) FROM arbitrations WHERE status = 'open' GROUP BY site"""


def home_state(home: Home, now: dt.datetime) -> dict[str, Any]:
    """The state of a home as plain values, for JSON.

    Returns
    -------
    dict
        `gate` with each verdict; `sites` with the last good night, delivery, refused items, open
        cases and findings; `nights`, the last run of each job and site; `refusals` by reason;
        `damaged`; `listeners`; `free_bytes`; versions of program, schema and code.
    """
    nights = read_nights(home, now)
    return {
        "format": FORMAT,
        "asked_at": now.astimezone(dt.UTC).isoformat(timespec="seconds"),
        "home": str(home.root),
        "program": version("dynamic-irecist-lakehouse"),
        "code_version": CODE_VERSION,
        "protocol": load_study().digest,
        "free_bytes": free_bytes(home),
        **_lake_state(home, nights),
        **_nights_state(nights),
        "listeners": listeners(home),
    }


def _nights_state(nights: list[Night]) -> dict[str, Any]:
    began = max((night.began for night in nights), default=None)
    return {
        "last_run": _text(began),
        "last_good_cohort": _text(last_good(nights, "cohort")),
        "last_good_report": _text(last_good(nights, "report")),
        "nights": [
            {
                "run": night.run_id,
                "job": night.job,
                "site": night.site or None,
                "status": night.status,
                "began": _text(night.began),
                "ended": _text(night.ended),
            }
            for night in newest_of_each(nights).values()
        ],
    }


def _lake_state(home: Home, nights: list[Night]) -> dict[str, Any]:
    """What the lake holds; where it has another schema, only that."""
    if not home.has_lake:
        return {"schema_version": {"program": latest(), "lake": None}, "fault": None} | _no_rows(
            home, nights
        )
    with reading_lake(home) as lake:
        versions = {"program": latest(), "lake": lake.version()}
        fault = lake.fault()
        facts = _no_rows(home, nights) if fault else _rows(home, lake, nights)
        return {
            "schema_version": versions,
            "fault": str(fault) if fault else None,
            "snapshot": lake.snapshot(),
            **facts,
        }


def _no_rows(home: Home, nights: list[Night]) -> dict[str, Any]:
    return {
        "gate": {"state": "not_judged", "verdicts": []},
        "sites": _sites(home, nights, {}, []),
        "refusals": [],
        "damaged": [],
    }


def _rows(home: Home, lake: Lake, nights: list[Night]) -> dict[str, Any]:
    damaged = find_damage(lake, home)
    if damaged:
        what = [{"table": d.table, "site": d.site, "what": d.what} for d in damaged]
        return _no_rows(home, nights) | {"damaged": what}
    refusals = lake.query(REFUSALS).fetchall()
    cases = dict(lake.query(OPEN_CASES).fetchall())
    return {
        "gate": gate_state(lake, load_study()),
        "sites": _sites(home, nights, cases, refusals),
        "refusals": [
            dict(zip(("site", "stage", "reason", "items"), row, strict=True)) for row in refusals
        ],
        "damaged": [],
    }


def gate_state(lake: Lake, study: Study) -> dict[str, Any]:
    """Whether the gate is open, closed, not judged yet, or judged by another protocol."""
    rows = lake.query(VERDICTS).fetchall()
    names = ("rule", "scope", "statistic", "threshold", "verdict")
    verdicts = [dict(zip(names, row, strict=False)) for row in rows]
    closed = any(v["verdict"] in CLOSING for v in verdicts)
    state = "open" if verdicts else "not_judged"
    if closed:
        state = "closed"
    if any(row[-1] != study.digest for row in rows):
        state = "other_protocol"
    return {"state": state, "verdicts": verdicts}


def _sites(
    home: Home, nights: list[Night], cases: Mapping[str, int], refusals: list[tuple]
) -> dict[str, Any]:
    found = open_findings(home)
    return {
        site: {
            "last_good_night": _text(last_good(nights, "site", site)),
            "delivery": delivery_state(home, site),
            "refused": sum(row[3] for row in refusals if row[0] == site),
            "open_cases": cases.get(site, 0),
            "blocked": site in found,
            "findings": [
                {"what": what, "element": element, "files": n}
                for what, element, n, _ in summarise(found.get(site, []))
            ],
        }
        for site in sorted({*home.sites(), *found})
    }


def delivery_state(home: Home, site: str) -> str:
    """Whether a site's delivery is `taken_in`, `new`, `changed`, or `none` without a folder."""
    if not (home.landing / site).is_dir():
        return "none"
    taken = home.taken_in(site)
    if not taken:
        return "new"
    return "taken_in" if taken == home.delivery(site) else "changed"


def listeners(home: Home) -> dict[str, Any]:
    """The listeners that were started: whether each runs, and how long objects were put off.

    A listener writes its state while it runs and takes the file away when it is ended.
    """
    found = {}
    for file in sorted(home.watch.glob("pacs.*.json")):
        site = file.name.split(".")[1]
        written = json.loads(file.read_text(encoding="utf-8"))
        found[site] = {"running": _is_held(home.root / f"pacs.{site}.lock"), **written}
    return found


def _is_held(lock: Path) -> bool:
    """Whether a process holds a lock; only looked at."""
    try:
        descriptor = os.open(lock, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


@contextmanager
def reading_lake(home: Home) -> Iterator[Lake]:
    """The lake for reading, also on a read-only mount: there by a copy of its catalogue."""
    if not home.catalog.startswith(SQLITE) or os.access(home.lake, os.W_OK):
        with read_lake(home) as lake:
            yield lake
        return
    catalogue = Path(home.catalog.removeprefix(SQLITE))
    with tempfile.TemporaryDirectory(prefix="lakehouse-") as folder:
        for file in catalogue.parent.glob(f"{catalogue.name}*"):
            shutil.copy(file, folder)
        with Lake(f"{SQLITE}{folder}/{catalogue.name}", home.data, read_only=True) as lake:
            yield lake


def _text(moment: dt.datetime | None) -> str | None:
    return moment.astimezone(dt.UTC).isoformat(timespec="seconds") if moment else None

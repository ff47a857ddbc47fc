"""What the arbiters of all sites decided.

Decisions are delivered in a site's landing, or recorded here and stored beside the patient's scans.
"""

from __future__ import annotations

import datetime as dt
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from dagster_project.domain.reading.agreement import why_no_arbiter
from dagster_project.domain.reading.arbitration import mask_readers

if TYPE_CHECKING:
    from dagster_project.resources import Lakehouse

SCHEMA: dict[str, pl.DataType] = {
    "site": pl.String(),
    "patient": pl.String(),
    "accepted_reader": pl.String(),
    "arbiter": pl.String(),
    "decided_at": pl.Datetime("us", "UTC"),
    "row_number": pl.Int32(),
    "simulated": pl.Boolean(),
}

DECISIONS = "decisions"
"""Folder of a patient in the vault: one file a decision, never written again."""


def arbiter_decisions(lakehouse: Lakehouse) -> pl.DataFrame:
    """The arbiters' decisions of all sites: taken in by intake, or recorded by command."""
    delivered = (lakehouse.case_report(site, "arbitrations") for site in lakehouse.home.sites())
    found = [_typed(rows) for rows in delivered if rows.height]
    held_out = frozenset[str]().union(*map(lakehouse.held_out, lakehouse.home.sites()))
    files = sorted(lakehouse.home.vault.glob(f"*/*/{DECISIONS}/*.json"))
    recorded = [_read(file) for file in files if file.parts[-3] not in held_out]
    return pl.concat([*found, pl.DataFrame(recorded, schema=SCHEMA)])


def _typed(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.select(pl.col(name).cast(kind) for name, kind in SCHEMA.items())


def _read(file: Path) -> dict[str, Any]:
    decision = json.loads(file.read_text(encoding="utf-8"))
    return {
        **decision,
        "decided_at": dt.datetime.fromisoformat(decision["decided_at"]),
        "row_number": int(file.stem),
    }


class UndecidableCase(ValueError):
    """A decision that cannot be recorded; nothing was changed."""


def find_case(lakehouse: Lakehouse, patient: str) -> dict[str, Any]:
    """The patient's row of arbitrations.

    Raises
    ------
    UndecidableCase
        Where there is none.
    """
    cases = lakehouse.lake.read("arbitrations").filter(patient=patient)
    if not cases.height:
        raise UndecidableCase(
            "no case bears that pseudonym; `lakehouse arbitration list` names the cases"
        )
    return cases.row(0, named=True)


def decide_case(
    lakehouse: Lakehouse, patient: str, letter: str, arbiter: str, now: dt.datetime
) -> Path:
    """Record that an arbiter endorses read A or B of an open case; the next run applies it.

    1. the case is open, and no decision on it waits for the next run
    2. the arbiter has read nothing of the patient
    3. both reads were locked before now

    Raises
    ------
    UndecidableCase
        Where one of these does not hold.
    """
    case = find_case(lakehouse, patient)
    reads = lakehouse.lake.read("reads", site=case["site"]).filter(patient=patient)
    folder = lakehouse.home.vault / case["site"] / patient / DECISIONS
    if case["status"] != "open":
        raise UndecidableCase("the case is not open: it was settled; its decision stands")
    if _waits(lakehouse, case, reads["reader"]):
        raise UndecidableCase(
            "a decision on the case is recorded already; `lakehouse run` applies it"
        )
    if why_no_arbiter(arbiter, {case["reader_a"], case["reader_b"], *reads["reader"]}):
        raise UndecidableCase(
            "the arbiter is a reader of the patient; a third person has to decide"
        )
    if (reads["locked_at"] > now).any():
        raise UndecidableCase("a read of the case is not locked yet; decide when both are")
    accepted = mask_readers(case["site"], patient, (case["reader_a"], case["reader_b"]))[letter]
    decision = {
        "site": case["site"],
        "patient": patient,
        "accepted_reader": accepted,
        "arbiter": arbiter,
        "decided_at": now.isoformat(),
        "simulated": case["simulated"],
    }
    return _append(folder, decision)


def _waits(lakehouse: Lakehouse, case: dict[str, Any], readers: Iterable[str]) -> bool:
    """Whether a valid decision is there that no run has applied yet."""
    recorded = arbiter_decisions(lakehouse).filter(site=case["site"], patient=case["patient"])
    two = {case["reader_a"], case["reader_b"]}
    return any(
        decision["accepted_reader"] in two
        and why_no_arbiter(decision["arbiter"], {*two, *readers}) is None
        for decision in recorded.iter_rows(named=True)
    )


def _append(folder: Path, decision: dict[str, Any]) -> Path:
    """A new file with the next number; one that exists is never opened for writing."""
    folder.mkdir(mode=0o700, exist_ok=True)
    file = folder / f"{len(list(folder.glob('*.json'))) + 1:04}.json"
    with os.fdopen(
        os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o400), "w", encoding="utf-8"
    ) as out:
        json.dump(decision, out, ensure_ascii=False)
        out.flush()
        os.fsync(out.fileno())
    return file

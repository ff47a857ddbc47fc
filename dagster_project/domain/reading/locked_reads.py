"""Blinding in the data: a read is closed by its lock and never changed after it.

A visit is shown only once both readers have locked it, and the visits before it.
"""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from dagster_project.domain.imaging.labels import Labels, Place, labels_of_reads
from dagster_project.lake.schema import polars_schema
from dagster_project.lake.tables import QUARANTINE, READS

Row = Mapping[str, Any]

Visit = tuple[str, str, str]
"""Site, patient and visit."""

JUDGED = (
    "role",
    "organ",
    "is_lymph_node",
    "is_present",
    "too_small_to_measure",
    "nontarget_state",
    "unequivocal",
    "mask_source",
)
"""What a reader states about a lesion beside the outline.

Measurements follow from the outline, or are the reader's own where there is none.
"""

WITHHELD = "{n} reads are {why}"
OPEN = (
    "open and withheld; nothing is shown, compared or computed of them until this reader's LOCKED "
    "is delivered"
)
LOCKED_ALONE = (
    "locked and withheld until {needed} readers have locked a read of this visit; "
    "who found nothing there states so in lesions.csv, one row per lesion that is no longer present"
)
BEFORE_LOCKED_ALONE = (
    "locked and withheld until {needed} readers have locked a read of {visit}, which comes before "
    "it: the response follows from all visits up to this one"
)
CHANGED = (
    "changed after its lock; the read as locked is used. A read that has to be corrected is named "
    "in [reads] reopened of study.toml"
)
REMOVED = (
    "taken out of the delivery after its lock; the read as locked is used. Deliver it again, "
    "or name it in [reads] reopened of study.toml"
)
UNUSABLE = (
    "locked, but its outline, delivered as before, is refused now (see its own row); "
    "it counts no more, deliver a corrected outline"
)
IN_FUTURE = (
    "LOCKED holds a time that has not come yet; the read stays open until then, correct the time"
)


@dataclass
class ClosedReads:
    """Reads that may be seen, every read that was ever locked, and what was withheld or refused.

    `waiting` are reads that are open: their own reader's alone.
    """

    shown: list[dict[str, Any]] = field(default_factory=list)
    waiting: list[dict[str, Any]] = field(default_factory=list)
    ledger: list[dict[str, Any]] = field(default_factory=list)
    refused: list[dict[str, Any]] = field(default_factory=list)

    def refuse(self, row: Row, item: str, reason: str) -> None:
        """Note what does not count, and why."""
        self.refused.append(
            {
                "site": row["site"],
                "stage": "reads",
                "item": item,
                "reason": reason,
                "simulated": row["simulated"],
            }
        )

    def frames(self) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
        """Rows of READS to show, rows of READS of the ledger, rows of QUARANTINE.

        The first two are without fingerprint.
        """
        return (
            _frame(self.shown),
            _frame(self.ledger),
            pl.DataFrame(self.refused, schema=polars_schema(QUARANTINE)).unique(
                maintain_order=True
            ),
        )

    def open_reads(self) -> pl.DataFrame:
        """Rows of READS that are open, without fingerprint."""
        return _frame(self.waiting)


def _frame(rows: Iterable[Row]) -> pl.DataFrame:
    schema = {
        name: kind for name, kind in polars_schema(READS).items() if name != "input_fingerprint"
    }
    return pl.DataFrame(list(rows), schema=schema).sort(READS.key)


def close_reads(
    reads: pl.DataFrame,
    ledger: pl.DataFrame,
    visits: Mapping[tuple[str, str], str],
    rules: Mapping[str, Any],
    now: dt.datetime,
    unusable: Collection[str] = (),
) -> ClosedReads:
    """Separate the reads that may be seen from those that wait, and hold locked reads fixed.

    Every read stays what it was when it was locked.

    1. Outlines found among the site's images (`site_reader`) were read by nobody: they pass.
    2. A read that was locked once stays as it was: its first lock time counts, a change is refused,
       and one that is no longer delivered is kept. Only `reopened` of the protocol
       (SITE:reader:patient) lets a new version take its place. An outline that is delivered as
       before and gives another mask by present code is no change by its reader: the new mask
       counts. Where it is refused now, what was measured on it before counts no more.
    3. A read that is locked now and was not before enters the ledger; a lock that lies in the
       future closes nothing.
    4. Of a visit that fewer than `blinded_readers` readers have locked nothing is shown: the other
       reader would find a read that is still to be made. Nor is anything of the patient's visits
       after it shown, whose response would leave it out. A visit that nobody has read holds up
       none. Open reads are never shown. What waits is reported.

    Parameters
    ----------
    reads
        READS as delivered now, `locked_at` by each reader's LOCKED.
    ledger
        Reads locked before, as this function left them.
    visits
        Visit of each (site, scan) that is there, a patient's in order of time; reads of scans that
        are gone leave the ledger with them.
    rules
        Section `reads` of study.toml.
    now
        When this is asked.
    unusable
        `outline_source` of outlines that are delivered and refused; of a file that is refused whole
        its digest alone.
    """
    closed = ClosedReads()
    labels = labels_of_reads([*reads.iter_rows(named=True), *ledger.iter_rows(named=True)])
    fresh = {_place(row, labels): row for row in reads.iter_rows(named=True)}
    locked = {
        _place(row, labels): {**row, "visit": visits[row["site"], row["scan"]]}
        for row in ledger.iter_rows(named=True)
        if (row["site"], row["scan"]) in visits
    }
    before = _still_usable(locked, frozenset(unusable), closed)
    blinded = {place: row for place, row in fresh.items() if row["reader"] != rules["site_reader"]}
    closed.shown = [dict(row) for place, row in fresh.items() if place not in blinded]
    reopened = frozenset(rules["reopened"])
    for place, row in blinded.items():
        held = _held(row, before.get(place), reopened, now, closed)
        (closed.ledger if held is not None else closed.waiting).append(held or dict(row))
    closed.ledger += _missing(before, blinded, labels, reopened, closed)
    _show(closed, list(visits), rules["blinded_readers"])
    return closed


def _place(row: Row, labels: Labels) -> Place:
    return labels.place(row, row["scan"], row["lesion"])


def _is_reopened(row: Row, reopened: Collection[str]) -> bool:
    return f"{row['site']}:{row['reader']}:{row['patient']}" in reopened


def _held(
    row: Row, before: Row | None, reopened: Collection[str], now: dt.datetime, closed: ClosedReads
) -> dict[str, Any] | None:
    """The read as it is locked, or None while it is open."""
    if before is not None and not (_is_reopened(row, reopened) and row["locked_at"] is not None):
        if content(row) == content(before) and is_same_outline(row, before):
            return {**row, "locked_at": before["locked_at"]}
        closed.refuse(row, _item(row), CHANGED)
        return dict(before)
    if row["locked_at"] is None:
        return None
    if row["locked_at"] > now:
        closed.refuse(row, f"reads/{row['reader']}/LOCKED", IN_FUTURE)
        return None
    return dict(row)


def content(read: Row) -> tuple[Any, ...]:
    """What the reader stated beside the outline."""
    by_hand = read["measurement_source"] == "hand"
    sizes = (read["longest_diameter_mm"], read["short_axis_mm"]) if by_hand else ()
    return (*(read[name] for name in JUDGED), *sizes)


def is_same_outline(read: Row, before: Row) -> bool:
    """Whether two reads have one outline.

    That is the same mask, or the same outline of the same file whatever mask is made of it.
    """
    same_source = (
        read["outline_source"] is not None and read["outline_source"] == before["outline_source"]
    )
    return same_source or read["mask_digest"] == before["mask_digest"]


def _still_usable(
    before: Mapping[Place, Row], unusable: Collection[str], closed: ClosedReads
) -> dict[Place, Row]:
    usable = {}
    for place, row in before.items():
        source = row["outline_source"] or ""
        if {source, source.partition(" ")[0]} & set(unusable):
            closed.refuse(row, _item(row), UNUSABLE)
        else:
            usable[place] = row
    return usable


def _item(row: Row) -> str:
    return f"{row['patient']} {row['scan']} {row['reader']} {row['lesion']}"


def _missing(
    before: Mapping[Place, Row],
    fresh: Mapping[Place, Row],
    labels: Labels,
    reopened: Collection[str],
    closed: ClosedReads,
) -> list[dict[str, Any]]:
    """Reads of the ledger that are no longer delivered.

    Left out are those whose place another series of the visit took.
    """
    read = {labels.place(row, row["visit"], row["lesion"]) for row in fresh.values()}
    kept = []
    for place, row in before.items():
        elsewhere = labels.place(row, row["visit"], row["lesion"]) in read
        if place in fresh or elsewhere or _is_reopened(row, reopened):
            continue
        closed.refuse(row, _item(row), REMOVED)
        kept.append(dict(row))
    return kept


def _show(closed: ClosedReads, scans: Sequence[tuple[str, str]], needed: int) -> None:
    waits_for = _waits_for(closed, scans, needed)
    closed.shown += [row for row in closed.ledger if waits_for[_visit_of(row)] is None]
    _withhold(closed, closed.waiting, lambda _: OPEN)

    def why(visit: Visit) -> str:
        first = waits_for[visit]
        reason = LOCKED_ALONE if first == visit else BEFORE_LOCKED_ALONE
        return reason.format(needed=needed, visit=first[-1] if first else "")

    early = [row for row in closed.ledger if waits_for[_visit_of(row)] is not None]
    _withhold(closed, early, why)


def _visit_of(row: Row) -> Visit:
    return row["site"], row["patient"], row["visit"]


def _waits_for(
    closed: ClosedReads, scans: Sequence[tuple[str, str]], needed: int
) -> dict[Visit, Visit | None]:
    """By visit that somebody has read, the patient's first one up to it that too few have locked.

    None where there is no such visit. `scans` are in order of time.
    """
    readers: dict[Visit, set[str]] = defaultdict(set)
    for row in closed.ledger:
        readers[_visit_of(row)].add(row["reader"])
    time = {scan: number for number, scan in enumerate(scans)}
    read = [*closed.ledger, *closed.waiting]
    read.sort(key=lambda row: time[row["site"], row["scan"]])
    found: dict[Visit, Visit | None] = {}
    early: dict[tuple[str, str], Visit] = {}
    for site, patient, name in map(_visit_of, read):
        visit = (site, patient, name)
        if len(readers[visit]) < needed:
            early.setdefault((site, patient), visit)
        found.setdefault(visit, early.get((site, patient)))
    return found


def _withhold(closed: ClosedReads, rows: Iterable[Row], why: Callable[[Visit], str]) -> None:
    """Report what is withheld, one row per reader and visit."""
    by_visit: dict[tuple[Visit, str], list[Row]] = defaultdict(list)
    for row in rows:
        by_visit[_visit_of(row), row["reader"]].append(row)
    for (visit, reader), own in sorted(by_visit.items()):
        _, patient, name = visit
        closed.refuse(
            own[0],
            f"{patient} {name} reads of {reader}",
            WITHHELD.format(n=len(own), why=why(visit)),
        )

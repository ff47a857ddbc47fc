"""Proposed places of a site's known lesions; the lungs of a pair of scans are registered once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from dagster_project.compute import run_tasks
from dagster_project.domain.reading.lesion_locations import (
    FAILED,
    FAR,
    FAR_REASON,
    KnownLesion,
    NextScan,
    derive_lesion_locations,
    list_known,
)
from dagster_project.flow.lung_motions import ScanPair, find_motion, known_motion, unknown_pairs
from dagster_project.flow.reads import LEDGER, OPEN_READS, noted_reads
from dagster_project.flow.step_result import Say, StepResult, frame_of, refusal, report_progress
from dagster_project.lake.schema import with_fingerprint
from dagster_project.lake.tables import LESION_LOCATIONS, QUARANTINE

if TYPE_CHECKING:
    from dagster_project.resources import Lakehouse

Row = dict[str, Any]


def locate_lesions(lakehouse: Lakehouse, site: str, say: Say) -> StepResult:
    """Places of the lesions of reads that may be seen; outlines far from theirs are a question.

    Lungs are registered for reads that wait as well: their own reader's page needs the places.
    """
    reads, timepoints = lakehouse.read("reads", "timepoints", site=site)
    own = pl.concat([noted_reads(lakehouse, site, name) for name in (LEDGER, OPEN_READS)])
    pairs = pairs_of(lakehouse.home.vault, list_known(own.iter_rows(named=True), timepoints))
    known = list_known(reads.iter_rows(named=True), timepoints)
    pairs |= pairs_of(lakehouse.home.vault, known)
    new = unknown_pairs(pairs.values())
    failed = dict.fromkeys(_failed(new, say), FAILED)
    found = {scans: failed.get(pair) or known_motion(pair) for scans, pair in pairs.items()}
    far_mm = lakehouse.study.section("reads")["far_from_place_mm"]
    rows = with_fingerprint(derive_lesion_locations(known, found, far_mm))
    questions = [_question(row) for row in rows.iter_rows(named=True) if FAR in row["flags"]]
    lakehouse.refuse(site, LESION_LOCATIONS.name, frame_of(questions, QUARANTINE))
    counts = {
        "registered": len(new) - len(failed),
        "reused": len(pairs) - len(new),
        "without_place": rows["x_mm"].null_count(),
        "far": len(questions),
    }
    return StepResult(rows, counts)


def pairs_of(vault: Path, known: Iterable[KnownLesion]) -> dict[tuple[str, str], ScanPair]:
    """The earlier and the later scan that each place needs."""
    return {
        (one.outlined["scan"], one.scan): ScanPair(
            _folder(vault, one, one.outlined["scan"]), _folder(vault, one, one.scan)
        )
        for one in known
        if one.outlined is not None
    }


def _folder(vault: Path, known: KnownLesion, scan: str) -> Path:
    return vault / str(known.last["site"]) / str(known.last["patient"]) / scan


def places_of(
    vault: Path, known: Iterable[KnownLesion]
) -> Mapping[tuple[str, str], NextScan | str]:
    """What was found for the scans of these lesions; what is not known yet has the reason."""
    pairs = pairs_of(vault, known)
    missing = set(unknown_pairs(pairs.values()))
    return {
        scans: FAILED if pair in missing else known_motion(pair) for scans, pair in pairs.items()
    }


def _failed(new: list[ScanPair], say: Say) -> Iterator[ScanPair]:
    outcomes = run_tasks(find_motion, new, together=lambda pair: pair.earlier.parent)
    for outcome in report_progress(outcomes, len(new), "pairs of lungs registered", say):
        if outcome.result is None:
            yield outcome.task


def _question(row: Row) -> Row:
    item = f"{row['patient']} {row['scan']} {row['reader']} {row['lesion']}"
    return refusal(row["site"], LESION_LOCATIONS.name, item, FAR_REASON, simulated=row["simulated"])

"""One name per lesion for all blinded readers, by where it was outlined.

Blinded readers number lesions each in their own way.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl
from scipy.optimize import linear_sum_assignment

from dagster_project.domain.imaging.labels import lie_apart
from dagster_project.lake.schema import polars_schema
from dagster_project.lake.tables import QUARANTINE

Row = Mapping[str, Any]
Overlap = Callable[[Row, Row], float | None]
"""Dice of the masks of two reads of one scan."""

SAME_LESION_DICE = 0.2
"""Least Dice of two outlines of one lesion.

Readers who differ about a border stay far above it, neighbouring lesions far below.
"""

RENAMED = (
    "numbered otherwise than by the first reader and renamed by the overlap of the outlines; "
    "nothing needs to be done"
)
UNCLEAR = (
    "overlaps different lesions of the first reader at different visits; it is compared with none. "
    "Have the reader check the numbering, then name the read in [reads] reopened of study.toml"
)


@dataclass
class _Names:
    """New names of the lesions of one reader, and which of them cannot be matched."""

    given: dict[str, str] = field(default_factory=dict)
    unclear: set[str] = field(default_factory=set)


def match_lesions(
    reads: pl.DataFrame, overlap: Overlap, site_reader: str
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Reads in which a lesion bears one name with all blinded readers of a patient.

    1. The first reader by name keeps the own labels; every other reader is compared with that one.
    2. On each scan that both outlined, outlines are paired so that the sum of their Dice is
       largest; pairs below `SAME_LESION_DICE` are none. Where every label's outline lies on that of
       the same label, no mask is compared.
    3. A label takes the name of the lesion that it was paired with, at all visits and for all of
       its rows.
    4. A label that was paired with several lesions, or several labels with one, gets a name of its
       own and is reported: it is compared with nothing.
    5. A label that was not paired keeps its name, unless a paired label took it: then it gets a
       name of its own.

    `reader_label` holds what the reader wrote.

    Parameters
    ----------
    reads
        READS without fingerprint, of reads that may be seen.
    overlap
        Dice of two of its rows.
    site_reader
        The reader of outlines found among the images, who is not blinded and is not matched.

    Returns
    -------
    tuple of pl.DataFrame
        The reads, and rows of QUARANTINE that report what was renamed or could not be matched.
    """
    rows = reads.to_dicts()
    reports: list[dict[str, Any]] = []
    for own in _by_patient(r for r in rows if r["reader"] != site_reader).values():
        first, *others = sorted({row["reader"] for row in own})
        reference = [row for row in own if row["reader"] == first]
        for reader in others:
            read = [row for row in own if row["reader"] == reader]
            reports += _rename(read, _names(reference, read, reader, overlap))
    schema = polars_schema(QUARANTINE)
    return pl.DataFrame(rows, schema=reads.schema), pl.DataFrame(reports, schema=schema).unique()


def _by_patient(rows: Iterable[dict[str, Any]]) -> dict[tuple[str, str], list[dict[str, Any]]]:
    grouped: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        grouped[row["site"], row["patient"]].append(row)
    return grouped


def _names(reference: Sequence[Row], read: Sequence[Row], reader: str, overlap: Overlap) -> _Names:
    """Rules 2 to 5."""
    partners: dict[str, set[str]] = defaultdict(set)
    for theirs, ours in _shared_scans(reference, read):
        for mine, other in _pairs(theirs, ours, overlap):
            partners[other["lesion"]].add(mine["lesion"])
    taken_by: dict[str, set[str]] = defaultdict(set)
    for label, lesions in partners.items():
        for lesion in lesions:
            taken_by[lesion].add(label)
    names = _Names()
    for label in sorted({row["lesion"] for row in read}):
        paired = partners.get(label, set())
        if len(paired) > 1 or any(len(taken_by[lesion]) > 1 for lesion in paired):
            names.unclear.add(label)
        elif paired:
            names.given[label] = next(iter(paired))
    for label in sorted({row["lesion"] for row in read} - names.given.keys()):
        free = label not in names.unclear and label not in taken_by
        names.given[label] = label if free else f"{label} ({reader})"
    return names


def _shared_scans(
    reference: Sequence[Row], read: Sequence[Row]
) -> Iterator[tuple[list[Row], list[Row]]]:
    """The outlined reads of either reader, for each scan that both outlined."""
    theirs, ours = _outlined(reference), _outlined(read)
    for scan in sorted(theirs.keys() & ours.keys()):
        yield theirs[scan], ours[scan]


def _outlined(rows: Iterable[Row]) -> dict[str, list[Row]]:
    grouped: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        if row["voxel_count"]:
            grouped[row["scan"]].append(row)
    return grouped


def _pairs(theirs: list[Row], ours: list[Row], overlap: Overlap) -> list[tuple[Row, Row]]:
    """Outlines of one lesion on one scan."""
    if _agree(theirs, ours):
        return [(a, b) for a in theirs for b in ours if a["lesion"] == b["lesion"]]
    dice = np.array([[overlap(a, b) or 0.0 for b in ours] for a in theirs])
    chosen = zip(*linear_sum_assignment(dice, maximize=True), strict=True)
    return [(theirs[i], ours[j]) for i, j in chosen if dice[i, j] >= SAME_LESION_DICE]


def _agree(theirs: list[Row], ours: list[Row]) -> bool:
    """Whether outlines lie on those of the same label and on no other.

    Only their centroids and radii are compared, no masks.
    """
    close = {(a["lesion"], b["lesion"]) for a in theirs for b in ours if not lie_apart(a, b)}
    shared = {a["lesion"] for a in theirs} & {b["lesion"] for b in ours}
    return close == {(lesion, lesion) for lesion in shared}


def _rename(read: Sequence[dict[str, Any]], names: _Names) -> list[dict[str, Any]]:
    """Give the rows of a reader their names; what is reported of it."""
    reports = []
    for row in read:
        label = row["lesion"]
        row["lesion"] = names.given[label]
        if row["lesion"] == label:
            continue
        reason = UNCLEAR if label in names.unclear else RENAMED
        item = f"{row['patient']} {row['reader']} {label}"
        place = {"site": row["site"], "stage": "reads", "item": item, "simulated": row["simulated"]}
        reports.append({**place, "reason": reason})
    return reports

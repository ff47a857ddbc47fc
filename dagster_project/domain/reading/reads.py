"""What each reader judged, joined with what each reader outlined.

One row per reader, lesion and scan, and a reason for all that does not fit.
"""

from __future__ import annotations

import datetime as dt
import math
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any

import numpy as np
import polars as pl

from dagster_project.domain.imaging.labels import Labels, Place, labels_of_outlines, normal_label
from dagster_project.domain.imaging.outline_flags import (
    flag_same_voxels,
    flag_unlike_density,
    judge_outline,
)
from dagster_project.domain.imaging.outlines import FLAGS
from dagster_project.domain.imaging.timepoints import BASELINE
from dagster_project.domain.reading.follow_up_labels import question_labels
from dagster_project.lake.schema import polars_schema
from dagster_project.lake.tables import QUARANTINE, READS

Row = Mapping[str, Any]

MEASURED = (
    "voxel_count",
    "volume_mm3",
    "mean_hu",
    "longest_diameter_mm",
    "short_axis_mm",
    "diameter_slice",
    "diameter_ends_mm",
    "centroid_x_mm",
    "centroid_y_mm",
    "centroid_z_mm",
    "mask_digest",
)
"""Columns of `reads` that `domain.imaging.masks.measure_mask` gives."""

OUTLINE = (
    "site",
    "patient",
    "scan",
    "reader",
    "label",
    "mask_source",
    "border_rule",
    "n_outside",
    "outline_flags",
    "outline_source",
    "refused",
    "image_share",
    *MEASURED,
)
"""What a row of outlines holds: one outline of one file, as read and measured on its scan."""

SOURCE_ORDER = ("SEG", "NIFTI", "NRRD", "RTSTRUCT")
"""Which of two outlines of one lesion by one reader is used.

Voxels are what the reader saw, contours have to be filled.
"""

CONFLICT = (
    "one of several different outlines of one lesion by one reader, and nobody can say which is "
    "valid; none is used. Deliver the valid one alone"
)

CENTROID = ("centroid_x_mm", "centroid_y_mm", "centroid_z_mm")

AMBIGUOUS = (
    "two labels of this patient differ only in case, blanks, hyphens or underscores; "
    "they are taken for two lesions, as written. Where one lesion is meant write its label in one "
    "way"
)


ABSENT_AND_THERE = (
    "the lesion is marked absent but outlined or measured; neither is used, and it counts as not "
    "evaluable. Correct one of the two"
)
THERE_AND_ZERO = (
    "the lesion is marked present or too small to measure, with a diameter of 0; the diameter is "
    "not used. Mark it absent if it is gone, else measure it"
)
NEW_ABSENT_AND_THERE = (
    "a new lesion is marked absent but outlined or measured; the row is left out, correct one of "
    "the two"
)
UNLIKE_ROWS = (
    "rows of one lesion, reader and scan contradict each other; none is used, keep the valid one"
)
NO_DIAMETERS = {"ld_mm": None, "sa_mm": None}
STATED = (
    "role",
    "organ",
    "node",
    "present",
    "too_small",
    "ld_mm",
    "sa_mm",
    "nontarget_state",
    "unequivocal",
)
"""What a row of lesions.csv says of the lesion on the scan."""
_stated = itemgetter(*STATED)

NO_ROLE = (
    "column role or lesion is empty or unknown; give the lesion's label, and target, "
    "non_target or new"
)
NO_SCAN = "no CT of that series or visit date; send the CT or correct series_uid or visit_date"
SECOND_ROW = "a second row of one lesion, reader and scan; keep the valid one"
NOT_MEASURED = (
    "a target lesion that is present but neither outlined nor measured; "
    "it counts as not evaluable, outline or measure it"
)
NEW_AT_BASELINE = (
    "a lesion of the visit before treatment cannot be new; the row is left out, "
    "give target or non_target"
)
NODE_AND_ORGAN = (
    "columns node and organ contradict each other: a node is measured by its short axis, "
    "any other lesion by its longest diameter; no diameter is used, correct one of the two"
)
TENFOLD = (
    "the diameter is about ten times, or a tenth of, that of this lesion at every other visit, "
    "as where a decimal point is lost or one visit is in cm; neither diameter is used. "
    "Correct the row, or say too_small"
)
FAR_FROM_OUTLINE = (
    "columns ld_mm and sa_mm: a diameter is at least twice, or at most half, that of the outline, "
    "as where a decimal point is lost or the outline is of another lesion or visit; "
    "the outline is used. Correct the row or the outline"
)
FAR_RATIO = 2.0
"""Ratio of two diameters of one lesion by one reader from which on they are of different things."""

FASTEST_GROWTH = 5.0
"""Ratio of a lesion's diameter to that of an earlier visit from which on one is written wrongly.

Its volume would have grown 125 times.
"""

DEEPEST_SHRINKAGE = 8.0
"""The same for the diameter of an earlier visit to that of a later one.

What shrinks from 40 to 5 mm is too small to be measured.
"""

NEVER_NODES = frozenset(
    {
        "lung",
        "liver",
        "adrenal",
        "kidney",
        "spleen",
        "pancreas",
        "brain",
        "bone",
        "pleural_effusion",
    }
)
"""Organs in which a lesion is no lymph node."""

SHORT_IS_LONGER = (
    "columns ld_mm and sa_mm: the short axis is longer than the longest diameter, "
    "so that nobody can say which is true; neither is used. Correct the row"
)


@dataclass
class _Refusals:
    rows: list[dict[str, Any]] = field(default_factory=list)

    def add(self, row: Row, item: str, reason: str) -> None:
        self.rows.append(
            {
                "site": row["site"],
                "stage": "reads",
                "item": item,
                "reason": reason,
                "simulated": row["simulated"],
            }
        )

    def frame(self) -> pl.DataFrame:
        return pl.DataFrame(self.rows, schema=polars_schema(QUARANTINE)).unique(maintain_order=True)


@dataclass(frozen=True)
class _Visits:
    """The visit of each scan, and which labels mean one lesion.

    A scan also has whether it is the series that the protocol chose for the visit.
    """

    visit_of: Mapping[tuple[str, str], str]
    chosen: frozenset[tuple[str, str]]
    scans_of_day: Mapping[tuple[str, str, dt.date], tuple[str, ...]]
    scan_of_series: Mapping[tuple[str, str], str]
    simulated: Mapping[tuple[str, str], bool]
    labels: Labels
    date_of: Mapping[tuple[str, str], dt.date]


def derive_reads(
    outlines: Iterable[Row],
    lesions: pl.DataFrame,
    locks: pl.DataFrame,
    timepoints: pl.DataFrame,
    scans: pl.DataFrame,
    rules: Mapping[str, Any],
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """READS without `input_fingerprint`, and the rows of QUARANTINE for what does not fit.

    1. Outlines: one that cannot be used or is empty is refused; the others are judged
       (`judge_outline`). Of several outlines of one lesion by one reader on one scan equal ones
       count once. Where they differ no more than two rules of filling do, one is used
       (`SOURCE_ORDER`) and the others are refused; else all are.
    2. A row of lesions.csv belongs to the scan of its series, or to the scan of its visit date that
       the reader outlined the lesion on, else to the one that the protocol chose. A new lesion at
       the visit before treatment is refused.
    3. The outline of a row is the reader's outline on that scan whose label is its `roi` (else its
       `lesion`); case, blanks, hyphens and underscores do not count, unless that would make one
       lesion of two (`labels_of_outlines`), which is reported.
    4. Diameters and volume come from the mask where there is one, from the reader's hand where
       there is none; the short axis likewise, and neither where the short axis that was written is
       the longer, or where no other visit of the lesion can be true beside it (`FASTEST_GROWTH`,
       `DEEPEST_SHRINKAGE`). A diameter beside an outline that is of another size is reported
       (`FAR_RATIO`). A lesion marked absent has neither; one that is outlined or measured
       all the same is not evaluable, as is one that is a node by one column and none by another.
       Rows of one lesion and scan that contradict each other are refused.
    5. A reader who has no row for a patient in lesions.csv: every outline whose label matches
       `target_roi` is a target lesion. Outlines that match nothing are refused.
    6. A lesion bears one name within a patient: the spelling of lesions.csv, else the first in
       alphabetical order.
    7. Where a reader read a lesion on several series of one visit, the read on the series that the
       protocol chose is used.
    8. Flags that follow from other outlines: `same_voxels`, `unlike_density`.
    9. A label of a follow-up visit that the reader does not know from T0 is a question
       (`question_labels`).
    10. `locked_at` is the reader's lock, NULL while open. Open reads take no part in anything that
        follows.

    Parameters
    ----------
    outlines
        Rows with the keys `OUTLINE`.
    lesions, locks
        case_report/lesions and locks of the vault.
    timepoints, scans
        Rows of the tables of those names.
    rules
        Section `reads` of study.toml.
    """
    refusals = _Refusals()
    outlines = list(outlines)
    visits = _visits(timepoints, scans, labels_of_outlines(outlines))
    found = _usable_outlines(outlines, visits, rules, refusals)
    rows = _judged(lesions, found, visits, refusals)
    rows += _unjudged(
        found, rows, lesions, re.compile(rules["target_roi"], re.IGNORECASE), refusals
    )
    _report_ambiguous(rows, visits.labels, refusals)
    rows = _one_series_a_visit(_one_name_a_lesion(rows, visits.labels), visits, refusals)
    rows = flag_same_voxels(_without_tenfold(rows, visits, refusals))
    rows = flag_unlike_density(rows, rules["unlike_density_hu"])
    _report_flags(rows, refusals)
    for row, question in question_labels(rows, visits.visit_of, BASELINE):
        refusals.add(row, _item(row, row["lesion"]), question)
    locked = {(r["site"], r["reader"]): r["locked_at"] for r in locks.iter_rows(named=True)}
    schema = {
        name: kind for name, kind in polars_schema(READS).items() if name != "input_fingerprint"
    }
    full = [
        {
            **{name: row.get(name) for name in schema},
            "reader_label": row["lesion"],
            "visit": visits.visit_of[row["site"], row["scan"]],
            "locked_at": locked.get((row["site"], row["reader"])),
        }
        for row in rows
    ]
    return pl.DataFrame(full, schema=schema), refusals.frame()


def _visits(timepoints: pl.DataFrame, scans: pl.DataFrame, labels: Labels) -> _Visits:
    visit_of: dict[tuple[str, str], str] = {}
    days: dict[tuple[str, str, dt.date], tuple[str, ...]] = {}
    chosen = set()
    date_of: dict[tuple[str, str], dt.date] = {}
    for row in timepoints.iter_rows(named=True):
        series = (row["scan"], *row["alternative_scans"])
        visit_of |= {(row["site"], scan): row["visit"] for scan in series}
        chosen.add((row["site"], row["scan"]))
        if row["scan_date"]:
            days[row["site"], row["patient"], row["scan_date"]] = series
            date_of |= {(row["site"], scan): row["scan_date"] for scan in series}
    of_series = {
        (r["site"], r["series_instance_uid"]): r["scan"] for r in scans.iter_rows(named=True)
    }
    simulated = {(r["site"], r["scan"]): r["simulated"] for r in scans.iter_rows(named=True)}
    return _Visits(visit_of, frozenset(chosen), days, of_series, simulated, labels, date_of)


def _report_flags(rows: Iterable[Row], refusals: _Refusals) -> None:
    for row in rows:
        for code in row.get("outline_flags") or ():
            refusals.add(row, _item(row, row["lesion"]), FLAGS[code])


def _usable_outlines(
    outlines: Iterable[Row], visits: _Visits, rules: Mapping[str, Any], refusals: _Refusals
) -> dict[Place, Row]:
    grouped: dict[Place, list[Row]] = defaultdict(list)
    for row in (
        {**o, "simulated": visits.simulated.get((o["site"], o["scan"]), False)} for o in outlines
    ):
        item = _item(row, row["label"])
        if (row["site"], row["scan"]) not in visits.visit_of:
            refusals.add(
                row, item, "outlined on a series that is no visit of the patient; send that series"
            )
        elif row.get("refused"):
            refusals.add(row, item, row["refused"])
        elif not row["voxel_count"]:
            refusals.add(row, item, _why_empty(row["n_outside"]))
        else:
            place = visits.labels.place(row, row["scan"], row["label"])
            grouped[place].append(judge_outline(row, rules))
    best = {place: _best_outline(rows, refusals) for place, rows in sorted(grouped.items())}
    return {place: row for place, row in best.items() if row is not None}


def _item(row: Row, label: str) -> str:
    return f"{row['patient']} {row['scan']} {row['reader']} {label}"


def _why_empty(n_outside: int) -> str:
    if n_outside:
        return (
            "the outline lies outside the images; send the whole series, "
            "or the contours of this series"
        )
    return (
        "the outline encloses no voxel (no closed contour, or no voxel set); "
        "outline the lesion or remove the empty structure"
    )


def _best_outline(rows: Sequence[Row], refusals: _Refusals) -> Row | None:
    """The outline that is used; None where two differ by more than their sources explain."""
    best, *others = sorted(
        rows, key=lambda r: (SOURCE_ORDER.index(r["mask_source"]), r["mask_digest"], r["label"])
    )
    unlike = [other for other in others if other["mask_digest"] != best["mask_digest"]]
    if not all(_is_same_outline(best, other) for other in unlike):
        for row in (best, *unlike):
            refusals.add(row, _item(row, row["label"]), CONFLICT)
        return None
    for other in unlike:
        refusals.add(
            other,
            _item(other, other["label"]),
            f"one of several different outlines of one lesion by one reader; "
            f"the one from {best['mask_source']} is used, deliver only the valid one",
        )
    if best["n_outside"] and "cut_by_images" not in best["outline_flags"]:
        refusals.add(
            best,
            _item(best, best["label"]),
            f"{best['n_outside']} contours or voxels of the outline lie outside the images and are "
            "not measured; the rest is used, send the whole series",
        )
    return best


def _is_same_outline(a: Row, b: Row) -> bool:
    """Whether two masks may be of one outline that was filled by two rules.

    Rules of filling differ by a layer of half a voxel: by one voxel in the radius of the sphere of
    the same volume, by two in the longest diameter.
    """
    if a["volume_mm3"] is None or b["volume_mm3"] is None:
        return False
    voxel = float(np.cbrt(a["volume_mm3"] / a["voxel_count"]))
    radii = np.cbrt(np.array([a["volume_mm3"], b["volume_mm3"]]) * 0.75 / np.pi)
    apart = np.array([a[name] - b[name] for name in CENTROID])
    return bool(
        abs(radii[0] - radii[1]) <= voxel
        and abs(a["longest_diameter_mm"] - b["longest_diameter_mm"]) <= 2 * voxel
        and np.linalg.norm(apart) <= voxel
    )


def _judged(
    lesions: pl.DataFrame, found: Mapping[Place, Row], visits: _Visits, refusals: _Refusals
) -> list[dict[str, Any]]:
    """Rows of lesions.csv that belong to a scan, each once."""
    rows: dict[Place, list[tuple[Row, str]]] = defaultdict(list)
    for row in lesions.iter_rows(named=True):
        scan = _scan_of_row(row, found, visits)
        reason = _why_no_row(row, scan, found, visits)
        if reason or scan is None:
            refusals.add(row, _row_item(row), reason)
        else:
            rows[visits.labels.place(row, scan, row["lesion"])].append((row, scan))
    judged = []
    for (first, scan), *others in rows.values():
        unlike = any(_stated(other) != _stated(first) for other, _ in others)
        for other, _ in [(first, scan), *others] if unlike else others:
            refusals.add(other, _row_item(other), UNLIKE_ROWS if unlike else SECOND_ROW)
        if not unlike:
            drawn = _drawn(first, scan, visits)
            judged.append({**_read(first, scan, found.get(drawn), refusals), "_drawn": drawn})
    return judged


def _row_item(row: Row) -> str:
    return f"lesions.csv of {row['reader']} row {row['row_number']}"


def _drawn(row: Row, scan: str, visits: _Visits) -> Place:
    """Where the outline that a row means is found."""
    return visits.labels.place(row, scan, row["roi"] or row["lesion"])


def _why_no_row(row: Row, scan: str | None, found: Mapping[Place, Row], visits: _Visits) -> str:
    """Why a row of lesions.csv cannot be used; empty where it can."""
    if row["role"] is None or row["lesion"] is None:
        return NO_ROLE
    if scan is None:
        return NO_SCAN
    if row["role"] != "new":
        return ""
    if visits.visit_of[row["site"], scan] == BASELINE:
        return NEW_AT_BASELINE
    is_there = _is_absent_and_there(row, found.get(_drawn(row, scan, visits)))
    return NEW_ABSENT_AND_THERE if is_there else ""


def _is_absent_and_there(row: Row, outline: Row | None) -> bool:
    return row["present"] is False and bool(outline or row["ld_mm"] or row["sa_mm"])


def _is_there_and_zero(row: Row) -> bool:
    is_there = row["present"] is True or (bool(row["too_small"]) and row["present"] is None)
    return is_there and 0.0 in (row["ld_mm"], row["sa_mm"])


def _scan_of_row(row: Row, found: Mapping[Place, Row], visits: _Visits) -> str | None:
    if row["series_instance_uid"] is not None:
        scan = visits.scan_of_series.get((row["site"], row["series_instance_uid"]))
        return scan if (row["site"], scan) in visits.visit_of else None
    candidates = visits.scans_of_day.get((row["site"], row["patient"], row["visit_date"]), ())
    outlined = [
        scan
        for scan in candidates
        if visits.labels.place(row, scan, row["roi"] or row["lesion"] or "") in found
    ]
    return next(iter([*outlined, *candidates]), None)


def _read(row: Row, scan: str, outline: Row | None, refusals: _Refusals) -> dict[str, Any]:
    item = _row_item(row)
    unclear = _is_absent_and_there(row, outline)
    present = row["present"] is not False or unclear
    zero = outline is None and _is_there_and_zero(row)
    used = {**row} if present and not unclear and not zero else {**row, **NO_DIAMETERS}
    if unclear:
        refusals.add(row, item, ABSENT_AND_THERE)
    elif zero:
        refusals.add(row, item, THERE_AND_ZERO)
    elif present and outline is None and _contradict(row):
        refusals.add(row, item, SHORT_IS_LONGER)
    elif present and outline is not None and _is_far(row, outline):
        refusals.add(row, item, FAR_FROM_OUTLINE)
    read = {
        "site": row["site"],
        "patient": row["patient"],
        "scan": scan,
        "reader": row["reader"],
        "lesion": row["lesion"],
        "role": row["role"],
        "organ": row["organ"],
        "is_lymph_node": bool(row["node"]),
        "is_present": present,
        "too_small_to_measure": bool(row["too_small"]) and present and not unclear,
        "nontarget_state": None if unclear else row["nontarget_state"],
        "unequivocal": row["unequivocal"],
        "simulated": row["simulated"],
        **_measured(used, outline if present and not unclear else None),
    }
    if row["organ"] in (NEVER_NODES if row["node"] else {"lymph_node"}):
        refusals.add(row, item, NODE_AND_ORGAN)
        return {**read, "longest_diameter_mm": None, "short_axis_mm": None}
    if _is_unmeasured(read) and not unclear and not zero:
        refusals.add(row, item, NOT_MEASURED)
    return read


def _is_unmeasured(read: Row) -> bool:
    return (
        read["is_present"]
        and read["role"] == "target"
        and not read["too_small_to_measure"]
        and _needed_diameter(read) is None
    )


def _contradict(row: Row) -> bool:
    """Whether the diameters that a reader wrote cannot both be true.

    The short axis is longer than the longest diameter.
    """
    return (row["sa_mm"] or 0.0) > (row["ld_mm"] or math.inf)


def _is_far(row: Row, outline: Row) -> bool:
    """Whether a diameter that a reader wrote is not of what the same reader outlined."""
    pairs = (
        (row["ld_mm"], outline["longest_diameter_mm"]),
        (row["sa_mm"], outline["short_axis_mm"]),
    )
    return any(max(pair) >= FAR_RATIO * min(pair) for pair in pairs if all(pair))


def _needed_diameter(read: Row) -> float | None:
    return read["short_axis_mm"] if read["is_lymph_node"] else read["longest_diameter_mm"]


def _without_tenfold(
    rows: Sequence[dict[str, Any]], visits: _Visits, refusals: _Refusals
) -> list[dict[str, Any]]:
    """Reads without diameters by hand that no other visit of the same lesion and reader supports.

    Of two visits alone nobody can say which is wrong: both are left out.
    """
    by_lesion: dict[tuple[str, ...], list[dict[str, Any]]] = defaultdict(list)
    for row in sorted(rows, key=lambda r: visits.date_of.get((r["site"], r["scan"]), dt.date.max)):
        if row.get("measurement_source") == "hand" and _needed_diameter(row):
            by_lesion[row["site"], row["patient"], row["reader"], row["lesion"]].append(row)
    for same in by_lesion.values():
        sizes = [_needed_diameter(row) or 0.0 for row in same]
        for place, row in enumerate(same):
            if _is_alone(place, sizes):
                refusals.add(row, _item(row, row["lesion"]), TENFOLD)
                row.update(dict.fromkeys(_BY_HAND))
    return list(rows)


_BY_HAND = ("longest_diameter_mm", "short_axis_mm", "measurement_source")


def _is_alone(place: int, sizes: Sequence[float]) -> bool:
    """Whether a size, of some in the order of time, can be that of none of the other visits.

    Where it grew too fast from all earlier visits, or to all later ones, it need not have shrunk as
    far beside the others.
    """
    size, before, after = sizes[place], sizes[:place], sizes[place + 1 :]
    grew = [size / one >= FASTEST_GROWTH for one in before]
    regrew = [one / size >= FASTEST_GROWTH for one in after]
    too_fast = any(changes and all(changes) for changes in (grew, regrew))
    deepest = FASTEST_GROWTH if too_fast else DEEPEST_SHRINKAGE
    far = [
        *(fast or one / size >= deepest for fast, one in zip(grew, before, strict=True)),
        *(fast or size / one >= deepest for fast, one in zip(regrew, after, strict=True)),
    ]
    return bool(far) and all(far)


def _measured(row: Row, outline: Row | None) -> dict[str, Any]:
    if outline is not None:
        return {
            "mask_source": outline["mask_source"],
            "border_rule": outline["border_rule"],
            "n_outside": outline["n_outside"],
            "outline_flags": outline["outline_flags"],
            "outline_source": outline["outline_source"],
            "measurement_source": "mask",
            **{name: outline[name] for name in MEASURED},
        }
    longest, short = (None, None) if _contradict(row) else (row["ld_mm"], row["sa_mm"])
    by_hand = "hand" if longest is not None or short is not None else None
    return {
        "mask_source": "NONE",
        "n_outside": 0,
        "longest_diameter_mm": longest,
        "short_axis_mm": short,
        "measurement_source": by_hand,
    }


def _unjudged(
    found: Mapping[Place, Row],
    judged: Iterable[Row],
    lesions: pl.DataFrame,
    target: re.Pattern[str],
    refusals: _Refusals,
) -> list[dict[str, Any]]:
    """Outlines that no row of lesions.csv names.

    They are target lesions where the reader wrote nothing about the patient.
    """
    named = {row["_drawn"] for row in judged}
    listed = {(row["site"], row["patient"], row["reader"]) for row in lesions.iter_rows(named=True)}
    rows = []
    for place, outline in found.items():
        if place in named:
            continue
        if (outline["site"], outline["patient"], outline["reader"]) in listed:
            refusals.add(
                outline,
                _item(outline, outline["label"]),
                "outlined, but in no row of this reader's lesions.csv for that scan; add the row, "
                "or its roi",
            )
        elif not (target.match(outline["label"]) or _is_numbered(target, outline["label"])):
            refusals.add(
                outline,
                _item(outline, outline["label"]),
                "the label is no lesion by [reads] target_roi; name the lesion in lesions.csv if "
                "it is one",
            )
        else:
            rows.append(_target(outline))
    return rows


def _is_numbered(target: re.Pattern[str], label: str) -> bool:
    """Whether a label is a word and a number that match without what is between them: `L 1`."""
    plain = normal_label(label)
    return bool(re.fullmatch(r"[a-z]+\d+(-\d+)?", plain) and target.match(plain))


def _target(outline: Row) -> dict[str, Any]:
    kept = {
        name: outline[name]
        for name in (
            "site",
            "patient",
            "scan",
            "reader",
            "mask_source",
            "border_rule",
            "n_outside",
            "outline_flags",
            "outline_source",
            "simulated",
            *MEASURED,
        )
    }
    return {
        **kept,
        "lesion": outline["label"].strip(),
        "role": "target",
        "is_lymph_node": False,
        "is_present": True,
        "too_small_to_measure": False,
        "measurement_source": "mask",
    }


def _report_ambiguous(rows: Iterable[Row], labels: Labels, refusals: _Refusals) -> None:
    """A question for each pair of labels that differ in what does not count elsewhere."""
    for row in rows:
        if (row["site"], row["patient"], normal_label(row["lesion"])) in labels.ambiguous:
            refusals.add(row, _item(row, row["lesion"]), AMBIGUOUS)


def _one_name_a_lesion(rows: Sequence[dict[str, Any]], labels: Labels) -> list[dict[str, Any]]:
    spellings: dict[tuple[str, str, str], tuple[bool, str]] = {}
    for row in rows:
        key = (row["site"], row["patient"], labels.key(row, row["lesion"]))
        spelling = ("_drawn" not in row, row["lesion"])
        spellings[key] = min(spellings.get(key, spelling), spelling)
    return [
        {**row, "lesion": spellings[row["site"], row["patient"], labels.key(row, row["lesion"])][1]}
        for row in rows
    ]


def _one_series_a_visit(
    rows: Sequence[dict[str, Any]], visits: _Visits, refusals: _Refusals
) -> list[dict[str, Any]]:
    best: dict[tuple[str, ...], dict[str, Any]] = {}
    for row in sorted(rows, key=lambda r: ((r["site"], r["scan"]) not in visits.chosen, r["scan"])):
        visit = visits.visit_of[row["site"], row["scan"]]
        kept = best.setdefault(
            (row["site"], row["patient"], visit, row["reader"], row["lesion"]), row
        )
        if kept is not row:
            refusals.add(
                row,
                _item(row, row["lesion"]),
                "read on several series of one visit; the read on the series that the protocol "
                "chose is used",
            )
    return [best[key] for key in sorted(best)]


def reader_artifact_flags(lesions: pl.DataFrame, scans: pl.DataFrame) -> pl.DataFrame:
    """Site, scan and reader_artifact_flag: the readers' notes on artifacts.

    True where any reader flagged the scan, False where readers only denied it; a row by visit date
    is about every series of that day. Scans that no reader judged are left out.
    """
    flags: dict[tuple[str, str], bool] = {}
    names = ("series_instance_uid", "scan_date")
    for row in (r for r in lesions.iter_rows(named=True) if r["artifact"] is not None):
        by_series = row["series_instance_uid"] is not None
        same = _same_scan(
            row,
            names[0] if by_series else names[1],
            row["series_instance_uid"] if by_series else row["visit_date"],
        )
        for scan in filter(same, scans.iter_rows(named=True)):
            flags[scan["site"], scan["scan"]] = (
                flags.get((scan["site"], scan["scan"]), False) or row["artifact"]
            )
    rows = [
        {"site": site, "scan": scan, "reader_artifact_flag": flag}
        for (site, scan), flag in sorted(flags.items())
    ]
    return pl.DataFrame(
        rows,
        schema={"site": pl.String(), "scan": pl.String(), "reader_artifact_flag": pl.Boolean()},
    )


def _same_scan(row: Row, column: str, value: object) -> Callable[[Row], bool]:
    return lambda scan: (
        value is not None
        and (scan["site"], scan["patient"], scan[column]) == (row["site"], row["patient"], value)
    )

"""Which CT is T0, T1 or T2: fixed by the dates of the cycles, before anyone looks at a response."""

from __future__ import annotations

import datetime as dt
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from dagster_project.lake.schema import polars_schema
from dagster_project.lake.tables import TIMEPOINTS

Row = Mapping[str, Any]

BASELINE = "T0"
"""The visit that every later one is compared with."""

CHANGES: Mapping[str, tuple[str, ...]] = {
    "scanner": ("manufacturer", "manufacturer_model_name"),
    "kernel": ("kernel",),
    "contrast": ("contrast",),
    "kvp": ("kvp",),
}
"""What `changed_since_t0` compares, and the columns of `scans` that state it."""


AFTER_DEATH = (
    "is dated after the death of its patient; correct the row of the death, "
    "or export the images with their right date"
)


@dataclass(frozen=True)
class DayStudy:
    """The series of one patient made on one day, the chosen one first.

    A study without a date is one by itself.
    """

    date: dt.date | None
    series: tuple[Row, ...]

    @property
    def shows_chest(self) -> bool:
        """Whether a series may be of the chest; unknown counts as may be."""
        return any(s["chest_flag"] is not False for s in self.series)


@dataclass(frozen=True)
class ProtocolVisit:
    """A study with the name of its visit and the rule that gave it."""

    name: str
    study: DayStudy
    rule: str


def derive_timepoints(
    scans: pl.DataFrame, treatments: pl.DataFrame, rules: Mapping[str, Any]
) -> pl.DataFrame:
    """One row per visit: TIMEPOINTS without `input_fingerprint`.

    1. Series of one patient and one day are one study; one of them is chosen (see `preference`),
       the others are runners-up.
    2. Day 0 is the date of cycle 1. T0: the last study from day -28 to day 0.
    3. T1: the first study after the date of cycle 3 and no later than the date of cycle 4 + 7 d, or
       cycle 3 + 35 d where no cycle 4 was given (and no later than 7 d after a later one that was).
       T2: the same after cycle 5.
    4. Where the date of cycle 3, or of a cycle 4 that was given, is not known, no study is T1;
       likewise T2.
    5. T1 is later than T0 and day 0, T2 later than T1, whatever the cycles say.
    6. A study that does not look like a chest is taken for T0, T1 or T2 only where no other lies in
       the window.
    7. Every other study is V1, V2, … by date; studies without a date come last. Without a date of
       cycle 1 no study is T0, T1 or T2.
    8. What changed since T0 (scanner, kernel, contrast, tube voltage) is named where both visits
       tell it and differ.

    Parameters
    ----------
    scans, treatments
        Rows of the tables of those names.
    rules
        Section `timepoints` of study.toml.
    """
    cycles = _cycles(treatments)
    rows = []
    for (site, patient), series in sorted(_by_patient(scans.iter_rows(named=True)).items()):
        given = cycles.get((site, patient), {})
        visits = _visits(_studies(series, rules), given, rules)
        rows += [_row(site, patient, visit, visits, given.get(1)) for visit in visits]
    schema = {
        name: kind
        for name, kind in polars_schema(TIMEPOINTS).items()
        if name != "input_fingerprint"
    }
    return pl.DataFrame(rows, schema=schema)


Cycles = Mapping[int, dt.date | None]
"""The cycles of a patient that were given, by number; None where the day is not known."""


def _cycles(treatments: pl.DataFrame) -> dict[tuple[str, str], dict[int, dt.date | None]]:
    cycles: dict[tuple[str, str], dict[int, dt.date | None]] = defaultdict(dict)
    for row in treatments.iter_rows(named=True):
        cycles[row["site"], row["patient"]][row["cycle"]] = row["treatment_date"]
    return cycles


def _by_patient(rows: Iterable[Row]) -> dict[tuple[str, str], list[Row]]:
    grouped: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in rows:
        grouped[row["site"], row["patient"]].append(row)
    return grouped


def _studies(series: Iterable[Row], rules: Mapping[str, Any]) -> list[DayStudy]:
    """Studies by date, those without a date last, by their study and scan."""
    kernels = re.compile(rules["soft_tissue_kernels"], re.IGNORECASE)
    grouped: dict[tuple[bool, dt.date, str], list[Row]] = defaultdict(list)
    for one in series:
        undated = one["scan_date"] is None
        grouped[
            undated, one["scan_date"] or dt.date.min, one["study_instance_uid"] if undated else ""
        ].append(one)
    return [
        DayStudy(found[0]["scan_date"], tuple(sorted(found, key=lambda s: preference(s, kernels))))
        for _, found in sorted(grouped.items())
    ]


def preference(
    series: Row, soft_tissue: re.Pattern[str]
) -> tuple[bool, bool, float, bool, int, int, str]:
    """Sort key of the series of one day, best first.

    1. One that may be of the chest. 2. Axial, ORIGINAL, PRIMARY. 3. Thinnest slices, to a hundredth
       of a millimetre.
    4. Soft-tissue kernel. 5. Most slices. 6. Lowest series number. 7. Name, so that the choice
       never depends on order.
    """
    spacings = [
        s for s in (series["slice_thickness_mm"], series["slice_spacing_mm"]) if s is not None
    ]
    number = series["series_number"]
    return (
        series["chest_flag"] is False,
        series["axial_original"] is not True,
        round(max(spacings, default=1e6), 2),
        soft_tissue.fullmatch((series["kernel"] or "").strip()) is None,
        -series["n_slices"],
        2**31 if number is None else number,
        series["scan"],
    )


def _visits(
    studies: list[DayStudy], cycles: Cycles, rules: Mapping[str, Any]
) -> list[ProtocolVisit]:
    named = _protocol_visits([s for s in studies if s.date is not None], cycles, rules)
    taken = [id(v.study) for v in named]
    reason = _why_no_visit(cycles, rules)
    others = [s for s in studies if id(s) not in taken]
    return named + [
        ProtocolVisit(f"V{n}", s, reason if s.date else "no date")
        for n, s in enumerate(others, start=1)
    ]


def _why_no_visit(cycles: Cycles, rules: Mapping[str, Any]) -> str:
    """Why a dated study is none of T0, T1 and T2, and which of them has no window."""
    if cycles.get(1) is None:
        return "no date of cycle 1, so no window of the protocol"
    needed = {
        name: undated_cycles(cycles, rules[f"{name.lower()}_after_cycle"]) for name in ("T1", "T2")
    }
    unknown = [
        f"no {name}: the date of cycle {numbers[0]} is not known"
        for name, numbers in needed.items()
        if numbers
    ]
    return "; ".join(["not in a window of the protocol", *unknown])


def undated_cycles(cycles: Mapping[int, object], cycle: int) -> list[int]:
    """Of a cycle and the next, those given on a day that is not known.

    The two bound a visit's window.
    """
    return [n for n in (cycle, cycle + 1) if n in cycles and cycles[n] is None]


def _protocol_visits(
    studies: list[DayStudy], cycles: Cycles, rules: Mapping[str, Any]
) -> list[ProtocolVisit]:
    day_0 = cycles.get(1)
    if day_0 is None:
        return []
    low, high = (
        day_0 + dt.timedelta(days=rules[key]) for key in ("t0_earliest_day", "t0_latest_day")
    )
    window = f"day {rules['t0_earliest_day']} to {rules['t0_latest_day']}"
    found = _pick(
        "T0", [s for s in reversed(studies) if low <= _date(s) <= high], f"last CT of {window}"
    )
    for name in ("T1", "T2"):
        after = max([day_0, *(_date(v.study) for v in found)])
        found += _after_cycle(
            name,
            rules[f"{name.lower()}_after_cycle"],
            [s for s in studies if _date(s) > after],
            cycles,
            rules,
        )
    return found


def _after_cycle(
    name: str, cycle: int, studies: list[DayStudy], cycles: Cycles, rules: Mapping[str, Any]
) -> list[ProtocolVisit]:
    begin = cycles.get(cycle)
    if begin is None or undated_cycles(cycles, cycle):
        return []
    latest, until = _end_of_window(cycle, begin, cycles, rules)
    return _pick(
        name,
        [s for s in studies if begin < _date(s) <= latest],
        f"first CT after cycle {cycle}, no later than {until}",
    )


def _end_of_window(
    cycle: int, begin: dt.date, cycles: Cycles, rules: Mapping[str, Any]
) -> tuple[dt.date, str]:
    """The last day of a visit's window, and the rule that gives it."""
    following, alone = rules["days_after_next_cycle"], rules["days_without_next_cycle"]
    later = {
        n: date + dt.timedelta(days=following)
        for n, date in sorted(cycles.items())
        if n > cycle and date is not None
    }
    if cycle + 1 in later:
        return later[cycle + 1], f"cycle {cycle + 1} + {following} d"
    latest = begin + dt.timedelta(days=alone)
    return min(
        [latest, *later.values()]
    ), f"cycle {cycle} + {alone} d, as no cycle {cycle + 1} was given"


def _date(study: DayStudy) -> dt.date:
    return study.date or dt.date.max


def _pick(name: str, in_window: list[DayStudy], rule: str) -> list[ProtocolVisit]:
    chests = [s for s in in_window if s.shows_chest]
    if chests:
        return [ProtocolVisit(name, chests[0], rule)]
    return (
        [ProtocolVisit(name, in_window[0], f"{rule}; none in the window looks like a chest")]
        if in_window
        else []
    )


def _row(
    site: str,
    patient: str,
    visit: ProtocolVisit,
    visits: list[ProtocolVisit],
    day_0: dt.date | None,
) -> dict[str, Any]:
    chosen, *others = visit.study.series
    day = (visit.study.date - day_0).days if visit.study.date and day_0 else None
    return {
        "site": site,
        "patient": patient,
        "visit": visit.name,
        "scan": chosen["scan"],
        "scan_date": visit.study.date,
        "day": day,
        "selection_reason": f"{visit.rule}; {_choice(len(others))}",
        "alternative_scans": [s["scan"] for s in others],
        "changed_since_t0": _changed(chosen, visits),
        "simulated": chosen["simulated"],
    }


def _choice(n_others: int) -> str:
    if not n_others:
        return "only series of that day"
    return (
        f"best of {n_others + 1} series of that day "
        "(chest, axial original, thinnest, soft-tissue kernel, most slices, lowest series number)"
    )


def _changed(chosen: Row, visits: list[ProtocolVisit]) -> list[str]:
    baseline = [v.study.series[0] for v in visits if v.name == "T0"]
    return [
        what
        for what, columns in CHANGES.items()
        if any(differ(chosen[c], b[c]) for b in baseline for c in columns)
    ]


def refuse_after_death(timepoints: pl.DataFrame, follow_up: pl.DataFrame) -> pl.DataFrame:
    """Rows of QUARANTINE for scans that are dated after the death of their patient.

    One of the two dates is wrong.

    The scan stays where it is, since the death may be what is wrong; no survival time is counted
    until one of them is corrected. Dates of a patient are all shifted alike, so that they can be
    compared.
    """
    died = (
        follow_up.filter(pl.col("event") == "death")
        .drop_nulls("event_date")
        .group_by("site", "patient")
        .agg(death=pl.col("event_date").min())
    )
    late = (
        timepoints.join(died, on=["site", "patient"])
        .filter(pl.col("scan_date") > pl.col("death"))
        .sort("site", "scan")
    )
    return late.select(
        "site",
        pl.lit(TIMEPOINTS.name).alias("stage"),
        pl.format("scan {}", "scan").alias("item"),
        pl.lit(AFTER_DEATH).alias("reason"),
        "simulated",
    )


def differ(a: object, b: object) -> bool:
    """Whether both are known and not the same; case and blanks of names do not count."""
    if a is None or b is None:
        return False
    return (
        a.strip().casefold() != b.strip().casefold()
        if isinstance(a, str) and isinstance(b, str)
        else a != b
    )

"""Evidence beside the state of each visit: how sure a change is, and what became of others like it.

It states and never decides: no item is a response, and none is based on a later visit.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import log, sqrt
from typing import Any

import polars as pl

from dagster_project.domain.imaging.timepoints import BASELINE
from dagster_project.domain.response.comparison_classes import (
    FIRST,
    LATER,
    Comparison,
    Resolved,
    compare,
    margin_class,
    opening_margin,
    progression_margin,
)
from dagster_project.domain.response.dynamic_standard import Standard
from dagster_project.domain.response.findings import Rules
from dagster_project.domain.response.responses import ACCEPTED
from dagster_project.domain.response.sum_error import ReaderError, find_reader_error
from dagster_project.lake.schema import polars_schema
from dagster_project.lake.tables import DYNAMIC_EVIDENCE
from dagster_project.statistics.estimate import normal_quantile

Row = Mapping[str, Any]
Patient = tuple[str, str]

NO_SUM = "a target was not evaluated, or there is none: no sum"
NO_REFERENCE = "the sum that it is compared with is not known"
NOT_POSITIVE = "a sum of 0 has no relative change"
NO_DATES = "the two CTs have no dates in order: no growth in time"
NO_VOLUME = "a target has no volume at both visits"
NO_NEW_LESION = "no measured new lesion"
NO_PAIR = "no lesion was measured at both visits"
NO_READERS = "fewer than two readers have read this visit"
NO_BLOCK = "no block is open at this visit"
NOT_BY_TARGETS = "progression did not begin in targets, or without a sum: it has no margin"
OTHER_EDGES = "no class of these margins is known"
NO_DHI = "no DHI from T0 to this visit"
UNCALIBRATED = "DHI by the shipped limits, not by this study's own"

DAYS = 30.0
"""Growth is given over so many days."""


@dataclass(frozen=True, slots=True)
class Item:
    """One line of evidence; a value beyond `limit` is more than reader error."""

    name: str
    value: float | None
    unit: str
    why: str | None = None
    limit: float | None = None
    text: str | None = None
    comparison: Comparison | None = None

    @property
    def direction(self) -> str | None:
        """Whether the change is for the worse or the better, by more than reader error."""
        if self.value is None or self.limit is None:
            return None
        if abs(self.value) <= self.limit:
            return "within_error"
        return "worse" if self.value > 0 else "better"


@dataclass(frozen=True, slots=True)
class Around:
    """What the lake holds around one visit of a patient."""

    visit: Row
    before: Row | None
    baseline: Row
    sizes: Mapping[str, Mapping[str, tuple[float | None, float | None]]]
    readers: Sequence[Row]
    block: Row | None
    dhi: Row | None
    changed: Sequence[str]
    study: Sequence[Resolved]
    first_visit: str


def derive_dynamic_evidence(
    responses: pl.DataFrame,
    blocks: pl.DataFrame,
    lesions: pl.DataFrame,
    timepoints: pl.DataFrame,
    dhi: pl.DataFrame,
    sections: Mapping[str, Rules],
    standard: Standard,
) -> pl.DataFrame:
    """One row per patient, visit after T0 and item, of the accepted read.

    1. margin of the progression in reader errors; the error is the study's own where there are
       pairs enough (sum_error.py), and `text` says which
    2. change of the sum from baseline, nadir and the last visit; growth over 30 days; change of the
       targets' volume; iSumNL and its change. A change is worse or better where it exceeds the
       repeatability of a reader, 1.96 * sqrt(2) * error
    3. lesions that grew and shrank by more than that since the last visit; dissociated where both
    4. each reader's iRECIST response; DHI from T0; what changed between the scans
    5. the comparison class of the open block (comparison_classes.py), other patients' alone
    6. a value that cannot be given is NULL with its reason

    Returns
    -------
    pl.DataFrame
        The table dynamic_evidence.
    """
    error = find_reader_error(responses, sections["dynamic"])
    cohort = _resolved(responses, blocks, error, sections)
    rows = [
        _row(around, item, standard)
        for around in _arounds(responses, blocks, lesions, timepoints, dhi, cohort)
        for item in items_of(around, error, sections)
    ]
    return pl.DataFrame(rows, schema=polars_schema(DYNAMIC_EVIDENCE), orient="row")


def _by_patient(frame: pl.DataFrame) -> dict[Patient, list[Row]]:
    found: dict[Patient, list[Row]] = defaultdict(list)
    for row in frame.iter_rows(named=True):
        found[row["site"], row["patient"]].append(row)
    return found


def _resolved(
    responses: pl.DataFrame, blocks: pl.DataFrame, error: ReaderError, sections: Mapping[str, Rules]
) -> list[Resolved]:
    """The study's own blocks of the accepted read that were scanned again and have a margin."""
    visits = _by_patient(responses.filter(evaluator=ACCEPTED).sort("scan_date", nulls_last=True))
    found = []
    for patient, own in _by_patient(blocks.filter(evaluator=ACCEPTED)).items():
        days = {v["visit"]: v["scan_date"] for v in visits[patient] if v["scan_date"] is not None}
        for block in own:
            margin = opening_margin(block, error.value, sections["recist"])
            opened = days.get(block["opened_visit"])
            again = opened is not None and any(day > opened for day in days.values())
            if margin is not None and again and block["outcome"] != "closed":
                number = margin_class(margin, sections["dynamic"]["class_edges"])
                visit = _first_or_later(block, days)
                found.append(Resolved(patient, number, visit, block["outcome"]))
    return found


def _first_or_later(block: Row, days: Mapping[str, Any]) -> str:
    return FIRST if days[block["opened_visit"]] == min(days.values()) else LATER


def _arounds(
    responses: pl.DataFrame,
    blocks: pl.DataFrame,
    lesions: pl.DataFrame,
    timepoints: pl.DataFrame,
    dhi: pl.DataFrame,
    cohort: Sequence[Resolved],
) -> Iterator[Around]:
    accepted = _by_patient(responses.filter(evaluator=ACCEPTED).sort("scan_date", nulls_last=True))
    readers = _by_patient(responses.filter(pl.col("evaluator") != ACCEPTED).sort("evaluator"))
    own_blocks = _by_patient(blocks.filter(evaluator=ACCEPTED))
    own_lesions, scans = _by_patient(lesions), _by_patient(timepoints)
    indices = _by_patient(dhi.filter(scope="patient", from_visit=BASELINE))
    for patient, visits in sorted(accepted.items()):
        sizes = _sizes(own_lesions[patient])
        others = [b for b in cohort if b.patient != patient]
        baseline = next((s for s in scans[patient] if s["visit"] == BASELINE), {})
        for place, visit in enumerate(visits):
            name = visit["visit"]
            yield Around(
                visit,
                visits[place - 1] if place else None,
                baseline,
                sizes,
                [r for r in readers[patient] if r["visit"] == name],
                _open_at(visit, visits[: place + 1], own_blocks[patient]),
                next((d for d in indices[patient] if d["to_visit"] == name), None),
                next((s["changed_since_t0"] for s in scans[patient] if s["visit"] == name), ()),
                others,
                visits[0]["visit"],
            )


def _sizes(lesions: Iterable[Row]) -> dict[str, dict[str, tuple[float | None, float | None]]]:
    """Diameter and volume of each target by visit and label; gone is 0."""
    found: dict[str, dict[str, tuple[float | None, float | None]]] = defaultdict(dict)
    for row in lesions:
        if row["role"] == "target":
            size = row["short_axis_mm"] if row["is_lymph_node"] else row["longest_diameter_mm"]
            gone = not row["is_present"]
            found[row["visit"]][row["lesion"]] = (
                0.0 if gone and not row["is_lymph_node"] else size,
                0.0 if gone else row["volume_mm3"],
            )
    return found


def _open_at(visit: Row, so_far: Sequence[Row], blocks: Iterable[Row]) -> Row | None:
    """The block that was open after this visit, by what was known then."""
    seen = {v["visit"] for v in so_far}
    for block in blocks:
        if block["opened_visit"] in seen and block["resolved_visit"] not in seen:
            ended = block["outcome"] == "closed" and (
                block["resolved_day"] is None
                or visit["day"] is None
                or block["resolved_day"] < visit["day"]
            )
            return None if ended else block
    return None


def items_of(around: Around, error: ReaderError, sections: Mapping[str, Rules]) -> Iterator[Item]:
    """The items of one visit, in the order in which pages list them."""
    limit = normal_quantile() * sqrt(2) * error.value
    yield _margin(around, error, sections["recist"])
    yield from _changes(around, limit)
    yield _growth(around, limit)
    yield _volume(around)
    yield from _new_lesions(around)
    yield from _lesions_apart(around, limit)
    yield _readers(around)
    yield _dhi(around)
    yield _comparability(around)
    yield _comparison(around, error, sections)


def _margin(around: Around, error: ReaderError, recist: Rules) -> Item:
    size, nadir = around.visit["sum_mm"], around.visit["nadir_mm"]
    value = progression_margin(size, nadir, error.value, recist)
    missing = NO_REFERENCE if size else NO_SUM
    why = missing if value is None else None
    words = f"reader error {100 * error.value:.1f} %, of the {error.source}"
    return Item("margin_of_progression", value, "reader errors", why, text=words)


def _changes(around: Around, limit: float) -> Iterator[Item]:
    """Differences in mm and per cent from baseline, nadir and the last visit."""
    size = around.visit["sum_mm"]
    references = {
        "baseline": around.visit["baseline_sum_mm"],
        "nadir": around.visit["nadir_mm"],
        "last": _last_sum(around),
    }
    for name, reference in references.items():
        no_reference = NO_REFERENCE if reference is None else None
        why = NO_SUM if size is None else no_reference
        change = None if size is None or reference is None else size - reference
        beyond = limit * max(size or 0.0, reference or 0.0)
        yield Item(f"change_from_{name}_mm", change, "mm", why, beyond)
        share = None if change is None or not reference else 100 * change / reference
        no_share = why or (None if reference else NOT_POSITIVE)
        yield Item(f"change_from_{name}_percent", share, "%", no_share, 100 * limit)


def _last_sum(around: Around) -> float | None:
    """Sum of the visit before this one, T0 where it is the first."""
    return around.before["sum_mm"] if around.before else around.visit["baseline_sum_mm"]


def _growth(around: Around, limit: float) -> Item:
    """ln(S / S before) over 30 days."""
    size, before = around.visit["sum_mm"], _last_sum(around)
    earlier = around.before or around.baseline
    days = _days_between(earlier.get("scan_date"), around.visit["scan_date"])
    why = _why_no_growth(size, before, days)
    if why or not size or not before or not days:
        return Item("growth_per_30_days", None, "ln ratio", why)
    rate = log(size / before) * DAYS / days
    return Item("growth_per_30_days", rate, "ln ratio", limit=limit * DAYS / days)


def _days_between(earlier: Any, later: Any) -> int:
    return 0 if earlier is None or later is None else max(0, (later - earlier).days)


def _why_no_growth(size: float | None, before: float | None, days: int) -> str | None:
    if size is None:
        return NO_SUM
    if before is None:
        return NO_REFERENCE
    if not size or not before:
        return NOT_POSITIVE
    return None if days else NO_DATES


def _volume(around: Around) -> Item:
    """Logarithm of the ratio of the targets' volumes to the last visit's."""
    now, before = (_volumes(around.sizes.get(name, {})) for name in _two_visits(around))
    if not now or not before:
        return Item("change_of_log_volume", None, "ln ratio", NO_VOLUME)
    return Item("change_of_log_volume", log(now / before), "ln ratio")


def _two_visits(around: Around) -> tuple[str, str]:
    before = around.before["visit"] if around.before else BASELINE
    return around.visit["visit"], before


def _volumes(sizes: Mapping[str, tuple[float | None, float | None]]) -> float | None:
    volumes = [volume for _, volume in sizes.values() if volume is not None]
    return sum(volumes) if volumes and len(volumes) == len(sizes) else None


def _new_lesions(around: Around) -> Iterator[Item]:
    now = around.visit["new_lesion_sum_mm"]
    before = around.before["new_lesion_sum_mm"] if around.before else None
    yield Item("new_lesion_sum", now, "mm", None if now is not None else NO_NEW_LESION)
    known = now is not None and before is not None
    change = now - before if known else None
    missing = NO_NEW_LESION if now is None else NO_REFERENCE
    why = None if known else missing
    yield Item("new_lesion_sum_change", change, "mm", why)


def _lesions_apart(around: Around, limit: float) -> Iterator[Item]:
    """How many targets grew and shrank beyond reader error, and whether both."""
    now, before = (around.sizes.get(name, {}) for name in _two_visits(around))
    both = [(now[label][0], before[label][0]) for label in sorted(now.keys() & before.keys())]
    pairs = [(later, old) for later, old in both if later is not None and old is not None]
    why = None if pairs else NO_PAIR
    grown = sum(_is_beyond(earlier, later, limit) for later, earlier in pairs)
    shrunk = sum(_is_beyond(later, earlier, limit) for later, earlier in pairs)
    values = {"lesions_growing": grown, "lesions_shrinking": shrunk}
    values["dissociated"] = int(grown > 0 and shrunk > 0)
    for name, value in values.items():
        unit = "yes/no" if name == "dissociated" else "lesions"
        yield Item(name, None if why else float(value), unit, why)


def _is_beyond(smaller: float, larger: float, limit: float) -> bool:
    """Whether the second is larger by more than a ratio, given as its logarithm."""
    return larger > 0 and (smaller == 0 or log(larger / smaller) > limit)


def _readers(around: Around) -> Item:
    """The readers' iRECIST responses; the value is whether they are the same."""
    states = [r["irecist_response"] for r in around.readers]
    if len(states) < 2:
        return Item("readers_agree", None, "yes/no", NO_READERS)
    named = "; ".join(f"{r['evaluator']} {r['irecist_response']}" for r in around.readers)
    return Item("readers_agree", float(len(set(states)) == 1), "yes/no", text=named)


def _dhi(around: Around) -> Item:
    found = around.dhi
    if found is None or found["dhi"] is None:
        return Item("dhi", None, "index", (found["reason"] if found else None) or NO_DHI)
    state = None if found["calibrated"] else UNCALIBRATED
    return Item("dhi", found["dhi"], "index", text=state)


def _comparability(around: Around) -> Item:
    """How much of scanner, kernel, contrast and voltage changed since T0."""
    changed = list(around.changed or ())
    return Item(
        "changes_of_the_scan", float(len(changed)), "changes", text=", ".join(changed) or None
    )


def _comparison(around: Around, error: ReaderError, sections: Mapping[str, Rules]) -> Item:
    """The class of the block that was open at this visit; its value is the opening margin."""
    if around.block is None:
        return Item("comparison_class", None, "reader errors", NO_BLOCK)
    margin = opening_margin(around.block, error.value, sections["recist"])
    if margin is None:
        return Item("comparison_class", None, "reader errors", NOT_BY_TARGETS)
    dynamic = sections["dynamic"]
    edges = dynamic["class_edges"]
    visit = FIRST if around.block["opened_visit"] == around.first_visit else LATER
    number = margin_class(margin, edges)
    found = compare(number, visit, around.study, edges, dynamic["class_blocks_minimum"])
    why = None if found else OTHER_EDGES
    return Item(
        "comparison_class",
        margin,
        "reader errors",
        why,
        text=found.label if found else None,
        comparison=found,
    )


def _row(around: Around, item: Item, standard: Standard) -> dict[str, Any]:
    visit, comparison = around.visit, item.comparison
    shares = comparison.shares if comparison else None
    bounds = (shares[0].lower, shares[0].upper, shares[1].lower, shares[1].upper) if shares else ()
    names = ("confirmed_lower", "confirmed_upper", "reset_lower", "reset_upper")
    return {
        **{name: visit[name] for name in ("site", "patient", "visit", "day", "simulated")},
        "item": item.name,
        "value": item.value,
        "unit": item.unit,
        "direction": item.direction,
        "text": item.text,
        "class_n": comparison.n if comparison else None,
        "class_confirmed": comparison.confirmed if comparison else None,
        "class_reset": comparison.reset if comparison else None,
        **dict(zip(names, bounds, strict=False)),
        "class_source": comparison.source if comparison else None,
        "as_of_date": visit["scan_date"],
        "standard_version": standard.version,
        "standard_digest": standard.digest,
        "reason": item.why,
    }

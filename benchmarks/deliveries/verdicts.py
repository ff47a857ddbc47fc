"""Every row of the lake against what is true of a delivery.

A verdict is right, refused and named, wrong and flagged, wrong in silence, or a crash.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks.deliveries.flow import Result, Rows
from benchmarks.deliveries.phantom import LONGEST_WITHIN_MM, Delivery, Measured, Visit
from benchmarks.deliveries.site import Site

RIGHT, REFUSED, FLAGGED, SILENT, CRASH = (
    "right",
    "refused and named",
    "wrong and flagged",
    "wrong in silence",
    "crash",
)
VERDICTS = (RIGHT, REFUSED, FLAGGED, SILENT, CRASH)

VOLUME_SHARE = 0.03
SHORT_MM = 0.9
"""About a pixel, beyond what the direction of the longest diameter leaves open."""

MEAN_HU = 8.0
"""One voxel of lung among a hundred of tumour."""

SPACING_MM = 0.01

PERSON, TREATMENT, EVENT = (
    "clinical/patients.csv",
    "clinical/treatments.csv",
    "clinical/follow_up.csv",
)

MISSING = object()


@dataclass(frozen=True)
class Fact:
    """One figure: its name, the truth, the lake's value, places that may excuse a difference."""

    what: str
    true: Any
    found: Any
    places: frozenset[str]

    @property
    def missing(self) -> bool:
        """Nothing stands there; a gap, which only a reason can excuse."""
        return self.found is MISSING or self.found is None or self.found == "NE"


@dataclass
class Named:
    """Places of a delivery about which the product said something, and the words."""

    places: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def add(self, place: str, words: str) -> None:
        """Note that a place was named."""
        self.places[place].append(words)

    def excuses(self, fact: Fact) -> bool:
        """True where one of the places that could explain the difference was named."""
        return any(place in self.places for place in fact.places)


@dataclass(frozen=True)
class Verdict:
    """What came of one delivery."""

    serial: int
    distortions: tuple[str, ...]
    verdict: str
    wrong: tuple[str, ...] = ()
    named: tuple[str, ...] = ()


def judge(site: Site, result: Result) -> list[Verdict]:
    """The verdict on each delivery of a site.

    1. A step that failed: crash.
    2. Each figure is compared with the truth. One that differs, or is missing, is excused where the
       quarantine, a flag, an open case or the reconciliation names a place that could explain it:
       the visit's images or contours, the table of the case report that it stands in, or the
       patient.
    3. One unexcused figure: wrong in silence. A value that differs: wrong and flagged. A value that
       is missing: refused and named.
    4. A row that should not be there (a lesion, a visit, an event, a person) is a value that
       differs.
    """
    reason = result.crashed.get(site.code) or result.crashed.get("")
    if reason:
        return [Verdict(d.serial, tuple(d.distortions), CRASH, (reason,)) for d in site.deliveries]
    named = _named(site, result)
    ghosts = _ghosts(site, result)
    return [
        verdict_on(d, [*facts_of(d, _own(result, d)), *ghosts], named[d.serial])
        for d in site.deliveries
    ]


def verdict_on(one: Delivery, facts: Iterable[Fact], named: Named) -> Verdict:
    """The verdict on one delivery by its figures and what was named of it."""
    off = [f for f in facts if not _same(f)]
    silent = [f for f in off if not named.excuses(f)]
    verdict = (
        SILENT
        if silent
        else RIGHT
        if not off
        else REFUSED
        if all(f.missing for f in off)
        else FLAGGED
    )
    told = tuple(
        f"{place}: {words}" for place, all_words in named.places.items() for words in all_words
    )
    return Verdict(
        one.serial,
        tuple(one.distortions),
        verdict,
        tuple(f"{f.what}: {_word(f.found)} for {_word(f.true)}" for f in silent or off),
        told,
    )


def _word(value: Any) -> str:
    return (
        "nothing"
        if value is MISSING
        else f"{value:.4g}"
        if isinstance(value, float)
        else str(value)
    )


@dataclass(frozen=True)
class Near:
    """A true figure and how far the lake's may lie from it."""

    value: float
    within: float

    def __str__(self) -> str:
        return f"{self.value:.4g} ± {self.within:.2g}"


def _same(fact: Fact) -> bool:
    if fact.found is MISSING:
        return fact.true is MISSING
    if isinstance(fact.true, Near):
        return fact.found is not None and abs(fact.found - fact.true.value) <= fact.true.within
    return fact.found == fact.true


def _own(result: Result, one: Delivery) -> Rows:
    patient = result.pseudonyms.get(one.serial)
    return {
        name: [r for r in rows if r.get("patient") == patient] for name, rows in result.rows.items()
    }


# -- facts -----------------------------------------------------------------------------------------


def facts_of(one: Delivery, own: Rows) -> Iterator[Fact]:
    """Every figure of a delivery that is known."""
    images = [f"images {v.name}" for v in one.visits]
    yield from _person_facts(one, own)
    yield from _treatment_facts(one, own)
    yield from _event_facts(one, own)
    for visit in one.visits:
        yield from _scan_facts(visit, own, one)
    yield from _extra_visits(one, own)
    yield from _response_facts(one, own)
    everything = frozenset([*images, PERSON, TREATMENT, EVENT, "patient"])
    outcome = next(iter(own["outcomes"]), {})
    if one.pfs is None:
        return
    yield Fact("pfs_days", one.pfs[0], outcome.get("pfs_days", MISSING), everything)
    if outcome.get("pfs_days") is not None:
        yield Fact("pfs_event", one.pfs[1], outcome["pfs_event"], everything)


def _person_facts(one: Delivery, own: Rows) -> Iterator[Fact]:
    row = next(iter(own["patients"]), {})
    for column, true in one.person_truth.items():
        yield Fact(
            f"patients.{column}",
            true,
            row.get(column, MISSING),
            frozenset({PERSON, f"{PERSON} {column}", "patient"}),
        )


def _treatment_facts(one: Delivery, own: Rows) -> Iterator[Fact]:
    days = {r["cycle"]: r["day"] for r in own["treatments"]}
    true = one.cycle_truth
    for cycle in sorted({*days, *true}):
        yield Fact(
            f"cycle {cycle} day",
            true.get(cycle, MISSING),
            days.get(cycle, MISSING),
            frozenset({TREATMENT, "patient"}),
        )


def _event_facts(one: Delivery, own: Rows) -> Iterator[Fact]:
    found = {r["event"]: r["day"] for r in own["follow_up"]}
    true = dict(one.event_truth)
    places = frozenset({EVENT, "patient"})
    for event in sorted({*found, *true}):
        yield Fact(
            f"{event} day",
            true.get(event, MISSING),
            found.get(event, MISSING),
            places | {TREATMENT},
        )
    if len(own["follow_up"]) > len(found):
        yield Fact("events", len(one.event_truth), len(own["follow_up"]), places)


def _scan_facts(visit: Visit, own: Rows, one: Delivery) -> Iterator[Fact]:
    images, lines = frozenset({f"images {visit.name}", "patient"}), frozenset({TREATMENT})
    chosen = [r for r in own["timepoints"] if r["day"] == visit.day]
    named = [r for r in own["timepoints"] if r["visit"] == visit.name]
    day = named[0]["day"] if named else MISSING
    yield Fact(f"{visit.name} day", visit.day, day, images | lines)
    for row in chosen[:1]:
        scan = next((s for s in own["scans"] if s["scan"] == row["scan"]), {})
        yield Fact(
            f"{visit.name} slice spacing",
            Near(visit.spacing_mm, SPACING_MM),
            scan.get("slice_spacing_mm"),
            images,
        )
    yield from _read_facts(visit, own, one, images | lines)


def _read_facts(visit: Visit, own: Rows, one: Delivery, places: frozenset[str]) -> Iterator[Fact]:
    readers = sorted({*one.reads, *visit.truth_of}) or ["SITE"]
    scan = next((r["visit"] for r in own["timepoints"] if r["day"] == visit.day), visit.name)
    found = {(r["reader"], r["lesion"]): r for r in own["reads"] if r["visit"] == scan}
    accepted = {r["lesion"]: r for r in own["lesions"] if r["visit"] == scan}
    for reader in readers:
        for label, true in visit.truth_of.get(reader, visit.truth).items():
            yield from _measured(
                f"{visit.name} {reader} {label}", true, found.pop((reader, label), None), places
            )
    for reader, label in found:
        yield Fact(f"{visit.name} {reader} {label}", MISSING, "a lesion that is none", places)
    for label, true in visit.truth.items():
        yield from _measured(
            f"{visit.name} accepted {label}", true, accepted.pop(label, None), places
        )
    for label in accepted:
        yield Fact(f"{visit.name} accepted {label}", MISSING, "a lesion that is none", places)


def _measured(
    what: str, true: Measured, row: Mapping[str, Any] | None, places: frozenset[str]
) -> Iterator[Fact]:
    if row is None:
        yield Fact(what, "a lesion", MISSING, places)
        return
    within = true.within_mm3 or VOLUME_SHARE * true.volume_mm3
    short = SHORT_MM + true.short_within_mm
    figures = (
        ("volume", true.volume_mm3 or None, within, "volume_mm3"),
        ("mean HU", true.mean_hu, MEAN_HU, "mean_hu"),
        ("longest diameter", true.longest_mm, LONGEST_WITHIN_MM, "longest_diameter_mm"),
        ("short axis", true.short_mm, short, "short_axis_mm"),
    )
    for name, value, within, column in figures:
        if value is not None:
            yield Fact(f"{what} {name}", Near(value, within), row[column], places)


def _extra_visits(one: Delivery, own: Rows) -> Iterator[Fact]:
    days = {v.day for v in one.visits}
    places = frozenset({f"images {v.name}" for v in one.visits} | {TREATMENT, "patient"})
    for row in own["timepoints"]:
        if row["day"] is not None and row["day"] not in days:
            yield Fact(
                f"{row['visit']} at day {row['day']}", MISSING, "a visit that is none", places
            )


def _response_facts(one: Delivery, own: Rows) -> Iterator[Fact]:
    by_day = {r["day"]: r for r in own["responses"] if r["evaluator"] == "accepted"}
    names = [v.name for v in one.visits]
    for k, (visit, response) in enumerate(zip(one.visits[1:], one.responses, strict=False), 1):
        places = frozenset({f"images {n}" for n in names[: k + 1]} | {TREATMENT, "patient"})
        yield Fact(
            f"{visit.name} response",
            response,
            by_day.get(visit.day, {}).get("overall_response", MISSING),
            places,
        )


def _ghosts(site: Site, result: Result) -> list[Fact]:
    """People that the lake has of a site and nobody delivered."""
    known = set(result.pseudonyms.values())
    strangers = {
        r["patient"]
        for rows in result.rows.values()
        for r in rows
        if r.get("site") == site.code and r.get("patient")
    } - known
    places = frozenset({PERSON, TREATMENT, EVENT, "patient"})
    return [Fact("a person", MISSING, "a person who is none", places) for _ in sorted(strangers)]


# -- what was named --------------------------------------------------------------------------------

FLAG_COLUMNS = ("metal_flag", "rescale_flag")
"""Flags that say HU or shapes may be wrong.

Noise, truncation and no chest are true of every phantom: they would name every scan.
"""

COUNT_COLUMNS = ("n_missing_slices", "n_duplicate_slices")


def flags_of(row: Mapping[str, Any]) -> set[str]:
    """Flags of a row of scans or reads."""
    found = {name for name in FLAG_COLUMNS if row.get(name)}
    found |= {name for name in COUNT_COLUMNS if row.get(name)}
    found |= {str(flag) for flag in row.get("outline_flags") or []}
    return found | ({"n_outside"} if row.get("n_outside") else set())


def _named(site: Site, result: Result) -> dict[int, Named]:
    named = {d.serial: Named() for d in site.deliveries}
    for row in (r for r in result.rows["quarantine"] if r["site"] == site.code):
        _name_refusal(site, result, row, named)
    for row in (r for r in result.rows["reconciliation"] if r["site"] == site.code):
        _name_question(site, result, row, named)
    for one in site.deliveries:
        own = _own(result, one)
        _name_flags(one, own, result, named[one.serial])
        if own["arbitrations"]:
            for visit in one.visits:
                named[one.serial].add(
                    f"images {visit.name}", f"case: {', '.join(own['arbitrations'][0]['triggers'])}"
                )
    return named


def _name_flags(one: Delivery, own: Rows, result: Result, named: Named) -> None:
    visit_of = {result.scans[one.serial, v.name]: v.name for v in one.visits}
    for name in ("scans", "reads"):
        for row in own[name]:
            place = visit_of.get(row["scan"])
            for flag in flags_of(row):
                for where in (
                    [f"images {place}"] if place else [f"images {v.name}" for v in one.visits]
                ):
                    named.add(where, flag)


def _name_refusal(
    site: Site, result: Result, row: Mapping[str, Any], named: Mapping[int, Named]
) -> None:
    text, words = row["item"], f"{row['item']}: {row['reason']}"
    digest = re.search(r"sha256:([0-9a-f]{12})", text)
    if digest and digest[1] in site.file_owners:
        serial, visit = site.file_owners[digest[1]]
        named[serial].add(f"images {visit}", words)
        return
    sheet = next((name for name in site.sheets if text.startswith((name, _by_reader(name)))), None)
    if sheet:
        _name_cell(site, sheet, text, words, named)
        return
    for one in site.deliveries:
        scan = next((v.name for v in one.visits if result.scans[one.serial, v.name] in text), None)
        if scan:
            named[one.serial].add(f"images {scan}", words)
        elif result.pseudonyms[one.serial] and result.pseudonyms[one.serial] in text:
            for visit in one.visits:
                named[one.serial].add(f"images {visit.name}", words)


def _name_question(
    site: Site, result: Result, row: Mapping[str, Any], named: Mapping[int, Named]
) -> None:
    """A question of the reconciliation, noted for the patients that it is about.

    Where none of them was delivered, it is noted for the owner of its row, else for the whole site.
    """
    about = {
        d.serial
        for d in site.deliveries
        if result.pseudonyms[d.serial] in {row["patient"], row["other_patient"]} - {""}
    }
    place = re.match(r"(\S+\.csv) row (\d+)", row["item"])
    owner = site.row_owner(place[1], int(place[2])) if place else None
    for serial in about or ({owner} if owner in named else set(named)):
        named[serial].add("patient", f"{row['item']}: {row['question']}")


def _by_reader(name: str) -> str:
    """How the stage `reads` calls a reader's list: `lesions.csv of R1`."""
    return f"lesions.csv of {name.split('/')[1]}" if name.startswith("reads/") else name


def _name_cell(site: Site, sheet: str, text: str, words: str, named: Mapping[int, Named]) -> None:
    row = re.search(r" row (\d+)", text)
    owner = site.row_owner(sheet, int(row[1])) if row else None
    about: Sequence[int] = [owner] if owner in named else list(named)
    for serial in about:
        if sheet.startswith("reads/"):
            for one in (d for d in site.deliveries if d.serial == serial):
                for visit in one.visits:
                    named[serial].add(f"images {visit.name}", words)
        else:
            named[serial].add(sheet, words)

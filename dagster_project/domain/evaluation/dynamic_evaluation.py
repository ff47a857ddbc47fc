"""The dynamic standard judged: every question, population and comparator, with what n allows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import isnan
from typing import Any

import polars as pl

from dagster_project.domain.evaluation.benefit_figures import benefit_figures
from dagster_project.domain.evaluation.block_figures import (
    outcome_figures,
    reclassification_figures,
    rescan_figures,
    sample_figures,
    stop_figure,
    timing_figures,
)
from dagster_project.domain.evaluation.courses import (
    Course,
    Landmark,
    landmarks_of,
    progressions_of,
)
from dagster_project.domain.evaluation.figures import ALL_SITES, Figure, Population, share
from dagster_project.domain.evaluation.risk_figures import (
    progression_figures,
    response_figures,
    survival_figures,
)
from dagster_project.domain.evaluation.supermodel import FeatureSource
from dagster_project.domain.imaging.timepoints import BASELINE
from dagster_project.domain.response.dynamic_standard import Standard
from dagster_project.domain.response.findings import Rules
from dagster_project.domain.response.progression_free import Survival
from dagster_project.domain.response.responses import ACCEPTED
from dagster_project.lake.schema import polars_schema
from dagster_project.lake.tables import DYNAMIC_EVALUATION

Row = Mapping[str, Any]
Patient = tuple[str, str]

NO_BOUNDS = "no interval: too few draws have this figure"


def derive_dynamic_evaluation(
    courses: Sequence[Course],
    error: float,
    sections: Mapping[str, Rules],
    standard: Standard,
    *,
    snapshot: int,
    features: FeatureSource | None = None,
) -> pl.DataFrame:
    """One row per question, population, hospital, comparator and statistic.

    1. every decision is replayed from rows known on its day (courses.py)
    2. response and progression (risk_figures.py), blocks and timing (block_figures.py), each beside
       its comparators on the same visits
    3. what the number of events does not allow is NULL with its reason, and so is what the standard
       does not show
    4. a hospital of several has rows of its own, of fewer figures. There are none by year: dates
       are shifted by patient

    Parameters
    ----------
    courses
        One per patient of the accepted read.
    error
        Relative error of a sum between readers.
    sections
        Sections of the protocol by name.
    standard
        Version and digest of the standard.
    snapshot
        Of the lake; 0 for another trial's tables.
    features
        Features of visits, for the comparison with size alone; None where none are read.

    Returns
    -------
    pl.DataFrame
        The table dynamic_evaluation.
    """
    simulated = any(c.simulated for c in courses)
    figures = evaluate(courses, error, sections, features)
    return rows_of_figures(figures, standard, snapshot=snapshot, simulated=simulated)


def rows_of_figures(
    figures: Iterable[Figure], standard: Standard, *, snapshot: int, simulated: bool
) -> pl.DataFrame:
    """Figures as rows of dynamic_evaluation."""
    stamp = {
        "standard_version": standard.version,
        "standard_digest": standard.digest,
        "snapshot": snapshot,
        "simulated": simulated,
    }
    rows = [_row(figure) | stamp for figure in figures]
    return pl.DataFrame(rows, schema=polars_schema(DYNAMIC_EVALUATION), orient="row")


def evaluate(
    courses: Sequence[Course],
    error: float,
    sections: Mapping[str, Rules],
    features: FeatureSource | None = None,
) -> Iterator[Figure]:
    """All figures, of all hospitals together and of each where there are several."""
    yield from _of_all(courses, error, sections, features)
    sites = sorted({c.patient[0] for c in courses})
    for site in sites if len(sites) > 1 else ():
        own = [c for c in courses if c.patient[0] == site]
        yield from _of_site(own, site, error, sections)


def _of_all(
    courses: Sequence[Course],
    error: float,
    sections: Mapping[str, Rules],
    features: FeatureSource | None,
) -> Iterator[Figure]:
    rules, study = sections["evaluation"], sections["study"]
    landmarks = _landmarks(courses, sections)
    progressions = [p for c in courses for p in progressions_of(c, error, sections)]
    yield from _replay_figures(landmarks)
    yield from response_figures(landmarks, ALL_SITES, sections)
    yield from progression_figures(landmarks, ALL_SITES, rules, brief=False, features=features)
    yield from survival_figures(landmarks, ALL_SITES, rules)
    yield from outcome_figures(progressions, ALL_SITES, sections)
    yield from rescan_figures(progressions, ALL_SITES)
    yield from timing_figures(progressions, ALL_SITES, sections)
    yield from benefit_figures(progressions, ALL_SITES, sections)
    yield from reclassification_figures(progressions, ALL_SITES, rules)
    yield stop_figure(progressions, ALL_SITES, rules)
    planned = study["target_responders"] + study["target_non_responders"]
    yield from sample_figures(progressions, len(courses), planned, rules)


def _of_site(
    courses: Sequence[Course], site: str, error: float, sections: Mapping[str, Rules]
) -> Iterator[Figure]:
    landmarks = _landmarks(courses, sections)
    progressions = [p for c in courses for p in progressions_of(c, error, sections)]
    yield from response_figures(landmarks, site, sections)
    yield from progression_figures(landmarks, site, sections["evaluation"], brief=True)
    yield from rescan_figures(progressions, site)


def _landmarks(courses: Sequence[Course], sections: Mapping[str, Rules]) -> list[Landmark]:
    return [found for c in courses for found in landmarks_of(c, sections["irecist"])]


def _replay_figures(landmarks: Sequence[Landmark]) -> Iterator[Figure]:
    """Visits whose state in the table of today is the one of their day; probabilities withheld."""
    head = Population("replay")
    known = [r for r in landmarks if r.state_of_table is not None]
    if known:
        same = sum(r.state == r.state_of_table for r in known)
        yield share(head, "standard", "states_as_then", same, len(known))
        held, asked = sum(r.withheld for r in known), sum(r.asked for r in known)
        yield share(head, "standard", "probabilities_withheld", held, asked)


def _row(figure: Figure) -> dict[str, Any]:
    value, lower, upper = map(_number, (figure.found.value, figure.found.lower, figure.found.upper))
    bounded = value is None or None not in (lower, upper)
    return {
        "question": figure.population.question,
        "population": figure.population.name,
        "site": figure.population.site,
        "comparator": figure.comparator,
        "statistic": figure.statistic,
        "unit": figure.unit,
        "value": value,
        "lower": lower,
        "upper": upper,
        "n": figure.n,
        "events": figure.events,
        "estimable": figure.estimable,
        "reason": figure.found.reason or (None if bounded else NO_BOUNDS),
    }


def _number(value: float | None) -> float | None:
    return None if value is None or isnan(value) else float(value)


def courses_of(
    responses: pl.DataFrame,
    blocks: pl.DataFrame,
    known: pl.DataFrame,
    timepoints: pl.DataFrame,
    planned: pl.DataFrame,
    time_to_event: pl.DataFrame,
    dynamic: pl.DataFrame,
    risks: pl.DataFrame,
) -> list[Course]:
    """Courses of the lake's patients who have a visit after baseline.

    Parameters
    ----------
    responses, known, planned
        Responses, blocks and planned CTs as of each visit (as_of_visits.py).
    blocks
        The table irecist_blocks.
    timepoints, time_to_event, dynamic, risks
        Those tables, the last two dynamic_irecist and dynamic_risk.
    """
    accepted = responses.filter(evaluator=ACCEPTED).sort("scan_date", "visit", nulls_last=True)
    visits = _by_patient(accepted)
    today = _by_patient(blocks.filter(evaluator=ACCEPTED).sort("block"))
    then = _by_patient(known.filter(evaluator=ACCEPTED).sort("block"))
    scans, next_cts, times, states, answers = (
        _by_patient(frame) for frame in (timepoints, planned, time_to_event, dynamic, risks)
    )
    return [
        Course(
            patient=who,
            visits=own,
            blocks=today[who],
            known=_as_of(then[who], own),
            baseline_day=_day_of_baseline(scans[who]),
            planned=_by_visit(next_cts[who], "planned_scan_day"),
            progression=_survival(times[who], "pfs"),
            death=_survival(times[who], "os"),
            states=_by_visit(states[who], "state"),
            risks=_of_visits(answers[who]),
            simulated=own[0]["simulated"],
        )
        for who, own in sorted(visits.items())
    ]


def _day_of_baseline(scans: Sequence[Row]) -> int | None:
    return next((s["day"] for s in scans if s["visit"] == BASELINE), None)


def _by_visit(rows: Sequence[Row], column: str | None = None) -> dict[str, Any]:
    """Rows, or a column of theirs, by visit."""
    return {row["visit"]: row[column] if column else row for row in rows}


def _of_visits(rows: Sequence[Row]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        found[row["visit"]].append(row)
    return found


def _by_patient(frame: pl.DataFrame) -> dict[Patient, list[Row]]:
    found: dict[Patient, list[Row]] = defaultdict(list)
    for row in frame.iter_rows(named=True):
        found[row["site"], row["patient"]].append(row)
    return found


def _as_of(blocks: Sequence[Row], visits: Sequence[Row]) -> dict[str, list[Row]]:
    """Blocks as of each visit that has a response; no block is an answer too."""
    found: dict[str, list[Row]] = defaultdict(list)
    for block in blocks:
        found[block["as_of_visit"]].append(block)
    return {v["visit"]: found[v["visit"]] for v in visits}


def _survival(times: Sequence[Row], endpoint: str) -> Survival | None:
    """Main version, from the first cycle."""
    row = next(
        (
            t
            for t in times
            if (t["endpoint"], t["version"], t["origin"]) == (endpoint, "main", "first_cycle")
        ),
        None,
    )
    if row is None or row["days"] is None:
        return None
    return Survival(row["days"], row["event"], row["reason"])

"""Risk at each visit, by question; what may not be said is withheld with its reason.

It changes no response, state or advice, and gives no date of an event.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import polars as pl

from dagster_project.domain.evaluation.comparators import change_of_size, has_sizes
from dagster_project.domain.evaluation.courses import STABLE, Course, Landmark, landmarks_of
from dagster_project.domain.evaluation.risk_answers import (
    Answer,
    Given,
    Patient,
    Place,
    Shares,
    answer_by_features,
    answer_by_model,
    answer_by_size,
    answer_by_supermodel,
    enrolled_share,
)
from dagster_project.domain.evaluation.risk_reasons import (
    ABSTAINS,
    EMPTY_CLASS,
    HAS_RESPONDED,
    NO_BOUNDS,
    NO_CLASS,
    NO_OPEN_BLOCK,
    NO_POPULATION,
    NO_PREDICTION,
    NO_SUMS,
    NOT_COUNTED,
    NOT_ELIGIBLE,
    NOT_STABLE,
    OTHER_EDGES,
    SCANNED_BEFORE,
    TOO_NEW,
    TOO_WIDE,
    WAITS,
)
from dagster_project.domain.evaluation.supermodel import FeatureSource, is_landmark
from dagster_project.domain.imaging.timepoints import BASELINE
from dagster_project.domain.response.comparison_classes import NEXT, Comparison, Resolved, compare
from dagster_project.domain.response.dynamic_standard import Standard
from dagster_project.domain.response.findings import Rules
from dagster_project.domain.response.irecist import RESPONDED
from dagster_project.domain.response.iupd_cohort import labelled
from dagster_project.lake.schema import polars_schema
from dagster_project.lake.tables import DYNAMIC_RISK

Row = Mapping[str, Any]

FIRST_VISIT = "T1"
"""Visit at which the later response of stable patients is asked for."""

RESPONSE, WHEN_STABLE, PROGRESSION, CONFIRMED = (
    "response_from_baseline",
    "response_when_stable",
    "progression",
    "confirmed",
)


@dataclass(frozen=True, slots=True)
class Sources:
    """Tables that the answers are made from.

    Attributes
    ----------
    predictions, model_runs, training_cohort, outcomes, timepoints
        Those tables.
    cohort
        The table iupd_cohort.
    """

    predictions: pl.DataFrame
    model_runs: pl.DataFrame
    training_cohort: pl.DataFrame
    outcomes: pl.DataFrame
    timepoints: pl.DataFrame
    cohort: pl.DataFrame


class Asked(NamedTuple):
    """One question about a patient at a visit; `why` where it is not open."""

    place: Place
    day: int | None
    question: str
    horizon: int
    answer: Answer
    why: str | None
    in_population: bool
    simulated: bool


def derive_dynamic_risk(
    courses: Sequence[Course],
    waiting: Collection[Patient],
    sources: Sources,
    sections: Mapping[str, Rules],
    standard: Standard,
    *,
    gate: str,
    amendments: str | None = None,
    features: FeatureSource | None = None,
) -> pl.DataFrame:
    """One row per patient, visit and question.

    1. response_from_baseline, at T0 of every patient: by the response model of T0
    2. response_when_stable, at T1: by the response model of T1 where it does better than size
       alone, else by size
    3. progression, at every later visit and for each horizon: by the supermodel with a score of
       features where the visit has them and that does better than size alone, else by the
       supermodel of size
    4. confirmed, at every later visit: by the comparison class of the open block, as of the next
       evaluable CT
    5. no number where the question is not open, the patient is not of its population, the answer
       has too few events or is not calibrated, the model abstains or was held back, the patient is
       unlike those it was learnt from, or the interval is too wide; the reason stands in its place

    A probability is by a model that has not seen the patient. Days and responses are those known at
    the visit; what is learnt is learnt from all that is known today.

    Parameters
    ----------
    courses
        Of all patients with a visit after baseline.
    waiting
        Patients whose case waits for an arbiter: nothing is learnt from them, or shown.
    features
        Features of visits; None where none are read.
    """
    responders = {
        who: responds
        for who, responds in _responders(sources.outcomes).items()
        if who not in waiting
    }
    shares = Shares(enrolled_share(responders), sections["endpoints"]["target_prevalence"])
    asked = [
        *_at_baseline(sources, waiting, shares, sections),
        *_after(courses, waiting, sources, (responders, shares), sections, features),
    ]
    stamp = {
        "standard_version": standard.version,
        "standard_digest": standard.digest,
        "gate": gate,
        "amendments": amendments,
    }
    rows = [_row(one, sections["dynamic"]) | stamp for one in asked]
    return pl.DataFrame(rows, schema=polars_schema(DYNAMIC_RISK), orient="row")


def _responders(outcomes: pl.DataFrame) -> dict[Patient, bool]:
    """Whether the best response was CR or PR, of patients who have an evaluable one."""
    known = outcomes.filter(pl.col("bor").is_not_null(), pl.col("bor") != "NE")
    return {
        (site, patient): bor in {"CR", "PR"}
        for site, patient, bor in known.select("site", "patient", "bor").iter_rows()
    }


def _at_baseline(
    sources: Sources, waiting: Collection[Patient], shares: Shares, sections: Mapping[str, Rules]
) -> Iterator[Asked]:
    answer = answer_by_model(
        BASELINE, sources.predictions, sources.model_runs, None, shares, sections
    )
    eligible = _eligible(sources.training_cohort)
    scans = sources.timepoints.filter(visit=BASELINE).sort("site", "patient")
    for scan in scans.iter_rows(named=True):
        who = (scan["site"], scan["patient"])
        why = None if who in eligible else NOT_ELIGIBLE
        yield Asked(
            (*who, BASELINE),
            scan["day"],
            RESPONSE,
            0,
            answer,
            WAITS if who in waiting else why,
            who in eligible,
            scan["simulated"],
        )


def _eligible(training_cohort: pl.DataFrame) -> set[Patient]:
    """Patients whom only an early or missing outcome keeps out of a training, or nothing."""
    by_outcome = pl.col("exclusion").str.contains(
        "^(progressed_by|responded_by|no_response_after|short_follow_up_after)_"
    )
    found = training_cohort.filter(pl.col("included") | by_outcome)
    return set(found.select("site", "patient").iter_rows())


def _after(
    courses: Sequence[Course],
    waiting: Collection[Patient],
    sources: Sources,
    known: tuple[Mapping[Patient, bool], Shares],
    sections: Mapping[str, Rules],
    features: FeatureSource | None,
) -> Iterator[Asked]:
    """The questions at visits after baseline."""
    landmarks = {c.patient: list(landmarks_of(c, sections["irecist"])) for c in courses}
    everything = [r for who, rows in landmarks.items() if who not in waiting for r in rows]
    stable = _answer_when_stable(everything, sources, known[1], sections)
    sized = [r for r in everything if is_landmark(r)]
    progression = {
        horizon: _answers_of_progression(sized, horizon, known, sections, features)
        for horizon in sections["evaluation"]["horizons_days"]
    }
    blocks = _Classes(sources.cohort, waiting, sections)
    for course in courses:
        waits = WAITS if course.patient in waiting else None
        for visit, landmark in zip(course.visits, landmarks[course.patient], strict=True):
            place = (*course.patient, landmark.visit)
            facts = (place, visit["day"])
            if landmark.visit == FIRST_VISIT:
                why = _why_not_stable(landmark)
                in_population = why is None
                yield Asked(
                    *facts, WHEN_STABLE, 0, stable, waits or why, in_population, course.simulated
                )
            why = _why_not_landmark(landmark)
            for horizon, answers in progression.items():
                answer = next((a for a in answers if place in a.given), answers[-1])
                yield Asked(
                    *facts, PROGRESSION, horizon, answer, waits or why, why is None,
                    course.simulated,
                )  # fmt: skip
            answer, why = blocks.answer(course, landmark)
            is_open = landmark.state == "open"
            yield Asked(*facts, CONFIRMED, 0, answer, waits or why, is_open, course.simulated)


def _answers_of_progression(
    sized: Sequence[Landmark],
    horizon: int,
    known: tuple[Mapping[Patient, bool], Shares],
    sections: Mapping[str, Rules],
    features: FeatureSource | None,
) -> list[Answer]:
    """With features, where that may be shown, and by size; the first that has a visit counts."""
    by_size = answer_by_supermodel(sized, horizon, *known, sections)
    if features is None:
        return [by_size]
    with_features = answer_by_features(sized, horizon, by_size, features, known, sections)
    return [by_size] if with_features.why else [with_features, by_size]


def _answer_when_stable(
    landmarks: Sequence[Landmark], sources: Sources, shares: Shares, sections: Mapping[str, Rules]
) -> Answer:
    """The response model where it may be shown and does better than size, else size alone."""
    stable = [
        r
        for r in landmarks
        if r.visit == FIRST_VISIT and _why_not_stable(r) is None and change_of_size(r) is not None
    ]
    sizes = {r.patient: change_of_size(r) or 0.0 for r in stable}
    by_model = answer_by_model(
        FIRST_VISIT, sources.predictions, sources.model_runs, sizes, shares, sections
    )
    return by_model if by_model.why is None else answer_by_size(stable, shares, sections)


def _why_not_stable(landmark: Landmark) -> str | None:
    if landmark.state in NO_POPULATION:
        return NO_POPULATION[landmark.state]
    if landmark.irecist in RESPONDED:
        return HAS_RESPONDED
    return None if landmark.irecist in STABLE else NOT_STABLE


def _why_not_landmark(landmark: Landmark) -> str | None:
    if landmark.state in NO_POPULATION:
        return NO_POPULATION[landmark.state]
    return None if has_sizes(landmark) else NO_SUMS


class _Classes:
    """The comparison classes of the next evaluable CT, each without the patient's own blocks."""

    def __init__(
        self, cohort: pl.DataFrame, waiting: Collection[Patient], sections: Mapping[str, Rules]
    ) -> None:
        self.blocks = {
            (b["site"], b["patient"], b["opened_visit"]): b for b in cohort.iter_rows(named=True)
        }
        self.labelled: list[Resolved] = [b for b in labelled(cohort) if b.patient not in waiting]
        self.rules = sections

    def answer(self, course: Course, landmark: Landmark) -> tuple[Answer, str | None]:
        """The class of the block that is open at a visit, or why there is none."""
        nothing = Answer("class")
        if landmark.state != "open":
            return nothing, NO_OPEN_BLOCK
        opened = next(
            (b for b in reversed(course.blocks) if _is_open_at(b, course, landmark)), None
        )
        row = self.blocks.get((*course.patient, opened["opened_visit"])) if opened else None
        if opened is None or row is None:
            return nothing, NOT_COUNTED
        if row["margin_class"] is None:
            return nothing, NO_CLASS
        if _was_scanned(row, course, landmark):
            return nothing, SCANNED_BEFORE
        return self._answer(course.patient, (*course.patient, landmark.visit), row)

    def _answer(self, patient: Patient, place: Place, row: Row) -> tuple[Answer, str | None]:
        dynamic = self.rules["dynamic"]
        others = [b for b in self.labelled if b.patient != patient]
        edges, minimum = dynamic["class_edges"], dynamic["class_blocks_minimum"]
        found = compare(row["margin_class"], row["opened_at"], others, edges, minimum, NEXT)
        if found is None:
            return Answer("class"), OTHER_EDGES
        if not found.n:
            return Answer("class"), EMPTY_CLASS
        return _of_class(found, place, self._base_rate(others)), None

    def _base_rate(self, others: Sequence[Resolved]) -> float | None:
        """Share confirmed by the next CT over all classes of the same sources."""
        dynamic = self.rules["dynamic"]
        edges, minimum = dynamic["class_edges"], dynamic["class_blocks_minimum"]
        classes = [
            compare(number, visit, others, edges, minimum, NEXT)
            for number in range(len(edges) + 1)
            for visit in ("first", "later")
        ]
        known = [c for c in classes if c is not None]
        n = sum(c.n for c in known)
        return sum(c.confirmed for c in known) / n if n else None


def _is_open_at(block: Row, course: Course, landmark: Landmark) -> bool:
    seen = [v["visit"] for v in course.visits[: landmark.number]]
    return block["opened_visit"] in seen and block["resolved_visit"] not in seen


def _was_scanned(row: Row, course: Course, landmark: Landmark) -> bool:
    """Whether the next evaluable CT is this visit or an earlier one."""
    return row["next_visit"] in [v["visit"] for v in course.visits[: landmark.number]]


def _of_class(found: Comparison, place: Place, base_rate: float | None) -> Answer:
    shares = found.shares
    assert shares is not None, "of a class with blocks"
    confirmed = shares[0]
    values = (found.confirmed / found.n, confirmed.lower, confirmed.upper)
    return Answer(
        "class", found.n, found.confirmed, base_rate, {place: Given(*values, (None, None, None))}
    )


def _why_withheld(asked: Asked, given: Given | None, dynamic: Rules) -> str | None:
    """The first reason, in this order: question, answer, patient, model, novelty, interval."""
    why = asked.why or asked.answer.why
    if why is not None:
        return why
    if given is None:
        return NO_PREDICTION
    if given.abstained:
        return ABSTAINS.format(spread=given.ensemble_sd)
    if given.ood_score is not None and given.ood_score > dynamic["ood_score_maximum"]:
        return TOO_NEW.format(novelty=given.ood_score)
    if given.lower is None or given.upper is None:
        return NO_BOUNDS
    width = given.upper - given.lower
    return TOO_WIDE.format(width=width) if width > dynamic["interval_maximum"] else None


def _row(asked: Asked, dynamic: Rules) -> dict[str, Any]:
    answer = asked.answer
    given = answer.given.get(asked.place)
    why = _why_withheld(asked, given, dynamic)
    shown = given if why is None else None
    site, patient, visit = asked.place
    practice = shown.in_practice if shown else (None, None, None)
    return {
        "site": site,
        "patient": patient,
        "visit": visit,
        "day": asked.day,
        "question": asked.question,
        "horizon_days": asked.horizon,
        "probability": shown.probability if shown else None,
        "probability_lower": shown.lower if shown else None,
        "probability_upper": shown.upper if shown else None,
        "probability_in_practice": practice[0],
        "probability_in_practice_lower": practice[1],
        "probability_in_practice_upper": practice[2],
        "base_rate": answer.base_rate,
        "n": answer.n,
        "events": answer.events,
        "compared": _compared(shown, answer.base_rate),
        "ood_score": given.ood_score if given else None,
        "in_population": asked.in_population,
        "withheld": shown is None,
        "source": answer.source if shown else None,
        "model": answer.model if shown else None,
        "model_version": answer.model_version if shown else None,
        "reason": why,
        "simulated": asked.simulated,
    }


def _compared(given: Given | None, base_rate: float | None) -> str | None:
    """Higher or lower than the base rate, where the whole interval is."""
    if given is None or base_rate is None or given.lower is None or given.upper is None:
        return None
    if given.lower > base_rate:
        return "higher"
    return "lower" if given.upper < base_rate else None

"""Figures of unconfirmed progressions: their outcome, and what the time of the next CT gains."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from math import exp, log

import numpy as np

from dagster_project.domain.evaluation.courses import Progression
from dagster_project.domain.evaluation.figures import (
    Figure,
    Population,
    judged,
    mean_days,
    share,
    too_few,
    withheld,
)
from dagster_project.domain.response.comparison_classes import Resolved, compare
from dagster_project.domain.response.findings import Rules
from dagster_project.domain.response.irecist_blocks import ENDS
from dagster_project.statistics.bootstrap import bootstrap_mean
from dagster_project.statistics.cross_fitting import of_folds
from dagster_project.statistics.estimate import Estimate
from dagster_project.statistics.roc import auc_of_few

NO_STOP = "not estimable: the standard never advises to stop treatment"
FEW_RESETS = (
    "not estimable: {resets} of {n} progressions that were scanned again were reset, "
    "at least {minimum} are needed"
)

POPULATIONS = ("all", "first_visit", "later_visits")


def outcome_figures(
    progressions: Sequence[Progression], site: str, sections: Mapping[str, Rules]
) -> Iterator[Figure]:
    """What became of progressions that were scanned again, by class, margin and base rate.

    1. shares confirmed and reset, exact
    2. the class's share, of other patients, as probability of confirmation: Brier score lower than
       the base rate's, and observed minus expected; RECIST 1.1 calls all of them progression
    3. AUC of class and margin for confirmation against reset
    """
    everybody = [p.resolved for p in progressions if p.resolved is not None]
    for name in POPULATIONS:
        own = [p for p in progressions if p.resolved and _is_of(p, name)]
        yield from _outcomes(own, everybody, Population("block_outcome", name, site), sections)


def _is_of(progression: Progression, name: str) -> bool:
    return name == "all" or progression.first_visit == (name == "first_visit")


def _outcomes(
    own: Sequence[Progression],
    everybody: Sequence[Resolved],
    head: Population,
    sections: Mapping[str, Rules],
) -> Iterator[Figure]:
    confirmed = np.array([p.outcome == "confirmed" for p in own], dtype=bool)
    resets = sum(p.outcome == "reset" for p in own)
    yield share(head, "base_rate", "confirmed", int(confirmed.sum()), len(own))
    yield share(head, "base_rate", "reset", resets, len(own))
    yield from _probabilities(own, confirmed, everybody, head, sections)
    ended = [p for p in own if p.outcome in {"confirmed", "reset"}]
    labels = np.array([p.outcome == "confirmed" for p in ended], dtype=bool)
    counts, rules = (len(ended), resets), sections["evaluation"]
    why = too_few(*counts, rules)
    for name, scores in (
        ("class", [p.margin_class for p in ended]),
        ("margin", [p.margin for p in ended]),
    ):
        values = np.array(scores, dtype=np.float64)
        yield judged(head, name, "auc", _auc(labels, values), counts, why)


def _auc(labels: np.ndarray, scores: np.ndarray) -> Callable[[], Estimate]:
    return lambda: auc_of_few(labels, scores)


def _probabilities(
    own: Sequence[Progression],
    confirmed: np.ndarray,
    everybody: Sequence[Resolved],
    head: Population,
    sections: Mapping[str, Rules],
) -> Iterator[Figure]:
    """Shares of other patients as probabilities of confirmation."""
    rules, counts = sections["evaluation"], (len(own), int(confirmed.sum()))
    why = too_few(*counts, rules)
    found = None if why else [chances(p, everybody, sections["dynamic"]) for p in own]

    def gain(name: str) -> Estimate:
        base, of_class, _ = np.array(found).T
        given = {"class": of_class, "recist": np.ones(len(own))}[name]
        return _cross_fitted((base - confirmed) ** 2 - (given - confirmed) ** 2, rules)

    def difference() -> Estimate:
        return _cross_fitted(confirmed - np.array(found)[:, 1], rules)

    yield judged(head, "class", "brier_gain", lambda: gain("class"), counts, why)
    yield judged(head, "recist", "brier_gain", lambda: gain("recist"), counts, why)
    yield judged(head, "class", "observed_minus_expected", difference, counts, why)
    if found:
        shipped = int(sum(row[2] for row in found))
        yield share(head, "class", "of_shipped_trials", shipped, len(own))


def _cross_fitted(values: np.ndarray, rules: Rules) -> Estimate:
    """Mean with the bounds of as many folds as there are progressions: each was left out once."""
    return of_folds(bootstrap_mean(values, draws=rules["draws"]), values.size)


def chances(
    progression: Progression, everybody: Sequence[Resolved], dynamic: Rules
) -> tuple[float, float, float]:
    """Base rate and the class's share among other patients, and whether the class was shipped."""
    mine = progression.resolved
    assert mine is not None, "of progressions that have a class"
    others = [r for r in everybody if r.patient != progression.patient]
    base = float(np.mean([r.outcome == "confirmed" for r in others]))
    found = compare(
        mine.margin_class,
        mine.visit,
        others,
        dynamic["class_edges"],
        dynamic["class_blocks_minimum"],
    )
    if found is None or not found.n:
        return base, base, 0.0
    return base, found.confirmed / found.n, float(found.source != "study")


def rescan_figures(progressions: Sequence[Progression], site: str) -> Iterator[Figure]:
    """Who was scanned again, within the window or not; who was not, and why."""
    head, n = Population("rescan", site=site), len(progressions)
    again = [p for p in progressions if p.rescanned]
    yield share(head, "observed", "rescanned", len(again), n)
    dated = [p for p in again if p.next_ct_day is not None]
    outside = [p for p in dated if not p.window[0] <= (p.next_ct_day or 0) <= p.window[1]]
    yield share(head, "observed", "rescanned_outside_window", len(outside), len(dated))
    missing = [p for p in progressions if not p.rescanned]
    for event in ENDS:
        count = sum(p.resolved_by == event for p in missing)
        yield share(head, "observed", f"not_rescanned_{event}", count, n)
    still_open = [p for p in missing if p.outcome == "open"]
    overdue = sum(p.status == "overdue" for p in still_open)
    yield share(head, "observed", "not_rescanned_overdue", overdue, n)
    yield share(head, "observed", "not_rescanned_yet", len(still_open) - overdue, n)


def timing_figures(
    progressions: Sequence[Progression], site: str, sections: Mapping[str, Rules]
) -> Iterator[Figure]:
    """What the time of the next CT gains: as it was made, by the standard, by the calendar.

    1. observed: the CT as it was made. Standard: as it was planned, moved into the window.
       Calendar: everybody on the first day of iRECIST's weeks
    2. a CT on another day would have confirmed or reset where the sum, taken along the logarithm
       between the iUPD and the CT that ended the block, passes the limit that was known at the iUPD
    3. days open, and days gained, of confirmed progressions of targets whose sums are known; extra
       CTs of all that were scanned again: one earlier than planned that ends nothing
    """
    head = Population("timing", site=site)
    again = [p for p in progressions if p.rescanned and p.scheduled_day is not None]
    true = [p for p in again if p.outcome == "confirmed" and None not in (*p.sums, p.confirm_mm)]
    rules, first_day = sections["evaluation"], sections["irecist"]["confirmation_earliest_days"]
    tolerance = sections["irecist"]["confirmation_tolerance_days"]
    observed = [float(p.resolved_days or 0) for p in true]
    yield mean_days(head, "observed", "days_open", observed, rules)
    for name in ("standard", "calendar"):
        days = [found_on(p, day_of(p, name, first_day)) for p in true]
        yield mean_days(head, name, "days_open", days, rules)
        gained = [o - d for o, d in zip(observed, days, strict=True)]
        yield mean_days(head, name, "days_gained", gained, rules)
        extra = sum(is_extra(p, day_of(p, name, first_day), tolerance) for p in again)
        yield share(head, name, "extra_cts", extra, len(again))
    both = [found_on(p, first_day) - found_on(p, day_of(p, "standard", first_day)) for p in true]
    yield mean_days(head, "standard", "days_gained_over_calendar", both, rules)


def day_of(progression: Progression, policy: str, first_day: int) -> int:
    """Day of the next CT after the iUPD."""
    first, last = progression.window
    scheduled = progression.scheduled_day or 0
    return first_day if policy == "calendar" else min(max(scheduled, first), last)


def found_on(progression: Progression, day: int) -> float:
    """Day on which a progression is confirmed where the next CT is on a day.

    That CT where it confirms, else the one that did.
    """
    end = progression.resolved_days or 0
    return float(day if day >= end or ends_at(progression, day) else end)


def ends_at(progression: Progression, day: int) -> bool:
    """Whether a CT on a day before the one that ended the block would have ended it."""
    first, last = progression.sums
    end = progression.resolved_days
    if not first or not last or not end or progression.outcome not in {"confirmed", "reset"}:
        return False
    size = exp(log(first) + log(last / first) * day / end)
    if progression.outcome == "confirmed":
        return progression.confirm_mm is not None and size >= progression.confirm_mm
    return progression.reset_mm is not None and size < progression.reset_mm


def is_extra(progression: Progression, day: int, tolerance: int) -> bool:
    """Whether a CT on a day is earlier than the planned one and would have ended nothing."""
    planned = progression.scheduled_day or 0
    return day < planned - tolerance and not ends_at(progression, day)


def reclassification_figures(
    progressions: Sequence[Progression], site: str, rules: Rules
) -> Iterator[Figure]:
    """What calling a progression only when it is confirmed changes against RECIST 1.1.

    Two numbers that are never summed: of the progressions that were reset the share that RECIST 1.1
    had called progression, and of the confirmed ones the days by which they were called later.
    """
    head = Population("reclassification", site=site)
    reset = [p for p in progressions if p.outcome == "reset"]
    called = sum(p.recist == "PD" for p in reset)
    yield share(head, "recist", "recoverers_called_progression", called, len(reset))
    misled = sum(p.misleading for p in reset)
    yield share(head, "standard", "recoverers_given_other_advice", misled, len(reset))
    later = [
        float(p.resolved_days) for p in progressions if p.outcome == "confirmed" and p.resolved_days
    ]
    yield mean_days(head, "standard", "progressors_called_later", later, rules)


def stop_figure(progressions: Sequence[Progression], site: str, rules: Rules) -> Figure:
    """Whether it would be safe to stop at an unconfirmed progression: never estimated, and why."""
    again = [p for p in progressions if p.rescanned and p.outcome != "closed"]
    resets = sum(p.outcome == "reset" for p in again)
    minimum, n = rules["events_minimum"], len(again)
    few = FEW_RESETS.format(resets=resets, n=n, minimum=minimum)
    reason = few if resets < minimum else NO_STOP
    return withheld(Population("stop", site=site), "standard", "safe_to_stop", "share", reason, n)


def sample_figures(
    progressions: Sequence[Progression], n_patients: int, planned: int, rules: Rules
) -> Iterator[Figure]:
    """What the planned number of patients allows: progressions, and recoverers by their share.

    Of the first progression of each patient: the share found here times the planned number.
    """
    head = Population("sample")
    events = len({p.patient for p in progressions})
    found = share(head, "observed", "patients_with_progression", events, n_patients)
    yield found
    if found.found.value is None:
        return
    yield Figure(head, "planned", "progressions", "patients", _times(found.found, planned), planned)
    for prevalence in rules["reset_shares"]:
        of_them = _times(found.found, planned * prevalence)
        statistic = f"resets_at_{100 * prevalence:g}_percent"
        yield Figure(head, "planned", statistic, "patients", of_them, planned)


def _times(found: Estimate, number: float) -> Estimate:
    """A share, and its bounds, of a number of patients."""
    parts = (found.value, found.lower, found.upper)
    value, lower, upper = (None if part is None else number * part for part in parts)
    return Estimate(value, lower, upper)

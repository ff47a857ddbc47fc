"""Net benefit of the time of the next CT, at the exchange rate that the board has signed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from dagster_project.domain.evaluation.block_figures import chances, day_of, ends_at, is_extra
from dagster_project.domain.evaluation.courses import Progression
from dagster_project.domain.evaluation.figures import (
    FEW_PATIENTS,
    NOBODY,
    Figure,
    Population,
    folds_of,
    mean_of,
    share,
    withheld,
)
from dagster_project.domain.evaluation.timing_rule import (
    NOT_BEATEN,
    Bools,
    Floats,
    TimingRule,
    fit_rule,
    is_signed,
    net_values,
)
from dagster_project.domain.response.findings import Rules
from dagster_project.statistics.cross_fitting import of_folds
from dagster_project.statistics.estimate import Estimate

NO_RATE = "withheld: no exchange rate for net benefit is signed in the protocol"
RULE = "{what}; rule {digest}"
FROM_HERE = "progressions of at least this probability are scanned by the calendar"


def benefit_figures(
    progressions: Sequence[Progression], site: str, sections: Mapping[str, Rules]
) -> Iterator[Figure]:
    """Progressions found earlier less extra CTs, per progression that was scanned again.

    1. nothing before the exchange rate is signed ([risk] rate_signed_by, rate_signed_on)
    2. the standard and the calendar against the CT as it was planned, at the rate and at the ends
       of its band
    3. a threshold on the class's share of confirmed progressions, fitted on other patients
       (timing_rule.py): what it gains over the calendar, and how often its advice differs

    A progression is found earlier where an earlier CT than the planned one would have confirmed it;
    an earlier CT that ends nothing is an extra one.
    """
    head, risk = Population("timing", site=site), sections["risk"]
    again = [
        p
        for p in progressions
        if p.rescanned and p.scheduled_day is not None and p.resolved is not None
    ]
    if not is_signed(risk):
        yield withheld(head, "standard", "net_benefit", "1", NO_RATE, len(progressions))
        return
    rules, n = sections["evaluation"], len(again)
    if n < rules["events_minimum"]:
        why = FEW_PATIENTS.format(n=n, minimum=rules["events_minimum"]) if n else NOBODY
        yield withheld(head, "standard", "net_benefit", "1", why, n)
        return
    for policy in ("standard", "calendar"):
        found, extra = outcomes_of(again, policy, sections["irecist"])
        for mark, rate in _rates(risk).items():
            values = net_values(found, extra, rate)
            yield Figure(head, policy, f"net_benefit{mark}", "1", mean_of(values), n)
    yield from _by_class(again, progressions, head, sections)


def _rates(risk: Rules) -> Mapping[str, float]:
    rate, band = risk["extra_cts_per_progression"], risk["rate_band"]
    return {"": rate, "_low_rate": rate / band, "_high_rate": rate * band}


def outcomes_of(
    progressions: Sequence[Progression], policy: str, irecist: Rules
) -> tuple[Bools, Bools]:
    """Whether each progression is found earlier than as planned, and whether its CT is extra."""
    first = irecist["confirmation_earliest_days"]
    tolerance = irecist["confirmation_tolerance_days"]
    days = [day_of(p, policy, first) for p in progressions]
    pairs = list(zip(progressions, days, strict=True))
    earlier = [d < (p.scheduled_day or 0) - tolerance for p, d in pairs]
    found = [
        e and p.outcome == "confirmed" and ends_at(p, d)
        for e, (p, d) in zip(earlier, pairs, strict=True)
    ]
    extra = [is_extra(p, d, tolerance) for p, d in pairs]
    return np.array(found, dtype=bool), np.array(extra, dtype=bool)


def _by_class(
    again: Sequence[Progression],
    progressions: Sequence[Progression],
    head: Population,
    sections: Mapping[str, Rules],
) -> Iterator[Figure]:
    everybody = [p.resolved for p in progressions if p.resolved is not None]
    markers = np.array([chances(p, everybody, sections["dynamic"])[1] for p in again])
    found, extra = outcomes_of(again, "calendar", sections["irecist"])
    rate = sections["risk"]["extra_cts_per_progression"]
    values = net_values(found, extra, rate)
    patients, folds = [p.patient for p in again], sections["evaluation"]["folds"]
    early = scanned_early(markers, values, patients, folds, rate)
    gain = of_folds(mean_of(np.where(early, 0.0, -values)), folds)
    yield Figure(head, "class", "net_benefit_over_calendar", "1", gain, len(again))
    yield share(head, "class", "advice_differs", int((~early).sum()), len(again))
    rule = fit_rule(markers, values, folds_of(patients, folds), rate)
    yield Figure(head, "class", "threshold", "share", _threshold(rule), len(again))


def _threshold(rule: TimingRule) -> Estimate:
    what = NOT_BEATEN if rule.threshold is None else FROM_HERE
    return Estimate(rule.threshold, reason=RULE.format(what=what, digest=rule.digest))


def scanned_early(
    markers: Floats, values: Floats, patients: Sequence[tuple[str, str]], folds: int, rate: float
) -> Bools:
    """Whether each progression is scanned by the calendar, by a rule of the patients elsewhere.

    The rule of an outer fold is fitted on the others, its threshold on inner folds of these.
    """
    outer = folds_of(patients, folds)
    early = np.ones(len(markers), dtype=bool)
    for fold in sorted(set(outer.tolist())):
        held = outer == fold
        others = [p for p, out in zip(patients, held.tolist(), strict=True) if not out]
        if not others:
            continue
        rule = fit_rule(markers[~held], values[~held], folds_of(others, folds), rate)
        early[held] = rule.scans_early(markers[held])
    return early

"""Figures of the questions about risk: response, progression and survival."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

import numpy as np

from dagster_project.domain.evaluation.comparators import (
    EARLIEST,
    IRECIST_RANKS,
    MIDPOINT,
    RECIST_RANKS,
    VISIT,
    Floats,
    Times,
    chances_by_columns,
    change_of_size,
    columns_of_size,
    has_sizes,
    risks_by_category,
    risks_by_columns,
    shares_of_others,
    times_of,
)
from dagster_project.domain.evaluation.courses import STABLE, Landmark
from dagster_project.domain.evaluation.figures import (
    NOBODY,
    Figure,
    Population,
    folds_of,
    judged,
    share,
    too_few,
    too_few_events,
    withheld,
)
from dagster_project.domain.evaluation.supermodel import (
    WITH_FEATURES,
    FeatureSource,
    brier_gained,
    is_landmark,
    risks_of_stack,
    stack_landmarks,
    stack_with_features,
)
from dagster_project.domain.response.findings import Rules
from dagster_project.statistics.bootstrap import bootstrap_mean
from dagster_project.statistics.calibration import calibration_estimates
from dagster_project.statistics.concordance import concordance_index
from dagster_project.statistics.cross_fitting import of_folds
from dagster_project.statistics.estimate import Estimate
from dagster_project.statistics.roc import auc_difference, auc_of_few
from dagster_project.statistics.survival import kaplan_meier
from dagster_project.statistics.time_dependent import FOLLOWED_TOO_SHORT, auc_at, brier_at

NOT_SHOWN = "withheld: the standard shows no probability for this question"
NO_FEATURES = "withheld: features are read behind the open gate alone"
NO_EVENT = "no event by then: no interval"
NO_PFS2 = "not estimable: a second progression (PFS2) is not recorded"
NO_SURVIVAL = "not estimable: overall survival is not recorded"

VISITS = {1: "first_visit", 2: "second_visit", 3: "third_visit"}
"""Populations by the number of the visit after baseline."""


def response_figures(
    landmarks: Sequence[Landmark], site: str, sections: Mapping[str, Rules]
) -> Iterator[Figure]:
    """Response at the second visit: of everybody, and of those stable at the first.

    1. from baseline: the share with CR or PR at the second visit; the standard shows no probability
       there
    2. stable (iSD, non-iCR/non-iUPD) at the first visit: the share, ln(S / S0) and the standard's
       probability, on the same visits
    """
    first = [r for r in landmarks if r.number == 1 and r.responds_next is not None]
    head = Population("response_from_baseline", site=site)
    yield share(head, "base_rate", "responds", sum(map(_responds, first)), len(first))
    yield withheld(head, "standard", "auc", "1", NOT_SHOWN, len(first))
    stable = [
        r
        for r in first
        if r.state == "controlled" and r.irecist in STABLE and change_of_size(r) is not None
    ]
    yield from _of_stable(stable, Population("response_when_stable", "first_visit", site), sections)


def _responds(landmark: Landmark) -> bool:
    return bool(landmark.responds_next)


def _of_stable(
    stable: Sequence[Landmark], head: Population, sections: Mapping[str, Rules]
) -> Iterator[Figure]:
    rules = sections["evaluation"]
    labels = np.array([_responds(r) for r in stable], dtype=bool)
    size = np.array([change_of_size(r) for r in stable], dtype=np.float64)
    counts = (len(stable), int(labels.sum()))
    why = too_few(*counts, rules)
    yield share(head, "base_rate", "responds", counts[1], counts[0])
    yield judged(head, "size", "auc", lambda: auc_of_few(labels, -size), counts, why)
    folds = folds_of([r.patient for r in stable], rules["folds"])

    def chances() -> Floats:
        return chances_by_columns(labels, size[:, None], folds)

    yield judged(
        head,
        "size",
        "calibration_slope",
        lambda: of_folds(calibration_estimates(labels, chances())[1], rules["folds"]),
        counts,
        why,
    )
    yield judged(
        head,
        "size",
        "brier_gain",
        lambda: _brier_gain(labels, chances(), shares_of_others(labels, folds), rules),
        counts,
        why,
    )
    shown = [r for r in stable if r.response_risk is not None]
    yield from _shown_response(shown, head, sections)


def _brier_gain(labels: np.ndarray, own: Floats, base: Floats, rules: Rules) -> Estimate:
    """By how much the Brier score is lower than the base rate's, cross-fitted."""
    gains = (base - labels) ** 2 - (own - labels) ** 2
    return of_folds(bootstrap_mean(gains, draws=rules["draws"]), rules["folds"])


def _shown_response(
    shown: Sequence[Landmark], head: Population, sections: Mapping[str, Rules]
) -> Iterator[Figure]:
    """The probabilities that the standard shows, which models of folds gave."""
    labels = np.array([_responds(r) for r in shown], dtype=bool)
    scores = np.array([r.response_risk for r in shown], dtype=np.float64)
    size = np.array([change_of_size(r) for r in shown], dtype=np.float64)
    counts, folds = (len(shown), int(labels.sum())), sections["model"]["folds"]
    why = too_few(*counts, sections["evaluation"]) if shown else NOT_SHOWN
    yield judged(head, "standard", "auc", lambda: auc_of_few(labels, scores, folds), counts, why)
    yield judged(
        head,
        "standard",
        "calibration_slope",
        lambda: of_folds(calibration_estimates(labels, scores)[1], folds),
        counts,
        why,
    )
    yield judged(
        head,
        "standard",
        "auc_gain_over_size",
        lambda: auc_difference(labels, scores, -size, folds=folds)[0],
        counts,
        why,
    )


def progression_figures(
    landmarks: Sequence[Landmark],
    site: str,
    rules: Rules,
    *,
    brief: bool,
    features: FeatureSource | None = None,
) -> Iterator[Figure]:
    """Progression or death after the first, second and third visit of controlled patients.

    All comparators are of the same visits: those with sums, at risk after the visit. `brief`, which
    a hospital has, leaves out what needs more patients than it has. The supermodel is one of all
    visits, the later ones too; the same with a score of features is of visits that have them.
    """
    everything = [r for r in landmarks if r.days is not None and is_landmark(r)]
    stacked = None if brief else _StackedRisks(everything, rules)
    scored = stacked.with_features(features) if stacked and features else None
    for number, name in VISITS.items():
        rows = [r for r in everything if r.number == number]
        head = Population("progression", name, site)
        if not rows:
            yield withheld(head, "base_rate", "events", "1", NOBODY)
            continue
        yield from _progression(rows, head, rules, brief=brief)
        if stacked:
            yield from _supermodel(stacked, number, head, rules)
        if scored and number in scored.numbers:
            yield from _supermodel(scored, number, head, rules)
    if stacked:
        yield from _gains_over_size(stacked, scored, Population("progression", site=site), rules)


def _progression(
    rows: Sequence[Landmark], head: Population, rules: Rules, *, brief: bool
) -> Iterator[Figure]:
    times = times_of(rows, rules["folds"])
    earliest = times_of(rows, rules["folds"], EARLIEST)
    for horizon in rules["horizons_days"]:
        yield _progressed(times, head, horizon)
    for name, scores in _scores(rows).items():
        yield _concordance(times, scores, head, name, "c_index", rules)
        yield _concordance(earliest, scores, head, name, "c_index_earliest", rules)
    if brief:
        return
    for horizon in rules["horizons_days"]:
        yield from _at_horizon(rows, times, head, horizon, rules)
    yield from _shown_progression(rows, head, rules)


def _scores(rows: Sequence[Landmark]) -> Mapping[str, Floats]:
    """Scores that need no fit, the higher the better the outlook."""
    return {
        "recist": np.array([RECIST_RANKS.get(r.recist, 0.0) for r in rows]),
        "irecist": np.array([IRECIST_RANKS.get(r.irecist, 0.0) for r in rows]),
        "size": -columns_of_size(rows)[:, 0],
    }


def _progressed(times: Times, head: Population, horizon: int) -> Figure:
    """The base rate: 1 - S(horizon) by Kaplan and Meier, its log-log band."""
    statistic, counts = f"progressed_by_{horizon}", (len(times.days), int(times.events.sum()))
    return Figure(head, "base_rate", statistic, "share", _risk_by(times, horizon), *counts)


def _risk_by(times: Times, horizon: int) -> Estimate:
    """Not known where nobody is followed so far; without an event by then it has no band."""
    curve = kaplan_meier(times.days.tolist(), times.events.tolist())
    risk = 1 - curve.survival_at(horizon)
    if risk < 1 and not curve.at_risk_at(horizon):
        return Estimate(None, reason=FOLLOWED_TOO_SHORT)
    if not risk:
        return Estimate(0.0, reason=NO_EVENT)
    place = max(k for k, t in enumerate(curve.time) if t <= horizon)
    low, high = curve.lower[place], curve.upper[place]
    bounds = (None if high is None else 1 - high, None if low is None else 1 - low)
    return Estimate(risk, *bounds)


def _concordance(
    times: Times, scores: Floats, head: Population, name: str, statistic: str, rules: Rules
) -> Figure:
    counts = (len(times.days), int(times.events.sum()))
    return judged(
        head,
        name,
        statistic,
        lambda: concordance_index(times.days, times.events, scores, draws=rules["draws"]),
        counts,
        too_few_events(*counts, rules),
    )


def _at_horizon(
    rows: Sequence[Landmark], times: Times, head: Population, horizon: int, rules: Rules
) -> Iterator[Figure]:
    """AUC and Brier score at a horizon, the Brier score as gain over the base rate.

    Cases have an event by the horizon, controls are followed beyond it. An AUC is of the score
    where there is one, since risks that other folds gave are of no common order.
    """
    counts = _counts_at(times, horizon)
    why = too_few(*counts, rules)
    risks = {} if why else _risks(rows, times, horizon)
    scores = {name: -score for name, score in _scores(rows).items()}
    base = risks.get("base_rate")
    brier = _brier(times, base, horizon, rules)
    yield judged(head, "base_rate", f"brier_{horizon}", brier, counts, why)
    for name in FITTED:
        auc = _auc(times, scores.get(name), risks.get(name), horizon, rules)
        yield judged(head, name, f"auc_{horizon}", auc, counts, why)
        gain = _brier(times, risks.get(name), horizon, rules, reference=base)
        yield judged(head, name, f"brier_gain_{horizon}", gain, counts, why)


class _StackedRisks:
    """Times and cross-fitted risks of the supermodel, computed once for all visits."""

    def __init__(
        self, landmarks: Sequence[Landmark], rules: Rules, features: FeatureSource | None = None
    ) -> None:
        self.name = WITH_FEATURES if features else "supermodel"
        self.landmarks, self.rules = landmarks, rules
        self.numbers = np.array([r.number for r in landmarks])
        folds, last = rules["folds"], max(rules["horizons_days"])
        self.stacks = {
            d: stack_with_features(landmarks, features, folds, last, d)
            if features
            else stack_landmarks(landmarks, folds, d)
            for d in (VISIT, MIDPOINT)
        }
        self._risks: dict[tuple[str, int], Floats] = {}

    def with_features(self, features: FeatureSource) -> _StackedRisks:
        """Of the landmarks that have features, with their score."""
        return _StackedRisks([r for r in self.landmarks if features.knows(r)], self.rules, features)

    def times(self, dating: str, number: int) -> Times:
        """Of one visit."""
        stack, own = self.stacks[dating], self.numbers == number
        return Times(stack.days[own], stack.events[own], stack.folds[own])

    def risks(self, dating: str, horizon: int, number: int) -> Floats:
        """Of one visit, by the model of all visits."""
        return self.all_risks(dating, horizon)[self.numbers == number]

    def all_risks(self, dating: str, horizon: int) -> Floats:
        """Of all visits."""
        if (dating, horizon) not in self._risks:
            self._risks[dating, horizon] = risks_of_stack(self.stacks[dating], horizon)
        return self._risks[dating, horizon]


def _gains_over_size(
    stacked: _StackedRisks, scored: _StackedRisks | None, head: Population, rules: Rules
) -> Iterator[Figure]:
    """By how much a score of features lowers the Brier score, on the visits that have features."""
    for horizon in rules["horizons_days"]:
        statistic = f"brier_gain_over_size_{horizon}"
        if scored is None:
            yield withheld(head, WITH_FEATURES, statistic, "1", NO_FEATURES)
            continue
        stack = scored.stacks[VISIT]
        counts = _counts_at(Times(stack.days, stack.events, stack.folds), horizon)
        compute = partial(_gain_over_size, stacked, scored, horizon)
        why = too_few(*counts, rules)
        yield judged(head, WITH_FEATURES, statistic, compute, counts, why)


def _gain_over_size(stacked: _StackedRisks, scored: _StackedRisks, horizon: int) -> Estimate:
    places = {(*r.patient, r.visit): n for n, r in enumerate(stacked.landmarks)}
    own = [places[*r.patient, r.visit] for r in scored.landmarks]
    return brier_gained(
        scored.stacks[VISIT],
        [r.patient for r in scored.landmarks],
        scored.all_risks(VISIT, horizon),
        stacked.all_risks(VISIT, horizon)[own],
        horizon,
    )


def _supermodel(
    stacked: _StackedRisks, number: int, head: Population, rules: Rules
) -> Iterator[Figure]:
    """C, AUC and Brier score of the supermodel, with a progression dated in two ways.

    By the CT that shows it, and by the middle between that and the last CT without it; model and
    figure are of the same dating. C is of the risk by the last horizon.
    """
    for dating, mark in ((VISIT, ""), (MIDPOINT, "_midpoint")):
        times = stacked.times(dating, number)
        last = rules["horizons_days"][-1]
        counts = (len(times.days), int(times.events.sum()))
        yield judged(
            head,
            stacked.name,
            f"c_index{mark}",
            _ordered(times, stacked, (dating, last, number), rules),
            counts,
            too_few_events(*counts, rules),
        )
        for horizon in rules["horizons_days"]:
            yield from _stacked_at(times, stacked, (dating, horizon, number), (head, mark), rules)


def _ordered(
    times: Times, stacked: _StackedRisks, which: tuple[str, int, int], rules: Rules
) -> Callable[[], Estimate]:
    def compute() -> Estimate:
        scores = -stacked.risks(*which)
        found = concordance_index(times.days, times.events, scores, draws=rules["draws"])
        return of_folds(found, rules["folds"], 0.0, 1.0)

    return compute


def _stacked_at(
    times: Times,
    stacked: _StackedRisks,
    which: tuple[str, int, int],
    named: tuple[Population, str],
    rules: Rules,
) -> Iterator[Figure]:
    """AUC at a horizon, and the Brier score gained over the visit's own base rate."""
    (head, mark), horizon = named, which[1]
    counts = _counts_at(times, horizon)
    why = too_few(*counts, rules)
    risks = None if why else stacked.risks(*which)
    base = None if why else risks_by_category(times, ["all"] * len(times.days), horizon)
    auc = _auc(times, None, risks, horizon, rules)
    yield judged(head, stacked.name, f"auc{mark}_{horizon}", auc, counts, why)
    gain = _brier(times, risks, horizon, rules, reference=base)
    yield judged(head, stacked.name, f"brier_gain{mark}_{horizon}", gain, counts, why)


def _counts_at(times: Times, horizon: float) -> tuple[int, int]:
    """Rows whose state at a horizon is known, and of these those with an event by then."""
    cases = int((times.events & (times.days <= horizon)).sum())
    return cases + int((times.days > horizon).sum()), cases


FITTED = ("recist", "size", "size_and_nadir")
"""Comparators whose risks are fitted, each in the other folds."""


def _risks(rows: Sequence[Landmark], times: Times, horizon: int) -> Mapping[str, Floats]:
    columns = columns_of_size(rows)
    return {
        "base_rate": risks_by_category(times, ["all"] * len(rows), horizon),
        "recist": risks_by_category(times, [r.recist for r in rows], horizon),
        "size": risks_by_columns(times, columns[:, :1], horizon),
        "size_and_nadir": risks_by_columns(times, columns, horizon),
    }


def _auc(
    times: Times, score: Floats | None, risks: Floats | None, horizon: int, rules: Rules
) -> Callable[[], Estimate]:
    """Of a score that was there before, else of cross-fitted risks with the bounds for folds."""

    def compute() -> Estimate:
        of_what = risks if score is None else score
        assert of_what is not None, "computed only where it is estimable"
        found = auc_at(times.days, times.events, of_what, horizon, draws=rules["draws"])
        return of_folds(found, rules["folds"], 0.0, 1.0) if score is None else found

    return compute


def _brier(
    times: Times, risks: Floats | None, horizon: int, rules: Rules, reference: Floats | None = None
) -> Callable[[], Estimate]:
    def compute() -> Estimate:
        assert risks is not None, "computed only where it is estimable"
        found = brier_at(
            times.days, times.events, risks, horizon, reference=reference, draws=rules["draws"]
        )
        return of_folds(found, rules["folds"], 0.0 if reference is None else -1.0, 1.0)

    return compute


def _shown_progression(
    rows: Sequence[Landmark], head: Population, rules: Rules
) -> Iterator[Figure]:
    """The standard's risk of progression, where it shows one."""
    shown = [r for r in rows if r.progression_risk is not None]
    if not shown:
        yield withheld(head, "standard", "c_index", "1", NOT_SHOWN, len(rows))
        return
    scores = -np.array([r.progression_risk for r in shown], dtype=np.float64)
    yield _concordance(times_of(shown, rules["folds"]), scores, head, "standard", "c_index", rules)


def survival_figures(landmarks: Sequence[Landmark], site: str, rules: Rules) -> Iterator[Figure]:
    """Death from the second visit on by size and category; a second progression is not recorded."""
    head = Population("survival", "second_visit", site)
    rows = [r for r in landmarks if r.number == 2 and r.days_alive is not None and has_sizes(r)]
    if not rows:
        yield withheld(head, "size", "c_index", "1", NO_SURVIVAL)
    else:
        times = Times(
            np.array([r.days_alive for r in rows], dtype=np.float64),
            np.array([bool(r.died) for r in rows]),
            folds_of([r.patient for r in rows], rules["folds"]),
        )
        for name, scores in _scores(rows).items():
            yield _concordance(times, scores, head, name, "c_index", rules)
    yield withheld(
        Population("second_progression", "second_visit", site), "size", "c_index", "1", NO_PFS2
    )

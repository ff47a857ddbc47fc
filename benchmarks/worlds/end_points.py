"""Response rates, times to an event, and DHI beside volume, whose truth is known."""

from __future__ import annotations

from functools import cache

import numpy as np

from benchmarks.worlds.cases import Cases
from dagster_project.statistics.binomial import proportion
from dagster_project.statistics.correlation import partial_rank_correlation
from dagster_project.statistics.estimate import Estimate
from dagster_project.statistics.survival import kaplan_meier

RATES = (0.05, 0.1, 0.2, 0.35, 0.5, 0.8)

MEDIAN_DAYS = 250.0

CENSORED = (0.0, 0.35, 0.6)
"""Shares that are censored before progression."""

VISIT_DAYS = 42.0
"""Days between scans, on which progression is found."""

EFFECTS = (0.0, 0.8)
"""By how many standard deviations the index of responders is higher, volume held fixed."""


def end_points(patients: int, random: np.random.Generator) -> Cases:
    """Response rates, and medians and survival of one arm."""
    for share in RATES:
        found = proportion(int(random.binomial(patients, share)), patients)
        yield f"response rate of {share:g}", found, share
    for censored in CENSORED:
        yield from _times(patients, censored, random, None)
    yield from _times(patients, 0.35, random, VISIT_DAYS)
    yield from _times(patients // 2, 0.35, random, None, "of half of them, ")
    for effect in EFFECTS:
        x, responder, volume = _indices(patients, effect, random)
        found = partial_rank_correlation(x, responder, volume)
        if found is not None:
            truth = _true_partial(effect)
            yield f"partial correlation of DHI of {truth:.2f}", Estimate(*found), truth


def _times(
    patients: int, censored: float, random: np.random.Generator, every: float | None, who: str = ""
) -> Cases:
    rate = np.log(2) / MEDIAN_DAYS
    days = random.exponential(1 / rate, patients)
    end = random.exponential((1 - censored) / censored / rate, patients) if censored else np.inf
    found = np.ceil(days / every) * every if every else days
    curve = kaplan_meier(np.minimum(found, end).tolist(), (found <= end).tolist())
    median = float(np.ceil(MEDIAN_DAYS / every) * every) if every else MEDIAN_DAYS
    what = f"{who}{100 * censored:.0f} % censored" + (", scans every six weeks" if every else "")
    if curve.median_lower is not None:
        upper = np.inf if curve.median_upper is None else curve.median_upper
        yield (
            f"Kaplan-Meier median, {what}",
            Estimate(curve.median, curve.median_lower, upper),
            median,
        )
    at = max((k for k, t in enumerate(curve.time) if t <= median / 2), default=None)
    if at is not None:
        last = np.floor(median / 2 / every) * every if every else median / 2
        band = Estimate(curve.survival[at], curve.lower[at], curve.upper[at])
        yield f"survival at half the median, {what}", band, float(0.5 ** (last / MEDIAN_DAYS))


def _indices(
    patients: int, effect: float, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Index, response and change of volume: responders shrink, and shrinking raises the index."""
    responder = random.permutation(np.arange(patients) % 2 == 0)
    volume = random.normal(size=patients) - 0.8 * responder
    index = np.exp(0.5 * (random.normal(size=patients) - 0.4 * volume + effect * responder))
    return index, responder.astype(float), volume


@cache
def _true_partial(effect: float) -> float:
    found = partial_rank_correlation(*_indices(1_000_000, effect, np.random.default_rng(99)))
    assert found is not None
    return found[0]

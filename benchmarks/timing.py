"""Days gained by an earlier CT in an open block, with planted pseudoprogression and a marker.

Sums grow or shrink exponentially and are read with error; the true day of each progression is
known. What the evaluation reports is compared with that, and a marker of a known AUC decides who
has the earlier CT, by the rule of the protocol.
"""

from __future__ import annotations

import argparse
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from dagster_project.domain.evaluation.benefit_figures import outcomes_of, scanned_early
from dagster_project.domain.evaluation.block_figures import found_on, timing_figures
from dagster_project.domain.evaluation.courses import Progression
from dagster_project.domain.evaluation.figures import mean_of
from dagster_project.domain.evaluation.timing_rule import net_values
from dagster_project.study import load_study

GROWTH = (0.0036, 0.78)
"""Median of the growth of the logarithm of a sum per day, and the deviation of its logarithm.

Of 76 confirmed progressions of targets in studies 1-3 (Ghaffari Laleh 2022).
"""

STABLE = 0.3
"""Share of progressions that neither grow nor shrink: 43 of 145 stayed open in the trials."""

SHRINKS = -0.003
"""Change of the logarithm of a recovering sum per day: the median of 29 there."""

MARGIN = 1.3
"""The sum at the iUPD by the nadir."""

READING = 0.02
"""Relative error of a sum between two CTs of the same reader."""

PLANNED_DAYS = (42, 9)
"""Day of the next CT after the iUPD: mean and deviation there."""

CTS = 6
"""Planned CTs of a block at most."""


class World(NamedTuple):
    """Progressions as they are evaluated, their true days gained, and their marker."""

    progressions: list[Progression]
    gained: np.ndarray
    markers: np.ndarray


def simulate(n, pseudo, auc, random, study):
    """n progressions of which a share recovers."""
    irecist, recist = study.section("irecist"), study.section("recist")
    first = irecist["confirmation_earliest_days"]
    tolerance = irecist["confirmation_tolerance_days"]
    window = (first - tolerance, irecist["confirmation_latest_days"] + tolerance)
    apart = 2**0.5 * NormalDist().inv_cdf(auc)
    found, gained, markers = [], [], []
    for patient in range(n):
        kind = random.random()
        recovers, stays = kind < pseudo, pseudo <= kind < pseudo + STABLE
        rate = float(GROWTH[0] * np.exp(GROWTH[1] * random.normal()))
        rate = SHRINKS if recovers else 0.0 if stays else rate
        size = float(random.uniform(40, 100))
        planned = max(28, round(random.normal(*PLANNED_DAYS)))
        one = progress(patient, size, rate, planned, (window, recist), random)
        found.append(one)
        gained.append(truly_gained(one, size, rate, first))
        markers.append(random.normal() + apart * (one.outcome == "confirmed"))
    return World(found, np.array(gained), np.array(markers))


def progress(patient, size, rate, planned, rules, random):
    """The block of one patient, scanned as planned until a CT ends it."""
    window, recist = rules
    nadir = size / MARGIN
    opened = size * (1 + READING * random.normal() / 2)
    confirm = opened + recist["progression_mm"]
    reset = max(recist["progression_ratio"] * nadir, nadir + recist["progression_mm"])
    outcome, day, last = "open", None, None
    for number in range(1, CTS + 1):
        seen = size * np.exp(rate * number * planned) * (1 + READING * random.normal() / 2)
        if seen >= confirm or seen < reset:
            outcome = "confirmed" if seen >= confirm else "reset"
            day, last = number * planned, float(seen)
            break
    return Progression(
        patient=("S", f"P{patient}"),
        first_visit=True,
        margin=1.0,
        margin_class=1,
        recist="PD",
        rescanned=True,
        outcome=outcome,
        status=outcome,
        resolved_by={"confirmed": "iCPD", "reset": "iSD"}.get(outcome),
        resolved_days=day,
        next_ct_day=planned,
        scheduled_day=planned,
        window=window,
        confirm_mm=confirm,
        reset_mm=reset,
        sums=(opened, last),
        misleading=False,
    )


def truly_gained(one, size, rate, first):
    """Days by which a CT on the first day would have confirmed earlier, by the true sums."""
    if one.outcome != "confirmed":
        return np.nan
    early = size * np.exp(rate * first) >= one.confirm_mm
    return float(one.resolved_days - first) if early and first < one.resolved_days else 0.0


def reported(world, study):
    """Days gained by the calendar as the evaluation reports them."""
    figures = timing_figures(world.progressions, "*", study.sections)
    names = ("calendar", "days_gained")
    return next(f.found for f in figures if (f.comparator, f.statistic) == names)


def by_marker(world, study):
    """Who has the earlier CT by the marker's rule, and days gained by them as reported."""
    irecist, risk = study.section("irecist"), study.section("risk")
    first, rate = irecist["confirmation_earliest_days"], risk["extra_cts_per_progression"]
    values = net_values(*outcomes_of(world.progressions, "calendar", irecist), rate)
    patients = [p.patient for p in world.progressions]
    folds = study.section("evaluation")["folds"]
    early = scanned_early(world.markers, values, patients, folds, rate)
    days = [
        float(p.resolved_days) - found_on(p, first) if moved else 0.0
        for p, moved in zip(world.progressions, early.tolist(), strict=True)
        if p.outcome == "confirmed"
    ]
    return early, mean_of(np.array(days)), float(np.where(early, 0.0, -values).mean())


def measure(n, pseudo, auc, repeats, seed, study):
    """One row of the table."""
    random = np.random.default_rng([seed, n, round(100 * pseudo), round(100 * auc)])
    rows = []
    for _ in range(repeats):
        world = simulate(n, pseudo, auc, random, study)
        early, found, gain = by_marker(world, study)
        true = ~np.isnan(world.gained)
        by_rule = np.where(early, world.gained, 0.0)[true]
        calendar = reported(world, study)
        rows.append(
            (
                *(calendar.value, calendar.lower, calendar.upper, world.gained[true].mean()),
                *(found.value, found.lower, found.upper, by_rule.mean()),
                (~early).mean(),
                gain,
                np.sum([p.outcome == "reset" for p in world.progressions]),
            )
        )
    return np.array(rows)


def written(rows, n, pseudo, auc):
    """The row in words: differences are of reported and true means, worst of 95 % of repeats."""
    cells = [f"{100 * pseudo:g} %", f"{auc:g}", f"{n}", f"{rows[:, 10].mean():.1f}"]
    for at in (0, 4):
        value, low, high, true = rows[:, at : at + 4].T
        truth = true.mean()
        covered = ((low <= truth) & (truth <= high)).mean()
        off = np.quantile(np.abs(value - true), 0.95)
        cells += [f"{value.mean():.1f}", f"{truth:.1f}", f"{off:.1f}", f"{100 * covered:.0f}"]
    cells += [f"{100 * rows[:, 8].mean():.1f}", f"{rows[:, 9].mean():.3f}"]
    return f"| {' | '.join(cells)} |"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--patients", type=int, default=300, help="progressions in a study")
    parser.add_argument("--repeats", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    chosen, study = parser.parse_args(), load_study()
    print(
        "| pseudoprogression | AUC | n | reset | calendar: days gained, reported | true | off | "
        "covered, % | marker: reported | true | off | covered, % | advice differs, % | "
        "net benefit over calendar |\n|---|" + "---:|" * 13
    )
    for pseudo in (0.0, 0.03, 0.05):
        for auc in (0.5, 0.6, 0.7, 0.8, 0.9):
            rows = measure(chosen.patients, pseudo, auc, chosen.repeats, chosen.seed, study)
            print(written(rows, chosen.patients, pseudo, auc), flush=True)


if __name__ == "__main__":
    main()

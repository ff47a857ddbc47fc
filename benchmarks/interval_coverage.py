r"""What 95 % intervals cover that models and end points print, at the sizes of the study.

Two simulated worlds, each with a truth that is known:

- cross-fitted models: features are normal, a ridge discriminant is fitted in five folds. The truth
  of an AUC, a sensitivity, a Brier score … is that of the fold models at hand on patients to come,
  by formula or on 20,000 of them. `columns` 1 is a model like PD-L1 alone, 30 one like the radiomic
  features, of which a fifth move with response.
- end points: exponential times with censoring, and proportions.

    OMP_NUM_THREADS=1 python -m benchmarks.interval_coverage [--repeats 400] [--seed 1] [--calls] \
        [--patients 60 200 500]

Bounds of readers' ICC and of AUCs pooled over hospitals have benchmarks of their own (`icc_bounds`,
`pooling`).
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product

import numpy as np
from scipy.stats import norm

from dagster_project.statistics.binomial import proportion
from dagster_project.statistics.bootstrap import bootstrap_mean
from dagster_project.statistics.calibration import calibration_estimates
from dagster_project.statistics.concordance import concordance_index
from dagster_project.statistics.cross_fitting import of_folds
from dagster_project.statistics.estimate import Estimate
from dagster_project.statistics.jackknife import jackknife_interval
from dagster_project.statistics.predictive_values import predictive_values_in_practice
from dagster_project.statistics.roc import auc_delong, auc_difference, auc_of_folds, youden_cutoff
from dagster_project.statistics.survival import kaplan_meier

FOLDS, RIDGE, SHARE, TO_COME = 5, 0.1, 0.3, 4000
"""Outer folds, discriminant ridge, share of responders in practice, and new patients per fold."""

AUCS, COLUMNS, MOVED = (0.5, 0.6, 0.75, 0.85), (1, 30), 5
"""AUCs that the features could give, numbers of features, and one in how many has signal."""

MEDIAN_DAYS, CENSORED = 250.0, 0.35
"""Median time, and the share that is censored."""

Case = tuple[Estimate, float]
"""An interval and the truth that it should hold."""


@dataclass(frozen=True)
class Discriminant:
    """Probability from `weights` · x + `offset`, and the cut-off chosen on training patients."""

    weights: np.ndarray
    offset: float
    cutoff: float

    def score(self, x: np.ndarray) -> np.ndarray:
        """Logits (n,)."""
        found: np.ndarray = x @ self.weights + self.offset
        return found

    def beyond(self, mean: np.ndarray) -> float:
        """Share of normal patients around a mean who are called responders."""
        distance = (self.score(mean[None])[0] - self.cutoff) / np.linalg.norm(self.weights)
        return float(norm.cdf(distance))


def fitted(x: np.ndarray, y: np.ndarray) -> Discriminant:
    """A linear discriminant with a ridge."""
    means = [x[y == c].mean(axis=0) for c in (False, True)]
    within = x - np.where(y[:, None], means[1], means[0])
    covariance = within.T @ within / (len(y) - 2) + RIDGE * np.eye(x.shape[1])
    weights = np.linalg.solve(covariance, means[1] - means[0])
    offset = float(-weights @ (means[0] + means[1]) / 2 + np.log(y.mean() / (1 - y.mean())))
    return Discriminant(weights, offset, youden_cutoff(y, x @ weights + offset))


def drawn(
    patients: int, columns: int, auc: float, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features (n, columns), labels half and half, and the mean of the responders."""
    moved = max(1, columns // MOVED)
    mean = np.zeros(columns)
    mean[:moved] = np.sqrt(2) * norm.ppf(auc) / np.sqrt(moved)
    y = random.permutation(np.arange(patients) % 2 == 0)
    return random.normal(size=(patients, columns)) + np.outer(y, mean), y, mean


def stratified(y: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """A fold per patient, balanced by class."""
    fold = np.empty(y.size, dtype=int)
    for of_class in (np.flatnonzero(y), np.flatnonzero(~y)):
        fold[random.permutation(of_class)] = np.arange(of_class.size) % FOLDS
    return fold


def cross_fitted(
    patients: int, columns: int, auc: float, random: np.random.Generator, *, calls_only: bool
) -> Iterator[tuple[str, Case]]:
    """Every figure of one cross-fitted model with its truth; or those of its calls alone."""
    x, y, mean = drawn(patients, columns, auc, random)
    fold = stratified(y, random)
    models = [fitted(x[fold != k], y[fold != k]) for k in range(FOLDS)]
    logits = np.choose(fold, [m.score(x) for m in models])
    positive = logits >= np.array([m.cutoff for m in models])[fold]
    p = 1 / (1 + np.exp(-logits))
    true = float(
        np.mean(
            [norm.cdf(m.weights @ mean / np.linalg.norm(m.weights) / np.sqrt(2)) for m in models]
        )
    )
    yield "AUC, DeLong's own", (auc_delong(y, p), true)
    yield "AUC", (auc_of_folds(y, p, FOLDS), true)
    if columns > 1:
        yield from _gain(x, y, fold, p, mean, true)
    called = [float(np.mean([m.beyond(c) for m in models])) for c in (np.zeros_like(mean), mean)]
    yield "sensitivity", (proportion(int(positive[y].sum()), int(y.sum())), called[1])
    yield "specificity", (proportion(int((~positive[~y]).sum()), int((~y).sum())), 1 - called[0])
    values = predictive_values_in_practice(y, positive, SHARE)
    right, cleared = called[1] * SHARE, (1 - called[0]) * (1 - SHARE)
    truths = {
        "PPV": right / (right + called[0] * (1 - SHARE)),
        "NPV": cleared / (cleared + (1 - called[1]) * SHARE),
    }
    for name, truth in truths.items():
        own = values[f"{name.lower()}_in_practice"]
        yield f"{name} in practice, Mercaldo's own", (own, truth)
        yield f"{name} in practice", (of_folds(own, FOLDS, 0.0, 1.0), truth)
    if not calls_only:
        yield from _of_probabilities(y, p, models, mean, random)


def _gain(
    x: np.ndarray, y: np.ndarray, fold: np.ndarray, p: np.ndarray, mean: np.ndarray, true: float
) -> Iterator[tuple[str, Case]]:
    """The AUC gained over a model of the first column."""
    models = [fitted(x[fold != k][:, :1], y[fold != k]) for k in range(FOLDS)]
    alone = np.choose(fold, [m.score(x[:, :1]) for m in models])
    other = float(np.mean([norm.cdf(np.sign(m.weights[0]) * mean[0] / np.sqrt(2)) for m in models]))
    yield "difference of two AUCs", (auc_difference(y, p, alone, folds=FOLDS)[0], true - other)


def _of_probabilities(
    y: np.ndarray,
    p: np.ndarray,
    models: list[Discriminant],
    mean: np.ndarray,
    random: np.random.Generator,
) -> Iterator[tuple[str, Case]]:
    """Brier score, calibration and concordance, whose truth is taken from patients to come."""
    later = np.arange(TO_COME) % 2 == 0
    logits = np.concatenate(
        [m.score(random.normal(size=(TO_COME, mean.size)) + np.outer(later, mean)) for m in models]
    )
    label, chance = np.tile(later, FOLDS), 1 / (1 + np.exp(-logits))
    brier = float(np.mean((chance - label) ** 2))
    yield "Brier score, bootstrap's own", (bootstrap_mean((p - y) ** 2), brier)
    yield "Brier score", (of_folds(bootstrap_mean((p - y) ** 2), FOLDS), brier)
    for name, found, true in zip(
        ("calibration intercept", "calibration slope"),
        calibration_estimates(y, p),
        calibration_estimates(label, chance),
        strict=True,
    ):
        if true.value is not None:
            yield f"{name}, Wald's own", (found, true.value)
            yield name, (of_folds(found, FOLDS), true.value)
    some = random.permutation(label.size)[: TO_COME // 4]
    truth = concordance_index(*_times(label[some], random), chance[some], draws=1)
    found = concordance_index(*_times(y, random), p, draws=400)
    yield "C-index, bootstrap's own", (found, truth.value or 0.5)
    yield "C-index", (of_folds(found, FOLDS), truth.value or 0.5)


def _times(responder: np.ndarray, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Responders progress at half the rate; a third is censored."""
    days, end = (
        random.exponential(MEDIAN_DAYS * scale, responder.size)
        for scale in (np.where(responder, 2.0, 1.0), 3.0)
    )
    return np.ceil(np.minimum(days, end)), days <= end


def jackknifed(
    patients: int, columns: int, auc: float, random: np.random.Generator
) -> Iterator[tuple[str, Case]]:
    """The bounds of a patient's probability against its mean over other training patients."""
    later = random.normal(size=(1, columns))
    others = [
        fitted(*drawn(patients, columns, auc, random)[:2]).score(later)[0] for _ in range(100)
    ]
    x, y, _ = drawn(patients, columns, auc, random)
    fold = stratified(y, random)
    whole, parts = fitted(x, y), [fitted(x[fold != k], y[fold != k]) for k in range(FOLDS)]
    value, each = (
        1 / (1 + np.exp(-np.array(z)))
        for z in (whole.score(later), [m.score(later) for m in parts])
    )
    low, high = jackknife_interval(value, each)
    yield (
        "a patient's probability, jackknife",
        (
            Estimate(float(value[0]), float(low[0]), float(high[0])),
            float(1 / (1 + np.exp(-np.mean(others)))),
        ),
    )


def end_points(patients: int, random: np.random.Generator) -> Iterator[tuple[str, Case]]:
    """Response rate, median and survival at a day."""
    for share in (0.1, 0.35):
        yield (
            f"response rate of {share:g}",
            (proportion(int(random.binomial(patients, share)), patients), share),
        )
    rate = np.log(2) / MEDIAN_DAYS
    days, end = (
        random.exponential(1 / rate, patients),
        random.exponential((1 - CENSORED) / CENSORED / rate, patients),
    )
    curve = kaplan_meier(np.minimum(days, end).tolist(), (days <= end).tolist())
    unknown = Estimate(curve.median, curve.median_lower or 0.0, curve.median_upper or np.inf)
    yield "Kaplan-Meier median", (unknown, MEDIAN_DAYS)
    at = max((k for k, t in enumerate(curve.time) if t <= MEDIAN_DAYS / 2), default=None)
    if at is not None:
        yield (
            "survival at half the median",
            (Estimate(curve.survival[at], curve.lower[at], curve.upper[at]), 0.5**0.5),
        )


def coverage(cases: list[Case]) -> tuple[float, int]:
    """Share of the intervals that hold their truth, and the number of intervals.

    An estimate without bounds is none.
    """
    known = [
        (e.lower, e.upper, true) for e, true in cases if e.lower is not None and e.upper is not None
    ]
    return float(
        np.mean([low <= true <= high for low, high, true in known])
    ) if known else np.nan, len(known)


def measured(
    patients: int, repeats: int, seed: int, *, calls_only: bool = False
) -> Mapping[str, list[Case]]:
    """Cases by figure and model."""
    random, found = np.random.default_rng([seed, patients]), defaultdict[str, list[Case]](list)
    for _ in range(repeats):
        for name, case in () if calls_only else end_points(patients, random):
            found[name].append(case)
        for columns, auc in product(COLUMNS, AUCS):
            cases = [*cross_fitted(patients, columns, auc, random, calls_only=calls_only)]
            if not calls_only:
                cases += jackknifed(patients, columns, auc, random)
            for name, case in cases:
                found[f"{name} | {columns} | {auc:g}"].append(case)
    return found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=400)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--patients", type=int, nargs="+", default=[60, 200, 500])
    parser.add_argument(
        "--calls", action="store_true", help="AUC, sensitivity and predictive values alone: quick"
    )
    chosen = parser.parse_args()
    found = {
        n: measured(n, chosen.repeats, chosen.seed, calls_only=chosen.calls)
        for n in chosen.patients
    }
    print(f"| figure | {' | '.join(f'{n} patients' for n in found)} |\n|---|{'---:|' * len(found)}")
    for figure in sorted({name.partition(" | ")[0] for name in next(iter(found.values()))}):
        print(
            f"| {figure} | "
            f"""{
                " | ".join(
                    _shown(
                        [
                            coverage(cases)[0]
                            for name, cases in of.items()
                            if name.partition(" | ")[0] == figure
                        ]
                    )
                    for of in found.values()
                )
            } |"""
        )


def _shown(shares: list[float]) -> str:
    """Over all models: the lowest and the highest."""
    low, high = 100 * min(shares), 100 * max(shares)
    return f"{low:.0f} %" if len(shares) == 1 else f"{low:.0f}–{high:.0f} %"


if __name__ == "__main__":
    main()

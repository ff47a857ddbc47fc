"""Cross-fitted models whose truth is known.

Features are normal, half of the patients respond, and a ridge discriminant is fitted in five folds.
The truth of an AUC, a sensitivity, a Brier score … is that of the fold models at hand on patients
to come, by formula or on 20,000 of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import norm

from benchmarks.worlds.cases import Cases
from dagster_project.statistics.binomial import proportion
from dagster_project.statistics.bootstrap import bootstrap_mean
from dagster_project.statistics.calibration import calibration_curve, calibration_estimates
from dagster_project.statistics.concordance import concordance_index
from dagster_project.statistics.cross_fitting import of_folds
from dagster_project.statistics.decision_curve import net_benefit
from dagster_project.statistics.estimate import Estimate
from dagster_project.statistics.jackknife import jackknife_interval
from dagster_project.statistics.pooling import pool_aucs, pool_sites
from dagster_project.statistics.predictive_values import predictive_values_in_practice
from dagster_project.statistics.roc import (
    auc_delong,
    auc_difference,
    auc_of_few,
    auc_of_folds,
    youden_cutoff,
)

FOLDS, RIDGE, SHARE, TO_COME = 5, 0.1, 0.3, 4000
"""Outer folds, discriminant ridge, share of responders in practice, and new patients per fold."""

AUCS, COLUMNS, MOVED = (0.5, 0.6, 0.75, 0.85), (1, 30), 5
"""AUCs that the features could give, numbers of features, and one in how many has signal.

One column is a model like PD-L1 alone, 30 one like the radiomic features.
"""

HOSPITALS = (3, 8)

ACTED_AT = (0.2, 0.5, 0.8)
"""Thresholds of the decision curve."""

MEDIAN_DAYS, SLOWER, CENSORED_LATER = 250.0, 2.0, 3.0
"""Mean time of others, and how many times longer that of responders and of censoring is."""

OTHER_TRAININGS, LATER = 60, 20
"""Other sets of training patients, and patients to come, of a jackknife."""


@dataclass(frozen=True)
class Discriminant:
    """Logit of the probability from `weights` · x + `offset`."""

    weights: np.ndarray
    offset: float

    def score(self, x: np.ndarray) -> np.ndarray:
        """Logits (n,)."""
        return x @ self.weights + self.offset

    def auc(self, mean: np.ndarray) -> float:
        """True AUC where responders lie around `mean`, and others around 0."""
        return float(norm.cdf(self.weights @ mean / np.linalg.norm(self.weights) / np.sqrt(2)))

    def beyond(self, cutoff: float, mean: np.ndarray) -> float:
        """Share of the patients around a mean whose logit is at or above the cut-off."""
        distance = (self.score(mean[None])[0] - cutoff) / np.linalg.norm(self.weights)
        return float(norm.cdf(distance))


def fitted(x: np.ndarray, y: np.ndarray) -> Discriminant:
    """A linear discriminant with a ridge."""
    means = [x[y == c].mean(axis=0) for c in (False, True)]
    within = x - np.where(y[:, None], means[1], means[0])
    covariance = within.T @ within / (len(y) - 2) + RIDGE * np.eye(x.shape[1])
    weights = np.linalg.solve(covariance, means[1] - means[0])
    offset = float(-weights @ (means[0] + means[1]) / 2 + np.log(y.mean() / (1 - y.mean())))
    return Discriminant(weights, offset)


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


@dataclass(frozen=True, eq=False)
class Study:
    """One cohort and the models of its folds."""

    x: np.ndarray
    y: np.ndarray
    mean: np.ndarray
    fold: np.ndarray
    models: Sequence[Discriminant]

    @property
    def logits(self) -> np.ndarray:
        """Of each patient by the model that had not seen the patient."""
        return np.choose(self.fold, [m.score(self.x) for m in self.models])

    @property
    def probabilities(self) -> np.ndarray:
        """The same as probabilities."""
        return sigmoid(self.logits)

    @property
    def auc(self) -> float:
        """The mean true AUC of the models."""
        return float(np.mean([m.auc(self.mean) for m in self.models]))


def sigmoid(logits: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-logits))


def cross_fit(patients: int, columns: int, auc: float, random: np.random.Generator) -> Study:
    """A simulated cohort, cross-fitted."""
    x, y, mean = drawn(patients, columns, auc, random)
    fold = stratified(y, random)
    return Study(x, y, mean, fold, [fitted(x[fold != k], y[fold != k]) for k in range(FOLDS)])


def discrimination(patients: int, columns: int, auc: float, random: np.random.Generator) -> Cases:
    """AUC, its difference, calls at the cut-offs of the folds, and AUCs of hospitals."""
    study = cross_fit(patients, columns, auc, random)
    y, p, true = study.y, study.probabilities, study.auc
    yield "AUC, DeLong's own", auc_delong(y, p), true
    yield "AUC", auc_of_folds(y, p, FOLDS), true
    if columns > 1:
        yield _gain(study)
    yield from _calls(study)
    yield from _net_benefit(study)
    for number in HOSPITALS:
        yield from _hospitals(study, number, random)


def _net_benefit(study: Study) -> Cases:
    """The decision curve at three thresholds."""
    share = float(study.y.mean())
    for row in net_benefit(study.y, study.probabilities, FOLDS, ACTED_AT):
        odds = row["threshold"] / (1 - row["threshold"])
        false, true = (
            float(np.mean([m.beyond(float(np.log(odds)), mean) for m in study.models]))
            for mean in (np.zeros_like(study.mean), study.mean)
        )
        truth = share * true - (1 - share) * odds * false
        found = Estimate(row["model"], row["lower"], row["upper"])
        yield f"net benefit at {row['threshold']:g}", found, truth


def _hospitals(study: Study, number: int, random: np.random.Generator) -> Cases:
    """The mean AUC over hospitals that are in every fold, and the AUC of one of them."""
    y, p, true = study.y, study.probabilities, study.auc
    where = np.array([f"S{i}" for i in random.integers(number, size=y.size)])
    name = f"AUC within folds, pooled over {number} hospitals"
    yield name, pool_sites(y, p, where.tolist(), FOLDS).auc, true
    yield f"{name}, as if given", _as_if_given(y, p, where), true
    own = where == "S0"
    yield f"AUC of one of {number} hospitals", auc_of_few(y[own], p[own], FOLDS, own.mean()), true
    delong = of_folds(auc_delong(y[own], p[own]), FOLDS, 0.0, 1.0)
    yield f"AUC of one of {number} hospitals, DeLong's for folds", delong, true


def _as_if_given(y: np.ndarray, p: np.ndarray, where: np.ndarray) -> Estimate:
    """The mean AUC with the bounds of a model that was given beforehand."""
    each = [(y[where == s], p[where == s]) for s in np.unique(where)]
    aucs = [(auc_delong(a, b).value, a.sum(), (~a).sum()) for a, b in each if 0 < a.mean() < 1]
    return pool_aucs(*(np.array(column, dtype=float) for column in zip(*aucs, strict=True)))[0]


def _gain(study: Study) -> tuple[str, Estimate, float]:
    """The AUC gained over a model of the first column."""
    x, y, fold = study.x[:, :1], study.y, study.fold
    models = [fitted(x[fold != k], y[fold != k]) for k in range(FOLDS)]
    alone = np.choose(fold, [m.score(x) for m in models])
    other = float(np.mean([m.auc(study.mean[:1]) for m in models]))
    gain, _ = auc_difference(y, study.probabilities, sigmoid(alone), folds=FOLDS)
    return "difference of two AUCs", gain, study.auc - other


def _calls(study: Study) -> Cases:
    x, y, fold = study.x, study.y, study.fold
    cutoffs = np.array(
        [youden_cutoff(y[fold != k], m.score(x[fold != k])) for k, m in enumerate(study.models)]
    )
    positive = study.logits >= cutoffs[fold]
    false, sensitivity = (
        float(np.mean([m.beyond(c, mean) for m, c in zip(study.models, cutoffs, strict=True)]))
        for mean in (np.zeros_like(study.mean), study.mean)
    )
    specificity = 1 - false
    share = float(y.mean())
    of_all = proportion(int((positive == y).sum()), y.size)
    accuracy = share * sensitivity + (1 - share) * specificity
    yield "accuracy, as if given", of_all, accuracy
    yield "accuracy", of_folds(of_all, FOLDS, 0.0, 1.0), accuracy
    counts = {
        "sensitivity": (positive[y], sensitivity),
        "specificity": (~positive[~y], specificity),
        "PPV at the cohort's share": (y[positive], _ppv(sensitivity, specificity, share)),
        "NPV at the cohort's share": (~y[~positive], _ppv(specificity, sensitivity, 1 - share)),
    }
    for name, (right, truth) in counts.items():
        yield name, proportion(int(right.sum()), right.size), truth
    truths = {
        "PPV": _ppv(sensitivity, specificity, SHARE),
        "NPV": _ppv(specificity, sensitivity, 1 - SHARE),
    }
    values = predictive_values_in_practice(y, positive, SHARE)
    for name, truth in truths.items():
        own = values[f"{name.lower()}_in_practice"]
        yield f"{name} in practice, Mercaldo's own", own, truth
        yield f"{name} in practice", of_folds(own, FOLDS, 0.0, 1.0), truth


def _ppv(sensitivity: float, specificity: float, share: float) -> float:
    right = sensitivity * share
    return right / (right + (1 - specificity) * (1 - share))


def probabilities(patients: int, columns: int, auc: float, random: np.random.Generator) -> Cases:
    """Brier score, calibration and concordance, whose truth is taken from patients to come."""
    study = cross_fit(patients, columns, auc, random)
    y, p = study.y, study.probabilities
    label = np.tile(np.arange(TO_COME) % 2 == 0, FOLDS)
    later = np.concatenate(
        [
            m.score(random.normal(size=(TO_COME, columns)) + np.outer(label[:TO_COME], study.mean))
            for m in study.models
        ]
    )
    chance = sigmoid(later)
    brier = float(np.mean((chance - label) ** 2))
    own = bootstrap_mean((p - y) ** 2)
    yield "Brier score, bootstrap's own", own, brier
    yield "Brier score", of_folds(own, FOLDS, 0.0, 1.0), brier
    for name, found, true in zip(
        ("calibration intercept", "calibration slope"),
        calibration_estimates(y, p),
        calibration_estimates(label, chance),
        strict=True,
    ):
        if true.value is not None:
            yield f"{name}, Wald's own", found, true.value
            yield name, of_folds(found, FOLDS), true.value
    own = concordance_index(*_times(y, random), p, draws=400)
    truth = _true_concordance(auc_delong(label, chance).value or 0.5)
    yield "C-index, bootstrap's own", own, truth
    yield "C-index", of_folds(own, FOLDS, 0.0, 1.0), truth
    yield from _groups(y, p, label, chance)


def _groups(y: np.ndarray, p: np.ndarray, label: np.ndarray, chance: np.ndarray) -> Cases:
    """Groups of the calibration curve: patients to come whose probability lies in the group."""
    groups = calibration_curve(y, p)
    edges = [part[-1] for part in np.array_split(np.sort(p), len(groups))[:-1]]
    place = np.searchsorted(edges, chance, side="left")
    for k, group in enumerate(groups):
        if (place == k).sum() >= 100:
            found = Estimate(group["share"], group["lower"], group["upper"])
            yield (
                "share in a group of the calibration curve",
                found,
                float(label[place == k].mean()),
            )


def _times(responder: np.ndarray, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Responders progress at half the rate; a third is censored."""
    days, end = (
        random.exponential(MEDIAN_DAYS * scale, responder.size)
        for scale in (np.where(responder, SLOWER, 1.0), CENSORED_LATER)
    )
    return np.ceil(np.minimum(days, end)), days <= end


def _true_concordance(auc: float) -> float:
    """Harrell's C of a score that orders responders above others with this probability.

    Of a pair the first event is that of class i with rate_i / (rate_i + rate_j + 2 censoring); two
    of one class are ordered by chance.
    """
    rate, censoring = {True: 1 / SLOWER, False: 1.0}, 1 / CENSORED_LATER
    usable = {(i, j): rate[i] / (rate[i] + rate[j] + 2 * censoring) for i in rate for j in rate}
    right = {(True, False): 1 - auc, (False, True): auc}
    return sum(w * right.get(pair, 0.5) for pair, w in usable.items()) / sum(usable.values())


def held_out_hospitals(
    patients: int, columns: int, auc: float, random: np.random.Generator
) -> Cases:
    """Each hospital predicted by a model of the others: the mean AUC, and each hospital's own."""
    for number in HOSPITALS:
        x, y, mean = drawn(patients, columns, auc, random)
        where = np.arange(patients) % number
        models = [fitted(x[where != k], y[where != k]) for k in range(number)]
        p = sigmoid(np.choose(where, [m.score(x) for m in models]))
        sites = np.array([f"S{k}" for k in where])
        found, each = pool_sites(y, p, sites.tolist(), number), [m.auc(mean) for m in models]
        name, true = f"AUC of held-out hospitals, {number} pooled", float(np.mean(each))
        yield name, found.auc, true
        yield f"{name}, as if given", _as_if_given(y, p, sites), true
        name = f"AUC of one held-out hospital of {number}"
        for k, truth in enumerate(each):
            yield name, found.sites[f"S{k}"], truth
            yield f"{name}, DeLong's", auc_delong(y[where == k], p[where == k]), truth


def jackknifed(
    patients: int, columns: int, auc: float, random: np.random.Generator
) -> Iterator[tuple[str, Estimate, float]]:
    """The bounds of patients' probabilities against their mean over other training patients."""
    later = random.normal(size=(LATER, columns))
    others = [
        fitted(*drawn(patients, columns, auc, random)[:2]).score(later)
        for _ in range(OTHER_TRAININGS)
    ]
    study = cross_fit(patients, columns, auc, random)
    whole = fitted(study.x, study.y)
    value, each = (
        sigmoid(np.array(z)) for z in (whole.score(later), [m.score(later) for m in study.models])
    )
    low, high = jackknife_interval(value, each)
    for v, a, b, truth in zip(value, low, high, sigmoid(np.mean(others, axis=0)), strict=True):
        yield "a patient's probability, jackknife", Estimate(float(v), float(a), float(b)), truth

"""Risk of progression by size and one penalised score of features."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np

from benchmarks.worlds.cases import Cases
from dagster_project.domain.evaluation.supermodel import (
    Stack,
    bounds_of_stack,
    brier_gained,
    risks_by,
    risks_of_stack,
)
from dagster_project.statistics.estimate import Estimate
from dagster_project.statistics.logistic import logit, sigmoid
from dagster_project.study import load_study
from models.data.visit_features import VisitFeatures
from models.learners.feature_score import FeatureScore

MEDIAN_DAYS, HORIZON, CENSORED = 250.0, 180.0, 0.35
OF_SIZE = 0.5
"""Log hazard per standard deviation of size."""

OF_FEATURES = (0.4, 0.4, 0.0, 0.0, 0.0, 0.0)
"""The same of each feature."""

FOLDS, VISITS, ASKED, LATER, OTHERS = 10, 3, 20, 10_000, 20


def feature_score(patients: int, random: np.random.Generator) -> Cases:
    """Each patient has three visits of independent times.

    1. The Brier score gained over size, against what models of all these patients gain for 10,000
       visits to come.
    2. The risk of 20 patients, against the mean of models of 20 other sets of so many patients.
    """
    rows = _draw(patients, random)
    later = _draw(LATER // VISITS, random)
    stack, size = _stack(rows), replace(_stack(rows), score=None)
    risks, by_size = (risks_of_stack(s, HORIZON) for s in (stack, size))
    found = brier_gained(stack, _names(stack), risks, by_size, HORIZON)
    both = _joined(rows, later)
    own, reference = (_of_later(s, len(rows.days)) for s in (both, replace(both, score=None)))
    truth = np.mean((reference - later.risk) ** 2 - (own - later.risk) ** 2)
    yield "Brier score gained over size, cross-fitted", found, float(truth)
    low, high = bounds_of_stack(stack, HORIZON, risks)
    expected = _expected(patients, rows.columns[: VISITS * ASKED : VISITS])
    for k, true in enumerate(expected.tolist()):
        row = VISITS * k
        bounds = Estimate(float(risks[row]), float(low[row]), float(high[row]))
        yield "a patient's risk by size and features", bounds, true


class _Rows:
    """Size and features of visits, their times, and the true risk."""

    def __init__(self, columns: np.ndarray, random: np.random.Generator) -> None:
        effect = columns @ np.array([OF_SIZE, *OF_FEATURES])
        rate = np.log(2) / MEDIAN_DAYS * np.exp(effect)
        days = random.exponential(1 / rate)
        lost = random.exponential(MEDIAN_DAYS / np.log(2) * (1 - CENSORED) / CENSORED, len(days))
        self.columns, self.days, self.events = columns, np.minimum(days, lost), days <= lost
        self.risk = 1 - np.exp(-rate * HORIZON)


def _draw(patients: int, random: np.random.Generator) -> _Rows:
    return _Rows(random.normal(size=(VISITS * patients, 1 + len(OF_FEATURES))), random)


def _stack(rows: _Rows) -> Stack:
    n = len(rows.days)
    made = Stack(
        rows.columns[:, :1],
        rows.days,
        rows.events,
        np.arange(n) // VISITS % FOLDS,
        np.arange(n) % VISITS + 1,
        np.ones(n),
    )
    names = tuple(f"f{k}@tumor@change" for k in range(len(OF_FEATURES)))
    values = rows.columns[:, 1:]
    features = VisitFeatures({}, names, values)
    section = load_study().learning
    score = FeatureScore(features, section, values, _names(made), made, HORIZON)
    return replace(made, score=score)


def _names(stack: Stack) -> list[tuple[str, str]]:
    return [("S", f"P{n // VISITS}") for n in range(len(stack.days))]


def _joined(rows: _Rows, others: _Rows) -> Stack:
    """The rows to learn from, and others of whom nothing is known yet."""
    whole = _Rows(np.vstack([rows.columns, others.columns]), np.random.default_rng(0))
    whole.days = np.concatenate([rows.days, np.full(len(others.days), np.nan)])
    whole.events = np.concatenate([rows.events, np.zeros(len(others.days), dtype=bool)])
    return _stack(whole)


def _of_later(stack: Stack, learnt: int) -> np.ndarray:
    seen = np.arange(len(stack.days)) < learnt
    return risks_by(stack, HORIZON, seen, ~seen)


def _expected(patients: int, columns: np.ndarray) -> np.ndarray:
    """Mean risk by models of other patients; the logit of each is affine in the columns."""
    affine = _others(patients)
    return sigmoid(affine[:, :1] + affine[:, 1:] @ columns.T).mean(axis=0)


@cache
def _others(patients: int) -> np.ndarray:
    random = np.random.default_rng([99, patients])
    width = 1 + len(OF_FEATURES)
    probes = _Rows(np.vstack([np.zeros((1, width)), np.eye(width)]), random)
    found = []
    for _ in range(OTHERS):
        rows = _draw(patients * (FOLDS - 1) // FOLDS, random)
        logits = logit(_of_later(_joined(rows, probes), len(rows.days)))
        found.append([logits[0], *(logits[1:] - logits[0])])
    return np.array(found)

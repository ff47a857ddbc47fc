"""Negative controls of studies in which nothing but the volume tells the response."""

from __future__ import annotations

import numpy as np

from benchmarks.worlds.cases import Cases
from benchmarks.worlds.cross_fitted import stratified
from dagster_project.statistics.estimate import Estimate
from dagster_project.statistics.roc import auc_delong
from models.evaluation.negative_controls import chance_of, held_out_operators, held_out_scores

FEATURES = 30
"""Features of a control."""

VOLUME_TELLS, WITH_VOLUME = 0.8, 0.5
"""Standard deviations by which responders' ln volume lies lower, and a feature's slope on it."""


def controls(patients: int, random: np.random.Generator) -> Cases:
    """The range of chance of a control that is freed of the volume, and the control's own AUC."""
    y = random.permutation(np.arange(patients) % 2 == 0)
    volume = random.normal(size=(patients, 1)) - VOLUME_TELLS * y[:, None]
    features = random.normal(size=(patients, FEATURES)) + WITH_VOLUME * volume
    fold = stratified(y, random)
    operators = held_out_operators(features, volume, fold)
    auc = auc_delong(y, held_out_scores(operators, y)).value
    assert auc is not None
    chance = chance_of(operators, y, fold, seed=int(random.integers(2**31)))
    yield "range of chance of a negative control", Estimate(auc, *chance), auc

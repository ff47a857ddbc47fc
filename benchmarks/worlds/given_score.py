"""Intervals of an AUC of a score that was there before the patients: one sample, no folds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.stats import norm

from benchmarks.worlds.cases import Cases
from dagster_project.federated.counts import ScoreBins
from dagster_project.statistics.roc import auc_delong

AUCS: Sequence[float] = (0.6, 0.75, 0.85)
RESPONDERS = 0.35


def given_score(patients: int, random: np.random.Generator) -> Cases:
    """DeLong's bounds of one table and of a sum over hospitals; normal scores of two groups."""
    labels = random.random(patients) < RESPONDERS
    for auc in AUCS:
        gap = norm.ppf(auc) * np.sqrt(2)
        scores = random.normal(size=patients) + gap * labels
        yield f"AUC of a given score | {auc:g}", auc_delong(labels, scores), auc
        binned = ScoreBins()
        summed = binned.read(binned.vector(labels, norm.cdf(scores - gap / 2)))
        yield f"AUC of a given score, from a sum | {auc:g}", summed.auc, auc

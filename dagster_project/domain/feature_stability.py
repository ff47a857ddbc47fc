"""Which features do not depend on who outlined the lesion: chosen by the readers alone, never by an outcome."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl

from dagster_project.domain.icc import ROUNDING, TOO_FEW, MeanSquares, icc_of
from dagster_project.lake.schema import polars_schema
from dagster_project.lake.tables import FEATURE_STABILITY

STABLE_ICC = 0.75
"""Koo and Li 2016 call an ICC good from here; the lower bound must reach it, so that few pairs cannot make a feature stable."""


def derive_feature_stability(moments: pl.DataFrame) -> pl.DataFrame:
    """ICC(2,1) and within-lesion spread of every region and feature.

    1. Pairs are lesion-visits for which both locked reads have the feature; fewer than two: NULL with a reason.
    2. With m the mean and d the difference of a pair: MSR = 2 var(m), MSC = n mean(d)² / 2, MSE = var(d) / 2; ICC(2,1) and its 95 %
       bounds as in `icc`, with its reasons.
    3. within_sd = sqrt(mean(d²) / 2), the readers' bias included.
    4. stable where the lower bound is at least 0.75; a feature without a bound is not stable.

    A patient's lesions and visits count as separate: the bounds are somewhat too narrow.

    Parameters
    ----------
    moments
        region, feature, n_pairs, variance_of_means, mean_difference, variance_of_differences, largest (of |value|), simulated.

    Returns
    -------
    FEATURE_STABILITY.
    """
    return pl.DataFrame([_row(m) for m in moments.iter_rows(named=True)], schema=polars_schema(FEATURE_STABILITY))


def _row(m: Mapping[str, Any]) -> dict[str, Any]:
    row = {name: m[name] for name in ("region", "feature", "n_pairs", "simulated")} | {"stable": False}
    if m["n_pairs"] < 2:
        return row | {"reason": TOO_FEW}
    squares = _mean_squares(m)
    found = icc_of(squares, "ICC(2,1)", tiny=(ROUNDING * m["largest"]) ** 2)
    figures = {"icc": found.value, "icc_lower": found.lower, "icc_upper": found.upper, "within_sd": float(np.sqrt(squares.within))}
    return row | figures | {"stable": found.lower is not None and found.lower >= STABLE_ICC, "reason": found.reason}


def _mean_squares(m: Mapping[str, Any]) -> MeanSquares:
    n, bias = m["n_pairs"], m["mean_difference"]
    within = (m["variance_of_differences"] * (n - 1) / n + bias**2) / 2
    return MeanSquares(n, 2, 2 * m["variance_of_means"], n * bias**2 / 2, m["variance_of_differences"] / 2, within)

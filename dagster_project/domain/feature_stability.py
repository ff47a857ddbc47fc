"""Which features are stable when a lesion is outlined or scanned again.

They are chosen by repeated measurements alone, never by an outcome.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl

from dagster_project.lake.schema import polars_schema
from dagster_project.lake.tables import FEATURE_STABILITY
from dagster_project.statistics.icc import ROUNDING, TOO_FEW, MeanSquares, icc_of, squares_of_pairs

COUNTS = {"perturbation": "n_lesions_perturbed", "repeat": "n_lesions_repeated"}
"""Repeated measurements beside the two readers, and the columns that count their lesions."""


def derive_feature_stability(
    readers: pl.DataFrame, copies: pl.DataFrame, repeats: pl.DataFrame, icc_lower_minimum: float
) -> pl.DataFrame:
    """ICC and within-lesion spread of every region and feature.

    Between readers, between perturbed copies and between repeat scans.

    1. Pairs are lesion-visits for which both locked reads have the feature; fewer than two: NULL
       with a reason.
    2. ICC(2,1) and its 95 % bounds by `squares_of_pairs` and `icc_of`, with its reasons.
    3. within_sd = sqrt(mean(d²) / 2), the readers' bias included.
    4. Copies and repeats of a lesion are alike, none is the first: ICC(1,1) with MSR = k var(m) and
       MSW the mean of the variances within lesions, over the lesions that have all k values;
       within_sd = sqrt(MSW). Fewer than two lesions: NULL.
    5. stable where the readers' lower bound reaches the limit, and that of the copies too wherever
       two lesions have copies; a feature without a bound is not stable. Repeats have no part in it:
       a handful of them would have bounds too wide for any feature.

    A patient's lesions and visits count as separate among the readers' pairs: the bounds are
    somewhat too narrow. Copies are of one lesion per patient.

    Parameters
    ----------
    readers
        region, feature, n_pairs, variance_of_means, mean_difference, variance_of_differences,
        largest (of |value|), simulated.
    copies, repeats
        region, feature, n, k, variance_of_means, within, largest; a feature may be missing.
    icc_lower_minimum
        [agreement] feature_icc_lower_minimum of study.toml.

    Returns
    -------
    FEATURE_STABILITY.
    """
    others = {
        way: {(m["region"], m["feature"]): m for m in found.iter_rows(named=True)}
        for way, found in (("perturbation", copies), ("repeat", repeats))
    }
    rows = [
        _row(
            m,
            {way: found.get((m["region"], m["feature"])) for way, found in others.items()},
            icc_lower_minimum,
        )
        for m in readers.iter_rows(named=True)
    ]
    return pl.DataFrame(rows, schema=polars_schema(FEATURE_STABILITY))


def _row(
    m: Mapping[str, Any], others: Mapping[str, Mapping[str, Any] | None], limit: float
) -> dict[str, Any]:
    row = {name: m[name] for name in ("region", "feature", "n_pairs", "simulated")} | {
        "stable": False
    }
    for way, again in others.items():
        row |= _one_way(way, again)
    if m["n_pairs"] < 2:
        return row | {"reason": TOO_FEW}
    squares = _mean_squares(m)
    found = icc_of(squares, "ICC(2,1)", tiny=(ROUNDING * m["largest"]) ** 2)
    row |= {
        "icc": found.value,
        "icc_lower": found.lower,
        "icc_upper": found.upper,
        "within_sd": float(np.sqrt(squares.within)),
        "reason": found.reason,
    }
    asked = (
        [found.lower]
        if row["n_lesions_perturbed"] < 2
        else [found.lower, row["icc_perturbation_lower"]]
    )
    return row | {"stable": all(bound is not None and bound >= limit for bound in asked)}


def _one_way(way: str, m: Mapping[str, Any] | None) -> dict[str, Any]:
    """Columns of copies or repeats."""
    if m is None or m["n"] < 2:
        return {COUNTS[way]: m["n"] if m else 0}
    squares = MeanSquares(
        m["n"], m["k"], m["k"] * m["variance_of_means"], m["within"], m["within"], m["within"]
    )
    found = icc_of(squares, "ICC(1,1)", tiny=(ROUNDING * m["largest"]) ** 2)
    return {
        COUNTS[way]: m["n"],
        f"icc_{way}": found.value,
        f"icc_{way}_lower": found.lower,
        f"icc_{way}_upper": found.upper,
        f"within_sd_{way}": float(np.sqrt(m["within"])),
    }


def _mean_squares(m: Mapping[str, Any]) -> MeanSquares:
    return MeanSquares(
        m["n_pairs"],
        2,
        *squares_of_pairs(
            m["n_pairs"], m["variance_of_means"], m["mean_difference"], m["variance_of_differences"]
        ),
    )

"""Which features are stable when a lesion is outlined or scanned again.

They are chosen by repeated measurements alone, never by an outcome.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from dagster_project.lake.schema import polars_schema
from dagster_project.lake.tables import FEATURE_STABILITY
from dagster_project.statistics.estimate import Estimate
from dagster_project.statistics.icc import ROUNDING, TOO_FEW, MeanSquares, icc_of, squares_of_pairs
from dagster_project.statistics.icc_by_patient import (
    NO_BOUNDS_BY_PATIENT,
    added_moments,
    bounds_on_fishers_scale,
    reach_by_patient,
    reach_of_copies,
    sums_of_moments,
)

COUNTS = {"perturbation": "n_lesions_perturbed", "repeat": "n_lesions_repeated"}
"""Repeated measurements beside the two readers, and the columns that count their lesions."""

WHAT = ["region", "feature"]

SPREAD = {
    "region": pl.String,
    "feature": pl.String,
    "n_pairs": pl.Int64,
    **dict.fromkeys(
        ("variance_of_means", "mean_difference", "variance_of_differences", "largest", "reach"),
        pl.Float64,
    ),
    "simulated": pl.Boolean,
}
"""The columns of `spread_between_readers`."""

SPREAD_OF_COPIES = {
    "region": pl.String,
    "feature": pl.String,
    **dict.fromkeys(("n", "k"), pl.Int64),
    **dict.fromkeys(("variance_of_means", "within", "largest", "reach"), pl.Float64),
}
"""The columns of `spread_of_copies`."""


def spread_between_readers(moments: pl.DataFrame) -> pl.DataFrame:
    """The pairs of all patients together, and how far the bounds of an ICC(2,1) of them reach.

    Parameters
    ----------
    moments
        One row per site, patient, region and feature: n_pairs; mean_of_means and squares_of_means,
        the mean of the pairs' means m and the sum of squares about it; mean_difference and
        squares_of_differences, the same of their differences d; largest (of |value|), simulated.

    Returns
    -------
    The columns of `SPREAD`; `reach` is on Fisher's scale, by leaving out one patient at a time, and
    NULL where there are no bounds.
    """
    what, part = _arranged(
        moments,
        (
            "n_pairs",
            "mean_of_means",
            "squares_of_means",
            "mean_difference",
            "squares_of_differences",
        ),
    )
    n, mean, squares, difference, squares_of_differences = part
    pairs = n.sum(axis=0)
    free = np.where(pairs > 1, pairs - 1, np.nan)
    mean_difference, about = added_moments(n, difference, squares_of_differences)
    found = what.with_columns(
        n_pairs=pl.Series(pairs).cast(pl.Int64),
        variance_of_means=added_moments(n, mean, squares)[1] / free,
        mean_difference=mean_difference,
        variance_of_differences=about / free,
        reach=reach_by_patient(sums_of_moments(*part), "ICC(2,1)"),
    )
    return _with_largest(found, moments, SPREAD)


def spread_of_copies(moments: pl.DataFrame) -> pl.DataFrame:
    """Copies or repeats of all patients together, and how far the bounds of their ICC(1,1) reach.

    Parameters
    ----------
    moments
        One row per site, patient, region and feature: n lesions; k measurements of each;
        mean_of_means and squares_of_means, the mean of the lesions' means and the sum of squares
        about it; within, the mean of the variances within them; largest (of |value|).

    Returns
    -------
    The columns of `SPREAD_OF_COPIES`; `reach` as `spread_between_readers` has it.
    """
    names = ("n", "mean_of_means", "squares_of_means", "within")
    what, (n, mean, squares, within) = _arranged(moments, names)
    k, lesions = int(moments["k"].max() or 2), n.sum(axis=0)  # type: ignore[arg-type]
    found = what.with_columns(
        n=pl.Series(lesions).cast(pl.Int64),
        k=pl.lit(k, pl.Int64),
        variance_of_means=added_moments(n, mean, squares)[1]
        / np.where(lesions > 1, lesions - 1, np.nan),
        within=(n * within).sum(axis=0) / np.maximum(lesions, 1),
        reach=reach_of_copies(n, mean, squares, within, k),
    )
    return _with_largest(found, moments, SPREAD_OF_COPIES)


def _arranged(
    moments: pl.DataFrame, names: Sequence[str]
) -> tuple[pl.DataFrame, list[npt.NDArray[np.float64]]]:
    """Regions and features, and each moment as an array (patients, features); 0 for NULL."""
    what, who = (
        moments.select(key).unique().sort(key).with_row_index(name)
        for key, name in ((WHAT, "column"), (["site", "patient"], "row"))
    )
    placed = moments.join(what, on=WHAT).join(who, on=["site", "patient"])
    place = (placed["row"].to_numpy(), placed["column"].to_numpy())
    arrays = []
    for name in names:
        values = np.zeros((who.height, what.height))
        values[place] = placed[name].cast(pl.Float64).fill_null(0.0).to_numpy()
        arrays.append(values)
    return what.drop("column"), arrays


def _with_largest(
    found: pl.DataFrame, moments: pl.DataFrame, schema: Mapping[str, pl.DataType | type]
) -> pl.DataFrame:
    """The largest |value| beside it, and whether any is simulated; what is no number is NULL."""
    marks = [
        pl.col("largest").max(),
        *([pl.col("simulated").any()] if "simulated" in schema else []),
    ]
    beside = moments.group_by(WHAT).agg(marks)
    floats = pl.selectors.float()
    return (
        found.join(beside, on=WHAT, how="left", maintain_order="left")
        .with_columns(floats.fill_nan(None))
        .select(pl.col(name).cast(kind) for name, kind in schema.items())
    )


def derive_feature_stability(
    readers: pl.DataFrame, copies: pl.DataFrame, repeats: pl.DataFrame, icc_lower_minimum: float
) -> pl.DataFrame:
    """ICC and within-lesion spread of every region and feature.

    Between readers, between perturbed copies and between repeat scans.

    1. Pairs are lesion-visits for which both locked reads have the feature; fewer than two: NULL
       with a reason.
    2. ICC(2,1) by `squares_of_pairs` and `icc_of`, with its reasons; its 95 % bounds by leaving out
       one patient at a time, on Fisher's scale (`icc_by_patient`). Where these do not exist, the
       reason.
    3. within_sd = sqrt(mean(d²) / 2), the readers' bias included.
    4. Copies and repeats of a lesion are alike, none is the first: ICC(1,1) with MSR = k var(m) and
       MSW the mean of the variances within lesions, over the lesions that have all k values;
       within_sd = sqrt(MSW). Fewer than two lesions: NULL. Bounds by leaving out one patient at a
       time as well.
    5. stable where the readers' lower bound reaches the limit, and that of the copies too wherever
       two lesions have copies; a feature without a bound is not stable. Repeats have no part in it:
       a handful of them would have bounds too wide for any feature.

    Parameters
    ----------
    readers
        From `spread_between_readers`.
    copies, repeats
        From `spread_of_copies`; a feature may be missing.
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
    found = _bounded(icc_of(squares, "ICC(2,1)", tiny=(ROUNDING * m["largest"]) ** 2), m["reach"])
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
    given = icc_of(squares, "ICC(1,1)", tiny=(ROUNDING * m["largest"]) ** 2)
    found = _bounded(given, m["reach"], m["k"])
    return {
        COUNTS[way]: m["n"],
        f"icc_{way}": found.value,
        f"icc_{way}_lower": found.lower,
        f"icc_{way}_upper": found.upper,
        f"within_sd_{way}": float(np.sqrt(m["within"])),
    }


def _bounded(found: Estimate, reach: float | None, k: int = 2) -> Estimate:
    """With bounds by patient in place of those of independent lesions, where there are any."""
    if found.value is None or found.lower is None:
        return found
    if reach is None:
        return Estimate(found.value, reason=NO_BOUNDS_BY_PATIENT)
    return Estimate(found.value, *bounds_on_fishers_scale(found.value, reach, k))


def _mean_squares(m: Mapping[str, Any]) -> MeanSquares:
    return MeanSquares(
        m["n_pairs"],
        2,
        *squares_of_pairs(
            m["n_pairs"], m["variance_of_means"], m["mean_difference"], m["variance_of_differences"]
        ),
    )

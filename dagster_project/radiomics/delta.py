"""Delta radiomics: how each feature of the accepted read changes between visits.

The visits are the protocol's; the days are the actual ones.
"""

from __future__ import annotations

import polars as pl

from dagster_project.lake.columns import FINGERPRINT
from dagster_project.lake.tables import DELTA_FEATURES

VISITS = ("T0", "T1", "T2")
"""The protocol's visits."""

VISIT_PAIRS = (("T0", "T1"), ("T1", "T2"), ("T0", "T2"))
"""Pairs of the protocol's visits that are compared."""

KEY = ("site", "patient", "lesion", "region", "feature")
NO_FEATURES = "the lesion has no features at {visit}"
NO_DATE = "the date of a scan is missing"
SAME_DAY = "both scans were taken on one day"
NO_TREND = "no trend over three visits: {}"
NO_MIDDLE = "no scan at T1"


def derive_delta_features(features: pl.DataFrame, timepoints: pl.DataFrame) -> pl.DataFrame:
    """Change of every feature between T0–T1, T1–T2 and T0–T2.

    1. Only patients with a scan at both visits of a pair have rows for it; lesions are matched by
       label.
    2. A lesion or region that has rows at one visit alone keeps its rows, NULL with a reason: a
       vanished lesion has no features, and a feature of it is not 0.
    3. delta = f_to − f_from, in the feature's unit.
    4. delta_symmetric = 2 (f_to − f_from) / (|f_to| + |f_from|), within ± 2 for features of any
       sign; 0 where both are 0.
    5. delta_per_day = delta / days, by the dates of the scans; NULL with a reason where a date is
       missing or both are the same day.
    6. A NULL at either visit gives NULL throughout, with that visit and its reason.
    7. On the row of T0 and T2, where all three visits have a value and a day of their own:
       slope_per_day, the least-squares slope over actual days, and curvature_per_day =
       rate(T1, T2) − rate(T0, T1). NULL with the reason of the pair that has none.

    Parameters
    ----------
    features
        Rows of RADIOMIC_FEATURES: of each lesion and visit, the accepted reader's.
    timepoints
        Rows of TIMEPOINTS.

    Returns
    -------
    DELTA_FEATURES without `input_fingerprint`.
    """
    first, second, whole = (
        _delta_of_pair(features, timepoints, start, end) for start, end in VISIT_PAIRS
    )
    nothing = pl.lit(None, pl.Float64)
    first, second = (
        rows.with_columns(slope_per_day=nothing, curvature_per_day=nothing)
        for rows in (first, second)
    )
    return pl.concat([first, second, _with_trend(first, second, whole)]).select(
        n for n in DELTA_FEATURES.names if n != FINGERPRINT.name
    )


def _delta_of_pair(
    features: pl.DataFrame, timepoints: pl.DataFrame, start: str, end: str
) -> pl.DataFrame:
    spans = _spans(timepoints, start, end)
    first, last = _at(features, spans, start, "from"), _at(features, spans, end, "to")
    return (
        first.join(last, on=KEY, how="full", coalesce=True, maintain_order="left_right")
        .join(spans, on=("site", "patient"), maintain_order="left")
        .with_columns(pl.lit(start).alias("from_visit"), pl.lit(end).alias("to_visit"))
        .with_columns(
            delta=pl.col("value_to") - pl.col("value_from"),
            size=pl.col("value_to").abs() + pl.col("value_from").abs(),
        )
        .with_columns(
            delta_symmetric=_symmetric(),
            delta_per_day=pl.when(pl.col("days") != 0).then(pl.col("delta") / pl.col("days")),
        )
        .with_columns(
            reason=_reason(start, end),
            simulated=pl.any_horizontal(pl.col("simulated_from", "simulated_to").fill_null(False)),
        )
        .select(
            *KEY,
            "from_visit",
            "to_visit",
            "days",
            "delta",
            "delta_symmetric",
            "delta_per_day",
            "reason",
            "simulated",
        )
    )


def _with_trend(first: pl.DataFrame, second: pl.DataFrame, whole: pl.DataFrame) -> pl.DataFrame:
    """Slope and curvature of what has a rate from T0 to T1 and from T1 to T2."""
    names = ("days", "delta", "delta_per_day", "reason", "from_visit")
    early, late = (
        rows.select(*KEY, *(pl.col(n).alias(f"{n}_{side}") for n in names))
        for rows, side in ((first, "early"), (second, "late"))
    )
    curvature = pl.col("delta_per_day_late") - pl.col("delta_per_day_early")
    absent = pl.when(
        pl.col("from_visit_early").is_null() | pl.col("from_visit_late").is_null()
    ).then(pl.lit(NO_MIDDLE))
    missing = pl.coalesce("reason_early", "reason_late", absent)
    return (
        whole.join(early, on=KEY, how="left", maintain_order="left")
        .join(late, on=KEY, how="left", maintain_order="left")
        .with_columns(
            slope_per_day=pl.when(curvature.is_not_null()).then(_slope()),
            curvature_per_day=curvature,
        )
        .with_columns(
            reason=pl.coalesce(
                "reason", pl.when(curvature.is_null()).then(pl.format(NO_TREND, missing))
            )
        )
        .select(*whole.columns, "slope_per_day", "curvature_per_day")
    )


def _slope() -> pl.Expr:
    """Least squares through (0, 0), (days_early, delta_early) and (days, delta)."""
    days = (pl.col("days_early").cast(pl.Float64), pl.col("days").cast(pl.Float64))
    values = (pl.col("delta_early"), pl.col("delta"))
    mean_day, mean_value = (days[0] + days[1]) / 3, (values[0] + values[1]) / 3
    shared = days[0] * values[0] + days[1] * values[1] - 3 * mean_day * mean_value
    return shared / (days[0] ** 2 + days[1] ** 2 - 3 * mean_day**2)


def _spans(timepoints: pl.DataFrame, start: str, end: str) -> pl.DataFrame:
    """Patients with both visits, and the days between them."""
    dated = timepoints.select("site", "patient", "visit", "scan_date")
    first, last = (dated.filter(pl.col("visit") == visit).drop("visit") for visit in (start, end))
    return first.join(last, on=("site", "patient"), suffix="_to").select(
        "site",
        "patient",
        days=(pl.col("scan_date_to") - pl.col("scan_date")).dt.total_days().cast(pl.Int32),
    )


def _at(features: pl.DataFrame, spans: pl.DataFrame, visit: str, side: str) -> pl.DataFrame:
    return (
        features.filter(pl.col("visit") == visit)
        .join(spans, on=("site", "patient"), how="semi")
        .select(
            *KEY,
            *(pl.col(name).alias(f"{name}_{side}") for name in ("value", "reason", "simulated")),
        )
    )


def _symmetric() -> pl.Expr:
    return (
        pl.when(pl.col("size") > 0)
        .then((2 * pl.col("delta") / pl.col("size")).clip(-2, 2))
        .when(pl.col("size") == 0)
        .then(0.0)
    )


def _reason(start: str, end: str) -> pl.Expr:
    missing = [
        pl.when(pl.col(f"value_{side}").is_null()).then(
            pl.when(pl.col(f"simulated_{side}").is_null())
            .then(pl.lit(NO_FEATURES.format(visit=visit)))
            .otherwise(
                pl.format("{}: {}", pl.lit(visit), pl.col(f"reason_{side}").fill_null("no value"))
            )
        )
        for visit, side in ((start, "from"), (end, "to"))
    ]
    undated = (
        pl.when(pl.col("days").is_null())
        .then(pl.lit(NO_DATE))
        .when(pl.col("days") == 0)
        .then(pl.lit(SAME_DAY))
    )
    return pl.coalesce(*missing, undated)

"""Features measured more than once on a lesion, summed up in the lake: a cohort's values are too many to read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import polars as pl

from dagster_project.domain.feature_stability import derive_feature_stability
from dagster_project.lake.answers import answer_once
from dagster_project.lake.tables import RADIOMIC_FEATURES

if TYPE_CHECKING:
    from dagster_project.lake.store import Lake
    from dagster_project.resources import Lakehouse

READ_TWICE = """
    SELECT *, row_number() OVER (PARTITION BY site, scan, lesion ORDER BY reader) AS place, dense_rank() OVER (ORDER BY site, scan, lesion) AS pair
    FROM (SELECT DISTINCT site, scan, lesion, reader FROM radiomic_features)"""
"""The readers of each lesion on a scan in order of their names: a small table, which saves sorting the large one."""

MOMENTS = f"""
    WITH own AS (SELECT region, feature, value, simulated, pair, place FROM radiomic_features JOIN ({READ_TWICE}) USING (site, scan, lesion, reader)
                 WHERE place <= 2 AND region = $region),
    pairs AS (SELECT region, feature, pair, a.value AS a, b.value AS b, coalesce(a.simulated, false) OR coalesce(b.simulated, false) AS simulated
              FROM (FROM own WHERE place = 1) a FULL JOIN (FROM own WHERE place = 2) b USING (region, feature, pair))
    SELECT region, feature, count(a + b) AS n_pairs, var_samp((a + b) / 2 ORDER BY pair) AS variance_of_means, avg(b - a ORDER BY pair) AS mean_difference,
           var_samp(b - a ORDER BY pair) AS variance_of_differences, max(greatest(abs(a), abs(b))) AS largest, bool_or(simulated) AS simulated
    FROM pairs GROUP BY region, feature ORDER BY region, feature"""
"""What an ICC of two readers is made of, for the features of a region. Variances of means and differences lose no digits where the values are large.
Summed in one order, so that a night with nothing new gives the same bits whatever thread comes first."""

MOMENTS_OF_PATIENTS = f"""
    WITH own AS (SELECT site, patient, visit, region, feature, value, pair, place FROM radiomic_features JOIN ({READ_TWICE}) USING (site, scan, lesion, reader)
                 WHERE place <= 2 AND region = $region AND list_contains($visits, visit) AND value IS NOT NULL),
    pairs AS (SELECT a.site, a.patient, a.visit, region, feature, pair, a.value AS a, b.value AS b
              FROM (FROM own WHERE place = 1) a JOIN (FROM own WHERE place = 2) b USING (region, feature, pair))
    SELECT site, patient, visit, region, feature, count(*) AS n_pairs, avg((a + b) / 2 ORDER BY pair) AS mean_of_means,
           var_pop((a + b) / 2 ORDER BY pair) * count(*) AS squares_of_means, avg(b - a ORDER BY pair) AS mean_difference,
           var_pop(b - a ORDER BY pair) * count(*) AS squares_of_differences, max(greatest(abs(a), abs(b))) AS largest
    FROM pairs GROUP BY ALL ORDER BY ALL"""
"""The same, a patient and visit: a training fold adds up those of its own patients."""

SPREAD = {
    "region": pl.String,
    "feature": pl.String,
    "n_pairs": pl.Int64,
    **dict.fromkeys(
        ("variance_of_means", "mean_difference", "variance_of_differences", "largest"), pl.Float64
    ),
    "simulated": pl.Boolean,
}
"""The columns of `MOMENTS`."""

REGIONS = "SELECT DISTINCT region FROM radiomic_features ORDER BY region"

COPIES = "SELECT site, scan, lesion, feature, copy AS number, value FROM control_features WHERE control = 'perturbed'"
"""The perturbed copies of each sampled lesion; of the tumour."""

REPEATS = """
    SELECT c.site, c.scan, c.lesion, c.feature, unnest([0, 1]) AS number, unnest([f.value, c.value]) AS value
    FROM control_features c JOIN radiomic_features f USING (site, patient, visit, lesion, reader, feature)
    WHERE c.control = 'repeat' AND c.copy = 1 AND f.region = 'tumor'
    QUALIFY dense_rank() OVER (PARTITION BY c.site, c.scan, c.lesion ORDER BY c.reader) = 1"""
"""Both scans of each lesion that was scanned twice on one day, as the first reader who outlined both measured it; of the tumour."""


def spread_between_readers(lakehouse: Lakehouse) -> pl.DataFrame:
    """The moments of every region and feature, of all scans in the lake; region by region, since pairs of all do not fit into memory."""
    regions = [region for (region,) in lakehouse.lake.query(REGIONS).fetchall()] or [""]
    return pl.concat(lakehouse.lake.query(MOMENTS, {"region": region}).pl() for region in regions)


def spread_seen(lakehouse: Lakehouse) -> pl.DataFrame:
    """The same, kept until the table of features holds other rows."""
    kept = lakehouse.home.answers / "spread-between-readers.json"
    found = answer_once(
        lakehouse.lake,
        kept,
        [RADIOMIC_FEATURES.name],
        [REGIONS, MOMENTS],
        lambda: spread_between_readers(lakehouse).to_dict(as_series=False),
    )
    return pl.DataFrame(found, schema=SPREAD)


def moments_of_patients(lake: Lake, visits: Sequence[str]) -> pl.DataFrame:
    """The moments of each patient, region and feature at some visits, as the lake stood when it was opened."""
    regions = [region for (region,) in lake.query(REGIONS).fetchall()] or [""]
    return pl.concat(
        lake.query(MOMENTS_OF_PATIENTS, {"region": region, "visits": list(visits)}).pl()
        for region in regions
    )


def one_way(values: str) -> str:
    """What a one-way ICC is made of, for each feature: lesions that have all of the values, spread of their means, spread within them."""
    return f"""
    WITH lesions AS (
        SELECT feature, site, scan, lesion, count(*) AS k, count(value) AS known, avg(value ORDER BY number) AS mean, var_samp(value ORDER BY number) AS within,
               max(abs(value)) AS largest
        FROM ({values}) GROUP BY ALL)
    SELECT 'tumor' AS region, feature, count(*) AS n, max(k) AS k, var_samp(mean ORDER BY site, scan, lesion) AS variance_of_means,
           avg(within ORDER BY site, scan, lesion) AS within, max(largest) AS largest
    FROM lesions WHERE known = (SELECT max(k) FROM lesions) AND known > 1 GROUP BY feature ORDER BY feature"""


def compare_features(lakehouse: Lakehouse) -> pl.DataFrame:
    """The stability of every region and feature, over all scans in the lake."""
    copies, repeats = (lakehouse.lake.query(one_way(values)).pl() for values in (COPIES, REPEATS))
    return derive_feature_stability(
        spread_seen(lakehouse),
        copies,
        repeats,
        lakehouse.study.section("agreement")["feature_icc_lower_minimum"],
    )

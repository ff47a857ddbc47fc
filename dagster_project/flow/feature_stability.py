"""Features measured more than once on a lesion, summed up in the lake: a cohort's values are too many to read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from dagster_project.domain.feature_stability import derive_feature_stability

if TYPE_CHECKING:
    from dagster_project.resources import Lakehouse

PAIRS = """
    SELECT site, scan, lesion, region, feature, min(value) FILTER (order_of_reader = 1) AS a, min(value) FILTER (order_of_reader = 2) AS b, bool_or(simulated) AS simulated
    FROM (SELECT *, row_number() OVER (PARTITION BY site, scan, lesion, region, feature ORDER BY reader) AS order_of_reader FROM radiomic_features)
    GROUP BY site, scan, lesion, region, feature"""
"""One row a lesion, scan, region and feature: the values of the first two readers in order of their names."""

MOMENTS = f"""
    SELECT region, feature, count(a + b) AS n_pairs, var_samp((a + b) / 2 ORDER BY site, scan, lesion) AS variance_of_means,
           avg(b - a ORDER BY site, scan, lesion) AS mean_difference, var_samp(b - a ORDER BY site, scan, lesion) AS variance_of_differences,
           max(greatest(abs(a), abs(b))) AS largest, bool_or(simulated) AS simulated
    FROM ({PAIRS}) GROUP BY region, feature ORDER BY region, feature"""
"""What an ICC of two readers is made of. Variances of means and differences lose no digits where the values are large.
Summed in one order, so that a night with nothing new gives the same bits whatever thread comes first."""

COPIES = "SELECT site, scan, lesion, feature, copy AS number, value FROM control_features WHERE control = 'perturbed'"
"""The perturbed copies of each sampled lesion; of the tumour."""

REPEATS = """
    SELECT c.site, c.scan, c.lesion, c.feature, unnest([0, 1]) AS number, unnest([f.value, c.value]) AS value
    FROM control_features c JOIN radiomic_features f USING (site, patient, visit, lesion, reader, feature)
    WHERE c.control = 'repeat' AND c.copy = 1 AND f.region = 'tumor'
    QUALIFY dense_rank() OVER (PARTITION BY c.site, c.scan, c.lesion ORDER BY c.reader) = 1"""
"""Both scans of each lesion that was scanned twice on one day, as the first reader who outlined both measured it; of the tumour."""


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
    readers, copies, repeats = (lakehouse.lake.query(statement).pl() for statement in (MOMENTS, one_way(COPIES), one_way(REPEATS)))
    return derive_feature_stability(readers, copies, repeats, lakehouse.study.section("agreement")["feature_icc_lower_minimum"])

"""Features of lesions that two readers outlined, summed up in the lake: a cohort's pairs are too many to read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

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


def spread_between_readers(lakehouse: Lakehouse) -> pl.DataFrame:
    """The moments of every region and feature, of all scans in the lake."""
    return lakehouse.lake.query(MOMENTS).pl()

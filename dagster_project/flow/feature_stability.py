"""Features of lesions that two readers outlined, summed up in the lake: a cohort's pairs are too many to read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import polars as pl

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
    pairs AS (SELECT region, feature, pair, a.value AS a, b.value AS b, a.simulated OR b.simulated AS simulated
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

REGIONS = "SELECT DISTINCT region FROM radiomic_features ORDER BY region"


def spread_between_readers(lakehouse: Lakehouse) -> pl.DataFrame:
    """The moments of every region and feature, of all scans in the lake; region by region, since pairs of all do not fit into memory."""
    regions = [region for (region,) in lakehouse.lake.query(REGIONS).fetchall()] or [""]
    return pl.concat(lakehouse.lake.query(MOMENTS, {"region": region}).pl() for region in regions)


def moments_of_patients(lake: Lake, visits: Sequence[str]) -> pl.DataFrame:
    """The moments of each patient, region and feature at some visits, as the lake stood when it was opened."""
    regions = [region for (region,) in lake.query(REGIONS).fetchall()] or [""]
    return pl.concat(lake.query(MOMENTS_OF_PATIENTS, {"region": region, "visits": list(visits)}).pl() for region in regions)

"""Features measured more than once on a lesion, summed up in the lake.

A cohort's values are too many to read.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import polars as pl

from dagster_project.domain.reading.feature_stability import (
    SPREAD,
    derive_feature_stability,
    spread_between_readers,
    spread_of_copies,
)
from dagster_project.lake.query_cache import cached_query
from dagster_project.lake.tables import RADIOMIC_FEATURES

if TYPE_CHECKING:
    from dagster_project.lake.store import Lake
    from dagster_project.resources import Lakehouse

READ_TWICE = (
    "\n    SELECT *, row_number() OVER (PARTITION BY site, scan, lesion ORDER BY reader) AS place, "
    "dense_rank() OVER (ORDER BY site, scan, lesion) AS pair"
    "\n    FROM (SELECT DISTINCT site, scan, lesion, reader FROM radiomic_features)"
)
"""The readers of each lesion on a scan, in order of their names.

It is a small table, which saves sorting the large one.
"""

MOMENTS = (
    "\n    WITH own AS (SELECT site, patient, feature, value, simulated, pair, place "
    f"FROM radiomic_features JOIN ({READ_TWICE}) USING (site, scan, lesion, reader)"
    "\n                 WHERE place <= 2 AND region = $region),"
    "\n    pairs AS (SELECT coalesce(a.site, b.site) AS site, "
    "coalesce(a.patient, b.patient) AS patient, feature, pair, a.value AS a, b.value AS b, "
    "coalesce(a.simulated, false) OR coalesce(b.simulated, false) AS simulated"
    "\n              FROM (FROM own WHERE place = 1) a "
    "FULL JOIN (FROM own WHERE place = 2) b USING (feature, pair)),"
    "\n    listed AS (SELECT site, patient, feature, "
    "list_sort(array_agg({'pair': pair, 'm': (a + b) / 2, 'd': b - a}) "
    "FILTER (a + b IS NOT NULL)) AS own, "
    "max(greatest(abs(a), abs(b))) AS largest, bool_or(simulated) AS simulated"
    "\n              FROM pairs GROUP BY ALL),"
    "\n    parted AS (SELECT site, patient, feature, largest, simulated, "
    "[p.m FOR p IN own] AS m, [p.d FOR p IN own] AS d FROM listed)"
    "\n    SELECT site, patient, $region AS region, feature, coalesce(len(m), 0) AS n_pairs, "
    "list_avg(m) AS mean_of_means, list_var_pop(m) * len(m) AS squares_of_means, "
    "list_avg(d) AS mean_difference, list_var_pop(d) * len(d) AS squares_of_differences, "
    "largest, simulated FROM parted"
)
"""Of each patient what an ICC of two readers and its bounds need, for the features of a region.

Means and squares about them lose no digits where the values are large. They are summed in one
order, so that a night with nothing new gives the same bits whatever thread comes first; a sorted
list of each patient's few pairs costs a third of sums that are ordered.
"""

MOMENTS_OF_PATIENTS = (
    "\n    WITH own AS (SELECT site, patient, visit, region, feature, value, pair, place "
    f"FROM radiomic_features JOIN ({READ_TWICE}) USING (site, scan, lesion, reader)"
    "\n                 WHERE place <= 2 AND region = $region "
    "AND list_contains($visits, visit) AND value IS NOT NULL),"
    "\n    pairs AS (SELECT a.site, a.patient, a.visit, region, feature, pair, "
    "a.value AS a, b.value AS b"
    "\n              FROM (FROM own WHERE place = 1) a "
    "JOIN (FROM own WHERE place = 2) b USING (region, feature, pair))"
    "\n    SELECT site, patient, visit, region, feature, count(*) AS n_pairs, "
    "avg((a + b) / 2 ORDER BY pair) AS mean_of_means,"
    "\n           var_pop((a + b) / 2 ORDER BY pair) * count(*) AS squares_of_means, "
    "avg(b - a ORDER BY pair) AS mean_difference,"
    "\n           var_pop(b - a ORDER BY pair) * count(*) AS squares_of_differences, "
    "max(greatest(abs(a), abs(b))) AS largest"
    "\n    FROM pairs GROUP BY ALL ORDER BY ALL"
)
"""The same per patient and visit: a training fold adds up those of its own patients."""

REGIONS = "SELECT DISTINCT region FROM radiomic_features ORDER BY region"

COPIES = (
    "SELECT site, patient, scan, lesion, feature, replicate AS number, value "
    "FROM control_features WHERE control_type = 'perturbed'"
)
"""The perturbed copies of each sampled lesion; of the tumour."""

REPEATS = (
    "\n    SELECT c.site, c.patient, c.scan, c.lesion, c.feature, unnest([0, 1]) AS number, "
    "unnest([f.value, c.value]) AS value"
    "\n    FROM control_features c JOIN radiomic_features f "
    "USING (site, patient, visit, lesion, reader, feature)"
    "\n    WHERE c.control_type = 'repeat' AND c.replicate = 1 AND f.region = 'tumor'"
    "\n    QUALIFY dense_rank() OVER (PARTITION BY c.site, c.scan, c.lesion ORDER BY c.reader) = 1"
)
"""Both scans of each lesion that was scanned twice on one day; of the tumour.

The values are those of the first reader who outlined both.
"""


def spread_of_readers(lakehouse: Lakehouse) -> pl.DataFrame:
    """The spread of every region and feature, of all scans in the lake.

    Regions are read one by one, since the pairs of all do not fit into memory.
    """
    regions = [region for (region,) in lakehouse.lake.query(REGIONS).fetchall()] or [""]
    return pl.concat(
        spread_between_readers(lakehouse.lake.query(MOMENTS, {"region": region}).pl())
        for region in regions
    )


def spread_seen(lakehouse: Lakehouse) -> pl.DataFrame:
    """The same, kept until the table of features holds other rows."""
    kept = lakehouse.home.answers / "spread-between-readers.json"
    found = cached_query(
        lakehouse.lake,
        kept,
        [RADIOMIC_FEATURES.name],
        [REGIONS, MOMENTS],
        lambda: spread_of_readers(lakehouse).to_dict(as_series=False),
    )
    return pl.DataFrame(found, schema=SPREAD)


def moments_of_patients(
    lake: Lake, visits: Sequence[str], features: Sequence[str] | None = None
) -> pl.DataFrame:
    """The moments of each patient, region and feature at some visits, of some features or of all.

    The lake is read as it stood when it was opened.
    """
    regions = [region for (region,) in lake.query(REGIONS).fetchall()] or [""]
    query, asked = MOMENTS_OF_PATIENTS, {"visits": list(visits)}
    if features is not None:
        query = f"SELECT * FROM ({query}) WHERE list_contains($features, feature) ORDER BY ALL"
        asked |= {"features": list(features)}
    return pl.concat(lake.query(query, {"region": region, **asked}).pl() for region in regions)


def one_way(values: str) -> str:
    """Of each patient what a one-way ICC and its bounds need, for each feature.

    These are the lesions that have all of the values, the mean and squares of their means, and the
    spread within them.
    """
    return (
        "\n    WITH lesions AS ("
        "\n        SELECT feature, site, patient, scan, lesion, count(*) AS k, "
        "count(value) AS known, avg(value ORDER BY number) AS mean, "
        "var_samp(value ORDER BY number) AS within,"
        "\n               max(abs(value)) AS largest"
        f"\n        FROM ({values}) GROUP BY ALL)"
        "\n    SELECT site, patient, 'tumor' AS region, feature, count(*) AS n, max(k) AS k, "
        "avg(mean ORDER BY scan, lesion) AS mean_of_means, "
        "var_pop(mean ORDER BY scan, lesion) * count(*) AS squares_of_means,"
        "\n           avg(within ORDER BY scan, lesion) AS within, max(largest) AS largest"
        "\n    FROM lesions WHERE known = (SELECT max(k) FROM lesions) AND known > 1 "
        "GROUP BY ALL ORDER BY ALL"
    )


def compare_features(lakehouse: Lakehouse) -> pl.DataFrame:
    """The stability of every region and feature, over all scans in the lake."""
    copies, repeats = (
        spread_of_copies(lakehouse.lake.query(one_way(values)).pl()) for values in (COPIES, REPEATS)
    )
    return derive_feature_stability(
        spread_seen(lakehouse),
        copies,
        repeats,
        lakehouse.study.section("agreement")["feature_icc_lower_minimum"],
    )

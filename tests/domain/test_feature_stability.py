"""A feature's stability between readers, against the ICC of the pairs themselves."""

from __future__ import annotations

import duckdb
import numpy as np
import polars as pl
import pytest

from dagster_project.domain.feature_stability import derive_feature_stability
from dagster_project.domain.icc import IDENTICAL, TOO_FEW, icc
from dagster_project.flow.feature_stability import MOMENTS
from dagster_project.lake.tables import FEATURE_STABILITY


def rows(reads, feature="original_glcm_Contrast", readers=("R1", "R2")):
    """Rows of radiomic_features: of each lesion one value a reader, None where a reader has none."""
    return [
        {"site": "AA", "scan": f"S{i}", "lesion": "L1", "reader": r, "region": "tumor", "feature": feature, "value": v, "simulated": i == 0}
        for i, of_lesion in enumerate(reads)
        for r, v in zip(readers, of_lesion, strict=False)
    ]


def stability(*found):
    """Through the flow's own SQL."""
    schema = dict.fromkeys(("site", "scan", "lesion", "reader", "region", "feature"), pl.String) | {"value": pl.Float64, "simulated": pl.Boolean}
    connection = duckdb.connect()
    connection.register("radiomic_features", pl.DataFrame([r for f in found for r in f], schema=schema))
    return derive_feature_stability(connection.execute(MOMENTS, {"region": "tumor"}).pl())


@pytest.mark.parametrize(("noise", "offset", "scale"), [(0.1, 0.0, 1.0), (1.0, 0.0, 1.0), (0.3, 0.5, 1e9), (0.2, -0.1, 1e-6)])
def test_1_figures_are_those_of_the_pairs_themselves(noise, offset, scale):
    rng = np.random.default_rng(7)
    truth = rng.normal(5, 1, 30)
    reads = scale * np.stack([truth + rng.normal(0, noise, 30), truth + offset + rng.normal(0, noise, 30)], axis=1)
    row = stability(rows(reads)).row(0, named=True)
    expected = icc(reads)
    assert [row[n] for n in ("icc", "icc_lower", "icc_upper")] == pytest.approx([expected.value, expected.lower, expected.upper], rel=1e-9)
    assert row["within_sd"] == pytest.approx(np.sqrt(reads.var(axis=1, ddof=1).mean()))
    assert row["stable"] == (expected.lower >= 0.75)
    assert (row["n_pairs"], row["simulated"]) == (30, True)


def test_2_a_lesion_that_one_reader_alone_has_is_no_pair():
    reads = [(1.0, 1.1), (2.0, 2.2), (3.0, None), (4.0,), (5.0, 5.3)]
    assert stability(rows(reads))["n_pairs"].to_list() == [3]


def test_3_few_pairs_have_no_figures_but_a_reason():
    row = stability(rows([(1.0, 2.0)])).row(0, named=True)
    assert (row["icc"], row["within_sd"], row["stable"], row["reason"]) == (None, None, False, TOO_FEW)


def test_4_copied_reads_are_not_stable():
    row = stability(rows([(1.0, 1.0), (2.0, 2.0), (4.0, 4.0)])).row(0, named=True)
    assert (row["icc"], row["within_sd"], row["stable"], row["reason"]) == (1.0, 0.0, False, IDENTICAL)


def test_5_a_lesion_is_paired_with_itself_and_features_are_not_mixed():
    reads = [(1.0, 1.2), (2.0, 2.1), (3.0, 3.3), (4.0, 3.9)]
    both = stability(rows(reads), rows([(10 * a, 10 * b) for a, b in reads], feature="original_glcm_Idm", readers=("R2", "R1")))
    assert both["icc"].to_list() == pytest.approx([icc(reads).value] * 2)
    assert both["within_sd"][1] == pytest.approx(10 * both["within_sd"][0])
    assert tuple(both.columns) == FEATURE_STABILITY.names

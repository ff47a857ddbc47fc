"""A feature's stability between readers, against the ICC of the pairs themselves."""

from __future__ import annotations

import duckdb
import numpy as np
import polars as pl
import pytest
from scipy.stats import t

from dagster_project.domain.reading.feature_stability import (
    derive_feature_stability,
    spread_between_readers,
    spread_of_copies,
)
from dagster_project.flow.feature_stability import COPIES, MOMENTS, REPEATS, one_way
from dagster_project.lake.tables import FEATURE_STABILITY
from dagster_project.statistics.icc import IDENTICAL, TOO_FEW, icc
from dagster_project.statistics.icc_by_patient import NO_BOUNDS_BY_PATIENT, icc_by_patient


def rows(reads, feature="original_glcm_Contrast", readers=("R1", "R2")):
    """Rows of radiomic_features: one value per lesion and reader, None without one."""
    return [
        {
            "site": "AA",
            "patient": f"P{i}",
            "visit": "T0",
            "scan": f"S{i}",
            "lesion": "L1",
            "reader": r,
            "region": "tumor",
            "feature": feature,
            "value": v,
            "simulated": i == 0,
        }
        for i, of_lesion in enumerate(reads)
        for r, v in zip(readers, of_lesion, strict=False)
    ]


TEXTS = dict.fromkeys(
    ("site", "patient", "visit", "scan", "lesion", "reader", "region", "feature"), pl.String
)


def stability(*found, again=()):
    """Through the flow's own SQL; `again` are rows of control_features."""
    connection = duckdb.connect()
    connection.register(
        "radiomic_features",
        pl.DataFrame(
            [r for f in found for r in f],
            schema=TEXTS | {"value": pl.Float64, "simulated": pl.Boolean},
        ),
    )
    connection.register(
        "control_features",
        pl.DataFrame(
            list(again),
            schema=TEXTS | {"control_type": pl.String, "replicate": pl.Int32, "value": pl.Float64},
        ),
    )
    again_of = (
        spread_of_copies(connection.execute(one_way(values)).pl()) for values in (COPIES, REPEATS)
    )
    readers = spread_between_readers(connection.execute(MOMENTS, {"region": "tumor"}).pl())
    return derive_feature_stability(readers, *again_of, 0.75)


def alone(count):
    """Each pair is of a patient of its own."""
    return [("AA", f"P{i}") for i in range(count)]


def of_copies(values):
    """ICC(1,1) with bounds by leaving out each lesion, computed the long way."""
    n, k = values.shape
    value = icc(values, "ICC(1,1)").value
    left = np.array([icc(np.delete(values, i, axis=0), "ICC(1,1)").value for i in range(n)])
    z, own = (0.5 * np.log((1 + (k - 1) * r) / (1 - r)) for r in (left, value))
    reach = t.ppf(0.975, n - 1) * np.sqrt((n - 1) / n * ((z - z.mean()) ** 2).sum())
    return [
        value,
        *((np.exp(2 * b) - 1) / (np.exp(2 * b) + k - 1) for b in (own - reach, own + reach)),
    ]


def measured_again(values, control, feature="original_glcm_Contrast", reader="R1"):
    """Rows of control_features: of each lesion one value per copy, from 1."""
    where = {
        "site": "AA",
        "visit": "T0",
        "reader": reader,
        "feature": feature,
        "control_type": control,
    }
    return [
        {
            **where,
            "patient": f"P{i}",
            "scan": f"{control}{i}",
            "lesion": "L1",
            "replicate": k,
            "value": v,
        }
        for i, of_lesion in enumerate(values)
        for k, v in enumerate(of_lesion, start=1)
    ]


@pytest.mark.parametrize(
    ("noise", "offset", "scale"),
    [(0.1, 0.0, 1.0), (1.0, 0.0, 1.0), (0.3, 0.5, 1e9), (0.2, -0.1, 1e-6)],
)
def test_1_figures_are_those_of_the_pairs_themselves(noise, offset, scale):
    rng = np.random.default_rng(7)
    truth = rng.normal(5, 1, 30)
    reads = scale * np.stack(
        [truth + rng.normal(0, noise, 30), truth + offset + rng.normal(0, noise, 30)], axis=1
    )
    row = stability(rows(reads)).row(0, named=True)
    expected = icc_by_patient(reads, alone(30))
    assert [row[n] for n in ("icc", "icc_lower", "icc_upper")] == pytest.approx(
        [expected.value, expected.lower, expected.upper], rel=1e-7
    )
    assert row["within_sd"] == pytest.approx(np.sqrt(reads.var(axis=1, ddof=1).mean()))
    assert row["stable"] == (expected.lower >= 0.75)
    assert (row["n_pairs"], row["simulated"]) == (30, True)


def test_2_a_lesion_that_one_reader_alone_has_is_no_pair():
    reads = [(1.0, 1.1), (2.0, 2.2), (3.0, None), (4.0,), (5.0, 5.3)]
    assert stability(rows(reads))["n_pairs"].to_list() == [3]


def test_3_few_pairs_have_no_figures_but_a_reason():
    row = stability(rows([(1.0, 2.0)])).row(0, named=True)
    assert (row["icc"], row["within_sd"], row["stable"], row["reason"]) == (
        None,
        None,
        False,
        TOO_FEW,
    )


def test_4_copied_reads_are_not_stable():
    row = stability(rows([(1.0, 1.0), (2.0, 2.0), (4.0, 4.0)])).row(0, named=True)
    assert (row["icc"], row["within_sd"], row["stable"], row["reason"]) == (
        1.0,
        0.0,
        False,
        IDENTICAL,
    )


def test_5_a_lesion_is_paired_with_itself_and_features_are_not_mixed():
    reads = [(1.0, 1.2), (2.0, 2.1), (3.0, 3.3), (4.0, 3.9)]
    both = stability(
        rows(reads),
        rows(
            [(10 * a, 10 * b) for a, b in reads], feature="original_glcm_Idm", readers=("R2", "R1")
        ),
    )
    assert both["icc"].to_list() == pytest.approx([icc(reads).value] * 2)
    assert both["within_sd"][1] == pytest.approx(10 * both["within_sd"][0])
    assert tuple(both.columns) == FEATURE_STABILITY.names


def steady(n=30, noise=0.1):
    rng = np.random.default_rng(3)
    truth = rng.normal(5, 1, n)
    return truth[:, None] + rng.normal(0, noise, (n, 2))


@pytest.mark.parametrize("scale", [1.0, 1e9, 1e-6])
def test_6_copies_have_the_one_way_icc_of_their_values(scale):
    rng = np.random.default_rng(4)
    copies = scale * (rng.normal(5, 1, 12)[:, None] + rng.normal(0, 0.2, (12, 4)))
    row = stability(rows(steady()), again=measured_again(copies, "perturbed")).row(0, named=True)
    assert row["n_lesions_perturbed"] == 12
    assert [row[f"icc_perturbation{n}"] for n in ("", "_lower", "_upper")] == pytest.approx(
        of_copies(copies), rel=1e-7
    )
    assert row["within_sd_perturbation"] == pytest.approx(
        np.sqrt(copies.var(axis=1, ddof=1).mean())
    )
    assert (row["icc_repeat"], row["n_lesions_repeated"]) == (None, 0)


@pytest.mark.parametrize(("noise", "stable"), [(0.1, True), (2.0, False)])
def test_7_a_feature_is_stable_by_readers_and_copies_alike(noise, stable):
    copies = np.random.default_rng(4).normal(5, 1, 12)[:, None] + np.random.default_rng(5).normal(
        0, noise, (12, 4)
    )
    row = stability(rows(steady()), again=measured_again(copies, "perturbed")).row(0, named=True)
    assert row["icc_lower"] > 0.75
    assert (row["icc_perturbation_lower"] >= 0.75) == row["stable"] == stable


def test_8_steady_copies_do_not_make_up_for_readers_who_disagree():
    copies = steady(12, noise=0.01)
    row = stability(rows(steady(noise=2.0)), again=measured_again(copies, "perturbed")).row(
        0, named=True
    )
    assert row["icc_perturbation_lower"] > 0.9
    assert not row["stable"]


def test_9_a_lesion_without_one_of_its_copies_does_not_count():
    copies = [
        (1.0, 1.1, 1.2),
        (2.0, 2.1, 2.2),
        (3.0, None, 3.1),
        (4.0, 4.1, 4.0),
        (None, None, None),
    ]
    assert stability(rows(steady()), again=measured_again(copies, "perturbed"))[
        "n_lesions_perturbed"
    ].to_list() == [3]


def test_10_copies_that_are_all_alike_do_not_make_a_feature_stable():
    row = stability(
        rows(steady()), again=measured_again([(1.0, 1.0), (2.0, 2.0), (3.0, 3.0)], "perturbed")
    ).row(0, named=True)
    assert (row["icc_perturbation"], row["icc_perturbation_lower"], row["stable"]) == (
        1.0,
        None,
        False,
    )


def test_11_a_repeat_is_compared_with_what_the_same_reader_measured_on_the_other_scan():
    """R1's repeats; R2's, of the same lesions, are not counted again."""
    reads = steady(8)
    first, second = (reads[:, k] + np.random.default_rng(9 + k).normal(0, 0.3, 8) for k in (0, 1))
    again = measured_again(first[:, None], "repeat") + measured_again(
        second[:, None], "repeat", reader="R2"
    )
    row = stability(rows(reads), again=again).row(0, named=True)
    pairs = np.stack([reads[:, 0], first], axis=1)
    assert row["n_lesions_repeated"] == 8
    assert [row[f"icc_repeat{n}"] for n in ("", "_lower", "_upper")] == pytest.approx(
        of_copies(pairs)
    )
    assert row["within_sd_repeat"] == pytest.approx(np.sqrt(pairs.var(axis=1, ddof=1).mean()))
    assert row["stable"], "few repeats have bounds too wide for any feature, and no part in it"


def test_12_shuffled_voxels_and_muscle_say_nothing_of_stability():
    noise = np.random.default_rng(1).normal(0, 5, (20, 1))
    row = stability(
        rows(steady()), again=measured_again(noise, "shuffled") + measured_again(noise, "muscle")
    ).row(0, named=True)
    assert (row["n_lesions_perturbed"], row["n_lesions_repeated"], row["stable"]) == (0, 0, True)


def test_13_lesions_of_one_patient_are_no_more_patients():
    """Errors that a reader makes on all lesions of a patient count once, not six times."""
    rng = np.random.default_rng(11)
    patient = np.repeat(np.arange(20), 6)
    reads = (rng.normal(5, 1, (20, 1)) + rng.normal(0, 0.6, (20, 2)))[patient]
    reads = reads + rng.normal(0, 0.5, (120, 1)) + rng.normal(0, 0.1, (120, 2))
    found = [r | {"patient": f"P{int(r['patient'][1:]) // 6}"} for r in rows(reads)]
    row, as_if_alone = stability(found).row(0, named=True), icc(reads)
    expected = icc_by_patient(reads, [("AA", f"P{p}") for p in patient])
    assert (row["icc_lower"], row["icc_upper"]) == pytest.approx((expected.lower, expected.upper))
    width = as_if_alone.upper - as_if_alone.lower
    assert row["icc_upper"] - row["icc_lower"] > 1.3 * width


def test_14_of_two_patients_there_is_a_figure_without_bounds_and_no_stable_feature():
    found = [r | {"patient": f"P{int(r['patient'][1:]) % 2}"} for r in rows(steady())]
    row = stability(found).row(0, named=True)
    assert row["icc"] > 0.9
    assert (row["icc_lower"], row["stable"], row["reason"]) == (None, False, NO_BOUNDS_BY_PATIENT)


def test_15_regions_without_a_pair_and_tables_without_a_row_have_their_columns():
    assert tuple(stability().columns) == FEATURE_STABILITY.names
    row = stability(rows([(1.0, None), (None, 2.0)])).row(0, named=True)
    assert (row["n_pairs"], row["reason"]) == (0, TOO_FEW)

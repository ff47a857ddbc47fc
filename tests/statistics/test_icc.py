"""Intraclass correlation: Shrout & Fleiss 1979, another implementation, its own definition."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dagster_project.statistics.icc import (
    DISCORDANT,
    IDENTICAL,
    NO_ERROR,
    NO_SPREAD,
    NOT_FINITE,
    TOO_FEW,
    icc,
)

FORMS = ("ICC(1,1)", "ICC(2,1)", "ICC(3,1)", "ICC(1,k)", "ICC(2,k)", "ICC(3,k)")
SHROUT_FLEISS = np.array(
    [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]]
)
"""Table 2: six targets, four judges."""

tables = arrays(
    np.float64,
    st.tuples(st.integers(3, 8), st.integers(2, 4)),
    elements=st.integers(-50, 200).map(float),
)


@pytest.mark.parametrize(
    ("form", "value"), zip(FORMS, (0.166, 0.290, 0.715, 0.443, 0.620, 0.909), strict=True)
)
def test_the_table_of_shrout_and_fleiss(form, value):
    assert icc(SHROUT_FLEISS, form).value == pytest.approx(value, abs=5e-4)


def test_its_bounds_as_mcgraw_and_wong_corrected_them():
    found = icc(SHROUT_FLEISS, "ICC(2,1)")
    assert (found.lower, found.upper) == pytest.approx((0.019, 0.761), abs=5e-4)


def other_implementation(table):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pingouin

    long = pd.DataFrame(
        [(i, j, v) for i, row in enumerate(table) for j, v in enumerate(row)],
        columns=["lesion", "reader", "value"],
    )
    return pingouin.intraclass_corr(long, "lesion", "reader", "value")


@pytest.mark.parametrize("seed", range(4))
def test_another_implementation_says_the_same(seed):
    random = np.random.default_rng(seed)
    table = (
        random.normal(30, 12, (20, 1)) + random.normal(0, 4, (20, 3)) + random.normal(0, 2, (1, 3))
    )
    expected = other_implementation(table)
    column = next(c for c in expected.columns if c.startswith("CI95"))
    for form, value, bounds in zip(FORMS, expected["ICC"], expected[column], strict=True):
        found = icc(table, form)
        assert found.value == pytest.approx(value, abs=1e-9)
        assert (found.lower, found.upper) == pytest.approx(tuple(bounds), abs=6e-3)


@pytest.mark.parametrize(
    "table",
    [
        SHROUT_FLEISS,
        np.random.default_rng(7).normal(30, 12, (25, 1))
        + np.random.default_rng(8).normal(0, 3, (25, 2)),
    ],
    ids=["1979", "two readers"],
)
def test_another_implementation_says_the_same_to_six_digits(table, monkeypatch):
    """Bounds too: it rounds them to two digits unless told otherwise."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pingouin
    monkeypatch.setitem(pingouin.options, "round.column.CI95", 12)
    expected = other_implementation(table)
    column = next(c for c in expected.columns if c.startswith("CI95"))
    for form, value, bounds in zip(FORMS, expected["ICC"], expected[column], strict=True):
        found = icc(table, form)
        assert (found.value, found.lower, found.upper) == pytest.approx((value, *bounds), abs=5e-7)


def test_a_shift_of_one_reader_moves_the_absolute_forms_and_no_other():
    shifted = SHROUT_FLEISS + np.array([0, 0, 0, 5])
    for form in FORMS:
        moved = abs(icc(shifted, form).value - icc(SHROUT_FLEISS, form).value)
        assert (moved > 0.01) == (not form.startswith("ICC(3")), form


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("measurement", "value"), [("longest_diameter_mm", 0.941815), ("volume_mm3", 0.935380)]
)
def test_four_radiologists_agree_as_published(shared_data, measurement, value):
    outlines = pl.read_parquet(shared_data / "readers/lidc_reader_measurements.parquet").filter(
        pl.col("n_readers_in_cluster") == 4
    )
    nodules = outlines.group_by("scan_id", "nodule_cluster").agg(measurement)[measurement].to_list()
    assert len(nodules) == 461
    assert icc(np.array(nodules), "ICC(1,1)").value == pytest.approx(value, abs=5e-7)


@settings(max_examples=60)
@given(tables, st.sampled_from(FORMS), st.randoms())
def test_the_order_of_lesions_and_readers_does_not_matter(table, form, random):
    rows, columns = list(range(table.shape[0])), list(range(table.shape[1]))
    random.shuffle(rows)
    random.shuffle(columns)
    a, b = icc(table, form), icc(table[rows][:, columns], form)
    assert (a.reason, a.value is None, a.lower is None) == (
        b.reason,
        b.value is None,
        b.lower is None,
    )
    if a.lower is not None:
        assert (a.value, a.lower, a.upper) == pytest.approx((b.value, b.lower, b.upper), abs=1e-6)


@settings(max_examples=60)
@given(tables, st.sampled_from(FORMS), st.sampled_from([0.25, 10.0]), st.integers(-500, 500))
def test_a_common_unit_and_offset_do_not_matter(table, form, factor, offset):
    a, b = icc(table, form), icc(table * factor + offset, form)
    assert a.reason == b.reason
    if a.lower is not None:
        assert (a.value, a.lower, a.upper) == pytest.approx((b.value, b.lower, b.upper), abs=1e-6)


@settings(max_examples=60)
@given(tables, st.sampled_from(FORMS))
def test_bounds_enclose_the_value_and_nothing_exceeds_one(table, form):
    found = icc(table, form)
    if found.value is not None:
        assert found.value <= 1 + 1e-12
    if found.lower is not None:
        assert found.lower <= found.value <= found.upper


@given(tables)
def test_consistency_does_not_see_a_constant_difference_and_absolute_agreement_does(table):
    shifted = table + np.arange(table.shape[1]) * 1000.0
    consistent = icc(table, "ICC(3,1)")
    assume(consistent.lower is not None and consistent.value > 0.01)
    assert icc(shifted, "ICC(3,1)").value == pytest.approx(consistent.value, abs=1e-6)
    assert icc(shifted, "ICC(2,1)").value < consistent.value


def test_readers_who_disagree_more_than_lesions_differ_have_no_mean_form():
    assert icc([[0.0, 0.0], [0.0, 1.0], [1.0, -1.0]], "ICC(2,k)").reason == DISCORDANT


@pytest.mark.parametrize(
    ("table", "reason"),
    [
        (np.ones((1, 2)), TOO_FEW),
        (np.ones((5, 1)), TOO_FEW),
        (np.zeros((0, 2)), TOO_FEW),
        ([[1.0, np.nan], [2.0, 3.0]], NOT_FINITE),
        (np.full((5, 2), 7.3), NO_SPREAD),
        ([[1.0, 2.0]] * 5, NO_SPREAD),
    ],
)
@pytest.mark.parametrize("form", FORMS)
def test_what_cannot_be_told_has_a_reason_and_no_value(table, reason, form):
    found = icc(table, form)
    assert (found.value, found.lower, found.upper, found.reason) == (None, None, None, reason)


@pytest.mark.parametrize("form", FORMS)
def test_identical_reads_are_one_without_bounds_and_say_so(form):
    reads = np.array([10.3, 22.1, 31.7, 8.9])
    found = icc(np.column_stack([reads, reads]), form)
    assert (found.value, found.lower, found.upper, found.reason) == (1.0, None, None, IDENTICAL)


@pytest.mark.parametrize("form", ["ICC(2,1)", "ICC(3,1)", "ICC(2,k)", "ICC(3,k)"])
def test_a_constant_difference_alone_has_no_bounds(form):
    reads = np.array([10.3, 22.1, 31.7, 8.9])
    found = icc(np.column_stack([reads, reads + 2]), form)
    assert found.value is not None
    assert (found.lower, found.upper, found.reason) == (None, None, NO_ERROR)

"""Means, spreads and agreement from sums are those of all rows together."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dagster_project.federated.moments import CLUSTERED, Moments, ReaderAgreement
from dagster_project.federated.refusals import NotFinite, OtherColumns
from dagster_project.statistics.icc import IDENTICAL, NO_SPREAD, TOO_FEW, icc
from tests.federated.splits import over_hospitals, secure_total

FEWER = settings(max_examples=40)
HOSPITALS = st.sampled_from([3, 8])


@FEWER
@given(st.integers(0, 2**32 - 1), st.integers(2, 200), HOSPITALS)
def test_means_and_standard_deviations(seed, n, hospitals):
    random = np.random.default_rng(seed)
    values = random.normal([60, 0.3, -2000], [12, 0.05, 400], (n, 3))
    values[random.random((n, 3)) < 0.1] = np.nan
    query = Moments(("age", "share", "energy"), (55, 0.25, -1800), (10, 0.1, 500))
    found = query.read(over_hospitals(lambda r: query.vector(values[r]), n, hospitals, random))
    for name, column, unit in zip(query.columns, values.T, query.units, strict=True):
        known = column[~np.isnan(column)]
        assert found[name].n == known.size
        if known.size:
            assert found[name].mean == pytest.approx(known.mean(), abs=1e-5 * unit)
        if known.size > 1:
            sd = known.std(ddof=1)
            assert found[name].sd ** 2 == pytest.approx(sd**2, abs=1e-5 * unit**2)


def test_without_values_there_is_no_mean_and_of_one_no_spread():
    query = Moments(("a", "b"), (0, 0), (1, 1))
    found = query.read(secure_total([query.vector([[np.nan, 4.0]]), *[query.vector([])] * 2]))
    assert (found["a"].n, found["a"].mean, found["a"].sd) == (0, None, None)
    assert (found["b"].n, found["b"].mean, found["b"].sd) == (1, 4.0, None)


def test_an_infinite_value_is_refused():
    with pytest.raises(NotFinite, match=r"\[1\]"):
        Moments(("a", "b"), (0, 0), (1, 1)).vector([[1.0, np.inf]])


@FEWER
@given(
    st.integers(0, 2**32 - 1), st.integers(3, 120), HOSPITALS, st.integers(2, 4), st.floats(0.5, 8)
)
def test_agreement_of_readers(seed, n, hospitals, readers, error):
    random = np.random.default_rng(seed)
    size = random.normal(30, 10, (n, 1))
    reads = size + random.normal(0, error, (n, readers)) + np.arange(readers)
    query = ReaderAgreement(readers, 30.0, 10.0, one_pair_a_patient=True)
    found = query.read(over_hospitals(lambda r: query.vector(reads[r]), n, hospitals, random))
    pooled = icc(reads, "ICC(2,1)")
    assert found.reason == pooled.reason
    assert found.value == pytest.approx(pooled.value, abs=1e-5)
    if pooled.lower is not None:
        assert (found.lower, found.upper) == pytest.approx((pooled.lower, pooled.upper), abs=1e-4)


def test_several_pairs_of_a_patient_leave_the_value_without_bounds():
    reads = np.random.default_rng(1).normal(30, 10, (40, 1)) + np.random.default_rng(2).normal(
        0, 2, (40, 2)
    )
    query = ReaderAgreement(2, 30.0, 10.0, one_pair_a_patient=False)
    found = query.read(secure_total([query.vector(part) for part in np.split(reads, 4)]))
    assert found.value == pytest.approx(icc(reads).value, abs=1e-5)
    assert (found.lower, found.upper, found.reason) == (None, None, CLUSTERED)


@pytest.mark.parametrize(
    ("reads", "reason"),
    [
        ([[30.0, 31.0]], TOO_FEW),
        ([[30.0, 30.0], [20.1, 20.1], [11.7, 11.7]], IDENTICAL),
        ([[30.0, 31.0], [30.0, 31.0], [30.0, 31.0]], NO_SPREAD),
    ],
)
def test_where_no_agreement_can_be_told_the_reason_is_that_of_all_rows(reads, reason):
    query = ReaderAgreement(2, 30.0, 10.0, one_pair_a_patient=True)
    vectors = [query.vector([row]) for row in reads] + [query.vector([])] * 3
    assert query.read(secure_total(vectors)).reason == reason


def test_a_missing_read_is_refused():
    with pytest.raises(NotFinite, match=r"\[1\]"):
        ReaderAgreement(2, 0.0, 1.0, one_pair_a_patient=True).vector([[1.0, np.nan]])


@pytest.mark.parametrize("values", [np.ones((3, 2)), np.ones((2, 4)), np.ones(3), 1.0])
def test_rows_of_other_columns_are_refused(values):
    with pytest.raises(OtherColumns, match="plan has 3"):
        Moments(("a", "b", "c"), (0,) * 3, (1,) * 3).vector(values)
    with pytest.raises(OtherColumns, match="plan has 3"):
        ReaderAgreement(3, 0.0, 1.0, one_pair_a_patient=True).vector(values)


@pytest.mark.parametrize("unit", [0.0, -1.0, np.nan, np.inf])
def test_a_unit_is_above_0(unit):
    with pytest.raises(ValueError, match="unit"):
        Moments(("a",), (0.0,), (unit,))
    with pytest.raises(ValueError, match="unit"):
        ReaderAgreement(2, 0.0, unit, one_pair_a_patient=True)

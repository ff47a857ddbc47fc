"""DHI's limits from counts are those of all ratios together, within half a bin."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dagster_project.federated.ciphertexts import SLOTS
from dagster_project.federated.limits import (
    BINS,
    EDGES,
    LARGEST,
    REACH,
    SMALLEST,
    CombinedRatios,
    ComponentRatios,
)
from dagster_project.federated.refusals import OutsideGrid
from dagster_project.radiomics.dhi_limits_fit import fit_limits
from tests.federated.splits import secure_total, split


def federated(parts, quantile):
    first = ComponentRatios(quantile)
    components, lesions = first.read(secure_total(first.vector(p, 2) for p in parts))
    second = CombinedRatios(quantile, components, lesions)
    return second.read(secure_total(second.vector(p) for p in parts))


@settings(max_examples=40)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 400),
    st.sampled_from([3, 8]),
    st.sampled_from([0.5, 0.9, 0.95, 0.99]),
)
def test_limits_of_all_hospitals(seed, n, hospitals, quantile):
    random = np.random.default_rng(seed)
    ratios = np.exp(random.normal(0, 0.4, (n, 4)))
    ratios[random.random((n, 4)) < 0.02] = np.nan
    if not np.isfinite(ratios).all(axis=1).any():
        ratios[0] = 1.0
    found = federated([ratios[rows] for rows in split(n, hospitals, random)], quantile)
    pooled = fit_limits([ratios], quantile, 2 * hospitals)
    np.testing.assert_allclose(found.components, pooled.components, rtol=REACH * 1.01)
    # q* is of ratios over q_c, each within REACH, and counted in bins itself
    assert found.combined == pytest.approx(pooled.combined, rel=2.1 * REACH)
    assert found.n_lesions == pooled.n_lesions


def test_the_first_round_fits_into_one_ciphertext():
    assert ComponentRatios(0.95).length + 1 <= SLOTS


def test_half_a_bin_is_two_tenths_of_a_percent():
    assert pytest.approx(np.sqrt(EDGES[1] / EDGES[0]) - 1) == REACH
    assert REACH < 0.002
    assert len(EDGES) == BINS + 1


@pytest.mark.parametrize("value", [0.0, SMALLEST / 2, LARGEST * 2])
def test_a_limit_outside_the_grid_is_refused(value):
    with pytest.raises(OutsideGrid):
        federated([np.full((5, 4), value)] * 3, 0.95)


def test_without_ratios_there_is_no_limit():
    with pytest.raises(OutsideGrid):
        federated([np.zeros((0, 4))] * 3, 0.95)

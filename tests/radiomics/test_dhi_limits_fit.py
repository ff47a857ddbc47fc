"""The limits: what copies of a lesion show about chance.

Nobody is judged by own repeats.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dagster_project.radiomics.dhi_limits_fit import (
    FOLDS,
    Limits,
    amount_beyond,
    combine,
    fallback_scale,
    fit_floor,
    fit_limits,
    folds_of,
    held_back_ratios,
    null_scale,
    widen,
)

RNG = np.random.default_rng(12)


def slow_ratios(first, second):
    """Held-back ratios, spelled out pair by pair."""
    ratios = []
    for own, other in ((first, second), (second, first)):
        pairs = list(combinations(range(5), 2))
        for i, (a, b) in enumerate(pairs):
            apart = [
                d for d, pair in zip(own, pairs, strict=True) if a not in pair and b not in pair
            ] + list(other)
            ratios.append(own[i] / np.sqrt(np.mean(np.square(apart))))
    return ratios


def test_s_is_the_rms_over_both_visits_in_any_order():
    assert null_scale([3.0, 4.0], [5.0]) == pytest.approx(np.sqrt(50 / 3))
    assert null_scale([3.0, 4.0], [5.0]) == null_scale([5.0], [4.0, 3.0])
    assert null_scale([], []) is None


def test_a_repeat_is_measured_by_copies_it_shares_nothing_with():
    first, second = RNG.gamma(2, 1, 10), RNG.gamma(2, 1, 10)
    np.testing.assert_allclose(held_back_ratios(first, second), slow_ratios(first, second))


def test_a_visit_without_copies_leaves_the_others():
    own = RNG.gamma(2, 1, 10)
    assert np.isfinite(held_back_ratios(own, [])).all()
    assert held_back_ratios([], []).size == 0
    assert np.isnan(held_back_ratios([0.0] * 10, [0.0] * 10)).all()


def test_five_in_a_hundred_repeats_exceed_the_limits():
    ratios = [np.abs(RNG.standard_normal((20, 3))) for _ in range(200)]
    limits = fit_limits(ratios, 0.95, 200)
    pooled = np.concatenate(ratios)
    assert (pooled > limits.components).mean(axis=0) == pytest.approx([0.05] * 3, abs=0.001)
    units = pooled / limits.components
    assert np.mean([combine(u, limits) > 1 for u in units]) == pytest.approx(0.05, abs=0.001)


def test_repeats_that_could_not_be_measured_do_not_count():
    ratios = RNG.gamma(2, 1, (20, 3))
    spoilt = np.full((20, 3), np.nan)
    assert (
        fit_limits([ratios, spoilt], 0.95, 2).components == fit_limits([ratios], 0.95, 1).components
    )


def test_every_patient_has_one_fold_whatever_the_order():
    patients = [("AA", f"P{i}") for i in range(25)]
    folds = folds_of(patients)
    assert folds == folds_of(patients[::-1] + patients)
    assert set(folds.values()) == set(range(FOLDS))


def test_a_change_of_size_widens_the_null():
    assert widen(3.0, 0.0, 0.0) == 3.0
    assert widen(3.0, 8.0, 0.0) == 5.0


def test_what_copies_cannot_show_widens_the_null():
    assert widen(3.0, 0.0, 4.0) == 5.0


def test_the_floor_is_what_repeats_differ_by_beyond_their_copies():
    volumes = np.geomspace(1000, 50000, 4000)
    scales = 10 * volumes**-0.4
    distances = np.abs(RNG.normal(0, np.hypot(scales, 0.3)))
    assert fit_floor(distances, scales, volumes) == pytest.approx(0.3, abs=0.02)
    assert fit_floor(scales / 2, scales, volumes) == 0.0


def test_a_floor_within_its_own_error_is_none():
    volumes = np.geomspace(1000, 50000, 90)
    scales = 10 * volumes**-0.4
    floors = [fit_floor(np.abs(RNG.normal(0, scales)), scales, volumes) for _ in range(200)]
    assert np.mean(np.array(floors) > 0) < 0.1


def test_the_index_is_the_rms_over_its_limit():
    assert combine([1.0, 2.0, 2.0], Limits((1.0, 1.0, 1.0), 0.5, 40)) == pytest.approx(
        np.sqrt(3) / 0.5
    )


@given(st.lists(st.tuples(*[st.floats(0.01, 100)] * 3), min_size=1, max_size=4), st.floats(1, 50))
def test_the_amount_is_0_where_nothing_is_beyond_and_grows_as_the_change_does(parts, factor):
    changes, explained, yardsticks = (list(column) for column in zip(*parts, strict=True))
    assert amount_beyond(explained, explained, yardsticks) == 0.0
    amount, larger = (
        amount_beyond(changes, explained, yardsticks),
        amount_beyond([factor * d for d in changes], explained, yardsticks),
    )
    assert larger >= amount >= 0
    whole = amount_beyond(changes, [0.0] * len(changes), yardsticks)
    assert amount_beyond(
        [factor * d for d in changes], [0.0] * len(changes), yardsticks
    ) == pytest.approx(factor * whole)


def test_the_amount_of_a_change_is_that_of_the_change_whatever_the_noise_around_it():
    """Changes of 4 in noise of 0.5 to 2 have the same amount on average.

    The mean of the squares is subtracted, so this holds for lesions of any noise.
    """
    noise = np.repeat([0.5, 1.0, 2.0], 4000)
    seen = np.abs(4 + np.random.default_rng(3).normal(0, noise, (4, noise.size)))
    amounts = np.array(
        [amount_beyond(d, [n] * 4, [1.0] * 4) for d, n in zip(seen.T, noise, strict=True)]
    )
    for n in (0.5, 1.0, 2.0):
        assert np.sqrt(np.mean(amounts[noise == n] ** 2)) == pytest.approx(4.0, rel=0.02)


def test_the_fallback_is_a_power_of_the_volume_and_is_not_extrapolated():
    fallback = {"volume_mm3": [1000.0, 50000.0], "density": {"intercept": 1.0, "slope": -0.4}}
    assert fallback_scale("density", 8000.0, fallback) == pytest.approx(np.e * 8000**-0.4)
    assert fallback_scale("density", 999.0, fallback) is None
    assert fallback_scale("density", 50001.0, fallback) is None

"""Measures of habitats against slow obvious oracles, and what must hold of every map."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.ndimage import gaussian_filter
from scipy.stats import entropy

from dagster_project.radiomics.habitat_codebook import Codebook, LocalFeatures
from dagster_project.radiomics.habitat_measures import (
    habitat_distances,
    measure_habitats,
    measure_names,
    moran_i,
    rao_q,
)
from tests.radiomics.conftest import ball

CODEBOOK = Codebook(
    1,
    "cohort",
    ((-60.0, 20.0), (-10.0, 10.0), (0.0, 30.0), (30.0, 15.0)),
    (40.0, 10.0),
    250.0,
    1,
    30,
    10,
    "digest",
)
MAPS = arrays(np.uint8, st.tuples(*[st.integers(1, 4)] * 3), elements=st.integers(0, 4)).filter(
    np.any
)


def measured(codes: np.ndarray) -> dict[str, float | None]:
    mask = codes > 0
    return measure_habitats(
        codes,
        LocalFeatures(
            mask, np.random.default_rng(0).normal(size=mask.sum()), np.zeros((mask.sum(), 2))
        ),
        CODEBOOK,
    )


def neighbours(mask: np.ndarray) -> np.ndarray:
    """Weights of 6-neighbours as a dense matrix, by the distance of every pair of voxels."""
    places = np.argwhere(mask)
    return (np.abs(places[:, None] - places[None]).sum(axis=2) == 1).astype(float)


@given(MAPS)
def test_shares_and_pairs_are_those_of_counting_one_by_one(codes: np.ndarray) -> None:
    found, padded = measured(codes), np.pad(codes, 1)
    pairs: dict[tuple[int, int], int] = {}
    for place in itertools.product(*(range(n - 1) for n in padded.shape)):
        for axis in range(3):
            beside = tuple(p + (a == axis) for a, p in enumerate(place))
            pair = tuple(sorted((int(padded[place]), int(padded[beside]))))
            pairs[pair] = pairs.get(pair, 0) + (pair != (0, 0))
    assert set(found) == set(measure_names(4))
    for i, j in itertools.combinations_with_replacement(range(5), 2):
        if (i, j) != (0, 0):
            assert found[f"msi_{i}_{j}"] == pytest.approx(
                pairs.get((i, j), 0) / sum(pairs.values())
            )
    shares = [found[f"fraction_{k}"] for k in range(1, 5)]
    assert shares == pytest.approx([(codes == k).sum() / (codes > 0).sum() for k in range(1, 5)])
    assert found["shannon"] == pytest.approx(entropy(shares))


@given(MAPS)
def test_raos_q_is_the_mean_distance_of_all_pairs_of_voxels(codes: np.ndarray) -> None:
    labels, distances = codes[codes > 0].astype(int) - 1, habitat_distances(CODEBOOK)
    found = measured(codes)
    assert found["rao_q"] == pytest.approx(
        np.mean([distances[a, b] for a in labels for b in labels])
    )
    assert found["simpson"] == pytest.approx(np.mean([a != b for a in labels for b in labels]))
    if len(set(labels)) == 1:
        assert found["rao_q"] == found["shannon"] == found["simpson"] == 0


@given(MAPS, st.sampled_from([(0,), (1, 2), (0, 1, 2)]))
def test_a_mirrored_map_measures_the_same(codes: np.ndarray, axes: tuple[int, ...]) -> None:
    mask, values = codes > 0, np.zeros(codes.shape)
    values[mask] = np.random.default_rng(1).normal(size=mask.sum())
    plain, mirrored = (
        (c, LocalFeatures(c > 0, v[c > 0], np.zeros((mask.sum(), 2))))
        for c, v in ((codes, values), (np.flip(codes, axes), np.flip(values, axes)))
    )
    first, second = measure_habitats(*plain, CODEBOOK), measure_habitats(*mirrored, CODEBOOK)
    for name, value in first.items():
        assert second[name] == (None if value is None else pytest.approx(value, abs=1e-12)), name


@given(arrays(np.bool_, (3, 4, 3)).filter(np.any), st.integers(0, 2**16))
def test_morans_i_is_the_sum_over_all_pairs(mask: np.ndarray, seed: int) -> None:
    values, weights = (
        np.random.default_rng(seed).integers(-3, 4, mask.sum()).astype(float),
        neighbours(mask),
    )
    centred = values - values.mean()
    found = moran_i(mask, values)
    if weights.sum() == 0 or np.ptp(values) == 0:
        assert found is None
    else:
        assert found == pytest.approx(
            len(values) / weights.sum() * (centred @ weights @ centred) / (centred @ centred)
        )
        assert moran_i(mask, 3 * values - 50) == pytest.approx(found)


def test_morans_i_tells_order_from_disorder() -> None:
    mask, rng = ball((21, 21, 21), 9), np.random.default_rng(5)
    noise = rng.normal(size=mask.shape)
    checkers = np.indices(mask.shape).sum(axis=0) % 2 * 1.0
    expected = -1 / (mask.sum() - 1)
    assert moran_i(mask, noise[mask]) == pytest.approx(expected, abs=0.05)
    assert (
        0.8 < (moran_i(mask, gaussian_filter(noise, 2)[mask]) or 0) < np.exp(-1 / 16)
    )  # below the field's correlation, whose mean is known
    assert moran_i(mask, checkers[mask]) == pytest.approx(-1.0, abs=0.01)


def test_raos_q_of_distances_of_one_is_simpsons_index() -> None:
    shares = np.array([0.2, 0.3, 0.5])
    assert rao_q(shares, 1 - np.eye(3)) == pytest.approx(1 - (shares**2).sum())

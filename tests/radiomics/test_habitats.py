"""The spatial component: change of arrangement beyond change of composition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from dagster_project.radiomics.habitats import (
    cooccurrence,
    habitat_codes,
    jensen_shannon,
    spatial_change,
)
from tests.radiomics.conftest import ball

CUTS = [-60.0, -20.0, 20.0, 60.0]
MASK = ball((24, 25, 26), 10)
FIELD = gaussian_filter(np.random.default_rng(4).standard_normal(MASK.shape), 2.5)
VOLUME = FIELD / FIELD.std() * 50 + 40


def arrangement(volume, mask=MASK):
    return cooccurrence(habitat_codes(volume, mask, CUTS, 1.0), 6)


def test_codes_are_cut_at_the_medians_distance():
    mask = np.zeros((3, 3, 60), dtype=bool)
    mask[1, 1] = True
    volume = np.broadcast_to(np.repeat([-100.0, -40.0, 0.0, 40.0, 100.0], 12), mask.shape) + 300.0
    np.testing.assert_array_equal(
        habitat_codes(volume, mask, CUTS, 1e-6)[1, 1], np.repeat([1, 2, 3, 4, 5], 12)
    )


def test_smoothing_never_looks_outside_the_mask():
    beyond = np.where(MASK, VOLUME, -1000.0)
    np.testing.assert_array_equal(
        habitat_codes(beyond, MASK, CUTS, 1.0), habitat_codes(VOLUME, MASK, CUTS, 1.0)
    )


def test_neighbours_are_counted_both_ways_and_outside_pairs_left_out():
    """A bar of codes 1, 2: its one inner pair counts twice.

    Its ten outer faces, five per voxel, count in both directions.
    """
    pairs = cooccurrence(np.array([[[1, 2]]]), 3)
    np.testing.assert_allclose(pairs * 22, [[0, 5, 5], [5, 0, 1], [5, 1, 0]])


def test_an_arrangement_does_not_differ_from_itself():
    assert spatial_change(arrangement(VOLUME), arrangement(VOLUME)) == 0.0


@pytest.mark.parametrize("axes", [(0,), (1,), (2,), (0, 1, 2)])
def test_mirrored_lesions_have_the_same_arrangement(axes):
    np.testing.assert_allclose(
        arrangement(np.flip(VOLUME, axes), np.flip(MASK, axes)), arrangement(VOLUME), atol=1e-15
    )


def test_an_offset_changes_nothing():
    np.testing.assert_array_equal(arrangement(np.rint(VOLUME) + 137), arrangement(np.rint(VOLUME)))


def test_shuffled_voxels_are_a_new_arrangement():
    shuffled = VOLUME.copy()
    shuffled[MASK] = np.random.default_rng(1).permutation(VOLUME[MASK])
    assert spatial_change(arrangement(VOLUME), arrangement(shuffled)) >= 0.15


def test_the_same_composition_arranged_otherwise_differs():
    """Halves against stripes: as many voxels of each code."""
    mask = np.ones((12, 12, 12), dtype=bool)
    halves, stripes = np.zeros(mask.shape, dtype=int), np.zeros(mask.shape, dtype=int)
    halves[:6], halves[6:] = 1, 5
    stripes[::2], stripes[1::2] = 1, 5
    first, second = cooccurrence(halves, 6), cooccurrence(stripes, 6)
    np.testing.assert_allclose(first.sum(axis=1), second.sum(axis=1))
    assert spatial_change(first, second) ** 2 == pytest.approx(
        jensen_shannon(first, second), rel=1e-12
    )
    assert spatial_change(first, second) > 0.3
    assert mask.all()


@given(
    st.lists(st.floats(0, 1), min_size=21, max_size=21),
    st.lists(st.floats(0, 1), min_size=21, max_size=21),
)
def test_arrangement_differs_at_least_as_much_as_composition_and_at_most_by_one(first, second):
    """The chain rule of mutual information, for any symmetric joint distribution."""
    joint = []
    for weights in (first, second):
        matrix = np.zeros((6, 6))
        matrix[np.triu_indices(6)] = np.array(weights) + 1e-6
        joint.append((matrix + matrix.T) / (matrix + matrix.T).sum())
    surplus = jensen_shannon(*joint) - jensen_shannon(*(j.sum(axis=1) for j in joint))
    assert surplus >= -1e-12
    assert 0 <= spatial_change(*joint) <= 1
    assert spatial_change(*joint) == spatial_change(*reversed(joint))

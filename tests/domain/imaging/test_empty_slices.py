"""Empty slices within an outline: filled where somebody states what lies there, else flagged."""

from __future__ import annotations

import numpy as np
import pytest

from dagster_project.domain.imaging.empty_slices import settle_empty_slices
from dagster_project.domain.imaging.outlines import Outline
from dagster_project.domain.imaging.series import read_series
from tests.domain.phantoms import series_datasets, write


@pytest.fixture(scope="module")
def series(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ct")
    return read_series(write(folder, series_datasets(np.zeros((20, 12, 12), np.int16))))


@pytest.fixture(scope="module")
def gapped(tmp_path_factory):
    """Slices 6 and 7 of 20 are missing and were interpolated."""
    slices = series_datasets(np.zeros((20, 12, 12), np.int16))
    return read_series(
        write(
            tmp_path_factory.mktemp("gapped"), [s for k, s in enumerate(slices) if k not in {6, 7}]
        )
    )


def settled(series, planes, slab_mm=None):
    """An outline after it was settled: rows by slice, and flags.

    It is drawn on some slices, of so many rows each.
    """
    mask = np.zeros(series.shape, bool)
    for place, rows in planes.items():
        mask[place, 2 : 2 + rows, 2:8] = True
    found = settle_empty_slices(
        Outline("L1", mask, "SEG", "voxels_as_given", 0, slab_mm=slab_mm), series
    )
    rows = found.mask.any(2).sum(1)
    return {int(k): int(rows[k]) for k in np.flatnonzero(rows)}, found.flags


def test_an_outline_without_gaps_is_left_alone(series):
    assert settled(series, {4: 5, 5: 6}) == ({4: 5, 5: 6}, ())


def test_nothing_stays_nothing(series):
    assert settled(series, {}) == ({}, ())


def test_every_third_slice_of_which_nothing_is_stated_is_flagged_and_not_filled(series):
    assert settled(series, {3: 5, 6: 5, 9: 5}) == ({3: 5, 6: 5, 9: 5}, ("slices_empty",))


def test_planes_of_a_stated_thickness_hold_for_the_slices_within_it(series):
    found, flags = settled(series, {3: 4, 6: 5, 9: 6}, slab_mm=3.0)
    assert found == {2: 4, 3: 4, 4: 4, 5: 5, 6: 5, 7: 5, 8: 6, 9: 6, 10: 6}
    assert flags == ("slices_filled",)


def test_planes_of_two_slices_hold_for_two(series):
    assert settled(series, {4: 4, 6: 5}, slab_mm=2.0)[0] == {3: 4, 4: 4, 5: 4, 6: 5}


def test_planes_between_slices_hold_for_what_lies_in_their_thickness(series):
    """Planes 2.5 mm apart lie on slices 2 or 3 apart."""
    found, flags = settled(series, {2: 5, 5: 5, 7: 5, 10: 5}, slab_mm=2.5)
    assert set(range(2, 11)) <= set(found)
    assert flags == ("slices_filled",)


def test_a_thickness_that_leaves_a_hole_is_filled_within_it_and_flagged(series):
    found, flags = settled(series, {3: 5, 9: 5}, slab_mm=3.0)
    assert set(found) == {3, 4, 8, 9}, "beyond the ends only where the planes lie that far apart"
    assert flags == ("slices_filled", "slices_empty")


def test_planes_as_thick_as_the_slices_state_nothing_new(series):
    assert settled(series, {3: 5, 5: 5}, slab_mm=1.0) == ({3: 5, 5: 5}, ("slices_empty",))


def test_the_thickness_of_overlapping_slices_fills_nothing(tmp_path):
    """Slices of 3 mm every millimetre: a plane of 3 mm is one of them."""
    overlapping = read_series(
        write(tmp_path, series_datasets(np.zeros((20, 12, 12), np.int16), SliceThickness=3.0))
    )
    assert settled(overlapping, {4: 5, 6: 5}, slab_mm=3.0) == ({4: 5, 6: 5}, ("slices_empty",))
    assert settled(overlapping, {4: 5}, slab_mm=3.0) == ({4: 5}, ())


def test_one_plane_of_a_stated_thickness_holds_for_its_slices(series):
    assert settled(series, {4: 5}, slab_mm=3.0) == ({3: 5, 4: 5, 5: 5}, ("slices_filled",))


def test_slices_that_the_ct_lacks_have_the_shape_between_their_neighbours(gapped):
    found, flags = settled(gapped, {4: 4, 5: 4, 8: 7, 9: 7})
    assert found == {4: 4, 5: 4, 6: 5, 7: 6, 8: 7, 9: 7}
    assert flags == ("slices_filled",)


def test_a_gap_that_is_only_partly_the_cts_is_flagged(gapped):
    assert settled(gapped, {4: 4, 8: 4}) == ({4: 4, 8: 4}, ("slices_empty",))


def test_two_pieces_that_do_not_overlap_are_not_joined_across_missing_slices(gapped):
    mask = np.zeros(gapped.shape, bool)
    mask[5, 1:3, 1:3] = mask[8, 8:10, 8:10] = True
    found = settle_empty_slices(Outline("L1", mask, "NIFTI", "voxels_as_given", 0), gapped)
    assert (int(found.mask.sum()), found.flags) == (8, ("slices_empty",))

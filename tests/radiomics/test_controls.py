"""Negative controls: the same voxels in another order, and the mask where muscle is."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk

from dagster_project.radiomics.controls import (
    NO_MUSCLE,
    find_muscle,
    measure_controls,
    shuffle_within,
)
from dagster_project.radiomics.extraction import extract_lesion, feature_names, prepare_tumor
from dagster_project.study import load_study
from tests.radiomics.conftest import as_ct, ball

SHAPE = (60, 120, 120)
CENTRE = (30, 70, 60)
MUSCLE = load_study().section("muscle")
SMOOTH = 3.0


@pytest.fixture(scope="module")
def quick(radiomics_settings):
    return dict(radiomics_settings) | {"log_sigma_mm": [], "wavelet": "", "padding_mm": 5.0}


def chest(*, wall_hu=50.0, wall_sd=8.0, radius=8.0, centre=CENTRE):
    """Lung with a lesion of coarse structure, and a chest wall 36 mm thick."""
    from scipy.ndimage import gaussian_filter

    rng, mask = np.random.default_rng(4), ball(SHAPE, radius, centre)
    hu = rng.normal(-820, 30, SHAPE)
    hu[:, :36] = rng.normal(wall_hu, wall_sd, hu[:, :36].shape)
    field = gaussian_filter(rng.standard_normal(SHAPE), SMOOTH)
    hu[mask] = 60 + 60 * field[mask] / field.std()
    return as_ct(hu), mask


def values(rows, control):
    return {row["feature"]: row["value"] for name, row in rows if name == control}


def test_a_shuffle_keeps_every_value_and_moves_nothing_outside(quick):
    volume, tumor = prepare_tumor(*chest(), quick)
    inside = tumor.mask
    shuffled = shuffle_within(volume, inside)
    assert np.array_equal(np.sort(shuffled[inside]), np.sort(volume[inside]))
    assert np.array_equal(shuffled[~inside], volume[~inside])
    assert (shuffled[inside] != volume[inside]).mean() > 0.9
    assert np.array_equal(shuffled, shuffle_within(volume, inside)), "the same every night"


def test_a_shuffle_takes_the_structure_and_leaves_shape_and_histogram(quick):
    image, mask = chest()
    real = {
        r["feature"]: r["value"]
        for r in extract_lesion(image, {"R": mask}, None, quick)
        if r["region"] == "tumor"
    }
    shuffled = values(
        measure_controls(image, mask, None, settings=MUSCLE, radiomics=quick), "shuffled"
    )
    same = [name for name in real if name.startswith(("original_shape", "original_firstorder"))]
    assert [shuffled[n] for n in same] == pytest.approx([real[n] for n in same])
    assert real["original_glcm_Correlation"] > 0.5
    assert abs(shuffled["original_glcm_Correlation"]) < 0.1


def test_the_mask_lies_whole_in_the_wall_and_away_from_the_lesion():
    image, mask = chest()
    moved = find_muscle(image, mask, None, MUSCLE)
    assert moved.sum() == mask.sum()
    assert not (moved & mask).any()
    assert np.argwhere(moved)[:, 1].max() < 36
    assert np.array_equal(moved, find_muscle(image, mask, None, MUSCLE))


def test_muscle_has_the_walls_density(quick):
    image, mask = chest()
    muscle = values(measure_controls(image, mask, None, settings=MUSCLE, radiomics=quick), "muscle")
    assert muscle["original_firstorder_Mean"] == pytest.approx(50, abs=1)
    assert set(muscle) == set(feature_names(quick))


@pytest.mark.parametrize(
    "wall",
    [{"wall_hu": -100.0}, {"wall_hu": 140.0}, {"wall_sd": 60.0}],
    ids=["fat", "vessel or bone", "uneven"],
)
def test_what_is_no_muscle_is_not_taken_for_it(quick, wall):
    image, mask = chest(**wall)
    assert find_muscle(image, mask, None, MUSCLE) is None
    muscle = [
        row
        for name, row in measure_controls(image, mask, None, settings=MUSCLE, radiomics=quick)
        if name == "muscle"
    ]
    assert {(row["value"], row["reason"], row["region_volume_mm3"]) for row in muscle} == {
        (None, NO_MUSCLE, None)
    }


def test_another_lesion_is_no_muscle():
    """All of the wall is said to be another lesion."""
    image, mask = chest()
    others = np.zeros(SHAPE, dtype=bool)
    others[:, :36] = True
    assert find_muscle(image, mask, others, MUSCLE) is None


def test_a_mask_that_fits_in_part_is_cut_to_the_muscle():
    image, mask = chest(radius=22.0)
    moved = find_muscle(image, mask, None, MUSCLE)
    assert MUSCLE["share"] <= moved.sum() / mask.sum() < 1
    assert np.argwhere(moved)[:, 1].max() < 36


@pytest.mark.real_data
def test_a_real_chest_has_muscle_for_a_nodule(two_readers):
    """LIDC-IDRI-0314: the nodule's whole mask fits into even soft tissue of muscle's density."""
    image, masks = two_readers
    moved = find_muscle(image, masks["1"], masks["2"], MUSCLE)
    hu = sitk.GetArrayViewFromImage(image)[moved]
    assert moved.sum() == masks["1"].sum()
    assert not (moved & (masks["1"] | masks["2"])).any()
    assert MUSCLE["hu"][0] < hu.mean() < MUSCLE["hu"][1]
    assert hu.std() < MUSCLE["sd_hu"]


ODD = {
    "one voxel": (slice(30, 31), slice(70, 71), slice(60, 61)),
    "one slice": (slice(30, 31), slice(60, 80), slice(50, 70)),
    "at the border": (slice(0, 9), slice(111, 120), slice(111, 120)),
    "whole scan": (slice(None), slice(None), slice(None)),
}


@pytest.mark.parametrize("scanned", ["chest", "constant air"])
@pytest.mark.parametrize("outlined", ODD)
def test_odd_masks_and_flat_scans_give_a_value_or_a_reason(quick, outlined, scanned):
    image, mask = chest()[0], np.zeros(SHAPE, dtype=bool)
    mask[ODD[outlined]] = True
    rows = measure_controls(
        as_ct(np.full(SHAPE, -1000.0)) if scanned == "constant air" else image,
        mask,
        None,
        settings=MUSCLE,
        radiomics=quick,
    )
    assert len(rows) == 2 * len(feature_names(quick))
    assert all(
        (row["value"] is None) != (row["reason"] is None)
        and (row["value"] is None or np.isfinite(row["value"]))
        for _, row in rows
    )

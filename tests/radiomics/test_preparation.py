"""What two visits share before they are compared: orientation, voxels, depth, size and noise."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dagster_project.radiomics.phantoms import Lesion, scan_lesion
from dagster_project.radiomics.preparation import (
    Noise,
    Prepared,
    crop_visit,
    depth_below_surface,
    estimate_noise,
    keep_deepest,
    match_noise,
    noise_field,
    outline_distance_mm,
    peel_lesion,
    perturb_visit,
    prepare_visit,
    sample_visit,
)
from tests.radiomics.conftest import as_ct, ball

SHAPE = (40, 44, 42)
MASK = ball(SHAPE, 10)
RNG = np.random.default_rng(6)
TISSUE = np.where(MASK, 40.0, -820.0)


def mirrored(scan, axes):
    image = as_ct(
        np.flip(np.array(array_of(scan.image)), axes), tuple(reversed(scan.image.GetSpacing()))
    )
    return image, np.flip(scan.mask, axes)


def array_of(image):
    import SimpleITK as sitk

    return sitk.GetArrayFromImage(image)


@pytest.mark.parametrize("axes", [(0,), (1,), (2,), (0, 1), (0, 1, 2)])
def test_mirrored_scans_give_identical_crops_and_copies(first_scan, dhi_settings, axes):
    visit, other = (
        crop_visit(first_scan.image, first_scan.mask),
        crop_visit(*mirrored(first_scan, axes)),
    )
    np.testing.assert_array_equal(visit.values, other.values)
    np.testing.assert_array_equal(visit.mask, other.mask)
    assert visit.seed == other.seed
    noise = Noise(10.0, 0.5, 0.5, 0.1)
    np.testing.assert_array_equal(
        *(perturb_visit(v, 1, noise, 1.0, dhi_settings).volume for v in (visit, other))
    )


def test_a_constant_offset_changes_the_base_alone(first_scan):
    shifted = as_ct(
        array_of(first_scan.image) + 137, tuple(reversed(first_scan.image.GetSpacing()))
    )
    visit, other = (
        crop_visit(first_scan.image, first_scan.mask),
        crop_visit(shifted, first_scan.mask),
    )
    assert other.base_hu == visit.base_hu + 137
    assert other.seed == visit.seed
    np.testing.assert_array_equal(visit.values, other.values)


def test_an_empty_mask_is_no_visit(first_scan):
    assert crop_visit(first_scan.image, np.zeros_like(first_scan.mask)) is None


def test_sampling_keeps_densities_and_volume():
    z, y, x = np.indices(SHAPE)
    visit = crop_visit(as_ct(2 * z + 3 * y - x, (1.0, 0.7, 0.7)), MASK)
    volume, share = sample_visit(visit, 1.0)
    assert share.sum() == pytest.approx(MASK.sum() * 0.49, rel=0.01)
    gradients = [float(np.abs(np.diff(volume, axis=axis)).mean()) for axis in range(3)]
    assert gradients == pytest.approx([2, 3 / 0.7, 1 / 0.7], rel=0.02)


def test_a_copy_keeps_the_lesion_but_not_its_voxels(first_scan, dhi_settings):
    visit = crop_visit(first_scan.image, first_scan.mask)
    base = prepare_visit(visit, dhi_settings)
    noise = estimate_noise([base])[0]
    copies = [perturb_visit(visit, k, noise, 1.0, dhi_settings) for k in (1, 2)]
    assert all(c.count == pytest.approx(base.count, rel=0.15) for c in copies)
    assert all(
        c.volume[c.mask].std() == pytest.approx(base.volume[base.mask].std(), rel=0.2)
        for c in copies
    )
    assert not np.array_equal(copies[0].mask, copies[1].mask)
    np.testing.assert_array_equal(
        copies[0].volume, perturb_visit(visit, 1, noise, 1.0, dhi_settings).volume
    )


def test_two_copies_outlines_differ_as_two_readers_do(dhi_settings):
    """Without movement and noise, two copies' outlines differ by the requested contour error.

    The difference is the RMS distance.
    """
    still = dict(dhi_settings) | {"rotation_deg": 0.0, "shift_mm": 0.0, "peel_depth_mm": 0.0}
    scan = scan_lesion(Lesion(volume_ml=14.0, seed=2, spacing_mm=(1.0, 1.0, 1.0)), 0)
    visit = crop_visit(scan.image, scan.mask)
    masks = [
        perturb_visit(visit, k, Noise(0.0, 0.0, 0.0, 0.0), 1.5, still).mask for k in range(1, 7)
    ]
    image = as_ct(np.zeros(masks[0].shape))
    distances = [
        outline_distance_mm(image, a, b) for i, a in enumerate(masks) for b in masks[i + 1 :]
    ]
    assert np.sqrt(np.mean(np.square(distances))) == pytest.approx(1.5, rel=0.25)


def test_partial_volume_at_the_edge_is_peeled_and_a_cavity_is_not(dhi_settings):
    cavity = ball(SHAPE, 3)
    rim = MASK & ~ball(SHAPE, 8.5)
    volume = np.select([cavity, rim, MASK], [-900.0, -300.0, 40.0], -820.0)
    kept = peel_lesion(volume, MASK, dhi_settings).mask
    assert not (kept & rim).any()
    assert (kept & cavity).sum() == cavity.sum()


def test_no_more_than_the_peel_depth_is_taken_off(dhi_settings):
    """A lesion that is faint down to its middle keeps all but 3.5 mm and the eroded voxel."""
    volume = np.where(MASK, np.where(np.indices(SHAPE)[0] > 20, 40.0, -400.0), -820.0)
    kept = peel_lesion(volume, MASK, dhi_settings).mask
    deep = depth_below_surface(MASK) > 6
    assert (kept & deep).sum() == deep.sum()


def test_one_voxel_is_eroded_from_a_sharp_lesion(dhi_settings):
    kept = peel_lesion(TISSUE, MASK, dict(dhi_settings) | {"peel_depth_mm": 0.0}).mask
    assert kept.sum() == pytest.approx(4 / 3 * np.pi * 9**3, rel=0.1)
    assert not (kept & (depth_below_surface(MASK) < 0.9)).any()


@given(n=st.integers(1, 3000))
@settings(max_examples=15)
def test_the_deepest_voxels_are_kept(n):
    prepared = Prepared(TISSUE, MASK, float(MASK.sum()))
    kept = keep_deepest(prepared, n)
    depth = depth_below_surface(MASK)
    assert kept.count == n
    assert not (kept.mask & ~MASK).any()
    assert depth[kept.mask].min() >= depth[MASK & ~kept.mask].max() - 1e-9


def test_as_many_voxels_as_there_are_stay_as_they_are():
    prepared = Prepared(TISSUE, MASK, 1.0)
    assert keep_deepest(prepared, MASK.sum()) is prepared


@pytest.mark.parametrize("axes", [(0,), (1, 2), (0, 1, 2)])
def test_equally_deep_voxels_are_chosen_without_regard_to_the_axes(axes):
    volume = TISSUE + RNG.integers(-200, 200, SHAPE)
    straight = keep_deepest(Prepared(volume, MASK, 1.0), 700)
    turned = keep_deepest(Prepared(np.flip(volume, axes), np.flip(MASK, axes), 1.0), 700)
    np.testing.assert_array_equal(np.flip(turned.mask, axes), straight.mask)


@pytest.mark.parametrize("blur", [(0.2, 0.2), (0.6, 0.6), (0.3, 0.7)])
@pytest.mark.parametrize("sd", [6.0, 20.0])
def test_noise_is_measured_in_spite_of_structure(sd, blur):
    structure = np.sin(np.indices(SHAPE).sum(axis=0) / 4) * 40 - 300 * ball(SHAPE, 3)
    noise = Noise(sd, *blur, 0.0)
    found = estimate_noise([Prepared(structure + noise_field(RNG, SHAPE, noise), MASK, 1.0)])[0]
    assert found.sd_hu == pytest.approx(sd, rel=0.2)
    assert (found.blur_z, found.blur_plane) == pytest.approx(blur, abs=0.2)


def test_a_noiseless_lesion_has_no_noise():
    assert estimate_noise([Prepared(TISSUE, MASK, 1.0)])[0].sd_hu == 0.0


def test_the_quieter_visit_is_made_as_noisy_and_the_other_left_alone():
    quiet, loud = (
        Prepared(noise_field(RNG, SHAPE, Noise(sd, 0.5, 0.5, 0.0)), MASK, 1.0)
        for sd in (10.0, 16.0)
    )
    noises = estimate_noise([quiet, loud])
    assert match_noise(loud, noises[1], noises[0], 7) is loud
    matched = match_noise(quiet, noises[0], noises[1], 7)
    assert matched.volume[MASK].std() == pytest.approx(16, rel=0.06)
    np.testing.assert_array_equal(
        matched.volume, match_noise(quiet, noises[0], noises[1], 7).volume
    )


def test_a_difference_within_the_estimates_error_is_not_matched():
    quiet = Prepared(noise_field(RNG, SHAPE, Noise(10.0, 0.5, 0.5, 0.0)), MASK, 1.0)
    assert match_noise(quiet, Noise(10.0, 0.5, 0.5, 0.08), Noise(10.8, 0.5, 0.5, 0.08), 7) is quiet


def test_the_distance_of_two_outlines():
    image = as_ct(np.zeros(SHAPE), (2.0, 1.0, 1.0))
    flat = np.zeros(SHAPE, dtype=bool)
    flat[10:20] = True
    thicker = np.zeros(SHAPE, dtype=bool)
    thicker[10:22] = True
    assert outline_distance_mm(image, flat, flat) == 0.0
    assert outline_distance_mm(image, flat, thicker) == outline_distance_mm(image, thicker, flat)
    assert (
        2.0 < outline_distance_mm(image, flat, thicker) < 4.0
    )  # one face has moved by 4 mm, the other not
    assert outline_distance_mm(image, flat, np.zeros_like(flat)) is None


def test_the_noise_of_a_visit_does_not_depend_on_which_comes_first(
    first_scan, second_scan, dhi_settings
):
    prepared = [
        prepare_visit(crop_visit(s.image, s.mask), dhi_settings) for s in (first_scan, second_scan)
    ]
    there, back = estimate_noise(prepared), estimate_noise(prepared[::-1])[::-1]
    assert there == back

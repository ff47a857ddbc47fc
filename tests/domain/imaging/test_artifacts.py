"""Artifact figures against phantoms whose metal, displacement, noise and lung are known."""

from __future__ import annotations

import numpy as np
import pytest

from dagster_project.domain.imaging.artifacts import artifact_figures
from dagster_project.lake.voxels import OUTSIDE_FIELD_HU
from dagster_project.study import load_study
from tests.domain.phantoms import body

LIMITS = load_study().section("scans")
SPACING = (1.0, 2.5, 2.5)


def figures(voxels, spacing=SPACING):
    return artifact_figures(voxels, spacing[::-1], LIMITS)


def flags(found):
    return {name for name in found if name.endswith("_flag") and found[name]}


def test_a_clean_chest_raises_no_flag_but_that_of_the_chest():
    found = figures(body())
    assert flags(found) == {"chest_flag"}
    assert found["motion_score"] < 0.5
    assert found["air_hu"] == pytest.approx(-1000, abs=15)


def _with_metal(voxels, streak_hu, size=2):
    z, y, x = voxels.shape[0] // 2, 60, 80
    planes = slice(z - 3, z + 4)
    angle = np.arctan2(
        np.arange(voxels.shape[1])[:, None] - y, np.arange(voxels.shape[2])[None, :] - x
    )
    voxels[planes] += (streak_hu * np.cos(9 * angle)).astype(np.int16)
    voxels[planes, y : y + size, x : x + size] = 3100
    return voxels


def test_metal_with_streaks_is_flagged_and_its_volume_is_that_of_its_voxels():
    found = figures(_with_metal(body(), 250))
    assert found["metal_volume_mm3"] == pytest.approx(7 * 4 * np.prod(SPACING))
    assert found["streak_hu"] == pytest.approx(250 / 2**0.5, rel=0.15)
    assert found["metal_flag"] is True


def test_metal_without_streaks_is_measured_and_not_flagged():
    found = figures(_with_metal(body(), 0))
    assert found["metal_volume_mm3"] > LIMITS["metal_volume_mm3"]
    assert found["streak_hu"] < LIMITS["streak_hu"]
    assert found["metal_flag"] is False


def test_single_bright_voxels_are_not_metal():
    voxels = body()
    voxels[5, 60, 60] = voxels[12, 40, 80] = 3071
    assert figures(voxels)["metal_volume_mm3"] == 0


@pytest.mark.parametrize(("axis", "pixels"), [(2, 4), (2, -3), (1, 2), (1, -4)])
def test_a_displaced_run_of_slices_is_measured_to_half_a_millimetre(axis, pixels):
    voxels = body()
    voxels[10:13] = np.roll(voxels[10:13], pixels, axis=axis)
    found = figures(voxels)
    assert found["motion_score"] == pytest.approx(abs(pixels) * 2.5, abs=0.5)
    assert found["motion_flag"] is True


def test_a_breath_that_lifts_the_front_alone_is_seen():
    calm, deep = body(half=(110.0, 150.0)), body(half=(118.0, 150.0))
    voxels = calm.copy()
    voxels[12:15, :60] = deep[12:15, :60]
    assert figures(voxels)["motion_score"] == pytest.approx(8, abs=1.5)


def test_a_body_that_widens_from_slice_to_slice_does_not_move():
    voxels = np.concatenate(
        [body((1, 120, 160), half=(80.0 + k, 110.0 + 2 * k), seed=k) for k in range(24)]
    )
    found = figures(voxels)
    assert found["motion_score"] < LIMITS["motion_mm"] / 2
    assert found["motion_flag"] is False


def test_a_step_in_area_is_anatomy_not_motion():
    voxels = np.concatenate(
        [body((12, 120, 160), half=(80.0, 100.0)), body((12, 120, 160), half=(100.0, 150.0))]
    )
    assert figures(voxels)["motion_flag"] is False


def test_motion_cannot_be_told_on_a_limb_or_a_single_slice():
    assert figures(body(half=(40.0, 50.0)))["motion_flag"] is None
    assert figures(body((1, 120, 160)))["motion_flag"] is None


def test_a_body_cut_by_the_field_of_view_is_truncated():
    assert figures(body()[:, :, 40:])["truncated_flag"] is True


def test_a_body_cut_by_a_round_field_of_view_is_truncated_and_padding_is_not_air():
    voxels = body()
    y, x = (np.arange(120) - 59.5) * 2.5, (np.arange(160) - 79.5) * 2.5
    voxels[:, np.hypot(y[:, None], x[None, :]) > 120] = OUTSIDE_FIELD_HU
    found = figures(voxels)
    assert found["truncated_flag"] is True
    assert found["air_hu"] == pytest.approx(-1000, abs=15)


@pytest.mark.parametrize("offset", [1024, -1000])
def test_a_wrong_intercept_is_flagged(offset):
    found = figures(np.maximum(body().astype(int) + offset, -3000).astype(np.int16))
    assert found["rescale_flag"] is True


def test_without_air_nothing_that_needs_it_is_judged():
    voxels = np.random.default_rng(0).normal(40, 10, (8, 60, 60)).astype(np.int16)
    found = figures(voxels)
    assert {
        found[name]
        for name in ("air_hu", "rescale_flag", "motion_flag", "truncated_flag", "chest_flag")
    } == {None}


@pytest.mark.parametrize("noise", [15.0, 40.0, 110.0])
def test_noise_is_that_which_was_put_in(noise):
    found = figures(body(noise=noise))
    assert found["noise_hu"] == pytest.approx(noise, rel=0.12)
    assert found["noise_flag"] is (noise > LIMITS["noise_hu"])


def test_lung_fraction_is_that_of_the_ellipses():
    expected = 2 * (0.6 * 110 * 0.35 * 150) / (110 * 150)
    assert figures(body())["lung_fraction"] == pytest.approx(expected, rel=0.1)


def test_a_body_without_lungs_is_no_chest():
    voxels = body()
    voxels[voxels < -500] = np.where(_inside(voxels.shape), 40, -1000)[None].repeat(
        voxels.shape[0], 0
    )[voxels < -500]
    found = figures(voxels)
    assert found["chest_flag"] is False
    assert found["lung_fraction"] < 0.01


def _inside(shape):
    y, x = (
        (np.arange(shape[1]) - (shape[1] - 1) / 2) * 2.5,
        (np.arange(shape[2]) - (shape[2] - 1) / 2) * 2.5,
    )
    return (y[:, None] / 110) ** 2 + (x[None, :] / 150) ** 2 <= 1


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_flips_change_no_figure(axis):
    voxels = _with_metal(body(), 250)
    voxels[18:20] = np.roll(voxels[18:20], 3, axis=2)
    found, flipped = figures(voxels), figures(np.ascontiguousarray(np.flip(voxels, axis)))
    assert flags(found) == flags(flipped)
    assert flipped["metal_volume_mm3"] == found["metal_volume_mm3"]
    assert flipped["motion_score"] == pytest.approx(found["motion_score"], abs=0.2)


@pytest.mark.parametrize("pixel", [0.7, 1.4, 2.5])
def test_displacement_is_in_millimetres_whatever_the_pixel(pixel):
    n = round(300 / pixel), round(400 / pixel)
    voxels = body((9, *n), (1.0, pixel, pixel))
    shift = round(10 / pixel)
    voxels[4] = np.roll(voxels[4], shift, axis=1)
    assert figures(voxels, (1.0, pixel, pixel))["motion_score"] == pytest.approx(
        shift * pixel, abs=0.5
    )

"""Rings in physical millimetres, in lung, without the neighbours."""

from __future__ import annotations

import re

import numpy as np
import pytest

from dagster_project.lake.tables import RADIOMIC_FEATURES
from dagster_project.radiomics.extraction import extract_lesion
from dagster_project.radiomics.regions import derive_regions, region_names, ring_bounds
from dagster_project.radiomics.resampling import as_image
from dagster_project.study import digest_of
from tests.radiomics.conftest import ball

SHAPE = (61, 61, 61)
LUNG = np.full(SHAPE, -800.0, dtype=np.float32)


def regions_of(volume, tumor, others, settings):
    return {r.name: r for r in derive_regions(volume, tumor, others, settings)}


def test_the_regions_are_the_schemas(radiomics_settings):
    found = tuple(regions_of(LUNG, ball(SHAPE, 8), None, radiomics_settings))
    assert (
        found == region_names(radiomics_settings) == ("tumor", "ring_0_3", "ring_3_5", "ring_5_10")
    )
    pattern = RADIOMIC_FEATURES.column("region").pattern
    assert all(re.fullmatch(pattern, name) for name in found)


def test_other_rings_in_the_protocol_are_other_regions_everywhere(radiomics_settings):
    """Their names, what is measured, and the digest by which something is measured anew."""
    other = {
        **radiomics_settings,
        "ring_edges_mm": [0, 3, 6],
        "classes": ["firstorder"],
        "log_sigma_mm": [],
        "wavelet": "",
    }
    assert ring_bounds(other) == {"ring_0_3": (0, 3), "ring_3_6": (3, 6)}
    volume = regions_of(LUNG, ball(SHAPE, 8), None, other)["ring_3_6"].volume_mm3
    assert volume == pytest.approx(4 / 3 * np.pi * ((8 + 6) ** 3 - (8 + 3) ** 3), rel=0.06)
    image = as_image(np.where(ball(SHAPE, 8), 40.0, -800.0).astype(np.float32), 1.0)
    rows = extract_lesion(image, {"R1": ball(SHAPE, 8)}, None, other)
    assert {row["region"] for row in rows} == {"tumor", "ring_0_3", "ring_3_6"}
    assert digest_of(other) != digest_of({**other, "ring_edges_mm": [0, 3, 5]})


@pytest.mark.parametrize("radius", [6.0, 9.5, 14.0])
def test_shells_around_a_ball_have_their_analytic_volume(radiomics_settings, radius):
    found = regions_of(LUNG, ball(SHAPE, radius), None, radiomics_settings)
    for name, (inner, outer) in ring_bounds(radiomics_settings).items():
        expected = 4 / 3 * np.pi * ((radius + outer) ** 3 - (radius + inner) ** 3)
        assert found[name].volume_mm3 == pytest.approx(expected, rel=0.06), name


def test_around_a_slab_the_rings_have_their_exact_thickness(radiomics_settings):
    slab = np.zeros(SHAPE, dtype=bool)
    slab[28:33] = True  # its flat faces are whole millimetres from every voxel's border
    found = regions_of(LUNG, slab, None, radiomics_settings)
    assert {n: r.volume_mm3 / 61**2 for n, r in found.items()} == {
        "tumor": 5,
        "ring_0_3": 6,
        "ring_3_5": 4,
        "ring_5_10": 10,
    }


def test_rings_are_apart_from_each_other_and_from_the_tumour(radiomics_settings):
    masks = [r.mask for r in regions_of(LUNG, ball(SHAPE, 9), None, radiomics_settings).values()]
    assert np.max(np.sum(masks, axis=0)) == 1


def test_the_lungs_window_is_inclusive_and_the_chest_wall_left_out(radiomics_settings):
    volume = LUNG.copy()
    volume[:30], volume[30], volume[31] = 40, -200, -1000
    found = regions_of(volume, ball(SHAPE, 8), None, radiomics_settings)
    assert not found["ring_0_3"].mask[:30].any()
    assert found["ring_0_3"].mask[30:32].any(axis=(1, 2)).all()
    assert found["ring_0_3"].reason is None


def test_another_lesion_is_no_lung(radiomics_settings):
    other = ball(SHAPE, 5, (30, 30, 45))
    found = regions_of(LUNG, ball(SHAPE, 8), other, radiomics_settings)
    assert not (found["ring_5_10"].mask & other).any()
    assert (
        found["ring_5_10"].volume_mm3
        < regions_of(LUNG, ball(SHAPE, 8), None, radiomics_settings)["ring_5_10"].volume_mm3
    )


@pytest.mark.parametrize(
    ("first_lung_slice", "reason"), [(33, None), (36, "less than 30% of the ring is lung")]
)
def test_a_ring_with_too_little_lung_gives_no_features(
    radiomics_settings, first_lung_slice, reason
):
    volume = np.full(SHAPE, 40.0, dtype=np.float32)
    volume[first_lung_slice:] = -800
    found = regions_of(volume, ball(SHAPE, 8), None, radiomics_settings)
    assert found["ring_0_3"].reason == reason
    assert found["tumor"].reason is None


def test_a_region_of_too_few_voxels_gives_no_features(radiomics_settings):
    tumor = np.zeros(SHAPE, dtype=bool)
    tumor[30, 30, 30:40] = True
    found = regions_of(LUNG, tumor, None, radiomics_settings)
    assert found["tumor"].reason == "fewer than 27 voxels after resampling"
    assert found["tumor"].volume_mm3 == 10
    assert found["ring_0_3"].reason is None


def test_a_mask_that_resampling_has_lost_gives_reasons_for_all(radiomics_settings):
    found = regions_of(LUNG, np.zeros(SHAPE, dtype=bool), None, radiomics_settings)
    assert all(r.reason for r in found.values())

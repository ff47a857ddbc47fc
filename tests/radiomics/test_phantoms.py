"""Synthetic lesions: the truth that they claim."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk

from dagster_project.radiomics.phantoms import (
    LUNG_HU,
    NECROSIS_HU,
    NECROSIS_SHARE,
    Lesion,
    draw_lesion,
    scan_lesion,
)
from dagster_project.radiomics.preparation import outline_distance_mm

LESION = Lesion(volume_ml=4.0, seed=3, texture_hu=1.0, noise_hu=1.0)


def inside(scan):
    return sitk.GetArrayFromImage(scan.image)[scan.mask]


def millilitres(scan):
    return scan.mask.sum() * np.prod(scan.image.GetSpacing()) / 1000


def test_a_lesion_has_its_volume_and_density():
    scan = scan_lesion(LESION, 0, reader_mm=0.0)
    assert millilitres(scan) == pytest.approx(4.0, rel=0.1)
    assert np.median(inside(scan)) == pytest.approx(LESION.density_hu, abs=5)
    assert np.median(sitk.GetArrayFromImage(scan.image)[~scan.mask]) == pytest.approx(
        LUNG_HU, abs=30
    )


def test_the_same_numbers_give_the_same_scan_and_others_another():
    same, again, other = (sitk.GetArrayFromImage(scan_lesion(LESION, k).image) for k in (1, 1, 2))
    np.testing.assert_array_equal(same, again)
    assert not np.array_equal(same, other)


def test_two_readers_differ_by_their_errors():
    distances = [
        outline_distance_mm(
            scan_lesion(LESION, k).image,
            *(scan_lesion(LESION, k, reader=r, reader_mm=0.7).mask for r in (1, 2)),
        )
        for k in range(4)
    ]
    assert np.sqrt(np.mean(np.square(distances))) == pytest.approx(1.0, rel=0.35)


@pytest.mark.parametrize(
    ("change", "share"),
    [
        ("shrink_30", 0.7),
        ("shrink_50", 0.5),
        ("none", 1.0),
        ("necrosis", 1.0),
        ("necrosis_50", 0.5),
    ],
)
def test_volume_changes_only_where_it_is_meant_to(change, share):
    before, after = (
        millilitres(scan_lesion(LESION, 1, change=c, reader_mm=0.0)) for c in ("none", change)
    )
    assert after / before == pytest.approx(share, rel=0.06)


@pytest.mark.parametrize("change", ["necrosis", "necrosis_50"])
def test_a_quarter_of_the_lesion_is_necrotic(change):
    values = inside(scan_lesion(LESION, 0, change=change, reader_mm=0.0))
    necrotic = LESION.density_hu + NECROSIS_HU
    assert ((values > necrotic - 15) & (values < necrotic + 35)).mean() == pytest.approx(
        NECROSIS_SHARE, abs=0.1
    )
    assert np.percentile(values, 99) == pytest.approx(LESION.density_hu, abs=15)


def test_an_offset_moves_the_whole_scan():
    before, after = (
        sitk.GetArrayFromImage(scan_lesion(LESION, 1, change=c).image) for c in ("none", "offset")
    )
    np.testing.assert_allclose(after - before, 30, atol=1)


def test_a_rearrangement_keeps_the_densities():
    lesion = Lesion(volume_ml=4.0, seed=3, noise_hu=0.5)
    before, after = (
        inside(scan_lesion(lesion, 1, change=c, reader_mm=0.0)) for c in ("none", "radial")
    )
    assert np.median(after) == pytest.approx(np.median(before), abs=8)
    assert after.std() == pytest.approx(before.std(), rel=0.35)


def test_drawn_lesions_differ():
    assert draw_lesion(1, 5.0) != draw_lesion(2, 5.0)
    assert draw_lesion(1, 5.0) == draw_lesion(1, 5.0)

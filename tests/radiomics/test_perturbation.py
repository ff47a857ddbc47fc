"""Perturbed copies repeat, and differ by what was requested.

Odd lesions have values or reasons.
"""

from __future__ import annotations

import numpy as np
import pytest

from dagster_project.radiomics.extraction import (
    CropTooLargeError,
    extract_lesion,
    feature_names,
    prepare_tumor,
)
from dagster_project.radiomics.perturbation import measure_copies
from dagster_project.radiomics.phantoms import Lesion, draw_lesion, scan_lesion
from dagster_project.radiomics.preparation import (
    Noise,
    copy_visit,
    crop_visit,
    depth_below_surface,
    depth_within_voxels,
)
from dagster_project.study import load_study
from tests.radiomics.conftest import as_ct

STUDY = load_study()
CHAIN = dict(STUDY.section("perturbation"))
STILL = CHAIN | {"shift_mm": 0.0, "rotation_deg": 0.0}
QUIET = Noise(0.0, 0.0, 0.0, 0.0)


@pytest.fixture(scope="module")
def quick(radiomics_settings):
    return dict(radiomics_settings) | {"log_sigma_mm": [], "wavelet": "", "padding_mm": 5.0}


def copies_of(scan, radiomics, *, contour_mm=0.7, settings=CHAIN):
    """Feature → values of the copies, in their order."""
    found: dict[str, list[float]] = {}
    for _, row in measure_copies(
        scan.image,
        scan.mask,
        contour_mm=contour_mm,
        settings=settings,
        radiomics=radiomics,
        peeling=STUDY.section("dhi"),
    ):
        found.setdefault(row["feature"], []).append(row["value"])
    return found


def test_copies_repeat_and_differ_among_themselves(first_scan, quick):
    once, again = (copies_of(first_scan, quick) for _ in range(2))
    assert once == again
    assert set(once) == set(feature_names(quick))
    assert len(set(once["original_glcm_Contrast"])) == CHAIN["copies"]


def test_a_copy_that_is_not_perturbed_is_the_lesion(quick):
    """On voxels of 1 mm the values come back, but for half a voxel of grid.

    There is no move, no noise in the scan and no error of the outline.
    """
    scan = scan_lesion(Lesion(volume_ml=6.0, seed=3, noise_hu=0.0, spacing_mm=(1.0, 1.0, 1.0)), 0)
    copied = copies_of(scan, quick, contour_mm=0.0, settings=STILL | {"copies": 1})
    real = {
        r["feature"]: r["value"]
        for r in extract_lesion(scan.image, {"R": scan.mask}, None, quick)
        if r["region"] == "tumor"
    }
    for name in (
        "original_shape_VoxelVolume",
        "original_firstorder_Median",
        "original_firstorder_90Percentile",
        "original_glcm_JointEntropy",
    ):
        assert copied[name][0] == pytest.approx(real[name], rel=0.06), name


def test_growth_moves_the_whole_outline_and_lobes_hardly_the_volume(first_scan):
    """A ball of radius r whose surface moves by e changes its volume by 3 e / r."""
    visit = crop_visit(first_scan.image, first_scan.mask)
    volumes = {
        share: [outline(visit, k, 1.0, share).sum() for k in range(1, 21)] for share in (0.0, 1.0)
    }
    spread = {share: np.std(v) / np.mean(v) for share, v in volumes.items()}
    radius = (3 * np.mean(volumes[1.0]) / (4 * np.pi)) ** (1 / 3)
    assert spread[1.0] == pytest.approx(3 * (1.0 / np.sqrt(2)) / radius, rel=0.4)
    assert spread[0.0] < spread[1.0] / 2


@pytest.mark.parametrize("contour_mm", [0.3, 0.6, 1.5])
def test_outlines_of_two_copies_differ_by_as_much_as_was_asked_for(contour_mm):
    """The mean distance is the volume between two outlines over the surface.

    For a Gaussian of SD s it is s sqrt(2 / pi).
    """
    scan = scan_lesion(Lesion(volume_ml=15.0, seed=5), 0, reader_mm=0.0)
    visit = crop_visit(scan.image, scan.mask)
    masks = [outline(visit, k, contour_mm, 0.2) for k in range(1, 25)]
    surface = (36 * np.pi * np.mean([m.sum() for m in masks]) ** 2) ** (1 / 3)
    apart = np.mean([(a ^ b).sum() for a, b in zip(masks[::2], masks[1::2], strict=True)]) / surface
    assert apart == pytest.approx(contour_mm * np.sqrt(2 / np.pi), rel=0.25)


def test_copies_spread_as_repeats_do(quick):
    """The spread within a lesion is that of its copies, in the median feature.

    Synthetic lesions are truly scanned and outlined three times.
    """
    lesions = [
        draw_lesion(seed, volume)
        for seed, volume in enumerate((1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0), start=40)
    ]
    scans = [[scan_lesion(lesion, k, reader=k) for k in range(3)] for lesion in lesions]
    copies = [
        copies_of(of_lesion[0], quick, contour_mm=1.0, settings=CHAIN | {"copies": 6})
        for of_lesion in scans
    ]  # few draws of growth would be chance
    real = [
        [
            {
                r["feature"]: r["value"]
                for r in extract_lesion(s.image, {"R": s.mask}, None, quick)
                if r["region"] == "tumor"
            }
            for s in of
        ]
        for of in scans
    ]
    ratios = [
        within_sd([c[n] for c in copies]) / within_sd([[m[n] for m in of] for of in real])
        for n in copies[0]
        if n != "original_firstorder_Minimum"
    ]
    assert len(ratios) > 90
    assert 0.7 < np.median(ratios) < 1.4


def within_sd(values):
    """Root of the mean variance within rows."""
    return np.sqrt(np.array(values, dtype=float).var(axis=1, ddof=1).mean())


def outline(visit, copy, contour_mm, growth_share):
    return copy_visit(
        visit, copy, QUIET, contour_mm, STILL, growth_share=growth_share, within_voxels=True
    )[1]


def test_a_depth_within_voxels_is_that_of_a_ball():
    """The depth is right to a tenth of a voxel in the mean.

    The distance between voxels is off by up to half of one.
    """
    centre = np.array([20.3, 19.6, 20.1])[:, None, None, None]
    truth = 9.0 - np.sqrt(((np.indices((41, 41, 41)) - centre) ** 2).sum(axis=0))
    share = np.clip(truth + 0.5, 0, 1)
    near = np.abs(truth) < 1
    error = (depth_within_voxels(share) - truth)[near]
    assert abs(error.mean()) < 0.1
    assert error.std() < 0.1 < (depth_below_surface(share >= 0.5) - truth)[near].std()


ODD = {
    "one voxel": (slice(20, 21),) * 3,
    "one slice": (slice(20, 21), slice(12, 28), slice(12, 28)),
    "at the border": (slice(0, 9),) * 3,
    "whole scan": (slice(None),) * 3,
}


@pytest.mark.parametrize("scanned", ["noise", "constant air"])
@pytest.mark.parametrize("outlined", ODD)
def test_odd_masks_and_flat_scans_give_a_value_or_a_reason(quick, outlined, scanned):
    mask = np.zeros((40, 40, 40), dtype=bool)
    mask[ODD[outlined]] = True
    hu = (
        np.full(mask.shape, -1000.0)
        if scanned == "constant air"
        else np.random.default_rng(2).normal(-400, 90, mask.shape)
    )
    found = measure_copies(
        as_ct(hu),
        mask,
        contour_mm=None,
        settings=CHAIN | {"copies": 2},
        radiomics=quick,
        peeling=STUDY.section("dhi"),
    )
    rows = [row for _, row in found]
    assert len(rows) == 2 * len(feature_names(quick))
    assert all(
        (r["value"] is None) != (r["reason"] is None)
        and (r["value"] is None or np.isfinite(r["value"]))
        for r in rows
    )


def test_what_memory_does_not_allow_is_refused_here_too(first_scan, quick):
    with pytest.raises(CropTooLargeError):
        prepare_tumor(first_scan.image, first_scan.mask, quick | {"maximum_crop_voxels": 1000})

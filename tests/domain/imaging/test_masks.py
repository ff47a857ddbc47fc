"""Measuring, comparing and keeping masks; and the numbers that real contours have to give."""

from __future__ import annotations

import shutil
import time

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dagster_project.domain.imaging.masks import (
    MaskError,
    _flag_pieces,
    dice,
    kept_overlap,
    load_mask,
    load_union,
    mask_digest,
    mask_overlap,
    measure_mask,
    read_outlines,
    save_mask,
    surface_dice,
    surface_distances,
)
from dagster_project.domain.imaging.outlines import Outline
from dagster_project.domain.imaging.series import read_series
from dagster_project.domain.reading.reads import MEASURED

SHAPE = (3, 5, 6)
masks = arrays(bool, SHAPE)


def image_of(array, spacing=(1.0, 1.0, 1.0), origin=(0.0, 0.0, 0.0)):
    image = sitk.GetImageFromArray(array.astype(np.int16))
    image.SetSpacing(spacing)
    image.SetOrigin(origin)
    return image


def test_a_block_is_measured_as_a_block():
    hu = np.zeros((4, 10, 12))
    mask = np.zeros(hu.shape, bool)
    mask[1:3, 2:5, 4:8] = True
    hu[mask] = np.arange(mask.sum())
    found = measure_mask(mask, image_of(hu, (0.5, 0.5, 2.0), (-10.0, 20.0, 30.0)))
    assert (found["voxel_count"], found["volume_mm3"], found["mean_hu"]) == (24, 12.0, 11.5)
    assert found["longest_diameter_mm"] == pytest.approx(2.5)
    assert found["short_axis_mm"] == pytest.approx(2.4 * 2.5 / 3.2)
    assert [found[f"centroid_{a}_mm"] for a in "xyz"] == pytest.approx(
        [-10 + 5.5 * 0.5, 20 + 3 * 0.5, 30 + 1.5 * 2]
    )
    assert found["diameter_slice"] == 1
    ends = np.array(
        [[float(c) for c in end.split(",")] for end in found["diameter_ends_mm"].split(";")]
    )
    assert np.linalg.norm(ends[0] - ends[1]) == pytest.approx(2.5)
    assert set(ends[:, 2]) == {32.0}


def test_a_measurement_fills_the_columns_of_reads():
    assert set(measure_mask(np.ones((1, 2, 2), bool), image_of(np.zeros((1, 2, 2))))) == set(
        MEASURED
    )


def test_an_empty_mask_has_no_volume_and_nothing_else():
    found = measure_mask(np.zeros(SHAPE, bool), image_of(np.zeros(SHAPE)))
    assert set(found) == set(MEASURED)
    assert {k: v for k, v in found.items() if v is not None} == {
        "voxel_count": 0,
        "volume_mm3": 0.0,
        "mask_digest": mask_digest(np.zeros(SHAPE, bool)),
    }


@settings(max_examples=40)
@given(masks)
def test_a_kept_mask_comes_back(tmp_path_factory, mask):
    path = tmp_path_factory.mktemp("m") / "mask.npz"
    save_mask(path, mask)
    assert np.array_equal(load_mask(path), mask)
    assert [f.name for f in path.parent.iterdir()] == ["mask.npz"]


def test_union_of_kept_masks_holds_what_any_of_them_holds(tmp_path):
    masks = [np.random.default_rng(seed).random((6, 7, 8)) < 0.1 for seed in range(3)]
    masks[1][:3] = False
    paths = [tmp_path / f"{k}.npz" for k in range(3)]
    for path, mask in zip(paths, masks, strict=True):
        save_mask(path, mask)
    assert np.array_equal(load_union(paths), np.logical_or.reduce(masks))
    assert load_union([]) is None


@given(masks, masks)
def test_the_digest_tells_masks_apart(a, b):
    assert (mask_digest(a) == mask_digest(b)) == np.array_equal(a, b)


@given(masks, masks)
def test_dice_is_symmetric_and_one_only_for_equal_masks(a, b):
    assert dice(a, b) == dice(b, a)
    assert surface_dice(a, b, (1, 1, 1)) == surface_dice(b, a, (1, 1, 1))
    if a.any() or b.any():
        assert 0 <= dice(a, b) <= 1
        assert (dice(a, b) == 1) == np.array_equal(a, b)
        assert dice(a, b) == pytest.approx(2 * (a & b).sum() / (a.sum() + b.sum()))


def test_two_empty_masks_were_not_compared_and_one_empty_mask_is_zero():
    empty, full = np.zeros(SHAPE, bool), np.ones(SHAPE, bool)
    assert dice(empty, empty) is surface_dice(empty, empty, (1, 1, 1)) is None
    assert dice(empty, full) == surface_dice(empty, full, (1, 1, 1)) == 0


@pytest.mark.parametrize(("shift", "expected"), [(1, 1.0), (3, None)])
def test_surface_dice_forgives_a_millimetre(shift, expected):
    a = np.zeros((12, 24, 24), bool)
    a[3:9, 6:16, 6:16] = True
    found = surface_dice(a, np.roll(a, shift, axis=2), (1.0, 1.0, 1.0))
    assert found == expected if expected else found < 0.9


@pytest.mark.parametrize("slice_mm", [1.0, 1.0000000000000016, 0.9999999999999998])
def test_one_slice_apart_is_within_a_millimetre_whatever_the_last_digit(slice_mm: float) -> None:
    """Spacings computed from positions are 1 mm but for rounding; a Dice must not hang on that."""
    a = np.zeros((12, 12, 12), bool)
    a[3:8, 3:8, 3:8] = True
    assert surface_dice(a, np.roll(a, 1, axis=0), (slice_mm, 1.0, 1.0)) == 1.0


def slow_surface_distances(a, b, spacing):
    """Every surface voxel of one against every surface voxel of the other."""
    places = []
    for mask in (a, b):
        padded = np.pad(mask, 1)
        inside = padded.copy()
        for axis in range(3):
            inside &= np.roll(padded, 1, axis) & np.roll(padded, -1, axis)
        places.append((np.argwhere(padded & ~inside) - 1) * spacing)
    apart = np.linalg.norm(places[0][:, None] - places[1][None], axis=-1)
    from_a, from_b = apart.min(1), apart.min(0)
    every = np.concatenate([from_a, from_b])
    return (
        (every <= 1.0).mean(),
        max(np.percentile(from_a, 95), np.percentile(from_b, 95)),
        every.mean(),
    )


@settings(max_examples=60, deadline=None)
@given(masks, st.integers(0, 2**31))
def test_surface_distances_are_those_of_all_pairs_of_surface_voxels(a, seed):
    b = np.random.default_rng(seed).random(a.shape) < 0.4
    assume(a.any() and b.any())
    spacing = np.array([1.5, 0.7, 0.9])
    found, back = surface_distances(a, b, spacing), surface_distances(b, a, spacing)
    assert (found.surface_dice, found.hd95_mm, found.mean_mm) == pytest.approx(
        slow_surface_distances(a, b, spacing)
    )
    assert (back.surface_dice, back.hd95_mm, back.mean_mm) == pytest.approx(
        (found.surface_dice, found.hd95_mm, found.mean_mm)
    )


def test_nothing_has_no_surface():
    with pytest.raises(ValueError, match="empty"):
        surface_distances(np.zeros((2, 2, 2), bool), np.ones((2, 2, 2), bool), (1, 1, 1))


@pytest.mark.parametrize(
    ("spacing", "by_surface"), [((1.0, 1.0, 1.0), True), ((2.0, 2.0, 2.0), False)]
)
def test_small_lesions_are_compared_by_their_surface(spacing, by_surface):
    a = np.zeros((12, 24, 24), bool)
    a[3:9, 6:16, 6:16] = True
    b = np.roll(a, 2, axis=2)
    assert mask_overlap(a, b, spacing) == (
        surface_dice(a, b, spacing) if by_surface else dice(a, b)
    )


@settings(max_examples=40)
@given(masks, masks)
def test_kept_masks_are_compared_without_being_unfolded(tmp_path_factory, a, b):
    folder = tmp_path_factory.mktemp("m")
    save_mask(folder / "a", a)
    save_mask(folder / "b", b)
    assert kept_overlap(folder / "a", folder / "b") == dice(a, b)
    assert kept_overlap(folder / "a", folder / "b", (1, 1, 1)) == mask_overlap(a, b, (1, 1, 1))


@given(masks, st.integers(0, 4), st.integers(0, 4))
def test_measurements_move_with_the_mask(mask, dy, dx):
    if not mask.any():
        return
    large = np.zeros((3, 12, 12), bool)
    large[:, :5, :6] = mask
    a, b = (
        measure_mask(m, image_of(np.zeros(large.shape)))
        for m in (large, np.roll(large, (dy, dx), axis=(1, 2)))
    )
    assert (a["voxel_count"], a["longest_diameter_mm"], a["short_axis_mm"]) == pytest.approx(
        (b["voxel_count"], b["longest_diameter_mm"], b["short_axis_mm"])
    )
    assert (
        b["centroid_x_mm"] - a["centroid_x_mm"],
        b["centroid_y_mm"] - a["centroid_y_mm"],
    ) == pytest.approx((dx, dy))


@pytest.mark.parametrize("content", [b"", b"not DICOM at all"])
def test_a_file_that_is_nothing_is_refused(tmp_path, content):
    (tmp_path / "x.dcm").write_bytes(content)
    with pytest.raises(MaskError, match="cannot be read") as error:
        read_outlines(tmp_path / "x.dcm", None)
    assert tmp_path.name not in str(error.value)


@pytest.mark.real_data
def test_an_image_is_no_outline(shared_data):
    with pytest.raises(MaskError, match="neither RTSTRUCT nor SEG"):
        read_outlines(shared_data / "dicom_oddities/mask_objects/ct_1.dcm", None)


REAL = {
    "lung_ct/case_1": ("ct", "rtstruct.dcm", "official_mask.nii.gz", 125256, -46.88, 358681.5),
    "lung_ct/case_3": ("ct", "rtstruct.dcm", None, 4047, 1.85, 11588.9),
    "sarcoma_ct/case_002": (
        "image",
        "mask/RS.dcm",
        "official_nifti/CT_mask.nii.gz",
        17090,
        None,
        None,
    ),
    "sarcoma_ct/case_019": (
        "image",
        "mask/RS.dcm",
        "official_nifti/CT_mask.nii.gz",
        5564,
        None,
        None,
    ),
    "sarcoma_ct/case_024": (
        "image",
        "mask/RS.dcm",
        "official_nifti/CT_mask.nii.gz",
        24892,
        None,
        None,
    ),
}


@pytest.mark.real_data
@pytest.mark.parametrize("case", REAL)
def test_real_contours_give_the_published_masks(shared_data, tmp_path, case):
    ct, contours, official, voxels, mean, volume = REAL[case]
    series = read_series(shared_data / case / ct)
    (outline,) = read_outlines(shared_data / case / contours, series)
    found = measure_mask(outline.mask, series.image)
    assert (found["voxel_count"], outline.n_outside) == (voxels, 0)
    if mean is not None:
        assert (round(found["mean_hu"], 2), round(found["volume_mm3"], 1)) == (mean, volume)
    if official is not None:
        path = tmp_path / f"{series.uid}__GTV.nii.gz"
        shutil.copy(shared_data / case / official, path)
        assert dice(read_outlines(path, series)[0].mask, outline.mask) == 1.0


STRICT, INCLUSIVE = {1: 3071, 2: 3712}, {1: 3898, 2: 4712}
"""Voxels of the two readers' nodule without and with the pixels on the outline."""


@pytest.fixture(scope="module")
def two_readers(shared_data):
    series = read_series(shared_data / "two_readers/ct")
    return {
        (reader, kind): read_outlines(
            shared_data / f"two_readers/reader_{reader}.{kind}.dcm", series
        )[0].mask
        for reader in (1, 2)
        for kind in ("rtstruct", "seg")
    }


@pytest.mark.real_data
@pytest.mark.parametrize("reader", [1, 2])
def test_two_readers_contours_lie_between_strict_and_inclusive(two_readers, reader):
    assert two_readers[reader, "seg"].sum() == STRICT[reader]
    assert STRICT[reader] < two_readers[reader, "rtstruct"].sum() < INCLUSIVE[reader]


@pytest.mark.real_data
def test_two_readers_agree_as_published(two_readers):
    assert round(dice(two_readers[1, "seg"], two_readers[2, "seg"]), 3) == 0.833
    assert dice(two_readers[1, "rtstruct"], two_readers[2, "rtstruct"]) == pytest.approx(
        0.833, abs=0.005
    )


@pytest.mark.real_data
def test_a_large_structure_set_does_not_take_long(shared_data):
    series = read_series(shared_data / "lung_ct/case_1/ct")
    start = time.process_time()
    read_outlines(shared_data / "lung_ct/case_1/rtstruct.dcm", series)
    # A hundred times what it takes: only a loop over pixels would fail.
    assert time.process_time() - start < 3


def test_an_outline_in_pieces_is_flagged_and_a_ragged_border_is_not():
    mask = np.zeros((4, 20, 20), bool)
    mask[:, 2:10, 2:10] = True
    assert _flag_pieces(Outline("L1", mask, "SEG", "voxels_as_given", 0)).flags == ()
    mask[1, 15, 15] = True
    assert _flag_pieces(Outline("L1", mask, "SEG", "voxels_as_given", 0)).flags == ()
    mask[:, 14:18, 14:18] = True
    assert _flag_pieces(Outline("L1", mask, "SEG", "voxels_as_given", 0)).flags == (
        "several_pieces",
    )

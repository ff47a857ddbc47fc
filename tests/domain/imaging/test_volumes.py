"""NIfTI and NRRD masks: on the grid of the series however their axes run, or refused."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk

from dagster_project.domain.imaging.masks import MaskError, outline_parts, read_outlines
from dagster_project.domain.imaging.series import read_series
from dagster_project.domain.imaging.volumes import name_parts
from tests.domain.phantoms import SERIES, series_datasets, write

EMPTY = np.zeros((6, 9, 11), np.int16)


@pytest.fixture
def series(tmp_path):
    return read_series(
        write(
            tmp_path / "ct",
            series_datasets(
                EMPTY,
                spacing=(2.0, 0.7, 0.9),
                origin=(-5, 6, 7),
                cosines=(0.8, 0.6, 0, -0.6, 0.8, 0),
            ),
        )
    )


@pytest.fixture
def voxels():
    return np.random.default_rng(3).random(EMPTY.shape) < 0.3


def volume(series, voxels):
    image = sitk.GetImageFromArray(voxels)
    image.CopyInformation(series.image)
    return image


def saved(tmp_path, image, name=f"{SERIES}__L1.nii.gz"):
    sitk.WriteImage(image, str(tmp_path / name))
    return tmp_path / name


@pytest.mark.parametrize(
    ("ending", "source"),
    [("nii.gz", "NIFTI"), ("nii", "NIFTI"), ("nrrd", "NRRD"), ("NRRD", "NRRD")],
)
def test_a_mask_on_the_grid_is_taken_as_given(tmp_path, series, voxels, ending, source):
    (found,) = read_outlines(
        saved(tmp_path, volume(series, voxels.astype(np.uint8)), f"{SERIES}__L1.{ending}"), series
    )
    assert np.array_equal(found.mask, voxels)
    assert (found.label, found.source, found.border_rule, found.n_outside) == (
        "L1",
        source,
        "voxels_as_given",
        0,
    )


@pytest.mark.parametrize("flips", [(True, False, False), (False, True, True), (True, True, True)])
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 0, 2)])
def test_flipped_and_swapped_axes_are_put_back(tmp_path, series, voxels, flips, order):
    turned = sitk.PermuteAxes(sitk.Flip(volume(series, voxels.astype(np.uint8)), flips), order)
    (found,) = read_outlines(saved(tmp_path, turned), series)
    assert np.array_equal(found.mask, voxels)


def test_a_part_of_the_grid_is_enough_and_what_lies_beyond_is_counted(tmp_path, series, voxels):
    image = volume(series, voxels.astype(np.uint8))
    (part,) = read_outlines(saved(tmp_path, image[2:9, 1:6, 3:5]), series)
    expected = np.zeros_like(voxels)
    expected[3:5, 1:6, 2:9] = voxels[3:5, 1:6, 2:9]
    assert np.array_equal(part.mask, expected)
    assert part.flags == ()
    (beyond,) = read_outlines(
        saved(tmp_path, sitk.ConstantPad(image, [0, 0, 0], [0, 0, 2], 1)), series
    )
    assert np.array_equal(beyond.mask, voxels)
    assert beyond.n_outside == 2 * 9 * 11
    assert beyond.flags[:2] == ("cut_by_images", "longest_outside")


def test_fractions_count_from_one_half(tmp_path, series):
    fractions = np.random.default_rng(1).integers(0, 5, EMPTY.shape) / 4
    (found,) = read_outlines(saved(tmp_path, volume(series, fractions.astype(np.float32))), series)
    assert np.array_equal(found.mask, fractions >= 0.5)
    assert found.border_rule == "fraction_at_least_half"


def _shifted(image):
    image.SetOrigin([c + 0.3 for c in image.GetOrigin()])
    return image


def _coarser(image):
    image.SetSpacing([s * 1.1 for s in image.GetSpacing()])
    return image


def _resampled(image):
    return sitk.Expand(image, [2, 1, 1])


def _turned(image):
    image.SetDirection(np.eye(3).ravel().tolist())
    return image


@pytest.mark.parametrize("change", [_shifted, _coarser, _resampled, _turned])
def test_another_grid_is_refused(tmp_path, series, voxels, change):
    with pytest.raises(MaskError, match="grid"):
        read_outlines(saved(tmp_path, change(volume(series, voxels.astype(np.uint8)))), series)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (lambda v: v * 1 + np.roll(v, 1) * 2, "several labels"),
        (lambda v: v * -1, "negative"),
        (lambda v: v * 1.5, "above 1"),
        (lambda v: np.where(v, np.nan, 0), "no numbers"),
    ],
)
def test_values_that_are_no_mask_are_refused(tmp_path, series, voxels, values, reason):
    with pytest.raises(MaskError, match=reason):
        read_outlines(
            saved(
                tmp_path, volume(series, values(voxels).astype(np.float32)), f"{SERIES}__L1.nrrd"
            ),
            series,
        )


def test_a_file_that_is_no_volume_is_refused_without_its_path(tmp_path, series):
    path = tmp_path / f"{SERIES}__L1.nii.gz"
    path.write_bytes(b"nothing")
    with pytest.raises(MaskError) as error:
        read_outlines(path, series)
    assert str(tmp_path) not in str(error.value)
    assert error.value.__cause__ is None


def test_a_volume_of_four_dimensions_is_refused(tmp_path, series, voxels):
    path = saved(tmp_path, sitk.JoinSeries([volume(series, voxels.astype(np.uint8))] * 2))
    with pytest.raises(MaskError, match="three-dimensional"):
        read_outlines(path, series)


def test_the_file_name_tells_series_and_lesion(tmp_path, series, voxels):
    path = saved(tmp_path, volume(series, voxels.astype(np.uint8)), "1.9.9__L1.nii.gz")
    assert [(p.label, p.references.series) for p in outline_parts(path)] == [("L1", {"1.9.9"})]
    with pytest.raises(MaskError, match="another series"):
        read_outlines(path, series)
    assert name_parts(tmp_path / "1.2__left upper__lobe.nrrd") == ("1.2", "left upper__lobe")


def test_a_name_without_a_series_is_the_label(tmp_path, series, voxels):
    path = saved(tmp_path, volume(series, voxels.astype(np.uint8)), "mask.nii.gz")
    assert [p.references.series for p in outline_parts(path)] == [set()]
    assert read_outlines(path, series)[0].label == "mask"

"""Which slices of a series make one volume: one acquisition whole, or a refusal by tag."""

from __future__ import annotations

import numpy as np
import pytest

from dagster_project.domain.imaging.series import SeriesError, geometry, pixel_digest, read_series
from tests.domain.phantoms import slice_dataset, write

N = 16


@pytest.fixture
def voxels():
    return np.random.default_rng(0).integers(-1000, 2000, (N, 9, 11)).astype(np.int16)


def acquired(voxels, heights, *, first=1, **tags):
    """Slices of one acquisition at some heights, numbered in the order given."""
    return [
        slice_dataset(plane, (0, 0, z), first + k, **tags)
        for k, (plane, z) in enumerate(zip(voxels, heights, strict=True))
    ]


def read(folder, datasets):
    return read_series(write(folder, datasets, shuffled=True))


def refused(folder, datasets):
    with pytest.raises(SeriesError) as error:
        read(folder, datasets)
    assert "send" in error.value.reason
    return error.value.reason


TOLD_APART = {
    "ConvolutionKernel": ("Br40d", "Br64f"),
    "KVP": (80, 140),
    "AcquisitionNumber": (1, 2),
    "ImageType": (["ORIGINAL", "PRIMARY", "AXIAL"], ["ORIGINAL", "PRIMARY", "AXIAL", "HELIX"]),
    "SliceThickness": (1.0, 5.0),
    "ContrastBolusAgent": ("", "CONTRAST"),
}


@pytest.mark.parametrize("keyword", TOLD_APART)
@pytest.mark.parametrize("shift", [0.0, 0.5])
def test_two_volumes_in_one_series_are_refused_by_what_tells_them_apart(
    tmp_path, voxels, keyword, shift
):
    one, two = TOLD_APART[keyword]
    slices = acquired(voxels, range(N), **{keyword: one})
    slices += acquired(voxels + 5, np.arange(N) + shift, first=101, **{keyword: two})
    assert keyword in refused(tmp_path, slices)


@pytest.mark.parametrize("keyword", TOLD_APART)
def test_slices_that_take_turns_on_one_grid_are_refused(tmp_path, voxels, keyword):
    slices = acquired(voxels, range(N))
    for k, one in enumerate(slices):
        setattr(one, keyword, TOLD_APART[keyword][k % 2])
    assert keyword in refused(tmp_path, slices)


@pytest.mark.parametrize("shift", [0.0, 0.5])
def test_two_volumes_without_a_word_of_difference_are_told_by_their_instance_numbers(
    tmp_path, voxels, shift
):
    slices = acquired(voxels, range(N)) + acquired(voxels + 5, np.arange(N) + shift, first=101)
    assert "InstanceNumber" in refused(tmp_path, slices)


def test_two_kernels_one_above_the_other_are_refused(tmp_path, voxels):
    slices = acquired(voxels, range(N))
    for one in slices[8:]:
        one.ConvolutionKernel = "Br64f"
    assert "(0018,1210) ConvolutionKernel" in refused(tmp_path, slices)


@pytest.mark.parametrize("keyword", ["XRayTubeCurrent", "Exposure", "CTDIvol"])
def test_an_exposure_that_alternates_is_refused_and_modulation_is_read(tmp_path, voxels, keyword):
    modulated, turns = acquired(voxels, range(N)), acquired(voxels, range(N))
    for k in range(N):
        setattr(modulated[k], keyword, round(200 + 120 * np.sin(k / 3)))
        setattr(turns[k], keyword, (60, 240)[k % 2])
    assert np.array_equal(read(tmp_path / "m", modulated).array, voxels)
    assert keyword in refused(tmp_path / "t", turns)


def test_noise_that_alternates_is_refused_where_no_header_tells(tmp_path):
    rng = np.random.default_rng(1)
    planes = np.stack([rng.normal(0, (8, 40)[k % 2], (64, 64)) for k in range(N)])
    assert "noise" in refused(tmp_path, acquired(planes.astype(np.int16), range(N)))


@pytest.mark.parametrize("tags", [({"AcquisitionNumber": 1}, {"AcquisitionNumber": 2}), ({}, {})])
@pytest.mark.parametrize("shift", [0.0, 0.5])
def test_of_a_partial_repeat_the_whole_acquisition_is_used(tmp_path, voxels, tags, shift):
    whole = acquired(voxels, range(N), first=50, **tags[1])
    part = acquired(voxels[4:9] + 7, np.arange(4, 9) + shift, first=1, **tags[0])
    if not tags[0] and shift:
        assert "irregularly" in refused(tmp_path, whole + part)
        return
    series = read(tmp_path, whole + part)
    assert np.array_equal(series.array, voxels)
    assert geometry(series)["n_duplicate_slices"] == 5
    assert series.sop_instance_uids == {d.SOPInstanceUID for d in whole}


def test_of_a_scan_begun_twice_the_one_that_was_finished_is_used(tmp_path, voxels):
    begun = acquired(voxels[:6] + 7, range(6), AcquisitionNumber=1)
    finished = acquired(voxels, range(N), first=20, AcquisitionNumber=2)
    assert np.array_equal(read(tmp_path, begun + finished).array, voxels)


def test_acquisitions_that_overlap_and_are_both_cut_short_are_refused(tmp_path, voxels):
    low = acquired(voxels[:8], range(8), AcquisitionNumber=1)
    high = acquired(voxels[4:] + 7, range(4, N), first=20, AcquisitionNumber=2)
    assert "none spans the scan" in refused(tmp_path, low + high)


def test_numbers_that_count_rotations_do_not_mix_a_repeat_into_the_scan(tmp_path, voxels):
    whole, part = acquired(voxels, range(N)), acquired(voxels[4:9] + 7, range(4, 9), first=N + 1)
    for k, one in enumerate(whole + part):
        one.AcquisitionNumber = k + 1
    assert np.array_equal(read(tmp_path / "repeat", whole + part).array, voxels)
    again = acquired(voxels[4:] + 7, range(4, N), first=9)
    for k, one in enumerate(whole[:8] + again):
        one.AcquisitionNumber = k + 1
    assert "nothing tells" in refused(tmp_path / "restart", whole[:8] + again)


@pytest.mark.parametrize("numbers", ["same", "none", "chance"])
def test_a_repeat_that_no_number_tells_from_the_scan_is_refused(tmp_path, voxels, numbers):
    slices = acquired(voxels, range(N))
    repeat = acquired(voxels[4:9] + 7, range(4, 9), first=100)
    chance = np.random.default_rng(2).permutation(N + 5) + 1
    for k, one in enumerate(slices + repeat):
        same = k + 1 if k < N else k - N + 5
        one.InstanceNumber = {"same": same, "none": None, "chance": int(chance[k])}[numbers]
    assert "nothing tells" in refused(tmp_path, slices + repeat)


@pytest.mark.parametrize("step", [1, 4, 8])
def test_table_steps_that_follow_each_other_are_one_volume(tmp_path, voxels, step):
    slices = acquired(voxels, range(N))
    for k, one in enumerate(slices):
        one.AcquisitionNumber = k // step + 1
    assert np.array_equal(read(tmp_path, slices).array, voxels)


def test_an_acquisition_that_fills_anothers_hole_is_of_its_volume(tmp_path, voxels):
    slices = acquired(voxels, range(N))
    for one in slices[5:9]:
        one.AcquisitionNumber = 2
    assert np.array_equal(read(tmp_path, slices).array, voxels)


@pytest.mark.parametrize(
    "keyword", ["ConvolutionKernel", "KVP", "AcquisitionNumber", "SliceThickness"]
)
def test_an_element_that_some_slices_lack_is_no_difference(tmp_path, voxels, keyword):
    slices = acquired(voxels, range(N), AcquisitionNumber=1)
    for one in slices[1::2]:
        setattr(one, keyword, None)
    series = read(tmp_path, slices)
    assert np.array_equal(series.array, voxels)
    assert (series.header["kernel"], series.header["kvp"]) == ("B31f", 120)


def test_spelling_is_no_difference(tmp_path, voxels):
    slices = acquired(voxels, range(N))
    for one in slices[1::2]:
        one.KVP, one.SliceThickness, one.ConvolutionKernel = "120.0", "1.0000", "b31f "
    assert np.array_equal(read(tmp_path, slices).array, voxels)


def test_copies_of_a_slice_are_of_the_volume_and_repeats_are_not(tmp_path, voxels):
    slices = acquired(voxels, range(N))
    copy, repeat = (
        slice_dataset(voxels[3], (0, 0, 3), 90),
        slice_dataset(voxels[3] + 1, (0, 0, 3), 91),
    )
    series = read(tmp_path, [*slices, copy, repeat])
    assert copy.SOPInstanceUID in series.sop_instance_uids
    assert repeat.SOPInstanceUID not in series.sop_instance_uids
    assert (series.n_duplicate_slices, series.n_repeated_slices) == (2, 1)


@pytest.mark.parametrize("number", [0, 99])
@pytest.mark.parametrize("place", [0, 1, 7, N - 1])
@pytest.mark.parametrize("down", [False, True])
def test_a_lone_repeat_before_or_after_the_scan_is_left_out(tmp_path, voxels, number, place, down):
    slices = acquired(voxels, range(N))
    if down:
        for k, one in enumerate(slices):
            one.InstanceNumber = N - k
    lone = slice_dataset(voxels[place] + 200, (0, 0, place), 99)
    lone.InstanceNumber = number
    assert np.array_equal(read(tmp_path, [*slices, lone]).array, voxels)


def test_a_position_written_into_every_slice_is_refused(tmp_path, voxels):
    assert "different images at one position" in refused(tmp_path, acquired(voxels, np.zeros(N)))


def test_instance_numbers_in_the_order_of_names_or_in_none_are_read(tmp_path, voxels):
    by_name = sorted(range(1, N + 1), key=str)
    by_chance = np.random.default_rng(3).permutation(N) + 1
    for name, numbers in (("name", by_name), ("chance", by_chance), ("none", [None] * N)):
        slices = acquired(voxels, range(N))
        for one, n in zip(slices, numbers, strict=True):
            one.InstanceNumber = None if n is None else int(n)
        assert np.array_equal(read(tmp_path / name, slices).array, voxels)


def test_any_order_of_names_gives_the_same_volume(tmp_path, voxels):
    slices = acquired(voxels, range(N), first=50, AcquisitionNumber=2)
    slices += acquired(voxels[4:9] + 7, range(4, 9), AcquisitionNumber=1)
    slices += acquired(voxels[2:4], range(2, 4), first=80, AcquisitionNumber=3)
    rng = np.random.default_rng(5)
    found = {
        (pixel_digest(series), series.sop_instance_uids, tuple(series.header.items()))
        for k in range(6)
        for series in [
            read_series(write(tmp_path / str(k), [slices[i] for i in rng.permutation(len(slices))]))
        ]
    }
    assert len(found) == 1

"""Stacking slices: what is read, what is bridged, what is refused.

No refusal reveals who it was.
"""

from __future__ import annotations

import datetime as dt
import gc

import numpy as np
import pytest

from dagster_project.domain.imaging.series import (
    SeriesError,
    describe_series,
    geometry,
    pixel_digest,
    read_series,
)
from dagster_project.lake.tables import SCANS
from dagster_project.study import load_study
from tests.domain.phantoms import AXIAL, series_datasets, slice_dataset, write

LIMITS = load_study().section("scans")
OTHERS_WRITE = {
    "site",
    "patient",
    "scan",
    "day",
    "reader_artifact_flag",
    "simulated",
    "input_fingerprint",
}
OBLIQUE = (0.8, 0.6, 0.0, -0.6, 0.8, 0.0)


@pytest.fixture
def voxels():
    return np.random.default_rng(0).integers(-1000, 2000, (6, 9, 11)).astype(np.int16)


def test_slices_are_sorted_by_position_not_by_name(tmp_path, voxels):
    series = read_series(
        write(tmp_path, series_datasets(voxels, spacing=(2.0, 0.7, 0.8)), shuffled=True)
    )
    assert np.array_equal(series.array, voxels)
    assert series.image.GetSpacing() == pytest.approx((0.8, 0.7, 2.0))


def test_which_file_comes_first_changes_nothing(tmp_path, voxels):
    """Cosines that are rounded differently in each slice give one volume.

    It is the same whichever slice the folder lists first.
    """
    found = []
    for order in (1, -1):
        datasets = series_datasets(voxels, spacing=(2.0, 0.7, 0.8), origin=(-10, 20, 30))
        for number, dataset in enumerate(datasets, start=1):
            dataset.InstanceNumber = number
            dataset.ImageOrientationPatient = [1, 0, number * 5e-5, 0, 1, 0]
        folder = tmp_path / str(order)
        folder.mkdir()
        found.append(read_series(write(folder, datasets[::order])))
    assert found[0].slice_gaps_mm == found[1].slice_gaps_mm
    assert pixel_digest(found[0]) == pixel_digest(found[1])


def test_rescale_is_applied_and_rounded(tmp_path, voxels):
    datasets = series_datasets(voxels // 4 * 4, slope=4, intercept=-1000)
    assert np.array_equal(read_series(write(tmp_path, datasets)).array, voxels // 4 * 4)


@pytest.mark.parametrize("cosines", [AXIAL, OBLIQUE, (1, 0, 0, 0, -1, 0), (0, 1, 0, 0, 0, -1)])
def test_direction_cosines_are_kept(tmp_path, voxels, cosines):
    datasets = series_datasets(
        voxels, spacing=(2.0, 0.7, 0.8), origin=(-10, 20, 30), cosines=cosines
    )
    series = read_series(write(tmp_path, datasets, shuffled=True))
    corner, row, column = np.array([-10, 20, 30]), np.array(cosines[:3]), np.array(cosines[3:])
    expected = corner + row * 0.8 * 5 + column * 0.7 * 4 + np.cross(row, column) * 2.0 * 3
    assert series.image.TransformIndexToPhysicalPoint((5, 4, 3)) == pytest.approx(
        tuple(expected), abs=1e-4
    )
    assert (series.affine @ [5, 4, 3, 1])[:3] == pytest.approx(expected, abs=1e-4)


def test_duplicate_positions_are_dropped_and_counted(tmp_path, voxels):
    datasets = series_datasets(voxels)
    again = slice_dataset(voxels[2], (0, 0, 2), 77)
    series = read_series(write(tmp_path, [*datasets, again]))
    assert geometry(series)["n_duplicate_slices"] == 1
    assert np.array_equal(series.array, voxels)


def test_of_two_different_slices_at_one_position_the_first_acquired_is_used(tmp_path, voxels):
    datasets = [*series_datasets(voxels), slice_dataset(voxels[2] + 5, (0, 0, 2), 77)]
    assert np.array_equal(read_series(write(tmp_path, datasets, shuffled=True)).array, voxels)


def test_two_volumes_in_one_series_are_refused(tmp_path, voxels):
    second = [slice_dataset(v + 5, (0, 0, k), 50 + k) for k, v in enumerate(voxels)]
    with pytest.raises(SeriesError, match="several volumes"):
        read_series(write(tmp_path, [*series_datasets(voxels), *second]))


@pytest.mark.parametrize("lowest_mm", [-260.9, -260.6, 0.3])
def test_a_spacing_is_free_of_the_rounding_of_its_computation(tmp_path, voxels, lowest_mm):
    """1.0000000000000016 mm is 1 mm, also where a limit or a tolerance is 1 mm."""
    datasets = [
        slice_dataset(v, (0, 0, round(lowest_mm + k, 1)), 50 + k) for k, v in enumerate(voxels)
    ]
    assert geometry(read_series(write(tmp_path, datasets)))["slice_spacing_mm"] == 1.0


def test_missing_slices_are_bridged_and_counted(tmp_path, voxels):
    datasets = series_datasets(voxels)
    del datasets[3]
    series = read_series(write(tmp_path, datasets))
    found = geometry(series)
    assert (
        found["n_slices"],
        found["n_missing_slices"],
        found["slice_spacing_mm"],
        found["largest_gap_mm"],
    ) == (5, 1, 1.0, 2.0)
    assert series.shape == (6, 9, 11)
    assert np.abs(series.array[3] - (voxels[2].astype(float) + voxels[4]) / 2).max() <= 0.5
    assert np.array_equal(series.array[4:], voxels[4:])


@pytest.mark.parametrize(
    ("positions", "reason"),
    [
        ((0, 1, 2, 3, 9, 10), "in a row are missing"),
        ((0, 1, 2, 3.4, 4.4, 5.4), "irregularly spaced"),
    ],
)
def test_stacks_that_are_not_regular_are_refused(tmp_path, voxels, positions, reason):
    datasets = [
        slice_dataset(v, (0, 0, z), k)
        for k, (v, z) in enumerate(zip(voxels, positions, strict=True))
    ]
    with pytest.raises(SeriesError, match=reason):
        read_series(write(tmp_path, datasets))


@pytest.mark.parametrize(
    ("spacing", "decimals", "start"),
    [
        (0.625, 1, 0.0),
        (0.625, 1, -812.3125),
        (0.625, 2, -7.0),
        (0.75, 1, 0.1),
        (1.25, 1, 3.0),
        (5.3, 0, 11.0),
    ],
)
@pytest.mark.parametrize("padding", ["", "000"])
def test_positions_may_be_rounded(tmp_path, spacing, decimals, start, padding):
    """Padding with zeros does not make them more exact."""
    many = np.random.default_rng(1).integers(-1000, 2000, (24, 5, 6)).astype(np.int16)
    datasets = series_datasets(many)
    for k, one in enumerate(datasets):
        height = f"{start + k * spacing:.{decimals}f}"
        one.ImagePositionPatient = ["0", "0", f"{height}{padding}" if "." in height else height]
    found = geometry(read_series(write(tmp_path, datasets)))
    assert found["n_missing_slices"] == 0
    assert found["slice_spacing_mm"] == pytest.approx(spacing, abs=10**-decimals / 23)


@pytest.mark.parametrize("heights", ["0 0.6 1.3 1.9 2.5 3.4", "0 1 2 4 5 6.5", "0 1 2 3.4 4 5"])
def test_rounding_does_not_explain_every_gap(tmp_path, voxels, heights):
    datasets = series_datasets(voxels)
    for one, height in zip(datasets, heights.split(), strict=True):
        one.ImagePositionPatient = ["0", "0", height]
    with pytest.raises(SeriesError, match="irregularly spaced"):
        read_series(write(tmp_path, datasets))


def test_pixel_spacings_may_have_fewer_digits_in_some_slices(tmp_path, voxels):
    datasets = series_datasets(voxels)
    for k, one in enumerate(datasets):
        one.PixelSpacing = ["0.703", "0.703"] if k % 2 else ["0.703125", "0.703125"]
    found = geometry(read_series(write(tmp_path, datasets)))
    assert found["pixel_spacing_row_mm"] == pytest.approx(0.703, abs=2e-4)


def test_a_single_slice_takes_its_spacing_from_the_thickness(tmp_path, voxels):
    series = read_series(write(tmp_path, series_datasets(voxels[:1], spacing=(5.0, 1.0, 1.0))))
    assert series.image.GetSpacing() == (1.0, 1.0, 5.0)
    assert geometry(series)["slice_spacing_mm"] is None


def test_gantry_tilt_is_measured_and_kept_in_the_affine(tmp_path, voxels):
    step = (0.0, np.sin(np.radians(10)), np.cos(np.radians(10)))
    series = read_series(write(tmp_path, series_datasets(voxels, step=step)))
    assert geometry(series)["gantry_tilt_deg"] == pytest.approx(10.0)
    assert series.image.GetSpacing()[2] == pytest.approx(step[2])
    assert (series.affine @ [0, 0, 5, 1])[:3] == pytest.approx(np.array(step) * 5)


def _changed(datasets, index, **tags):
    for keyword, value in tags.items():
        setattr(datasets[index], keyword, value)
    return datasets


@pytest.mark.parametrize(
    ("tags", "reason"),
    [
        ({"SeriesInstanceUID": "1.2.3.4"}, "several series"),
        ({"PixelSpacing": [2.0, 2.0]}, "PixelSpacing"),
        ({"ImageOrientationPatient": list(OBLIQUE)}, "localiser"),
        ({"Modality": "MR"}, "not a single-frame CT"),
        ({"ImagePositionPatient": [0.0, 30.0, 2.0]}, "straight line"),
        ({"ImagePositionPatient": None}, r"\(0020,0032\) ImagePositionPatient"),
        ({"PixelData": b"\0\0"}, "cannot be decoded"),
    ],
)
def test_mixtures_are_refused_with_the_tag_and_what_to_do(tmp_path, voxels, tags, reason):
    with pytest.raises(SeriesError, match=reason) as error:
        read_series(write(tmp_path, _changed(series_datasets(voxels), 2, **tags)))
    assert "send" in error.value.reason or "export" in error.value.reason


def test_an_empty_folder_and_a_damaged_file_are_refused_without_a_path(tmp_path, voxels):
    for damaged in (False, True):
        if damaged:
            (tmp_path / "ZHANG_SAN.dcm").write_bytes(b"not DICOM")
        with pytest.raises(SeriesError) as error:
            read_series(tmp_path)
        assert "ZHANG" not in str(error.value)
        assert tmp_path.name not in str(error.value)


def test_a_description_fills_every_column_that_the_series_itself_tells(tmp_path, voxels):
    found = describe_series(read_series(write(tmp_path, series_datasets(voxels))), LIMITS)
    assert set(found) == set(SCANS.names) - OTHERS_WRITE
    assert [name for name in found if found[name] is None and not SCANS.column(name).nullable] == []
    assert (
        found["kernel"],
        found["kvp"],
        found["contrast"],
        found["axial_original"],
        found["scan_date"],
    ) == ("B31f", 120, None, True, dt.date(2024, 1, 3))


@pytest.mark.parametrize(
    ("tags", "column", "value"),
    [
        ({"AcquisitionDate": "20240105"}, "scan_date", dt.date(2024, 1, 5)),
        ({"SeriesDate": ""}, "scan_date", dt.date(2024, 1, 2)),
        ({"ContrastBolusAgent": "IOPAMIDOL"}, "contrast", True),
        ({"ContrastBolusAgent": ""}, "contrast", False),
        ({"KVP": -3}, "kvp", None),
        ({"KVP": None}, "kvp", None),
        ({"ConvolutionKernel": ["Br40d", "3"]}, "kernel", "Br40d\\3"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, "axial_original", False),
        ({"ImageType": ["DERIVED", "SECONDARY", "MPR"]}, "axial_original", False),
        ({"LossyImageCompression": "01"}, "lossy", True),
        ({"SeriesNumber": None}, "series_number", None),
    ],
)
def test_headers_are_read_with_suspicion(tmp_path, voxels, tags, column, value):
    assert read_series(write(tmp_path, series_datasets(voxels, **tags))).header[column] == value


def _dated(voxels, dates, keyword="AcquisitionDate"):
    datasets = series_datasets(voxels)
    for one, day in zip(datasets, dates, strict=True):
        setattr(one, keyword, day)
    return datasets


@pytest.mark.parametrize(
    ("dates", "day"),
    [
        (["20240106"] * 3 + ["20240105"] * 3, 5),
        (["20240105"] * 3 + ["20240106"] * 3, 5),
        ([None, "", "20240107", None, "20240106", "20240231"], 6),
        ([None] * 6, 3),
    ],
)
def test_a_scan_has_the_date_of_its_earliest_acquisition(tmp_path, voxels, dates, day):
    header = read_series(write(tmp_path, _dated(voxels, dates), shuffled=True)).header
    assert header["scan_date"] == dt.date(2024, 1, day)


def test_a_series_without_any_date_is_read(tmp_path, voxels):
    datasets = series_datasets(voxels, StudyDate="", SeriesDate="", AcquisitionDate="")
    assert describe_series(read_series(write(tmp_path, datasets)), LIMITS)["scan_date"] is None


def test_slices_of_several_days_are_refused(tmp_path, voxels):
    with pytest.raises(SeriesError, match="slices of several days"):
        read_series(write(tmp_path, _dated(voxels, ["20240105"] * 3 + ["20240307"] * 3)))


def test_a_scan_whose_dates_contradict_each_other_is_not_described(tmp_path, voxels):
    series = read_series(write(tmp_path, _dated(voxels, ["20200105"] * 6)))
    with pytest.raises(SeriesError, match="lie more than a month apart"):
        describe_series(series, LIMITS)


@pytest.mark.parametrize(
    ("dates", "contradict"),
    [
        (("20240301", "20240301", "20240301"), True),
        (("20240301", "20240301", None), True),
        (("20240301", None, None), False),
        (("20240301", "20240301", "20240316"), False),
        (("20240314", "20240314", "20240301"), False),
        (("19000101", "19700101", None), False),
    ],
)
def test_a_date_of_acquisition_that_no_other_confirms(tmp_path, voxels, dates, contradict):
    """StudyDate, SeriesDate and ContentDate of an acquisition on the 15th."""
    keywords = ("StudyDate", "SeriesDate", "ContentDate")
    datasets = series_datasets(
        voxels, AcquisitionDate="20240315", **dict(zip(keywords, dates, strict=True))
    )
    assert read_series(write(tmp_path, datasets)).dates_contradict is contradict


def test_a_date_before_the_first_ct_is_none(tmp_path, voxels):
    days = dict.fromkeys(("StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate"), "19000101")
    assert read_series(write(tmp_path, series_datasets(voxels, **days))).header["scan_date"] is None


@pytest.mark.parametrize(
    "locations",
    [
        [10, 11, 12, 13, 14, 15],
        [-3, -4, -5, -6, -7, -8],
        [1.0, 2.1, 3.2, 4.3, 5.4, 6.5],
        [0, 0, 0, 0, 0, 0],
        [None, 2, 4, 6, 8, 10],
    ],
)
def test_slice_locations_may_run_either_way_and_be_absent(tmp_path, voxels, locations):
    datasets = _dated(voxels, locations, "SliceLocation")
    assert read_series(write(tmp_path, datasets)).image.GetSpacing()[2] == 1.0


def test_slice_locations_that_give_another_spacing_are_refused(tmp_path, voxels):
    datasets = _dated(voxels, [0, 2, 4, 6, 8, 10], "SliceLocation")
    with pytest.raises(SeriesError, match="SliceLocation"):
        read_series(write(tmp_path, datasets))


def test_a_blank_slice_among_others_is_refused(tmp_path, voxels):
    voxels[3] = -1024
    with pytest.raises(SeriesError, match="without an image"):
        read_series(write(tmp_path / "between", series_datasets(voxels)))
    voxels[4:] = -1024
    assert np.array_equal(
        read_series(write(tmp_path / "end", series_datasets(voxels))).array, voxels
    )


def test_the_thickest_slice_counts(tmp_path, voxels):
    datasets = series_datasets(voxels)
    for one in datasets[3:]:
        one.SliceThickness = 1.25
    assert read_series(write(tmp_path, datasets)).header["slice_thickness_mm"] == 1.25


def test_voxels_outlive_their_series(tmp_path, voxels):
    array = read_series(write(tmp_path, series_datasets(voxels))).array
    gc.collect()
    assert array.sum() == voxels.sum()
    assert array.flags.writeable is False


@pytest.mark.parametrize(
    "cosines", [(1, 0, 0, 0, -1, 0), (-1, 0, 0, 0, 1, 0), (-1, 0, 0, 0, -1, 0)]
)
def test_a_lesion_of_a_prone_or_mirrored_patient_keeps_its_place_and_volume(tmp_path, cosines):
    z, y, x = np.mgrid[:20, :40, :40]
    ball = (z - 10) ** 2 + (y - 12) ** 2 + (x - 25) ** 2 <= 36
    hu = np.where(ball, 40, -820).astype(np.int16)
    datasets = series_datasets(hu, cosines=tuple(float(c) for c in cosines))
    series = read_series(write(tmp_path, datasets, shuffled=True))
    inside = np.argwhere(series.array > 0)
    centre = (series.affine @ [*inside.mean(0)[::-1], 1])[:3]
    row, column = np.array(cosines[:3]), np.array(cosines[3:])
    assert len(inside) == ball.sum()
    assert centre == pytest.approx(25 * row + 12 * column + 10 * np.cross(row, column))


def test_coronal_slices_are_not_axial(tmp_path, voxels):
    assert (
        read_series(write(tmp_path, series_datasets(voxels, cosines=(1, 0, 0, 0, 0, -1)))).header[
            "axial_original"
        ]
        is False
    )


def test_the_digest_is_of_pixels_and_geometry_alone(tmp_path, voxels):
    def digest(name, changed=voxels, **facts):
        return pixel_digest(
            read_series(write(tmp_path / name, series_datasets(changed, **facts), shuffled=True))
        )

    one_off = voxels.copy()
    one_off[3, 4, 5] += 1
    reference = digest("a")
    assert digest("b", Manufacturer="OTHER", StudyDate="20250101") == reference
    assert (
        len(
            {
                reference,
                digest("c", one_off),
                digest("d", origin=(0, 0, 1)),
                digest("e", spacing=(1.0, 1.0, 1.1)),
            }
        )
        == 4
    )


REAL_SCANS = {
    "lung_ct/case_1/ct": {
        "n_slices": 60,
        "slice_spacing_mm": 3.0,
        "chest_flag": True,
        "metal_flag": False,
        "motion_flag": False,
        "rescale_flag": False,
    },
    "lung_ct/case_3/ct": {
        "n_slices": 46,
        "slice_spacing_mm": 3.0,
        "chest_flag": True,
        "metal_flag": False,
        "motion_flag": None,
        "rescale_flag": False,
    },
    "sarcoma_ct/case_002/image": {
        "n_slices": 48,
        "chest_flag": False,
        "metal_flag": False,
        "motion_flag": False,
        "rescale_flag": False,
        "kernel": "STANDARD",
    },
    "sarcoma_ct/case_019/image": {
        "n_slices": 47,
        "chest_flag": False,
        "metal_flag": False,
        "motion_flag": None,
        "rescale_flag": False,
        "kernel": "SOFT",
    },
    "sarcoma_ct/case_024/image": {
        "n_slices": 55,
        "chest_flag": False,
        "metal_flag": False,
        "motion_flag": False,
        "rescale_flag": False,
    },
    "two_readers/ct": {
        "n_slices": 50,
        "slice_spacing_mm": 1.0,
        "chest_flag": True,
        "metal_flag": False,
        "motion_flag": False,
        "truncated_flag": False,
        "rescale_flag": False,
        "noise_flag": False,
        "axial_original": True,
        "kernel": "D",
    },
}


@pytest.mark.real_data
@pytest.mark.parametrize("folder", REAL_SCANS)
def test_real_scans_are_not_called_broken(shared_data, folder):
    found = describe_series(read_series(shared_data / folder), LIMITS)
    expected = {
        "n_missing_slices": 0,
        "n_duplicate_slices": 0,
        "gantry_tilt_deg": 0.0,
        **REAL_SCANS[folder],
    }
    assert {name: found[name] for name in expected} == pytest.approx(expected, abs=1e-6)


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("name", "readable"),
    [
        ("CT_small.dcm", True),
        ("CT_small_deflated.dcm", True),
        ("D_CLUNIE_CT1_RLE_FRAGS.dcm", True),
        ("JPEG2000_UNC.dcm", False),
        ("MR_small_bigendian.dcm", False),
        ("MR_small_jpeg_ls_lossless.dcm", False),
        ("image_dfl.dcm", False),
    ],
)
def test_transfer_syntaxes_are_decoded_and_other_objects_refused(
    shared_data, tmp_path, name, readable
):
    (tmp_path / "1.dcm").symlink_to(shared_data / "dicom_oddities/transfer_syntax" / name)
    if readable:
        assert read_series(tmp_path).shape[0] == 1
    else:
        with pytest.raises(SeriesError):
            read_series(tmp_path)

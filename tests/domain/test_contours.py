"""Structure sets on their series: which slice a contour belongs to, what makes a hole, what is refused."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest

from dagster_project.domain.masks import MaskError, read_outlines, referenced_series_uids
from dagster_project.domain.series import read_series
from tests.domain.phantoms import AXIAL, SERIES, series_datasets, square, structure_set, write

EMPTY = np.zeros((8, 20, 24), np.int16)


def series_of(folder, **facts):
    return read_series(write(folder / "ct", series_datasets(EMPTY, **facts), shuffled=True))


def outline(tmp_path, *contours, on=None, **facts):
    (found,) = read_outlines(structure_set(tmp_path / "rt.dcm", {"GTV-1": contours}, **facts), on or series_of(tmp_path))
    return found


def test_a_contour_is_filled_on_its_slice(tmp_path):
    found = outline(tmp_path, square(3.5, 8.5, 2))
    assert (found.label, found.source, found.border_rule, found.n_outside) == ("GTV-1", "RTSTRUCT", "even_odd_pixel_centres", 0)
    assert found.mask[2].sum() == found.mask.sum() == 25
    assert found.mask[2, 4:9, 4:9].all()


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("cosines", [AXIAL, (0.8, 0.6, 0, -0.6, 0.8, 0), (1, 0, 0, 0, -1, 0), (0, 1, 0, 0, 0, -1), (0.6, 0, 0.8, 0, 1, 0)])
def test_any_orientation_gives_the_same_voxels(tmp_path, cosines, descending):
    cosines = np.array(cosines, dtype=float)
    origin, spacing = np.array([-11.0, 7.0, 55.0]), (2.5, 0.7, 0.9)
    series = read_series(write(tmp_path / "ct", series_datasets(EMPTY, spacing=spacing, origin=origin, cosines=tuple(cosines))[:: -1 if descending else 1]))
    index = np.array([[3.5, 4.5], [9.5, 4.5], [9.5, 11.5], [3.5, 11.5]])
    points = origin + index[:, :1] * cosines[:3] * 0.9 + index[:, 1:] * cosines[3:] * 0.7 + 5 * 2.5 * np.cross(cosines[:3], cosines[3:])
    found = outline(tmp_path, points, on=series)
    expected = np.zeros(EMPTY.shape, bool)
    expected[5, 5:12, 4:10] = True
    assert np.array_equal(found.mask, expected)


def test_a_gantry_tilt_is_followed(tmp_path):
    tilt = np.array([0.0, np.sin(0.3), np.cos(0.3)])
    series = read_series(write(tmp_path / "ct", series_datasets(EMPTY, step=tilt)))
    found = outline(tmp_path, square(3.5, 8.5, 0) + tilt * 6, on=series)
    assert found.mask[6, 4:9, 4:9].all()
    assert found.mask.sum() == 25


@pytest.mark.parametrize(("z", "place"), [(2.49, 2), (2.5, 2), (2.51, 3), (-0.5, 0), (7.5, 7)])
def test_a_contour_between_slices_goes_to_the_nearest(tmp_path, z, place):
    found = outline(tmp_path, square(3.5, 8.5, z))
    assert np.flatnonzero(found.mask.any((1, 2))).tolist() == [place]
    assert found.n_outside == 0


@pytest.mark.parametrize("z", [-0.6, 7.6, 40])
def test_a_contour_beyond_the_slices_is_counted_not_filled(tmp_path, z):
    found = outline(tmp_path, square(3.5, 8.5, z), square(3.5, 8.5, 4))
    assert found.n_outside == 1
    assert found.mask.sum() == 25


def test_a_contour_beyond_the_edge_is_filled_within_and_counted(tmp_path):
    found = outline(tmp_path, square(-4.5, 3.5, 4))
    assert found.n_outside == 1
    assert found.mask.sum() == 16


def test_contours_of_one_plane_are_combined_by_xor(tmp_path):
    assert outline(tmp_path, square(2.5, 12.5, 3), square(5.5, 8.5, 3)).mask.sum() == 100 - 9


def test_contours_of_two_planes_in_one_slice_do_not_hollow_each_other(tmp_path):
    found = outline(tmp_path, square(2.5, 12.5, 3.1), square(5.5, 8.5, 2.6), square(3.5, 11.5, 2.8))
    assert found.mask[3].sum() == 100
    assert found.n_outside == 2


def test_a_structure_without_contours_is_an_empty_outline(tmp_path):
    assert not outline(tmp_path).mask.any()


@pytest.mark.parametrize("kind", ["POINT", "OPEN_PLANAR", "OPEN_NONPLANAR"])
def test_points_and_open_contours_enclose_nothing(tmp_path, kind):
    assert not outline(tmp_path, square(3.5, 8.5, 2), kind=kind).mask.any()


def test_only_wanted_labels_are_filled(tmp_path):
    path = structure_set(tmp_path / "rt.dcm", {"GTV": [square(3.5, 8.5, 2)], "Heart": [square(1.5, 2.5, 2)]})
    assert [o.label for o in read_outlines(path, series_of(tmp_path), lambda label: label == "GTV")] == ["GTV"]


def test_a_contour_across_slices_is_refused(tmp_path):
    with pytest.raises(MaskError, match="crosses slices"):
        outline(tmp_path, square(3.5, 8.5, 2) + np.array([[0, 0, 0], [0, 0, 0], [0, 0, 3], [0, 0, 3]]))


@pytest.mark.parametrize("data", [["1", "2"], ["1", "2", "x"], ["1", "2", "nan"]])
def test_damaged_coordinates_are_refused(tmp_path, data):
    path = structure_set(tmp_path / "rt.dcm", {"GTV": [square(3.5, 8.5, 2)]})
    raw = path.read_bytes()
    ds = pydicom.dcmread(path)
    old = ds.ROIContourSequence[0].ContourSequence[0].get_item("ContourData").value
    new = "\\".join(data).encode()
    path.write_bytes(raw.replace(old, new.ljust(len(old), b" ") if len(data) != 2 else b"\\".join([b"1"] * 11).ljust(len(old), b" ")))
    with pytest.raises(MaskError, match=r"\(3006,0050\)"):
        read_outlines(path, series_of(tmp_path))


@pytest.mark.parametrize(("references", "reason"), [
    ({"series": "1.9.9"}, "another series"),
    ({"series": None, "frame": "1.9.9"}, "another frame"),
    ({"series": None, "frame": None}, "neither a series nor"),
])
def test_contours_of_something_else_are_refused(tmp_path, references, reason):
    with pytest.raises(MaskError, match=reason):
        outline(tmp_path, square(3.5, 8.5, 2), **references)


@pytest.mark.parametrize("references", [{"series": None}, {"series": None, "frame": None, "images": [f"{SERIES}.3"]}, {"frame": "1.9.9"}])
def test_series_else_image_else_frame_of_reference_tells_where_contours_belong(tmp_path, references):
    assert outline(tmp_path, square(3.5, 8.5, 2), **references).mask.sum() == 25


def test_referenced_series_are_told(tmp_path):
    assert referenced_series_uids(structure_set(tmp_path / "a.dcm", {"GTV": []})) == {SERIES}
    assert referenced_series_uids(structure_set(tmp_path / "b.dcm", {"GTV": []}, series=None)) == set()


@pytest.mark.real_data
@pytest.mark.parametrize(("name", "used"), [
    ("rt.dcm", {"ROI-1": 0}),
    ("invalid_reference_rt.dcm", {"ROI-1": 1, "ROI-2": 1, "ROI-3": 1, "ROI-4": 1}),
    ("non_existent_reference_rt.dcm", {"ROI-1": 1, "ROI-2": 1, "ROI-3": 1, "ROI-4": 1}),
])
def test_odd_structure_sets_are_used_on_the_slices_that_are_there(shared_data, tmp_path, name, used):
    folder = shared_data / "dicom_oddities/mask_objects"
    for slice_name in ("ct_1.dcm", "ct_2.dcm"):
        (tmp_path / slice_name).symlink_to(folder / slice_name)
    found = read_outlines(folder / name, read_series(tmp_path))
    assert {o.label: o.n_outside for o in found} == used
    assert all(o.mask.any() for o in found)


@pytest.mark.real_data
@pytest.mark.parametrize("name", ["rt.dcm", "invalid_reference_rt.dcm", "non_existent_reference_rt.dcm"])
def test_odd_structure_sets_are_refused_on_another_series(shared_data, tmp_path, name):
    (tmp_path / "1.dcm").symlink_to(shared_data / "dicom_oddities/mask_objects/ct_image.dcm")
    with pytest.raises(MaskError, match="refers to another"):
        read_outlines(shared_data / "dicom_oddities/mask_objects" / name, read_series(tmp_path))

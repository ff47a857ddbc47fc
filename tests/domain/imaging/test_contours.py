"""Structure sets on their series.

Which slice a contour belongs to, what makes a hole, what is refused.
"""

from __future__ import annotations

import numpy as np
import pydicom
import pytest

from dagster_project.domain.imaging.masks import MaskError, outline_parts, read_outlines
from dagster_project.domain.imaging.series import read_series
from tests.domain.phantoms import AXIAL, SERIES, series_datasets, square, structure_set, write

EMPTY = np.zeros((8, 20, 24), np.int16)


def series_of(folder, **facts):
    return read_series(write(folder / "ct", series_datasets(EMPTY, **facts), shuffled=True))


def outline(tmp_path, *contours, on=None, **facts):
    (found,) = read_outlines(
        structure_set(tmp_path / "rt.dcm", {"GTV-1": contours}, **facts), on or series_of(tmp_path)
    )
    return found


def test_a_contour_is_filled_on_its_slice(tmp_path):
    found = outline(tmp_path, square(3.5, 8.5, 2))
    assert (found.label, found.source, found.border_rule, found.n_outside) == (
        "GTV-1",
        "RTSTRUCT",
        "even_odd_pixel_centres",
        0,
    )
    assert found.mask[2].sum() == found.mask.sum() == 25
    assert found.mask[2, 4:9, 4:9].all()


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize(
    "cosines",
    [
        AXIAL,
        (0.8, 0.6, 0, -0.6, 0.8, 0),
        (1, 0, 0, 0, -1, 0),
        (0, 1, 0, 0, 0, -1),
        (0.6, 0, 0.8, 0, 1, 0),
    ],
)
def test_any_orientation_gives_the_same_voxels(tmp_path, cosines, descending):
    cosines = np.array(cosines, dtype=float)
    origin, spacing = np.array([-11.0, 7.0, 55.0]), (2.5, 0.7, 0.9)
    series = read_series(
        write(
            tmp_path / "ct",
            series_datasets(EMPTY, spacing=spacing, origin=origin, cosines=tuple(cosines))[
                :: -1 if descending else 1
            ],
        )
    )
    index = np.array([[3.5, 4.5], [9.5, 4.5], [9.5, 11.5], [3.5, 11.5]])
    points = (
        origin
        + index[:, :1] * cosines[:3] * 0.9
        + index[:, 1:] * cosines[3:] * 0.7
        + 5 * 2.5 * np.cross(cosines[:3], cosines[3:])
    )
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
    assert (found.n_outside, found.flags) == (0, ())


@pytest.mark.parametrize("z", [-0.6, 7.6, 40])
def test_a_contour_beyond_the_slices_is_counted_not_filled(tmp_path, z):
    found = outline(tmp_path, square(3.5, 8.5, z), square(3.5, 8.5, 4))
    assert found.n_outside == 1
    assert found.mask.sum() == 25
    assert found.flags == ("cut_by_images",)


@pytest.mark.parametrize(("right", "longer"), [(8.4, False), (9.5, True)])
def test_a_contour_beyond_the_slices_may_hold_the_longest_diameter(tmp_path, right, longer):
    found = outline(tmp_path, square(3.5, right, 40), square(3.5, 8.5, 4))
    assert ("longest_outside" in found.flags) is longer


def test_a_contour_beyond_the_edge_is_filled_within_and_counted(tmp_path):
    found = outline(tmp_path, square(-4.5, 3.5, 4))
    assert found.n_outside == 1
    assert found.mask.sum() == 16
    assert found.flags == ("cut_by_images", "longest_outside")


def test_a_contour_that_no_pixel_is_lost_of_is_whole(tmp_path):
    found = outline(tmp_path, square(-0.9, 3.5, 4))
    assert found.n_outside == 1
    assert found.mask.sum() == 16
    assert found.flags == ()


def test_contours_of_one_plane_are_combined_by_xor(tmp_path):
    assert outline(tmp_path, square(2.5, 12.5, 3), square(5.5, 8.5, 3)).mask.sum() == 100 - 9


def test_contours_of_two_planes_in_one_slice_do_not_hollow_each_other(tmp_path):
    found = outline(tmp_path, square(2.5, 12.5, 3.1), square(5.5, 8.5, 2.6), square(3.5, 11.5, 2.8))
    assert found.mask[3].sum() == 100
    assert found.n_outside == 2


def test_a_structure_without_contours_is_an_empty_outline(tmp_path):
    assert not outline(tmp_path).mask.any()


def circle(radius, z, n=64, centre=(10.0, 10.0)):
    turn = np.linspace(0, 2 * np.pi, n, endpoint=False)
    return np.column_stack(
        [centre[0] + radius * np.cos(turn), centre[1] + radius * np.sin(turn), np.full(n, z)]
    )


def edited(tmp_path, change, *contours, **facts):
    """The outlines of a structure set after `change` of its data set."""
    path = structure_set(tmp_path / "rt.dcm", {"GTV-1": contours}, **facts)
    ds = pydicom.dcmread(path)
    change(ds)
    ds.save_as(path)
    return read_outlines(path, series_of(tmp_path))


def test_a_structure_of_points_alone_is_refused(tmp_path):
    found = outline(tmp_path, square(3.5, 8.5, 2), kind="POINT")
    assert "points alone" in found.refused
    assert not found.mask.any()


def opened(tmp_path, kind, *contours):
    """A structure whose last contour is of another kind than CLOSED_PLANAR."""

    def change(ds):
        ds.ROIContourSequence[0].ContourSequence[-1].ContourGeometricType = kind

    return edited(tmp_path, change, *contours)[0]


@pytest.mark.parametrize("kind", ["OPEN_PLANAR", "OPEN_NONPLANAR", None])
def test_an_open_contour_whose_ends_do_not_meet_refuses_its_structure(tmp_path, kind):
    found = opened(tmp_path, kind, square(3.5, 8.5, 1), square(3.5, 8.5, 2))
    assert "ends do not meet" in found.refused
    assert not found.mask.any()


@pytest.mark.parametrize("kind", ["OPEN_PLANAR", "OPEN_NONPLANAR"])
def test_an_open_contour_whose_ends_meet_is_closed(tmp_path, kind):
    contours = square(3.5, 8.5, 1), circle(5.3, 2)
    closed, found = outline(tmp_path, *contours), opened(tmp_path, kind, *contours)
    assert np.array_equal(closed.mask, found.mask)
    assert (closed.flags, found.flags) == ((), ("open_contours",))


def test_a_structure_of_open_contours_alone_is_refused(tmp_path):
    assert "open contours alone" in outline(tmp_path, circle(5.3, 2), kind="OPEN_PLANAR").refused


def test_points_beside_closed_contours_are_left_out_and_told(tmp_path):
    def a_point(ds):
        item = ds.ROIContourSequence[0].ContourSequence[1]
        item.ContourGeometricType, item.NumberOfContourPoints, item.ContourData = (
            "POINT",
            1,
            [3.0, 3.0, 5.0],
        )

    (found,) = edited(tmp_path, a_point, square(3.5, 8.5, 2), square(3.5, 8.5, 5))
    assert (int(found.mask.sum()), found.flags, found.refused) == (25, ("enclosing_nothing",), "")
    line = outline(tmp_path, square(3.5, 8.5, 2), square(3.5, 8.5, 3)[:2])
    assert (int(line.mask.sum()), line.flags) == (25, ("enclosing_nothing",))


@pytest.mark.parametrize(
    "again",
    [
        lambda p: p,
        lambda p: p[::-1],
        lambda p: np.roll(p, 7, axis=0),
        lambda p: np.vstack([p, p[:1]]),
        lambda p: np.round(p, 2),
    ],
)
def test_equal_contours_count_once(tmp_path, again):
    """Equal contours written in different ways.

    Twice, the other way round, from another point, closed by its first point, with fewer decimals.
    """
    once, twice = (
        outline(tmp_path, circle(5.3, 2)),
        outline(tmp_path, circle(5.3, 2), again(circle(5.3, 2))),
    )
    assert np.array_equal(once.mask, twice.mask)
    assert twice.flags == ("repeated_contours",)


def test_three_equal_contours_count_once(tmp_path):
    assert outline(tmp_path, *[square(3.5, 8.5, 2)] * 3).mask.sum() == 25


def test_a_hole_beside_a_second_piece_stays_a_hole(tmp_path):
    found = outline(tmp_path, square(1.5, 9.5, 2), square(3.5, 6.5, 2), square(11.5, 15.5, 2))
    assert (int(found.mask.sum()), found.flags) == (64 - 9 + 16, ("several_pieces",))


def test_contours_that_cross_are_joined_and_flagged(tmp_path):
    found = outline(tmp_path, square(1.5, 9.5, 2), square(5.5, 13.5, 2))
    assert (int(found.mask.sum()), found.flags) == (64 + 64 - 16, ("crossing_contours",))


def _loop(z, *, twice):
    """A square of 12 pixels, one corner of which is drawn round twice."""
    outer, corner = square(1.5, 13.5, z), square(1.5, 1.5 + twice, z)
    return np.concatenate([outer, outer[:1], corner])


def _eight(z):
    return np.array([[1.5, 1.5, z], [13.5, 1.5, z], [1.5, 13.5, z], [13.5, 13.5, z]])


@pytest.mark.parametrize(
    "contour", [_loop(2, twice=3), _loop(2, twice=9), _loop(2, twice=6)[::-1], _eight(2)]
)
def test_a_contour_that_crosses_itself_is_flagged(tmp_path, contour):
    assert outline(tmp_path, contour).flags == ("crossing_contours",)


@pytest.mark.parametrize(
    "contour",
    [
        _loop(2, twice=1),
        np.repeat(square(1.5, 13.5, 2), 2, axis=0),
        np.concatenate([square(1.5, 13.5, 2), square(4.5, 9.5, 2)[[0, 3, 2, 1, 0]]])[
            [0, 1, 2, 3, 0, 4, 5, 6, 7, 8]
        ],
    ],
    ids=["a pixel twice", "each vertex twice", "a keyhole"],
)
def test_a_contour_that_only_touches_itself_is_not(tmp_path, contour):
    assert outline(tmp_path, contour).flags == ()


@pytest.mark.parametrize(("z", "refused"), [(2.5, False), (2.9, False), (3.0, True), (1.0, True)])
def test_a_contour_on_another_image_than_it_names_is_refused(tmp_path, z, refused):
    """Between two slices it may name either."""
    found = outline(tmp_path, square(3.5, 8.5, z), images=[f"{SERIES}.3"], on=series_of(tmp_path))
    assert bool(found.refused) is refused


@pytest.mark.parametrize(
    ("status", "refused"), [("REJECTED", True), ("APPROVED", False), ("UNAPPROVED", False)]
)
def test_a_set_that_was_rejected_is_refused(tmp_path, status, refused):
    path = structure_set(tmp_path / "rt.dcm", {"GTV": [square(3.5, 8.5, 2)]})
    dataset = pydicom.dcmread(path)
    dataset.ApprovalStatus = status
    dataset.save_as(path)
    (part,) = outline_parts(path)
    assert ("ApprovalStatus" in part.refused) is refused
    (found,) = read_outlines(path, series_of(tmp_path))
    assert ("ApprovalStatus" in found.refused, bool(found.mask.any())) == (refused, not refused)


def test_contours_by_xor_may_cross(tmp_path):
    found = outline(tmp_path, square(1.5, 9.5, 2), square(5.5, 13.5, 2), kind="CLOSEDPLANAR_XOR")
    assert (int(found.mask.sum()), found.flags) == (64 + 64 - 32, ())


def test_contours_that_touch_do_not_cross(tmp_path):
    found = outline(tmp_path, square(1.5, 6.5, 2), square(6.5, 11.5, 2))
    assert (int(found.mask.sum()), found.flags) == (50, ())


def test_items_of_one_structure_are_joined(tmp_path):
    def in_items(ds):
        first = ds.ROIContourSequence[0]
        contours = list(first.ContourSequence)
        ds.ROIContourSequence = [pydicom.Dataset() for _ in contours]
        for item, contour in zip(ds.ROIContourSequence, contours, strict=True):
            item.ReferencedROINumber, item.ContourSequence = 1, [contour]

    (found,) = edited(
        tmp_path, in_items, square(3.5, 8.5, 2), square(3.5, 8.5, 3), square(3.5, 8.5, 4)
    )
    assert np.flatnonzero(found.mask.any((1, 2))).tolist() == [2, 3, 4]


def two_rois(tmp_path, change, names=("GTV", "Node"), other=(12.5, 15.5)):
    path = structure_set(
        tmp_path / "rt.dcm", {names[0]: [square(3.5, 8.5, 2)], f"{names[1]} ": [square(*other, 2)]}
    )
    ds = pydicom.dcmread(path)
    change(ds)
    ds.save_as(path)
    return {o.label: o for o in read_outlines(path, series_of(tmp_path))}


def test_structures_that_share_a_number_are_refused_and_others_are_not(tmp_path):
    def renumbered(ds):
        ds.StructureSetROISequence[1].ROINumber = ds.ROIContourSequence[1].ReferencedROINumber = 1

    found = two_rois(tmp_path, renumbered)
    assert {label: "ROINumber" in o.refused for label, o in found.items()} == {
        "GTV": True,
        "Node": True,
    }


@pytest.mark.parametrize(("other", "read"), [((12.5, 15.5), [True, True]), ((3.5, 8.5), [False])])
def test_two_structures_of_one_name_are_refused_unless_they_are_equal(tmp_path, other, read):
    path = structure_set(
        tmp_path / "rt.dcm", {"GTV": [square(3.5, 8.5, 2)], "gtv": [square(*other, 2)]}
    )
    assert [bool(o.refused) for o in read_outlines(path, series_of(tmp_path))] == read


@pytest.mark.parametrize(
    "other", [(12.5, 15.5), (3.5, 8.5)], ids=["other contours", "the same contours"]
)
def test_one_name_in_two_frames_of_reference_is_a_lesion_at_two_visits(tmp_path, other):
    def of_another_visit(ds):
        ds.StructureSetROISequence[1].ReferencedFrameOfReferenceUID = "1.9.9"

    found = two_rois(tmp_path, of_another_visit, ("GTV", "gtv"), other)
    assert (found["GTV"].refused, int(found["GTV"].mask.sum())) == ("", 25)
    assert "frame of reference" in found["gtv"].refused


def test_contours_of_no_structure_are_told_by_their_place(tmp_path):
    def nameless(ds):
        ds.ROIContourSequence[1].ReferencedROINumber = 9

    found = two_rois(tmp_path, nameless)
    assert not found["GTV"].refused
    assert "belongs to no structure" in found["item 2 of ROIContourSequence"].refused


def _sagittal(ds):
    ds.ROIContourSequence[1].ContourSequence[0].ContourData = [5, 1, 1, 5, 9, 1, 5, 9, 5, 5, 1, 5]


def _odd(ds):
    ds.ROIContourSequence[1].ContourSequence[0].ContourData = [5, 1, 1, 5, 9]


def _cut(ds):
    ds.ROIContourSequence[1].ContourSequence[0].ContourData = [12, 12, 2, 15, 12, 2, 15, 15, 2]


def _elsewhere(ds):
    image = pydicom.Dataset()
    image.ReferencedSOPInstanceUID = f"{SERIES}.7"
    ds.ROIContourSequence[1].ContourSequence[0].ContourImageSequence = [image]


def _other_frame(ds):
    ds.StructureSetROISequence[1].ReferencedFrameOfReferenceUID = "1.9.9"


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (_sagittal, "crosses slices"),
        (_odd, "damaged coordinates"),
        (_cut, "damaged coordinates"),
        (_elsewhere, "another height"),
        (_other_frame, "frame of reference"),
    ],
)
def test_one_bad_structure_does_not_refuse_the_others(tmp_path, spoil, reason):
    found = two_rois(tmp_path, spoil)
    assert (found["GTV"].refused, int(found["GTV"].mask.sum())) == ("", 25)
    assert reason in found["Node"].refused


def test_one_image_named_by_all_contours_names_the_series_alone(tmp_path):
    found = outline(
        tmp_path,
        square(3.5, 8.5, 2),
        square(3.5, 8.5, 3),
        square(3.5, 8.5, 4),
        images=[f"{SERIES}.1"],
    )
    assert (found.refused, int(found.mask.sum())) == ("", 75)


def test_contours_by_images_of_another_frame_than_stated_are_read_and_flagged(tmp_path):
    found = outline(tmp_path, square(3.5, 8.5, 2), images=[f"{SERIES}.3"], frame="1.9.9")
    assert (int(found.mask.sum()), found.flags) == (25, ("other_frame",))


def test_planes_of_a_stated_thickness_are_filled_within_it(tmp_path):
    def slabs(ds):
        for contour in ds.ROIContourSequence[0].ContourSequence:
            contour.ContourSlabThickness = 3.0

    (found,) = edited(tmp_path, slabs, square(3.5, 8.5, 1), square(3.5, 8.5, 4))
    assert (int(found.mask.sum()), found.flags) == (150, ("slices_filled",))


def test_every_third_slice_of_no_stated_thickness_is_flagged(tmp_path):
    found = outline(tmp_path, square(3.5, 8.5, 1), square(3.5, 8.5, 4))
    assert (int(found.mask.sum()), found.flags) == (50, ("slices_empty",))


def test_only_wanted_labels_are_filled(tmp_path):
    path = structure_set(
        tmp_path / "rt.dcm", {"GTV": [square(3.5, 8.5, 2)], "Heart": [square(1.5, 2.5, 2)]}
    )
    assert [
        o.label for o in read_outlines(path, series_of(tmp_path), lambda label: label == "GTV")
    ] == ["GTV"]


def test_a_contour_across_slices_is_refused(tmp_path):
    found = outline(
        tmp_path, square(3.5, 8.5, 2) + np.array([[0, 0, 0], [0, 0, 0], [0, 0, 3], [0, 0, 3]])
    )
    assert "crosses slices" in found.refused


@pytest.mark.parametrize("data", [["1", "2"], ["1", "2", "x"], ["1", "2", "nan"]])
def test_damaged_coordinates_are_refused(tmp_path, data):
    path = structure_set(tmp_path / "rt.dcm", {"GTV": [square(3.5, 8.5, 2)]})
    raw = path.read_bytes()
    ds = pydicom.dcmread(path)
    old = ds.ROIContourSequence[0].ContourSequence[0].get_item("ContourData").value
    new = "\\".join(data).encode()
    path.write_bytes(
        raw.replace(
            old,
            new.ljust(len(old), b" ")
            if len(data) != 2
            else b"\\".join([b"1"] * 11).ljust(len(old), b" "),
        )
    )
    (found,) = read_outlines(path, series_of(tmp_path))
    assert "(3006,0050)" in found.refused


@pytest.mark.parametrize(
    ("references", "reason"),
    [
        ({"series": "1.9.9"}, "no series that is here"),
        ({"series": None, "frame": "1.9.9"}, "frame of reference.*no series that is here"),
        ({"series": None, "frame": None}, "neither a series nor"),
        ({"frame": "1.9.9"}, "another frame"),
    ],
)
def test_contours_of_something_else_are_refused(tmp_path, references, reason):
    with pytest.raises(MaskError, match=reason):
        outline(tmp_path, square(3.5, 8.5, 2), **references)


@pytest.mark.parametrize(
    "references",
    [{"series": None}, {"series": None, "frame": None, "images": [f"{SERIES}.3"]}, {"frame": None}],
)
def test_series_else_image_else_frame_of_reference_tells_where_contours_belong(
    tmp_path, references
):
    assert outline(tmp_path, square(3.5, 8.5, 2), **references).mask.sum() == 25


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("name", "used"),
    [
        ("rt.dcm", {"ROI-1": 0}),
        ("invalid_reference_rt.dcm", {"ROI-1": 1, "ROI-2": 1, "ROI-3": 1, "ROI-4": 1}),
        ("non_existent_reference_rt.dcm", {"ROI-1": 1, "ROI-2": 1, "ROI-3": 1, "ROI-4": 1}),
    ],
)
def test_odd_structure_sets_are_used_on_the_slices_that_are_there(
    shared_data, tmp_path, name, used
):
    folder = shared_data / "dicom_oddities/mask_objects"
    for slice_name in ("ct_1.dcm", "ct_2.dcm"):
        (tmp_path / slice_name).symlink_to(folder / slice_name)
    found = read_outlines(folder / name, read_series(tmp_path))
    assert {o.label: o.n_outside for o in found} == used
    assert all(o.mask.any() for o in found)


@pytest.mark.real_data
@pytest.mark.parametrize(
    "name", ["rt.dcm", "invalid_reference_rt.dcm", "non_existent_reference_rt.dcm"]
)
def test_odd_structure_sets_are_refused_on_another_series(shared_data, tmp_path, name):
    (tmp_path / "1.dcm").symlink_to(shared_data / "dicom_oddities/mask_objects/ct_image.dcm")
    with pytest.raises(MaskError, match="no series that is here"):
        read_outlines(shared_data / "dicom_oddities/mask_objects" / name, read_series(tmp_path))


def traced(mask, level):
    """Contours of a mask at a level between 0 and 1.

    Near 1 they run through the outermost pixels' centres, at one half along their edges.
    """
    from skimage.measure import find_contours

    return [
        np.column_stack([line[:-1, 1], line[:-1, 0], np.full(len(line) - 1, float(z))])
        for z, plane in enumerate(mask)
        for line in (c - 1.0 for c in find_contours(np.pad(plane, 1).astype(float), level))
    ]


def ball():
    z, y, x = np.indices(EMPTY.shape)
    return (z - 4) ** 2 * 4 + (y - 10) ** 2 + (x - 12) ** 2 <= 40


@pytest.mark.parametrize("decimals", [2, 6])
def test_an_outline_through_pixel_centres_is_flagged_since_it_is_too_small(tmp_path, decimals):
    through = outline(tmp_path, *(np.round(c, decimals) for c in traced(ball(), 1 - 1e-9)))
    along = outline(tmp_path, *traced(ball(), 0.5))
    assert through.flags == ("traced_through_pixel_centres",)
    assert through.mask.sum() < 0.9 * ball().sum()
    assert along.flags == ()
    assert np.array_equal(along.mask, ball())


def test_one_vertex_between_the_centres_is_an_outline_of_a_reader(tmp_path):
    contours = traced(ball(), 1 - 1e-9)
    contours[0][0, 0] += 0.2
    assert outline(tmp_path, *contours).flags == ()

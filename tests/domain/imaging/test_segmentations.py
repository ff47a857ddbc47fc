"""Segmentation objects as highdicom writes them, and as nobody should."""

from __future__ import annotations

import copy

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

from dagster_project.domain.imaging import segments
from dagster_project.domain.imaging.masks import MaskError, outline_parts, read_outlines
from dagster_project.domain.imaging.series import read_series
from tests.domain.phantoms import (
    FRAME,
    SERIES,
    reordered,
    segmentation,
    series_datasets,
    slice_dataset,
    write,
)

EMPTY = np.zeros((6, 13, 19), np.int16)


@pytest.fixture
def sources():
    return series_datasets(
        EMPTY, spacing=(2.0, 0.7, 0.9), origin=(-5, 6, 7), cosines=(0.8, 0.6, 0, -0.6, 0.8, 0)
    )


@pytest.fixture
def series(tmp_path, sources):
    return read_series(write(tmp_path / "ct", sources, shuffled=True))


@pytest.fixture
def voxels():
    return np.random.default_rng(3).random(EMPTY.shape) < 0.3


@pytest.mark.parametrize("kind", ["BINARY", "LABELMAP"])
def test_voxels_are_taken_as_given(tmp_path, sources, series, voxels, kind):
    (found,) = read_outlines(
        segmentation(tmp_path / "s.dcm", sources, voxels.astype(np.uint8), kind), series
    )
    assert np.array_equal(found.mask, voxels)
    assert (found.label, found.source, found.border_rule, found.n_outside) == (
        "L1",
        "SEG",
        "voxels_as_given",
        0,
    )


def test_bits_packed_from_the_left_are_refused(tmp_path):
    y, x = np.mgrid[:40, :48]
    disc = np.repeat((np.hypot(x - 23, y - 19) < 14)[None], 8, axis=0)
    own = series_datasets(np.zeros(disc.shape, np.int16))
    series = read_series(write(tmp_path / "ct", own))
    path = segmentation(tmp_path / "s.dcm", own, disc.astype(np.uint8))
    assert np.array_equal(read_outlines(path, series)[0].mask, disc)
    dataset = pydicom.dcmread(path)
    bits = np.unpackbits(np.frombuffer(dataset.PixelData, np.uint8), bitorder="little")
    dataset.PixelData = np.packbits(bits, bitorder="big").tobytes()
    dataset.save_as(path)
    with pytest.raises(MaskError, match=r"PS3\.5 section 8\.1\.1"):
        read_outlines(path, series)


def test_of_fractions_at_least_half_counts(tmp_path, sources, series):
    fractions = np.random.default_rng(1).integers(0, 201, EMPTY.shape) / 200
    (found,) = read_outlines(
        segmentation(tmp_path / "s.dcm", sources, fractions, "FRACTIONAL"), series
    )
    assert np.array_equal(found.mask, fractions >= 0.5)
    assert found.border_rule == "fraction_at_least_half"


def test_segments_may_overlap(tmp_path, sources, series, voxels):
    both = np.stack([voxels, np.roll(voxels, 1, axis=2)], axis=-1).astype(np.uint8)
    found = read_outlines(
        segmentation(tmp_path / "s.dcm", sources, both, labels=("L1", "L2")), series
    )
    assert [o.label for o in found] == ["L1", "L2"]
    assert all(np.array_equal(o.mask, both[..., k] > 0) for k, o in enumerate(found))


def test_the_order_of_frames_means_nothing(tmp_path, sources, series, voxels):
    path = segmentation(tmp_path / "s.dcm", sources, voxels.astype(np.uint8))
    (found,) = read_outlines(reordered(path, [4, 0, 5, 2, 1, 3]), series)
    assert np.array_equal(found.mask, voxels)


def test_empty_slices_that_were_left_out_stay_empty(tmp_path, sources, series, voxels):
    voxels[[0, 3]] = False
    (found,) = read_outlines(
        segmentation(tmp_path / "s.dcm", sources, voxels.astype(np.uint8)), series
    )
    assert np.array_equal(found.mask, voxels)


def test_a_segment_without_voxels_is_an_empty_outline(tmp_path, sources, series, voxels):
    both = np.stack([voxels, np.zeros_like(voxels)], axis=-1).astype(np.uint8)
    found = read_outlines(
        segmentation(tmp_path / "s.dcm", sources, both, labels=("L1", "L2")), series
    )
    assert [bool(o.mask.any()) for o in found] == [True, False]


def test_voxels_of_slices_that_are_not_here_are_counted(tmp_path, sources, voxels):
    path = segmentation(tmp_path / "s.dcm", sources, voxels.astype(np.uint8))
    (found,) = read_outlines(path, read_series(write(tmp_path / "part", sources[2:])))
    assert np.array_equal(found.mask, voxels[2:])
    assert found.n_outside == voxels[:2].sum()
    assert found.flags[:2] == ("cut_by_images", "longest_outside")


def test_a_single_slice_has_a_single_frame(tmp_path, sources, voxels):
    path = segmentation(tmp_path / "s.dcm", sources[:1], voxels[:1].astype(np.uint8))
    (found,) = read_outlines(path, read_series(write(tmp_path / "one", sources[:1])))
    assert np.array_equal(found.mask, voxels[:1])


def test_only_wanted_segments_are_read(tmp_path, sources, series, voxels):
    path = segmentation(tmp_path / "s.dcm", sources, voxels.astype(np.uint8))
    assert read_outlines(path, series, lambda label: label == "other") == []


def test_referenced_series_are_told(tmp_path, sources, voxels):
    (part,) = outline_parts(segmentation(tmp_path / "s.dcm", sources, voxels.astype(np.uint8)))
    assert (part.references.series, part.references.frame) == ({SERIES}, FRAME)


def _changed(path, change):
    ds = pydicom.dcmread(path)
    change(ds)
    ds.save_as(path)
    return path


def _off_grid(ds):
    ds.PerFrameFunctionalGroupsSequence[0].PlanePositionSequence[0].ImagePositionPatient[0] += 0.4


def _other_spacing(ds):
    ds.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].PixelSpacing = [0.8, 0.9]


def _no_position(ds):
    del ds.PerFrameFunctionalGroupsSequence[0].PlanePositionSequence


def _too_few_groups(ds):
    del ds.PerFrameFunctionalGroupsSequence[0]


def _cut_off(ds):
    ds.PixelData = b"\0\0"


def _without_images(ds):
    for groups in ds.PerFrameFunctionalGroupsSequence:
        del groups.DerivationImageSequence


def _other_series(ds):
    _without_images(ds)
    ds.ReferencedSeriesSequence[0].SeriesInstanceUID = "1.9"


def _other_frame(ds):
    del ds.ReferencedSeriesSequence
    ds.FrameOfReferenceUID = "1.9"


def _no_reference(ds):
    _without_images(ds)
    del ds.ReferencedSeriesSequence
    del ds.FrameOfReferenceUID


def _same_images_in_another_frame(ds):
    ds.FrameOfReferenceUID = "1.9"


def _tiled(ds):
    ds.DimensionOrganizationType = "TILED_FULL"


def _stranger(ds):
    ds.SegmentSequence[0].SegmentNumber = 2


def _values(*values):
    def change(ds):
        frames = ds.pixel_array.astype(np.uint8)
        ds.BitsAllocated = ds.BitsStored = 8
        ds.HighBit, ds.PixelData = 7, np.choose(frames, values).astype(np.uint8).tobytes()
        ds.PixelData += b"\0" * (len(ds.PixelData) % 2)

    return change


def _several_values(ds):
    _values(0, 1)(ds)
    pixels = bytearray(ds.PixelData)
    pixels[pixels.index(1)] = 2
    ds.PixelData = bytes(pixels)


def _fractional(maximum, *values):
    def change(ds):
        _values(*values)(ds)
        ds.SegmentationType, ds.SegmentationFractionalType, ds.MaximumFractionalValue = (
            "FRACTIONAL",
            "PROBABILITY",
            maximum,
        )

    return change


def _no_maximum(ds):
    _fractional(255, 0, 255)(ds)
    del ds.MaximumFractionalValue


def _unknown_type(ds):
    ds.SegmentationType = "SURFACE"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_off_grid, "grid"),
        (_other_spacing, "grid"),
        (_no_position, "PlanePositionSequence"),
        (_too_few_groups, "number of frames"),
        (_cut_off, "decoded"),
        (_other_series, "no series that is here"),
        (_other_frame, "another frame"),
        (_no_reference, "neither"),
        (_unknown_type, "SegmentationType"),
        (_same_images_in_another_frame, "another frame"),
        (_tiled, "tiled"),
        (_several_values, "several values"),
        (_no_maximum, "MaximumFractionalValue"),
        (_fractional(255, 0, 127), "at least half"),
        (_fractional(100, 0, 200), "above"),
        (_fractional(200, 0, 2), "at least half"),
    ],
)
def test_what_cannot_be_placed_is_refused(tmp_path, sources, series, voxels, change, reason):
    path = _changed(segmentation(tmp_path / "s.dcm", sources, voxels.astype(np.uint8)), change)
    with pytest.raises(MaskError, match=reason):
        read_outlines(path, series)


@pytest.mark.parametrize(
    ("maximum", "inside", "rule", "flags"),
    [
        (255, 1, "voxels_as_given", ("fractions_are_binary",)),
        (100, 1, "voxels_as_given", ("fractions_are_binary",)),
        (1, 1, "fraction_at_least_half", ()),
        (2, 1, "fraction_at_least_half", ()),
        (255, 255, "fraction_at_least_half", ()),
        (255, 128, "fraction_at_least_half", ()),
    ],
)
def test_zero_and_one_of_a_larger_maximum_are_a_binary_mask_declared_wrongly(
    tmp_path, sources, series, voxels, maximum, inside, rule, flags
):
    path = _changed(
        segmentation(tmp_path / "s.dcm", sources, voxels.astype(np.uint8)),
        _fractional(maximum, 0, inside),
    )
    (found,) = read_outlines(path, series)
    assert np.array_equal(found.mask, voxels)
    assert (found.border_rule, found.flags) == (rule, flags)


def _two(tmp_path, sources, voxels, *facts, labels=("L1", "L1"), kind="BINARY"):
    """Two segments, with facts of each by keyword."""
    both = np.stack([voxels, np.roll(voxels, 1, axis=2)], axis=-1).astype(np.uint8)
    pixels = both if kind == "BINARY" else both[..., 0] + 2 * (both[..., 1] * (1 - both[..., 0]))

    def change(ds):
        described = [item for item in ds.SegmentSequence if item.SegmentNumber]
        for item, said in zip(described, facts, strict=True):
            for keyword, value in said.items():
                setattr(item, keyword, value)

    return _changed(
        segmentation(tmp_path / "two.dcm", sources, pixels, kind, labels), change
    ), pixels


def test_segments_of_one_label_are_named_by_what_tracks_them(tmp_path, sources, series, voxels):
    path, both = _two(
        tmp_path,
        sources,
        voxels,
        {"TrackingID": "L1", "TrackingUID": "1.2.1"},
        {"TrackingID": "L2", "TrackingUID": "1.2.2"},
        labels=("Tumor", "Tumor"),
    )
    found = read_outlines(path, series)
    assert [o.label for o in found] == ["L1", "L2"]
    assert all(np.array_equal(o.mask, both[..., k] > 0) for k, o in enumerate(found))


def test_segments_of_one_label_and_one_tracking_uid_are_parts_of_one_lesion(
    tmp_path, sources, series, voxels
):
    path, both = _two(tmp_path, sources, voxels, *[{"TrackingID": "a", "TrackingUID": "1.2.1"}] * 2)
    (found,) = read_outlines(path, series)
    assert np.array_equal(found.mask, both.any(-1))


@pytest.mark.parametrize(
    "facts",
    [
        ({}, {}),
        (
            {"TrackingID": "ROI_ABCDEFGH", "TrackingUID": "1.2.1"},
            {"TrackingID": "ROI_ABCDEFG2", "TrackingUID": "1.2.2"},
        ),
        ({"TrackingID": "L1"}, {}),
        (
            {"TrackingID": "L1", "TrackingUID": "1.2.1"},
            {"TrackingID": "l-1", "TrackingUID": "1.2.2"},
        ),
    ],
)
def test_segments_that_nothing_tells_apart_are_refused_and_none_is_lost(
    tmp_path, sources, series, voxels, facts
):
    path, _ = _two(tmp_path, sources, voxels, *facts)
    assert [p.refused for p in outline_parts(path)] == [segments.ONE_LABEL] * 2
    with pytest.raises(MaskError, match="TrackingID"):
        read_outlines(path, series)


def test_one_number_of_two_segments_refuses_both_and_no_other(tmp_path, sources, series, voxels):
    path, _ = _two(
        tmp_path, sources, voxels, {"SegmentNumber": 1}, {"SegmentNumber": 1}, labels=("L1", "L2")
    )
    assert {p.refused for p in outline_parts(path)} >= {segments.ONE_NUMBER}


def test_a_lesion_of_number_zero_is_refused_and_the_background_of_a_label_map_is_no_segment(
    tmp_path, sources, series, voxels
):
    path, both = _two(
        tmp_path, sources, voxels, {}, {"SegmentNumber": 0}, labels=("L1", "L2"), kind="LABELMAP"
    )
    found = {o.label: o for o in read_outlines(path, series)}
    assert np.array_equal(found["L1"].mask, both == 1)
    assert found["L2"].refused == segments.NUMBER_ZERO
    assert "Background" not in found


@pytest.mark.parametrize("kind", ["BINARY", "LABELMAP"])
def test_voxels_of_a_segment_that_is_not_described_are_refused_beside_the_others(
    tmp_path, sources, series, voxels, kind
):
    path, both = _two(tmp_path, sources, voxels, {}, {}, labels=("L1", "L2"), kind=kind)
    _changed(path, lambda ds: ds.SegmentSequence.pop())
    found = read_outlines(path, series)
    assert [(o.label, o.refused) for o in found] == [("L1", ""), ("", segments.UNDESCRIBED)]
    assert np.array_equal(found[0].mask, both[..., 0] > 0 if kind == "BINARY" else both == 1)


def test_a_bad_segment_does_not_take_the_good_one_with_it(tmp_path, sources, series, voxels):
    path, both = _two(tmp_path, sources, voxels, {}, {}, labels=("L1", "L2"))

    def off_grid(ds):
        groups = next(
            g
            for g in ds.PerFrameFunctionalGroupsSequence
            if g.SegmentIdentificationSequence[0].ReferencedSegmentNumber == 2
        )
        groups.PlanePositionSequence[0].ImagePositionPatient[0] += 0.4

    good, bad = read_outlines(_changed(path, off_grid), series)
    assert np.array_equal(good.mask, both[..., 0] > 0)
    assert (bool(bad.mask.any()), "grid" in bad.refused) == (False, True)


def _repeated(ds, *, same, off_mm=0.0):
    last, frames = len(ds.PerFrameFunctionalGroupsSequence) - 1, ds.pixel_array
    extra = frames[last] if same else 1 - frames[last]
    ds.PerFrameFunctionalGroupsSequence.append(
        copy.deepcopy(ds.PerFrameFunctionalGroupsSequence[last])
    )
    place = ds.PerFrameFunctionalGroupsSequence[-1].PlanePositionSequence[0]
    place.ImagePositionPatient = [float(c) + off_mm for c in place.ImagePositionPatient]
    ds.NumberOfFrames = len(frames) + 1
    packed = np.packbits(np.concatenate([frames, extra[None]]).ravel(), bitorder="little").tobytes()
    ds.PixelData = packed + b"\0" * (len(packed) % 2)


@pytest.mark.parametrize("off_mm", [0.0, 0.001, 0.04])
def test_a_frame_that_is_there_twice_counts_once_and_two_different_ones_are_refused(
    tmp_path, sources, series, voxels, off_mm
):
    path = segmentation(tmp_path / "s.dcm", sources, voxels.astype(np.uint8))
    changed = _changed(path, lambda ds: _repeated(ds, same=True, off_mm=off_mm))
    (found,) = read_outlines(changed, series)
    assert np.array_equal(found.mask, voxels)
    path = segmentation(tmp_path / "s.dcm", sources, voxels.astype(np.uint8))
    changed = _changed(path, lambda ds: _repeated(ds, same=False, off_mm=off_mm))
    with pytest.raises(MaskError, match="two different frames"):
        read_outlines(changed, series)


@pytest.mark.parametrize(
    ("thick", "between", "slab"),
    [(6.0, None, 6.0), (2.0, None, None), (6.0, 2.0, 2.0), (4.0, 6.0, 6.0)],
)
def test_the_thickness_of_the_planes_is_what_the_object_states_and_not_what_it_copied(
    tmp_path, sources, series, voxels, thick, between, slab
):
    def change(ds):
        measures = ds.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
        measures.SliceThickness = thick
        measures.SpacingBetweenSlices = between
        if between is None:
            del measures.SpacingBetweenSlices

    (found,) = read_outlines(
        _changed(segmentation(tmp_path / "s.dcm", sources, voxels.astype(np.uint8)), change), series
    )
    assert found.slab_mm == slab


def test_a_lesion_drawn_on_thick_planes_fills_the_thin_slices_between(
    tmp_path, sources, series, voxels
):
    """The CT's slices lie 2 mm apart, the planes 4 mm: every second slice was drawn."""
    drawn = np.zeros_like(voxels)
    drawn[1:5:2, 3:8, 4:9] = True

    def change(ds):
        measures = ds.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
        measures.SliceThickness = measures.SpacingBetweenSlices = 4.0

    (found,) = read_outlines(
        _changed(segmentation(tmp_path / "s.dcm", sources, drawn.astype(np.uint8)), change), series
    )
    assert found.mask.sum() == 2 * drawn.sum()
    assert found.flags == ("slices_filled",)


def test_images_of_a_segment_are_those_that_its_frames_name(tmp_path, sources, voxels):
    (part,) = outline_parts(segmentation(tmp_path / "s.dcm", sources, voxels.astype(np.uint8)))
    assert frozenset().union(*part.references.images) == {s.SOPInstanceUID for s in sources}


def test_of_two_series_the_one_is_meant_whose_images_the_frames_name(
    tmp_path, sources, series, voxels
):
    def change(ds):
        ds.ReferencedSeriesSequence = [
            ds.ReferencedSeriesSequence[0],
            ds.ReferencedSeriesSequence[0],
        ]
        ds.ReferencedSeriesSequence[0] = Dataset()
        ds.ReferencedSeriesSequence[0].SeriesInstanceUID = "1.9.9"

    (found,) = read_outlines(
        _changed(segmentation(tmp_path / "s.dcm", sources, voxels.astype(np.uint8)), change), series
    )
    assert np.array_equal(found.mask, voxels)


def test_without_a_series_the_frame_of_reference_decides(tmp_path, sources, series, voxels):
    path = _changed(
        segmentation(tmp_path / "s.dcm", sources, voxels.astype(np.uint8)),
        lambda ds: delattr(ds, "ReferencedSeriesSequence"),
    )
    assert np.array_equal(read_outlines(path, series)[0].mask, voxels)


ODDITIES = {
    "seg_image_ct_binary.dcm": {"first segment": "voxels_as_given"},
    "seg_image_ct_binary_fractional.dcm": {"first segment": "fraction_at_least_half"},
    "seg_image_ct_binary_overlap.dcm": {
        "first segment": "voxels_as_given",
        "second segment": "voxels_as_given",
    },
    "seg_image_ct_true_fractional.dcm": {"first segment": "fraction_at_least_half"},
}


@pytest.mark.real_data
@pytest.mark.parametrize("name", ODDITIES)
def test_odd_segmentations_are_used_on_their_series_and_refused_elsewhere(
    shared_data, tmp_path, name
):
    path = shared_data / "dicom_oddities/mask_objects" / name
    seg = pydicom.dcmread(path)
    frames = np.atleast_3d(seg.pixel_array)
    threshold = 1 if seg.SegmentationType == "BINARY" else seg.MaximumFractionalValue / 2
    series = read_series(write(tmp_path, _series_behind(seg)))
    found = read_outlines(path, series)
    assert {o.label: o.border_rule for o in found} == ODDITIES[name]
    assert sum(int(o.mask.sum()) + o.n_outside for o in found) == int((frames >= threshold).sum())
    assert all(o.mask.any() for o in found)
    (tmp_path / "other").mkdir()
    (tmp_path / "other/1.dcm").symlink_to(shared_data / "dicom_oddities/mask_objects/ct_image.dcm")
    with pytest.raises(MaskError, match="no series that is here"):
        read_outlines(path, read_series(tmp_path / "other"))


def _series_behind(seg):
    """A CT series with the geometry and references of a segmentation.

    It goes as far as the slices are neighbours.
    """
    places = sorted(
        {
            tuple(map(float, g.PlanePositionSequence[0].ImagePositionPatient))
            for g in seg.PerFrameFunctionalGroupsSequence
        },
        key=lambda p: p[2],
    )
    spacing = seg.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].PixelSpacing
    zeros = np.zeros((seg.Rows, seg.Columns), np.int16)
    return [
        slice_dataset(
            zeros,
            place,
            k,
            spacing=spacing,
            SeriesInstanceUID=seg.ReferencedSeriesSequence[0].SeriesInstanceUID,
            FrameOfReferenceUID=seg.FrameOfReferenceUID,
        )
        for k, place in enumerate(places)
        if place[2] > 0
    ]


@pytest.mark.real_data
def test_the_single_frame_segmentation_is_used_on_its_slice(shared_data, tmp_path):
    folder = shared_data / "dicom_oddities/mask_objects"
    (tmp_path / "1.dcm").symlink_to(folder / "ct_image.dcm")
    (found,) = read_outlines(folder / "seg_image_ct_binary_single_frame.dcm", read_series(tmp_path))
    assert (
        found.mask.sum()
        == pydicom.dcmread(folder / "seg_image_ct_binary_single_frame.dcm").pixel_array.sum()
        > 0
    )

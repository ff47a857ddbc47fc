"""Masks keep voxels and geometry, and nothing else of their file."""

import gzip
import struct

import numpy as np
import pytest
import SimpleITK as sitk

from dagster_project.intake.dicom.mask_files import clean_mask, is_mask_file, read_mask_name
from dagster_project.intake.refusals import RefusedError
from tests.intake.builders import slicer_segmentation, write_mask

SECRET = "Murong ZY0012345"


@pytest.fixture
def mask():
    voxels = np.zeros((4, 6, 5), np.uint8)
    voxels[1:3, 2:5, 1:4] = 1
    return voxels


def read(tmp_path, data):
    (tmp_path / "out.nii.gz").write_bytes(data)
    return sitk.ReadImage(str(tmp_path / "out.nii.gz"))


@pytest.mark.parametrize("name", ["m.nii.gz", "m.nii", "m.nrrd", "m.mha"])
def test_voxels_and_geometry_stay_and_texts_go(tmp_path, mask, name):
    write_mask(tmp_path / name, mask, SECRET)
    data, _ = clean_mask(tmp_path / name)
    result, source = read(tmp_path, data), sitk.ReadImage(str(tmp_path / name))
    assert np.array_equal(sitk.GetArrayFromImage(result), mask)
    assert result.GetPixelID() == sitk.sitkUInt8
    assert np.allclose(result.GetOrigin(), source.GetOrigin())
    assert np.allclose(result.GetSpacing(), source.GetSpacing())
    assert np.allclose(result.GetDirection(), source.GetDirection())
    assert SECRET.encode() not in gzip.decompress(data)
    assert b"Murong" not in data


def test_texts_were_in_the_source(tmp_path, mask):
    write_mask(tmp_path / "m.nii", mask, SECRET)
    write_mask(tmp_path / "m.nrrd", mask, SECRET)
    write_mask(tmp_path / "m.mha", mask, SECRET)
    raw = bytearray((tmp_path / "m.nii").read_bytes())
    raw[148 : 148 + len(SECRET)] = SECRET.encode()
    (tmp_path / "planted.nii").write_bytes(raw)
    assert b"Murong" in (tmp_path / "m.nrrd").read_bytes()
    assert b"Murong" in (tmp_path / "m.mha").read_bytes()
    assert b"Murong" not in gzip.decompress(clean_mask(tmp_path / "planted.nii")[0])


@pytest.mark.parametrize("value", [1, 3, 255])
@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.float32])
def test_any_single_value_means_inside(tmp_path, mask, value, kind):
    write_mask(tmp_path / "m.nii.gz", (mask.astype(np.float64) * value).astype(kind))
    assert np.array_equal(
        sitk.GetArrayFromImage(read(tmp_path, clean_mask(tmp_path / "m.nii.gz")[0])), mask
    )


def test_the_same_mask_has_the_same_digest_in_every_format(tmp_path, mask):
    for name in ("a.nii.gz", "a.nii"):
        write_mask(tmp_path / name, mask)
    assert clean_mask(tmp_path / "a.nii.gz") == clean_mask(tmp_path / "a.nii")


def test_what_is_no_mask_is_refused(tmp_path, mask):
    ramp = np.arange(120, dtype=np.int16).reshape(4, 6, 5)
    write_mask(tmp_path / "image.nii.gz", ramp)
    (tmp_path / "broken.nii.gz").write_bytes(b"Murong")
    sitk.WriteImage(sitk.GetImageFromArray(mask[0]), str(tmp_path / "flat.nrrd"))
    for name, reason in (
        ("image.nii.gz", "several labels"),
        ("broken.nii.gz", "cannot be read"),
        ("flat.nrrd", "three-dimensional"),
    ):
        with pytest.raises(RefusedError, match=reason):
            clean_mask(tmp_path / name)


def test_a_mask_without_voxels_is_taken_for_the_readers_stage_to_judge(tmp_path, mask):
    write_mask(tmp_path / "m.nii.gz", mask * 0)
    assert sitk.GetArrayFromImage(read(tmp_path, clean_mask(tmp_path / "m.nii.gz")[0])).sum() == 0


def given(tmp_path, values, name="1.2.3__L1.nii.gz"):
    """What intake makes of values in a file, and whether it notes that they were fractions."""
    write_mask(tmp_path / name, values)
    result = read(tmp_path, clean_mask(tmp_path / name, read_mask_name(name).lesion)[0])
    return sitk.GetArrayFromImage(result), float(result.GetMetaData("intent_p1")) == 0.5


@pytest.mark.parametrize(
    ("values", "thresholded"),
    [
        (lambda m: m * np.float32(1 + 1e-7), False),
        (lambda m: m - 1e-8, False),
        (lambda m: m * 255.0, False),
        (lambda m: m * 2.0, False),
        (lambda m: m * 0.7, True),
        (lambda m: m * 0.5, True),
        (lambda m: m * 0.8 + 0.1, True),
        (lambda m: np.where(m, 0.9, 0.4999), True),
    ],
)
@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_values_near_whole_numbers_are_those_and_fractions_count_from_one_half(
    tmp_path, mask, values, thresholded, kind
):
    voxels, noted = given(tmp_path, values(mask.astype(kind)).astype(kind))
    assert np.array_equal(voxels, mask)
    assert noted == thresholded


@pytest.mark.parametrize(
    ("slope", "stored", "thresholded"),
    [(1 / 255, 255, False), (1 / 200, 100, True), (0.01, 50, True)],
)
def test_the_scale_factor_of_a_header_is_applied(tmp_path, mask, slope, stored, thresholded):
    write_mask(tmp_path / "m.nii", mask * stored)
    raw = bytearray((tmp_path / "m.nii").read_bytes())
    raw[112:116] = struct.pack("<f", slope)
    (tmp_path / "1.2.3__L1.nii").write_bytes(raw)
    result = read(tmp_path, clean_mask(tmp_path / "1.2.3__L1.nii")[0])
    assert np.array_equal(sitk.GetArrayFromImage(result), mask)
    assert (float(result.GetMetaData("intent_p1")) == 0.5) == thresholded


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (lambda m: m * 0.3, "no voxel of at least one half"),
        (lambda m: m / 255, "no voxel of at least one half"),
        (lambda m: m * 127.3, "above 1"),
        (lambda m: m * -1.0, "negative"),
        (lambda m: m * 2.0 - 1, "negative"),
        (lambda m: m + 1.0, "several labels"),
        (lambda m: np.where(m, np.nan, 0.0), "no numbers"),
        (lambda m: np.where(m, np.inf, 0.0), "no numbers"),
        (lambda m: m + 2.0 * np.roll(m, 2, axis=1), "one file per lesion"),
    ],
)
def test_values_that_are_no_mask_are_refused_with_what_to_export(tmp_path, mask, values, reason):
    with pytest.raises(RefusedError, match=reason) as refused:
        given(
            tmp_path, values(mask.astype(np.float64)).astype(np.float32), "1.2.3__L1.nrrd"
        )  # of NIfTI the library reads NaN as 0
    assert "export" in refused.value.reason


def test_a_volume_of_three_dimensions_and_one_more_of_one_is_a_volume(tmp_path, mask):
    sitk.WriteImage(sitk.JoinSeries([sitk.GetImageFromArray(mask)]), str(tmp_path / "m.nii.gz"))
    assert np.array_equal(
        sitk.GetArrayFromImage(read(tmp_path, clean_mask(tmp_path / "m.nii.gz")[0])), mask
    )


SEGMENTS = {"L1": (0, 1), "nodule_2": (0, 2), "L3": (1, 1)}
"""Name, layer and value."""


@pytest.mark.parametrize(
    ("file", "layer", "value"), [("L1", 0, 1), ("Nodule 2", 0, 2), ("L3", 1, 1)]
)
def test_of_several_segments_the_one_that_the_file_is_named_after_is_taken(
    tmp_path, mask, file, layer, value
):
    layers = np.stack([mask + np.roll(mask, 2, axis=2), np.roll(mask, 1, axis=0)]).astype(np.uint8)
    slicer_segmentation(tmp_path / f"1.2.3__{file}.seg.nrrd", layers, SEGMENTS)
    data, _ = clean_mask(tmp_path / f"1.2.3__{file}.seg.nrrd", file)
    assert np.array_equal(sitk.GetArrayFromImage(read(tmp_path, data)), layers[layer] == value)


def test_a_single_segment_is_the_lesion_and_its_value_is_the_headers(tmp_path, mask):
    slicer_segmentation(tmp_path / "1.2.3__L1.seg.nrrd", mask[None] * 5, {"Segment_1": (0, 5)})
    assert np.array_equal(
        sitk.GetArrayFromImage(
            read(tmp_path, clean_mask(tmp_path / "1.2.3__L1.seg.nrrd", "L1")[0])
        ),
        mask,
    )


@pytest.mark.parametrize(
    ("file", "segments", "reason"),
    [
        ("L9", SEGMENTS, "several segments"),
        ("L1", {"L2": (0, 1)}, "another lesion"),
        ("L1", {"L1": (0, 2)}, "several segments"),
        ("L1", {"L1": (4, 1)}, "does not have"),
    ],
)
def test_a_segment_that_cannot_be_told_is_refused(tmp_path, mask, file, segments, reason):
    slicer_segmentation(tmp_path / f"1.2.3__{file}.seg.nrrd", np.stack([mask, mask]), segments)
    with pytest.raises(RefusedError, match=reason):
        clean_mask(tmp_path / f"1.2.3__{file}.seg.nrrd", file)


def test_a_header_that_leads_to_another_file_is_refused(tmp_path, mask):
    write_mask(tmp_path / "m.nhdr", mask)
    (tmp_path / "m.nrrd").write_bytes((tmp_path / "m.nhdr").read_bytes())
    write_mask(tmp_path / "n.mhd", mask)
    (tmp_path / "n.mha").write_bytes((tmp_path / "n.mhd").read_bytes())
    for name in ("m.nrrd", "n.mha"):
        with pytest.raises(RefusedError, match="second file"):
            clean_mask(tmp_path / name)


@pytest.mark.parametrize("name", ["m.nii", "m.nii.gz"])
def test_nifti_2_is_refused_with_the_way_out(tmp_path, name):
    head = struct.pack("<i", 540) + bytes(600)
    (tmp_path / name).write_bytes(gzip.compress(head) if name.endswith("gz") else head)
    with pytest.raises(RefusedError, match=r"NIfTI-1.*\.nrrd"):
        clean_mask(tmp_path / name)


def _sform(raw, rows, *, quaternion):
    raw[252:256] = struct.pack("<2h", int(quaternion), 1)
    raw[280:328] = struct.pack("<12f", *rows)
    return bytes(raw)


@pytest.mark.parametrize(
    ("rows", "quaternion", "reason"),
    [
        ((-0.75, 0, 0, 10.5, 0, -0.75, 0.2, 20.25, 0, 0, 1, 3), False, "DICOM SEG or RTSTRUCT"),
        ((-0.75, 0, 0, 10.5, 0, -0.75, 0.2, 20.25, 0, 0, 1, 3), True, "DICOM SEG or RTSTRUCT"),
        ((0.75, 0, 0, 10.5, 0, -0.75, 0, 20.25, 0, 0, 1, 3), True, "two different places"),
    ],
)
def test_a_place_that_is_tilted_or_stated_twice_is_refused_with_the_way_out(
    tmp_path, mask, rows, quaternion, reason
):
    write_mask(tmp_path / "m.nii", mask)
    (tmp_path / "m.nii").write_bytes(
        _sform(bytearray((tmp_path / "m.nii").read_bytes()), rows, quaternion=quaternion)
    )
    with pytest.raises(RefusedError, match=reason):
        clean_mask(tmp_path / "m.nii")


@pytest.mark.parametrize(
    ("name", "lesion"),
    [
        ("1.2.3__L1.nii.gz", "L1"),
        ("1.2.3__right__lung.NRRD", "right__lung"),
        ("1.2.3__L1.nii", "L1"),
        ("1.2.3__L1.seg.nrrd", "L1"),
        ("1.2.3__L1-label.nrrd", "L1"),
        ("1.2.3__GTV-1_mask.nii.gz", "GTV-1"),
        ("1.2.3__L1.mha", "L1"),
        ("1.2.3__label.nii.gz", "label"),
    ],
)
def test_the_name_says_series_and_lesion(name, lesion):
    said = read_mask_name(name)
    assert (said.series_instance_uid, said.lesion) == ("1.2.3", lesion)


@pytest.mark.parametrize(
    "name", ["L1.nii.gz", "1.2.3_L1.nii.gz", "Murong__L1.nii.gz", "1.2.3__.nii.gz"]
)
def test_another_name_is_refused_without_being_quoted(name):
    with pytest.raises(RefusedError, match="is not named") as refused:
        read_mask_name(name)
    assert "Murong" not in refused.value.reason


def test_endings():
    assert [
        is_mask_file(n)
        for n in ("a.nii.gz", "a.NII", "a.nrrd", "a.seg.nrrd", "a.mha", "a.dcm", "nii")
    ] == [True] * 5 + [False, False]


def test_big_endian_numbers_are_read(tmp_path, mask):
    import nibabel as nib

    big = nib.Nifti1Image(
        mask.transpose(2, 1, 0).astype(">f4"),
        np.diag([-0.75, -0.75, 1, 1]),
        nib.Nifti1Header(endianness=">"),
    )
    nib.save(big, tmp_path / "m.nii.gz")
    assert np.array_equal(
        sitk.GetArrayFromImage(read(tmp_path, clean_mask(tmp_path / "m.nii.gz")[0])), mask
    )


@pytest.mark.parametrize("name", ["m.nii", "m.nii.gz"])
def test_a_mask_that_is_cut_off_is_refused(tmp_path, mask, name):
    write_mask(
        tmp_path / name, np.random.default_rng(0).integers(0, 2, (40, 30, 30)).astype(np.uint8)
    )
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[: len(whole) * 2 // 3])
    with pytest.raises(RefusedError, match="cut off"):
        clean_mask(tmp_path / name)


def test_what_lies_beyond_the_header_is_no_voxel(tmp_path, mask):
    """Header extensions hold text, and the voxels begin after them."""
    import nibabel as nib

    image = nib.Nifti1Image(mask.transpose(2, 1, 0), np.diag([-0.75, -0.75, 1, 1]))
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", SECRET.encode()))
    nib.save(image, tmp_path / "m.nii")
    data, _ = clean_mask(tmp_path / "m.nii")
    assert b"Murong" in (tmp_path / "m.nii").read_bytes()
    assert b"Murong" not in gzip.decompress(data)
    assert np.array_equal(sitk.GetArrayFromImage(read(tmp_path, data)), mask)


@pytest.mark.parametrize(
    "name", ["gz cut off", "voxels begin at NaN", "gz that claims 32,767 cubed", "negative size"]
)
def test_a_mask_whose_header_or_end_is_wrong_is_refused(tmp_path, name):
    """The last bytes of a packed file are the digest of what is in it."""
    from benchmarks.hostile.masks import MASKS
    from benchmarks.hostile.setting import Setting

    setting = Setting(tmp_path)
    MASKS[name](setting)
    (path,) = (setting.landing / "reads" / "R1").iterdir()
    with pytest.raises(RefusedError):
        clean_mask(path, "L1")

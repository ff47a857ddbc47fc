"""Masks keep voxels and geometry, and nothing else of their file."""

import gzip

import numpy as np
import pytest
import SimpleITK as sitk

from dagster_project.intake.mask_files import clean_mask, is_mask_file, read_mask_name
from dagster_project.intake.refusals import RefusedError
from tests.intake.builders import write_mask

SECRET = "Murong ZY0012345"


@pytest.fixture
def mask():
    voxels = np.zeros((4, 6, 5), np.uint8)
    voxels[1:3, 2:5, 1:4] = 1
    return voxels


def read(tmp_path, data):
    (tmp_path / "out.nii.gz").write_bytes(data)
    return sitk.ReadImage(str(tmp_path / "out.nii.gz"))


@pytest.mark.parametrize("name", ["m.nii.gz", "m.nii", "m.nrrd"])
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
    raw = bytearray((tmp_path / "m.nii").read_bytes())
    raw[148:148 + len(SECRET)] = SECRET.encode()
    (tmp_path / "planted.nii").write_bytes(raw)
    assert b"Murong" in (tmp_path / "m.nrrd").read_bytes()
    assert b"Murong" not in gzip.decompress(clean_mask(tmp_path / "planted.nii")[0])


@pytest.mark.parametrize("value", [1, 3, 255])
@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.float32])
def test_any_single_value_means_inside(tmp_path, mask, value, kind):
    write_mask(tmp_path / "m.nii.gz", (mask.astype(np.float64) * value).astype(kind))
    assert np.array_equal(sitk.GetArrayFromImage(read(tmp_path, clean_mask(tmp_path / "m.nii.gz")[0])), mask)


def test_the_same_mask_has_the_same_digest_in_every_format(tmp_path, mask):
    for name in ("a.nii.gz", "a.nii"):
        write_mask(tmp_path / name, mask)
    assert clean_mask(tmp_path / "a.nii.gz") == clean_mask(tmp_path / "a.nii")


def test_what_is_no_mask_is_refused(tmp_path, mask):
    ramp = np.arange(120, dtype=np.int16).reshape(4, 6, 5)
    write_mask(tmp_path / "image.nii.gz", ramp)
    (tmp_path / "broken.nii.gz").write_bytes(b"Murong")
    sitk.WriteImage(sitk.GetImageFromArray(mask[0]), str(tmp_path / "flat.nrrd"))
    for name, reason in (("image.nii.gz", "more than one value"), ("broken.nii.gz", "cannot be read"), ("flat.nrrd", "three-dimensional")):
        with pytest.raises(RefusedError, match=reason):
            clean_mask(tmp_path / name)


def test_a_mask_without_voxels_is_taken_for_the_readers_stage_to_judge(tmp_path, mask):
    write_mask(tmp_path / "m.nii.gz", mask * 0)
    assert sitk.GetArrayFromImage(read(tmp_path, clean_mask(tmp_path / "m.nii.gz")[0])).sum() == 0


@pytest.mark.parametrize(("name", "lesion"), [("1.2.3__L1.nii.gz", "L1"), ("1.2.3__right__lung.NRRD", "right__lung"), ("1.2.3__L1.nii", "L1")])
def test_the_name_says_series_and_lesion(name, lesion):
    said = read_mask_name(name)
    assert (said.series_instance_uid, said.lesion) == ("1.2.3", lesion)


@pytest.mark.parametrize("name", ["L1.nii.gz", "1.2.3_L1.nii.gz", "Murong__L1.nii.gz", "1.2.3__.nii.gz"])
def test_another_name_is_refused_without_being_quoted(name):
    with pytest.raises(RefusedError, match="is not named") as refused:
        read_mask_name(name)
    assert "Murong" not in refused.value.reason


def test_endings():
    assert [is_mask_file(n) for n in ("a.nii.gz", "a.NII", "a.nrrd", "a.dcm", "nii")] == [True, True, True, False, False]

"""Real scans, contours and oddities are taken in, or refused with a reason.

What is measured in them does not change when they are taken in.
"""

import io

import highdicom as hd
import numpy as np
import pydicom
import pytest

from dagster_project.intake.dicom.deidentification import deidentify, open_source
from dagster_project.intake.refusals import RefusedError
from tests.intake.builders import PERSON, read_back

pytestmark = pytest.mark.real_data

CT_FOLDERS = [
    "lung_ct/case_1/ct",
    "lung_ct/case_3/ct",
    "sarcoma_ct/case_002/image",
    "sarcoma_ct/case_019/image",
    "sarcoma_ct/case_024/image",
    "two_readers/ct",
]
STRUCTURE_SETS = [
    "lung_ct/case_1/rtstruct.dcm",
    "lung_ct/case_3/rtstruct.dcm",
    "sarcoma_ct/case_002/mask/RS.dcm",
    "sarcoma_ct/case_019/mask/RS.dcm",
    "sarcoma_ct/case_024/mask/RS.dcm",
    "two_readers/reader_1.rtstruct.dcm",
    "two_readers/reader_2.rtstruct.dcm",
]
SEGMENTATIONS = ["two_readers/reader_1.seg.dcm", "two_readers/reader_2.seg.dcm"]
GEOMETRY = (
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "SliceThickness",
    "RescaleSlope",
    "RescaleIntercept",
    "Rows",
    "Columns",
)


def clean(path):
    return read_back(deidentify(open_source(path.read_bytes()), PERSON).data)


def slices(folder):
    return sorted(p for p in folder.iterdir() if p.suffix == ".dcm")


@pytest.mark.parametrize("folder", CT_FOLDERS)
def test_every_real_slice_is_taken_in_with_its_pixels_and_geometry(shared_data, folder):
    paths = slices(shared_data / folder)
    assert len(paths) >= 46
    for path in paths:
        source, result = pydicom.dcmread(path), clean(path)
        assert np.array_equal(source.pixel_array, result.pixel_array)
        assert all(source[k].value == result[k].value for k in GEOMETRY)


@pytest.mark.parametrize("name", STRUCTURE_SETS)
def test_real_contours_are_those_of_the_source(shared_data, name):
    source, result = pydicom.dcmread(shared_data / name), clean(shared_data / name)
    assert [r.ROIName for r in result.StructureSetROISequence] == [
        r.ROIName for r in source.StructureSetROISequence
    ]
    pairs = list(zip(source.ROIContourSequence, result.ROIContourSequence, strict=True))
    contours = [
        pair for s, r in pairs for pair in zip(s.ContourSequence, r.ContourSequence, strict=True)
    ]
    assert len(contours) >= 12
    for before, after in contours:
        assert list(before.ContourData) == list(after.ContourData)
        assert before.ContourGeometricType == after.ContourGeometricType


@pytest.mark.parametrize(
    "case",
    [
        ("lung_ct/case_1/rtstruct.dcm", "lung_ct/case_1/ct"),
        ("two_readers/reader_1.rtstruct.dcm", "two_readers/ct"),
    ],
)
def test_contours_refer_to_the_images_under_their_new_names(shared_data, case):
    contours, image = clean(shared_data / case[0]), clean(slices(shared_data / case[1])[0])
    series = (
        contours.ReferencedFrameOfReferenceSequence[0]
        .RTReferencedStudySequence[0]
        .RTReferencedSeriesSequence[0]
    )
    assert series.SeriesInstanceUID == image.SeriesInstanceUID
    assert image.SOPInstanceUID in {i.ReferencedSOPInstanceUID for i in series.ContourImageSequence}


@pytest.mark.parametrize("name", SEGMENTATIONS)
def test_real_segmentations_are_read_back_by_highdicom(shared_data, name):
    source = hd.seg.segread(str(shared_data / name))
    result = hd.seg.segread(
        io.BytesIO(deidentify(open_source((shared_data / name).read_bytes()), PERSON).data)
    )
    assert np.array_equal(source.pixel_array, result.pixel_array)
    assert result.get_segment_description(1).segment_label == "Nodule 1"
    positions = [
        [
            f.PlanePositionSequence[0].ImagePositionPatient
            for f in s.PerFrameFunctionalGroupsSequence
        ]
        for s in (source, result)
    ]
    assert positions[0] == positions[1]
    assert len(result.get_source_image_uids()) == len(source.get_source_image_uids()) > 0


USED = {
    "mask_objects/ct_1.dcm",
    "mask_objects/ct_2.dcm",
    "mask_objects/ct_image.dcm",
    "mask_objects/rt.dcm",
    "mask_objects/invalid_reference_rt.dcm",
    "mask_objects/non_existent_reference_rt.dcm",
    "mask_objects/seg_image_ct_binary.dcm",
    "mask_objects/seg_image_ct_binary_fractional.dcm",
    "mask_objects/seg_image_ct_binary_overlap.dcm",
    "mask_objects/seg_image_ct_binary_single_frame.dcm",
    "mask_objects/seg_image_ct_true_fractional.dcm",
    "transfer_syntax/CT_small.dcm",
    "transfer_syntax/CT_small_deflated.dcm",
}
"""Oddities that are CT, RTSTRUCT or SEG; the others are of other classes, derived, or damaged."""


def test_every_oddity_is_used_or_refused_with_a_reason(shared_data):
    folder = shared_data / "dicom_oddities"
    verdicts = {}
    for path in sorted(folder.rglob("*.dcm")):
        name = str(path.relative_to(folder))
        try:
            clean(path)
        except RefusedError as refused:
            verdicts[name] = refused.reason
    assert len(verdicts) == 16
    assert verdicts.keys() & USED == set()
    assert all("; " in reason for reason in verdicts.values())
    assert len(verdicts) + len(USED) == len(list(folder.rglob("*.dcm")))


def test_masks_of_the_oddities_keep_their_voxels(shared_data):
    for path in sorted((shared_data / "dicom_oddities" / "mask_objects").glob("seg_*.dcm")):
        assert np.array_equal(pydicom.dcmread(path).pixel_array, clean(path).pixel_array), path.name
        hd.seg.segread(io.BytesIO(deidentify(open_source(path.read_bytes()), PERSON).data))


def test_own_identifiers_of_real_files_do_not_come_out(shared_data):
    planted = {
        "sarcoma_ct/case_002/image": b"STS_002",
        "two_readers/ct": b"LIDC-IDRI",
        "lung_ct/case_1/ct": b"PAT1",
    }
    for folder, secret in planted.items():
        path = slices(shared_data / folder)[0]
        assert secret in path.read_bytes()
        assert secret not in deidentify(open_source(path.read_bytes()), PERSON).data

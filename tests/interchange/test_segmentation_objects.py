"""A SEG holds the voxels that the lake measured, on every grid, by two readers that are not ours.

Several cases are reports of other people: highdicom issues 117, 180, 214 and 338, OHIF 2833.
"""

from __future__ import annotations

import subprocess
from importlib.resources import files
from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk

from dagster_project.domain.imaging.grids import to_index
from dagster_project.domain.imaging.masks import mask_digest, read_outlines
from dagster_project.domain.imaging.series import read_series
from dagster_project.interchange.composite import NotExportable, headers_of
from dagster_project.interchange.identifiers import tracking_uid
from dagster_project.interchange.segmentation_objects import OutlinedLesion, build_segmentation
from tests.interchange.scans import GRIDS, SUBJECT, ct, found_by_dciodvfy, outlined, stacked


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "ct"


def written(folder: Path, slices, *ranges, whose="A"):
    """Series, headers, outlines and the SEG as it lies on disk."""
    series, headers = stacked(folder, slices)
    lesions = [outlined(series, f"L{n}", *ends, seed=n) for n, ends in enumerate(ranges, 1)]
    made = build_segmentation(headers, series, lesions, SUBJECT, whose)
    file = folder.with_suffix(".dcm")
    made.save_as(file, enforce_file_format=True)
    return series, headers, lesions, file


@pytest.mark.parametrize("grid", list(GRIDS))
def test_voxels_are_those_of_the_masks(folder: Path, grid: str) -> None:
    series, _, lesions, file = written(folder, GRIDS[grid](), (3, 12), (6, 8))
    read = {one.label: one.mask for one in read_outlines(file, series)}
    assert [np.array_equal(read[one.lesion], one.mask) for one in lesions] == [True, True]


@pytest.mark.parametrize("grid", [name for name in GRIDS if "missing" not in name])
def test_highdicom_finds_the_voxels_by_the_images_that_they_are_of(folder: Path, grid: str) -> None:
    _, headers, lesions, file = written(folder, GRIDS[grid](), (3, 12), (6, 8))
    pixels = hd.seg.segread(file).get_pixels_by_source_instance(
        [headers[i].SOPInstanceUID for i in range(3, 12)], assert_missing_frames_are_empty=True
    )
    expected = np.stack([one.mask[3:12] for one in lesions], axis=-1)
    assert np.array_equal(pixels.astype(bool), expected)


@pytest.mark.parametrize("grid", list(GRIDS))
def test_each_frame_has_the_position_of_its_slice(folder: Path, grid: str) -> None:
    series, _, lesions, file = written(folder, GRIDS[grid](), (3, 12), (6, 8))
    seg = pydicom.dcmread(file)
    places = {
        (
            frame.SegmentIdentificationSequence[0].ReferencedSegmentNumber,
            tuple(np.round(frame.PlanePositionSequence[0].ImagePositionPatient, 2)),
        )
        for frame in seg.PerFrameFunctionalGroupsSequence
    }
    expected = {
        (number, tuple(np.round((series.affine @ [0, 0, z, 1])[:3], 2)))
        for number, one in enumerate(lesions, 1)
        for z in np.flatnonzero(one.mask.any((1, 2)))
    }
    assert places == expected


@pytest.mark.parametrize("grid", ["axial", "from the head down", "pixels that are not square"])
def test_dcmqi_reads_the_same_voxels_as_3d_slicer_does(
    folder: Path, tmp_path: Path, grid: str
) -> None:
    series, _, lesions, file = written(folder, GRIDS[grid](), (3, 12), (6, 8))
    program = str(files("dcmqi").joinpath("bin/segimage2itkimage"))
    command = [program, "--inputDICOM", str(file), "--outputDirectory", str(tmp_path)]
    subprocess.run([*command, "--outputType", "nifti"], check=True, capture_output=True)
    for number, one in enumerate(lesions, 1):
        image = sitk.ReadImage(str(tmp_path / f"{number}.nii.gz"))
        places = np.argwhere(sitk.GetArrayFromImage(image))[:, ::-1]
        points = np.array([image.TransformIndexToPhysicalPoint(p.tolist()) for p in places])
        found = {tuple(p) for p in np.rint(to_index(series.affine, points)).astype(int).tolist()}
        assert found == {tuple(p) for p in np.argwhere(one.mask)[:, ::-1].tolist()}


def test_segments_are_numbered_from_one_and_an_empty_slice_has_no_frame(folder: Path) -> None:
    _, _, lesions, file = written(folder, ct(), (3, 12), (6, 8))
    seg = pydicom.dcmread(file)
    assert [(s.SegmentNumber, s.SegmentLabel) for s in seg.SegmentSequence] == [
        (1, "L1"),
        (2, "L2"),
    ]
    drawn = [int(one.mask.any((1, 2)).sum()) for one in lesions]
    assert seg.NumberOfFrames == sum(drawn) == 8 + 2
    assert [s.TrackingUID for s in seg.SegmentSequence] == [
        tracking_uid("AA-P1", "L1"),
        tracking_uid("AA-P1", "L2"),
    ]


def test_a_lesion_on_slices_that_are_all_missing_keeps_its_voxels(folder: Path) -> None:
    slices = [one for k, one in enumerate(ct()) if k not in {6, 7}]
    series, _, (lesion,), file = written(folder, slices, (6, 8))
    (read,) = read_outlines(file, series)
    assert np.array_equal(read.mask, lesion.mask)


def test_a_series_without_frame_of_reference_is_refused_by_name(folder: Path) -> None:
    slices = ct()
    for one in slices:
        del one.FrameOfReferenceUID
    series, headers = stacked(folder, slices)
    with pytest.raises(NotExportable, match="FrameOfReferenceUID"):
        build_segmentation(headers, series, [outlined(series, "L1", 3, 6)], SUBJECT, "A")


def test_the_same_outlines_give_the_same_bytes_and_other_outlines_another_object(
    folder: Path,
) -> None:
    series, headers, lesions, file = written(folder, ct(), (3, 6))
    again = build_segmentation(headers, series, lesions, SUBJECT, "A")
    again.save_as(folder / "again", enforce_file_format=True)
    assert (folder / "again").read_bytes() == file.read_bytes()
    other = build_segmentation(headers, series, [outlined(series, "L1", 3, 7)], SUBJECT, "A")
    assert other.SOPInstanceUID != again.SOPInstanceUID
    assert other.SeriesInstanceUID == again.SeriesInstanceUID


def test_dates_are_the_shifted_ones_and_said_to_be_shifted(folder: Path) -> None:
    *_, file = written(folder, ct(), (3, 6))
    seg = pydicom.dcmread(file)
    assert seg.LongitudinalTemporalInformationModified == "MODIFIED"
    dates = {e.value for e in seg.iterall() if e.VR in {"DA", "DT"} and e.value}
    assert dates == {"20240501", "20240102"}


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("ct_folder", "contours"),
    [
        ("two_readers/ct", "two_readers/reader_1.rtstruct.dcm"),
        ("two_readers/ct", "two_readers/reader_2.seg.dcm"),
        ("lung_ct/case_1/ct", "lung_ct/case_1/rtstruct.dcm"),
    ],
)
def test_real_outlines_keep_their_voxels_and_dciodvfy_finds_nothing_new(
    shared_data: Path, tmp_path: Path, ct_folder: str, contours: str
) -> None:
    source = shared_data / ct_folder
    series = read_series(source)
    read = (pydicom.dcmread(f, stop_before_pixels=True) for f in source.glob("*.dcm"))
    headers = headers_of(series, read)
    drawn = [one for one in read_outlines(shared_data / contours, series) if one.mask.any()]
    lesions = [
        OutlinedLesion(f"L{n}", None, one.mask, mask_digest(one.mask))
        for n, one in enumerate(drawn, 1)
    ]
    file = tmp_path / "seg.dcm"
    made = build_segmentation(headers, series, lesions, SUBJECT, "A")
    made.save_as(file, enforce_file_format=True)
    found = {one.label: one.mask for one in read_outlines(file, series)}
    assert [np.array_equal(found[one.lesion], one.mask) for one in lesions] == [True] * len(lesions)
    before = found_by_dciodvfy(next(source.glob("*.dcm")))
    assert [line for line in found_by_dciodvfy(file) if line not in before] == []

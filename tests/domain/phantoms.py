"""CT series, structure sets and segmentations whose answer is known, written as files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sr.codedict import codes
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, RTStructureSetStorage

SERIES, STUDY, FRAME = (
    "1.2.826.0.1.3680043.10.1.1",
    "1.2.826.0.1.3680043.10.1.2",
    "1.2.826.0.1.3680043.10.1.3",
)
AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


def slice_dataset(
    hu: np.ndarray,
    position: Sequence[float],
    number: int,
    *,
    spacing=(1.0, 1.0),
    thickness=1.0,
    cosines=AXIAL,
    intercept=-1024,
    slope=1,
    **tags: Any,
) -> FileDataset:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID = ExplicitVRLittleEndian, CTImageStorage
    meta.MediaStorageSOPInstanceUID = f"{SERIES}.{number}"
    ds = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    ds.SOPClassUID, ds.SOPInstanceUID = CTImageStorage, f"{SERIES}.{number}"
    ds.SeriesInstanceUID, ds.StudyInstanceUID, ds.FrameOfReferenceUID = SERIES, STUDY, FRAME
    ds.Modality, ds.PatientID, ds.PatientName, ds.PatientBirthDate, ds.PatientSex = (
        "CT",
        "P",
        "P^",
        "",
        "",
    )
    ds.StudyID, ds.StudyDate, ds.StudyTime, ds.AccessionNumber, ds.ReferringPhysicianName = (
        "1",
        "20240102",
        "120000",
        "",
        "",
    )
    ds.SeriesDate, ds.SeriesNumber, ds.InstanceNumber, ds.Manufacturer = (
        "20240103",
        3,
        number,
        "ACME",
    )
    ds.ImageType, ds.ConvolutionKernel, ds.KVP = ["ORIGINAL", "PRIMARY", "AXIAL"], "B31f", 120
    ds.ImageOrientationPatient, ds.ImagePositionPatient = (
        [float(c) for c in cosines],
        [float(p) for p in position],
    )
    ds.PixelSpacing, ds.SliceThickness = [float(s) for s in spacing], float(thickness)
    ds.Rows, ds.Columns = hu.shape
    (
        ds.SamplesPerPixel,
        ds.PhotometricInterpretation,
        ds.BitsAllocated,
        ds.BitsStored,
        ds.HighBit,
    ) = 1, "MONOCHROME2", 16, 16, 15
    ds.PixelRepresentation, ds.RescaleSlope, ds.RescaleIntercept = 1, slope, intercept
    ds.PixelData = np.rint((hu.astype(np.float64) - intercept) / slope).astype("<i2").tobytes()
    for keyword, value in tags.items():
        setattr(ds, keyword, value)
    return ds


def series_datasets(
    voxels: np.ndarray,
    *,
    spacing=(1.0, 1.0, 1.0),
    origin=(0.0, 0.0, 0.0),
    cosines=AXIAL,
    step=None,
    **tags: Any,
) -> list[FileDataset]:
    """Slices of a volume (z, y, x); spacing as (z, y, x).

    `step` is the way from slice to slice, else along the normal.
    """
    normal = np.cross(cosines[:3], cosines[3:])
    step = normal * spacing[0] if step is None else np.array(step)
    return [
        slice_dataset(
            plane,
            np.array(origin) + step * k,
            k + 1,
            spacing=spacing[1:],
            thickness=spacing[0],
            cosines=cosines,
            **tags,
        )
        for k, plane in enumerate(voxels)
    ]


def write(folder: Path, datasets: Sequence[Dataset], *, shuffled: bool = False) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    order = (
        np.random.default_rng(1).permutation(len(datasets)) if shuffled else range(len(datasets))
    )
    for name, k in enumerate(order):
        datasets[k].save_as(folder / f"{name:04d}.dcm", enforce_file_format=True)
    return folder


def structure_set(
    path: Path,
    rois: Mapping[str, Sequence[np.ndarray]],
    *,
    series: str | None = SERIES,
    frame: str | None = FRAME,
    images: Sequence[str] = (),
    kind: str = "CLOSED_PLANAR",
) -> Path:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = (
        ExplicitVRLittleEndian,
        RTStructureSetStorage,
        "1.2.3",
    )
    ds = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    ds.SOPClassUID, ds.SOPInstanceUID, ds.Modality = RTStructureSetStorage, "1.2.3", "RTSTRUCT"
    ds.StructureSetROISequence = [
        _dataset(ROINumber=n, ROIName=label) for n, label in enumerate(rois, start=1)
    ]
    ds.ROIContourSequence = [
        _contours(n, contours, images, kind) for n, contours in enumerate(rois.values(), start=1)
    ]
    frames = _dataset(FrameOfReferenceUID=frame) if frame else _dataset()
    if series:
        frames.RTReferencedStudySequence = [
            _dataset(RTReferencedSeriesSequence=[_dataset(SeriesInstanceUID=series)])
        ]
    if series or frame:
        ds.ReferencedFrameOfReferenceSequence = [frames]
    ds.save_as(path, enforce_file_format=True)
    return path


def _dataset(**values: Any) -> Dataset:
    ds = Dataset()
    for keyword, value in values.items():
        setattr(ds, keyword, value)
    return ds


def _contours(
    number: int, contours: Sequence[np.ndarray], images: Sequence[str], kind: str
) -> Dataset:
    items = []
    for points in contours:
        item = _dataset(
            ContourGeometricType=kind,
            NumberOfContourPoints=len(points),
            ContourData=[f"{c:.4f}" for c in np.ravel(points)],
        )
        if images:
            item.ContourImageSequence = [_dataset(ReferencedSOPInstanceUID=uid) for uid in images]
        items.append(item)
    return _dataset(ReferencedROINumber=number, ContourSequence=items)


def square(low: float, high: float, z: float) -> np.ndarray:
    """A square in the plane z, from low to high along x and y."""
    return np.array([[low, low, z], [high, low, z], [high, high, z], [low, high, z]])


def segmentation(
    path: Path,
    sources: Sequence[Dataset],
    pixels: np.ndarray,
    kind: str = "BINARY",
    labels: Sequence[str] = ("L1",),
) -> Path:
    """A SEG as highdicom writes it."""
    descriptions = [
        hd.seg.SegmentDescription(
            n, label, codes.SCT.Organ, codes.SCT.Lung, hd.seg.SegmentAlgorithmTypeValues.MANUAL
        )
        for n, label in enumerate(labels, start=1)
    ]
    seg = hd.seg.Segmentation(
        source_images=list(sources),
        pixel_array=pixels,
        segmentation_type=kind,
        segment_descriptions=descriptions,
        series_instance_uid="1.2.4",
        series_number=1,
        sop_instance_uid="1.2.5",
        instance_number=1,
        manufacturer="M",
        manufacturer_model_name="M",
        software_versions="1",
        device_serial_number="1",
        max_fractional_value=200,
    )
    seg.save_as(path)
    return path


def reordered(path: Path, order: Sequence[int]) -> Path:
    """The same SEG with its frames in another order."""
    ds = pydicom.dcmread(path)
    frames = np.atleast_3d(ds.pixel_array)[list(order)]
    ds.PerFrameFunctionalGroupsSequence = [ds.PerFrameFunctionalGroupsSequence[k] for k in order]
    ds.PixelData = (
        np.packbits(frames.ravel(), bitorder="little").tobytes()
        if ds.BitsAllocated == 1
        else frames.tobytes()
    )
    if len(ds.PixelData) % 2:
        ds.PixelData += b"\0"
    ds.save_as(path)
    return path


def body(
    shape=(24, 120, 160), spacing=(1.0, 2.5, 2.5), *, half=(110.0, 150.0), noise=10.0, seed=0
) -> np.ndarray:
    """A chest: an elliptic body of water in air with two lungs; half axes along y and x in mm."""
    z, y, x = (np.arange(n) * s for n, s in zip(shape, spacing, strict=True))
    y, x = (y - y.mean())[:, None], (x - x.mean())[None, :]
    plane = np.where((y / half[0]) ** 2 + (x / half[1]) ** 2 <= 1, 40.0, -1000.0)
    for side in (-1, 1):
        lung = ((y + 5) / (0.6 * half[0])) ** 2 + (
            (x - side * 0.45 * half[1]) / (0.35 * half[1])
        ) ** 2 <= 1
        plane[lung] = -850.0
    volume = np.repeat(plane[None], z.size, axis=0) + np.random.default_rng(seed).normal(
        0, noise, shape
    )
    return np.maximum(volume, -1024).round().astype(np.int16)

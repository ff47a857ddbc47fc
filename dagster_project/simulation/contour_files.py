"""A reader's outlines as files: RTSTRUCT, DICOM SEG or NIfTI.

Their headers identify as much as those of the images.
"""

from __future__ import annotations

import gzip
import io
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filewriter import dcmwrite
from pydicom.sr.codedict import codes
from pydicom.tag import Tag
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, RTStructureSetStorage

from dagster_project.simulation.dicom_series import ct_header
from dagster_project.simulation.headers import (
    FRAME_OF_REFERENCE,
    PRIVATE_CREATOR,
    READER_SERIES,
    Study,
    write_header,
)
from dagster_project.simulation.plan import READERS, Format
from dagster_project.simulation.reading import Outline
from dagster_project.simulation.scans import Scan
from dagster_project.simulation.surfaces import Floats, Grid

NIFTI_HEADER = "<i10s18sihcb8h3f4h8f3fhcb4f2i80s24s2h6f4f4f4f16s4s"
"""struct format of the NIfTI-1 header: 348 bytes."""


CONTOUR_DATA = Tag(0x3006, 0x0050)
"""ContourData."""


def write_contours(
    folder: Path, study: Study, scan: Scan, reader: str, outlines: Mapping[str, Outline]
) -> None:
    """Write one reader's outlines of one scan, by lesion label.

    The format is that of the reader at this site.
    """
    chosen = reader_format(study, reader)
    folder.mkdir(parents=True, exist_ok=True)
    if chosen == "NIFTI":
        for label, outline in outlines.items():
            path = folder / f"{study.series_uid}__{label}.nii.gz"
            path.write_bytes(
                nifti(
                    outline.mask.full(scan.frame.grid.shape),
                    scan.frame.grid,
                    f"{study.name_text()} {study.patient.identity.hospital_number}",
                )
            )
    elif outlines:
        dataset = (
            structure_set(study, scan, reader, outlines)
            if chosen == "RTSTRUCT"
            else segmentation(study, scan, reader, outlines)
        )
        nested = folder / f"{study.name_text()}_{study.date}"
        nested.mkdir(exist_ok=True)
        save(
            nested / f"{chosen}_{study.patient.identity.hospital_number}_{study.visit}.dcm", dataset
        )


def reader_format(study: Study, reader: str) -> Format:
    """The format that a reader's software writes at this site."""
    return study.patient.site.formats[READERS.index(reader)]


def roi_name(study: Study, reader: str, label: str) -> str:
    """Name of a contour: the second reader's planning system writes GTV-L1 for L1."""
    return (
        f"GTV-{label}"
        if reader == READERS[1] and reader_format(study, reader) == "RTSTRUCT"
        else label
    )


def save(path: Path, dataset: Dataset) -> None:
    """Write a data set as a DICOM file in explicit little endian."""
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    buffer = io.BytesIO()
    dcmwrite(buffer, dataset, enforce_file_format=True)
    path.write_bytes(buffer.getvalue())


def reader_uid(study: Study, reader: str, *more: int) -> str:
    """UID of a reader's series, or of something in it."""
    return study.uid(READER_SERIES + READERS.index(reader), *more)


def structure_set(
    study: Study, scan: Scan, reader: str, outlines: Mapping[str, Outline]
) -> Dataset:
    """An RT Structure Set: one ROI per lesion, one closed planar contour per slice.

    Vertices are given to a thousandth of a millimetre.
    """
    dataset = write_header(
        study,
        sop_class=RTStructureSetStorage,
        instance_uid=reader_uid(study, reader, 1),
        series_uid=reader_uid(study, reader),
        modality="RTSTRUCT",
    )
    dataset.SeriesNumber, dataset.InstanceNumber = "41", "1"
    dataset.StructureSetLabel, dataset.StructureSetName = (
        "RECIST",
        f"{study.name_text()} {study.date}",
    )
    dataset.StructureSetDate, dataset.StructureSetTime = study.date, "150000"
    dataset.ApprovalStatus, dataset.ReviewerName = (
        "UNAPPROVED",
        study.site.physicians[1].person_name(chinese=study.patient.site.chinese),
    )
    dataset.ReferencedFrameOfReferenceSequence = [_referenced_frame(study, scan)]
    numbered = list(enumerate(outlines.items(), start=1))
    dataset.StructureSetROISequence = [
        _roi(study, n, roi_name(study, reader, label)) for n, (label, _) in numbered
    ]
    dataset.ROIContourSequence = [
        _roi_contour(study, scan, n, outline) for n, (_, outline) in numbered
    ]
    dataset.RTROIObservationsSequence = [_observation(study, n) for n, _ in numbered]
    return dataset


def _referenced_frame(study: Study, scan: Scan) -> Dataset:
    series, referenced_study, frame = Dataset(), Dataset(), Dataset()
    series.SeriesInstanceUID = study.series_uid
    series.ContourImageSequence = [
        _referenced_image(study, index) for index in range(scan.hu.shape[0])
    ]
    referenced_study.ReferencedSOPClassUID, referenced_study.ReferencedSOPInstanceUID = (
        "1.2.840.10008.3.1.2.3.1",
        study.study_uid,
    )
    referenced_study.RTReferencedSeriesSequence = [series]
    frame.FrameOfReferenceUID = study.uid(FRAME_OF_REFERENCE)
    frame.RTReferencedStudySequence = [referenced_study]
    return frame


def _referenced_image(study: Study, index: int) -> Dataset:
    image = Dataset()
    image.ReferencedSOPClassUID, image.ReferencedSOPInstanceUID = (
        CTImageStorage,
        study.instance_uid(index),
    )
    return image


def _roi(study: Study, number: int, name: str) -> Dataset:
    roi = Dataset()
    roi.ROINumber, roi.ROIName, roi.ROIGenerationAlgorithm = str(number), name, "MANUAL"
    roi.ReferencedFrameOfReferenceUID = study.uid(FRAME_OF_REFERENCE)
    roi.ROIDescription = (
        f"{study.name_text()}, drawn by "
        f"{study.site.physicians[1].text(chinese=study.patient.site.chinese)}"
    )
    return roi


def _roi_contour(study: Study, scan: Scan, number: int, outline: Outline) -> Dataset:
    roi = Dataset()
    roi.ReferencedROINumber, roi.ROIDisplayColor = str(number), [255, 0, 0]
    grid = scan.frame.grid
    contours = []
    for z, polygon in zip(outline.sections.z_mm, outline.sections.polygons(), strict=True):
        contour = Dataset()
        index = round((z - grid.origin_mm[2]) / grid.spacing_mm[0])
        contour.ContourImageSequence = [_referenced_image(study, index)]
        contour.ContourGeometricType, contour.NumberOfContourPoints = (
            "CLOSED_PLANAR",
            str(len(polygon)),
        )
        contour[CONTOUR_DATA] = _contour_data(polygon, float(z))
        contours.append(contour)
    roi.ContourSequence = contours
    return roi


def _contour_data(polygon: Floats, z: float) -> RawDataElement:
    """The vertices as they are written to the file.

    Handing them to pydicom as a list of numbers would take half of all the time.
    """
    text = "\\".join(f"{x:.3f}\\{y:.3f}\\{z:.3f}" for x, y in polygon).encode()
    value = text + b" " * (len(text) % 2)
    return RawDataElement(
        CONTOUR_DATA, "DS", len(value), value, 0, is_implicit_VR=False, is_little_endian=True
    )


def _observation(study: Study, number: int) -> Dataset:
    observation = Dataset()
    observation.ObservationNumber = observation.ReferencedROINumber = str(number)
    observation.RTROIInterpretedType = "GTV"
    observation.ROIInterpreter = study.site.physicians[1].person_name(
        chinese=study.patient.site.chinese
    )
    return observation


def segmentation(study: Study, scan: Scan, reader: str, outlines: Mapping[str, Outline]) -> Dataset:
    """A binary DICOM SEG by highdicom: one segment per lesion, frames only where something lies."""
    import highdicom as hd

    indices = _slices_of(outlines)
    masks = np.stack(
        [outline.mask.full(scan.frame.grid.shape)[indices] for outline in outlines.values()],
        axis=-1,
    )
    dataset = hd.seg.Segmentation(
        source_images=_source_images(study, scan, indices),
        pixel_array=masks,
        segmentation_type="BINARY",
        segment_descriptions=[_segment(n, label, hd) for n, label in enumerate(outlines, start=1)],
        series_instance_uid=reader_uid(study, reader),
        series_number=51,
        sop_instance_uid=reader_uid(study, reader, 1),
        instance_number=1,
        manufacturer="SIMULATION",
        manufacturer_model_name="Contouring",
        software_versions="1",
        device_serial_number=study.site.device_serial,
        content_creator_name=study.site.physicians[1].person_name(
            chinese=study.patient.site.chinese
        ),
        omit_empty_frames=True,
        series_description=f"{reader} {study.name_text()}",
    )
    _settle(dataset, study, reader)
    return dataset


def _slices_of(outlines: Mapping[str, Outline]) -> list[int]:
    used: set[int] = set()
    for outline in outlines.values():
        used |= {
            outline.mask.box[0].start + int(k)
            for k in np.flatnonzero(outline.mask.voxels.any((1, 2)))
        }
    return list(range(min(used), max(used) + 1))


def _source_images(study: Study, scan: Scan, indices: list[int]) -> list[Dataset]:
    """Headers that differ in what is a slice's own; everything else is shared."""
    header = ct_header(study, scan, indices[0])
    images = []
    for index in indices:
        image = Dataset()
        image.update(header)
        position = [*header.ImagePositionPatient[:2], f"{scan.frame.grid.axis(0)[index]:.3f}"]
        for keyword, vr, value in (
            ("SOPInstanceUID", "UI", study.instance_uid(index)),
            ("InstanceNumber", "IS", index + 1),
            ("ImagePositionPatient", "DS", position),
        ):
            image.add_new(keyword, vr, value)
        images.append(image)
    return images


def _segment(number: int, label: str, hd: Any) -> Any:
    return hd.seg.SegmentDescription(
        segment_number=number,
        segment_label=label,
        segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
        segmented_property_type=codes.SCT.Neoplasm,
        algorithm_type="MANUAL",
    )


def _settle(dataset: Dataset, study: Study, reader: str) -> None:
    """Replace what highdicom takes from the clock or draws at random; add a private block.

    So a seed gives the same bytes.
    """
    dataset.InstanceCreationDate = dataset.ContentDate = dataset.SeriesDate = study.date
    dataset.InstanceCreationTime = dataset.ContentTime = dataset.SeriesTime = "150000"
    for item in dataset.ContributingEquipmentSequence:
        item.ContributionDateTime = f"{study.date}150000"
    organisation = reader_uid(study, reader, 2)
    for item in [*dataset.DimensionOrganizationSequence, *dataset.DimensionIndexSequence]:
        item.DimensionOrganizationUID = organisation
    dataset.private_block(0x0009, PRIVATE_CREATOR, create=True).add_new(
        0x01, "LO", f"{study.name_text()} {study.patient.identity.national_number}"
    )


def nifti(mask: NDArray[np.uint8], grid: Grid, description: str) -> bytes:
    """A mask as gzipped NIfTI-1.

    Patient coordinates are turned from LPS (DICOM) to RAS, and `descrip` says whose mask it is.
    """
    (nz, ny, nx), (dz, dy, dx), (x, y, z) = grid.shape, grid.spacing_mm, grid.origin_mm
    size_and_unused = (348, b"", b"", 0, 0, b"r", 0)
    dim = (3, nx, ny, nz, 1, 1, 1, 1)
    intent = (0.0, 0.0, 0.0, 0)
    datatype = (2, 8, 0)  # unsigned bytes
    pixdim = (1.0, dx, dy, dz, 1.0, 1.0, 1.0, 1.0)
    data = (352.0, 1.0, 0.0, 0, b"\x00", 2)  # offset, slope, intercept; millimetres
    display = (0.0, 0.0, 0.0, 0.0, 0, 0, description.encode()[:79], b"")
    quaternion = (1, 1, 0.0, 0.0, 1.0, -x, -y, z)
    affine = (-dx, 0.0, 0.0, -x, 0.0, -dy, 0.0, -y, 0.0, 0.0, dz, z)
    header = struct.pack(
        NIFTI_HEADER,
        *size_and_unused,
        *dim,
        *intent,
        *datatype,
        *pixdim,
        *data,
        *display,
        *quaternion,
        *affine,
        b"",
        b"n+1\x00",
    )
    return gzip.compress(header + b"\x00" * 4 + mask.tobytes(), compresslevel=1, mtime=0)

"""A CT series as files.

pydicom encodes one header, and each slice's own values are set in it at fixed width, which makes
thousands of files cheap.
"""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.filewriter import dcmwrite
from pydicom.pixels.encoders.base import get_encoder
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian, RLELossless

from dagster_project.simulation.headers import FRAME_OF_REFERENCE, Study, write_header
from dagster_project.simulation.scans import Scan

PIXEL_DATA = b"\xe0\x7f\x10\x00"
"""Tag (7FE0,0010) as it is written in little endian."""


def ct_header(study: Study, scan: Scan, index: int) -> Dataset:
    """The header of one slice, without pixels."""
    dataset = write_header(
        study,
        sop_class=CTImageStorage,
        instance_uid=study.instance_uid(index),
        series_uid=study.series_uid,
        modality="CT",
    )
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.FrameOfReferenceUID = study.uid(FRAME_OF_REFERENCE)
    dataset.PositionReferenceIndicator = ""
    _add_acquisition(dataset, scan)
    _add_geometry(dataset, scan, index)
    _add_pixel_description(dataset, scan)
    return dataset


def _add_acquisition(dataset: Dataset, scan: Scan) -> None:
    scanner = scan.patient.site.scanner
    dataset.KVP, dataset.XRayTubeCurrent, dataset.Exposure = str(scanner.kvp), "210", "95"
    dataset.ConvolutionKernel, dataset.ContrastBolusAgent = scan.kernel, "IOHEXOL"
    dataset.BodyPartExamined, dataset.PatientPosition, dataset.ScanOptions = (
        "CHEST",
        "HFS",
        "HELICAL MODE",
    )
    dataset.GantryDetectorTilt = "0"
    dataset.SeriesNumber, dataset.AcquisitionNumber = "3", "1"


def _add_geometry(dataset: Dataset, scan: Scan, index: int) -> None:
    grid = scan.frame.grid
    x, y, _ = grid.origin_mm
    z = z_text(scan, index)
    dataset.InstanceNumber = f"{instance_number(scan, index):04d}"
    dataset.ImagePositionPatient = [f"{x:.3f}", f"{y:.3f}", z]
    dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    dataset.SliceLocation = z
    dataset.PixelSpacing = [f"{grid.spacing_mm[1]:g}", f"{grid.spacing_mm[2]:g}"]
    dataset.SliceThickness = f"{grid.spacing_mm[0]:g}"
    dataset.Rows, dataset.Columns = grid.shape[1:]


def z_text(scan: Scan, index: int) -> str:
    """Position of the slice of that index.

    Its width is the same over a scan, since the table's position lies between 100 and 999 mm.
    """
    return f"{scan.frame.grid.axis(0)[index]:.3f}"


def instance_number(scan: Scan, index: int) -> int:
    """Number of the slice in the order in which it was scanned."""
    return scan.hu.shape[0] - index if scan.patient.site.scanner.descending else index + 1


def _add_pixel_description(dataset: Dataset, scan: Scan) -> None:
    intercept = scan.patient.site.scanner.intercept
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 16, 15
    dataset.PixelRepresentation = 1 if intercept == 0 else 0
    dataset.RescaleIntercept, dataset.RescaleSlope, dataset.RescaleType = str(intercept), "1", "HU"
    dataset.WindowCenter, dataset.WindowWidth = "40", "400"


def write_series(folder: Path, study: Study, scan: Scan) -> None:
    """Write every slice of a scan into a folder that must not exist yet."""
    folder.mkdir(parents=True)
    head = _encoded(
        ct_header(study, scan, 0),
        RLELossless if scan.patient.site.scanner.compressed else ExplicitVRLittleEndian,
    )
    for index in range(scan.hu.shape[0]):
        (folder / file_name(study, instance_number(scan, index))).write_bytes(
            _of_slice(head, study, scan, index) + _pixels(scan, index)
        )


def file_name(study: Study, number: int) -> str:
    """Names of files identify, too."""
    return f"{study.name_text()}_{study.patient.identity.hospital_number}_{number:04d}" + (
        "" if study.patient.site.scanner.descending else ".dcm"
    )


def _encoded(dataset: Dataset, transfer_syntax: UID) -> bytes:
    buffer = io.BytesIO()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = transfer_syntax
    dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()


def _of_slice(head: bytes, study: Study, scan: Scan, index: int) -> bytes:
    """Replace the UID, number and position of slice 0 by those of the slice.

    Every value keeps its length.
    """
    if len(z_text(scan, index)) != len(z_text(scan, 0)):
        raise ValueError("the table's position must lie between 100 and 999 mm over the whole scan")
    head = head.replace(study.instance_uid(0).encode(), study.instance_uid(index).encode())
    number = b"\x20\x00\x13\x00IS\x04\x00%04d"
    head = head.replace(number % instance_number(scan, 0), number % instance_number(scan, index))
    return head.replace(z_text(scan, 0).encode(), z_text(scan, index).encode())


def _pixels(scan: Scan, index: int) -> bytes:
    scanner = scan.patient.site.scanner
    stored = (scan.hu[index] - np.int16(scanner.intercept)).astype(
        "<i2" if scanner.intercept == 0 else "<u2"
    )
    if not scanner.compressed:
        return PIXEL_DATA + b"OW\x00\x00" + struct.pack("<I", stored.nbytes) + stored.tobytes()
    return (
        PIXEL_DATA
        + b"OB\x00\x00\xff\xff\xff\xff"
        + encapsulate([_run_length(stored)])
        + b"\xfe\xff\xdd\xe0\x00\x00\x00\x00"
    )


def _run_length(stored: NDArray[np.integer]) -> bytes:
    return get_encoder(RLELossless).encode(
        stored.tobytes(),
        encoding_plugin="pylibjpeg",
        rows=stored.shape[0],
        columns=stored.shape[1],
        samples_per_pixel=1,
        number_of_frames=1,
        bits_allocated=16,
        bits_stored=16,
        pixel_representation=int(stored.dtype.kind == "i"),
        photometric_interpretation="MONOCHROME2",
    )

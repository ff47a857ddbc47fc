"""Small DICOM files, masks and landings for the tests of intake.

Every one is made here, byte by byte where it matters.
"""

from __future__ import annotations

import io
import re
import struct
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.charset import convert_encodings
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import dcmwrite, write_data_element
from pydicom.tag import Tag
from pydicom.uid import ExplicitVRLittleEndian

from dagster_project.intake.dicom.dicom_writer import Person
from dagster_project.intake.dicom.identifiers import Needles
from dagster_project.intake.identity.keys import Keys
from dagster_project.intake.identity.pseudonyms import Crosswalk
from dagster_project.intake.identity.session import Session
from dagster_project.study import load_study

CT_CLASS = "1.2.840.10008.5.1.4.1.1.2"
RT_CLASS = "1.2.840.10008.5.1.4.1.1.481.3"
SEG_CLASS = "1.2.840.10008.5.1.4.1.1.66.4"
ROOT = "1.2.826.0.1.3680043.9.9999"
TARGET = load_study().section("reads")["target_roi"]
RECIPIENT = "age1yx34grhypqnyl4e8jkzzavv5efdy74s54znaezr7xpg28xtg55mqj5d09n"
KEYS = Keys(index=b"i" * 32, uid=b"u" * 32, date=b"d" * 32, recipient=RECIPIENT)
PERSON = Person(
    "AB-AAAAAAAAAAAAAAAAA", -1000, KEYS.uid, re.compile(TARGET, re.IGNORECASE), Needles()
)


def meta(sop_class: str, instance: str, syntax: str = ExplicitVRLittleEndian) -> FileMetaDataset:
    """File meta information."""
    info = FileMetaDataset()
    info.TransferSyntaxUID, info.MediaStorageSOPClassUID, info.MediaStorageSOPInstanceUID = (
        syntax,
        sop_class,
        instance,
    )
    return info


def _header(sop_class: str, instance: str, series: str, patient: str, modality: str) -> Dataset:
    ds = Dataset()
    ds.file_meta = meta(sop_class, instance)
    ds.SOPClassUID, ds.SOPInstanceUID, ds.Modality = sop_class, instance, modality
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = (
        f"{ROOT}.1",
        series,
        f"{ROOT}.9",
    )
    ds.PatientID, ds.PatientName, ds.PatientBirthDate, ds.PatientSex = (
        patient,
        "Murong^Shuangyan",
        "19490511",
        "F",
    )
    ds.StudyDate = ds.SeriesDate = "20240105"
    ds.StudyTime, ds.AccessionNumber, ds.ReferringPhysicianName, ds.StudyID = (
        "101530",
        "ACC4471290",
        "Ouyang^Che",
        "S77123",
    )
    ds.Manufacturer, ds.InstanceNumber, ds.SeriesNumber = "SIEMENS", 1, 3
    return ds


def ct(
    index: int = 0,
    *,
    patient: str = "ZY0012345",
    series: str = f"{ROOT}.2",
    pixels: np.ndarray | None = None,
    **changes: Any,
) -> Dataset:
    """One CT slice of 16 × 12 pixels; `changes` set or (with None) remove elements by keyword."""
    ds = _header(CT_CLASS, f"{series}.{1001 + index}", series, patient, "CT")
    ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    ds.AcquisitionDate = "20240105"
    ds.InstanceNumber, ds.ImagePositionPatient, ds.ImageOrientationPatient = (
        index + 1,
        [-10.5, -20.25, float(index)],
        [1, 0, 0, 0, 1, 0],
    )
    ds.PixelSpacing, ds.SliceThickness, ds.ConvolutionKernel, ds.KVP, ds.BodyPartExamined = (
        [0.75, 0.75],
        1,
        "Br40d",
        120,
        "CHEST",
    )
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
    ds.RescaleIntercept, ds.RescaleSlope = -1024, 1
    values = image(index) if pixels is None else pixels
    ds.Rows, ds.Columns = values.shape
    ds.PixelData = values.astype("<u2").tobytes()
    for keyword, value in changes.items():
        if value is None:
            del ds[keyword]
        else:
            setattr(ds, keyword, value)
    return ds


def image(index: int) -> np.ndarray:
    """Pixel values that differ from slice to slice."""
    return (np.arange(16 * 12).reshape(16, 12) * 7 + index * 13) % 4096


def rtstruct(
    *,
    patient: str = "ZY0012345",
    series: str = f"{ROOT}.2",
    instance: str = f"{ROOT}.5.1",
    names: tuple[str, ...] = ("GTV-1",),
    size: float = 5.0,
) -> Dataset:
    """A structure set with one square contour an ROI on the slices of a series."""
    ds = _header(RT_CLASS, instance, f"{ROOT}.5", patient, "RTSTRUCT")
    ds.StructureSetLabel, ds.StructureSetName, ds.StructureSetDate, ds.StructureSetTime = (
        "Dr Ouyang",
        "Murong",
        "20240106",
        "150000",
    )
    ds.ApprovalStatus, ds.OperatorsName = "UNAPPROVED", "Zhuge^Yun"
    ds.ReferencedFrameOfReferenceSequence = [
        _item(
            FrameOfReferenceUID=f"{ROOT}.9",
            RTReferencedStudySequence=[
                _item(
                    ReferencedSOPClassUID="1.2.840.10008.3.1.2.3.1",
                    ReferencedSOPInstanceUID=f"{ROOT}.1",
                    RTReferencedSeriesSequence=[
                        _item(
                            SeriesInstanceUID=series,
                            ContourImageSequence=[_image(f"{series}.1001")],
                        )
                    ],
                )
            ],
        )
    ]
    ds.StructureSetROISequence = [
        _item(
            ROINumber=n,
            ReferencedFrameOfReferenceUID=f"{ROOT}.9",
            ROIName=name,
            ROIGenerationAlgorithm="MANUAL",
            ROIDescription="drawn by Ouyang Che",
        )
        for n, name in enumerate(names, 1)
    ]
    square = [0, 0, 0, size, 0, 0, size, size, 0, 0, size, 0]
    ds.ROIContourSequence = [
        _item(
            ReferencedROINumber=n,
            ROIDisplayColor=[255, 0, 0],
            ContourSequence=[
                _item(
                    ContourImageSequence=[_image(f"{series}.1001")],
                    ContourGeometricType="CLOSED_PLANAR",
                    NumberOfContourPoints=4,
                    ContourData=square,
                )
            ],
        )
        for n, _ in enumerate(names, 1)
    ]
    ds.RTROIObservationsSequence = [
        _item(
            ObservationNumber=n,
            ReferencedROINumber=n,
            RTROIInterpretedType="GTV",
            ROIInterpreter="Ouyang^Che",
            ROIObservationLabel="for Murong",
        )
        for n, _ in enumerate(names, 1)
    ]
    return ds


def _item(**elements: Any) -> Dataset:
    ds = Dataset()
    for keyword, value in elements.items():
        setattr(ds, keyword, value)
    return ds


def _image(uid: str) -> Dataset:
    return _item(ReferencedSOPClassUID=CT_CLASS, ReferencedSOPInstanceUID=uid)


def code(value: str, scheme: str, meaning: str) -> Dataset:
    """A coded concept."""
    return _item(CodeValue=value, CodingSchemeDesignator=scheme, CodeMeaning=meaning)


def seg(
    *,
    patient: str = "ZY0012345",
    series: str = f"{ROOT}.2",
    instance: str = f"{ROOT}.6.1",
    label: str = "Nodule 1",
    frames: int = 2,
) -> Dataset:
    """A binary segmentation of 16 × 12 pixels."""
    ds = _header(SEG_CLASS, instance, f"{ROOT}.6", patient, "SEG")
    ds.ImageType, ds.ContentLabel, ds.ContentDescription, ds.ContentCreatorName = (
        ["DERIVED", "PRIMARY"],
        "MURONG",
        "nodule of Murong",
        "Ouyang^Che",
    )
    ds.ContentDate, ds.ContentTime = "20240106", "150000"
    ds.SegmentationType, ds.NumberOfFrames, ds.LossyImageCompression = "BINARY", frames, "00"
    ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.Rows, ds.Columns = 1, "MONOCHROME2", 16, 12
    ds.BitsAllocated = ds.BitsStored = 1
    ds.HighBit = ds.PixelRepresentation = 0
    ds.SegmentSequence = [
        _item(
            SegmentNumber=1,
            SegmentLabel=label,
            SegmentAlgorithmType="MANUAL",
            SegmentDescription="Murong, left lung",
            SegmentedPropertyCategoryCodeSequence=[
                code("49755003", "SCT", "Morphologically Abnormal Structure")
            ],
            SegmentedPropertyTypeCodeSequence=[code("440106194905", "99LOCAL", "Murong's nodule")],
        )
    ]
    ds.ReferencedSeriesSequence = [
        _item(SeriesInstanceUID=series, ReferencedInstanceSequence=[_image(f"{series}.1001")])
    ]
    ds.DimensionOrganizationSequence = [_item(DimensionOrganizationUID=f"{ROOT}.8")]
    ds.SharedFunctionalGroupsSequence = [
        _item(
            PlaneOrientationSequence=[_item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])],
            PixelMeasuresSequence=[_item(PixelSpacing=[0.75, 0.75], SliceThickness=1)],
        )
    ]
    ds.PerFrameFunctionalGroupsSequence = [
        _item(
            FrameContentSequence=[_item(DimensionIndexValues=[1, n + 1])],
            PlanePositionSequence=[_item(ImagePositionPatient=[-10.5, -20.25, n])],
            SegmentIdentificationSequence=[_item(ReferencedSegmentNumber=1)],
        )
        for n in range(frames)
    ]
    ds.PixelData = np.packbits(seg_mask(frames).ravel(), bitorder="little").tobytes()
    return ds


def seg_mask(frames: int) -> np.ndarray:
    """The segmentation's voxels."""
    mask = np.zeros((frames, 16, 12), np.uint8)
    mask[:, 4:9, 3:7] = 1
    return mask


def to_bytes(ds: Dataset) -> bytes:
    """The file in explicit little endian; planted elements stand as they were planted."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dcmwrite(buffer, _only_meta(ds), enforce_file_format=True)
        return buffer.getvalue() + _elements(ds, ds.get("SpecificCharacterSet") or "ISO_IR 6")


def _only_meta(ds: Dataset) -> Dataset:
    empty = Dataset()
    empty.file_meta = ds.file_meta
    return empty


def _elements(ds: Dataset, charset: Any) -> bytes:
    return b"".join(_element(ds, tag, charset) for tag in sorted(ds.keys()))


def _element(ds: Dataset, tag: Any, charset: Any) -> bytes:
    element = ds.get_item(tag)
    if isinstance(element, RawDataElement):
        return _headed(tag, element.VR, element.value)
    if element.VR == "SQ":
        items = (_elements(item, charset) for item in element.value)
        return _headed(
            tag,
            "SQ",
            b"".join(struct.pack("<HHI", 0xFFFE, 0xE000, len(item)) + item for item in items),
        )
    if element.VR == "OB or OW":
        return _headed(
            tag, "OB" if ds.file_meta.MediaStorageSOPClassUID == SEG_CLASS else "OW", element.value
        )
    fp = DicomBytesIO()
    fp.is_little_endian, fp.is_implicit_VR = True, False
    write_data_element(fp, element, convert_encodings(charset))
    return fp.getvalue()


def _headed(tag: Any, vr: str, value: bytes) -> bytes:
    long = vr in {"OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"}
    length = struct.pack("<HI", 0, len(value)) if long else struct.pack("<H", len(value))
    return struct.pack("<HH", tag >> 16, tag & 0xFFFF) + vr.encode() + length + value


def plant(ds: Dataset, keyword_or_tag: str | int, vr: str, value: bytes) -> None:
    """Set an element's bytes, whatever its VR would say of them."""
    tag = Tag(keyword_or_tag)
    value += b" " * (len(value) % 2)
    ds._dict[tag] = RawDataElement(tag, vr, len(value), value, 0, False, True)


def read_back(data: bytes) -> Dataset:
    """Parse a file that was written."""
    return pydicom.dcmread(io.BytesIO(data))


def session(folder: Path, **changes: Any) -> Session:
    """A session whose crosswalk and incoming folder lie in a temporary folder."""
    (folder / "incoming").mkdir(exist_ok=True)
    Crosswalk(folder / "crosswalk.sqlite", changes.get("keys", KEYS))
    facts = {
        "run": "r1",
        "site": "AB",
        "keys": KEYS,
        "crosswalk": str(folder / "crosswalk.sqlite"),
        "incoming": str(folder / "incoming"),
        "target_pattern": TARGET,
    }
    return Session(**{**facts, **changes})


def write_series(folder: Path, n: int = 3, **changes: Any) -> list[Path]:
    """CT slices as a PACS would export them."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"Murong_{index}.dcm" for index in range(n)]
    for index, path in enumerate(paths):
        path.write_bytes(to_bytes(ct(index, **changes)))
    return paths


def write_mask(path: Path, mask: np.ndarray, description: str = "") -> None:
    """A mask as SimpleITK writes it, with text in its header where one is given."""
    import SimpleITK as sitk

    volume = sitk.GetImageFromArray(mask)
    volume.SetSpacing((0.75, 0.75, 1.0))
    volume.SetOrigin((-10.5, -20.25, 3.0))
    if description:
        volume.SetMetaData("descrip", description)
        volume.SetMetaData("ITK_FileNotes", description)
        volume.SetMetaData("patient", description)
    sitk.WriteImage(volume, str(path))


def slicer_segmentation(
    path: Path, layers: np.ndarray, segments: Mapping[str, tuple[int, int]]
) -> None:
    """Layers (layer, z, y, x) as 3D Slicer writes them.

    One volume, or a list of volumes, and the segments' names, layers and values as text.
    """
    count, *shape = layers.shape
    listed = count > 1
    head = [
        "NRRD0004",
        "type: unsigned char",
        f"dimension: {3 + listed}",
        "space: left-posterior-superior",
        f"sizes: {f'{count} ' if listed else ''}{' '.join(map(str, shape[::-1]))}",
        f"space directions: {'none ' if listed else ''}(0.75,0,0) (0,0.75,0) (0,0,1)",
        f"kinds: {'list ' if listed else ''}domain domain domain",
        "encoding: raw",
        "space origin: (-10.5,-20.25,3)",
    ]
    for number, (name, (layer, value)) in enumerate(segments.items()):
        facts = {"ID": f"Segment_{number + 1}", "Name": name, "Layer": layer, "LabelValue": value}
        head += [f"Segment{number}_{fact}:={said}" for fact, said in facts.items()]
    path.write_bytes(
        "\n".join(head).encode() + b"\n\n" + np.moveaxis(layers, 0, -1).astype(np.uint8).tobytes()
    )

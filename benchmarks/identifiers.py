"""Identifiers planted in a small delivery wherever one may be.

What survives, and what the audit finds.

    python -m benchmarks.identifiers [--home FOLDER] [--parts delivery audit]

- delivery: each place × kind holds a value of its own. After `lakehouse run` the whole home but the
  landing (vault, lake, publication, pages, Dagster's and MLflow's stores) and everything that was
  printed is searched for each of them, packed and columnar files unpacked, in UTF-8, GB18030 and
  UTF-16.
- audit: the same kinds written past intake into files of the vault and rows of the lake, as a fault
  of the program would: whether the audit finds each.
"""

from __future__ import annotations

import argparse
import datetime as dt
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import duckdb
import numpy as np
import polars as pl
import pydicom
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataset import Dataset

from dagster_project.flow import lake_audit, trace_search
from dagster_project.intake.vault.audit_words import program_words
from dagster_project.intake.vault.vault_audit import audit_vault
from dagster_project.intake.vault.vault_files import audit_site_files
from dagster_project.lake.home import Home
from dagster_project.lake.store import Lake, open_lake
from dagster_project.lake.tables import TABLES
from tests.intake.builders import ROOT, ct, plant, rtstruct, seg, to_bytes, write_mask

SITE = "AAAA"
SYLLABLES = (
    "zhe",
    "xuan",
    "qiong",
    "shuo",
    "juan",
    "nuo",
    "liao",
    "peng",
    "dui",
    "kuang",
    "ruo",
    "zong",
    "chui",
    "bian",
    "hao",
    "miu",
)
FIRST_DAY = dt.date(1931, 1, 1)


def pinyin(n: int) -> str:
    """A name of four syllables that occurs nowhere else."""
    digits = [(n // 16**k) % 16 for k in range(3)]
    one, two, three = (SYLLABLES[d] for d in digits)
    return f"{('Murong' + one).title()} {(two + three).title()}"


def chinese(n: int) -> str:
    """Four characters that occur nowhere else."""
    return "慕容" + chr(0x5000 + n % 4000) + chr(0x7000 + n // 7 % 2000)


@dataclass(frozen=True)
class Kind:
    """An identifier: values by number, encoding, and whether it consists of digits alone."""

    name: str
    value: Callable[[int], str]
    encoding: str = "utf-8"
    digits: bool = False


KINDS = (
    Kind("name, Latin", lambda n: pinyin(n).upper().replace(" ", "^")),
    Kind("name, pinyin", lambda n: pinyin(n + 1000).lower()),
    Kind("name, Chinese", chinese),
    Kind("name, GB18030", lambda n: chinese(n + 2000), "gb18030"),
    Kind("hospital number", lambda n: f"{73_110_000 + n}", digits=True),
    Kind("identity card", lambda n: f"1101051949{n:07d}X"),
    Kind("birth date", lambda n: f"{FIRST_DAY + dt.timedelta(days=n):%Y%m%d}", digits=True),
    Kind(
        "true scan date",
        lambda n: f"{dt.date(1951, 1, 1) + dt.timedelta(days=n):%Y%m%d}",
        digits=True,
    ),
    Kind("telephone", lambda n: f"138{70_110_000 + n}", digits=True),
    Kind("accession number", lambda n: f"ACC{4_400_000 + n}"),
    Kind("address", lambda n: f"{chinese(n + 4000)}路{n % 90 + 10}号"),
)
"""Scan dates lie in years without a scan of the delivery, so they are recognised anywhere."""


@dataclass
class Tried:
    """Everything that was planted: group of places, place, kind, value."""

    rows: list[tuple[str, str, str, str]] = field(default_factory=list)

    def value(self, group: str, place: str, kind: Kind) -> str:
        """A new value for a place."""
        text = kind.value(len(self.rows))
        self.rows.append((group, place, kind.name, text))
        return text

    def planted(self, group: str, place: str, kind: Kind) -> bytes:
        """The same as bytes, in the kind's encoding."""
        return self.value(group, place, kind).encode(kind.encoding)


# ── places in DICOM ──

MAY_STAY = (
    "ManufacturerModelName",
    "Manufacturer",
    "BodyPartExamined",
    "ScanOptions",
    "ConvolutionKernel",
    "PatientPosition",
    "RescaleType",
    "ContrastBolusAgent",
    "LossyImageCompressionMethod",
    "PhotometricInterpretation",
    "PatientSex",
    "PatientAge",
    "SeriesNumber",
    "AcquisitionNumber",
    "InstanceNumber",
    "ExposureTime",
    "XRayTubeCurrent",
    "Exposure",
    "KVP",
    "SliceLocation",
    "TableHeight",
    "WindowCenter",
    "ReconstructionDiameter",
    "StudyInstanceUID",
    "FrameOfReferenceUID",
    "BurnedInAnnotation",
    "ImageType",
)
"""Elements that an allowlist lets stay, each in a slice of its own, which may be refused for it."""

DROPPED = (
    "PatientName",
    "OtherPatientIDs",
    "OtherPatientNames",
    "PatientBirthName",
    "PatientMotherBirthName",
    "PatientAddress",
    "PatientTelephoneNumbers",
    "PatientComments",
    "AdditionalPatientHistory",
    "Occupation",
    "MedicalRecordLocator",
    "IssuerOfPatientID",
    "AccessionNumber",
    "ReferringPhysicianName",
    "ReferringPhysicianAddress",
    "PhysiciansOfRecord",
    "PerformingPhysicianName",
    "OperatorsName",
    "RequestingPhysician",
    "InstitutionName",
    "InstitutionAddress",
    "InstitutionalDepartmentName",
    "StationName",
    "DeviceSerialNumber",
    "StudyDescription",
    "SeriesDescription",
    "ProtocolName",
    "ImageComments",
    "RequestedProcedureDescription",
    "StudyID",
    "AdmissionID",
    "CurrentPatientLocation",
    "DerivationDescription",
    "AcquisitionComments",
    "SoftwareVersions",
    "PositionReferenceIndicator",
    "ClinicalTrialSubjectID",
    "Allergies",
    "TextComments",
    "DeidentificationMethod",
    "SpecificCharacterSet",
)
VRS = {
    "AE": 0x005E,
    "AS": 0x005F,
    "CS": 0x0062,
    "DA": 0x0061,
    "DS": 0x0072,
    "DT": 0x0063,
    "IS": 0x0064,
    "LO": 0x0066,
    "LT": 0x0068,
    "OB": 0x0065,
    "OD": 0x0073,
    "OF": 0x0067,
    "OL": 0x0075,
    "OV": 0x0081,
    "OW": 0x0069,
    "PN": 0x006A,
    "SH": 0x006C,
    "ST": 0x006E,
    "TM": 0x006B,
    "UC": 0x006F,
    "UI": 0x007F,
    "UN": 0x006D,
    "UR": 0x0071,
    "UT": 0x0070,
    "FD": 0x0074,
    "SV": 0x0082,
    "UV": 0x0083,
}
"""Selector…Value, (0072,xxxx): an element of the standard for each value representation.

Those are listed that can hold a text or a long number.
"""

META = (
    "SourceApplicationEntityTitle",
    "SendingApplicationEntityTitle",
    "ReceivingApplicationEntityTitle",
    "ImplementationVersionName",
    "PrivateInformation",
)


def fits(vr: str, kind: Kind) -> bool:
    """Whether a value representation can hold the kind at all, as bytes."""
    return kind.digits if vr in {"DS", "IS", "UI", "DA", "AS"} else True


def put(ds: Dataset, tag: int, vr: str, value: bytes) -> None:
    """An element's bytes, to the length that its VR asks for."""
    width = {"OD": 8, "OF": 4, "OL": 4, "OV": 8, "FD": 8, "SV": 8, "UV": 8}.get(vr, 2)
    plant(ds, tag, vr, value + b" " * (-len(value) % width))


def in_every_slice(ds: Dataset, tried: Tried, kind: Kind, number: str) -> None:
    """Elements that are dropped: of every VR, private ones and some three sequences deep."""
    for keyword in DROPPED:
        tag = tag_for_keyword(keyword) or 0
        put(ds, tag, dictionary_VR(tag), tried.planted("element that is dropped", keyword, kind))
    block = inner = Dataset()
    for n, (vr, element) in enumerate(VRS.items()):
        put(ds, 0x00720000 | element, vr, tried.planted("every VR, standard element", vr, kind))
        put(ds, 0x00131100 + n, vr, tried.planted("every VR, private element", vr, kind))
        put(
            inner,
            0x00720000 | element,
            vr,
            tried.planted("every VR, three sequences deep", vr, kind),
        )
    plant(ds, 0x00130011, "LO", tried.planted("file", "private creator", kind))
    for keyword in (
        "ReferencedStudySequence",
        "RequestAttributesSequence",
        "OriginalAttributesSequence",
    ):
        outer = Dataset()
        setattr(outer, keyword, [block])
        block = outer
    ds.update(block)
    ds.PatientID = number
    put(ds, 0x60003000, "OW", tried.planted("file", "overlay", kind))
    put(ds, 0x50003000, "OW", tried.planted("file", "curve", kind))
    put(ds, 0xFFFCFFFC, "OB", tried.planted("file", "DataSetTrailingPadding", kind))


def as_file(ds: Dataset, tried: Tried, kind: Kind) -> bytes:
    """The file, with values in its preamble and its meta information."""
    for keyword in META:
        value = tried.planted("file", f"meta {keyword}", kind)
        setattr(
            ds.file_meta,
            keyword,
            value + b" " * (len(value) % 2)
            if keyword == "PrivateInformation"
            else value.decode("latin-1")[:16],
        )
    ds.file_meta.PrivateInformationCreatorUID = "1.2.3.4"
    data = to_bytes(ds)
    return tried.planted("file", "preamble", kind).ljust(128, b"\0")[:128] + data[128:]


def spoilt(ds: Dataset, keyword: str, tried: Tried, kind: Kind) -> None:
    tag = tag_for_keyword(keyword) or 0
    value = tried.planted("element that may stay", keyword, kind)
    vr = dictionary_VR(tag)
    put(ds, tag, vr, b"1.2.840.10008." + value.lstrip(b"0") if vr == "UI" else value)


def write_images(folder: Path, tried: Tried, kind: Kind, number: str, series: str) -> None:
    """Three plain slices, and one for each element that may stay; names of files and folders."""
    planted, own = (
        Path(tried.value("name", "folder of images", kind)),
        {"StudyInstanceUID": f"{series}.7", "FrameOfReferenceUID": f"{series}.8"},
    )
    folder = folder / planted
    folder.mkdir(parents=True)
    for index in range(3):
        ds = ct(index, patient=number, series=series, **own)
        in_every_slice(ds, tried, kind, number)
        name = tried.value("name", "file of an image", kind)
        (folder / f"{name}.{index}.dcm").write_bytes(as_file(ds, tried, kind))
    keywords = [k for k in MAY_STAY if fits(dictionary_VR(tag_for_keyword(k) or 0), kind)]
    for index, keyword in enumerate(keywords, start=3):
        ds = ct(index, patient=number, series=series, **own)
        spoilt(ds, keyword, tried, kind)
        (folder / f"{index}.dcm").write_bytes(to_bytes(ds))
    behind = ct(200, patient=number, series=series, **own)
    (folder / "behind.dcm").write_bytes(
        to_bytes(behind) + tried.planted("file", "bytes behind the last element", kind)
    )
    longer = ct(201, patient=number, series=series, **own)
    value = tried.planted("file", "bytes behind the pixels", kind)
    longer.PixelData += value + b" " * (len(value) % 2)
    (folder / "longer.dcm").write_bytes(to_bytes(longer))
    with zipfile.ZipFile(folder / "archive.zip", "w") as archive:
        archive.comment = tried.planted("file", "comment of an archive", kind)
        archive.writestr(
            tried.value("file", "name within an archive", kind),
            tried.planted("file", "file within an archive", kind),
        )


# ── contours and masks ──


def write_contours(folder: Path, tried: Tried, kind: Kind, number: str, series: str) -> None:
    """A structure set, a segmentation, and masks of three formats."""

    def new(group: str, place: str) -> str:
        value = tried.value(group, place, kind)
        return value.encode(kind.encoding).decode("latin-1") if kind.encoding != "utf-8" else value

    own = {
        "StudyInstanceUID": f"{series}.7",
        "FrameOfReferenceUID": f"{series}.8",
        "SpecificCharacterSet": "ISO_IR 192" if kind.encoding == "utf-8" else "ISO_IR 100",
    }
    ds = rtstruct(
        patient=number,
        series=series,
        instance=f"{series}.5",
        names=(
            "GTV-1",
            new("RTSTRUCT", "ROIName"),
            f"GTV {new('RTSTRUCT', 'ROIName behind a word')}",
        ),
    )
    ds.update({**own, "SeriesInstanceUID": f"{series}.9"})
    ds.ReferencedFrameOfReferenceSequence[0].FrameOfReferenceUID = own["FrameOfReferenceUID"]
    for roi in ds.StructureSetROISequence:
        roi.ReferencedFrameOfReferenceUID = own["FrameOfReferenceUID"]
    for keyword in (
        "StructureSetLabel",
        "StructureSetName",
        "StructureSetDescription",
        "OperatorsName",
        "ReviewerName",
        "SeriesDescription",
        "SeriesNumber",
    ):
        tag = tag_for_keyword(keyword) or 0
        put(ds, tag, dictionary_VR(tag), tried.planted("RTSTRUCT", keyword, kind))
    for place, items, keyword in (
        ("ROIDescription", ds.StructureSetROISequence, "ROIDescription"),
        ("ROIInterpreter", ds.RTROIObservationsSequence, "ROIInterpreter"),
        ("ROIObservationLabel", ds.RTROIObservationsSequence, "ROIObservationLabel"),
    ):
        put(
            items[0],
            tag_for_keyword(keyword) or 0,
            dictionary_VR(tag_for_keyword(keyword) or 0),
            tried.planted("RTSTRUCT", place, kind),
        )
    (folder / f"{tried.value('name', 'file of contours', kind)}.dcm").write_bytes(to_bytes(ds))
    made = seg(patient=number, series=series, instance=f"{series}.6", label="Nodule 1")
    made.update({**own, "SeriesInstanceUID": f"{series}.10"})
    for keyword in (
        "ContentLabel",
        "ContentDescription",
        "ContentCreatorName",
        "SeriesDescription",
        "DeviceSerialNumber",
        "SeriesNumber",
    ):
        tag = tag_for_keyword(keyword) or 0
        put(made, tag, dictionary_VR(tag), tried.planted("SEG", keyword, kind))
    segment = made.SegmentSequence[0]
    for keyword in ("SegmentLabel", "SegmentDescription", "SegmentAlgorithmName", "TrackingID"):
        tag = tag_for_keyword(keyword) or 0
        put(segment, tag, dictionary_VR(tag), tried.planted("SEG", keyword, kind))
    for keyword in ("CodeValue", "CodeMeaning", "CodingSchemeDesignator"):
        tag = tag_for_keyword(keyword) or 0
        put(
            segment.SegmentedPropertyTypeCodeSequence[0],
            tag,
            dictionary_VR(tag),
            tried.planted("SEG", keyword, kind),
        )
    (folder / f"seg{tried.value('name', 'file of a segmentation', kind)}.dcm").write_bytes(
        to_bytes(made)
    )
    _write_masks(folder, tried, kind, series)


def _write_masks(folder: Path, tried: Tried, kind: Kind, series: str) -> None:
    mask = np.zeros((3, 16, 12), np.uint8)
    mask[:, 4:8, 4:8] = 1
    nifti = folder / f"{series}__L3.nii.gz"
    write_mask(nifti, mask, tried.value("mask", "NIfTI descrip", kind))
    for ending in ("nrrd", "mha"):
        write_mask(
            folder / f"{series}__L{4 + (ending == 'mha')}.{ending}",
            mask,
            tried.value("mask", f"{ending} header", kind),
        )
    named = tried.value("mask", "lesion in the name of a file", kind)
    write_mask(folder / f"{series}__{named.replace('^', '')}.nii.gz", mask)
    nrrd = folder / f"{series}__L6.nrrd"
    write_mask(nrrd, mask)
    head, _, body = nrrd.read_bytes().partition(b"\n\n")
    comment = (
        b"\n# "
        + tried.planted("mask", "NRRD comment", kind)
        + b"\nowner:="
        + tried.planted("mask", "NRRD key and value", kind)
    )
    nrrd.write_bytes(
        head + comment + b"\n\n" + body + tried.planted("mask", "bytes behind the voxels", kind)
    )


# ── case report, study databases, names ──

PATIENTS_COLUMNS = (
    "姓名",
    "身份证号",
    "联系电话",
    "家庭住址",
    "门诊号",
    "联系人",
    "regimen",
    "histology",
    "smoking",
    "stage",
    "egfr",
    "consent",
    "备注列",
)


def write_case_report(site: Path, tried: Tried, numbers: Mapping[str, Kind]) -> None:
    """Tables with a value in every column that may hold text.

    Values are also in headers, titles, names of files, workbooks and study databases.
    """
    clinical = site / "clinical"
    clinical.mkdir(parents=True)
    one = KINDS[2]
    rows = [
        f"标题 {tried.value('case report', 'title above the header', one)}",
        ",".join(["住院号", "sex", *PATIENTS_COLUMNS, tried.value("case report", "header", one)]),
    ]
    for number, kind in numbers.items():
        rows.append(
            ",".join(
                [
                    number,
                    "F",
                    *(tried.value("case report", f"patients: {c}", kind) for c in PATIENTS_COLUMNS),
                    "x",
                ]
            )
        )
    (clinical / "patients.csv").write_text("\n".join(rows), encoding="utf-8")
    _table(
        clinical / "treatments.csv",
        ["patient_id", "cycle", "date", "drugs"],
        [
            [n, "1", "2024-01-10", tried.value("case report", "treatments: drugs", k)]
            for n, k in numbers.items()
        ],
    )
    _table(
        clinical / "follow_up.csv",
        ["patient_id", "date", "event", "detail"],
        [
            [
                n,
                "2024-08-01",
                tried.value("case report", "follow_up: event", k) if odd else "alive",
                tried.value("case report", "follow_up: detail", k),
            ]
            for n, k in numbers.items()
            for odd in (False, True)
        ],
    )
    _write_databases(clinical, tried, numbers)
    for kind in numbers.values():
        (clinical / f"{tried.value('name', 'stray file', kind)}.csv").write_text(
            tried.value("case report", "stray file", kind), encoding="utf-8"
        )


def _table(file: Path, header: list[str], rows: list[list[str]]) -> None:
    file.write_text("\n".join(",".join(row) for row in (header, *rows)), encoding="utf-8")


def _write_databases(clinical: Path, tried: Tried, numbers: Mapping[str, Kind]) -> None:
    records = [
        {
            "record_id": str(n),
            "patient_id": number,
            "smoking": tried.value("study database", "REDCap field", kind),
            "notes": tried.value("study database", "REDCap free text", kind),
        }
        for n, (number, kind) in enumerate(numbers.items())
    ]
    (clinical / "redcap.json").write_text(json.dumps(records, ensure_ascii=False), encoding="utf-8")
    subjects = "".join(
        f"<!-- {tried.value('study database', 'ODM comment', kind)} -->"
        f"<SubjectData SubjectKey='{number}'><StudyEventData StudyEventOID='E'>"
        "<FormData FormOID='F'><ItemGroupData ItemGroupOID='G'>"
        f"<ItemData ItemOID='patient_id' Value='{number}'/><ItemData ItemOID='histology' "
        f"Value='{tried.value('study database', 'ODM item', kind)}'/>"
        f"<Annotation><Comment>{tried.value('study database', 'ODM annotation', kind)}"
        "</Comment></Annotation></ItemGroupData></FormData></StudyEventData></SubjectData>"
        for number, kind in numbers.items()
    )
    (clinical / "odm.xml").write_text(
        "<?xml version='1.0' encoding='utf-8'?>"
        "<ODM xmlns='http://www.cdisc.org/ns/odm/v1.3' FileOID='f' FileType='Snapshot' "
        "ODMVersion='1.3.2' CreationDateTime='2024-01-01T00:00:00'>"
        f"<ClinicalData StudyOID='S' MetaDataVersionOID='M'>{subjects}</ClinicalData></ODM>",
        encoding="utf-8",
    )


def write_readers(site: Path, tried: Tried, numbers: Mapping[str, Kind]) -> None:
    """Two readers' tables and locks, an arbiter's decisions, and folders named after persons."""
    for reader in ("R1", "R2"):
        folder = site / "reads" / reader
        folder.mkdir(parents=True, exist_ok=True)
        header = ["patient_id", "visit_date", "lesion", "role", "organ", "ld_mm", "roi", "remark"]
        rows = [
            [
                n,
                "2024-01-05",
                *(
                    tried.value("reader", f"lesions: {c}", k)
                    if c in {"lesion", "organ", "roi", "remark"}
                    else v
                    for c, v in (
                        ("lesion", ""),
                        ("role", "target"),
                        ("organ", ""),
                        ("ld_mm", "20"),
                        ("roi", ""),
                        ("remark", ""),
                    )
                ),
            ]
            for n, k in numbers.items()
        ]
        _table(folder / "lesions.csv", header, rows)
        (folder / "LOCKED").write_text(
            "2026-01-12T08:30:00+08:00\n"
            if reader == "R1"
            else tried.value("reader", "lock", KINDS[2]),
            encoding="utf-8",
        )
    (site / "arbitration").mkdir()
    header = ["patient_id", "accepted_reader", "arbiter", "decided_at", "remark"]
    _table(
        site / "arbitration" / f"{tried.value('name', 'file of decisions', KINDS[2])}.csv",
        header,
        [
            [
                n,
                tried.value("arbitration", "accepted_reader", k),
                tried.value("arbitration", "arbiter", k),
                "2026-02-03T10:00:00+08:00",
                tried.value("arbitration", "remark", k),
            ]
            for n, k in numbers.items()
        ],
    )
    for kind in KINDS:
        for place, folder in (
            ("folder of a reader", site / "reads"),
            ("folder of a site", site.parent),
            ("stray folder", site),
        ):
            named = folder / tried.value("name", place, kind)
            named.mkdir()
            (named / "lesions.csv").write_text(
                "patient_id,lesion\nZY0012345,L1\n", encoding="utf-8"
            )


TRUE_DATES = {
    "images": "20240105",
    "contours": "20240106",
    "treatments": "20240110",
    "follow_up": "20240801",
}
"""Days on which everything of this delivery truly happened."""


def deliver(landing: Path) -> Tried:
    """The landing of one site, a patient for each kind; what was planted in it."""
    tried, site, numbers = Tried(), landing / SITE, {}
    for n, kind in enumerate(KINDS):
        number = tried.value("element that is dropped", "PatientID", KINDS[4])
        numbers[number] = kind
        series = f"{ROOT}.{n + 100}"
        write_images(site / "dicom", tried, kind, number, series)
        reads = site / "reads" / "R1"
        reads.mkdir(parents=True, exist_ok=True)
        write_contours(reads, tried, kind, number, series)
    write_case_report(site, tried, numbers)
    write_readers(site, tried, numbers)
    for place, value in TRUE_DATES.items():
        tried.rows.append(("true date", place, "true scan date", value))
    return tried


def receive(home: Home, tried: Tried) -> None:
    """Objects that come by the network: one that is taken, and one that is refused."""
    from dagster_project.flow.intake import session_keys
    from dagster_project.intake.vault.vault import Reception

    reception = Reception(
        home.landing / SITE, home.vault / SITE, keys=session_keys(home), crosswalk=home.crosswalk
    )
    for n, kind in enumerate(KINDS):
        series, number = (
            f"{ROOT}.{n + 300}",
            tried.value("network", "PatientID of a PACS", KINDS[4]),
        )
        for index, other in enumerate(("StudyDescription", "SeriesDescription")):
            ds = ct(
                index,
                patient=number,
                series=series,
                StudyInstanceUID=f"{series}.7",
                FrameOfReferenceUID=f"{series}.8",
            )
            tag = tag_for_keyword(other) or 0
            put(ds, tag, dictionary_VR(tag), tried.planted("network", other, kind))
            reception.take(str(ds.SOPInstanceUID), to_bytes(ds))
    reception.close()


# ── what survives ──

ENCODINGS = ("utf-8", "gb18030", "utf-16-le", "utf-16-be")


def spellings(value: str) -> set[str]:
    """A value as it may have been written again."""
    found = {value, value.replace("^", " "), value.replace(" ", "")}
    if re.fullmatch(r"(?:19|20)\d{6}", value):
        day = dt.date(int(value[:4]), int(value[4:6]), int(value[6:]))
        found |= {f"{day:%Y-%m-%d}", f"{day:%Y/%m/%d}", f"{day.year}年{day.month}月{day.day}日"}
    return found


def needles_of(tried: Tried) -> dict[str, int]:
    """Every spelling in every encoding, as one Latin letter per byte, and its planting."""
    return {
        spelling.encode(e).decode("latin-1").lower(): n
        for n, (*_, value) in enumerate(tried.rows)
        for spelling in spellings(value)
        for e in ENCODINGS
    }


def texts_of(home: Home, output: str) -> Iterator[tuple[str, bytes]]:
    """All of the home that is searched (dates and numbers of columns as text) and the printout."""
    files = [
        f
        for f in sorted(home.root.rglob("*"))
        if f.relative_to(home.root).parts[0] not in trace_search.IDENTIFIED
    ]
    yield from trace_search._everything(home, files)  # noqa: SLF001 - the search of a withdrawal
    with duckdb.connect(str(home.published / "lakehouse.duckdb"), read_only=True) as store:
        for table, column in store.execute(
            "SELECT table_name, column_name FROM duckdb_columns() WHERE NOT internal"
        ).fetchall():
            rows = store.execute(f'SELECT DISTINCT "{column}"::VARCHAR FROM "{table}"').fetchall()
            yield f"published {table}.{column}", "\n".join(str(row[0]) for row in rows).encode()
    yield "printed", output.encode()


def survivors(tried: Tried, texts: Iterator[tuple[str, bytes]]) -> dict[int, str]:
    """Plantings that are found again, and where first."""
    needles, found = needles_of(tried), {}
    for names, pieces in _in_batches(texts):
        hits = pl.Series(pieces).str.extract_many(sorted(needles), overlapping=True)
        for name, piece, hit in zip(names, pieces, hits, strict=True):
            for needle in dict.fromkeys(hit):
                whole = rf"(?<![0-9a-f]){needle}(?![0-9a-f])"
                if not needle.isdigit() or re.search(whole, piece):
                    found.setdefault(needles[needle], name)
    return found


def _in_batches(texts: Iterator[tuple[str, bytes]]) -> Iterator[tuple[list[str], list[str]]]:
    """Names and pieces, many at once: preparing the search takes longer than most of the texts."""
    names: list[str] = []
    pieces: list[str] = []
    for name, content in texts:
        text = content.decode("latin-1").lower()
        for start in range(0, max(len(text), 1), 2**20):
            names.append(name)
            pieces.append(text[start : start + 2**20 + 100])
        if sum(map(len, pieces)) > 2**25:
            yield names, pieces
            names, pieces = [], []
    if pieces:
        yield names, pieces


def run_delivery(folder: Path) -> None:
    """Deliver, run, search; print the table, and exit where anything survived."""
    home = Home(folder / "home").make()
    tried = deliver(home.landing)
    settings = {**os.environ, "LAKEHOUSE_HOME": str(home.root), "LAKEHOUSE_WORKERS": "1"}

    def lakehouse(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "dagster_project.cli", *arguments]
        return subprocess.run(command, env=settings, capture_output=True, text=True, check=False)

    first = lakehouse("run")
    receive(home, tried)
    second, status = lakehouse("run"), lakehouse("status", "--all")
    output = "".join(part.stdout + part.stderr for part in (first, second, status))
    (folder / "output.txt").write_text(output, encoding="utf-8")
    found = survivors(tried, texts_of(home, output))
    print_delivery(tried, found, home, (first.returncode, second.returncode))
    if found:
        for n, where in found.items():
            print("survived:", *tried.rows[n][:3], "in", where)
        raise SystemExit(1)


def print_delivery(
    tried: Tried, found: Mapping[int, str], home: Home, codes: tuple[int, int]
) -> None:
    with open_lake(home) as lake:
        taken, refused = (
            lake.query(f"SELECT count(*) FROM {t}").fetchone()[0] for t in ("scans", "quarantine")
        )
    places = {
        group: len({row[1] for row in tried.rows if row[0] == group}) for group, *_ in tried.rows
    }
    counts, left = Counter(row[0] for row in tried.rows), Counter(tried.rows[n][0] for n in found)
    files = sum(1 for _ in home.vault.rglob("*.dcm"))
    print(
        f"\nruns ended with {codes[0]} and {codes[1]}; {files} files in the vault, {taken} scans, "
        f"{refused} refusals\n\n| places | how many | planted | survived |\n|---|---|---|---|"
    )
    for group, number in places.items():
        print(f"| {group} | {number} | {counts[group]} | {left[group]} |")
    print(f"| all | {sum(places.values())} | {len(tried.rows)} | {len(found)} |")


# ── what the audit finds ──


def audit_of_files(
    folder: Path, kinds: tuple[Kind, ...] = KINDS
) -> Iterator[tuple[str, str, str, bool]]:
    """Group, place, kind and whether it is found, for vault files changed past intake."""
    home = take_in_clean(folder)
    clean = min((home / "vault").rglob("0001.dcm"))
    data = clean.read_bytes()
    for kind, n in ((kind, 5000 + k) for k, kind in enumerate(kinds)):
        value = kind.value(n).encode(kind.encoding)
        for group, place, spoil in dicom_places(kind):
            ds = pydicom.dcmread(io.BytesIO(data))
            spoil(ds, value)
            clean.write_bytes(to_bytes(ds))
            found = audit_vault(home / "vault", ocr=False).findings
            clean.write_bytes(data)
            yield group, place, kind.name, bool(found)
        for place, spoil_file in (
            ("preamble", lambda v: v.ljust(128, b"\0")[:128] + data[128:]),
            ("behind the last element", lambda v: data + v),
        ):
            clean.write_bytes(spoil_file(value))
            yield (
                "vault: file",
                place,
                kind.name,
                bool(audit_vault(home / "vault", ocr=False).findings),
            )
            clean.write_bytes(data)
        yield from audit_of_notes(home, kind, kind.value(n))


def take_in_clean(folder: Path) -> Path:
    """A vault of two patients as intake writes it."""
    from dagster_project.intake.vault.vault import take_in
    from tests.intake.builders import KEYS
    from tests.intake.vault.test_vault_files import deliver as deliver_two

    deliver_two(folder / "landing" / "AB")
    take_in(
        folder / "landing" / "AB",
        folder / "vault" / "AB",
        keys=KEYS,
        crosswalk=folder / "crosswalk",
    )
    assert not audit_vault(folder / "vault", ocr=False).findings
    return folder


Spoil = Callable[[Dataset, bytes], None]


def dicom_places(kind: Kind) -> Iterator[tuple[str, str, Spoil]]:
    """Elements that may stay, that never do, of every VR, private and deep."""
    for keyword in (
        *MAY_STAY,
        *DROPPED,
        "StudyDate",
        "SeriesDate",
        "AcquisitionDate",
        "ContentDate",
    ):
        tag = tag_for_keyword(keyword) or 0
        vr = dictionary_VR(tag)
        if (
            fits(vr, kind)
            and (vr != "DA" or kind.name.endswith("date"))
            and keyword != "InstanceNumber"
        ):
            yield (
                "vault: element",
                keyword,
                lambda ds, value, tag=tag, vr=vr: put(ds, tag, vr, value),
            )
    for n, (vr, element) in enumerate(VRS.items()):
        if fits(vr, kind) and vr not in {"OD", "OF", "FD"}:
            yield (
                "vault: every VR",
                vr,
                lambda ds, value, t=0x00720000 | element, vr=vr: put(ds, t, vr, value),
            )
            yield (
                "vault: private element",
                vr,
                lambda ds, value, t=0x00131100 + n, vr=vr: put(ds, t, vr, value),
            )
            yield (
                "vault: within a sequence",
                vr,
                lambda ds, value, t=0x00720000 | element, vr=vr: put(
                    ds.DeidentificationMethodCodeSequence[0], t, vr, value
                ),
            )


def audit_of_notes(home: Path, kind: Kind, value: str) -> Iterator[tuple[str, str, str, bool]]:
    """Tables, register, notes, masks and names of a vault."""
    from tests.intake.vault.test_vault_files import PLACES

    def findings() -> bool:
        found: list[object] = []
        audit_site_files(home / "vault", "AB", lambda *f: found.append(f))
        return bool(found)

    clean = home.with_name("clean")
    for place, spoil in PLACES.items():
        shutil.copytree(home, clean)
        spoil(home, value)
        yield "vault: beside DICOM", place, kind.name, findings()
        shutil.rmtree(home)
        clean.rename(home)
    file = min((home / "vault").rglob("0001.dcm")).with_name(f"{value.replace('^', ' ')}.dcm")
    file.write_bytes(b"x")
    yield "vault: beside DICOM", "name of a file", kind.name, findings()
    file.unlink()


def audit_of_lake(home: Home, each: int) -> Iterator[tuple[str, str, str, bool]]:
    """Every text, number and date column of every table that has rows.

    Each column gets `each` kinds, in turn.
    """
    turn = 0
    with open_lake(home) as lake:
        sites = frozenset(home.sites())
        for table in TABLES:
            if not lake.count(table.name):
                continue
            for column in table.columns:
                for _ in range(each):
                    kind, turn = KINDS[turn % len(KINDS)], turn + 1
                    found = _found_in_lake(lake, table, column, kind.value(6000 + turn), sites)
                    if found is not None:
                        yield "lake", f"{table.name}.{column.name}", kind.name, found


def _found_in_lake(lake: Lake, table, column, value: str, sites: frozenset[str]) -> bool | None:
    """Whether a value in one row is found.

    None where the column cannot hold it, or where figures of any length are its content.
    """
    if column.type in {"string", "list<string>"}:
        stored = f"'{value}'" if column.type == "string" else f"['{value}']"
    elif (
        column.type == "int32" and column.maximum is None and value.isdigit() and int(value) < 2**31
    ):
        stored = value
    elif column.type == "date" and re.fullmatch(r"19\d{6}", value) and "day" in table.names:
        stored = f"DATE '{value[:4]}-{value[4:6]}-{value[6:]}'"
    else:
        return None
    lake.query("BEGIN")
    try:
        some = f'(SELECT min({", ".join(table.key[:1])}) FROM "{table.name}")'
        lake.query(
            f'UPDATE "{table.name}" SET "{column.name}" = {stored} WHERE {table.key[0]} = {some}'
        )
        return bool(
            lake_audit._audit(lake, table, sites)  # noqa: SLF001
            or lake_audit._strange_days(lake)  # noqa: SLF001
        )
    finally:
        lake.query("ROLLBACK")


def run_audit(folder: Path) -> None:
    """Plant past intake, audit; print the table, and exit where anything was not found."""
    program_words()
    rows = [*audit_of_files(folder / "vaults")]
    home = Home(folder / "home")
    if (home.published / "lakehouse.duckdb").exists():
        rows += audit_of_lake(home, each=2)
    tried, found = Counter(row[0] for row in rows), Counter(row[0] for row in rows if row[3])
    places = {group: len({row[1] for row in rows if row[0] == group}) for group in tried}
    print("\n| planted past intake | places | planted | found by the audit |\n|---|---|---|---|")
    for group in tried:
        print(f"| {group} | {places[group]} | {tried[group]} | {found[group]} |")
    missed = [row[:3] for row in rows if not row[3]]
    for row in missed:
        print("not found:", *row)
    if missed:
        raise SystemExit(1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--home", type=Path, help="keep the folder")
    parser.add_argument("--parts", nargs="+", default=["delivery", "audit"])
    given = parser.parse_args()
    warnings.simplefilter("ignore")  # pydicom's, of what is planted
    with tempfile.TemporaryDirectory() as scratch:
        folder = given.home or Path(scratch)
        for part in given.parts:
            {"delivery": run_delivery, "audit": run_audit}[part](folder)


if __name__ == "__main__":
    main()

"""The audit finds every planted fault, and none in an unspoilt vault.

The faults are planted in a vault that intake wrote.
"""

import shutil
from functools import partial

import numpy as np
import pydicom
import pytest
from pydicom.datadict import tag_for_keyword

from dagster_project.intake.dicom.deidentification import deidentify, open_source
from dagster_project.intake.dicom.elements import clean_number
from dagster_project.intake.dicom.text_allowlist import load_texts
from dagster_project.intake.vault.vault_audit import Audit, Element, _audit_text, audit_vault, walk
from tests.intake.builders import PERSON, ROOT, ct, rtstruct, seg, to_bytes

PATIENT, OTHER = PERSON.pseudonym, "AB-BBBBBBBBBBBBBBBBB"


def put(vault, dataset, name="0001.dcm", patient=PATIENT, place="S1"):
    from dataclasses import replace

    path = vault / "AB" / patient / place / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(
        deidentify(open_source(to_bytes(dataset)), replace(PERSON, pseudonym=patient)).data
    )
    return path


@pytest.fixture
def vault(tmp_path):
    folder = tmp_path / "vault"
    put(folder, ct(0))
    put(folder, ct(1), "0002.dcm")
    put(folder, rtstruct(names=("GTV-1", "Murong Shuangyan")), "r.dcm", place="contours/R1")
    put(folder, seg(), "s.dcm", place="contours/R1")
    return folder


def spoilt(vault, place="S1/0001.dcm", **elements):
    path = vault / "AB" / PATIENT / place
    ds = pydicom.dcmread(path)
    for keyword, value in elements.items():
        setattr(ds, keyword, value)
    ds.save_as(path)
    return path


def kinds(vault):
    return set(audit_vault(vault, ocr=False).counts())


def test_what_intake_writes_has_no_finding(vault):
    found = audit_vault(vault, ocr=False)
    assert found.findings == []
    assert found.files == 4
    assert found.elements > 150


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("XRayTubeCurrent", "210000"),
        ("ExposureTime", "490511"),
        ("WindowWidth", "131072"),
        ("TableHeight", "-100000.5"),
        ("Exposure", "99999"),
    ],
)
def test_a_number_of_six_digits_is_left_out_and_blocks_nothing(vault, keyword, value):
    """A tube current in microampere, a window of a map: intake and audit draw one line."""
    put(vault, ct(2, **{keyword: value}), "0003.dcm")
    written = pydicom.dcmread(vault / "AB" / PATIENT / "S1" / "0003.dcm")
    assert str(written.get(keyword) or "") == (value if len(value) < 6 else "")
    assert audit_vault(vault, ocr=False).findings == []


def test_a_list_with_a_number_of_six_digits_is_left_out():
    plain = b"\\".join([b"-12.5"] * 99)
    take = partial(
        clean_number, 0x30060050, "ContourData", "DS", multiplicity="3-3n", little_endian=True
    )
    assert take(plain) == plain
    assert take(plain[:-5] + b"490511") is None


@pytest.mark.parametrize(
    "kernel", [["I31f", "3"], ["Br40d", "3"], ["Qr40d", "2"], ["STANDARD"], ["Br40d", "Zhang San"]]
)
def test_a_kernel_of_several_values_has_no_finding(vault, kernel):
    """Siemens states the strength of an iterative reconstruction behind the kernel."""
    put(vault, ct(2, ConvolutionKernel=kernel), "0003.dcm")
    assert kernel[0] in str(
        pydicom.dcmread(vault / "AB" / PATIENT / "S1" / "0003.dcm").ConvolutionKernel
    )
    assert audit_vault(vault, ocr=False).findings == []


@pytest.mark.parametrize(
    ("elements", "kind"),
    [
        ({"InstitutionName": "A Hospital"}, "element that must not be there"),
        ({"AccessionNumber": "A1"}, "element that must not be there"),
        ({"PatientName": "Murong^Shuangyan"}, "is not of the folder's patient"),
        ({"PatientIdentityRemoved": "NO"}, "does not say that it is de-identified"),
        ({"ManufacturerModelName": "Murong Shuangyan"}, "text like a name"),
        ({"ManufacturerModelName": "慕容霜雁"}, "text like a name"),
        ({"ScanOptions": "0012345678"}, "text with a long number"),
        ({"SeriesNumber": "13800138000"}, "number too long for a measurement"),
        ({"StudyDate": "20991231"}, "date that is not plausible"),
        ({"StudyDate": "20240230"}, "date that is no day"),
        ({"StudyDate": "19920101"}, "dates far apart"),
        ({"FrameOfReferenceUID": f"{ROOT}.9"}, "UID of somebody's root"),
        ({"FrameOfReferenceUID": "1.2.840.10008.19490511"}, "UID of somebody's root"),
        ({"FrameOfReferenceUID": "2.25.13800138000"}, "UID that is no key"),
        ({"ExposureTime": "490511"}, "number too long for a measurement"),
        ({"Occupation": "murong"}, "text that is on no list"),
        ({"ConvolutionKernel": "murong shuangyan"}, "text that is on no list"),
        ({"AcquisitionTime": "101530"}, "time of day"),
        ({"PatientAge": "094Y"}, "age that is none"),
        ({"EncapsulatedDocument": b"Murong Shuangyan"}, "bytes that are no pixels"),
        ({"SelectorULValue": 19490511}, "number too long for a measurement"),
        ({"PixelData": bytes(16 * 12 * 2) + b"Murong"}, "bytes behind the pixels"),
        ({"SeriesDate": "20240105"}, "dates of one series far apart"),
    ],
)
def test_each_fault_is_found_and_told_without_its_value(vault, elements, kind):
    spoilt(vault, **elements)
    found = audit_vault(vault, ocr=False)
    assert kind in found.counts()
    assert not any(
        str(value) in str(found.findings) for value in elements.values() if len(str(value)) > 3
    )


def _texts_that_may_stay():
    """Makers, a few models of two words, and names of outlines: with whom a vault is filled."""
    words = load_texts().words["manufacturer"]
    models = (
        "Revolution Apex",
        "SOMATOM Definition Flash",
        "Aquilion Lightning",
        "NeuViz Prime",
        "Discovery CT750 HD",
    )
    labels = ("病灶3", "右肺上叶", "Right Upper Lobe", "Primary Tumor 1", "GTV-1")
    return (
        [("Manufacturer", word.title()) for word in sorted(words)]
        + [("ManufacturerModelName", model) for model in models]
        + [("ROIName", label) for label in labels]
    )


@pytest.mark.parametrize(("keyword", "text"), _texts_that_may_stay())
def test_makers_models_and_names_of_outlines_are_no_persons(keyword, text):
    """What intake lets stay must not make the check of a right home red."""
    audit = Audit()
    _audit_text(audit, Element("", tag_for_keyword(keyword), b"LO", text.encode()), PATIENT, "x")
    assert audit.findings == []


@pytest.mark.parametrize(
    ("tag", "text"),
    [
        (tag, text.title())
        for kind, tag in (
            ("kernel", 0x00181210),
            ("body_part", 0x00180015),
            ("scan_options", 0x00180022),
        )
        for text in sorted(load_texts().words[kind])
    ]
    + [(0x00080104, meaning) for codes in load_texts().codes.values() for *_, meaning in codes],
)
def test_words_of_our_own_lists_are_no_persons(tag, text):
    audit = Audit()
    _audit_text(audit, Element("", tag, b"LO", text.encode()), PATIENT, "x")
    assert audit.findings == []


def test_a_person_as_the_meaning_of_a_code_is_found():
    audit = Audit()
    _audit_text(audit, Element("(0008,0104)", 0x00080104, b"LO", b"Murong Shuangyan"), PATIENT, "x")
    assert set(audit.counts()) == {"text like a name"}


@pytest.mark.parametrize(
    "keyword", ["Manufacturer", "ManufacturerModelName", "ROIName", "SegmentLabel", "ScanOptions"]
)
@pytest.mark.parametrize(
    "text", ["Canon Zhang", "Murong Shuangyan", "慕容霜雁", "Lesion Zhang San", "病灶慕容"]
)
def test_a_person_among_plain_words_is_found(keyword, text):
    audit = Audit()
    _audit_text(audit, Element("", tag_for_keyword(keyword), b"LO", text.encode()), PATIENT, "x")
    assert set(audit.counts()) == {"text like a name"}


def test_outlines_drawn_decades_after_the_scan_are_no_fault(vault):
    """A retrospective site reads old scans; its contours bear the day on which they were drawn."""
    spoilt(vault, "contours/R1/r.dcm", StructureSetDate="20260101")
    spoilt(vault, "contours/R1/s.dcm", ContentDate="19920101", SeriesDate="19920101")
    assert audit_vault(vault, ocr=False).findings == []


def test_a_fault_deep_in_a_sequence_is_found(vault):
    path = vault / "AB" / PATIENT / "contours" / "R1" / "r.dcm"
    ds = pydicom.dcmread(path)
    ds.StructureSetROISequence[0].ROIName = "Murong Shuangyan"
    ds.ROIContourSequence[0].ContourSequence[0].add_new(0x00091001, "LO", "x")
    ds.save_as(path)
    found = audit_vault(vault, ocr=False)
    assert {"text like a name", "private element"} <= set(found.counts())


def test_a_file_that_was_cut_or_a_length_that_lies_cannot_be_walked(vault):
    path = vault / "AB" / PATIENT / "S1" / "0001.dcm"
    path.write_bytes(path.read_bytes()[:-10])
    assert kinds(vault) == {"cannot be walked"}


def test_one_uid_in_two_patients_is_found(vault):
    put(vault, ct(0), patient=OTHER)
    assert "UID of two patients" in kinds(vault)


def test_a_preamble_that_says_something_is_found(vault):
    path = vault / "AB" / PATIENT / "S1" / "0001.dcm"
    path.write_bytes(b"Murong" + path.read_bytes()[6:])
    assert kinds(vault) == {"preamble is not empty"}


def test_the_walk_sees_every_element_that_pydicom_sees(vault):
    for path in vault.rglob("*.dcm"):
        theirs = sum(1 for _ in pydicom.dcmread(path).iterall()) + len(
            pydicom.dcmread(path).file_meta
        )
        assert sum(1 for _ in walk(path.read_bytes())) == theirs


def test_words_in_the_pixels_are_read_where_an_engine_is_installed(tmp_path):
    from PIL import Image, ImageDraw, ImageFont

    picture = Image.new("L", (512, 512), 0)
    ImageDraw.Draw(picture).text(
        (60, 200), "MURONG SHUANGYAN", fill=255, font=ImageFont.load_default(36)
    )
    put(
        tmp_path / "plain",
        ct(0, pixels=np.random.default_rng(1).normal(1000, 20, (512, 512)).clip(0, 4095)),
    )
    put(tmp_path / "burned", ct(0, pixels=np.asarray(picture).astype(int) * 8 + 500))
    assert shutil.which("tesseract"), "the tests need tesseract-ocr (requirements/debian.txt)"
    assert audit_vault(tmp_path / "plain").findings == []
    assert set(audit_vault(tmp_path / "burned").counts()) == {"words in the pixels"}

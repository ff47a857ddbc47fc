"""A file that is neither DICOM nor a mask is called what it is, with what to export instead."""

import io
import zipfile

import pytest

from dagster_project.intake.case_report import other_formats as other
from tests.intake.builders import ct, to_bytes


def archive(name):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr(name, "x")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "data", "what"),
    [
        ("Murong.stl", b"\0" * 84, other.SURFACE),
        ("Murong", b"solid Murong\n", other.SURFACE),
        ("aim.xml", b"<ImageAnnotationCollection", other.ANNOTATION),
        ("aim", b"\xef\xbb\xbf<?xml version='1.0'?>", other.ANNOTATION),
        ("markups.mrk.json", b"{}", other.ANNOTATION),
        ("m.mhd", b"ObjectType = Image", other.SECOND_FILE),
        ("m.raw", b"\0" * 300, other.SECOND_FILE),
        ("m.nhdr", b"NRRD0004", other.SECOND_FILE),
        ("m", b"NRRD0004", other.NAMELESS_MASK),
        ("scene.mrb", archive("a"), other.SCENE),
        ("list", archive("xl/workbook.xml"), other.WORKBOOK),
        ("all", archive("a.dcm"), other.ARCHIVE),
        ("lesions.xlsx", archive("xl/workbook.xml"), other.WORKBOOK),
        ("m.npy", b"\x93NUMPY", other.ARRAY),
        ("s.png", b"\x89PNG", other.PICTURE),
    ],
)
def test_it_is_named_by_its_bytes_or_its_ending(name, data, what):
    assert other.other_format(name, data, mask=False) == what
    assert "Murong" not in what


def test_a_mask_among_the_images_belongs_to_a_readers_folder():
    assert "reads/" in str(other.other_format("1.2__L1.nii.gz", b"\x1f\x8b", mask=True))


def test_dicom_is_dicom_under_any_name_and_what_nobody_knows_is_left_to_it():
    assert other.other_format("image.img", to_bytes(ct()), mask=False) is None
    assert other.other_format("IM1", b"\0" * 200, mask=False) is None

"""A number stays only in a valid form, and elements are written as pydicom reads them."""

import io
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.filereader import read_dataset

from dagster_project.intake.dicom.elements import (
    TooLongError,
    clean_number,
    clean_words,
    encode_element,
    encode_item,
    multiplicity_holds,
)
from dagster_project.intake.refusals import DamagedError


def number(vr, value, multiplicity="1", *, little_endian=True):
    return clean_number(
        0x00180050,
        "SliceThickness",
        vr,
        value,
        multiplicity=multiplicity,
        little_endian=little_endian,
    )


@pytest.mark.parametrize(
    "value", [b"1.25 ", b"-174.39450073242", b"+1.5e-3", b" 5", b".5", b"00.750"]
)
def test_decimals_stay_as_they_were_written(value):
    assert number("DS", value) == value.rstrip()


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"  ",
        b"Murong",
        b"1.5 Murong",
        b"13800138000",
        b"440106194905110021",
        b"nan",
        b"1e400",
        b"1,5",
        b"1\\2",
    ],
)
def test_what_is_empty_not_a_number_or_too_large_is_left_out(value):
    assert number("DS", value) is None


@pytest.mark.parametrize(
    ("value", "stays"),
    [(b"41 ", True), (b"-3", True), (b"4.0", False), (b"1234567", False), (b"Li", False)],
)
def test_integers(value, stays):
    assert (number("IS", value) is not None) == stays


def test_fractions_longer_than_a_decimal_string_may_be_are_cut():
    assert number("DS", b"-12.3456789012345678901") == b"-12.3456789012"
    assert number("DS", b"0.1234567890123456") == b"0.1234567890123456"
    assert number("DS", b"\\".join([b"1.440106194905110021"] * 99), "1-n") == b"\\".join(
        [b"1.4401061949"] * 99
    )


def test_control_characters_in_a_number_are_damage():
    with pytest.raises(DamagedError, match=r"\(0018,0050\) SliceThickness"):
        number("DS", b"1.0\x00\x02\x10\x00")


def test_a_binary_value_of_the_wrong_length_is_damage():
    with pytest.raises(DamagedError, match="length of its type"):
        number("US", b"\x01\x00\x02")


def test_long_lists_are_checked_as_a_whole():
    contour = b"\\".join(b"%.4f" % v for v in np.linspace(-200, 200, 300))
    assert number("DS", contour, "3-3n") == contour
    assert number("DS", contour + b"\\1", "3-3n") is None
    assert number("DS", contour.replace(b"\\", b"\\Li", 1), "3-3n") is None
    assert number("DS", contour + b"\\13800138000\\1\\1", "3-3n") is None
    assert number("DS", contour + b"\\1-2\\1\\1", "3-3n") is None


def test_big_endian_numbers_are_turned():
    assert number("US", struct.pack(">H", 512), little_endian=False) == struct.pack("<H", 512)
    assert number("FD", struct.pack(">d", 0.515625), little_endian=False) == struct.pack(
        "<d", 0.515625
    )


@given(st.binary(min_size=8, max_size=8))
def test_a_double_has_no_room_for_text(text):
    kept = number("FD", text)
    assert kept is None or struct.unpack("<d", kept)[0] == pytest.approx(
        struct.unpack("<d", text)[0], rel=1e-8, abs=0
    )
    assert (
        kept is None
        or len(
            f"{struct.unpack('<d', kept)[0]!r}".replace("-", "")
            .replace(".", "")
            .lstrip("0")
            .partition("e")[0]
            .rstrip("0")
        )
        <= 9
    )


def test_text_in_binary_integers_is_implausible():
    assert number("UL", b"Muro") is None
    assert number("SL", b"rong") is None


def test_pointers_to_private_elements_are_left_out():
    assert number("AT", struct.pack("<HH", 0x0020, 0x0032)) == struct.pack("<HH", 0x0020, 0x0032)
    assert number("AT", struct.pack("<HH", 0x0021, 0x1001)) is None


@pytest.mark.parametrize(
    ("count", "multiplicity", "holds"),
    [
        (1, "1", True),
        (2, "1", False),
        (3, "3", True),
        (6, "3-3n", True),
        (4, "3-3n", False),
        (1, "1-n", True),
        (99, "1-n", True),
        (2, "1-3", True),
        (4, "1-3", False),
        (4, "2-2n", True),
    ],
)
def test_multiplicity(count, multiplicity, holds):
    assert multiplicity_holds(count, multiplicity) == holds


def test_words_are_split_and_trimmed_and_only_ascii():
    assert clean_words(b"I31f\\ 3 ") == ["I31f", "3"]
    assert clean_words("慕容".encode()) is None
    assert clean_words(b"CHEST\x00\x10") is None


@pytest.mark.parametrize("explicit", [True, False])
def test_what_is_written_reads_back(explicit):
    item = encode_item(encode_element(0x00080100, "SH", b"113100", explicit=explicit))
    data = b"".join(
        [
            encode_element(0x00080008, "CS", b"ORIGINAL\\PRIMARY\\AXIAL", explicit=explicit),
            encode_element(0x0008103E, "LO", b"odd", explicit=explicit),
            encode_element(0x00120064, "SQ", item, explicit=explicit),
            encode_element(0x00280010, "US", struct.pack("<H", 512), explicit=explicit),
            encode_element(0x7FE00010, "OW", bytes(range(10)), explicit=explicit),
        ]
    )
    ds = read_dataset(io.BytesIO(data), is_implicit_VR=not explicit, is_little_endian=True)
    assert (list(ds.ImageType), ds.SeriesDescription, ds.Rows) == (
        ["ORIGINAL", "PRIMARY", "AXIAL"],
        "odd",
        512,
    )
    assert ds.DeidentificationMethodCodeSequence[0].CodeValue == "113100"
    assert bytes(ds[0x7FE00010].value) == bytes(range(10))


def test_a_value_too_long_for_its_length_field_is_said():
    with pytest.raises(TooLongError):
        encode_element(0x30060050, "DS", b"1\\" * 40000, explicit=True)
    assert len(encode_element(0x30060050, "DS", b"1\\" * 40000, explicit=False)) == 80008

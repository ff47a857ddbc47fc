"""What identifies is found in a file, and searched for without crying wolf."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dagster_project.intake.dicom.identifiers import (
    SHORTEST_NUMBER,
    Needles,
    holds_identifier,
    make_needles,
    read_identity,
)
from dagster_project.intake.dicom.text_allowlist import load_texts
from tests.intake.builders import ct, read_back, to_bytes

HEADER = b"ORIGINAL\\PRIMARY\\AXIAL SIEMENS B30f 2.25.123456789012345678901234567890 AB-MURO2345 "


def found(text, header=HEADER, pixels=b"\0" * 64):
    return holds_identifier(header, pixels, make_needles([text]), b"ab-muro2345")


@pytest.mark.parametrize(
    "text",
    ["Murong^Shuangyan", "MURONG", "慕容霜砚", "慕容^霜砚", "ZY0012345", "19490511", "1949-05-11"],
)
@pytest.mark.parametrize("encoding", ["utf-8", "gb18030", "gbk"])
def test_a_name_a_number_and_a_date_are_found_in_every_encoding(text, encoding):
    part = text.partition("^")[0]
    assert found(text, HEADER + part.encode(encoding))
    assert found(text, HEADER + part.lower().encode(encoding))


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("Murong^Shuangyan", b"shuangyan"),
        ("慕容^霜砚", "霜砚".encode()),
        ("Van der Murong^Eva", b"murong"),
        ("19490511", b"1949-05-11"),
        ("1949-05-11", b"19490511"),
    ],
)
def test_parts_are_found_too(text, part):
    assert found(text, HEADER + part)


@pytest.mark.parametrize(
    "text", ["MARY^ANN", "Siemens^Hans", "Primary", "Li^An", "1", "00042", "STANDARD", "欧"]
)
def test_what_stands_in_every_file_or_is_too_short_is_not_searched(text):
    needles = make_needles([text])
    assert not found(text)
    assert all(len(n) >= SHORTEST_NUMBER for n in needles.numbers)


def test_the_words_of_this_project_are_no_needles():
    words = {word for known in load_texts().words.values() for word in known}
    assert len(words) > 200
    assert [word for word in sorted(words) if found(word, word.encode())] == []


def test_uids_and_pseudonym_made_here_are_not_searched():
    assert not found("345678901234")
    assert not found("muro2345")
    assert found("345678901234", HEADER + b"345678901234")


def test_coordinates_spell_any_number_and_are_passed_over_by_numbers_alone():
    contour = b"\\".join(b"%.3f" % (v / 7) for v in range(200))
    assert not found("142857", HEADER + contour)
    assert found("142857", HEADER + b"SeriesNumber 142857 ")


def test_names_are_searched_among_pixels_and_short_ones_are_not():
    assert found("Murong^Shuangyan", pixels=b"\0\1Shuangyan\0")
    assert not found("Wang^Wei", pixels=b"\0\1Wang\0")
    assert found("440106194905110021", pixels=b"440106194905110021")


def test_every_identifying_text_of_a_file_is_read():
    from pydicom.dataset import Dataset

    other, request = Dataset(), Dataset()
    other.PatientID, other.TypeOfPatientID = "440106194905110021", "TEXT"
    request.RequestedProcedureID = "RP5511223"
    ds = ct(
        OtherPatientIDsSequence=[other],
        RequestAttributesSequence=[request],
        PatientAddress="12 Zizhuyuan Road",
        SpecificCharacterSet="ISO_IR 192",
        PatientName="Murong^Shuangyan=慕容^霜砚",
        IssuerOfPatientID="HIS",
    )
    identity = read_identity(read_back(to_bytes(ds)))
    assert (identity.number, identity.issuer, identity.birth_date) == (
        "ZY0012345",
        "HIS",
        "19490511",
    )
    assert identity.name == "Murong^Shuangyan=慕容^霜砚"
    said = " ".join(t for t in identity.texts if isinstance(t, str))
    assert all(
        part in said
        for part in (
            "440106194905110021",
            "RP5511223",
            "12 Zizhuyuan Road",
            "Ouyang^Che",
            "ACC4471290",
        )
    )


def test_an_identity_is_read_once_for_the_slices_of_a_series():
    one, other = (read_identity(read_back(to_bytes(ct(n)))) for n in (0, 1))
    assert one is other
    assert read_identity(read_back(to_bytes(ct(0, PatientName="Sima^Luo")))) is not one


@given(pixels=st.binary(max_size=60), data=st.data())
def test_among_pixels_a_needle_is_found_at_whatever_byte(pixels, data):
    start = data.draw(st.integers(0, max(len(pixels) - 6, 0)))
    needle = pixels[start : start + data.draw(st.integers(6, 12))]
    other = data.draw(st.binary(min_size=6, max_size=8))
    for one in (needle, other):
        if len(one) >= 6:
            wanted = Needles(in_pixels=(one,))
            assert holds_identifier(b"", pixels, wanted, b"made here") == (one in pixels)

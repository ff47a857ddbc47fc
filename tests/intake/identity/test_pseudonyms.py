"""One patient has one pseudonym, whatever the number looks like.

Without the keys, nothing of the number is in the crosswalk.
"""

import datetime as dt
import json
import sqlite3
import stat
import time
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dagster_project.intake.identity.keys import KeysError, create_throwaway_medium, unlock
from dagster_project.intake.identity.pseudonyms import (
    ALPHABET,
    SCIENTIFIC,
    Crosswalk,
    IssuerConflictError,
    UnknownPseudonymError,
    blind_index,
    canonical_number,
    is_pseudonym,
    new_pseudonym,
    number_fault,
    reidentify,
    shift_days,
)


@pytest.fixture
def medium(tmp_path):
    return create_throwaway_medium(tmp_path / "keys")


@pytest.fixture
def keys(medium):
    return unlock(medium)


@pytest.fixture
def crosswalk(tmp_path, keys):
    return Crosswalk(tmp_path / "crosswalk" / "crosswalk.sqlite", keys)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("001234", "1234"),
        (" 1234 ", "1234"),
        ("１２３４", "1234"),
        ("zy0012", "ZY0012"),
        ("ZY 0012", "ZY0012"),
        ("0000", "0"),
    ],
)
def test_two_spellings_of_a_number_are_one_patient(crosswalk, one, other):
    assert crosswalk.find_or_create("AB", one) == crosswalk.find_or_create("AB", other)


@pytest.mark.parametrize(
    "mangled",
    [
        "12345678.0",
        "'12345678",
        "’12345678",
        '="12345678"',
        "=12345678",
        '"12345678"',
        "12,345,678",
        "12,345,678.00",
        "0012345678",
        "\ufeff12345678",
        "1234\u200b5678",
        "\u00a012345678\u3000",
        "１２３４５６７８．０",
        "12345678\t",
    ],
)
def test_what_a_spreadsheet_does_to_a_number_is_undone(crosswalk, mangled):
    assert crosswalk.find_or_create("AB", mangled) == crosswalk.find_or_create("AB", "12345678")


def test_every_hyphen_is_one(crosswalk):
    assert len({crosswalk.find_or_create("AB", f"ZY{hyphen}01") for hyphen in "-‐‑–—−－"}) == 1


@pytest.mark.parametrize(
    "text", ["3.30102E+11", "3.30102e11", "３．３Ｅ＋１１", "3E+11", "3,3E+11", "1E5", "'3.3E+11"]
)
def test_scientific_notation_is_nobodys_number(text):
    assert number_fault(text) == SCIENTIFIC


@pytest.mark.parametrize(
    "text",
    [
        "合计",
        "合计：35",
        "12345、67890",
        "12345;67890",
        "12,34",
        '12"34',
        "#N/A",
        "#####",
        "0",
        "000",
        "'",
    ],
)
def test_remarks_errors_and_zero_are_nobodys_number(text):
    assert number_fault(text)


@pytest.mark.parametrize("text", ["ZY0012", "12E4567", "E1234", "0E", "1-2", "12345678901234567"])
def test_a_number_is_a_number(text):
    assert not number_fault(text)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("ZY0012", "ZY12"),
        ("1.5", "15"),
        ("12,34", "1234"),
        ("O'12", "O12"),
        ("1234", "12340"),
        ("1234", "A1234"),
    ],
)
def test_two_numbers_are_two_patients(crosswalk, one, other):
    assert crosswalk.find_or_create("AB", one) != crosswalk.find_or_create("AB", other)


@given(st.text(min_size=1, max_size=20))
def test_the_canonical_form_is_its_own(number):
    assert canonical_number(canonical_number(number)) == canonical_number(number)


def test_numbers_of_two_sites_are_two_spaces(crosswalk):
    assert crosswalk.find_or_create("AB", "1234") != crosswalk.find_or_create("CD", "1234")


def test_a_number_never_seen_is_not_found(crosswalk):
    assert crosswalk.find("AB", "1234") is None


def test_1_the_case_report_names_no_issuer_and_the_images_do(crosswalk):
    of_case_report = crosswalk.find_or_create("AB", "1234")
    assert crosswalk.find_or_create("AB", "1234", issuer="HIS") == of_case_report
    assert crosswalk.find_or_create("AB", "1234", issuer="HIS") == of_case_report


def test_2_images_first_the_case_report_after_them(crosswalk):
    of_images = crosswalk.find_or_create("AB", "1234", issuer="HIS")
    assert crosswalk.find("AB", "01234") == of_images


def test_3_one_number_of_two_issuers_is_refused(crosswalk):
    crosswalk.find_or_create("AB", "1234", issuer="HIS")
    with pytest.raises(IssuerConflictError):
        crosswalk.find_or_create("AB", "1234", issuer="RIS")


def test_4_an_alias_leads_to_the_patient_from_then_on(crosswalk):
    patient, other = crosswalk.find_or_create("AB", "1234"), crosswalk.find_or_create("AB", "9999")
    crosswalk.add_alias(patient, "AB", "9999")
    assert crosswalk.find("AB", "9999") == patient != other
    with pytest.raises(UnknownPseudonymError):
        crosswalk.add_alias("AB-AAAAAAAAAAAAAAAAA", "AB", "1")


def test_pseudonyms_are_random_and_carry_their_site():
    drawn = {new_pseudonym("AB") for _ in range(200)}
    assert len(drawn) == 200
    assert all(p.startswith("AB-") and is_pseudonym(p) for p in drawn)


@given(st.integers(0, 15), st.sampled_from(ALPHABET))
def test_one_wrong_character_is_found(position, character):
    pseudonym = new_pseudonym("AB")
    changed = pseudonym[: 3 + position] + character + pseudonym[4 + position :]
    assert is_pseudonym(changed) == (changed == pseudonym)


@given(st.integers(0, 15), st.integers(0, 15))
def test_two_swapped_characters_are_found(one, other):
    body = list(new_pseudonym("AB")[3:])
    swapped = body.copy()
    swapped[one], swapped[other] = swapped[other], swapped[one]
    assert is_pseudonym("AB-" + "".join(swapped)) == (swapped == body)


def test_a_shift_is_whole_days_back_the_same_each_time_and_differs_between_patients(keys):
    patients = [new_pseudonym("AB") for _ in range(300)]
    shifts = [shift_days(keys, p) for p in patients]
    assert shifts == [shift_days(keys, p) for p in patients]
    assert all(-3650 <= s <= -365 for s in shifts)
    assert len(set(shifts)) > 200


def test_nothing_of_a_patient_stands_in_the_crosswalk(tmp_path, crosswalk):
    patient = crosswalk.find_or_create("AB", "ZY0012345", issuer="HIS")
    crosswalk.remember(patient, {"name": "慕容霜砚", "birth_date": "19490511"})
    content = (tmp_path / "crosswalk" / "crosswalk.sqlite").read_bytes()
    assert not any(
        secret in content
        for secret in (b"0012345", "慕容".encode(), "慕容".encode("gb18030"), b"19490511", b"HIS")
    )
    assert stat.S_IMODE((tmp_path / "crosswalk" / "crosswalk.sqlite").stat().st_mode) == 0o600


def test_without_the_index_key_no_number_can_be_tried(tmp_path, crosswalk):
    crosswalk.find_or_create("AB", "1234")
    other = unlock(create_throwaway_medium(tmp_path / "other"))
    assert (
        Crosswalk(
            tmp_path / "crosswalk" / "crosswalk.sqlite",
            replace(other, recipient=crosswalk._keys.recipient),
        ).find("AB", "1234")
        is None
    )
    with pytest.raises(KeysError, match="another key drive"):
        Crosswalk(tmp_path / "crosswalk" / "crosswalk.sqlite", other)


def test_reidentify_opens_what_was_sealed_and_writes_the_audit_first(
    tmp_path, medium, crosswalk, keys
):
    patient = crosswalk.find_or_create("AB", "ZY0012345")
    crosswalk.remember(patient, {"name": "慕容霜砚", "birth_date": "19490511"})
    crosswalk.remember(patient, {"name": "慕容霜砚", "birth_date": "19490511"})
    told = reidentify(
        patient,
        crosswalk=tmp_path / "crosswalk",
        medium=medium,
        audit=tmp_path / "audit.jsonl",
        purpose="incidental finding",
        now=lambda: dt.datetime(2026, 1, 12, tzinfo=dt.UTC),
    )
    assert [sorted(set(t) & {"hospital_number", "name", "birth_date"}) for t in told] == [
        ["hospital_number"],
        ["birth_date", "name"],
    ]
    assert told[0]["hospital_number"] == "ZY0012345"
    assert told[1]["shift_days"] == shift_days(keys, patient)
    assert json.loads((tmp_path / "audit.jsonl").read_text()) == {
        "at": "2026-01-12T00:00:00+00:00",
        "action": "reidentify",
        "pseudonym": patient,
        "purpose": "incidental finding",
    }
    with pytest.raises(UnknownPseudonymError):
        reidentify(
            "AB-AAAAAAAAAAAAAAAAA",
            crosswalk=tmp_path / "crosswalk",
            medium=medium,
            audit=tmp_path / "audit.jsonl",
        )
    assert len((tmp_path / "audit.jsonl").read_text().splitlines()) == 2


def test_withdrawing_forgets_who_it_was_and_keeps_the_number_known(tmp_path, crosswalk):
    patient = crosswalk.find_or_create("AB", "1234")
    crosswalk.remember(patient, {"name": "慕容"})
    mark = crosswalk.withdraw(patient)
    assert mark != patient
    assert is_pseudonym(mark)
    assert crosswalk.withdrawn("AB") == {mark}
    assert crosswalk.find("AB", "1234") == mark
    assert patient.encode() not in (tmp_path / "crosswalk" / "crosswalk.sqlite").read_bytes()
    with sqlite3.connect(tmp_path / "crosswalk" / "crosswalk.sqlite") as connection:
        assert connection.execute("SELECT count(*) FROM sealed").fetchone() == (0,)


def test_27_patients_cost_less_than_three_seconds_of_work(keys):
    blind_index.cache_clear()
    start = time.process_time()
    for number in range(27):
        blind_index(keys.index, "AB", "", str(number))
    for number in range(27):
        blind_index(keys.index, "AB", "", str(number))
    assert blind_index.cache_info().hits == 27
    assert time.process_time() - start < 3

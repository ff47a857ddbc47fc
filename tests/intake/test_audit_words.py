"""Reasons are made of our own words and of the standard's: none of them blocks a site."""

from __future__ import annotations

import pytest
from pydicom._dicom_dict import DicomDictionary
from pydicom._uid_dict import UID_dictionary

from dagster_project.intake.audit_words import program_texts, words_fault
from dagster_project.intake.refusals import DamagedError


def test_the_name_of_every_sop_class_may_be_part_of_a_reason():
    names = [name for name, kind, *_ in UID_dictionary.values() if kind == "SOP Class"]
    assert [n for n in names if words_fault(f"SOP class is not taken in ({n}); send CT Image Storage")] == []


def test_the_keyword_of_every_element_may_be_part_of_a_reason():
    reasons = [DamagedError(tag, entry[4], "has another length").reason for tag, entry in DicomDictionary.items()]
    assert [reason for reason in reasons if words_fault(reason)] == []


def test_every_string_of_the_program_may_be_a_reason():
    """Also those that say how a date or a number is written."""
    assert [text for text in program_texts() if text.isascii() and "\n" not in text and words_fault(text)] == []


@pytest.mark.parametrize("text", [
    "SOP class is not taken in (Murong Shuangyan); send CT Image Storage",
    "damaged: (0010,0010) PatientName murong; export the file again",
    "row 6 column age is not a date 1949-05-11",
])
def test_a_name_or_a_date_within_a_reason_is_found(text):
    assert words_fault(text)

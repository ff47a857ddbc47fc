"""The allowlists agree with PS3.15 Table E.1-1.

Nothing that the basic profile removes stays without a declared option.
"""

import json

import pytest
from pydicom.datadict import dictionary_VR, keyword_for_tag

from dagster_project.intake.dicom.allowlists import (
    CT,
    LABEL_MAP_SEG,
    RTSTRUCT,
    SEG,
    load_allowlists,
)
from dagster_project.intake.dicom.dicom_writer import ACTIONS, OPTIONS

OPTION_OF_COLUMN = {
    "rtnLongModifDatesOpt": ("113107", {"date", "empty", "fixed"}),
    "rtnPatCharsOpt": ("113108", {"words", "age"}),
    "cleanDescOpt": ("113105", {"words", "contrast", "label", "fixed", "fixed_if_there", "empty"}),
}
"""Column of the table: the option's code, and the actions that do what the option asks."""

BASIC_ACTIONS = {
    "U": {"uid"},
    "Z": {"empty", "pseudonym"},
    "D": {"pseudonym", "fixed", "fixed_if_there", "empty", "code"},
    "X": set(),
}
"""What the basic profile itself requires of an element that stays.

UIDs are replaced; values are emptied or replaced by dummies.
"""

ALLOWLISTS = sorted(load_allowlists().values(), key=lambda a: a.sop_class)


@pytest.fixture(scope="module")
def profile(shared_data):
    rows = json.loads(
        (shared_data / "deidentification" / "confidentiality_profile_attributes.json").read_text(
            encoding="utf-8"
        )
    )
    return {row["id"]: row for row in rows}


def complaints(allowlist, profile):
    for rule in allowlist.all_rules():
        row = profile.get(f"{rule.number:08x}")
        if row is None:
            continue
        allowed = set().union(
            *(BASIC_ACTIONS[part.rstrip("*")] for part in row["basicProfile"].split("/"))
        )
        if "U*" in row["basicProfile"]:
            allowed |= {"items"}  # the sequence stays, its UIDs are replaced
        for column, (code, actions) in OPTION_OF_COLUMN.items():
            if column in row and code in allowlist.options:
                allowed |= actions
        if rule.action not in allowed:
            yield f"{rule.keyword}: {row['basicProfile']} but {rule.action}"


@pytest.mark.real_data
@pytest.mark.parametrize("allowlist", ALLOWLISTS, ids=lambda a: a.sop_class)
def test_nothing_that_the_profile_removes_stays_without_a_declared_option(allowlist, profile):
    assert list(complaints(allowlist, profile)) == []


@pytest.mark.real_data
def test_the_check_finds_what_it_is_for(profile):
    from dataclasses import replace

    allowlist = load_allowlists()[CT]
    without_options = replace(allowlist, options=())
    assert {c.partition(":")[0] for c in complaints(without_options, profile)} >= {
        "PatientSex",
        "PatientAge",
        "StudyDate",
        "AcquisitionDate",
    }


@pytest.mark.real_data
def test_the_edition_that_is_named_is_the_one_that_was_checked(profile):
    assert all(f"{len(profile)} rows" in allowlist.edition for allowlist in ALLOWLISTS)


@pytest.mark.parametrize("allowlist", ALLOWLISTS, ids=lambda a: a.sop_class)
def test_every_rule_says_what_the_dictionary_says_and_why_it_stays(allowlist):
    for rule in allowlist.all_rules():
        assert keyword_for_tag(rule.tag) == rule.keyword
        assert dictionary_VR(rule.tag) == " or ".join(rule.vrs)
        assert rule.action in ACTIONS
        assert rule.reason
        assert not rule.tag.is_private


@pytest.mark.parametrize("allowlist", ALLOWLISTS, ids=lambda a: a.sop_class)
def test_no_free_text_and_no_bulk_data_but_pixels_stay(allowlist):
    for rule in allowlist.all_rules():
        if rule.vrs[0] in {
            "LO",
            "SH",
            "ST",
            "LT",
            "UT",
            "UC",
            "PN",
            "CS",
            "AE",
            "UR",
            "AS",
            "DA",
            "TM",
            "DT",
            "UI",
        }:
            assert rule.action != "keep", rule.keyword
        if set(rule.vrs) & {"OB", "OW", "OD", "OF", "OL", "OV", "UN"}:
            assert rule.keyword == "PixelData"


@pytest.mark.parametrize("allowlist", ALLOWLISTS, ids=lambda a: a.sop_class)
def test_what_is_required_stays_and_the_method_is_said(allowlist):
    rules = {rule.keyword: rule for rule in allowlist.rules}
    assert allowlist.required <= rules.keys()
    assert (
        rules["PatientIdentityRemoved"].argument,
        rules["LongitudinalTemporalInformationModified"].argument,
    ) == ("YES", "MODIFIED")
    assert set(allowlist.options) <= OPTIONS.keys()
    assert len({rule.tag for rule in allowlist.rules}) == len(allowlist.rules)
    assert [rule.tag for rule in allowlist.rules] == sorted(rule.tag for rule in allowlist.rules)


def test_images_contours_and_segmentations_are_taken_in_and_nothing_else():
    assert load_allowlists().keys() == {CT, RTSTRUCT, SEG, LABEL_MAP_SEG}

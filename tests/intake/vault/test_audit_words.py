"""Reasons are made of our own words and of the standard's: none of them blocks a site."""

from __future__ import annotations

import json
import re
import tomllib
from itertools import product

import pytest
from pydicom._dicom_dict import DicomDictionary
from pydicom._uid_dict import UID_dictionary

from dagster_project.intake.pacs.multipart import shown_type
from dagster_project.intake.refusals import DamagedError
from dagster_project.intake.vault import audit_words
from dagster_project.intake.vault.audit_words import FORMER_REASONS, program_texts, words_fault
from dagster_project.intake.vault.vault import name_of_delivery
from dagster_project.lake.reasons import CATALOGUE

PATIENT, SCAN, UID = "AB-" + "Q" * 17, "S" + "Q" * 16, "2.25." + "7" * 38
LARGE = re.compile(
    r"row \{row\}|\{[nm]\} (?:of|objects|files|rows|more|contours)\b|"
    r"\{count\} (?:entries|such|objects)\b"
)
"""What may be of six digits in a large delivery."""

LABEL = ("GTV-1", "病灶3", "左肺上叶结节1", "GTV病灶", "L1-1", "T01/T02", "lesion_ABCDEFGH")
TAGS = ("(0020,0032) ImagePositionPatient", "(0018,1210) ConvolutionKernel")
FILE = ("clinical/patients.csv", "reads/Reader_1/lesions.csv")
FILLED = {
    "file": FILE,
    "column": ("birth_date", "pd_l1_tps"),
    "columns": ("sex, stage",),
    "place": ("dicom", "reads/R-1"),
    "digest": ("0123456789ab",),
    "reader": ("R1", "Reader_12", "arbiter2"),
    "patient": (PATIENT,),
    "label": LABEL,
    "lesion": LABEL,
    "visits": ("T0, V12",),
    "visit": ("T0", "V12"),
    "scan": (SCAN,),
    "series": (UID,),
    "fault": (
        "KeyError",
        "BytesLengthException",
        "(0010,0010) PatientName holds control characters",
    ),
    "element": (*TAGS, "ItemGroupData"),
    "attribute": ("ItemGroupRepeatKey", "ItemOID"),
    "said": ("Secondary Capture Image Storage",),
    "keyword": ("ImagePositionPatient",),
    "tag": TAGS,
    "elements": TAGS,
    "source": ("sha256:0123456789ab",),
    "other": (f"{FILE[0]} row 654321 column date", PATIENT),
    "site": ("WUHAN12",),
    "sites": ("AB, WUHAN12",),
    "what": ("C-MOVE", "C-FIND"),
    "status": ("503",),
    "codes": ("empty_slices, in_pieces",),
    "wanted": ("application/dicom+json",),
    "kind": tuple(
        map(
            shown_type, ("text/html", "application/octet-stream", "", "application/vnd.murong+json")
        )
    ),
    "task": ("T1", "T2"),
    "table": ("radiomic_features",),
    "how": ("differ in one character",),
    "caller": (),
}
"""What stands in the place of a placeholder of reasons_zh.toml; a number for the others."""

SITES = frozenset({"AB", "WUHAN12"})
TEMPLATES = [
    t for entries in tomllib.loads(CATALOGUE.read_text(encoding="utf-8")).values() for t in entries
]


def test_the_name_of_every_sop_class_may_be_part_of_a_reason():
    names = [name for name, kind, *_ in UID_dictionary.values() if kind == "SOP Class"]
    assert [
        n for n in names if words_fault(f"SOP class is not taken in ({n}); send CT Image Storage")
    ] == []


def test_the_keyword_of_every_element_may_be_part_of_a_reason():
    reasons = [
        DamagedError(tag, entry[4], "has another length").reason
        for tag, entry in DicomDictionary.items()
    ]
    assert [reason for reason in reasons if words_fault(reason)] == []


def test_every_string_of_the_program_may_be_a_reason():
    """Also those that say how a date or a number is written."""
    assert [
        text
        for text in program_texts()
        if text.isascii() and "\n" not in text and words_fault(text)
    ] == []


def test_names_that_are_drawn_at_random_are_no_finding():
    """Letters in a row that were drawn at random are not an unknown word.

    The register holds a delivery's name beside files that contradict each other. Such letters in a
    name were once reported as no word, and blocked the site.
    """
    assert [name for name in (name_of_delivery() for _ in range(2000)) if words_fault(name)] == []


@pytest.mark.parametrize("reason", FORMER_REASONS)
def test_a_reason_that_an_earlier_version_gave_is_no_finding(reason):
    assert not words_fault(reason)


@pytest.mark.parametrize("template", TEMPLATES)
def test_no_reason_and_no_place_is_a_finding_whatever_is_filled_in(template):
    """The caller of a PACS stands in the log alone."""
    assert [
        text
        for text in {*filled(template), *filled(LARGE.sub(_large, template))}
        if words_fault(text, SITES)
    ] == []


def filled(template):
    names = list(dict.fromkeys(re.findall(r"\{(\w+)\}", template)))
    values = product(*(FILLED.get(name, ("7",)) for name in names))
    return [template.format(**dict(zip(names, chosen, strict=True))) for chosen in values]


def _large(found):
    return re.sub(r"\{\w+\}", "654321", found[0])


@pytest.mark.parametrize(
    "text",
    [
        "WUHAN12",
        "AB, WUHAN12",
        f"WUHAN12-{'Q' * 17}",
        "ValueError in PIL.Image:3465",
        "C-MOVE failed with status CAFE",
        "C-GET failed with status A9FF",
        "unique: 31000000 rows",
        "I31f\\3",
        "Br40d\\3",
    ],
)
def test_codes_of_sites_errors_and_kernels_are_no_findings(text):
    assert not words_fault(text, SITES)


@pytest.mark.parametrize("text", ["WUHAN12", "WUHANZHANG", "AB murong"])
def test_a_code_of_no_site_is_found(text):
    assert words_fault(text, frozenset({"AB", "WUHAN"}))


@pytest.mark.parametrize(
    "text",
    [
        "GTV 病灶 张三",
        "row 20250101 column age",
        "status MURONG",
        "654321 murong",
        "654321",
        "murong in zhang:12",
        "SOP class is not taken in (Murong Shuangyan); send CT Image Storage",
        "damaged: (0010,0010) PatientName murong; export the file again",
        "row 6 column age is not a date 1949-05-11",
    ],
)
def test_a_name_or_a_date_within_a_reason_is_found(text):
    assert words_fault(text)


def test_words_that_were_written_down_are_those_of_the_sources(tmp_path, monkeypatch):
    """They are read again where a source changed, and where the file is damaged or closed."""
    monkeypatch.setattr(audit_words, "CACHE", tmp_path / "audit_words.json")
    read = audit_words._in_program.__wrapped__
    found = read()
    assert "quarantine" in found["words"]
    assert audit_words.CACHE.is_file()
    stored = json.loads(audit_words.CACHE.read_text())
    for content in (
        "{",
        "[]",
        json.dumps({"state": "of another day", "found": {"words": [], "numbers": []}}),
        json.dumps({"state": stored["state"]}),
    ):
        audit_words.CACHE.write_text(content)
        assert read() == found
    audit_words.CACHE.write_text(json.dumps({**stored, "found": {"words": ["x"], "numbers": []}}))
    assert read()["words"] == ["x"], "it was written of the same sources"
    (tmp_path / "a file").write_text("")
    monkeypatch.setattr(audit_words, "CACHE", tmp_path / "a file" / "audit_words.json")
    assert read() == found, "where nothing can be written"

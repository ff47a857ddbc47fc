"""Whatever text a cell holds, it becomes a value of the schema or a refusal of that cell.

No text ends the intake.
"""

from __future__ import annotations

import contextlib
import csv
import datetime as dt
import io
import json
import math
from xml.sax.saxutils import quoteattr

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dagster_project.intake.case_report import case_report as cr
from dagster_project.intake.case_report import case_values as cv
from dagster_project.intake.identity.pseudonyms import (
    canonical_number,
    number_fault,
    written_number,
)
from dagster_project.intake.pacs.pacs_faults import PacsError
from dagster_project.intake.pacs.pacs_wanted import wanted_of_landing
from tests.intake.case_report.test_case_report import Site

TABLES = {
    "clinical/patients.csv": cr.PATIENT_CELLS,
    "clinical/treatments.csv": cr.TREATMENT_CELLS,
    "clinical/follow_up.csv": cr.FOLLOW_UP_CELLS,
    "reads/R1/lesions.csv": cr.LESION_CELLS,
    "arbitration/decisions.csv": cr.ARBITRATION_CELLS,
}

KNOWN_BAD = [
    "9" * 400,
    "9" * 5000,
    "-" + "9" * 400,
    "1e999",
    "1e-999",
    "nan",
    "inf",
    "-inf",
    "Infinity",
    "0x1F",
    "1_000",
    "١٢٣",
    "²",
    "½",
    "Ⅻ",
    "﷽",
    "𝟛𝟜",
    "0000-00-00",
    "0000-01-01",
    "0001-01-01",
    "9999-12-31",
    "10000-01-01",
    "2024-02-30",
    "99999999",
    "00010101",
    "2024-13-01",
    "1900-02-29",
    "0001-01-01T00:00:00+14:00",
    "9999-12-31T23:59:59-14:00",
    "2024-01-05T25:00:00",
    "2099-12-31T23:59:59-23:59",
    "2024-W01-1",
    "2024-001",
    "24:00",
    "=1/0",
    '="001"',
    "'001",
    "#REF!",
    "#" * 300,
    "\u202e1202",
    "a\u0301" * 200,
    "👩‍👩‍👧‍👦",
    "\ufeff",
    "\u2028",
    "\x1c",
    "\x85",
    "\0",
    "\\",
    "%s%n",
    "{0}",
    "NULL",
    "None",
    "true",
    "岁岁",
    "63岁99个月",
    "1.1.1",
    "1,,1",
    ",",
    ".",
    "-",
    "+",
    "+-",
    "/",
    "；",
    "C" * 10000,
    "第" * 3000,
    "(" * 2000,
    "1/" * 2000,
    "AB-AAAAAAAAAAAAAAAAA",
    "3E" + "1" * 400,
    "1." + "0" * 500,
    "0" * 500,
]

TEXT = st.one_of(
    st.sampled_from(KNOWN_BAD),
    st.text(max_size=40),
    st.from_regex(r"[0-9０-９٠-٩.,/:TtZ +\-年月日<>≥%cm]{1,30}", fullmatch=True),
    st.tuples(
        st.sampled_from(
            ["2024-01-05", "IIIB", "12.5 mm", "C2", "63岁", "given", "PD-L1 50%", "R1"]
        ),
        st.text(max_size=8),
    ).map("".join),
    st.integers().map(str),
    st.floats().map(str),
    st.datetimes().map(str),
    st.dates().map(str),
)


@given(TEXT)
@settings(max_examples=400)
def test_every_parser_gives_a_value_or_refuses_the_cell(text):
    for cells in TABLES.values():
        for parse in cells.values():
            found, reason = outcome_of(text, parse)
            assert found is None or plausible(found)
            assert len(text) < 4 or text not in reason, "a reason quotes no cell"


def outcome_of(text, parse):
    """The value of a cell, or why it is refused."""
    try:
        return cv.parse_cell(text, parse).value, ""
    except cv.ValueFault as fault:
        return None, str(fault)


@pytest.mark.parametrize("text", KNOWN_BAD)
def test_what_once_ended_a_site_is_a_refusal(text):
    test_every_parser_gives_a_value_or_refuses_the_cell.hypothesis.inner_test(text)


def test_a_fault_that_nobody_foresaw_is_one_of_the_cell():
    def broken(_):
        raise OverflowError("the value")

    with pytest.raises(cv.ValueFault) as refused:
        cv.parse_cell("63", broken)
    assert str(refused.value) == cv.NOT_UNDERSTOOD


def plausible(value):
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, dt.datetime | dt.date):
        return 1880 <= value.year <= 2100
    return not isinstance(value, int) or abs(value) < 2**31


@given(TEXT)
@settings(max_examples=300)
def test_every_text_has_one_spelling_as_a_number_and_a_verdict(text):
    assert canonical_number(canonical_number(text)) == canonical_number(text)
    assert isinstance(number_fault(text), str)
    written_number(text).encode("utf-8", "surrogatepass")


# ── whole deliveries ──


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return Site(tmp_path_factory.mktemp("any"))


def judge(site):
    """Build all tables, and look at every value of them."""
    frames = site.build()
    for frame in frames.values():
        for row in frame.iter_rows():
            assert all(plausible(value) for value in row)
    assert all(isinstance(reason, str) and reason for reason in site.refusals.values())
    with contextlib.suppress(
        PacsError
    ):  # a number that would request others ends the pull with its reason
        wanted_of_landing(site.folder, dt.date(2024, 1, 1), before=7, after=7)


def empty(site):
    for path in sorted(site.folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()


WHOLE = settings(
    max_examples=25,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@given(texts=st.lists(TEXT, min_size=1, max_size=6))
@WHOLE
def test_tables_of_any_text_are_read(home, texts):
    empty(home)
    for name, cells in TABLES.items():
        written = io.StringIO(newline="")
        writer = csv.writer(written, quoting=csv.QUOTE_ALL)
        writer.writerow(["patient_id", *cells])
        writer.writerow(["001", *(c for c in cells)])
        for text in texts:
            writer.writerow(["001", *(text for _ in cells)])
            writer.writerow([text, *("" for _ in cells)])
        home.put(name, written.getvalue().encode("utf-8", "replace").decode())
    home.put("reads/R1/LOCKED", texts[0].encode("utf-8", "replace").decode())
    judge(home)


REDCAP = [
    "sex",
    "age",
    "birth_date",
    "stage",
    "ecog",
    "consent",
    "pd_l1_tps",
    "tx_date",
    "cycle",
    "tx_drugs",
    "fu_date",
    "event",
]


@given(texts=st.lists(TEXT, min_size=1, max_size=6))
@WHOLE
def test_exports_of_study_databases_of_any_text_are_read(home, texts):
    empty(home)
    rows = [
        {
            "record_id": str(n),
            "patient_id": "001",
            "redcap_event_name": text,
            **dict.fromkeys(REDCAP, text),
        }
        for n, text in enumerate(texts)
    ]
    home.put(
        "clinical/redcap.json",
        json.dumps(
            [*rows, {"record_id": "x", "patient_id": texts[0], "age": 10**400, "sex": "\ud800"}]
        ),
    )
    items = "".join(
        f"<ItemData ItemOID={attribute(column)} Value={attribute(text)}/>"
        for text in texts
        for column in ["patient_id", *REDCAP]
    )
    home.put(
        "clinical/odm.xml",
        (
            '<?xml version="1.0" encoding="UTF-8"?><ODM ODMVersion="1.3" FileType="Snapshot" '
            f"CreationDateTime={attribute(texts[0])}>"
            '<ClinicalData StudyOID="S" MetaDataVersionOID="1">'
            f"<SubjectData SubjectKey={attribute(texts[0])}>"
            f"<StudyEventData StudyEventOID={attribute(texts[0])} "
            f"StudyEventRepeatKey={attribute(texts[0])}>"
            '<FormData FormOID="F">'
            f'<ItemGroupData ItemGroupOID="G" ItemGroupRepeatKey={attribute(texts[-1])}>{items}'
            "</ItemGroupData></FormData></StudyEventData></SubjectData></ClinicalData></ODM>"
        ),
    )
    judge(home)


def odm_of(values):
    """One subject's answers."""
    items = "".join(
        f"<ItemData ItemOID={attribute(oid)} Value={attribute(value)}/>"
        for oid, value in values.items()
    )
    return (
        '<?xml version="1.0" encoding="UTF-8"?><ODM ODMVersion="1.3" FileType="Snapshot">'
        '<ClinicalData StudyOID="S" MetaDataVersionOID="1">'
        '<SubjectData SubjectKey="001"><StudyEventData StudyEventOID="E">'
        '<FormData FormOID="F"><ItemGroupData ItemGroupOID="G">'
        f"{items}</ItemGroupData></FormData></StudyEventData></SubjectData></ClinicalData></ODM>"
    )


def attribute(text):
    """A text as XML can hold it."""
    held = (
        c
        if c in "\t\n\r" or " " <= c < "\ud800" or "\ue000" <= c <= "\ufffd" or c >= "\U00010000"
        else "?"
        for c in text
    )
    return quoteattr("".join(held))

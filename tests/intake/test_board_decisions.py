"""Decisions of a board from CSV files and workbooks: shifted, coded, or refused by place."""

from __future__ import annotations

import datetime as dt

import openpyxl
import pytest

from tests.intake.case_report.test_case_report import ROW, Site

HEADER = "patient_id,visit,date,decision,role,page,clinically_stable,next_ct_date"
CODE = "BP-BCDF-GHJK-LMNP"
LINE = f"001,T1,2024-03-08,continue,oncologist,{CODE},yes,2024-04-01"
CYCLE_1 = ("clinical/treatments.csv", "patient_id,cycle,date", "001,1,2024-01-05")
PLACE = "board/decisions.csv row 2"


@pytest.fixture
def site(tmp_path):
    return Site(tmp_path).patients(ROW).put(*CYCLE_1)


def decisions(site, *rows, header=HEADER, name="board/decisions.csv"):
    site.put(name, header, *rows)
    return site.build()["board_decisions"]


def test_a_decision_is_shifted_and_counted_from_the_first_cycle(site):
    (row,) = decisions(site, LINE).to_dicts()
    assert row == {
        "site": "AB",
        "patient": site.patient(),
        "visit": "T1",
        "decision_date": site.shift("2024-03-08"),
        "day": 63,
        "decision": "continue",
        "decided_by": "oncologist",
        "clinically_stable": True,
        "next_ct_day": 87,
        "page_code": CODE,
        "row_number": 2,
        "simulated": False,
    }
    assert site.refusals == {}


def test_the_words_of_a_chinese_department(site):
    header = "住院号,访视,讨论日期,讨论决定,记录者角色,讨论页编号,临床稳定,下次CT日期"
    row = "1,t1,2024年3月8日,继续并提前复查,肿瘤内科医师,ｂｐ bcdf ghjk lmnp,否,"
    (found,) = decisions(site, row, header=header).to_dicts()
    assert (found["decision"], found["decided_by"]) == ("continue_and_rescan_early", "oncologist")
    assert (found["visit"], found["page_code"]) == ("T1", CODE)
    assert (found["clinically_stable"], found["next_ct_day"]) == (False, None)
    assert site.refusals == {}


def test_the_pseudonym_that_the_page_prints_names_the_patient(site):
    site.build()
    (row,) = decisions(site, LINE.replace("001", site.patient(), 1)).to_dicts()
    assert row["patient"] == site.patient()


def test_a_workbook_and_a_file_of_any_name(site):
    book = openpyxl.Workbook()
    for line in (HEADER, LINE):
        book.active.append(line.split(","))
    (site.folder / "board").mkdir(parents=True)
    book.save(site.folder / "board" / "decisions.xlsx")
    assert decisions(site, LINE.replace("T1", "T2"), name="board/march.csv").height == 2
    assert site.refusals == {}


@pytest.mark.parametrize(
    ("old", "new", "column", "reason"),
    [
        ("001", "002", "patient_id", "neither in patients.csv nor among the images"),
        ("001", "", "patient_id", "is missing"),
        ("T1", "week 9", "visit", "is no visit"),
        ("2024-03-08", "", "date", "is missing"),
        ("2024-03-08", "2099-03-08", "date", "lies after the data cut-off"),
        ("continue", "we talked it over", "decision", "is not in the vocabulary"),
        ("oncologist", "Zhang San", "role", "never a name"),
        (CODE, "BP-1234", "page", "is no code of a board page"),
        (CODE, "", "page", "is missing"),
    ],
    ids=[
        "nobody",
        "no number",
        "no visit",
        "no date",
        "in the future",
        "free text",
        "a name",
        "no code",
        "no page",
    ],
)
def test_what_cannot_be_meant_is_refused_by_its_place(site, old, new, column, reason):
    site.changes = {"cut_off": dt.date(2026, 1, 1)}
    assert decisions(site, LINE.replace(old, new, 1)).is_empty()
    assert list(site.refusals) == [f"{PLACE} column {column}"]
    (said,) = site.refusals.values()
    assert reason in said
    assert not new or new not in said


@pytest.mark.parametrize(
    ("old", "new", "column"),
    [("yes", "perhaps", "clinically_stable"), ("2024-04-01", "2024-03-01", "next_ct_date")],
)
def test_what_is_not_needed_is_left_out_by_cell(site, old, new, column):
    (row,) = decisions(site, LINE.replace(old, new)).to_dicts()
    left = {"next_ct_date": "next_ct_day"}.get(column, column)
    assert row[left] is None
    assert list(site.refusals) == [f"{PLACE} column {column}"]


def test_who_withdrew_has_no_decision(site):
    site.patients(ROW.replace("given", "withdrawn"))
    assert decisions(site, LINE).is_empty()

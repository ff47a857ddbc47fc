"""Clinical states from visits.csv, workbooks and study databases: shifted, or refused by place."""

from __future__ import annotations

import datetime as dt

import openpyxl
import pytest

from tests.intake.case_report.test_case_report import ROW, Site
from tests.intake.case_report.test_odm import data, event, form, group, item, metadata, odm, subject
from tests.intake.case_report.test_redcap import csv

HEADER = "patient_id,date,ecog,new_symptoms,clinically_stable"
CYCLE_1 = ("clinical/treatments.csv", "patient_id,cycle,date", "001,1,2024-01-05")


@pytest.fixture
def site(tmp_path):
    return Site(tmp_path).patients(ROW)


def states(site, *rows, header=HEADER):
    site.put("clinical/visits.csv", header, *rows)
    frame = site.build()["clinical_status"]
    return frame.select("status_date", "ecog", "new_symptoms", "clinically_stable").rows()


def test_a_state_is_shifted_as_every_date_and_counted_from_the_first_cycle(site):
    site.put(*CYCLE_1)
    assert states(site, "001,2024-01-25,1,yes,no") == [(site.shift("2024-01-25"), 1, True, False)]
    assert site.build()["clinical_status"]["day"].to_list() == [20]
    assert site.refusals == {}


def test_the_words_of_a_chinese_department(site):
    header = "住院号,访视日期,ECOG评分,新发症状,临床稳定"
    found = states(site, "1,2024年1月25日,1分,有,否", "1,2024/2/20,0,无,是", header=header)
    assert found == [
        (site.shift("2024-01-25"), 1, True, False),
        (site.shift("2024-02-20"), 0, False, True),
    ]
    assert site.refusals == {}


def test_unknown_stays_unknown(site):
    assert states(site, "001,2024-01-25,1,不详,") == [(site.shift("2024-01-25"), 1, None, None)]
    assert site.refusals == {}


PLACE = "clinical/visits.csv row 2"


@pytest.mark.parametrize(
    ("row", "kept", "place", "reason"),
    [
        ("001,,1,yes,no", 0, f"{PLACE} column date", "is missing; the row is left out"),
        ("001,2024-01,1,yes,no", 0, f"{PLACE} column date", "left out"),
        (
            "001,2024-01-25,1,yes,perhaps",
            1,
            f"{PLACE} column clinically_stable",
            "is neither yes nor no; the cell is left out",
        ),
        ("001,2024-01-25,9,yes,no", 1, f"{PLACE} column ecog", "the cell is left out"),
        ("001,2024-01-25,,,", 0, PLACE, "has neither ecog"),
        ("001,2099-01-25,1,yes,no", 0, f"{PLACE} column date", "lies after the data cut-off"),
        ("002,2024-01-25,1,yes,no", 0, f"{PLACE} column patient_id", "neither in patients.csv"),
    ],
)
def test_what_cannot_be_meant_is_refused_by_its_place(site, row, kept, place, reason):
    site.changes = {"cut_off": dt.date(2026, 1, 1)}
    assert len(states(site, row)) == kept
    assert list(site.refusals) == [place]
    assert reason in site.refusals[place]


def test_a_cell_that_was_refused_is_null_and_the_rest_is_used(site):
    (state,) = states(site, "001,2024-01-25,1,yes,perhaps")
    assert state[1:] == (1, True, None)


def test_rows_of_one_day_are_one_and_what_they_contradict_is_refused_in_each(site):
    found = states(
        site, "001,2024-01-25,1,yes,", "001,2024-01-25,1,no,yes", "001,2024-01-25,1,yes,"
    )
    assert found == [(site.shift("2024-01-25"), 1, None, True)]
    places = [f"clinical/visits.csv row {n} column new_symptoms" for n in (2, 3)]
    assert list(site.refusals) == places
    assert "row 3, of the same patient and day" in site.refusals[places[0]]


def test_a_state_after_the_death_is_refused_with_the_death(site):
    site.put("clinical/follow_up.csv", "patient_id,date,event", "001,2024-01-20,death")
    assert states(site, "001,2024-01-25,1,yes,no") == []
    assert set(site.refusals) == {
        f"{PLACE} column date",
        "clinical/follow_up.csv row 2 column date",
    }


def test_a_state_before_treatment_is_taken(site):
    site.put(*CYCLE_1)
    assert len(states(site, "001,2023-12-20,1,no,yes")) == 1
    assert site.refusals == {}


def test_who_withdrew_has_no_state(site):
    site.patients(ROW.replace("given", "withdrawn"))
    assert states(site, "001,2024-01-25,1,yes,no") == []


@pytest.mark.parametrize(("name", "sheet"), [("visits", "Sheet1"), ("patients", "访视")])
def test_a_workbook(site, name, sheet):
    book = openpyxl.Workbook()
    if name == "patients":
        book.active.title = "患者"
        for line in ("patient_id,sex", "001,F"):
            book.active.append(line.split(","))
        book.create_sheet(sheet)
    page = book[sheet] if name == "patients" else book.active
    for line in (HEADER, "001,2024-01-25,1,yes,no"):
        page.append(line.split(","))
    book.save(site.folder / "clinical" / f"{name}.xlsx")
    frame = site.build()["clinical_status"]
    assert frame["status_date"].to_list() == [site.shift("2024-01-25")]
    assert [p for p in site.refusals if "visits" in p or "sheet" in p] == []


REDCAP = (
    "record_id,mrn,redcap_repeat_instrument,redcap_repeat_instance,sex,ecog,baseline_complete,"
    "fu_date,fu_event,follow_up_complete,"
    "{date},{ecog},new_symptoms,clinically_stable,clinical_status_complete"
)
REDCAP_ROWS = (
    "1,001,,,Female,2,Complete,,,,,,,,",
    "1,,Follow-up,1,,,,2024-09-01,Alive,Complete,,,,,",
    "1,,Clinical status,1,,,,,,,2024-01-25,1,Yes,No,Complete",
)


@pytest.mark.parametrize(
    ("date", "ecog"), [("cs_date", "cs_ecog"), ("clinical_status_date", "clinical_status_ecog")]
)
def test_redcap_keeps_the_state_of_a_visit_apart_from_the_baseline(tmp_path, date, ecog):
    site = Site(tmp_path)
    site.put("clinical/redcap.csv", csv(REDCAP.format(date=date, ecog=ecog), *REDCAP_ROWS))
    frames = site.build()
    assert frames["clinical_status"].select(
        "status_date", "ecog", "new_symptoms", "clinically_stable"
    ).rows() == [(site.shift("2024-01-25"), 1, True, False)]
    assert frames["patients"].select("sex", "ecog").rows() == [("F", 2)]
    assert frames["follow_up"]["event"].to_list() == ["alive"]


def test_redcap_without_visits_has_the_ecog_of_the_baseline(tmp_path):
    site = Site(tmp_path)
    site.put("clinical/redcap.csv", csv("record_id,mrn,sex,ecog,baseline_complete", "1,001,F,2,2"))
    frames = site.build()
    assert frames["clinical_status"].is_empty()


ODM_NAMES = {
    "SEX": "sex",
    "VDT": "date",
    "VEC": "ecog",
    "SYM": "new symptoms",
    "STB": "clinically stable",
}


def test_odm(tmp_path):
    site = Site(tmp_path)
    person = subject(
        "001",
        event("E0", form("BASE", group("G0", item("SEX", "2")))),
        event(
            "E1",
            form(
                "VISITS",
                group(
                    "G1",
                    item("VDT", "2024-01-25"),
                    item("VEC", "1"),
                    item("SYM", "yes"),
                    item("STB", "no"),
                ),
            ),
        ),
    )
    site.put("clinical/odm.xml", odm(metadata(names=ODM_NAMES), data(person)))
    frames = site.build()
    assert frames["clinical_status"].select(
        "status_date", "ecog", "new_symptoms", "clinically_stable"
    ).rows() == [(site.shift("2024-01-25"), 1, True, False)]
    assert frames["patients"]["sex"].to_list() == ["F"]

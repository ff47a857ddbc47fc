"""REDCap's CSV and CDISC ODM 1.3 give the same case report as the three CSV files.

What is wrong in them is named by row.
"""

import datetime as dt

import pytest

from dagster_project.intake.case_report import exchange_files, redcap, xml_files
from dagster_project.intake.case_report.odm import read_odm
from dagster_project.intake.case_report.redcap import read_redcap
from tests.intake.case_report.test_case_report import Site

REDCAP_HEADER = (
    "record_id,redcap_event_name,redcap_repeat_instrument,redcap_repeat_instance,"
    "patient_id,name,sex,birth_date,stage,"
    "cycle,tx_date,drugs,fu_date,event,favourite_colour"
)
REDCAP_ROWS = (
    "1,baseline,,,001,Murong Shuangyan,F,1949-05-11,IIIB,,,,,,",
    "1,baseline,treatments,1,,,,,,1,2024-01-05,pembrolizumab,,,",
    "1,baseline,treatments,2,,,,,,2,2024-01-26,pembrolizumab,,,",
    "1,baseline,follow_up,1,,,,,,,,,2024-09-01,death,",
    "2,baseline,,,002,,M,1955-01-02,IVA,,,,,,blue",
)

ODM = """<?xml version="1.0" encoding="UTF-8"?>
<ODM xmlns="http://www.cdisc.org/ns/odm/v1.3" ODMVersion="1.3.2" FileType="Snapshot">
 <Study OID="S"><MetaDataVersion OID="V" Name="V">
  <ItemDef OID="IT.SEX" Name="sex" DataType="text"><CodeListRef CodeListOID="CL.SEX"/></ItemDef>
  <ItemDef OID="IT.BRTH" Name="birth date" DataType="date"/>\
<ItemDef OID="IT.NAME" Name="name" DataType="text"/>
  <ItemDef OID="IT.CYC" Name="cycle" DataType="integer"/>\
<ItemDef OID="IT.EXDT" Name="treatment date" DataType="date"/>
  <CodeList OID="CL.SEX" Name="sex" DataType="text">\
<CodeListItem CodedValue="1"><Decode><TranslatedText>male</TranslatedText></Decode></CodeListItem>
   <CodeListItem CodedValue="2"><Decode><TranslatedText>female</TranslatedText></Decode>\
</CodeListItem></CodeList>
 </MetaDataVersion></Study>
 <ClinicalData StudyOID="S" MetaDataVersionOID="V">
  <SubjectData SubjectKey="001"><StudyEventData StudyEventOID="SE"><FormData FormOID="F">
   <ItemGroupData ItemGroupOID="IG.DM"><ItemData ItemOID="IT.SEX" Value="2"/>\
<ItemData ItemOID="IT.NAME" Value="Murong Shuangyan"/></ItemGroupData>
   <ItemGroupData ItemGroupOID="IG.DM2"><ItemDataDate ItemOID="IT.BRTH">1949-05-11</ItemDataDate>\
<ItemData ItemOID="IT.stage" Value="IIIB"/></ItemGroupData>
   <ItemGroupData ItemGroupOID="IG.EX" ItemGroupRepeatKey="1">\
<ItemData ItemOID="IT.CYC" Value="1"/>\
<ItemData ItemOID="IT.EXDT" Value="2024-01-05"/></ItemGroupData>
   <ItemGroupData ItemGroupOID="IG.EX" ItemGroupRepeatKey="2">\
<ItemData ItemOID="IT.CYC" Value="2"/>\
<ItemData ItemOID="IT.EXDT" Value="2024-01-26"/></ItemGroupData>
   <ItemGroupData ItemGroupOID="IG.EX" ItemGroupRepeatKey="3" TransactionType="Remove">\
<ItemData ItemOID="IT.CYC" Value="3"/>\
<ItemData ItemOID="IT.EXDT" Value="2024-02-26"/></ItemGroupData>
   <ItemGroupData ItemGroupOID="IG.FU"><ItemData ItemOID="IT.event" Value="death"/>\
<ItemData ItemOID="IT.event_date" Value="2024-09-01"/>\
<ItemData ItemOID="IT.colour" Value="blue"/></ItemGroupData>
  </FormData></StudyEventData></SubjectData>
 </ClinicalData>
</ODM>"""


@pytest.fixture
def site(tmp_path):
    return Site(tmp_path)


def delivered(site, kind):
    return (
        site.put("clinical/redcap.csv", REDCAP_HEADER, *REDCAP_ROWS)
        if kind == "redcap"
        else site.put("clinical/odm.xml", ODM)
    )


@pytest.mark.parametrize("kind", ["redcap", "odm"])
def test_a_patient_with_treatments_and_follow_up(site, kind):
    frames = delivered(site, kind).build()
    row = frames["patients"].filter(patient=site.patient()).row(0, named=True)
    assert (row["sex"], row["stage"], row["age_years"]) == ("F", "IIIB", 74)
    assert frames["treatments"].select("cycle", "treatment_date", "day").rows() == [
        (1, site.shift("2024-01-05"), 0),
        (2, site.shift("2024-01-26"), 21),
    ]
    assert frames["follow_up"].select("event", "event_date").rows() == [
        ("death", site.shift("2024-09-01"))
    ]


@pytest.mark.parametrize("kind", ["redcap", "odm"])
def test_nothing_that_identifies_is_in_a_table_or_a_refusal(site, kind):
    frames = delivered(site, kind).build()
    told = repr([frame.to_dicts() for frame in frames.values()]) + repr(site.refusals)
    assert not [
        word
        for word in ("Murong", "1949", "'001'", "blue", str(dt.date(2024, 1, 5)))
        if word in told
    ]


def test_what_is_not_known_is_refused_by_place(site):
    delivered(site, "redcap").build()
    assert "clinical/redcap.csv header 15" in site.refusals
    site.put("clinical/odm.xml", ODM).build()
    assert "clinical/odm.xml row 6 item 3" in site.refusals


def test_events_of_one_record_that_contradict_each_other(site):
    site.put(
        "clinical/redcap.csv",
        "record_id,redcap_event_name,sex,stage,ecog",
        "001,baseline,F,IIIB,1",
        "001,week 6,M,,2",
    )
    (row,) = site.build()["patients"].to_dicts()
    assert (row["sex"], row["stage"], row["ecog"]) == (None, "IIIB", 1)
    assert "(sex)" in site.refusals["clinical/redcap.csv row 3"]
    assert "the first is used" in site.refusals["clinical/redcap.csv row 3 column ecog"]


@pytest.mark.parametrize("order", [("given", "withdrawn"), ("withdrawn", "given")])
def test_consent_that_one_event_withdraws_is_contradictory(site, order):
    site.put(
        "clinical/redcap.csv",
        "record_id,redcap_event_name,sex,consent",
        f"001,baseline,F,{order[0]}",
        f"001,week 6,,{order[1]}",
    )
    assert site.build()["patients"]["consent"].to_list() == ["contradictory"]
    assert "nothing of the patient is taken in" in str(site.refusals)


def test_beside_the_csv_files_a_contradiction_is_refused_and_the_rest_is_added(site):
    site.patients("001,F", header="patient_id,sex")
    frames = site.put(
        "clinical/redcap.csv", "record_id,sex,stage", "001,M,IIIB", "002,M,IVA"
    ).build()
    assert frames["patients"].height == 2
    assert "contradicts row 2" in site.refusals["clinical/redcap.csv row 2"]
    assert frames["patients"].filter(patient=site.patient())["sex"].to_list() == [None]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("<ODM", "is not XML"),
        ("<other/>", "is not an ODM file"),
        (
            '<!DOCTYPE ODM [<!ENTITY e SYSTEM "file:///etc/hostname">]><ODM>&e;</ODM>',
            "document type declaration",
        ),
    ],
)
def test_a_file_that_is_no_odm_is_refused_whole(tmp_path, text, reason):
    file = tmp_path / "odm.xml"
    file.write_text(text)
    tables = read_odm({"clinical/odm.xml": file})
    assert [t.rows for found in tables.values() for t in found] == [()] * len(tables)
    assert reason in tables["patients"][0].refusals[0].reason


def test_a_redcap_file_without_record_id_is_refused_whole(tmp_path):
    file = tmp_path / "redcap.csv"
    file.write_text("patient,sex\n001,F\n")
    assert (
        "record_id" in read_redcap({"clinical/redcap.csv": file})["patients"][0].refusals[0].reason
    )


# ── REDCap projects whose cycles and follow-up are events ──

LONGITUDINAL = (
    "record_id,redcap_event_name,redcap_repeat_instrument,redcap_repeat_instance,"
    "patient_id,sex,age,stage,tx_cycle,tx_date,tx_drugs,fu_date,fu_event,baseline_complete"
)


def frames_of(site, *rows, header=LONGITUDINAL):
    frames = site.put("clinical/redcap.csv", header, *rows, "").build()
    return (
        frames["patients"].height,
        sorted(frames["treatments"]["cycle"]),
        list(frames["follow_up"]["event"]),
    )


@pytest.mark.parametrize(
    "rows",
    [
        [f"1,Treatment,,{n},,,,,{n},2024-0{n}-10,pembrolizumab,,,Complete" for n in range(1, 6)],
        [f"1,Cycle {n},,,,,,,{n},2024-0{n}-10,pembrolizumab,,,Complete" for n in range(1, 6)],
        [f"1,Cycle {n} (Arm 1: A),,,,,,,,2024-0{n}-10,pembrolizumab,,," for n in range(1, 6)],
        [f"1,cycle_{n}_arm_1,,,,,,,,2024-0{n}-10,pembrolizumab,,,2" for n in range(1, 6)],
        [f"1,第{n}周期,,,,,,,,2024-0{n}-10,帕博利珠单抗,,," for n in range(1, 6)],
        [f"1,Baseline,Treatment,{n},,,,,{n},2024-0{n}-10,pembrolizumab,,," for n in range(1, 6)],
    ],
    ids=[
        "repeating event",
        "an event a cycle",
        "the cycle in the event's label",
        "in its name",
        "in Chinese",
        "repeating instrument",
    ],
)
def test_cycles_and_a_death_in_every_layout(site, rows):
    assert frames_of(
        site, "1,Baseline,,,001,F,63,IIIB,,,,,,", *rows, "1,Follow-up,,,,,,,,,,2025-01-15,death,"
    ) == (1, [1, 2, 3, 4, 5], ["death"])
    assert not site.refusals


def test_a_row_that_is_of_several_tables_is_taken_apart(site):
    assert frames_of(
        site, "1,Baseline,,,001,F,63,IIIB,1,2024-01-10,pembrolizumab,2025-01-15,death,"
    ) == (1, [1], ["death"])
    assert not site.refusals


def test_a_death_without_its_date_is_named_by_row(site):
    assert frames_of(site, "1,Baseline,,,001,F,63,IIIB,,,,,,", "1,End,,,,,,,,,,,death,") == (
        1,
        [],
        ["death"],
    )
    assert "clinical/redcap.csv row 3 column date" in site.refusals


def test_an_event_of_which_nothing_is_known_is_named_by_row(site):
    frames_of(
        site,
        "1,Baseline,,,001,F,,",
        "1,QoL,,,,,,7",
        header="record_id,redcap_event_name,redcap_repeat_instrument,redcap_repeat_instance,patient_id,sex,stage,eortc_q1",
    )
    assert site.refusals.keys() == {"clinical/redcap.csv header 8", "clinical/redcap.csv row 3"}


def test_a_date_that_may_be_of_two_tables_goes_with_its_row_else_it_is_refused(site):
    header = "record_id,redcap_event_name,patient_id,sex,cycle,date,event"
    assert frames_of(
        site,
        "1,Baseline,001,F,,,",
        "1,V,,,1,2024-01-10,",
        "1,End,,,,2025-01-15,death",
        "1,V,,,,2024-03-01,",
        header=header,
    ) == (1, [1], ["death"])
    assert site.refusals.keys() == {"clinical/redcap.csv row 5 column date"}


def test_a_cycle_that_contradicts_its_event_is_refused(site):
    frames_of(
        site, "1,Baseline,,,001,F,63,IIIB,,,,,,", "1,Cycle 3,,,,,,,2,2024-03-10,pembrolizumab,,,"
    )
    assert (
        "another cycle" in site.refusals["clinical/redcap.csv row 3 column cycle"]
        or "is missing" in site.refusals["clinical/redcap.csv row 3 column cycle"]
    )


def test_codes_of_a_raw_export_are_refused(site):
    frames = site.put(
        "clinical/redcap.csv",
        "record_id,redcap_event_name,patient_id,sex,stage,egfr",
        "1,baseline_arm_1,001,1,4,1",
        "",
    ).build()
    assert frames["patients"].select("sex", "stage", "egfr").rows() == [(None, None, None)]
    assert site.refusals.keys() == {
        f"clinical/redcap.csv row 2 column {c}" for c in ("sex", "stage", "egfr")
    }


def test_boxes_of_a_multiple_choice_are_no_values(site):
    frames_of(
        site, "1,001,F,1,Checked", header="record_id,patient_id,sex,egfr___1,EGFR (choice=19del)"
    )
    assert site.refusals.keys() == {"clinical/redcap.csv header 4", "clinical/redcap.csv header 5"}
    assert "multiple choice" in site.refusals["clinical/redcap.csv header 4"]


def test_an_export_whose_headers_are_labels_and_bear_one_name_twice(site):
    header = (
        "Record ID,Event Name,Repeat Instrument,Repeat Instance,"
        "住院号,性别,周期,日期,Complete?,日期,事件,Complete?"
    )
    found = frames_of(
        site,
        "1,Baseline,,,001,女,,,Complete,,,",
        "1,Treatment,,1,,,1,2024-01-10,Complete,,,",
        "1,End,,,,,,,,2025-01-15,死亡,Complete",
        header=header,
    )
    assert found == (1, [1], ["death"])
    assert not site.refusals


def test_the_first_column_of_a_longitudinal_export_is_its_record(site):
    header = LONGITUDINAL.replace("record_id", "study_id")
    assert frames_of(
        site, "1,Baseline,,,001,F,63,IIIB,,,,,,", "1,Cycle 1,,,,,,,1,2024-01-10,,,,", header=header
    ) == (1, [1], [])


def test_beside_the_csv_files_the_database_fills_what_they_leave_blank(site):
    site.patients("001,F,", "002,M,IVA", header="patient_id,sex,stage")
    frames = site.put(
        "clinical/redcap.csv", "record_id,sex,stage", "001,F,IIIB", "002,,IVA"
    ).build()
    found = {r["patient"]: (r["sex"], r["stage"]) for r in frames["patients"].to_dicts()}
    assert found == {site.patient("001"): ("F", "IIIB"), site.patient("002"): ("M", "IVA")}
    assert not site.refusals


# ── what no reader foresaw, and what would need too much memory ──


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (RuntimeError("001"), exchange_files.CANNOT_BE_READ),
        (MemoryError(), exchange_files.TOO_MUCH_MEMORY),
    ],
)
def test_a_file_that_a_reader_fails_on_is_refused_by_its_name_and_the_others_are_read(
    tmp_path, monkeypatch, error, reason
):
    def fails(*_):
        raise error

    site = Site(tmp_path)
    site.put("clinical/patients.csv", "patient_id,sex", "001,F")
    site.put("clinical/redcap.csv", REDCAP_HEADER, *REDCAP_ROWS)
    monkeypatch.setattr(exchange_files, "read_redcap", fails)
    assert site.build()["patients"]["sex"].to_list() == ["F"]
    assert site.refusals == {"clinical/": reason}


@pytest.mark.parametrize(
    ("module", "file", "text", "reason"),
    [
        (xml_files, "odm.xml", ODM, xml_files.TOO_MANY),
        (
            redcap,
            "redcap.json",
            '[{"record_id": "1", "patient_id": "001", "sex": "F"}]',
            redcap.TOO_MANY_VALUES,
        ),
    ],
)
def test_an_export_of_more_values_than_a_case_report_has_is_refused_before_it_is_built(
    tmp_path, monkeypatch, module, file, text, reason
):
    site = Site(tmp_path)
    site.put(f"clinical/{file}", text)
    assert site.build()["patients"].height == 1
    monkeypatch.setattr(module, "MOST_MARKS", 4)
    assert site.build()["patients"].height == 0
    assert site.refusals[f"clinical/{file}"] == reason

"""REDCap's CSV and CDISC ODM 1.3 give the same case report as the three CSV files; what is wrong in them is named by row."""

import datetime as dt

import pytest

from dagster_project.intake.exchange_files import read_odm, read_redcap
from tests.intake.test_case_report import Site

REDCAP_HEADER = "record_id,redcap_event_name,redcap_repeat_instrument,redcap_repeat_instance,patient_id,name,sex,birth_date,stage,cycle,tx_date,drugs,fu_date,event,favourite_colour"
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
  <ItemDef OID="IT.BRTH" Name="birth date" DataType="date"/><ItemDef OID="IT.NAME" Name="name" DataType="text"/>
  <ItemDef OID="IT.CYC" Name="cycle" DataType="integer"/><ItemDef OID="IT.EXDT" Name="treatment date" DataType="date"/>
  <CodeList OID="CL.SEX" Name="sex" DataType="text"><CodeListItem CodedValue="1"><Decode><TranslatedText>male</TranslatedText></Decode></CodeListItem>
   <CodeListItem CodedValue="2"><Decode><TranslatedText>female</TranslatedText></Decode></CodeListItem></CodeList>
 </MetaDataVersion></Study>
 <ClinicalData StudyOID="S" MetaDataVersionOID="V">
  <SubjectData SubjectKey="001"><StudyEventData StudyEventOID="SE"><FormData FormOID="F">
   <ItemGroupData ItemGroupOID="IG.DM"><ItemData ItemOID="IT.SEX" Value="2"/><ItemData ItemOID="IT.NAME" Value="Murong Shuangyan"/></ItemGroupData>
   <ItemGroupData ItemGroupOID="IG.DM2"><ItemDataDate ItemOID="IT.BRTH">1949-05-11</ItemDataDate><ItemData ItemOID="IT.stage" Value="IIIB"/></ItemGroupData>
   <ItemGroupData ItemGroupOID="IG.EX" ItemGroupRepeatKey="1"><ItemData ItemOID="IT.CYC" Value="1"/><ItemData ItemOID="IT.EXDT" Value="2024-01-05"/></ItemGroupData>
   <ItemGroupData ItemGroupOID="IG.EX" ItemGroupRepeatKey="2"><ItemData ItemOID="IT.CYC" Value="2"/><ItemData ItemOID="IT.EXDT" Value="2024-01-26"/></ItemGroupData>
   <ItemGroupData ItemGroupOID="IG.EX" ItemGroupRepeatKey="3" TransactionType="Remove"><ItemData ItemOID="IT.CYC" Value="3"/><ItemData ItemOID="IT.EXDT" Value="2024-02-26"/></ItemGroupData>
   <ItemGroupData ItemGroupOID="IG.FU"><ItemData ItemOID="IT.event" Value="death"/><ItemData ItemOID="IT.event_date" Value="2024-09-01"/><ItemData ItemOID="IT.colour" Value="blue"/></ItemGroupData>
  </FormData></StudyEventData></SubjectData>
 </ClinicalData>
</ODM>"""


@pytest.fixture
def site(tmp_path):
    return Site(tmp_path)


def delivered(site, kind):
    return site.put("clinical/redcap.csv", REDCAP_HEADER, *REDCAP_ROWS) if kind == "redcap" else site.put("clinical/odm.xml", ODM)


@pytest.mark.parametrize("kind", ["redcap", "odm"])
def test_a_patient_with_treatments_and_follow_up(site, kind):
    frames = delivered(site, kind).build()
    row = frames["patients"].filter(patient=site.patient()).row(0, named=True)
    assert (row["sex"], row["stage"], row["age_years"]) == ("F", "IIIB", 74)
    assert frames["treatments"].select("cycle", "treatment_date", "day").rows() == [(1, site.shift("2024-01-05"), 0), (2, site.shift("2024-01-26"), 21)]
    assert frames["follow_up"].select("event", "event_date").rows() == [("death", site.shift("2024-09-01"))]


@pytest.mark.parametrize("kind", ["redcap", "odm"])
def test_nothing_that_identifies_is_in_a_table_or_a_refusal(site, kind):
    frames = delivered(site, kind).build()
    told = repr([frame.to_dicts() for frame in frames.values()]) + repr(site.refusals)
    assert not [word for word in ("Murong", "1949", "'001'", "blue", str(dt.date(2024, 1, 5))) if word in told]


def test_what_is_not_known_is_refused_by_place(site):
    delivered(site, "redcap").build()
    assert "clinical/redcap.csv header 15" in site.refusals
    site.put("clinical/odm.xml", ODM).build()
    assert "clinical/odm.xml row 6 item 3" in site.refusals


def test_events_of_one_record_that_contradict_each_other(site):
    site.put("clinical/redcap.csv", "record_id,redcap_event_name,sex,stage", "001,baseline,F,IIIB", "001,week 6,M,").build()
    assert "contradicts row 2" in site.refusals["clinical/redcap.csv row 3 column sex"]


def test_beside_the_csv_files_a_contradiction_is_refused_and_the_rest_is_added(site):
    site.patients("001,F", header="patient_id,sex")
    frames = site.put("clinical/redcap.csv", "record_id,sex,stage", "001,M,IIIB", "002,M,IVA").build()
    assert frames["patients"].height == 2
    assert "contradicts row 2" in site.refusals["clinical/redcap.csv row 2"]
    assert frames["patients"].filter(patient=site.patient())["sex"].to_list() == [None]


@pytest.mark.parametrize(("text", "reason"), [
    ("<ODM", "is not XML"), ("<other/>", "is not an ODM file"),
    ('<!DOCTYPE ODM [<!ENTITY e SYSTEM "file:///etc/hostname">]><ODM>&e;</ODM>', "document type declaration"),
])
def test_a_file_that_is_no_odm_is_refused_whole(tmp_path, text, reason):
    file = tmp_path / "odm.xml"
    file.write_text(text)
    tables = read_odm(file)
    assert [t.rows for t in tables.values()] == [(), (), ()]
    assert reason in tables["patients"].refusals[0].reason


def test_a_redcap_file_without_record_id_is_refused_whole(tmp_path):
    file = tmp_path / "redcap.csv"
    file.write_text("patient,sex\n001,F\n")
    assert "record_id" in read_redcap(file)["patients"].refusals[0].reason

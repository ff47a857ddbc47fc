"""Images and rows of one patient number that name two people."""

import itertools
import re

import polars as pl
import pytest

from dagster_project.intake.identity.person import (
    CELL_OF_ANOTHER,
    NOT_THE_SAME_PERSON,
    NUMBER_OF_ANOTHER,
    SEVERAL_PEOPLE,
    Statement,
    are_two_people,
    state,
)
from dagster_project.intake.vault import vault
from dagster_project.intake.vault.vault import confirm_person, remove_patient
from dagster_project.lake.reasons import chinese_reason
from tests.intake import pacs_site
from tests.intake.builders import KEYS, ROOT, ct, rtstruct, to_bytes
from tests.intake.vault.test_vault import Site, in_this_process

SELF = {"PatientName": "Murong^Shuangyan", "PatientBirthDate": "19490511", "PatientSex": "F"}
ANOTHER = {
    "birth date": {"PatientBirthDate": "19610823"},
    "year of birth": {"PatientBirthDate": "19610101", "PatientName": ""},
    "sex alone": {"PatientBirthDate": "", "PatientSex": "M", "PatientName": ""},
    "name alone": {"PatientBirthDate": "", "PatientSex": "", "PatientName": "Zhao^Jianguo"},
    "age alone": {
        "PatientBirthDate": "",
        "PatientSex": "",
        "PatientName": "",
        "PatientAge": "041Y",
    },
    "everything": {
        "PatientName": "Zhao^Jianguo",
        "PatientBirthDate": "19610823",
        "PatientSex": "M",
    },
    "sex and name": {"PatientName": "Zhao^Jianguo", "PatientSex": "M"},
}
"""What differs from the first images; what is empty states nothing."""

THE_SAME = {
    "equal": {},
    "nothing stated": {"PatientBirthDate": "", "PatientSex": "", "PatientName": ""},
    "order": {"PatientName": "Shuangyan Murong"},
    "together": {"PatientBirthDate": "", "PatientName": "MURONGSHUANGYAN"},
    "writings": {"PatientBirthDate": "", "PatientName": "Murong^Shuangyan=慕容^双燕"},
    "Chinese": {
        "PatientBirthDate": "",
        "PatientName": "慕容双燕",
        "SpecificCharacterSet": "GB18030",
    },
    "family name": {"PatientBirthDate": "", "PatientName": "Murong^S"},
    "code": {"PatientBirthDate": "", "PatientName": "NSCLC017^T1"},
    "anonymous": {"PatientBirthDate": "", "PatientName": "ANONYMOUS"},
    "year alone": {"PatientBirthDate": "19490101", "PatientName": ""},
    "filled in": {"PatientBirthDate": "19000101"},
    "filled in too": {"PatientBirthDate": "19700101"},
    "no day": {"PatientBirthDate": "19490231"},
    "sex unknown": {"PatientSex": "O"},
    "name of marriage": {"PatientName": "Zhao^Yan"},
    "sex mistyped": {"PatientSex": "M"},
}


@pytest.fixture
def site(tmp_path, monkeypatch):
    monkeypatch.setattr(vault, "take_files", in_this_process)
    return Site(tmp_path)


def put(site, folder, series, slices=2, **changes):
    own = {"StudyInstanceUID": f"{ROOT}.8{series}"}
    for k in range(slices):
        one = ct(k, series=f"{ROOT}.{series}", **SELF | own | changes)
        site.put(f"dicom/{folder}/{k}.dcm", one)


def held(site):
    """How many images are held by scan."""
    scans = [name.split("/")[1] for name in site.files() if "contours" not in name]
    return sorted(len(list(group)) for _, group in itertools.groupby(sorted(scans)))


def reasons(site):
    return sorted(set(site.refused().values()))


@pytest.mark.parametrize("difference", ANOTHER)
@pytest.mark.parametrize("folder", ["A", "Z"], ids=["before", "behind"])
def test_images_of_two_people_in_one_delivery_are_nobodys(site, difference, folder):
    put(site, "M", 2)
    put(site, folder, 3, **ANOTHER[difference])
    site.take()
    assert held(site) == []
    assert reasons(site) == [SEVERAL_PEOPLE.format(patient=site.patient())]
    assert len(site.refused()) == 4


@pytest.mark.parametrize("difference", ANOTHER)
def test_images_of_another_person_that_come_later_are_refused(site, difference):
    put(site, "M", 2)
    site.take()
    put(site, "Z", 3, **ANOTHER[difference])
    put(site, "A", 4)
    site.take()
    assert held(site) == [2, 2]
    assert reasons(site) == [NOT_THE_SAME_PERSON.format(patient=site.patient())]


@pytest.mark.parametrize("difference", THE_SAME)
def test_one_person_is_written_in_several_ways(site, difference):
    put(site, "M", 2)
    put(site, "Z", 3, **THE_SAME[difference])
    site.take()
    assert (held(site), site.refused()) == ([2, 2], {})


def test_another_patient_of_the_delivery_is_not_concerned(site):
    put(site, "M", 2)
    put(site, "Z", 3, PatientBirthDate="19610823")
    put(site, "O", 4, PatientID="ZY0099999", PatientBirthDate="19550303")
    site.take()
    assert held(site) == [2]


def test_the_right_images_alone_settle_it(site):
    put(site, "M", 2)
    put(site, "Z", 3, PatientBirthDate="19610823")
    site.take()
    for k in range(2):
        (site.landing / f"dicom/Z/{k}.dcm").unlink()
    site.take()
    assert (held(site), site.refused()) == ([2], {})


def test_a_corrected_number_settles_it(site):
    put(site, "M", 2)
    put(site, "Z", 3, PatientBirthDate="19610823")
    site.take()
    put(site, "Z", 3, PatientBirthDate="19610823", PatientID="ZY0099999")
    site.take()
    assert (held(site), site.refused()) == ([2, 2], {})


def test_who_was_there_first_is_corrected_by_the_same_images_with_another_birth_date(site):
    put(site, "M", 2, PatientBirthDate="19610823")
    site.take()
    put(site, "Z", 3)
    site.take()
    assert held(site) == [2]
    put(site, "M", 2)
    site.take()
    assert (held(site), site.refused()) == ([2, 2], {})


@pytest.mark.parametrize("nights", [1, 2])
def test_the_hospital_confirms_that_it_is_one_person(site, nights):
    put(site, "M", 2)
    if nights == 2:
        site.take()
    put(site, "Z", 3, PatientBirthDate="19610823")
    site.take()
    confirm_person(site.vault, site.patient())
    site.take()
    assert (held(site), site.refused()) == ([2, 2], {})


def test_contours_under_the_number_of_another_person_are_refused(site):
    put(site, "M", 2)
    contours = rtstruct(series=f"{ROOT}.2", patient="ZY0012345")
    contours.PatientBirthDate, contours.PatientName = "19610823", "Zhao^Jianguo"
    site.put("dicom/RS.dcm", contours)
    site.take()
    assert held(site) == [2]
    assert reasons(site) == [NOT_THE_SAME_PERSON.format(patient=site.patient())]


def test_one_by_one_by_the_network_the_first_stays(tmp_path):
    site = pacs_site.Site(tmp_path)
    for number, changes in enumerate(({}, {"PatientBirthDate": "19610823", "PatientSex": "M"}, {})):
        image = ct(series=f"{ROOT}.{number + 2}", **SELF | changes)
        site.reception.take(image.SOPInstanceUID, to_bytes(image))
        site.reception.close()
    assert len(site.content()) == 2
    (reason,) = site.refused()
    assert reason.startswith(NOT_THE_SAME_PERSON.partition(":")[0])


def test_who_leaves_is_forgotten_here_too(site):
    put(site, "M", 2)
    put(site, "Z", 3, PatientBirthDate="19610823")
    site.take()
    patient = site.patient()
    remove_patient(site.vault, patient, crosswalk=site.crosswalk)
    content = (site.vault / "intake.sqlite").read_bytes()
    assert patient.encode() not in content


def test_no_statement_stands_in_the_register(site):
    put(site, "M", 2, PatientName="慕容^双燕=Murong^Shuangyan", SpecificCharacterSet="GB18030")
    site.take()
    content = (site.vault / "intake.sqlite").read_bytes().lower()
    for text in ("murong", "慕容", "19490511", "1949-05-11"):
        for encoding in ("utf-8", "gb18030", "utf-16-le"):
            assert text.encode(encoding) not in content


# ── the row of patients.csv ──

COLUMNS = "patient_id,name,birth_date,sex,age,stage\n"


def patients(site):
    return pl.read_parquet(site.vault / "case_report" / "patients.parquet").to_dicts()


def write_row(site, name="慕容双燕", born="1949-05-11", sex="F", age="", stage="IVA"):
    site.put("clinical/patients.csv", f"{COLUMNS}ZY0012345,{name},{born},{sex},{age},{stage}\n")


@pytest.mark.parametrize(
    ("row", "contradicting"),
    [
        ({"sex": "M"}, {"sex"}),
        ({"born": "1961-08-23"}, {"birth_date"}),
        ({"born": "", "age": "41"}, {"age"}),
        ({"born": "", "age": "75"}, set()),
        ({"born": "", "sex": ""}, set()),
    ],
    ids=["sex", "birth date", "age", "age that fits", "nothing to compare"],
)
def test_a_cell_that_contradicts_the_images_is_named(site, row, contradicting):
    put(site, "M", 2, PatientName="慕容^双燕", SpecificCharacterSet="GB18030")
    write_row(site, **row)
    site.take()
    named = {i.rpartition(" column ")[2] for i, r in site.refused().items() if r == CELL_OF_ANOTHER}
    assert named == contradicting
    (patient,) = patients(site)
    assert patient["stage"] == "IVA"
    assert patient["sex"] == (row.get("sex", "F") or None)


@pytest.mark.parametrize(
    "row",
    [
        {"name": "赵建国", "born": "1961-08-23", "sex": "M"},
        {"name": "", "born": "1961-08-23", "sex": "M"},
        {"name": "赵建国", "born": "", "sex": "M"},
        {"name": "", "born": "", "sex": "M", "age": "41"},
    ],
    ids=["everything", "birth date and sex", "name and sex", "sex and age"],
)
def test_a_row_of_another_person_is_left_out_and_what_hangs_on_its_number(site, row):
    put(site, "M", 2, PatientName="慕容^双燕", SpecificCharacterSet="GB18030")
    write_row(site, **row)
    site.put("clinical/treatments.csv", "patient_id,cycle,date,drugs\nZY0012345,1,2024-01-12,x\n")
    site.take()
    found = site.refused()
    assert any(reason.startswith("names another person") for reason in found.values())
    assert NUMBER_OF_ANOTHER in found.values()
    (patient,) = patients(site)
    assert (patient["in_case_report"], patient["stage"], patient["sex"]) == (False, None, None)
    assert pl.read_parquet(site.vault / "case_report" / "treatments.parquet").is_empty()
    assert not any(word in "".join(found.values()) for word in ("赵", "1961", "慕容"))


def test_a_row_is_compared_again_when_images_come_and_no_more_once_it_is_confirmed(site):
    write_row(site, sex="M")
    site.take()
    assert CELL_OF_ANOTHER not in site.refused().values()
    put(site, "M", 2)
    site.take()
    assert CELL_OF_ANOTHER in site.refused().values()
    confirm_person(site.vault, site.patient())
    site.take()
    assert CELL_OF_ANOTHER not in site.refused().values()


def test_every_reason_is_shown_in_chinese():
    for reason in (NOT_THE_SAME_PERSON, SEVERAL_PEOPLE, CELL_OF_ANOTHER, NUMBER_OF_ANOTHER):
        shown = chinese_reason(reason.format(patient="BJCH-GJ3A"))
        for kept in ("lakehouse keys confirm BJCH-GJ3A", "patients.csv"):
            shown = shown.replace(kept, "")
        assert not shown.isascii()
        assert not re.search("[a-z]", shown), shown


# ── the comparison itself ──


def test_a_statement_survives_the_register():
    said = state(KEYS, "AB-1", name="ZHANG^SAN=张^三", birth_date="19600315", sex="F", age="064Y")
    assert Statement.of_stored(said.stored()) == said


def test_the_same_words_of_two_patients_have_other_digests():
    one, other = (state(KEYS, p, name="ZHANG^SAN", birth_date="19600315") for p in ("AB-1", "AB-2"))
    assert not set(one.wholes) & set(other.wholes)
    assert one.birth_date != other.birth_date


def test_the_comparison_has_no_order():
    facts = [
        {"name": n, "birth_date": b, "sex": s, "age": a}
        for n, b, s, a in itertools.product(
            ("", "Li^Na", "Li^Wei", "李娜"),
            ("", "19600315", "19700920"),
            ("", "M", "F"),
            ("", "050Y", "064Y"),
        )
    ]
    said = [state(KEYS, "AB-1", **one) for one in facts]
    for one, other in itertools.combinations(said, 2):
        assert are_two_people(one, other) == are_two_people(other, one)
        assert not are_two_people(one, one)

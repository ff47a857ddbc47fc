"""The case report becomes typed, shifted tables under pseudonyms.

What is wrong in it is named by row and column.
"""

import datetime as dt

import polars as pl
import pytest

from dagster_project.intake.case_report.case_report import LESIONS_SCHEMA, build_tables, read_people
from dagster_project.intake.dicom.dicom_writer import keyed_uid
from dagster_project.intake.identity.keys import create_throwaway_medium, unlock
from dagster_project.intake.identity.pseudonyms import Crosswalk, shift_days
from dagster_project.lake.schema import polars_schema
from dagster_project.lake.tables import (
    CONTRADICTORY,
    FOLLOW_UP,
    PATIENTS,
    RECONCILIATION,
    TREATMENTS,
)
from tests.intake.builders import session

HEADER = (
    "patient_id,name,sex,birth_date,smoking,ecog,stage,histology,egfr,alk,pd_l1_tps,"
    "line,regimen,prior_malignancy,organ_dysfunction,target_radiotherapy,consent"
)
ROW = (
    "001,Murong Shuangyan,F,1949-05-11,former,1,ⅢB,腺癌,-,阴性,50%,"
    "一线,帕博利珠单抗+培美曲塞+卡铂,无,no,否,given"
)


class Site:
    """A landing of CSV files and what becomes of it."""

    def __init__(self, folder):
        self.folder, self.root = folder / "AB", folder
        self.keys = unlock(create_throwaway_medium(folder / "keys"))
        self.crosswalk = Crosswalk(folder / "crosswalk.sqlite", self.keys)
        self.vault_patients, self.image_numbers = {}, {}
        self.changes = {}

    def put(self, name, *lines, encoding="utf-8"):
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes("\n".join(lines).encode(encoding))
        return self

    def patients(self, *rows, header=HEADER):
        return self.put("clinical/patients.csv", header, *rows)

    def build(self, *, simulated=False):
        self.folder.mkdir(exist_ok=True)
        people = read_people(self.folder, "AB", self.crosswalk)
        withdrawn = frozenset(people.withdrawn) | self.crosswalk.withdrawn("AB")
        held_out = {"withdrawn": withdrawn, "unclear": frozenset(people.unclear) - withdrawn}
        tables = build_tables(
            self.folder,
            session(self.root, **{"keys": self.keys, **held_out, **self.changes}),
            self.crosswalk,
            people,
            self.vault_patients,
            simulated=simulated,
            image_numbers=self.image_numbers,
        )
        self.refusals = {r.item: r.reason for r in tables.refusals}
        return tables.frames

    def patient(self, number="001"):
        return self.crosswalk.find("AB", number)

    def shift(self, date, number="001"):
        return dt.date.fromisoformat(date) + dt.timedelta(
            days=shift_days(self.keys, self.patient(number))
        )


@pytest.fixture
def site(tmp_path):
    return Site(tmp_path)


def test_a_patient_in_the_words_of_a_hospital(site):
    site.patients(ROW).put(
        "clinical/treatments.csv", "patient_id,cycle,date,drugs", "001,1,2024-01-05,帕博利珠单抗"
    )
    (row,) = site.build()["patients"].to_dicts()
    assert site.refusals == {}
    assert row == {
        "site": "AB",
        "patient": site.patient(),
        "sex": "F",
        "age_years": 74,
        "smoking": "former",
        "ecog": 1,
        "stage": "IIIB",
        "histology": "adenocarcinoma",
        "egfr": "wild_type",
        "alk": "negative",
        "pd_l1_tps": 50.0,
        "line": 1,
        "regimen": "pembrolizumab+pemetrexed+carboplatin",
        "prior_malignancy": False,
        "organ_dysfunction": False,
        "target_radiotherapy": False,
        "consent": "given",
        "in_case_report": True,
        "simulated": False,
    }


def test_a_chinese_form_in_gb18030_says_the_same_as_an_english_one(site, tmp_path):
    header = (
        "住院号;姓名;性别;出生日期;吸烟史;ECOG评分;临床分期;"
        "病理类型;EGFR;ALK;PD-L1表达;治疗线数;"
        "治疗方案;既往恶性肿瘤;脏器功能不全;靶病灶放疗史;知情同意"
    )
    row = (
        "1;慕容霜砚;女;1949年5月11日;已戒烟;1分;3B期;肺腺癌;"
        "野生型;阴性;50%;一线;K药联合培美曲塞、卡铂;无;无;无;已签署"
    )
    english = site.patients(ROW).build()["patients"]
    chinese = site.put("clinical/patients.csv", header, row, encoding="gb18030").build()["patients"]
    assert site.refusals == {}
    assert chinese.equals(english)


def test_frames_have_the_columns_of_the_schema(site):
    frames = site.patients(ROW).build()
    for table in (PATIENTS, TREATMENTS, FOLLOW_UP, RECONCILIATION):
        assert dict(frames[table.name].schema) == {
            n: t for n, t in polars_schema(table).items() if n != "input_fingerprint"
        }
    assert dict(frames["lesions"].schema) == dict(LESIONS_SCHEMA)
    assert frames.keys() == {
        "patients",
        "treatments",
        "follow_up",
        "clinical_status",
        "lesions",
        "locks",
        "arbitrations",
        "board_decisions",
        "reconciliation",
    }


def test_every_normalised_value_is_allowed_by_the_schema():
    from dagster_project.lake.vocabulary import load_vocabulary

    for table, columns in (
        (PATIENTS, ("sex", "smoking", "histology", "egfr", "alk", "consent")),
        (FOLLOW_UP, ("event",)),
    ):
        for column in columns:
            assert set(load_vocabulary().values[column].values()) == set(
                table.column(column).allowed
            ) - {CONTRADICTORY}


def test_no_rows_and_no_file_are_empty_tables(site):
    assert all(frame.height == 0 for frame in site.build().values())
    assert all(frame.height == 0 for frame in site.patients().build().values())


# ── dates ──


def test_dates_are_shifted_days_count_from_cycle_1_and_intervals_stay(site):
    site.patients(ROW, ROW.replace("001", "002"))
    site.put(
        "clinical/treatments.csv",
        "patient_id,cycle,date,drugs",
        "001,2,2024-01-26,卡铂",
        "001,1,2024/1/5,卡铂",
        "002,1,20240301,carboplatin",
    )
    site.put(
        "clinical/follow_up.csv",
        "patient_id,date,event,detail",
        "001,2024年6月1日,死亡,肺癌",
        "002,2024-02-01,alive,",
    )
    frames = site.build()
    treatments = {(r["patient"], r["cycle"]): r for r in frames["treatments"].to_dicts()}
    assert treatments[site.patient(), 1]["treatment_date"] == site.shift("2024-01-05")
    assert [treatments[site.patient(), cycle]["day"] for cycle in (1, 2)] == [0, 21]
    events = {r["patient"]: r for r in frames["follow_up"].to_dicts()}
    assert (
        events[site.patient()]["day"],
        events[site.patient()]["event"],
        events[site.patient()]["detail"],
    ) == (148, "death", "tumour")
    assert events[site.patient("002")]["day"] == -29
    assert events[site.patient()]["event_date"] == site.shift("2024-06-01")


def test_without_cycle_1_there_is_no_day_and_the_given_age_stands(site):
    header = HEADER.replace("birth_date", "age")
    site.patients(ROW.replace("1949-05-11", "95岁"), header=header).put(
        "clinical/treatments.csv", "patient_id,cycle,date", "001,2,2024-01-26"
    )
    frames = site.build()
    assert frames["treatments"]["day"].to_list() == [None]
    assert frames["patients"]["age_years"].to_list() == [90]


@pytest.mark.parametrize(
    ("born", "age"),
    [
        ("1934-01-05", 90),
        ("1934-01-06", 89),
        ("1900-05-05", None),
        ("1920-01-01", 90),
        ("2030-01-01", None),
    ],
)
def test_age_at_cycle_1_is_whole_years_and_above_89_it_is_90(site, born, age):
    site.patients(ROW.replace("1949-05-11", born)).put(
        "clinical/treatments.csv", "patient_id,cycle,date", "001,1,2024-01-05"
    )
    assert site.build()["patients"]["age_years"].to_list() == [age]
    assert ("clinical/patients.csv row 2 column birth_date" in site.refusals) == (age is None)


# ── patient numbers as spreadsheets leave them ──


def test_a_number_that_lost_digits_is_refused_in_every_table_and_never_joins_two_people(site):
    site.patients(
        "3.30102E+11,F", "3.30102E+11,M", "330102198801011000,F", "001,F", header="patient_id,sex"
    )
    site.put("clinical/treatments.csv", "patient_id,cycle,date", "3.30102e11,1,2024-01-05")
    site.put(
        "reads/R1/lesions.csv",
        "patient_id,visit_date,lesion,role",
        "330102198801011000,2024-01-05,L1,target",
    )
    frames = site.build()
    assert frames["patients"].height == 1
    assert "scientific notation" in site.refusals["clinical/treatments.csv row 2 column patient_id"]
    assert all(
        "15th digit" in site.refusals[place]
        for place in (
            "clinical/patients.csv row 4 column patient_id",
            "reads/R1/lesions.csv row 2 column patient_id",
        )
    )


def test_sixteen_digits_may_end_in_a_zero_where_the_file_keeps_such_digits(site):
    assert (
        site.patients("1234567890123450,F", "1234567890123457,F", header="patient_id,sex")
        .build()["patients"]
        .height
        == 2
    )
    assert (
        site.patients("1234567890123460,F", header="patient_id,sex").build()["patients"].height == 0
    )


def test_a_row_of_totals_is_no_patient(site):
    assert (
        site.patients("001,F", "合计：1,", "不详,M", header="patient_id,sex")
        .build()["patients"]
        .height
        == 1
    )


# ── units and cells ──

COLUMNS = [
    "sex",
    "birth_date",
    "age",
    "ecog",
    "stage",
    "histology",
    "egfr",
    "pd_l1_tps",
    "line",
    "consent",
]
PLAIN = dict(
    sex="F",
    birth_date="1961-04-09",
    age="",
    ecog="1",
    stage="IIIB",
    histology="adenocarcinoma",
    egfr="wild_type",
    pd_l1_tps="35",
    line="1",
    consent="given",
)
# what a cell says, and what becomes of it: the value, or None where it is refused by row and column
TRAPS = [
    ("pd_l1_tps", "0.8", None),
    ("pd_l1_tps", "80%", 80),
    ("birth_date", "22000", None),
    ("birth_date", "1961.4.9", 62),
    ("birth_date", "61/4/9", None),
    ("birth_date", "4/9/1961", None),
    ("birth_date", "19610409.0", 62),
    ("birth_date", "1961年4月", None),
    ("sex", "1", None),
    ("sex", "0", None),
    ("ecog", "1-2", None),
    ("age", "63.9", 63),
    ("stage", "ⅢB/ⅣA", None),
    ("egfr", "19del/T790M", "mutant"),
    ("pd_l1_tps", "CPS 10", None),
    ("pd_l1_tps", "1~49%", None),
    ("age", "１，０６３", None),
    ("line", "2", 2),
    ("consent", "1", None),
    ("consent", "否", None),
    ("pd_l1_tps", "-", None),
    ("histology", "腺癌，低分化", "adenocarcinoma"),
    ("pd_l1_tps", "0", 0),
    ("age", "8月", None),
    ("age", "63岁8个月", 63),
    ("birth_date", "1900-01-01", None),
    ("birth_date", "9999-12-31", None),
    ("pd_l1_tps", "1", None),
    ("ecog", "1.0", 1),
    ("egfr", "#N/A", None),
]


def test_every_trap_of_a_cell_is_what_it_says_or_refused_by_row_and_column(site):
    cells = [
        {**PLAIN, **({"birth_date": ""} if column == "age" else {}), column: text}
        for column, text, _ in TRAPS
    ]
    site.patients(
        *(",".join([f"9{n:03}", *(f'"{row[c]}"' for c in COLUMNS)]) for n, row in enumerate(cells)),
        header=",".join(["patient_id", *COLUMNS]),
    )
    site.put(
        "clinical/treatments.csv",
        "patient_id,cycle,date",
        *(f"9{n:03},1,2024-01-10" for n in range(len(cells))),
    )
    rows = {r["patient"]: r for r in site.build()["patients"].to_dicts()}
    for number, (column, _, value) in enumerate(TRAPS):
        stored = "age_years" if column in {"age", "birth_date"} else column
        assert rows[site.patient(f"9{number:03}")][stored] == value, (column, number)
        assert (f"clinical/patients.csv row {number + 2} column {column}" in site.refusals) == (
            value is None
        ), (column, number)


@pytest.mark.parametrize(
    ("header", "size"),
    [
        ("最长径(cm)", 34.5),
        ("longest diameter [cm]", 34.5),
        ("ld_cm", 34.5),
        ("最长径（厘米）", 34.5),
        ("最长径cm", 34.5),
        ("LD (mm)", 3.45),
        ("最长径", 3.45),
        ("LD (inch)", None),
        ("LD (px)", None),
        ("最长径(第6周)", None),
    ],
)
def test_the_unit_of_a_header_counts_and_another_one_leaves_the_column_out(site, header, size):
    site.patients(ROW).put(
        "reads/R1/lesions.csv",
        f"patient_id,visit_date,lesion,role,{header}",
        "001,2024-01-05,L1,target,3.45",
    )
    assert site.build()["lesions"]["ld_mm"].to_list() == [size]
    assert ("reads/R1/lesions.csv header 5" in site.refusals) == (size is None)


@pytest.mark.parametrize(
    ("header", "sizes", "stored"),
    [
        ("ld_mm", ("3.45", "2.1"), [None, None]),
        ("最长径", ("3.45", "2.1"), [None, None]),
        ("最长径(mm)", ("3.45", "2.1"), [3.45, 2.1]),
        ("最长径(cm)", ("3.45", "2.1"), [34.5, 21]),
        ("ld_mm", ("34.5", "2.1"), [34.5, 2.1]),
        ("ld_mm", ("3.45", "2.1 cm"), [3.45, 21]),
    ],
)
def test_a_column_of_small_diameters_has_to_state_its_unit(site, header, sizes, stored):
    rows = [f"001,2024-0{n}-05,L1,target,{size}" for n, size in enumerate(sizes, start=1)]
    frames = (
        site.patients(ROW)
        .put("reads/R1/lesions.csv", f"patient_id,visit_date,lesion,role,{header}", *rows)
        .build()
    )
    assert frames["lesions"].sort("row_number")["ld_mm"].to_list() == stored


def test_an_age_in_months_is_refused_by_its_header(site):
    assert site.patients("001,756", header="patient_id,年龄(月)").build()["patients"][
        "age_years"
    ].to_list() == [None]
    assert "clinical/patients.csv header 2" in site.refusals


def test_codes_of_sex_are_read_where_the_column_has_1_and_2_alone(site):
    assert set(
        site.patients("001,1", "002,2", header="patient_id,sex").build()["patients"]["sex"]
    ) == {"M", "F"}
    assert set(
        site.patients("001,1", "002,0", header="patient_id,sex").build()["patients"]["sex"]
    ) == {None}


# ── faults ──


def test_a_cell_that_is_not_understood_is_null_and_named_and_the_rest_stands(site):
    site.patients(
        ROW.replace("ⅢB", "very late")
        .replace("1949-05-11", "11/05/1949")
        .replace(",former,", ",yes,"),
        ROW.replace("001", "002"),
    )
    first, second = site.build()["patients"].sort("stage", nulls_last=False).to_dicts()
    assert (first["stage"], first["age_years"], first["smoking"], first["sex"]) == (
        None,
        None,
        None,
        "F",
    )
    assert second["stage"] == "IIIB"
    assert site.refusals.keys() == {
        f"clinical/patients.csv row 2 column {c}" for c in ("stage", "birth_date", "smoking")
    }
    assert not any(
        value in reason
        for reason in site.refusals.values()
        for value in ("very late", "11/05/1949")
    )


def test_a_drug_that_is_not_in_the_dictionary_is_left_out_and_named_by_place(site):
    site.patients(ROW.replace("+卡铂", "+慕容散"))
    assert site.build()["patients"]["regimen"].to_list() == ["pembrolizumab+pemetrexed"]
    assert list(site.refusals) == ["clinical/patients.csv row 2 column regimen"]


def test_the_same_row_twice_is_one_patient_without_a_word(site):
    assert site.patients(ROW, ROW.replace("001", "01")).build()["patients"].height == 1
    assert site.refusals == {}


def test_contradicting_rows_of_one_number_leave_out_what_they_disagree_on(site):
    site.patients(ROW, ROW.replace(",former,1,", ",former,2,"))
    (row,) = site.build()["patients"].to_dicts()
    assert (row["ecog"], row["stage"]) == (None, "IIIB")
    assert "contradicts row 2" in site.refusals["clinical/patients.csv row 3"]
    assert "(ecog)" in site.refusals["clinical/patients.csv row 3"]


def test_a_second_row_fills_what_the_first_leaves_blank_and_never_what_was_refused(site):
    site.patients(
        "001,F,,1", "001,,IIIB,", "001,F,IIIB,2", "001,,,1", header="patient_id,sex,stage,ecog"
    )
    (row,) = site.build()["patients"].to_dicts()
    assert (row["sex"], row["stage"], row["ecog"]) == ("F", "IIIB", None)
    assert site.refusals.keys() == {"clinical/patients.csv row 4"}
    site.patients("001,F,stage four", "001,F,IIIB", header="patient_id,sex,stage")
    assert site.build()["patients"]["stage"].to_list() == [None]


def test_consent_that_only_a_second_row_withdraws_is_withdrawn(site):
    site.patients("001,F,", "001,F,withdrawn", header="patient_id,sex,consent")
    assert site.build()["patients"]["consent"].to_list() == ["withdrawn"]


@pytest.mark.parametrize(
    "rows",
    [
        ("given", "withdrawn"),
        ("withdrawn", "given"),
        ("given", "withdrawn", "withdrawn"),
        ("withdrawn", "", "given"),
        ("perhaps", "withdrawn"),
        ("given", "撤回同意"),
        ("", "given", "withdrawn", "given"),
    ],
)
def test_who_withdrew_in_one_row_and_not_in_another_is_held_out_in_whatever_order(site, rows):
    site.patients(
        *(f"001,F,IIIB,{consent}" for consent in rows),
        "002,M,IV,given",
        header="patient_id,sex,stage,consent",
    )
    site.put(
        "clinical/treatments.csv", "patient_id,cycle,date", "001,1,2024-01-05", "002,1,2024-01-05"
    )
    frames = site.build()
    row = frames["patients"].filter(patient=site.patient()).row(0, named=True)
    assert {k: v for k, v in row.items() if v is not None} == {
        "site": "AB",
        "patient": site.patient(),
        "consent": CONTRADICTORY,
        "in_case_report": True,
        "simulated": False,
    }
    assert frames["treatments"]["patient"].to_list() == [site.patient("002")]
    assert frames["patients"].filter(patient=site.patient("002"))["consent"].item() == "given"
    named = {item for item, reason in site.refusals.items() if "lakehouse withdraw" in reason}
    assert len(named) == 1
    assert named.pop().endswith("column consent")


def test_consent_that_all_rows_state_alike_is_no_contradiction(site):
    site.patients(
        "001,given", "001,", "001,given", "002,withdrawn", "002,", header="patient_id,consent"
    )
    assert site.build()["patients"].sort("consent")["consent"].to_list() == ["given", "withdrawn"]
    assert site.refusals == {}


def test_two_people_under_one_number_have_no_age(site):
    site.patients(ROW, ROW.replace("Murong Shuangyan", "Sima Luo")).put(
        "clinical/treatments.csv", "patient_id,cycle,date", "001,1,2024-01-05"
    )
    assert site.build()["patients"]["age_years"].to_list() == [None]
    assert "Sima" not in str(site.refusals)


def test_a_cycle_with_two_dates_stays_on_an_unknown_day_and_both_cells_are_named(site):
    site.patients(ROW)
    site.put(
        "clinical/treatments.csv",
        "patient_id,cycle,date,drugs",
        "001,1,2024-01-05,卡铂",
        "001,1,2024-01-05,卡铂",
        "001,1,2024-01-06,卡铂",
    )
    assert site.build()["treatments"].select("cycle", "treatment_date", "day", "drugs").rows() == [
        (1, None, None, "carboplatin")
    ]
    assert list(site.refusals) == [
        f"clinical/treatments.csv row {n} column date" for n in (2, 3, 4)
    ]


def test_what_two_rows_of_a_cycle_say_differently_is_left_out_and_named(site):
    site.patients(ROW).put(
        "clinical/treatments.csv",
        "patient_id,cycle,date,drugs",
        "001,1,2024-01-05,卡铂",
        "001,1,2024-01-05,紫杉醇",
        "001,2,2024-01-26,",
        "001,2,2024-01-26,卡铂",
    )
    assert site.build()["treatments"].select("day", "drugs").rows() == [
        (0, None),
        (21, "carboplatin"),
    ]
    assert list(site.refusals) == ["clinical/treatments.csv row 3 column drugs"]


def test_a_cycle_without_a_date_is_one_on_an_unknown_day(site):
    site.patients(ROW).put(
        "clinical/treatments.csv",
        "patient_id,cycle,date",
        "001,1,2024-01-05",
        "001,2,",
        "001,3,2024-02",
    )
    assert site.build()["treatments"].select("cycle", "day").rows() == [
        (1, 0),
        (2, None),
        (3, None),
    ]
    assert (
        "is missing; the row counts as one on a day that is not known"
        in site.refusals["clinical/treatments.csv row 3 column date"]
    )
    assert "is not a whole date" in site.refusals["clinical/treatments.csv row 4 column date"]


def test_no_other_cycle_is_day_0_where_cycle_1_has_no_row(site):
    site.patients(ROW).put(
        "clinical/treatments.csv", "patient_id,cycle,date", "001,3,2024-02-16", "001,2,2024-01-26"
    )
    assert site.build()["treatments"]["day"].to_list() == [None, None]
    assert "add the row" in site.refusals["clinical/treatments.csv row 3"]


def test_a_cycle_that_was_left_out_is_named_at_the_next_one(site):
    site.patients(ROW).put(
        "clinical/treatments.csv",
        "patient_id,cycle,date",
        "001,1,2024-01-05",
        "001,2,2024-01-26",
        "001,4,2024-03-08",
    )
    assert site.build()["treatments"]["day"].to_list() == [0, 21, 63]
    assert "(cycle 3)" in site.refusals["clinical/treatments.csv row 4"]


def test_a_death_without_a_date_stays_a_death_and_a_contact_without_one_is_nothing(site):
    site.patients(ROW).put("clinical/treatments.csv", "patient_id,cycle,date", "001,1,2024-01-05")
    site.put("clinical/follow_up.csv", "patient_id,date,event", "001,2024-06,death", "001,,alive")
    assert site.build()["follow_up"].select("event", "event_date", "day").rows() == [
        ("death", None, None)
    ]
    assert set(site.refusals) == {f"clinical/follow_up.csv row {n} column date" for n in (2, 3)}


def test_dates_after_the_cut_off_are_refused_wherever_they_stand(site):
    site.changes = {"cut_off": dt.date(2024, 6, 30)}
    site.patients(ROW.replace("1949-05-11", "2024-07-01")).put(
        "clinical/treatments.csv", "patient_id,cycle,date", "001,1,2024-06-30", "001,2,2024-07-01"
    )
    site.put("clinical/follow_up.csv", "patient_id,date,event", "001,2062-02-01,alive")
    site.put(
        "reads/R1/lesions.csv",
        "patient_id,visit_date,lesion,role",
        "001,2024-07-01,L1,target",
        "001,2024-06-30,L2,target",
    )
    frames = site.build()
    assert frames["treatments"]["day"].to_list() == [0, None]
    assert (
        frames["follow_up"].height,
        frames["patients"]["age_years"].to_list(),
        frames["lesions"]["lesion"].to_list(),
    ) == (0, [None], ["L2"])
    assert set(site.refusals.values()) == {"lies after the data cut-off; correct the date"}
    assert len(site.refusals) == 4


def test_an_age_that_contradicts_the_birth_date_is_not_known(site):
    site.patients(ROW + ",63", header=HEADER + ",age").put(
        "clinical/treatments.csv", "patient_id,cycle,date", "001,1,2024-01-05"
    )
    assert site.build()["patients"]["age_years"].to_list() == [None]
    assert set(site.refusals) == {
        f"clinical/patients.csv row 2 column {c}" for c in ("birth_date", "age")
    }


def test_rows_without_what_they_need_are_left_out_and_named_once(site):
    site.patients(ROW, ",x,F" + "," * 14)
    site.put(
        "clinical/treatments.csv",
        "patient_id,cycle,date,drugs",
        "001,,2024-01-05,卡铂",
        "001,two,2024-01-05,卡铂",
        ",1,2024-01-05,卡铂",
        "999,1,2024-01-05,卡铂",
    )
    site.put(
        "clinical/follow_up.csv",
        "patient_id,date,event",
        "001,2024-13-45,alive",
        "001,2024-06-01,moved to Ouyang",
    )
    frames = site.build()
    assert (frames["treatments"].height, frames["follow_up"].height, frames["patients"].height) == (
        0,
        0,
        1,
    )
    assert set(site.refusals) == {
        "clinical/patients.csv row 3 column patient_id",
        "clinical/treatments.csv row 2 column cycle",
        "clinical/treatments.csv row 3 column cycle",
        "clinical/treatments.csv row 4 column patient_id",
        "clinical/treatments.csv row 5 column patient_id",
        "clinical/follow_up.csv row 2 column date",
        "clinical/follow_up.csv row 3 column event",
    }
    assert "Ouyang" not in str(site.refusals)


def test_a_file_that_cannot_be_decoded_does_not_stop_the_others(site):
    site.patients(ROW).put(
        "clinical/follow_up.csv", "patient_id,date,event", "001,2024-06-01,alive"
    )
    (site.folder / "clinical" / "treatments.csv").write_bytes(b"patient_id,cycle\n\xff\xff")
    frames = site.build()
    assert (frames["patients"].height, frames["treatments"].height, frames["follow_up"].height) == (
        1,
        0,
        1,
    )
    assert list(site.refusals) == ["clinical/treatments.csv"]


# ── who ──


def test_a_patient_with_images_alone_has_a_row_of_nulls(site):
    other = site.crosswalk.find_or_create("AB", "777")
    site.vault_patients = {other: 3}
    rows = {
        r["patient"]: r
        for r in site.patients(ROW)
        .put("clinical/treatments.csv", "patient_id,cycle,date", "777,1,2024-01-05")
        .build()["patients"]
        .to_dicts()
    }
    assert rows[site.patient()]["in_case_report"]
    assert {k: v for k, v in rows[other].items() if v is not None} == {
        "site": "AB",
        "patient": other,
        "in_case_report": False,
        "simulated": False,
    }
    assert site.refusals == {}


def test_who_withdrew_keeps_the_row_that_says_so_and_nothing_else(site):
    site.patients(ROW.replace(",given", ",撤回"), ROW.replace("001", "002"))
    site.put(
        "clinical/treatments.csv", "patient_id,cycle,date", "001,1,2024-01-05", "002,1,2024-01-05"
    )
    frames = site.build()
    gone = frames["patients"].filter(pl.col("patient") == site.patient()).to_dicts()[0]
    assert {k: v for k, v in gone.items() if v is not None} == {
        "site": "AB",
        "patient": site.patient(),
        "consent": "withdrawn",
        "in_case_report": True,
        "simulated": False,
    }
    assert frames["treatments"]["patient"].to_list() == [site.patient("002")]


def test_who_was_withdrawn_by_command_is_counted_by_a_mark_alone_and_not_sealed_again(
    site, tmp_path
):
    site.patients(ROW).build()
    site.crosswalk.withdraw(site.patient())
    (row,) = site.build()["patients"].to_dicts()
    assert {k: v for k, v in row.items() if v is not None} == {
        "site": "AB",
        "patient": site.patient(),
        "consent": "withdrawn",
        "in_case_report": True,
        "simulated": False,
    }
    import sqlite3

    with sqlite3.connect(tmp_path / "crosswalk.sqlite") as connection:
        assert connection.execute("SELECT count(*) FROM sealed").fetchone() == (0,)


def test_what_identifies_a_row_is_searched_for_and_nothing_of_it_is_in_a_table(site):
    people = read_people(site.patients(ROW).folder, "AB", site.crosswalk)
    assert b"shuangyan" in people.needles[site.patient()].words
    assert b"19490511" in people.needles[site.patient()].numbers
    text = str([frame.to_dicts() for frame in site.build(simulated=True).values()])
    assert not any(secret in text for secret in ("Murong", "1949", "'001'"))
    assert "'simulated': True" in text


def test_whom_rows_and_images_do_not_name_alike(site):
    site.patients(ROW.replace("001", "1234567"), ROW.replace("001", "2222222"))
    other = site.crosswalk.find_or_create("AB", "1234576")
    site.vault_patients, site.image_numbers = {other: 2}, {other: "1234576"}
    site.put(
        "clinical/treatments.csv",
        "patient_id,cycle,date",
        "2222223,1,2024-01-05",
        "2222223,2,2024-01-26",
        "1234576,1,2024-01-05",
    )
    site.put("reads/R1/lesions.csv", LESIONS, "9999999,2024-01-05,L1,target,lung,,,,20,,,,,")
    found = site.build()["reconciliation"].to_dicts()
    first, second = site.patient("1234567"), site.patient("2222222")
    assert {(r["patient"], r["finding"], r["item"], r["other_patient"]) for r in found} == {
        (first, "row_without_images", "clinical/patients.csv row 2", other),
        (second, "row_without_images", "clinical/patients.csv row 3", "*"),
        (other, "images_without_row", "2 files of images and contours", first),
        ("*", "rows_of_nobody", "clinical/treatments.csv row 2 and 1 more", second),
        ("*", "rows_of_nobody", "reads/R1/lesions.csv row 2", "*"),
    }
    assert not any(
        number in str(found) for number in ("1234567", "1234576", "2222222", "2222223", "9999999")
    )


# ── reads ──

LESIONS = (
    "patient_id,visit_date,lesion,role,organ,node,present,too_small,"
    "ld_mm,sa_mm,nontarget_state,unequivocal,roi,artifact"
)


def test_lesions_as_a_reader_judged_them(site):
    site.patients(ROW).put(
        "reads/R1/lesions.csv",
        LESIONS,
        "001,2024-01-05,L1,靶病灶,右肺,n,y,n,21.5,12,,,GTV-L1,n",
        "001,2024-01-05,GTV Murong,非靶,淋巴结,,,,,,非CR/非PD,,,",
    )
    first, second = site.build()["lesions"].to_dicts()
    assert first == {
        "site": "AB",
        "patient": site.patient(),
        "reader": "R1",
        "series_instance_uid": None,
        "visit_date": site.shift("2024-01-05"),
        "lesion": "L1",
        "role": "target",
        "organ": "lung",
        "node": False,
        "present": True,
        "too_small": False,
        "ld_mm": 21.5,
        "sa_mm": 12.0,
        "nontarget_state": None,
        "unequivocal": None,
        "artifact": False,
        "roi": "GTV-L1",
        "row_number": 2,
        "simulated": False,
    }
    assert (
        second["role"],
        second["organ"],
        second["node"],
        second["present"],
        second["nontarget_state"],
    ) == ("non_target", "lymph_node", True, True, "NON_CR_NON_PD")
    assert second["lesion"].startswith("lesion_")


def two_rows(site, first, second):
    """Lesions of two rows of one lesion and visit."""
    cells = "001,2024-01-05,L1,target,{organ},,{present},,{ld},{sa},,,,"
    usual = {"organ": "lung", "present": "", "ld": "", "sa": ""}
    site.patients(ROW).put(
        "reads/R1/lesions.csv",
        LESIONS,
        *(cells.format(**{**usual, **row}) for row in (first, second)),
    )
    return site.build()["lesions"].to_dicts()


def test_what_two_rows_of_a_lesion_say_differently_is_left_out(site):
    (row,) = two_rows(site, {"ld": "12", "sa": "9"}, {"ld": "18", "sa": "9"})
    assert (row["ld_mm"], row["sa_mm"], row["row_number"]) == (None, 9.0, 2)
    assert {item: reason.partition(";")[0] for item, reason in site.refusals.items()} == {
        f"reads/R1/lesions.csv row {own} column ld_mm": f"contradicts reads/R1/lesions.csv row {o}"
        for own, o in ((2, 3), (3, 2))
    }


def test_a_second_row_of_a_lesion_fills_what_the_first_leaves_blank(site):
    (row,) = two_rows(site, {"ld": "12"}, {"sa": "9"})
    assert (row["ld_mm"], row["sa_mm"], site.refusals) == (12.0, 9.0, {})


def test_rows_of_a_lesion_in_two_organs_are_left_out(site):
    assert two_rows(site, {"ld": "12"}, {"ld": "12", "organ": "lymph_node"}) == []
    assert set(site.refusals) == {f"reads/R1/lesions.csv row {n}" for n in (2, 3)}


@pytest.mark.parametrize(("second", "accepted"), [("R2", ["R2"]), ("R1", [])])
def test_of_two_unlike_decisions_of_arbiters_none_counts(site, second, accepted):
    header = "patient_id,accepted_reader,arbiter,decided_at"
    site.patients(ROW).put("arbitration/a.csv", header, "001,R2,A1,2026-01-13T10:00:00Z")
    site.put("arbitration/b.csv", header, f"001,{second},A2,2026-01-14T10:00:00Z")
    assert site.build()["arbitrations"]["accepted_reader"].to_list() == accepted
    assert len(site.refusals) == 2 * (not accepted)


def test_a_lesion_by_its_series(site):
    site.patients(ROW, ROW.replace("001", "002")).build()
    series = {uid: keyed_uid(uid, site.keys.uid) for uid in ("1.2.3", "1.2.4")}
    site.changes = {
        "series_patients": {series["1.2.3"]: site.patient(), series["1.2.4"]: site.patient("002")}
    }
    site.put(
        "reads/R1/lesions.csv",
        "patient_id,series_uid,lesion,role",
        "001,1.2.3,L1,target",
        "001,1.2.4,L1,target",
        "001,,L2,target",
        "001,1.2.3,L3,",
    )
    lesions = site.build()["lesions"]
    assert lesions["series_instance_uid"].to_list() == [series["1.2.3"]]
    assert set(site.refusals) == {
        "reads/R1/lesions.csv row 3 column series_uid",
        "reads/R1/lesions.csv row 4",
        "reads/R1/lesions.csv row 5 column role",
    }


def test_locks_and_decisions(site):
    first = (
        site.patients(ROW)
        .put("reads/R1/LOCKED", "2026-01-12T08:30:00+08:00")
        .put("reads/R2/LOCKED", "soon")
        .build()
    )
    assert first["locks"].to_dicts() == [
        {"site": "AB", "reader": "R1", "locked_at": dt.datetime(2026, 1, 12, 0, 30, tzinfo=dt.UTC)}
    ]
    assert list(site.refusals) == ["reads/R2/LOCKED"]
    site.put(
        "arbitration/Murong.csv",
        "patient_id,accepted_reader,arbiter,decided_at",
        f"{site.patient()},R2,A1,2026-01-13T10:00:00Z",
        "001,Dr Ouyang,A1,2026-01-13",
    )
    decisions = site.build()["arbitrations"].to_dicts()
    assert decisions == [
        {
            "site": "AB",
            "patient": site.patient(),
            "accepted_reader": "R2",
            "arbiter": "A1",
            "decided_at": dt.datetime(2026, 1, 13, 10, tzinfo=dt.UTC),
            "row_number": 2,
            "simulated": False,
        }
    ]
    assert "arbitration/ file 1 row 3 column accepted_reader" in site.refusals

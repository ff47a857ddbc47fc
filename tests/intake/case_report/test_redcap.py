"""REDCap in all its forms: what is delivered, and the tables or the reason that come of it."""

from __future__ import annotations

import json

import pytest

from tests.intake.case_report.test_case_report import Site
from tests.intake.databases import BASELINE, Case, check


def csv(*rows: str, delimiter: str = ",") -> str:
    return "\n".join(row.replace(",", delimiter) for row in rows) + "\n"


DICTIONARY_HEADER = (
    '"Variable / Field Name","Form Name","Section Header","Field Type","Field Label",'
    '"Choices, Calculations, OR Slider Labels","Field Note","Text Validation Type OR Show'
    ' Slider Number"'
)


def field(
    name: str, form: str, type_: str, label: str, choices: str = "", validation: str = ""
) -> str:
    return ",".join(f'"{text}"' for text in (name, form, "", type_, label, choices, "", validation))


FIELDS = (
    field("record_id", "baseline", "text", "Record ID"),
    field("hosp_no", "baseline", "text", "Hospital number"),
    field("sex", "baseline", "radio", "Sex", "1, Female | 2, Male"),
    field(
        "stage", "baseline", "dropdown", "Clinical stage", "1, IIIA | 2, IIIB, inoperable | 3, IVA"
    ),
    field("ecog", "baseline", "radio", "<b>ECOG</b>", "1, 0 | 2, 1 | 3, 2 | 99, Unknown"),
    field("prior_malignancy", "baseline", "yesno", "Other malignancy"),
    field("tx_cycle", "treatment", "text", "Cycle", "", "integer"),
    field("tx_date", "treatment", "text", "Date", "", "date_dmy"),
    field("fu_date", "follow_up", "text", "Date", "", "date_ymd"),
    field("fu_event", "follow_up", "radio", "Event", "1, Alive | 2, Death"),
)


def dictionary(*fields: str) -> str:
    return "\n".join([DICTIONARY_HEADER, *(fields or FIELDS)]) + "\n"


STAGES = (field("stage", "baseline", "dropdown", "Clinical stage", "1, IIIA | 2, IIIB | 3, IVA"),)
PROJECT = dictionary(
    *FIELDS[:1], field("mrn", "baseline", "text", "MRN"), FIELDS[2], *STAGES, *FIELDS[4:]
)

RAW = (
    "record_id,mrn,redcap_repeat_instrument,redcap_repeat_instance,"
    "sex,stage,ecog,prior_malignancy,baseline_complete,"
    "tx_cycle,tx_date,treatment_complete,fu_date,fu_event,follow_up_complete"
)
RAW_ROWS = (
    "1,001,,,1,2,2,0,2,,,,,,",
    "1,,treatment,1,,,,,,1,2024-01-05,2,,,",
    "1,,treatment,2,,,,,,2,2024-01-26,2,,,",
    "1,,follow_up,1,,,,,,,,,2024-09-01,2,2",
)
LABELS = (
    "Record ID,MRN,Repeat Instrument,Repeat Instance,"
    "Sex,Clinical stage,ECOG,Other malignancy,Complete?,Cycle,Date,Complete?,Date,Event,Complete?"
)
LABEL_ROWS = (
    "1,001,,,Female,IIIB,1,No,Complete,,,,,,",
    "1,,Treatment,1,,,,,,1,2024-01-05,Complete,,,",
    "1,,Treatment,2,,,,,,2,2024-01-26,Complete,,,",
    "1,,Follow-up,1,,,,,,,,,2024-09-01,Death,Complete",
)
FEMALE = {"001": {**BASELINE, "ecog": 1, "prior_malignancy": False}}
TWO_CYCLES = (("001", 1, "2024-01-05"), ("001", 2, "2024-01-26"))
DIED = (("001", "death", "2024-09-01"),)
FILE = "clinical/redcap.csv"


def items(header: str, rows: tuple[str, ...]) -> list[dict[str, str]]:
    return [dict(zip(header.split(","), row.split(","), strict=True)) for row in rows]


def one_value_a_row(*, words: bool) -> list[dict[str, str]]:
    header, rows = (RAW, LABEL_ROWS) if words else (RAW, RAW_ROWS)
    keys = ("redcap_repeat_instrument", "redcap_repeat_instance")
    return [
        {
            "record": item["record_id"],
            **{key: item[key] for key in keys},
            "field_name": name,
            "value": value,
        }
        for item in items(header, rows)
        for name, value in item.items()
        if value and name not in {"record_id", *keys}
    ]


def xml(found: list[dict[str, str]]) -> str:
    inner = "".join(
        "<item>" + "".join(f"<{k}><![CDATA[{v}]]></{k}>" for k, v in item.items()) + "</item>"
        for item in found
    )
    return f'<?xml version="1.0" encoding="UTF-8" ?><records>{inner}</records>'


def eav_csv(found: list[dict[str, str]]) -> str:
    return csv(",".join(found[0]), *(",".join(item.values()) for item in found))


def codes(*columns: str, row: int = 2, file: str = FILE) -> dict[str, str]:
    return {f"{file} row {row} column {column}": "code of an answer" for column in columns}


NO_WORDS = {"001": {"sex": None, "stage": None, "ecog": None, "prior_malignancy": None}}
UNTOLD = {**codes("sex", "stage", "ecog", "prior_malignancy"), **codes("event", row=5)}
DAYS = "record_id,mrn,sex,tx_cycle,tx_date"

REDCAP_CASES = {
    "labels of the menu, headers and answers": Case(
        {"redcap.csv": csv(LABELS, *LABEL_ROWS)}, FEMALE, TWO_CYCLES, DIED
    ),
    "names and words, as the API gives labels": Case(
        {"redcap.csv": csv(RAW, *LABEL_ROWS)}, FEMALE, TWO_CYCLES, DIED
    ),
    "codes without a dictionary, where 1 is female": Case(
        {"redcap.csv": csv(RAW, *RAW_ROWS)}, NO_WORDS, TWO_CYCLES, (), UNTOLD
    ),
    "codes with the dictionary of the project": Case(
        {"redcap.csv": csv(RAW, *RAW_ROWS), "redcap_dictionary.csv": PROJECT},
        FEMALE,
        TWO_CYCLES,
        DIED,
    ),
    "codes with the dictionary, under the names that REDCap gives": Case(
        {
            "Lung_DATA_2025-01-05_1010.csv": csv(RAW, *RAW_ROWS),
            "Lung_DataDictionary_2025-01-05.csv": PROJECT,
        },
        FEMALE,
        TWO_CYCLES,
        DIED,
    ),
    "headers that are labels, codes as answers, and the dictionary": Case(
        {"redcap.csv": csv(LABELS, *RAW_ROWS), "redcap_dictionary.csv": PROJECT},
        FEMALE,
        TWO_CYCLES,
        DIED,
    ),
    "words with the dictionary": Case(
        {"redcap.csv": csv(LABELS, *LABEL_ROWS), "redcap_dictionary.csv": PROJECT},
        FEMALE,
        TWO_CYCLES,
        DIED,
    ),
    "the dictionary of another project": Case(
        {
            "redcap.csv": csv(RAW, *RAW_ROWS),
            "redcap_dictionary.csv": dictionary(*FIELDS[:1], *FIELDS[2:6]),
        },
        NO_WORDS,
        TWO_CYCLES,
        (),
        {**UNTOLD, "clinical/redcap_dictionary.csv": "another project"},
    ),
    "two dictionaries, one of them another project's": Case(
        {
            "redcap.csv": csv(RAW, *RAW_ROWS),
            "A_DataDictionary.csv": dictionary(*FIELDS[:1], *FIELDS[2:6]),
            "B_DataDictionary.csv": PROJECT,
        },
        FEMALE,
        TWO_CYCLES,
        DIED,
        {"clinical/ REDCap dictionary file 1": "another project"},
    ),
    "two dictionaries that both fit and give codes other meanings": Case(
        {
            "redcap.csv": csv(RAW, *RAW_ROWS),
            "A_DataDictionary.csv": PROJECT.replace("1, Female | 2, Male", "1, Male | 2, Female"),
            "B_DataDictionary.csv": PROJECT,
        },
        NO_WORDS,
        TWO_CYCLES,
        (),
        {
            **UNTOLD,
            "clinical/ REDCap dictionary file 1": "give its codes other meanings",
            "clinical/ REDCap dictionary file 2": "give its codes other meanings",
        },
    ),
    "a dictionary and no export": Case(
        {"redcap_dictionary.csv": PROJECT},
        {},
        (),
        (),
        {"clinical/redcap_dictionary.csv": "no REDCap export lies"},
    ),
    "a code that the dictionary does not have": Case(
        {
            "redcap.csv": csv(RAW, RAW_ROWS[0].replace("1,2,2,0", "7,2,2,0")),
            "redcap_dictionary.csv": PROJECT,
        },
        {"001": {"sex": None, "stage": "IIIB", "ecog": 1}},
        (),
        (),
        {f"{FILE} row 2 column sex": "none of the answers"},
    ),
    "digits that are codes and labels alike, and nothing that shows which": Case(
        {"redcap.csv": csv("record_id,mrn,ecog", "1,001,1"), "redcap_dictionary.csv": PROJECT},
        {"001": {"ecog": None}},
        (),
        (),
        codes("ecog"),
    ),
    "a dictionary in GB18030 with semicolons": Case(
        {
            "redcap.csv": csv(RAW, *RAW_ROWS),
            "redcap_dictionary.csv": PROJECT.replace('","', '";"')
            .replace("Female", "女")
            .replace("Male", "男")
            .encode("gb18030"),
        },
        FEMALE,
        TWO_CYCLES,
        DIED,
    ),
    "missing data codes, in every kind of field": Case(
        {
            "redcap.csv": csv(
                RAW,
                "1,001,,,NASK,-99,UNK,NI,2,,,,,,",
                "1,,treatment,1,,,,,,1,2024-01-05,2,,,",
                "1,,treatment,2,,,,,,2,NASK,2,,,",
            ),
            "redcap_dictionary.csv": PROJECT,
        },
        {"001": {"sex": None, "stage": None, "ecog": None, "prior_malignancy": None}},
        (*TWO_CYCLES[:1], ("001", 2, None)),
        (),
        {
            **{
                f"{FILE} row 2 column {c}": "code for a missing value"
                for c in ("sex", "stage", "ecog", "prior_malignancy")
            },
            f"{FILE} row 4 column date": "missing",
        },
    ),
    "an answer that stands for unknown": Case(
        {
            "redcap.csv": csv(RAW, RAW_ROWS[0].replace("1,2,2,0", "1,2,99,0")),
            "redcap_dictionary.csv": PROJECT,
        },
        {"001": {"ecog": None, "stage": "IIIB"}},
    ),
    "99 % is a PD-L1 and no missing value": Case(
        {
            "redcap.csv": csv(
                "record_id,mrn,sex,pd_l1", "1,001,Female,99", "2,002,Male,45", "3,003,Male,5"
            )
        },
        {"001": {"pd_l1_tps": 99}, "002": {"pd_l1_tps": 45}, "003": {"pd_l1_tps": 5}},
    ),
    "PD-L1 by groups, in codes": Case(
        {"redcap.csv": csv("record_id,mrn,pd_l1,baseline_complete", "1,001,1,2", "2,002,3,2")},
        {"001": {"pd_l1_tps": None}, "002": {"pd_l1_tps": None}},
        (),
        (),
        {**codes("pd_l1_tps"), **codes("pd_l1_tps", row=3)},
    ),
    "two arms, one event per cycle": Case(
        {
            "redcap.csv": csv(
                "record_id,redcap_event_name,mrn,sex,stage,tx_date",
                "1,Baseline (Arm 1: A),001,F,IIIB,",
                "1,Cycle 1 (Arm 1: A),,,,2024-01-05",
                "2,Baseline (Arm 2: B),002,M,IVA,",
                "2,Cycle 1 (Arm 2: B),,,,2024-02-05",
            )
        },
        {"001": BASELINE, "002": {"sex": "M"}},
        (*TWO_CYCLES[:1], ("002", 1, "2024-02-05")),
    ),
    "a repeating event and a repeating instrument that are called cycle": Case(
        {
            "redcap.csv": csv(
                "record_id,redcap_event_name,redcap_repeat_instrument,redcap_repeat_instance"
                ",mrn,sex,stage,tx_date",
                "1,Baseline,,,001,F,IIIB,",
                "1,Cycle,,1,,,,2024-01-05",
                "1,Cycle,,2,,,,2024-01-26",
                "2,Baseline,,,002,M,IVA,",
                "2,Baseline,Treatment cycle,1,,,,2024-02-05",
            )
        },
        {"001": BASELINE, "002": {"sex": "M"}},
        (*TWO_CYCLES, ("002", 1, "2024-02-05")),
    ),
    "surveys: identifiers, time stamps, states": Case(
        {
            "redcap.csv": csv(
                "record_id,redcap_survey_identifier,baseline_timestamp,mrn,sex,stage"
                ",baseline_complete",
                "1,murong@example.org,2024-01-05 10:00:00,001,Female,IIIB,Complete",
            )
        },
        ONE := {"001": BASELINE},
    ),
    "one data access group": Case(
        {
            "redcap.csv": csv(
                "record_id,redcap_data_access_group,mrn,sex,stage",
                "1,north,001,F,IIIB",
                "2,,002,M,IVA",
            )
        },
        {**ONE, "002": {"sex": "M"}},
    ),
    "the groups of two hospitals, one of them this one": Case(
        {
            "redcap.csv": csv(
                "record_id,redcap_data_access_group,mrn,sex,stage",
                "1,ab,001,F,IIIB",
                "2,xy,002,M,IVA",
            )
        },
        ONE,
        (),
        (),
        {FILE: "records of other sites"},
    ),
    "the groups of two hospitals, neither known here": Case(
        {
            "redcap.csv": csv(
                "record_id,redcap_data_access_group,mrn,sex,stage",
                "1,north,001,F,IIIB",
                "2,south,002,M,IVA",
            )
        },
        {},
        (),
        (),
        {FILE: "several sites"},
    ),
    "boxes of multiple choices": Case(
        {
            "redcap.csv": csv(
                "record_id,mrn,sex,stage,egfr___1,egfr___2,baseline_complete",
                "1,001,Female,IIIB,Checked,Unchecked,Complete",
            )
        },
        {"001": {**BASELINE, "egfr": None}},
        (),
        (),
        {f"{FILE} header 5": "multiple choice", f"{FILE} header 6": "multiple choice"},
    ),
    "day first with hyphens, as the dictionary says": Case(
        {
            "redcap.csv": csv(DAYS, "1,001,1,1,05-01-2024", "1,,,2,26-01-2024"),
            "redcap_dictionary.csv": PROJECT,
        },
        {"001": {"sex": "F"}},
        TWO_CYCLES,
    ),
    "slashes of a spreadsheet that bear out the dictionary": Case(
        {
            "redcap.csv": csv(DAYS, "1,001,1,1,5/1/2024", "1,,,2,26/1/2024"),
            "redcap_dictionary.csv": PROJECT,
        },
        {"001": {"sex": "F"}},
        TWO_CYCLES,
    ),
    "slashes of a spreadsheet that may be either": Case(
        {
            "redcap.csv": csv(DAYS, "1,001,1,1,5/1/2024", "1,,,2,6/2/2024"),
            "redcap_dictionary.csv": PROJECT,
        },
        {"001": {"sex": "F"}},
        (("001", 1, None), ("001", 2, None)),
        (),
        {
            f"{FILE} row 2 column date": "day or month first",
            f"{FILE} row 3 column date": "day or month first",
        },
    ),
    "month first, which contradicts the dictionary": Case(
        {
            "redcap.csv": csv(DAYS, "1,001,1,1,01-05-2024", "1,,,2,01-26-2024"),
            "redcap_dictionary.csv": PROJECT,
        },
        {"001": {"sex": "F"}},
        (("001", 1, None), ("001", 2, None)),
        (),
        {
            f"{FILE} row 2 column date": "day or month first",
            f"{FILE} row 3 column date": "day or month first",
        },
    ),
    "month first, as the dictionary says": Case(
        {
            "redcap.csv": csv(DAYS, "1,001,1,1,01-05-2024", "1,,,2,01-26-2024"),
            "redcap_dictionary.csv": PROJECT.replace("date_dmy", "datetime_mdy"),
        },
        {"001": {"sex": "F"}},
        TWO_CYCLES,
    ),
    "a byte order mark, semicolons": Case(
        {"redcap.csv": b"\xef\xbb\xbf" + csv(LABELS, *LABEL_ROWS, delimiter=";").encode()},
        FEMALE,
        TWO_CYCLES,
        DIED,
    ),
    "GB18030": Case(
        {
            "redcap.csv": csv(
                "Record ID,住院号,性别,临床分期,Complete?", "1,001,女,IIIB,Complete"
            ).encode("gb18030")
        },
        ONE,
    ),
    "JSON of the API, flat, codes with dictionary": Case(
        {"redcap.json": json.dumps(items(RAW, RAW_ROWS)), "redcap_dictionary.csv": PROJECT},
        FEMALE,
        TWO_CYCLES,
        DIED,
    ),
    "JSON with numbers and nothing": Case(
        {
            "redcap.json": json.dumps(
                [
                    {
                        "record_id": 1,
                        "mrn": "001",
                        "sex": "F",
                        "stage": "IIIB",
                        "age": 63,
                        "egfr": None,
                    }
                ]
            )
        },
        {"001": {**BASELINE, "age_years": 63, "egfr": None}},
    ),
    "XML of the API, flat": Case(
        {"redcap.xml": xml(items(RAW, LABEL_ROWS))}, FEMALE, TWO_CYCLES, DIED
    ),
    "JSON of the API, one value per row": Case(
        {"redcap.json": json.dumps(one_value_a_row(words=True))}, FEMALE, TWO_CYCLES, DIED
    ),
    "XML of the API, one value per row, codes with dictionary": Case(
        {"redcap.xml": xml(one_value_a_row(words=False)), "redcap_dictionary.csv": PROJECT},
        FEMALE,
        TWO_CYCLES,
        DIED,
    ),
    "CSV of the API, one value per row, codes without dictionary": Case(
        {"redcap.csv": eav_csv(one_value_a_row(words=False))},
        NO_WORDS,
        TWO_CYCLES,
        (),
        {**codes("sex", "stage", "ecog", "prior_malignancy"), **codes("event", row=14)},
    ),
    "one value per row, several answers to one question": Case(
        {
            "redcap.json": json.dumps(
                [
                    {"record": "1", "field_name": n, "value": v}
                    for n, v in (
                        ("mrn", "001"),
                        ("sex", "Female"),
                        ("stage", "IIIB"),
                        ("egfr", "1"),
                        ("egfr", "2"),
                    )
                ]
            )
        },
        {"001": {**BASELINE, "egfr": None}},
        (),
        (),
        {"clinical/redcap.json row 1 column egfr": "given twice"},
    ),
    "one value per row, one box of a multiple choice": Case(
        {
            "redcap.json": json.dumps(
                [
                    {"record": "1", "field_name": n, "value": v}
                    for n, v in (("mrn", "001"), ("sex", "1"), ("prior_malignancy", "1"))
                ]
            ),
            "redcap_dictionary.csv": PROJECT.replace('"yesno"', '"checkbox"'),
        },
        {"001": {"sex": "F", "prior_malignancy": None}},
        (),
        (),
        {"clinical/redcap.json row 1 column prior_malignancy": "multiple choice"},
    ),
    "the API's answer that something was wrong": Case(
        {"redcap.json": '{"error":"You do not have permissions to use the API"}'},
        {},
        (),
        (),
        {"clinical/redcap.json": "holds no records"},
    ),
    "one file per instrument": Case(
        {
            "redcap.csv": csv(
                "record_id,mrn,sex,stage,baseline_complete", "1,001,Female,IIIB,Complete"
            ),
            "redcap_treatment.csv": csv(
                "record_id,redcap_repeat_instrument,redcap_repeat_instance,tx_cycle,tx_date"
                ",treatment_complete",
                "1,Treatment,1,1,2024-01-05,Complete",
                "1,Treatment,2,2,2024-01-26,Complete",
            ),
        },
        ONE,
        TWO_CYCLES,
        (),
        {"clinical/ REDCap file 2": "joined to the other export by its records"},
    ),
    "one file per instrument, with the dictionary of the project": Case(
        {
            "redcap.csv": csv("record_id,mrn,sex,stage,baseline_complete", "1,001,1,2,2"),
            "redcap_treatment.csv": csv(
                "record_id,redcap_repeat_instrument,redcap_repeat_instance,tx_cycle,tx_date",
                "1,treatment,1,1,2024-01-05",
                "1,treatment,2,2,2024-01-26",
            ),
            "数据字典.csv": PROJECT,
        },
        ONE,
        TWO_CYCLES,
    ),
    "codes and labels of one project beside each other": Case(
        {
            "redcap.csv": csv(RAW, *RAW_ROWS),
            "redcap_labels.csv": csv(LABELS, *LABEL_ROWS),
            "redcap_copy.csv": csv(RAW, *RAW_ROWS),
        },
        FEMALE,
        TWO_CYCLES,
        DIED,
        UNTOLD,
    ),
    "the dictionary under the name of the export": Case(
        {"redcap.csv": PROJECT}, {}, (), (), {FILE: "no REDCap export lies"}
    ),
    "a field whose name and label say two things": Case(
        {
            "redcap.csv": csv("record_id,mrn,sex,date", "1,001,1,1961-04-09"),
            "redcap_dictionary.csv": dictionary(
                *FIELDS[:1],
                field("mrn", "baseline", "text", "MRN"),
                FIELDS[2],
                field("date", "baseline", "text", "Date of birth"),
            ),
        },
        {"001": {"sex": "F"}},
        (),
        (),
        {f"{FILE} header 4": "labelled as another"},
    ),
    "two columns that are called date in one row, apart by their forms": Case(
        {
            "redcap.csv": csv(
                "Record ID,MRN,Sex,Cycle,Date,Date,Event", "1,001,1,1,2024-01-05,2024-09-01,2"
            ),
            "redcap_dictionary.csv": PROJECT.replace('"tx_date"', '"d1"').replace(
                '"fu_date"', '"d2"'
            ),
        },
        {"001": {"sex": "F"}},
        TWO_CYCLES[:1],
        DIED,
    ),
    "days of one cycle": Case(
        {
            "redcap.csv": csv(
                "record_id,redcap_event_name,mrn,sex,stage,tx_date",
                "1,Baseline,001,F,IIIB,",
                "1,Cycle 1 Day 8,,,,2024-01-12",
                "1,Cycle 1 Day 1,,,,2024-01-05",
                "1,Cycle 2 Day 22,,,,2024-01-26",
            )
        },
        ONE,
        TWO_CYCLES,
        (),
        {f"{FILE} row 3": "later day of a cycle"},
    ),
    "the project's ODM beside its CSV under REDCap's name": Case(
        {
            "redcap.csv": csv(LABELS, *LABEL_ROWS),
            "Lung_2025-01-05_1010.REDCap.xml": (
                '<?xml version="1.0"?>'
                '<ODM xmlns="http://www.cdisc.org/ns/odm/v1.3" ODMVersion="1.3.1" '
                'FileType="Snapshot"><Study OID="P"/></ODM>'
            ),
        },
        FEMALE,
        TWO_CYCLES,
        DIED,
        {"clinical/ ODM file 1": "holds no subjects"},
    ),
    "a workbook under the name of a CSV file": Case(
        {"redcap.csv": b"PK\x03\x04" + b"xl/workbook.xml" * 3},
        {},
        (),
        (),
        {FILE: "Excel workbook under another name"},
    ),
    "a delimiter in a text that is not quoted": Case(
        {
            "redcap.csv": csv(
                "record_id,mrn,sex,stage,baseline_complete",
                "1,001,Female,IIIB,Complete",
                "2,002,Male,IVA,x,Complete",
            )
        },
        ONE,
        (),
        (),
        {f"{FILE} row 3": "more cells than the header"},
    ),
    "an export without records": Case(
        {"redcap.csv": csv(RAW)}, {}, (), (), {FILE: "holds no records"}
    ),
    "two hospital numbers in one record": Case(
        {
            "redcap.csv": csv(
                "record_id,redcap_event_name,mrn,sex,stage",
                "1,Baseline,001,F,IIIB",
                "1,Week 6,003,,",
                "2,Baseline,002,M,IVA",
            )
        },
        {"002": {"sex": "M"}},
        (),
        (),
        {f"{FILE} row 3 column patient_id": "another patient number"},
    ),
}


def choices(text: str, code: str) -> Case:
    """A stage by its code, where the dictionary has these answers; right is the answer behind 2."""
    fields = (
        *FIELDS[:1],
        field("mrn", "b", "text", "MRN"),
        field("stage", "b", "radio", "Stage", text),
    )
    files = {
        "redcap.csv": csv("record_id,mrn,stage,b_complete", f"1,001,{code},2"),
        "redcap_dictionary.csv": dictionary(*fields),
    }
    return Case(files, {"001": {"stage": "IIIB"}})


REPORTS = {
    "REDCapR 503: bars in a label": choices("1, IIIA |or| less | 2, IIIB | 3, IVA", "2"),
    "REDCapTidieR 243: an empty choice": choices("1, IIIA |2, IIIB| | 3, IVA", "2"),
    "REDCapTidieR 128: no blanks between": choices("1,IIIA|2,IIIB|999,Not Known", "2"),
    "REDCapR 502: a line break behind the last choice": choices("1, IIIA | 2, IIIB ", "2"),
    "redcapAPI 145: choices without codes": choices("IIIA | IIIB | IVA", "IIIB"),
    "redcapAPI 344: the code again in its label": choices("IIIA, IIIA | IIIB, IIIB", "IIIB"),
    "a code that a program made a decimal number of": choices("1, IIIA | 2, IIIB", "2.0"),
    "REDCapTidieR 181: yes and no beside a code for missing": Case(
        {
            "redcap.csv": csv(
                "record_id,mrn,sex,prior_malignancy,baseline_complete",
                "1,001,1,UNK,2",
                "2,002,2,0,2",
                "3,003,2,1,2",
            ),
            "redcap_dictionary.csv": PROJECT,
        },
        {
            "001": {"prior_malignancy": None},
            "002": {"prior_malignancy": False},
            "003": {"prior_malignancy": True},
        },
        (),
        (),
        {f"{FILE} row 2 column prior_malignancy": "code for a missing value"},
    ),
    "redcapAPI 329: a code for missing in a column of numbers": Case(
        {"redcap.csv": csv("record_id,mrn,sex,age", "1,001,F,-999", "2,002,M,63")},
        {"001": {"age_years": None}, "002": {"age_years": 63}},
        (),
        (),
        {f"{FILE} row 2 column age": "code for a missing value"},
    ),
    "redcapAPI 468: labels in a file that is otherwise raw": Case(
        {
            "redcap.csv": csv(RAW, RAW_ROWS[0].replace("1,2,2,0", "Female,2,2,0")),
            "redcap_dictionary.csv": PROJECT,
        },
        FEMALE,
    ),
    "PyCap 19, redcapAPI 301: headers of boxes in the menu's export": Case(
        {
            "redcap.csv": csv(
                "Record ID,MRN,Sex,Clinical stage,EGFR (choice='19del'),EGFR"
                " (choice=L858R),Complete?",
                "1,001,Female,IIIB,Checked,Unchecked,Complete",
            )
        },
        {"001": {**BASELINE, "egfr": None}},
        (),
        (),
        {f"{FILE} header 5": "multiple choice", f"{FILE} header 6": "multiple choice"},
    ),
    "REDCapTidieR 169: an instrument that repeats in one event and not in another": Case(
        {
            "redcap.csv": csv(
                "record_id,redcap_event_name,redcap_repeat_instrument,redcap_repeat_instance,"
                "mrn,sex,stage,tx_cycle,tx_date",
                "1,enrolment_arm_1,,,001,F,IIIB,1,2024-01-05",
                "1,month_1_arm_1,treatment,1,,,,2,2024-01-26",
            )
        },
        ONE,
        TWO_CYCLES,
    ),
    "REDCapTidieR 136, REDCapR 420: rows of forms that were never filled": Case(
        {
            "redcap.csv": csv(
                "record_id,redcap_event_name,redcap_repeat_instance,mrn,sex,stage,tx_date"
                ",x_complete",
                "1,Baseline,,001,F,IIIB,,Complete",
                "1,Unscheduled,1,,,,,Incomplete",
                "1,Unscheduled,2,,,,,Incomplete",
            )
        },
        ONE,
    ),
    "REDCapR 586: a column that comes twice": Case(
        {"redcap.csv": csv("record_id,mrn,sex,sex,stage", "1,001,F,F,IIIB", "2,002,M,F,IVA")},
        {"001": BASELINE, "002": {"sex": None}},
        (),
        (),
        {f"{FILE} row 3 column sex": "given twice"},
    ),
    "PyCap 82: groups in an export of one value per row": Case(
        {
            "redcap.json": json.dumps(
                [
                    {"record": r, "field_name": n, "value": v}
                    for r, number, group in (("1", "001", "ab"), ("2", "002", "xy"))
                    for n, v in (
                        ("mrn", number),
                        ("sex", "Female"),
                        ("stage", "IIIB"),
                        ("redcap_data_access_group", group),
                    )
                ]
            )
        },
        ONE,
        (),
        (),
        {"clinical/redcap.json": "records of other sites"},
    ),
}
"""What was reported of other programs that read REDCap, with the report."""


@pytest.fixture
def site(tmp_path):
    return Site(tmp_path)


@pytest.mark.parametrize("case", REDCAP_CASES.values(), ids=REDCAP_CASES)
def test_redcap(site, case):
    check(site, case)


@pytest.mark.parametrize("case", REPORTS.values(), ids=REPORTS)
def test_what_other_programs_got_wrong(site, case):
    check(site, case)


def test_nothing_of_a_survey_or_group_is_in_a_table_or_a_reason(site):
    check(site, REDCAP_CASES["surveys: identifiers, time stamps, states"])
    told = repr([frame.to_dicts() for frame in site.build().values()]) + repr(site.refusals)
    assert "murong" not in told

"""Files in any delimiter, encoding and language; what is not understood is named by its number."""

import csv
import io
from random import Random

import pytest

from dagster_project.intake.case_report import lines
from dagster_project.intake.case_report.csv_tables import Refusal, read_table

ENGLISH = [
    ["patient_id", "sex", "birth_date"],
    ["001", "F", "1949-05-11"],
    ["002", "M", "1950-01-01"],
]
CHINESE = [
    ["住院号", "性别", "出生日期"],
    ["001", "女", "1949年5月11日"],
    ["002", "男", "1950/1/1"],
]


def read(tmp_path, rows, *, delimiter=",", encoding="utf-8", table="patients"):
    data = (
        rows
        if isinstance(rows, bytes)
        else "\r\n".join(delimiter.join(row) for row in rows).encode(encoding)
    )
    (tmp_path / "t.csv").write_bytes(data)
    return read_table(tmp_path / "t.csv", table, "clinical/patients.csv")


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030", "utf-16"])
@pytest.mark.parametrize("rows", [ENGLISH, CHINESE], ids=["English", "Chinese"])
def test_every_delimiter_encoding_and_language(tmp_path, rows, delimiter, encoding):
    table = read(tmp_path, rows, delimiter=delimiter, encoding=encoding)
    assert table.columns == {"patient_id", "sex", "birth_date"}
    assert [(row.number, row.cells["patient_id"], row.cells["sex"]) for row in table.rows] == [
        (2, "001", rows[1][1]),
        (3, "002", rows[2][1]),
    ]
    assert table.refusals == ()


def test_an_unknown_header_is_told_by_its_number_and_its_column_left_out(tmp_path):
    table = read(tmp_path, [["patient_id", "慕容霜砚 tel 139", "sex"], ["001", "x", "F"]])
    assert [r.item for r in table.refusals] == ["clinical/patients.csv header 2"]
    assert "慕容" not in str(table.refusals)
    assert table.rows[0].cells == {"patient_id": "001", "sex": "F"}


def test_an_empty_header_over_empty_cells_is_nothing(tmp_path):
    assert read(tmp_path, [["patient_id", "sex", ""], ["001", "F", ""]]).refusals == ()
    assert len(read(tmp_path, [["patient_id", "sex", ""], ["001", "F", "x"]]).refusals) == 1


def test_headers_that_identify_are_known_and_kept_apart(tmp_path):
    table = read(
        tmp_path, [["姓名", "住院号", "身份证号"], ["慕容霜砚", "001", "440106194905110021"]]
    )
    assert table.refusals == ()
    assert table.rows[0].cells == {
        "name": "慕容霜砚",
        "patient_id": "001",
        "id_card": "440106194905110021",
    }


def test_of_two_headers_for_one_column_the_better_known_stays(tmp_path):
    table = read(tmp_path, [["编号", "住院号", "性别"], ["1", "ZY7", "女"]])
    assert table.rows[0].cells["patient_id"] == "ZY7"
    assert [r.item for r in table.refusals] == ["clinical/patients.csv header 1"]


def test_quoted_cells_hold_delimiters_and_line_ends(tmp_path):
    table = read(
        tmp_path,
        b'patient_id,regimen,sex\n001,"pembrolizumab, pemetrexed\nand carboplatin",F\n002,,M\n',
    )
    assert [row.number for row in table.rows] == [2, 3]
    assert table.rows[0].cells["regimen"].startswith("pembrolizumab, pemetrexed")


def test_rows_too_long_are_refused_short_ones_are_filled_empty_ones_passed_over(tmp_path):
    table = read(tmp_path, b"patient_id,sex\n001,F,Murong\n\n,,\n002\n003,M\n")
    assert [(row.number, row.cells["sex"]) for row in table.rows] == [(5, ""), (6, "M")]
    assert [r.item for r in table.refusals] == ["clinical/patients.csv row 2"]
    assert "Murong" not in str(table.refusals)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "is empty"),
        (b"patient_id,sex\n\xff\xff\xff", "cannot be decoded"),
        (b"sex,age\nF,63", "no column of patient numbers"),
    ],
    ids=["empty", "bytes", "no number"],
)
def test_a_file_that_cannot_be_used_is_refused_whole(tmp_path, data, reason):
    table = read(tmp_path, data)
    assert table.rows == ()
    assert table.refusals[-1].item == "clinical/patients.csv"
    assert reason in table.refusals[-1].reason


def test_a_file_that_is_not_there_is_refused(tmp_path):
    table = read_table(tmp_path / "none.csv", "patients", "clinical/patients.csv")
    assert table.refusals == (
        Refusal("clinical/patients.csv", "cannot be read; check the permissions and the medium"),
    )


def test_places_are_named_for_a_spreadsheet(tmp_path):
    table = read(tmp_path, ENGLISH)
    assert (
        table.item(table.rows[0], "birth_date") == "clinical/patients.csv row 2 column birth_date"
    )


# ── what ends a line, and what does not ──


@pytest.mark.parametrize(
    "break_", ["\x0b", "\x0c", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029"]
)
def test_only_cr_and_lf_end_a_line(tmp_path, break_):
    table = read(
        tmp_path, f"patient_id,regimen,sex\n001,pembro{break_}lizumab,F\n002,,M\n".encode()
    )
    assert [(row.number, row.cells["sex"]) for row in table.rows] == [(2, "F"), (3, "M")]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_every_end_of_line(tmp_path, end):
    assert (
        len(read(tmp_path, end.join(["patient_id,sex", "001,F", "002,M", ""]).encode()).rows) == 2
    )


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize(
    ("limit", "reason"),
    [
        ("LONGEST_LINE", lines.LONG_LINE),
        ("MOST_COLUMNS", lines.MANY_COLUMNS),
        ("MOST_CELLS", lines.MANY_CELLS),
    ],
)
def test_a_table_that_just_fits_is_read_and_a_larger_one_refused_whole(
    tmp_path, monkeypatch, limit, reason, end
):
    data = end.join(["patient_id,sex", "001,F", "002,M", ""]).encode()
    most = {
        "LONGEST_LINE": len("patient_id,sex") + 1,
        "MOST_COLUMNS": 2,
        "MOST_CELLS": 3 + 3 * len(end),
    }[limit]
    monkeypatch.setattr(lines, limit, most)
    table = read(tmp_path, data)
    assert (len(table.rows), table.refusals) == (2, ())
    monkeypatch.setattr(lines, limit, most - 1)
    table = read(tmp_path, data)
    assert (table.rows, table.refusals) == ((), (Refusal("clinical/patients.csv", reason),))


def test_a_quotation_mark_that_is_not_closed_costs_its_own_row(tmp_path):
    table = read(
        tmp_path,
        b'patient_id,regimen,sex\n001,"pembrolizumab,F\n002,carboplatin,M\n003,"a, b",F\n004,,M\n',
    )
    assert [(row.number, row.cells["sex"]) for row in table.rows] == [(3, "M"), (4, "F"), (5, "M")]
    assert [(r.item, "not closed" in r.reason) for r in table.refusals] == [
        ("clinical/patients.csv row 2", True)
    ]


def test_a_last_quotation_mark_that_is_not_closed_costs_its_own_row(tmp_path):
    table = read(tmp_path, b'patient_id,regimen,sex\n001,carboplatin,F\n002,"x,M\n')
    assert [row.number for row in table.rows] == [2]
    assert [r.item for r in table.refusals] == ["clinical/patients.csv row 3"]


def test_a_space_before_a_quotation_mark_is_nothing(tmp_path):
    table = read(tmp_path, b'patient_id, regimen, sex\n"001", "pembrolizumab, carboplatin", "F"\n')
    assert table.rows[0].cells == {
        "patient_id": "001",
        "regimen": "pembrolizumab, carboplatin",
        "sex": "F",
    }


def test_a_text_that_a_typographic_mark_should_close_costs_its_own_row(tmp_path):
    table = read(
        tmp_path,
        '患者编号,详情,事件\n001,"未闭合”,alive\n002,肿瘤,死亡\n'.encode(),
        table="follow_up",
    )
    assert [row.number for row in table.rows] == [3]


@pytest.mark.parametrize("seed", range(40))
def test_whatever_stands_in_a_text_the_cells_behind_it_are_those_that_were_written_or_the_row_is_refused(  # noqa: E501
    tmp_path, seed
):
    random = Random(seed)
    text = lambda: "".join(  # noqa: E731
        random.choice("abF129.-% \t\"'，。\n\r;,|\x0b\x85\u2028女")
        for _ in range(random.randint(0, 12))
    )
    rows = [
        [f"ZY{n:07}", text(), random.choice("FM"), random.choice(["IIIB", "IV", ""])]
        for n in range(1, random.randint(2, 7))
    ]
    buffer = io.StringIO(newline="")
    csv.writer(
        buffer,
        delimiter=random.choice(",;\t"),
        quoting=random.choice([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    ).writerows([["patient_id", "regimen", "sex", "stage"], *rows])
    table = read(tmp_path, buffer.getvalue().encode(random.choice(["utf-8", "utf-16", "gb18030"])))
    got = {row.cells["patient_id"]: (row.cells["sex"], row.cells["stage"]) for row in table.rows}
    assert got.items() <= {row[0]: (row[2], row[3]) for row in rows}.items()
    assert len(rows) - len(got) <= len(table.refusals)


def test_lines_within_a_quoted_text_stay_text(tmp_path):
    table = read(
        tmp_path,
        b'patient_id,detail\n001,"first, of two\nlines, of text"\n002,tumour\n',
        table="follow_up",
    )
    assert [(row.number, row.cells["patient_id"]) for row in table.rows] == [(2, "001"), (3, "002")]


# ── columns that would shift ──


def test_a_delimiter_at_the_end_of_every_row_is_nothing(tmp_path):
    assert [
        row.cells["sex"] for row in read(tmp_path, b"patient_id,sex\n001,F,\n002,M,\n").rows
    ] == ["F", "M"]


def test_a_row_that_alone_is_longer_is_refused_even_where_its_end_is_empty(tmp_path):
    table = read(
        tmp_path,
        b"patient_id,visit_date,ld_mm,sa_mm,roi\n001,2024-01-05,34,5,22.0,\n002,2024-01-05,34,22,\n",
        table="lesions",
    )
    assert [row.number for row in table.rows] == [3]
    assert "more cells" in table.refusals[0].reason


@pytest.mark.parametrize("break_", ["\n", "\r", "\n\n"])
def test_a_text_with_a_line_break_and_no_quotation_marks_costs_its_own_row(tmp_path, break_):
    table = read(
        tmp_path,
        f"patient_id,regimen,sex,stage\n001,pembro{break_}lizumab,F,IIIB\n002,,M,IVA\n".encode(),
    )
    assert [row.cells["patient_id"] for row in table.rows] == ["002"]
    assert [r.item for r in table.refusals] == [
        f"clinical/patients.csv row {n}" for n in range(2, 4 + (break_ == "\n\n"))
    ]


def test_rows_without_their_empty_ends_are_rows(tmp_path):
    assert len(read(tmp_path, b"patient_id,regimen,sex,stage\n001,,F\n002,\n003,,M\n").rows) == 3


def test_a_last_line_that_was_cut_is_refused(tmp_path):
    table = read(
        tmp_path,
        b"patient_id,cycle,date,drugs\n001,1,2024-01-05,\n001,2,2024-01-26,\n001,3,2024-02-1",
        table="treatments",
    )
    assert [row.number for row in table.rows] == [2, 3]
    assert "file ends" in table.refusals[0].reason


# ── where the header is ──


@pytest.mark.parametrize(
    "above",
    ["XX 医院肺癌患者登记表\n", "XX 医院,,\n填表人：慕容,2024年,\n\n", "sep=,\n", '"sep=,"\r\n'],
)
def test_titles_above_the_header_are_no_rows(tmp_path, above):
    table = read(tmp_path, (above + "住院号,性别,出生日期\n001,女,1949-05-11\n").encode())
    first = 2 + above.count("\n") * ("sep" not in above)
    assert [(row.number, row.cells["sex"]) for row in table.rows] == [(first, "女")]
    assert table.refusals == ()


def test_a_line_that_says_the_delimiter(tmp_path):
    assert read(tmp_path, b"sep=|\npatient_id|sex\n001|F\n").rows[0].cells == {
        "patient_id": "001",
        "sex": "F",
    }


def test_decimal_commas_between_semicolons(tmp_path):
    assert read(tmp_path, b"patient_id;ld_mm;sa_mm\n001;34,5;22,0\n", table="lesions").rows[
        0
    ].cells == {"patient_id": "001", "ld_mm": "34,5", "sa_mm": "22,0"}


# ── encodings ──


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_utf_16_without_its_mark(tmp_path, encoding):
    assert [row.cells["sex"] for row in read(tmp_path, CHINESE, encoding=encoding).rows] == [
        "女",
        "男",
    ]


def test_a_line_in_another_encoding_costs_its_own_row(tmp_path):
    data = "住院号,性别\n001,女\n".encode() + "002,男\n".encode("gb18030") + "003,男\n".encode()
    table = read(tmp_path, data)
    assert [row.number for row in table.rows] == [2, 4]
    assert [r.item for r in table.refusals] == ["clinical/patients.csv row 3"]


def test_a_line_with_a_zero_byte_costs_its_own_row(tmp_path):
    table = read(tmp_path, b"patient_id,sex\n00\x001,F\n002,M\n")
    assert [row.number for row in table.rows] == [3]


def test_marks_in_the_middle_of_joined_files_are_not_seen(tmp_path):
    table = read(tmp_path, "\ufeff\ufeffpatient_id,sex\n\ufeff001,F\u200b\n".encode())
    assert table.rows[0].cells == {"patient_id": "001", "sex": "F"}


# ── another kind of file under the name of a table ──


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (b"PK\x03\x04 xl/workbook.xml", "Excel workbook"),
        (b"PK\x03\x04 a.txt", "ZIP"),
        (b"%PDF-1.4", "PDF"),
        (b"\x1f\x8b\x08", "gzip"),
        (b"{\\rtf1", "rich-text"),
        (b"7z\xbc\xaf\x27\x1c", "7-Zip"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1 Workbook", "97-2003"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + "EncryptedPackage".encode("utf-16-le"), "password"),
        (b"<html><table>", "web page"),
        (b"\xef\xbb\xbf<!DOCTYPE html>", "web page"),
        (b'<?xml version="1.0"?><Workbook>', "web page"),
    ],
)
def test_what_is_no_text_is_called_what_it_is_and_what_to_do(tmp_path, data, word):
    table = read(tmp_path, data)
    assert table.rows == ()
    (refusal,) = table.refusals
    assert word in refusal.reason
    assert "save" in refusal.reason or "name it" in refusal.reason

"""Files in any delimiter, encoding and language; what is not understood is named by its number."""

import pytest

from dagster_project.intake.csv_tables import Refusal, read_csv_table

ENGLISH = [["patient_id", "sex", "birth_date"], ["001", "F", "1949-05-11"], ["002", "M", "1950-01-01"]]
CHINESE = [["住院号", "性别", "出生日期"], ["001", "女", "1949年5月11日"], ["002", "男", "1950/1/1"]]


def read(tmp_path, rows, *, delimiter=",", encoding="utf-8", table="patients"):
    data = rows if isinstance(rows, bytes) else "\r\n".join(delimiter.join(row) for row in rows).encode(encoding)
    (tmp_path / "t.csv").write_bytes(data)
    return read_csv_table(tmp_path / "t.csv", table, "clinical/patients.csv")


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030", "utf-16"])
@pytest.mark.parametrize("rows", [ENGLISH, CHINESE], ids=["English", "Chinese"])
def test_every_delimiter_encoding_and_language(tmp_path, rows, delimiter, encoding):
    table = read(tmp_path, rows, delimiter=delimiter, encoding=encoding)
    assert table.columns == {"patient_id", "sex", "birth_date"}
    assert [(row.number, row.cells["patient_id"], row.cells["sex"]) for row in table.rows] == [(2, "001", rows[1][1]), (3, "002", rows[2][1])]
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
    table = read(tmp_path, [["姓名", "住院号", "身份证号"], ["慕容霜砚", "001", "440106194905110021"]])
    assert table.refusals == ()
    assert table.rows[0].cells == {"name": "慕容霜砚", "patient_id": "001", "id_card": "440106194905110021"}


def test_of_two_headers_for_one_column_the_better_known_stays(tmp_path):
    table = read(tmp_path, [["编号", "住院号", "性别"], ["1", "ZY7", "女"]])
    assert table.rows[0].cells["patient_id"] == "ZY7"
    assert [r.item for r in table.refusals] == ["clinical/patients.csv header 1"]


def test_quoted_cells_hold_delimiters_and_line_ends(tmp_path):
    table = read(tmp_path, b'patient_id,regimen,sex\n001,"pembrolizumab, pemetrexed\nand carboplatin",F\n002,,M\n')
    assert [row.number for row in table.rows] == [2, 3]
    assert table.rows[0].cells["regimen"].startswith("pembrolizumab, pemetrexed")


def test_rows_too_long_are_refused_short_ones_are_filled_empty_ones_passed_over(tmp_path):
    table = read(tmp_path, b"patient_id,sex\n001,F,Murong\n\n,,\n002\n003,M,,\n")
    assert [(row.number, row.cells["sex"]) for row in table.rows] == [(5, ""), (6, "M")]
    assert [r.item for r in table.refusals] == ["clinical/patients.csv row 2"]
    assert "Murong" not in str(table.refusals)


@pytest.mark.parametrize(("data", "reason"), [
    (b"", "is empty"), (b"patient_id,sex\n\xff\xff\xff", "cannot be decoded"), (b"patient_id,sex\n00\x001,F", "is not a CSV"), (b"sex,age\nF,63", "no column of patient numbers"),
], ids=["empty", "bytes", "nul", "no number"])
def test_a_file_that_cannot_be_used_is_refused_whole(tmp_path, data, reason):
    table = read(tmp_path, data)
    assert table.rows == ()
    assert table.refusals[-1].item == "clinical/patients.csv"
    assert reason in table.refusals[-1].reason


def test_a_file_that_is_not_there_is_refused(tmp_path):
    table = read_csv_table(tmp_path / "none.csv", "patients", "clinical/patients.csv")
    assert table.refusals == (Refusal("clinical/patients.csv", "cannot be read; check the permissions"),)


def test_places_are_named_for_a_spreadsheet(tmp_path):
    table = read(tmp_path, ENGLISH)
    assert table.item(table.rows[0], "birth_date") == "clinical/patients.csv row 2 column birth_date"

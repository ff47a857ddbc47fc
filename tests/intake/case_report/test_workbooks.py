"""Excel workbooks give the same tables as CSV files of the same content.

What only a workbook can hold is read as the person sees it, or refused by cell.
"""

import datetime as dt
import io
import re
import zipfile

import polars as pl
import pytest
from openpyxl import Workbook

from dagster_project.intake.case_report import workbooks
from dagster_project.intake.case_report.csv_tables import read_table
from dagster_project.intake.case_report.lines import Place, decoded, text_lines
from dagster_project.intake.case_report.workbooks import WorkbookFault, read_sheets
from dagster_project.simulation.case_report import draw_case_report, write_rows
from dagster_project.simulation.cohort import _lesion_rows, draw_site
from tests.conftest import REPOSITORY
from tests.intake.case_report.test_case_report import ROW, Site
from tests.trial import COHORT


@pytest.fixture
def site(tmp_path):
    return Site(tmp_path)


def saved(made):
    stream = io.BytesIO()
    made.save(stream)
    return stream.getvalue()


def book(*rows, change=lambda _: None):
    made = Workbook()
    for row in rows:
        made.active.append(row)
    change(made.active)
    return saved(made)


def read(tmp_path, data, table="patients"):
    (tmp_path / "t.xlsx").write_bytes(data)
    return read_table(tmp_path / "t.xlsx", table, "clinical/patients.xlsx")


def cells(tmp_path, *rows, table="patients", change=lambda _: None):
    return [row.cells for row in read(tmp_path, book(*rows, change=change), table).rows]


def typed(text):
    """A cell as Excel takes a typed text.

    Dates and numbers are of their own kind; numbers with leading zeros are text.
    """
    if re.fullmatch(r"\d{4}-(0\d|1[0-2])-[0-2]\d", text):
        return dt.date.fromisoformat(text)
    if re.fullmatch(r"(0|[1-9]\d{0,14})(\.\d+)?", text):
        return float(text) if "." in text else int(text)
    return text or None


def as_workbook(path):
    """Put a workbook in the place of a CSV file."""
    lines = text_lines(decoded(path.read_bytes()), lambda _: (0, Place(0, 1, 0)))
    path.with_suffix(".xlsx").write_bytes(
        book(*([typed(cell) for cell in line.cells] for line in lines))
    )
    path.unlink()


def assert_same(of_workbooks, of_csv):
    """The same rows in every table, but for the files that a row names."""
    for name, frame in of_csv.items():
        texts = [column for column, kind in frame.schema.items() if kind == pl.String]
        assert (
            of_workbooks[name]
            .with_columns(pl.col(texts).str.replace_all(".xlsx", ".csv", literal=True))
            .equals(frame)
        ), name


# ── the same as the CSV files ──


def examples():
    text = (REPOSITORY / "docs" / "landing.md").read_text(encoding="utf-8")
    return re.findall(r"<!-- example( zh)?: (\S+\.csv) -->\n```csv\n(.*?)```", text, re.DOTALL)


@pytest.mark.parametrize("chinese", ["", " zh"])
def test_the_examples_of_the_landing_contract_give_the_same_tables(site, chinese):
    files = [
        (name, text)
        for language, name, text in examples()
        if language == chinese and name.startswith(("clinical", "reads", "board"))
    ]
    for name, text in files:
        site.put(name, *text.splitlines(), "")
    of_csv, refused = site.build(), site.refusals
    for name, _ in files:
        as_workbook(site.folder / name)
    of_workbooks = site.build()
    assert [item.replace("csv", "xlsx") for item in refused] == list(site.refusals)
    assert_same(of_workbooks, of_csv)
    assert sum(frame.height for frame in of_workbooks.values()) > 2


@pytest.mark.parametrize("index", [0, 1], ids=["Chinese", "Western"])
def test_a_simulated_hospital_gives_the_same_tables(site, index):
    plan = COHORT
    patients = draw_site(plan, index)
    report = draw_case_report(plan, patients)
    for name in ("patients", "treatments", "follow_up"):
        write_rows(
            site.folder / "clinical" / f"{name}.csv", plan.sites[index], getattr(report, name)
        )
    write_rows(
        site.folder / "reads" / "R1" / "lesions.csv",
        plan.sites[index],
        [row for patient in patients for row in _lesion_rows(plan, patient, "R1")],
    )
    of_csv, refused = site.build(), site.refusals
    for path in sorted(site.folder.rglob("*.csv")):
        as_workbook(path)
    of_workbooks = site.build()
    assert_same(of_workbooks, of_csv)
    assert [item.replace("csv", "xlsx") for item in refused] == list(site.refusals)
    assert of_workbooks["lesions"].height > 10


def test_a_table_in_both_forms_is_read_from_both_and_what_contradicts_is_refused(site):
    site.patients("001,F,IIIB", "002,M,IVA", header="patient_id,sex,stage")
    (site.folder / "clinical" / "patients.xlsx").write_bytes(
        book(["patient_id", "sex", "stage"], ["001", "F", "IIIA"], ["003", "F", "IB"])
    )
    stages = {r["patient"]: r["stage"] for r in site.build()["patients"].to_dicts()}
    assert stages == {
        site.patient("001"): None,
        site.patient("002"): "IVA",
        site.patient("003"): "IB",
    }
    assert "contradicts row 2" in site.refusals["clinical/patients.xlsx row 2"]


def test_decisions_of_the_arbiter_in_a_workbook(site):
    site.patients(ROW).put("arbitration/none.txt", "")
    (site.folder / "arbitration" / "decisions.xlsx").write_bytes(
        book(
            ["住院号", "采纳阅片者", "仲裁人", "仲裁时间"],
            ["001", "R1", "ARB1", dt.datetime(2026, 2, 3, 10)],
        )
    )
    assert site.build()["arbitrations"].select("accepted_reader", "arbiter").rows() == [
        ("R1", "ARB1")
    ]


# ── cells as the person sees them ──


def test_numbers_with_their_percent_sign_unit_and_prefix(tmp_path):
    def form(sheet):
        for place, shape in (("B2", "0%"), ("C2", '0"岁"'), ("A2", '"ZY"000000')):
            sheet[place].number_format = shape

    assert cells(tmp_path, ["patient_id", "pd_l1_tps", "age"], [1234, 0.8, 63], change=form) == [
        {"patient_id": "ZY001234", "pd_l1_tps": "80%", "age": "63岁"}
    ]


def test_a_cell_that_shows_centimetres_is_in_centimetres(site):
    def form(sheet):
        sheet["E2"].number_format = '0.00" cm"'

    site.patients(ROW).put("reads/R1/none.txt", "")
    (site.folder / "reads" / "R1" / "lesions.xlsx").write_bytes(
        book(
            ["patient_id", "visit_date", "lesion", "role", "ld_mm"],
            ["001", dt.date(2024, 1, 5), 1, "target", 3.45],
            change=form,
        )
    )
    (row,) = site.build()["lesions"].to_dicts()
    assert (row["ld_mm"], row["lesion"], row["row_number"], row["visit_date"]) == (
        34.5,
        "1",
        2,
        site.shift("2024-01-05"),
    )


def test_percent_cells_of_a_hundred_and_of_none_are_what_they_show(tmp_path):
    def form(sheet):
        for row in (2, 3, 4):
            sheet.cell(row, 2).number_format = "0.00%"

    rows = cells(
        tmp_path, ["patient_id", "pd_l1_tps"], ["001", 1], ["002", 0], ["003", 0.005], change=form
    )
    assert [row["pd_l1_tps"] for row in rows] == ["100%", "0%", "0.5%"]


def test_long_numbers_are_exact_to_the_last_digit_that_excel_has(tmp_path):
    def form(sheet):
        sheet["A2"].number_format = "0.00E+00"

    rows = cells(
        tmp_path,
        ["patient_id", "sex"],
        [330102198801, "F"],
        ["00012", "F"],
        [12345678.0, "F"],
        [330102198801011234, "F"],
        change=form,
    )
    assert [row["patient_id"] for row in rows] == [
        "330102198801",
        "00012",
        "12345678",
        "3.30102198801011E+17",
    ]


def test_a_long_number_that_lost_digits_is_nobodys(site):
    site.put("clinical/none.txt", "")
    (site.folder / "clinical" / "patients.xlsx").write_bytes(
        book(["patient_id", "sex"], [330102198801011234, "F"], [330102198801011299, "M"])
    )
    assert site.build()["patients"].height == 0
    assert len([r for r in site.refusals.values() if "scientific" in r]) == 2


@pytest.mark.parametrize(
    "form",
    ["yyyy-mm-dd", "m/d/yyyy", 'yyyy"年"m"月"d"日"', "[$-804]yyyy年m月d日;@", "dd/mm/yyyy hh:mm"],
)
def test_a_date_is_a_date_however_it_is_shown(tmp_path, form):
    def change(sheet):
        sheet["B2"].number_format = form

    assert (
        cells(tmp_path, ["patient_id", "birth_date"], ["001", 45296], change=change)[0][
            "birth_date"
        ]
        == "2024-01-05"
    )


def test_dates_by_the_numbers_that_chinese_excel_gives_its_formats(tmp_path):
    data = book(
        ["patient_id", "birth_date"],
        ["001", 45296],
        change=lambda sheet: setattr(sheet["B2"], "number_format", "yyyy-mm-dd"),
    )
    data = edited(
        data,
        "xl/styles.xml",
        lambda text: re.sub(r'numFmtId="16[4-9]"(?! formatCode)', 'numFmtId="31"', text),
    )
    assert [row.cells["birth_date"] for row in read(tmp_path, data).rows] == ["2024-01-05"]


def test_a_workbook_that_counts_from_1904(tmp_path):
    data = book(
        ["patient_id", "birth_date"],
        ["001", 45296 - 1462],
        change=lambda sheet: setattr(sheet["B2"], "number_format", "yyyy-mm-dd"),
    )
    data = edited(
        data,
        "xl/workbook.xml",
        lambda text: text.replace("<workbookPr/>", '<workbookPr date1904="1"/>').replace(
            "<workbookPr />", '<workbookPr date1904="1"/>'
        ),
    )
    assert [row.cells["birth_date"] for row in read(tmp_path, data).rows] == ["2024-01-05"]


def test_a_day_number_without_a_date_format_is_refused(site):
    site.put("clinical/none.txt", "")
    (site.folder / "clinical" / "patients.xlsx").write_bytes(
        book(["patient_id", "birth_date"], ["001", 22000])
    )
    site.build()
    assert "day number" in site.refusals["clinical/patients.xlsx row 2 column birth_date"]


def edited(data, part, change, encoding="utf-8"):
    """The workbook with one of its parts changed."""
    old, stream = zipfile.ZipFile(io.BytesIO(data)), io.BytesIO()
    with zipfile.ZipFile(stream, "w") as new:
        for info in old.infolist():
            content = old.read(info)
            new.writestr(
                info,
                change(content.decode()).encode(encoding) if info.filename == part else content,
            )
    return stream.getvalue()


def test_results_of_formulas_count_and_those_that_are_not_there_are_refused(tmp_path):
    def without(sheet):
        sheet["B2"] = '="F"'

    data = book(["patient_id", "sex", "stage"], ["001", None, "IIIB"], change=without)
    table = read(tmp_path, data)
    assert table.rows[0].cells["sex"] == ""
    assert [r.item for r in table.refusals] == ["clinical/patients.xlsx row 2 column sex"]
    with_result = edited(
        data,
        "xl/worksheets/sheet1.xml",
        lambda text: re.sub(
            r'<c r="B2"[^>]*><f>([^<]*)</f><v ?/?>(</v>)?</c>',
            r'<c r="B2" t="str"><f>\1</f><v>F</v></c>',
            text,
        ),
    )
    assert read(tmp_path, with_result).rows[0].cells["sex"] == "F"


def test_an_error_of_a_formula_is_refused_and_not_missing(site):
    def error(sheet):
        sheet["B2"].value, sheet["B2"].data_type = "#N/A", "e"

    site.put("clinical/none.txt", "")
    (site.folder / "clinical" / "patients.xlsx").write_bytes(
        book(["patient_id", "stage"], ["001", None], change=error)
    )
    site.build()
    assert "error of the spreadsheet" in site.refusals["clinical/patients.xlsx row 2 column stage"]


# ── where the table is ──


def test_titles_and_merged_cells_above_the_header_and_rows_by_the_sheets_own_numbers(tmp_path):
    def merge(sheet):
        sheet.merge_cells("A1:C1")
        sheet.merge_cells("A2:A3")
        sheet.merge_cells("B2:C2")

    rows = read(
        tmp_path,
        book(
            ["XX 医院登记表", None, None],
            ["住院号", "基本信息", None],
            [None, "性别", "年龄"],
            ["001", "女", 63],
            change=merge,
        ),
    )
    assert [(row.number, row.cells) for row in rows.rows] == [
        (4, {"patient_id": "001", "sex": "女", "age": "63"})
    ]
    assert rows.refusals == ()


def test_a_patient_number_merged_over_rows_is_that_of_each_and_other_merged_cells_are_refused(
    tmp_path,
):
    def merge(sheet):
        sheet.merge_cells("A2:A3")
        sheet.merge_cells("D2:D3")

    table = read(
        tmp_path,
        book(
            ["patient_id", "visit_date", "lesion", "ld_mm"],
            ["001", "2024-01-05", "L1", 34.5],
            [None, "2024-01-05", "L2", None],
            change=merge,
        ),
        table="lesions",
    )
    assert [
        (row.cells["patient_id"], row.cells["lesion"], row.cells["ld_mm"]) for row in table.rows
    ] == [("001", "L1", "34.5"), ("001", "L2", "")]
    assert [r.item for r in table.refusals] == ["clinical/patients.xlsx row 3 column ld_mm"]


def test_the_first_sheet_with_patient_numbers_is_read_and_others_are_named(tmp_path):
    made = Workbook()
    made.active.append(["说明", "请填写"])
    for title, number in (("患者", "001"), ("补充", "002")):
        sheet = made.create_sheet(title)
        sheet.append(["住院号", "性别"])
        sheet.append([number, "女"])
    table = read(tmp_path, saved(made))
    assert [row.cells["patient_id"] for row in table.rows] == ["001"]
    assert [r.item for r in table.refusals] == ["clinical/patients.xlsx sheet 3"]
    made.worksheets[1].sheet_state = made.worksheets[2].sheet_state = "hidden"
    assert "hidden sheet" in read(tmp_path, saved(made)).refusals[0].reason


def test_one_workbook_of_three_sheets_is_the_three_tables(site):
    made = Workbook()
    made.remove(made.active)
    for title, rows in {
        "治疗": [
            ["住院号", "周期", "日期"],
            ["001", 1, dt.date(2024, 1, 5)],
            ["001", "two", dt.date(2024, 1, 26)],
        ],
        "患者": [["住院号", "性别"], ["001", "女"]],
        "随访": [["住院号", "日期", "事件"], ["001", dt.date(2024, 9, 1), "死亡"]],
    }.items():
        sheet = made.create_sheet(title)
        for row in rows:
            sheet.append(row)
    site.put("clinical/none.txt", "")
    (site.folder / "clinical" / "patients.xlsx").write_bytes(saved(made))
    frames = site.build()
    assert (
        frames["patients"]["sex"].to_list(),
        frames["treatments"]["cycle"].to_list(),
        frames["follow_up"]["event"].to_list(),
    ) == (["F"], [1], ["death"])
    assert site.refusals.keys() == {"clinical/patients.xlsx sheet 1 row 3 column cycle"}


def test_a_carriage_return_in_a_cell_is_none_of_its_text(tmp_path):
    assert cells(tmp_path, ["patient_id", "sex"], ["001_x000D_\n", "F"])[0]["patient_id"] == "001"


def test_rows_and_columns_that_a_filter_hides_are_read(tmp_path):
    def hide(sheet):
        sheet.row_dimensions[2].hidden = True
        sheet.column_dimensions["B"].hidden = True

    assert cells(tmp_path, ["patient_id", "sex"], ["001", "F"], ["002", "M"], change=hide) == [
        {"patient_id": "001", "sex": "F"},
        {"patient_id": "002", "sex": "M"},
    ]


# ── what is no workbook, or no safe one ──


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (b"patient_id,sex\n001,F\n", "is not an Excel workbook"),
        (b"<html><table>", "web page"),
        (b"PK\x03\x04 xl/workbook.xml", "cannot be read"),
        (b"", "is not an Excel workbook"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + "EncryptedPackage".encode("utf-16-le"), "password"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "97-2003"),
    ],
)
def test_what_is_no_workbook_is_called_what_it_is(tmp_path, data, word):
    table = read(tmp_path, data)
    assert (table.rows, word in table.refusals[0].reason) == ((), True)


def test_a_workbook_under_the_name_of_a_csv_file_is_called_one(tmp_path):
    (tmp_path / "t.csv").write_bytes(book(["patient_id", "sex"], ["001", "F"]))
    assert (
        "name it .xlsx"
        in read_table(tmp_path / "t.csv", "patients", "clinical/patients.csv").refusals[0].reason
    )


def test_a_workbook_that_unpacks_to_too_much_is_not_unpacked(monkeypatch):
    monkeypatch.setattr(workbooks, "LARGEST_UNPACKED", 100)
    with pytest.raises(WorkbookFault, match="larger"):
        read_sheets(book(["patient_id"], ["001"]))


def test_a_sheet_of_too_many_cells_is_refused(monkeypatch):
    with pytest.raises(WorkbookFault, match="larger"):
        read_sheets(book(["patient_id", "sex"], change=lambda sheet: sheet.cell(1048576, 30, "x")))


def test_a_document_type_declaration_is_refused():
    with pytest.raises(WorkbookFault):
        read_sheets(
            edited(
                book(["patient_id"], ["001"]),
                "xl/worksheets/sheet1.xml",
                lambda text: '<!DOCTYPE x [<!ENTITY e "e">]>' + text,
            )
        )


@pytest.mark.parametrize("part", ["xl/worksheets/sheet1.xml", "xl/workbook.xml", "xl/styles.xml"])
def test_a_damaged_part_is_refused_with_what_to_do(tmp_path, part):
    table = read(tmp_path, edited(book(["patient_id"], ["001"]), part, lambda text: text[:200]))
    assert "save it anew" in table.refusals[0].reason


@pytest.mark.parametrize(
    "name",
    [
        "workbook of four million formatted cells",
        "workbook merged whole",
        "workbook of many merged cells",
        "workbook whose sizes lie",
    ],
)
def test_what_would_fill_the_memory_is_refused_before_it_is_built(name, tmp_path):
    """Excel formats whole columns; each of the cells would be built."""
    from benchmarks.hostile import tables
    from benchmarks.hostile.setting import Setting

    setting = Setting(tmp_path)
    tables.TABLES[name](setting)
    with pytest.raises(workbooks.WorkbookFault):
        workbooks.read_sheets((setting.landing / "clinical" / "follow_up.xlsx").read_bytes())


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
@pytest.mark.parametrize(
    "area", ["A1:XFD1048576", "$A$1:$XFD$1048576", "a1:xfd1048576", "A:XFD", "1:1048576", "?"]
)
def test_merged_cells_are_counted_however_their_area_is_written(area, encoding):
    def merge(text):
        sheet = text.partition("?>")[2] if text.startswith("<?xml") else text
        return sheet.replace(
            "</sheetData>",
            f'</sheetData><mergeCells count="1"><mergeCell ref="{area}"/></mergeCells>',
        )

    data = edited(
        book(["patient_id"], ["001"]), "xl/worksheets/sheet1.xml", merge, encoding=encoding
    )
    with pytest.raises(WorkbookFault):
        workbooks._check_bounds(data)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_a_document_type_behind_a_long_comment_is_seen_in_every_encoding(encoding):
    from dagster_project.intake.case_report.xml_files import XmlFault, refuse_document_type

    text = (
        f'<?xml version="1.0" encoding="{encoding}"?><!--{" " * 10_000}-->'
        '<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>'
    )
    with pytest.raises(XmlFault):
        refuse_document_type(text.encode(encoding))

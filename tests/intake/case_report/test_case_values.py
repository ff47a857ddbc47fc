"""Cells as sites write them."""

import datetime as dt

import pytest

from dagster_project.intake.case_report import case_values as cv


@pytest.mark.parametrize(
    "text",
    [
        "2024-01-05",
        "2024/1/5",
        "20240105",
        "2024年1月5日",
        "2024.1.5",
        " ２０２４-０１-０５ ",
        "2024-01-05 08:30:00",
        "2024-01-05T08:30",
        "2024年01月05日",
        "2024 年 1 月 5 日",
        "20240105.0",
        "2024-01-05T00:00:00Z",
        "2024-01-05T23:30:00+08:00",
        "2024-01-05\u200b",
    ],
)
def test_one_day_in_many_spellings(text):
    assert cv.parse_date(text) == dt.date(2024, 1, 5)


@pytest.mark.parametrize(
    "text",
    [
        "05/01/2024",
        "5.1.2024",
        "2024-13-45",
        "2024-02-30",
        "2024",
        "24-01-05",
        "yesterday",
        "45296",
        "1849-01-01",
        "2024-1-5-6",
        "24/1/5",
        "1/5/2024",
        "2024年1月",
        "2024-01",
        "2024-01-UK",
        "45301",
        "45301.0",
        "1900-01-00",
        "1900-01-01",
        "9999-12-31",
        "00/00/0000",
        "0000-00-00",
        "2024-01-05 or 2024-02-05",
        "2024-01-05T23:30:00Z",
        "2024-01-05T16:00:00.000Z",
    ],
)
def test_what_is_no_day_is_refused_without_being_quoted(text):
    with pytest.raises(cv.ValueFault) as fault:
        cv.parse_date(text)
    assert text not in str(fault.value)


@pytest.mark.parametrize(
    ("text", "stage"),
    [
        ("ⅢB", "IIIB"),
        ("IIIb", "IIIB"),
        ("3B期", "IIIB"),
        ("ⅣA期", "IVA"),
        ("IV", "IV"),
        ("Ⅳ期", "IV"),
        ("cIIIC", "IIIC"),
        ("Stage IVb", "IVB"),
        ("4", "IV"),
        ("IA3", "IA3"),
        ("Ⅲ a", "IIIA"),
        ("ⅢB期（AJCC 第八版）", "IIIB"),
        ("IIIB (AJCC 8th ed)", "IIIB"),
        ("IVA(T2N1M1a)", "IVA"),
        ("cT4N2M0 IIIB", "IIIB"),
        ("T1c N3 M0，ⅢB期", "IIIB"),
        ("ypT2aN2M0 Stage IIIA", "IIIA"),
        ("TNM:T4NxMx 3b", "IIIB"),
        ("ⅣB期,pTxN3M1c2", "IVB"),
    ],
)
def test_stages(text, stage):
    assert cv.parse_stage(text) == stage


@pytest.mark.parametrize(
    "text",
    [
        "V",
        "IIID",
        "late",
        "IIIB-IVA",
        "ⅢB/ⅣA",
        "T4N2M0",
        "T4N2M0 (AJCC 8)",
        "IIIB(T4N2M1a)",
        "IVA T2N0M0",
        "IIIB, IVA T2N0M1",
        "IIIB(脑)",
        "0",
        "12",
        "IIC",
        "IVC",
        "3.0",
        "IIIB?",
    ],
)
def test_what_is_no_stage_is_refused(text):
    with pytest.raises(cv.ValueFault):
        cv.parse_stage(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("50%", 50),
        ("<1%", 0),
        ("＜1％", 0),
        ("≥50%", 50),
        ("阴性", 0),
        ("negative", 0),
        ("0", 0),
        ("12.5", 12.5),
        (">50", 50),
        ("0.8%", 0.8),
        ("80％", 80),
        ("TPS 80%", 80),
        ("TPS：5%", 5),
        ("1", 1),
        ("0.0", 0),
    ],
)
def test_proportions(text, value):
    assert cv.parse_proportion(text) == value


@pytest.mark.parametrize(
    "text",
    [
        "1-49%",
        "1~49%",
        "<50%",
        "high",
        "阳性",
        "0.8",
        ".5",
        "CPS 10",
        "CPS：10",
        "无",
        "no",
        "-5",
        "8‰",
        "50 mm",
    ],
)
def test_what_is_no_proportion_is_refused(text):
    with pytest.raises(cv.ValueFault):
        cv.parse_proportion(text)


def test_ranges_are_kept():
    parse = cv.in_range(0, 100, cv.parse_proportion)
    assert parse("100") == 100
    with pytest.raises(cv.ValueFault, match="0 to 100"):
        parse("101")


@pytest.mark.parametrize(
    ("text", "value"), [("1", 1), ("C3", 3), ("第3周期", 3), ("cycle 12", 12), ("3疗程", 3)]
)
def test_cycles(text, value):
    assert cv.parse_cycle(text) == value


@pytest.mark.parametrize("text", ["0", "100", "1.5", "first", "1-3"])
def test_what_is_no_cycle_is_refused(text):
    with pytest.raises(cv.ValueFault):
        cv.parse_cycle(text)


@pytest.mark.parametrize(
    ("text", "header", "value"),
    [
        ("12,5", "", 12.5),
        ("12.5mm", "", 12.5),
        ("8 毫米", "", 8),
        ("0", "", 0),
        ("3.45 cm", "", 34.5),
        ("３．４５ｃｍ", "", 34.5),
        ("3.45", "cm", 34.5),
        ("3.45 厘米", "cm", 34.5),
        ("0.57", "cm", 5.7),
        ("34.5", "mm", 34.5),
        ("1,234.5", "", 1234.5),
        ("0,125", "", 0.125),
        ("12,50", "", 12.5),
    ],
)
def test_lengths_are_in_the_unit_of_the_cell_else_of_the_header_else_in_mm(text, header, value):
    assert cv.parse_length(text, header) == value


@pytest.mark.parametrize(
    ("text", "header"),
    [
        ("2 in", ""),
        ("about 12", ""),
        ("12-14", ""),
        ("~12", ""),
        (">12", ""),
        ("<5", ""),
        ("-3", ""),
        ("nan", ""),
        ("inf", ""),
        ("1e3", ""),
        ("12x8", ""),
        ("1,063", ""),
        ("１，０６３", ""),
        ("1.2.3", ""),
        ("3.45 cm", "mm"),
        ("34.5 mm", "cm"),
        ("12 px", ""),
        ("12 cm2", ""),
        ("12%", ""),
    ],
)
def test_what_is_no_length_is_refused(text, header):
    with pytest.raises(cv.ValueFault):
        cv.parse_length(text, header)


@pytest.mark.parametrize(
    ("text", "value"),
    [("0", 0), ("ECOG 1", 1), ("PS:2", 2), ("1分", 1), ("1.0", 1), ("ECOG PS 1", 1)],
)
def test_performance_status(text, value):
    assert cv.parse_ecog(text) == value


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("45301", "day number"),
        ("2024年1月", "day is missing"),
        ("2024-01", "day is missing"),
        ("9999-12-31", "placeholder"),
        ("1900-01-00", "placeholder"),
        ("24/1/5", "four digits"),
        ("2024-01-05T16:00:00Z", "UTC"),
    ],
)
def test_a_date_that_is_refused_says_what_it_is(text, word):
    with pytest.raises(cv.ValueFault, match=word):
        cv.parse_date(text)


@pytest.mark.parametrize(
    "text",
    [
        "8月",
        "8个月",
        "18 months",
        "500 days",
        "1,063",
        "１，０６３",
        "63-65",
        "<65",
        "-1",
        "008M",
        "130",
    ],
)
def test_what_is_no_age_in_years_is_refused(text):
    with pytest.raises(cv.ValueFault):
        cv.parse_age(text)


@pytest.mark.parametrize(
    ("field", "text", "value"),
    [
        ("egfr", "19del/T790M", "mutant"),
        ("egfr", "L858R + T790M", "mutant"),
        ("histology", "腺癌，低分化", "adenocarcinoma"),
        ("histology", "中-低分化腺癌", "adenocarcinoma"),
        ("egfr", "19del(+)", "mutant"),
        ("alk", "EML4-ALK（+）", "rearranged"),
        ("egfr", "-/-", "wild_type"),
        ("histology", "poorly differentiated adenocarcinoma", "adenocarcinoma"),
        ("sex", "2.0", "F"),
        ("line", "2.0", "2"),
    ],
)
def test_several_words_that_mean_the_same(field, text, value):
    assert cv.word_of(field, "")(text) == value


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ("egfr", "19del/野生型"),
        ("histology", "腺癌/鳞癌"),
        ("histology", "腺癌，待排"),
        ("sex", "F/M"),
        ("sex", "0"),
        ("sex", "F/?"),
        ("consent", "1"),
        ("consent", "否"),
        ("histology", "未分化癌"),
        ("egfr", "19del(-)"),
        ("egfr", "19del（－）"),
        ("egfr", "T790M-"),
        ("egfr", "-19del"),
        ("egfr", "+/-"),
        ("egfr", "19del(-)/L858R"),
        ("alk", "EML4-ALK(-)"),
        ("alk", "融合—"),
        ("line", "2+"),
    ],
)
def test_several_words_that_do_not_are_refused(field, text):
    with pytest.raises(cv.ValueFault):
        cv.word_of(field, "")(text)


@pytest.mark.parametrize("text", ["#N/A", "#REF!", "#DIV/0!", "#VALUE!", "#NAME?", "######"])
def test_an_error_of_a_spreadsheet_is_not_missing(text):
    with pytest.raises(cv.ValueFault, match="error of the spreadsheet"):
        cv.parse_cell(text, cv.word_of("egfr", ""))


@pytest.mark.parametrize("text", ["2024-01-01", "1月1日", "1-Jan", "01-Feb"])
def test_a_label_that_became_a_date_is_refused(text):
    with pytest.raises(cv.ValueFault):
        cv.parse_label(text)


@pytest.mark.parametrize(
    "text",
    [
        "未使用帕博利珠单抗",
        "拒绝化疗",
        "carboplatin without pembrolizumab",
        "no chemotherapy",
        "信迪利单抗（停用卡铂）",
    ],
)
def test_a_drug_that_was_not_given_is_refused(text):
    with pytest.raises(cv.ValueFault, match="denies"):
        cv.parse_drugs(text)


def test_ages_and_lines_and_drugs():
    assert [cv.parse_age(t) for t in ("63", "63岁", "63.7")] == [63, 63, 63]
    assert [cv.parse_line(t) for t in ("1", "一线", "second-line", "2L")] == [1, 1, 2, 2]
    assert cv.parse_drugs("信迪利单抗+化疗").value == "sintilimab+chemotherapy_nos"
    assert cv.parse_drugs("信迪利单抗 + 神药").remark
    for parse, text in (
        (cv.parse_age, "130"),
        (cv.parse_ecog, "0-1"),
        (cv.parse_ecog, "1~2"),
        (cv.parse_line, "late"),
        (cv.parse_drugs, "神药"),
    ):
        with pytest.raises(cv.ValueFault):
            parse(text)


@pytest.mark.parametrize("text", ["", "NA", "不详", "未检测", "/", "unknown"])
def test_missing_words_are_missing_and_no_fault(text):
    for parse in (cv.parse_date, cv.parse_stage, cv.parse_drugs, cv.word_of("egfr", "")):
        assert cv.parse_cell(text, parse) == cv.Parsed(None)


def test_a_sign_is_a_value_where_the_field_knows_it():
    assert cv.parse_cell("-", cv.word_of("egfr", "")).value == "wild_type"
    assert cv.parse_cell("+", cv.word_of("alk", "")).value == "rearranged"


@pytest.mark.parametrize(
    ("text", "utc"),
    [
        ("2026-01-12T08:30:00+08:00", "2026-01-12T00:30:00+00:00"),
        ("2026-01-12T08:30:00Z", "2026-01-12T08:30:00+00:00"),
        ("2026-01-12 08:30", "2026-01-12T08:30:00+00:00"),
        ("2026/01/12", "2026-01-12T00:00:00+00:00"),
    ],
)
def test_times_are_told_in_utc(text, utc):
    assert cv.parse_time(text).isoformat() == utc


def test_readers_have_codes_and_no_names():
    for text in ("R1", "A12", "RAD-1", "Reader_2", "ARBITER1"):
        assert cv.parse_reader(text) == text
    for text in (
        "Dr Ouyang",
        "欧阳",
        "",
        "x" * 33,
        "../R1",
        "Ouyang",
        "OUYANG",
        "ouyang",
        "Ouyang1",
        "LiHua",
        "R138001",
        "00412877",
    ):
        with pytest.raises(cv.ValueFault):
            cv.parse_reader(text)


@pytest.mark.parametrize(
    "text", ["34.300000000000004", "34,300000000000004", "3.4300000000000006 cm"]
)
def test_a_figure_as_a_program_computed_it_is_one(text):
    assert cv.parse_length(text) == 34.3


@pytest.mark.parametrize(
    "text", ["9" * 16, "9" * 16 + ".5", "9" * 400, "0" * 15 + "34.3", "1,234,567,890,123,456"]
)
def test_a_figure_of_more_digits_than_any_measurement_is_none(text):
    with pytest.raises(cv.ValueFault, match="not a number"):
        cv.parse_length(text)

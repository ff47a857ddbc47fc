"""Cells as sites write them."""

import datetime as dt

import pytest

from dagster_project.intake import case_values as cv


@pytest.mark.parametrize("text", ["2024-01-05", "2024/1/5", "20240105", "2024年1月5日", "2024.1.5", " ２０２４-０１-０５ ", "2024-01-05 08:30:00", "2024-01-05T08:30", "2024年01月05日", "2024 年 1 月 5 日"])
def test_one_day_in_many_spellings(text):
    assert cv.parse_date(text) == dt.date(2024, 1, 5)


@pytest.mark.parametrize("text", ["05/01/2024", "5.1.2024", "2024-13-45", "2024-02-30", "2024", "24-01-05", "yesterday", "45296", "1849-01-01", "2024-1-5-6"])
def test_what_is_no_day_is_refused_without_being_quoted(text):
    with pytest.raises(cv.ValueFault) as fault:
        cv.parse_date(text)
    assert text not in str(fault.value)


@pytest.mark.parametrize(("text", "stage"), [
    ("ⅢB", "IIIB"), ("IIIb", "IIIB"), ("3B期", "IIIB"), ("ⅣA期", "IVA"), ("IV", "IV"), ("Ⅳ期", "IV"), ("cIIIC", "IIIC"), ("Stage IVb", "IVB"), ("4", "IV"), ("IA3", "IA3"), ("Ⅲ a", "IIIA"),
])
def test_stages(text, stage):
    assert cv.parse_stage(text) == stage


@pytest.mark.parametrize("text", ["V", "IIID", "late", "IIIB-IVA", "T4N2M0", "0"])
def test_what_is_no_stage_is_refused(text):
    with pytest.raises(cv.ValueFault):
        cv.parse_stage(text)


@pytest.mark.parametrize(("text", "value"), [("50%", 50), ("<1%", 0), ("＜1％", 0), ("≥50%", 50), ("阴性", 0), ("negative", 0), ("0", 0), ("12.5", 12.5), (">50", 50)])
def test_proportions(text, value):
    assert cv.parse_proportion(text) == value


@pytest.mark.parametrize("text", ["1-49%", "<50%", "high", "阳性"])
def test_what_is_no_proportion_is_refused(text):
    with pytest.raises(cv.ValueFault):
        cv.parse_proportion(text)


def test_ranges_are_kept():
    parse = cv.in_range(0, 100, cv.parse_proportion)
    assert parse("100") == 100
    with pytest.raises(cv.ValueFault, match="0 to 100"):
        parse("101")


@pytest.mark.parametrize(("text", "value"), [("1", 1), ("C3", 3), ("第3周期", 3), ("cycle 12", 12), ("3疗程", 3)])
def test_cycles(text, value):
    assert cv.parse_cycle(text) == value


@pytest.mark.parametrize("text", ["0", "100", "1.5", "first", "1-3"])
def test_what_is_no_cycle_is_refused(text):
    with pytest.raises(cv.ValueFault):
        cv.parse_cycle(text)


@pytest.mark.parametrize(("text", "value"), [("12,5", 12.5), ("12.5mm", 12.5), ("8 毫米", 8), ("0", 0)])
def test_numbers(text, value):
    assert cv.parse_number(text) == value


@pytest.mark.parametrize("text", ["2cm", "about 12", "12-14", "~12", ">12", "nan", "inf", "1e3"])
def test_what_is_no_number_is_refused(text):
    with pytest.raises(cv.ValueFault):
        cv.parse_number(text)


@pytest.mark.parametrize(("text", "value"), [("0", 0), ("ECOG 1", 1), ("PS:2", 2), ("1分", 1)])
def test_performance_status(text, value):
    assert cv.parse_ecog(text) == value


def test_ages_and_lines_and_drugs():
    assert [cv.parse_age(t) for t in ("63", "63岁", "63.7")] == [63, 63, 63]
    assert [cv.parse_line(t) for t in ("1", "一线", "second-line", "2L")] == [1, 1, 2, 2]
    assert cv.parse_drugs("信迪利单抗+化疗").value == "sintilimab+chemotherapy_nos"
    assert cv.parse_drugs("信迪利单抗 + 神药").remark
    for parse, text in ((cv.parse_age, "130"), (cv.parse_ecog, "0-1"), (cv.parse_line, "late"), (cv.parse_drugs, "神药")):
        with pytest.raises(cv.ValueFault):
            parse(text)


@pytest.mark.parametrize("text", ["", "NA", "不详", "未检测", "/", "unknown"])
def test_missing_words_are_missing_and_no_fault(text):
    for parse in (cv.parse_date, cv.parse_stage, cv.parse_drugs, cv.word_of("egfr", "")):
        assert cv.parse_cell(text, parse) == cv.Parsed(None)


def test_a_sign_is_a_value_where_the_field_knows_it():
    assert cv.parse_cell("-", cv.word_of("egfr", "")).value == "wild_type"
    assert cv.parse_cell("+", cv.word_of("alk", "")).value == "rearranged"


@pytest.mark.parametrize(("text", "utc"), [
    ("2026-01-12T08:30:00+08:00", "2026-01-12T00:30:00+00:00"), ("2026-01-12T08:30:00Z", "2026-01-12T08:30:00+00:00"), ("2026-01-12 08:30", "2026-01-12T08:30:00+00:00"), ("2026/01/12", "2026-01-12T00:00:00+00:00"),
])
def test_times_are_told_in_utc(text, utc):
    assert cv.parse_time(text).isoformat() == utc


def test_readers_are_short_names():
    assert cv.parse_reader("R1") == "R1"
    for text in ("Dr Ouyang", "欧阳", "", "x" * 33, "../R1"):
        with pytest.raises(cv.ValueFault):
            cv.parse_reader(text)

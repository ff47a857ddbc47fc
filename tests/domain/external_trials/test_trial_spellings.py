"""Tables of another trial that spell, locate or measure a lesion in another way than the standard.

Each would otherwise be two patients, a sum without one of its targets, or a diameter of a metre.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dagster_project.domain.external_trials.trial_courses import courses_of_trial
from dagster_project.domain.external_trials.trial_rows import Flags, is_node, role_of, size_of
from dagster_project.domain.external_trials.trial_spellings import label_key, subject_key
from dagster_project.study import load_study
from tests.domain.sdtm import flagged, grade, measured, overall, rows, tr, tu

SUMS = {"T01": [30, 24, 18], "K01": [20, 16, 9], "P01": ["PRESENT"] * 3}
"""Sums 50, 40 and 27: SD, then PR."""


def sums(graded):
    return graded.visits["sum_mm"].to_list()


def changed(found, which=bool, **cells):
    """The rows with other cells, each of them what a function makes of the row."""
    return [
        replace(r, cells={**r.cells, **{name: make(r) for name, make in cells.items()}})
        if which(r)
        else r
        for r in found
    ]


def test_the_sums_without_any_fault():
    graded = grade(tr(**SUMS), tu(*SUMS))
    assert (sums(graded), overall(graded), flagged(graded)) == ([40, 27], ["SD", "PR"], [])


@pytest.mark.parametrize("other", ["s1", " S1 ", "S 1"])
def test_a_subject_that_one_row_spells_otherwise_is_one_subject(other):
    odd = changed(tr(**SUMS), lambda r: r.number % 4 == 3, USUBJID=lambda _: other)
    graded = grade(odd, tu(*SUMS))
    assert (sums(graded), overall(graded)) == ([40, 27], ["SD", "PR"])
    if other.strip() != "S1":
        assert [rule for rule, _ in flagged(graded)] == ["subject_spelled_otherwise"]


def test_a_number_that_a_spreadsheet_wrote_as_a_float_is_the_same_subject():
    floats = changed(tr(**SUMS), USUBJID=lambda _: "1015.0")
    graded = grade(floats, changed(tu(*SUMS), USUBJID=lambda _: "1015"))
    assert (sums(graded), overall(graded)) == ([40, 27], ["SD", "PR"])
    assert [rule for rule, _ in flagged(graded)] == ["subject_spelled_otherwise"]
    assert graded.visits["subject"].unique().to_list() == ["1015.0"]


def test_numbers_with_leading_zeros_stay_two_subjects():
    both = changed(tr(**SUMS), lambda r: r("VISITNUM") == "3", USUBJID=lambda _: "01")
    graded = grade(changed(both, lambda r: r("USUBJID") == "S1", USUBJID=lambda _: "1"))
    assert "no_baseline" in [rule for rule, _ in flagged(graded)]


@pytest.mark.parametrize("short", [lambda s: s.replace("0", ""), str.lower, lambda s: s[0] + "-1"])
def test_a_lesion_that_tu_spells_otherwise_has_its_location(short):
    graded = grade(tr(**SUMS), changed(tu(*SUMS), TULNKID=lambda r: short(r("TULNKID"))))
    assert (sums(graded), overall(graded)) == ([40, 27], ["SD", "PR"])
    assert {rule for rule, _ in flagged(graded)} == {"lesion_spelled_otherwise"}


def test_two_spellings_side_by_side_are_two_lesions():
    graded = grade(tr(T01=[30, 24], T1=[20, 16]), tu("T01", "T1"))
    assert (sums(graded), flagged(graded)) == ([40], [])


@pytest.mark.parametrize(
    "location", ["MEDIASTINAL LN", "纵隔淋巴结", "Station 4R", "LNs, hilar", "AXILLARY ADENOPATHY"]
)
def test_a_node_by_any_of_its_names_counts_with_its_short_axis(location):
    longest = [measured("K01", n, mm, TRTESTCD="LDIAM") for n, mm in enumerate((33, 30, 28))]
    both = [*changed(tr(**SUMS), lambda r: r("TRTESTCD") == "SAXIS", TRTESTCD=lambda _: "LPERP")]
    both += rows("tr2.csv", *longest)
    where = changed(tu(*SUMS), lambda r: r("TULNKID") == "K01", TULOC=lambda _: location)
    graded = grade(both, where)
    assert (sums(graded), overall(graded), flagged(graded)) == ([40, 27], ["SD", "PR"], [])


@pytest.mark.parametrize("where", [None, "MEDIASTINUM", "肺门"])
def test_without_a_location_the_axes_decide_and_it_is_named(where):
    short = changed(tr(**SUMS), lambda r: r("TRTESTCD") == "SAXIS", TRTESTCD=lambda _: "LPERP")
    located = where and changed(tu(*SUMS), lambda r: r("TULNKID") == "K01", TULOC=lambda _: where)
    graded = grade(short, located or ())
    assert sums(graded) == [40, 27]
    assert [rule for rule, _ in flagged(graded)] == ["node_by_axis"]
    longest = [measured("K01", n, mm, TRTESTCD="LDIAM") for n, mm in enumerate((33, 30, 28))]
    graded = grade([*short, *rows("tr2.csv", *longest)], located or ())
    assert sums(graded) == [54, 46]
    assert [rule for rule, _ in flagged(graded)] == ["location_unknown"]


def test_a_lesion_that_is_no_node_with_its_short_axis_alone_is_not_evaluated():
    short = changed(tr(**SUMS), lambda r: r("TRLNKID") == "T01", TRTESTCD=lambda _: "LPERP")
    graded = grade(short, tu(*SUMS))
    assert (sums(graded), overall(graded)) == ([None, None], ["NE", "NE"])
    assert {rule for rule, _ in flagged(graded)} == {"longest_diameter_missing"}


def test_a_short_axis_longer_than_the_longest_diameter_is_not_evaluated():
    wide = [measured("T01", n, mm, TRTESTCD="LPERP") for n, mm in enumerate((20, 15, 25))]
    graded = grade([*tr(**SUMS), *rows("tr2.csv", *wide)], tu(*SUMS))
    assert (sums(graded), overall(graded)) == ([40, None], ["SD", "NE"])
    assert [rule for rule, _ in flagged(graded)] == ["axes_contradict"]


@pytest.mark.parametrize("code", [999, 9999, -1, -99])
def test_a_code_of_a_missing_value_is_no_diameter(code):
    graded = grade(tr(**SUMS | {"T01": [30, code, 18]}), tu(*SUMS))
    assert (sums(graded), overall(graded)) == ([None, 27], ["NE", "PR"])
    assert [rule for rule, _ in flagged(graded)] in (
        ["implausible_diameter"],
        ["negative_diameter"],
    )


def test_a_target_whose_baseline_is_not_measured_leaves_no_sum():
    odd = changed(
        tr(**SUMS),
        lambda r: (r("TRLNKID"), r("VISITNUM")) == ("K01", "1"),
        TRSTRESU=lambda _: "in",
        TRORRESU=lambda _: "in",
    )
    graded = grade(odd, tu(*SUMS))
    assert overall(graded) == ["NE", "NE"]
    assert graded.visits["rule"][0].startswith("target NE: baseline sum not known")
    assert [rule for rule, _ in flagged(graded)] == ["unit_unknown"]


def test_sizes_ten_times_those_of_the_visit_before_are_asked_about():
    graded = grade(tr(T01=[30, 2.4, 2.4], K01=[20, 1.6, 1.6]), tu("T01", "K01"))
    assert [rule for rule, _ in flagged(graded)] == ["tenfold"]


def test_tables_in_chinese():
    states = ["存在", "存在", "消失"]
    roles = {"TARGET": "靶病灶", "NON-TARGET": "非靶病灶"}
    organs = {"K01": "淋巴结", "T01": "右肺上叶", "P01": "肝"}
    chinese = changed(
        tu(*SUMS), TUSTRESC=lambda r: roles[r("TUSTRESC")], TULOC=lambda r: organs[r("TULNKID")]
    )
    plain = changed(tr(**SUMS | {"P01": states}), TRGRPID=lambda _: "")
    graded = grade(plain, chinese)
    assert (sums(graded), flagged(graded)) == ([40, 27], [])
    assert graded.visits["nontarget_response"].to_list() == ["NON_CR_NON_PD", "CR"]
    assert role_of("新发病灶") == "new"


def test_a_decimal_comma_is_a_decimal_point():
    flags = Flags()
    (row,) = rows("tr.csv", measured("T01", 0, 30, TRSTRESN="24,5", TRORRES="24,5"))
    assert (size_of(row, flags).mm, flags.found) == (24.5, [])


@given(st.from_regex(r"[A-Z]{1,3}[-_ ]?0{0,2}[1-9]\d?", fullmatch=True))
def test_a_key_is_its_own_key_and_has_no_case(label):
    assert label_key(label_key(label)) == label_key(label) == label_key(label.lower())
    assert subject_key(subject_key(label)) == subject_key(label.lower())


def test_a_location_that_says_nothing_of_nodes_is_none():
    assert [is_node(where) for where in ("LUNG", "LIVER", "KIDNEY", "ADRENAL GLAND", "肝")] == [
        False
    ] * 5


def test_diameters_of_no_lesion_at_baseline_leave_no_sum():
    nameless = changed(tr(**SUMS), lambda r: r("TRLNKID") == "K01", TRLNKID=lambda _: "")
    graded = grade(nameless, tu("T01", "P01"))
    assert overall(graded) == ["NE", "NE"]
    assert {rule for rule, _ in flagged(graded)} == {"lesion_not_named"}


def test_a_row_without_a_subject_is_left_out_by_name():
    graded = grade(changed(tr(**SUMS), lambda r: r.number == 5, USUBJID=lambda _: ""), tu(*SUMS))
    assert flagged(graded) == [("subject_unknown", "tr.csv row 5")]
    assert graded.visits["subject"].unique().to_list() == ["S1"]


def test_a_baseline_dated_after_the_visits_that_follow_it_is_named():
    late = changed(tr(**SUMS), lambda r: r("VISITNUM") == "1", TRDTC=lambda _: "2025-01-02")
    graded = grade(late, tu(*SUMS))
    assert {rule for rule, _ in flagged(graded)} == {"date_order"}
    assert graded.visits["days_from_baseline"].to_list() == [None, None]


def test_a_death_of_a_subject_that_dm_spells_otherwise_counts():
    dm = rows("dm.csv", {"USUBJID": "s1", "DTHDTC": "2024-06-01"})
    graded = grade(tr(**SUMS), tu(*SUMS), dm_rows=dm)
    (course,) = courses_of_trial(graded, graded.dm, load_study().section("endpoints"))
    assert course.death is not None
    assert (course.death.days, course.death.event) == (151, True)


def test_a_baseline_after_the_first_dose_is_named():
    (first,) = rows("dm.csv", {"RFXSTDTC": "2023-12-10", "DTHDTC": ""})
    graded = grade(tr(**SUMS), tu(*SUMS), dm_rows=[first])
    assert [rule for rule, _ in flagged(graded)] == ["baseline_after_treatment"]


@pytest.mark.parametrize("other", [{"TUSTRESC": "NON-TARGET"}, {"TULOC": "LYMPH NODE"}])
def test_a_lesion_that_tu_identifies_in_two_ways_is_named(other):
    again = changed(tu("T01"), **{name: lambda _, word=word: word for name, word in other.items()})
    graded = grade(tr(**SUMS), [*tu(*SUMS), *(replace(r, file="tu2.csv") for r in again)])
    assert flagged(graded) == [("identification_contradicts", "tu2.csv row 2")]


@pytest.mark.parametrize("names", [("筛选期", "第6周", "第12周"), ("基线", "C3后", "C5后")])
def test_visits_with_chinese_names_and_no_numbers(names):
    of = dict(zip(("1", "2", "3"), names, strict=True))
    chinese = changed(tr(**SUMS), VISIT=lambda r: of[r("VISITNUM")], VISITNUM=lambda _: "")
    assert overall(grade(chinese, tu(*SUMS))) == ["SD", "PR"]


@pytest.mark.parametrize(("text", "mm"), [("24 mm", 24.0), ("2.4cm", 24.0), ("24,5mm", 24.5)])
def test_a_unit_may_stand_behind_the_figure(text, mm):
    cells = {"TRORRES": text, "TRORRESU": "", "TRSTRESN": "", "TRSTRESU": ""}
    (row,) = rows("tr.csv", measured("T01", 0, 30, **cells))
    assert size_of(row, Flags()).mm == pytest.approx(mm)

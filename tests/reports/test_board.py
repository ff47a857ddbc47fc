"""The board page: as of its visit, whole in either language, one sheet, nothing withheld on it."""

from __future__ import annotations

import re
from datetime import timedelta

import polars as pl
import pytest

from dagster_project.domain.response.as_of_visits import derive_responses_as_of
from dagster_project.lake.sharing import FILE
from dagster_project.reports import writing
from dagster_project.reports.board import (
    TABLES_READ,
    cut_sheet,
    list_sheets,
    page_codes,
    render_board,
)
from dagster_project.reports.summaries.tables import completed
from dagster_project.study import load_study
from tests.domain.courses import IRECIST
from tests.domain.records import DAY_ZERO, VISIT_DAYS, lesions, table
from tests.reports.boards import MOMENT, PATIENT, STUDY, case, crop_of
from tests.reports.browser import CHINESE, Opened, chromium
from tests.reports.pages import Page

PSEUDO = {"L1": [26.6, 35.6, 15.0], "L2": [14.2, 18.1, 9.0]}
DISAGREES = {"L1": [27.5, 29.0, 15.5], "L2": [14.0, 14.4, 9.5]}
STABLE_STATE = {"status_date": DAY_ZERO + timedelta(54), "day": 54, "ecog": 1}
FROM = IRECIST["confirmation_earliest_days"] - IRECIST["confirmation_tolerance_days"]
TO = IRECIST["confirmation_latest_days"] + IRECIST["confirmation_tolerance_days"]


class Crops(dict):
    """Crops of balls of the lesions' sizes; each has bytes when they are wanted."""

    def __init__(self, sizes, visits=("T0", "T1", "T2")):
        super().__init__()
        for lesion, values in sizes.items():
            for place, (visit, size) in enumerate(zip(visits, values, strict=False)):
                if size:
                    self[visit, lesion] = _Crop(f"{lesion}{visit}", size, place)


class _Crop:
    def __init__(self, digest, size, seed):
        self.digest, self._size, self._seed = digest, size, seed

    def content(self):
        return crop_of(self._size, seed=self._seed)


def board(tables, found, visit, crops=None):
    own = {name: frame.filter(patient=PATIENT) for name, frame in tables.items()}
    own |= {"arbitrations": tables.get("arbitrations", table("arbitrations"))}
    sheet = cut_sheet(PATIENT, visit, own, found)
    return render_board(
        sheet, STUDY, digest="0", snapshot=7, generated_at=MOMENT, crops=crops or {}
    )


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """The three pages of a pseudoprogressor whose readers differ on the block, by visit."""
    tables, found = case(PSEUDO, DISAGREES, states=(STABLE_STATE,))
    folder = tmp_path_factory.mktemp("boards")
    crops = Crops(PSEUDO)
    files, _ = writing.write_boards(
        folder, tables, found, STUDY, 7, MOMENT, crops=lambda _own: crops
    )
    return {file.stem.rpartition("_")[2]: file for file in files}


@pytest.fixture(scope="module")
def browser():
    with chromium() as opened:
        yield opened


def words(file, language="en"):
    return Page(file.read_text(encoding="utf-8")).in_language(language)


# -- as of the visit -------------------------------------------------------------------------------


def test_a_page_is_the_same_whatever_came_later():
    """T2, an event, a clinical state and a cycle after T1 leave the page of T1 as it was."""
    later = {"status_date": DAY_ZERO + timedelta(90), "day": 90, "new_symptoms": True}
    whole = case(PSEUDO, states=(STABLE_STATE, later), events=[("death", 300)])
    then = case(PSEUDO, visits=("T0", "T1"), states=(STABLE_STATE,))
    assert board(*whole, "T1") == board(*then, "T1")
    assert board(*whole, "T0") == board(*then, "T0")


def test_a_lesion_called_new_later_is_not_new_before():

    tables, found = case({"L1": [30, 30, 30], "N1": [None, 8, 14]})
    assert "A new lesion was seen" in Page(board(tables, found, "T1")).in_language("en")
    equivocal = lesions(L1=[30, 30, 30], N1=[None, 8, 14]).with_columns(
        unequivocal=pl.when(lesion="N1", visit="T1").then(False).otherwise(pl.col("unequivocal"))
    )

    graded = derive_responses_as_of(
        {"accepted": equivocal}, tables["timepoints"], tables["clinical_status"], STUDY.sections
    )
    assert dict(graded.select("visit", "new_lesion").iter_rows()) == {"T1": False, "T2": True}


def test_no_day_of_the_calendar_but_its_own(pages):
    for file in pages.values():
        assert set(re.findall(r"\d{4}-\d\d-\d\d", words(file))) == {"2026-03-04"}
        assert PATIENT in words(file)


def squeezed(text):
    """Without the spaces that stand around marks."""
    return re.sub(r"\s+([,;:)–])", r"\1", re.sub(r"([(–])\s+", r"\1", text))


def test_no_risk_is_on_a_page_while_a_read_is_open():
    tables, found = case(PSEUDO, DISAGREES, locked=False)
    assert tables["dynamic_risk"].filter(visit="T1", withheld=False).height
    shown = Page(board(tables, found, "T1")).in_language("en")
    assert "behind it" not in shown
    assert "None while a read is open or the case waits for its arbiter." in shown


def test_a_page_without_risks_says_that_the_gate_has_not_been_open():
    tables, found = case(PSEUDO)
    none = {**tables, "dynamic_risk": tables["dynamic_risk"].clear()}
    assert "the quality gate has not been open" in Page(board(none, found, "T1")).in_language("en")
    assert "质控尚未放行" in Page(board(none, found, "T1")).in_language("zh")


def test_the_pseudoprogressor_at_t1_and_at_t2(pages):
    """Withheld with its reason, class and n, window in days, planned CT; then pseudoprogression."""
    at_t1 = words(pages["T1"])
    first = VISIT_DAYS["T1"]
    assert "Progression unconfirmed" in at_t1
    assert "withheld: a block is open, and no model was trained on such patients" in at_t1
    assert "n = 33" in at_t1
    assert "Confirmed by the next evaluable CT: 28 % (14 %–47 %)" in squeezed(at_t1)
    assert "9 of 32 behind it; progressions of its class" in squeezed(at_t1)
    assert f"day {first + FROM} to {first + TO} , {FROM} to {TO} days after this CT" in at_t1
    assert "day 105 inside the window" in at_t1
    assert "the readers differ on the block" in at_t1
    assert "pseudoprogression" not in at_t1
    assert "pseudoprogression by iRECIST" in words(pages["T2"])
    assert "stability unknown , symptoms unknown , ECOG 1 , on day 54" in at_t1


def test_without_a_clinical_state_the_page_says_so():
    assert "Clinical state not recorded" in Page(board(*case(PSEUDO), "T1")).in_language("en")


# -- rules with the numbers put in -----------------------------------------------------------------


def test_the_rules_have_the_numbers_of_the_visit(pages):
    text = words(pages["T1"])
    assert "53.7 ≥ 1.2 × 40.8 = 49.0, and +12.9 ≥ 5.0 mm: progression of the targets." in text
    assert "53.7 > 0.7 × 40.8 = 28.6: no partial response." in text
    later = words(pages["T2"])
    assert "24.0 < 58.7: by its sum not enough to confirm the block." in later
    assert "24.0 < 49.0: by its sum enough to reset the block." in later


@pytest.mark.parametrize(
    "sizes", [(30, 38, 45), (30, 37, 42), (30, 32, 33), (30, 20, 0), (40, 43, 20)]
)
def test_a_sentence_says_what_the_table_says(sizes):
    """A progression, an unconfirmed one, stable disease, a complete response, a response."""
    tables, found = case({"L1": list(sizes)})
    graded = tables["responses"].filter(evaluator="accepted")
    for row in graded.to_dicts():
        text = Page(board(tables, found, row["visit"])).in_language("en")
        grown = row["target_response_arithmetic"] == "PD"
        assert (": progression of the targets." in text) == grown
        assert f"iRECIST {row['irecist_response']}" in text


# -- what may not be seen --------------------------------------------------------------------------


def test_no_picture_letter_or_other_read_while_a_read_is_open():
    tables, found = case(PSEUDO, DISAGREES, locked=False)
    crops = {key: crop.content() for key, crop in Crops(PSEUDO).items()}
    html = board(tables, found, "T1", crops)
    text = Page(html).in_language("en")
    assert "No picture while a read is open" in text
    assert "data:image" not in html
    assert "crop-" not in html
    assert "Each reader" not in text
    assert 'class="ring"' not in html


def test_no_reader_is_named(pages):
    for file in pages.values():
        assert not re.search(r"\bR[12]\b", words(file))


def test_while_a_case_waits_nothing_of_the_provisional_read_is_shown():
    tables, _ = case(PSEUDO, DISAGREES)
    waits = table("arbitrations", {"status": "open", "reader_a": "R1", "reader_b": "R2"})
    shown = completed({**tables, "arbitrations": waits})
    assert list_sheets(shown) == []


@pytest.fixture(scope="module")
def waiting_pages(tmp_path_factory):
    """The pages of a case that awaits its arbiter, by visit."""
    tables, found = case(PSEUDO, DISAGREES, states=(STABLE_STATE,))
    triggers = ["response T1", "target_sum T1 23.4 %"]
    waits = {"status": "open", "reader_a": "R1", "reader_b": "R2", "triggers": triggers}
    tables |= {"arbitrations": table("arbitrations", waits)}
    recorded = []
    files, written = writing.write_boards(
        tmp_path_factory.mktemp("waiting"),
        tables,
        found,
        STUDY,
        7,
        MOMENT,
        crops=lambda _own: Crops(PSEUDO),
        record=lambda sheet, code: recorded.append((sheet, code)),
    )
    assert (written, recorded) == (3, [])
    return {file.stem.rpartition("_")[2]: file for file in files}


def test_a_case_that_awaits_its_arbiter_has_a_page_that_says_what_is_awaited(waiting_pages):
    assert sorted(waiting_pages) == ["T0", "T1", "T2"]
    english, chinese = (words(waiting_pages["T1"], code) for code in ("en", "zh"))
    assert "the decision of an arbiter is awaited" in english
    assert "等待仲裁者裁决" in chinese
    assert "Overall response differs" in english
    assert "Sums of diameters differ" in english


def test_no_number_of_either_read_is_on_the_page_of_a_case_that_waits(waiting_pages):
    sizes = {f"{n:g}" for read in (PSEUDO, DISAGREES) for row in read.values() for n in row}
    sums = {
        f"{sum(row):.1f}"
        for read in (PSEUDO, DISAGREES)
        for row in zip(*read.values(), strict=True)
    }
    for file in waiting_pages.values():
        text = file.read_text(encoding="utf-8").partition("<body>")[2]
        assert not [n for n in sizes | sums | {"23.4"} if re.search(rf"(?<![\d.]){n}\b", text)]
        assert not re.search(r"\bi?(?:PR|SD|PD(?!-L1)|CR|UPD|CPD)\b|data:image|\bBP-", text)


def test_the_page_of_a_case_that_waits_is_whole_in_either_language(waiting_pages, browser):
    opened = Opened(browser, waiting_pages["T1"])
    for language in ("english", "chinese"):
        opened.choose(language)
        shown = opened.page.inner_text("main")
        assert bool(CHINESE.search(shown)) == (language == "chinese")
        assert opened.violations() == {}
    assert opened.faults == []
    opened.close()


def test_an_outline_far_from_its_place_is_a_question_and_no_part_of_the_code():
    tables, found = case(PSEUDO, DISAGREES)
    plain = sheet_of(tables, found).page_code(STUDY)
    far = {"visit": "T1", "from_visit": "T0", "reader": "R2", "lesion": "L1", "distance_mm": 34.2}
    flags = {"flags": ["far_from_place"]}
    other = {**far, **flags, "lesion": "L5 (R2)"}
    tables |= {"lesion_locations": table("lesion_locations", {**far, **flags}, other)}
    page = Page(board(tables, found, "T1"))
    assert "same lesion? reader" in page.in_language("en")
    assert "L1 T1: outlined 34 mm from where it is expected from T0" in page.in_language("en")
    assert "L5 T1: outlined 34 mm" in page.in_language("en")
    assert not re.search(r"\bR[12]\b", page.text)
    assert "same lesion?" not in Page(board(tables, found, "T0")).in_language("en")
    assert sheet_of(tables, found).page_code(STUDY) == plain


# -- the board's decision --------------------------------------------------------------------------


def sheet_of(tables, found, visit="T1"):
    own = {name: tables[name].filter(patient=PATIENT) for name in TABLES_READ if name in tables}
    own |= {"arbitrations": table("arbitrations")}
    return cut_sheet(PATIENT, visit, own, found)


def decided(tables, found, *, code=None, **values):
    """The tables with a decision on T1, on its page as it is or on another."""
    own = sheet_of(tables, found).page_code(STUDY)
    row = {"visit": "T1", "number": 1, "decision": "continue_and_rescan_early", "day": 63}
    row |= {"decided_by": "oncologist", "status": "page_current", "next_ct_day": 84}
    rows = table("board_decisions", row | {"page_code": code or own} | values)
    return {**tables, "board_decisions": rows}


def test_a_page_prints_its_code_and_how_a_decision_is_recorded(pages):
    for visit, file in pages.items():
        tables, found = case(PSEUDO, DISAGREES, states=(STABLE_STATE,))
        code = sheet_of(tables, found, visit).page_code(STUDY)
        assert f"Code of this page {code}" in words(file)
        assert f"本页编号 {code}" in words(file, "zh")
        assert "board/decisions.csv" in words(file)


def test_a_recorded_decision_is_printed_on_the_page_of_its_visit_alone():
    tables, found = case(PSEUDO)
    with_one = decided(tables, found, clinically_stable=True)
    page = Page(board(with_one, found, "T1"))
    said = page.in_language("en")
    assert "Decision: continue and rescan early" in said
    assert "Clinically stable: yes" in said
    assert "Next CT: day 84" in said
    assert "By: oncologist , day 63" in said
    assert "an earlier state" not in said
    assert "继续并提前复查" in page.in_language("zh")
    assert board(with_one, found, "T2") == board(tables, found, "T2")


def test_a_decision_on_an_earlier_state_of_the_page_says_so():
    tables, found = case(PSEUDO)
    page = Page(board(decided(tables, found, code="BP-BCDF-GHJK-LMNP"), found, "T1"))
    assert "on an earlier state of this page" in page.in_language("en")
    assert "依据本页先前的内容" in page.in_language("zh")


def test_of_two_decisions_that_contradict_the_page_prints_none():
    tables, found = case(PSEUDO)
    page = Page(board(decided(tables, found, status="contradictory"), found, "T1"))
    said = page.in_language("en")
    assert "two decisions contradict; neither is used" in said
    assert "continue and rescan early" not in said
    assert "Clinically stable: yes □ no □" in said


def test_the_code_of_a_page_is_a_digest_of_the_rows_behind_it():
    """Any row of its day changes it; what came later, a decision and the order of rows do not."""
    tables, found = case(PSEUDO, states=(STABLE_STATE,))
    code = sheet_of(tables, found).page_code(STUDY)
    assert sheet_of(decided(tables, found), found).page_code(STUDY) == code
    turned = {name: frame.reverse() for name, frame in tables.items()}
    assert sheet_of(turned, found).page_code(STUDY) == code
    then = case(PSEUDO, visits=("T0", "T1"), states=(STABLE_STATE,))
    assert sheet_of(*then).page_code(STUDY) == code
    others = [
        case({**PSEUDO, "L2": [14.2, 18.2, 9.0]}, states=(STABLE_STATE,)),
        case(PSEUDO, states=({**STABLE_STATE, "ecog": 2},)),
        case(PSEUDO),
    ]
    codes = {sheet_of(*other).page_code(STUDY) for other in others}
    assert len(codes | {code}) == 4
    assert sheet_of(tables, found, "T2").page_code(STUDY) != code


def test_the_codes_of_cases_are_those_that_their_pages_print(tmp_path):
    tables, found = case(PSEUDO)
    printed = {}
    writing.write_boards(
        tmp_path,
        tables,
        found,
        STUDY,
        7,
        MOMENT,
        record=lambda sheet, code: printed.update({sheet.visit: code}),
    )
    assert page_codes(tables, found, STUDY, {(PATIENT, "T1")}) == {printed["T1"]}
    every = {(PATIENT, visit) for visit in printed}
    assert page_codes(tables, found, STUDY, every) == set(printed.values())
    waits = table("arbitrations", {"status": "open", "reader_a": "R1", "reader_b": "R2"})
    assert page_codes({**tables, "arbitrations": waits}, found, STUDY, every) == set()


# -- files -----------------------------------------------------------------------------------------


def test_a_page_is_written_anew_only_where_something_changed(tmp_path):
    tables, found = case(PSEUDO)
    args = (tmp_path, tables, found, STUDY, 7, MOMENT)
    assert writing.write_boards(*args)[1] == 3
    assert writing.write_boards(*args)[1] == 0
    given = tables["treatments"].with_columns(drugs=pl.lit("carboplatin"))
    assert writing.write_boards(tmp_path, {**tables, "treatments": given}, *args[2:])[1] == 2, (
        "T0 is before the first cycle"
    )


def test_pages_with_ct_are_closed_to_others_and_go_with_the_patient(pages, tmp_path):
    assert all(file.stat().st_mode & 0o777 == 0o600 for file in pages.values())
    tables, found = case(PSEUDO)
    args = (found, STUDY, 7, MOMENT)
    plain, _ = writing.write_boards(tmp_path, tables, *args)
    assert {file.stat().st_mode & 0o777 for file in plain} == {FILE}, "without CT as other pages"
    gone = {name: frame.clear() for name, frame in tables.items()}
    assert writing.write_boards(tmp_path, gone, *args) == ([], 0)
    assert list((tmp_path / "board").iterdir()) == []


# -- in the browser --------------------------------------------------------------------------------


@pytest.mark.parametrize("visit", ["T0", "T1", "T2"])
def test_one_sheet_of_a4_in_each_language_and_nothing_to_complain_of(pages, browser, visit):
    opened = Opened(browser, pages[visit])
    for language in ("english", "chinese"):
        opened.choose(language)
        assert opened.sheets() == 1
        assert opened.violations() == {}
    opened.page.emulate_media(media="print")
    opened.page.set_viewport_size({"width": 1062, "height": 730})
    parts = opened.page.evaluate(
        "[...document.querySelectorAll('.sheet, .sheet > *')].map("
        "e => [e.className, e.scrollHeight - e.clientHeight, e.scrollWidth - e.clientWidth])"
    )
    assert [part for part in parts if part[1] > 1 or part[2] > 1] == []
    opened.page.emulate_media(media="screen")
    assert opened.width_on_a_phone() <= 360
    assert opened.faults == []
    assert {url.partition(":")[0] for url in opened.asked} <= {"file", "data", "blob"}
    opened.close()


SAME = re.compile(
    r"(?<![A-Za-z])(?:BP(?:-[B-Z]{4}){3}|board/decisions\.csv|i?(?:CR|PR|SD|PD|UPD|CPD|NE)|iUPD|iCPD|RECIST|iRECIST|CT|DHI|T\d|V\d|L\d|N\d|mm|HU|ECOG|EGFR|ALK|"
    r"PD-L1|TPS|IVA|ChiCTR\d+|UTC|BJCH(?:-A)?|English|[a-f0-9]{16}|atezolizumab|Ghaffari|Laleh|"
    r"Page|Home|Shift)(?![A-Za-z])"
)
"""Codes and names that Chinese departments write in Latin letters too."""


@pytest.mark.parametrize("visit", ["T0", "T1", "T2"])
def test_neither_language_has_a_word_of_the_other(pages, browser, visit):
    opened = Opened(browser, pages[visit])
    english = opened.page.inner_text("main")
    opened.choose("chinese")
    chinese = opened.page.inner_text("main")
    opened.close()
    assert CHINESE.findall(english) == []
    left = re.findall(r"[A-Za-z]{2,}", SAME.sub("", chinese))
    assert left == []


def test_the_page_is_whole_without_scripts(pages, browser):
    opened = Opened(browser, pages["T1"], java_script_enabled=False)
    shown = opened.page.inner_text("main")
    assert "the still pictures of this page show the same lesions" in shown
    assert opened.page.locator(".shot img").count() == 4
    opened.page.check("#in-chinese")
    assert "进展待确认" in opened.page.inner_text("main")
    opened.close()


def test_the_protocol_is_that_of_the_study():
    assert STUDY.digest == load_study().digest

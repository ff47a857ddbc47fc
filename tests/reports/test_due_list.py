"""The due list: each open block in its section with its reasons, in both languages, offline."""

from __future__ import annotations

import base64
import hashlib
import re
from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest

from dagster_project.domain.response.block_rows import derive_irecist_blocks
from dagster_project.domain.response.dynamic_standard import standard_of
from dagster_project.lake.clock import CLOCK_SCHEMA
from dagster_project.lake.schema import empty
from dagster_project.lake.tables import BY_NAME
from dagster_project.reports.due_list import (
    SECTIONS,
    due_table,
    list_due,
    list_withheld,
    render_due_list,
)
from tests.domain.courses import IRECIST, STUDY
from tests.domain.records import DAY_ZERO, VISIT_DAYS, cycles, follow_up, lesions, table, timepoints
from tests.reports.boards import case
from tests.reports.browser import CHINESE, Opened, chromium
from tests.reports.pages import Page

T1 = VISIT_DAYS["T1"]
FROM = IRECIST["confirmation_earliest_days"] - IRECIST["confirmation_tolerance_days"]
TO = IRECIST["confirmation_latest_days"] + IRECIST["confirmation_tolerance_days"]
SOON = STUDY.section("dynamic")["due_soon_days"]
GROWN, FLAT = lesions(L1=[50, 70]), lesions(L1=[50, 50])
MOMENT = datetime(2026, 3, 4, 5, 6, tzinfo=UTC)


def tables(day, reads=None, visits=("T0", "T1"), states=(), **more):
    """The tables of one patient on a day from the first cycle."""
    as_of = DAY_ZERO + timedelta(day)
    clock = pl.DataFrame([("BJCH", "BJCH-A", as_of)], schema=CLOCK_SCHEMA, orient="row")
    status = table("clinical_status", *states) if states else empty(BY_NAME["clinical_status"])
    blocks = derive_irecist_blocks(
        reads or {"accepted": GROWN},
        timepoints(*visits),
        follow_up(),
        cycles(0, 21, 42, 63),
        status,
        clock,
        STUDY.sections,
        standard_of(STUDY),
    )
    return {"irecist_blocks": blocks, "clinical_status": status, **more}


def sections(day, *args, **more):
    return [row["section"] for row in list_due(tables(day, *args, **more), STUDY)]


@pytest.mark.parametrize(
    ("day", "section"),
    [
        (T1, "waiting"),
        (T1 + FROM - SOON - 1, "waiting"),
        (T1 + FROM - SOON, "due"),
        (T1 + FROM, "due"),
        (T1 + TO, "due"),
        (T1 + TO + 1, "overdue"),
    ],
)
def test_the_section_of_a_block_moves_with_the_day(day, section):
    assert sections(day) == [section]


def test_a_ct_that_was_not_read_yet_is_unreadable_with_its_reason():
    (row,) = list_due(tables(100, visits=("T0", "T1", "T2")), STUDY)
    assert (row["section"], "not read yet" in row["reason"]) == ("unreadable", True)


def test_readers_who_differ_are_listed_without_their_names():
    found = tables(T1 + 5, {"accepted": GROWN, "R1": GROWN, "R2": FLAT})
    rows = list_due(found, STUDY)
    assert [(r["section"], r["readers"]) for r in rows] == [
        ("differ", ("open for 1", "未结束1名")),
        ("waiting", None),
    ]
    text = Page(page(found)).text
    assert not re.search(r"\bR[12]\b", text)


def test_what_a_provisional_read_gives_is_not_listed():
    case = table("arbitrations", {"status": "open", "reader_a": "R1", "reader_b": "R2"})
    found = tables(T1 + 5, {"accepted": GROWN, "R1": GROWN, "R2": FLAT}, arbitrations=case)
    assert [row["section"] for row in list_due(found, STUDY)] == ["differ"]
    assert "1 patient waits for an arbiter" in Page(page(found)).text


def test_a_block_that_has_ended_is_on_no_list():
    confirmed = lesions(L1=[50, 70, 90])
    assert sections(120, {"accepted": confirmed}, visits=("T0", "T1", "T2")) == []


def decided(day, **values):
    row = {"visit": "T1", "number": 1, "decision_date": DAY_ZERO + timedelta(day), "day": day}
    row |= {"decision": "continue_and_rescan_early", "status": "page_current"}
    return {"board_decisions": table("board_decisions", row | values)}


@pytest.mark.parametrize(
    ("values", "english", "chinese"),
    [
        ({}, "board T1: continue and rescan early", "讨论T1：继续并提前复查"),
        (
            {"status": "page_superseded"},
            "board T1: continue and rescan early (the page has changed since)",
            "讨论T1：继续并提前复查 （该页此后已变）",
        ),
        (
            {"status": "contradictory"},
            "board T1: two decisions contradict",
            "讨论T1：两个决定相互矛盾",
        ),
    ],
    ids=["current", "superseded", "contradictory"],
)
def test_a_case_that_a_board_has_decided_says_so(values, english, chinese):
    found = tables(T1 + FROM) | decided(T1 + 3, **values)
    shown = Page(page(found))
    assert english in shown.in_language("en")
    assert chinese in shown.in_language("zh")
    (row,) = due_table(found, STUDY).select("board_visit", "board_decision", "board_status").rows()
    status = values.get("status", "page_current")
    used = None if status == "contradictory" else "continue_and_rescan_early"
    assert row == ("T1", used, status)


def test_a_decision_from_before_the_block_is_none_on_it():
    found = tables(T1 + FROM) | decided(3, visit="T0")
    assert "board T0" not in Page(page(found)).text
    assert due_table(found, STUDY)["board_status"].to_list() == [None]


def page(found):
    return render_due_list(found, STUDY, snapshot=7, generated_at=MOMENT)


def test_the_page_says_what_is_due_and_what_would_confirm_or_reset():
    text = Page(page(tables(T1 + FROM))).in_language("en")
    assert f"day {T1 + FROM} to {T1 + TO}" in text
    assert f"today is day {T1 + FROM}" in text
    assert f"{TO - FROM} days left" in text
    assert "≥ 75.0 mm confirms" in text
    assert "< 60.0 mm resets" in text
    assert "not recorded" in text
    assert "day 105 inside the window" in text


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ({"clinically_stable": True, "new_symptoms": False}, ("stable", "no new symptoms")),
        ({"clinically_stable": False, "new_symptoms": True}, ("not stable", "new symptoms")),
        ({"ecog": 1}, ("stability unknown", "symptoms unknown")),
    ],
)
def test_the_clinical_state_is_the_latest_and_unknown_is_printed(state, words):
    earlier = {"status_date": DAY_ZERO, "day": 0, "clinically_stable": True}
    later = {"status_date": DAY_ZERO + timedelta(60), "day": 60, **state}
    text = Page(page(tables(T1 + FROM, states=(earlier, later)))).text
    assert all(word in text for word in words)
    assert "day 60" in text


def test_every_section_and_reason_is_there_in_both_languages():
    html = page(tables(T1 + FROM))
    text = Page(html).text
    for en, zh in SECTIONS.values():
        assert en in text
        assert zh in text
    assert "fewer readers than the protocol asks for" in text
    assert "阅片者人数少于方案要求" in text
    assert text.count("None.") == text.count("无。") == len(SECTIONS) - 1
    assert "Language" in text


def test_it_works_offline_and_names_no_day_of_the_calendar_but_its_own():
    html = page(tables(T1 + FROM))
    parsed = Page(html)
    assert parsed.unclosed == []
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', html)[1]
    (own,) = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(own.encode()).digest()).decode()
    assert f"default-src 'none'; script-src 'sha256-{digest}';" in policy
    assert [a for a in parsed.addresses if a.startswith(("http", "//"))] == []
    assert re.findall(r"\d{4}-\d{2}-\d{2}", parsed.text) == ["2026-03-04"]
    assert str(date.today().year) not in parsed.text.replace("2026-03-04", "").replace(
        STUDY.section("study")["registration"], ""
    )


def test_the_table_beside_it_has_the_same_rows():
    found = tables(T1 + TO + 3)
    (row,) = due_table(found, STUDY).to_dicts()
    assert (row["section"], row["days_left"], row["today"]) == ("overdue", -3, T1 + TO + 3)
    assert due_table({}, STUDY).is_empty()


def test_without_a_first_cycle_the_page_says_how_long_it_is_open():
    found = tables(T1 + FROM)
    blocks = found["irecist_blocks"].with_columns(
        pl.lit(None, pl.Int32).alias(name)
        for name in ("opened_day", "confirm_from_day", "confirm_to_day", "planned_scan_day")
    )
    shown = Page(page({**found, "irecist_blocks": blocks}))
    assert f"open for {FROM} days" in shown.in_language("en")


# -- withheld, and in the browser ------------------------------------------------------------------


def test_a_probability_that_is_withheld_is_listed_with_its_reason_and_class():
    found, _ = case({"L1": [26.6, 35.6], "L2": [14.2, 18.1]}, visits=("T0", "T1"))
    (row,) = list_withheld(found)
    assert (row["visit"], row["class_n"]) == ("T1", 33)
    text = Page(page(found)).in_language("en")
    assert "withheld: a block is open" in text
    assert "n = 33: 13 confirmed, 10 reset" in text
    assert "margin above 0.5 to 2, first visit" in text
    chinese = Page(page(found)).in_language("zh")
    assert "余量 大于 0.5 至 2，首次随访" in chinese
    assert due_table(found, STUDY).filter(section="withheld")["reason"][0].startswith("withheld")


def test_a_patient_without_a_prediction_for_another_cause_is_not_withheld():
    found, _ = case({"L1": [30, 30]}, visits=("T0", "T1"))
    assert list_withheld(found) == []


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    """The page of one block in two sections, in the browser."""
    found = tables(T1 + 5, {"accepted": GROWN, "R1": GROWN, "R2": FLAT})
    file = tmp_path_factory.mktemp("due") / "due_list.html"
    others = found["irecist_blocks"].with_columns(
        patient=pl.lit("BJCH-B"), days_open=pl.col("days_open") + 40
    )
    blocks = pl.concat([found["irecist_blocks"], others])
    file.write_text(page({**found, "irecist_blocks": blocks}), encoding="utf-8")
    with chromium() as browser:
        shown = Opened(browser, file)
        yield shown
        shown.close()


def test_it_is_searched_and_sorted_in_the_page(opened):
    rows = opened.page.locator("#differ tbody")
    assert [text.split()[0] for text in rows.all_inner_texts()] == ["BJCH-B", "BJCH-A"]
    opened.page.click("#differ th button >> nth=0")
    assert [text.split()[0] for text in rows.all_inner_texts()] == ["BJCH-A", "BJCH-B"]
    opened.page.click("#differ th button >> nth=0")
    assert [text.split()[0] for text in rows.all_inner_texts()] == ["BJCH-B", "BJCH-A"]
    assert opened.page.get_attribute("#differ th >> nth=0", "aria-sort") == "descending"
    opened.page.fill("#search", "bjch-b")
    shown = opened.page.locator("tbody:not([hidden])").all_inner_texts()
    assert {text.split()[0] for text in shown} == {"BJCH-B"}
    assert opened.page.inner_text("output") == str(len(shown))
    opened.page.fill("#search", "")


def test_it_is_clean_in_both_languages_and_on_a_phone(opened):
    for language in ("chinese", "english"):
        opened.choose(language)
        assert opened.violations() == {}
    assert CHINESE.findall(opened.page.inner_text("main")) == []
    assert opened.width_on_a_phone() <= 360
    assert opened.faults == []

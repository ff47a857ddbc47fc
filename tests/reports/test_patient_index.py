"""The index leads to each of 500 patients, and is searched, filtered and sorted in a browser."""

from __future__ import annotations

import polars as pl
import pytest

from dagster_project.reports import patient_index as p
from dagster_project.reports.summaries.tables import completed
from dagster_project.study import load_study
from tests.reports.browser import Opened, chromium
from tests.reports.cohort import MOMENT, bare, table, whole
from tests.reports.many import MANY, many
from tests.reports.pages import Page

STUDY = load_study()
EVERYONE = whole()["patients"]["patient"].to_list()
OPEN = whole()["arbitrations"].filter(pl.col("status") == "open")["patient"][0]
PLAIN = next(who for who in EVERYONE if who not in set(whole()["arbitrations"]["patient"]))

SHOWN_AT_FIRST = 100
ANSWER_MS = 100
PAGE_BYTES = 3_000_000


def index(tables=None):
    return p.render_patient_index(tables or whole(), STUDY, snapshot=41, generated_at=MOMENT)


def test_it_leads_to_every_patient():
    page = Page(index())
    assert {a for a in page.addresses if a.startswith("patients/")} == {
        f"patients/{who}.html" for who in EVERYONE
    }
    assert page.unclosed == []


def test_it_gives_the_latest_state():
    rows = {r["patient"]: r for r in p.list_index(dict(whole()))}
    last = (
        whole()["responses"]
        .filter(pl.col("patient") == PLAIN, pl.col("evaluator") == "accepted")
        .sort("day")
        .row(-1, named=True)
    )
    assert (rows[PLAIN]["visit"], rows[PLAIN]["irecist_response"]) == (
        last["visit"],
        last["irecist_response"],
    )
    assert rows[PLAIN]["visits"] == "T0 T1 T2"
    assert rows[OPEN]["case"] == "open"
    assert len(rows) == len(EVERYONE)


def test_it_shortens_a_long_row_of_visits():
    extra = [
        {
            "site": "NORTH",
            "patient": PLAIN,
            "visit": f"V{n}",
            "scan": f"SV{n}",
            "day": 160 + n,
            "simulated": True,
        }
        for n in (1, 2, 3)
    ]
    tables = {
        **whole(),
        "timepoints": pl.concat([whole()["timepoints"], table("timepoints", extra)]),
    }
    assert next(r for r in p.list_index(tables) if r["patient"] == PLAIN)["visits"] == "T0 T1 T2 +3"


@pytest.mark.parametrize(
    ("language", "sentence"),
    [("en", "No patient has been taken in yet."), ("zh", "尚未接收任何患者。")],
)
def test_an_empty_one_says_so(language, sentence):
    assert sentence in Page(index({**bare()})).in_language(language)


def test_a_waiting_patient_has_no_state():
    rows = p.list_index(completed(whole()))
    row = next(r for r in rows if r["patient"] == OPEN)
    assert (row["irecist_response"], row["bor"], row["state"]) == (None, None, None)
    assert "state:none" in p.words_of(row, p.visits_of(rows)).split()
    page = Page(index())
    assert "waiting for arbitration" in page.in_language("en")
    assert "待仲裁" in page.in_language("zh")


def test_every_choice_of_a_filter_leaves_those_of_whom_it_is_true():
    rows = p.list_index(completed(whole()))
    visits = p.visits_of(rows)
    for f in p.list_filters(rows, STUDY):
        assert f.options
        for option in f.options:
            left = [r for r in rows if option.value in p.words_of(r, visits).split()]
            kind, _, code = option.value.partition(":")
            assert left
            assert all(_is_true(kind, code, row) for row in left), option
            assert not any(_is_true(kind, code, row) for row in rows if row not in left), option


def _is_true(kind, code, row):
    shown = None if row["case"] == "open" else row["state"]
    return {
        "site": row["site"] == code,
        "ct": code in row["planned"],
        "no-ct": code not in row["planned"],
        "eligible": row["eligible"] == (code == "yes"),
        "missed": code in row["missed"],
        "case": row["case"] == code,
        "state": (shown or "none") == code,
    }[kind]


# -- in the browser --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    file = tmp_path_factory.mktemp("index") / "index.html"
    file.write_text(index(many()), encoding="utf-8")
    assert file.stat().st_size <= PAGE_BYTES
    with chromium() as browser:
        page = Opened(browser, file)
        yield page
        page.close()


def _search(opened, text):
    """Milliseconds until the rows are laid out, and how many are left."""
    return opened.page.evaluate(
        """(text) => {
          const field = document.getElementById("search"), began = performance.now();
          field.value = text;
          field.dispatchEvent(new Event("input", { bubbles: true }));
          document.body.getBoundingClientRect();
          return [performance.now() - began, Number(document.querySelector("output").textContent)];
        }""",
        text,
    )


def test_a_search_is_answered_at_once_and_rightly(opened):
    everyone = many()["patients"]["patient"].to_list()
    assert len(everyone) == MANY
    for text in ("", "north", "t2", "-1", everyone[MANY // 2].lower(), "nobody"):
        answers = [_search(opened, text) for _ in range(3)]
        assert min(ms for ms, _ in answers) <= ANSWER_MS, (text, answers)
        if not text or text in everyone[MANY // 2].lower():
            named = sum(text in who.lower() for who in everyone)
            assert answers[0][1] >= named
    assert _search(opened, everyone[0].lower())[1] == 1
    assert _search(opened, "nobody")[1] == 0
    assert _search(opened, "")[1] == MANY


def test_filters_leave_the_rows_that_have_all_of_them(opened):
    rows = p.list_index(completed(many()))
    page = opened.page
    page.select_option("#filter-site", "site:NORTH")
    page.select_option("#filter-eligible", "eligible:no")
    expected = [r["patient"] for r in rows if r["site"] == "NORTH" and not r["eligible"]]
    assert page.locator("tbody tr:visible code").all_inner_texts() == expected[:SHOWN_AT_FIRST]
    assert page.inner_text("output") == str(len(expected))
    page.click("button[type=reset]")
    page.wait_for_function("n => document.querySelector('output').textContent === n", arg=str(MANY))
    assert page.locator("tbody tr:visible").count() == SHOWN_AT_FIRST
    page.click("[data-more]")
    assert page.locator("tbody tr:visible").count() == MANY
    page.click("button[type=reset]")


def test_columns_sort_both_ways_and_the_header_says_which(opened):
    button = opened.page.locator("thead button").first
    shown = opened.page.locator("tbody tr:visible code")
    first = {}
    for _ in range(2):
        button.click()
        direction = opened.page.get_attribute("thead th", "aria-sort")
        first[direction] = shown.first.inner_text()
    everyone = sorted(many()["patients"]["patient"])
    assert first["ascending"] in everyone[:20]
    assert first["descending"] in everyone[-20:]


@pytest.mark.parametrize("language", ["english", "chinese"])
@pytest.mark.parametrize("width", [1280, 390])
def test_nothing_overflows_and_axe_finds_nothing(opened, width, language):
    opened.choose(language)
    assert opened.width_on_a_phone(width) <= width
    assert opened.violations() == {}
    assert opened.faults == []
    box = opened.page.locator(".scroll")
    if width == 1280:
        assert box.evaluate("e => e.scrollWidth <= e.clientWidth")
    texts = opened.page.locator("option").all_inner_texts()
    assert ("全部" in texts) == (language == "chinese")
    assert ("all" in texts) == (language == "english")

"""The evaluation page: each figure with its bounds or its reason, whole in either language."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from dagster_project.domain.evaluation.block_figures import (
    outcome_figures,
    reclassification_figures,
    rescan_figures,
    sample_figures,
    stop_figure,
    timing_figures,
)
from dagster_project.domain.evaluation.dynamic_evaluation import (
    derive_dynamic_evaluation,
    rows_of_figures,
)
from dagster_project.lake.tables import DYNAMIC_EVALUATION
from dagster_project.reports.evaluation import render_evaluation, written
from dagster_project.reports.evaluation_words import COMPARATORS, POPULATIONS, QUESTIONS
from tests.domain.courses import STUDY
from tests.domain.evaluation.courses import ERROR, STANDARD, course
from tests.domain.evaluation.test_block_figures import many, progression
from tests.reports.browser import CHINESE, Opened, chromium
from tests.reports.pages import Page

MOMENT = datetime(2026, 3, 4, 5, 6, tzinfo=UTC)
COURSES = [course({"L1": [50, 45, 30]}), course({"L1": [50, 80, 40]}, dynamic=None)]


def rows(courses=COURSES):
    return derive_dynamic_evaluation(courses, ERROR, STUDY.sections, STANDARD, snapshot=7)


def with_values():
    """Figures of forty progressions: shares, days and AUCs with their bounds."""
    found, sections = [*many(20, 20), progression(99, "open")], STUDY.sections
    rules = sections["evaluation"]
    figures = [
        *outcome_figures(found, "*", sections),
        *rescan_figures(found, "*"),
        *rescan_figures(found, "BJCH"),
        *timing_figures(found, "*", sections),
        *reclassification_figures(found, "*", rules),
        stop_figure(found, "*", rules),
        *sample_figures(found, 100, 500, rules),
    ]
    return rows_of_figures(figures, STANDARD, snapshot=7, simulated=True)


def page(frame, snapshot=7):
    return render_evaluation(frame, STUDY, snapshot=snapshot, generated_at=MOMENT)


@pytest.mark.parametrize("column", ["question", "comparator", "population"])
def test_every_value_that_may_be_there_has_words(column):
    words = {"question": QUESTIONS, "comparator": COMPARATORS, "population": POPULATIONS}[column]
    assert set(words) == set(DYNAMIC_EVALUATION.column(column).allowed)


def test_each_figure_is_there_with_bounds_or_reason():
    frame = with_values()
    text = Page(page(frame)).in_language("en")
    for row in frame.to_dicts():
        shown = row["reason"] if row["value"] is None else written(row["value"], row["unit"])
        assert shown in text
        if row["lower"] is not None:
            assert written(row["lower"], row["unit"]) in text
    assert text.count("no figure") == frame.filter(estimable=False).height > 0


def test_a_small_cohort_is_all_reasons_in_both_languages():
    frame = rows()
    english, chinese = (Page(page(frame)).in_language(code) for code in ("en", "zh"))
    assert "not estimable" in english
    assert "不可估计" in chinese
    assert "not estimable" not in chinese
    assert "never advises to stop" in english or "at least" in english


def test_another_trial_is_named_as_such_and_has_no_snapshot():
    own, other = (Page(page(rows(), snapshot)).in_language("en") for snapshot in (7, None))
    assert "Another trial" not in own
    assert "snapshot 7" in own
    assert "Another trial’s tables" in other
    assert "snapshot" not in other


def test_it_asks_nothing_of_the_network_and_has_no_script():
    html = page(with_values())
    parsed = Page(html)
    assert parsed.unclosed == []
    assert "script" not in parsed.tags
    assert [a for a in parsed.addresses if a.startswith(("http", "//"))] == []
    assert "default-src 'none'; img-src" in html


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    file = tmp_path_factory.mktemp("evaluation") / "evaluation.html"
    file.write_text(page(with_values()), encoding="utf-8")
    with chromium() as browser:
        shown = Opened(browser, file)
        yield shown
        shown.close()


def test_it_is_clean_in_both_languages_on_a_phone_and_on_paper(opened):
    for language in ("chinese", "english"):
        opened.choose(language)
        assert opened.violations() == {}
    assert CHINESE.findall(opened.page.inner_text("main")) == []
    assert opened.faults == []
    assert opened.asked == [opened.asked[0]]


def test_nothing_is_wider_than_a_sheet_of_a4(opened):
    """The printed width of A4 less the margins: 180 mm at 96 dots per inch."""
    opened.page.set_viewport_size({"width": 680, "height": 900})
    opened.page.emulate_media(media="print")
    wide = opened.page.evaluate(
        "[...document.querySelectorAll('main *')].filter("
        "e => e.getBoundingClientRect().right > 682).length"
    )
    opened.page.emulate_media(media="screen")
    assert wide == 0
    assert opened.sheets() >= 2
    assert opened.width_on_a_phone() <= 360

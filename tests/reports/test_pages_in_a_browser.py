"""The study report and the pages of patients and cases, opened in both languages and two widths.

The report is that of as many patients as the study plans.
"""

from __future__ import annotations

import pytest

from dagster_project.reports.arbitration import CasePicture, render_case, render_worklist
from dagster_project.reports.figures.lesions import PANELS
from dagster_project.reports.patient_reports import render_patient_report
from dagster_project.reports.study_report import render_study_report
from dagster_project.study import load_study
from tests.reports.browser import Opened, chromium
from tests.reports.cohort import MOMENT, whole
from tests.reports.many import many

STUDY = load_study()

PAGE_BYTES = 3_000_000

AT = {"snapshot": 41, "generated_at": MOMENT}

OUTSIDE = """() => [...document.querySelectorAll('.scroll')]
  .filter(e => e.scrollWidth > e.clientWidth).map(e => e.textContent.slice(0, 60))"""
"""Beginnings of the tables and figures that are wider than their box."""


def _case():
    case = whole()["arbitrations"].filter(status="open").row(0, named=True)
    return render_case(case, whole(), STUDY, pictures=[CasePicture("T0", "L1", 3, b"")], **AT)


def _patient():
    busy = set(whole()["arbitrations"]["patient"])
    who = next(p for p in whole()["patients"]["patient"] if p not in busy)
    return render_patient_report(who, whole(), STUDY, **AT)


PAGES = {
    "report": lambda: render_study_report(many(), STUDY, 41, MOMENT),
    "patient": _patient,
    "case": _case,
    "worklist": lambda: render_worklist(whole(), STUDY, **AT),
}


@pytest.fixture(scope="module")
def browser():
    with chromium() as opened:
        yield opened


@pytest.fixture(scope="module", params=PAGES)
def opened(request, browser, tmp_path_factory):
    file = tmp_path_factory.mktemp("pages") / f"{request.param}.html"
    file.write_text(PAGES[request.param](), encoding="utf-8")
    page = Opened(browser, file)
    yield page
    page.close()


@pytest.mark.parametrize("language", ["english", "chinese"])
@pytest.mark.parametrize("width", [1280, 390])
def test_nothing_overflows_and_axe_finds_nothing(opened, width, language):
    opened.choose(language)
    assert opened.width_on_a_phone(width) <= width
    opened.page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert opened.violations() == {}
    assert opened.faults == []
    if width == 1280:
        assert opened.page.evaluate(OUTSIDE) == []


def test_a_report_of_500_patients_is_small_enough_to_send():
    assert len(PAGES["report"]().encode()) <= PAGE_BYTES


def test_words_of_a_figure_follow_the_switch(opened):
    texts = opened.page.locator("figure svg text[lang=zh]")
    for language, shown in (("english", False), ("chinese", True)):
        opened.choose(language)
        assert {t.is_visible() for t in texts.all()[:3]} <= {shown}
    assert opened.asked == [opened.page.url[:30]]


def test_a_picture_has_no_words():
    assert not any(c.islower() for *_, name in PANELS for c in name)

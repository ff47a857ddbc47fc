"""A page shows one language at a time, whole: what is not a name or a code is in both."""

from __future__ import annotations

import re

import pytest

from dagster_project.reports.arbitration import CasePicture, render_case, render_worklist
from dagster_project.reports.patient_index import render_patient_index
from dagster_project.reports.patient_reports import render_patient_report
from dagster_project.reports.study_report import render_study_report
from dagster_project.reports.wording import IDENTITY
from dagster_project.study import load_study
from tests.reports.browser import CHINESE
from tests.reports.cohort import MOMENT, bare, whole
from tests.reports.pages import SENTENCE, Page

STUDY = load_study()

SWITCH = "Language · 语言"

INVENTED = (
    "contour refers to a series that is not here",
    "overall: target response and no new lesion",
    "judged pooled with",
    "patients left out",
    "discordant case is not arbitrated",
    "send the series or the right contour",
)
"""Texts of the cohort of these tests, which no run writes and the catalogue need not have."""


PICTURES = [CasePicture("T0", "L1", 12, b"png")]

PROPOSALS = [
    {"kind": kind, "from_lesions": ("L1",), "to_lesions": ("L2",), "distance_mm": 3.2}
    | {"reader": "", "from_visit": "T0", "to_visit": "T1"}
    for kind in IDENTITY
]
"""Everything that a case page can say of labels."""


def _patients(tables):
    by_status = dict(tables["arbitrations"].select("status", "patient").iter_rows())
    plain = next(
        who
        for who in tables["patients"]["patient"].to_list()
        if who not in set(tables["arbitrations"]["patient"])
    )
    return [plain, *by_status.values()]


def _pages():
    pages = {}
    for name, tables in (("whole", whole()), ("bare", bare())):
        at = {"snapshot": 41, "generated_at": MOMENT}
        pages[f"report, {name}"] = render_study_report(tables, STUDY, 41, MOMENT)
        pages[f"index, {name}"] = render_patient_index(tables, STUDY, **at)
        pages[f"worklist, {name}"] = render_worklist(tables, STUDY, **at)
    for case in whole()["arbitrations"].to_dicts():
        pages[f"case, {case['status']}"] = render_case(
            case, whole(), STUDY, pictures=PICTURES, proposals=PROPOSALS, **at
        )
    for number, patient in enumerate(_patients(whole())):
        pages[f"patient {number}"] = render_patient_report(patient, whole(), STUDY, **at)
    return pages


PAGES = _pages()


@pytest.mark.parametrize("name", PAGES)
def test_a_page_in_chinese_holds_no_english_sentence(name):
    # The page's script puts the words of options, which hold no tags (test_patient_index.py).
    hidden = r"<code>.*?</code>|<option .*?</option>"
    shown = re.sub(hidden, "", PAGES[name], flags=re.DOTALL)
    text = Page(shown).in_language("zh")
    for invented in INVENTED:
        text = text.replace(invented, "")
    assert not SENTENCE.findall(text)
    assert CHINESE.search(text)


@pytest.mark.parametrize("name", PAGES)
def test_a_page_in_english_holds_no_chinese(name):
    text = Page(PAGES[name]).in_language("en").replace(SWITCH, "")
    assert not CHINESE.findall(text)


@pytest.mark.parametrize("name", PAGES)
def test_its_tags_are_closed_in_order(name):
    assert Page(PAGES[name]).unclosed == []

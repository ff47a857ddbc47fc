"""The arbiter's pages: both reads whole, no reader named, nothing that would tell them apart."""

from __future__ import annotations

import re

import polars as pl
import pytest

from dagster_project.reports.arbitration import (
    CasePicture,
    list_responses,
    render_case,
    render_worklist,
)
from dagster_project.reports.figures.canvas import NothingToDraw
from dagster_project.reports.figures.lesions import pair_figure
from dagster_project.study import load_study
from tests.domain.records import table
from tests.reports.cohort import MOMENT, READERS, whole
from tests.reports.pages import Page

STUDY = load_study()
TABLES = whole()
CASES = TABLES["arbitrations"]
PROPOSAL = {
    "kind": "label_swapped",
    "from_lesions": ("L1",),
    "to_lesions": ("L2",),
    "distance_mm": 3.2,
    "reader": READERS[0],
    "from_visit": "T0",
    "to_visit": "T1",
}


def worklist(tables):
    return render_worklist(tables, STUDY, snapshot=41, generated_at=MOMENT)


def case_page(case, **more):
    return render_case(case, TABLES, STUDY, snapshot=41, generated_at=MOMENT, **more)


def test_an_outline_far_from_its_place_is_shown_by_its_letter():
    case = CASES.filter(status="open").row(0, named=True)
    far = {"site": case["site"], "patient": case["patient"], "visit": "T1", "from_visit": "T0"}
    far |= {"reader": case["reader_b"], "lesion": "L1", "distance_mm": 34.2}
    rows = table("lesion_locations", {**far, "flags": ["far_from_place"]})
    page = render_case(
        case, {**TABLES, "lesion_locations": rows}, STUDY, snapshot=41, generated_at=MOMENT
    )
    assert re.search(r"\b[AB] L1 T0 T1 34\b", Page(page).text)
    assert "Same lesion?" not in Page(case_page(case)).text


def test_open_cases_stand_first_and_each_leads_to_its_page():
    page = Page(worklist(TABLES))
    assert {f"arbitration/{p}.html" for p in CASES["patient"]} <= set(page.addresses)
    assert page.text.index("Open cases") < page.text.index("Settled cases")
    assert page.unclosed == []


@pytest.mark.parametrize("status", ["open", "settled"])
def test_a_page_names_no_reader_and_speaks_both_languages(status):
    case = CASES.filter(status=status).row(0, named=True)
    html = case_page(case, pictures=[CasePicture("T0", "L1", 12, b"png")], proposals=[PROPOSAL])
    page = Page(html)
    assert not any(reader in html for reader in READERS)
    assert "病灶" in page.text
    assert "Lies where another label was" in page.text
    assert page.unclosed == []
    assert ("arbitration decide" in page.text) == (status == "open")


def test_the_worklist_names_no_reader_either():
    assert not any(reader in worklist(TABLES) for reader in READERS)


def test_without_a_case_the_worklist_says_so():
    html = worklist({})
    assert "No case waits for an arbiter" in html
    assert "没有待仲裁的病例" in html


def test_responses_stand_by_letter_and_day_and_say_where_they_differ():
    rows = pl.DataFrame(
        [
            {"visit": v, "evaluator": e, "overall_response": r, "new_lesion": False}
            for v, e, r in (
                ("T2", "R1", "PR"),
                ("T2", "R2", "PR"),
                ("T1", "R1", "SD"),
                ("T1", "R2", "PR"),
                ("T1", "accepted", "SD"),
            )
        ]
    )
    found = list_responses(rows, {"R1": "B", "R2": "A"}, {"T1": 50, "T2": 90})
    assert [
        (
            r["visit"],
            r["of"]["A"]["overall_response"],
            r["of"]["B"]["overall_response"],
            r["differs"],
        )
        for r in found
    ] == [("T1", "PR", "SD", True), ("T2", "PR", "PR", False)]


def test_each_read_is_drawn_on_its_own_copy_of_the_slice():
    import numpy as np
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(np.full((3, 60, 60), -700, np.int16))
    one, two = np.zeros((3, 60, 60), bool), np.zeros((3, 60, 60), bool)
    one[1, 20:30, 20:30] = two[1, 22:34, 22:34] = True
    drawn = pair_figure(image, {"A": one, "B": two}, 1)
    assert drawn.startswith(b"\x89PNG")
    assert (
        drawn
        == pair_figure(image, {"A": one, "B": two}, 1)
        != pair_figure(image, {"A": two, "B": one}, 1)
    )
    ends = {"A": np.array([[20.0, 20.0, 1.0], [29.0, 29.0, 1.0]])}
    assert drawn != pair_figure(image, {"A": one, "B": two}, 1, ends=ends)
    with pytest.raises(NothingToDraw):
        pair_figure(image, {"A": one, "B": two}, 2)

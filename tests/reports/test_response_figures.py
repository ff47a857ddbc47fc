"""Spider and swimmer plots, with Table 1 and the rates beside them.

The same values give the same bytes, and a clear word is there where there is nothing to draw.
"""

from __future__ import annotations

import pytest

from dagster_project.reports.figures.canvas import NothingToDraw
from dagster_project.reports.figures.response import Course, spider_figure, swimmer_figure
from dagster_project.reports.palette import DARK, LIGHT
from dagster_project.reports.pictures import response_pictures
from dagster_project.reports.summaries.cohort import Population
from dagster_project.reports.summaries.response import summarise_response_by, weight_disease_control
from dagster_project.reports.summaries.survival import compare_curves
from dagster_project.reports.summaries.tables import WHO, completed, list_patients
from dagster_project.reports.table_one import summarise_table_one
from tests.reports.cohort import bare, table, whole
from tests.reports.test_figures import opened

COURSES = [
    Course(
        "PR", [(56, -40.0), (98, -60.0)], [(56, "PR"), (98, "PR")], 200, died=False, going_on=True
    ),
    Course(
        "SD", [(56, -5.0), (98, 25.0)], [(56, "SD"), (98, "PD")], 98, died=False, going_on=False
    ),
    Course("NE", [(56, 400.0)], [], 40, died=True, going_on=False),
]


@pytest.mark.parametrize("draw", [spider_figure, swimmer_figure])
@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=lambda t: t.name)
def test_the_same_bytes_each_time_on_the_paper_of_the_theme(draw, theme):
    png = draw(COURSES, theme=theme)
    assert png == draw(COURSES, theme=theme)
    assert "#" + "".join(f"{v:02x}" for v in opened(png)[-1, -1]) == theme.paper


@pytest.mark.parametrize("draw", [spider_figure, swimmer_figure])
def test_nothing_to_draw_is_said(draw):
    with pytest.raises(NothingToDraw, match="at least one patient"):
        draw([Course("NE", [], [], None, died=False, going_on=False)])


def test_of_many_patients_some_are_drawn_and_it_is_said_how_many():
    tall = opened(swimmer_figure(COURSES * 100)).shape[0]
    assert tall <= 9.0 * 200


def test_pictures_of_the_asset():
    assert set(response_pictures(whole()["responses"], whole()["outcomes"])) == {
        "waterfall",
        "spider",
        "swimmer",
    }
    assert response_pictures(bare()["responses"], bare()["outcomes"]) == {}


def cohort(*people):
    """(site, sex, best response) a patient."""
    who = [
        {"site": site, "patient": f"{site}-{n}", "simulated": True}
        for n, (site, _, _) in enumerate(people)
    ]
    patients = table(
        "patients",
        [
            {**w, "sex": sex, "in_case_report": True, "age_years": 60 + n}
            for n, (w, (_, sex, _)) in enumerate(zip(who, people, strict=True))
        ],
    )
    outcomes = table(
        "outcomes",
        [
            {**w, "bor": bor, "responder": bor in {"CR", "PR"}}
            for w, (_, _, bor) in zip(who, people, strict=True)
        ],
    )
    tables = completed({"patients": patients, "outcomes": outcomes})
    return tables, Population("all patients", patients.select(WHO))


def test_rates_by_site_keep_everyone_in_the_denominator():
    found = dict(
        summarise_response_by(*cohort(("A", "F", "PR"), ("A", "F", "NE"), ("B", "M", "SD")))
    )
    assert [(r["group"], r["orr"]["x"], r["orr"]["n"], r["dcr"]["x"]) for r in found["site"]] == [
        ("A", 1, 2, 1),
        ("B", 0, 1, 1),
    ]


def test_disease_control_is_weighted_to_the_share_of_responders_in_practice():
    """Two patients are responders; of the two others, one is stable.

    At 50 % enrolled it is 3 of 4; at 20 % in practice .2 + .8 / 2.
    """
    found = weight_disease_control(
        *cohort(("A", "F", "PR"), ("A", "F", "CR"), ("A", "M", "SD"), ("A", "M", "PD")), 0.2
    )
    assert (found["enrolled"], found["weighted"]) == (0.75, pytest.approx(0.6))
    assert weight_disease_control(*cohort(("A", "F", "PR")), 0.2) is None


def test_table_one_counts_by_response_and_what_is_missing():
    headings, rows = summarise_table_one(
        *cohort(("A", "F", "PR"), ("A", "F", "SD"), ("B", None, "SD"))
    )
    assert {"Overall", "Responders", "Non-responders"} <= set(headings)
    sex = {
        (r["label"], r["level"]): r["cells"][headings.index("Overall")]
        for r in rows[rows.index(next(r for r in rows if r["label"].startswith("Sex"))) :]
    }
    assert sex["Sex, n (%)", "F"] == "2 (66.7)"
    assert (
        next(r for r in rows if r["level"] == "not known")["cells"][headings.index("Overall")]
        == "1 (33.3)"
    )
    assert summarise_table_one(
        completed({}), Population("nobody", list_patients(completed({})))
    ) == ([], [])


def test_log_rank_of_groups():
    assert compare_curves({"a": ([1, 2], [True, True]), "b": ([], [])}) is None
    found = compare_curves({"a": ([1, 2, 3], [True] * 3), "b": ([10, 11, 12], [True] * 3)})
    assert found["degrees"] == 1
    assert found["p"] < 0.05

"""The study report is whole in itself and honest about what is missing.

It is the same for the same snapshot.
"""

from __future__ import annotations

import re
from contextlib import nullcontext
from unittest import mock

import polars as pl
import pytest

from dagster_project.lake.tables import BY_NAME
from dagster_project.reports.figures import canvas
from dagster_project.reports.study_report import SECTIONS, render_study_report
from dagster_project.reports.wording import criterion_words
from dagster_project.study import load_study
from tests.reports.cohort import MOMENT, bare, table, whole, without
from tests.reports.pages import Page


def render(tables, *, draw=False):
    """The report; its figures are decided upon, but painted only where a test looks at them."""
    with nullcontext() if draw else mock.patch.object(canvas, "drawn", return_value=b"<svg></svg>"):
        return render_study_report(tables, load_study(), 41, MOMENT)


@pytest.fixture(scope="module")
def html():
    return render(whole(), draw=True)


@pytest.fixture(scope="module")
def page(html):
    return Page(html)


def test_it_needs_nothing_but_itself(page, html):
    assert [a for a in page.addresses if not a.startswith("#")] == []
    assert not re.search(r"https?:|//[a-z]+\.|url\((?!#)|@import|data:image", html)
    assert "default-src 'none'" in html
    assert not {"script", "link", "iframe", "object"} & page.tags


def test_its_tags_are_closed_in_order(page):
    assert page.unclosed == []


def test_every_section_stands_under_its_anchor_in_both_languages(page, html):
    for anchor, english, chinese in SECTIONS:
        assert f'<section id="{anchor}">' in html
        assert f"{english} {chinese}" in page.text
    assert {a for a in page.addresses if a.startswith("#")} == {
        f"#{anchor}" for anchor, *_ in SECTIONS
    }


def test_it_says_snapshot_protocol_and_moment(page):
    assert (
        "snapshot 41 · protocol " + load_study().digest + " · written 2026-03-04 05:06 UTC"
        in page.in_language("en")
    )


def test_simulated_data_are_said_to_be_so_by_site(page):
    assert page.in_language("en").startswith(
        "SIMULATED DATA "
        "EAST 0 % of 7 patients · NORTH 100 % of 22 patients · SOUTH 100 % of 16 patients"
    )


def test_real_data_carry_no_such_band():
    real = {
        name: frame.with_columns(simulated=pl.lit(value=False))
        if "simulated" in frame.columns
        else frame
        for name, frame in whole().items()
    }
    text = Page(render(real)).text
    assert "SIMULATED DATA" not in text
    assert "No row of this snapshot is based on simulated data" in text


def test_the_same_tables_give_the_same_bytes_in_any_order_of_rows(html):
    assert (
        render(
            {
                name: frame.sample(fraction=1.0, shuffle=True, seed=3)
                for name, frame in whole().items()
            },
            draw=True,
        )
        == html
    )


def test_no_value_is_printed_as_none_or_nan(page):
    assert not re.search(r"\b(None|nan|NaN|inf|Undefined|null)\b", page.text)


def test_criteria_have_the_protocols_numbers(page):
    assert not re.search(r"\{\w+(:\w+)?\}", page.text)
    for english, chinese in criterion_words(load_study()).values():
        assert english in page.text
        assert chinese in page.text


def test_a_closed_gate_says_which_rule_where_figure_and_limit(page):
    assert "1 of 4 cohort rules failed or could not be evaluated" in page.text
    assert (
        "arbitrations open , NORTH: 1 discordant case is not arbitrated (value 1, limit 0)"
        in page.in_language("en")
    )
    assert (
        "The gate is closed on this snapshot, so no model was trained on it; "
        "the figures below are of earlier snapshots" in page.text
    )


def test_an_open_gate_says_so():
    verdicts = whole()["quality_verdicts"].with_columns(verdict=pl.lit("pass"))
    text = Page(render({**whole(), "quality_verdicts": verdicts})).text
    assert "All 4 cohort rules held" in text
    assert "The gate is closed" not in text


def test_a_closed_gate_without_a_model():
    text = Page(render(without("model_runs", "predictions"))).text
    assert "The gate is closed on this snapshot, so no model was trained on it." in text
    assert "No model has been trained yet." in text


@pytest.mark.parametrize("auc", [0.89, 0.9])
def test_an_auc_too_good_to_be_true_is_an_alarm(auc):
    runs = whole()["model_runs"].with_columns(auc=pl.lit(auc))
    assert ("Leakage alarm" in render({**whole(), "model_runs": runs})) == (auc >= 0.9)


def test_predictive_values_stand_with_bounds_and_the_share_they_assume():
    text = Page(render(whole())).text
    assert "0.70 (0.52 to 0.83)" in text
    assert "0.75 (0.58 to 0.87)" in text
    assert "where 48 % of patients respond, a share assumed of practice" in text


def test_limits_that_are_not_calibrated_are_not_spoken_of():
    rough = Page(
        render({**whole(), "dhi": whole()["dhi"].with_columns(calibrated=pl.lit(value=False))})
    ).text
    assert "no limit is drawn" in rough
    assert "DHI > 1" not in rough


def test_it_says_what_it_does_not_claim(page):
    text = page.text[page.text.index("The rate at which the treatment works") :]
    for words in (
        "same-day repeats",
        "contrast phase, scanner or dose",
        "independence of volume",
        "held out of the same cohort",
        "not a medical device",
    ):
        assert words in text


def test_what_the_tables_hold_is_shown_as_words_never_as_markup():
    planted = table(
        "quarantine",
        [
            {
                "site": "NORTH",
                "stage": "intake",
                "item": "x",
                "reason": '<script>alert(1)</script> & "quoted"',
                "simulated": False,
            }
        ],
    )
    html = render({**whole(), "quarantine": planted})
    assert "<script>" not in html
    assert "&lt;script&gt;alert(1)" in html


def test_it_holds_no_calendar_date_of_a_patient(page):
    assert set(re.findall(r"\d{4}-\d\d-\d\d", page.text)) == {"2026-03-04"}


@pytest.mark.parametrize("name", BY_NAME)
def test_a_missing_table_leaves_the_rest_standing(name):
    left = Page(render(without(name)))
    assert left.unclosed == []
    assert all(english in left.text for _, english, _ in SECTIONS)


@pytest.mark.parametrize("tables", [{}, bare()], ids=["missing", "empty"])
def test_without_a_row_every_section_says_so(tables):
    html = render(tables)
    assert html.count('class="empty"') == 16
    assert "<svg" not in html
    assert not re.search(r"\b(None|nan)\b", Page(html).text)


def test_a_cohort_of_one_patient_at_the_start_is_reported():
    who = whole()["patients"]["patient"][0]
    one = {
        name: frame.filter(pl.col("patient") == who)
        if "patient" in frame.columns
        else frame.clear()
        for name, frame in whole().items()
        if name in {"patients", "scans", "eligibility"}
    }
    text = Page(render(one)).text
    assert "No best response has been determined yet" in text
    assert "stays shut until it is" in text

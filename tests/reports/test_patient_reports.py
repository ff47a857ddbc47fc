"""The patient's page and the index show the states of the tables.

A page has one patient's rows alone, and nobody is led by another's read.
"""

from __future__ import annotations

import re

import polars as pl
import pytest

from dagster_project.reports import patient_reports as p
from dagster_project.reports.summaries.tables import find_waiting
from dagster_project.study import load_study
from tests.reports.cohort import MOMENT, bare, table, whole
from tests.reports.pages import Page

STUDY = load_study()
EVERYONE = whole()["patients"]["patient"].to_list()
OPEN = whole()["arbitrations"].filter(pl.col("status") == "open")["patient"][0]
SETTLED = whole()["arbitrations"].filter(pl.col("status") == "settled")["patient"][0]
PLAIN = next(who for who in EVERYONE if who not in set(whole()["arbitrations"]["patient"]))
PNG = b"\x89PNG picture"


def render(patient, tables=None, **more):
    return p.render_patient_report(
        patient, tables or whole(), STUDY, snapshot=41, generated_at=MOMENT, **more
    )


@pytest.mark.parametrize("patient", [PLAIN, OPEN, SETTLED])
def test_a_page_is_whole_and_of_one_patient(patient):
    page = Page(render(patient))
    assert page.unclosed == []
    assert page.addresses == ["../index.html"]
    assert [who for who in EVERYONE if who in page.text] == [patient]
    assert not re.search(r"\b(None|nan)\b", page.text)


def test_a_page_tells_days_and_no_date_but_its_own():
    text = Page(render(PLAIN)).text
    assert set(re.findall(r"\d{4}-\d\d-\d\d", text)) == {"2026-03-04"}
    assert {"day −7", "day 55", "day 98"} <= set(re.findall(r"day −?\d+", text))


def test_the_states_are_those_of_the_table():
    accepted = (
        whole()["responses"]
        .filter(pl.col("patient") == PLAIN, pl.col("evaluator") == "accepted")
        .sort("day")
    )
    visits = p.list_visits(
        {
            name: frame.filter(pl.col("patient") == PLAIN)
            for name, frame in whole().items()
            if name in p.TABLES_READ
        }
    )
    assert [v["visit"] for v in visits] == ["T0", "T1", "T2"]
    assert [v["response"]["irecist_response"] for v in visits[1:]] == accepted[
        "irecist_response"
    ].to_list()
    assert visits[0]["response"] is None
    assert visits[0]["sum_mm"] == accepted["baseline_sum_mm"][0]


def test_probability_label_and_advice_stand_beside_the_state():
    settled = whole()["dynamic_risk"].join(
        find_waiting(whole()), on=["site", "patient"], how="anti", maintain_order="left"
    )
    shown = settled.filter(pl.col("probability").is_not_null())
    reading = shown.row(0, named=True)
    text = Page(render(reading["patient"])).in_language("en")
    assert f"{100 * reading['probability']:.0f} %" in text
    assert f"95 % interval {100 * reading['probability_lower']:.0f} % to" in text
    assert "; of all 30 %; 21 of 40 behind it; sums and days alone" in text
    assert "it may advise, and it never gives a response or the date of an event" in text


def test_an_unknown_patient_has_an_empty_page():
    text = Page(render("NORTH-NOBODY")).text
    assert "No case-report row." in text
    assert "No scan has been assigned to a visit." in text


def test_without_a_table_the_page_says_what_is_not_there():
    text = Page(render(PLAIN, bare())).text
    assert "No lesion could be compared between two visits." in text
    assert "No lesion has been read." in text


@pytest.mark.parametrize("name", p.TABLES_READ)
def test_a_missing_table_leaves_the_rest_standing(name):
    assert Page(render(PLAIN, {k: v for k, v in whole().items() if k != name})).unclosed == []


def test_simulated_patients_are_marked_and_others_are_not():
    assert "SIMULATED DATA" in render(whole()["patients"].filter(site="NORTH")["patient"][0])
    assert "SIMULATED DATA" not in render(whole()["patients"].filter(site="EAST")["patient"][0])


def test_readers_stand_side_by_side_once_both_have_locked():
    html = render(PLAIN, pictures=[p.LesionPicture("T0", "L1", PNG)])
    text = Page(html).text
    assert {"READER_A", "READER_B"} <= set(re.findall(r"READER_[AB]", text))
    assert "0.86" in text
    assert "data:image/png;base64" in html


@pytest.mark.parametrize("why", ["open case", "open read"])
def test_no_read_is_shown_that_could_lead_another(why):
    patient = OPEN if why == "open case" else PLAIN
    reads = whole()["reads"].with_columns(
        locked_at=pl.when(pl.col("reader") == "READER_B", pl.col("patient") == PLAIN)
        .then(None)
        .otherwise(pl.col("locked_at"))
    )
    html = render(patient, {**whole(), "reads": reads}, pictures=[p.LesionPicture("T0", "L1", PNG)])
    text = Page(html).text
    assert not re.search(r"READER[_ ][AB]", text)
    assert "data:image/png" not in html
    assert "so that nobody is led by them" in text


def habitats(patient):
    who = {
        "site": "NORTH",
        "patient": patient,
        "scan": "S",
        "lesion": "L1",
        "simulated": False,
        "codebook": "1-abc",
        "input_fingerprint": "f",
    }
    shares = {
        "n_voxels": 900.0,
        "fraction_1": 0.25,
        "fraction_2": 0.75,
        "rao_q": 0.31,
        "moran_i": 0.62,
    }
    mapped = [
        who | {"visit": "T0", "measure": name, "value": value, "reason": None}
        for name, value in shares.items()
    ]
    absent = [
        who | {"visit": "T1", "measure": name, "value": None, "reason": "no outline at this visit"}
        for name in shares
    ]
    return table("habitats", mapped + absent)


def test_habitats_are_told_in_shares_or_by_the_reason():
    html = render(PLAIN, {**whole(), "habitats": habitats(PLAIN)}, maps=[p.HabitatMap("L1", PNG)])
    page = Page(html)
    assert page.unclosed == []
    assert re.search(r"L1 T0 25 75 0\.31 0\.62 T1 no outline at this visit", page.text)
    assert "data:image/png;base64" in html


def test_habitat_maps_wait_for_the_arbiter():
    html = render(OPEN, {**whole(), "habitats": habitats(OPEN)}, maps=[p.HabitatMap("L1", PNG)])
    assert "data:image/png" not in html
    assert "waiting for arbitration" in Page(html).text


def numbers_of_the_accepted_read(tables, patient):
    """Texts by which a page would show what one of the two reads gave."""
    own = {
        name: rows.filter(pl.col("patient") == patient)
        for name, rows in tables.items()
        if "patient" in rows.columns
    }
    sums = [
        f"{v:.1f} mm" for v in own["responses"].filter(evaluator="accepted")["sum_mm"].drop_nulls()
    ]
    lesions = [f"{v:.1f}" for v in own["lesions"]["longest_diameter_mm"].drop_nulls()]
    states = (
        own["responses"]["irecist_response"].drop_nulls().to_list()
        + own["outcomes"]["bor"].drop_nulls().to_list()
    )
    return {*sums, *lesions, *states, *(f"{v:.2f}" for v in own["dhi"]["dhi"].drop_nulls())}


@pytest.mark.parametrize("status", ["open", "settled"])
def test_while_a_case_waits_no_number_of_a_read_is_shown(status):
    """Responses, sums, diameters, DHI, best response, and the probability beside them."""
    tables = {
        **whole(),
        "arbitrations": whole()["arbitrations"].with_columns(status=pl.lit(status)),
    }
    text = Page(render(OPEN, tables)).text
    shown = {
        n
        for n in numbers_of_the_accepted_read(whole(), OPEN)
        if re.search(rf"(?<![\d.\w]){re.escape(n)}(?![\d\w])", text)
    }
    waiting = status == "open"
    assert bool(shown) != waiting, shown
    assert ("waiting for arbitration" in text) == waiting
    assert ("待仲裁" in text) == waiting
    assert ("Progression or death within 180 days" in text) != waiting
    assert ("best by iRECIST" in text) != waiting


def test_a_reading_of_an_earlier_night_is_marked():
    closed = {
        **whole(),
        "dynamic_risk": whole()["dynamic_risk"].with_columns(
            gate=pl.lit("closed"),
            amendments=pl.lit(
                "agreement.icc_minimum = 0.8 (registered: at least 0.85), PI, 2026-05-01: because"
            ),
        ),
    }
    text = Page(render(PLAIN, closed)).text
    assert "gate closed: of an earlier night" in text
    assert "质控未放行" in text
    assert (
        "icc_minimum = 0.8 (registered: at least 0.85), PI, 2026-05-01: because"
        in Page(render(PLAIN, closed)).text
    )
    assert "gate closed: of" not in Page(render(PLAIN)).text


def test_the_site_s_own_outlines_are_nobody_s_blinded_read():
    site = {
        "reads": table(
            "reads",
            [
                {
                    "site": "EAST",
                    "patient": "E",
                    "visit": "T0",
                    "scan": "S",
                    "reader": "SITE",
                    "lesion": "L1",
                    "role": "target",
                    "is_lymph_node": False,
                    "is_present": True,
                    "too_small_to_measure": False,
                    "simulated": False,
                }
            ],
        ),
        "arbitrations": bare()["arbitrations"],
    }
    assert p.may_show_reads(site, "SITE")
    assert not p.may_show_reads(site, "ANOTHER")


def test_what_keeps_a_patient_from_being_eligible_is_named_with_its_evidence():
    failing = whole()["eligibility"].filter(pl.col("verdict") == "unknown").row(0, named=True)
    text = Page(render(failing["patient"])).in_language("en")
    assert "I8 EGFR, ALK and PD-L1 known: unknown scans.slice_thickness_mm" in text


def own_tables(patient, **changed):
    own = {
        name: frame.filter(pl.col("patient") == patient)
        for name, frame in whole().items()
        if name in p.TABLES_READ
    }
    return {**own, **changed}


def test_the_timeline_lies_within_its_frame_and_runs_with_the_days():
    own = own_tables(PLAIN)
    drawing = p.draw_timeline(p.list_visits(own), own, STUDY)
    places = [m.x for m in drawing.points]
    assert places == sorted(places)
    assert all(
        p.CHART_LEFT <= m.x <= p.CHART_RIGHT and p.CHART_TOP <= m.y <= p.CHART_BOTTOM
        for m in (*drawing.points, *drawing.cycles, *drawing.events)
    )
    assert [c.title for c in drawing.cycles] == ["C1", "C2", "C3", "C4", "C5", "C6"]
    days = [m.day for m in drawing.points]
    assert (places[1] - places[0]) / (places[2] - places[1]) == pytest.approx(
        (days[1] - days[0]) / (days[2] - days[1]), rel=0.01
    )


def test_a_smaller_sum_is_lower_and_response_begins_below_its_line():
    own = own_tables(PLAIN)
    visits = p.list_visits(own)
    drawing = p.draw_timeline(visits, own, STUDY)
    for mark, visit in zip(drawing.points[1:], visits[1:], strict=True):
        assert (mark.y >= drawing.response_y - 0.2) == (
            visit["response"]["change_from_baseline_percent"] <= -30
        )


def test_a_visit_without_a_sum_is_an_open_mark_off_the_line():
    responses = (
        whole()["responses"]
        .filter(pl.col("patient") == PLAIN)
        .with_columns(
            sum_mm=pl.when(pl.col("visit") == "T1").then(None).otherwise(pl.col("sum_mm"))
        )
    )
    own = own_tables(PLAIN, responses=responses)
    drawing = p.draw_timeline(p.list_visits(own), own, STUDY)
    assert (drawing.points[1].tone, drawing.points[1].y) == ("none", p.CHART_BOTTOM)
    assert drawing.path.count("L") == 1


def test_one_visit_makes_no_timeline():
    own = own_tables(PLAIN)
    assert p.draw_timeline(p.list_visits(own)[:1], own, STUDY) is None


def test_later_scans_and_undated_ones_have_their_place():
    extra = [
        {
            "site": "NORTH",
            "patient": PLAIN,
            "visit": visit,
            "scan": f"S{visit}",
            "day": day,
            "simulated": True,
        }
        for visit, day in (("V1", 160), ("V2", None))
    ]
    own = own_tables(
        PLAIN,
        timepoints=pl.concat(
            [whole()["timepoints"].filter(pl.col("patient") == PLAIN), table("timepoints", extra)]
        ),
    )
    assert [v["visit"] for v in p.list_visits(own)] == ["T0", "T1", "T2", "V1", "V2"]
    assert "No response was evaluated at this visit." in Page(render(PLAIN, own)).text


def test_a_vanished_and_a_tiny_lesion_are_words_not_numbers():
    lesions = whole()["lesions"].with_columns(
        is_present=pl.col("lesion") != "L1", too_small_to_measure=pl.col("lesion") == "L2"
    )
    reads = whole()["reads"].clear()
    text = Page(render(PLAIN, {**whole(), "lesions": lesions, "reads": reads})).text
    assert text.count("gone") == 3
    assert text.count("too small") == 3

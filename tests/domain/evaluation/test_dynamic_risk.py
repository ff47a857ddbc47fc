"""Risk by question: a number only where one may be shown, else the reason in its place."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dagster_project.domain.evaluation.dynamic_risk import Sources, derive_dynamic_risk
from dagster_project.domain.evaluation.risk_reasons import (
    ABSTAINS,
    FEW_PROGRESSIONS,
    FEW_RESPONDERS,
    HAS_RESPONDED,
    HELD_BACK,
    NO_BOUNDS,
    NO_CLASS,
    NO_MODEL,
    NO_OPEN_BLOCK,
    NO_POPULATION,
    NO_PREDICTION,
    NOT_ELIGIBLE,
    SCANNED_BEFORE,
    TOO_NEW,
    TOO_WIDE,
    WAITS,
)
from dagster_project.domain.response.comparison_classes import shipped_classes
from dagster_project.domain.response.iupd_cohort import derive_iupd_cohort
from dagster_project.domain.response.progression_free import Survival
from dagster_project.domain.response.sum_error import ReaderError
from dagster_project.lake.reasons import chinese_reason
from dagster_project.lake.schema import conform
from dagster_project.lake.tables import DYNAMIC_RISK
from dagster_project.statistics.predictive_values import outcome_weights, probability_in_practice
from models.data.visit_features import VisitFeatures
from models.learners.feature_score import ScoredFeatures
from tests.domain.courses import STUDY
from tests.domain.evaluation.courses import STANDARD, course
from tests.domain.records import MOMENT, table

MODEL, DYNAMIC = STUDY.section("model"), STUDY.section("dynamic")
FEW = {
    **STUDY.sections,
    "risk": {"response_events_minimum": 10, "landmark_events_minimum": 10},
    "evaluation": {**STUDY.section("evaluation"), "folds": 8},
}
"""The protocol with fewer events asked for, so that a small cohort has answers."""

KEY = list(DYNAMIC_RISK.key)
RUN = {
    "task": "T1",
    "model": "dhi",
    "model_version": "3",
    "alias": MODEL["champion_alias"],
    "trained_at": MOMENT,
}


def with_times(one, patient, days, *, event):
    """The same course of another patient, progressed or followed to a day."""
    found = Survival(days, event=event, reason="progression" if event else "alive")
    return replace(one, patient=("BJCH", patient), progression=found)


def background(n=150, seed=11):
    """Stable patients, the larger the change of size the sooner their progression."""
    random, shapes = np.random.default_rng(seed), {}
    for change in (0.75, 0.9, 1.0, 1.1):
        shapes[change] = course({"L1": [50, 50 * change, 50 * change]})
    found = []
    for k in range(n):
        change = float(random.choice(list(shapes)))
        days = 110 + int(random.exponential(250 / change**6))
        found.append(with_times(shapes[change], f"B{k}", days, event=bool(random.random() < 0.8)))
    return found


BACKGROUND = background()


def sources(courses, predictions=(), runs=(), cohort=(), outcomes=(), scans=()):
    responses = [
        {**v, "patient": c.patient[1], "evaluator": "accepted"} for c in courses for v in c.visits
    ]
    blocks = [
        {**b, "patient": c.patient[1], "evaluator": "accepted"} for c in courses for b in c.blocks
    ]
    labels = derive_iupd_cohort(
        table("responses", *responses),
        table("irecist_blocks", *blocks),
        ReaderError(0.06, "protocol", 0),
        STUDY.sections,
        STANDARD,
    )
    return Sources(
        table("predictions", *predictions),
        table("model_runs", *runs),
        table("training_cohort", *cohort),
        table("outcomes", *outcomes),
        table("timepoints", *scans),
        labels,
    )


def derive(courses, sections=FEW, waiting=(), gate="open", features=None, **given):
    found = derive_dynamic_risk(
        courses,
        set(waiting),
        sources(courses, **given),
        sections,
        STANDARD,
        gate=gate,
        features=features,
    )
    rows = conform(found, DYNAMIC_RISK)
    assert rows.select(KEY).is_unique().all()
    for row in rows.iter_rows(named=True):
        assert row["withheld"] == (row["probability"] is None) == (row["reason"] is not None)
        if not row["withheld"]:
            shown_rightly(row)
    return rows


def shown_rightly(row):
    """What every number has, whatever the question."""
    low, high = row["probability_lower"], row["probability_upper"]
    assert 0 <= low <= row["probability"] <= high <= 1
    assert high - low <= DYNAMIC["interval_maximum"]
    assert row["in_population"]
    assert row["n"] >= row["events"] >= 0
    assert row["ood_score"] is None or row["ood_score"] <= DYNAMIC["ood_score_maximum"]
    above, below = low > row["base_rate"], high < row["base_rate"]
    assert row["compared"] == ("higher" if above else "lower" if below else None)


def at(rows, visit, question, horizon=0, patient="BJCH-A"):
    return rows.filter(visit=visit, question=question, horizon_days=horizon, patient=patient).row(
        0, named=True
    )


def test_progression_is_by_the_supermodel_and_larger_where_the_tumour_grew():
    grown = course({"L1": [50, 54, 54]})
    shrunk = replace(course({"L1": [50, 38, 38]}), patient=("BJCH", "BJCH-B"))
    rows = derive([grown, shrunk, *BACKGROUND])
    risks = [at(rows, "T1", "progression", 180, p) for p in ("BJCH-A", "BJCH-B")]
    assert [r["source"] for r in risks] == ["supermodel", "supermodel"]
    assert risks[0]["probability"] > risks[1]["probability"]
    assert at(rows, "T1", "progression", 90)["probability"] < risks[0]["probability"]


def features_at_t1(courses, telling, seed=5):
    """Two columns at T1 of every patient: noise, the first also of the time to progression."""
    random = np.random.default_rng(seed)
    days = np.array([c.progression.days if c.progression else 300 for c in courses])
    values = random.normal(size=(len(courses), 2))
    values[:, 0] -= telling * np.log(days / 300)
    places = {(*c.patient, "T1"): n for n, c in enumerate(courses)}
    names = ("entropy@tumor@change", "energy@tumor@change")
    return ScoredFeatures(VisitFeatures(places, names, values), STUDY.learning)


def test_progression_is_by_features_too_where_they_do_better_than_size_and_were_measured():
    people = [*BACKGROUND, course({"L1": [50, 48, 47]})]
    asked = {"question": "progression", "horizon_days": 180}
    rows = derive(people, features=features_at_t1(people, 4.0)).filter(**asked)
    own = rows.filter(patient="BJCH-A")
    assert dict(own.select("visit", "source").iter_rows())["T1"] == "size_and_features"
    by_visit = {v: set(rows.filter(visit=v, withheld=False)["source"]) for v in ("T1", "T2")}
    assert by_visit == {"T1": {"size_and_features"}, "T2": {"supermodel"}}
    plain = derive(people).filter(**asked, visit="T2")
    assert rows.filter(visit="T2").equals(plain)


def test_features_that_tell_nothing_leave_the_risk_to_size():
    people = BACKGROUND
    assert derive(people, features=features_at_t1(people, 0.0)).equals(derive(people))


def test_features_with_fewer_events_than_the_protocol_asks_for_leave_the_risk_to_size():
    few = [c for c in BACKGROUND[:60] if c.progression.event][:9]
    rows = derive(BACKGROUND, features=features_at_t1(few, 4.0))
    assert rows.equals(derive(BACKGROUND))


def test_with_fewer_events_than_the_protocol_asks_for_there_is_no_number():
    rows = derive([course({"L1": [50, 55, 55]}), *BACKGROUND[:30]], STUDY.sections)
    row = at(rows, "T1", "progression", 90)
    minimum = STUDY.section("risk")["landmark_events_minimum"]
    assert row["reason"] == FEW_PROGRESSIONS.format(events=row["events"], minimum=minimum)
    assert row["n"] > row["events"] > 0


def test_who_waits_for_an_arbiter_has_no_number_and_teaches_nothing():
    mine = with_times(course({"L1": [50, 55, 55]}), "BJCH-A", 130, event=True)
    rows = derive([mine, *BACKGROUND], waiting=[mine.patient])
    own = rows.filter(patient="BJCH-A")
    assert set(own["reason"]) == {WAITS}
    apart, names = derive(BACKGROUND), ["n", "events", "base_rate", "probability"]
    others = rows.filter(pl.col("patient") != "BJCH-A")
    assert others.select(*KEY, *names).equals(apart.select(*KEY, *names))


# -- an open block ---------------------------------------------------------------------------------


def test_an_open_block_has_the_share_of_its_class_at_the_next_ct():
    shipped = next(
        c for c in shipped_classes()["class"] if (c["margin"], c["visit"]) == (1, "later")
    )
    row = at(derive([course({"L1": [50, 50, 63]})]), "T2", "confirmed")
    assert (row["n"], row["events"]) == (shipped["next_n"], shipped["next_confirmed"])
    assert row["probability"] == shipped["next_confirmed"] / shipped["next_n"]
    assert row["source"] == "class"
    assert row["probability_in_practice"] is None


@pytest.mark.parametrize(
    ("sizes", "visit", "why"),
    [
        ({"L1": [50, 45, 44]}, "T2", NO_OPEN_BLOCK),
        ({"L1": [50, 50, 63, 64]}, "V1", SCANNED_BEFORE),
        ({"L1": [50, 50, 50], "N1": [None, None, 12]}, "T2", NO_CLASS),
    ],
    ids=["none open", "scanned before", "new lesion"],
)
def test_else_the_reason(sizes, visit, why):
    assert at(derive([course(sizes)]), visit, "confirmed")["reason"] == why


def test_a_ct_that_is_not_evaluable_leaves_the_class_as_it_was():
    rows = derive([course({"L1": [50, 50, 63, None]})])
    assert at(rows, "V1", "confirmed")["n"] == at(rows, "T2", "confirmed")["n"]


# -- response --------------------------------------------------------------------------------------


def predicted(patients, *, good, task="T1", seed=5):
    """Predictions of a model and the outcome of each patient; a good one knows it."""
    random = np.random.default_rng(seed)
    rows = []
    for k, patient in enumerate(patients):
        p = float(np.clip(random.normal(0.5, 0.3), 0.05, 0.95))
        truth = bool(random.random() < p)
        rows.append(
            {
                "patient": patient,
                "task": task,
                "model": "dhi",
                "model_version": "3",
                "probability": p if good else float(random.random()),
                "lower": max(0.0, p - 0.1),
                "upper": min(1.0, p + 0.1),
                "fold": k % MODEL["folds"],
                "observed_response": truth,
                "ood_score": 1.0,
                "abstained": False,
            }
        )
    if not good:
        for row in rows:
            row["lower"], row["upper"] = row["probability"], row["probability"]
    return rows


def stable(n=160):
    """Patients who are stable at T1, their size telling nothing."""
    shapes = [course({"L1": [50, size, size]}) for size in (42, 45, 48, 52)]
    return [replace(shapes[k % 4], patient=("BJCH", f"P{k}")) for k in range(n)]


def test_a_model_that_beats_size_answers_the_question_of_stable_patients():
    people = stable()
    names = [c.patient[1] for c in people]
    rows = derive(people, predictions=predicted(names, good=True), runs=[RUN])
    shown = rows.filter(question="response_when_stable", withheld=False)
    assert set(shown["source"]) == {"model"}
    assert set(shown["model_version"]) == {"3"}


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"abstained": True, "ensemble_sd": 0.214}, ABSTAINS.format(spread=0.214)),
        (
            {"ood_score": DYNAMIC["ood_score_maximum"] + 2.6},
            TOO_NEW.format(novelty=DYNAMIC["ood_score_maximum"] + 2.6),
        ),
        (
            {"lower": 0.0, "upper": DYNAMIC["interval_maximum"] + 0.49},
            TOO_WIDE.format(width=DYNAMIC["interval_maximum"] + 0.49),
        ),
        ({"lower": None, "upper": None}, NO_BOUNDS),
        ({"patient": "somebody else"}, NO_PREDICTION),
    ],
    ids=["abstains", "unlike", "wide", "no bounds", "no prediction"],
)
def test_of_a_patient_of_whom_the_model_is_not_sure_nothing_is_shown(changes, why):
    people = stable()
    rows = predicted([c.patient[1] for c in people], good=True)
    rows[0] |= changes
    found = derive(people, predictions=rows, runs=[RUN])
    row = at(found, "T1", "response_when_stable", patient="P0")
    assert (row["reason"], row["in_population"]) == (why, True)


def test_the_planted_pseudoprogressor_is_withheld_whatever_the_model_says():
    people = stable()
    mine = course({"L1": [50, 65, 40]})
    rows = predicted([c.patient[1] for c in people], good=True)
    rows.append({**rows[0], "patient": "BJCH-A", "probability": 1e-5, "fold": None})
    found = derive([mine, *people], predictions=rows, runs=[RUN])
    assert at(found, "T1", "response_when_stable")["reason"] == NO_POPULATION["open"]


def test_a_model_that_does_not_gives_way_to_size_which_has_too_few_responders():
    people = stable()
    names = [c.patient[1] for c in people]
    rows = derive(people, predictions=predicted(names, good=False), runs=[RUN])
    row = at(rows, "T1", "response_when_stable", patient="P0")
    assert row["reason"] == FEW_RESPONDERS.format(events=row["events"], minimum=10)


def responding(n=160, seed=3):
    """Stable at T1; the smaller they are the likelier CR or PR at T2."""
    random, found = np.random.default_rng(seed), []
    shapes = {
        (size, responds): course({"L1": [50, size, 20 if responds else size]})
        for size in (37, 41, 45, 49, 53)
        for responds in (True, False)
    }
    for k in range(n):
        size = int(random.choice([37, 41, 45, 49, 53]))
        responds = bool(random.random() < 1 / (1 + np.exp((size - 43) / 4)))
        found.append(replace(shapes[size, responds], patient=("BJCH", f"P{k}")))
    return found


def test_without_a_model_size_answers_where_it_is_calibrated():
    rows = derive(responding())
    own = rows.filter(question="response_when_stable", withheld=False)
    assert own.height > 100
    assert set(own["source"]) == {"size"}
    assert own["probability"].max() - own["probability"].min() > 0.3


def test_who_has_responded_is_not_asked_about():
    row = at(derive([course({"L1": [50, 20, 20]})]), "T1", "response_when_stable")
    assert (row["reason"], row["in_population"]) == (HAS_RESPONDED, False)


@pytest.mark.parametrize(
    ("changes", "cohort", "why"),
    [
        ({}, True, None),
        ({"alias": MODEL["alias"], "promotion": "held_back"}, True, HELD_BACK),
        ({"task": "T2"}, True, NO_MODEL.format(visit="T0")),
        ({}, False, NOT_ELIGIBLE),
    ],
    ids=["shown", "held back", "no model", "not eligible"],
)
def test_response_from_baseline_is_by_the_model_of_t0(changes, cohort, why):
    names = [f"P{k}" for k in range(300)]
    given = predicted(names, good=True, task="T0")
    rows = derive(
        [],
        predictions=given,
        runs=[{**RUN, "task": "T0", **changes}],
        cohort=[{"patient": n, "task": "T0", "included": True} for n in names if cohort],
        outcomes=[
            {"patient": p["patient"], "bor": "PR" if p["observed_response"] else "SD"}
            for p in given
        ],
        scans=[{"patient": n, "visit": "T0", "scan": f"S{n}", "day": -7} for n in names],
    )
    row = at(rows, "T0", "response_from_baseline", patient="P0")
    assert row["reason"] == why
    if why is None:
        practice = STUDY.section("endpoints")["target_prevalence"]
        enrolled = sum(p["observed_response"] for p in given) / len(given)
        expected = probability_in_practice(np.array(row["probability"]), enrolled, practice)
        assert row["probability_in_practice"] == pytest.approx(float(expected))


# -- practice --------------------------------------------------------------------------------------


@pytest.mark.parametrize("prevalence", [0.2, 0.3, 0.48])
def test_of_a_balanced_cohort_the_probability_in_practice_has_the_stated_prevalence(prevalence):
    """250 responders and 250 others, as registered; patients of practice by weights."""
    random = np.random.default_rng(17)
    labels = np.repeat([True, False], 250)
    score = random.normal(np.where(labels, 0.5, -0.5), 1.0)
    balanced = 1 / (1 + np.exp(-score))  # the posterior of two unit normals one apart
    practice = probability_in_practice(balanced, 0.5, prevalence)
    weights = np.array(outcome_weights(labels.tolist(), prevalence))
    assert np.average(practice, weights=weights) == pytest.approx(prevalence, abs=0.03)


def test_the_supermodel_in_practice_follows_the_weights_of_responders():
    """Responders are weighted down to the share of practice, so risk of progression rises."""
    people = responding()
    timed = [
        with_times(c, c.patient[1], 420 if c.visits[-1]["sum_mm"] == 20 else 150, event=True)
        for c in people
    ]
    outcomes = [
        {"patient": c.patient[1], "bor": "PR" if c.visits[-1]["sum_mm"] == 20 else "SD"}
        for c in timed
    ]
    sections = {**FEW, "endpoints": {**STUDY.section("endpoints"), "target_prevalence": 0.1}}
    rows = derive(timed, sections, outcomes=outcomes).filter(
        question="progression", horizon_days=180, withheld=False, visit="T1"
    )
    assert rows.height > 50
    assert (rows["probability_in_practice"] > rows["probability"]).all()


# -- random histories ------------------------------------------------------------------------------

SIZES = st.lists(
    st.one_of(st.none(), st.sampled_from([0, 8, 20, 40, 48, 50, 55, 61, 70, 90])),
    min_size=1,
    max_size=4,
)
EVENTS = st.lists(
    st.tuples(st.sampled_from(["death", "new_therapy", "lost"]), st.integers(40, 300)), max_size=1
)
ANSWERED = {
    "progression": {"iCR", "iPR", "iSD", "iNON_CR_NON_PD"},
    "response_when_stable": {"iSD", "iNON_CR_NON_PD"},
    "confirmed": {"iUPD", "iNE"},
}
"""Responses at which a question may have a number."""


@settings(deadline=None, max_examples=25)
@given(SIZES, EVENTS, st.booleans())
def test_no_history_has_a_number_where_it_must_be_withheld(sizes, events, new):
    lesions = {"L1": [50, *sizes]} | ({"N1": [None] * len(sizes) + [12]} if new else {})
    mine = course(lesions, events=events)
    rows = derive([mine, *BACKGROUND], gate="open").filter(patient="BJCH-A")
    responses = {v["visit"]: v["irecist_response"] for v in mine.visits}
    for row in rows.filter(~pl.col("withheld")).iter_rows(named=True):
        assert responses[row["visit"]] in ANSWERED[row["question"]]
    states = dict(zip(responses, mine.replay(STUDY.section("irecist")), strict=True))
    for row in rows.iter_rows(named=True):
        if states[row["visit"]].state != "controlled" and row["question"] != "confirmed":
            assert row["withheld"]
        if states[row["visit"]].state != "open" and row["question"] == "confirmed":
            assert row["withheld"]


def test_every_reason_has_its_chinese():
    rows = derive([course({"L1": [50, 45, None, 80]}), course({"L1": [50, 20, 63]})][:1])
    known = [*rows["reason"].drop_nulls().unique(), WAITS, NOT_ELIGIBLE, NO_CLASS, SCANNED_BEFORE]
    assert all("withheld" not in chinese_reason(why) for why in known)

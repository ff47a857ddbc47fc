"""The risk layer: what it reads out of a probability, and that it leaves every state alone."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dagster_project.domain.dynamic import ADVICE, derive_dynamic_irecist, read_risk
from dagster_project.lake.columns import IRECIST_RESPONSES
from dagster_project.lake.schema import polars_schema
from dagster_project.lake.tables import DYNAMIC_IRECIST
from tests.domain.courses import STUDY
from tests.domain.records import MOMENT, responses, table

MODEL = STUDY.section("model")
RUN = {
    "task": "T1",
    "model": "dhi",
    "model_version": "3",
    "alias": MODEL["alias"],
    "trained_at": MOMENT,
}


def derive(state="iUPD", probability=0.2, runs=(RUN,), **prediction):
    given_ = table(
        "predictions",
        {"task": "T1", "model": "dhi", "model_version": "3", "probability": probability}
        | prediction,
    )
    heterogeneity = table(
        "dhi",
        {"scope": "patient", "lesion": "*", "from_visit": "T0", "to_visit": "T1", "dhi": 1.4},
        {"scope": "lesion", "lesion": "L1", "from_visit": "T0", "to_visit": "T1", "dhi": 9.0},
        {"scope": "patient", "lesion": "*", "from_visit": "T1", "to_visit": "T2", "dhi": 7.0},
    )
    found = derive_dynamic_irecist(
        responses(("T1", "PD", state)),
        given_,
        table("model_runs", *runs),
        heterogeneity,
        MODEL,
        gate="open",
    )
    assert found.schema == polars_schema(DYNAMIC_IRECIST)
    return found.row(0, named=True)


@pytest.mark.parametrize(
    ("visit", "state", "probability", "reading"),
    [
        pytest.param("T1", "iSD", None, "no_prediction", id="1 no probability"),
        pytest.param("T1", "iUPD", 0.35, "iUPD_likely_true", id="2 low"),
        pytest.param("T1", "iUPD", 0.36, "iUPD_indeterminate", id="2 between"),
        pytest.param("T2", "iUPD", 0.65, "iUPD_likely_pseudo", id="2 high"),
        pytest.param("T1", "iSD", 0.10, "likely_non_responder", id="3 low"),
        pytest.param("T0", "iSD", 0.50, "indeterminate", id="3 between"),
        pytest.param("T1", "iPR", 0.90, "likely_responder", id="3 high"),
        pytest.param("T2", "iSD", 0.10, "likely_progressor", id="3 low at the landmark"),
        pytest.param("T2", "iSD", 0.50, "indeterminate", id="3 between at the landmark"),
        pytest.param("T2", "iPR", 0.90, "likely_progression_free", id="3 high at the landmark"),
    ],
)
def test_reading(visit, state, probability, reading):
    assert read_risk(state, probability, MODEL, visit) == reading


def test_the_row_carries_state_risk_and_evidence():
    found = derive()
    assert (found["overall_response"], found["irecist_response"]) == ("PD", "iUPD")
    assert (found["probability"], found["model"], found["model_version"]) == (0.2, "dhi", "3")
    assert (found["dynamic_label"], found["advice"]) == ("iUPD_likely_true", "earlier_scan_4_weeks")
    assert (found["dhi"], found["change_from_baseline_percent"], found["reason"]) == (
        1.4,
        -50.0,
        None,
    )


def test_the_newest_model_with_the_alias_is_asked():
    old = RUN | {"model": "size", "model_version": "9", "trained_at": MOMENT - timedelta(1)}
    other = RUN | {
        "model": "clinical",
        "model_version": "1",
        "alias": None,
        "trained_at": MOMENT + timedelta(1),
    }
    assert derive(runs=(RUN, old, other))["model"] == "dhi"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        pytest.param({"runs": ()}, "no model for the task of T1", id="1 no model"),
        pytest.param(
            {"runs": (RUN | {"task": "T2"},)},
            "no model for the task of T1",
            id="2 a model of another task",
        ),
        pytest.param(
            {"patient": "BJCH-B"},
            "the patient is not in the training cohort",
            id="3 another patient",
        ),
        pytest.param(
            {"model_version": "2"},
            "the patient is not in the training cohort",
            id="4 another version",
        ),
        pytest.param({"state": "iCPD"}, "the state leaves nothing to predict", id="5 confirmed"),
    ],
)
def test_without_a_prediction_the_reason_is_told_and_nothing_is_advised(changes, reason):
    found = derive(**changes)
    assert (
        found["probability"],
        found["model"],
        found["dynamic_label"],
        found["advice"],
        found["reason"],
    ) == (None, None, "no_prediction", "none", reason)


def test_the_champion_speaks_before_the_candidate():
    champion = RUN | {
        "model_version": "1",
        "alias": MODEL["champion_alias"],
        "trained_at": MOMENT - timedelta(9),
    }
    assert derive(runs=(RUN, champion), model_version="1")["model_version"] == "1"
    assert derive(runs=(RUN, champion), model_version="3")["model_version"] == "3", (
        "the candidate, where the champion says nothing of the patient"
    )


def test_a_model_that_abstains_gives_no_call_and_says_so():
    found = derive(abstained=True, spread=0.214)
    assert found["reason"] == "the model abstains: its members disagree by 0.21"
    assert (found["probability"], found["dynamic_label"], found["advice"]) == (
        None,
        "no_prediction",
        "none",
    )
    assert (found["model"], found["model_version"]) == ("dhi", "3")
    assert derive(abstained=False, spread=0.1)["probability"] == 0.2


@given(st.sampled_from(IRECIST_RESPONSES), st.one_of(st.none(), st.floats(0, 1)))
def test_no_reading_is_a_response_and_each_has_its_advice(state, probability):
    reading = read_risk(state, probability, MODEL, "T1")
    assert reading not in IRECIST_RESPONSES
    assert ADVICE[reading] in DYNAMIC_IRECIST.column("advice").allowed
    assert reading in DYNAMIC_IRECIST.column("dynamic_label").allowed


@given(st.floats(0, 1))
def test_the_state_is_copied_whatever_the_risk(probability):
    assert derive("iSD", probability)["irecist_response"] == "iSD"

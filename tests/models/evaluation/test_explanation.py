"""Attributions add up to what they explain, for every kind of model.

They change when the model or its labels are shuffled.
"""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from dagster_project.statistics.logistic import logit
from models.data.datasets import TASKS, build_dataset
from models.evaluation.explanation import (
    TOP,
    attribution_rows,
    contributions,
    held_out_attributions,
    name_lesions,
)
from models.evaluation.sanity import (
    ALIKE,
    SanityCheck,
    check_attributions,
    check_networks,
    judge_attributions,
)
from models.evaluation.training import train
from models.learners.fusion import Remembered, Stack
from models.learners.model_catalogue import choose_learners
from models.learners.networks import ensemble_logits
from models.operation.files import write_attributions
from models.operation.promotion import Look, judge_promotion
from tests.models.learners.test_networks import SECTION, TABLES

DATA = build_dataset(TASKS["T1"], **TABLES.of_dataset())
MEMBERS = ("clinical", "size_change", "boosting", "st_gcn")


@pytest.fixture(scope="module")
def trained():
    members = [
        Remembered(m.learner) for m in choose_learners(DATA, SECTION)[0] if m.name in MEMBERS
    ]
    return {
        m.name: m
        for m in train(
            [*members, Stack(members)], DATA, {**SECTION, "leave_site_out_for": "none"}, seed=5
        )
    }


@pytest.fixture(scope="module")
def checks(trained):
    control = replace(trained["st_gcn"], name="control", negative_control=True)
    return check_networks(
        [trained["st_gcn"], trained["clinical"], control], {**SECTION, "network_epochs": 4}
    )


def logits_at_means(model, data):
    """The same lesions, habitats and days with every value at the training patients' mean."""
    arrays = model.arrays(data)
    return ensemble_logits(model.facts, model.weights, {**arrays, "x": np.zeros_like(arrays["x"])})


def blocks(parts):
    return sum(value.mean(axis=0) for (scope, _), value in parts.items() if scope == "block")


@pytest.mark.parametrize("name", MEMBERS)
def test_1_blocks_add_up_to_the_logit_less_the_baselines(trained, name):
    """Of a network to within the steps of its path."""
    model, data = trained[name].final.model, trained[name].dataset
    parts = contributions(model, data)
    if name == "st_gcn":
        expected = (model.logits(data) - logits_at_means(model, data)).mean(
            axis=0
        ) / model.temperature
        assert blocks(parts) == pytest.approx(expected, abs=0.1)
    else:
        assert np.ptp(logit(model.probabilities(data)) - blocks(parts)) < 1e-6
    for scope in ("visit", "feature"):
        assert sum(v.mean(axis=0) for (s, _), v in parts.items() if s == scope) == pytest.approx(
            blocks(parts), abs=1e-4
        )


def test_1_a_stack_adds_its_members_up_by_weight(trained):
    model = trained["fusion"].final.model
    parts = contributions(model, DATA)
    expected = sum(
        w * blocks(contributions(m, DATA))
        for w, m in zip(model.weights, model.members, strict=True)
    )
    assert blocks(parts) == pytest.approx(expected, abs=1e-4)
    members = sum(value[0] for (scope, _), value in parts.items() if scope == "member")
    assert members + model.intercept == pytest.approx(logit(model.probabilities(DATA)), abs=1e-4)


def test_2_rows_tell_the_greatest_features_and_all_else(trained):
    rows = attribution_rows(trained["fusion"].final.model, DATA.take(np.arange(70) < 3))
    assert set(rows["scope"]) == {"block", "feature", "region", "visit", "lesion", "member"}
    assert rows.filter(scope="feature").group_by("patient").len()["len"].max() == TOP
    parts = contributions(trained["fusion"].final.model, DATA.take(np.arange(70) < 1))
    most = max((k for k in parts if k[0] == "feature"), key=lambda k: abs(parts[k].mean()))
    first = rows.filter((pl.col("patient") == DATA.patients[0]) & (pl.col("scope") == "feature"))
    assert first.row(0, named=True)["item"] == most[1]
    assert set(rows.filter(scope="member")["item"]) <= set(MEMBERS)
    assert set(trained["fusion"].dataset.feature_blocks) >= set(
        rows.filter(scope="block")["item"]
    ) - {"series"}


def test_3_the_held_out_are_explained_by_the_model_of_their_fold(trained):
    found = held_out_attributions(trained["clinical"])
    for k, fit in enumerate(trained["clinical"].fits):
        held = trained["clinical"].dataset.take(trained["clinical"].fold == k)
        mine = found.filter(pl.col("patient").is_in(list(held.patients)))
        assert mine.sort("patient", "scope", "item").equals(
            attribution_rows(fit.model, held).sort("patient", "scope", "item")
        )


def test_4_lesions_are_told_by_name(trained):
    few = DATA.take(np.arange(70) < 6)
    rows = name_lesions(
        attribution_rows(trained["st_gcn"].final.model, few), TABLES.lesions, TASKS["T1"].visits
    )
    for patient, part in rows.filter(scope="lesion").group_by("patient"):
        named = TABLES.lesions.filter(
            (pl.col("patient") == patient[0])
            & pl.col("visit").is_in(["T0", "T1"])
            & pl.col("is_present")
        )["lesion"]
        assert set(part["item"]) <= set(named)
    assert (
        rows.filter((pl.col("patient") == few.patients[0]) & (pl.col("scope") == "lesion")).height
        == few.series.present[0].any(axis=(1, 2)).sum()
    )


def test_5_shuffled_weights_and_labels_change_the_attributions(trained):
    found = check_attributions(
        trained["st_gcn"].final.model,
        DATA.take(np.arange(70) < 30),
        {**SECTION, "network_epochs": 12},
        seed=3,
    )
    assert abs(found.weights_shuffled) < ALIKE
    assert abs(found.labels_shuffled) < ALIKE
    assert found.verdict.verdict == "pass"


def test_6_attributions_that_do_not_change_fail_by_name():
    assert SanityCheck(0.9, 0.1, 0.8).verdict.verdict == "fail"
    assert SanityCheck(0.9, -0.7, 0.1).verdict.verdict == "fail"
    assert SanityCheck(0.9, None, 0.1).verdict.verdict == "cannot_evaluate"
    assert "weights_shuffled -0.70" in SanityCheck(0.9, -0.7, 0.1).verdict.detail


def test_7_a_network_blind_to_its_input_cannot_be_evaluated(trained):
    model = trained["st_gcn"].final.model
    blind = replace(model, weights={k: np.zeros_like(v) for k, v in model.weights.items()})
    found = check_attributions(blind, DATA.take(np.arange(70) < 12), SECTION, seed=3)
    assert found.verdict.verdict == "cannot_evaluate"


def test_8_a_networks_run_holds_importance_stability_and_the_check_by_shuffling(
    trained, checks, tmp_path
):
    said = write_attributions(tmp_path, trained["st_gcn"], checks)
    told = json.loads((tmp_path / "attributions.json").read_text())
    assert sum(told["visits"].values()) == pytest.approx(1)
    assert -1 <= told["stability"] <= 1
    assert said.startswith(told["sanity"]["verdict"])
    assert {"between_seeds", "weights_shuffled", "labels_shuffled"} <= set(told["sanity"])
    assert (tmp_path / "attribution_sanity.png").read_bytes().startswith(b"\x89PNG")
    assert write_attributions(tmp_path, trained["clinical"], checks) == "is based on no network"


CHECKS = {"pass": SanityCheck(0.9, 0.1, 0.1), "fail": SanityCheck(0.9, 0.9, 0.1)}
WILLING = {**SECTION, "promotion_slope": [-100, 100]}


def weighing(fusion, **weights):
    """The stack with the weights given, 0 for the others."""
    model = replace(
        fusion.final.model,
        weights=np.array([weights.get(n, 0.0) for n in fusion.final.model.names]),
    )
    return replace(fusion, final=replace(fusion.final, model=model))


@pytest.mark.parametrize("verdict", CHECKS)
def test_9_a_network_answers_for_its_own_attributions_and_a_stack_for_those_it_leans_on(
    trained, verdict
):
    checks, fusion = {"st_gcn": CHECKS[verdict]}, trained["fusion"]
    assert {
        n: v.verdict
        for n, v in judge_attributions("st_gcn", trained["st_gcn"].final.model, checks).items()
    } == {"st_gcn": verdict}
    assert judge_attributions("clinical", trained["clinical"].final.model, checks) == {}
    leaning, hardly = (
        weighing(fusion, clinical=0.9, st_gcn=0.1),
        weighing(fusion, clinical=0.97, st_gcn=0.03),
    )
    assert {
        n: v.verdict for n, v in judge_attributions("fusion", leaning.final.model, checks).items()
    } == {"st_gcn": verdict}
    assert judge_attributions("fusion", hardly.final.model, checks) == {}


def test_9_attributions_that_a_shuffled_model_shares_hold_a_promotion_back_by_name(trained):
    leaning, hardly = (weighing(trained["fusion"], clinical=1 - s, st_gcn=s) for s in (0.5, 0.01))
    others = [m for n, m in trained.items() if n != "fusion"]
    for candidate, verdict, held in (
        (leaning, "fail", True),
        (leaning, "pass", False),
        (hardly, "fail", False),
    ):
        found = judge_promotion(
            candidate,
            [candidate, *others],
            None,
            WILLING,
            {"st_gcn": CHECKS[verdict]},
            Look(1, math.inf),
        )
        assert (
            any(
                reason.startswith("attribution_sanity of st_gcn is fail: rank correlation")
                for reason in found.reasons
            )
            == held
        )


def test_9_every_network_but_a_control_is_checked(checks):
    assert set(checks) == {"st_gcn"}

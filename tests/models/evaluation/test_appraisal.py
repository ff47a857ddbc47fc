"""What is reported about a model beside its first figures.

It is checked with other libraries, published numbers, or by counting again.
"""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from lifelines import KaplanMeierFitter
from lifelines.statistics import logrank_test

from dagster_project.simulation.tables import Truth, simulate_tables
from dagster_project.statistics.calibration import calibration_estimates
from dagster_project.statistics.cross_fitting import fold_variance, of_folds
from dagster_project.statistics.predictive_values import predictive_values_in_practice
from dagster_project.statistics.roc import auc_delong
from dagster_project.study import TARGET_PREVALENCE
from models.data.datasets import TASKS, build_dataset
from models.data.risk_groups import TimeToProgression, compare_risk_groups
from models.evaluation.appraisal import Appraisal, Held, appraise, subgroups
from models.evaluation.training import hold_out_sites, train
from models.learners.baselines import BASELINES, Baseline
from models.learners.networks import Network
from tests.models.cohorts import SECTION, dataset

FEATURES = tuple(SECTION["network_features"][:4])
TABLES = simulate_tables(Truth(heterogeneity=4.0), FEATURES, patients=120, sites=3, seed=7)
DATA = build_dataset(TASKS["T1"], **TABLES.of_dataset(), outcomes=TABLES.outcomes)
QUICK = {
    **SECTION,
    "network_features": list(FEATURES),
    "network_epochs": 8,
    "network_seeds": 1,
    "folds": 3,
    "inner_folds": 2,
}
CLINICAL_SIZE = Baseline("clinical_size", ("clinical", "pd_l1", "size"), "ridge")
LEARNERS = [CLINICAL_SIZE, BASELINES[2], Network("st_gcn"), Network("decomposition_transformer")]
RNG = np.random.default_rng(9)


@pytest.fixture(scope="module")
def trained():
    return {t.name: t for t in train(LEARNERS, DATA, QUICK, seed=3)}


def told(trained, name="clinical_size") -> Appraisal:
    return trained[name].appraisal


def test_1_the_landmark_is_where_time_without_progression_starts():
    outcomes = TABLES.outcomes.join(DATA_ROWS, on=["site", "patient"]).sort("site", "patient")
    left = outcomes["pfs_days"].to_numpy() - 63.0
    assert DATA.progression.days.tolist() == pytest.approx(
        np.where(left > 0, left, np.nan).tolist(), nan_ok=True
    )
    late = build_dataset(
        TASKS["T2"], **TABLES.replace_task("T2"), outcomes=TABLES.outcomes
    ).progression
    assert np.isnan(late.days).sum() == (left <= 63).sum() > 0
    assert np.isnan(late.days).sum() > np.isnan(DATA.progression.days).sum()


DATA_ROWS = pl.DataFrame({"site": DATA.sites, "patient": DATA.patients})


def test_2_no_model_sees_the_time(trained):
    other = replace(
        DATA, progression=TimeToProgression(DATA.progression.days[::-1], ~DATA.progression.events)
    )
    (again,) = train([CLINICAL_SIZE], other, QUICK, seed=3)
    assert again.probabilities.tolist() == trained["clinical_size"].probabilities.tolist()
    assert again.appraisal.figures["c_index"] != told(trained).figures["c_index"]
    assert other.digest == DATA.digest


def test_4_risk_groups_are_lifelines_curves_and_test():
    days, events, positive = (
        RNG.integers(1, 90, 150).astype(float),
        RNG.random(150) < 0.6,
        RNG.random(150) < 0.4,
    )
    curves, medians = compare_risk_groups(TimeToProgression(days, events), positive)
    for group, mask in (("low_risk", positive), ("high_risk", ~positive)):
        with np.errstate():  # which lifelines sets for good
            fitted = KaplanMeierFitter().fit(days[mask], events[mask])
        assert medians[f"pfs_median_days_{group}"].value == fitted.median_survival_time_
        mine = curves.filter(group=group)
        assert mine["survival"].to_list() == pytest.approx(
            fitted.predict(mine["day"].to_list()).tolist(), abs=1e-9
        )
    assert medians["pfs_log_rank_p"].value == pytest.approx(
        logrank_test(days[positive], days[~positive], events[positive], events[~positive]).p_value,
        abs=1e-9,
    )
    alone, without = compare_risk_groups(TimeToProgression(days, events), np.ones(150, dtype=bool))
    assert alone["group"].unique().to_list() == ["low_risk"]
    assert without["pfs_log_rank_p"].value is None


def test_8c_predictive_values_in_practice_have_them_too(trained):
    model = trained["clinical_size"]
    given = predictive_values_in_practice(DATA.y, model.positive, SECTION[TARGET_PREVALENCE])
    for name, own in given.items():
        assert model.appraisal.figures[name] == of_folds(own, len(model.fits), 0.0, 1.0)


def test_8b_figures_of_folds_have_bounds_for_folds(trained):
    model = trained["clinical_size"]
    found, p, folds = model.appraisal.figures, model.probabilities, len(model.fits)
    intercept, slope = calibration_estimates(DATA.y, p)
    assert found["calibration_slope"] == of_folds(slope, folds)
    assert found["calibration_intercept"] == of_folds(intercept, folds)
    own = (found["calibration_slope"].upper - found["calibration_slope"].lower) / (
        slope.upper - slope.lower
    )
    assert own == pytest.approx(np.sqrt(fold_variance(folds)))
    for name in ("brier_bootstrap", "c_index", "ppv_in_practice", "npv_in_practice"):
        assert 0.0 <= found[name].lower <= found[name].value <= found[name].upper <= 1.0


def test_9_subgroups_hold_every_patient_once_a_factor(trained):
    found = subgroups(DATA, trained["clinical_size"].probabilities, 5)
    assert set(found["factor"]) == {"site", "stage", "pd_l1_tps", "line"}
    totals = found.group_by("factor").agg(pl.col("n", "n_positive").sum())
    assert set(totals.select("n", "n_positive").iter_rows()) == {(120, int(DATA.y.sum()))}
    assert (
        found.filter(factor="pd_l1_tps", level="unknown")["n"].item()
        == np.isnan(DATA.values_of(["pd_l1_tps"])).sum()
        > 0
    )
    stage = DATA.values_of(["stage_iv"])[:, 0] == 1
    assert found.filter(factor="stage", level="IV")["value"].item() == pytest.approx(
        auc_delong(DATA.y[stage], trained["clinical_size"].probabilities[stage]).value
    )


def test_10_each_hospital_is_judged_by_a_model_without_it(trained):
    found = told(trained).tables["held_out_sites"]
    assert found.select("site", "n").rows() == sorted(
        (s, DATA.sites.count(s)) for s in set(DATA.sites)
    )
    assert told(trained).figures["auc_held_out_sites"].value is not None
    assert (
        told(trained, "st_gcn").figures["auc_held_out_sites"].reason
        == "not asked for: [model].leave_site_out_for is baselines"
    )
    assert "not asked" in hold_out_sites(replace(BASELINES[4]), DATA, QUICK, 1)
    alone = replace(DATA, sites=("NORTH",) * 120)
    assert "there is one" in hold_out_sites(CLINICAL_SIZE, alone, QUICK, 1)
    asked = hold_out_sites(
        Network("st_gcn"), DATA, {**QUICK, "leave_site_out_for": "all", "network_epochs": 1}, 1
    )
    assert set(asked.sites) == set(DATA.sites)


def test_11_an_appraisal_can_be_logged_without_knowing_it(trained):
    for name in trained:
        found = told(trained, name)
        assert json.dumps(dict(found.facts))
        for key, frame in found.tables.items():
            assert frame.write_json()
            assert not set(frame.columns) & {"patient"}, key
            assert not any(p in frame.write_csv() for p in DATA.patients[:5])
        for key, e in found.figures.items():
            assert (e.value is None) == bool(e.reason) or (e.lower is None), key
            bounds = [e.lower, e.value, e.upper]
            known = [b for b in bounds if b is not None]
            assert known == sorted(known), key
            assert e.lower is None or None not in bounds or key.startswith("pfs_median_days"), (
                key
            )  # a group of whom half have not progressed
        assert set(found.tables["sample_size"]["criterion"]) >= {"shrinkage_0.9", "auc_interval"}
        assert found.tables["folds"].height == 3
        assert found.tables["folds"]["n"].sum() == 120


def test_12_predictive_values_are_shares_of_those_called(trained):
    model = trained["clinical_size"]
    called, e = model.positive, model.evaluation
    assert (e.ppv.value, e.npv.value) == pytest.approx(
        (DATA.y[called].mean(), (~DATA.y[~called]).mean())
    )
    assert e.ppv.lower < e.ppv.value < e.ppv.upper


def test_13_with_shuffled_labels_no_network_and_no_baseline_tells_anything(trained):
    """The mean AUC over shuffles lies within three standard errors of 0.5.

    The standard error is that of Mann-Whitney without a difference. The true labels lie far
    outside.
    """
    section, shuffles = {**QUICK, "leave_site_out_for": "none", "folds": 2, "network_epochs": 4}, 4
    m = int(DATA.y.sum())
    reach = 3 * np.sqrt(121 / (12 * m * (120 - m)) / shuffles)
    found = {learner.name: [] for learner in LEARNERS}
    for k in range(shuffles):
        for model in train(
            LEARNERS, replace(DATA, y=np.random.default_rng(k).permutation(DATA.y)), section, seed=3
        ):
            found[model.name].append(model.auc)
    for name, aucs in found.items():
        assert abs(np.mean(aucs) - 0.5) < reach < 0.1, name
    for name in ("delta_radiomics", "st_gcn", "decomposition_transformer"):
        assert trained[name].auc - 0.5 > 2 * reach, f"{name} must find what shuffling takes away"


def test_14_a_hospital_of_three_and_one_of_one_class_are_told_and_stop_nothing():
    sites = list(DATA.sites)
    one_class = [i for i in np.flatnonzero(DATA.y)[:8].tolist() if i > 2]
    for i in (0, 1, 2):
        sites[i] = "THREE"
    for i in one_class:
        sites[i] = "SAME"
    (found,) = train([CLINICAL_SIZE], replace(DATA, sites=tuple(sites)), QUICK, seed=3)
    left_out = {
        row["site"]: row for row in found.appraisal.tables["held_out_sites"].iter_rows(named=True)
    }
    assert left_out["THREE"]["n"] == 3
    assert left_out["SAME"]["reason"] == "all patients are of one class"
    assert found.appraisal.figures["auc_held_out_sites"].lower is not None
    assert (
        found.appraisal.facts["held_out_sites"] == "each hospital predicted by a model without it"
    )


@pytest.mark.parametrize(
    ("task", "section", "why"),
    [
        ("T0", {TARGET_PREVALENCE: 0.3}, None),
        ("T1", {TARGET_PREVALENCE: 0.3}, None),
        ("T2", {TARGET_PREVALENCE: 0.3}, "task T2 tells freedom from progression"),
        ("T1", {}, "was not handed over"),
    ],
)
def test_12_only_a_task_that_tells_response_has_them(task, section, why):
    data = replace(dataset(), task=replace(TASKS[task], visits=("T0", "T1", "T2")))
    p = np.where(data.y, 0.6, 0.4) + np.linspace(-0.2, 0.2, data.y.size)
    held = Held(np.arange(data.y.size) % 2, p, p > 0.5, ())
    bare = {k: v for k, v in SECTION.items() if k != TARGET_PREVALENCE}
    found = appraise(data, data, held, "not asked for", {**bare, **section}, 1)
    e = found.figures["ppv_in_practice"]
    assert (e.value is None) == bool(why)
    assert why is None or why in e.reason
    assert why or e == predictive_values_in_practice(data.y, p > 0.5, 0.3)["ppv_in_practice"]
    assert found.facts.get(TARGET_PREVALENCE) == section.get(TARGET_PREVALENCE)

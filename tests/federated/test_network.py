"""Federated averaging: exact averages, one scaling for all, the same model at each hospital."""

from __future__ import annotations

import json

import numpy as np
import pytest

from dagster_project.federated.network import Averaging, fold_of, train
from dagster_project.federated.refusals import OtherColumns, WrongLength
from dagster_project.radiomics.regions import region_names
from dagster_project.simulation.tables import Truth, simulate_tables
from dagster_project.study import load_study
from models.data.datasets import TASKS, build_dataset
from models.data.lesion_sequences import SequenceScaler, arrange
from tests.federated.engine.test_computations import drive
from tests.federated.plans import plan_of

STUDY = load_study()
FEATURES = tuple(STUDY.learning["network_features"])
REGIONS = tuple(region_names(STUDY.section("radiomics")))
SECTION = {
    "architecture": "st_gcn",
    "centres": [1.0] * len(FEATURES),
    "units": [1.0] * len(FEATURES),
    "average": 2,
    "epochs": 1,
    "rate": 0.01,
    "folds": 2,
    "seed": 7,
}


def weights_of(name):
    from models.learners.networks import architecture

    section = STUDY.learning
    facts = {"visits": list("ab"), "regions": list(REGIONS), "features": list(FEATURES)}
    facts |= {"width": section["network_width"], "dropout": section["network_dropout"]}
    return sum(w.numel() for w in architecture(name, facts).parameters())


WEIGHTS = {name: weights_of(name) for name in ("st_gcn", "decomposition_transformer")}


def averaging_of(**changes):
    section = {**SECTION, **changes}
    section.setdefault("weights", WEIGHTS[section["architecture"]])
    plan = plan_of(network=section)
    visits = TASKS["T1"].visits
    return Averaging(plan.asked, REGIONS, FEATURES, visits, STUDY.learning)


@pytest.fixture(scope="module")
def pooled():
    tables = simulate_tables(Truth(), FEATURES, patients=60, sites=3, seed=2)
    return build_dataset(TASKS["T1"], **tables.of_dataset())


def hospitals(pooled):
    sites = np.array(pooled.sites)
    return [pooled.take(sites == site) for site in sorted(set(pooled.sites))]


def test_inputs_are_scaled_as_all_patients_together_would(pooled):
    averaging = averaging_of()
    total = sum(averaging.moments(arrange(h.series, averaging.facts)) for h in hospitals(pooled))
    found = averaging.scaler(total)
    wanted = SequenceScaler.fitted(arrange(pooled.series, averaging.facts))
    np.testing.assert_allclose(found.means, wanted.means, atol=1e-6)
    np.testing.assert_allclose(found.scales, wanted.scales, rtol=1e-5)


def test_an_average_is_that_of_all_patients_weights():
    averaging, random = averaging_of(), np.random.default_rng(1)
    sent, sizes = [], [np.array([3.0, 4.0, 5.0]), np.array([6.0, 6.0, 9.0])]
    drawn = []
    for patients in sizes:
        weights = {n: random.normal(size=w.shape) for n, w in averaging.start.items()}
        drawn.append(weights)
        sent.append(averaging.flat(weights, patients, 0.5))
    found, loss = averaging.average(sum(sent))
    for name, weights in found.items():
        for k in range(3):
            shares = [s[k] / (sizes[0][k] + sizes[1][k]) for s in sizes]
            mean = sum(share * d[name][k] for share, d in zip(shares, drawn, strict=True))
            np.testing.assert_allclose(weights[k], mean, rtol=1e-6, atol=1e-7)
    assert loss == pytest.approx(0.5)


@pytest.mark.parametrize("name", WEIGHTS)
def test_each_hospital_ends_with_the_same_model(pooled, name):
    averaging = averaging_of(architecture=name)
    results = drive([train(averaging, own) for own in hospitals(pooled)])
    assert len({json.dumps(result) for result in results}) == 1
    assert results[0]["patients"] == 60
    assert 0 <= results[0]["auc"]["value"] <= 1
    before = averaging.start
    after = results[0]["own"]["weights"]
    assert any(not np.allclose(after[n], before[n][0]) for n in before)


def test_a_fold_follows_from_the_patient_alone():
    assert {fold_of(f"BJCH-{i}", 5) for i in range(99)} == set(range(5))
    assert fold_of("BJCH-1", 5) == fold_of("BJCH-1", 5)


def test_a_plan_of_another_network_is_refused():
    with pytest.raises(WrongLength):
        averaging_of(weights=WEIGHTS["st_gcn"] + 1)
    with pytest.raises(OtherColumns):
        averaging_of(centres=[0.0], units=[1.0])

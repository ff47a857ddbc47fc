"""How each federated run ended at this hospital, as rows."""

from __future__ import annotations

from dagster_project.federated.engine.outcomes import Outcome, write_outcome
from dagster_project.federated.home_records import read_runs
from dagster_project.federated.ledger import Budget, Ledger
from dagster_project.lake.home import Home
from tests.federated.lakes import lake_plan
from tests.federated.plans import LOGISTIC, plan_of

NOISY = {**LOGISTIC, "epsilon": 1.0}
NAMES = [c * 32 for c in "abc"]


def test_runs_with_and_without_noise_and_one_that_failed(tmp_path):
    home = Home(tmp_path)
    Ledger.create(home.federated, "BJCH", Budget(3.0, 1e-5))
    plans = [plan_of(logistic=NOISY), lake_plan({"simulated": False}, logistic=LOGISTIC), plan_of()]
    outcomes = [
        Outcome("done", "close", 4, 4, result={"size": 1.0}, plan=plans[0].sections),
        Outcome("done", "close", 4, 4, result={"size": 1.0}, plan=plans[1].sections),
        Outcome("failed", "announce", 0, 1, en="the gate is closed", plan=plans[2].sections),
    ]
    for name, outcome in zip(NAMES, outcomes, strict=True):
        write_outcome(home.federated / "runs" / f"{name}.json", outcome)
    noisy, exact, failed = read_runs(home).iter_rows(named=True)
    assert abs(noisy["epsilon"] - 1.0) < 1e-6
    assert noisy["model_released"] == "releasable"
    assert noisy["rows_from"] == "table"
    assert exact["epsilon"] is None
    assert exact["model_released"] == "consortium_only"
    assert exact["rows_from"] == "lake"
    assert failed["state"] == "failed"
    assert failed["reason"] == "the gate is closed"
    assert failed["model_released"] is None
    assert failed["rounds_sent"] == 0


def test_a_home_without_any(tmp_path):
    assert read_runs(Home(tmp_path)).is_empty()

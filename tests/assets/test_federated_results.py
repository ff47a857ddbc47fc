"""Statistics of federated runs as rows, marked, and each run once in MLflow."""

from __future__ import annotations

import datetime as dt

from dagster_project.federated.engine.outcomes import Outcome
from dagster_project.federated.records import result_rows, run_rows
from dagster_project.federated.tracking import RUN_TAG, log_runs
from dagster_project.reports.study_report import render_study_report
from dagster_project.reports.summaries.models import summarise_federated
from dagster_project.study import load_study
from models.operation.registry import make_client
from tests.federated.plans import COUNTS, LOGISTIC, plan_of

NAME = "a" * 32
RESULT = {
    "auc": {"value": 0.71, "lower": 0.6, "upper": 0.8, "reason": None},
    "curves": {
        "all": {
            "time": (10.0, 20.0),
            "survival": (0.9, 0.8),
            "lower": (0.8, 0.6),
            "upper": (0.95, None),
            "median": None,
            "median_lower": None,
            "median_upper": None,
        }
    },
    "components": [1.0, 2.0],
    "own": {"BJCH/B30": {"shift": [0.3]}},
}
AT = "2026-05-01T00:00:00+00:00"
OUTCOME = Outcome("done", "close", 1, 1, result=RESULT, at=AT)


def outcomes(**asked):
    return {NAME: Outcome(**{**vars(OUTCOME), "plan": plan_of(**asked).sections})}


def test_each_statistic_is_a_row_with_its_bounds_and_nothing_of_one_hospital_is():
    rows = {r["statistic"]: r for r in result_rows(outcomes()).iter_rows(named=True)}
    assert list(rows) == sorted(rows)
    assert (rows["auc"]["value"], rows["auc"]["lower"], rows["auc"]["upper"]) == (0.71, 0.6, 0.8)
    assert rows["curves/all@20"]["upper"] is None
    assert rows["components/1"]["value"] == 2.0
    assert not any("own" in name for name in rows)
    assert {r["provenance"] for r in rows.values()} == {"federated"}
    assert {tuple(r["hospitals"]) for r in rows.values()} == {("BJCH", "GZSM", "SHFD")}


def test_what_noise_costs_is_beside_each_statistic():
    found = result_rows(outcomes(counts={**COUNTS, "epsilon": 0.5}))
    assert set(found["epsilon"].round(6)) == {0.5}


def test_a_run_is_logged_once(tmp_path):
    uri = f"sqlite:///{tmp_path / 'mlflow.sqlite'}"
    where = {"tracking_uri": uri, "artifact_root": tmp_path / "artifacts"}
    runs, results = run_rows(outcomes(), None), result_rows(outcomes())
    assert log_runs(runs, results, **where) == 1
    assert log_runs(runs, results, **where) == 0
    client = make_client(uri)
    (run,) = client.search_runs([e.experiment_id for e in client.search_experiments()])
    assert run.data.tags[RUN_TAG] == NAME
    assert run.data.tags["plan_digest"] == plan_of().digest
    assert run.data.metrics["auc"] == 0.71
    assert run.data.metrics["curves/all day 20"] == 0.8


def test_the_report_lists_statistics_and_leaves_points_of_curves_to_the_table():
    (shown,) = summarise_federated(run_rows(outcomes(), None), result_rows(outcomes()))
    names = [r["statistic"] for r in shown["statistics"]]
    assert "auc" in names
    assert not any("@" in name for name in names)


def test_the_report_has_a_section_of_them_and_says_which_model_stays_in_the_consortium():
    found = outcomes(logistic=LOGISTIC)
    found["b" * 32] = Outcome("failed", en="GZSM has not answered", plan=plan_of().sections, at=AT)
    tables = {"federated_runs": run_rows(found, None), "federated_results": result_rows(found)}
    page = render_study_report(tables, load_study(), 1, dt.datetime(2026, 5, 1, tzinfo=dt.UTC))
    section = page.partition('<section id="federated">')[2].partition("</section>")[0]
    assert "stays within the consortium" in section
    assert "0.7100" in section
    assert "GZSM has not answered" in section
    empty = render_study_report({}, load_study(), 1, dt.datetime(2026, 5, 1, tzinfo=dt.UTC))
    assert "taken part in no federated run" in empty

"""What is logged can be read back to the last bit.

It names no patient and no machine, and uses no network.
"""

from __future__ import annotations

import csv
import getpass
import json
import math
import platform
import re
from dataclasses import replace

import duckdb
import numpy as np
import polars as pl
import pytest

from dagster_project.lake.contracts import find_violations
from dagster_project.lake.tables import MODEL_RUNS
from models.evaluation.evaluation import leakage_verdict
from models.evaluation.training import best_model
from models.operation import log as log_module
from models.operation.log import GateClosedError
from models.operation.registry import make_client
from tests.models.cohorts import SECTION
from tests.models.operation.logged import DATA, MOMENT, PASSED, log


def test_rows_of_model_runs_keep_the_contract_of_their_table(logged):
    connection = duckdb.connect()
    connection.register("model_runs", logged.runs.to_arrow())
    assert find_violations(lambda query: connection.execute(query).fetchone(), MODEL_RUNS) == []


def test_a_row_says_what_was_found(logged, trained):
    row = logged.runs.row(1, named=True)
    size = trained[1]
    assert (row["task"], row["model"], row["n_patients"], row["n_positive"], row["n_features"]) == (
        "T1",
        "size_change",
        24,
        12,
        4,
    )
    assert (row["auc"], row["auc_lower"], row["auc_upper"]) == (
        size.auc,
        size.evaluation.auc.lower,
        size.evaluation.auc.upper,
    )
    assert row["cutoff"] == pytest.approx(np.mean(size.cutoffs))
    practice = size.appraisal.figures["ppv_in_practice"]
    assert (row["ppv"], row["ppv_in_practice"]) == (size.evaluation.ppv.value, practice.value)
    assert (row["ppv_in_practice_lower"], row["ppv_in_practice_upper"]) == (
        practice.lower,
        practice.upper,
    )
    assert (row["snapshot"], row["trained_at"], row["cohort_digest"], row["simulated"]) == (
        17,
        MOMENT,
        DATA.digest,
        True,
    )


def test_the_alias_is_the_best_real_models(logged, trained):
    best = best_model(trained)
    held = logged.runs.filter(pl.col("alias").is_not_null())
    assert held["model"].to_list() == [best.name]
    assert held["alias"].to_list() == ["candidate"]
    version = logged.client.get_model_version_by_alias("response-T1", "candidate")
    assert (str(version.version), version.run_id) == (
        held["model_version"].item(),
        held["mlflow_run_id"].item(),
    )


def test_the_control_is_registered_where_nobody_looks_for_a_model(logged):
    names = {
        v.name: {m.tags["model"] for m in logged.client.search_model_versions(f"name='{v.name}'")}
        for v in logged.client.search_registered_models()
    }
    assert names == {
        "response-T1": {"clinical", "size_change", "delta_radiomics", "delta_radiomics_dhi"},
        "response-T1-negative-control": {"negative_control"},
    }


def test_a_run_says_snapshot_gate_protocol_cohort_and_alarms(logged):
    run = logged.run("size_change")
    told = run.data.tags
    assert run.info.status == "FINISHED"
    assert run.info.start_time == MOMENT.timestamp() * 1000
    assert (told["snapshot"], told["protocol_digest"], told["cohort_digest"], told["gate"]) == (
        "17",
        "0123456789abcdef",
        DATA.digest,
        "open",
    )
    assert told["gate_rules"] == "2 cohort rules, 1 warnings"
    assert told["leakage_alarm"] in {"raised", "quiet"}
    assert "out-of-fold AUC" in told["leakage_alarm_detail"]
    assert logged.run("negative_control").data.tags["negative_control"] in {"pass", "fail"}
    assert run.data.params["n_folds"] == "5"
    assert run.data.params["blocks"] == "size"


def test_no_tag_tells_account_host_source_or_repository(logged):
    for model in logged.runs["model"]:
        run = logged.run(model)
        assert {t for t in run.data.tags if t.startswith("mlflow.")} == {
            "mlflow.user",
            "mlflow.runName",
            "mlflow.parentRunId",
        }
        assert run.data.tags["mlflow.user"] == run.info.user_id == "lakehouse"
        assert not any(
            str(logged.folder) in value or platform.node() in value
            for value in run.data.tags.values()
        )
    for version in logged.client.search_model_versions("name='response-T1'"):
        assert version.source == f"runs:/{version.run_id}/model"


def test_metrics_are_the_evaluations(logged, trained):
    metrics = logged.run("delta_radiomics").data.metrics
    evaluation = trained[2].evaluation
    assert metrics["auc"] == evaluation.auc.value
    assert metrics["specificity_upper"] == evaluation.specificity.upper
    assert metrics["auc_site_NORTH"] == evaluation.auc_by_site["NORTH"].value
    assert metrics["brier"] == evaluation.brier
    assert metrics["control_auc_negative_control"] == trained[4].auc
    assert metrics["auc_gain_over_size_change"] == pytest.approx(trained[2].auc - trained[1].auc)
    assert all(np.isfinite(list(metrics.values())))


def test_artifacts_are_tensors_facts_and_the_curve(logged, trained):
    folder = logged.artifacts("clinical")
    files = {str(f.relative_to(folder)) for f in folder.rglob("*") if f.is_file()}
    folds = {
        f"model/fold_{k:02d}/{name}"
        for k in range(5)
        for name in ("model.safetensors", "config.json")
    }
    model = {
        f"model/{name}" for name in ("model.safetensors", "config.json", "reference.safetensors")
    }
    told = {
        "roc.csv",
        "roc.png",
        "calibration.png",
        "decision_curve.png",
        "curves.json",
        "evaluation.json",
        "gate_verdicts.json",
        "signature.json",
        "environment.json",
        "model_card.md",
        "guidelines.csv",
    }
    appraised = {
        f"appraisal/{name}.csv"
        for name, table in trained[0].appraisal.tables.items()
        if table.width
    } | {"appraisal/figures.csv", "appraisal/facts.json"}
    assert files == folds | model | told | appraised
    for name in ("roc", "calibration", "decision_curve"):
        assert (folder / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    with (folder / "roc.csv").open(encoding="utf-8") as file:
        corners = [
            (float(r["false_positive_rate"]), float(r["true_positive_rate"]))
            for r in csv.DictReader(file)
        ]
    assert corners == [
        (p.false_positive_rate, p.true_positive_rate) for p in trained[0].evaluation.roc
    ]
    gate = json.loads((folder / "gate_verdicts.json").read_text())
    assert (gate["snapshot"], [v["rule"] for v in gate["verdicts"]]) == (
        17,
        ["icc_resolved", "icc_lower", "slice_thickness"],
    )


def test_no_file_holds_a_pseudonym_or_the_account(logged):
    written = [f.read_bytes() for f in logged.folder.rglob("*") if f.is_file()]
    assert len(written) > 5 * 6
    for patient in DATA.patients:
        assert not any(patient.encode() in content for content in written)
    account = f'"{getpass.getuser()}"'.encode()
    assert not any(account in content for content in written)


@pytest.mark.parametrize("verdict", ["fail", "cannot_evaluate"])
def test_nothing_is_logged_behind_a_closed_gate(trained, tmp_path, verdict):
    closed = replace(PASSED[0], verdict=verdict, statistic=0.6)
    with pytest.raises(
        GateClosedError, match=f"icc_resolved at NORTH: {verdict}, figure 0.6, limit 0.85"
    ):
        log(trained, tmp_path, verdicts=(closed,))
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_breaks_off_is_failed_not_finished(trained, fresh, monkeypatch):
    def broken(*_):
        raise OSError("disk full")

    monkeypatch.setattr(log_module, "write_artifacts", broken)
    with pytest.raises(OSError, match="disk full"):
        log(trained, fresh)
    client = make_client(f"sqlite:///{fresh}/mlflow.db")
    experiment = client.get_experiment_by_name("lakehouse-T1")
    assert [run.info.status for run in client.search_runs([experiment.experiment_id])] == [
        "FAILED",
        "FAILED",
    ]
    assert client.search_registered_models() == []


def test_a_raised_alarm_is_written_and_stops_nothing(trained, fresh):
    alarming = replace(trained[1], verdicts=(leakage_verdict(0.97, SECTION["leakage_auc"]),))
    runs = log([alarming], fresh)
    client = make_client(f"sqlite:///{fresh}/mlflow.db")
    version = client.get_model_version_by_alias("response-T1", "candidate")
    assert version.tags["leakage_alarm"] == "raised"
    told = client.get_run(runs["mlflow_run_id"].item()).data.tags
    assert (
        told["leakage_alarm_detail"]
        == "out-of-fold AUC 0.970 >= 0.9: look for columns that contain the label before use"
    )


def test_a_training_is_one_run_that_holds_its_models_and_they_their_folds(logged, trained):
    client, model = logged.client, logged.run("clinical")
    parent = client.get_run(model.data.tags["mlflow.parentRunId"])
    assert parent.info.run_name == "training"
    assert {logged.run(t.name).data.tags["mlflow.parentRunId"] for t in trained} == {
        parent.info.run_id
    }
    folds = client.search_runs(
        [model.info.experiment_id], f"tags.`mlflow.parentRunId` = '{model.info.run_id}'"
    )
    assert len(folds) == 5
    assert sum(f.data.metrics["n_patients"] for f in folds) == 24


def test_the_champion_is_made_by_rule_and_the_reasons_are_told(trained, fresh, looking):
    client = make_client(f"sqlite:///{fresh}/mlflow.db")
    looking(0.05)
    log(trained, fresh, section=SECTION)
    held = client.get_model_version_by_alias("response-T1", "candidate")
    assert held.tags["promotion"] == "held_back"
    assert (
        "calibration slope" in held.tags["promotion_reasons"]
        or "not better than" in held.tags["promotion_reasons"]
    )
    assert "champion" not in client.get_registered_model("response-T1").aliases
    looking(math.inf)
    easy = {**SECTION, "promotion_slope": [-100, 100]}
    best = replace(best_model(trained), verdicts=())
    others = [t for t in trained if t.name != best.name and not t.negative_control]
    first = log([best, *others], fresh, section=easy)
    assert client.get_registered_model("response-T1").aliases["champion"] == 5
    assert first.select("alias", "promotion", "promotion_reasons").row(0) == (
        "champion",
        "promoted",
        "every condition is met",
    )
    again = log([best, *others], fresh, section=easy)
    assert client.get_registered_model("response-T1").aliases["champion"] == 5
    assert (
        "cannot be compared with the champion: both predict 0 patients unseen"
        in again["promotion_reasons"][0]
    )
    worse = log([best, *others], fresh, section=easy, champion=1 - best.probabilities)
    assert worse.select("alias", "promotion").row(0) == ("champion", "promoted")
    assert client.get_registered_model("response-T1").aliases["champion"] == int(
        worse["model_version"][0]
    )
    held = log([best, *others], fresh, section=easy, champion=best.probabilities)
    assert "not better than the champion on 24 patients" in held["promotion_reasons"][0]


def test_between_two_looks_nobody_is_promoted_and_the_next_one_is_named(trained, fresh):
    client, best = (
        make_client(f"sqlite:///{fresh}/mlflow.db"),
        replace(best_model(trained), verdicts=()),
    )
    others = [t for t in trained if t.name != best.name and not t.negative_control]
    early = {**SECTION, "promotion_slope": [-100, 100], "promotion_looks": [30, 60]}
    first = log([best, *others], fresh, section=early).row(0, named=True)
    assert (first["promotion"], first["promotion_reasons"], first["alias"]) == (
        "not_due",
        "the next look is at 30 patients",
        "candidate",
    )
    due = {**early, "promotion_looks": [24, 60]}
    verdicts = [
        log([best, *others], fresh, section=due).row(0, named=True)["promotion"] for _ in range(3)
    ]
    assert verdicts[0] in {"promoted", "held_back"}
    assert verdicts[1:] == ["not_due"] * 2, "once, however often it is trained"
    assert client.get_registered_model("response-T1").tags["promotion_look"] == "1"


def test_a_run_read_back_says_what_it_was_trained_with_and_how_it_was_judged(logged, trained):
    """Environment without host or user, signature, curves and appraisal are the model's own."""
    folder, model = logged.artifacts("delta_radiomics"), trained[2]
    environment = json.loads((folder / "environment.json").read_text())
    assert environment["python"] == platform.python_version()
    assert {"mlflow", "numpy", "polars", "safetensors", "scikit-learn", "torch"} <= set(
        environment["packages"]
    )
    assert environment["packages"]["numpy"] == np.__version__
    assert platform.node() not in re.findall(
        r"[^\s\",:{}]+", (folder / "environment.json").read_text()
    ), "a word of its own: a package may hold a short name"
    signed = json.loads((folder / "signature.json").read_text())
    assert [c["name"] for c in signed["columns"]] == list(model.dataset.feature_names)
    told = json.loads((folder / "curves.json").read_text())
    assert [p["true_positive_rate"] for p in told["roc"]] == [
        p.true_positive_rate for p in model.evaluation.roc
    ]
    assert sum(g["n"] for g in told["calibration"]) == 24
    figures = pl.read_csv(folder / "appraisal" / "figures.csv", infer_schema_length=0)["figure"]
    assert set(figures) == set(model.appraisal.figures)
    assert (
        logged.run("delta_radiomics").data.metrics["brier_bootstrap"]
        == model.appraisal.figures["brier_bootstrap"].value
    )
    assert logged.run("delta_radiomics").data.tags["python"] == platform.python_version()


def test_mlflow_s_pages_say_what_they_show(logged):
    (experiment,) = (e for e in logged.client.search_experiments() if e.name != "Default")
    assert DATA.task.label in experiment.tags["mlflow.note.content"]
    for model in logged.client.search_registered_models():
        assert model.description
    version = logged.client.search_model_versions("name = 'response-T1'")[0]
    row = logged.runs.filter(mlflow_run_id=version.run_id).row(0, named=True)
    assert version.description.startswith(
        f"{row['model']}, trained on {row['n_patients']} patients"
    )


def test_an_experiment_of_an_earlier_version_gets_its_description(logged):
    client, root = logged.client, logged.folder / "mlflow"
    made = log_module.make_experiment(client, "lakehouse-T9", root, "as it was")
    assert log_module.make_experiment(client, "lakehouse-T9", root, "as it is") == made
    assert client.get_experiment(made).tags["mlflow.note.content"] == "as it is"
    client.delete_experiment(made)

"""What is logged can be read back to the last bit.

It names no patient and no machine, and uses no network.
"""

from __future__ import annotations

import csv
import getpass
import json
import math
import pickle
import platform
import re
import shutil
import socket
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import numpy as np
import polars as pl
import pytest
from safetensors import SafetensorError

from dagster_project.domain.cohort.quality import GateVerdict
from dagster_project.lake.contracts import find_violations
from dagster_project.lake.tables import MODEL_RUNS
from models.evaluation.evaluation import leakage_verdict
from models.evaluation.training import best_model, train_baselines
from models.evaluation.training_distribution import TrainingDistribution
from models.operation import tracking
from models.operation.promotion import Look
from models.operation.reporting import CHECKLISTS
from tests.models.cohorts import SECTION, dataset

MOMENT = datetime(2026, 1, 12, 3, 4, 5, tzinfo=UTC)
DATA = dataset(effect=0.3)


PASSED = (
    GateVerdict("icc_resolved", "NORTH", "cohort", 0.93, 0.85, "pass", "ICC(2,1) of 40 pairs"),
    GateVerdict("icc_lower", "NORTH", "cohort", 0.80, 0.75, "warn", "below .85"),
    GateVerdict("slice_thickness", "cohort", "row", 3.0, None, "fail", "3 patients excluded"),
)


@pytest.fixture(scope="module")
def trained():
    return train_baselines(DATA, SECTION, seed=11)


@dataclass(frozen=True)
class Log:
    """One training logged into a folder of its own."""

    folder: Path
    uri: str
    runs: pl.DataFrame
    client: object

    def run(self, model: str):
        return self.client.get_run(
            self.runs.filter(pl.col("model") == model)["mlflow_run_id"].item()
        )

    def artifacts(self, model: str) -> Path:
        return self.folder / "artifacts" / self.run(model).info.run_id / "artifacts"


def log(trained, folder: Path, **changed) -> pl.DataFrame:
    arguments = {
        "tracking_uri": f"sqlite:///{folder}/mlflow.db",
        "artifact_root": folder / "artifacts",
        "snapshot": 17,
        "verdicts": PASSED,
        "protocol_digest": "0123456789abcdef",
        "alias": "candidate",
        "trained_at": MOMENT,
    }
    return tracking.log_models(trained, **{**arguments, **changed})


@pytest.fixture
def fresh(logged, tmp_path) -> Path:
    """A folder with an MLflow store that holds no run.

    It is a copy, since making its tables takes seconds.
    """
    shutil.copy(logged.folder / "empty.db", tmp_path / "mlflow.db")
    return tmp_path


@pytest.fixture(scope="module")
def logged(trained, tmp_path_factory) -> Log:
    """Logged from an empty working folder, with every network connection refused."""
    folder, elsewhere = tmp_path_factory.mktemp("mlflow"), tmp_path_factory.mktemp("elsewhere")

    def refuse(*_):
        raise AssertionError("a connection was opened")

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(elsewhere)
        patch.setattr(socket.socket, "connect", refuse)
        tracking.make_client(f"sqlite:///{folder}/empty.db")
        shutil.copy(folder / "empty.db", folder / "mlflow.db")
        runs = log(trained, folder)
        assert list(elsewhere.iterdir()) == []
    uri = f"sqlite:///{folder}/mlflow.db"
    return Log(folder, uri, runs, tracking.make_client(uri))


def test_1_rows_of_model_runs_keep_the_contract_of_their_table(logged):
    connection = duckdb.connect()
    connection.register("model_runs", logged.runs.to_arrow())
    assert find_violations(lambda query: connection.execute(query).fetchone(), MODEL_RUNS) == []


def test_2_a_row_says_what_was_found(logged, trained):
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


def test_3_the_alias_is_the_best_real_models(logged, trained):
    best = best_model(trained)
    held = logged.runs.filter(pl.col("alias").is_not_null())
    assert held["model"].to_list() == [best.name]
    assert held["alias"].to_list() == ["candidate"]
    version = logged.client.get_model_version_by_alias("response-T1", "candidate")
    assert (str(version.version), version.run_id) == (
        held["model_version"].item(),
        held["mlflow_run_id"].item(),
    )


def test_4_the_control_is_registered_where_nobody_looks_for_a_model(logged):
    names = {
        v.name: {m.tags["model"] for m in logged.client.search_model_versions(f"name='{v.name}'")}
        for v in logged.client.search_registered_models()
    }
    assert names == {
        "response-T1": {"clinical", "size_change", "delta_radiomics", "delta_radiomics_dhi"},
        "response-T1-negative-control": {"negative_control"},
    }


def test_5_a_run_says_snapshot_gate_protocol_cohort_and_alarms(logged):
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


def test_6_no_tag_tells_account_host_source_or_repository(logged):
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


def test_7_metrics_are_the_evaluations(logged, trained):
    metrics = logged.run("delta_radiomics").data.metrics
    evaluation = trained[2].evaluation
    assert metrics["auc"] == evaluation.auc.value
    assert metrics["specificity_upper"] == evaluation.specificity.upper
    assert metrics["auc_site_NORTH"] == evaluation.auc_by_site["NORTH"].value
    assert metrics["brier"] == evaluation.brier
    assert metrics["control_auc_negative_control"] == trained[4].auc
    assert metrics["auc_gain_over_size_change"] == pytest.approx(trained[2].auc - trained[1].auc)
    assert all(np.isfinite(list(metrics.values())))


def test_8_artifacts_are_tensors_facts_and_the_curve(logged, trained):
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


def test_9_the_stored_model_gives_the_same_bits(logged, trained):
    for model in trained:
        read, facts = tracking.load_model(logged.artifacts(model.name) / "model")
        assert read.probabilities(DATA).tolist() == model.final.model.probabilities(DATA).tolist()
        assert (facts["task"], facts["landmark"], facts["cutoff"], facts["name"]) == (
            "T1",
            "T1",
            model.final.cutoff,
            model.name,
        )


def test_10_the_alias_reads_the_best_model(logged, trained):
    best = best_model(trained)
    read, facts = tracking.load_registered(logged.uri, "T1", "candidate")
    assert facts["name"] == best.name
    assert read.probabilities(DATA).tolist() == best.final.model.probabilities(DATA).tolist()


def test_11_no_file_holds_a_pseudonym_or_the_account(logged):
    written = [f.read_bytes() for f in logged.folder.rglob("*") if f.is_file()]
    assert len(written) > 5 * 6
    for patient in DATA.patients:
        assert not any(patient.encode() in content for content in written)
    account = f'"{getpass.getuser()}"'.encode()
    assert not any(account in content for content in written)


def test_12_a_second_training_makes_new_versions_and_moves_the_alias(trained, fresh):
    first = log(trained, fresh)
    second = log(trained[:1] + trained[-1:], fresh)
    assert first["model_version"].to_list() == ["1", "2", "3", "4", "1"]
    assert second["model_version"].to_list() == ["5", "2"]
    assert (
        tracking.load_registered(f"sqlite:///{fresh}/mlflow.db", "T1", "candidate")[1]["name"]
        == "clinical"
    )
    moved = log(trained[:1], fresh, artifact_root=fresh / "moved")
    assert (fresh / "moved" / moved["mlflow_run_id"].item() / "artifacts" / "roc.csv").is_file()
    assert len(list((fresh / "artifacts").iterdir())) == 7
    again = log(trained[:1], fresh, artifact_root=fresh / "moved")
    assert (fresh / "moved" / again["mlflow_run_id"].item()).is_dir()


@pytest.mark.parametrize("verdict", ["fail", "cannot_evaluate"])
def test_13_nothing_is_logged_behind_a_closed_gate(trained, tmp_path, verdict):
    closed = replace(PASSED[0], verdict=verdict, statistic=0.6)
    with pytest.raises(
        tracking.GateClosedError, match=f"icc_resolved at NORTH: {verdict}, figure 0.6, limit 0.85"
    ):
        log(trained, tmp_path, verdicts=(closed,))
    assert list(tmp_path.iterdir()) == []


def test_14_a_run_that_breaks_off_is_failed_not_finished(trained, fresh, monkeypatch):
    def broken(*_):
        raise OSError("disk full")

    monkeypatch.setattr(tracking, "_write_artifacts", broken)
    with pytest.raises(OSError, match="disk full"):
        log(trained, fresh)
    client = tracking.make_client(f"sqlite:///{fresh}/mlflow.db")
    experiment = client.get_experiment_by_name("lakehouse-T1")
    assert [run.info.status for run in client.search_runs([experiment.experiment_id])] == [
        "FAILED",
        "FAILED",
    ]
    assert client.search_registered_models() == []


def test_15_a_model_of_an_unknown_kind_is_refused(logged, tmp_path):
    facts = json.loads((logged.artifacts("clinical") / "model" / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**facts, "kind": "oracle"}))
    with pytest.raises(ValueError, match="kind oracle, known are linear_logistic"):
        tracking.load_model(tmp_path)


def test_16_a_raised_alarm_is_written_and_stops_nothing(trained, fresh):
    alarming = replace(trained[1], verdicts=(leakage_verdict(0.97, SECTION["leakage_auc"]),))
    runs = log([alarming], fresh)
    client = tracking.make_client(f"sqlite:///{fresh}/mlflow.db")
    version = client.get_model_version_by_alias("response-T1", "candidate")
    assert version.tags["leakage_alarm"] == "raised"
    told = client.get_run(runs["mlflow_run_id"].item()).data.tags
    assert (
        told["leakage_alarm_detail"]
        == "out-of-fold AUC 0.970 >= 0.9: look for columns that contain the label before use"
    )


def test_17_a_training_is_one_run_that_holds_its_models_and_they_their_folds(logged, trained):
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


@pytest.fixture
def looking(monkeypatch):
    """Every training is a registered look that may spend a level."""
    return lambda level: monkeypatch.setattr(tracking, "look_due", lambda *_: Look(1, level))


def test_18_the_champion_is_made_by_rule_and_the_reasons_are_told(trained, fresh, looking):
    client = tracking.make_client(f"sqlite:///{fresh}/mlflow.db")
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


def test_18b_between_two_looks_nobody_is_promoted_and_the_next_one_is_named(trained, fresh):
    client, best = (
        tracking.make_client(f"sqlite:///{fresh}/mlflow.db"),
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


def test_19_the_champion_is_asked_before_the_candidate_and_its_absence_is_told(
    trained, fresh, looking
):
    uri, easy = f"sqlite:///{fresh}/mlflow.db", {**SECTION, "promotion_slope": [-100, 100]}
    looking(math.inf)
    tracking.make_client(uri)
    assert tracking.find_served(uri, "T1", ("champion", "candidate")) is None
    with pytest.raises(
        LookupError, match="no model of task T1 carries the alias champion; materialise model_runs"
    ):
        tracking.load_registered(uri, "T1", "champion")
    best = replace(best_model(trained), verdicts=())
    others = [t for t in trained if t.name != best.name and not t.negative_control]
    promoted, later = (
        log([best, *others], fresh, section=easy),
        log(trained, fresh, section=SECTION),
    )
    found = tracking.find_served(uri, "T1", ("champion", "candidate"))
    assert (found.alias, found.version, found.run, found.model) == (
        "champion",
        promoted["model_version"][0],
        promoted["mlflow_run_id"][0],
        best.name,
    )
    held = later.filter(pl.col("alias").is_not_null())
    assert tracking.aliases_held(uri, "T1", ("champion", "candidate")) == {
        found.run: "champion",
        held["mlflow_run_id"].item(): "candidate",
    }
    served = tracking.load_served(uri, found)
    assert [f.probabilities(DATA).tolist() for f in served.folds] == [
        f.model.probabilities(DATA).tolist() for f in best.fits
    ]
    assert served.reference.ood_score(DATA) == pytest.approx(
        TrainingDistribution.fitted(best.dataset).ood_score(DATA), abs=0, nan_ok=True
    )


def test_20_nothing_is_read_that_could_run_code(logged):
    """Neither artifacts nor registry hold a pickle, and a model is tensors and JSON."""
    kinds = {f.suffix for f in (logged.folder / "artifacts").rglob("*") if f.is_file()}
    assert kinds == {".safetensors", ".json", ".csv", ".png", ".md"}
    client = logged.client
    for model in logged.runs["model"]:
        assert not any(
            f.path.endswith("MLmodel")
            for f in client.list_artifacts(logged.run(model).info.run_id, "model")
        ), "no flavour that unpickles"
    odd = logged.folder / "odd"
    odd.mkdir()
    (odd / "config.json").write_text(
        (logged.artifacts("clinical") / "model" / "config.json").read_text()
    )
    (odd / "model.safetensors").write_bytes(pickle.dumps({"coefficients": [1.0]}))
    with pytest.raises(SafetensorError):
        tracking.load_model(odd)


def test_21_a_run_read_back_says_what_it_was_trained_with_and_how_it_was_judged(logged, trained):
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


def test_23_items_bear_their_published_titles():
    told = {
        (g, i): t
        for g, i, t in pl.read_csv(CHECKLISTS, infer_schema_length=0)
        .select("guideline", "item", "title")
        .iter_rows()
    }
    published = pl.read_csv(
        Path(__file__).parent / "golden" / "guideline_titles.csv", infer_schema_length=0
    )
    assert told == {(g, i): t.removesuffix(" [n/e]") for g, i, t in published.iter_rows()}
    assert published.group_by("guideline").len().sort("len")["len"].to_list() == [27, 30, 58]


def test_22_every_item_of_the_guidelines_is_answered_or_said_to_be_open(logged):
    rows = pl.read_csv(
        logged.artifacts("size_change") / "guidelines.csv", infer_schema_length=0
    ).to_dicts()
    for guideline, n in (("TRIPOD+AI", 27), ("CLEAR", 58), ("METRICS", 30)):
        assert [r["item"] for r in rows if r["guideline"] == guideline] == [
            str(i) for i in range(1, n + 1)
        ]
    assert {r["status"] for r in rows} == {
        "answered",
        "partly",
        "paper",
        "not done",
        "not applicable",
    }
    assert all(r["answer"] and "{" not in r["answer"] for r in rows)
    by = {(r["guideline"], r["item"]): r for r in rows}
    assert by["TRIPOD+AI", "10"]["answer"].startswith("24 patients, 12 responders")
    assert by["METRICS", "27"]["status"] == "not done"
    assert (
        f"{logged.run('size_change').data.metrics['brier']:.3f}" in by["TRIPOD+AI", "23"]["answer"]
    )
    card = (logged.artifacts("size_change") / "model_card.md").read_text(encoding="utf-8")
    assert "Trained on simulated data: it says nothing of patients." in card
    assert "| METRICS 27 | External testing | not done | not done |" in card

"""The whole flow from stage to stage, and what must hold at the end.

The stages are a closed gate, a quiet night, arbitration and one more scan.
"""

from __future__ import annotations

import dagster as dg
import duckdb
import polars as pl
import pytest
from click.testing import Result

from dagster_project.commands.run import Flow
from dagster_project.lake.contracts import find_violations
from dagster_project.lake.schema import comment
from dagster_project.lake.tables import BY_NAME, PUBLISHED, TABLES
from dagster_project.materialisation import GATE_CHECK, GATE_TAG
from tests.trial import SETTINGS, SITES, Stage

CAREFUL, CARELESS = SITES


def difference(before: pl.DataFrame, now: pl.DataFrame) -> pl.DataFrame:
    """Rows that are in one of two states of a table only."""
    return pl.concat(
        [
            before.join(now, on=before.columns, how="anti", nulls_equal=True),
            now.join(before, on=before.columns, how="anti", nulls_equal=True),
        ]
    )


# -- 1. the first run ------------------------------------------------------------------------------


def test_first_run_closes_the_gate_by_rule_site_figure_and_limit(closed: Stage) -> None:
    assert isinstance(closed.outcome, Flow)
    assert closed.outcome.failed == ()
    assert not closed.outcome.gate_open
    assert closed.outcome.gate_reason.startswith("The gate is closed.")
    assert f"open_arbitrations at {CARELESS}: figure 1, limit 0" in closed.outcome.gate_reason
    assert (
        f"icc_resolved at {CARELESS} longest_diameter_mm: figure 0." in closed.outcome.gate_reason
    )
    assert "limit 0.85" in closed.outcome.gate_reason
    assert f"at {CAREFUL}" not in closed.outcome.gate_reason


def test_a_closed_gate_lets_no_row_through(closed: Stage) -> None:
    behind = {
        name: closed.table(name).height for name in ("training_cohort", "model_runs", "predictions")
    }
    assert set(behind.values()) == {0}, behind


def test_a_run_in_which_the_gate_closed_is_green_and_tagged(closed: Stage) -> None:
    with closed.trial.entered(), dg.DagsterInstance.get() as instance:
        runs = {r.job_name: r for r in instance.get_runs()}
    assert {r.status for r in runs.values()} == {dg.DagsterRunStatus.SUCCESS}
    assert {n for n, r in runs.items() if GATE_TAG.items() <= r.tags.items()} == {"cohort"}


def test_a_closed_gate_leaves_state_and_advice_without_any_probability(closed: Stage) -> None:
    visits = closed.table("responses").filter(evaluator="accepted")
    rows = closed.table("dynamic_irecist")
    assert rows.height == visits.height
    assert closed.table("dynamic_risk").is_empty()
    assert closed.table("irecist_blocks").height
    assert closed.table("dynamic_evidence").height


def test_a_closed_gate_holds_up_neither_pages_nor_publication(closed: Stage) -> None:
    page = closed.trial.home.reports / "study_report.html"
    assert page.is_file()
    assert list(closed.trial.home.published.glob("lakehouse-*.duckdb"))
    verdicts = closed.table("quality_verdicts").filter(pl.col("verdict") == "fail")
    assert set(verdicts["rule"]) == {"open_arbitrations", "icc_resolved", "icc_lower_bound"}
    assert verdicts["statistic"].null_count() == verdicts["threshold"].null_count() == 0


def test_training_alone_in_a_new_run_meets_the_same_gate(
    denied: tuple[dg.ExecuteInProcessResult, int],
) -> None:
    result, runs = denied
    assert result.success, "the data close the gate; nothing is broken"
    assert not result.get_asset_materialization_events()
    (check,) = (c for c in result.get_asset_check_evaluations() if c.check_name == GATE_CHECK)
    assert not check.passed
    assert f"open_arbitrations at {CARELESS}: figure 1, limit 0" in str(check.description)
    assert f"limit {SETTINGS['agreement']['icc_lower_minimum']:g}" in str(
        check.metadata[f"icc_lower_bound [{CARELESS} volume_mm3]"].value
    )
    assert runs == 0, "MLflow has a run although the gate was closed"


# -- 2. a night with nothing new -------------------------------------------------------------------


def test_a_quiet_night_does_no_imaging_work_and_leaves_the_lake_alone(
    closed: Stage, repeated: Stage
) -> None:
    assert set(repeated.work.values()) == {0}, repeated.work
    assert repeated.snapshot == closed.snapshot
    assert set(closed.work.values()) != {0}


def test_a_model_that_is_required_and_missing_is_told_by_the_exit_code(
    repeated: Stage, opened: Stage
) -> None:
    assert isinstance(repeated.outcome, Result)
    assert isinstance(opened.outcome, Result)
    assert repeated.outcome.exit_code == 3
    assert "The gate is closed." in repeated.outcome.output
    assert opened.outcome.exit_code == 0
    assert "The gate is open." in opened.outcome.output


# -- 3. the arbiter decides ------------------------------------------------------------------------


def test_arbitration_opens_the_gate_and_models_are_trained(opened: Stage) -> None:
    verdicts = opened.table("quality_verdicts").filter(pl.col("kind") == "cohort")
    assert set(verdicts["verdict"]) <= {"pass", "warn"}
    runs, predictions = opened.table("model_runs"), opened.table("predictions")
    assert runs.height > 0
    assert set(predictions["model"]) == set(runs["model"])
    assert {"T0", "T1"} <= set(runs["task"])
    assert predictions.filter(pl.col("fold").is_not_null(), task="T1").group_by("model").agg(
        pl.col("patient").n_unique()
    )["patient"].unique().to_list() == [6]
    assert opened.table("dynamic_irecist").height > 0
    assert opened.table("training_cohort").filter(task="T1")["included"].sum() == 6


def test_every_run_in_mlflow_bears_snapshot_verdicts_and_protocol(opened: Stage) -> None:
    from mlflow import MlflowClient

    runs = opened.table("model_runs")
    client = MlflowClient(tracking_uri=opened.trial.home.mlflow_uri)
    named = runs.filter(pl.col("alias").is_not_null())
    assert sorted(named["task"]) == sorted(set(runs["task"])), (
        "exactly one model of each task bears the alias"
    )
    for row in runs.iter_rows(named=True):
        run = client.get_run(row["mlflow_run_id"])
        told = {**run.data.tags, **run.data.params}
        assert str(row["snapshot"]) in told.values()
        assert row["protocol_digest"] in told.values()
        files = [f.path for f in client.list_artifacts(row["mlflow_run_id"])]
        assert not [f for f in files if f.endswith((".pkl", ".pickle", ".joblib"))]


def test_the_alias_is_registered(opened: Stage) -> None:
    from mlflow import MlflowClient

    row = opened.table("model_runs").filter(pl.col("alias").is_not_null()).row(0, named=True)
    client = MlflowClient(tracking_uri=opened.trial.home.mlflow_uri)
    names = [m.name for m in client.search_registered_models() if row["alias"] in m.aliases]
    assert names
    assert row["mlflow_run_id"] in {
        client.get_model_version_by_alias(name, row["alias"]).run_id for name in names
    }


def test_arbitration_touches_nothing_that_it_does_not_explain(
    repeated: Stage, opened: Stage
) -> None:
    decided = opened.trial.pseudonym(CARELESS, 0)
    assert set(opened.work.values()) == {0}, "a decision is no imaging work"
    for name in (
        "patients",
        "treatments",
        "follow_up",
        "scans",
        "timepoints",
        "reads",
        "radiomic_features",
        "quarantine",
    ):
        assert difference(repeated.table(name), opened.table(name)).height == 0, name
    for name in (
        "arbitrations",
        "lesions",
        "responses",
        "outcomes",
        "eligibility",
        "delta_features",
    ):
        assert set(difference(repeated.table(name), opened.table(name))["patient"]) <= {decided}, (
            name
        )
    figures = difference(repeated.table("reader_figures"), opened.table("reader_figures"))
    assert set(figures["statistic"]) == {"disagreement_index"}, "a decision moves no measurement"
    changed = difference(repeated.table("reader_agreement"), opened.table("reader_agreement"))
    assert set(changed.filter(scope="lesion")["patient"]) == {decided}
    assert CAREFUL not in set(
        changed.filter((pl.col("scope") == "site") & pl.col("pooled_with").is_null())["site"]
    )


def test_the_accepted_read_is_the_endorsed_one(repeated: Stage, opened: Stage) -> None:
    decided = opened.trial.pseudonym(CARELESS, 0)
    before, now = (stage.table("lesions").filter(patient=decided) for stage in (repeated, opened))
    assert set(before["acceptance_basis"]) == {"provisional"}
    assert set(now["acceptance_basis"]) == {"arbitration"}
    assert set(now["reader"]) == {"R1"}


# -- 4. one more scan ------------------------------------------------------------------------------


def test_one_more_scan_costs_that_scan(opened: Stage, grown: Stage) -> None:
    assert isinstance(grown.outcome, Flow)
    assert grown.outcome.failed == ()
    added = set(grown.table("scans")["scan"]) - set(opened.table("scans")["scan"])
    assert len(added) == 1
    scan = grown.table("scans").filter(pl.col("scan").is_in(list(added))).row(0, named=True)
    measured = grown.table("reads").filter(scan=scan["scan"])
    assert (scan["site"], scan["patient"]) == (CAREFUL, grown.trial.pseudonym(CAREFUL, 0))
    expected = {
        f"intake {CAREFUL}": scan["n_slices"] + 2,
        f"scans {CAREFUL}": 1,
        f"reads {CAREFUL}": 2,
        f"radiomic_features {CAREFUL}": measured["lesion"].n_unique(),
        "habitats": grown.table("lesions")
        .filter(pl.col("scan") == scan["scan"], pl.col("mask_digest").is_not_null())
        .height,
    }
    assert grown.work == {**dict.fromkeys(grown.work, 0), **expected}


def test_one_more_scan_leaves_the_others_alone(opened: Stage, grown: Stage) -> None:
    new = grown.trial.pseudonym(CAREFUL, 0)
    for name in ("scans", "timepoints", "radiomic_features", "lesions", "eligibility"):
        assert set(difference(opened.table(name), grown.table(name))["patient"]) <= {new}, name
    before, now = opened.table("radiomic_features"), grown.table("radiomic_features")
    assert now.height > before.height
    assert before.join(now, on=before.columns, how="anti", nulls_equal=True).height == 0


def test_a_visit_later_than_known_keeps_what_was_said_before(opened: Stage, grown: Stage) -> None:
    """`recorded_at` stays where a response's content stays."""
    before, now = (stage.table("responses") for stage in (opened, grown))
    content = [c for c in before.columns if c != "recorded_at"]
    same = before.join(now, on=content, how="inner", nulls_equal=True, suffix="_now")
    assert same.height
    assert (same["recorded_at"] == same["recorded_at_now"]).all()


# -- 5. what must hold throughout ------------------------------------------------------------------


def test_an_earlier_state_is_there_for_who_asks(closed: Stage, grown: Stage) -> None:
    import json

    trial = grown.trial
    asked = trial.call(
        "sql", "SELECT count(*) AS n FROM model_runs", "--as-of", str(closed.snapshot), "--json"
    )
    assert json.loads(asked.output) == [{"n": 0}]
    asked = trial.call(
        "sql",
        "SELECT site, patient, status FROM arbitrations ORDER BY ALL",
        "--json",
        "--as-of",
        str(closed.snapshot),
    )
    assert [tuple(row.values()) for row in json.loads(asked.output)] == [
        (CARELESS, trial.pseudonym(CARELESS, 0), "open")
    ]
    asked = trial.call("sql", "SELECT count(*) AS n FROM scans", "--json")
    assert json.loads(asked.output) == [{"n": grown.table("scans").height}]


def test_an_analyst_reads_through_a_run_undisturbed(repeated: Stage, opened: Stage) -> None:
    seen = opened.trial.analyst
    assert seen["errors"] == []
    assert seen["held"] == [[repeated.table("reads").height, 0]], "an open file shows one state"
    assert seen["newest"] == [opened.table("reads").height, 1], "who opens it anew sees the newest"


def test_what_analysts_open_is_described_and_holds_the_lakes_rows(grown: Stage) -> None:
    with duckdb.connect(
        str(grown.trial.home.published / "lakehouse.duckdb"), read_only=True
    ) as file:
        told = {
            (t, c): text
            for t, c, text in file.execute(
                "SELECT table_name, column_name, comment FROM duckdb_columns()"
            ).fetchall()
        }
        rows = {
            t.name: file.execute(f'SELECT count(*) FROM "{t.name}"').fetchone() for t in PUBLISHED
        }
    assert {
        (t.name, c.name): comment(c) for t in PUBLISHED for c in t.columns
    }.items() <= told.items()
    assert rows == {t.name: (grown.table(t.name).height,) for t in PUBLISHED}


OF_FEDERATED_RUNS = {"federated_runs", "federated_results", "privacy_ledger"}
"""Empty in a study without such runs; `tests/assets/test_federated_results.py` fills them."""


@pytest.mark.parametrize("name", BY_NAME)
def test_every_contract_holds(grown: Stage, name: str) -> None:
    assert find_violations(lambda q: grown.trial.rows(q)[0], BY_NAME[name]) == []
    filled = grown.table(name).height > 0
    assert filled or name in OF_FEDERATED_RUNS, (
        "a contract that holds for want of rows says nothing"
    )


def test_every_check_has_run_and_no_error_stands(grown: Stage) -> None:
    """Checks of severity ERROR pass at the end; the row rules and the refusals stay as warnings."""
    from dagster_project.definitions import defs

    keys = [key for definition in defs.asset_checks or [] for key in definition.check_keys]  # type: ignore[union-attr]
    with grown.trial.entered(), dg.DagsterInstance.get() as instance:
        records = instance.event_log_storage.get_asset_check_partition_info(keys)
    assert {record.check_key for record in records} == set(keys)
    of_contract = {
        r.partition_key for r in records if r.check_key.to_user_string() == "scans:contract"
    }
    assert of_contract == set(SITES), "each site's run is judged by its own rows"
    failed = {
        (record.check_key.asset_key.to_user_string(), record.check_key.name)
        for record in records
        if str(record.latest_execution_status.value) != "SUCCEEDED"
    }
    assert failed == {
        ("scans", "slice_thickness"),
        ("quarantine", "nothing_refused"),
        ("reconciliation", "rows_meet_images"),
    }


def test_simulated_rows_say_so(grown: Stage) -> None:
    marked = [t.name for t in TABLES if "simulated" in t.names]
    assert marked
    for name in marked:
        assert set(grown.table(name)["simulated"]) == {True}, name

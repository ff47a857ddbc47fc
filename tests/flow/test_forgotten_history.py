"""Dagster's history of patients who have left is deleted completely.

That is the history of runs that ended or were killed, and what is stored beside the events.
"""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest

from dagster_project.flow.trace_search import search_home
from dagster_project.flow.withdrawal import forget_history
from dagster_project.lake.home import Home

ROW = "| AB | AB-AAAAAAAAAAAAAAAAA | F | 61 | IIIB | adenocarcinoma | mutant |"
PATIENT, VALUES = "AB-AAAAAAAAAAAAAAAAA", "61 | IIIB | adenocarcinoma | mutant"
PICTURE = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAQAAAAECAAAAACMmsGiAAAAFElEQVR4"


@dg.asset(check_specs=[dg.AssetCheckSpec("looked_at", asset="patients")])
def patients() -> dg.MaterializeResult:
    """A preview of a row, and a picture."""
    told = {
        "preview": dg.MetadataValue.md(ROW * 40),
        "picture": dg.MetadataValue.md(f"![p]({PICTURE})"),
    }
    return dg.MaterializeResult(
        metadata=told, check_results=[dg.AssetCheckResult(passed=False, description=ROW)]
    )


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    home = Home(tmp_path / "home").make()
    monkeypatch.setenv("DAGSTER_HOME", str(home.dagster))
    (home.dagster / "dagster.yaml").write_text("telemetry: {enabled: false}\n", encoding="utf-8")
    return home


def _run(status: dg.DagsterRunStatus) -> str:
    """A run that wrote its events and is left with a status."""
    with dg.DagsterInstance.get() as instance:
        result = dg.materialize([patients], instance=instance)
        record = instance.get_run_by_id(result.run_id)
        assert record is not None
        instance.run_storage.handle_run_event(record.run_id, _event(status))
    return result.run_id


def _event(status: dg.DagsterRunStatus) -> dg.DagsterEvent:
    kinds = {
        dg.DagsterRunStatus.STARTED: "PIPELINE_START",
        dg.DagsterRunStatus.SUCCESS: "PIPELINE_SUCCESS",
        dg.DagsterRunStatus.CANCELING: "PIPELINE_CANCELING",
    }
    return dg.DagsterEvent(event_type_value=kinds[status], job_name="__ephemeral_asset_job__")


@pytest.mark.parametrize(
    "status",
    [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING],
)
def test_rows_and_pictures_go_with_the_events_however_the_run_ended(
    home: Home, status: dg.DagsterRunStatus
) -> None:
    run = _run(status)
    (home.dagster / "storage" / run / "compute_logs").mkdir(parents=True, exist_ok=True)
    (home.dagster / "storage" / run / "compute_logs" / "x.out").write_text(ROW, encoding="utf-8")
    orphan = home.dagster / "history" / "runs" / "11111111-0000-0000-0000-000000000000.db"
    orphan.write_bytes(ROW.encode())
    traces = [PATIENT, VALUES, PICTURE[40:]]
    assert {Path(name).parts[0] for name in search_home(home, traces)} == {"dagster"}
    assert forget_history(home) == 1
    assert search_home(home, traces) == []


def test_a_run_that_waits_to_begin_stays(home: Home) -> None:
    _run(dg.DagsterRunStatus.SUCCESS)
    with dg.DagsterInstance.get() as instance:
        waiting = instance.create_run_for_job(
            dg.define_asset_job("later", [patients]).resolve(
                asset_graph=dg.Definitions([patients]).resolve_asset_graph()
            )
        )
    assert forget_history(home) == 1
    with dg.DagsterInstance.get() as instance:
        assert [run.run_id for run in instance.get_runs()] == [waiting.run_id]

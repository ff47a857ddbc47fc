"""Models that were trained on patients who leave lose their alias at once.

They lose it in the registry, in `model_runs` and in what is predicted.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from dagster_project.flow.predictions import (
    PredictionSet,
    aliases,
    load_predictions,
    save_predictions,
)
from dagster_project.flow.withdrawal import mark_learnt
from dagster_project.lake.schema import empty, polars_schema
from dagster_project.lake.tables import ATTRIBUTIONS, MODEL_RUNS, PREDICTIONS, Table
from dagster_project.resources import Lakehouse
from models.operation.registry import aliases_held

PLAIN = {pl.String: "-", pl.Boolean: False, pl.Float64: 0.5}


@pytest.fixture(autouse=True)
def _random_numbers_stay() -> Iterator[None]:
    """MLflow draws names of runs from Python's random numbers."""
    drawn = random.getstate()
    yield
    random.setstate(drawn)


@pytest.fixture
def lakehouse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lakehouse:
    for name in ("LAKEHOUSE_DATA", "LAKEHOUSE_CATALOG"):
        monkeypatch.delenv(name, raising=False)
    found = Lakehouse(root=str(tmp_path / "home"))
    found.home.make()
    return found


def _rows(table: Table, *given: dict[str, object]) -> pl.DataFrame:
    """Rows with plain values in every column that is not given."""
    schema = polars_schema(table)
    moment = pl.Series([0]).cast(pl.Datetime("us", "UTC"))[0]
    plain = {
        c.name: None
        if c.nullable
        else moment
        if c.type == "timestamp"
        else PLAIN.get(type(schema[c.name]), 0)
        for c in table.columns
    }
    return pl.DataFrame([plain | row for row in given], schema=schema)


def _register(lakehouse: Lakehouse, task: str, alias: str) -> str:
    """A run with a version that holds an alias."""
    from mlflow import MlflowClient

    client = MlflowClient(lakehouse.home.mlflow_uri, lakehouse.home.mlflow_uri)
    experiment = client.create_experiment(
        task, artifact_location=str(lakehouse.home.mlflow / "artifacts")
    )
    run = client.create_run(experiment).info.run_id
    client.create_registered_model(f"response-{task}")
    version = client.create_model_version(
        f"response-{task}",
        source=str(lakehouse.home.mlflow / "artifacts"),
        run_id=run,
        tags={"model": "delta"},
    )
    client.set_registered_model_alias(f"response-{task}", alias, version.version)
    return run


def test_the_alias_goes_from_registry_runs_and_predictions_of_that_model_alone(
    lakehouse: Lakehouse,
) -> None:
    champion, candidate = aliases(lakehouse)
    runs = {"T1": _register(lakehouse, "T1", champion), "T2": _register(lakehouse, "T2", candidate)}
    held = {"T1": champion, "T2": candidate}
    version = {"model": "delta", "model_version": "1"}
    lakehouse.lake.replace(
        MODEL_RUNS.name,
        _rows(
            MODEL_RUNS,
            *(
                {"task": t, "mlflow_run_id": run, "alias": held[t], **version}
                for t, run in runs.items()
            ),
        ),
    )
    predicted = _rows(
        PREDICTIONS,
        *(
            {"site": "AB", "patient": f"AB-{'A' * 17}", "task": t, "alias": a, **version}
            for t, a in held.items()
        ),
    )
    save_predictions(lakehouse, PredictionSet(predicted, empty(ATTRIBUTIONS)))
    mark_learnt(lakehouse, [runs["T1"]])
    assert aliases_held(lakehouse.home.mlflow_uri, "T1", (champion, candidate)) == {}
    left = {"T1": None, "T2": candidate}
    assert dict(lakehouse.lake.read(MODEL_RUNS.name).select("task", "alias").iter_rows()) == left
    assert dict(load_predictions(lakehouse).predictions.select("task", "alias").iter_rows()) == left

"""The state of the gate is that of the newest verdict by the protocol in use.

Every row behind it says so.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from dagster_project.flow.cohort_estimates import ESTIMATED
from dagster_project.flow.gate import (
    CLOSED,
    DOWNSTREAM,
    ESTIMATES,
    MARKED,
    GateClosed,
    gate_state,
    mark_rows,
    refuse_other_protocol,
)
from dagster_project.flow.predictions import PredictionSet, marked_predictions, save_predictions
from dagster_project.lake.schema import conform, empty
from dagster_project.lake.tables import ATTRIBUTIONS, BY_NAME
from dagster_project.resources import Lakehouse
from dagster_project.study import load_study
from tests.trial import write_protocol

NOW = dt.datetime(2026, 5, 1, tzinfo=dt.UTC)
WHO = {"site": "AA", "patient": "AA-1", "task": "T1", "model": "size", "model_version": "1"}
FILLED = {"string": "x", "int32": 0, "int64": 0, "double": 0.5, "bool": False, "timestamp": NOW}


def rows(name: str, **values: object) -> pl.DataFrame:
    """One row with something in every column that must hold something."""
    table = BY_NAME[name]
    row = {
        c.name: None if c.nullable else (c.allowed or (FILLED.get(c.type),))[0]
        for c in table.columns
    } | values
    return conform(pl.DataFrame([row], infer_schema_length=None), table)


@pytest.fixture
def lakehouse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lakehouse]:
    """A gate that was judged open, and what a night left behind it."""
    monkeypatch.setenv("LAKEHOUSE_STUDY", str(write_protocol(tmp_path / "study.toml", {})))
    made = Lakehouse(root=str(tmp_path / "home"))
    made.lake.replace(
        "quality_verdicts",
        rows(
            "quality_verdicts", kind="cohort", verdict="pass", protocol_digest=load_study().digest
        ),
    )
    made.lake.replace("predictions", rows("predictions", **WHO, gate="open"))
    made.lake.replace("attributions", rows("attributions", **WHO, scope="block", gate="open"))
    made.lake.replace(
        "dynamic_risk", rows("dynamic_risk", site="AA", patient="AA-1", visit="T1", gate="open")
    )
    yield made
    made.lake.close()


def marks(lakehouse: Lakehouse) -> set[str]:
    return {gate for table in MARKED for gate in lakehouse.lake.read(table.name)["gate"]}


@pytest.mark.parametrize("verdict", ["fail", "cannot_evaluate"])
def test_rows_of_an_earlier_night_are_marked_when_the_gate_closes_and_not_when_it_opens_again(
    lakehouse: Lakehouse, verdict: str
) -> None:
    assert mark_rows(lakehouse.lake, lakehouse.study) == "open"
    judged = lakehouse.lake.read("quality_verdicts")
    lakehouse.lake.replace("quality_verdicts", judged.with_columns(verdict=pl.lit(verdict)))
    assert mark_rows(lakehouse.lake, lakehouse.study) == "closed"
    assert marks(lakehouse) == {"closed"}
    before = lakehouse.lake.snapshot()
    mark_rows(lakehouse.lake, lakehouse.study)
    assert lakehouse.lake.snapshot() == before, "a night in which nothing changes writes nothing"
    lakehouse.lake.replace("quality_verdicts", judged)
    mark_rows(lakehouse.lake, lakehouse.study)
    assert marks(lakehouse) == {"open"}


def test_a_protocol_changed_after_the_verdict_shuts_the_gate(
    lakehouse: Lakehouse, tmp_path: Path
) -> None:
    refuse_other_protocol(lakehouse)
    write_protocol(tmp_path / "study.toml", {"agreement": {"icc_minimum": 0.86}})
    with pytest.raises(GateClosed, match="changed after the gate was judged") as refused:
        refuse_other_protocol(lakehouse)
    assert str(refused.value).startswith(CLOSED)
    assert gate_state(lakehouse.lake, lakehouse.study) == "closed"
    mark_rows(lakehouse.lake, lakehouse.study)
    assert marks(lakehouse) == {"closed"}


def test_publishing_less_does_not_shut_it(lakehouse: Lakehouse, tmp_path: Path) -> None:
    write_protocol(tmp_path / "study.toml", {"publish": {"age_band_years": 5}})
    assert gate_state(lakehouse.lake, lakehouse.study) == "open"


def test_without_a_verdict_it_is_shut(lakehouse: Lakehouse) -> None:
    lakehouse.lake.replace("quality_verdicts", empty(BY_NAME["quality_verdicts"]))
    assert gate_state(lakehouse.lake, lakehouse.study) == "closed"
    with pytest.raises(GateClosed):
        refuse_other_protocol(lakehouse)


def test_a_prediction_bears_the_decisions_of_its_training_and_of_today(
    lakehouse: Lakehouse, tmp_path: Path
) -> None:
    """A model of a looser protocol stays marked so, whatever the protocol says later."""
    save_predictions(
        lakehouse, PredictionSet(rows("predictions", **WHO, gate="open"), empty(ATTRIBUTIONS))
    )
    runs = rows(
        "model_runs",
        task="T1",
        model="size",
        model_version="1",
        amendments="reads.blinded_readers = 1 (…)",
    )
    assert marked_predictions(lakehouse, runs)["amendments"].to_list() == [
        "reads.blinded_readers = 1 (…)"
    ]
    assert marked_predictions(lakehouse, runs.with_columns(amendments=pl.lit(None, pl.String)))[
        "amendments"
    ].to_list() == [None]
    decision = {
        "key": "agreement.icc_minimum",
        "value": 0.8,
        "decided_by": "PI",
        "decided_on": "2026-05-01",
        "reason": "why",
    }
    write_protocol(
        tmp_path / "study.toml",
        {"agreement": {"icc_minimum": 0.8}, "registration": {"amendments": [decision]}},
    )
    (text,) = marked_predictions(lakehouse, runs)["amendments"].to_list()
    assert text.splitlines() == ["reads.blinded_readers = 1 (…)", load_study().amended]
    assert marked_predictions(
        lakehouse, runs.with_columns(amendments=pl.lit(load_study().amended))
    )["amendments"].to_list() == [load_study().amended]


def test_every_table_of_figures_is_behind_the_gate() -> None:
    """They are derived of tables that it judges, so that it judges none of them."""
    assert set(ESTIMATES) == set(ESTIMATED) <= set(DOWNSTREAM)

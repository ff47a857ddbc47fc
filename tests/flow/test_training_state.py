"""A task is skipped where nothing of it has changed, and only there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest

from dagster_project.flow import feature_stability, model_runs
from dagster_project.flow.habitat_histograms import load_histograms
from dagster_project.flow.habitats import load_histograms_as_of
from dagster_project.flow.result_cache import read_cached
from dagster_project.flow.training_state import (
    INPUTS,
    TrainingState,
    load_training_state,
    save_training_state,
)
from dagster_project.lake.home import Home
from dagster_project.lake.store import open_lake
from dagster_project.lake.tables import TABLES
from tests.domain.records import table
from tests.trial import Stage

RUNS = pl.DataFrame({"cohort_digest": ["c"], "protocol_digest": ["p"]})
SERVED = {"run": "candidate"}


@pytest.fixture
def lakehouse(tmp_path: Path) -> Iterator[Any]:
    home = Home(tmp_path / "home").make()
    with open_lake(home) as lake:
        lake.replace("patients", table("patients", {}))
        yield SimpleNamespace(lake=lake, home=home, study=SimpleNamespace(digest="p"))


@pytest.fixture
def before(lakehouse: Any) -> TrainingState:
    return TrainingState(
        lakehouse.lake.snapshot(), "p", "c", SERVED, {"T1 boosting": "too few patients"}, ()
    )


def holds(
    before: TrainingState,
    lakehouse: Any,
    runs: pl.DataFrame = RUNS,
    served: dict[str, str] = SERVED,
) -> bool:
    return before.is_current(lakehouse, lakehouse.lake.snapshot(), runs, served)


def test_1_what_was_kept_is_what_is_read(lakehouse: Any, before: TrainingState) -> None:
    assert load_training_state(lakehouse, "T1") is None
    save_training_state(lakehouse, "T1", before)
    assert load_training_state(lakehouse, "T1") == before
    (lakehouse.home.mlflow / "learnt-T1.json").write_text('{"snapshot": 1}')
    assert load_training_state(lakehouse, "T1") is None, (
        "another code's file is no ground to skip a task"
    )


def test_2_a_table_that_nothing_rests_on_changes_nothing(
    lakehouse: Any, before: TrainingState
) -> None:
    assert holds(before, lakehouse)
    lakehouse.lake.replace("quarantine", table("quarantine", {}))
    assert holds(before, lakehouse)


def test_3_a_written_input_has_the_task_looked_at_anew(
    lakehouse: Any, before: TrainingState
) -> None:
    lakehouse.lake.replace("patients", table("patients", {"patient": "other"}))
    assert not holds(before, lakehouse)


@pytest.mark.parametrize(
    "changed",
    [
        {"protocol_digest": "q"},
        {"cohort_digest": "d"},
        {"served": {}},
        {"code": "0"},
        {"snapshot": 10_000},
    ],
    ids=str,
)
def test_4_so_has_another_protocol_training_alias_code_or_lake(
    lakehouse: Any, before: TrainingState, changed: dict[str, Any]
) -> None:
    assert not holds(replace(before, **changed), lakehouse)
    assert not holds(before, lakehouse, runs=RUNS.clear())


def test_5_expired_snapshots_cannot_tell_so_the_task_is_looked_at(
    lakehouse: Any, before: TrainingState
) -> None:
    lakehouse.lake.replace("quarantine", table("quarantine", {}))
    lakehouse.lake.purge_history()
    assert not holds(before, lakehouse)


def test_6_every_table_that_a_data_set_is_read_from_is_watched() -> None:
    asked = (
        f"{model_runs.FEATURES_SEEN} {model_runs.CHANGES_SEEN} {model_runs.KERNELS} "
        f"{feature_stability.MOMENTS_OF_PATIENTS}"
    )
    named = {
        t.name
        for t in TABLES
        if f" {t.name} " in f" {asked} ".replace("\n", " ").replace(")", " ").replace("(", " ")
    }
    assert {"radiomic_features", "delta_features", "lesions", "timepoints", "scans"} == named
    assert named | {"training_cohort", *model_runs.SEEN} <= set(INPUTS)


def test_7_a_second_night_reads_no_feature_and_tells_the_same(
    grown: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    with grown.trial.entered():
        first = model_runs.train_behind_the_gate(grown.trial.lakehouse)
        monkeypatch.setattr(
            model_runs,
            "load_tables_as_of",
            lambda *_, **__: pytest.fail("features were read although nothing had changed"),
        )
        again = model_runs.train_behind_the_gate(grown.trial.lakehouse)
    assert again.trained == ()
    assert again.model_runs.equals(first.model_runs)
    assert again.prediction_set.predictions.equals(first.prediction_set.predictions)
    assert (again.left_out, again.not_asked) == (first.left_out, first.not_asked)
    assert any(reason.startswith("task T2") for reason in again.left_out) != (
        "T2" in set(again.model_runs["task"])
    )


def test_8_a_file_of_the_vault_is_read_once_for_all_tasks(
    grown: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    from models.data.datasets import TASKS

    read: Counter[Path] = Counter()

    def counted(load: Any, file_of: Any) -> Any:
        return lambda asked: read.update([file_of(asked)]) or load(asked)

    with grown.trial.entered():
        lakehouse = grown.trial.lakehouse
        alone = [
            load_histograms_as_of(lakehouse, lakehouse.lake.snapshot(), TASKS[name].visits)
            for name in ("T1", "T2")
        ]
        monkeypatch.setattr(
            model_runs, "load_histograms", counted(load_histograms, lambda task: task.file)
        )
        monkeypatch.setattr(model_runs, "read_cached", counted(read_cached, lambda file: file))
        reading = model_runs.Reading()
        seen = [
            model_runs.load_tables_as_of(
                lakehouse, lakehouse.lake.snapshot(), TASKS[name], [], reading=reading
            )
            for name in ("T1", "T2")
        ]
    assert {file.suffix for file in read} == {".npz", ".json"}
    assert set(read.values()) == {1}
    for mine, theirs in zip(alone, (tables["habitat_histograms"] for tables in seen), strict=True):
        assert mine.keys.equals(theirs.keys)
        assert (mine.words.counts == theirs.words.counts).all()

"""Training behind the gate.

Reads the judged snapshot, trains what has not been trained on these very rows, logs it, and applies
it to other patients.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from dagster_project.domain.cohort.quality import GateVerdict
from dagster_project.flow.dhi import load_comparisons_as_of
from dagster_project.flow.feature_stability import moments_of_patients
from dagster_project.flow.gate import pass_gate, refuse_other_protocol
from dagster_project.flow.habitat_histograms import HistogramTask, load_histograms
from dagster_project.flow.habitats import load_histograms_as_of
from dagster_project.flow.predictions import (
    PredictionSet,
    aliases,
    champion_probabilities,
    load_predictions,
    predict_outside_cohort,
    save_predictions,
    training_predictions,
)
from dagster_project.flow.result_cache import read_cached
from dagster_project.flow.training_state import (
    TrainingState,
    load_training_state,
    save_training_state,
)
from dagster_project.flow.unfinished_training import note_registry, undo_unfinished
from dagster_project.lake.store import read_lake
from dagster_project.lake.tables import MODEL_RUNS
from dagster_project.resources import Lakehouse

if TYPE_CHECKING:
    from dagster_project.radiomics.habitat_histograms import BinCounts
    from models.data.datasets import Dataset, Task
    from models.learners.learners import Learner

FEATURES_SEEN = (
    "\nSELECT f.site, f.patient, f.visit, f.lesion, f.region, f.feature, f.value "
    "FROM radiomic_features f"
    "\nJOIN lesions l USING (site, patient, visit, lesion) "
    "WHERE f.reader = l.reader AND list_contains(?, f.feature)"
)
"""The accepted reads' values of the features that networks look at."""

CHANGES_SEEN = (
    "\nSELECT site, patient, lesion, region, feature, from_visit, to_visit, delta_symmetric "
    "FROM delta_features"
    "\nWHERE delta_symmetric IS NOT NULL "
    "AND list_contains(?, from_visit) AND list_contains(?, to_visit)"
)
"""Changes between the visits that the task may see.

They are a third of the rows and half of the columns of a cohort's changes.
"""

KERNELS = (
    "SELECT t.site, t.patient, s.kernel FROM timepoints t "
    "JOIN scans s USING (site, patient, scan) WHERE t.visit = 'T0'"
)
"""The kernel of each patient's baseline scan."""

SEEN = ("patients", "responses", "lesions", "dhi", "outcomes")
"""Tables that a data set is made of, beside the cohort, the changes and the features."""


@dataclass(frozen=True)
class Reading:
    """How a night reads what the vault keeps: each file once, however many tasks see it."""

    words: Callable[[HistogramTask], BinCounts | None] = field(
        default_factory=lambda: cache(load_histograms)
    )
    comparison: Callable[[Path], Any] = field(default_factory=lambda: cache(read_cached))


@dataclass(frozen=True)
class TrainingOutcome:
    """All rows of model_runs, those of this night first, and the models' predictions.

    Also the tasks trained tonight, the models and tasks that are left out, and the registered
    models that could not be applied, both with the reasons.
    """

    model_runs: pl.DataFrame
    prediction_set: PredictionSet
    snapshot: int
    trained: tuple[str, ...] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)
    not_asked: tuple[str, ...] = ()

    @property
    def promotion(self) -> str:
        """By task, the newest verdict of the rule of promotion, with its reasons."""
        judged = (
            self.model_runs.drop_nulls("promotion")
            .sort("trained_at")
            .unique("task", keep="last")
            .sort("task")
        )
        sentences = [
            f"{task}: {promotion}: {reasons}"
            for task, promotion, reasons in judged.select(
                "task", "promotion", "promotion_reasons"
            ).iter_rows()
        ]
        return "; ".join(sentences) or "no candidate yet"

    def with_state(self, state: TrainingState) -> TrainingOutcome:
        """With the state of one more task."""
        return replace(
            self,
            left_out={**self.left_out, **state.left_out},
            not_asked=(*self.not_asked, *state.not_asked),
        )


def train_behind_the_gate(lakehouse: Lakehouse) -> TrainingOutcome:
    """Train the tasks of the protocol on the snapshot that passed the gate.

    The same rows and protocol are trained on once.

    1. A task whose inputs have not changed since it was last looked at is skipped without reading a
       feature.
    2. A task other than the primary one that cannot be trained on this cohort is left out, with the
       reason.
    3. A training that was killed before its rows were written is undone first.
    """
    undo_unfinished(lakehouse)
    verdicts, snapshot = pass_gate(lakehouse)
    learned = TrainingOutcome(
        lakehouse.lake.read(MODEL_RUNS.name), load_predictions(lakehouse), snapshot
    )
    looked_at, reading = {}, Reading()
    for name in lakehouse.study.section("model")["tasks"]:
        learned, looked_at[name] = _look_at(lakehouse, name, learned, verdicts, reading=reading)
    save_predictions(lakehouse, learned.prediction_set.with_aliases(learned.model_runs))
    for name, state in looked_at.items():
        save_training_state(lakehouse, name, state)
    return learned


def _look_at(
    lakehouse: Lakehouse,
    name: str,
    learned: TrainingOutcome,
    verdicts: Sequence[GateVerdict],
    *,
    reading: Reading,
) -> tuple[TrainingOutcome, TrainingState]:
    """Train a task where something of it has changed; also return its state for the next night."""
    from models.data.datasets import TASKS, DatasetError
    from models.data.splits import SplitError

    runs, held = with_aliases(lakehouse, learned.model_runs, name)
    learned, before = replace(learned, model_runs=runs), load_training_state(lakehouse, name)
    if before and before.is_current(lakehouse, learned.snapshot, runs, held):
        return learned.with_state(before), replace(before, snapshot=learned.snapshot)
    try:
        return _learn(lakehouse, TASKS[name], learned, verdicts, reading=reading)
    except (DatasetError, SplitError) as why:
        if name == lakehouse.study.section("model")["primary_task"]:
            raise
        nothing = TrainingState(
            learned.snapshot, lakehouse.study.digest, None, held, {f"task {name}": str(why)}, ()
        )
        return learned.with_state(nothing), nothing


def _learn(
    lakehouse: Lakehouse,
    task: Task,
    learned: TrainingOutcome,
    verdicts: Sequence[GateVerdict],
    *,
    reading: Reading,
) -> tuple[TrainingOutcome, TrainingState]:
    """Train one task and predict the patients outside the cohort.

    Builds the data set, trains the models that have not been trained on it, and applies the
    registered model to patients outside the cohort.
    """
    from models.data.datasets import build_dataset
    from models.learners.model_catalogue import choose_learners

    section = lakehouse.study.learning
    tables = load_tables_as_of(
        lakehouse, learned.snapshot, task, section["network_features"], reading=reading
    )
    dataset = build_dataset(task, **tables)
    learners, left_out = choose_learners(dataset, section)
    runs, prediction_set = learned.model_runs, learned.prediction_set
    known = (
        runs.filter(cohort_digest=dataset.digest, protocol_digest=lakehouse.study.digest).height > 0
    )
    if not known:
        fresh, fresh_predictions = _train(lakehouse, learners, dataset, verdicts, learned.snapshot)
        fresh_predictions = fresh_predictions.with_lesions_named(tables["lesions"], task.visits)
        runs, prediction_set = (
            pl.concat([fresh, runs]),
            prediction_set.replaced_by(fresh_predictions, runs),
        )
    runs, held = with_aliases(lakehouse, runs, task.name)
    prediction_set, not_asked = predict_outside_cohort(lakehouse, task, tables, prediction_set)
    state = TrainingState(
        learned.snapshot,
        lakehouse.study.digest,
        dataset.digest,
        held,
        {f"{task.name} {m}": why for m, why in left_out.items()},
        not_asked,
    )
    return replace(
        learned,
        model_runs=runs,
        prediction_set=prediction_set,
        trained=learned.trained if known else (*learned.trained, task.name),
    ).with_state(state), state


def _train(
    lakehouse: Lakehouse,
    learners: Sequence[Learner],
    dataset: Dataset,
    verdicts: Sequence[GateVerdict],
    snapshot: int,
) -> tuple[pl.DataFrame, PredictionSet]:
    """Train, log and judge.

    Returns the fresh rows of model_runs, and the models' predictions for the patients they held
    out.
    """
    from models.evaluation.training import train
    from models.operation.log import log_models

    study, home = lakehouse.study, lakehouse.home
    section = study.learning
    trained = train(learners, dataset, section, section["seed"])
    refuse_other_protocol(lakehouse)
    note_registry(lakehouse, dataset.task.name)
    fresh = log_models(
        trained,
        tracking_uri=home.mlflow_uri,
        artifact_root=home.mlflow / "artifacts",
        snapshot=snapshot,
        verdicts=verdicts,
        protocol_digest=study.digest,
        amendments=study.amended,
        alias=section["alias"],
        section=section,
        champion=champion_probabilities(lakehouse, dataset),
    )
    return fresh, training_predictions(trained, fresh, section)


def with_aliases(
    lakehouse: Lakehouse, runs: pl.DataFrame, task: str
) -> tuple[pl.DataFrame, dict[str, str]]:
    """The rows with the aliases that the registry holds now, and these aliases by run.

    Aliases move, and withdrawal of consent takes them away.
    """
    from models.operation.registry import aliases_held

    held = aliases_held(lakehouse.home.mlflow_uri, task, aliases(lakehouse))
    now = pl.col("mlflow_run_id").replace_strict(held, default=None, return_dtype=pl.String)
    return runs.with_columns(
        alias=pl.when(pl.col("task") == task).then(now).otherwise("alias")
    ), held


def load_tables_as_of(
    lakehouse: Lakehouse, snapshot: int, task: Task, features: list[str], *, reading: Reading
) -> dict[str, Any]:
    """The arguments of `build_dataset`, as they stood at a snapshot."""
    cohort, *seen = lakehouse.read("training_cohort", *SEEN, as_of=snapshot)
    with read_lake(lakehouse.home, as_of=snapshot) as frozen:
        values, changes = (
            frozen.query(FEATURES_SEEN, [features]).pl(),
            frozen.query(CHANGES_SEEN, [list(task.visits)] * 2).pl(),
        )
        pairs, kernels = moments_of_patients(frozen, task.visits), frozen.query(KERNELS).pl()
    return {
        "cohort": cohort,
        **dict(zip(SEEN, seen, strict=True)),
        "delta_features": changes,
        "radiomic_features": values,
        "reader_pairs": pairs,
        "kernels": kernels,
        "habitat_histograms": load_histograms_as_of(
            lakehouse, snapshot, task.visits, load=reading.words
        ),
        "comparisons": load_comparisons_as_of(
            lakehouse, snapshot, task.pairs, load=reading.comparison
        ),
    }

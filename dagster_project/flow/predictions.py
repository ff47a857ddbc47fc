"""Predictions and attributions of patients, stored between runs.

Patients are predicted again only where inputs changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from dagster_project.flow.gate import gate_state
from dagster_project.lake.files import read_parquet_of, write_parquet_whole
from dagster_project.lake.schema import conform, empty
from dagster_project.lake.tables import ATTRIBUTIONS, PREDICTIONS, Table
from dagster_project.resources import Lakehouse

if TYPE_CHECKING:
    import numpy as np

    from models.data.datasets import Dataset, Task
    from models.evaluation.training import TrainedModel
    from models.learners.learners import Section
    from models.operation.registry import Registered

WHO = ["site", "patient"]

VERSION = ["task", "model", "model_version"]


@dataclass(frozen=True)
class PredictionSet:
    """Rows of predictions and of attributions."""

    predictions: pl.DataFrame
    attributions: pl.DataFrame

    def replaced_by(self, new: PredictionSet, runs: pl.DataFrame) -> PredictionSet:
        """Merge the predictions of a new training.

        Rows of other tasks stay; of the same task those of versions that hold an alias stay, since
        the champion is compared by them.
        """
        named, fresh = (
            runs.drop_nulls("alias").select(VERSION),
            new.predictions.select(VERSION).unique(),
        )
        mine = [
            pl.concat(
                [
                    f.join(fresh, on="task", how="anti"),
                    f.join(fresh, on="task", how="semi")
                    .join(named, on=VERSION, how="semi")
                    .join(fresh, on=VERSION, how="anti"),
                ]
            )
            for f in (self.predictions, self.attributions)
        ]
        return PredictionSet(
            pl.concat([new.predictions, mine[0]]), pl.concat([new.attributions, mine[1]])
        )

    def of_new_patients(
        self, found: Registered, task: str, fresh: PredictionSet, stays: pl.DataFrame
    ) -> PredictionSet:
        """With the rows of patients whom no fold held out replaced.

        The new rows are those that stay and the fresh ones, all by one version.
        """
        held_out = self.predictions.filter((pl.col("task") != task) | pl.col("fold").is_not_null())
        kept = self.predictions.filter((pl.col("task") == task) & pl.col("fold").is_null()).join(
            stays, on=[*WHO, *VERSION], how="semi"
        )
        new = pl.concat([held_out, kept.with_columns(alias=pl.lit(found.alias)), fresh.predictions])
        explained = self.attributions.join(new, on=[*WHO, *VERSION], how="semi").join(
            fresh.predictions, on=[*WHO, *VERSION], how="anti"
        )
        return PredictionSet(new, pl.concat([explained, fresh.attributions]))

    def with_lesions_named(self, lesions: pl.DataFrame, visits: tuple[str, ...]) -> PredictionSet:
        """The attributions with lesions by their names."""
        from models.evaluation.explanation import name_lesions

        return replace(self, attributions=name_lesions(self.attributions, lesions, visits))

    def with_aliases(self, runs: pl.DataFrame) -> PredictionSet:
        """The predictions with the aliases that their versions hold now."""
        named = runs.select(*VERSION, now="alias").unique(VERSION)
        rows = (
            self.predictions.join(named, on=VERSION, how="left", maintain_order="left")
            .with_columns(alias="now")
            .drop("now")
        )
        return replace(self, predictions=rows)


NOTHING = PredictionSet(empty(PREDICTIONS), empty(ATTRIBUTIONS))


def aliases(lakehouse: Lakehouse) -> tuple[str, str]:
    """Aliases of the predicting model, champion before candidate; the first one held counts."""
    section = lakehouse.study.section("model")
    return section["champion_alias"], section["alias"]


def training_predictions(
    trained: Sequence[TrainedModel], fresh: pl.DataFrame, section: Section
) -> PredictionSet:
    """Held-out probabilities of all models, and what those of the best model are based on."""
    from models.evaluation.explanation import held_out_attributions
    from models.evaluation.training import best_model, derive_predictions

    best = best_model(trained)
    version = fresh.row(by_predicate=pl.col("model") == best.name, named=True)["model_version"]
    return PredictionSet(
        derive_predictions(trained, fresh, section),
        _as_attributions(held_out_attributions(best), best.name, version),
    )


def _as_attributions(rows: pl.DataFrame, model: str, version: str) -> pl.DataFrame:
    named = rows.with_columns(
        model=pl.lit(model), model_version=pl.lit(version), gate=pl.lit("open")
    )
    return conform(named, ATTRIBUTIONS)


def predict_outside_cohort(
    lakehouse: Lakehouse, task: Task, tables: dict[str, Any], prediction_set: PredictionSet
) -> tuple[PredictionSet, tuple[str, ...]]:
    """Predict the eligible patients outside the cohort by the champion, else the candidate.

    Also returns why one of them could not predict.

    1. A patient whom the version was trained on is not predicted: its stored folds name them.
    2. A row stays where the version and the digest of the patient's inputs are the same.
    3. A version whose columns are gone is skipped, with the reason.
    """
    from models.data.datasets import build_inference_set
    from models.operation.prediction import ChampionUnusable

    others = build_inference_set(task, **tables)
    reasons: list[str] = []
    for found in _registered(lakehouse, task.name):
        if others is None:
            break
        try:
            return _predict_unseen(
                lakehouse, found, others, prediction_set, tables["lesions"]
            ), tuple(reasons)
        except ChampionUnusable as error:
            reasons.append(str(error))
    return replace(
        prediction_set,
        predictions=prediction_set.predictions.filter(
            (pl.col("task") != task.name) | pl.col("fold").is_not_null()
        ),
    ), tuple(reasons)


def _registered(lakehouse: Lakehouse, task: str) -> list[Registered]:
    from models.operation.registry import find_served

    found = [find_served(lakehouse.home.mlflow_uri, task, (alias,)) for alias in aliases(lakehouse)]
    return [f for f in found if f is not None]


def _predict_unseen(
    lakehouse: Lakehouse,
    found: Registered,
    others: Dataset,
    prediction_set: PredictionSet,
    lesions: pl.DataFrame,
) -> PredictionSet:
    import numpy as np

    from models.evaluation.explanation import attribution_rows
    from models.operation.prediction import input_digests, predict
    from models.operation.registry import load_served

    mine, task = prediction_set.predictions.filter(_of(found, others.task.name)), others.task
    seen = mine.drop_nulls("fold").select(WHO)
    now = pl.DataFrame(
        {"site": others.sites, "patient": others.patients, "input_digest": input_digests(others)}
    ).with_row_index("row")
    unseen_rows = now.join(seen, on=WHO, how="anti") if seen.height else now.clear()
    stays = unseen_rows.join(mine, on=[*WHO, "input_digest"], how="inner")
    todo = unseen_rows.join(stays, on=WHO, how="anti")["row"].to_numpy()
    fresh = NOTHING
    if todo.size:
        rows, served = (
            others.take(np.isin(np.arange(others.y.size), todo)),
            load_served(lakehouse.home.mlflow_uri, found),
        )
        predicted = predict(served, rows, lakehouse.study.learning)
        explained = _as_attributions(
            attribution_rows(served.model, rows), found.model, found.version
        )
        fresh = PredictionSet(predicted, explained).with_lesions_named(lesions, task.visits)
    return prediction_set.of_new_patients(found, task.name, fresh, stays)


def _of(found: Registered, task: str) -> pl.Expr:
    return (
        (pl.col("task") == task)
        & (pl.col("model") == found.model)
        & (pl.col("model_version") == found.version)
    )


def champion_probabilities(lakehouse: Lakehouse, dataset: Dataset) -> np.ndarray | None:
    """The champion's probability of each patient of the cohort.

    It comes from the champion's folds, else it is predicted now where the champion has not seen the
    patient.

    None without a champion; NaN where it cannot be applied, or its training patients are not known.
    """
    import numpy as np

    from models.operation.prediction import ChampionUnusable
    from models.operation.registry import find_served, load_served

    found = find_served(lakehouse.home.mlflow_uri, dataset.task.name, aliases(lakehouse)[:1])
    if found is None:
        return None
    own = load_predictions(lakehouse).predictions.filter(
        _of(found, dataset.task.name) & pl.col("fold").is_not_null()
    )
    known = dict(own.select("patient", "probability").iter_rows())
    probabilities = np.array([known.get(p, np.nan) for p in dataset.patients])
    unseen = np.isnan(probabilities)
    if known and unseen.any():
        try:
            probabilities[unseen] = load_served(lakehouse.home.mlflow_uri, found).probabilities(
                dataset.take(unseen)
            )
        except ChampionUnusable:
            return probabilities
    return probabilities


def marked_predictions(lakehouse: Lakehouse, model_runs: pl.DataFrame) -> pl.DataFrame:
    """The stored predictions, each with the state of the gate and its protocols' amendments.

    These are the decisions in force when its version was trained, and those in force now.
    """
    trained = model_runs.select(*VERSION, then="amendments").unique(VERSION)
    rows = load_predictions(lakehouse).predictions.join(
        trained, on=VERSION, how="left", maintain_order="left"
    )
    now = pl.lit(lakehouse.study.amended, pl.String)
    lines = (
        pl.concat_str("then", now, separator="\n", ignore_nulls=True)
        .str.split("\n")
        .list.unique(maintain_order=True)
    )
    amendments = lines.list.join("\n").replace("", None)
    state = gate_state(lakehouse.lake, lakehouse.study)
    return rows.with_columns(gate=pl.lit(state), amendments=amendments).drop("then")


def _file(lakehouse: Lakehouse, table: Table) -> Path:
    return lakehouse.home.mlflow / f"{table.name}.parquet"


def save_predictions(lakehouse: Lakehouse, prediction_set: PredictionSet) -> None:
    """Store the predictions until the assets write them."""
    for table, rows in (
        (PREDICTIONS, prediction_set.predictions),
        (ATTRIBUTIONS, prediction_set.attributions),
    ):
        write_parquet_whole(_file(lakehouse, table), conform(rows, table))


def load_predictions(lakehouse: Lakehouse) -> PredictionSet:
    """The predictions stored last; none where the file's columns differ from the schema."""
    return PredictionSet(*(_stored(lakehouse, table) for table in (PREDICTIONS, ATTRIBUTIONS)))


def _stored(lakehouse: Lakehouse, table: Table) -> pl.DataFrame:
    file = _file(lakehouse, table)
    rows = read_parquet_of(table, file) if file.is_file() else empty(table)
    return rows if set(rows.columns) == set(table.names) else empty(table)


def forget_predictions(lakehouse: Lakehouse, patient: str) -> None:
    """Remove a patient from the stored predictions."""
    prediction_set = load_predictions(lakehouse)
    if prediction_set.predictions.filter(patient=patient).height:
        save_predictions(
            lakehouse,
            PredictionSet(
                prediction_set.predictions.filter(pl.col("patient") != patient),
                prediction_set.attributions.filter(pl.col("patient") != patient),
            ),
        )

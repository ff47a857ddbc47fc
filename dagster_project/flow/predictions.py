"""What models say of patients: kept between runs, asked anew only of whom something has changed, and by whose alias."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from dagster_project.lake.files import write_parquet_whole
from dagster_project.lake.schema import conform, empty
from dagster_project.lake.tables import ATTRIBUTIONS, PREDICTIONS, Table
from dagster_project.resources import Lakehouse

if TYPE_CHECKING:
    import numpy as np

    from models.datasets import Dataset, Task
    from models.learners import Section
    from models.tracking import Registered
    from models.training import TrainedModel

WHO = ["site", "patient"]

VERSION = ["task", "model", "model_version"]


@dataclass(frozen=True)
class Said:
    """Rows of predictions and of attributions."""

    predictions: pl.DataFrame
    attributions: pl.DataFrame

    def replaced_by(self, told: Said, runs: pl.DataFrame) -> Said:
        """What a training tells, all that was said for other tasks, and of earlier trainings what models with an alias said: the champion is compared by it, and knows whom it has seen."""
        named, fresh = runs.drop_nulls("alias").select(VERSION), told.predictions.select(VERSION).unique()
        mine = [pl.concat([f.join(fresh, on="task", how="anti"), f.join(fresh, on="task", how="semi").join(named, on=VERSION, how="semi").join(fresh, on=VERSION, how="anti")])
                for f in (self.predictions, self.attributions)]
        return Said(pl.concat([told.predictions, mine[0]]), pl.concat([told.attributions, mine[1]]))

    def of_new_patients(self, found: Registered, task: str, fresh: Said, stays: pl.DataFrame) -> Said:
        """With the rows of patients whom no fold held out replaced: those that stay, and the fresh ones, all by one version."""
        held_out = self.predictions.filter((pl.col("task") != task) | pl.col("fold").is_not_null())
        kept = self.predictions.filter((pl.col("task") == task) & pl.col("fold").is_null()).join(stays, on=[*WHO, *VERSION], how="semi")
        new = pl.concat([held_out, kept.with_columns(alias=pl.lit(found.alias)), fresh.predictions])
        explained = self.attributions.join(new, on=[*WHO, *VERSION], how="semi").join(fresh.predictions, on=[*WHO, *VERSION], how="anti")
        return Said(new, pl.concat([explained, fresh.attributions]))

    def with_lesions_named(self, lesions: pl.DataFrame, visits: tuple[str, ...]) -> Said:
        """The attributions with lesions by their names."""
        from models.explanation import name_lesions

        return replace(self, attributions=name_lesions(self.attributions, lesions, visits))

    def with_aliases(self, runs: pl.DataFrame) -> Said:
        """The predictions with the aliases that their versions hold now."""
        named = runs.select(*VERSION, now="alias").unique(VERSION)
        rows = self.predictions.join(named, on=VERSION, how="left", maintain_order="left").with_columns(alias="now").drop("now")
        return replace(self, predictions=rows)


NOTHING = Said(empty(PREDICTIONS), empty(ATTRIBUTIONS))


def aliases(lakehouse: Lakehouse) -> tuple[str, str]:
    """Aliases by which a model is asked, the first that any version holds: champion, else candidate."""
    section = lakehouse.study.section("model")
    return section["champion_alias"], section["alias"]


def said_in_training(trained: Sequence[TrainedModel], fresh: pl.DataFrame, section: Section) -> Said:
    """Probabilities of all models for the patients they held out, and what those of the best model rest on."""
    from models.explanation import held_out_attributions
    from models.training import best_model, derive_predictions

    best = best_model(trained)
    version = fresh.row(by_predicate=pl.col("model") == best.name, named=True)["model_version"]
    return Said(derive_predictions(trained, fresh, section), _as_attributions(held_out_attributions(best), best.name, version))


def _as_attributions(rows: pl.DataFrame, model: str, version: str) -> pl.DataFrame:
    return conform(rows.with_columns(model=pl.lit(model), model_version=pl.lit(version)), ATTRIBUTIONS)


def ask_about_others(lakehouse: Lakehouse, task: Task, tables: dict[str, Any], said: Said) -> tuple[Said, tuple[str, ...]]:
    """Ask the champion, else the candidate, about the eligible patients whom the cohort leaves out; and why one could not be asked.

    1. A patient whom the version has learnt from is not asked about: what it kept of its folds says who that was.
    2. A row stays where the version and the digest of the patient's inputs are the same.
    3. A version whose columns are gone is passed over, and the reason told.
    """
    from models.datasets import build_others
    from models.prediction import ChampionUnusable

    others = build_others(task, **tables)
    reasons: list[str] = []
    for found in _registered(lakehouse, task.name):
        if others is None:
            break
        try:
            return _asked(lakehouse, found, others, said, tables["lesions"]), tuple(reasons)
        except ChampionUnusable as error:
            reasons.append(str(error))
    return replace(said, predictions=said.predictions.filter((pl.col("task") != task.name) | pl.col("fold").is_not_null())), tuple(reasons)


def _registered(lakehouse: Lakehouse, task: str) -> list[Registered]:
    from models.tracking import find_served

    found = [find_served(lakehouse.home.mlflow_uri, task, (alias,)) for alias in aliases(lakehouse)]
    return [f for f in found if f is not None]


def _asked(lakehouse: Lakehouse, found: Registered, others: Dataset, said: Said, lesions: pl.DataFrame) -> Said:
    import numpy as np

    from models.explanation import attribution_rows
    from models.prediction import input_digests, predict
    from models.tracking import load_served

    mine, task = said.predictions.filter(_of(found, others.task.name)), others.task
    learnt = mine.drop_nulls("fold").select(WHO)
    now = pl.DataFrame({"site": others.sites, "patient": others.patients, "input_digest": input_digests(others)}).with_row_index("row")
    asked = now.join(learnt, on=WHO, how="anti") if learnt.height else now.clear()
    stays = asked.join(mine, on=[*WHO, "input_digest"], how="inner")
    todo = asked.join(stays, on=WHO, how="anti")["row"].to_numpy()
    fresh = NOTHING
    if todo.size:
        rows, served = others.take(np.isin(np.arange(others.y.size), todo)), load_served(lakehouse.home.mlflow_uri, found)
        told = predict(served, rows, lakehouse.study.learning)
        explained = _as_attributions(attribution_rows(served.model, rows), found.model, found.version)
        fresh = Said(told, explained).with_lesions_named(lesions, task.visits)
    return said.of_new_patients(found, task.name, fresh, stays)


def _of(found: Registered, task: str) -> pl.Expr:
    return (pl.col("task") == task) & (pl.col("model") == found.model) & (pl.col("model_version") == found.version)


def champion_on(lakehouse: Lakehouse, dataset: Dataset) -> np.ndarray | None:
    """The champion's probability of each patient of the cohort: as kept of its folds, else asked now of whom it has not seen.

    None without a champion; NaN where it cannot be asked, or nobody knows whom it has learnt from.
    """
    import numpy as np

    from models.prediction import ChampionUnusable
    from models.tracking import find_served, load_served

    found = find_served(lakehouse.home.mlflow_uri, dataset.task.name, aliases(lakehouse)[:1])
    if found is None:
        return None
    own = kept_said(lakehouse).predictions.filter(_of(found, dataset.task.name) & pl.col("fold").is_not_null())
    known = dict(own.select("patient", "probability").iter_rows())
    told = np.array([known.get(p, np.nan) for p in dataset.patients])
    unseen = np.isnan(told)
    if known and unseen.any():
        try:
            told[unseen] = load_served(lakehouse.home.mlflow_uri, found).probabilities(dataset.take(unseen))
        except ChampionUnusable:
            return told
    return told


def _file(lakehouse: Lakehouse, table: Table) -> Path:
    return lakehouse.home.mlflow / f"{table.name}.parquet"


def keep_said(lakehouse: Lakehouse, said: Said) -> None:
    """Keep what the models say until the assets take it over."""
    for table, rows in ((PREDICTIONS, said.predictions), (ATTRIBUTIONS, said.attributions)):
        write_parquet_whole(_file(lakehouse, table), conform(rows, table))


def kept_said(lakehouse: Lakehouse) -> Said:
    """What was kept last; of a file with other columns than the schema declares now, nothing."""
    return Said(*(_kept(lakehouse, table) for table in (PREDICTIONS, ATTRIBUTIONS)))


def _kept(lakehouse: Lakehouse, table: Table) -> pl.DataFrame:
    file = _file(lakehouse, table)
    rows = pl.read_parquet(file) if file.is_file() else empty(table)
    return rows if set(rows.columns) == set(table.names) else empty(table)


def forget_predictions(lakehouse: Lakehouse, patient: str) -> None:
    """Take a patient out of all that is kept."""
    said = kept_said(lakehouse)
    if said.predictions.filter(patient=patient).height:
        keep_said(lakehouse, Said(said.predictions.filter(pl.col("patient") != patient), said.attributions.filter(pl.col("patient") != patient)))

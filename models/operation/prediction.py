"""What a registered model predicts for patients it was not trained on.

With each prediction: how sure it is, how strange the patient is, and what it is based on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from dagster_project.lake.schema import conform
from dagster_project.lake.tables import PREDICTIONS
from dagster_project.statistics.jackknife import jackknife_interval
from models.data.datasets import Dataset, DatasetError
from models.evaluation.training import prediction_rows, spread_of
from models.evaluation.training_distribution import TrainingDistribution
from models.learners.learners import FittedModel, Section


class ChampionUnusable(ValueError):
    """A registered model asks for columns that the data no longer have."""

    def __init__(self, served: ServedModel, why: str) -> None:
        super().__init__(
            f"{served.alias} version {served.version} ({served.facts['name']}, "
            f"task {served.facts['task']}) cannot be asked: {why}"
        )


@dataclass(frozen=True, eq=False)
class ServedModel:
    """A registered version with all that is stored beside it.

    That is the models of its folds, and whom it was trained on as means and deviations alone.
    """

    model: FittedModel
    folds: tuple[FittedModel, ...]
    reference: TrainingDistribution
    facts: Mapping[str, Any]
    version: str
    alias: str

    def probabilities(self, dataset: Dataset) -> np.ndarray:
        """Probability of response of each row.

        Raises
        ------
        ChampionUnusable
            A column, region or feature that the model asks for is gone.
        """
        try:
            return self.model.probabilities(dataset)
        except (DatasetError, ValueError) as error:
            raise ChampionUnusable(self, str(error)) from error


def predict(served: ServedModel, others: Dataset, section: Section) -> pl.DataFrame:
    """Rows of the table predictions for patients outside the training.

    They have no fold and no label.

    1. Probability by the model fitted on all training patients; positive at its stored cut-off.
    2. Bounds by the jackknife over the models of its folds.
    3. Spread between members and seeds; above `abstain_sd` the model abstains.
    4. Novelty by means and deviations of the patients it was trained on.

    Raises
    ------
    ChampionUnusable
        A column that the model asks for is gone.
    """
    probability, spread = served.probabilities(others), spread_of(served.model, others)
    low, high = jackknife_interval(
        probability, np.stack([fold.probabilities(others) for fold in served.folds])
    )
    rows = prediction_rows(
        others,
        served.facts["name"],
        served.version,
        probability,
        probability >= served.facts["cutoff"],
        spread,
        served.reference.ood_score(others),
        section,
    )
    return conform(
        rows.with_columns(
            alias=pl.lit(served.alias),
            lower=pl.Series(low),
            upper=pl.Series(high),
            input_digest=pl.Series(input_digests(others), dtype=pl.String),
        ),
        PREDICTIONS,
    )


def input_digests(dataset: Dataset) -> list[str]:
    """First 16 hexadecimal digits of the SHA-256 of each patient's own inputs.

    No other patient changes a digest.
    """
    return [_input_digest(dataset, i) for i in range(dataset.y.size)]


def _input_digest(dataset: Dataset, i: int) -> str:
    known, own = ~np.isnan(dataset.X[i]), np.arange(dataset.y.size) == i
    content = [
        repr(
            [
                (n, v)
                for n, v, k in zip(dataset.feature_names, dataset.X[i].tolist(), known, strict=True)
                if k
            ]
        ).encode()
    ]
    if dataset.comparisons:
        content += [dataset.comparisons.take(own).digest]
    if dataset.series is not None:
        series = dataset.series
        lesions = np.flatnonzero(series.present[i].any(axis=(1, 2)))
        nodes = [(r, f, v) for r in series.regions for v in series.visits for f in series.features]
        if series.words:
            content += [series.words.take(own, len(own)).digest]
        content += [
            repr(nodes).encode(),
            series.values[i][lesions].tobytes(),
            series.days[i].tobytes(),
            series.ties[i][np.ix_(lesions, lesions)].tobytes(),
        ]
    return hashlib.sha256(b"|".join(content)).hexdigest()[:16]

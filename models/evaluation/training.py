"""Cross-fitting: a patient's prediction comes from folds without the patient.

Every probability is that of a model, and judged by a cut-off, that had not seen the patient.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from dagster_project.lake.schema import conform
from dagster_project.lake.tables import PREDICTIONS
from dagster_project.statistics.pooling import Pooled, pool_sites
from dagster_project.statistics.roc import auc_difference
from models.data.datasets import Dataset, DatasetError
from models.data.splits import SplitError, check_folds, stratified_folds
from models.evaluation.appraisal import Appraisal, Held, appraise
from models.evaluation.evaluation import (
    Evaluation,
    ModelAlarm,
    control_verdict,
    evaluate,
    leakage_verdict,
)
from models.evaluation.held_out_intervals import Bounds, jackknife_intervals
from models.evaluation.training_distribution import TrainingDistribution
from models.learners.baselines import BASELINES
from models.learners.fusion import StackModel
from models.learners.harmonised import SENSITIVITY
from models.learners.learners import Fit, FittedModel, Learner, Section
from models.learners.networks import NetworkModel

REFERENCES = ("clinical", "size_change", "clinical_size")
"""Models that the others are compared with, patient by patient."""

COSTLY = ("st_gcn", "decomposition_transformer", "fusion")
"""Learners whose fits take tens of seconds at 500 patients."""


@dataclass(frozen=True, eq=False)
class TrainedModel:
    """A learner's out-of-fold probabilities, what they amount to, and its fit on all patients.

    `dataset` holds the columns that this learner saw; `cohort_digest` is that of the whole data
    set, the same for all its learners. `cutoffs` has one value per fold, chosen on the other folds'
    patients; `final` is the fit on everyone, for patients to come, and none of the figures is based
    on it.
    """

    name: str
    negative_control: bool
    dataset: Dataset
    cohort_digest: str
    fold: np.ndarray
    probabilities: np.ndarray
    cutoffs: np.ndarray
    final: Fit
    evaluation: Evaluation
    verdicts: tuple[ModelAlarm, ...]
    appraisal: Appraisal
    bounds: Bounds
    spread: np.ndarray | None = None
    fits: tuple[Fit, ...] = ()

    @property
    def positive(self) -> np.ndarray:
        """At or above the cut-off of the patient's fold."""
        return self.probabilities >= self.cutoffs[self.fold]

    @property
    def auc(self) -> float:
        """The out-of-fold AUC; both classes are there, so it exists."""
        assert self.evaluation.auc.value is not None
        return self.evaluation.auc.value


def train_baselines(dataset: Dataset, section: Section, seed: int) -> list[TrainedModel]:
    """Train the baselines, in their order.

    The same data set, section and seed give the same numbers.

    Raises
    ------
    SplitError, DatasetError
        Too few patients of a class, or a block without columns.
    """
    return train(BASELINES, dataset, section, seed)


def train(
    learners: Sequence[Learner], dataset: Dataset, section: Section, seed: int
) -> list[TrainedModel]:
    """Cross-fit every learner on the same folds, by patient, balanced by site and label.

    Linear algebra runs on one thread: the matrices are small, and the bits do not depend on the
    number of cores.
    """
    # Its thread pools can be limited only once it is loaded.
    import sklearn.linear_model  # noqa: F401
    from threadpoolctl import threadpool_limits

    scope = f"task {dataset.task.name}, outer folds"
    fold = stratified_folds(
        dataset.patients, dataset.sites, dataset.y, folds=section["folds"], seed=seed, scope=scope
    )
    with threadpool_limits(limits=1):
        return [cross_fit(learner, dataset, fold, section, seed) for learner in learners]


def cross_fit(
    learner: Learner, dataset: Dataset, fold: np.ndarray, section: Section, seed: int
) -> TrainedModel:
    """One learner on given folds.

    1. Folds that divide a patient or lack a class are refused.
    2. A negative control is given features permuted between patients; labels stay.
    3. For each fold: fit on the other folds, choose the cut-off there, predict the fold.
    4. Where the protocol asks, fit without each pair of folds, for bounds of the held-out patients'
       probabilities.
    5. Fit once more on everyone, for patients to come.
    """
    check_folds(
        fold, dataset.patients, dataset.y, scope=f"task {dataset.task.name}, model {learner.name}"
    )
    seen = dataset.of_blocks(learner.blocks)
    seen = seen.with_features_permuted(seed) if learner.negative_control else seen
    probabilities, fits, spread = np.zeros(fold.size), [], np.full(fold.size, np.nan)
    for k in range(fold.max() + 1):
        fit, held = learner.fit(seen.take(fold != k), section, seed), seen.take(fold == k)
        probabilities[fold == k] = fit.model.probabilities(held)
        spread[fold == k] = spread_of(fit.model, held)
        fits.append(fit)
    cutoffs = np.array([fit.cutoff for fit in fits])
    positive = probabilities >= cutoffs[fold]
    evaluation = evaluate(dataset.y, probabilities, positive, dataset.sites, len(fits))
    bounds = intervals_of_fold(learner, seen, fold, probabilities, section, seed)
    found = appraise(
        dataset,
        seen,
        Held(fold, probabilities, positive, fits),
        hold_out_sites(learner, dataset, section, seed),
        section,
        seed,
    )
    return TrainedModel(
        name=learner.name,
        negative_control=learner.negative_control,
        dataset=seen,
        cohort_digest=dataset.digest,
        fold=fold,
        probabilities=probabilities,
        cutoffs=cutoffs,
        final=learner.fit(seen, section, seed),
        evaluation=evaluation,
        verdicts=_verdicts(learner, evaluation, section),
        spread=spread,
        fits=tuple(fits),
        bounds=bounds,
        appraisal=replace(found, facts={**found.facts, "held_out_intervals": bounds.method}),
    )


def hold_out_sites(learner: Learner, dataset: Dataset, section: Section, seed: int) -> Pooled | str:
    """`leave_one_site_out` where the protocol asks for it of this learner, else why not.

    1. `leave_site_out_for` says of whom: none, baselines (all but networks and the stack, whose
       cost is that of a fold per hospital), or all.
    2. Never of a negative control.
    3. One hospital alone, or others without both classes: why.
    """
    if why := _not_asked_for(learner, section, "leave_site_out_for"):
        return why
    try:
        return leave_one_site_out(learner, dataset, section, seed)[1]
    except (SplitError, DatasetError) as error:
        return str(error)


def _not_asked_for(learner: Learner, section: Section, setting: str) -> str | None:
    """Why refits are not made for this learner; None where they are.

    The setting requires them of none, baselines or all.
    """
    asked = section[setting]
    if learner.negative_control:
        return "not asked for: a negative control"
    return (
        f"not asked for: [model].{setting} is {asked}"
        if asked == "none" or (asked == "baselines" and learner.name in COSTLY)
        else None
    )


def intervals_of_fold(
    learner: Learner,
    seen: Dataset,
    fold: np.ndarray,
    probabilities: np.ndarray,
    section: Section,
    seed: int,
) -> Bounds:
    """`jackknife_intervals` where `held_out_intervals` requires it, else no bounds and why."""
    if why := _not_asked_for(learner, section, "held_out_intervals"):
        return Bounds(nothing := np.full(fold.size, np.nan), nothing, why)
    return jackknife_intervals(learner, seen, fold, probabilities, section, seed)


def spread_of(model: FittedModel, dataset: Dataset) -> np.ndarray:
    """How far an ensemble's members disagree on each row; NaN for a single model."""
    return (
        model.spread(dataset)
        if isinstance(model, StackModel | NetworkModel)
        else np.full(dataset.y.size, np.nan)
    )


def leave_one_site_out(
    learner: Learner, dataset: Dataset, section: Section, seed: int
) -> tuple[np.ndarray, Pooled]:
    """Predict each hospital by a model that had seen none of its patients.

    Returns the probabilities, and the AUCs of the hospitals with their mean and I2.

    No harmonisation is used: a new hospital has no parameters of its own. A hospital of one class
    is predicted, and left out of the mean (`pool_sites`).

    Raises
    ------
    SplitError
        One hospital alone, or the others together lack a class.
    """
    seen, where = dataset.of_blocks(learner.blocks), np.asarray(dataset.sites)
    if len(set(dataset.sites)) < 2:
        raise SplitError(
            f"task {dataset.task.name}, model {learner.name}: "
            "leaving one hospital out needs two; there is one"
        )
    probabilities = np.zeros(where.size)
    for site in sorted(set(dataset.sites)):
        probabilities[where == site] = learner.fit(
            seen.take(where != site), section, seed
        ).model.probabilities(seen.take(where == site))
    return probabilities, pool_sites(
        dataset.y, probabilities, dataset.sites, len(set(dataset.sites))
    )


def _verdicts(learner: Learner, evaluation: Evaluation, section: Section) -> tuple[ModelAlarm, ...]:
    alarm = leakage_verdict(evaluation.auc.value or 0.0, section["leakage_auc"])
    return (alarm, control_verdict(evaluation.auc)) if learner.negative_control else (alarm,)


def best_model(trained: Sequence[TrainedModel]) -> TrainedModel:
    """The model to carry the alias.

    1. Negative controls and sensitivity analyses are left out.
    2. The greatest out-of-fold AUC wins.
    3. Of equal ones the earlier, which is the simpler, wins.

    The AUC of the best of several is flattered by the choice: report all of them.
    """
    return max(filter(could_be_best, trained), key=lambda t: t.auc)


def could_be_best(model: TrainedModel) -> bool:
    """Whether it is neither a negative control nor a sensitivity analysis."""
    return not model.negative_control and model.name not in SENSITIVITY


def compare_with_references(
    model: TrainedModel, trained: Sequence[TrainedModel]
) -> dict[str, float]:
    """AUC gained over each reference model on the same patients.

    With paired interval and p for the folds that gave both, where they exist.
    """
    found: dict[str, float | None] = {}
    for reference in (t for t in trained if t.name in REFERENCES and t.name != model.name):
        gain, p = auc_difference(
            model.dataset.y,
            model.probabilities,
            reference.probabilities,
            folds=int(model.fold.max()) + 1,
        )
        name = f"auc_gain_over_{reference.name}"
        found |= {
            name: gain.value,
            f"{name}_lower": gain.lower,
            f"{name}_upper": gain.upper,
            f"{name}_p": p,
        }
    return {name: value for name, value in found.items() if value is not None}


def derive_predictions(
    trained: Sequence[TrainedModel], model_runs: pl.DataFrame, section: Section
) -> pl.DataFrame:
    """The table predictions: out-of-fold probabilities with their bounds and versions.

    The versions are those that `model_runs` gave the models.
    """
    version = dict(model_runs.select("model", "model_version").iter_rows())
    frames = [
        prediction_rows(
            t.dataset,
            t.name,
            version[t.name],
            t.probabilities,
            t.positive,
            t.spread,
            TrainingDistribution.fitted(t.dataset).ood_score(t.dataset),
            section,
        ).with_columns(
            observed_response=pl.Series(t.dataset.y),
            fold=pl.Series(t.fold),
            lower=pl.Series(t.bounds.lower, nan_to_null=True),
            upper=pl.Series(t.bounds.upper, nan_to_null=True),
        )
        for t in trained
    ]
    return conform(pl.concat(frames), PREDICTIONS)


def prediction_rows(
    data: Dataset,
    model: str,
    version: str,
    probability: np.ndarray,
    positive: np.ndarray,
    spread: np.ndarray | None,
    ood_score: np.ndarray,
    section: Section,
) -> pl.DataFrame:
    """Rows of predictions without label, fold, interval, alias, digest and amendments.

    The gate is `open`, since models are trained behind an open gate.
    """
    rows = pl.DataFrame(
        {
            "site": data.sites,
            "patient": data.patients,
            "task": data.task.name,
            "model": model,
            "model_version": version,
            "probability": probability,
            "predicted_positive": positive,
            "observed_response": None,
            "fold": None,
            "alias": None,
            "lower": None,
            "upper": None,
            "input_digest": None,
            "gate": "open",
            "amendments": None,
            "ensemble_sd": np.full(probability.size, np.nan) if spread is None else spread,
            "ood_score": ood_score,
            "simulated": data.simulated,
        },
        schema_overrides={
            "observed_response": pl.Boolean,
            "fold": pl.Int64,
            "site": pl.String,
            "patient": pl.String,
            "alias": pl.String,
            "lower": pl.Float64,
            "upper": pl.Float64,
            "input_digest": pl.String,
            "amendments": pl.String,
        },
    )
    return rows.with_columns(pl.col("ensemble_sd", "ood_score").fill_nan(None)).with_columns(
        abstained=pl.col("ensemble_sd") > section["abstain_sd"]
    )

"""Whether features that are not about the tumour predict the response.

They must not; if they do, something else in the pipeline carries the response.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from dagster_project.statistics.estimate import Estimate
from dagster_project.statistics.roc import auc_delong, auc_of_folds
from models.data.splits import stratified_folds

KEPT_BY = {
    "shuffled": (
        "original_firstorder_Mean",
        "original_firstorder_Variance",
        "original_firstorder_Skewness",
        "original_firstorder_Kurtosis",
    ),
    "muscle": (),
}
"""Features of each control that are still the tumour's, besides its volume.

A shuffle leaves the densities as they are.
"""

ALSO_THE_TUMOURS = {
    "shuffled": ("original_shape_", "original_firstorder_"),
    "muscle": ("original_shape_",),
}
"""How features begin that a control leaves as they are; they take no part in what is judged."""

VOLUME = "region_volume_mm3"
"""Column of the volume, whose logarithm is always accounted for.

Texture depends on the number of voxels.
"""


PERMUTATIONS = 999
"""Draws of the responses in another order, from which the range of chance is read."""

CHANCE = 0.975
"""Share of the draws within the range of chance.

With two controls, about one clean data set in twenty has one outside.
"""

Operators = list[tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class JudgedControl:
    """A control's out-of-fold AUC against response, with what it is based on.

    `verdict` is pass, fail or cannot_evaluate.

    `auc` has DeLong's interval; `chance` is where AUCs lie when responses are put in another order.
    """

    control: str
    n_responders: int
    n_others: int
    auc: Estimate
    verdict: str
    chance: tuple[float, float] | None = None

    @property
    def detail(self) -> str:
        """The same in words."""
        behind = f"{self.n_responders} responders, {self.n_others} others"
        if self.auc.value is None or self.chance is None:
            return f"{self.control}: {self.auc.reason} ({behind})"
        bounds = (
            "no interval"
            if self.auc.lower is None or self.auc.upper is None
            else f"{self.auc.lower:.3f} to {self.auc.upper:.3f}"
        )
        return (
            f"{self.control}: AUC {self.auc.value:.3f} ({bounds}) of {behind}; "
            f"chance gives {self.chance[0]:.2f} to {self.chance[1]:.2f}"
        )


def judge_control(
    rows: pl.DataFrame, control: str, *, minimum_per_class: int, folds: int, seed: int
) -> JudgedControl:
    """The AUC of one control's features against response.

    The control fails where chance does not give such an AUC.

    1. Patients without a value of the control (no muscle found) or without a response are left out,
       and then features that a patient lacks.
    2. Fewer than `minimum_per_class` responders or others: too few patients, said as such.
    3. What the control leaves as it was in the tumour (`KEPT_BY`, and the volume) may tell response
       and is taken out; see `held_out_operators`.
    4. Chance is `CHANCE` of the AUCs of `PERMUTATIONS` draws in which the responses change places
       within each fold. The interval for folds is printed beside it and decides nothing.

    Parameters
    ----------
    rows
        site, patient, responder, feature, value and region_volume_mm3 of one control, one lesion
        per patient.
    """
    wide = rows.filter(pl.col("value").is_not_null() & pl.col("responder").is_not_null()).pivot(
        on="feature", index=["site", "patient", "responder", VOLUME], values="value"
    )
    wide = wide.sort("site", "patient")
    labels = wide["responder"].to_numpy().astype(bool)
    n = int(labels.sum()), int((~labels).sum())
    if min(n) < minimum_per_class:
        return JudgedControl(
            control,
            *n,
            Estimate(
                None, reason=f"too few patients: {minimum_per_class} of each class are needed"
            ),
            "cannot_evaluate",
        )
    known = [c for c in wide.columns[4:] if not wide[c].null_count()]
    judged = wide.select(c for c in known if not c.startswith(ALSO_THE_TUMOURS[control])).to_numpy()
    kept = np.column_stack(
        [
            np.log(wide[VOLUME].to_numpy()),
            *(wide[c].to_numpy() for c in KEPT_BY[control] if c in known),
        ]
    )
    fold = stratified_folds(
        wide["patient"].to_list(),
        wide["site"].to_list(),
        labels,
        folds=folds,
        seed=seed,
        scope=f"control {control}",
    )
    operators = held_out_operators(judged, kept, fold)
    auc, chance = (
        auc_of_folds(labels, held_out_scores(operators, labels), len(operators)),
        chance_of(operators, labels, fold, seed),
    )
    assert auc.value is not None, "both classes are there"
    return JudgedControl(
        control, *n, auc, "pass" if chance[0] <= auc.value <= chance[1] else "fail", chance
    )


def held_out_operators(features: np.ndarray, kept: np.ndarray, fold: np.ndarray) -> Operators:
    """For each fold, who is held out and the matrix from the others' responses to scores.

    The matrix is that of ridge regression, which allows more columns than patients.

    1. Columns are scaled, then freed of the linear part that `kept` explains, then scaled again, by
       the training patients' numbers.
    2. R Rₜᵀ (Rₜ Rₜᵀ + p I)⁻¹, R the p columns of those held out, Rₜ of those trained on.
    """
    found = []
    for k in np.unique(fold):
        out = fold == k
        train, test = _freed(_scaled(features, out), kept, out)
        found.append(
            (
                out,
                test
                @ np.linalg.solve(train @ train.T + train.shape[1] * np.eye(len(train)), train).T,
            )
        )
    return found


def held_out_scores(operators: Operators, labels: np.ndarray) -> np.ndarray:
    """A score per patient: the operator of the fold on the others' responses about their mean.

    There is no intercept: it would differ between folds by who is held out, and pull the pooled AUC
    below 0.5.
    """
    scores = np.zeros(labels.size)
    for out, operator in operators:
        scores[out] = operator @ (labels[~out] - labels[~out].mean())
    return scores


def chance_of(
    operators: Operators, labels: np.ndarray, fold: np.ndarray, seed: int
) -> tuple[float, float]:
    """The range of AUCs that holds `CHANCE` of the draws.

    Responses change places within their fold, so that each fold keeps its classes.
    """
    rng, found = np.random.default_rng(seed), []
    for _ in range(PERMUTATIONS):
        order = np.lexsort((rng.random(labels.size), fold))
        drawn = np.empty_like(labels)
        drawn[np.argsort(fold, kind="stable")] = labels[order]
        found.append(auc_delong(drawn, held_out_scores(operators, drawn)).value)
    low, high = np.quantile(np.array(found, dtype=float), [(1 - CHANCE) / 2, (1 + CHANCE) / 2])
    return float(low), float(high)


def _scaled(values: np.ndarray, out: np.ndarray) -> np.ndarray:
    """The values centred and scaled by the rows that are not `out`.

    Columns that do not vary among those rows become 0.
    """
    mean, sd = values[~out].mean(axis=0), values[~out].std(axis=0)
    varies = sd > np.abs(mean) * 1e-12
    scaled: np.ndarray = np.where(varies, (values - mean) / np.where(varies, sd, 1.0), 0.0)
    return scaled


def _freed(
    features: np.ndarray, kept: np.ndarray, out: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Training and held-out rows without what `kept` explains among the training rows."""
    known = _scaled(kept, out)
    slopes = np.linalg.lstsq(known[~out], features[~out], rcond=None)[0]
    free = _scaled(features - known @ slopes, out)
    return free[~out], free[out]

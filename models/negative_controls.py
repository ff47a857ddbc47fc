"""Whether features that are not about the tumour tell the response: they must not, or something else in the pipeline does."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from models.evaluation import Estimate, auc_delong
from models.splits import stratified_folds

KEPT_BY = {
    "shuffled": ("original_firstorder_Mean", "original_firstorder_Variance", "original_firstorder_Skewness", "original_firstorder_Kurtosis"),
    "muscle": (),
}
"""Features of each control that are still the tumour's, beside its volume: a shuffle leaves the densities as they are."""

ALSO_THE_TUMOURS = {"shuffled": ("original_shape_", "original_firstorder_"), "muscle": ("original_shape_",)}
"""How features begin that a control leaves as they are; they take no part in what is judged."""

VOLUME = "region_volume_mm3"
"""Column of the volume; its logarithm is always accounted for, since texture depends on how many voxels there are."""


@dataclass(frozen=True)
class JudgedControl:
    """A control's AUC against response, out of fold, with what stands behind it; `verdict` is pass, fail or cannot_evaluate."""

    control: str
    n_responders: int
    n_others: int
    auc: Estimate
    verdict: str

    @property
    def detail(self) -> str:
        """The same in words."""
        behind = f"{self.n_responders} responders, {self.n_others} others"
        if self.auc.value is None:
            return f"{self.control}: {self.auc.reason} ({behind})"
        if self.auc.lower is None or self.auc.upper is None:
            return f"{self.control}: AUC {self.auc.value:.3f} of {behind}; {self.auc.reason}"
        return f"{self.control}: AUC {self.auc.value:.3f} ({self.auc.lower:.3f} to {self.auc.upper:.3f}) of {behind}"


def judge_control(rows: pl.DataFrame, control: str, *, minimum_per_class: int, folds: int, seed: int) -> JudgedControl:
    """The AUC of one control's features against response; it fails where its 95 % interval does not hold 0.5.

    1. Patients without a value of the control (no muscle found) or without a response are left out, and then features that a patient lacks.
    2. Fewer than `minimum_per_class` responders or others: too few patients, said as such.
    3. What the control leaves as it was in the tumour (`KEPT_BY`, and the volume) may tell response and is taken out; see `held_out_scores`.

    Parameters
    ----------
    rows
        site, patient, responder, feature, value and region_volume_mm3 of one control, one lesion a patient.
    """
    wide = rows.filter(pl.col("value").is_not_null() & pl.col("responder").is_not_null()).pivot(on="feature", index=["site", "patient", "responder", VOLUME], values="value")
    wide = wide.sort("site", "patient")
    labels = wide["responder"].to_numpy().astype(bool)
    n = int(labels.sum()), int((~labels).sum())
    if min(n) < minimum_per_class:
        return JudgedControl(control, *n, Estimate(None, reason=f"too few patients: {minimum_per_class} of each class are needed"), "cannot_evaluate")
    known = [c for c in wide.columns[4:] if not wide[c].null_count()]
    judged = wide.select(c for c in known if not c.startswith(ALSO_THE_TUMOURS[control])).to_numpy()
    kept = np.column_stack([np.log(wide[VOLUME].to_numpy()), *(wide[c].to_numpy() for c in KEPT_BY[control] if c in known)])
    fold = stratified_folds(wide["patient"].to_list(), wide["site"].to_list(), labels, folds=folds, seed=seed, scope=f"control {control}")
    auc = auc_delong(labels, held_out_scores(judged, kept, labels, fold))
    low, high = (auc.value if bound is None else bound for bound in (auc.lower, auc.upper))  # classes told apart without a miss have no interval
    return JudgedControl(control, *n, auc, "pass" if low is not None and high is not None and low <= 0.5 <= high else "fail")


def held_out_scores(features: np.ndarray, kept: np.ndarray, labels: np.ndarray, fold: np.ndarray) -> np.ndarray:
    """A score a patient by ridge regression on the patients of the other folds: the simplest learner that takes more columns than patients.

    1. Columns are scaled, then freed of the linear part that `kept` explains, then scaled again, by the training patients' numbers.
    2. score = R Rₜᵀ (Rₜ Rₜᵀ + p I)⁻¹ (yₜ − mean yₜ), R the p columns of those held out, Rₜ of those trained on. There is no
       intercept: it would differ between folds by who is held out, and pull the pooled AUC below 0.5.
    """
    scores = np.zeros(labels.size)
    for k in np.unique(fold):
        out = fold == k
        train, test = _freed(_scaled(features, out), kept, out)
        gram = train @ train.T + train.shape[1] * np.eye(len(train))
        scores[out] = test @ (train.T @ np.linalg.solve(gram, labels[~out] - labels[~out].mean()))
    return scores


def _scaled(values: np.ndarray, out: np.ndarray) -> np.ndarray:
    """Centred and scaled by the rows that are not `out`; columns that do not vary among them become 0."""
    mean, sd = values[~out].mean(axis=0), values[~out].std(axis=0)
    varies = sd > np.abs(mean) * 1e-12
    scaled: np.ndarray = np.where(varies, (values - mean) / np.where(varies, sd, 1.0), 0.0)
    return scaled


def _freed(features: np.ndarray, kept: np.ndarray, out: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Training and held-out rows without what `kept` explains among the training rows."""
    known = _scaled(kept, out)
    slopes = np.linalg.lstsq(known[~out], features[~out], rcond=None)[0]
    free = _scaled(features - known @ slopes, out)
    return free[~out], free[out]

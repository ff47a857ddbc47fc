"""One penalised score of features beside size, for the risk of progression after a visit.

It is nested: everything that is chosen or fitted is so on the rows that a model may see, and each
of these rows has the score of a fit without its own patient.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from dagster_project.domain.evaluation.comparators import RIDGE
from dagster_project.domain.evaluation.courses import Landmark
from dagster_project.domain.evaluation.figures import folds_of
from dagster_project.domain.evaluation.supermodel import Score, Stack, weights_at
from dagster_project.statistics.logistic import fit_logistic, sigmoid
from models.data.stability import StableFeatures
from models.data.visit_features import VisitFeatures

Section = Mapping[str, Any]
Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ScoredFeatures:
    """Features of visits, and the settings by which a score is made of them.

    Attributes
    ----------
    section
        `Study.learning`.
    """

    features: VisitFeatures
    section: Section

    def knows(self, landmark: Landmark) -> bool:
        """Whether the visit has features."""
        return (*landmark.patient, landmark.visit) in self.features.places

    def score(self, landmarks: Sequence[Landmark], stack: Stack, horizon: float) -> Score:
        """The score of the stack of these landmarks, learnt from their events by a horizon."""
        places = [(*r.patient, r.visit) for r in landmarks]
        values = self.features.of_visits(places)
        patients = [r.patient for r in landmarks]
        return FeatureScore(self.features, self.section, values, patients, stack, horizon)


@dataclass(frozen=True, eq=False)
class FeatureScore:
    """The score of one stack; a fit is made once for the same rows.

    Attributes
    ----------
    values : float array (rows, columns)
        Features of the rows of the stack; NaN where there is none.
    patients
        The patient of each row.
    """

    features: VisitFeatures
    section: Section
    values: Floats
    patients: Sequence[tuple[str, str]]
    stack: Stack
    horizon: float
    _made: dict[bytes, Floats] = field(default_factory=dict)

    def __call__(self, seen: Bools) -> Floats:
        """Score of every row, of rows `seen` out of inner folds.

        1. The rows seen are divided into inner folds by patient.
        2. Each strength of the penalty is tried: without an inner fold, for the rows of that fold.
        3. The strength of least weighted log loss is taken; of equal ones the stronger.
        4. Rows seen have the score out of their inner fold at that strength, the others the score
           of the fit of all rows seen.

        Returns
        -------
        float array (rows,)
            0 throughout where the rows seen have one outcome alone, or no column that tells.
        """
        name = np.packbits(seen).tobytes()
        if name not in self._made:
            self._made[name] = self._nested(seen)
        return self._made[name]

    def _nested(self, seen: Bools) -> Floats:
        rows = np.flatnonzero(seen)
        inner = np.full(len(seen), -1, dtype=np.int64)
        inner[rows] = folds_of(self._patients_of(seen), self.section["inner_folds"])
        strengths = self.section["ridge_strengths"]
        scores, risks = np.zeros((2, len(strengths), len(seen)))
        for fold in sorted(set(inner[rows].tolist())):
            held = inner == fold
            paths = self.fit(seen & ~held, strengths)
            scores[:, held] = [p.score[held] for p in paths]
            risks[:, held] = [p.risk[held] for p in paths]
        best = int(np.argmin([self._log_loss(p, seen) for p in risks]))
        found = np.array(self.fit(seen, [strengths[best]])[0].score)
        found[seen] = scores[best, seen]
        return found

    def fit(self, seen: Bools, strengths: Sequence[float]) -> list[Fitted]:
        """Score and risk of every row by the rows seen, one for each strength.

        1. Columns on which the readers of these patients disagree are left out.
        2. Impute by the median, standardise, and take the columns that tell cases from controls
           best, without near-copies; all by the rows seen.
        3. Logistic regression weighted by IPCW on size and these columns. The penalty is strength
           times the weight of all rows on the features; size has hardly any (`comparators.RIDGE`).
        4. The score is the part of the linear predictor that features give.
        """
        case, control = weights_at(self.stack, seen, self.horizon)
        weights = case + control
        used = weights > 0
        n = len(seen)
        if not case.any() or not control.any():
            share = float(case.sum() / weights.sum()) if used.any() else 0.5
            return [Fitted(np.zeros(n), np.full(n, share))] * len(strengths)
        z = self._prepared(used, case > 0)
        size = _standardised(self.stack.columns, used)
        design, free = np.column_stack([size, z]), size.shape[1]
        found = []
        for strength in strengths:
            penalties = [RIDGE] * free + [strength * weights.sum()] * z.shape[1]
            fitted = fit_logistic(
                design[used], (case > 0)[used], weights[used], ridge=np.array(penalties)
            )
            score = z @ fitted[1 + free :]
            risk = sigmoid(fitted[0] + size @ fitted[1 : 1 + free] + score)
            found.append(Fitted(score, risk))
        return found

    def _prepared(self, used: Bools, cases: Bools) -> Floats:
        """Columns of all rows, imputed, standardised and chosen by the rows used."""
        from models.data.selection import relevant_columns

        readers = self.features.readers_of(self._patients_of(used))
        stable = StableFeatures.fitted(readers, self.section)
        offered = np.array([not stable.leaves_out(c) for c in self.features.names], dtype=bool)
        x = self.values[:, offered & ~np.isnan(self.values[used]).all(axis=0)]
        x = np.where(np.isnan(x), np.nanmedian(x[used], axis=0), x)
        z = _standardised(x, used)
        keeps, redundant = self.section["univariate_keep"], self.section["redundant_correlation"]
        chosen = relevant_columns(z[used], cases[used], keeps=keeps, redundant=redundant)
        return np.asarray(z[:, chosen], dtype=np.float64)

    def _patients_of(self, rows: Bools) -> list[tuple[str, str]]:
        return [self.patients[i] for i in np.flatnonzero(rows).tolist()]

    def _log_loss(self, risks: Floats, seen: Bools) -> float:
        case, control = weights_at(self.stack, seen, self.horizon)
        p = np.clip(risks, 1e-15, 1 - 1e-15)
        return float(-(case @ np.log(p) + control @ np.log(1 - p)).round(12))


@dataclass(frozen=True, eq=False)
class Fitted:
    """Of every row the part of the linear predictor that features give, and the risk."""

    score: Floats
    risk: Floats


def _standardised(x: Floats, used: Bools) -> Floats:
    """By the rows used; a column that does not vary among them is 0 there."""
    mean, deviation = x[used].mean(axis=0), x[used].std(axis=0)
    return np.asarray((x - mean) / np.where(deviation > 0, deviation, 1.0), dtype=np.float64)

"""The univariate filter: columns that tell the classes apart best, without near-copies."""

from __future__ import annotations

from typing import Self

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.feature_selection import SelectorMixin
from sklearn.utils.validation import check_is_fitted

SHORTLIST = 10
"""Near-copies are looked for among this many times the columns wanted, best first.

Columns beyond these are never chosen.
"""


def relevant_columns(Z: np.ndarray, y: np.ndarray, *, keeps: int, redundant: float) -> np.ndarray:
    """Choose columns on training patients; a mask over the columns.

    1. Score every column by |r| with the label (point-biserial; the same order as the F test). A
       constant scores 0 and is never kept.
    2. Walk down the scores; keep a column unless |r| with one already kept is above `redundant`.
    3. Stop at `keeps`. Ties go to the earlier column.

    Parameters
    ----------
    Z : float array (n, p)
        Standardised, no missing value.
    y : bool array (n,)
        Labels.
    """
    score = np.abs(Z.T @ (y - y.mean()))
    ranked = np.argsort(-score.round(12), kind="stable")[: keeps * SHORTLIST]
    ranked = ranked[score[ranked] > 1e-9]
    correlation = np.abs(Z[:, ranked].T @ Z[:, ranked]) / len(y)
    kept: list[int] = []
    for place in range(len(ranked)):
        if len(kept) < keeps and not (correlation[place, kept] > redundant).any():
            kept.append(place)
    mask = np.zeros(Z.shape[1], dtype=bool)
    mask[ranked[kept]] = True
    return mask


class RelevantColumns(SelectorMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """`relevant_columns` as a step of a Pipeline.

    The columns in `always` pass unfiltered where they vary, those in `never` do not pass.
    """

    def __init__(
        self,
        keeps: int,
        redundant: float,
        always: tuple[int, ...] = (),
        never: tuple[int, ...] = (),
    ) -> None:
        self.keeps = keeps
        self.redundant = redundant
        self.always = always
        self.never = never

    def fit(self, Z: np.ndarray, y: np.ndarray) -> Self:
        """Choose the columns on these patients."""
        place = np.arange(Z.shape[1])
        fixed, asked = np.isin(place, self.always), ~np.isin(place, (*self.always, *self.never))
        self.mask_ = np.where(fixed, Z.std(axis=0) > 0, False)
        self.mask_[asked] = relevant_columns(
            Z[:, asked], y, keeps=self.keeps, redundant=self.redundant
        )
        self.n_features_in_ = Z.shape[1]
        return self

    def _get_support_mask(self) -> np.ndarray:
        check_is_fitted(self)
        return self.mask_

"""The models that anything more elaborate must beat, and a control that must fail.

Case report alone, size alone, and delta radiomics.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from dagster_project.statistics.logistic import sigmoid
from dagster_project.statistics.roc import youden_cutoff
from models.data.datasets import CLINICAL, DELTA, DHI, PD_L1, RADIOMICS, SIZE, Dataset, DatasetError
from models.data.fold_dhi import limits_facts, limits_of, told_of
from models.data.splits import stratified_folds
from models.data.stability import StableFeatures
from models.learners.learners import Fit, Section

if TYPE_CHECKING:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import Pipeline

    from dagster_project.radiomics.dhi_limits import FoldLimits

TOLERANCE = 1e-6
"""Change of the coefficients at which the solvers stop."""

ITERATIONS = 20_000
"""Far above what strongly correlated columns needed in trials (about 1,100)."""


@dataclass(frozen=True, eq=False)
class LinearModel:
    """A fitted logistic model with the imputation and scaling of its columns.

    p = 1 / (1 + exp(−(b + Σ w (x − mean) / scale))), with a missing x replaced by the training
    patients' median, and DHI divided by these patients' limits. It holds the selected columns
    alone. All probabilities, out of fold and later, come from here, so that the stored tensors give
    the same bits.
    """

    kind: ClassVar[str] = "linear_logistic"
    features: tuple[str, ...]
    medians: np.ndarray
    means: np.ndarray
    scales: np.ndarray
    coefficients: np.ndarray
    intercept: np.ndarray
    limits: FoldLimits | None = None

    def values(self, dataset: Dataset) -> np.ndarray:
        """The columns it knows, DHI divided by its own limits."""
        return dataset.values_divided(self.features, self.limits)

    def probabilities(self, dataset: Dataset) -> np.ndarray:
        """Probability of response of each row.

        The sum runs within a row, so other rows change no bit of it.
        """
        x = self.values(dataset)
        z = (np.where(np.isnan(x), self.medians, x) - self.means) / self.scales
        return sigmoid(np.ascontiguousarray(z * self.coefficients).sum(axis=1) + self.intercept)

    def tensors(self) -> dict[str, np.ndarray]:
        """Imputer, scaler and coefficients."""
        return {
            name: getattr(self, name)
            for name in ("medians", "means", "scales", "coefficients", "intercept")
        }

    def config(self) -> dict[str, Any]:
        """The columns' names, in the tensors' order, and the limits of DHI."""
        return {"features": list(self.features), **limits_facts(self.limits)}

    @classmethod
    def from_tensors(
        cls, tensors: Mapping[str, np.ndarray], config: Mapping[str, Any]
    ) -> LinearModel:
        """The model that `tensors` and `config` were taken from."""
        return cls(features=tuple(config["features"]), limits=limits_of(config), **tensors)


@dataclass(frozen=True)
class Baseline:
    """A penalised logistic regression on some blocks; a `learners.Learner`.

    With `elastic_net` the columns of the blocks `delta` and `radiomics` pass two filters first: the
    readers' agreement, then the univariate one; other blocks are offered whole.
    """

    name: str
    blocks: tuple[str, ...]
    penalty: Literal["ridge", "elastic_net"]
    negative_control: bool = False

    def fit(self, dataset: Dataset, section: Section, seed: int) -> Fit:
        """Fit on training patients.

        1. Divide them into inner folds by site and label.
        2. In each inner fold fit the limits of DHI, impute, scale, filter and fit on the rest, once
           a strength of the penalty; predict those held out.
        3. Take the strength of least log loss; of equal ones the stronger penalty.
        4. Choose the cut-off by Youden's index on its inner out-of-fold probabilities.
        5. Limits, impute, scale, filter and fit on all of them at that strength.
        """
        scope = f"task {dataset.task.name}, model {self.name}, inner folds"
        fold = stratified_folds(
            dataset.patients,
            dataset.sites,
            dataset.y,
            folds=section["inner_folds"],
            seed=seed,
            scope=scope,
        )
        inner = np.zeros((len(section[f"{self.penalty}_strengths"]), dataset.y.size))
        for k in range(fold.max() + 1):
            training = dataset.take(fold != k)
            limits = training.fit_dhi_limits()
            path = self._path(training, section, seed, limits)
            inner[:, fold == k] = [
                freeze(p, dataset.feature_names, limits).probabilities(dataset.take(fold == k))
                for p in path
            ]
        best = int(np.argmin([_log_loss(dataset.y, p) for p in inner]))
        limits = dataset.fit_dhi_limits()
        model = freeze(
            self._path(dataset, section, seed, limits)[best], dataset.feature_names, limits
        )
        chosen = {
            "strength": float(section[f"{self.penalty}_strengths"][best]),
            "n_columns": float(len(model.features)),
            "n_nonzero": float(np.count_nonzero(model.coefficients)),
        }
        if self.penalty == "elastic_net":
            chosen |= StableFeatures.fitted(dataset.readers, section).facts
        return Fit(
            model,
            youden_cutoff(dataset.y, inner[best]),
            chosen | told_of(limits),
            inner=inner[best],
        )

    def _path(
        self, dataset: Dataset, section: Section, seed: int, limits: FoldLimits | None = None
    ) -> list[Pipeline]:
        """One fitted pipeline per strength, strongest penalty first.

        The pipelines share the fitted preparation.
        """
        from sklearn.pipeline import Pipeline

        if limits:
            limits.check(dataset.patients)
            dataset = dataset.scale_dhi(limits)
        preparation = self._preparation(dataset, section).fit(dataset.X, dataset.y)
        if not preparation["filter"].get_support().any():
            raise DatasetError(
                f"task {dataset.task.name}, model {self.name}: "
                "no column varies among the training patients; "
                f"fill the block {', '.join(self.blocks)} or take the model out"
            )
        Z = preparation.transform(dataset.X)
        return [
            Pipeline(
                [
                    *preparation.steps,
                    (
                        "logistic",
                        self._classifier(Z, dataset.y, strength, section, seed).fit(Z, dataset.y),
                    ),
                ]
            )
            for strength in section[f"{self.penalty}_strengths"]
        ]

    def _preparation(self, dataset: Dataset, section: Section) -> Pipeline:
        from sklearn.impute import SimpleImputer
        from sklearn.pipeline import Pipeline
        from sklearn.preprocessing import StandardScaler

        from models.data.selection import RelevantColumns

        filtered = (DELTA, RADIOMICS) if self.penalty == "elastic_net" else ()
        always = tuple(i for i, block in enumerate(dataset.feature_blocks) if block not in filtered)
        stable = StableFeatures.fitted(dataset.readers, section)
        never = tuple(
            i
            for i, name in enumerate(dataset.feature_names)
            if i not in always and stable.leaves_out(name)
        )
        return Pipeline(
            [
                ("impute", SimpleImputer(strategy="median", keep_empty_features=True)),
                ("scale", StandardScaler()),
                (
                    "filter",
                    RelevantColumns(
                        section["univariate_keep"], section["redundant_correlation"], always, never
                    ),
                ),
            ]
        )

    def _classifier(
        self, Z: np.ndarray, y: np.ndarray, strength: float, section: Section, seed: int
    ) -> LogisticRegression:
        """The regression that minimises mean log loss + λ·penalty.

        Ridge: λ = strength. Elastic net: λ = strength × the λ at which the last coefficient becomes
        0. So an elastic net never predicts a constant: constants differ between folds only by who
        is held out, which pooled over folds would push the AUC below 0.5.
        """
        from sklearn.linear_model import LogisticRegression

        if self.penalty == "ridge":
            return LogisticRegression(
                C=1 / (strength * y.size), solver="lbfgs", tol=TOLERANCE, max_iter=ITERATIONS
            )
        share = section["l1_share"]
        largest = np.abs(Z.T @ (y - y.mean())).max(initial=0.0) / y.size / share
        penalty = max(strength * largest, TOLERANCE)
        return LogisticRegression(
            C=1 / (penalty * y.size),
            l1_ratio=share,
            solver="saga",
            tol=TOLERANCE,
            max_iter=ITERATIONS,
            random_state=seed,
        )


def _log_loss(y: np.ndarray, p: np.ndarray) -> float:
    return float(-np.mean(np.log(np.clip(np.where(y, p, 1 - p), 1e-15, 1.0))).round(12))


def freeze(
    pipeline: Pipeline, names: tuple[str, ...], limits: FoldLimits | None = None
) -> LinearModel:
    """The fitted pipeline's numbers on the columns that its filter keeps.

    Its probabilities agree with the pipeline's to rounding.
    """
    kept = pipeline["filter"].get_support()
    return LinearModel(
        features=tuple(name for name, keep in zip(names, kept, strict=True) if keep),
        medians=pipeline["impute"].statistics_[kept],
        means=pipeline["scale"].mean_[kept],
        scales=pipeline["scale"].scale_[kept],
        coefficients=pipeline["logistic"].coef_[0].copy(),
        intercept=pipeline["logistic"].intercept_.copy(),
        limits=limits,
    )


BASELINES = (
    Baseline("clinical", (CLINICAL, PD_L1), "ridge"),
    Baseline("size_change", (SIZE,), "ridge"),
    Baseline("delta_radiomics", (DELTA,), "elastic_net"),
    Baseline("delta_radiomics_dhi", (DELTA, DHI), "elastic_net"),
    Baseline("negative_control", (DELTA, DHI), "elastic_net", negative_control=True),
)
"""Baselines in the order in which each must be beaten.

The size of the tumour alone is the hard one, since it defines response.
"""

FURTHER = (
    Baseline("pd_l1", (PD_L1,), "ridge"),
    Baseline("clinical_size", (CLINICAL, PD_L1, SIZE), "ridge"),
    Baseline("baseline_radiomics", (RADIOMICS,), "elastic_net"),
)
"""PD-L1 alone, all that is known without radiomics, and radiomics before anything has changed."""

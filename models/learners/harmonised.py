"""Radiomics, and their changes, with hospital and kernel taken out by ComBat.

These are sensitivity analyses that the protocol may require, never candidates.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from dagster_project.radiomics.harmonisation import (
    MINIMUM_BATCH,
    Combat,
    HarmonisationError,
    apply_combat,
    fit_combat,
)
from models.data.datasets import DELTA, RADIOMICS, Dataset, DatasetError
from models.data.splits import stratified_folds
from models.learners.baselines import Baseline, LinearModel
from models.learners.learners import Fit, Section

NAME, OF_CHANGES = "baseline_radiomics_combat", "delta_radiomics_combat"
"""Names of the learners in every table."""

SENSITIVITY = frozenset({NAME, OF_CHANGES})
"""Models that are shown beside the others and never chosen."""

KINDS = {"combat": False, "combat_mean_only": True}
"""Values of [model] `harmonise` that ask for ComBat, and whether it takes out the level alone."""


@dataclass(frozen=True, eq=False)
class BatchCorrection:
    """ComBat on the radiomic columns of training patients, with scikit-learn's two steps.

    `fitted` sees the training patients alone; `apply` estimates nothing.

    A missing value becomes the training median first. Columns that do not vary within a batch stay
    as they are.
    """

    columns: tuple[str, ...]
    medians: np.ndarray
    combat: Combat

    @classmethod
    def fitted(
        cls, dataset: Dataset, *, mean_only: bool = False, reference: str | None = None
    ) -> BatchCorrection:
        """Fit on these patients, with hospital and kernel as batches.

        Neither label nor covariates take part.

        Raises
        ------
        HarmonisationError
            A batch has fewer than MINIMUM_BATCH patients, there is only one batch, or the reference
            is none of the batches.
        """
        batches = np.asarray(_batches(dataset))
        known = ~np.isnan(dataset.X).all(axis=0)
        medians = np.where(known, np.nanmedian(np.where(known, dataset.X, 0.0), axis=0), 0.0)
        x = np.where(np.isnan(dataset.X), medians, dataset.X)
        vary = np.min([x[batches == b].std(axis=0) for b in np.unique(batches)], axis=0) > 0
        columns = tuple(n for n, v in zip(dataset.feature_names, vary, strict=True) if v)
        return cls(
            columns,
            medians[vary],
            fit_combat(x[:, vary], batches.tolist(), reference=reference, mean_only=mean_only),
        )

    def apply(self, dataset: Dataset) -> Dataset:
        """The data set with the columns harmonised.

        DatasetError where a batch was not among the training patients.
        """
        place = [dataset.feature_names.index(n) for n in self.columns]
        x = dataset.X.copy()
        own = dataset.values_of(self.columns)
        try:
            x[:, place] = apply_combat(
                self.combat, np.where(np.isnan(own), self.medians, own), _batches(dataset)
            )
        except HarmonisationError as error:
            raise DatasetError(f"task {dataset.task.name}, harmonised: {error}") from error
        return replace(dataset, X=x)


def _batches(dataset: Dataset) -> tuple[str, ...]:
    if dataset.batches is None:
        raise DatasetError(
            f"task {dataset.task.name}, harmonised: the kernels of the scans are not there; "
            "hand over `kernels`"
        )
    return dataset.batches


@dataclass(frozen=True, eq=False)
class HarmonisedModel:
    """A linear model behind the correction that its training patients gave."""

    kind: ClassVar[str] = "combat_linear_logistic"
    correction: BatchCorrection
    linear: LinearModel

    def probabilities(self, dataset: Dataset) -> np.ndarray:
        """Probability of response of each row; DatasetError for a patient of an unknown batch."""
        return self.linear.probabilities(self.correction.apply(dataset))

    def tensors(self) -> dict[str, np.ndarray]:
        """Numbers of the correction, a batch by its place, and of the linear model."""
        c = self.correction.combat
        own = {
            "medians": self.correction.medians,
            "mean": c.mean,
            "coefficients": c.coefficients,
            "sd": c.sd,
        }
        own |= {f"shift/{i}": v for i, v in enumerate(c.shift.values())} | {
            f"scale/{i}": v for i, v in enumerate(c.scale.values())
        }
        return {f"combat/{k}": v for k, v in own.items()} | {
            f"linear/{k}": v for k, v in self.linear.tensors().items()
        }

    def config(self) -> dict[str, Any]:
        """Columns and batches, in order, and the linear model's facts."""
        combat = self.correction.combat
        return {
            "columns": list(self.correction.columns),
            "batches": [str(b) for b in combat.shift],
            "reference": combat.reference,
            "linear": self.linear.config(),
        }

    @classmethod
    def from_tensors(
        cls, tensors: Mapping[str, np.ndarray], config: Mapping[str, Any]
    ) -> HarmonisedModel:
        """The model that `tensors` and `config` were taken from."""
        own = {
            part: {
                k.removeprefix(f"{part}/"): v
                for k, v in tensors.items()
                if k.startswith(f"{part}/")
            }
            for part in ("combat", "linear")
        }
        c = own["combat"]
        shift, scale = (
            {b: c[f"{part}/{i}"] for i, b in enumerate(config["batches"])}
            for part in ("shift", "scale")
        )
        correction = BatchCorrection(
            tuple(config["columns"]),
            c["medians"],
            Combat(c["mean"], c["coefficients"], c["sd"], shift, scale, config.get("reference")),
        )
        return cls(correction, LinearModel.from_tensors(own["linear"], config["linear"]))


@dataclass(frozen=True)
class Harmonised:
    """A `learners.Learner`: the elastic net on radiomic columns behind a correction.

    The correction is fitted on the same training patients.

    The inner folds share that correction: it sees no label, so what they choose is not flattered by
    one.
    """

    name: str = NAME
    blocks: tuple[str, ...] = (RADIOMICS,)
    negative_control: bool = False
    mean_only: bool = False
    reference: str | None = None

    def fit(self, dataset: Dataset, section: Section, seed: int) -> Fit:
        """Fit the correction, then the elastic net on corrected values."""
        correction = BatchCorrection.fitted(
            dataset, mean_only=self.mean_only, reference=self.reference
        )
        fit = Baseline(self.name, self.blocks, "elastic_net").fit(
            correction.apply(dataset), section, seed
        )
        assert isinstance(fit.model, LinearModel)
        counts = Counter(_batches(dataset))
        return replace(
            fit,
            model=HarmonisedModel(correction, fit.model),
            chosen=fit.chosen
            | {"batches": float(len(counts)), "batch_smallest": float(min(counts.values()))},
        )


def harmonised_learners(section: Section) -> list[Harmonised]:
    """Baseline radiomics and their changes behind ComBat, where `harmonise` asks for it."""
    if section["harmonise"] not in KINDS:
        return []
    mean_only, reference = KINDS[section["harmonise"]], section["harmonise_reference"] or None
    return [
        Harmonised(name, (block,), mean_only=mean_only, reference=reference)
        for name, block in ((NAME, RADIOMICS), (OF_CHANGES, DELTA))
    ]


def refusal(dataset: Dataset, section: Section) -> str | None:
    """Why ComBat cannot be fitted in every training fold of the protocol's seed, or None."""
    if dataset.batches is None:
        return "the kernels of the scans are not known"
    fold = stratified_folds(
        dataset.patients,
        dataset.sites,
        dataset.y,
        folds=section["folds"],
        seed=section["seed"],
        scope=f"task {dataset.task.name}, outer folds",
    )
    batches = np.asarray(dataset.batches)
    counts = {
        b: min(int(((batches == b) & (fold != k)).sum()) for k in np.unique(fold))
        for b in np.unique(batches)
    }
    small = sorted(str(b) for b, n in counts.items() if n < MINIMUM_BATCH)
    if small:
        return (
            f"ComBat refused: fewer than {MINIMUM_BATCH} training patients in {len(small)} of "
            f"{len(counts)} batches of hospital and kernel, first {small[0]}"
        )
    reference = section["harmonise_reference"]
    if reference and reference not in counts:
        return (
            f"ComBat refused: [model].harmonise_reference is {reference!r}, "
            f"and the batches are {', '.join(sorted(counts))}"
        )
    return "ComBat refused: a single batch of hospital and kernel" if len(counts) < 2 else None

"""ComBat over hospitals that share sums alone: the fit of all lesions together.

Two rounds, then a step at each hospital (Chen et al. 2022, distributed ComBat):

1. `Design`: sums of the least squares of each feature on batches and covariates.
2. `Residuals`: sums of squared residuals about that fit, for the standard deviations.
3. `fit_own_batches`: shift and scale of a batch follow from its own lesions.

A batch is of one hospital. A hospital has the parameters of its own batches and of no others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dagster_project.federated.fixed_point import Floats
from dagster_project.federated.refusals import NotFinite, UnknownGroup
from dagster_project.federated.rows import as_table, check_units, same_rows
from dagster_project.radiomics.harmonisation import (
    MINIMUM_BATCH,
    Batch,
    Combat,
    HarmonisationError,
    fit_batch,
)


@dataclass(frozen=True)
class Lesions:
    """A hospital's lesions: features (n, features), their batches, covariates (n, covariates)."""

    values: Floats
    batches: Sequence[Batch]
    covariates: Floats


@dataclass(frozen=True)
class Level:
    """What all hospitals have after the first round, in the plan's units.

    `offsets` (batches, features) and `slopes` (covariates, features) of the least squares, the
    number of lesions of each batch, and the level α (features).
    """

    offsets: Floats
    slopes: Floats
    counts: Floats
    mean: Floats


@dataclass(frozen=True)
class Design:
    """Sums for the least squares of features on batch indicators and covariates.

    Features are taken about `centres` in `units`, so that the sums lose nothing to their fixed
    point; covariates should be near 0 and 1 in size.
    """

    batches: tuple[Batch, ...]
    centres: tuple[float, ...]
    units: tuple[float, ...]
    covariates: int = 0
    reference: Batch | None = None
    minimum: int = MINIMUM_BATCH

    def __post_init__(self) -> None:
        """Refuse units that are none."""
        check_units(self.units)

    @property
    def terms(self) -> int:
        """Batches and covariates."""
        return len(self.batches) + self.covariates

    @property
    def length(self) -> int:
        """Values of a vector: X'X and X'y."""
        return self.terms * (self.terms + len(self.centres))

    def scaled(self, lesions: Lesions) -> tuple[Floats, Floats]:
        """Design matrix (n, terms) and features in the plan's units.

        Raises
        ------
        UnknownGroup
            Where a batch is not in the plan.
        NotFinite
            Where a feature or covariate is no number.
        """
        unknown = sum(batch not in self.batches for batch in lesions.batches)
        if unknown:
            raise UnknownGroup(unknown)
        member = [[batch == name for name in self.batches] for batch in lesions.batches]
        indicators = np.array(member, dtype=np.float64).reshape(-1, len(self.batches))
        extra = as_table(lesions.covariates, self.covariates)
        values = as_table(lesions.values, len(self.centres))
        same_rows(lesions.batches, extra, values)
        together = np.hstack([values, extra])
        broken = np.flatnonzero(~np.isfinite(together).all(axis=0))
        if broken.size:
            raise NotFinite(broken.tolist())
        return np.hstack([indicators, extra]), (values - self.centres) / self.units

    def vector(self, lesions: Lesions) -> Floats:
        """A hospital's vector."""
        design, values = self.scaled(lesions)
        return np.hstack([design.T @ design, design.T @ values]).ravel()

    def read(self, total: Floats) -> Level:
        """The least squares of all lesions.

        Raises
        ------
        HarmonisationError
            Where a batch is too small, or covariates repeat each other or the batches.
        """
        sums = total.reshape(self.terms, -1)
        gram, products = sums[:, : self.terms], sums[:, self.terms :]
        counts = np.rint(np.diag(gram)[: len(self.batches)])
        self._check(counts)
        solved, _, rank, _ = np.linalg.lstsq(gram, products, rcond=2.0**-20)
        found = solved.astype(np.float64)
        if rank < self.terms:
            raise HarmonisationError(
                "the covariates repeat each other or the batches: "
                "leave out those that a batch already tells"
            )
        offsets, slopes = found[: len(self.batches)], found[len(self.batches) :]
        mean = (
            counts / counts.sum() @ offsets
            if self.reference is None
            else offsets[self.batches.index(self.reference)]
        )
        return Level(offsets, slopes, counts, mean)

    def _check(self, counts: Floats) -> None:
        least = max(self.minimum, 2)
        small = sorted(
            str(b) for b, n in zip(self.batches, counts.tolist(), strict=True) if n < least
        )
        if small:
            raise HarmonisationError(
                f"fewer than {least} lesions in the batches {', '.join(small)}: "
                "leave ComBat out for them"
            )
        if len(self.batches) < 2 or len(self.centres) < 2:
            raise HarmonisationError("ComBat needs two batches and two features or more")
        if self.reference is not None and self.reference not in self.batches:
            raise HarmonisationError(f"the reference {self.reference} is not among the batches")


@dataclass(frozen=True)
class Residuals:
    """Sums of squared residuals about the least squares, of all lesions or the reference's."""

    design: Design
    level: Level

    @property
    def length(self) -> int:
        """Values of a vector: one a feature."""
        return len(self.design.centres)

    def vector(self, lesions: Lesions) -> Floats:
        """A hospital's vector.

        Raises
        ------
        HarmonisationError
            Where a feature does not vary within a batch of this hospital.
        """
        matrix, values = self.design.scaled(lesions)
        residuals = values - matrix @ np.vstack([self.level.offsets, self.level.slopes])
        _refuse_constant(residuals, lesions.batches)
        reference = self.design.reference
        taken = [reference is None or batch == reference for batch in lesions.batches]
        return (residuals[np.array(taken, dtype=bool)] ** 2).sum(axis=0)

    def read(self, total: Floats) -> Floats:
        """Standard deviations of the features (features,), in the plan's units.

        Raises
        ------
        HarmonisationError
            Where one is 0.
        """
        design, counts = self.design, self.level.counts
        n = (
            counts.sum()
            if design.reference is None
            else counts[design.batches.index(design.reference)]
        )
        constant = np.flatnonzero(~(total > 0))
        if constant.size:
            raise HarmonisationError(
                f"the feature columns {constant.tolist()} do not vary: leave them out"
            )
        return np.sqrt(total / n)


def _refuse_constant(residuals: Floats, batches: Sequence[Batch]) -> None:
    for name in dict.fromkeys(batches):
        own = residuals[np.array([batch == name for batch in batches])]
        constant = np.flatnonzero(~(np.ptp(own, axis=0) > 0))
        if constant.size:
            raise HarmonisationError(
                f"the feature columns {constant.tolist()} do not vary within a batch: "
                "leave them out"
            )


def fit_own_batches(
    design: Design, level: Level, sd: Floats, lesions: Lesions, *, mean_only: bool = False
) -> Combat:
    """A hospital's ComBat: the level and spread of all lesions, shift and scale of its batches.

    Parameters
    ----------
    design, level, sd
        Of the two rounds.
    lesions
        The hospital's own, those that the sums are of.
    mean_only
        As in `radiomics.harmonisation.fit_combat`.

    Returns
    -------
    Combat
        In the features' own units; to be applied to lesions of these batches alone.

    Raises
    ------
    HarmonisationError
        Where the estimates do not converge.
    """
    matrix, values = design.scaled(lesions)
    extra = matrix[:, len(design.batches) :]
    standard = (values - level.mean - extra @ level.slopes) / sd
    pairs = {
        name: _batch(design, name, standard[rows], mean_only=mean_only)
        for name, rows in _rows(lesions.batches).items()
    }
    centres, units = np.array(design.centres), np.array(design.units)
    return Combat(
        centres + units * level.mean,
        units * level.slopes,
        units * sd,
        {name: shift for name, (shift, _) in pairs.items()},
        {name: scale for name, (_, scale) in pairs.items()},
        design.reference,
    )


def _batch(
    design: Design, name: Batch, standard: Floats, *, mean_only: bool
) -> tuple[Floats, Floats]:
    """The reference stays as it is."""
    if name == design.reference:
        return np.zeros(standard.shape[1]), np.ones(standard.shape[1])
    return fit_batch(standard, mean_only=mean_only)


def _rows(batches: Sequence[Batch]) -> dict[Batch, npt.NDArray[np.bool_]]:
    return {name: np.array([b == name for b in batches]) for name in dict.fromkeys(batches)}

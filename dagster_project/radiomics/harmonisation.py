"""ComBat: removes effects of site and kernel from features, as a sensitivity analysis.

It is fitted on training lesions alone.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Values: TypeAlias = NDArray[np.float64]
Batch: TypeAlias = Hashable
"""A batch: (site, kernel)."""

MINIMUM_BATCH = 20
"""Lesions that a batch needs; the shrinkage of fewer is based on the prior alone."""

CONVERGED = 1e-4
"""Largest relative step of the empirical Bayes estimates at which the iteration ends.

As in Johnson's own code.
"""

LARGEST_ITERATIONS = 1000
"""The iteration contracts; if it has not ended after so many steps, the values are at fault."""


class HarmonisationError(ValueError):
    """Batches or features that prevent a fit or its use.

    It names them by position and batch, never by value.
    """


@dataclass(frozen=True)
class Combat:
    """A fitted ComBat: y = α + Xβ + γ_batch + δ_batch ε, one column per feature.

    `reference` is the batch that all others are brought to.
    """

    mean: Values
    coefficients: Values
    sd: Values
    shift: Mapping[Batch, Values]
    scale: Mapping[Batch, Values]
    reference: Batch | None


def fit_combat(
    values: Values,
    batches: Sequence[Batch],
    covariates: Values | None = None,
    *,
    reference: Batch | None = None,
    mean_only: bool = False,
    minimum: int = MINIMUM_BATCH,
) -> Combat:
    """Parametric empirical Bayes of Johnson, Li and Rabinovic 2007, on training lesions.

    1. Refused: values that are no numbers, a batch of fewer than `minimum` lesions, a single batch,
       an unknown reference, a feature that does not vary within the batches.
    2. Least squares of each feature on batch indicators and covariates; α is the mean of the batch
       terms weighted by the batches' sizes, or the reference's; σ² the mean square of the
       residuals, of all lesions or the reference's.
    3. z = (y − α − Xβ) / σ; γ̂ and δ̂² are mean and variance of z in each batch.
    4. γ and δ² are shrunk towards the batch's mean over the features (normal and inverse gamma
       prior by moments). With `mean_only` δ is 1, and γ is shrunk as R's sva does it: as if the
       batch had one lesion.

    The response has no place among the covariates: harmonised values would carry it into the test
    patients (Nieto 2024). Without it, ComBat may take away part of a true difference between sites.

    Parameters
    ----------
    values
        (lesions, features), complete; at least two features.
    batches
        Of each lesion (site, kernel).
    covariates
        (lesions, covariates), known at baseline.
    reference
        Batch that all others are brought to, and that stays as it is; without one all are brought
        to their mean.
    mean_only
        Batches differ in their level alone, not in their spread: for features whose spread is the
        biology that is looked for.

    Raises
    ------
    HarmonisationError
    """
    names = _check(values, batches, reference, minimum)
    member = np.array([[b == name for name in names] for b in batches])
    extra = (
        np.zeros((len(values), 0))
        if covariates is None
        else np.asarray(covariates, dtype=np.float64)
    )
    terms = _least_squares(np.hstack([member.astype(np.float64), extra]), values)
    offsets, slopes = terms[: len(names)], terms[len(names) :]
    within = (
        member[:, names.index(reference)]
        if reference is not None
        else np.ones(len(values), dtype=bool)
    )
    mean = (
        offsets[names.index(reference)] if reference is not None else member.mean(axis=0) @ offsets
    )
    residuals = values - member @ offsets - extra @ slopes
    sd = np.sqrt(np.mean(residuals[within] ** 2, axis=0))
    _refuse_constant(sd, residuals, member)
    standard = (values - mean - extra @ slopes) / sd
    still = np.zeros_like(mean), np.ones_like(mean)
    pairs = {
        b: still
        if reference is not None and b == reference
        else fit_batch(standard[m], mean_only=mean_only)
        for b, m in zip(names, member.T, strict=True)
    }
    return Combat(
        mean,
        slopes,
        sd,
        {b: shift for b, (shift, _) in pairs.items()},
        {b: scale for b, (_, scale) in pairs.items()},
        reference,
    )


def apply_combat(
    fitted: Combat, values: Values, batches: Sequence[Batch], covariates: Values | None = None
) -> Values:
    """(y − α − Xβ)/σ less its batch's γ, over its δ, times σ, plus α + Xβ.

    Nothing is estimated from these lesions. Those of the reference batch stay as they are. A batch
    that the fit has not seen has no parameters.

    Raises
    ------
    HarmonisationError
        An unknown batch, or covariates that are not those of the fit.
    """
    unknown = sorted({str(b) for b in batches if b not in fitted.shift})
    if unknown:
        raise HarmonisationError(
            f"no parameters for the batches {', '.join(unknown)}: leave ComBat out for them, "
            "or fit with lesions of theirs"
        )
    extra = (
        np.zeros((len(values), 0))
        if covariates is None
        else np.asarray(covariates, dtype=np.float64)
    )
    if extra.shape[1] != len(fitted.coefficients):
        raise HarmonisationError(
            f"{extra.shape[1]} covariates, but the fit had {len(fitted.coefficients)}"
        )
    if not len(values):
        return np.array(values, dtype=np.float64)
    level = fitted.mean + extra @ fitted.coefficients
    shift, scale = (
        np.stack([of_batch[b] for b in batches]) for of_batch in (fitted.shift, fitted.scale)
    )
    harmonised = ((values - level) / fitted.sd - shift) / np.sqrt(scale) * fitted.sd + level
    untouched = np.array([fitted.reference is not None and b == fitted.reference for b in batches])
    return np.where(untouched[:, None], values, harmonised)


def _check(
    values: Values, batches: Sequence[Batch], reference: Batch | None, minimum: int
) -> list[Batch]:
    """The batches in order of their first lesion."""
    names = list(dict.fromkeys(batches))
    if values.ndim != 2 or values.shape[1] < 2 or len(values) != len(batches):
        raise HarmonisationError(
            "values must be lesions by two or more features, with one batch per lesion"
        )
    lacking = np.flatnonzero(~np.isfinite(values).all(axis=0))
    if lacking.size:
        raise HarmonisationError(
            f"values that are no numbers in the feature columns {lacking.tolist()}: "
            "leave them out or impute first"
        )
    small = sorted(str(name) for name in names if sum(b == name for b in batches) < max(minimum, 2))
    if small:
        raise HarmonisationError(
            f"fewer than {max(minimum, 2)} lesions in the batches {', '.join(small)}: "
            "leave ComBat out for them"
        )
    if len(names) < 2:
        raise HarmonisationError("a single batch: there is nothing to harmonise")
    if reference is not None and reference not in names:
        raise HarmonisationError(f"the reference {reference} is not among the batches")
    return names


def _least_squares(design: Values, values: Values) -> Values:
    found, _, rank, _ = np.linalg.lstsq(design, values, rcond=None)
    if rank < design.shape[1]:
        raise HarmonisationError(
            "the covariates repeat each other or the batches: "
            "leave out those that a batch already tells"
        )
    return np.asarray(found, dtype=np.float64)


def _refuse_constant(sd: Values, residuals: Values, member: NDArray[np.bool_]) -> None:
    spread = np.min([residuals[m].std(axis=0) for m in member.T], axis=0)
    constant = np.flatnonzero(~(np.minimum(spread, sd) > 0))
    if constant.size:
        raise HarmonisationError(
            f"the feature columns {constant.tolist()} do not vary within a batch: leave them out"
        )


def fit_batch(standard: Values, *, mean_only: bool = False) -> tuple[Values, Values]:
    """γ and δ² of one batch: step 4 of `fit_combat`, which needs no other batch's lesions.

    Parameters
    ----------
    standard
        z of the batch (lesions, features), at least two of each.
    mean_only
        As in `fit_combat`.

    Returns
    -------
    tuple of arrays (features,)

    Raises
    ------
    HarmonisationError
        Where the estimates do not converge.
    """
    return _shrink_level(standard) if mean_only else _shrink(standard)


def _shrink_level(z: Values) -> tuple[Values, Values]:
    """γ = (τ² γ̂ + γ̄) / (τ² + 1), and δ² = 1."""
    means = z.mean(axis=0)
    prior_variance = means.var(ddof=1)
    return (prior_variance * means + means.mean()) / (prior_variance + 1), np.ones_like(means)


def _shrink(z: Values) -> tuple[Values, Values]:
    """γ and δ² of a batch as posterior modes, iterated until they converge.

    γ = (n τ² γ̂ + δ² γ̄) / (n τ² + δ²), δ² = (θ + ½ Σ (z − γ)²) / (n/2 + λ − 1).
    """
    n, means, variances = len(z), z.mean(axis=0), z.var(axis=0, ddof=1)
    prior_mean, prior_variance = means.mean(), means.var(ddof=1)
    m, s2 = variances.mean(), variances.var(ddof=1)
    shape, rate = (2 * s2 + m**2) / s2, (m * s2 + m**3) / s2
    shift, scale = means, variances
    for _ in range(LARGEST_ITERATIONS):
        new_shift = (n * prior_variance * means + scale * prior_mean) / (n * prior_variance + scale)
        new_scale = (rate + ((z - new_shift) ** 2).sum(axis=0) / 2) / (n / 2 + shape - 1)
        step = max(
            float(np.max(np.abs(new - old) / np.abs(old)))
            for new, old in ((new_shift, shift), (new_scale, scale))
        )
        shift, scale = new_shift, new_scale
        if step <= CONVERGED:
            return shift, scale
    raise HarmonisationError(
        "the estimates do not settle: look for features that are copies of each other"
    )

"""ComBat from sums is ComBat of all lesions together."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dagster_project.federated.combat import Design, Lesions, Residuals, fit_own_batches
from dagster_project.federated.refusals import NotFinite, RowsApart, UnknownGroup
from dagster_project.radiomics.harmonisation import HarmonisationError, apply_combat, fit_combat
from tests.federated.splits import secure_total

CENTRES, UNITS = (60.0, 0.3, -2000.0, 8.0), (12.0, 0.05, 400.0, 2.0)


def cohort(seed, hospitals, covariates):
    """Lesions of each hospital, of one or two kernels."""
    random = np.random.default_rng(seed)
    found = []
    for h in range(hospitals):
        n = int(random.integers(25, 40)) * 2
        batches = [(f"S{h}", f"K{i % 2 if h % 2 else 0}") for i in range(n)]
        z = random.normal(0.3 * h, 1 + 0.1 * h, (n, len(CENTRES)))
        extra = random.normal(0, 1, (n, covariates))
        z += extra @ random.normal(0, 0.2, (covariates, len(CENTRES)))
        found.append(Lesions(CENTRES + UNITS * z, batches, extra))
    return found


def federated(lesions, design, *, mean_only=False):
    level = design.read(secure_total(design.vector(part) for part in lesions))
    residuals = Residuals(design, level)
    sd = residuals.read(secure_total(residuals.vector(part) for part in lesions))
    return [fit_own_batches(design, level, sd, part, mean_only=mean_only) for part in lesions]


def design_of(lesions, **changes):
    batches = tuple(dict.fromkeys(b for part in lesions for b in part.batches))
    return Design(batches, CENTRES, UNITS, lesions[0].covariates.shape[1], **changes)


@settings(max_examples=15)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([3, 8]),
    st.integers(0, 2),
    st.booleans(),
    st.booleans(),
)
def test_every_hospital_has_the_fit_of_all_lesions(seed, hospitals, covariates, mean_only, first):
    lesions = cohort(seed, hospitals, covariates)
    values, extra = (np.vstack([getattr(p, n) for p in lesions]) for n in ("values", "covariates"))
    batches = [b for part in lesions for b in part.batches]
    reference = batches[0] if first else None
    pooled = fit_combat(values, batches, extra, reference=reference, mean_only=mean_only)
    found = federated(lesions, design_of(lesions, reference=reference), mean_only=mean_only)
    for part, fitted in zip(lesions, found, strict=True):
        np.testing.assert_allclose((fitted.mean - pooled.mean) / UNITS, 0, atol=1e-5)
        np.testing.assert_allclose(fitted.sd, pooled.sd, rtol=1e-5)
        assert set(fitted.shift) == set(part.batches)
        ours = apply_combat(fitted, part.values, part.batches, part.covariates)
        theirs = apply_combat(pooled, part.values, part.batches, part.covariates)
        # both iterate shift and scale until a step is below 1e-4
        np.testing.assert_allclose((ours - theirs) / UNITS, 0, atol=1e-3)


def test_without_shrinkage_between_them_the_agreement_is_that_of_the_fixed_point():
    lesions = cohort(4, 3, 1)
    values, extra = (np.vstack([getattr(p, n) for p in lesions]) for n in ("values", "covariates"))
    pooled = fit_combat(values, [b for p in lesions for b in p.batches], extra, mean_only=True)
    for fitted in federated(lesions, design_of(lesions), mean_only=True):
        for batch, shift in fitted.shift.items():
            np.testing.assert_allclose(shift, pooled.shift[batch], atol=1e-5)


def test_what_all_lesions_would_refuse_is_refused():
    lesions = cohort(1, 3, 1)
    design = design_of(lesions)
    with pytest.raises(HarmonisationError, match=r"fewer than 500 lesions"):
        federated(lesions, dataclasses.replace(design, minimum=500))
    with pytest.raises(HarmonisationError, match="reference"):
        federated(lesions, dataclasses.replace(design, reference=("S9", "K0")))
    for part in lesions:
        part.covariates[:] = [[b[0] == "S1"] for b in part.batches]
    with pytest.raises(HarmonisationError, match="repeat each other"):
        federated(lesions, design)


def test_a_feature_that_does_not_vary_within_a_batch_is_refused_where_it_is():
    lesions = cohort(1, 3, 0)
    lesions[1].values[:, 2] = 7.0
    with pytest.raises(HarmonisationError, match=r"\[2\] do not vary"):
        federated(lesions, design_of(lesions))


def test_unknown_batches_and_missing_values_are_refused_before_anything_is_sent():
    lesions = cohort(1, 3, 0)
    design = design_of(lesions)
    with pytest.raises(UnknownGroup, match=f"{len(lesions[0].batches)} rows"):
        dataclasses.replace(design, batches=design.batches[1:]).vector(lesions[0])
    lesions[0].values[3, 1] = np.nan
    with pytest.raises(NotFinite, match=r"\[1\]"):
        design.vector(lesions[0])


def test_batches_of_fewer_lesions_than_there_are_are_refused():
    lesions = cohort(1, 3, 0)
    shorter = dataclasses.replace(lesions[0], batches=lesions[0].batches[:1])
    with pytest.raises(RowsApart):
        design_of(lesions).vector(shorter)

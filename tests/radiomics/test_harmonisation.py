"""ComBat against its authors' Python code, and what it refuses."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from neuroCombat import neuroCombat

from dagster_project.radiomics.harmonisation import HarmonisationError, apply_combat, fit_combat

BATCHES = [("AA", "B30f")] * 25 + [("AA", "B70f")] * 22 + [("BB", "B30f")] * 31


def draw(seed=3, n_features=40):
    """Features whose level depends on batch and age, and whose spread depends on batch.

    They have single precision, to which neuroCombat rounds its input.
    """
    rng = np.random.default_rng(seed)
    age = rng.normal(60, 9, len(BATCHES))
    number = np.array([sorted(set(BATCHES)).index(b) for b in BATCHES])
    levels, spreads = rng.normal(0, 2, (3, n_features)), rng.gamma(6, 0.2, (3, n_features))
    values = (
        5
        + 0.05 * age[:, None] * rng.normal(0, 1, n_features)
        + levels[number]
        + spreads[number] * rng.normal(0, 1, (len(age), n_features))
    )
    return values.astype(np.float32).astype(np.float64), age[:, None].astype(np.float32).astype(
        np.float64
    )


def published(values, age, reference, monkeypatch, *, mean_only=False):
    """neuroCombat's output; it was written before NumPy gave up `np.int`."""
    monkeypatch.setattr(np, "int", int, raising=False)
    who = pd.DataFrame({"batch": ["/".join(b) for b in BATCHES], "age": age[:, 0]})
    return neuroCombat(
        values.T.copy(),
        who,
        "batch",
        continuous_cols=["age"],
        ref_batch=reference and "/".join(reference),
        mean_only=mean_only,
    )["data"].T


@pytest.mark.parametrize("mean_only", [False, True], ids=["level and spread", "level alone"])
@pytest.mark.parametrize("reference", [None, ("AA", "B70f")])
def test_1_values_are_those_of_the_published_code(reference, mean_only, monkeypatch):
    values, age = draw()
    fitted = fit_combat(values, BATCHES, age, reference=reference, mean_only=mean_only)
    ours, theirs = (
        apply_combat(fitted, values, BATCHES, age),
        published(values, age, reference, monkeypatch, mean_only=mean_only),
    )
    assert np.abs(ours - theirs).max() < 1e-9 < np.abs(theirs - values).max()


def test_2_batches_have_one_level_and_spread_afterwards():
    values, age = draw()
    after = apply_combat(fit_combat(values, BATCHES, age), values, BATCHES, age)
    groups = [np.array([b == name for b in BATCHES]) for name in sorted(set(BATCHES))]

    def apart(v):
        return np.ptp([v[g].mean(axis=0) for g in groups], axis=0).mean()

    assert apart(after) < 0.2 * apart(values)


def test_3_a_test_lesion_is_harmonised_by_the_training_lesions_alone():
    """Its value does not depend on who is harmonised beside it, and the fit does not see it."""
    values, age = draw()
    fitted = fit_combat(values, BATCHES, age)
    new, new_age = values[:6] * 3 + 1, age[:6]
    together = apply_combat(fitted, new, BATCHES[:6], new_age)
    alone = [
        apply_combat(fitted, new[i : i + 1], BATCHES[i : i + 1], new_age[i : i + 1])[0]
        for i in range(6)
    ]
    np.testing.assert_allclose(together, alone, rtol=1e-12)
    assert apply_combat(fitted, values[:0], [], age[:0]).shape == (0, values.shape[1])


def test_4_the_reference_stays_as_it_is():
    values, age = draw()
    reference = ("BB", "B30f")
    after = apply_combat(
        fit_combat(values, BATCHES, age, reference=reference), values, BATCHES, age
    )
    own = np.array([b == reference for b in BATCHES])
    assert np.array_equal(after[own], values[own])
    assert not np.allclose(after[~own], values[~own])


def test_5_a_batch_without_parameters_is_refused():
    values, age = draw()
    with pytest.raises(HarmonisationError, match=r"no parameters for the batches \('CC', 'B30f'\)"):
        apply_combat(
            fit_combat(values, BATCHES, age), values[:2], [("CC", "B30f"), BATCHES[0]], age[:2]
        )


def spoil(values, row, column, value):
    changed = values.copy()
    changed[row, column] = value
    return changed


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda v, a, b: (v[:50], b[:50], a[:50]),
            r"fewer than 20 lesions in the batches \('BB', 'B30f'\)",
        ),
        (lambda v, a, b: (v[:25], b[:25], a[:25]), "a single batch"),
        (
            lambda v, a, b: (spoil(v, 3, 7, np.nan), b, a),
            r"no numbers in the feature columns \[7\]",
        ),
        (
            lambda v, a, b: (spoil(v, slice(None), 4, 1.0), b, a),
            r"feature columns \[4\] do not vary",
        ),
        (
            lambda v, _, b: (v, b, np.array([[x[0] == "AA"] for x in b], dtype=float)),
            "repeat each other or the batches",
        ),
    ],
    ids=["small batch", "one batch", "not a number", "constant", "batch told twice"],
)
def test_6_what_cannot_be_fitted_is_refused(change, message):
    values, batches, covariates = change(*draw(), BATCHES)
    with pytest.raises(HarmonisationError, match=message):
        fit_combat(values, batches, covariates)


def test_7_an_unknown_reference_and_foreign_covariates_are_refused():
    values, age = draw()
    with pytest.raises(HarmonisationError, match="is not among the batches"):
        fit_combat(values, BATCHES, age, reference=("CC", "B30f"))
    with pytest.raises(HarmonisationError, match="0 covariates, but the fit had 1"):
        apply_combat(fit_combat(values, BATCHES, age), values, BATCHES)

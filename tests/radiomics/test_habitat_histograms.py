"""Habitats told from words are those of the voxels, at the grain of the grid."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dagster_project.flow.habitats import habitat_settings
from dagster_project.radiomics.habitat_codebook import (
    CodebookError,
    LocalFeatures,
    assign_habitats,
    check_fold,
    fit_codebook,
    nearest_habitats,
)
from dagster_project.radiomics.habitat_histograms import (
    HistogramGrid,
    count_bins,
    fit_histogram_codebook,
    measure_histograms,
    stack_histograms,
)
from dagster_project.radiomics.habitat_measures import measure_habitats
from dagster_project.study import load_study

GRID = HistogramGrid.of(load_study().section("habitat_histogram"))
SETTINGS = habitat_settings(load_study()) | {"lesions_minimum": 2}


def lesion(seed: int, size: int = 9) -> LocalFeatures:
    """A box with a hole and a ragged rim, of smooth tissue with noise."""
    rng = np.random.default_rng(seed)
    mask = rng.random((size, size, size)) < 0.8
    axis = np.linspace(-1, 1, size)
    field = (
        80 * axis[:, None, None]
        + 60 * axis[None, :, None] * rng.normal()
        + rng.normal(0, 12, mask.shape)
    )[mask]
    spread = np.abs(25 + 20 * axis[None, None, :] * np.ones(mask.shape))[mask] + rng.gamma(
        2, 4, field.size
    )
    return LocalFeatures(
        mask, field, np.round(np.stack([field - np.median(field), spread], axis=1), 1)
    )


LESIONS = [lesion(seed) for seed in range(8)]
WORDS = stack_histograms(GRID, [count_bins(one, GRID) for one in LESIONS])
WHO = [f"P{k // 2}" for k in range(8)]
CODEBOOK = fit_histogram_codebook(WORDS, WHO, set(WHO), SETTINGS, "fold")


def test_1_a_word_is_the_cell_that_holds_the_voxel() -> None:
    found = GRID.words_of(GRID.centres)
    assert found.tolist() == list(range(1, GRID.count + 1))
    assert GRID.words_of(np.array([[-999.0, 0.0], [999.0, 999.0]])).tolist() == [1, GRID.count]


@given(st.integers(0, 10_000))
@settings(max_examples=15, deadline=None)
def test_2_adding_words_up_is_measuring_the_voxels_that_they_label(seed: int) -> None:
    """Oracle: `measure_habitats` on a map in which each voxel has the habitat of its word."""
    local = lesion(seed, size=6)
    label = nearest_habitats(GRID.centres, CODEBOOK) + 1
    codes = np.zeros(local.mask.shape, np.uint8)
    codes[local.mask] = label[GRID.words_of(local.features) - 1]
    wanted, found = (
        measure_habitats(codes, local, CODEBOOK),
        measure_histograms(count_bins(local, GRID), CODEBOOK),
    )
    for i in range(6):
        for j in range(max(i, 1), 6):
            assert (
                found.contacts[0, i, j]
                == found.contacts[0, j, i]
                == pytest.approx(wanted[f"msi_{i}_{j}"])
            )
    assert found.shares[0].tolist() == pytest.approx([wanted[f"fraction_{k}"] for k in range(1, 6)])
    middle = GRID.centres[GRID.words_of(local.features) - 1]
    for k in range(1, 6):
        mine = middle[codes[local.mask] == k]
        assert found.features[0, k - 1].tolist() == pytest.approx(
            mine.mean(axis=0).tolist() if mine.size else [np.nan] * 2, nan_ok=True
        )


def test_3_a_codebook_of_words_is_nearly_that_of_voxels() -> None:
    whole = fit_codebook(
        {(who, "T0", f"L{k}"): one for k, (who, one) in enumerate(zip(WHO, LESIONS, strict=True))},
        SETTINGS,
        SETTINGS["seed"],
        "cohort",
    )
    assert np.array(CODEBOOK.scale) == pytest.approx(whole.scale, rel=0.05)
    shares = measure_histograms(WORDS, whole).shares
    for one, mine in zip(LESIONS, shares, strict=True):
        codes = assign_habitats(one, whole)[one.mask]
        assert mine == pytest.approx(np.bincount(codes, minlength=6)[1:] / codes.size, abs=0.06)


def test_4_the_order_of_lesions_does_not_matter_and_the_density_orders_the_habitats() -> None:
    order = [5, 2, 7, 0, 1, 3, 6, 4]
    again = fit_histogram_codebook(
        stack_histograms(GRID, [count_bins(LESIONS[k], GRID) for k in order]),
        [WHO[k] for k in order],
        set(WHO),
        SETTINGS,
        "fold",
    )
    assert again.fingerprint == CODEBOOK.fingerprint
    assert [c[0] for c in CODEBOOK.centres] == sorted(c[0] for c in CODEBOOK.centres)


def test_5_words_are_bound_to_the_patients_of_the_fold() -> None:
    check_fold(CODEBOOK, WHO)
    with pytest.raises(CodebookError, match="other patients"):
        check_fold(CODEBOOK, [*WHO, "P9"])
    with pytest.raises(CodebookError, match="outside the fold"):
        fit_histogram_codebook(WORDS, WHO, {"P0"}, SETTINGS, "fold")
    with pytest.raises(CodebookError, match="8 lesions and visits of at least 9"):
        fit_histogram_codebook(WORDS, WHO, set(WHO), SETTINGS | {"lesions_minimum": 9}, "fold")
    assert (
        fit_histogram_codebook(WORDS, WHO, {*WHO, "P9"}, SETTINGS, "fold").n_patients
        == CODEBOOK.n_patients
        == 4
    )


def test_6_rows_taken_are_those_lesions() -> None:
    rows = np.array([False, True, False, True, True, False, False, False])
    mine, wanted = (
        WORDS.take(rows),
        stack_histograms(GRID, [count_bins(LESIONS[k], GRID) for k in (1, 3, 4)]),
    )
    assert mine.digest == wanted.digest

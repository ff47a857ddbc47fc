"""A codebook makes habitats mean the same at every visit.

It is ordered, frozen, and bound to what it was fitted for.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given
from hypothesis import strategies as st

from dagster_project.flow.habitats import habitat_settings
from dagster_project.radiomics.habitat_codebook import (
    Codebook,
    CodebookError,
    LocalFeatures,
    assign_habitats,
    check_fold,
    fit_codebook,
    localise,
    read_codebook,
    write_codebook,
)
from dagster_project.radiomics.phantoms import Scan
from dagster_project.study import load_study
from tests.radiomics.conftest import as_ct, ball

SETTINGS = habitat_settings(load_study()) | {"lesions_minimum": 2}
LEVELS = (-120.0, -40.0, 0.0, 40.0, 90.0)


def lesion(seed: int, voxels: int = 600) -> LocalFeatures:
    """A bar of voxels around five densities, the spread the same everywhere."""
    rng = np.random.default_rng(seed)
    density = rng.choice(LEVELS, voxels) + rng.normal(0, 2, voxels)
    return LocalFeatures(
        np.ones((1, 1, voxels), bool),
        density,
        np.round(np.stack([density, np.full(voxels, 20.0)], axis=1), 1),
    )


SAMPLES = {("A", "T0", "L1"): lesion(1), ("A", "T1", "L1"): lesion(2), ("B", "T0", "L1"): lesion(3)}
CODEBOOK = fit_codebook(SAMPLES, SETTINGS, 1, "cohort")


def test_centres_are_found_and_lie_in_order_of_density() -> None:
    assert [c[0] for c in CODEBOOK.centres] == pytest.approx(LEVELS, abs=1.5)
    assert (CODEBOOK.n_lesions, CODEBOOK.n_patients, CODEBOOK.count) == (3, 2, 5)


@pytest.mark.parametrize("order", [[2, 0, 1], [1, 2, 0]])
def test_the_order_of_the_lesions_does_not_matter(order: list[int]) -> None:
    items = list(SAMPLES.items())
    assert (
        fit_codebook(dict(items[k] for k in order), SETTINGS, 1, "cohort").fingerprint
        == CODEBOOK.fingerprint
    )


def test_a_file_gives_the_codebook_back_and_shows_a_change(tmp_path: Path) -> None:
    file = tmp_path / "codebook.json"
    write_codebook(file, CODEBOOK)
    assert read_codebook(file) == CODEBOOK
    file.write_text(json.dumps(json.loads(file.read_text()) | {"clip_hu": 1.0}))
    with pytest.raises(CodebookError, match="was changed after it was fitted"):
        read_codebook(file)


def test_the_file_names_no_patient(tmp_path: Path) -> None:
    write_codebook(
        tmp_path / "codebook.json",
        fit_codebook(
            {("PSEUDONYM", v, "L1"): lesion(k) for k, v in enumerate("ab")}, SETTINGS, 1, "fold"
        ),
    )
    assert "PSEUDONYM" not in (tmp_path / "codebook.json").read_text()


def test_a_model_may_use_only_what_was_fitted_on_its_training_patients() -> None:
    fold = fit_codebook(SAMPLES, SETTINGS, 1, "fold")
    check_fold(fold, ["B", "A", "A"])
    with pytest.raises(CodebookError, match="other patients"):
        check_fold(fold, ["A", "B", "C"])
    with pytest.raises(CodebookError, match="whole cohort"):
        check_fold(CODEBOOK, ["A", "B"])


def test_too_few_lesions_or_voxels_give_no_codebook() -> None:
    with pytest.raises(CodebookError, match="1 lesions and visits of at least 2"):
        fit_codebook({("A", "T0", "L1"): lesion(1)}, SETTINGS, 1, "cohort")
    flat = LocalFeatures(np.ones((1, 1, 9), bool), np.zeros(9), np.zeros((9, 2)))
    with pytest.raises(CodebookError, match="fewer different voxels"):
        fit_codebook({("A", v, "L1"): flat for v in ("T0", "T1")}, SETTINGS, 1, "cohort")


@given(seed=st.integers(0, 2**16), shift=st.permutations(range(5)))
def test_each_voxel_goes_to_the_nearest_centre(seed: int, shift: list[int]) -> None:
    local = lesion(seed, 40)
    codes = assign_habitats(local, CODEBOOK)[local.mask]
    scaled, centres = (
        np.array(x) / np.array(CODEBOOK.scale) for x in (local.features, CODEBOOK.centres)
    )
    slow = [
        min(range(5), key=lambda k, p=p: float(np.sum((p - centres[k]) ** 2))) + 1 for p in scaled
    ]
    assert codes.tolist() == slow
    moved = replace(CODEBOOK, centres=tuple(CODEBOOK.centres[k] for k in shift))
    assert [shift[c - 1] + 1 for c in assign_habitats(local, moved)[local.mask]] == slow


def test_a_mirrored_scan_gives_the_mirrored_map(first_scan: Scan) -> None:
    local, codebook = localise(first_scan.image, first_scan.mask, SETTINGS), wide_codebook()
    assert local is not None
    mirrored = sitk.GetImageFromArray(
        sitk.GetArrayFromImage(first_scan.image)[::-1, :, ::-1].copy()
    )
    mirrored.SetSpacing(first_scan.image.GetSpacing())
    other = localise(mirrored, first_scan.mask[::-1, :, ::-1], SETTINGS)
    assert other is not None
    np.testing.assert_array_equal(
        assign_habitats(other, codebook)[::-1, :, ::-1], assign_habitats(local, codebook)
    )


def test_a_constant_added_to_the_scan_changes_nothing(first_scan: Scan) -> None:
    local, brighter = (
        localise(image, first_scan.mask, SETTINGS)
        for image in (first_scan.image, first_scan.image + 37)
    )
    assert local is not None
    assert brighter is not None
    np.testing.assert_array_equal(brighter.features, local.features)
    np.testing.assert_array_equal(brighter.values, local.values)


def test_features_of_a_lesion_of_two_halves() -> None:
    """The densities of the halves lie 40 above and 40 below the median.

    Far from the border the smoothed density is ± 40 about the median and nothing spreads.
    """
    values = np.where(np.indices((30, 30, 30))[2] < 15, 20.0, 100.0)
    local = localise(as_ct(values), ball((30, 30, 30), 11), SETTINGS)
    assert local is not None
    assert np.ptp(local.values) >= 80.0
    still = local.features[:, 1] == 0
    apart = np.ptp(local.features[still, 0])
    assert still.sum() > 100
    assert apart == pytest.approx(80.0, abs=0.2)


@pytest.mark.parametrize(
    "mask",
    [
        np.zeros((9, 9, 9), bool),
        np.eye(9, dtype=bool)[None].repeat(9, 0) & (np.arange(9) == 4)[:, None, None],
    ],
)
def test_a_mask_of_which_nothing_is_left_has_no_features(mask: np.ndarray) -> None:
    assert localise(as_ct(np.zeros((9, 9, 9))), mask, SETTINGS) is None


def wide_codebook() -> Codebook:
    return replace(
        CODEBOOK, centres=tuple((k * 15.0, 20.0) for k in range(-2, 3)), scale=(20.0, 10.0)
    )

"""How the shipped calibration was chosen: the stated criteria, on features of known behaviour."""

from __future__ import annotations

import tomllib

import numpy as np
import pytest

from dagster_project.radiomics.calibration_fit import (
    HISTOGRAM_FEATURES,
    N_LESIONS,
    VOLUMES_ML,
    Repeats,
    fit_repeatability,
    select_features,
    synthetic_lesions,
    write_limits,
    write_texture,
)
from dagster_project.radiomics.dhi_limits_fit import COMPONENTS
from dagster_project.radiomics.texture import DEFAULTS, read_defaults

RNG = np.random.default_rng(0)
N = 300
VOXELS = np.exp(RNG.uniform(np.log(400), np.log(30000), N))


def feature(repeat_error=0.05, reader_error=0.05, follows=None, size=0.0, at_size=0.0):
    """Scans and readers of a feature: its truth, what it follows, and its errors.

    The errors of the scans fall with size where `at_size` is set.
    """
    truth = RNG.normal(5, 1, N) if follows is None else follows + RNG.normal(0, 0.2, N)
    truth = truth + size * np.log(VOXELS)
    spread = repeat_error * VOXELS**-at_size
    return (
        truth[:, None] + RNG.normal(0, 1, (N, 3)) * spread[:, None],
        truth[:, None] + RNG.normal(0, reader_error, (N, 2)),
        truth,
    )


def repeats(**features):
    scans, readers = (np.stack([f[k] for f in features.values()], axis=2) for k in (0, 1))
    return Repeats(tuple(features), scans, readers, VOXELS)


def test_features_are_taken_by_repeatability_and_the_criteria_refuse_the_others():
    best = feature(0.01)
    found = repeats(
        glcm_A=feature(0.2),
        glcm_B=best,
        glcm_Twin=feature(0.02, follows=best[2]),
        glcm_Sized=feature(0.01, size=2.0),
        glcm_Reader=feature(0.01, reader_error=3.0),
        glcm_JointEnergy=feature(0.01),
        glcm_C=feature(0.5),
    )
    assert [found.names[j] for j in select_features(found)] == ["glcm_B", "glcm_A", "glcm_C"]


def test_no_more_than_twelve_are_taken():
    assert len(select_features(repeats(**{f"glcm_{i}": feature() for i in range(15)}))) == 12


def test_repeatability_is_a_power_of_size():
    _, slope = fit_repeatability(repeats(glcm_A=feature(0.5, at_size=0.4)), 0)
    assert slope == pytest.approx(-0.4, abs=0.08)


def test_what_is_written_can_be_read():
    found = repeats(glcm_A=feature(), glcm_B=feature())
    names = [f["name"] for f in tomllib.loads(write_texture(found, [1, 0]))["texture"]["features"]]
    assert names == ["glcm_B", "glcm_A"]
    pairs = [
        {f"null_{c}_{s}": RNG.gamma(2, v**-0.4, 10).tolist() for c in COMPONENTS for s in "ab"}
        | dict.fromkeys(COMPONENTS, 0.5)
        | {"volume_a_mm3": v, "volume_b_mm3": v}
        for v in np.geomspace(1000, 50000, 80)
    ]
    limits = tomllib.loads(write_limits(pairs, 0.95))
    assert limits["fallback"]["density"]["slope"] == pytest.approx(-0.4, abs=0.08)
    assert limits["fallback"]["volume_mm3"] == [1000.0, 50000.0]
    assert limits["limits"]["texture"] > 1


def test_the_shipped_file_has_all_sections_and_its_provenance():
    assert {"texture", "limits", "floor", "fallback"} == set(read_defaults())
    head = DEFAULTS.read_text(encoding="utf-8").split("[texture]")[0]
    assert f"{N_LESIONS} synthetic lesions of {VOLUMES_ML[0]} to {VOLUMES_ML[1]} ml" in head
    assert not HISTOGRAM_FEATURES & {f["name"] for f in read_defaults()["texture"]["features"]}


def test_the_fits_lesions_cover_their_volumes():
    volumes = [lesion.volume_ml for lesion in synthetic_lesions()]
    assert len(volumes) == N_LESIONS
    assert (min(volumes), max(volumes)) == pytest.approx(VOLUMES_ML)

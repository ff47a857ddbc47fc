"""All families of IBSI 1: its printed values in every aggregation.

Where both define a feature, the value is PyRadiomics'. The tests also show what a protocol gets of
the families.
"""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dagster_project.radiomics.extraction import extract_lesion, feature_names
from dagster_project.radiomics.ibsi import judge_families
from dagster_project.radiomics.ibsi_families import compute_families, family_features
from dagster_project.radiomics.ibsi_intensity import (
    histogram,
    local_peaks,
    statistics,
    volume_histogram,
)
from dagster_project.radiomics.ibsi_morphology import morphology
from dagster_project.radiomics.ibsi_texture import (
    DIRECTIONAL,
    FAMILIES,
    IN_SPACE,
    PLAIN,
    _shifted,
    texture_features,
)
from dagster_project.radiomics.processing import UnusableSettingError
from dagster_project.radiomics.pyradiomics_engine import (
    TEXTURE_CLASSES,
    class_feature_names,
    compute_class,
)
from dagster_project.radiomics.registry import ibsi_deviation, ibsi_tag
from tests.radiomics.conftest import as_ct, ball

EVERY = ("morph", "loc", "stat", "ih", "ivh", "cm", "rlm", "szm", "dzm", "ngt", "ngl")


@pytest.fixture(scope="module")
def families(shared_data):
    return judge_families(shared_data)


@pytest.mark.real_data
@pytest.mark.parametrize(("phantom", "values"), [("digital", 482), ("A", 346), ("C", 210)])
def test_every_printed_value_is_met(families, phantom, values):
    assert len(families[phantom]) == values
    assert [(v.tag, v.value, v.reference) for v in families[phantom] if not v.within] == []


regions = st.builds(
    lambda seed, shape, n, share: np.where(
        np.random.default_rng(seed).random(shape) < share,
        np.random.default_rng(seed + 1).integers(1, n + 1, shape),
        0,
    ),
    st.integers(0, 10_000),
    st.tuples(st.integers(1, 5), st.integers(3, 8), st.integers(3, 8)),
    st.integers(1, 6),
    st.sampled_from([0.5, 0.9, 1.0]),
).map(lambda levels: levels.astype(np.int32))


@given(regions)
@settings(max_examples=40)
def test_texture_in_space_is_pyradiomics_where_both_define_it(levels):
    """The definitions are one where no level is empty and no direction or voxel lacks neighbours.

    PyRadiomics leaves out empty levels, and treats directions and voxels without neighbours
    differently.
    """
    inside = levels > 0
    beside = [
        _shifted(levels, step) > 0 for step in (*IN_SPACE, *((-z, -y, -x) for z, y, x in IN_SPACE))
    ]
    paired = (
        all((inside & other).any() for other in beside) and np.any(beside, axis=0)[inside].all()
    )
    if (
        not paired
        or set(np.unique(levels[inside])) != set(range(1, levels.max() + 1))
        or levels.max() < 2
    ):
        return
    found = texture_features(levels, inside, ("3D_avg", "3D"))
    for name in TEXTURE_CLASSES:
        theirs = compute_class(name, levels.astype(np.float32), inside, levels, spacing_mm=1.0)
        for feature in class_feature_names(name):
            tag = ibsi_tag(f"original_{name}_{feature}")
            value = theirs[feature][0]
            if (
                tag in found
                and value is not None
                and not ibsi_deviation(f"original_{name}_{feature}")
                and np.isfinite(found[tag])
            ):
                assert found[tag] == pytest.approx(value, rel=1e-9, abs=1e-9), tag


@given(regions)
@settings(max_examples=30)
def test_of_one_slice_all_aggregations_within_slices_are_one(levels):
    one = levels[:1]
    if (one > 0).sum() < 4:
        return
    found = texture_features(one, one > 0, (*DIRECTIONAL, *PLAIN))
    for name, value in found.items():
        if name.endswith(("_2D_comb", "_2D")):
            merged = found[name.replace("_2D", "_2_5D")]
            assert value == pytest.approx(merged, rel=1e-12, nan_ok=True), name


def test_runs_of_a_bar_are_counted_by_hand():
    bar = np.zeros((1, 3, 5), dtype=np.int32)
    bar[0, 1] = 1
    found = FAMILIES["rlm"][0](bar, "2D_comb")
    runs = np.array(
        [1.0] * 15 + [5.0]
    )  # five voxels alone in three directions, one run of five along the bar
    assert found["rlm_sre"] == pytest.approx((1 / runs**2).mean())
    assert found["rlm_lre"] == pytest.approx((runs**2).mean())
    assert found["rlm_r_perc"] == pytest.approx(16 / 20)


def test_a_zone_is_as_far_from_the_border_as_its_nearest_voxel():
    levels = np.ones((7, 7, 7), dtype=np.int32)
    levels[3, 3, 3] = 2
    found = texture_features(levels, levels > 0, ("3D",))
    assert found["dzm_lde_3D"] == pytest.approx((1 + 16) / 2), (
        "one zone at the border, one four steps inside"
    )


def test_a_volume_histogram_of_ten_steps():
    found = volume_histogram(np.arange(11.0), 1.0, 0.0, 10.0)
    assert (found["ivh_v10"], found["ivh_v90"]) == pytest.approx((10 / 11, 2 / 11))
    assert (found["ivh_i10"], found["ivh_i90"]) == (10.0, 2.0)


def test_a_peak_sees_beyond_its_region_and_not_beyond_the_volume():
    volume, inside = np.zeros((31, 31, 31)), np.zeros((31, 31, 31), dtype=bool)
    volume[15, 15, 15], inside[15, 15, 15] = 515.0, True
    whole = local_peaks(volume, inside, (1.0, 1.0, 1.0))
    voxels = sum(
        z * z + y * y + x * x <= 6.2035**2
        for z in range(-7, 8)
        for y in range(-7, 8)
        for x in range(-7, 8)
    )
    assert whole["loc_peak_loc"] == whole["loc_peak_glob"] == pytest.approx(515.0 / voxels)
    corner = np.zeros_like(inside)
    corner[0, 0, 0] = True
    assert local_peaks(np.full(volume.shape, 7.0), corner, (1.0, 1.0, 1.0))[
        "loc_peak_loc"
    ] == pytest.approx(7.0)


def test_intensities_in_space_are_those_of_all_pairs():
    """Sums over pairs by Fourier transform against the pairs themselves."""
    rng, spacing = np.random.default_rng(5), (1.5, 0.8, 1.0)
    inside = rng.random((5, 6, 4)) < 0.6
    volume = rng.normal(0, 50, inside.shape).astype(np.float32)
    places, x = np.argwhere(inside) * np.array(spacing), volume[inside].astype(np.float64)
    distance = np.linalg.norm(places[:, None] - places[None], axis=2)
    w = np.divide(1.0, distance, out=np.zeros_like(distance), where=distance > 0)
    d, n = x - x.mean(), x.size
    found = morphology(volume, inside, inside, spacing)
    assert found["morph_moran_i"] == pytest.approx(
        n / w.sum() * (w * np.outer(d, d)).sum() / (d**2).sum(), rel=1e-6
    )
    assert found["morph_geary_c"] == pytest.approx(
        (n - 1) / (2 * w.sum()) * (w * (x[:, None] - x) ** 2).sum() / (d**2).sum(), rel=1e-6
    )


def test_a_ball_is_round():
    mask = ball((41, 41, 41), 15)
    found = morphology(np.ones(mask.shape, dtype=np.float32), mask, mask, (1.0, 1.0, 1.0))
    assert found["morph_pca_elongation"] == pytest.approx(1, abs=1e-9)
    assert found["morph_vol_dens_aee"] == pytest.approx(5**1.5 / 8, abs=0.02), (
        "IBSI's axes are four standard deviations long"
    )
    assert found["morph_vol_dens_aabb"] == pytest.approx(np.pi / 6 * (30 / 31) ** 3, abs=0.005)
    assert found["morph_com"] == pytest.approx(0, abs=1e-6)


def test_statistics_and_histogram_of_one_value_exist():
    assert statistics(np.full(9, 40.0))["stat_kurt"] == 0.0
    assert histogram(np.full(9, 3))["ih_mode"] == 3.0


# ── what a protocol gets ──


@pytest.fixture(scope="module")
def quick(radiomics_settings):
    return {
        **radiomics_settings,
        "log_sigma_mm": [],
        "wavelet": "",
        "classes": ["firstorder"],
        "padding_mm": 5.0,
    }


def test_a_protocol_has_none_of_them_unless_it_asks(radiomics_settings):
    assert not any("_ibsi_" in name for name in feature_names(radiomics_settings))


def test_a_protocol_that_asks_has_them_beside_the_others(quick):
    rng, mask = np.random.default_rng(3), ball((40, 50, 50), 8)
    image = as_ct(np.where(mask, 40, -820) + rng.normal(0, 40, mask.shape), (1.0, 0.8, 0.8))
    asked = {**quick, "ibsi_families": list(EVERY), "ibsi_aggregations": ["3D_comb", "3D"]}
    rows = pl.DataFrame(extract_lesion(image, {"R1": mask}, None, asked), infer_schema_length=None)
    assert set(rows["feature"]) == set(feature_names(asked))
    tumor = dict(rows.filter(region="tumor").select("feature", "value").iter_rows())
    assert all(value is not None for value in tumor.values())
    assert tumor["original_ibsi_stat_mean"] == pytest.approx(tumor["original_firstorder_Mean"])
    assert tumor["original_ibsi_ih_entropy"] == pytest.approx(tumor["original_firstorder_Entropy"])
    assert {
        "original_ibsi_dzm_sde_3D",
        "original_ibsi_ngl_dc_energy_3D",
        "original_ibsi_cm_joint_max_3D_comb",
    } <= set(tumor)
    assert ibsi_tag("original_ibsi_cm_joint_max_3D_comb") == "cm_joint_max_3D_comb"
    others = rows.filter(pl.col("region") != "tumor")
    assert (others["value"].is_null() != others["reason"].is_null()).all()


def test_a_flat_region_has_reasons_where_it_has_no_value(quick):
    mask = np.zeros((20, 20, 20), dtype=bool)
    mask[10, 5:15, 5:15] = True
    asked = {**quick, "ibsi_families": list(EVERY), "ibsi_aggregations": ["3D_avg", "3D"]}
    found = compute_families(np.full(mask.shape, 40.0, dtype=np.float32), mask, asked)
    assert tuple(found) == family_features(asked)
    assert all((value is None) != (reason is None) for value, reason in found.values())
    assert found["ibsi_stat_mean"] == (40.0, None)


@pytest.mark.parametrize(("key", "wrong"), [("ibsi_families", "glcm"), ("ibsi_aggregations", "4D")])
def test_an_unknown_family_or_aggregation_is_refused_by_name(quick, key, wrong):
    asked = {**quick, "ibsi_families": ["cm"], "ibsi_aggregations": ["3D_avg"], key: [wrong]}
    with pytest.raises(
        UnusableSettingError, match=rf"{key} = \['{wrong}'\] cannot be used: use a list, "
    ):
        feature_names(asked)

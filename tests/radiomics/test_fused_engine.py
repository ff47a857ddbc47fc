"""The fast engine against PyRadiomics itself.

They are compared on regions and images that are hard for PyRadiomics, on lesions, and at random.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dagster_project.radiomics import fused_engine, pyradiomics_engine
from dagster_project.radiomics.derived_images import derive_images
from dagster_project.radiomics.extraction import ENGINES
from dagster_project.radiomics.resampling import bounding_box
from tests.radiomics.pyradiomics_oracle import (
    CLASSES,
    cropped,
    odd_images,
    odd_regions,
    plain_features,
    tumour,
)

RELATIVE = 1e-9
ROUNDING = 1e-12
"""Sums that cancel to nothing: PyRadiomics' own value is then rounding, as a skewness of 1e-17."""

REGIONS = odd_regions(np.random.default_rng(20260112))
IMAGES = odd_images(np.random.default_rng(20260113))
SETTINGS = {"log_sigma_mm": [1.0, 2.0, 3.0, 4.0, 5.0], "wavelet": "coif1", "spacing_mm": 1.0}


def fused(image, mask, classes=CLASSES, bin_width_hu=25.0, spacing_mm=1.0, **bins):
    return fused_engine.compute_region(
        image, mask, classes, bin_width_hu=bin_width_hu, spacing_mm=spacing_mm, **bins
    )


def differences(found, expected, ignored=()):
    """Names of the features that differ, with both values."""
    assert list(found) == list(expected)
    pairs = {
        name: (value, expected[name]) for name, (value, _) in found.items() if name not in ignored
    }
    return {
        name: pair
        for name, pair in pairs.items()
        if not agree(*pair) and not (name == "glcm_MCC" and both_rounding(*pair))
    }


def agree(value, expected):
    if value is None or expected is None:
        return value is expected
    return abs(value - expected) <= max(RELATIVE * abs(expected), ROUNDING)


def both_rounding(*values):
    """MCC is the root of an eigenvalue that may be 0 but for its last bit.

    MCC is then 1e-8, or does not exist.
    """
    return all(value is None or value < 1e-6 for value in values)


def null_by_choice(found):
    """Imc2 that the engines leave out.

    PyRadiomics gives the square root of a rounding error there.
    """
    return [
        name for name, (_, reason) in found.items() if reason == pyradiomics_engine.IMC2_UNSTABLE
    ]


@pytest.mark.parametrize("region", sorted(set(REGIONS) - {"one voxel"}))
def test_odd_region_equals_pyradiomics_on_every_odd_image(region):
    for name, whole in IMAGES.items():
        image, mask = cropped(whole, REGIONS[region])
        found = fused(image, mask)
        assert differences(found, plain_features(image, mask), null_by_choice(found)) == {}, name


@pytest.mark.parametrize("engine", ENGINES.values(), ids=ENGINES)
@pytest.mark.parametrize(
    "spacing", [(1.0, 0.977, 0.977), (0.625, 0.5, 0.5), (3.0, 0.7, 0.9)], ids=str
)
def test_shape_on_a_grid_of_any_spacing_equals_pyradiomics(engine, spacing):
    for name, region in REGIONS.items():
        image, mask = cropped(IMAGES["wide"], region)
        expected = plain_features(image, mask, ("shape",), spacing_mm=spacing)
        assert differences(engine.compute_shape(mask, spacing), expected) == {}, name


def test_single_voxel_has_values_but_no_texture():
    image, mask = cropped(IMAGES["wide"], REGIONS["one voxel"])
    found = fused(image, mask)
    texture = {name for name in found if name.split("_")[0] not in ("firstorder", "shape")}
    assert {found[name] for name in texture} == {(None, fused_engine.ONE_VOXEL)}
    rest = plain_features(image, mask, ("firstorder", "shape"))
    assert differences({name: found[name] for name in rest}, rest) == {}


def random_crop(seed, shape, share, spread, *, rounded):
    """A random region in a random image, both cut to the region's box."""
    rng = np.random.default_rng(seed)
    mask = rng.random(shape) < share
    mask.flat[:2] = True
    values = rng.normal(rng.uniform(-900, 200), spread, shape)
    return cropped((np.rint(values) if rounded else values).astype(np.float32), mask)


crops = st.builds(
    random_crop,
    st.integers(0, 2**32 - 1),
    st.tuples(st.integers(1, 8), st.integers(1, 8), st.integers(2, 12)),
    st.sampled_from([0.1, 0.4, 0.8, 1.0]),
    st.sampled_from([0.0, 5.0, 60.0, 400.0]),
    rounded=st.booleans(),
)


@given(crop=crops)
@settings(max_examples=60, deadline=None, derandomize=True)
def test_random_region_equals_pyradiomics(crop):
    found = fused(*crop)
    assert differences(found, plain_features(*crop), null_by_choice(found)) == {}


@given(crop=crops, bin_count=st.sampled_from([1, 7, 32, 64]))
@settings(max_examples=40, deadline=None, derandomize=True)
def test_random_region_in_a_fixed_number_of_bins_equals_pyradiomics(crop, bin_count):
    found = fused(*crop, bin_count=bin_count)
    assert (
        differences(found, plain_features(*crop, bin_count=bin_count), null_by_choice(found)) == {}
    )


@pytest.mark.parametrize("region", ["blob", "oblique plane", "scattered", "two voxels"])
def test_odd_region_in_a_fixed_number_of_bins_equals_pyradiomics_on_every_odd_image(region):
    for name, whole in IMAGES.items():
        image, mask = cropped(whole, REGIONS[region])
        found = fused(image, mask, bin_count=8)
        assert (
            differences(found, plain_features(image, mask, bin_count=8), null_by_choice(found))
            == {}
        ), name


@given(
    crop=crops,
    below=st.sampled_from([0.0, 3.0, 180.0]),
    spacing=st.sampled_from([2.0, (3.0, 0.8, 0.7)]),
)
@settings(max_examples=40, deadline=None, derandomize=True)
def test_random_region_in_bins_from_a_range_is_one_in_both_engines(crop, below, spacing):
    bins = {
        "bin_width_hu": 25.0,
        "bin_start_hu": float(np.floor(crop[0][crop[1]].min())) - below,
        "spacing_mm": spacing,
    }
    reference = pyradiomics_engine.compute_region(*crop, CLASSES, **bins)
    found = {
        name: value
        for name, value in fused(*crop, **bins).items()
        if value != (None, fused_engine.ONE_VOXEL)
    }
    assert differences(found, {name: reference[name][0] for name in found}) == {}


def test_bins_begin_where_they_are_told_to_and_are_otherwise_pyradiomics():
    image = np.array([[[-490.0, -476.0, -475.0, 0.0, 399.0, 400.0]]], dtype=np.float32)
    inside = np.ones(image.shape, dtype=bool)
    assert pyradiomics_engine.discretise(
        image, inside, 25.0, bin_start_hu=-500.0
    ).ravel().tolist() == [1, 1, 2, 21, 36, 37]
    assert pyradiomics_engine.discretise(image, inside, 25.0).ravel().tolist() == [
        1,
        1,
        2,
        21,
        36,
        37,
    ]
    assert pyradiomics_engine.discretise(
        image, inside, 25.0, bin_start_hu=-1000.0
    ).ravel().tolist() == [21, 21, 22, 41, 56, 57]
    assert pyradiomics_engine.discretise(image, inside, 25.0, bin_count=89).ravel().tolist() == [
        1,
        2,
        2,
        50,
        89,
        89,
    ]


def test_more_bins_than_single_precision_can_tell_apart_are_made_in_double():
    """A filter leaves such values of a flat region: PyRadiomics stops there."""
    image = np.array([[[-2828.4272, -2828.427, -2828.427, -2828.4272]]], dtype=np.float32)
    found = fused(image, np.ones(image.shape, dtype=bool), bin_count=32)
    assert found["firstorder_Uniformity"] == (0.5, None)
    assert found["glcm_JointAverage"][0] > 1


@pytest.fixture(scope="module")
def lesion():
    return tumour(8, seed=1)


def test_lesion_equals_pyradiomics_on_all_fourteen_images(lesion):
    volume, mask = lesion
    box = bounding_box(mask)
    inside = np.ascontiguousarray(mask[box])
    images = {
        name: np.ascontiguousarray(part) for name, part in derive_images(volume, box, SETTINGS)
    }
    assert len(images) == 14
    for name, image in images.items():
        assert differences(fused(image, inside), plain_features(image, inside)) == {}, name


def test_ring_around_a_lesion_equals_pyradiomics(lesion):
    """A shell: hollow, with two surfaces, and gray levels that meet in a few pairs only."""
    from scipy.ndimage import binary_dilation

    volume, mask = lesion
    shell = (
        binary_dilation(mask, iterations=4) & ~binary_dilation(mask, iterations=2) & (volume < -700)
    )
    image, ring = cropped(volume, shell)
    assert differences(fused(image, ring), plain_features(image, ring)) == {}


@pytest.mark.parametrize(
    ("bin_width_hu", "spacing_mm"), [(10.0, 1.0), (25.0, 0.8), (50.0, 2.0), (3.7, 1.0)]
)
def test_other_bins_and_spacings_equal_pyradiomics(lesion, bin_width_hu, spacing_mm):
    image, mask = cropped(*lesion)
    found = fused(image, mask, bin_width_hu=bin_width_hu, spacing_mm=spacing_mm)
    assert differences(found, plain_features(image, mask, CLASSES, bin_width_hu, spacing_mm)) == {}


@pytest.mark.parametrize("engine", ENGINES.values(), ids=ENGINES)
def test_imc2_on_the_last_bit_is_null_in_both_engines(engine):
    """A line in which 9 pairs are dark, 4 are bright and 12 are mixed.

    A level says nothing of its neighbour's. Both entropies are then the same number, and
    PyRadiomics gives the root of their last bits: 2e-8 here.
    """
    line = [0] * 10 + [1] * 5 + [0] + [1, 0] * 5
    image = np.array([[line]], dtype=np.float32) * 40
    found = engine.compute_region(
        image, np.ones(image.shape, dtype=bool), ["glcm"], bin_width_hu=25.0, spacing_mm=1.0
    )
    assert found["glcm_Imc2"] == (None, pyradiomics_engine.IMC2_UNSTABLE)
    assert {name for name, (value, _) in found.items() if value is None} <= {
        "glcm_Imc2",
        "glcm_MCC",
    }
    assert 0 < plain_features(image, image >= 0, ["glcm"])["glcm_Imc2"] < 1e-7


@pytest.mark.parametrize("engine", ENGINES.values(), ids=ENGINES)
def test_texture_does_not_depend_on_the_axes(engine, lesion):
    image, mask = cropped(*lesion)
    turned = [np.ascontiguousarray(np.flip(a.transpose(2, 0, 1), 1)) for a in (image, mask)]
    texture = pyradiomics_engine.TEXTURE_CLASSES
    first = engine.compute_region(image, mask, texture, bin_width_hu=25.0, spacing_mm=1.0)
    second = engine.compute_region(*turned, texture, bin_width_hu=25.0, spacing_mm=1.0)
    assert differences(second, {name: value for name, (value, _) in first.items()}) == {}


@pytest.mark.parametrize("engine", ENGINES.values(), ids=ENGINES)
def test_voxels_outside_the_region_do_not_count(engine, lesion):
    image, mask = cropped(*lesion)
    other = np.where(mask, image, 1e4).astype(np.float32)
    first, second = (
        engine.compute_region(i, mask, CLASSES, bin_width_hu=25.0, spacing_mm=1.0)
        for i in (image, other)
    )
    assert first == second


def test_more_gray_levels_than_matrices_are_held_for_go_to_the_engine_of_reference(monkeypatch):
    image, mask = cropped(IMAGES["wide"], REGIONS["blob"])
    expected = pyradiomics_engine.compute_region(
        image, mask, CLASSES, bin_width_hu=25.0, spacing_mm=1.0
    )
    monkeypatch.setattr(fused_engine, "MOST_LEVELS", 3)
    assert fused(image, mask) == expected


def test_classes_come_in_the_order_asked_for():
    image, mask = cropped(IMAGES["wide"], REGIONS["blob"])
    names = list(fused(image, mask, ("ngtdm", "firstorder")))
    assert names == [
        f"{c}_{f}" for c in ("ngtdm", "firstorder") for f in fused_engine.class_feature_names(c)
    ]


def test_every_row_can_tell_the_engines_apart():
    names = {engine.engine_name() for engine in ENGINES.values()}
    assert len(names) == len(ENGINES)
    assert fused_engine.engine_name().endswith(pyradiomics_engine.engine_name())

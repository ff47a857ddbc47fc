"""What [radiomics] may ask for before features: IBSI's five configurations, and each step alone."""

from __future__ import annotations

import logging
import warnings

import numpy as np
import polars as pl
import pytest
import SimpleITK as sitk
from radiomics.featureextractor import RadiomicsFeatureExtractor

from dagster_project.radiomics import extraction, ibsi
from dagster_project.radiomics.extraction import (
    ENGINES,
    engine_name,
    extract_lesion,
    feature_names,
    measure_tumor,
    prepare_tumor,
)
from dagster_project.radiomics.ibsi_texture import DIRECTIONAL, PLAIN
from dagster_project.radiomics.perturbation import measure_copies
from dagster_project.radiomics.processing import UnusableSettingError, grid_spacing
from dagster_project.radiomics.regions import derive_regions, resegment, ring_bounds, tumor_region
from dagster_project.radiomics.resampling import as_image, bounding_box, union_box
from dagster_project.study import load_study
from tests.radiomics.conftest import as_ct, ball
from tests.radiomics.test_fused_engine import agree

NEW = (
    "planar",
    "interpolator",
    "half_covered",
    "resegmentation_hu",
    "outlier_sd",
    "bin_count",
    "ivh_bin_width_hu",
    "ivh_bin_count",
)

IN_SLICES = {
    "planar": True,
    "half_covered": "inside",
    "ibsi_aggregations": [a for a in (*DIRECTIONAL, *PLAIN) if a.startswith("2")],
}
IN_SPACE = {
    "spacing_mm": 2.0,
    "half_covered": "inside",
    "ibsi_aggregations": [a for a in (*DIRECTIONAL, *PLAIN) if a.startswith("3")],
}

AS_IBSI = {
    "A": {**IN_SLICES, "spacing_mm": 0.0, "resegmentation_hu": [-500.0, 400.0]},
    "B": {
        **IN_SLICES,
        "spacing_mm": 2.0,
        "interpolator": "linear",
        "resegmentation_hu": [-500.0, 400.0],
        "bin_count": 32,
    },
    "C": {
        **IN_SPACE,
        "interpolator": "linear",
        "resegmentation_hu": [-1000.0, 400.0],
        "ivh_bin_width_hu": 2.5,
    },
    "D": {**IN_SPACE, "interpolator": "linear", "outlier_sd": 3.0, "bin_count": 32},
    "E": {
        **IN_SPACE,
        "resegmentation_hu": [-1000.0, 400.0],
        "outlier_sd": 3.0,
        "bin_count": 32,
        "ivh_bin_count": 1000,
    },
}
"""Settings of a protocol that say IBSI's configurations; docs/ibsi.md has the same table."""


@pytest.fixture(scope="module")
def quick(radiomics_settings):
    return {**radiomics_settings, "log_sigma_mm": [], "wavelet": "", "padding_mm": 5.0}


@pytest.fixture(scope="module")
def scan():
    """A lesion with lung and a vessel inside its outline, in slices of 2.5 mm."""
    rng, mask = np.random.default_rng(8), ball((30, 60, 64), 12, (14, 30, 31))
    mask &= np.indices(mask.shape)[0] % 30 < 20
    hu = np.where(mask, 20.0, -830.0) + rng.normal(0, 45, mask.shape)
    hu[12:15, 20:24, 20:30], hu[10:12, 35:38, 30:36] = -800.0, 900.0
    return as_ct(hu, (2.5, 0.8, 0.8)), mask


def tumor_of(rows):
    return {r["feature"]: r["value"] for r in rows if r["region"] == "tumor"}


# ── IBSI's configurations by the way that a study's lesions go ──


@pytest.fixture(scope="module")
def ct_phantom(shared_data):
    return ibsi.ct_phantom(shared_data)


def families_of(phantom, quick, name):
    """Values by IBSI's tag, as a protocol with the configuration's settings stores them."""
    image, mask = sitk.Cast(phantom[0], sitk.sitkInt16), sitk.GetArrayFromImage(phantom[1]) > 0
    asked = {
        **quick,
        "classes": ["firstorder"],
        "ibsi_families": list(ibsi.FAMILY_NAMES),
        **AS_IBSI[name],
    }
    found = tumor_of(extract_lesion(image, {"R1": mask}, None, asked))
    return {
        feature.removeprefix("original_ibsi_"): value
        for feature, value in found.items()
        if "_ibsi_" in feature
    }


@pytest.mark.real_data
@pytest.mark.parametrize(("name", "values"), [("A", 346), ("C", 210)])
def test_a_protocol_meets_every_printed_value(shared_data, ct_phantom, quick, name, values):
    found = families_of(ct_phantom, quick, name)
    reference = ibsi.reference_values(
        shared_data / "ibsi" / f"ibsi_1_chest_config_{name.lower()}.csv"
    )
    verdicts = [
        ibsi.IbsiVerdict(tag, tag, *expected, found[tag])
        for tag, expected in reference.items()
        if ibsi.family_of(tag) in ibsi.FAMILY_NAMES and "_mask_" not in tag
    ]
    assert len(verdicts) == values
    assert [(v.tag, v.value, v.reference) for v in verdicts if not v.within] == []


@pytest.mark.real_data
@pytest.mark.parametrize(("name", "relative"), [("B", 1e-9), ("D", 1e-5), ("E", 1e-9)])
def test_a_protocol_has_the_values_of_the_configurations_without_reference_here(
    ct_phantom, quick, name, relative
):
    """In D one voxel of 45,985 lies half-way between two HU, and ITK rounds it the other way."""
    found, configuration = families_of(ct_phantom, quick, name), ibsi.CONFIGURATIONS[name]
    prepared = ibsi.prepare(*ct_phantom, configuration)
    expected = ibsi.compute_families(prepared, configuration, AS_IBSI[name]["ibsi_aggregations"])
    assert set(found) == set(expected)
    assert {
        tag: value
        for tag, value in found.items()
        if value != pytest.approx(expected[tag], rel=relative)
    } == {}


@pytest.mark.real_data
def test_the_registered_classes_meet_configuration_c_too(shared_data, ct_phantom, quick):
    """Shape apart, which is taken on the scan's own voxels; PyRadiomics' kurtosis is 3 greater."""
    image, mask = (
        sitk.Cast(ct_phantom[0], sitk.sitkInt16),
        sitk.GetArrayFromImage(ct_phantom[1]) > 0,
    )
    found = tumor_of(extract_lesion(image, {"R1": mask}, None, {**quick, **AS_IBSI["C"]}))
    named = {
        feature.removeprefix("original_"): value
        for feature, value in found.items()
        if "_shape_" not in feature
    }
    verdicts = ibsi.judge(
        named,
        ibsi.reference_values(shared_data / "ibsi" / "ibsi_1_chest_config_c.csv"),
        planar=False,
    )
    assert len(verdicts) == 91
    assert [v.feature for v in verdicts if not v.within] == ["firstorder_Kurtosis"]


# ── each step on its own ──


def test_a_protocol_without_the_new_settings_is_as_before(scan, quick):
    image, mask = scan
    asked = {**quick, "ibsi_families": ["morph", "ivh"]}
    older = {key: value for key, value in asked.items() if key not in NEW}
    assert set(NEW) <= set(load_study().section("radiomics"))
    assert extract_lesion(image, {"R1": mask}, None, asked) == extract_lesion(
        image, {"R1": mask}, None, older
    )


UNUSABLE = {
    "interpolator": ["cubic", "", 3],
    "half_covered": ["outside", 0.5],
    "planar": [1, "yes"],
    "spacing_mm": [-1.0, "2"],
    "resegmentation_hu": [
        [400.0, -500.0],
        [0.0, 0.0],
        [-500.0],
        [-1000.0, 0.0, 400.0],
        [-1000.0, float("inf")],
        "lung",
        400.0,
    ],
    "outlier_sd": [-3.0, float("nan"), True],
    "bin_width_hu": [0.0, -25.0],
    "bin_count": [-32, 32.0, True],
    "ivh_bin_width_hu": [-2.5],
    "ivh_bin_count": [-1000, 2.5],
}


@pytest.mark.parametrize(
    ("key", "value"),
    [(key, value) for key, values in UNUSABLE.items() for value in values],
    ids=str,
)
def test_a_value_that_cannot_be_used_is_refused_by_name(quick, scan, key, value):
    asked = {**quick, key: value}
    for use in (engine_name, feature_names, lambda s: prepare_tumor(*scan, s)):
        with pytest.raises(
            UnusableSettingError, match=rf"study.toml \[radiomics\] {key} = .* cannot be used: use "
        ):
            use(asked)


@pytest.mark.parametrize(("asked", "expected"), [
    ({"spacing_mm": 1.0}, (1.0, 1.0, 1.0)),
    ({"spacing_mm": 1.0, "planar": True}, (2.5, 1.0, 1.0)),
    ({"spacing_mm": 0.0}, (2.5, 0.8, 0.8)),
    ({"spacing_mm": 0, "planar": True}, (2.5, 0.8, 0.8)),
], ids=str)  # fmt: skip
def test_the_grid_is_the_scans_own_where_nothing_is_asked_for(scan, asked, expected):
    assert grid_spacing(scan[0], asked) == pytest.approx(expected)


def test_a_tumour_on_the_scans_own_voxels_is_the_outline_and_its_values(scan, quick):
    image, mask = scan
    volume, tumor = prepare_tumor(image, mask, {**quick, "spacing_mm": 0.0})
    np.testing.assert_array_equal(tumor.mask[bounding_box(tumor.mask)], mask[bounding_box(mask)])
    np.testing.assert_array_equal(volume[tumor.mask], sitk.GetArrayFromImage(image)[mask])


def test_re_segmentation_takes_from_intensities_and_not_from_shape(scan, quick):
    image, mask = scan
    plain, cut = (
        tumor_of(extract_lesion(image, {"R1": mask}, None, s))
        for s in (quick, {**quick, "resegmentation_hu": [-150.0, 200.0]})
    )
    assert plain["original_firstorder_Minimum"] < -500
    assert plain["original_firstorder_Maximum"] > 500
    assert -150 <= cut["original_firstorder_Minimum"] < cut["original_firstorder_Maximum"] <= 200
    shape = [name for name in plain if "_shape_" in name]
    assert {name: plain[name] for name in shape} == {name: cut[name] for name in shape}
    assert plain["original_glcm_Contrast"] != cut["original_glcm_Contrast"]


def test_outliers_are_counted_from_what_the_range_has_left(radiomics_settings):
    values = np.array([-900.0] * 40 + [0.0, 10.0] * 200 + [95.0] * 2, dtype=np.float32).reshape(
        1, 2, -1
    )
    region = tumor_region(np.ones(values.shape, dtype=bool), radiomics_settings)
    asked = {**radiomics_settings, "outlier_sd": 3.0}
    assert values[resegment(values, region, asked).intensity_mask].min() == 0
    assert values[resegment(values, region, asked).intensity_mask].max() == 95
    both = resegment(values, region, {**asked, "resegmentation_hu": [-500.0, 400.0]})
    assert set(values[both.intensity_mask]) == {0.0, 10.0}
    assert both.mask.all()
    assert both.volume_mm3 == region.volume_mm3


@pytest.mark.parametrize(
    "bounds", [[2000.0, 3000.0], [880.0, 900.0]], ids=["none left", "a few left"]
)
def test_a_region_of_too_few_voxels_after_re_segmentation_has_its_reason(scan, quick, bounds):
    image, mask = scan
    asked = {
        **quick,
        "resegmentation_hu": bounds,
        "ibsi_families": ["morph", "stat"],
        "minimum_voxels": 300,
    }
    rows = pl.DataFrame(
        extract_lesion(image, {"R1": mask}, None, asked), infer_schema_length=None
    ).filter(region="tumor")
    assert set(rows["reason"]) == {"fewer than 300 voxels after re-segmentation"}
    assert rows["value"].is_null().all()
    assert rows["region_volume_mm3"].unique().to_list() == [
        pytest.approx(mask.sum() * 2.5 * 0.8 * 0.8)
    ]


def test_rings_are_re_segmented_as_the_tumour_is(scan, quick):
    image, mask = scan
    rows = extract_lesion(
        image, {"R1": mask}, None, {**quick, "resegmentation_hu": [-850.0, 400.0]}
    )
    ring = {r["feature"]: r["value"] for r in rows if r["region"] == "ring_3_5"}
    plain = {
        r["feature"]: r["value"]
        for r in extract_lesion(image, {"R1": mask}, None, quick)
        if r["region"] == "ring_3_5"
    }
    assert plain["original_firstorder_Minimum"] < -850 <= ring["original_firstorder_Minimum"]
    assert ring["original_shape_VoxelVolume"] == plain["original_shape_VoxelVolume"]


def plain_pyradiomics(volume, mask, **asked):
    """PyRadiomics as it comes, on the finished crop: all images, and its own re-segmentation."""
    logging.getLogger("radiomics").setLevel(logging.CRITICAL)
    extractor = RadiomicsFeatureExtractor(additionalInfo=False, **asked)
    extractor.enableImageTypeByName("LoG", customArgs={"sigma": [1.0, 3.0]})
    extractor.enableImageTypeByName("Wavelet")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = extractor.execute(as_image(volume, 1.0), as_image(mask.astype(np.uint8), 1.0))
    return {name: float(np.asarray(value).real) for name, value in found.items()}


@pytest.mark.parametrize(("ours", "theirs"), [
    ({"resegmentation_hu": [-150.0, 200.0], "bin_count": 32},
     {"resegmentRange": [-150, 200], "binCount": 32}),
    ({"outlier_sd": 3.0, "bin_count": 24},
     {"resegmentRange": [-3, 3], "resegmentMode": "sigma", "binCount": 24}),
], ids=["range", "outliers"])  # fmt: skip
def test_every_value_of_every_image_is_plain_pyradiomics(scan, quick, ours, theirs):
    """Shape is PyRadiomics' without re-segmentation: with it, the outline is cut to a box."""
    asked = {
        **quick,
        "log_sigma_mm": [1.0, 3.0],
        "wavelet": "coif1",
        "interpolator": "linear",
        "padding_mm": 10.0,
        **ours,
    }
    volume, tumor = prepare_tumor(*scan, asked)
    found = {
        r["feature"]: r["value"]
        for r in measure_tumor(volume, tumor_region(tumor.mask, asked), asked)
    }
    whole = plain_pyradiomics(volume, tumor.mask)
    expected = {
        name: whole[name] if "_shape_" in name else value
        for name, value in plain_pyradiomics(volume, tumor.mask, **theirs).items()
    }
    assert set(found) == set(expected)
    assert {
        name: (value, expected[name])
        for name, value in found.items()
        if value != pytest.approx(expected[name], rel=1e-9, abs=1e-11)
    } == {}


@pytest.mark.parametrize("name", ["B", "D", "E"])
def test_the_fast_engine_is_the_engine_of_reference_in_every_region_and_image(scan, quick, name):
    image, mask = scan
    asked = {**quick, "log_sigma_mm": [2.0], "wavelet": "coif1", **AS_IBSI[name], "spacing_mm": 1.0}
    fast, slow = (
        extract_lesion(image, {"R1": mask}, None, {**asked, "engine": engine})
        for engine in ("fused", "pyradiomics")
    )
    assert {r["region"] for r in fast if r["value"] is not None} >= {"tumor"}
    differing = [
        (a["region"], a["feature"], a["value"], b["value"])
        for a, b in zip(fast, slow, strict=True)
        if not agree(a["value"], b["value"])
    ]
    assert differing == []


def test_rings_around_a_ball_have_their_analytic_volume_in_slices_too(radiomics_settings):
    """Slices of 3 mm, pixels of 1 mm: above and below a ring is a slice or two thick."""
    shape, radius = (25, 71, 71), 16.0
    z, y, x = np.indices(shape) - np.array([12, 35, 35])[:, None, None, None]
    tumor = (3.0 * z) ** 2 + y**2 + x**2 <= radius**2
    lung = np.full(shape, -800.0, dtype=np.float32)
    found = {
        r.name: r
        for r in derive_regions(
            lung, tumor, None, {**radiomics_settings, "spacing_mm": (3.0, 1.0, 1.0)}
        )
    }
    for name, (inner, outer) in ring_bounds(radiomics_settings).items():
        assert found[name].spacing_mm == (3.0, 1.0, 1.0)
        assert found[name].volume_mm3 == pytest.approx(
            4 / 3 * np.pi * ((radius + outer) ** 3 - (radius + inner) ** 3), rel=0.08
        ), name


@pytest.mark.parametrize("engine", ENGINES)
def test_slices_as_they_are_give_a_value_or_a_reason_everywhere(scan, radiomics_settings, engine):
    image, mask = scan
    asked = {
        **radiomics_settings,
        "engine": engine,
        "padding_mm": 10.0,
        "classes": ["firstorder", "glszm"],
        "log_sigma_mm": [2.0],
        **AS_IBSI["B"],
        "ibsi_families": ["cm", "dzm", "morph"],
    }
    rows = extract_lesion(image, {"R1": mask}, None, asked)
    assert len(rows) == 4 * len(feature_names(asked))
    assert all((r["value"] is None) != (r["reason"] is None) for r in rows)
    energy, total = (
        tumor_of(rows)[f"original_firstorder_{name}"] for name in ("Energy", "TotalEnergy")
    )
    assert total == pytest.approx(energy * 2.5 * 2.0 * 2.0)
    assert tumor_of(rows)["log-sigma-2-0-mm-3D_firstorder_Mean"] is not None


@pytest.mark.parametrize(
    "asked",
    [
        {"planar": True, "spacing_mm": 0.0},
        {"interpolator": "linear", "bin_count": 32, "outlier_sd": 3.0},
    ],
    ids=str,
)
def test_copies_of_a_lesion_are_measured_by_the_same_settings(first_scan, quick, asked):
    study, radiomics = load_study(), {**quick, "classes": ["firstorder", "glcm"], **asked}
    rows = list(
        measure_copies(
            first_scan.image,
            first_scan.mask,
            contour_mm=0.7,
            settings={**study.section("perturbation"), "copies": 1},
            radiomics=radiomics,
            peeling=study.section("dhi"),
        )
    )
    assert all(row["value"] is not None for _, row in rows)
    plain = list(
        measure_copies(
            first_scan.image,
            first_scan.mask,
            contour_mm=0.7,
            settings={**study.section("perturbation"), "copies": 1},
            radiomics={**radiomics, **{key: quick[key] for key in asked}},
            peeling=study.section("dhi"),
        )
    )
    assert [row["value"] for _, row in rows] != [row["value"] for _, row in plain]


def test_two_readers_are_measured_as_each_alone_is(scan, quick):
    """Outliers are those of a reader's own region."""
    image, mask = scan
    asked = {**quick, **AS_IBSI["E"]}
    both = extract_lesion(image, {"R1": mask, "R2": np.roll(mask, 2, 1)}, None, asked)
    assert [r for r in both if r["reader"] == "R1"] == extract_lesion(
        image, {"R1": mask}, None, asked
    )
    boxes = union_box([bounding_box(mask), bounding_box(np.roll(mask, 2, 1))])
    volume, regions = extraction._prepare(image, {"R1": mask}, None, boxes, asked)
    assert resegment(volume, regions[0][1], asked).inside.sum() < regions[0][1].mask.sum()

"""One lesion on one scan: every region, reader and feature.

Each has PyRadiomics' value, or the reason why not.
"""

from __future__ import annotations

import logging
import tracemalloc
import warnings

import numpy as np
import polars as pl
import pytest
import SimpleITK as sitk
from radiomics.featureextractor import RadiomicsFeatureExtractor

from dagster_project.compute import reason_of
from dagster_project.radiomics import extraction
from dagster_project.radiomics.extraction import (
    CropTooLargeError,
    engine_name,
    extract_lesion,
    feature_names,
)
from dagster_project.radiomics.processing import UnusableSettingError
from dagster_project.radiomics.regions import region_names
from dagster_project.radiomics.resampling import GridError, as_image, bounding_box, union_box
from tests.radiomics.conftest import as_ct, ball


def plain_pyradiomics(volume: np.ndarray, mask: np.ndarray) -> dict[str, float]:
    """PyRadiomics as it comes, on the finished crop."""
    logging.getLogger("radiomics").setLevel(logging.CRITICAL)
    extractor = RadiomicsFeatureExtractor(binWidth=25.0, additionalInfo=False)
    extractor.disableAllImageTypes()
    extractor.enableImageTypeByName("Original")
    extractor.enableImageTypeByName("LoG", customArgs={"sigma": [1.0, 2.0, 3.0, 4.0, 5.0]})
    extractor.enableImageTypeByName("Wavelet")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = extractor.execute(as_image(volume, 1.0), as_image(mask.astype(np.uint8), 1.0))
    return {name: float(np.asarray(value).real) for name, value in found.items()}


def plain_shape(mask: np.ndarray, image: sitk.Image) -> dict[str, float]:
    """PyRadiomics as it comes, on the scan's own grid."""
    extractor = RadiomicsFeatureExtractor(additionalInfo=False)
    extractor.disableAllFeatures()
    extractor.enableFeatureClassByName("shape")
    outline = sitk.GetImageFromArray(mask.astype(np.uint8))
    outline.CopyInformation(image)
    return {name: float(value) for name, value in extractor.execute(image, outline).items()}


def compare_to_plain(image, masks, settings, regions):
    """Largest relative difference over all features of some regions."""
    volume, prepared = extraction._prepare(
        image, masks, None, union_box([bounding_box(m) for m in masks.values()]), settings
    )
    found = pl.DataFrame(extract_lesion(image, masks, None, settings), infer_schema_length=None)
    for reader, region in prepared:
        if region.name not in regions or region.reason:
            continue
        own = found.filter((pl.col("reader") == reader) & (pl.col("region") == region.name))
        expected = plain_pyradiomics(volume, region.mask)
        if region.name == "tumor":
            expected |= plain_shape(masks[reader], image)
        assert set(own["feature"]) == set(expected)
        for feature, value in own.select("feature", "value").iter_rows():
            assert value == pytest.approx(expected[feature], rel=1e-9, abs=1e-12), (
                reader,
                region.name,
                feature,
            )
        yield reader, region.name


@pytest.fixture(scope="module")
def scan():
    rng = np.random.default_rng(8)
    shape = (60, 76, 70)
    mask = ball(shape, 9, (28, 40, 33))
    return as_ct(np.where(mask, 40, -820) + rng.normal(0, 40, shape), (1.0, 0.8, 0.8)), mask


@pytest.fixture(scope="module")
def quick(radiomics_settings):
    """The original image alone: what is tested does not depend on how many images there are."""
    return dict(radiomics_settings) | {"log_sigma_mm": [], "wavelet": ""}


def test_1316_features_are_named_as_pyradiomics_names_them(radiomics_settings):
    names = feature_names(radiomics_settings)
    assert len(names) == len(set(names)) == 1316
    assert {
        "original_shape_MeshVolume",
        "log-sigma-1-0-mm-3D_glcm_Contrast",
        "wavelet-LLH_ngtdm_Busyness",
    } <= set(names)
    assert sum("shape" in name for name in names) == 14


def test_every_value_is_plain_pyradiomics_on_the_same_crop(scan, radiomics_settings):
    image, mask = scan
    compared = list(
        compare_to_plain(image, {"R1": mask}, radiomics_settings, {"tumor", "ring_3_5"})
    )
    assert compared == [("R1", "tumor"), ("R1", "ring_3_5")]


VOLUMES = ("original_shape_MeshVolume", "original_shape_VoxelVolume")


@pytest.mark.parametrize(
    "spacing", [(1.0, 0.977, 0.977), (1.0, 0.5, 0.5), (0.75, 0.703, 0.703)], ids=str
)
def test_a_ball_of_6_mm_has_one_volume_wherever_it_lies(quick, spacing):
    """Counted on voxels of 1 mm, the volume of the ball varies with its place.

    The standard deviation is 4 % with pixels of 0.977 mm.
    """
    rng, radius, settings = (
        np.random.default_rng(4),
        6.0,
        {**quick, "classes": ["shape"], "padding_mm": 5.0},
    )
    shape = tuple(round(120 / mm) for mm in spacing)
    points = np.meshgrid(
        *(np.arange(n) * mm for n, mm in zip(shape, spacing, strict=True)), indexing="ij"
    )
    image, found = as_ct(np.zeros(shape), spacing), []
    for _ in range(40):
        centre = rng.uniform(20, 100, 3)
        mask = sum((p - c) ** 2 for p, c in zip(points, centre, strict=True)) <= radius**2
        rows = [
            r for r in extract_lesion(image, {"R1": mask}, None, settings) if r["region"] == "tumor"
        ]
        found.append(
            [*(r["value"] for r in rows if r["feature"] in VOLUMES), rows[0]["region_volume_mm3"]]
        )
    volumes = np.array(found) / (4 / 3 * np.pi * radius**3)
    assert (volumes.std(axis=0) <= 0.02).all()
    assert volumes[:, 1:].mean(axis=0) == pytest.approx(1, abs=0.005)
    assert volumes[:, 0].mean() == pytest.approx(1, abs=0.03), (
        "the mesh cuts the corners of its voxels"
    )


@pytest.mark.real_data
@pytest.mark.parametrize("case", ["case_002", "case_019", "case_024"])
def test_a_real_tumour_has_the_volume_that_was_outlined(shared_data, quick, case):
    """On voxels of 1 mm by the nearest neighbour it lost 3.5 to 4.1 %."""
    folder = shared_data / "sarcoma_ct" / case / "official_nifti"
    image, outline = (
        sitk.ReadImage(folder / f"CT_{what}.nii.gz", sitk.sitkInt16) for what in ("image", "mask")
    )
    mask = sitk.GetArrayFromImage(outline) > 0
    (volume,) = {
        r["region_volume_mm3"]
        for r in extract_lesion(image, {"R1": mask}, None, {**quick, "classes": ["shape"]})
        if r["region"] == "tumor"
    }
    assert volume == pytest.approx(mask.sum() * np.prod(image.GetSpacing()), rel=1e-9)


@pytest.mark.real_data
def test_every_value_of_a_real_nodule_is_plain_pyradiomics(two_readers, radiomics_settings):
    image, masks = two_readers
    assert list(compare_to_plain(image, masks, radiomics_settings, {"tumor"})) == [
        ("1", "tumor"),
        ("2", "tumor"),
    ]


def test_every_region_reader_and_feature_has_one_row_with_a_value_or_a_reason(scan, quick):
    image, mask = scan
    rows = pl.DataFrame(
        extract_lesion(image, {"R1": mask, "R2": np.roll(mask, 2, 1)}, None, quick),
        infer_schema_length=None,
    )
    assert (
        rows.group_by("reader", "region").len()["len"].to_list() == [len(feature_names(quick))] * 8
    )
    assert set(rows["region"]) == set(region_names(quick))
    assert rows.select((pl.col("value").is_null() != pl.col("reason").is_null()).all()).item()
    assert not rows["value"].is_nan().any()


def test_a_reader_is_measured_the_same_whoever_else_has_read(scan, quick):
    image, mask = scan
    alone = extract_lesion(image, {"R1": mask}, None, quick)
    beside = extract_lesion(image, {"R0": np.roll(mask, 6, 2), "R1": mask}, None, quick)
    assert [r for r in beside if r["reader"] == "R1"] == alone


def test_other_lesions_are_left_out_of_the_rings_alone(scan, quick):
    image, mask = scan
    free, crowded = (
        extract_lesion(image, {"R1": mask}, others, quick)
        for others in (None, np.roll(mask, 20, 2) & ~mask)
    )
    volumes = [{r["region"]: r["region_volume_mm3"] for r in rows} for rows in (free, crowded)]
    assert volumes[0]["tumor"] == volumes[1]["tumor"]
    assert volumes[0]["ring_5_10"] > volumes[1]["ring_5_10"]


def test_a_ring_outside_the_lung_has_rows_with_its_reason(quick):
    mask = ball((40, 40, 40), 7)
    rows = extract_lesion(
        as_ct(np.random.default_rng(0).normal(40, 20, mask.shape)), {"R1": mask}, None, quick
    )
    assert {
        (r["region"], r["value"] is None, r["reason"]) for r in rows if r["region"] != "tumor"
    } == {(region, True, "less than 30% of the ring is lung") for region in region_names(quick)[1:]}


def test_an_empty_mask_has_rows_with_its_reason(scan, quick):
    image, mask = scan
    rows = extract_lesion(image, {"R1": mask, "R2": np.zeros_like(mask)}, None, quick)
    empty = [r for r in rows if r["reader"] == "R2"]
    assert len(empty) == 4 * len(feature_names(quick))
    assert {(r["value"], r["reason"], r["region_volume_mm3"]) for r in empty} == {
        (None, "the reader's mask holds no voxel", None)
    }
    assert extract_lesion(image, {}, None, quick) == []


def test_a_scan_too_small_for_a_filter_says_so(radiomics_settings):
    mask = np.zeros((3, 40, 40), dtype=bool)
    mask[1, 12:20, 12:20] = True
    rows = extract_lesion(
        as_ct(np.random.default_rng(0).normal(0, 90, mask.shape)),
        {"R1": mask},
        None,
        radiomics_settings,
    )
    assert {
        r["reason"] for r in rows if r["region"] == "tumor" and r["feature"].startswith("log")
    } == {"the scan is too small for this filter"}


def test_a_mask_of_another_grid_is_refused(scan, quick):
    with pytest.raises(GridError, match="mask of reader R1"):
        extract_lesion(scan[0], {"R1": np.ones((3, 3, 3), dtype=bool)}, None, quick)


def test_an_unknown_engine_is_refused_by_name(scan, quick):
    with pytest.raises(
        UnusableSettingError, match=r"engine = 'other' cannot be used: use one of .*pyradiomics"
    ):
        extract_lesion(scan[0], {"R1": scan[1]}, None, quick | {"engine": "other"})
    assert engine_name(quick | {"engine": "pyradiomics"}).startswith(
        "pyradiomics 3.0.1, preparation "
    )


def test_laplacian_features_hardly_depend_on_how_far_out_the_scan_is_cropped(radiomics_settings):
    """20 mm more around the crop change no feature of any sigma by more than a thousandth."""
    mask = ball((150, 150, 150), 9)
    image = as_ct(np.where(mask, 40, -820) + np.random.default_rng(8).normal(0, 40, mask.shape))
    settings = radiomics_settings | {"wavelet": "", "classes": ["firstorder", "glcm", "gldm"]}
    near, far = (
        [
            (r["region"], r["feature"], r["value"])
            for r in extract_lesion(image, {"R1": mask}, None, settings | {"padding_mm": padding})
        ]
        for padding in (40.0, 60.0)
    )
    changes = [
        abs(a / b - 1)
        for (_, name, a), (_, _, b) in zip(near, far, strict=True)
        if name.startswith("log") and b
    ]
    assert len(changes) > 1000
    assert 0 < max(changes) <= 1e-3


BAD_MASKS = {
    "one voxel": (slice(30, 31),) * 3,
    "one slice": (slice(30, 31), slice(25, 35), slice(25, 35)),
    "at the border": (slice(0, 8), slice(0, 8), slice(0, 8)),
    "whole scan": (slice(0, 60),) * 3,
}


@pytest.mark.parametrize("scanned", ["noise", "constant air"])
@pytest.mark.parametrize("outlined", BAD_MASKS)
def test_odd_masks_and_flat_scans_give_a_value_or_a_reason(quick, outlined, scanned):
    mask = np.zeros((60, 60, 60), dtype=bool)
    mask[BAD_MASKS[outlined]] = True
    hu = (
        np.full(mask.shape, -1000.0)
        if scanned == "constant air"
        else np.random.default_rng(2).normal(-400, 90, mask.shape)
    )
    rows = extract_lesion(as_ct(hu), {"R1": mask}, None, quick)
    assert len(rows) == 4 * len(feature_names(quick))
    assert all((r["value"] is None) != (r["reason"] is None) for r in rows)
    assert all(r["value"] is None or np.isfinite(r["value"]) for r in rows)


def test_a_lesion_larger_than_memory_allows_is_refused_before_anything_is_made(scan, quick):
    """Two voxels at opposite corners of the scan need nearly all of it.

    The box counts, not the volume.
    """
    image, mask = scan
    corners = np.zeros_like(mask)
    corners[0, 0, 0] = corners[-1, -1, -1] = True
    whole = int(
        np.prod([np.ceil(n * s) for n, s in zip(image.GetSize(), image.GetSpacing(), strict=True)])
    )
    assert extract_lesion(image, {"R1": mask}, None, quick | {"maximum_crop_voxels": whole})
    tracemalloc.start()
    with pytest.raises(CropTooLargeError, match="maximum_crop_voxels") as refused:
        extract_lesion(
            image, {"R1": mask, "R2": corners}, None, quick | {"maximum_crop_voxels": whole - 1}
        )
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < whole, "not one byte a voxel"
    assert "outlines" in reason_of(refused.value)

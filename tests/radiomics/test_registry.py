"""Feature definitions against the Image Biomarker Standardisation Initiative: its digital phantom and its CT phantom."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from dagster_project.radiomics.extraction import feature_names
from dagster_project.radiomics.pyradiomics_engine import compute_class, compute_region
from dagster_project.radiomics.registry import ibsi_deviation, ibsi_tag
from dagster_project.radiomics.resampling import bounding_box, lesion_grid
from tests.radiomics.conftest import read_ct

CLASSES = ("firstorder", "shape", "glcm", "glrlm", "glszm", "gldm", "ngtdm")


def reference_values(path: Path) -> dict[str, tuple[float, float]]:
    """Value and tolerance by tag; a value is printed to three digits, so that it is never known better than half the third."""
    with path.open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file, delimiter=";") if row["reference value"]]
    values = {row["tag"]: (float(row["reference value"]), float(row["tolerance"])) for row in rows}
    return {tag: (v, max(tol, 0.5 * 10 ** (math.floor(math.log10(abs(v))) - 2) if v else 0.0)) for tag, (v, tol) in values.items()}


def missed(found: dict[str, float], path: Path) -> tuple[int, set[str]]:
    """How many features have a reference value, and which miss it."""
    reference = reference_values(path)
    tagged = {name: ibsi_tag(f"original_{name}") for name in found}
    known = {name: reference[tag] for name, tag in tagged.items() if tag}
    return len(known), {name for name, (value, tolerance) in known.items() if abs(found[name] - value) > tolerance * (1 + 1e-9)}


@pytest.mark.real_data
def test_the_digital_phantom_gives_99_of_102_values_and_the_deviations_are_named(shared_data):
    folder = shared_data / "ibsi"
    image, mask = (
        sitk.GetArrayFromImage(sitk.ReadImage(folder / "digital_phantom/nifti" / name))
        for name in ("image/phantom.nii.gz", "mask/mask.nii.gz")
    )
    found = compute_region(image.astype(np.float32), mask > 0, CLASSES, bin_width_hu=1.0, spacing_mm=2.0)
    n, wrong = missed({name: value for name, (value, _) in found.items()}, folder / "ibsi_1_dig_phantom.csv")
    assert n == 102
    assert wrong == {"firstorder_Kurtosis", "shape_MinorAxisLength", "shape_LeastAxisLength"}
    assert all(ibsi_deviation(f"original_{name}") for name in wrong)
    assert found["firstorder_Kurtosis"][0] - 3 == pytest.approx(-0.355, abs=5e-4)


@pytest.mark.real_data
def test_configuration_c_of_the_ct_phantom_gives_101_of_102_values(shared_data):
    """Our grid (2 mm, centred), linear interpolation, whole HU, mask at one half, HU within [-1000, 400], bins of 25 from -1000."""
    image = read_ct(shared_data / "lung_ct" / "case_1" / "ct")
    outline = sitk.ReadImage(shared_data / "lung_ct" / "case_1" / "official_mask.nii.gz", sitk.sitkFloat64)
    outline.CopyInformation(image)
    box = bounding_box(sitk.GetArrayFromImage(outline) > 0)
    grid = lesion_grid(image, box, margin_mm=6, spacing_mm=2.0)
    volume, share = (_linear(i, grid) for i in (sitk.Cast(image, sitk.sitkFloat64), outline))
    whole = np.rint(volume).astype(np.float32)
    outlined = share >= 0.5 - 1e-6
    inside = outlined & (whole >= -1000) & (whole <= 400)
    levels = np.where(inside, np.floor((whole + 1000) / 25) + 1, 0).astype(np.int32)
    found = {}
    for name in CLASSES:
        mask, bins = (outlined, outlined.astype(np.int32)) if name == "shape" else (inside, levels)
        found |= {f"{name}_{k}": v for k, (v, _) in compute_class(name, whole, mask, bins, spacing_mm=2.0).items()}
    assert missed(found, shared_data / "ibsi" / "ibsi_1_chest_config_c.csv") == (102, {"firstorder_Kurtosis"})


def _linear(image: sitk.Image, grid) -> np.ndarray:
    origin = image.TransformContinuousIndexToPhysicalPoint([float(p[0]) for p in reversed(grid.positions)])
    size = tuple(reversed(grid.shape))
    return sitk.GetArrayFromImage(sitk.Resample(image, size, sitk.Transform(), sitk.sitkLinear, origin, (2.0,) * 3, image.GetDirection()))


def test_every_registered_feature_exists_and_deviations_belong_to_tagged_features(radiomics_settings):
    original = [name for name in feature_names(radiomics_settings) if name.startswith("original_")]
    tags = [tag for name in original if (tag := ibsi_tag(name))]
    assert len(tags) == len(set(tags)) == 102
    deviating = [name for name in original if ibsi_deviation(name)]
    assert len(deviating) == 4
    assert all(ibsi_tag(name) for name in deviating)


def test_filtered_images_have_no_ibsi_value():
    assert ibsi_tag("log-sigma-1-0-mm-3D_firstorder_Mean") is None

"""Simulated test-retest copies of a lesion, for data without repeat scans.

Each copy is the lesion as it might have been scanned and outlined again on the same day.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import SimpleITK as sitk

from dagster_project.radiomics.extraction import Row, measure_tumor
from dagster_project.radiomics.preparation import (
    LARGEST_ERROR_MM,
    ImageVisit,
    Noise,
    copy_visit,
    crop_visit,
    estimate_noise,
    prepare_visit,
)
from dagster_project.radiomics.regions import tumor_region
from dagster_project.radiomics.resampling import Mask

SPLINE_REACH_MM = 12.0
"""Voxels of the scan beyond the sampled part, for the B-spline and for a copy that is turned."""

Settings = Mapping[str, Any]


def measure_copies(
    image: sitk.Image,
    mask: Mask,
    *,
    contour_mm: float | None,
    settings: Settings,
    radiomics: Settings,
    peeling: Settings,
) -> Iterator[tuple[int, Row]]:
    """Yield every feature of the tumour in every perturbed copy.

    Each item is the number of the copy and a row of feature, value, reason and region_volume_mm3.
    The chain of Zwanenburg et al. (Sci Rep 2019; 9:614) by the means of DHI's null
    (`preparation.copy_visit`), for each of `copies`:

    1. moved by up to ± `shift_mm` and turned by up to ± `rotation_deg` about each axis;
    2. the scan's own noise, as estimated inside the lesion, taken out and as much of it drawn anew;
    3. the outline grown or shrunk and deformed, so that two copies' outlines differ by `contour_mm`
       (RMS);
    4. filters and features as of any lesion, in whole HU where the protocol asks for them.

    Copies are seeded by the crop's own content: they repeat whatever the lesion or its patient is
    called. They are compared among themselves: the unmoved lesion is none of them. They are turned,
    so that their voxels are cubes also where the protocol leaves slices as they are: as large as
    `spacing_mm`, or as the scan's pixels. They do not tell of breathing, dose, contrast phase or
    another scanner.

    Parameters
    ----------
    image, mask
        Full scan in HU and the lesion's mask (z, y, x); the mask is not empty.
    contour_mm
        RMS distance between the two readers' outlines of this lesion; None takes `contour_mm` of
        the settings. Never above `LARGEST_ERROR_MM`.
    settings, radiomics, peeling
        Sections `perturbation`, `radiomics` and `dhi` of study.toml; the last says how a lesion is
        peeled before noise is estimated.
    """
    margin = settings["padding_mm"]
    visit = crop_visit(image, mask, margin + SPLINE_REACH_MM)
    assert visit is not None, "the mask has voxels"
    noise = estimate_noise([prepare_visit(visit, peeling)])[0]
    contour = min(settings["contour_mm"] if contour_mm is None else contour_mm, LARGEST_ERROR_MM)
    for copy in range(1, settings["copies"] + 1):
        yield from (
            (copy, row) for row in _measure_copy(visit, copy, noise, contour, settings, radiomics)
        )


def _measure_copy(
    visit: ImageVisit,
    copy: int,
    noise: Noise,
    contour_mm: float,
    settings: Settings,
    radiomics: Settings,
) -> list[Row]:
    cube = {"spacing_mm": radiomics["spacing_mm"] or visit.spacing_mm[2]}
    pose = {**settings, **cube, "interpolator": radiomics.get("interpolator", "bspline")}
    volume, outline = copy_visit(
        visit,
        copy,
        noise,
        contour_mm,
        pose,
        margin_mm=settings["padding_mm"],
        growth_share=settings["growth_share"],
        within_voxels=True,
    )
    hu = volume + visit.base_hu
    rounded = (np.rint(hu) if radiomics.get("round_hu", True) else hu).astype(np.float32)
    return measure_tumor(rounded, tumor_region(outline, {**radiomics, **cube}), radiomics)

"""Radiomic features of a lesion on one scan.

Every region and every reader is measured on one crop, which is resampled and filtered once.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, Protocol, TypeAlias

import numpy as np
import SimpleITK as sitk

from dagster_project.radiomics import fused_engine, pyradiomics_engine
from dagster_project.radiomics.derived_images import derive_images, derived_image_names
from dagster_project.radiomics.ibsi_families import compute_families, family_features
from dagster_project.radiomics.processing import bins_of, check_processing, grid_spacing
from dagster_project.radiomics.regions import (
    Outline,
    Region,
    derive_regions,
    region_names,
    resegment,
    ring_reach,
    tumor_region,
)
from dagster_project.radiomics.resampling import (
    Array,
    Box,
    LesionGrid,
    Mask,
    Spacing,
    bounding_box,
    check_grid,
    lesion_grid,
    resample_image,
    resample_mask,
    resample_outside,
    spacing_zyx,
    union_box,
)

Row: TypeAlias = dict[str, Any]
Features: TypeAlias = dict[str, pyradiomics_engine.Value]

EMPTY_MASK = "the reader's mask holds no voxel"
IMAGE_TOO_SMALL = "the scan is too small for this filter"
SHAPE, SHAPE_IMAGE = "shape", "original"
"""Shape belongs to the region, not to an image.

It is computed once, beside the original image; so are the families of IBSI 1.
"""


class Engine(Protocol):
    """Computes features on finished images; `pyradiomics_engine` is the engine of reference."""

    def engine_name(self) -> str:
        """Engine and version, as stored with every value."""

    def class_feature_names(self, feature_class: str) -> tuple[str, ...]:
        """The features of a class, in order."""

    def compute_region(
        self, image: Array, mask: Mask, classes: Any, *, bin_width_hu: float,
        spacing_mm: float | Spacing, bin_count: int = 0, bin_start_hu: float | None = None,
    ) -> Features:  # fmt: skip
        """All features of some classes of one region on one image."""

    def compute_shape(self, mask: Mask, spacing_mm: Spacing) -> Features:
        """Shape of a mask on a grid of any spacing."""


ENGINES: dict[str, Engine] = {"pyradiomics": pyradiomics_engine, "fused": fused_engine}
"""Engines by the name that study.toml [radiomics] `engine` may hold."""


class CropTooLargeError(ValueError):
    """A lesion that needs more voxels than a worker's memory is meant to hold.

    Raised before they are made.
    """

    def __init__(self, needed: int, allowed: int) -> None:
        super().__init__(
            f"the outlines and the margin around them take {needed / 1e6:.1f} million voxels "
            "where study.toml [radiomics] maximum_crop_voxels "
            f"allows {allowed / 1e6:.1f}: check the outlines (parts far from each other?), "
            "or raise it where workers have more memory"
        )


def engine_of(settings: Mapping[str, Any]) -> Engine:
    """The engine that the protocol asks for."""
    return ENGINES[settings.get("engine", "pyradiomics")]


PREPARATION = 2
"""Raised with every change of what the engines are given: crop, masks, the grid of the shape."""


def engine_name(settings: Mapping[str, Any]) -> str:
    """Engine, its version and that of the preparation, as stored with every value.

    Asked first, so that a protocol by which no image can be prepared is refused here.
    """
    check_processing(settings)
    return f"{engine_of(settings).engine_name()}, preparation {PREPARATION}"


def feature_names(settings: Mapping[str, Any]) -> tuple[str, ...]:
    """Every feature of a region in order, as PyRadiomics names it: 1,316 with the study's settings.

    Families of IBSI 1 that the protocol asks for come last.
    """
    check_processing(settings)
    engine = engine_of(settings)
    of_classes = tuple(
        f"{image}_{feature_class}_{feature}"
        for image in derived_image_names(settings)
        for feature_class in _classes_of(image, settings)
        for feature in engine.class_feature_names(feature_class)
    )
    return (*of_classes, *(f"{SHAPE_IMAGE}_{name}" for name in family_features(settings)))


def extract_lesion(
    image: sitk.Image, masks: Mapping[str, Mask], others: Mask | None, settings: Mapping[str, Any]
) -> list[Row]:
    """Features of the tumour and its rings, for each reader's mask of one lesion on one scan.

    1. One crop for all readers: the box around all masks, 10 mm for the rings, `padding_mm` for the
       filters, ended by the scan.
    2. Resampled once to voxels of `processing.grid_spacing` on a grid centred on the scan: the
       image by `interpolator`, a voxel is in the mask where the mask covers more than half of it
       (`resample_mask`).
    3. Regions of each reader: see `regions.derive_regions`. Shape and volume of the tumour are
       taken on the scan's own grid. Intensities and texture are taken where re-segmentation leaves
       the region, on every image (`regions.resegment`).
    4. Each of the 14 images is made once; a region's features are computed on the part inside its
       own bounding box.
    5. A feature that cannot exist has value None and a reason: of its region, of its image, or of
       its formula.

    Parameters
    ----------
    image
        CT in HU, any spacing and orientation.
    masks
        Reader → mask (z, y, x) on the image's grid.
    others
        Union of the scan's other lesions on the same grid, which the rings leave out.
    settings
        study.toml [radiomics].

    Returns
    -------
    Rows of reader, region, feature, value, reason and region_volume_mm3: every feature of every
    region of every reader.

    Raises
    ------
    GridError
        A mask does not have the image's shape.
    CropTooLargeError
        The box around all masks, with its margin, is larger than the protocol allows.
    UnusableSettingError
        The protocol names an engine that does not exist, or has a value by which no image can be
        prepared.
    """
    for reader, mask in masks.items():
        check_grid(image, mask, f"the mask of reader {reader}")
    found = {reader: bounding_box(mask) for reader, mask in masks.items()}
    boxes = [box for box in found.values() if box is not None]
    rows = [
        row for reader, box in found.items() if box is None for row in _empty_rows(reader, settings)
    ]
    if not boxes:
        return rows
    outlined = {reader: masks[reader] for reader, box in found.items() if box is not None}
    volume, regions = _prepare(image, outlined, others, union_box(boxes), settings)
    return rows + _measure(volume, regions, settings)


def prepare_tumor(
    image: sitk.Image, mask: Mask, settings: Mapping[str, Any]
) -> tuple[Array, Region]:
    """The resampled crop of a lesion and the tumour on it, as `extract_lesion` makes them.

    The outline must not be empty.

    Raises
    ------
    GridError, CropTooLargeError, UnusableSettingError
        As `extract_lesion` does.
    """
    check_grid(image, mask, "the mask")
    box = bounding_box(mask)
    assert box is not None, "the mask has voxels"
    grid = _bounded_grid(image, box, settings)
    on_grid = {**settings, "spacing_mm": grid.spacing_mm}
    tumor = tumor_region(_on_grid(mask, grid, settings), on_grid, _outline(image, mask))
    return _resampled(image, grid, settings), tumor


def measure_tumor(volume: Array, tumor: Region, settings: Mapping[str, Any]) -> list[Row]:
    """Features of a tumour on a finished crop.

    Rows of feature, value, reason and region_volume_mm3.

    The same filters, engine and reasons as in `extract_lesion`, without rings; for lesions that
    were changed on purpose.
    """
    rows = _measure(volume, [("", tumor)], settings)
    return [
        {name: v for name, v in row.items() if name not in {"reader", "region"}} for row in rows
    ]


def _prepare(
    image: sitk.Image,
    masks: Mapping[str, Mask],
    others: Mask | None,
    box: Box,
    settings: Mapping[str, Any],
) -> tuple[Array, list[tuple[str, Region]]]:
    """The resampled crop, and the regions of all readers on it."""
    grid = _bounded_grid(image, box, settings)
    volume, on_grid = _resampled(image, grid, settings), {**settings, "spacing_mm": grid.spacing_mm}
    elsewhere = None if others is None else _on_grid(others, grid, settings)
    outside = resample_outside(image, grid)
    regions = []
    for reader, mask in masks.items():
        tumor, outline = _on_grid(mask, grid, settings), _outline(image, mask)
        found = derive_regions(volume, tumor, elsewhere, on_grid, outside, outline)
        regions += [(reader, region) for region in found]
    return volume, regions


def _resampled(image: sitk.Image, grid: LesionGrid, settings: Mapping[str, Any]) -> Array:
    round_hu, interpolator = settings.get("round_hu", True), settings.get("interpolator", "bspline")
    return resample_image(image, grid, round_hu=round_hu, interpolator=interpolator)


def _on_grid(mask: Mask, grid: LesionGrid, settings: Mapping[str, Any]) -> Mask:
    return resample_mask(mask, grid, half_covered=settings.get("half_covered", "nearest"))


def _outline(image: sitk.Image, mask: Mask) -> Outline:
    """A mask with voxels on the scan's own grid, cut to them."""
    box = bounding_box(mask)
    assert box is not None, "the mask has voxels"
    return Outline(np.ascontiguousarray(mask[box]), spacing_zyx(image))


def _bounded_grid(image: sitk.Image, box: Box, settings: Mapping[str, Any]) -> LesionGrid:
    """The crop's grid, with room for rings and filters, unless it exceeds the protocol's limit."""
    check_processing(settings)
    margin_mm, spacing_mm = (
        ring_reach(settings) + settings["padding_mm"],
        grid_spacing(image, settings),
    )
    grid = lesion_grid(image, box, margin_mm=margin_mm, spacing_mm=spacing_mm)
    if math.prod(grid.shape) > settings["maximum_crop_voxels"]:
        raise CropTooLargeError(math.prod(grid.shape), settings["maximum_crop_voxels"])
    return grid


def _measure(
    volume: Array, regions: list[tuple[str, Region]], settings: Mapping[str, Any]
) -> list[Row]:
    """Rows of all regions; images in the outer loop, so that one image is in memory at a time."""
    regions = [(reader, resegment(volume, region, settings)) for reader, region in regions]
    on_grid = {**settings, "spacing_mm": regions[0][1].spacing_mm}
    boxes = {
        id(region): bounding_box(region.mask) for _, region in regions if region.reason is None
    }
    inner = [box for box in boxes.values() if box is not None]
    values: dict[int, Features] = {id(region): {} for _, region in regions}
    for name, part in derive_images(volume, union_box(inner), on_grid) if inner else ():
        for _, region in regions:
            if region.reason is None:
                values[id(region)].update(
                    _measure_region(name, part, region, union_box(inner), on_grid)
                )
    for _, region in regions:
        if region.reason is None and settings.get("ibsi_families"):
            of_families = compute_families(volume, region.mask, on_grid, inside=region.inside)
            values[id(region)].update(
                {f"{SHAPE_IMAGE}_{name}": value for name, value in of_families.items()}
            )
    return [
        row
        for reader, region in regions
        for row in _rows(reader, region, values[id(region)], settings)
    ]


def _measure_region(
    name: str, part: Array, region: Region, outer: Box, settings: Mapping[str, Any]
) -> Features:
    """One region's features on one image, both cut to the region's box."""
    inside = region.intensity_mask[outer]
    box = bounding_box(inside)
    assert box is not None, "a region without a reason has voxels"
    engine, classes = engine_of(settings), _classes_of(name, settings)
    own_grid = _own_grid(region) if SHAPE in classes else None
    found = engine.compute_region(
        np.ascontiguousarray(part[box]),
        np.ascontiguousarray(inside[box]),
        classes if own_grid is None else [c for c in classes if c != SHAPE],
        spacing_mm=region.spacing_mm,
        **bins_of(settings, original=name == SHAPE_IMAGE),
    )
    if own_grid is not None:
        found |= engine.compute_shape(own_grid.mask, own_grid.spacing_mm)
    return {f"{name}_{feature}": value for feature, value in found.items()}


def _own_grid(region: Region) -> Outline | None:
    """What the shape is taken from, where that is not the intensity mask."""
    if region.outline is not None or region.inside is None:
        return region.outline
    box = bounding_box(region.mask)
    assert box is not None, "a region without a reason has voxels"
    return Outline(np.ascontiguousarray(region.mask[box]), region.spacing_mm)


def _rows(
    reader: str, region: Region, values: Features, settings: Mapping[str, Any]
) -> Iterator[Row]:
    for feature in feature_names(settings):
        value, reason = values.get(feature, (None, region.reason or IMAGE_TOO_SMALL))
        yield _row(reader, region.name, feature, value, reason, region.volume_mm3)


def _empty_rows(reader: str, settings: Mapping[str, Any]) -> Iterator[Row]:
    for region in region_names(settings):
        for feature in feature_names(settings):
            yield _row(reader, region, feature, None, EMPTY_MASK, None)


def _row(
    reader: str,
    region: str,
    feature: str,
    value: float | None,
    reason: str | None,
    volume_mm3: float | None,
) -> Row:
    return {
        "reader": reader,
        "region": region,
        "feature": feature,
        "value": value,
        "reason": reason,
        "region_volume_mm3": volume_mm3,
    }


def _classes_of(image: str, settings: Mapping[str, Any]) -> list[str]:
    return [c for c in settings["classes"] if c != SHAPE or image == SHAPE_IMAGE]

"""Readers' outlines on the CT grid: read from any format, measured, compared, kept."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom
import SimpleITK as sitk
from pydicom.dataset import Dataset
from scipy import ndimage

from dagster_project.domain.imaging.contours import read_structures
from dagster_project.domain.imaging.diameters import Diameter, longest_diameter
from dagster_project.domain.imaging.empty_slices import settle_empty_slices
from dagster_project.domain.imaging.grids import affine_of, to_patient
from dagster_project.domain.imaging.outlined_series import Part, References
from dagster_project.domain.imaging.outlines import BorderRule, Mask, MaskError, Outline, Source
from dagster_project.domain.imaging.segmentations import read_segments
from dagster_project.domain.imaging.segments import segment_parts
from dagster_project.domain.imaging.series import Series
from dagster_project.domain.imaging.structure_sets import list_rois
from dagster_project.domain.imaging.volumes import is_volume, name_parts, read_volume
from dagster_project.lake.files import write_whole
from dagster_project.lake.voxels import OUTSIDE_FIELD_HU

__all__ = [
    "BorderRule",
    "MaskError",
    "Outline",
    "Source",
    "dice",
    "kept_overlap",
    "kept_surface_distances",
    "load_mask",
    "load_union",
    "mask_digest",
    "mask_overlap",
    "measure_mask",
    "outline_parts",
    "read_outlines",
    "save_mask",
    "surface_dice",
    "surface_distances",
]

Floats = npt.NDArray[np.float64]


ROUNDING_MM = 1e-6
"""By so much a distance may exceed a tolerance that it equals but for rounding.

One slice of 1 mm apart is within 1 mm, whatever a computed spacing has in its last digit.
"""

SMALLER_PIECES = 0.05
"""Share of an outline in pieces beside the largest from which on it is flagged.

Less is a ragged border.
"""


def read_outlines(
    path: Path,
    series: Series,
    wanted: Callable[[str], bool] = lambda _: True,
    positions: Collection[int] | None = None,
) -> list[Outline]:
    """Every outline of a file as a mask on the grid of a series.

    Parameters
    ----------
    path
        RTSTRUCT or SEG (DICOM), NIfTI or NRRD.
    wanted
        Which labels to read; the others cost nothing.
    positions
        Of a structure set or segmentation the ROIs or segments that are known to lie on this series
        (`outline_parts`); None finds out.

    Raises
    ------
    MaskError
        Where the file does not belong to the series or cannot be used. An outline that holds
        nothing is no error: its mask is empty.
    """
    outlines = _outlines(path, series, wanted, positions)
    settled = (settle_empty_slices(one, series) for one in outlines)
    return [_flag_pieces(_flag_outside(one, series)) for one in settled]


def _flag_outside(outline: Outline, series: Series) -> Outline:
    """The outline with the flag `outside_field` where it holds a voxel that was not measured."""
    if not outline.mask.any():
        return outline
    box = bounding_box(outline.mask)
    if not (series.array[box][outline.mask[box]] == OUTSIDE_FIELD_HU).any():
        return outline
    return replace(outline, flags=(*outline.flags, "outside_field"))


def _flag_pieces(outline: Outline) -> Outline:
    """The outline, flagged `several_pieces` where it has large pieces beside the largest.

    Large is a share of at least `SMALLER_PIECES` of the outline.
    """
    if not outline.mask.any() or "slices_empty" in outline.flags:
        return outline
    pieces, _ = ndimage.label(
        outline.mask[bounding_box(outline.mask)], structure=np.ones((3, 3, 3))
    )
    sizes = np.bincount(pieces.ravel())[1:]
    if sizes.max() > (1 - SMALLER_PIECES) * sizes.sum():
        return outline
    return replace(outline, flags=(*outline.flags, "several_pieces"))


def _outlines(
    path: Path, series: Series, wanted: Callable[[str], bool], positions: Collection[int] | None
) -> list[Outline]:
    if is_volume(path):
        return read_volume(path, series, wanted)
    dataset = _dicom(path)
    modality = str(dataset.get("Modality", "")).strip()
    if modality == "RTSTRUCT":
        return read_structures(dataset, series, wanted, positions)
    if modality == "SEG":
        return read_segments(dataset, series, wanted, positions)
    raise MaskError(
        "is neither RTSTRUCT nor SEG, (0008,0060) Modality; export the contours as one of them, "
        "or as NIfTI or NRRD"
    )


def outline_parts(path: Path) -> list[Part]:
    """What each outline of a file states about the images it was drawn on.

    It is one part per ROI or segment, or one for a whole mask.

    Raises
    ------
    MaskError
        Where the file cannot be read.
    """
    if is_volume(path):
        uid, label = name_parts(path)
        return [Part(0, label, References(series=frozenset({uid} if uid else ())))]
    dataset = _dicom(path)
    if str(dataset.get("Modality", "")).strip() == "RTSTRUCT":
        return [
            Part(roi.position, roi.label, roi.references, roi.refused) for roi in list_rois(dataset)
        ]
    return segment_parts(dataset)


def _dicom(path: Path) -> Dataset:
    try:
        return pydicom.dcmread(path)
    except Exception as error:
        raise MaskError("cannot be read as DICOM; export the contours again") from error


def measure_mask(mask: Mask, image: sitk.Image, affine: Floats | None = None) -> dict[str, Any]:
    """Columns of `reads` that a mask and its CT give.

    Volume: voxels times voxel volume, nothing smoothed. Diameters: see `longest_diameter`. Mean: of
    the HU under the mask within the field of view. An empty mask has no voxels, volume 0 and NULL
    for the rest.

    Parameters
    ----------
    mask
        (z, y, x) on the grid of `image`.
    affine
        From index to patient coordinates, where a gantry tilt makes it another than the image's.
    """
    box = bounding_box(mask)
    inside = mask[box]
    n = int(inside.sum())
    measured = {
        "voxel_count": n,
        "volume_mm3": float(n * np.prod(image.GetSpacing())),
        "mask_digest": mask_digest(mask),
    }
    if n == 0:
        return {**measured, **dict.fromkeys(_OF_VOXELS)}
    affine = affine_of(image) if affine is None else affine
    values = sitk.GetArrayViewFromImage(image)[box][inside]
    values = values[values != OUTSIDE_FIELD_HU]
    mean = float(values.mean(dtype=np.float64)) if values.size else None
    diameter = longest_diameter(inside, *image.GetSpacing()[:2])
    return {
        **measured,
        "mean_hu": mean,
        **_diameter_columns(diameter, box, affine),
        **_centroid(inside, box, affine),
    }


_OF_VOXELS = (
    "mean_hu",
    "longest_diameter_mm",
    "short_axis_mm",
    "diameter_slice",
    "diameter_ends_mm",
    "centroid_x_mm",
    "centroid_y_mm",
    "centroid_z_mm",
)


def _diameter_columns(
    diameter: Diameter | None, box: tuple[slice, ...], affine: Floats
) -> dict[str, Any]:
    if diameter is None:
        return {}
    plane = diameter.slice + box[0].start
    ends = to_patient(
        affine, np.array([[x + box[2].start, y + box[1].start, plane] for x, y in diameter.ends])
    )
    return {
        "longest_diameter_mm": diameter.longest_mm,
        "short_axis_mm": diameter.short_axis_mm,
        "diameter_slice": plane,
        "diameter_ends_mm": ";".join(",".join(f"{c:.3f}" for c in end) for end in ends),
    }


def _centroid(inside: Mask, box: tuple[slice, ...], affine: Floats) -> dict[str, float]:
    z, y, x = (float(i.mean()) + b.start for i, b in zip(np.nonzero(inside), box, strict=True))
    (place,) = to_patient(affine, np.array([[x, y, z]]))
    return {f"centroid_{axis}_mm": float(c) for axis, c in zip("xyz", place, strict=True)}


def bounding_box(mask: Mask) -> tuple[slice, slice, slice]:
    """Slices, rows and columns that hold something; empty ranges for an empty mask."""
    found = []
    for axes in ((1, 2), (0, 2), (0, 1)):
        places = np.flatnonzero(mask.any(axis=axes))
        found.append(slice(int(places[0]), int(places[-1]) + 1) if places.size else slice(0, 0))
    return (found[0], found[1], found[2])


def mask_digest(mask: Mask) -> str:
    """SHA-256 of the mask: its shape, its bounding box and the voxels within."""
    box = bounding_box(mask)
    digest = hashlib.sha256(
        np.array([mask.shape, [b.start for b in box], mask[box].shape], np.int64).tobytes()
    )
    digest.update(np.packbits(mask[box]).tobytes())
    return digest.hexdigest()


def dice(a: Mask, b: Mask) -> float | None:
    """Dice: twice the common voxels over the sum of both masks.

    None where both are empty, since nothing was compared.

    >>> dice(np.array([True, True]), np.array([True, False]))
    0.6666666666666666
    """
    total = int(np.count_nonzero(a)) + int(np.count_nonzero(b))
    return 2 * int(np.count_nonzero(a & b)) / total if total else None


def surface_dice(
    a: Mask, b: Mask, spacing_zyx: Sequence[float], tolerance_mm: float = 1.0
) -> float | None:
    """Share of the two surfaces' voxels within a tolerance of the other surface.

    None where both masks are empty, 0 where one is.

    Surface voxels are those with a face outside the mask. For small lesions, where one layer of
    voxels rules the volumetric Dice.
    """
    if not a.any() or not b.any():
        return 0.0 if a.any() or b.any() else None
    return surface_distances(a, b, spacing_zyx, tolerance_mm).surface_dice


@dataclass(frozen=True)
class SurfaceDistances:
    """How far two surfaces lie apart.

    Surface Dice at a tolerance, Hausdorff distance at 95 % and mean distance, both in mm.
    """

    surface_dice: float
    hd95_mm: float
    mean_mm: float


def surface_distances(
    a: Mask, b: Mask, spacing_zyx: Sequence[float], tolerance_mm: float = 1.0
) -> SurfaceDistances:
    """Distances between the surface voxels of two masks that both hold something.

    1. Surface voxels are those with a face outside the mask; each has its distance to the nearest
       surface voxel of the other.
    2. HD95: of the two directions the larger 95th percentile (Huttenlocher 1993, at 95 %).
    3. Mean surface distance: the mean over the voxels of both surfaces.

    Raises
    ------
    ValueError
        Where a mask is empty: an empty surface has no distance.
    """
    if not a.any() or not b.any():
        raise ValueError("surface_distances: a mask is empty; there is no distance to nothing")
    box = tuple(slice(max(0, s.start - 1), s.stop + 1) for s in bounding_box(a | b))
    surfaces = [_surface(np.pad(m[box], 1)) for m in (a, b)]
    to_a, to_b = (ndimage.distance_transform_edt(~s, sampling=spacing_zyx) for s in surfaces)
    from_a, from_b = to_b[surfaces[0]], to_a[surfaces[1]]
    every = np.concatenate([from_a, from_b])
    hd95 = max(float(np.percentile(from_a, 95)), float(np.percentile(from_b, 95)))
    within = every <= tolerance_mm + ROUNDING_MM
    return SurfaceDistances(float(within.mean()), hd95, float(every.mean()))


def _surface(mask: Mask) -> Mask:
    return mask & ~ndimage.binary_erosion(mask)


SMALL_LESION_MM3 = 1000.0
"""Below this volume (mean of both masks) Dice depends more on voxel size than on the readers."""


def mask_overlap(a: Mask, b: Mask, spacing_zyx: Sequence[float]) -> float | None:
    """Agreement of two masks: volumetric Dice, or surface Dice at 1 mm for small lesions.

    Lesions below 1 cm3 are small.
    """
    mean_mm3 = (np.count_nonzero(a) + np.count_nonzero(b)) / 2 * float(np.prod(spacing_zyx))
    return surface_dice(a, b, spacing_zyx) if mean_mm3 < SMALL_LESION_MM3 else dice(a, b)


def save_mask(path: Path, mask: Mask) -> None:
    """Store a mask as its bounding box with one bit per voxel.

    The file appears whole or not at all.
    """
    box = bounding_box(mask)
    content = io.BytesIO()
    np.savez_compressed(
        content,
        shape=np.array(mask.shape),
        start=np.array([b.start for b in box]),
        size=np.array(mask[box].shape),
        bits=np.packbits(mask[box]),
    )
    write_whole(path, content.getvalue())


def load_mask(path: Path) -> Mask:
    """The mask that `save_mask` kept, in its full shape."""
    kept = _load_box(path)
    mask = np.zeros(kept.shape, bool)
    mask[kept.place] = kept.box
    return mask


def load_union(paths: Sequence[Path]) -> Mask | None:
    """What any of several kept masks of one scan holds; None of none."""
    if not paths:
        return None
    union = load_mask(paths[0])
    for path in paths[1:]:
        kept = _load_box(path)
        union[kept.place] |= kept.box
    return union


@dataclass(frozen=True)
class _KeptMask:
    shape: tuple[int, ...]
    start: tuple[int, ...]
    box: Mask

    @property
    def place(self) -> tuple[slice, ...]:
        return tuple(slice(a, a + n) for a, n in zip(self.start, self.box.shape, strict=True))


def _load_box(path: Path) -> _KeptMask:
    with np.load(path, allow_pickle=False) as kept:
        shape, start, size = (
            tuple(int(n) for n in kept[name]) for name in ("shape", "start", "size")
        )
        box = np.unpackbits(kept["bits"], count=int(np.prod(size))).astype(bool).reshape(size)
    return _KeptMask(shape, start, box)


def kept_overlap(a: Path, b: Path, spacing_zyx: Sequence[float] | None = None) -> float | None:
    """`mask_overlap` of two stored masks of one scan.

    Where no spacing is given, their Dice. Only their boxes are ever in memory.
    """
    masks = _in_one_box(a, b)
    return dice(*masks) if spacing_zyx is None else mask_overlap(*masks, spacing_zyx)


def kept_surface_distances(
    a: Path, b: Path, spacing_zyx: Sequence[float], tolerance_mm: float
) -> SurfaceDistances:
    """`surface_distances` of two kept masks of one scan."""
    return surface_distances(*_in_one_box(a, b), spacing_zyx, tolerance_mm)


def _in_one_box(a: Path, b: Path) -> tuple[Mask, Mask]:
    kept = [_load_box(path) for path in (a, b)]
    low = np.min([k.start for k in kept], axis=0)
    size = np.max([np.add(k.start, k.box.shape) for k in kept], axis=0) - low
    masks = [np.zeros(size, bool), np.zeros(size, bool)]
    for mask, one in zip(masks, kept, strict=True):
        mask[
            tuple(
                slice(s, s + n)
                for s, n in zip(np.subtract(one.start, low), one.box.shape, strict=True)
            )
        ] = one.box
    return masks[0], masks[1]

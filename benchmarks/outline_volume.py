"""Volume of an outline wherever it lies in the scan.

It is measured on the grid of the read, and on the isotropic grid of the intensities.

A ball is placed at random in scans of several spacings, and cut into the scan's voxels. Bias and
standard deviation of its volume, in per cent of the analytic one:

- as outlined: voxels of the scan, which shape features and `region_volume_mm3` of a tumour are
  taken from
- mesh: `original_shape_MeshVolume` of these voxels
- partial volume: voxels of 1 mm of which the outline covers half, which intensities are taken from
- nearest: voxels of 1 mm by the nearest neighbour, as it was before

The same for real outlines, where a folder of them is given.

    python -m benchmarks.outline_volume [--balls 200] [--seed 1]
        [--sarcomas ../shared/data/sarcoma_ct]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from dagster_project.radiomics.fused_engine import compute_shape
from dagster_project.radiomics.resampling import (
    LesionGrid,
    Mask,
    Spacing,
    bounding_box,
    lesion_grid,
    resample_mask,
    spacing_zyx,
)

SPACINGS: tuple[Spacing, ...] = (
    (1.0, 0.977, 0.977),
    (1.0, 0.82, 0.82),
    (0.75, 0.703, 0.703),
    (0.625, 0.625, 0.625),
    (1.0, 0.5, 0.5),
)
"""Slices and pixels of hospitals, in millimetres."""

RADIUS_MM, FIELD_MM, MARGIN_MM, TARGET_MM = 6.0, 120.0, 20.0, 1.0
NAMES = ("as outlined", "mesh", "partial volume", "nearest")


def volumes_of(image: sitk.Image, mask: Mask) -> tuple[float, float, float, float]:
    """Volumes of an outline in cubic millimetres, in the order of `NAMES`."""
    box, spacing = bounding_box(mask), spacing_zyx(image)
    assert box is not None, "the mask has voxels"
    grid = lesion_grid(image, box, margin_mm=5, spacing_mm=TARGET_MM)
    mesh, _ = compute_shape(np.ascontiguousarray(mask[box]), spacing)["shape_MeshVolume"]
    counted = float(mask.sum() * np.prod(spacing))
    return (
        counted,
        mesh or 0.0,
        float(resample_mask(mask, grid).sum()),
        float(_nearest(mask, grid).sum()),
    )


def _nearest(mask: Mask, grid: LesionGrid) -> Mask:
    places = [
        np.clip(np.floor(p + 0.5).astype(int), 0, n - 1)
        for p, n in zip(grid.positions, mask.shape, strict=True)
    ]
    return mask[np.ix_(*places)]


def placed_balls(spacing: Spacing, balls: int, seed: int) -> np.ndarray:
    """Volumes of balls at random places of a scan over the analytic one (balls, 4)."""
    random = np.random.default_rng([seed, *(round(1000 * mm) for mm in spacing)])
    shape = tuple(round(FIELD_MM / mm) for mm in spacing)
    image = sitk.Image(tuple(reversed(shape)), sitk.sitkInt16)
    image.SetSpacing(tuple(reversed(spacing)))
    axes = [np.arange(n) * mm for n, mm in zip(shape, spacing, strict=True)]
    found = []
    for _ in range(balls):
        z, y, x = (
            a - c
            for a, c in zip(axes, random.uniform(MARGIN_MM, FIELD_MM - MARGIN_MM, 3), strict=True)
        )
        mask = z[:, None, None] ** 2 + y[:, None] ** 2 + x**2 <= RADIUS_MM**2
        found.append(volumes_of(image, mask))
    return np.array(found) / (4 / 3 * np.pi * RADIUS_MM**3)


def _sarcoma_rows(folder: Path) -> list[str]:
    rows = []
    for case in sorted(folder.glob("case_*")):
        image, outline = (
            sitk.ReadImage(case / "official_nifti" / f"CT_{what}.nii.gz", sitk.sitkInt16)
            for what in ("image", "mask")
        )
        found = np.array(volumes_of(image, sitk.GetArrayFromImage(outline) > 0))
        spacing = " × ".join(f"{mm:.3g}" for mm in spacing_zyx(image))
        rows.append(
            f"| {case.name}, {found[0] / 1000:.0f} ml | {spacing} | "
            + " | ".join(f"{100 * v / found[0] - 100:+.1f}" for v in found)
            + " |"
        )
    return rows


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--balls", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--sarcomas", type=Path)
    chosen = parser.parse_args()
    print(
        f"| outline | slices × pixels, mm | {', % | '.join(NAMES)}, % |\n"
        f"|---|---|{'---:|' * len(NAMES)}"
    )
    for spacing in SPACINGS:
        found = 100 * placed_balls(spacing, chosen.balls, chosen.seed) - 100
        cells = " | ".join(
            f"{m:+.1f} ± {s:.1f}"
            for m, s in zip(found.mean(axis=0), found.std(axis=0), strict=True)
        )
        print(f"| ball of {RADIUS_MM:g} mm | {' × '.join(f'{mm:g}' for mm in spacing)} | {cells} |")
    for row in _sarcoma_rows(chosen.sarcomas) if chosen.sarcomas else []:
        print(row)


if __name__ == "__main__":
    main()

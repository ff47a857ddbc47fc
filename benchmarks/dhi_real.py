"""DHI after known edits of real tumours, none of which had a part in its limits.

    OMP_NUM_THREADS=1 python benchmarks/dhi_real.py ../shared/data [--repeats 3]

The shipped limits come from synthetic lesions alone, so that every source is held out. A second
visit is the scan turned (up to 3 degrees) and moved (up to 0.5 mm), edited inside the outline; both
visits get noise of their own, as much again as the scan has. What both share is the noise that was
in the scan: a repeat made so strays less than a genuine one. There are no genuine repeats here.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import sys
from pathlib import Path

import numpy as np
import polars as pl
import SimpleITK as sitk
from scipy.ndimage import distance_transform_edt, gaussian_filter

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.dhi import share
from benchmarks.ithscore import ithscore
from dagster_project.domain.imaging.masks import read_outlines
from dagster_project.domain.imaging.series import read_series
from dagster_project.radiomics.dhi import compare_lesion, derive_dhi
from dagster_project.radiomics.preparation import (
    READER_SCALE_MM,
    crop_visit,
    estimate_noise,
    prepare_visit,
    rotation_matrix,
)
from dagster_project.radiomics.resampling import bounding_box, grow_box, spacing_zyx
from dagster_project.study import load_study

MARGIN_MM = 25.0
READER_MM = 0.7
EDITS = (
    "none",
    "contour",
    "offset",
    "noise",
    "gain",
    "flatter",
    "radial",
    "necrosis",
    "cavity",
    "shrink_50",
)
FACTORS = {"gain": 1.15, "flatter": 0.5}


def tumours(folder):
    """Name, values (z, y, x) in HU, mask and spacing of every real tumour, cropped."""
    cases = {
        "nodule": ("two_readers/ct", "two_readers/reader_1.seg.dcm"),
        "lung case_3": ("lung_ct/case_3/ct", "lung_ct/case_3/*.dcm"),
        **{
            f"sarcoma {n}": (f"sarcoma_ct/case_{n}/image", f"sarcoma_ct/case_{n}/mask/*.dcm")
            for n in ("002", "019", "024")
        },
        "lung case_1": ("lung_ct/case_1/ct", "lung_ct/case_1/*.dcm"),
    }
    for name, (scan, contours) in cases.items():
        series = read_series(folder / scan)
        masks = [
            o.mask for file in sorted(folder.glob(contours)) for o in read_outlines(file, series)
        ]
        yield name, *cropped(series.image, max(masks, key=np.sum))


def cropped(image, mask):
    spacing = spacing_zyx(image)
    box = tuple(
        grow_box((part,) * 3, int(np.ceil(MARGIN_MM / mm)), (n,) * 3)[0]
        for part, mm, n in zip(bounding_box(mask), spacing, mask.shape, strict=True)
    )
    return sitk.GetArrayFromImage(image)[box].astype(float), mask[box], spacing


def as_scan(values, spacing):
    image = sitk.GetImageFromArray(np.rint(values).astype(np.int16))
    image.SetSpacing(tuple(reversed(spacing)))
    return image


def turned(values, mask, spacing, rng):
    """The scan and mask turned about the lesion and moved, on the same voxels."""
    from scipy.ndimage import map_coordinates

    centre = np.argwhere(mask).mean(axis=0)[:, None]
    mm = np.array(spacing)[:, None]
    points = (np.indices(mask.shape).reshape(3, -1) - centre) * mm
    where = (
        rotation_matrix(rng.uniform(-3, 3, 3)) @ points + rng.uniform(-0.5, 0.5, (3, 1))
    ) / mm + centre
    moved = map_coordinates(values, where, order=3, mode="nearest").reshape(mask.shape)
    return moved, map_coordinates(mask.astype(float), where, order=1).reshape(mask.shape) >= 0.5


def outlined(mask, spacing, rng):
    """Another reader's outline of the same lesion."""
    depth = np.where(
        mask,
        distance_transform_edt(mask, sampling=spacing),
        -distance_transform_edt(~mask, sampling=spacing),
    )
    error = gaussian_filter(
        rng.standard_normal(mask.shape), [READER_SCALE_MM / mm for mm in spacing]
    )
    return depth + error / error.std() * READER_MM > 0


def noisy(values, spacing, sd, rng):
    field = gaussian_filter(rng.standard_normal(values.shape), [0.6 / mm for mm in spacing])
    return values + field / field.std() * sd


def edited(values, mask, spacing, edit):
    """The lesion's inside after an edit; what lies outside stays."""
    depth = distance_transform_edt(mask, sampling=spacing)
    inside, median = values[mask], np.median(values[mask])
    changed = values.copy()
    core = depth > np.quantile(depth[mask], 0.75)
    if edit == "offset":
        return values + 30
    if edit in FACTORS:
        changed[mask] = median + FACTORS[edit] * (inside - median)
    elif edit == "necrosis":
        changed[core] -= 70
    elif edit == "cavity":
        changed[core] = -900
    elif edit == "radial":
        pull = inside - 0.8 * inside.std() * (depth[mask] - depth[mask].mean()) / depth[mask].std()
        order = np.empty(pull.size)
        order[np.argsort(pull)] = np.sort(inside)
        changed[mask] = order
    return changed


def shrunk(values, mask, share):
    """The whole scan drawn together about the lesion's centre, so that its volume is that share."""
    from scipy.ndimage import map_coordinates

    centre = np.argwhere(mask).mean(axis=0)[:, None]
    where = (np.indices(mask.shape).reshape(3, -1) - centre) / share ** (1 / 3) + centre
    return (
        map_coordinates(values, where, order=3, mode="nearest").reshape(mask.shape),
        map_coordinates(mask.astype(float), where, order=1).reshape(mask.shape) >= 0.5,
    )


def visits(values, mask, spacing, edit, seed):
    """The scan before and after."""
    rng = np.random.default_rng([seed, EDITS.index(edit)])
    noise = estimate_noise(
        [prepare_visit(crop_visit(as_scan(values, spacing), mask), load_study().section("dhi"))]
    )[0].sd_hu
    first = noisy(values, spacing, noise, rng)
    if edit == "contour":
        return (first, outlined(mask, spacing, rng)), (first, outlined(mask, spacing, rng))
    later, inside = (
        shrunk(values, mask, 0.5)
        if edit == "shrink_50"
        else (edited(values, mask, spacing, edit), mask)
    )
    moved, shape = turned(later, inside, spacing, rng)
    stronger = np.sqrt(2 * 1.25**2 - 1) if edit == "noise" else 1.0
    return (first, outlined(mask, spacing, rng)), (
        noisy(moved, spacing, noise * stronger, rng),
        outlined(shape, spacing, rng),
    )


def measure(values, mask, spacing, edit, seed, settings):
    """DHI (None with a reason), and the change of ITHscore."""
    (a, inside_a), (b, inside_b) = visits(values, mask, spacing, edit, seed)
    pair = compare_lesion(
        as_scan(a, spacing),
        inside_a,
        as_scan(b, spacing),
        inside_b,
        contour_mm=None,
        settings=settings,
    )
    row = {"site": "S", "patient": "P", "lesion": "L", "from_visit": "T0", "to_visit": "T1"} | pair
    return derive_dhi(pl.DataFrame([row], infer_schema_length=None), settings)["dhi"][0], abs(
        ithscore(b, inside_b) - ithscore(a, inside_a)
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--edits", nargs="+", choices=EDITS, default=EDITS)
    asked = parser.parse_args()
    settings, values_of = load_study().section("dhi"), {edit: [] for edit in asked.edits}
    print(f"| tumour (ml) | {' | '.join(asked.edits)} |\n|{'---|' * (len(asked.edits) + 1)}")
    for name, values, mask, spacing in tumours(asked.data):
        cells = []
        for edit in asked.edits:
            found = [
                measure(values, mask, spacing, edit, seed, settings)
                for seed in range(asked.repeats)
            ]
            values_of[edit] += [dhi for dhi, _ in found if dhi is not None]
            cells.append(
                " ".join("–" if dhi is None else f"{dhi:.2f}" for dhi, _ in found)
                + f" ({np.mean([i for _, i in found]):.2f})"
            )
        print(
            f"| {name} ({mask.sum() * np.prod(spacing) / 1000:.1f}) | {' | '.join(cells)} |",
            flush=True,
        )
    print(f"| DHI > 1, % (95 %) | {' | '.join(share(found, 1) for found in values_of.values())} |")


if __name__ == "__main__":
    main()

"""How long one region's 1,316 features take with three engines, side by side.

The engines are PyRadiomics as it comes, the reference engine and the fast engine.

    OMP_NUM_THREADS=1 python benchmarks/extraction.py [--volumes 2 14 92 359] [--rounds 3]

One thread, CPU seconds of this process (so that a busy machine counts little), the three in turn in
every round, the least of the rounds. Extraction alone: the 14 images are made before. Lesions with
a rough surface and texture on two scales, made from a seed. Each feature of the fast engine is
compared with PyRadiomics' own.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import argparse
import logging
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from scipy.ndimage import gaussian_filter

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from dagster_project.radiomics import fused_engine, pyradiomics_engine
from dagster_project.radiomics.derived_images import derive_images
from dagster_project.radiomics.resampling import bounding_box
from dagster_project.study import load_study

ROUNDING = 1e-12
"""Values below are not compared: PyRadiomics' own are then rounding."""


def lesion(volume_ml, seed, padding=24):
    """Image in whole HU and mask."""
    rng = np.random.default_rng(seed)
    radius = (volume_ml * 1000 * 3 / 4 / np.pi) ** (1 / 3)
    n = int(2.6 * radius) + 2 * padding
    z, y, x = np.indices((n, n, n), dtype=np.float32) - n / 2
    bumps, coarse = (
        gaussian_filter(rng.normal(size=(n, n, n)).astype(np.float32), s) for s in (4, 1.5)
    )
    mask = np.sqrt((z / 0.9) ** 2 + y**2 + (x / 1.1) ** 2) < radius * (
        1 - 0.08 * bumps / bumps.std()
    )
    image = gaussian_filter(
        np.where(mask, 30, -850) + 40 * coarse / coarse.std(), 0.7
    ) + rng.normal(0, 15, (n, n, n))
    return np.rint(image).astype(np.float32), mask


def plain(image, mask, classes, bin_width_hu):
    """PyRadiomics through its own constructors, as its extractor calls them."""
    from radiomics import getFeatureClasses

    inputs = sitk.GetImageFromArray(image), sitk.GetImageFromArray(mask.astype(np.uint8))
    found = {}
    for name in classes:
        calculator = getFeatureClasses()[name](*inputs, binWidth=bin_width_hu)
        calculator.enableAllFeatures()
        found.update(
            {
                f"{name}_{feature}": (float(np.squeeze(value).real), None)
                for feature, value in calculator.execute().items()
            }
        )
    return found


def cases(volume_ml, settings):
    """The 14 images of one region, with the classes computed on each."""
    image, mask = lesion(volume_ml, seed=round(volume_ml))
    box = bounding_box(mask)
    inside = np.ascontiguousarray(mask[box])
    return [
        (
            np.ascontiguousarray(part),
            inside,
            [c for c in settings["classes"] if c != "shape" or name == "original"],
        )
        for name, part in derive_images(image, box, settings)
    ]


def timed(compute, images):
    start = time.process_time()
    found = [compute(*case) for case in images]
    return time.process_time() - start, found


def largest_deviation(found, expected):
    """The largest relative deviation over all features of all images, with the feature's name.

    Features no larger than the rounding of sums that cancel are left out.
    """
    pairs = [
        (abs(value / reference[name][0] - 1), name)
        for values, reference in zip(found, expected, strict=True)
        for name, (value, _) in values.items()
        if value is not None and abs(reference[name][0]) > ROUNDING
    ]
    return max(pairs)


def measure(volume_ml, rounds, settings):
    images = cases(volume_ml, settings)
    fixed = {"bin_width_hu": settings["bin_width_hu"], "spacing_mm": settings["spacing_mm"]}
    engines = {
        "plain": lambda *case: plain(*case, settings["bin_width_hu"]),
        "reference": lambda *case: pyradiomics_engine.compute_region(*case, **fixed),
        "fused": lambda *case: fused_engine.compute_region(*case, **fixed),
    }
    seconds, found = dict.fromkeys(engines, np.inf), {}
    for _ in range(rounds):
        for name, compute in engines.items():
            elapsed, found[name] = timed(compute, images)
            seconds[name] = min(seconds[name], elapsed)
    return int(images[0][1].sum()), seconds, largest_deviation(found["fused"], found["plain"])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--volumes", type=float, nargs="+", default=[2.0, 14.0, 92.0], help="millilitres"
    )
    parser.add_argument("--rounds", type=int, default=3)
    chosen = parser.parse_args()
    logging.getLogger("radiomics").setLevel(logging.CRITICAL)
    warnings.simplefilter("ignore")
    settings = load_study().section("radiomics")
    fused_engine.warm()
    print(f"{fused_engine.engine_name()}; CPU seconds a region, {chosen.rounds} rounds")
    print(
        "  ml   voxels    plain  reference   fused   x plain  x reference"
        "   largest deviation from plain"
    )
    for volume in chosen.volumes:
        voxels, s, (deviation, feature) = measure(volume, chosen.rounds, settings)
        ratios = f"{s['plain'] / s['fused']:9.1f} {s['reference'] / s['fused']:12.1f}"
        print(
            f"{volume:4.0f} {voxels:8d} {s['plain']:8.3f} {s['reference']:10.3f} {s['fused']:7.4f} "
            f"{ratios}   {deviation:.1e} {feature}",
            flush=True,
        )


if __name__ == "__main__":
    main()

"""How long one lesion takes from the scan in memory to all features of eight regions.

The time is compared with that of PyRadiomics as it comes.

    OMP_NUM_THREADS=1 python benchmarks/end_to_end.py FOLDER_OF_A_CT_SERIES [--volumes 14 359]

The scan is 512 × 512 × 400 voxels of 0.977 × 0.977 × 1 mm, int16: the series mirrored until it
fills that, with a lesion in lung at its centre and the series' own fine structure in both. Eight
regions: the tumour and three rings, two readers. One thread, CPU seconds.

- fused: `extract_lesion`, all eight regions at once, run before every region of the others; the
  least counts. Peak memory is that of a process of its own, which holds the scan.
- plain: PyRadiomics' extractor on the whole scan, 40 mm padding; the first reader's four regions
  once each, taken twice for eight (the second reader's masks have the same size).
- shared: PyRadiomics' extractor on our crop, resampled once; the same four regions, each value
  compared with ours.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS", "1")

import argparse
import logging
import multiprocessing
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from scipy.ndimage import distance_transform_edt, gaussian_filter

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from dagster_project.domain.imaging.series import read_series
from dagster_project.radiomics import extraction, fused_engine
from dagster_project.radiomics.regions import ring_bounds
from dagster_project.radiomics.resampling import as_image, bounding_box, grow_box, union_box
from dagster_project.study import load_study

SHAPE, SPACING_MM = (400, 512, 512), (1.0, 0.977, 0.977)
PLAIN_BOUNDS_MM = {"tumor": None, **ring_bounds(load_study().section("radiomics"))}
ROUNDING = 1e-12
LUNG_MM = 25.0


def mirrored(values):
    """The series mirrored at its ends until it fills the scan."""
    ways = (
        np.pad(np.arange(n), (0, max(0, target - n)), "symmetric")[:target]
        for n, target in zip(values.shape, SHAPE, strict=True)
    )
    return values[np.ix_(*ways)]


def scan_and_masks(folder, volume_ml):
    """The scan (int16) and two readers' masks of a lesion of that volume."""
    values = mirrored(sitk.GetArrayFromImage(read_series(Path(folder)).image).astype(np.int16))
    radius = (volume_ml * 1000 * 3 / 4 / np.pi) ** (1 / 3)
    reach = [int((radius * 1.15 + LUNG_MM) / s) for s in SPACING_MM]
    part = tuple(slice(n // 2 - r, n // 2 + r + 1) for n, r in zip(SHAPE, reach, strict=True))
    distance = np.sqrt(
        sum(
            (np.arange(-r, r + 1).reshape([-1 if a == k else 1 for a in range(3)]) * s) ** 2
            for k, (r, s) in enumerate(zip(reach, SPACING_MM, strict=True))
        )
    )
    fine = values[part].astype(np.float32)
    fine = np.clip(fine - gaussian_filter(fine, 2.0), -80, 80)
    bumps = gaussian_filter(np.random.default_rng(7).normal(size=fine.shape).astype(np.float32), 4)
    surface = distance - 0.05 * radius * bumps / bumps.std()
    values[part] = np.where(
        surface <= radius,
        30 + fine,
        np.where(distance < radius * 1.15 + LUNG_MM, -820 + fine, values[part]),
    )
    masks = {}
    for reader, wider in (("R1", 0.0), ("R2", 0.4)):
        masks[reader] = np.zeros(SHAPE, dtype=bool)
        masks[reader][part] = surface <= radius + wider
    return values, masks


def as_scan(values):
    image = sitk.GetImageFromArray(values)
    image.SetSpacing(tuple(reversed(SPACING_MM)))
    return image


def plain_regions(mask):
    """Masks of the four regions on the scan's own grid, as PyRadiomics takes them."""
    near = grow_box(bounding_box(mask), 14, SHAPE)
    distance = distance_transform_edt(~mask[near], SPACING_MM)
    for name, bounds in PLAIN_BOUNDS_MM.items():
        region = np.zeros(SHAPE, dtype=np.uint8)
        region[near] = (
            mask[near] if bounds is None else (distance > bounds[0]) & (distance <= bounds[1])
        )
        yield name, region


def extractor(**settings):
    from radiomics.featureextractor import RadiomicsFeatureExtractor

    found = RadiomicsFeatureExtractor(binWidth=25.0, additionalInfo=False, **settings)
    found.disableAllImageTypes()
    found.enableImageTypeByName("Original")
    found.enableImageTypeByName("LoG", customArgs={"sigma": [1.0, 2.0, 3.0, 4.0, 5.0]})
    found.enableImageTypeByName("Wavelet")
    return found


def timed(compute):
    start = time.process_time()
    found = compute()
    return time.process_time() - start, found


def peak_mib(file, masks, settings):
    """In a process of its own: the scan and the masks in memory, one lesion extracted."""
    image = as_scan(np.load(file))
    extraction.extract_lesion(image, {r: np.load(m) for r, m in masks.items()}, None, settings)
    peak = next(
        line
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        if line.startswith("VmHWM")
    )
    return (
        int(peak.split()[1]) / 1024
    )  # not ru_maxrss, which a spawned process inherits from its parent


def measure_peak(values, masks, settings, folder):
    np.save(folder / "scan.npy", values)
    for reader, mask in masks.items():
        np.save(folder / f"{reader}.npy", mask)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(
            peak_mib, (folder / "scan.npy", {r: folder / f"{r}.npy" for r in masks}, settings)
        )


def deviation(ours, reader, region, expected):
    """Largest relative difference of one region's values from PyRadiomics' on the same crop."""
    own = {
        r["feature"]: r["value"] for r in ours if r["reader"] == reader and r["region"] == region
    }
    pairs = ((own[name], float(np.asarray(value).real)) for name, value in expected.items())
    return max(abs(a / b - 1) for a, b in pairs if a is not None and abs(b) > ROUNDING)


def measure(folder, volume_ml, settings, scratch):
    values, masks = scan_and_masks(folder, volume_ml)
    image = as_scan(values)
    peak = measure_peak(values, masks, settings, scratch)
    fused, ours = timed(lambda: extraction.extract_lesion(image, masks, None, settings))
    box = union_box([bounding_box(m) for m in masks.values()])
    # the crop that all share
    once, (crop, regions) = timed(
        lambda: extraction._prepare(image, masks, None, box, settings)  # noqa: SLF001
    )
    prepared = {
        region.name: region
        for reader, region in regions
        if reader == "R1" and region.reason is None
    }
    plain, shared, worst = 0.0, once, 0.0
    on_scan, on_crop = (
        extractor(resampledPixelSpacing=[1, 1, 1], padDistance=settings["padding_mm"]),
        extractor(),
    )
    for name, region in plain_regions(masks["R1"]):
        fused = min(
            fused, timed(lambda: extraction.extract_lesion(image, masks, None, settings))[0]
        )
        mask = as_scan(region)
        plain += 2 * timed(lambda mask=mask: on_scan.execute(image, mask))[0]
        inside = prepared[name].mask.astype(np.uint8)
        seconds, expected = timed(
            lambda inside=inside: on_crop.execute(as_image(crop, 1.0), as_image(inside, 1.0))
        )
        shared += 2 * seconds
        worst = max(worst, deviation(ours, "R1", name, expected))
    return plain, shared, fused, peak, worst


def main():
    import tempfile

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("series", help="folder of a CT series")
    parser.add_argument(
        "--volumes", type=float, nargs="+", default=[14.0, 359.0], help="millilitres"
    )
    chosen = parser.parse_args()
    logging.getLogger("radiomics").setLevel(logging.CRITICAL)
    warnings.simplefilter("ignore")
    settings = dict(load_study().section("radiomics"))
    fused_engine.warm()
    print(
        "| ml | plain, s | one shared resample, s | fused, s | × plain | × shared | peak MiB "
        "| largest deviation |\n|---|---|---|---|---|---|---|---|"
    )
    for volume in chosen.volumes:
        with tempfile.TemporaryDirectory() as scratch:
            plain, shared, fused, peak, worst = measure(
                chosen.series, volume, settings, Path(scratch)
            )
        print(
            f"| {volume:.0f} | {plain:.1f} | {shared:.1f} | {fused:.2f} | {plain / fused:.0f} "
            f"| {shared / fused:.0f} | {peak:.0f} | {worst:.1e} |",
            flush=True,
        )


if __name__ == "__main__":
    main()

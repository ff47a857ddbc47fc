"""What another convolution kernel does to DHI in unchanged lesions, and what the product gives.

The second scan of each synthetic lesion (`benchmarks/dhi.py`, seeds from 7000) is drawn anew with
noise of its own and then filtered in plane: smoother by a Gaussian, sharper by unsharp masking.
Counted are DHI > 1 where the pair is compared all the same, as before `comparable_scans.py`, and
pairs that have a DHI now that the two kernels are known.

    OMP_NUM_THREADS=1 python -m benchmarks.dhi_kernel [--lesions 24]
"""

from __future__ import annotations

import argparse
from dataclasses import replace

import numpy as np
import SimpleITK as sitk

from benchmarks.dhi import FIRST_SEED, VOLUMES_ML, judged, scans_of, share
from dagster_project.domain.imaging.comparable_scans import why_not_comparable
from dagster_project.radiomics.dhi import compare_lesion
from dagster_project.study import load_study

SMOOTHING_MM = (0.6, 0.9)
"""Standard deviations of the Gaussian: about Br40 to Br32, and to Br26."""

SHARPENING = (1.0, 2.0)
"""Weights of what a Gaussian of 0.8 mm takes away: about Br40 to Br49, and to Br59."""

SHARPENED_MM = 0.8
KERNELS = {
    **{f"smoother by {mm:g} mm": ("smooth", mm) for mm in SMOOTHING_MM},
    **{f"sharper by {weight:g}": ("sharp", weight) for weight in SHARPENING},
}


def in_plane(image: sitk.Image, mm: float) -> sitk.Image:
    """The image after a Gaussian within its slices."""
    soft = sitk.RecursiveGaussian(image, mm, False, sitk.RecursiveGaussianImageFilter.ZeroOrder, 0)
    return sitk.RecursiveGaussian(soft, mm, False, sitk.RecursiveGaussianImageFilter.ZeroOrder, 1)


def filtered(image: sitk.Image, kernel: str) -> sitk.Image:
    """The image as another kernel would show it."""
    kind, strength = KERNELS[kernel]
    whole = sitk.Cast(image, sitk.sitkFloat32)
    if kind == "smooth":
        return in_plane(whole, strength)
    return whole + strength * (whole - in_plane(whole, SHARPENED_MM))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--lesions", type=int, default=24)
    lesions = parser.parse_args().lesions
    settings = load_study().section("dhi")
    scan = {
        "kernel": "Br40",
        "manufacturer": "SIEMENS",
        "slice_thickness_mm": 1.0,
        "slice_spacing_mm": 1.0,
    }
    reason = why_not_comparable(scan, {**scan, "kernel": "Br59"}, settings["slice_maximum_mm"])
    print("| second scan | DHI > 1, % | amount, median (quartiles) | DHI now |")
    print("|---|---|---|---|")
    for kernel in ("the same kernel", *KERNELS):
        rows = []
        for n in range(lesions):
            seed, volume = FIRST_SEED + n, VOLUMES_ML[n % len(VOLUMES_ML)]
            first, second = scans_of(seed, volume, "none")
            if kernel in KERNELS:
                second = replace(second, image=filtered(second.image, kernel))
            pair = compare_lesion(
                first.image,
                first.mask,
                second.image,
                second.mask,
                contour_mm=None,
                settings=settings,
            )
            rows.append(judged({"seed": seed, "pair": pair}, settings))
        known = [row for row in rows if row["dhi"] is not None]
        amounts = np.quantile([row["dhi_magnitude"] for row in known], (0.25, 0.5, 0.75))
        shown = "given" if kernel not in KERNELS else "NULL, with its reason"
        print(
            f"| {kernel} | {share([row['dhi'] for row in known], 1)} "
            f"| {amounts[1]:.1f} ({amounts[0]:.1f}–{amounts[2]:.1f}) | {shown} |",
            flush=True,
        )
    print(f"\n{reason}")


if __name__ == "__main__":
    main()

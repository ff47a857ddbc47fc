"""How far perturbed copies of one scan spread, compared with true repeats.

The repeats are scans of the same synthetic lesion that were truly repeated and outlined anew.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np

from dagster_project.radiomics.extraction import extract_lesion
from dagster_project.radiomics.perturbation import measure_copies
from dagster_project.radiomics.phantoms import Scan, draw_lesion, scan_lesion
from dagster_project.study import load_study

REPEATS = 3
READER_MM = 0.7
"""Of one outline from the truth; two differ by the square root of two of it, 1 mm."""

CHAINS = {
    "study.toml": {},
    "no growth": {"growth_share": 0.0},
    "half growth": {"growth_share": 0.5},
    "no contour error": {"contour_mm": 0.0},
}
CLASSES = ("firstorder", "shape", "glcm", "glrlm", "glszm", "gldm", "ngtdm")


def scanned(n: int, seed: int) -> list[list[Scan]]:
    """Lesions of 1.5 to 12 ml, each scanned and outlined anew three times."""
    volumes = np.exp(np.random.default_rng(seed).uniform(np.log(1.5), np.log(12), n))
    lesions = [draw_lesion(seed + k, volume) for k, volume in enumerate(volumes)]
    return [
        [scan_lesion(lesion, k, reader=k, reader_mm=READER_MM) for k in range(REPEATS)]
        for lesion in lesions
    ]


def spread(values: Any) -> np.ndarray:
    """Within-lesion standard deviation of each feature: values are lesion x copy x feature."""
    return np.sqrt(np.array(values, dtype=float).var(axis=1, ddof=1).mean(axis=0))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lesions", type=int, default=16)
    parser.add_argument("--seed", type=int, default=40)
    given, study = parser.parse_args(), load_study()
    radiomics = dict(study.section("radiomics")) | {
        "log_sigma_mm": [],
        "wavelet": "",
        "padding_mm": 5.0,
    }
    scans = scanned(given.lesions, given.seed)
    real = [
        [
            {
                r["feature"]: r["value"]
                for r in extract_lesion(s.image, {"R": s.mask}, None, radiomics)
                if r["region"] == "tumor"
            }
            for s in of
        ]
        for of in scans
    ]
    names = [n for n in real[0][0] if all(m[n] is not None for of in real for m in of)]
    truly = spread([[[m[n] for n in names] for m in of] for of in real])
    print(
        "| copies | all | "
        + " | ".join(CLASSES)
        + " | CPU s a lesion |\n|"
        + "---|" * (len(CLASSES) + 3)
    )
    for label, changes in CHAINS.items():
        settings, begun, copies = (
            dict(study.section("perturbation")) | changes,
            time.process_time(),
            [],
        )
        for of in scans:
            found: dict[str, list[float]] = {}
            for _, row in measure_copies(
                of[0].image,
                of[0].mask,
                contour_mm=None,
                settings=settings,
                radiomics=radiomics,
                peeling=study.section("dhi"),
            ):
                found.setdefault(row["feature"], []).append(row["value"])
            copies.append(np.array([found[n] for n in names]).T)
        ratio = spread(copies) / truly
        by_class = [
            np.median([r for n, r in zip(names, ratio, strict=True) if n.split("_")[1] == c])
            for c in CLASSES
        ]
        cells = [np.median(ratio), *by_class]
        print(
            f"| {label} | "
            + " | ".join(f"{c:.2f}" for c in cells)
            + f" | {(time.process_time() - begun) / given.lesions:.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()

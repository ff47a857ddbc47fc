"""How often DHI exceeds 1 after known edits of synthetic lesions, beside simpler measures.

    OMP_NUM_THREADS=1 python benchmarks/dhi.py --results FILE [--lesions 100] [--minutes 6]
        [--edits none necrosis …]

The shipped limits of DHI have not seen these lesions.

Measures until the minutes are over, lesion by lesion through the volume classes in turn, each pair
one line of FILE; run it again to go on where it stopped. Then prints the table of what FILE holds:
share of DHI > 1 with Wilson's 95 % interval, a column a volume class. Lesions are those of seeds
from 7000; the limits come from seeds 1000 to 1089, the choice of the components from seeds 2000 to
2030. Simpler measures have as limit the 95th percentile of their own unchanged pairs here, in the
sample, which favours them. Seconds are CPU seconds of this process.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import argparse
import json
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import SimpleITK as sitk

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.ithscore import ithscore
from dagster_project.radiomics.dhi import compare_lesion, derive_dhi
from dagster_project.radiomics.phantoms import draw_lesion, scan_lesion
from dagster_project.study import load_study

VOLUMES_ML = (1.5, 5.0, 15.0, 45.0)
FIRST_SEED = 7000
BIN_HU = 25.0
EDITS = (
    "none",
    "necrosis",
    "shrink_50",
    "necrosis_50",
    "shrink_50 homogeneous",
    "shrink_30 homogeneous",
    "radial",
    "noise",
    "cavity",
    "offset",
    "shrink_30",
    "contour",
    "gain",
    "coarser",
    "flatter",
)
MEASURES = {
    "dhi": "DHI",
    "dhi_magnitude": "amount",
    "wasserstein": "centred Wasserstein",
    "entropy": "change of entropy",
    "ithscore": "change of ITHscore",
}


def entropy(scan):
    """Shannon entropy in bits of the outlined densities in bins of 25 HU about their median."""
    values = sitk.GetArrayFromImage(scan.image)[scan.mask]
    counts = np.unique(np.round((values - np.median(values)) / BIN_HU), return_counts=True)[1]
    return float(-(counts / counts.sum() * np.log2(counts / counts.sum())).sum())


def score(scan):
    return ithscore(sitk.GetArrayFromImage(scan.image), scan.mask)


def scans_of(seed, volume_ml, edit):
    """The lesion before and after the edit.

    `contour` is two readers' outlines of one scan, 1 mm apart.
    """
    lesion = draw_lesion(seed, volume_ml)
    if edit.endswith("homogeneous"):
        lesion = replace(lesion, texture_hu=0.0)
    if edit == "contour":
        return scan_lesion(lesion, 0, reader=1), scan_lesion(lesion, 0, reader=2)
    return scan_lesion(lesion, 0), scan_lesion(lesion, 1, change=edit.split()[0])


def measure(seed, volume_ml, edit, settings):
    first, second = scans_of(seed, volume_ml, edit)
    start = time.process_time()
    pair = compare_lesion(
        first.image, first.mask, second.image, second.mask, contour_mm=None, settings=settings
    )
    seconds = time.process_time() - start
    bare = seconds_without_null(first, second, settings) if edit == "none" else None
    others = {
        "wasserstein": pair["wasserstein_hu"],
        "entropy": abs(entropy(second) - entropy(first)),
        "ithscore": abs(score(second) - score(first)),
        "seconds": seconds,
        "seconds_bare": bare,
    }
    return {"seed": seed, "volume_ml": volume_ml, "edit": edit, "pair": pair} | others


def judged(row, settings):
    """The row with the index of its pair by the shipped limits, in which the pair had no part."""
    key = {
        "site": "S",
        "patient": str(row["seed"]),
        "lesion": "L",
        "from_visit": "T0",
        "to_visit": "T1",
    }
    lesion = derive_dhi(pl.DataFrame([key | row["pair"]], infer_schema_length=None), settings).row(
        0, named=True
    )
    return row | {
        name: lesion[name] for name in ("dhi", "dhi_magnitude", "delta_log_volume", "reason")
    }


def seconds_without_null(first, second, settings):
    """CPU seconds of the comparison alone: no perturbed copies."""
    start = time.process_time()
    compare_lesion(
        first.image,
        first.mask,
        second.image,
        second.mask,
        contour_mm=None,
        settings={**settings, "copies": 0},
    )
    return time.process_time() - start


def measure_on(path, lesions, edits, minutes, settings):
    """Append pairs that the file does not hold, until the minutes are over."""
    done = {(r["seed"], r["edit"]) for r in read(path)}
    end = time.monotonic() + 60 * minutes
    with path.open("a", encoding="utf-8") as out:
        for i, edit in ((i, edit) for i in range(lesions) for edit in edits):
            if time.monotonic() > end:
                return
            if (FIRST_SEED + i, edit) not in done:
                out.write(
                    json.dumps(
                        measure(FIRST_SEED + i, VOLUMES_ML[i % len(VOLUMES_ML)], edit, settings)
                    )
                    + "\n"
                )
                out.flush()


def read(path):
    return (
        [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        if path.exists()
        else []
    )


def wilson(hits, n, z=1.96):
    middle, half = hits + z * z / 2, z * np.sqrt(hits * (n - hits) / n + z * z / 4)
    return (middle - half) / (n + z * z), (middle + half) / (n + z * z)


def share(values, limit):
    """Hits of n in per cent with the interval."""
    if not values:
        return "–"
    hits = sum(v > limit for v in values)
    low, high = wilson(hits, len(values))
    return f"{100 * hits / len(values):.0f} ({100 * low:.0f}–{100 * high:.0f}; n {len(values)})"


def limits_of(rows):
    """Each measure's limit: 1 for DHI, otherwise the 95th percentile of its unchanged pairs."""
    unchanged = [r for r in rows if r["edit"] == "none"]
    return {
        m: 1.0 if m == "dhi" else float(np.quantile([r[m] for r in unchanged], 0.95))
        for m in MEASURES
    }


def print_table(rows):
    limits = limits_of(rows)
    print(
        "| edit |",
        " | ".join(f"{v:g} ml" for v in VOLUMES_ML),
        "| all |",
        " | ".join(list(MEASURES.values())[1:]),
        "|",
    )
    print("|---" * (len(VOLUMES_ML) + 2 + len(MEASURES) - 1) + "|")
    for edit in (e for e in EDITS if any(r["edit"] == e for r in rows)):
        of_edit = [r for r in rows if r["edit"] == edit]
        cells = [share([r["dhi"] for r in of_edit if r["volume_ml"] == v], 1) for v in VOLUMES_ML]
        print(
            "|",
            " | ".join(
                [edit, *cells, *(share([r[m] for r in of_edit], limits[m]) for m in MEASURES)]
            ),
            "|",
        )


def print_amounts(rows):
    """Median and quartiles of the amount of change, of every edit."""
    print("| amount of change after | ", " | ".join(f"{v:g} ml" for v in VOLUMES_ML), "|")
    print("|---" * (len(VOLUMES_ML) + 1) + "|")
    for edit in (e for e in EDITS if any(r["edit"] == e for r in rows)):
        classes = [
            [r["dhi_magnitude"] for r in rows if (r["edit"], r["volume_ml"]) == (edit, v)]
            for v in VOLUMES_ML
        ]
        print(
            "|",
            " | ".join(
                [
                    edit,
                    *(
                        "{1:.1f} ({0:.1f}–{2:.1f})".format(*np.quantile(c, (0.25, 0.5, 0.75)))
                        if c
                        else "–"
                        for c in classes
                    ),
                ]
            ),
            "|",
        )


def print_rankings(rows):
    """How often, at equal volume change of one lesion, the necrotic pair has the larger figure."""
    values = {(r["seed"], r["edit"]): r for r in rows}
    pairs = [
        (values[s, "necrosis_50"], values[s, "shrink_50"])
        for s, e in values
        if e == "necrosis_50" and (s, "shrink_50") in values
    ]
    for m, name in MEASURES.items() if pairs else ():
        print(
            f"Necrosis above shrinkage, {name}: "
            f"{np.mean([a[m] > b[m] for a, b in pairs]):.2f} of {len(pairs)} pairs"
        )


def print_summary(rows):
    from scipy.stats import spearmanr

    unchanged = [r for r in rows if r["edit"] == "none"]
    if len({r["volume_ml"] for r in unchanged}) > 1:
        for name in ("dhi", "dhi_magnitude"):
            rho = spearmanr(
                [r[name] for r in unchanged], [r["volume_ml"] for r in unchanged]
            ).statistic
            print(f"Spearman rho of {name} with volume on repeats: {rho:.2f} (n {len(unchanged)})")
    for v in sorted({r["volume_ml"] for r in rows}):
        of_class = [r for r in rows if r["volume_ml"] == v]
        bare = [r["seconds_bare"] for r in of_class if r.get("seconds_bare") is not None]
        alone = f", {np.median(bare):.2f} without (n {len(bare)})" if bare else ""
        print(
            f"{v:g} ml: {np.median([r['seconds'] for r in of_class]):.2f} CPU s a pair "
            f"with its null{alone}"
        )


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--lesions", type=int, default=100)
    parser.add_argument("--edits", nargs="+", choices=EDITS, default=EDITS)
    parser.add_argument("--minutes", type=float, default=6.0)
    asked = parser.parse_args()
    settings = load_study().section("dhi")
    measure_on(asked.results, asked.lesions, asked.edits, asked.minutes, settings)
    rows = [judged(row, settings) for row in read(asked.results)]
    known = [r for r in rows if r["dhi"] is not None]
    print_table(known)
    print()
    print_amounts(known)
    print(f"\nNot compared (NULL with a reason): {len(rows) - len(known)} of {len(rows)} pairs\n")
    print_rankings(known)
    print_summary(known)


if __name__ == "__main__":
    main()

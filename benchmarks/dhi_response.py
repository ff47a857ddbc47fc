"""How well DHI from T0 to T1 separates responders from non-responders at equal volume change.

    OMP_NUM_THREADS=1 python benchmarks/dhi_response.py --results FILE [--patients 500]
        [--pixel-mm 0.75] [--lesion-mm 12 32] [--minutes 60]

The patients are simulated; DHI is compared with what the simulated truth states.

Patients, their lesions, scans and readers' errors are the simulator's (`draw_patient`,
`draw_scan`), in scans of 192 x 192 mm; what is changed: every lesion has 0.91 of its diameter at
T1, whoever responds. So the response can be seen only in what the amount of change does to texture,
necrosis and arrangement. Twice: with the plan's signal (0.55), and with none. Each patient is one
line of FILE; run it again to go on. Then prints AUC of the patients' values with DeLong's interval,
and its paired difference from the AUC of the truth's amount of change in the same patients, which
no measure of the images can be expected to exceed. Seconds are CPU seconds.
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
from scipy.stats import spearmanr

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from dagster_project.radiomics.dhi import compare_lesion, derive_dhi
from dagster_project.simulation.anatomy import body_extent_mm, build_anatomy, draw_patterns
from dagster_project.simulation.biology import draw_patient
from dagster_project.simulation.plan import TINY
from dagster_project.simulation.reading import RELATIVE_ERROR
from dagster_project.simulation.scans import draw_scan
from dagster_project.simulation.surfaces import cut, draw_waves, voxelise
from dagster_project.statistics.roc import auc_delong, auc_difference
from dagster_project.study import load_study

SIGNALS = (0.55, 0.0)
SHRINKAGE = 0.91
FIELD_MM = 192.0
VISITS = ("T0", "T1")
SITE = replace(TINY.sites[0], courses=("late_responder", "stable"))
MEASURES = (
    "dhi",
    "dhi_magnitude",
    "u_texture",
    "u_density",
    "u_spatial",
    "u_radial",
    "wasserstein_hu",
    "delta_log_volume",
)


def plan_of(signal, patients, pixel_mm, lesion_mm):
    """The smallest plan with the requested pixels and lesions, over the same field of view.

    How many have a second target or a node is as in any plan.
    """
    site = replace(SITE, scanner=replace(SITE.scanner, pixel_spacing_mm=pixel_mm))
    return replace(
        TINY,
        sites=(site,),
        rows=round(FIELD_MM / pixel_mm),
        patients_per_site=patients,
        signal=signal,
        lesion_mm=tuple(lesion_mm),
        n_slices=max(TINY.n_slices, round(1.4 * lesion_mm[1])),
        non_target=0.0,
        troubles=(),
    )


def patient_of(plan, ordinal):
    """The simulator's patient, whose targets shrink as everyone's do."""
    patient = draw_patient(plan, 0, ordinal, body_extent_mm(plan, plan.sites[0].scanner))
    return replace(patient, lesions=tuple(shrinking(lesion) for lesion in patient.lesions))


def shrinking(lesion):
    size = lesion.states["T0"].size_mm
    return replace(
        lesion,
        states={
            visit: replace(
                lesion.states[visit], size_mm=size * (1.0 if visit == "T0" else SHRINKAGE)
            )
            for visit in VISITS
        },
    )


def scan_of(plan, patient, visit, anatomy, patterns):
    """Image, and a careful reader's outline of each lesion."""
    scan = draw_scan(plan, patient, visit, anatomy, patterns)
    grid, masks = scan.frame.grid, {}
    for lesion in patient.lesions:
        hand = lesion.surface(visit).disturbed(
            draw_waves(plan.random("outline", patient.ordinal, visit, lesion.label), RELATIVE_ERROR)
        )
        masks[lesion.label] = (
            voxelise(cut(hand, scan.frame.centre(lesion), grid.axis(0)), grid, hand.reach_mm).full(
                grid.shape
            )
            > 0
        )
    image = sitk.GetImageFromArray(scan.hu)
    image.SetSpacing(tuple(reversed(grid.spacing_mm)))
    return image, masks


def measure(plan, ordinal, patterns, settings):
    patient, anatomy = patient_of(plan, ordinal), build_anatomy(plan, 0, ordinal, patterns)
    (a, masks_a), (b, masks_b) = (
        scan_of(plan, patient, visit, anatomy, patterns) for visit in VISITS
    )
    key = {
        "site": "S",
        "patient": str(ordinal),
        "from_visit": "T0",
        "to_visit": "T1",
        "simulated": True,
    }
    start = time.process_time()
    pairs = [
        key
        | {"lesion": label}
        | compare_lesion(a, masks_a[label], b, masks_b[label], contour_mm=None, settings=settings)
        for label in masks_a
    ]
    seconds = time.process_time() - start
    return {
        "signal": plan.signal,
        "patient": str(ordinal),
        "responder": patient.responder,
        "seconds": seconds,
        "truth": truth_of(patient),
        "pairs": pairs,
    }


def truth_of(patient):
    """The amount that was asked for, and what was truly done to the lesions, the mean over them."""
    states = [(lesion.states["T0"], lesion.states["T1"]) for lesion in patient.lesions]
    return {
        "true amount of change": patient.change,
        "true fall of ln(SD)": float(
            np.mean([np.log(a.heterogeneity_hu / b.heterogeneity_hu) for a, b in states])
        ),
        "true necrosis": float(np.mean([b.necrosis - a.necrosis for a, b in states])),
        "true arrangement": float(np.mean([b.rearrangement for _, b in states])),
    }


def measure_on(path, patients, pixel_mm, lesion_mm, minutes, settings):
    """Append patients that the file does not hold, until the minutes are over."""
    done, end = {(r["signal"], r["patient"]) for r in read(path)}, time.monotonic() + 60 * minutes
    plan = plan_of(SIGNALS[0], patients, pixel_mm, lesion_mm)
    patterns = draw_patterns(plan, 0)
    with path.open("a", encoding="utf-8") as out:
        for ordinal, signal in ((o, s) for o in range(patients) for s in SIGNALS):
            if time.monotonic() > end:
                return
            if (signal, str(ordinal)) not in done:
                out.write(
                    json.dumps(
                        measure(
                            plan_of(signal, patients, pixel_mm, lesion_mm),
                            ordinal,
                            patterns,
                            settings,
                        )
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


def interval(estimate):
    return (
        f"{estimate.value:+.3f} ({estimate.lower:+.3f} to {estimate.upper:+.3f})"
        if estimate.lower is not None
        else "–"
    )


def told(labels, scores, change):
    """AUC with its interval, and two comparisons with the true amount of change.

    These are the difference from the AUC of that amount, and the rank correlation with it.
    """
    there = np.array([s is not None for s in scores])
    values, labels, change = (
        np.array([s for s in scores if s is not None], dtype=float),
        labels[there],
        change[there],
    )
    found, (difference, _) = auc_delong(labels, values), auc_difference(labels, values, change)
    return (
        f"{found.value:.3f} ({found.lower:.3f}–{found.upper:.3f}) | {interval(difference)} "
        f"| {spearmanr(values, change).statistic:+.2f} | {there.sum()}"
    )


def show(rows, settings):
    for signal in SIGNALS:
        own = [r for r in rows if r["signal"] == signal]
        frame = derive_dhi(
            pl.DataFrame([pair for r in own for pair in r["pairs"]], infer_schema_length=None),
            settings,
        )
        by_patient = {r["patient"]: r for r in frame.filter(scope="patient").to_dicts()}
        labels, change = (
            np.array([r["responder"] for r in own]),
            np.array([r["truth"]["true amount of change"] for r in own]),
        )
        stated = replace(TINY, signal=signal).signal_auc
        print(
            f"\nsignal {signal}: {len(own)} patients, {labels.sum()} responders; "
            f"stated AUC {stated:.3f}\n"
        )
        print(
            "| measure | AUC (95 %) | less the true amount's (95 %) "
            "| rho with the true amount | n |\n|---|---|---|---|---|"
        )
        for name in own[0]["truth"]:
            print(f"| {name} | {told(labels, [r['truth'][name] for r in own], change)} |")
        for name in MEASURES:
            print(
                f"| {name} "
                f"| {told(labels, [by_patient[r['patient']][name] for r in own], change)} |"
            )
        known = frame.filter(pl.col("dhi").is_not_null(), scope="lesion")
        volumes = [
            pair["volume_a_mm3"] / 1000
            for r in own
            for pair in r["pairs"]
            if pair["reason"] is None
        ]
        low, middle, high = np.quantile(volumes, (0.05, 0.5, 0.95))
        print(
            f"\n{known.height / len(own):.1f} lesions a patient, of {middle:.1f} ml "
            f"(5-95 %: {low:.1f}-{high:.1f}); "
            f"CPU seconds a patient: {np.mean([r['seconds'] for r in own]):.1f}"
        )


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--patients", type=int, default=500)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--pixel-mm", type=float, default=0.75)
    parser.add_argument(
        "--lesion-mm", type=float, nargs=2, default=(12.0, 32.0), metavar=("LOW", "HIGH")
    )
    asked = parser.parse_args()
    settings = dict(load_study().section("dhi"))
    measure_on(
        asked.results, asked.patients, asked.pixel_mm, asked.lesion_mm, asked.minutes, settings
    )
    show(read(asked.results), settings)


if __name__ == "__main__":
    main()

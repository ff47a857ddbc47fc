"""How far DHI from T0 to T1 tells simulated responders from non-responders at equal volume change, beside what the truth promises.

    OMP_NUM_THREADS=1 python benchmarks/dhi_response.py --results FILE [--patients 160] [--minutes 5]

Patients, scans and readers' errors are the simulator's (`draw_patient`, `draw_scan`), one lesion each of 22 to 26 mm, in scans of 128 x 128 x 40;
what is changed: every lesion has 0.91 of its diameter at T1, whoever responds. So the response can be seen only in what the latent value
does to texture, necrosis and arrangement. Twice: with the plan's signal (0.55), and with none. Measures until the minutes are over, each
patient one line of FILE; run it again to go on. Then prints AUC with DeLong's interval. The promise is the AUC of the truth's latent value,
Phi(sqrt(2) s / sqrt(1 - s^2)): no measure of the images can do better, and DHI has no sign. Seconds are CPU seconds.
"""  # fmt: skip

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
from statistics import NormalDist

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
from dagster_project.study import load_study
from models.evaluation import auc_delong

SIGNALS = (0.55, 0.0)
SHRINKAGE = 0.91
VISITS = ("T0", "T1")
SITE = replace(TINY.sites[0], courses=("late_responder", "stable"))
MEASURES = ("dhi", "u_texture", "u_density", "u_spatial", "u_radial", "wasserstein_hu", "delta_log_volume")


def plan_of(signal, patients):
    return replace(TINY, sites=(SITE,), patients_per_site=patients, signal=signal, lesion_mm=(18.0, 26.0), troubles=())


def patient_of(plan, ordinal):
    """The simulator's patient with one lesion, which shrinks as everyone's does."""
    patient = draw_patient(plan, 0, ordinal, body_extent_mm(plan, SITE.scanner))
    lesion = patient.lesions[0]
    size = lesion.states["T0"].size_mm
    states = {visit: replace(lesion.states[visit], size_mm=size * (1.0 if visit == "T0" else SHRINKAGE)) for visit in VISITS}
    return replace(patient, lesions=(replace(lesion, states=states),))


def scan_of(plan, patient, visit, anatomy, patterns):
    """Image, and a careful reader's outline."""
    scan, lesion = draw_scan(plan, patient, visit, anatomy, patterns), patient.lesions[0]
    grid, centre = scan.frame.grid, scan.frame.centre(lesion)
    hand = lesion.surface(visit).disturbed(draw_waves(plan.random("outline", patient.ordinal, visit), RELATIVE_ERROR))
    mask = voxelise(cut(hand, centre, grid.axis(0)), grid, hand.reach_mm).full(grid.shape) > 0
    image = sitk.GetImageFromArray(scan.hu)
    image.SetSpacing(tuple(reversed(grid.spacing_mm)))
    return image, mask


def measure(plan, ordinal, patterns, settings):
    patient, anatomy = patient_of(plan, ordinal), build_anatomy(plan, 0, ordinal, patterns)
    (a, mask_a), (b, mask_b) = (scan_of(plan, patient, visit, anatomy, patterns) for visit in VISITS)
    start = time.process_time()
    pair = compare_lesion(a, mask_a, b, mask_b, contour_mm=None, settings=settings)
    seconds = time.process_time() - start
    first, last = (patient.lesions[0].states[visit] for visit in VISITS)
    truth = {"latent": patient.latent, "true fall of log sd": float(np.log(first.heterogeneity_hu / last.heterogeneity_hu)),
             "true necrosis": last.necrosis - first.necrosis, "true arrangement": last.rearrangement}  # fmt: skip
    key = {"site": "S", "patient": str(ordinal), "lesion": "L1", "from_visit": "T0", "to_visit": "T1", "simulated": True}
    return {"signal": plan.signal, "responder": patient.responder, "seconds": seconds, "truth": truth, "pair": key | pair}


def measure_on(path, patients, minutes, settings):
    """Append patients that the file does not hold, until the minutes are over."""
    done, end = {(r["signal"], r["pair"]["patient"]) for r in read(path)}, time.monotonic() + 60 * minutes
    plan = plan_of(SIGNALS[0], patients)
    patterns = draw_patterns(plan, 0)
    with path.open("a", encoding="utf-8") as out:
        for ordinal, signal in ((o, s) for o in range(patients) for s in SIGNALS):
            if time.monotonic() > end:
                return
            if (signal, str(ordinal)) not in done:
                out.write(json.dumps(measure(plan_of(signal, patients), ordinal, patterns, settings)) + "\n")
                out.flush()


def read(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def told(labels, scores, latent):
    """AUC with its interval, and the rank correlation with the latent value."""
    there = np.array([s is not None for s in scores])
    values = np.array([s for s in scores if s is not None], dtype=float)
    found = auc_delong(labels[there], values)
    interval = found.reason if found.lower is None else f"{found.lower:.2f}–{found.upper:.2f}"
    return f"{found.value:.2f} ({interval}) | {spearmanr(values, latent[there]).statistic:+.2f} | {there.sum()}"


def show(rows, settings):
    for signal in SIGNALS:
        own = [r for r in rows if r["signal"] == signal]
        frame = derive_dhi(pl.DataFrame([r["pair"] for r in own], infer_schema_length=None), settings).filter(scope="lesion")
        by_patient = {r["patient"]: r for r in frame.to_dicts()}
        labels, latent = np.array([r["responder"] for r in own]), np.array([r["truth"]["latent"] for r in own])
        promised = NormalDist().cdf(2**0.5 * signal / (1 - signal**2) ** 0.5)
        print(f"\nsignal {signal}: {len(own)} patients, {labels.sum()} responders; promised AUC of the latent value {promised:.2f}\n")
        print("| measure | AUC (95 %) | rho with latent | n |\n|---|---|---|---|")
        for name in own[0]["truth"]:
            print(f"| {name} | {told(labels, [r['truth'][name] for r in own], latent)} |")
        for name in MEASURES:
            print(f"| {name} | {told(labels, [by_patient[r['pair']['patient']][name] for r in own], latent)} |")
        print(f"\nCPU seconds a pair: {np.mean([r['seconds'] for r in own]):.1f}; median volume {np.median([r['pair']['volume_a_mm3'] for r in own]) / 1000:.1f} ml")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--patients", type=int, default=160)
    parser.add_argument("--minutes", type=float, default=5.0)
    asked = parser.parse_args()
    settings = dict(load_study().section("dhi"))
    measure_on(asked.results, asked.patients, asked.minutes, settings)
    show(read(asked.results), settings)


if __name__ == "__main__":
    main()

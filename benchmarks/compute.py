"""Two workers against one on real extraction tasks.

The same lesions are measured through `run_tasks`, by turns.

    python benchmarks/compute.py [--lesions 8] [--volume 3] [--rounds 2]

Lesions are the simulated ones of `radiomics.phantoms`, drawn and written to files beforehand, all
1,316 features of four regions each. Workers are started and their kernels loaded before the clock
starts. Seconds by the clock, the least of the rounds, with reading the files: on a machine with
other work the ratio says what was left of the second core, and no more.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import SimpleITK as sitk

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from dagster_project.compute import close_executor, run_tasks
from dagster_project.radiomics.extraction import extract_lesion
from dagster_project.radiomics.phantoms import Lesion, scan_lesion
from dagster_project.study import load_study


def keep(folder, volume_ml, seed):
    """Draw a lesion's scan and outline, and keep them as the vault does.

    Pixels are in one file, the mask in another.
    """
    scan, file = (
        scan_lesion(Lesion(volume_ml=volume_ml, seed=seed), 0),
        folder / f"{volume_ml:g}-{seed}.mha",
    )
    sitk.WriteImage(scan.image, str(file))
    np.save(file.with_suffix(".npy"), scan.mask)
    return file


def measure(file):
    """CPU seconds of one lesion in a worker, without reading its scan."""
    image, mask = sitk.ReadImage(str(file)), np.load(file.with_suffix(".npy"))
    start = time.process_time()
    extract_lesion(image, {"R1": mask}, None, load_study().section("radiomics"))
    return time.process_time() - start


def run(workers, tasks, warming):
    """Seconds by the clock, and CPU seconds of the lesions."""
    os.environ["LAKEHOUSE_WORKERS"] = str(workers)
    close_executor()
    list(run_tasks(measure, warming * workers))
    start = time.perf_counter()
    outcomes = list(run_tasks(measure, tasks))
    took = time.perf_counter() - start
    close_executor()
    if any(o.reason for o in outcomes):
        sys.exit(f"a task failed: {outcomes[0].reason}")
    return took, sum(o.result for o in outcomes)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lesions", type=int, default=8)
    parser.add_argument("--volume", type=float, default=3.0, help="millilitres")
    parser.add_argument("--rounds", type=int, default=2)
    given = parser.parse_args()
    found = {1: [], 2: []}
    with tempfile.TemporaryDirectory() as folder:
        tasks = [keep(Path(folder), given.volume, seed) for seed in range(given.lesions)]
        warming = [keep(Path(folder), 0.5, seed) for seed in range(2)]
        for _ in range(given.rounds):
            for workers, runs in found.items():
                runs.append(run(workers, tasks, warming))
    (one, cpu_one), (two, cpu_two) = (min(runs) for runs in found.values())
    print(
        f"| {given.lesions} lesions of {given.volume:g} ml | one worker, s | two workers, s "
        "| ratio | CPU s of the lesions, one / two | load average |\n|---|---|---|---|---|---|"
    )
    print(
        f"| | {one:.1f} | {two:.1f} | {one / two:.2f} "
        f"| {cpu_one:.1f} / {cpu_two:.1f} | {os.getloadavg()[0]:.1f} |"
    )


if __name__ == "__main__":
    main()

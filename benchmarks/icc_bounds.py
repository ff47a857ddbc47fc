"""What 95 % bounds of a readers' ICC cover, where lesions and visits are clustered within patients.

Simulated patients with Poisson numbers of lesion-visits; two readers whose errors share a part by
patient. The truth is the ICC of 400,000 such patients. Compared:

- by patient: `statistics.icc_by_patient`, which the gate and the pages use
- of pairs: Satterthwaite's bounds of `statistics.icc`, which take pairs for independent
- percentiles: 1,000 draws of patients with replacement

    python -m benchmarks.icc_bounds [--repeats 600] [--seed 1]
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import numpy as np

from dagster_project.statistics.icc import Floats, icc
from dagster_project.statistics.icc_by_patient import icc_by_patient, icc_of_sums, sums_by_patient

PATIENTS = (3, 5, 10, 20, 60, 200)
LESION_VISITS = 6
BETWEEN_PATIENTS, WITHIN_PATIENTS, SHARED_ERROR, OWN_ERROR, OFFSET = 10.0, 8.0, 2.5, 2.5, 0.8
"""Standard deviations of true sizes and of reading errors, and the second reader's bias; mm."""

DRAWS = 1000
TAIL = 0.025


def reads(patients: int, random: np.random.Generator) -> tuple[Floats, list[tuple[str, str]]]:
    """Pairs of reads, and whose they are."""
    counts = 1 + random.poisson(LESION_VISITS - 1, patients)
    of = np.repeat(np.arange(patients), counts)
    size = (
        30
        + random.normal(0, BETWEEN_PATIENTS, patients)[of]
        + random.normal(0, WITHIN_PATIENTS, len(of))
    )
    error = random.normal(0, SHARED_ERROR, (patients, 2))[of] + random.normal(
        0, OWN_ERROR, (len(of), 2)
    )
    return size[:, None] + error + np.array([0.0, OFFSET]), [("S", str(p)) for p in of]


def percentiles(
    values: Floats, whose: list[tuple[str, str]], random: np.random.Generator
) -> tuple[float, float]:
    """Bounds from drawing patients with replacement."""
    sums = sums_by_patient(values, whose)
    patients = sums.shape[1]
    drawn = icc_of_sums(
        sums @ random.multinomial(patients, np.full(patients, 1 / patients), size=DRAWS).T,
        "ICC(2,1)",
    )
    low, high = np.nanquantile(drawn, [TAIL, 1 - TAIL])
    return float(low), float(high)


def bounds(patients: int, random: np.random.Generator) -> dict[str, tuple[float, float]]:
    """The three pairs of bounds of one simulated study."""
    values, whose = reads(patients, random)
    ours, naive = icc_by_patient(values, whose), icc(values)
    found = {
        "by patient": (ours.lower, ours.upper),
        "of pairs": (naive.lower, naive.upper),
        "percentiles": percentiles(values, whose, random),
    }
    return {
        name: (low, high)
        for name, (low, high) in found.items()
        if low is not None and high is not None
    }


def rows(repeats: int, seed: int) -> Iterator[str]:
    """A line of the table per number of patients."""
    random = np.random.default_rng(seed)
    values, _ = reads(400_000, random)
    truth = icc(values).value
    for patients in PATIENTS:
        studies = [bounds(patients, random) for _ in range(repeats)]
        cells = []
        for name in ("by patient", "of pairs", "percentiles"):
            own = [study[name] for study in studies if name in study]
            covered = np.mean([low <= truth <= high for low, high in own])
            cells.append(
                f"{100 * covered:.1f} % ({np.median([high - low for low, high in own]):.3f})"
            )
        yield f"| {patients} | {' | '.join(cells)} |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=600)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    print(
        "| patients | by patient: covered (median width) | of pairs | percentiles |\n"
        "|---|---|---|---|"
    )
    for row in rows(asked.repeats, asked.seed):
        print(row, flush=True)


if __name__ == "__main__":
    main()

r"""What 95 % intervals cover that tables, pages, model cards and MLflow print.

Each family is a simulated world of `benchmarks.worlds` whose truth is known, at the sizes of the
study. A cell is the share of intervals that hold the truth, in per cent; where several models are
simulated, of the model with the lowest share and of that with the highest. After ± comes the
largest standard error of those shares, over repeats.

    OMP_NUM_THREADS=1 python -m benchmarks.interval_coverage FAMILY [FAMILY …] [--repeats 400] \
        [--seed 1] [--patients 60 200 500]

Bounds of readers' ICC at few patients and of AUCs pooled over hospitals of their own sizes have
benchmarks of their own (`icc_bounds`, `pooling`).
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Callable, Mapping
from itertools import product

import numpy as np

from benchmarks.worlds.cases import Cases, Coverage, coverage, held
from benchmarks.worlds.controls import controls
from benchmarks.worlds.cross_fitted import (
    AUCS,
    COLUMNS,
    discrimination,
    held_out_hospitals,
    jackknifed,
    probabilities,
)
from benchmarks.worlds.end_points import end_points
from benchmarks.worlds.evaluation import evaluation
from benchmarks.worlds.feature_score import feature_score
from benchmarks.worlds.given_score import given_score
from benchmarks.worlds.readers import COPIED, copies, readers

World = Callable[[int, np.random.Generator], Cases]


def of_models(world: Callable[[int, int, float, np.random.Generator], Cases]) -> World:
    """One model for each number of columns and AUC; its name follows that of the figure."""

    def every(patients: int, random: np.random.Generator) -> Cases:
        for columns, auc in product(COLUMNS, AUCS):
            for figure, found, truth in world(patients, columns, auc, random):
                yield f"{figure} | {columns} | {auc:g}", found, truth

    return every


def of_copies(_patients: int, random: np.random.Generator) -> Cases:
    """Copies, whose number depends on the hospitals and not on the patients."""
    for hospitals in COPIED:
        yield from copies(hospitals, random)


FAMILIES: Mapping[str, World] = {
    "discrimination": of_models(discrimination),
    "probabilities": of_models(probabilities),
    "hospitals": of_models(held_out_hospitals),
    "patients": of_models(jackknifed),
    "given_score": given_score,
    "end_points": end_points,
    "readers": readers,
    "copies": of_copies,
    "controls": controls,
    "evaluation": evaluation,
    "feature_score": feature_score,
}
"""Worlds by name."""


def measured(
    world: World, patients: int, repeats: int, seed: int
) -> dict[str, dict[str, Coverage]]:
    """Coverage by figure and model."""
    random = np.random.default_rng([seed, patients])
    found = defaultdict[str, list[list[bool | None]]](list)
    for _ in range(repeats):
        once = defaultdict[str, list[bool | None]](list)
        for name, estimate, truth in world(patients, random):
            once[name].append(held(estimate, truth))
        for name, of_one in once.items():
            found[name].append(of_one)
    covered = defaultdict[str, dict[str, Coverage]](dict)
    for name, of_repeats in found.items():
        figure, _, model = name.partition(" | ")
        covered[figure][model] = coverage(of_repeats)
    return covered


def shown(models: Mapping[str, Coverage]) -> str:
    """Over all models the lowest and the highest share, ± the largest standard error; in per cent.

    What has no bounds more often than once in twenty is said.
    """
    known = [c for c in models.values() if np.isfinite(c.share)]
    if not known:
        return "–"
    low, high = (100 * f(c.share for c in known) for f in (min, max))
    error = 100 * max(c.error for c in known)
    range_ = f"{low:.1f}" if len(known) == 1 else f"{low:.1f}–{high:.1f}"
    bounded = min(c.bounded for c in known)
    few = f" (bounds in {100 * bounded:.0f} %)" if bounded < 0.95 else ""
    return f"{range_} ± {error:.1f}{few}"


def table(family: str, patients: list[int], repeats: int, seed: int) -> str:
    """The table of a family."""
    by_size = {n: measured(FAMILIES[family], n, repeats, seed) for n in patients}
    figures = dict.fromkeys(f for found in by_size.values() for f in found)
    rows = [
        f"| {figure} | {' | '.join(shown(found.get(figure, {})) for found in by_size.values())} |"
        for figure in figures
    ]
    head = f"| {family} | {' | '.join(f'{n} patients' for n in patients)} |"
    return "\n".join([head, f"|---|{'---:|' * len(patients)}", *rows])


def main() -> None:
    """Print a table of each family."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("families", nargs="+", choices=list(FAMILIES), metavar="FAMILY")
    parser.add_argument("--repeats", type=int, default=400)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--patients", type=int, nargs="+", default=[60, 200, 500])
    chosen = parser.parse_args()
    for family in chosen.families:
        print(table(family, chosen.patients, chosen.repeats, chosen.seed), end="\n\n", flush=True)


if __name__ == "__main__":
    main()

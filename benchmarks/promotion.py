"""How often a champion is made over 200 nights without a better model, and how soon with one.

A study of 500 patients is filled night by night. Models are ridge discriminants of normal columns,
fitted in five folds: three references (a column, five columns, both) and eight candidates with
other columns beside those of the references. In `no signal` no column moves with response; in
`references tell` those of the references do; in `a signal` one candidate's do too.

- every night at p: the best of all is compared every night with each reference at `promotion_p`, as
  it was before
- registered looks: `models.operation.promotion.look_due`, levels divided by the number of models

Calibration and attributions, which the rule also asks for, hold nothing back here: what is measured
is the test alone.

    OMP_NUM_THREADS=1 python -m benchmarks.promotion [--nightly 40] [--repeats 400] [--seed 1]
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.worlds.cross_fitted import FOLDS, fitted, stratified
from dagster_project.statistics.roc import auc_delong, auc_difference
from dagster_project.study import load_study
from models.operation.promotion import look_due

PATIENTS, NIGHTS, FIRST = 500, 200, 60
"""Patients in the end, nights, and patients below which nothing is trained."""

COLUMNS = 45
REFERENCES = (range(1), range(1, 6), range(6))
CANDIDATES = (
    range(6, 11),
    range(6, 26),
    range(26, 45),
    range(6, 45),
    range(8),
    range(26),
    range(0, 45, 3),
    range(45),
)
"""Columns of each model; the last reference holds the columns of the others."""

MOVES = {"no signal": 0.0, "references tell": 0.45, "a signal": 0.45}
"""Distance of the classes in each of the references' six columns, in standard deviations."""

SIGNAL = 0.55
"""Distance in each of the five columns that the first candidate looks at, in `a signal`."""


@dataclass(frozen=True)
class Study:
    """All patients in the order of their arrival."""

    x: np.ndarray
    y: np.ndarray
    fold: np.ndarray

    def held_out(self, columns: range, patients: int) -> np.ndarray:
        """Cross-fitted scores of the first patients."""
        x, y, fold = self.x[:patients, list(columns)], self.y[:patients], self.fold[:patients]
        scores = np.empty(patients)
        for k in range(FOLDS):
            scores[fold == k] = fitted(x[fold != k], y[fold != k]).score(x[fold == k])
        return scores

    def p_of_the_best(self, patients: int) -> float:
        """The greatest p of the best model against the references; 1 unless it beats each."""
        y = self.y[:patients]
        references = [self.held_out(c, patients) for c in REFERENCES]
        every = [*references, *(self.held_out(c, patients) for c in CANDIDATES)]
        best = max(every, key=lambda scores: auc_delong(y, scores).value or 0.0)
        gains = [
            auc_difference(y, best, other, folds=FOLDS) for other in references if other is not best
        ]
        return max(1.0 if p is None or (gain.value or 0.0) <= 0 else p for gain, p in gains)


def simulated(world: str, random: np.random.Generator) -> Study:
    """A study in which the columns of a world move with response."""
    y = random.permutation(np.arange(PATIENTS) % 2 == 0)
    mean = np.zeros(COLUMNS)
    mean[list(REFERENCES[-1])] = MOVES[world]
    mean[list(CANDIDATES[0])] = SIGNAL if world == "a signal" else 0.0
    return Study(
        random.normal(size=(PATIENTS, COLUMNS)) + np.outer(y, mean), y, stratified(y, random)
    )


def nights() -> list[int]:
    """Patients of each night."""
    return np.linspace(FIRST, PATIENTS, NIGHTS).astype(int).tolist()


def every_night(study: Study, section: Mapping[str, Any]) -> int | None:
    """Patients at which the first champion is made; None where none is."""
    return next((n for n in nights() if study.p_of_the_best(n) <= section["promotion_p"]), None)


def registered_looks(study: Study, section: Mapping[str, Any]) -> int | None:
    """The same at the looks of the protocol."""
    looked, models = 0, len(REFERENCES) + len(CANDIDATES)
    for n in nights():
        look = look_due(n, looked, section)
        if look is None:
            continue
        looked = look.number
        if study.p_of_the_best(n) <= look.level / models:
            return n
    return None


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--nightly", type=int, default=40, help="studies in which every night is tested"
    )
    parser.add_argument("--repeats", type=int, default=400, help="studies for the registered looks")
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    section = load_study().section("model")
    print(
        "| world | rule | studies | a champion is made | first at (median patients) |\n"
        "|---|---|---:|---:|---:|"
    )
    for number, world in enumerate(MOVES):
        for name, rule, studies in (
            ("every night at p", every_night, chosen.nightly),
            ("registered looks", registered_looks, chosen.repeats),
        ):
            random = np.random.default_rng([chosen.seed, number])
            made = [
                n
                for _ in range(studies)
                if (n := rule(simulated(world, random), section)) is not None
            ]
            first = f"{np.median(made):.0f}" if made else "–"
            print(
                f"| {world} | {name} | {studies} | {100 * len(made) / studies:.1f} % | {first} |",
                flush=True,
            )


if __name__ == "__main__":
    main()

"""Coverage of 95 % bounds of a pooled AUC with few and small hospitals, and bias of the mean.

Scores of responders and non-responders are normal; the true AUC of a hospital varies around the
stated one where `between` is not 0. Compared:

- ours: `statistics.pooling`
- DeLong, logit: weights by each hospital's DeLong variance on the logit scale, normal bounds,
  hospitals with an AUC of 1 left out

    python -m benchmarks.pooling [--repeats 2000] [--seed 1]
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.stats import norm

from dagster_project.statistics.pooling import pool_aucs
from dagster_project.statistics.roc import auc_delong

SITES = (3, 5, 8)
SIZES = ((20, 20), (20, 60))
AUCS = (0.6, 0.75, 0.85, 0.93)
BETWEEN = 0.35
"""Standard deviation between hospitals of the distance of the two classes.

The unit is the standard deviation of the scores.
"""

FEWEST = 3
"""Patients of each class in a hospital."""


@dataclass(frozen=True)
class Found:
    """How far the mean of the estimates lies from the truth, and how good the bounds are.

    Of the bounds: the share that holds the truth, their width, and the share of studies with bounds
    at all.
    """

    mean: float
    coverage: float
    width: float
    given: float


def simulated(
    number: int, size: tuple[int, int], auc: float, between: float, *, repeats: int, seed: int
) -> dict[str, Found]:
    """Repeat a study of `number` hospitals of `size` patients."""
    random = np.random.default_rng([seed, number, *size, round(1000 * auc), round(1000 * between)])
    shift = np.sqrt(2) * norm.ppf(auc)
    truth = float(norm.cdf((shift + between * random.standard_normal(200_000)) / np.sqrt(2)).mean())
    found: dict[str, list[tuple[float, float, float]]] = {"ours": [], "DeLong, logit": []}
    for _ in range(repeats):
        sites = [
            _site(
                shift + between * random.standard_normal(),
                random.integers(size[0], size[1] + 1),
                random,
            )
            for _ in range(number)
        ]
        aucs, positive, negative = (
            np.array(column)
            for column in zip(
                *((auc_delong(*s).value, s[0].sum(), (~s[0]).sum()) for s in sites), strict=True
            )
        )
        ours, _ = pool_aucs(
            aucs.astype(np.float64), positive.astype(np.float64), negative.astype(np.float64)
        )
        found["ours"].append((ours.value or 0.0, ours.lower or 0.0, ours.upper or 0.0))
        other = _by_delong(sites)
        found["DeLong, logit"] += [other] if other else []
    return {name: _summed(np.array(some), truth, repeats) for name, some in found.items()}


def _site(
    shift: float, patients: int, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    positive = int(np.clip(random.binomial(patients, 0.5), FEWEST, patients - FEWEST))
    labels = np.arange(patients) < positive
    return labels, random.standard_normal(patients) + shift * labels


def _by_delong(sites: list[tuple[np.ndarray, np.ndarray]]) -> tuple[float, float, float] | None:
    each = [
        e
        for e in (auc_delong(*s) for s in sites)
        if e.lower is not None and e.lower > 0 and e.upper < 1
    ]
    if len(each) < 2:
        return None
    a, sd = (
        np.array([e.value for e in each]),
        np.array([(e.upper - e.lower) / (2 * norm.ppf(0.975)) for e in each]),
    )
    theta, variance = np.log(a / (1 - a)), (sd / (a * (1 - a))) ** 2
    w = 1 / variance
    q = (w * (theta - (w * theta).sum() / w.sum()) ** 2).sum()
    w = 1 / (variance + max(0.0, (q - len(a) + 1) / (w.sum() - (w**2).sum() / w.sum())))
    mean, reach = (w * theta).sum() / w.sum(), norm.ppf(0.975) / np.sqrt(w.sum())
    low, middle, high = (float(1 / (1 + np.exp(-(mean + side * reach)))) for side in (-1, 0, 1))
    return middle, low, high


def _summed(some: np.ndarray, truth: float, repeats: int) -> Found:
    if not len(some):
        return Found(math.nan, math.nan, math.nan, 0.0)
    middle, low, high = some.T
    return Found(
        float(middle.mean() - truth),
        float(((low <= truth) & (truth <= high)).mean()),
        float((high - low).mean()),
        len(some) / repeats,
    )


def rows(repeats: int, seed: int) -> Iterator[str]:
    """A line of the table per setting."""
    yield (
        "| hospitals | patients each | AUC | between hospitals | ours: mean off by | covers "
        "| width | DeLong, logit: mean off by | covers | width |"
    )
    yield "| ---: | --- | ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: |"
    for number in SITES:
        for size in SIZES:
            for auc, between in (*((auc, 0.0) for auc in AUCS), (0.8, BETWEEN)):
                found = simulated(number, size, auc, between, repeats=repeats, seed=seed)
                cells = [
                    f"{f.mean:+.3f} | {100 * f.coverage:.1f} % | {f.width:.2f}"
                    for f in found.values()
                ]
                yield (
                    f"| {number} | {size[0]}-{size[1]} | {auc} "
                    f"| {'varies' if between else 'the same'} | {' | '.join(cells)} |"
                )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    for row in rows(arguments.repeats, arguments.seed):
        print(row, flush=True)


if __name__ == "__main__":
    main()

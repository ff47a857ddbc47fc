"""By how much the sums of two readers of one CT differ, as a share of the sum."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations
from math import log, sqrt

import polars as pl

from dagster_project.domain.response.findings import Rules
from dagster_project.domain.response.responses import ACCEPTED


@dataclass(frozen=True, slots=True)
class ReaderError:
    """Relative standard deviation of one reader's sum, the pairs it is based on, and its source."""

    value: float
    n_pairs: int
    source: str


def relative_error(pairs: Iterable[tuple[float, float]]) -> float | None:
    """Within-subject standard deviation of the logarithm, of pairs of positive sizes.

    sqrt(mean((ln a - ln b)^2) / 2), which is the relative standard deviation of one measurement
    where it is small (Bland & Altman, BMJ 1996;313:106). None without a pair.

    >>> round(relative_error([(100.0, 110.0), (50.0, 50.0)]), 4)
    0.0477
    """
    squares = [log(a / b) ** 2 for a, b in pairs]
    return sqrt(sum(squares) / len(squares) / 2) if squares else None


def find_reader_error(responses: pl.DataFrame, dynamic: Rules) -> ReaderError:
    """The study's own error where there are pairs enough, else the protocol's.

    A pair is the sums of two readers of one patient and visit, both above 0.
    """
    read = responses.filter((pl.col("evaluator") != ACCEPTED) & (pl.col("sum_mm") > 0)).sort(
        "site", "patient", "visit", "evaluator"
    )
    pairs = [
        pair
        for _, own in read.group_by("site", "patient", "visit", maintain_order=True)
        for pair in combinations(own["sum_mm"].to_list(), 2)
    ]
    own_error = relative_error(pairs)
    if own_error and len(pairs) >= dynamic["reader_pairs_minimum"]:
        return ReaderError(own_error, len(pairs), "study")
    return ReaderError(dynamic["reader_error"], len(pairs), "protocol")

"""One cohort split at random over hospitals, and the sum that their vectors have."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from dagster_project.federated.fixed_point import add_residues, from_residues, to_residues


def split(n: int, hospitals: int, random: np.random.Generator) -> list[np.ndarray]:
    """Rows of each hospital; some may have none."""
    where = random.integers(0, hospitals, n)
    return [np.flatnonzero(where == h) for h in range(hospitals)]


def secure_total(vectors: Iterable[np.ndarray]) -> np.ndarray:
    """The sum as the secure sum has it, without masks and encryption, which do not change it."""
    listed = list(vectors)
    total = to_residues(listed[0], len(listed))
    for vector in listed[1:]:
        total = add_residues(total, to_residues(vector, len(listed)))
    return from_residues(total)


def over_hospitals(
    vector: Callable[[np.ndarray], np.ndarray], n: int, hospitals: int, random: np.random.Generator
) -> np.ndarray:
    """The sum of what each hospital makes of its rows."""
    return secure_total([vector(rows) for rows in split(n, hospitals, random)])

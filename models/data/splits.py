"""Who is held out with whom: folds that never divide a patient and keep site and label alike."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np


class SplitError(ValueError):
    """A cohort that cannot be divided as asked, or folds that leak or cannot be judged."""


def stratified_folds(
    patients: Sequence[str],
    sites: Sequence[str],
    labels: np.ndarray,
    *,
    folds: int,
    seed: int,
    scope: str,
) -> np.ndarray:
    """The fold of every row, from 0: grouped by patient, balanced by label within site.

    1. A patient's rows share one fold; a patient with two sites or two labels is refused.
    2. Where a class has fewer patients than `folds`, there are as many folds as it has patients;
       below two it is refused.
    3. Within a site and label patients stand in the order of a hash of seed and pseudonym, so
       neither the rows' order nor another patient's presence in another stratum changes it.
    4. One counter deals them out: responders site by site, then non-responders. So each class, and
       the whole, differs by at most one patient between folds, and so does each site and label.

    Parameters
    ----------
    patients, sites, labels
        One entry per row.
    folds : int
        Folds wanted, at least 2.
    scope : str
        What is being split, for the error.

    Raises
    ------
    SplitError
        Rule 1 or 2.
    """
    facts = _one_stratum_each(patients, sites, labels, scope)
    number = _possible_folds(facts, folds, scope)
    strata = sorted(facts, key=lambda p: (not facts[p][1], facts[p][0], _order(seed, p)))
    fold_of = {patient: place % number for place, patient in enumerate(strata)}
    return np.array([fold_of[p] for p in patients])


def _one_stratum_each(
    patients: Sequence[str], sites: Sequence[str], labels: np.ndarray, scope: str
) -> dict[str, tuple[str, bool]]:
    rows = set(zip(patients, sites, np.asarray(labels, dtype=bool).tolist(), strict=True))
    torn = _repeated(patient for patient, _, _ in rows)
    if torn:
        raise SplitError(
            f"{scope}: patients {', '.join(torn)} have two sites or two labels; "
            "correct the training cohort"
        )
    return {patient: (site, label) for patient, site, label in rows}


def _repeated(names: Iterable[str]) -> list[str]:
    return sorted(name for name, times in Counter(names).items() if times > 1)


def _possible_folds(facts: dict[str, tuple[str, bool]], folds: int, scope: str) -> int:
    responders = sum(label for _, label in facts.values())
    fewest = min(responders, len(facts) - responders)
    if fewest < 2:
        raise SplitError(
            f"{scope}: {responders} responders and {len(facts) - responders} non-responders "
            "cannot be split; "
            "two of each are needed, so wait for more patients or raise [gate].minimum_per_class"
        )
    return min(folds, fewest)


def _order(seed: int, patient: str) -> bytes:
    return hashlib.sha256(f"{seed}/{patient}".encode()).digest()


def check_folds(
    fold: np.ndarray, patients: Sequence[str], labels: np.ndarray, *, scope: str
) -> None:
    """Refuse folds that divide a patient, or of which one, or its complement, lacks a class.

    Raises
    ------
    SplitError
        Naming the patients or the fold.
    """
    divided = _repeated(patient for patient, _ in set(zip(patients, fold.tolist(), strict=True)))
    if divided:
        raise SplitError(
            f"{scope}: patients {', '.join(divided)} are in two folds; "
            "a patient's rows must stay together"
        )
    for k in np.unique(fold):
        for held, which in ((fold == k, "holds"), (fold != k, "is trained on")):
            if len(set(labels[held].tolist())) < 2:
                raise SplitError(
                    f"{scope}: fold {k} {which} one class only; "
                    "ask for fewer folds in study.toml [model].folds"
                )

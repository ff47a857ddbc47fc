"""DHI before its division by limits.

A fold of a model can thus fit limits on its own patients and divide all others by them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from dagster_project.radiomics.dhi import limits_from, shipped_limits, units_of
from dagster_project.radiomics.dhi_limits_fit import COMPONENTS, Limits, held_back_ratios
from dagster_project.study import digest_of

Values = NDArray[np.float64]

KEY = ("site", "patient", "lesion", "from_visit", "to_visit")

VERSION = 1
"""Of how limits are fitted; it is part of their fingerprint."""


class LimitsError(ValueError):
    """Limits may not be used for what they are asked for."""


@dataclass(frozen=True, eq=False)
class Comparisons:
    """Lesions between two visits, one row each.

    `keys` has the columns of KEY, `units` is d_c / r_c (n, components), `volumes` the sum of
    both visits' volumes, `ratios` the held-back ratios (m, components), and `ratio_row` the row of
    each.
    """

    keys: pl.DataFrame
    units: Values
    volumes: Values
    ratio_row: NDArray[np.int64]
    ratios: Values
    settings: Mapping[str, Any]


def raw_dhi(rows: Iterable[Mapping[str, Any]], settings: Mapping[str, Any]) -> Comparisons:
    """The comparisons of a cohort, as `compare_lesion` gave them, that have a DHI."""
    compared = ((row, units_of(row)) for row in rows if row["reason"] is None)
    known = [(row, units) for row, units in compared if units is not None]
    ratios = [
        np.stack(
            [held_back_ratios(row[f"null_{c}_a"], row[f"null_{c}_b"]) for c in COMPONENTS], axis=1
        )
        for row, _ in known
    ]
    keys = pl.DataFrame(
        [[row[name] for name in KEY] for row, _ in known],
        schema=dict.fromkeys(KEY, pl.String),
        orient="row",
    )
    of_row = np.repeat(np.arange(len(known)), [len(r) for r in ratios]).astype(np.int64)
    nothing = np.zeros((0, len(COMPONENTS)))
    return Comparisons(
        keys,
        np.array([u for _, u in known]).reshape(-1, len(COMPONENTS)),
        np.array([r["volume_a_mm3"] + r["volume_b_mm3"] for r, _ in known]),
        of_row,
        np.concatenate([nothing, *ratios]),
        settings,
    )


@dataclass(frozen=True)
class FoldLimits:
    """q_c and q* of a fold, fitted on the repeats of its training patients alone.

    The shipped ones where those are too few (`n_lesions` 0). `fitted_on` is a digest of the
    training patients; it names none.
    """

    version: int
    components: tuple[float, ...]
    combined: float
    n_lesions: int
    fitted_on: str

    @property
    def fingerprint(self) -> str:
        """Digest of everything in it."""
        return digest_of(asdict(self))

    def check(self, patients: Collection[str]) -> None:
        """Let a model use limits only where they were fitted on exactly its training patients.

        LimitsError otherwise.
        """
        if self.fitted_on != digest_of(sorted(set(patients))):
            raise LimitsError(
                "these limits of DHI were fitted on other patients than the fold's training "
                "patients; fit them on those"
            )

    def divide(self, units: Values) -> tuple[Values, Values]:
        """u_c (n, components) and DHI (n) of raw_dhi units."""
        divided = units / np.array(self.components)
        return divided, np.sqrt(np.mean(divided**2, axis=1)) / self.combined


def fit_fold_limits(
    ratios: Values, n_lesions: int, patients: Sequence[str], settings: Mapping[str, Any]
) -> FoldLimits:
    """`limits_from` the held-back ratios of a fold's training patients."""
    return _of_patients(limits_from([ratios], n_lesions, settings), patients)


def patient_free_limits() -> FoldLimits:
    """The shipped limits of synthetic lesions, in which no patient took part."""
    return _of_patients(shipped_limits(), ())


def _of_patients(limits: Limits, patients: Sequence[str]) -> FoldLimits:
    return FoldLimits(
        VERSION,
        limits.components,
        limits.combined,
        limits.n_lesions,
        digest_of(sorted(set(patients))),
    )

"""Habitats as nodes, by a codebook of each fold.

The codebook is fitted on the words of the fold's training patients, and finds the habitats of any
lesion without a voxel.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from dagster_project.radiomics.habitat_codebook import Codebook, CodebookError, check_fold
from dagster_project.radiomics.habitat_histograms import (
    BinCounts,
    CohortHistograms,
    HistogramGrid,
    HistogramHabitats,
    fit_histogram_codebook,
    measure_histograms,
)

if TYPE_CHECKING:
    from models.data.lesion_sequences import LesionSequences

PREFIX = "habitat_"
"""How the regions and the features of habitat nodes begin."""

FEATURES = (f"{PREFIX}fraction", f"{PREFIX}density_hu", f"{PREFIX}spread_hu")
"""Features of a habitat's node: share of the lesion, and mean local features of its voxels."""


@dataclass(frozen=True, eq=False)
class SequenceHistograms:
    """Words of the lesions of a series.

    `at` (n, 3) is patient, lesion and visit of each row, as places in the series' arrays.
    """

    at: np.ndarray
    words: BinCounts
    settings: Mapping[str, Any]

    @property
    def digest(self) -> bytes:
        """SHA-256 of places, words and settings."""
        return hashlib.sha256(
            repr(sorted(self.settings.items())).encode()
            + np.ascontiguousarray(self.at).tobytes()
            + self.words.digest
        ).digest()

    def take(self, rows: np.ndarray, patients: int) -> SequenceHistograms:
        """The patients of a mask, or in the order of an index without repetition.

        `patients` is how many there were.
        """
        order = np.arange(patients)[rows]
        return self._moved(0, order, patients)

    def of_visits(self, order: Sequence[int], visits: int) -> SequenceHistograms:
        """The visits of an index."""
        return self._moved(2, np.asarray(order, dtype=np.int64), visits)

    def _moved(self, axis: int, order: np.ndarray, size: int) -> SequenceHistograms:
        place = np.full(size, -1)
        place[order] = np.arange(order.size)
        kept = place[self.at[:, axis]] >= 0
        at = self.at[kept].copy()
        at[:, axis] = place[at[:, axis]]
        return SequenceHistograms(at, self.words.take(kept), self.settings)


def place_histograms(
    cohort: CohortHistograms, places: pl.DataFrame, visits: Sequence[str]
) -> SequenceHistograms:
    """The words of the lesions that have a node at a visit of the series.

    `places` has site, patient, lesion, visit, row and place.
    """
    wanted = places.filter(pl.col("visit").is_in(list(visits))).unique(["row", "place", "visit"])
    found = (
        cohort.keys.with_row_index("at")
        .join(wanted, on=["site", "patient", "lesion", "visit"])
        .sort("at")
    )
    visit = found["visit"].replace_strict(
        {v: i for i, v in enumerate(visits)}, return_dtype=pl.Int64
    )
    kept = np.zeros(cohort.keys.height, dtype=bool)
    kept[found["at"].to_numpy()] = True
    at = np.column_stack(
        [found["row"].to_numpy(), found["place"].to_numpy(), visit.to_numpy()]
    ).astype(np.int64)
    return SequenceHistograms(at, cohort.words.take(kept), cohort.settings)


@dataclass(frozen=True)
class FoldHabitats:
    """The codebook of a fold; the grid says of which words it can tell a habitat."""

    codebook: Codebook
    grid: HistogramGrid

    @classmethod
    def fitted(cls, series: LesionSequences, patients: Sequence[str]) -> FoldHabitats:
        """Fit on the words of these patients alone.

        Raises
        ------
        CodebookError
            No words, or too few lesions.
        """
        if series.words is None:
            raise CodebookError("no lesion has words; materialise habitats first")
        own = series.words
        codebook = fit_histogram_codebook(
            own.words, [patients[i] for i in own.at[:, 0]], patients, own.settings, "fold"
        )
        return cls(codebook, own.words.grid)

    @property
    def names(self) -> tuple[str, ...]:
        """The nodes' names, the least dense first."""
        return tuple(f"{PREFIX}{k + 1}" for k in range(self.codebook.count))

    def apply_in_training(
        self, series: LesionSequences, patients: Sequence[str], training: Sequence[str]
    ) -> LesionSequences:
        """`apply` for patients some of whom are about to be trained on.

        CodebookError unless the codebook was fitted on exactly those.
        """
        if not set(training) <= set(patients):
            raise CodebookError("training patients that are not in the series")
        check_fold(self.codebook, training)
        return self.apply(series)

    def apply(self, series: LesionSequences) -> LesionSequences:
        """The series with a node a habitat, and the contacts of all nodes of a lesion.

        1. A habitat that a lesion has not, and a lesion without words, are masked: NaN throughout.
        2. Contacts within a lesion: of two habitats msi_i_j; of a habitat and the lesion's own node
           the habitat's share; of a habitat and a region around the lesion msi_0_k; of two regions
           1.

        Raises
        ------
        ValueError
            The series has no words, or words of another grid.
        """
        own = series.words
        if own is None or own.words.grid != self.grid:
            raise ValueError(
                "the model asks for habitats, and there are no words of its grid; "
                "materialise habitats with the protocol that the model was trained under"
            )
        found = measure_histograms(own.words, self.codebook)
        regions, features = (*series.regions, *self.names), (*series.features, *FEATURES)
        patients, lesions, given, visits, measured = series.values.shape
        values = np.full((patients, lesions, len(regions), visits, len(features)), np.nan)
        values[:, :, :given, :, :measured] = series.values
        place = tuple(own.at.T)
        each = np.concatenate(
            [np.where(found.shares > 0, found.shares, np.nan)[..., None], found.features], axis=-1
        )
        values[place[0], place[1], given:, place[2], measured:] = each
        return replace(
            series,
            values=values,
            regions=regions,
            features=features,
            contacts=_contacts(found, own.at, values.shape),
        )

    def facts(self) -> dict[str, Any]:
        """What is stored of it, as JSON."""
        return {
            "codebook": asdict(self.codebook),
            "fingerprint": self.codebook.fingerprint,
            "grid": asdict(self.grid),
        }

    @classmethod
    def from_facts(cls, facts: Mapping[str, Any]) -> FoldHabitats:
        """What `facts` was called on.

        CodebookError where the codebook is not a fold's, or was changed since.
        """
        stored = facts["codebook"]
        codebook = Codebook(
            **stored
            | {
                "centres": tuple(tuple(map(float, c)) for c in stored["centres"]),
                "scale": tuple(stored["scale"]),
            }
        )
        if codebook.scope != "fold" or codebook.fingerprint != facts["fingerprint"]:
            raise CodebookError(
                "the stored codebook is not the one that per fold fitted; train anew"
            )
        return cls(
            codebook,
            HistogramGrid(*(tuple(facts["grid"][name]) for name in ("density_hu", "spread_hu"))),
        )


def _contacts(found: HistogramHabitats, at: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """(patients, lesions, visits, nodes, nodes); see `FoldHabitats.apply`."""
    patients, lesions, nodes, visits, _ = shape
    given = nodes - found.shares.shape[1]
    contacts = np.zeros((patients, lesions, visits, nodes, nodes))
    contacts[..., :given, :given] = 1.0
    own = np.zeros((len(at), nodes, nodes))
    own[:, :given, :given] = 1.0
    own[:, given:, given:] = found.contacts[:, 1:, 1:]
    own[:, 1:given, given:] = found.contacts[:, :1, 1:]
    own[:, 0, given:] = found.shares
    own[:, given:, :given] = own[:, :given, given:].transpose(0, 2, 1)
    contacts[at[:, 0], at[:, 1], at[:, 2]] = own
    return contacts


def raw_names(facts: Mapping[str, Any]) -> dict[str, Any]:
    """The names of a stored network without those of its habitats: what a series must have."""
    return {
        **facts,
        **{
            key: [n for n in facts[key] if not n.startswith(PREFIX)]
            for key in ("regions", "features")
        },
    }

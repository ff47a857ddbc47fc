"""Features of each visit after baseline, by what was known at that visit: one row per visit.

They are offered to the risk of progression, whose visits are of several kinds; a data set of a task
has one row per patient.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from models.data.datasets import BASELINE
from models.data.stability import ReaderMoments, build_moments

Patient = tuple[str, str]
Place = tuple[str, str, str]
"""Site, patient and visit."""

DHI_SEEN = (
    "texture",
    "density",
    "spatial",
    "radial",
    "dhi_magnitude",
    "delta_median_hu",
    "delta_log_sd",
)
"""Columns of `dhi` that no limit of the cohort has divided, so that no patient told of another."""

LEVEL, CHANGE = BASELINE, "change"
"""Ends of the names of columns: value at baseline, and change from baseline to the visit."""

_WHO = ["site", "patient"]
_CELL = ["site", "patient", "visit", "feature", "region"]


@dataclass(frozen=True, eq=False)
class VisitFeatures:
    """Columns of visits, named `feature@region@T0` or `feature@region@change`.

    Attributes
    ----------
    places
        The row of each visit that has a change of a feature.
    values : float array (rows, columns)
        NaN where there is none.
    readers
        What the readers' values of each patient of `reader_rows` amount to; None without reads in
        pairs.
    """

    places: Mapping[Place, int]
    names: tuple[str, ...]
    values: np.ndarray
    readers: ReaderMoments | None = None
    reader_rows: Mapping[Patient, int] | None = None

    def of_visits(self, places: Sequence[Place]) -> np.ndarray:
        """Values of some visits, in order (visits, columns).

        Raises
        ------
        KeyError
            For a visit without features.
        """
        return self.values[[self.places[place] for place in places]]

    def readers_of(self, patients: Sequence[Patient]) -> ReaderMoments | None:
        """Moments of some patients, each once."""
        if self.readers is None or self.reader_rows is None:
            return None
        rows = sorted({self.reader_rows[p] for p in patients if p in self.reader_rows})
        return self.readers.take(np.array(rows, dtype=np.int64))


def build_visit_features(
    lesions: pl.DataFrame,
    radiomic_features: pl.DataFrame,
    delta_features: pl.DataFrame,
    dhi: pl.DataFrame,
    reader_pairs: pl.DataFrame | None = None,
) -> VisitFeatures:
    """Bring features to one row per visit that has a change from baseline.

    1. change: mean over the patient's lesions of `delta_symmetric` from baseline to the visit,
       weighted by volume at baseline
    2. DHI between the same two visits, of the patient (`DHI_SEEN`)
    3. level: mean over the lesions of the feature at baseline

    A row is of nothing later than its visit.

    Parameters
    ----------
    lesions, dhi
        Those tables.
    radiomic_features
        site, patient, visit, lesion, region, feature, value of the accepted reads; rows of visits
        after baseline change nothing.
    delta_features
        That table; rows between two later visits change nothing.
    reader_pairs
        See `stability.build_moments`.
    """
    changes = pl.concat([_changes(delta_features, lesions), _of_dhi(dhi)])
    places = changes.select(*_WHO, "visit").unique().sort(*_WHO, "visit").with_row_index("row")
    levels = _levels(radiomic_features).join(places.drop("row"), on=_WHO)
    cells = pl.concat([changes, levels.select(changes.columns)]).join(places, on=[*_WHO, "visit"])
    names = cells.select("name").unique().sort("name").with_row_index("column")
    found = np.full((places.height, names.height), np.nan)
    placed = cells.join(names, on="name")
    found[placed["row"].to_numpy(), placed["column"].to_numpy()] = placed["value"].to_numpy()
    patients = places.select(_WHO).unique().sort(_WHO).with_row_index("row")
    return VisitFeatures(
        {(s, p, v): row for row, s, p, v in places.iter_rows()},
        tuple(names["name"]),
        found,
        None if reader_pairs is None else _moments(patients, reader_pairs),
        {(s, p): row for row, s, p in patients.iter_rows()},
    )


def _changes(delta_features: pl.DataFrame, lesions: pl.DataFrame) -> pl.DataFrame:
    weights = lesions.filter(pl.col("visit") == BASELINE, pl.col("volume_mm3") > 0)
    valued = delta_features.filter(
        pl.col("from_visit") == BASELINE, pl.col("delta_symmetric").is_not_null()
    ).join(weights.select(*_WHO, "lesion", weight="volume_mm3"), on=[*_WHO, "lesion"])
    return _means(
        valued.select(
            *_WHO, "lesion", "feature", "region", "weight",
            visit="to_visit", value="delta_symmetric",
        ),
        CHANGE,
    )  # fmt: skip


def _levels(radiomic_features: pl.DataFrame) -> pl.DataFrame:
    valued = radiomic_features.filter(pl.col("visit") == BASELINE, pl.col("value").is_not_null())
    return _means(valued.with_columns(weight=pl.lit(1.0)), LEVEL).drop("visit")


def _means(cells: pl.DataFrame, end: str) -> pl.DataFrame:
    """Weighted means over lesions, added up in their order so that the last bit never changes."""
    sums = (
        cells.sort(*_CELL, "lesion")
        .group_by(_CELL, maintain_order=True)
        .agg(pl.col("weight"), pl.col("value"))
    )
    pairs = zip(sums["weight"].to_list(), sums["value"].to_list(), strict=True)
    means = [float(np.average(values, weights=weights)) for weights, values in pairs]
    return sums.select(
        *_WHO,
        "visit",
        name=pl.concat_str("feature", "region", pl.lit(end), separator="@"),
        value=pl.Series(means, dtype=pl.Float64),
    )


def _of_dhi(dhi: pl.DataFrame) -> pl.DataFrame:
    own = dhi.filter(pl.col("scope") == "patient", pl.col("from_visit") == BASELINE)
    return (
        own.select(*_WHO, *(pl.col(c).cast(pl.Float64) for c in DHI_SEEN), visit="to_visit")
        .unpivot(DHI_SEEN, index=[*_WHO, "visit"], variable_name="name")
        .filter(pl.col("value").is_not_null())
        .select(*_WHO, "visit", name=pl.col("name") + f"@patient@{CHANGE}", value="value")
    )


def _moments(patients: pl.DataFrame, reader_pairs: pl.DataFrame) -> ReaderMoments:
    visits = tuple(sorted(reader_pairs["visit"].unique()))
    return build_moments(patients, visits, reader_pairs)

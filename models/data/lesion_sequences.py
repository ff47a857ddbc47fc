"""Lesions and their regions over the visits as padded arrays, the input of the two networks."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl

from dagster_project.radiomics.habitat_histograms import CohortHistograms
from models.data.fold_habitats import SequenceHistograms, place_histograms

MEASURED = ("log_volume", "mean_hu")
"""Features of a lesion's own row, offered on its tumour node beside the radiomic ones."""

TUMOR = "tumor"
"""The region whose node carries what is measured of the lesion as a whole."""

NEIGHBOUR_MM = 80.0
"""Distance at which the tie of two lesions has fallen to exp(-1/2)."""

_WHO = ["site", "patient"]


@dataclass(frozen=True, eq=False)
class LesionSequences:
    """One row per patient; absent nodes are NaN throughout.

    Parameters
    ----------
    values : float array (patients, lesions, regions, visits, features)
        Order of lesions means nothing; padding is NaN.
    days : float array (patients, visits)
        Days since the first visit; NaN where a date is missing.
    ties : float array (patients, lesions, lesions)
        exp(-d^2 / 2 sigma^2) over the distance of the centroids at their first visit; 1 where
        either is unknown; 0 on the diagonal.
    words : SequenceHistograms, optional
        What the lesions' habitats are made of, once a fold has fitted a codebook
        (`models.data.fold_habitats`).
    contacts : float array (patients, lesions, visits, regions, regions), optional
        How close two regions of a lesion are; there once habitats are among the regions.
    """

    values: np.ndarray
    days: np.ndarray
    ties: np.ndarray
    visits: tuple[str, ...]
    regions: tuple[str, ...]
    features: tuple[str, ...]
    words: SequenceHistograms | None = None
    contacts: np.ndarray | None = None

    @property
    def present(self) -> np.ndarray:
        """Nodes with at least one value: (patients, lesions, regions, visits)."""
        return ~np.isnan(self.values).all(axis=-1)

    @property
    def digest(self) -> str:
        """SHA-256 of names and values."""
        facts = repr((self.visits, self.regions, self.features, self.values.shape)).encode()
        words = self.words.digest if self.words else b""
        return hashlib.sha256(
            facts
            + b"".join(
                np.ascontiguousarray(a).tobytes() for a in (self.values, self.days, self.ties)
            )
            + words
        ).hexdigest()

    def take(self, rows: np.ndarray) -> LesionSequences:
        """The rows of a mask, or in the order of an index."""
        return replace(
            self,
            values=self.values[rows],
            days=self.days[rows],
            ties=self.ties[rows],
            words=self.words.take(rows, len(self.values)) if self.words else None,
            contacts=None if self.contacts is None else self.contacts[rows],
        )


def build_sequences(
    roster: pl.DataFrame,
    visits: Sequence[str],
    responses: pl.DataFrame,
    lesions: pl.DataFrame,
    features: pl.DataFrame,
    words: CohortHistograms | None = None,
) -> LesionSequences:
    """Arrange lesions, regions and features of the visits that the task may see.

    Parameters
    ----------
    roster
        `row`, site and patient: the patients, in order.
    responses, lesions
        The tables of these names; `responses` gives the days.
    features
        site, patient, visit, lesion, region, feature, value: the accepted reads' rows of
        radiomic_features.
    words
        Words of the cohort's lesions; those of other visits change nothing.

    A lesion reported as absent has no node at that visit. Only the lesions and features found at
    the visits seen take part.
    """
    seen = pl.col("visit").is_in(list(visits))
    lesions = lesions.filter(seen & pl.col("is_present").fill_null(value=False)).join(
        roster.select("row", *_WHO), on=_WHO
    )
    cells = _cells(lesions, features.filter(seen))
    names = tuple(sorted(cells["feature"].unique()))
    regions = (TUMOR, *sorted(set(cells["region"]) - {TUMOR}))
    places = _places(lesions)
    shape = (
        roster.height,
        max(places["place"].to_list(), default=0) + 1,
        len(regions),
        len(visits),
        len(names),
    )
    values = np.full(shape, np.nan)
    valued = cells.join(places, on=["row", "lesion"])
    index = [
        valued["row"],
        valued["place"],
        *(
            _codes(valued[c], n)
            for c, n in (("region", regions), ("visit", visits), ("feature", names))
        ),
    ]
    values[tuple(np.asarray(i, dtype=np.int64) for i in index)] = valued["value"].to_numpy()
    placed = lesions.join(places, on=["row", "lesion"])
    return LesionSequences(
        values,
        _days(roster, visits, responses),
        _ties(placed, *shape[:2]),
        tuple(visits),
        regions,
        names,
        None
        if words is None
        else place_histograms(
            words, placed.select(*_WHO, "lesion", "visit", "row", "place"), visits
        ),
    )


def _cells(lesions: pl.DataFrame, features: pl.DataFrame) -> pl.DataFrame:
    volume = pl.col("volume_mm3")
    own = lesions.select(
        "row",
        "lesion",
        "visit",
        region=pl.lit(TUMOR),
        log_volume=pl.when(volume > 0).then(volume.log()),
        mean_hu="mean_hu",
    )
    measured = own.unpivot(
        MEASURED, index=["row", "lesion", "visit", "region"], variable_name="feature"
    )
    joined = features.join(
        lesions.select("row", *_WHO, "lesion", "visit"), on=[*_WHO, "lesion", "visit"]
    )
    columns = ["row", "lesion", "visit", "region", "feature", "value"]
    return pl.concat(
        [measured.select(columns), joined.select(columns)], how="vertical_relaxed"
    ).filter(pl.col("value").is_finite())


def _places(lesions: pl.DataFrame) -> pl.DataFrame:
    return (
        lesions.select("row", "lesion")
        .unique()
        .sort("row", "lesion")
        .with_columns(place=pl.int_range(pl.len()).over("row"))
    )


def _codes(values: pl.Series, names: Sequence[str]) -> np.ndarray:
    return values.replace_strict(
        {name: i for i, name in enumerate(names)}, return_dtype=pl.Int64
    ).to_numpy()


def _days(roster: pl.DataFrame, visits: Sequence[str], responses: pl.DataFrame) -> np.ndarray:
    found = (
        responses.filter(pl.col("evaluator") == "accepted")
        .select(*_WHO, "visit", "day")
        .join(roster.select("row", *_WHO), on=_WHO)
    )
    found = found.filter(pl.col("visit").is_in(list(visits)) & pl.col("day").is_not_null())
    days = np.full((roster.height, len(visits)), np.nan)
    days[found["row"].to_numpy().astype(np.int64), _codes(found["visit"], visits)] = found[
        "day"
    ].to_numpy()
    return days - days[:, :1]


def _ties(placed: pl.DataFrame, patients: int, lesions: int) -> np.ndarray:
    """See LesionSequences; centroids of the first visit at which each lesion was seen."""
    first = placed.sort("visit").unique(["row", "place"], keep="first", maintain_order=True)
    where = np.full((patients, lesions, 3), np.nan)
    axes = first.select(
        pl.col(f"centroid_{a}_mm").cast(pl.Float64).fill_null(float("nan")) for a in "xyz"
    ).to_numpy()
    where[first["row"].to_numpy().astype(np.int64), first["place"].to_numpy()] = axes
    squared = ((where[:, :, None] - where[:, None]) ** 2).sum(axis=-1)
    ties = np.where(np.isnan(squared), 1.0, np.exp(-squared / (2 * NEIGHBOUR_MM**2)))
    return ties * (1 - np.eye(lesions))


@dataclass(frozen=True, eq=False)
class SequenceScaler:
    """Mean and scale of each region and feature, and the median days, of training patients.

    Mean and scale are those over the present nodes.
    """

    means: np.ndarray
    scales: np.ndarray
    days: np.ndarray

    @classmethod
    def fitted(
        cls, series: LesionSequences, unstable: Collection[tuple[str, str]] = ()
    ) -> SequenceScaler:
        """Fit on these patients alone.

        A feature that never varies, is missing throughout, or is unstable in its region, is scaled
        to 0.
        """
        flat = series.values.transpose(2, 4, 0, 1, 3).reshape(
            len(series.regions), len(series.features), -1
        )
        n = (~np.isnan(flat)).sum(axis=-1)
        means = np.divide(np.nansum(flat, axis=-1), n, out=np.zeros(n.shape), where=n > 0)
        spread = np.sqrt(
            np.divide(
                np.nansum((flat - means[..., None]) ** 2, axis=-1),
                n,
                out=np.zeros(n.shape),
                where=n > 0,
            )
        )
        nominal = np.arange(len(series.visits)) * 63.0
        known = [series.days[~np.isnan(series.days[:, v]), v] for v in range(len(series.visits))]
        days = np.array([np.median(k) if k.size else nominal[v] for v, k in enumerate(known)])
        stable = np.array(
            [[(f, r) not in unstable for f in series.features] for r in series.regions], dtype=bool
        ).reshape(spread.shape)
        return cls(means, np.where(stable & (spread > 1e-9), spread, np.inf), days)

    def tensors(self) -> dict[str, np.ndarray]:
        """What was fitted."""
        return {"means": self.means, "scales": self.scales, "days": self.days}

    def apply(self, series: LesionSequences) -> dict[str, np.ndarray]:
        """Arrays as float32 without NaN.

        They are standardised values, presence, days and ties, and contacts where there are any.

        A value missing at a visit is the lesion's last one before it, else the mean (0); presence
        says which visits were seen.
        """
        z = (series.values - self.means[None, None, :, None]) / self.scales[None, None, :, None]
        contacts = (
            {} if series.contacts is None else {"contacts": series.contacts.astype(np.float32)}
        )
        return contacts | {
            "x": np.clip(carry_forward(z), -8, 8).astype(np.float32),
            "present": series.present.astype(np.float32),
            "days": np.where(np.isnan(series.days), self.days, series.days).astype(np.float32),
            "ties": series.ties.astype(np.float32),
        }


def carry_forward(z: np.ndarray) -> np.ndarray:
    """Fill along the visits (last axis but one) with the last value seen, or 0 without one."""
    filled = z.copy()
    for v in range(1, z.shape[-2]):
        filled[..., v, :] = np.where(
            np.isnan(filled[..., v, :]), filled[..., v - 1, :], filled[..., v, :]
        )
    return np.nan_to_num(filled, nan=0.0)


def arrange(series: LesionSequences, config: dict[str, Any]) -> LesionSequences:
    """The series with regions and features in a stored model's order.

    ValueError where a visit, region or feature of the model is gone.
    """
    gone = [
        n
        for key in ("visits", "regions", "features")
        for n in config[key]
        if n not in getattr(series, key)
    ]
    if gone:
        raise ValueError(
            f"the model asks for {len(gone)} of visits, regions or features that are not there, "
            f"first {gone[0]}; "
            "measure them anew with the protocol that the model was trained under"
        )
    take = [
        [getattr(series, key).index(n) for n in config[key]]
        for key in ("regions", "visits", "features")
    ]
    values = series.values[:, :, take[0]][:, :, :, take[1]][..., take[2]]
    words = series.words.of_visits(take[1], len(series.visits)) if series.words else None
    names: dict[str, Any] = {key: tuple(config[key]) for key in ("visits", "regions", "features")}
    return LesionSequences(values, series.days[:, take[1]], series.ties, **names, words=words)

"""A cohort simulated as tables, without an image, to judge models by.

It has many patients whose response is based on stated causes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl

from dagster_project.lake import tables
from dagster_project.lake.schema import polars_schema
from dagster_project.radiomics.dhi import derive_dhi
from dagster_project.radiomics.dhi_limits import Comparisons, raw_dhi
from dagster_project.radiomics.habitat_histograms import BinCounts, CohortHistograms, HistogramGrid
from dagster_project.radiomics.regions import region_names
from dagster_project.simulation.comparisons import VISITS, draw_comparisons
from dagster_project.study import load_study

DAYS = (0, 63, 126)
CARRIERS = 3
"""Number of features that carry the heterogeneity signal: the first of the protocol's list.

They carry it in the tumour and the ring next to it; the others carry none.
"""

TISSUES = ((-90.0, 40.0), (-35.0, 28.0), (0.0, 20.0), (30.0, 28.0), (65.0, 45.0))
"""Tissues that lesions are made of.

Density above the lesion's median and local spread, in HU. How much there is of the first
depends on q.
"""

VOXELS, PAIRS = 240, 480
"""Voxels and pairs of neighbours drawn of a lesion and visit, which its words count."""


@dataclass(frozen=True)
class Truth:
    """How much each hidden cause moves the log-odds of response, per standard deviation.

    `amount` is the size of the change of texture, without its sign.
    """

    clinical: float = 0.5
    size: float = 0.7
    heterogeneity: float = 1.5
    amount: float = 0.0


@dataclass(frozen=True)
class SimulatedTables:
    """The tables that a data set is made of, and the outcomes to judge risk groups by."""

    cohort: pl.DataFrame
    patients: pl.DataFrame
    responses: pl.DataFrame
    lesions: pl.DataFrame
    radiomic_features: pl.DataFrame
    delta_features: pl.DataFrame
    dhi: pl.DataFrame
    outcomes: pl.DataFrame
    habitat_histograms: CohortHistograms
    comparisons: Comparisons
    pairs: Sequence[Mapping[str, Any]]
    """What `comparisons` are made of, as `compare_lesion` would give it."""

    def of_dataset(self) -> dict[str, Any]:
        """The arguments of `models.data.datasets.build_dataset`."""
        apart = ("outcomes", "pairs")
        return {name: frame for name, frame in vars(self).items() if name not in apart}

    def of_site(self, site: str) -> SimulatedTables:
        """The rows of one site; habitats and `comparisons` stay those of all."""
        frames: dict[str, Any] = {
            name: frame.filter(site=site)
            for name, frame in vars(self).items()
            if isinstance(frame, pl.DataFrame)
        }
        pairs = [pair for pair in self.pairs if pair["site"] == site]
        return replace(self, **frames, pairs=pairs)

    def replace_task(self, task: str) -> dict[str, Any]:
        """The same with the cohort's rows under another task."""
        return {**self.of_dataset(), "cohort": self.cohort.with_columns(task=pl.lit(task))}


def simulate_tables(
    truth: Truth,
    features: Sequence[str],
    *,
    patients: int = 500,
    sites: int = 8,
    seed: int = 1,
    codes: Sequence[str] = (),
) -> SimulatedTables:
    """Simulate a cohort for the task T1, at sites of these codes or at SITE1, SITE2, ….

    1. Three hidden causes per patient, standard normal and independent: c (seen in PD-L1), s (in
       the change of size), q (in the change of texture).
    2. Response is drawn with log-odds truth.clinical c + truth.size s + truth.heterogeneity q +
       truth.amount (|q| less its mean, over its deviation); q shows in the images whatever its
       weight.
    3. Texture of the carrying features changes by 0.5 q on the log scale, each lesion and region
       with noise of its own; a hospital's scanner shifts all of a patient's values alike, which the
       change does not see.
    4. A lesion is made of TISSUES; the log of the first one's part changes by 0.5 q per visit, with
       noise of the lesion and of the visit. Three neighbours in four are of one tissue, one pair in
       six crosses the surface.
    5. Each lesion is compared between visits (`draw_comparisons`), changing by 0.5 q per visit;
       `dhi` is what `derive_dhi` makes of that. It sees the amount of change, not its direction.

    With `heterogeneity=0` texture changes as much and tells nothing of response.
    """
    rng = np.random.default_rng(seed)
    c, s, q = rng.normal(size=(3, patients))
    amount = (np.abs(q) - np.sqrt(2 / np.pi)) / np.sqrt(1 - 2 / np.pi)
    odds = truth.clinical * c + truth.size * s + truth.heterogeneity * q + truth.amount * amount
    response = rng.random(patients) < 1 / (1 + np.exp(-odds))
    names = list(codes) or [f"SITE{k + 1}" for k in range(sites)]
    site = rng.integers(len(names), size=patients)
    who = pl.DataFrame(
        {
            "site": [names[k] for k in site],
            "patient": [f"{names[k]}-{i:05d}" for i, k in enumerate(site)],
        }
    )
    lesions = _draw_lesions(who, s, rng)
    measured = _draw_features(who, lesions, q, site, features, rng)
    settings = load_study().section("dhi")
    pairs = draw_comparisons(
        lesions,
        who.with_columns(change=pl.Series(0.5 * q)),
        settings,
        np.random.default_rng([seed, len(VISITS)]),
    )
    return SimulatedTables(
        cohort=_shaped(
            tables.TRAINING_COHORT,
            who.with_columns(
                task=pl.lit("T1"),
                included=True,
                label=pl.Series(response),
                label_definition=pl.lit("CR or PR at a visit after T1, simulated"),
            ),
        ),
        patients=_shaped(tables.PATIENTS, _draw_patients(who, c, rng)),
        responses=_shaped(tables.RESPONSES, _sum(lesions)),
        lesions=_shaped(tables.LESIONS, lesions),
        radiomic_features=_shaped(tables.RADIOMIC_FEATURES, measured),
        delta_features=_shaped(tables.DELTA_FEATURES, _change(measured)),
        dhi=_shaped(
            tables.DHI, derive_dhi(pl.DataFrame(pairs, infer_schema_length=None), settings)
        ),
        outcomes=_shaped(tables.OUTCOMES, _draw_outcomes(who, odds, response, rng)),
        habitat_histograms=_draw_words(
            who, lesions, q, np.random.default_rng([seed, len(TISSUES)])
        ),
        comparisons=raw_dhi(pairs, settings),
        pairs=pairs,
    )


def _shaped(table: tables.Table, frame: pl.DataFrame) -> pl.DataFrame:
    """The table's columns, marked as simulated; what is not simulated is NULL."""
    frame = frame.with_columns(simulated=True)
    return frame.select(
        pl.col(n).cast(t) if n in frame.columns else pl.lit(None, t).alias(n)
        for n, t in polars_schema(table).items()
    )


def _draw_patients(who: pl.DataFrame, c: np.ndarray, rng: np.random.Generator) -> pl.DataFrame:
    n = who.height
    return who.with_columns(
        sex=pl.Series(rng.choice(["M", "F"], n)),
        age_years=pl.Series(rng.integers(40, 80, n)),
        smoking=pl.Series(rng.choice(["never", "former", "current"], n)),
        ecog=pl.Series(rng.integers(0, 2, n)),
        stage=pl.Series(rng.choice(["IIIB", "IVA", "IVB"], n)),
        egfr=pl.lit("wild_type"),
        alk=pl.lit("negative"),
        pd_l1_tps=pl.Series(
            np.where(
                rng.random(n) < 0.1, np.nan, np.clip(50 + 25 * (c + rng.normal(0, 0.5, n)), 0, 100)
            )
        ).fill_nan(None),
        line=pl.Series(rng.integers(1, 3, n)),
    )


def _draw_lesions(who: pl.DataFrame, s: np.ndarray, rng: np.random.Generator) -> pl.DataFrame:
    """One to four lesions per patient.

    Each shrinks by its patient's s and some noise; one in fifty vanishes at T1 or T2.
    """
    number = rng.integers(1, 5, who.height)
    index = np.repeat(np.arange(who.height), number)
    first = rng.uniform(15, 60, index.size)
    rate = -0.10 - 0.07 * s[index] + rng.normal(0, 0.05, index.size)
    frames = []
    for k, visit in enumerate(VISITS):
        diameter = first * np.exp(rate * k + rng.normal(0, 0.02, index.size))
        present = (rng.random(index.size) > 0.02) | (k == 0)
        frames.append(
            who[index].with_columns(
                lesion=pl.Series([f"L{j + 1}" for n in number for j in range(n)]),
                visit=pl.lit(visit),
                reader=pl.lit("R1"),
                role=pl.lit("target"),
                is_present=pl.Series(present),
                longest_diameter_mm=pl.Series(np.where(present, diameter, np.nan)).fill_nan(None),
                volume_mm3=pl.Series(np.where(present, 0.5 * diameter**3, np.nan)).fill_nan(None),
                mean_hu=pl.Series(
                    np.where(present, rng.normal(30, 10, index.size), np.nan)
                ).fill_nan(None),
                **{
                    f"centroid_{a}_mm": pl.Series(rng.uniform(-120, 120, index.size)) for a in "xyz"
                },
            )
        )
    return pl.concat(frames)


def _sum(lesions: pl.DataFrame) -> pl.DataFrame:
    days = dict(zip(VISITS, DAYS, strict=True))
    total = lesions.group_by("site", "patient", "visit").agg(
        sum_mm=pl.col("longest_diameter_mm").fill_null(0.0).sum()
    )
    return total.with_columns(
        evaluator=pl.lit("accepted"),
        day=pl.col("visit").replace_strict(days, return_dtype=pl.Int64),
    )


def _draw_features(
    who: pl.DataFrame,
    lesions: pl.DataFrame,
    q: np.ndarray,
    site: np.ndarray,
    features: Sequence[str],
    rng: np.random.Generator,
) -> pl.DataFrame:
    row = who.with_row_index("row")
    present = (
        lesions.filter("is_present")
        .join(row, on=["site", "patient"])
        .sort("row", "lesion", "visit")
    )
    index = present["row"].to_numpy().astype(np.int64)
    step = (
        present["visit"]
        .replace_strict({"T0": 0, "T1": 1, "T2": 2}, return_dtype=pl.Int64)
        .to_numpy()
    )
    scanner = rng.normal(0, 0.3, (site.max() + 1, len(features)))
    lesion = (
        present.select(pl.struct("row", "lesion").rank("dense"))
        .to_series()
        .to_numpy()
        .astype(np.int64)
        - 1
    )
    regions = region_names(load_study().section("radiomics"))
    own = rng.normal(0, 0.4, (lesion.max() + 1, len(regions), len(features)))
    frames = []
    for r, region in enumerate(regions):
        for f, feature in enumerate(features):
            signal = 0.5 * q[index] * step * (f < CARRIERS) * (r < 2)
            value = np.exp(
                scanner[site[index], f]
                + own[lesion, r, f]
                + signal * (-1 if f % 2 else 1)
                + rng.normal(0, 0.4, index.size)
            )
            frames.append(
                present.select(
                    "site",
                    "patient",
                    "visit",
                    "lesion",
                    reader=pl.lit("R1"),
                    region=pl.lit(region),
                    feature=pl.lit(feature),
                    value=pl.Series(value),
                )
            )
    return pl.concat(frames)


def _change(features: pl.DataFrame) -> pl.DataFrame:
    key = ["site", "patient", "lesion", "region", "feature"]
    frames = []
    for a, b in (("T0", "T1"), ("T1", "T2"), ("T0", "T2")):
        ends = [
            features.filter(pl.col("visit") == v).select(*key, pl.col("value").alias(n))
            for v, n in ((a, "one"), (b, "two"))
        ]
        pair = ends[0].join(ends[1], on=key)
        frames.append(
            pair.with_columns(
                from_visit=pl.lit(a),
                to_visit=pl.lit(b),
                delta=pl.col("two") - pl.col("one"),
                delta_symmetric=2
                * (pl.col("two") - pl.col("one"))
                / (pl.col("two").abs() + pl.col("one").abs()),
            )
        )
    return pl.concat(frames)


def _draw_words(
    who: pl.DataFrame, lesions: pl.DataFrame, q: np.ndarray, rng: np.random.Generator
) -> CohortHistograms:
    """Words and pairs of words of every lesion that is there; see `simulate_tables`, point 4."""
    study = load_study()
    grid = HistogramGrid.of(study.section("habitat_histogram"))
    present = (
        lesions.filter("is_present")
        .join(who.with_row_index("row"), on=["site", "patient"])
        .sort("row", "lesion", "visit")
    )
    step = (
        present["visit"]
        .replace_strict({v: k for k, v in enumerate(VISITS)}, return_dtype=pl.Int64)
        .to_numpy()
    )
    lesion = (
        present.select(pl.struct("row", "lesion").rank("dense"))
        .to_series()
        .to_numpy()
        .astype(np.int64)
        - 1
    )
    parts = rng.normal(0, 0.4, (lesion.max() + 1, len(TISSUES)))[lesion] + rng.normal(
        0, 0.4, (present.height, len(TISSUES))
    )
    parts[:, 0] += 0.5 * q[present["row"].to_numpy().astype(np.int64)] * step
    shares = np.exp(parts) / np.exp(parts).sum(axis=1, keepdims=True)
    first = _drawn_tissues(shares, PAIRS, rng)
    second = np.where(rng.random(first.shape) < 0.75, first, _drawn_tissues(shares, PAIRS, rng))
    words = [
        _words_of(grid, tissues, rng)
        for tissues in (_drawn_tissues(shares, VOXELS, rng), first, second)
    ]
    words[2][:, : PAIRS // 6] = 0
    row, size = np.arange(present.height)[:, None], grid.count + 1
    counts = np.bincount((row * size + words[0]).ravel(), minlength=present.height * size).reshape(
        -1, size
    )[:, 1:]
    code, count = np.unique(
        (
            row * size**2 + np.minimum(words[1], words[2]) * size + np.maximum(words[1], words[2])
        ).ravel(),
        return_counts=True,
    )
    whole = BinCounts(
        grid,
        counts.astype(np.int32),
        (code // size**2).astype(np.int32),
        (code % size**2).astype(np.int32),
        count.astype(np.int32),
    )
    return CohortHistograms(
        present.select("site", "patient", "visit", "lesion"), whole, study.section("habitats")
    )


def _drawn_tissues(shares: np.ndarray, number: int, rng: np.random.Generator) -> np.ndarray:
    """So many tissues of each lesion, by their shares."""
    return (rng.random((len(shares), number, 1)) > np.cumsum(shares, axis=1)[:, None, :-1]).sum(
        axis=-1
    )


def _words_of(grid: HistogramGrid, tissues: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The word of a voxel of each tissue."""
    drawn = np.array(TISSUES)[tissues] + rng.normal(0, 1, (*tissues.shape, 2)) * (15.0, 6.0)
    return grid.words_of(drawn.reshape(-1, 2)).reshape(tissues.shape)


def _draw_outcomes(
    who: pl.DataFrame, odds: np.ndarray, response: np.ndarray, rng: np.random.Generator
) -> pl.DataFrame:
    """Exponential times from T1 whose hazard falls with the log-odds.

    They are censored at random within two years.
    """
    days = rng.exponential(240 * np.exp(0.5 * odds))
    end = rng.uniform(120, 730, who.height)
    return who.with_columns(
        responder=pl.Series(response),
        pfs_days=pl.Series(np.minimum(days, end).astype(np.int64) + 64),
        pfs_event=pl.Series(days <= end),
    )

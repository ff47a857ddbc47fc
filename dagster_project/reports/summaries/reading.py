"""The readers' agreement, the arbiters' cases, and what is watched of the readers over time."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby

import numpy as np
import polars as pl

from dagster_project.reports.figures.reading import Limits
from dagster_project.reports.summaries.tables import WHO, Row, Tables
from dagster_project.reports.wording import MEASUREMENTS
from dagster_project.statistics.agreement import bland_altman


def summarise_agreement(agreement: pl.DataFrame) -> list[tuple[tuple[str, str], list[Row]]]:
    """Rows of reader_agreement by measurement, under the name of their scope in both languages.

    The cohort comes first, then its visits, then the sites.
    """
    order, scopes = list(MEASUREMENTS), ["cohort", "visit", "site"]
    rows = sorted(
        agreement.filter(pl.col("scope").is_in(scopes)).to_dicts(),
        key=lambda r: (
            scopes.index(r["scope"]),
            r["visit"],
            r["site"],
            order.index(r["measurement"]),
        ),
    )
    titles = {
        "cohort": ("All sites", "全部医院"),
        "visit": ("All sites, {visit}", "全部医院，{visit}"),
        "site": ("{site}", "{site}"),
    }
    return [
        (_named(titles[scope], visit, site), list(group))
        for (scope, visit, site), group in groupby(
            rows, key=lambda r: (r["scope"], r["visit"], r["site"])
        )
    ]


def _named(title: tuple[str, str], visit: str, site: str) -> tuple[str, str]:
    en, zh = (text.format(visit=visit, site=site) for text in title)
    return en, zh


def pair_reads(reads: pl.DataFrame, arbitrations: pl.DataFrame) -> pl.DataFrame:
    """Longest diameters of each lesion-visit that two readers measured and locked.

    Also whether an arbiter settled the patient. The first reader by name comes first.
    """
    locked = reads.filter(
        pl.col("locked_at").is_not_null(), pl.col("longest_diameter_mm").is_not_null()
    )
    pairs = (
        locked.sort("reader")
        .group_by(*WHO, "scan", "lesion")
        .agg("longest_diameter_mm")
        .filter(pl.col("longest_diameter_mm").list.len() >= 2)
    )
    settled = arbitrations.filter(pl.col("status") == "settled").select(
        *WHO, settled=pl.lit(value=True)
    )
    return (
        pairs.join(settled, on=WHO, how="left")
        .sort(*WHO, "scan", "lesion")
        .select(
            first=pl.col("longest_diameter_mm").list.get(0),
            second=pl.col("longest_diameter_mm").list.get(1),
            settled=pl.col("settled").fill_null(value=False),
        )
    )


def limits_of_pairs(pairs: pl.DataFrame) -> Limits | None:
    """Bias and limits of agreement of what `pair_reads` gives; None without a pair."""
    values = pairs.select("first", "second").to_numpy().astype(np.float64)
    return bland_altman(values) if len(values) else None


def summarise_arbitrations(tables: Tables) -> list[Row]:
    """By site: patients whom two readers read, and of their cases the open and the settled ones."""
    read_twice = (
        tables["reads"]
        .filter(pl.col("locked_at").is_not_null())
        .group_by(WHO)
        .agg(n=pl.col("reader").n_unique())
        .filter(pl.col("n") >= 2)
    )
    cases = (
        tables["arbitrations"]
        .group_by("site")
        .agg(open=(pl.col("status") == "open").sum(), settled=(pl.col("status") == "settled").sum())
    )
    rows = (
        read_twice.group_by("site")
        .agg(read_twice=pl.len())
        .join(cases, on="site", how="full", coalesce=True)
    )
    return (
        rows.with_columns(pl.col("read_twice", "open", "settled").fill_null(0))
        .sort("site")
        .to_dicts()
    )


@dataclass(frozen=True)
class Monitoring:
    """Adjudication rates by site and reader figures.

    The whole cohort's rate comes last. Each reader has a disagreement index with the drift by
    month.
    """

    rates: list[Row]
    readers: list[Row]


def summarise_monitoring(figures: pl.DataFrame) -> Monitoring:
    """What is watched of the readers over time."""
    rates = (
        figures.filter(pl.col("statistic") == "adjudication_rate")
        .sort("scope", "site", descending=[True, False])
        .to_dicts()
    )
    drift = figures.filter(pl.col("statistic") == "drift_percent").sort("month").to_dicts()
    readers = (
        figures.filter(pl.col("statistic") == "disagreement_index")
        .sort("site", "reader")
        .to_dicts()
    )
    return Monitoring(
        rates,
        [
            {
                **r,
                "drift": [d for d in drift if (d["site"], d["reader"]) == (r["site"], r["reader"])],
            }
            for r in readers
        ],
    )


def count_triggers(arbitrations: pl.DataFrame) -> list[Row]:
    """Cases that met a trigger at least once, by trigger.

    A trigger's name is the text before its visit and lesion.
    """
    named = (
        arbitrations.select(*WHO, pl.col("triggers"))
        .explode("triggers")
        .with_columns(trigger=pl.col("triggers").str.extract(r"^([^ :(]+)"))
    )
    return (
        named.drop_nulls("trigger")
        .group_by("trigger")
        .agg(cases=pl.struct(WHO).n_unique())
        .sort("cases", "trigger", descending=[True, False])
        .to_dicts()
    )

"""The Dynamic Heterogeneity Index by pair of visits and response."""

from __future__ import annotations

import numpy as np
import polars as pl

from dagster_project.reports.figures.heterogeneity import Strip
from dagster_project.reports.summaries.cohort import Population
from dagster_project.reports.summaries.tables import WHO, Row, Tables
from dagster_project.statistics.correlation import partial_rank_correlation, rank_correlation
from dagster_project.statistics.description import quartiles
from dagster_project.statistics.roc import auc_delong


def list_patient_dhi(tables: Tables, population: Population) -> pl.DataFrame:
    """The population's DHI rows of scope patient with the response, pairs of visits in order."""
    order = pl.Enum(["T0 → T1", "T1 → T2", "T0 → T2"])
    rows = (
        population.of(tables["dhi"])
        .filter(pl.col("scope") == "patient")
        .with_columns(pair=pl.format("{} → {}", "from_visit", "to_visit"))
    )
    kept = rows.filter(pl.col("pair").is_in(order.categories.to_list())).with_columns(
        pl.col("pair").cast(order)
    )
    return kept.join(tables["outcomes"].select(*WHO, "responder"), on=WHO, how="left").sort(
        "pair", *WHO
    )


def group_dhi(rows: pl.DataFrame) -> dict[str, dict[str, list[float]]]:
    """DHI values by pair of visits and response group, for the figure."""

    def values(part: pl.DataFrame, responder: bool) -> list[float]:
        return part.filter(pl.col("responder") == responder)["dhi"].drop_nulls().to_list()

    parts = {str(pair): part for (pair,), part in rows.group_by("pair", maintain_order=True)}
    return {
        pair: {"responders": values(part, True), "non-responders": values(part, False)}
        for pair, part in parts.items()
    }


def dhi_strips(rows: pl.DataFrame) -> dict[str, dict[str, Strip]]:
    """`group_dhi` with the quartiles of each group."""
    return {
        pair: {name: Strip(values, quartiles(values)) for name, values in groups.items()}
        for pair, groups in group_dhi(rows).items()
    }


def summarise_dhi(rows: pl.DataFrame) -> list[Row]:
    """By pair of visits: quartiles by response, values missing, and DHI's discrimination.

    The last is how well DHI predicts response beside and beyond the change of volume.
    """
    return [
        {
            "pair": str(pair),
            "missing": part["dhi"].null_count(),
            "groups": _quartiles(part),
            **_worth(part),
        }
        for (pair,), part in rows.group_by("pair", maintain_order=True)
    ]


def _quartiles(part: pl.DataFrame) -> list[Row]:
    groups = (
        ("responders", part.filter("responder")),
        ("non-responders", part.filter(~pl.col("responder"))),
    )
    return [_spread(name, group["dhi"].drop_nulls()) for name, group in groups]


def _spread(name: str, values: pl.Series) -> Row:
    found = quartiles(values.to_numpy())
    figures = ("low", "median", "high")
    shown = {figure: None if found is None else getattr(found, figure) for figure in figures}
    return {"name": name, "n": len(values), **shown}


def _worth(part: pl.DataFrame) -> Row:
    known = part.drop_nulls(
        ["dhi", "dhi_magnitude", "responder", "delta_log_volume", "wasserstein_hu"]
    )
    dhi, volume = known["dhi"].to_numpy(), known["delta_log_volume"].to_numpy()
    label = known["responder"].to_numpy().astype(bool)
    return {
        "n": known.height,
        "auc_dhi": auc_delong(label, dhi).value,
        "auc_amount": auc_delong(label, known["dhi_magnitude"].to_numpy()).value,
        "auc_shrinkage": auc_delong(label, -volume).value,
        "auc_wasserstein": auc_delong(label, known["wasserstein_hu"].to_numpy()).value,
        "rho_volume": rank_correlation(dhi, np.abs(volume)),
        "partial": partial_rank_correlation(dhi, label, volume),
    }


def count_dhi_reasons(dhi: pl.DataFrame) -> list[Row]:
    """Lesion pairs without a DHI, by reason."""
    return (
        dhi.filter(pl.col("scope") == "lesion", pl.col("dhi").is_null())
        .group_by("reason")
        .len("lesions")
        .sort("lesions", "reason", descending=[True, False])
        .to_dicts()
    )

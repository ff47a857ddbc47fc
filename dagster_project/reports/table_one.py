"""Table 1: who the patients are, by response, with the package tableone."""

from __future__ import annotations

import numpy as np
import polars as pl

from dagster_project.reports.summaries.cohort import Population
from dagster_project.reports.summaries.tables import WHO, Row, Tables

CATEGORIES = ("sex", "smoking", "ecog", "stage", "histology", "egfr", "alk", "line")
"""Columns counted; those of patients' baseline that the registration asks for."""

MEASURES = ("age_years", "pd_l1_tps")
"""Columns given as median and quartiles."""

LABELS = {
    "age_years": "Age, years",
    "pd_l1_tps": "PD-L1 TPS, %",
    "sex": "Sex",
    "smoking": "Smoking",
    "ecog": "ECOG",
    "stage": "Stage",
    "histology": "Histology",
    "egfr": "EGFR",
    "alk": "ALK",
    "line": "Line of treatment",
}


def summarise_table_one(tables: Tables, population: Population) -> tuple[list[str], list[Row]]:
    """Headings and rows of Table 1: overall and by response.

    Missing values have a row of their own and are never left out of n. No p-values: differences
    between groups made by outcome are what the study looks for, not a failure of balance; the
    standardised difference is given instead.
    """
    people = population.of(tables["patients"]).join(
        tables["outcomes"].select(*WHO, "responder"), on=WHO, how="left"
    )
    grouped = (
        pl.when("responder")
        .then(pl.lit("Responders"))
        .when(~pl.col("responder"))
        .then(pl.lit("Non-responders"))
        .otherwise(pl.lit("Not determined"))
    )
    people = people.with_columns(
        grouped.alias("group"),
        *(
            pl.col(c).cast(pl.String).str.replace_all("_", " ").fill_null("not known")
            for c in CATEGORIES
        ),
    )
    measures = [c for c in MEASURES if people[c].count()]
    if people.is_empty():
        return [], []
    return _laid_out(people.select("group", *measures, *CATEGORIES), measures)


def _compared(people: pl.DataFrame, measures: list[str]) -> bool:
    """Whether a standardised difference exists.

    Each group needs two values or more of every measure, without which tableone raises KeyError.
    """
    values = people.group_by("group").agg(pl.col(measures).count())
    counts = values.select(measures).iter_rows()
    return values.height > 1 and all(count >= 2 for row in counts for count in row)


def _tableone() -> type:
    """The package's class, imported without changing NumPy's global random state.

    Importing the package seeds NumPy's global generator; whoever uses that goes on as before.
    """
    state = np.random.get_state()  # noqa: NPY002
    try:
        from tableone import TableOne
    finally:
        np.random.set_state(state)  # noqa: NPY002
    return TableOne


def _laid_out(people: pl.DataFrame, measures: list[str]) -> tuple[list[str], list[Row]]:
    import pandas as pd

    grouped, compared = people["group"].n_unique() > 1, _compared(people, measures)
    frame = pd.DataFrame(people.to_dict(as_series=False))
    made = _tableone()(
        frame,
        columns=[*measures, *CATEGORIES],
        categorical=list(CATEGORIES),
        nonnormal=measures,
        groupby="group" if grouped else None,
        smd=compared,
        missing=True,
        rename=LABELS,
    )
    table = made.tableone
    headings = [
        str(c[-1] if isinstance(c, tuple) else c).partition(" (")[0] for c in table.columns
    ]  # "SMD (A,B)" names the groups again
    rows, last = [], None
    for (label, level), values in zip(table.index, table.to_numpy().tolist(), strict=True):
        rows.append(
            {
                "label": "" if label == last else label,
                "level": level,
                "cells": ["" if v is None else str(v) for v in values],
            }
        )
        last = label
    return headings, rows

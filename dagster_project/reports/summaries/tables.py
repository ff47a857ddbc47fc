"""What every page reads.

The tables without what a provisional read gave, their patients, and whether data are simulated.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from dagster_project.lake.schema import empty
from dagster_project.lake.tables import BY_NAME

Tables = Mapping[str, pl.DataFrame]

Row = dict[str, Any]

WHO = ["site", "patient"]
"""What names a patient in every table."""

OF_THE_ACCEPTED_READ = (
    "lesions",
    "responses",
    "outcomes",
    "time_to_event",
    "dhi",
    "habitats",
    "dynamic_irecist",
    "irecist_blocks",
    "dynamic_evidence",
    "dynamic_risk",
    "iupd_cohort",
)
"""Tables whose rows are based on the accepted read.

Of responses and blocks, those of the evaluator `accepted`.
"""


def completed(tables: Tables) -> dict[str, pl.DataFrame]:
    """Every declared table, without what a provisional read gave.

    A table that is not there has no rows. Every page takes its tables from here. While a case waits
    for its arbiter, one of its two reads is taken for the time being: its numbers are for no page.
    """
    whole = {
        name: tables[name] if name in tables else empty(declared)
        for name, declared in BY_NAME.items()
    }
    waiting = find_waiting(whole)
    return (
        whole
        if waiting.is_empty()
        else {name: _without_provisional(name, rows, waiting) for name, rows in whole.items()}
    )


def find_waiting(tables: Tables) -> pl.DataFrame:
    """Site and pseudonym of the patients whose case waits for its arbiter."""
    return tables["arbitrations"].filter(pl.col("status") == "open").select(WHO).sort(WHO)


def _without_provisional(name: str, rows: pl.DataFrame, waiting: pl.DataFrame) -> pl.DataFrame:
    if name not in OF_THE_ACCEPTED_READ:
        return rows
    settled = rows.join(waiting, on=WHO, how="anti", maintain_order="left")
    if name not in {"responses", "irecist_blocks"}:
        return settled
    by_reader = rows.filter(pl.col("evaluator") != "accepted").join(
        waiting, on=WHO, how="semi", maintain_order="left"
    )
    return pl.concat([settled, by_reader])


def list_patients(tables: Tables) -> pl.DataFrame:
    """Site and pseudonym of every patient, in order.

    A patient is everyone with a case-report row, a scan, a response or an outcome.
    """
    return (
        pl.concat(
            [tables[name].select(WHO) for name in ("patients", "scans", "responses", "outcomes")]
        )
        .unique()
        .sort(WHO)
    )


def summarise_simulation(tables: Tables) -> list[Row]:
    """By site: patients, and those with any row that is based on simulated data."""
    rows = pl.concat(
        [tables[name].select(*WHO, "simulated") for name in ("patients", "scans", "reads")]
    )
    by_patient = rows.group_by(WHO).agg(pl.col("simulated").any())
    return (
        by_patient.group_by("site")
        .agg(patients=pl.len(), simulated=pl.col("simulated").sum())
        .with_columns(share=pl.col("simulated") / pl.col("patients"))
        .sort("site")
        .to_dicts()
    )


def is_simulated(tables: Tables) -> bool:
    """True where any row of any table is based on simulated data."""
    return any(
        "simulated" in frame.columns and bool(frame["simulated"].any()) for frame in tables.values()
    )

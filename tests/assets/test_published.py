"""Analysts get the newest snapshot as one file and as Parquet, without a lock."""

from __future__ import annotations

import pyarrow.parquet as pq

from dagster_project.lake.tables import PUBLISHED
from tests.trial import Stage


def test_links_lead_to_the_newest_snapshot(grown: Stage) -> None:
    folder = grown.trial.home.published
    assert (folder / "lakehouse.duckdb").resolve().name == f"lakehouse-{grown.snapshot}.duckdb"
    assert (folder / "parquet" / "latest").resolve().name == str(grown.snapshot)
    assert len(list(folder.glob("lakehouse-*.duckdb"))) <= 3


def test_parquet_bears_meanings_and_units(grown: Stage) -> None:
    for table in PUBLISHED:
        schema = pq.ParquetDataset(
            grown.trial.home.published / "parquet" / "latest" / f"{table.name}.parquet"
        ).schema
        assert tuple(schema.names) == table.names
        told = {c.name: (schema.field(c.name).metadata or {}) for c in table.columns}
        assert all(told[c.name][b"description"].decode() == c.en for c in table.columns)
        assert all(told[c.name][b"unit"].decode() == c.unit for c in table.columns if c.unit)

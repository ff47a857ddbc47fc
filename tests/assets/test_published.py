"""Analysts get the newest snapshot as one file and as Parquet, without a lock."""

from __future__ import annotations

from itertools import combinations

import duckdb
import pyarrow.parquet as pq

from dagster_project.lake.derivations import emptied_by, reached_by
from dagster_project.lake.tables import PUBLISHED, Table
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


LONG = ("radiomic_features", "control_features", "delta_features", "attributions")
"""Tables with a row per feature: their values are declared to be found in no other table."""

SAME_ROW = ("site", "patient", "visit", "scan", "lesion", "reader", "task", "block")
"""What says that rows of two tables are of one thing."""


def test_no_published_column_is_a_copy_of_one_that_can_be_left_out(grown: Stage) -> None:
    """Two columns that agree in every row are left out together, whichever of them is listed."""
    tables = [t for t in PUBLISHED if "patient" in t.names and t.name not in LONG]
    with duckdb.connect(str(grown.trial.home.published / "lakehouse.duckdb"), read_only=True) as c:
        copies = {pair for a, b in combinations(tables, 2) for pair in _copies(c, a, b)}
    assert ("scans.scan_date", "timepoints.scan_date") in copies
    for one, other in [*copies, *((b, a) for a, b in copies)]:
        reached = reached_by([one])
        assert other in reached or other.split(".")[0] in emptied_by(reached), (one, other)


def _copies(c: duckdb.DuckDBPyConnection, a: Table, b: Table) -> list[tuple[str, str]]:
    """Columns of two tables with the same values wherever both have one; not flags, nor keys."""
    on = [k for k in SAME_ROW if k in a.names and k in b.names]
    if not (set(a.key) <= set(on) or set(b.key) <= set(on)):
        return []  # many rows to many: no row of one is that of the other
    pairs = [
        (x.name, y.name)
        for x in a.columns
        for y in b.columns
        if x.type == y.type != "bool" and _free(a, x.name) and _free(b, y.name)
        if x.name not in on and y.name not in on
    ]
    if not pairs:
        return []
    counts = ", ".join(
        f'count(a."{x}" = b."{y}"), count(*) FILTER (a."{x}" = b."{y}"), '
        f'count(DISTINCT a."{x}") FILTER (a."{x}" = b."{y}")'
        for x, y in pairs
    )
    joined = f'"{a.name}" a JOIN "{b.name}" b USING ({", ".join(on)})'
    row = c.execute(f"SELECT {counts} FROM {joined}").fetchall()[0]
    return [
        (f"{a.name}.{x}", f"{b.name}.{y}")
        for i, (x, y) in enumerate(pairs)
        if row[3 * i] == row[3 * i + 1] and row[3 * i + 2] >= 3
    ]


def _free(table: Table, name: str) -> bool:
    return name not in (*table.key, "site", "patient", "simulated", "consent", "input_fingerprint")

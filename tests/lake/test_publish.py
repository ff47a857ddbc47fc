"""What analysts open holds the lake's rows and meanings, and nobody who has it open is in the way."""

from __future__ import annotations

from pathlib import Path

import duckdb
import polars as pl
import pyarrow.parquet as pq
import pytest

from dagster_project.lake.home import Home
from dagster_project.lake.publish import publish
from dagster_project.lake.schema import comment
from dagster_project.lake.store import open_lake
from dagster_project.lake.tables import TABLES
from tests.lake.test_store import rows


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home").make()


def _feature(name: str, value: float) -> dict[str, object]:
    return dict(site="AA", patient="p1", visit="T0", scan="S1", lesion="L1", reader="R1", region="tumor", feature=name, value=value, reason=None,
                region_volume_mm3=10.0, settings_digest="d", engine="e", simulated=True, input_fingerprint="f")


def test_published_file_is_self_contained_and_commented(home: Home) -> None:
    with open_lake(home) as lake:
        lake.replace("treatments", rows("AA", "p1"), site="AA")
        lake.replace("radiomic_features", pl.DataFrame([_feature("a", 1.0), _feature("b", 2.0)]), site="AA")
        made = publish(lake, home.published)
    with duckdb.connect(str(home.published / "lakehouse.duckdb"), read_only=True) as c:
        assert c.execute("SELECT patient FROM treatments").fetchall() == [("p1",)]
        assert c.execute("SELECT a, b FROM radiomic_features_wide").fetchall() == [(1.0, 2.0)]
        told = {(t, n): text for t, n, text in c.execute("SELECT table_name, column_name, comment FROM duckdb_columns()").fetchall()}
    assert {(t.name, c.name): comment(c) for t in TABLES for c in t.columns}.items() <= told.items()
    schema = pq.read_schema(home.published / "parquet" / "latest" / "reads.parquet")
    assert schema.field("volume_mm3").metadata[b"unit"] == b"mm3"
    assert (home.published / "parquet" / "latest").resolve() == made.parquet.resolve()


def test_an_open_analyst_holds_up_no_publication(home: Home) -> None:
    with open_lake(home) as lake:
        lake.replace("treatments", rows("AA", "p1"), site="AA")
        publish(lake, home.published)
        analyst = duckdb.connect(str((home.published / "lakehouse.duckdb").resolve()), read_only=True)
        for n in range(5):
            lake.replace("treatments", rows("AA", f"p{n + 2}"), site="AA")
            publish(lake, home.published)
        assert analyst.execute("SELECT patient FROM treatments").fetchall() == [("p1",)]
        analyst.close()
    assert len(list(home.published.glob("lakehouse-*.duckdb"))) == 3


def test_publishing_the_same_snapshot_again_writes_nothing(home: Home) -> None:
    with open_lake(home) as lake:
        assert publish(lake, home.published).fresh
        assert not publish(lake, home.published).fresh

"""What a reader locked is noted in the vault and holds at the next run.

It holds whatever is delivered then.
"""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from dagster_project.flow.reads import LEDGER, _close
from dagster_project.lake.migrations import renamed_columns
from dagster_project.lake.tables import READS
from dagster_project.resources import Lakehouse
from tests.domain.rows import table

TIMEPOINTS = table("timepoints", {"visit": "T0", "scan": "S1"})


@pytest.fixture
def lakehouse(tmp_path: Path) -> Lakehouse:
    return Lakehouse(root=str(tmp_path / "home"))


def delivered(**changes: object) -> pl.DataFrame:
    usual = {"visit": "T0", "scan": "S1", "lesion": "L1", "mask_digest": "as locked"}
    return table("reads", {**usual, "reader": "R1"}, {**usual, "reader": "R2", **changes}).drop(
        "input_fingerprint"
    )


def test_a_read_changed_after_its_lock_is_refused_and_the_locked_one_stays_in_the_lake(
    lakehouse: Lakehouse,
) -> None:
    first, none = _close(lakehouse, "AA", delivered(), TIMEPOINTS)
    file = lakehouse.home.vault / "AA" / "P1" / LEDGER
    noted = file.read_bytes()
    second, refused = _close(lakehouse, "AA", delivered(mask_digest="drawn anew"), TIMEPOINTS)
    assert (first.height, none.height) == (2, 0)
    assert second.equals(first)
    assert refused["reason"].str.contains("changed after its lock").to_list() == [True]
    assert file.read_bytes() == noted


def test_a_second_night_writes_no_ledger(lakehouse: Lakehouse) -> None:
    _close(lakehouse, "AA", delivered(), TIMEPOINTS)
    file = lakehouse.home.vault / "AA" / "P1" / LEDGER
    before = file.stat().st_mtime_ns
    _close(lakehouse, "AA", delivered(), TIMEPOINTS)
    assert file.stat().st_mtime_ns == before


def test_what_is_locked_by_one_reader_is_noted_though_nobody_sees_it(lakehouse: Lakehouse) -> None:
    shown, refused = _close(lakehouse, "AA", delivered(locked_at=None), TIMEPOINTS)
    assert shown.height == 0
    assert refused.height == 2
    assert pl.read_parquet(lakehouse.home.vault / "AA" / "P1" / LEDGER)["reader"].to_list() == [
        "R1"
    ]


def test_a_ledger_of_an_earlier_schema_holds_as_one_of_today(lakehouse: Lakehouse) -> None:
    """Under other names its columns would be NULL: every read changed, and no lesion there."""
    first, _ = _close(lakehouse, "AA", delivered(), TIMEPOINTS)
    file = lakehouse.home.vault / "AA" / "P1" / LEDGER
    earlier = {new: old for old, new in renamed_columns(READS).items()}
    assert set(earlier.values()) == {"node", "present", "too_small"}
    pl.read_parquet(file).rename(earlier).write_parquet(file)
    again, refused = _close(lakehouse, "AA", delivered(), TIMEPOINTS)
    assert again.equals(first)
    assert refused.is_empty()
    changed, told = _close(lakehouse, "AA", delivered(is_present=False), TIMEPOINTS)
    assert changed.equals(first)
    assert "changed after its lock" in told["reason"].item()

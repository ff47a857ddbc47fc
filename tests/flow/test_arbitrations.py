"""A decision is only ever added, by a third person, on an open case of two locked reads.

The next run reads it.
"""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path

import pytest

from dagster_project.domain.reading.agreement import derive_pairs, derive_reader_agreement
from dagster_project.domain.reading.arbitration import derive_arbitrations, mask_readers
from dagster_project.flow.arbitrations import (
    DECISIONS,
    UndecidableCase,
    arbiter_decisions,
    decide_case,
)
from dagster_project.lake.schema import empty
from dagster_project.lake.tables import RESPONSES
from dagster_project.resources import Lakehouse
from tests.domain.rows import LOCKED, table

NOW = LOCKED + dt.timedelta(days=3)


@pytest.fixture
def lakehouse(tmp_path: Path) -> Lakehouse:
    """A case that is open: two readers outlined two things."""
    made = Lakehouse(root=str(tmp_path / "home"))
    (made.home.make().vault / "AA" / "P1").mkdir(parents=True)
    rows = table(
        "reads",
        *(
            {
                "reader": r,
                "lesion": "L1",
                "visit": "T0",
                "scan": "S1",
                "longest_diameter_mm": 20.0,
                "mask_digest": f"{r}",
            }
            for r in ("R1", "R2", "R3")
        ),
    )
    made.lake.replace("reads", rows, site="AA")
    settle(made)
    return made


def settle(lakehouse: Lakehouse) -> dict:
    """What a run makes of the decisions that are there."""
    reads = lakehouse.lake.read("reads")
    pairs = derive_pairs(reads, lambda *_: 0.1)
    rules = lakehouse.study.section("agreement")
    agreement = derive_reader_agreement(pairs, arbiter_decisions(lakehouse), rules)
    cases, _ = derive_arbitrations(
        pairs, agreement, empty(RESPONSES), arbiter_decisions(lakehouse), rules
    )
    lakehouse.lake.replace("arbitrations", cases)
    return cases.row(0, named=True)


def files(lakehouse: Lakehouse) -> list[Path]:
    return sorted(lakehouse.home.vault.glob(f"*/*/{DECISIONS}/*"))


@pytest.mark.parametrize("letter", ["A", "B"])
def test_a_decision_is_recorded_and_settles_the_case_at_the_next_run(
    lakehouse: Lakehouse, letter: str
) -> None:
    decide_case(lakehouse, "P1", letter, "ARBITER1", NOW)
    case = settle(lakehouse)
    assert (case["status"], case["arbiter"], case["decided_at"]) == ("settled", "ARBITER1", NOW)
    assert case["accepted_reader"] == mask_readers("AA", "P1", ("R1", "R2"))[letter]
    (file,) = files(lakehouse)
    assert set(json.loads(file.read_text(encoding="utf-8"))) == {
        "site",
        "patient",
        "accepted_reader",
        "arbiter",
        "decided_at",
        "simulated",
    }
    assert file.stat().st_mode & 0o777 == 0o400


@pytest.mark.parametrize(
    ("patient", "arbiter", "now", "reason"),
    [
        ("P9", "ARBITER1", NOW, "no case bears"),
        ("P1", "R1", NOW, "third person"),
        ("P1", "R2", NOW, "third person"),
        ("P1", "R3", NOW, "third person"),
        ("P1", "ARBITER1", LOCKED - dt.timedelta(days=1), "not locked yet"),
    ],
)
def test_what_may_not_decide_changes_nothing(
    lakehouse: Lakehouse, patient: str, arbiter: str, now: dt.datetime, reason: str
) -> None:
    with pytest.raises(UndecidableCase, match=reason):
        decide_case(lakehouse, patient, "A", arbiter, now)
    assert files(lakehouse) == []


def test_neither_a_waiting_nor_a_settled_case_is_decided_again(lakehouse: Lakehouse) -> None:
    decide_case(lakehouse, "P1", "A", "ARBITER1", NOW)
    kept = [f.read_bytes() for f in files(lakehouse)]
    with pytest.raises(UndecidableCase, match="recorded already"):
        decide_case(lakehouse, "P1", "B", "ARBITER2", NOW)
    settle(lakehouse)
    with pytest.raises(UndecidableCase, match="not open"):
        decide_case(lakehouse, "P1", "B", "ARBITER2", NOW)
    assert [f.read_bytes() for f in files(lakehouse)] == kept

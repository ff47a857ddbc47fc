"""Open reads are told, and blinding is proved from names and times."""

from __future__ import annotations

import datetime as dt

import pytest

from checks.reads import blinding, both_locked, locked
from dagster_project.resources import Lakehouse
from tests.checks.evaluation import evaluate

LOCKED = dt.datetime(2025, 1, 1, tzinfo=dt.UTC)
READ = {
    "visit": "T0",
    "scan": "S1",
    "lesion": "L1",
    "role": "target",
    "mask_source": "SEG",
    "locked_at": LOCKED,
}
CASE = {
    "status": "settled",
    "reader_a": "R1",
    "reader_b": "R2",
    "accepted_reader": "R1",
    "arbiter": "A1",
    "decided_at": LOCKED + dt.timedelta(days=1),
}


def test_open_reads_are_counted(lakehouse: Lakehouse, fill) -> None:
    fill("reads", {**READ, "reader": "R1"}, {**READ, "reader": "R2", "locked_at": None})
    result = evaluate(locked, lakehouse)
    assert not result.passed
    assert result.metadata["open"].value == 1


def test_a_lock_that_has_not_come_is_none(lakehouse: Lakehouse, fill) -> None:
    fill(
        "reads",
        {**READ, "reader": "R1", "locked_at": dt.datetime.now(dt.UTC) + dt.timedelta(days=1)},
    )
    assert not evaluate(locked, lakehouse).passed


@pytest.mark.parametrize(
    ("readers", "early"), [(("R1", "R2"), 0), (("R1",), 1), (("R1", "SITE"), 1), (("SITE",), 0)]
)
def test_a_visit_is_seen_when_two_readers_have_locked_it(
    lakehouse: Lakehouse, fill, readers: tuple[str, ...], early: int
) -> None:
    fill("reads", *({**READ, "reader": reader} for reader in readers))
    result = evaluate(both_locked, lakehouse)
    assert (result.metadata["early"].value, result.passed) == (early, early == 0)


def test_each_visit_has_its_locks(lakehouse: Lakehouse, fill) -> None:
    both = [{**READ, "reader": reader} for reader in ("R1", "R2")]
    fill("reads", *both, {**both[0], "visit": "T1", "scan": "S9"})
    result = evaluate(both_locked, lakehouse)
    assert (result.metadata["visits"].value, result.metadata["early"].value) == (2, 1)


def test_contours_found_among_the_images_need_no_lock(lakehouse: Lakehouse, fill) -> None:
    fill("reads", {**READ, "reader": "SITE", "locked_at": None})
    assert evaluate(locked, lakehouse).passed


@pytest.mark.parametrize(
    ("changes", "own", "early"),
    [
        ({}, 0, 0),
        ({"arbiter": "R2"}, 1, 0),  # 1. nobody arbitrates his own read
        (
            {"decided_at": LOCKED - dt.timedelta(days=1)},
            0,
            1,
        ),  # 2. nothing is decided before both reads are locked
        (
            {"status": "open", "arbiter": None, "decided_at": None},
            0,
            0,
        ),  # 3. an open case breaks nothing
    ],
)
def test_blinding(
    lakehouse: Lakehouse, fill, changes: dict[str, object], own: int, early: int
) -> None:
    fill("reads", {**READ, "reader": "R1"}, {**READ, "reader": "R2"})
    fill("arbitrations", {**CASE, **changes})
    result = blinding(lakehouse)
    assert (result.metadata["own_arbiter"].value, result.metadata["before_lock"].value) == (
        own,
        early,
    )
    assert result.passed == (own + early == 0)

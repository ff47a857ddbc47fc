"""Two open blocks, and a response within an open one, are found."""

from __future__ import annotations

import datetime as dt

from checks.irecist_blocks import one_open, open_is_no_response
from dagster_project.resources import Lakehouse

BLOCK = {"evaluator": "accepted", "block": 1, "opened_visit": "T1", "status": "standing"}
SEEN = {"evaluator": "accepted"}
DAY = dt.date(2024, 5, 1)
NOW = DAY + dt.timedelta(50)


def test_an_open_block_before_the_last_one_is_counted(lakehouse: Lakehouse, fill) -> None:
    last = {**BLOCK, "block": 2, "opened_visit": "T2", "outcome": "open"}
    fill("irecist_blocks", {**BLOCK, "outcome": "reset"}, last)
    assert one_open(lakehouse).passed
    fill("irecist_blocks", {**BLOCK, "outcome": "open"}, last)
    found = one_open(lakehouse)
    assert (found.passed, found.metadata["wrong"].value) == (False, 1)


def test_a_response_within_an_open_block_is_counted(lakehouse: Lakehouse, fill) -> None:
    fill("irecist_blocks", {**BLOCK, "outcome": "open", "as_of_date": NOW})
    opened = {**SEEN, "visit": "T1", "scan_date": DAY, "irecist_response": "iUPD"}
    later = {**SEEN, "visit": "T2", "scan_date": DAY + dt.timedelta(42)}
    fill("responses", opened, {**later, "irecist_response": "iNE"})
    assert open_is_no_response(lakehouse).passed
    fill("responses", opened, {**later, "irecist_response": "iPR"})
    found = open_is_no_response(lakehouse)
    assert (found.passed, found.metadata["wrong"].value) == (False, 1)


def test_a_response_before_the_block_is_none_within_it(lakehouse: Lakehouse, fill) -> None:
    fill("irecist_blocks", {**BLOCK, "opened_visit": "T2", "outcome": "open"})
    first = {**SEEN, "visit": "T1", "scan_date": DAY, "irecist_response": "iPR"}
    later = {**SEEN, "visit": "T2", "scan_date": DAY + dt.timedelta(42)}
    fill("responses", first, {**later, "irecist_response": "iUPD"})
    assert open_is_no_response(lakehouse).passed


def test_a_visit_after_the_day_of_the_blocks_is_none_of_theirs(lakehouse: Lakehouse, fill) -> None:
    fill("irecist_blocks", {**BLOCK, "outcome": "open", "as_of_date": DAY})
    opened = {**SEEN, "visit": "T1", "scan_date": DAY, "irecist_response": "iUPD"}
    later = {**SEEN, "visit": "T2", "scan_date": NOW, "irecist_response": "iPR"}
    fill("responses", opened, later)
    assert open_is_no_response(lakehouse).passed

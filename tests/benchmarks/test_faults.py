"""The benchmark of faults would see what it looks for."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

import pytest

from benchmarks.faults.full_disk import NAMED
from benchmarks.faults.kills import Count, between, judge_at_once, table
from benchmarks.faults.network import LOOPBACK, Trace, addresses
from benchmarks.faults.setting import Ended
from tests.conftest import REPOSITORY

SCRIPT = """
import json, sys, time
from pathlib import Path
from benchmarks.faults.setting import in_process
log = Path(sys.argv[1])
killed = in_process(lambda: time.sleep(600), log, kill_after=0.2)
ended, failed = in_process(lambda: {"rows": 3}, log), in_process(lambda: 1 / 0, log)
print(json.dumps([[e.code, e.answer] for e in (killed, ended, failed)]))
"""
"""In an interpreter of its own: a fork of one with threads can inherit their locks."""


def test_a_process_is_killed_at_its_moment_gives_its_answer_or_says_why_not(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path / "log")],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout) == [[-signal.SIGKILL, None], [0, {"rows": 3}], [1, None]]
    assert "ZeroDivisionError" in (tmp_path / "log").read_text()


def test_a_table_that_is_neither_as_before_nor_as_after_is_named():
    before, after = {"scans AA": "1", "reads AA": "1"}, {"scans AA": "2", "reads AA": "2"}
    assert between({"scans AA": "2", "reads AA": "1"}, before, after) == []
    assert between({"scans AA": "3", "reads AA": "1"}, before, after) == ["scans AA"]


@pytest.mark.parametrize(
    ("seen", "fault"),
    [
        ({"digests": {"scans AA": "2"}, "doubled": [], "manifest": []}, None),
        ({"digests": {"scans AA": "3"}, "doubled": [], "manifest": []}, "partial"),
        ({"digests": {"scans AA": "1"}, "doubled": [], "manifest": ["AA"]}, "partial"),
        ({"digests": {"scans AA": "1"}, "doubled": ["scans"], "manifest": []}, "doubled"),
        ({"digests": {}, "doubled": [], "manifest": []}, "lost"),
    ],
)
def test_what_lies_there_after_a_kill_is_judged(seen, fault):
    count = Count()
    judge_at_once(Ended(0, 1.0, seen), {"scans AA": "1"}, {"scans AA": "2"}, count, "here")
    assert {name for name in ("partial", "doubled", "lost") if getattr(count, name)} == (
        {fault} if fault else set()
    )


@pytest.mark.parametrize(
    "fault", ["lost", "doubled", "partial", "not_completed", "differing", "hung"]
)
def test_each_fault_fails_the_benchmark_and_stands_in_the_table(fault):
    assert Count(kills=2).passed
    count = Count(kills=2, **{fault: 1})
    assert not count.passed
    assert table({"intake": count}).count("| 1 ") == 2


@pytest.mark.parametrize(
    ("line", "outside"),
    [
        (
            "7 connect(3, {sa_family=AF_INET, sin_port=htons(443), "
            'sin_addr=inet_addr("192.0.2.1")}, 16) = -1 ENETUNREACH',
            True,
        ),
        (
            '7 sendto(3, "x", 1, MSG_NOSIGNAL, {sa_family=AF_INET, sin_port=htons(53), '
            'sin_addr=inet_addr("198.51.100.7")}, 16) = 1',
            True,
        ),
        (
            "7 connect(3, {sa_family=AF_INET6, sin6_port=htons(443), sin6_flowinfo=htonl(0), "
            'inet_pton(AF_INET6, "2001:db8::1", &sin6_addr), sin6_scope_id=0}, 28) = -1',
            True,
        ),
        (
            "7 connect(3, {sa_family=AF_INET, sin_port=htons(5000), "
            'sin_addr=inet_addr("127.0.0.1")}, 16) = 0',
            False,
        ),
        (
            "7 connect(3, {sa_family=AF_INET6, sin6_port=htons(5000), sin6_flowinfo=htonl(0), "
            'inet_pton(AF_INET6, "::1", &sin6_addr), sin6_scope_id=0}, 28) = 0',
            False,
        ),
    ],
)
def test_an_address_in_a_trace_is_seen(line, outside):
    (address,) = addresses(line)
    assert (LOOPBACK.fullmatch(address) is None) == outside


def test_a_socket_of_a_file_is_no_address_and_a_trace_that_sees_nothing_does_not_pass():
    assert addresses('7 connect(3, {sa_family=AF_UNIX, sun_path="/tmp/grpc"}, 110) = 0') == []
    assert not Trace(codes={"run": 0}).passed
    assert Trace(codes={"run": 0}, sees=True).passed


@pytest.mark.parametrize(
    "words",
    [
        "OSError: [Errno 28] No space left on device",
        "sqlite3.OperationalError: database or disk is full",
    ],
)
def test_a_full_disk_is_named(words):
    assert NAMED.search(words)

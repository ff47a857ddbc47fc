"""The benchmark of faults would see what it looks for."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from typing import Any

import pytest

from benchmarks.faults.full_disk import NAMED
from benchmarks.faults.kills import Bounds, Count, between, judge_at_once, table
from benchmarks.faults.network import LOOPBACK, Trace, addresses
from benchmarks.faults.viewing import Seen
from tests.conftest import REPOSITORY

SCRIPT = """
import json, sys, time
from pathlib import Path
from benchmarks.faults.setting import in_process
log = Path(sys.argv[1])
written = log.with_name("written")

def count():
    for number in range(10**9):
        written.write_text(str(number))

def still(spent):
    before = written.read_text()
    time.sleep(0.05)
    stopped.append(written.read_text() == before)

stopped = []
killed = in_process(count, log, kill_after=0.4, moments=[0.3, 0.2, 0.5], at=still)
ended, failed = in_process(lambda: {"rows": 3}, log), in_process(lambda: 1 / 0, log)
print(json.dumps([stopped, *([e.code, e.answer] for e in (killed, ended, failed))]))
"""
"""In an interpreter of its own: a fork of one with threads can inherit their locks."""

LOOKING = """
import json, sys
from pathlib import Path
import polars as pl
from benchmarks.faults.setting import in_process, trial_of
from benchmarks.faults.viewing import Viewer
from dagster_project.lake.store import open_lake
from tests.domain import records
root = Path(sys.argv[1])
trial = trial_of(root)
trial.home.make()

def write(days):
    with open_lake(trial.home) as lake:
        rows = {name: pl.Series([None] * len(days)) for name in lake.read("follow_up").columns}
        rows |= {"site": ["AA"] * len(days), "patient": ["AA-1"] * len(days), "day": days}
        rows |= {"number": [*range(1, len(days) + 1)], "event": ["alive"] * len(days)}
        rows |= {"simulated": [True] * len(days), "input_fingerprint": ["0"] * len(days)}
        lake.replace("follow_up", pl.DataFrame(rows), site="AA")

viewer, found = Viewer(trial, root / "log"), []
for days in ([1], [1, 2], [1, 3], [1]):
    assert in_process(lambda: write(days), root / "work").code == 0, (root / "work").read_text()
    found.append([viewer.changed(), viewer.look().digests.get("follow_up AA"), viewer.changed()])

def compute(digest):
    rows = records.table("delta_features", {"site": "AA", "input_fingerprint": digest})
    with open_lake(trial.home) as lake:
        lake.replace_by_fingerprint("delta_features", site="AA", removed=[], added=rows)

units = []
for digest in "12":
    assert in_process(lambda: compute(digest), root / "work").code == 0, (root / "work").read_text()
    seen = viewer.look()
    names = sorted(n for n in seen.digests if n.startswith("delta"))
    units.append([names, list(seen.doubled)])
for file in (trial.root / "lake" / "data").rglob("*.parquet"):
    file.unlink()
print(json.dumps([*found, units, viewer.look() is None]))
"""


def _of_script(script: str, argument: object) -> list[Any]:
    done = subprocess.run(
        [sys.executable, "-c", script, str(argument)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])  # a progress bar may come before it


def test_a_process_is_stopped_and_killed_at_its_moments_gives_its_answer_or_says_why_not(tmp_path):
    assert _of_script(SCRIPT, tmp_path / "log") == [
        [True, True], [-signal.SIGKILL, None], [0, {"rows": 3}], [1, None],
    ]  # fmt: skip
    assert "ZeroDivisionError" in (tmp_path / "log").read_text()


def test_what_lies_in_a_home_is_seen_and_seen_to_change(tmp_path):
    *found, units, gone = _of_script(LOOKING, tmp_path)
    first, more, other, again = (digest for _, digest, _ in found)
    assert [(before, after) for before, _, after in found] == [(True, False)] * 4
    assert len({first, more, other}) == 3
    assert again == first
    assert units == [
        [["delta_features AA 1"], []],
        [["delta_features AA 1", "delta_features AA 2"], ["delta_features"]],
    ], "what is computed of one patient is judged by itself, and one key twice in all of them"
    assert gone


def test_a_table_that_is_neither_as_before_nor_as_after_is_named():
    bounds = Bounds({"scans AA": "1", "reads AA": "1"}, {"scans AA": "2", "reads AA": "2"})
    assert between({"scans AA": "2", "reads AA": "1"}, bounds) == []
    assert between({"scans AA": "3", "reads AA": "1"}, bounds) == ["scans AA"]


@pytest.mark.parametrize(
    ("seen", "fault"),
    [
        (Seen({"scans AA": "2"}), None),
        (Seen({"scans AA": "3"}), "partial"),
        (Seen({"scans AA": "1"}, manifest=("AA",)), "partial"),
        (Seen({"scans AA": "1"}, doubled=("scans",)), "doubled"),
        (Seen({}), "lost"),
        (Seen({"scans AA": "2", "scans BB": "1"}), None),
        (None, "partial"),
    ],
)
def test_what_lies_there_at_a_moment_is_judged(seen, fault):
    count = Count()
    bounds = Bounds({"scans AA": "1", "scans BB": "1"}, {"scans AA": "2"})
    judge_at_once(seen, bounds, count, "here")
    assert {name for name in ("partial", "doubled", "lost") if getattr(count, name)} == (
        {fault} if fault else set()
    )


@pytest.mark.parametrize(
    "fault", ["lost", "doubled", "partial", "not_completed", "differing", "hung"]
)
def test_each_fault_fails_the_benchmark_and_stands_in_the_table(fault):
    assert Count(moments=2).passed
    count = Count(moments=2, **{fault: 1})
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

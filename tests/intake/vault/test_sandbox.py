"""A file that hangs or eats memory is refused by itself; the next one has a fresh child."""

import os
import pickle
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from dagster_project.intake.refusals import DamagedError, RefusedError
from dagster_project.intake.vault import sandbox
from dagster_project.intake.vault.process_file import Task
from dagster_project.intake.vault.sandbox import ReadingProcess, close_child, take_files
from tests.intake.builders import ct, session, to_bytes
from tests.waiting import PATIENCE, wait_until


@pytest.fixture
def child(tmp_path):
    process = ReadingProcess(seconds=30)
    process.serve(session(tmp_path))
    yield process
    process.close()


def put(tmp_path, name, data):
    (tmp_path / name).write_bytes(data)
    return Task(str(tmp_path / name), "dicom")


def test_a_batch_is_taken_by_one_child_in_its_order(tmp_path):
    tasks = [
        put(tmp_path, "a", to_bytes(ct(0))),
        put(tmp_path, "b", b"Murong"),
        put(tmp_path, "c", to_bytes(ct(1))),
    ]
    try:
        batch = take_files(session(tmp_path), tasks)
    finally:
        close_child()
    assert [bool(outcome.reason) for outcome in batch.outcomes] == [False, True, False]
    assert batch.actions["pixels", "7FE00010"] == 2
    assert all(not outcome.actions for outcome in batch.outcomes)


def test_a_child_that_dies_takes_one_file_with_it(tmp_path, child):
    good = put(tmp_path, "good", to_bytes(ct()))
    assert child.take(good).reason == ""
    os.kill(child._process.pid, signal.SIGKILL)
    child._process.wait()
    assert child.take(good).reason == ""


def test_a_file_that_takes_too_long_is_refused_with_its_digest(tmp_path, child):
    good = put(tmp_path, "good", to_bytes(ct()))
    assert child.take(good).reason == ""
    os.kill(child._process.pid, signal.SIGSTOP)
    child._seconds = 0.2
    outcome = child.take(good)
    assert "too long or too much memory" in outcome.reason
    assert (len(outcome.digest), outcome.waits_for) == (64, "next_run")
    child._seconds = PATIENCE
    assert child.take(good).reason == ""


def test_a_few_bytes_that_declare_gigabytes_are_refused(tmp_path):
    import zlib

    child = ReadingProcess(seconds=60, memory=2**28)
    child.serve(session(tmp_path))
    packer = zlib.compressobj(9, wbits=-15)
    body = to_bytes(ct())[132:]
    meta_end = body.index(b"\x08\x00\x08\x00")
    meta = body[:meta_end].replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.1.99")
    meta = meta[:8] + (len(meta) - 12).to_bytes(4, "little") + meta[12:]
    meta = meta.replace(
        b"UI\x14\x00" + b"1.2.840.10008.1.2.1.99", b"UI\x16\x00" + b"1.2.840.10008.1.2.1.99"
    )
    bomb = bytes(128) + b"DICM" + meta + packer.compress(bytes(2**29)) + packer.flush()
    task = put(tmp_path, "bomb", bomb)
    try:
        outcome = child.take(task)
        good = child.take(put(tmp_path, "good", to_bytes(ct())))
    finally:
        child.close()
    assert len(bomb) < 2**20
    assert "damaged" in outcome.reason
    assert good.reason == ""


def test_a_child_ends_with_its_parent(tmp_path):
    script = (
        "import os, sys, time\nfrom tests.intake.vault.test_sandbox import *\n"
        "child = ReadingProcess()\nchild.serve(session(Path(sys.argv[1])))\n"
        "child.take(Task(sys.argv[2], 'dicom'))\n"
        "print(child._process.pid, flush=True)\nos._exit(0)\n"
    )
    task = put(tmp_path, "good", to_bytes(ct()))
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path), task.path],
        check=True,
        capture_output=True,
        text=True,
    )
    pid = int(done.stdout)
    assert wait_until(lambda: not _alive(pid))


def _alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").split()[2] != "Z"
    except FileNotFoundError:
        return False


def test_an_idle_child_goes_and_the_next_file_has_a_new_one(tmp_path, child):
    good = put(tmp_path, "good", to_bytes(ct()))
    child.take(good)
    first = child._process
    first.stdin.close()
    assert first.wait(timeout=PATIENCE) == 0
    assert child.take(good).reason == ""
    assert child._process is not first


def test_refusals_travel_between_processes():
    for error in (
        RefusedError("cut off; export it again", "series"),
        DamagedError(0x00180050, "SliceThickness", "is shorter than it says"),
    ):
        again = pickle.loads(pickle.dumps(error))
        assert (again.reason, again.waits_for, type(again)) == (
            error.reason,
            error.waits_for,
            type(error),
        )


def test_limits_are_those_of_the_design():
    assert sandbox.MOST_MEMORY <= 2**30

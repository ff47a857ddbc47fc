"""The key agent: keys in one process's memory, for its own user alone."""

import os
import pickle
import socket
import stat
import struct
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from dagster_project.intake.identity import agent
from dagster_project.intake.identity.agent import ask_agent, is_running, lock_agent, start_agent
from dagster_project.intake.identity.keys import KeysError
from tests.intake.builders import KEYS
from tests.waiting import wait_until

SESSION = replace(KEYS, steps=(b"s" * 32,), version=2)


@pytest.fixture
def address(tmp_path):
    deep = (
        tmp_path / ("a" * 60) / ("b" * 60) / "agent.socket"
    )  # longer than a socket's address may be
    deep.parent.mkdir(parents=True, mode=0o700)
    yield deep
    if is_running(deep):
        lock_agent(deep)


@pytest.fixture
def running(address):
    start_agent(address, SESSION, hours=0.1)
    return address


def received(peer: socket.socket) -> bytes:
    """What came; nothing where the other side closed with our bytes unread."""
    try:
        return peer.recv(65536)
    except ConnectionResetError:
        return b""


def processes_with(needle: bytes) -> list[str]:
    """Processes whose arguments or environment hold a text."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        for name in ("cmdline", "environ"):
            try:
                found += [str(process / name)] if needle in (process / name).read_bytes() else []
            except OSError:
                continue
    return found


WITHOUT_THE_RIGHT_TO_LOCK = (
    "prlimit",
    "--memlock=65536:65536",
    "setpriv",
    "--inh-caps=-ipc_lock",
    "--bounding-set=-ipc_lock",
)
START = """
import sys
from pathlib import Path
from dagster_project.intake.identity.agent import start_agent
from tests.intake.identity.test_agent import SESSION
start_agent(Path(sys.argv[1]), SESSION, hours=0.1)
"""


def kibibytes(address: Path, field: str) -> int:
    """A field of the status of the agent's process."""
    process = next(p for p in processes_with(bytes(address)) if p.endswith("cmdline"))
    text = Path(process).with_name("status").read_text()
    return int(next(line for line in text.splitlines() if line.startswith(field)).split()[1])


@pytest.mark.skipif(os.getuid() != 0, reason="others may lock little memory")
def test_the_keys_are_not_written_to_swap(running):
    assert wait_until(lambda: kibibytes(running, "VmLck") > 0)
    assert kibibytes(running, "VmLck") >= kibibytes(running, "RssAnon")


@pytest.mark.skipif(os.getuid() != 0, reason="only root has the right and may give it up")
def test_an_agent_that_may_not_lock_memory_works_all_the_same(address):
    subprocess.run(
        [*WITHOUT_THE_RIGHT_TO_LOCK, sys.executable, "-c", START, str(address)], check=True
    )
    assert ask_agent(address) == SESSION
    assert kibibytes(address, "VmLck") == 0


def test_once_locked_nobody_finds_the_agent(address):
    for _ in range(5):
        start_agent(address, SESSION, hours=0.1)
        lock_agent(address)
        assert not address.exists()
        assert not is_running(address)


def test_an_agent_gives_back_the_keys_that_it_was_given(running):
    assert ask_agent(running) == SESSION
    assert ask_agent(running) == SESSION


def test_its_socket_is_its_owners_alone_and_goes_with_it(running):
    assert stat.S_IMODE(running.stat().st_mode) == 0o600
    lock_agent(running)
    assert wait_until(lambda: not running.exists())
    with pytest.raises(KeysError, match="lakehouse keys unlock"):
        ask_agent(running)


def test_the_keys_are_in_no_argument_environment_or_file(running):
    for key in (KEYS.index, KEYS.uid, KEYS.date):
        assert processes_with(key.hex().encode()) == []
    assert [f for f in running.parent.iterdir() if f != running] == []


def test_another_user_gets_nothing_and_cannot_lock(monkeypatch):
    """The kernel says who is at the other end of a real pair of sockets.

    Here, the agent is another user.
    """
    monkeypatch.setattr(agent.os, "getuid", lambda: os.geteuid() + 1)
    for asked in (agent.ASK, agent.LOCK):
        ours, theirs = socket.socketpair()
        with ours, theirs:
            theirs.sendall(asked)
            assert not agent._answer(ours, SESSION)
            ours.close()
            assert received(theirs) == b""


def test_a_client_does_not_trust_an_agent_of_another_user(running, monkeypatch):
    monkeypatch.setattr(agent.os, "getuid", lambda: 12345)
    with pytest.raises(KeysError, match="another user"):
        ask_agent(running)


def test_an_agent_forgets_after_its_time(address):
    start_agent(address, SESSION, hours=1 / 3600)
    assert wait_until(lambda: not is_running(address))


def test_two_agents_do_not_share_an_address(running):
    with pytest.raises(KeysError, match="running already"):
        start_agent(running, KEYS)


def test_nonsense_and_silence_do_not_end_an_agent(running):
    for sent in (b"KEYS\n", b"\0" * 10, b"keys", struct.pack("<Q", 2**63), pickle.dumps(KEYS)):
        with socket.socket(socket.AF_UNIX) as peer, agent._short(running) as short:
            peer.connect(short)
            peer.sendall(sent)
            peer.shutdown(socket.SHUT_WR)
            assert KEYS.index.hex().encode() not in peer.recv(65536)
    assert ask_agent(running) == SESSION


def test_a_socket_that_nobody_serves_is_a_locked_home(address):
    with socket.socket(socket.AF_UNIX) as left, agent._short(address) as short:
        left.bind(short)
    with pytest.raises(KeysError, match="intake is locked"):
        ask_agent(address)
    start_agent(address, SESSION, hours=0.1)
    assert ask_agent(address) == SESSION

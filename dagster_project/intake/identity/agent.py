"""The key agent: one process that holds a session's keys in its memory.

It hands them, over a Unix socket, to the intake of its own user alone.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import selectors
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from dagster_project.intake.identity.keys import Keys, KeysError

ASK, LOCK = b"keys\n", b"lock\n"
"""What an agent understands."""

SECONDS_TO_ANSWER = 5.0
"""An agent answers at once; a peer that says nothing is left."""

SECONDS_TO_LISTEN = 30.0
"""How long an agent may take to start."""

HOURS = 12.0
"""An agent forgets the keys after so long, unless another time is given."""

LOCKED = (
    "intake is locked: no key agent holds the keys of this home; "
    "put the key drive in place and unlock with `lakehouse keys unlock KEY_DRIVE`"
)

_PR_SET_DUMPABLE = 4
_MCL_CURRENT, _MCL_FUTURE = 1, 2
_PACKAGE_ROOT = str(Path(__file__).resolve().parents[3])
_BYTES = ("index", "uid", "date")


@contextlib.contextmanager
def _short(path: Path) -> Iterator[str]:
    """The socket's address by way of its open folder.

    An address has room for 107 bytes, and a home may lie deeper.
    """
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def _peer(connection: socket.socket) -> int:
    """The user at the other end, as the kernel knows it (SO_PEERCRED)."""
    _, user, _ = struct.unpack(
        "3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    )
    return user


def _as_bytes(keys: Keys) -> bytes:
    content = asdict(keys)
    return (
        json.dumps(
            {
                **content,
                **{name: content[name].hex() for name in _BYTES},
                "steps": [step.hex() for step in keys.steps],
            }
        ).encode()
        + b"\n"
    )


def _as_keys(answer: bytes) -> Keys:
    content: dict[str, Any] = json.loads(answer)
    return Keys(
        **{
            **content,
            **{name: bytes.fromhex(content[name]) for name in _BYTES},
            "steps": tuple(map(bytes.fromhex, content["steps"])),
        }
    )


def is_running(address: Path) -> bool:
    """True where an agent listens."""
    try:
        with _connected(address):
            return True
    except KeysError:
        return False


def ask_agent(address: Path) -> Keys:
    """The keys that an agent holds.

    Raises
    ------
    KeysError
        Where no agent listens, it belongs to another user, or it does not answer.
    """
    with _connected(address) as connection:
        connection.sendall(ASK)
        answer = _line(connection)
    try:
        return _as_keys(answer)
    except (ValueError, KeyError, TypeError) as error:
        raise KeysError(LOCKED) from error


def lock_agent(address: Path) -> None:
    """Tell an agent to forget the keys and end.

    Raises
    ------
    KeysError
        Where there is none.
    """
    with _connected(address) as connection:
        connection.sendall(LOCK)
        _line(connection)


@contextlib.contextmanager
def _connected(address: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(SECONDS_TO_ANSWER)
        try:
            with _short(address) as short:
                connection.connect(short)
        except OSError as error:
            raise KeysError(LOCKED) from error
        if _peer(connection) != os.getuid():
            raise KeysError(
                "the key agent at this address belongs to another user; "
                "name your own in LAKEHOUSE_AGENT"
            )
        try:
            yield connection
        except OSError as error:
            raise KeysError(LOCKED) from error


def _line(connection: socket.socket) -> bytes:
    parts = b""
    while not parts.endswith(b"\n") and len(parts) < 2**16:
        part = connection.recv(4096)
        if not part:
            break
        parts += part
    return parts


def serve_agent(
    address: Path, keys: Keys, *, hours: float = HOURS, ready: Callable[[], None] = lambda: None
) -> None:
    """Hold the keys until the time is over, the same user locks, or the process is terminated.

    1. The memory is neither dumped nor read by another process of the same user (PR_SET_DUMPABLE 0,
       no core file), and stays out of swap where the system allows as much locked memory
       (RLIMIT_MEMLOCK; a unit's LimitMEMLOCK).
    2. The socket is its owner's alone, and so is its folder; a peer of another user gets nothing.
    3. The socket goes when the agent goes; who locks has the answer when it is gone, so that nobody
       finds the old keys after it.
    4. `ready` is called once it listens.

    Raises
    ------
    KeysError
        Where another agent listens at this address.
    """
    _refuse_a_second(address)
    _shut_memory()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    address.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    address.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        before = os.umask(0o177)
        try:
            with _short(address) as short:
                listener.bind(short)
        finally:
            os.umask(before)
        listener.listen(16)
        ready()
        _lock_in_memory()
        try:
            locked_by = _serve(listener, keys, time.monotonic() + hours * 3600)
        finally:
            address.unlink(missing_ok=True)
    if locked_by is not None:
        with locked_by, contextlib.suppress(OSError):
            locked_by.sendall(b"\n")


def _shut_memory() -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def _lock_in_memory() -> None:
    """Lock the agent's memory, but not where the limit is too low.

    Under a limit only what is there now is locked: a later allocation must not fail.

    A forked child does not inherit it.
    """
    most, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    ctypes.CDLL(None).mlockall(
        _MCL_CURRENT | _MCL_FUTURE if most == resource.RLIM_INFINITY else _MCL_CURRENT
    )


def _serve(listener: socket.socket, keys: Keys, end: float) -> socket.socket | None:
    """Answer until the time is over; the connection of who locks, not answered yet."""
    with selectors.DefaultSelector() as waiting:
        waiting.register(listener, selectors.EVENT_READ)
        while (left := end - time.monotonic()) > 0:
            if waiting.select(left):
                connection, _ = listener.accept()
                if _answer(connection, keys):
                    return connection
                connection.close()
    return None


def _answer(connection: socket.socket, keys: Keys) -> bool:
    """Answer one peer; True, and no answer yet, where it locks."""
    connection.settimeout(SECONDS_TO_ANSWER)
    try:
        if _peer(connection) != os.getuid():
            return False
        request = _line(connection)
        if request != LOCK:
            connection.sendall(_as_bytes(keys) if request == ASK else b"\n")
    except OSError:  # a peer that went away
        return False
    return request == LOCK


def start_agent(address: Path, keys: Keys, *, hours: float = HOURS) -> None:
    """Start an agent that outlives this process.

    It gets the keys through a pipe, never by argument, environment or file.

    Raises
    ------
    KeysError
        Where it does not start to listen.
    """
    _refuse_a_second(address)
    process = subprocess.Popen(
        [sys.executable, "-m", "dagster_project.intake.identity.agent", str(address), str(hours)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": _PACKAGE_ROOT},
    )
    _hand_over(process.stdin, keys)
    try:
        listens = process.wait(SECONDS_TO_LISTEN) == 0
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        listens = False
    if not listens:
        raise KeysError("the key agent could not listen; check that the home folder is writable")


def _refuse_a_second(address: Path) -> None:
    if is_running(address):
        raise KeysError("a key agent is running already; end it with `lakehouse keys lock` first")


def _hand_over(pipe: IO[bytes] | None, keys: Keys) -> None:
    if pipe is not None:
        with pipe:
            pipe.write(_as_bytes(keys))


def _detach() -> None:
    """Leave the listening to an orphaned child.

    Whoever started the agent need not wait for its end.
    """
    if os.fork():
        os._exit(0)


def main() -> None:
    """The agent's own process: keys from its standard input, then serve."""
    address, hours = sys.argv[1:]
    serve_agent(
        Path(address), _as_keys(sys.stdin.buffer.readline()), hours=float(hours), ready=_detach
    )


if __name__ == "__main__":
    main()

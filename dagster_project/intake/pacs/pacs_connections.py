"""Limits on connections: a slow, idle or broken peer does not keep the others out."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import Any, cast
from weakref import WeakKeyDictionary, WeakSet

from dagster_project.intake.pacs.pacs_settings import MEBIBYTE

SECONDS_TO_CALL = 5.0
"""How long a peer that has connected may take in all to greet (TLS) and to ask for an association:
a sender does so at once, a port scanner or a hung connection never."""

MOST_WAITING = 64
"""Connections at once that have not asked for an association; the oldest is closed for one more."""

MOST_WAITING_OF_ONE = 8
"""The same of one address."""

LARGEST_PDU_TAKEN = MEBIBYTE
"""Bytes. Eight times what we announce, for peers that do not keep to it; a length field of garbage
says up to 4 GiB, which would be read into memory before anything looks at it."""

STALE_SECONDS = 10.0
"""An association that brought less than `PROGRESS` for this long gives way to one that waits."""

PROGRESS = 2**16
"""Bytes: a line of 64 kbit/s brings as many in 10 s."""

BYTES_AT_A_TIME = 2**16

SECONDS_TO_END = 5.0
"""How long an object that is being taken is waited for when its connection is closed."""


def bounded_peer(seconds: float, event: Any) -> tuple[Any, Callable[[Any], None]]:
    """A handler of pynetdicom's event that bounds what is read of one PDU, in bytes and seconds.

    pynetdicom reads a PDU of any length, and waits for its end without any limit.
    """

    def bound(of: Any) -> None:
        peer = of.assoc.dul.socket
        if peer.socket is not None:
            peer.socket.settimeout(seconds)
            peer.recv = lambda size: _received(peer.socket, size, seconds)

    return event, bound


def _received(connection: socket.socket, size: int, seconds: float) -> bytearray:
    """So many bytes, or those that came before the peer closed the connection."""
    if size > LARGEST_PDU_TAKEN:
        raise OSError("a PDU longer than any that is taken")
    data, deadline = bytearray(), time.monotonic() + seconds
    while len(data) < size:
        part = connection.recv(min(size - len(data), BYTES_AT_A_TIME))
        if not part:
            break
        data += part
        if time.monotonic() > deadline:
            raise TimeoutError
    return data


@dataclass
class _Arrival:
    """Of one association: bytes since its last whole object, and when it last made progress."""

    bytes: int = 0
    at_progress: int = 0
    progress: float = 0.0
    being_taken: bool = False
    cut_off: bool = False


class Arrivals:
    """What arrives over each association.

    `flooded` is called for an object that is larger than `most` bytes.
    """

    def __init__(self, most: int, flooded: Callable[[Any, int], None]) -> None:
        self._most, self._flooded = most, flooded
        self._of: WeakKeyDictionary[Any, _Arrival] = WeakKeyDictionary()
        self._cutting: list[threading.Thread] = []

    def begin(self, association: Any) -> None:
        """An association was asked for."""
        self._of[association] = _Arrival(progress=time.monotonic())

    def count(self, event: Any) -> None:
        """Handler of EVT_DATA_RECV: an endless object is cut off before it fills the memory."""
        found = self._of.setdefault(event.assoc, _Arrival(progress=time.monotonic()))
        found.bytes += len(event.data)
        if found.bytes - found.at_progress >= PROGRESS:
            found.at_progress, found.progress = found.bytes, time.monotonic()
        if found.bytes > self._most and not found.cut_off:
            found.cut_off = True
            self._cutting.append(
                threading.Thread(target=self._flooded, args=(event.assoc, found.bytes), daemon=True)
            )
            self._cutting[-1].start()

    def await_cut_off(self) -> None:
        """Wait until what is larger has been cut off and noted."""
        _await_end(self._cutting, SECONDS_TO_END)

    def whole(self, association: Any, *, being_taken: bool) -> None:
        """An object has come whole, and is being taken; or has been."""
        found = self._of.setdefault(association, _Arrival())
        found.bytes = found.at_progress = 0
        found.progress, found.being_taken = time.monotonic(), being_taken

    def stalest(self, associations: Iterable[Any]) -> Any:
        """The association that made no progress for the longest; None where all do."""
        now = time.monotonic()
        arrivals = ((self._of.get(a), a) for a in associations)
        known = [(found.progress, a) for found, a in arrivals if found and not found.being_taken]
        stale = [(since, a) for since, a in known if now - since >= STALE_SECONDS]
        return min(stale, key=lambda one: one[0])[1] if stale else None


class Waiting:
    """Connections that have not asked for an association yet, in the order in which they came."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._of: dict[socket.socket, tuple[str, float]] = {}

    def begin(self, connection: socket.socket, address: str) -> None:
        """A peer has connected; where too many wait, the oldest is closed."""
        with self._lock:
            same = [one for one, (of, _) in self._of.items() if of == address]
            crowd = [*self._of] if len(self._of) >= MOST_WAITING else []
            if len(same) >= MOST_WAITING_OF_ONE:
                crowd = same
            self._of[connection] = (address, time.monotonic())
            self._close(crowd[:1])

    def end(self, connection: Any) -> None:
        """It asked for an association, or is gone."""
        with self._lock:
            self._of.pop(connection, None)

    def close_late(self, seconds: float) -> None:
        """Close those that have waited longer, however they spend the time."""
        now = time.monotonic()
        with self._lock:
            self._close([one for one, (_, since) in self._of.items() if now - since > seconds])

    def _close(self, connections: Sequence[socket.socket]) -> None:
        for one in connections:
            self._of.pop(one, None)
            hang_up(one)


def hang_up(connection: Any) -> None:
    """Close both directions: whoever reads it in another thread wakes up; TLS is not spoken to."""
    with suppress(OSError):
        socket.socket.shutdown(connection, socket.SHUT_RDWR)


@cache
def _entity_class() -> Any:
    from pynetdicom import AE

    class Entity(AE):
        """Counts only associations that were requested and have not ended.

        A peer that connects and stays silent, or was refused, takes nobody's place.
        """

        def __init__(self, ae_title: str) -> None:
            super().__init__(ae_title)
            self.leaving: WeakSet[Any] = WeakSet()

        @property
        def active_associations(self) -> list[Any]:
            return [
                one
                for one in super().active_associations
                if one.requestor.primitive is not None
                and one not in self.leaving
                and not (one.is_rejected or one.is_aborted or one.is_released)
            ]

    return Entity


def entity(ae_title: str) -> Any:
    """An application entity of ours that listens."""
    return _entity_class()(ae_title)


@cache
def _server_class() -> Any:
    from pynetdicom.transport import ThreadedAssociationServer

    class Server(ThreadedAssociationServer):
        """Nothing that a peer does, or leaves undone, holds up the others."""

        daemon_threads = True
        request_queue_size = 64
        waiting: Waiting

        def get_request(self) -> tuple[socket.socket, Any]:
            accepted, address = cast("socket.socket", self.socket).accept()
            accepted.settimeout(self.ae.acse_timeout)
            if self.ssl_context is not None:
                accepted = self.ssl_context.wrap_socket(
                    accepted, server_side=True, do_handshake_on_connect=False
                )
            self.waiting.begin(accepted, address[0])
            return accepted, address

        def finish_request(self, request: Any, client_address: Any) -> None:
            if self.ssl_context is not None:
                request.do_handshake()
            super().finish_request(request, client_address)

        def shutdown_request(self, request: Any) -> None:
            self.waiting.end(request)
            super().shutdown_request(request)

        def handle_error(self, request: Any, client_address: Any) -> None:
            """A peer that does not greet is closed; its trace would be printed."""

    return Server


def server(
    ours: Any, address: tuple[str, int], handlers: list[Any], tls: Any, waiting: Waiting
) -> Any:
    """A server that is not yet serving."""
    kind = type("Server", (_server_class(),), {"waiting": waiting})
    made = ours.make_server(address, evt_handlers=handlers, ssl_context=tls, server_class=kind)
    ours._servers.append(made)  # noqa: SLF001 - shutdown takes it out again
    return made


def end_associations(associations: Sequence[Any]) -> None:
    """Abort associations.

    A peer that is silent within a PDU does not hear it; its connection is closed.
    """
    for association in associations:
        if association.requestor.primitive is None:
            association.dul.to_user_queue.put(None)  # it waits for a request: there will be none
        else:
            association.abort(block=False)
    _await_end([a.dul for a in associations if a.requestor.primitive is not None], seconds=1)
    for association in associations:
        connection = association.dul.socket.socket
        if association.dul.is_alive() and connection is not None:
            hang_up(connection)
    _await_end([thread for a in associations for thread in (a.dul, a)], SECONDS_TO_END)


def _await_end(threads: Sequence[threading.Thread], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))

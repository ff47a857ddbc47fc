"""A DICOM Storage SCP that de-identifies in memory: no identified byte of what it receives is ever written."""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from types import TracebackType
from typing import Any, cast

from pydicom.uid import (
    JPEG2000,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from dagster_project.intake.deidentification import KINDS
from dagster_project.intake.pacs_faults import PacsError
from dagster_project.intake.pacs_settings import MEBIBYTE, Listening
from dagster_project.intake.vault import IntakeError, Reception

TRANSFER_SYNTAXES = [
    ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian, JPEGLossless, JPEGLosslessSV1, JPEG2000Lossless,
    JPEG2000, JPEGLSLossless, JPEGLSNearLossless, JPEGBaseline8Bit, JPEGExtended12Bit, RLELossless]
"""Plain ones first: a sender that can choose spares us the decoding."""

STORED, REFUSED, COME_AGAIN = 0x0000, 0xB007, 0xA700
"""PS3.4 B.2.3: success; warning "data set does not match SOP class" (seen, judged and in quarantine: sending it again changes nothing, and a
sender goes on with its series); failure "out of resources" (nothing was noted: send it again)."""

LARGEST_PDU = 2**17
"""Bytes: a slice in some pieces instead of the default's thirty; DCMTK sends no larger ones."""

HEADROOM = MEBIBYTE
"""What a message holds besides its object."""

SECONDS_TO_CALL = 10.0
"""How long a peer that has connected may take to greet (TLS) and to ask for an association: a
sender does so at once, a port scanner or a hung connection never."""

MOST_CONNECTED = 64
"""Connections at once, those that have not asked for an association among them; more are closed."""

SECONDS_TO_END = 5.0
"""How long `stop` waits for an object that is being taken."""


class Listener:
    """Receives objects for one site until it is stopped; `told` hears counts, never a value."""

    def __init__(self, settings: Listening, reception: Reception, told: Callable[[str], None] = lambda _: None) -> None:
        self._settings, self._reception, self._told = settings, reception, told
        self._server: Any = None
        self._arrived: dict[int, int] = {}
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []
        self._last = time.monotonic()
        self._unsaid = 0
        self.stored = self.refused = self.failed = 0

    def __enter__(self) -> Listener:
        self.start()
        return self

    def __exit__(self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None) -> None:
        self.stop()

    @property
    def port(self) -> int:
        """The port that it listens on (of use where the settings ask for any, 0)."""
        return int(self._server.socket.getsockname()[1])

    def start(self) -> None:
        """Listen.

        Raises
        ------
        PacsError
            Where the address cannot be had.
        """
        from pynetdicom import evt

        handlers = [(evt.EVT_C_STORE, self._store), (evt.EVT_DATA_RECV, self._count_bytes), (evt.EVT_RELEASED, self._ended), (evt.EVT_ABORTED, self._ended),
                    (evt.EVT_CONN_CLOSE, self._ended), silent_for(self._seconds_to_call, evt.EVT_CONN_OPEN),
                    silent_for(self._settings.seconds, evt.EVT_ACCEPTED)]
        tls = self._settings.tls.context(server=True) if self._settings.tls else None
        try:
            self._server = _server(self._entity(), (self._settings.host, self._settings.port), handlers, tls)
        except OSError as error:
            raise PacsError(f"port {self._settings.port} cannot be listened on ({error.strerror}); choose another in pacs.toml") from error
        self._threads = [threading.Thread(target=t, daemon=True) for t in (self._server.serve_forever, self._watch_quiet)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End associations, also with peers that have fallen silent, and tell what came."""
        self._stopping.set()
        server, self._server = self._server, None
        if server is not None:
            server.shutdown()
            _hang_up(server.active_associations)
            for thread in self._threads:
                thread.join()
        self._tell()

    @property
    def _seconds_to_call(self) -> float:
        return min(SECONDS_TO_CALL, self._settings.seconds)

    def _entity(self) -> Any:
        from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

        logging.getLogger("pynetdicom").setLevel(logging.CRITICAL + 1)  # its messages quote data sets
        entity = _entity_class()(ae_title=self._settings.ae_title)
        entity.add_supported_context(Verification)
        for sop_class in KINDS:
            entity.add_supported_context(sop_class, TRANSFER_SYNTAXES)
        entity.require_called_aet = True
        entity.require_calling_aet = list(self._settings.callers)
        entity.maximum_pdu_size = LARGEST_PDU
        entity.maximum_associations = self._settings.associations
        entity.network_timeout = entity.dimse_timeout = self._settings.seconds
        entity.acse_timeout = self._seconds_to_call
        return entity

    def _store(self, event: Any) -> int:
        """One object: judged, de-identified, in its place, and only then acknowledged."""
        self._arrived[id(event.assoc)] = 0
        self._last = time.monotonic()
        try:
            data = event.encoded_dataset()
            if len(data) > self._settings.largest_object:
                return self._too_large(len(data))
            outcome = self._reception.take(str(event.request.AffectedSOPInstanceUID), data)
        except Exception:  # pynetdicom would log it with its traceback
            self.failed += 1
            return COME_AGAIN
        self._unsaid += 1
        self.stored, self.refused = self.stored + (not outcome.reason), self.refused + bool(outcome.reason)
        return REFUSED if outcome.reason else STORED

    def _too_large(self, size: int) -> int:
        self._reception.refuse(size, f"larger than {self._settings.largest_object_mib} MiB, the listener's limit; send the series as single images, or raise the limit")
        self._unsaid, self.refused = self._unsaid + 1, self.refused + 1
        return REFUSED

    def _count_bytes(self, event: Any) -> None:
        """Bytes since the last whole object: an endless one is cut off before it fills the memory."""
        arrived = self._arrived.get(id(event.assoc), 0) + len(event.data)
        self._arrived[id(event.assoc)] = arrived
        if arrived > self._settings.largest_object + HEADROOM and not self._stopping.is_set():
            self._arrived[id(event.assoc)] = -(2**62)
            threading.Thread(target=self._cut_off, args=(event.assoc, arrived), daemon=True).start()

    def _cut_off(self, association: Any, arrived: int) -> None:
        association.abort()
        self._too_large(arrived)
        self._tell()

    def _ended(self, event: Any) -> None:
        self._arrived.pop(id(event.assoc), None)
        self._tell()

    def _watch_quiet(self) -> None:
        while not self._stopping.wait(self._settings.quiet_seconds):
            if time.monotonic() - self._last >= self._settings.quiet_seconds:
                self._tell()

    def _tell(self) -> None:
        """At the end of an association, or where one stays open and silent."""
        if self._unsaid:
            self._unsaid = 0
            try:
                self._reception.close()
            except IntakeError:
                self._unsaid = 1
            self._told(f"stored {self.stored}, refused {self.refused}, not taken {self.failed}")


def silent_for(seconds: float, event: Any) -> tuple[Any, Callable[[Any], None]]:
    """A handler of pynetdicom's event that bounds how long the peer may be silent within a PDU.

    pynetdicom reads a PDU without any: a peer that goes away half way would hold a thread for ever.
    """

    def bound(of: Any) -> None:
        connection = of.assoc.dul.socket.socket
        if connection is not None:
            connection.settimeout(seconds)

    return event, bound


@cache
def _entity_class() -> Any:
    from pynetdicom import AE

    class Entity(AE):
        """Counts those as associations that asked for one: who connects and is silent takes nobody's place."""

        @property
        def active_associations(self) -> list[Any]:
            return [one for one in super().active_associations if one.requestor.primitive is not None]

    return Entity


@cache
def _server_class() -> Any:
    from pynetdicom.transport import ThreadedAssociationServer

    class Server(ThreadedAssociationServer):
        """Nothing that a peer does, or leaves undone, holds up the others."""

        daemon_threads = True

        def get_request(self) -> tuple[socket.socket, Any]:
            accepted, address = cast("socket.socket", self.socket).accept()
            accepted.settimeout(self.ae.acse_timeout)
            if self.ssl_context is None:
                return accepted, address
            return self.ssl_context.wrap_socket(accepted, server_side=True, do_handshake_on_connect=False), address

        def verify_request(self, request: Any, client_address: Any) -> bool:  # noqa: ARG002
            return len(self.active_associations) < MOST_CONNECTED

        def finish_request(self, request: Any, client_address: Any) -> None:
            if self.ssl_context is not None:
                request.do_handshake()
            super().finish_request(request, client_address)

        def handle_error(self, request: Any, client_address: Any) -> None:
            """A peer that does not greet is closed; its trace would be printed."""

    return Server


def _server(entity: Any, address: tuple[str, int], handlers: list[Any], tls: Any) -> Any:
    server = entity.make_server(address, evt_handlers=handlers, ssl_context=tls, server_class=_server_class())
    entity._servers.append(server)  # noqa: SLF001 - shutdown takes it out again
    return server


def _hang_up(associations: Sequence[Any]) -> None:
    """Abort associations; one whose peer is silent within a PDU does not hear it, its connection is closed."""
    for association in associations:
        if association.requestor.primitive is None:
            association.dul.to_user_queue.put(None)  # it waits for a request: there will be none
        else:
            association.abort(block=False)
    _await_end([a.dul for a in associations if a.requestor.primitive is not None], seconds=1)
    for association in associations:
        connection = association.dul.socket.socket
        if association.dul.is_alive() and connection is not None:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
    _await_end([thread for a in associations for thread in (a.dul, a)], SECONDS_TO_END)


def _await_end(threads: Sequence[threading.Thread], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))

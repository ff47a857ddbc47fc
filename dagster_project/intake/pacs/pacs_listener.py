"""A DICOM Storage SCP that de-identifies in memory; it never writes an identified byte."""

from __future__ import annotations

import datetime as dt
import logging
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

from dagster_project.intake.dicom.deidentification import KINDS
from dagster_project.intake.dicom.pixels import DECODERS, HIGH_THROUGHPUT, PLAIN
from dagster_project.intake.pacs.pacs_connections import (
    SECONDS_TO_CALL,
    Arrivals,
    Waiting,
    bounded_peer,
    end_associations,
    entity,
    server,
)
from dagster_project.intake.pacs.pacs_faults import PacsError
from dagster_project.intake.pacs.pacs_settings import MEBIBYTE, Listening
from dagster_project.intake.vault.vault import IntakeError, Reception

COMPRESSED = [syntax for syntax in DECODERS if syntax not in HIGH_THROUGHPUT]
"""What is accepted besides PLAIN.

High-throughput JPEG 2000 is read from folders alone: no peer at hand sends it.
"""

STORED, REFUSED, COME_AGAIN = 0x0000, 0xB007, 0xA700
"""Statuses by PS3.4 B.2.3.

STORED
    Success.
REFUSED
    Warning "data set does not match SOP class": the object was seen, judged and put in quarantine,
    so that sending it again changes nothing; a sender goes on with its series.
COME_AGAIN
    Failure "out of resources": nothing was noted, send it again.
"""

LARGEST_PDU = 2**17
"""Bytes: a slice in some pieces instead of the default's thirty; DCMTK sends no larger ones."""

HEADROOM = MEBIBYTE
"""What a message holds besides its object."""

LOOK_SECONDS = 0.25
"""How often connections that wait are looked at."""

STORAGE_COMMITMENT = "1.2.840.10008.1.20.1"
"""Storage Commitment Push Model (PS3.4 J), which is refused.

Who commits takes over the safekeeping of the objects, and a sender may then delete its own; we hold
only de-identified copies.
"""

COMMITMENT_REFUSED = (
    "{caller} wants storage commitment, which is refused: only de-identified copies are held here, "
    "and nothing may be deleted there because of them; switch it off for our AE title"
)


class Listener:
    """Receives objects for one site until it is stopped; `report` gets counts, never a value."""

    def __init__(
        self,
        settings: Listening,
        reception: Reception,
        report: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._settings, self._reception, self._report = settings, reception, report
        self._server: Any = None
        self._entity: Any = None
        self._waiting = Waiting()
        self._arrivals = Arrivals(settings.largest_object + HEADROOM, self._cut_off)
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []
        self._last = time.monotonic()
        self._unsaid = 0
        self._put_off: set[str] = set()
        self.put_off_since: dt.datetime | None = None
        self._refused_commitment: set[str] = set()
        self.stored = self.refused = self.failed = 0

    def __enter__(self) -> Listener:
        self.start()
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def put_off(self) -> int:
        """Objects that have to be sent again and have not come since."""
        return len(self._put_off)

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
        tls = self._settings.tls.context(server=True) if self._settings.tls else None
        self._entity = self._made_entity()
        address = (self._settings.host, self._settings.port)
        try:
            self._server = server(self._entity, address, self._handlers(), tls, self._waiting)
        except OSError as error:
            raise PacsError(
                f"port {self._settings.port} cannot be listened on ({error.strerror}); "
                "choose another in pacs.toml"
            ) from error
        self._threads = [
            threading.Thread(target=t, daemon=True)
            for t in (self._server.serve_forever, self._watch)
        ]
        for thread in self._threads:
            thread.start()

    def _handlers(self) -> list[Any]:
        from pynetdicom import evt

        ends = [
            (event, self._ended)
            for event in (evt.EVT_RELEASED, evt.EVT_ABORTED, evt.EVT_CONN_CLOSE)
        ]
        return [
            *ends,
            (evt.EVT_REQUESTED, self._asked_for),
            (evt.EVT_ACCEPTED, self._accepted),
            (evt.EVT_C_STORE, self._store),
            (evt.EVT_DATA_RECV, self._arrivals.count),
            bounded_peer(self._seconds_to_call, evt.EVT_CONN_OPEN),
            bounded_peer(self._settings.seconds, evt.EVT_ACCEPTED),
        ]

    def stop(self) -> None:
        """End associations, also with peers that have fallen silent, and tell what came."""
        self._arrivals.await_cut_off()
        self._stopping.set()
        serving, self._server = self._server, None
        if serving is not None:
            serving.shutdown()
            end_associations(serving.active_associations)
            for thread in self._threads:
                thread.join()
        self._tell()

    @property
    def _seconds_to_call(self) -> float:
        return min(SECONDS_TO_CALL, self._settings.seconds)

    def _made_entity(self) -> Any:
        from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

        # its messages quote data sets
        logging.getLogger("pynetdicom").setLevel(logging.CRITICAL + 1)
        made = entity(self._settings.ae_title)
        made.add_supported_context(Verification)
        for sop_class in KINDS:
            # the first that the sender offers counts: plain ones spare the decoding
            made.add_supported_context(sop_class, [*PLAIN, *COMPRESSED])
        made.require_called_aet = True
        made.require_calling_aet = list(self._settings.callers)
        made.maximum_pdu_size = LARGEST_PDU
        made.maximum_associations = self._settings.associations
        made.network_timeout = made.dimse_timeout = self._settings.seconds
        made.acse_timeout = self._seconds_to_call
        return made

    def _asked_for(self, event: Any) -> None:
        """A requested association: where all places are taken, one without progress gives way."""
        self._waiting.end(event.assoc.dul.socket.socket)
        self._arrivals.begin(event.assoc)
        others = [one for one in self._entity.active_associations if one is not event.assoc]
        stale = (
            self._arrivals.stalest(others) if len(others) >= self._settings.associations else None
        )
        if stale is not None:
            self._entity.leaving.add(stale)
            threading.Thread(target=end_associations, args=([stale],), daemon=True).start()

    def _accepted(self, event: Any) -> None:
        caller = str(event.assoc.requestor.ae_title).strip()
        refused = {str(context.abstract_syntax) for context in event.assoc.rejected_contexts}
        if STORAGE_COMMITMENT in refused and caller not in self._refused_commitment:
            self._refused_commitment.add(caller)
            self._report(COMMITMENT_REFUSED.format(caller=caller))

    def _store(self, event: Any) -> int:
        """One object: judged, de-identified, in its place, and only then acknowledged."""
        self._arrivals.whole(event.assoc, being_taken=True)
        try:
            return self._taken(event)
        finally:
            self._last = time.monotonic()
            self._arrivals.whole(event.assoc, being_taken=False)

    def _taken(self, event: Any) -> int:
        uid = str(event.request.AffectedSOPInstanceUID)
        try:
            data = event.encoded_dataset()
            if len(data) > self._settings.largest_object:
                return self._too_large(len(data))
            outcome = self._reception.take(uid, data)
        except Exception:  # pynetdicom would log it with its traceback
            self._put_off.add(uid)
            self.put_off_since = self.put_off_since or dt.datetime.now(dt.UTC)
            self._unsaid, self.failed = self._unsaid + 1, self.failed + 1
            return COME_AGAIN
        self._put_off.discard(uid)
        self.put_off_since = None
        self._unsaid += 1
        self.stored, self.refused = (
            self.stored + (not outcome.reason),
            self.refused + bool(outcome.reason),
        )
        return REFUSED if outcome.reason else STORED

    def _too_large(self, size: int) -> int:
        self._reception.refuse(
            size,
            f"larger than {self._settings.largest_object_mib} MiB, the listener's limit; "
            "send the series as single images, or raise the limit",
        )
        self._unsaid, self.refused = self._unsaid + 1, self.refused + 1
        return REFUSED

    def _cut_off(self, association: Any, arrived: int) -> None:
        if not self._stopping.is_set():
            association.abort()
            self._too_large(arrived)
            self._tell()

    def _ended(self, _event: Any) -> None:
        self._tell()

    def _watch(self) -> None:
        """Close connections that request nothing; report what came over an open association."""
        while not self._stopping.wait(LOOK_SECONDS):
            self._waiting.close_late(self._seconds_to_call)
            if time.monotonic() - self._last >= self._settings.quiet_seconds:
                self._last = time.monotonic()
                self._tell()

    def _tell(self) -> None:
        """At the end of an association, or where one stays open and silent."""
        if not self._unsaid:
            return
        self._unsaid = 0
        try:
            self._reception.note_put_off(sorted(self._put_off))
            self._reception.close()
        except IntakeError:
            self._unsaid = 1
        again = f", put off {len(self._put_off)}" if self._put_off else ""
        self._report(
            f"stored {self.stored}, refused {self.refused}, not taken {self.failed}{again}"
        )

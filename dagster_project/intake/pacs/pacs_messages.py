"""Queries and retrieves from a PACS by DICOM messages.

C-FIND lists what the PACS has; C-MOVE to our listener, or C-GET over the same association, brings
the objects.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from pydicom import Dataset

from dagster_project.intake.dicom.deidentification import KINDS
from dagster_project.intake.dicom.pixels import PLAIN
from dagster_project.intake.pacs.pacs_connections import Arrivals, bounded_peer
from dagster_project.intake.pacs.pacs_faults import PacsError, RequestError
from dagster_project.intake.pacs.pacs_listener import (
    COME_AGAIN,
    COMPRESSED,
    HEADROOM,
    REFUSED,
    STORED,
)
from dagster_project.intake.pacs.pacs_pull import LEVELS, MOST_ANSWERS, Answer, Found
from dagster_project.intake.pacs.pacs_settings import Listening, Peer
from dagster_project.intake.pacs.pacs_tls import fault_of_connection
from dagster_project.intake.vault.vault import IntakeError, Reception

UIDS_A_REQUEST = 100
"""How many instances one request names.

A list of that length is within what every PACS takes (PS3.4 C.2.2.2.2, list of UID matching).
"""

SECONDS_AN_OBJECT = 2.0
"""What a C-MOVE may take an object without a word, beyond the time limit: the standard lets a PACS
be silent until the last one is sent, and disks of old studies are slow."""

STRAGGLER_SECONDS = 5.0
"""How long objects are waited for that a PACS says it has sent."""

PAUSES = (1.0, 4.0)
"""Seconds until a PACS that has no association free is tried again."""

PENDING = (0xFF00, 0xFF01)
DONE = (0x0000, 0xB000)
"""Success, and "some objects did not come": those are counted by what came."""

CUT_SHORT = 0xFE00
"""Matching ended "due to cancel", which we do not send: the PACS has a limit of answers."""

NOT_ASKED_FOR = 0x0124
"""PS3.7 C.5.11, not authorised: the answer to an object that we did not ask for."""

ALL_FAIL: Mapping[int, str] = {
    0x0122: (
        "it does not offer this service; is Query/Retrieve switched on there, and is method right?"
    ),
    0x0124: (
        "it does not allow us this; its administrator has to allow Query/Retrieve for our AE title"
    ),
    0xA801: (
        "it does not know our AE title as a destination; register it there with this host and port"
    ),
}
"""Statuses that every further request would get too."""

REJECTED: Mapping[tuple[int, int], str] = {
    (1, 3): "it does not know our AE title {ours}; register it there with this host and port",
    (1, 7): "its AE title is not {theirs}; correct ae_title of the peer",
}
"""By source and diagnostic of A-ASSOCIATE-RJ (PS3.8 9.3.4)."""


class MessageArchive:
    """The Study Root model of Query/Retrieve (PS3.4 C)."""

    most_a_request = UIDS_A_REQUEST
    unlisted = 0

    def __init__(self, peer: Peer, ours: Listening, reception: Reception) -> None:
        self._peer, self._ours, self._reception = peer, ours, reception
        self._expected: frozenset[str] | None = frozenset()
        self._arrivals = Arrivals(ours.largest_object + HEADROOM, self._cut_off)
        self.unasked = self.cut_short = 0

    def find(self, level: str, keys: Mapping[str, str]) -> list[Answer]:
        """C-FIND.

        Instances whose query fails are asked for by their UIDs alone: a PACS that reads their SOP
        classes from its disk fails where one file is lost.
        """
        try:
            return self._found(level, keys, LEVELS[level])
        except RequestError:
            if level != "IMAGE":
                raise
        return self._found(level, keys, LEVELS[level][:1])

    def _found(self, level: str, keys: Mapping[str, str], asked: Sequence[str]) -> list[Answer]:
        from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind as Model  # type: ignore[attr-defined]

        query = _query(level, **{**dict.fromkeys(asked, ""), **keys})
        answers: list[Answer] = []
        with self._association([Model]) as association:
            for status, answer in association.send_c_find(query, Model):
                if status.get("Status") == CUT_SHORT:
                    self.cut_short += 1
                elif _went_on("C-FIND", status) and answer is not None:
                    answers.append(_texts(answer, LEVELS[level]))
                if len(answers) > MOST_ANSWERS:
                    association.abort()
                    raise RequestError(f"it gave more than {MOST_ANSWERS} answers")
        return answers

    def fetch(self, found: Found, instances: Sequence[str]) -> None:
        """C-MOVE or C-GET of these instances."""
        query = _query(
            "IMAGE",
            StudyInstanceUID=found.study,
            SeriesInstanceUID=found.series,
            SOPInstanceUID=list(instances),
        )
        self._retrieve(query, len(instances), frozenset(instances))

    def fetch_series(self, found: Found) -> None:
        """C-MOVE or C-GET of all objects of a series."""
        query = _query("SERIES", StudyInstanceUID=found.study, SeriesInstanceUID=found.series)
        self._retrieve(query, found.objects, None)

    def _retrieve(self, query: Dataset, objects: int, expected: frozenset[str] | None) -> None:
        """`expected` are the instances that may come; None for any of the series."""
        self._expected = expected
        self._move(query, objects) if self._peer.method == "move" else self._get(query)

    def _move(self, query: Dataset, objects: int) -> None:
        from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelMove as Model  # type: ignore[attr-defined]

        with self._association([Model], more_seconds=objects * SECONDS_AN_OBJECT) as association:
            for status, _ in association.send_c_move(query, self._ours.ae_title, Model):
                if not _went_on("C-MOVE", status):
                    self._await_stragglers(status)

    def _await_stragglers(self, status: Dataset) -> None:
        """Wait for the objects that the PACS reports as sent and that are not here yet.

        A PACS may answer before its last objects arrive.
        """
        sent = int(status.get("NumberOfCompletedSuboperations", 0) or 0)
        expected = self._expected or frozenset()
        deadline = time.monotonic() + STRAGGLER_SECONDS
        while time.monotonic() < deadline:
            if len(expected) - len(self._reception.absent(expected)) >= min(sent, len(expected)):
                return
            time.sleep(0.1)

    def _get(self, query: Dataset) -> None:
        from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelGet as Model  # type: ignore[attr-defined]

        with self._association([Model], storage=True) as association:
            for status, _ in association.send_c_get(query, Model):
                _went_on("C-GET", status)

    def _cut_off(self, association: Any, arrived: int) -> None:
        self._reception.refuse(
            arrived,
            f"larger than {self._ours.largest_object_mib} MiB, the limit of the settings; "
            "raise it there",
        )
        association.abort()

    def _store(self, event: Any) -> int:
        self._arrivals.whole(event.assoc, being_taken=False)
        uid = str(event.request.AffectedSOPInstanceUID)
        if self._expected is not None and uid not in self._expected:
            self.unasked += 1
            return NOT_ASKED_FOR
        try:
            outcome = self._reception.take(uid, event.encoded_dataset())
        except IntakeError:
            return COME_AGAIN
        return REFUSED if outcome.reason else STORED

    @contextmanager
    def _association(
        self, models: Sequence[Any], *, storage: bool = False, more_seconds: float = 0
    ) -> Iterator[Any]:
        association = self._associated(models, storage=storage, more_seconds=more_seconds)
        try:
            yield association
        finally:
            if association.is_established:
                association.release()

    def _associated(self, models: Sequence[Any], *, storage: bool, more_seconds: float) -> Any:
        """An association; one that the PACS has no room for now is asked for again, a few times.

        So is once one of which the connection was closed without an answer: a peer that rejects and
        closes at once can overtake its own rejection, which says why.
        """
        for attempt, pause in enumerate((*PAUSES, None)):
            began = time.monotonic()
            association = self._asked(models, storage=storage, more_seconds=more_seconds)
            if association.is_established:
                return association
            closed = (
                association.acceptor.primitive is None
                and time.monotonic() - began < self._ours.seconds
            )
            overtaken = attempt == 0 and closed and self._answers()
            if pause is None or not (overtaken or _has_no_room(association)):
                break
            time.sleep(pause)
        raise PacsError(
            f"{self._peer.ae_title} at {self._peer.host}:{self._peer.port} "
            f"does not take our association as {self._ours.ae_title}: {self._fault(association)}"
        )

    def _asked(self, models: Sequence[Any], *, storage: bool, more_seconds: float) -> Any:
        from pynetdicom import build_role, evt

        entity = self._entity(models, storage=storage)
        entity.dimse_timeout = self._ours.seconds + more_seconds
        tls = self._peer.tls
        shown = (tls.context(server=False), tls.name or self._peer.host) if tls else None
        handlers = [
            (evt.EVT_C_STORE, self._store),
            (evt.EVT_DATA_RECV, self._arrivals.count),
            bounded_peer(self._ours.seconds, evt.EVT_CONN_OPEN),
        ]
        roles = [build_role(sop_class, scp_role=True) for sop_class in KINDS] if storage else []
        try:
            return entity.associate(
                self._peer.host,
                self._peer.port,
                ae_title=self._peer.ae_title,
                tls_args=shown,
                evt_handlers=handlers,
                ext_neg=roles,
            )
        except OSError as error:  # a host name that is not known
            fault = fault_of_connection(self._peer.host, self._peer.port, None)
            raise PacsError(
                f"{self._peer.host}:{self._peer.port} cannot be reached: {fault}"
            ) from error

    def _entity(self, models: Sequence[Any], *, storage: bool) -> Any:
        from pynetdicom import AE

        # its messages quote data sets
        logging.getLogger("pynetdicom").setLevel(logging.CRITICAL + 1)
        entity = AE(ae_title=self._ours.ae_title)
        entity.acse_timeout = entity.network_timeout = entity.connection_timeout = (
            self._ours.seconds
        )
        for model in models:
            entity.add_requested_context(model)
        for sop_class in KINDS if storage else ():
            entity.add_requested_context(sop_class, PLAIN)
            # contexts of their own: the PACS takes one syntax of a context and may be unable to
            # decompress
            for compressed in COMPRESSED:
                entity.add_requested_context(sop_class, compressed)
        return entity

    def _answers(self) -> bool:
        """Whether a connection by itself is accepted."""
        return not fault_of_connection(self._peer.host, self._peer.port, self._peer.tls)

    def _fault(self, association: Any) -> str:
        """Why there is no association: the PACS's answer, else what a bare connection shows."""
        answer = association.acceptor.primitive
        if association.is_rejected and answer is not None:
            if _has_no_room(association):
                return (
                    "it has no association free; try again later, or ask its administrator for more"
                )
            cause = (answer.result_source, answer.diagnostic)
            text = REJECTED.get(cause, "it refuses; check both AE titles with its administrator")
            return text.format(ours=self._ours.ae_title, theirs=self._peer.ae_title)
        if association.rejected_contexts:
            return (
                "it does not offer Query/Retrieve to us; "
                "is method right, and is it allowed for our AE title?"
            )
        fault = fault_of_connection(self._peer.host, self._peer.port, self._peer.tls)
        return fault or (
            "it accepts the connection and does not answer; "
            "check both AE titles, address, port and TLS"
        )


def _has_no_room(association: Any) -> bool:
    """Rejected for now (PS3.8 9.3.4: result 2, rejected-transient)."""
    answer = association.acceptor.primitive
    return bool(association.is_rejected and answer is not None and answer.result == 2)


def _query(level: str, **keys: Any) -> Dataset:
    query = Dataset()
    query.QueryRetrieveLevel = level
    query.SpecificCharacterSet = "ISO_IR 192"
    for keyword, value in keys.items():
        setattr(query, keyword, value)
    return query


def _texts(answer: Dataset, keywords: Sequence[str]) -> Answer:
    """The elements of an answer as text; what cannot be read is empty, as if it were not there."""
    return {keyword: _text(answer, keyword) for keyword in keywords}


def _text(answer: Dataset, keyword: str) -> str:
    try:
        return str(answer.get(keyword, "") or "").strip(" \0")
    except Exception:  # pydicom raises what it likes at a value that breaks its VR
        return ""


def _went_on(what: str, status: Dataset) -> bool:
    """True for an answer, False where the request is done.

    A warning that some objects did not come is no error, since the pull counts them.

    Raises
    ------
    RequestError, PacsError
        Where this request failed; where all others would too.
    """
    code = status.get("Status") if status else None
    if code is None:
        raise RequestError(
            f"it ended the association, or said nothing more, in the middle of {what}; "
            "does it know our AE title?"
        )
    if code in PENDING:
        return True
    if code in ALL_FAIL:
        raise PacsError(f"the PACS refused {what} (status {code:04X}): {ALL_FAIL[code]}")
    if code not in DONE:
        raise RequestError(f"{what} failed with status {code:04X}")
    return False

"""A PACS that is asked by DICOM messages: C-FIND for what it has, C-MOVE to our listener or C-GET over the same association."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from pydicom import Dataset

from dagster_project.intake.deidentification import KINDS
from dagster_project.intake.pacs_listener import COME_AGAIN, REFUSED, STORED, TRANSFER_SYNTAXES, silent_for
from dagster_project.intake.pacs_pull import Found, Wanted, text_of
from dagster_project.intake.pacs_settings import Listening, PacsError, Peer
from dagster_project.intake.vault import IntakeError, Reception

UIDS_A_REQUEST = 100
"""How many instances one request names: a list stays within what every PACS takes (PS3.4 C.2.2.2.2, list of UID matching)."""

PENDING = (0xFF00, 0xFF01)


class MessageArchive:
    """The Study Root model of Query/Retrieve (PS3.4 C)."""

    def __init__(self, peer: Peer, ours: Listening, reception: Reception) -> None:
        self._peer, self._ours, self._reception = peer, ours, reception

    def series(self, wanted: Wanted) -> list[Found]:
        """Studies of the patient within the dates, and their series."""
        studies = self._find("STUDY", PatientID=wanted.number, StudyDate=wanted.date_range, StudyInstanceUID="")
        mine = [text_of(s, "StudyInstanceUID") for s in studies if text_of(s, "PatientID").strip() == wanted.number]
        return [Found(study, text_of(s, "SeriesInstanceUID"), text_of(s, "Modality"))
                for study in mine for s in self._find("SERIES", StudyInstanceUID=study, SeriesInstanceUID="", Modality="")]

    def instances(self, found: Found) -> list[str]:
        """SOPInstanceUIDs of a series."""
        answers = self._find("IMAGE", StudyInstanceUID=found.study, SeriesInstanceUID=found.series, SOPInstanceUID="")
        return sorted(text_of(a, "SOPInstanceUID") for a in answers)

    def fetch(self, found: Found, instances: Sequence[str]) -> None:
        """Ask for these instances, some at a time."""
        for start in range(0, len(instances), UIDS_A_REQUEST):
            part = list(instances[start:start + UIDS_A_REQUEST])
            query = _query("IMAGE", StudyInstanceUID=found.study, SeriesInstanceUID=found.series, SOPInstanceUID=part)
            self._move(query) if self._peer.method == "move" else self._get(query)

    def _find(self, level: str, **keys: Any) -> list[Dataset]:
        from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind as Model  # type: ignore[attr-defined]

        with self._association([Model]) as association:
            return [answer for status, answer in association.send_c_find(_query(level, **keys), Model) if _went_on("C-FIND", status) and answer is not None]

    def _move(self, query: Dataset) -> None:
        from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelMove as Model  # type: ignore[attr-defined]

        with self._association([Model]) as association:
            for status, _ in association.send_c_move(query, self._ours.ae_title, Model):
                _went_on("C-MOVE", status)

    def _get(self, query: Dataset) -> None:
        from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelGet as Model  # type: ignore[attr-defined]

        with self._association([Model], storage=True) as association:
            for status, _ in association.send_c_get(query, Model):
                _went_on("C-GET", status)

    def _store(self, event: Any) -> int:
        try:
            outcome = self._reception.take(str(event.request.AffectedSOPInstanceUID), event.encoded_dataset())
        except IntakeError:
            return COME_AGAIN
        return REFUSED if outcome.reason else STORED

    @contextmanager
    def _association(self, models: Sequence[Any], *, storage: bool = False) -> Iterator[Any]:
        from pynetdicom import AE, build_role, evt

        logging.getLogger("pynetdicom").setLevel(logging.CRITICAL + 1)  # its messages quote data sets
        entity = AE(ae_title=self._ours.ae_title)
        entity.acse_timeout = entity.network_timeout = entity.dimse_timeout = entity.connection_timeout = self._ours.seconds
        for model in models:
            entity.add_requested_context(model)
        for sop_class in KINDS if storage else ():
            entity.add_requested_context(sop_class, TRANSFER_SYNTAXES)
        tls = (self._peer.tls.context(server=False), self._peer.host) if self._peer.tls else None
        association = entity.associate(
            self._peer.host, self._peer.port, ae_title=self._peer.ae_title, tls_args=tls, evt_handlers=[(evt.EVT_C_STORE, self._store), silent_for(self._ours.seconds, evt.EVT_CONN_OPEN)],
            ext_neg=[build_role(sop_class, scp_role=True) for sop_class in KINDS] if storage else [])
        if not association.is_established:
            raise PacsError(f"{self._peer.ae_title} at {self._peer.host}:{self._peer.port} does not take our association as {self._ours.ae_title}; check both AE titles, address and TLS")
        try:
            yield association
        finally:
            association.release()


def _query(level: str, **keys: Any) -> Dataset:
    query = Dataset()
    query.QueryRetrieveLevel = level
    query.SpecificCharacterSet = "ISO_IR 192"
    for keyword, value in keys.items():
        setattr(query, keyword, value)
    return query


def _went_on(what: str, status: Dataset) -> bool:
    """True for an answer; a warning that some objects did not come is no error, since the pull counts them.

    Raises
    ------
    PacsError
        Where the PACS refused or went away.
    """
    code = status.get("Status") if status else None
    if code is None:
        raise PacsError(f"the PACS ended the association in the middle of {what}; run the pull again, it asks for what is missing")
    if code in PENDING:
        return True
    if code not in {0x0000, 0xB000}:
        raise PacsError(f"the PACS refused {what} (status {code:04X}); is our AE title registered there with this host and port?")
    return False

"""Archives that answer by DICOM messages too much, too little, late or wrongly.

The peer is our own, made with pynetdicom.
"""

import io
import socket
import threading
from collections import Counter
from contextlib import contextmanager

import pydicom
import pytest
from pydicom import Dataset
from pydicom.uid import ExplicitVRLittleEndian, RLELossless

from dagster_project.intake.pacs import pacs_messages
from dagster_project.intake.pacs import pacs_pull as asked
from dagster_project.intake.pacs.pacs_faults import PacsError
from dagster_project.intake.pacs.pacs_messages import MessageArchive
from dagster_project.intake.pacs.pacs_pull import find_series, pull
from dagster_project.intake.pacs.pacs_settings import Listening, Peer
from dagster_project.intake.pacs.pacs_wanted import Wanted
from tests.intake import peers
from tests.intake.builders import CT_CLASS, ROOT, ct, to_bytes
from tests.intake.pacs_site import Memory

PATIENT = Wanted("ZY0012345", place="clinical/patients.csv row 2")
SLICES = 4
MODEL = "1.2.840.10008.5.1.4.1.2.2"


class Archive:
    """A study with series of four slices; what a test sets is answered in place of it."""

    def __init__(self, series=1):
        self.series = [f"{ROOT}.{2 + n}" for n in range(series)]
        self.study = {
            "StudyInstanceUID": f"{ROOT}.1",
            "PatientID": "ZY0012345",
            "StudyDate": "20240105",
        }
        self.repeat, self.final, self.sent, self.gets, self.numbers = 1, 0x0000, None, 0, {}

    def find(self, event):
        level = event.identifier.QueryRetrieveLevel
        if level == "STUDY":
            rows = [self.study]
        elif level == "SERIES":
            rows = [
                {"SeriesInstanceUID": uid, "Modality": "CT", **self.numbers.get(uid, {})}
                for uid in self.series
            ]
        else:
            uid = event.identifier.SeriesInstanceUID
            rows = [
                {"SOPInstanceUID": f"{uid}.{1001 + n}", "SOPClassUID": CT_CLASS}
                for n in range(SLICES)
            ]
        for row in rows * self.repeat:
            answer = Dataset()
            answer.QueryRetrieveLevel = level
            for keyword, value in row.items():
                setattr(answer, keyword, value)
            yield 0xFF00, answer
        yield 0x0000, None

    def get(self, event):
        """`sent` picks which of the requested slices are sent.

        None in place of a slice makes the request fail there.
        """
        self.gets += 1
        uids = event.identifier.SOPInstanceUID
        wanted = [uids] if isinstance(uids, str) else list(uids)
        objects = self.sent(wanted) if self.sent else [dataset(uid) for uid in wanted]
        yield len(objects)
        for one in objects:
            if one is None:
                yield self.final, None
                return
            yield 0xFF00, one


def dataset(uid):
    series, _, number = uid.rpartition(".")
    return pydicom.dcmread(io.BytesIO(to_bytes(ct(int(number) - 1001, series=series))))


@contextmanager
def served(archive, **settings):
    from pynetdicom import AE, evt

    entity = AE(ae_title="OWN")
    for name, value in settings.items():
        setattr(entity, name, value)
    entity.add_supported_context(f"{MODEL}.1")
    entity.add_supported_context(f"{MODEL}.3")
    entity.add_supported_context(
        CT_CLASS, [ExplicitVRLittleEndian, RLELossless], scu_role=True, scp_role=True
    )
    server = entity.start_server(
        ("127.0.0.1", 0),
        block=False,
        evt_handlers=[(evt.EVT_C_FIND, archive.find), (evt.EVT_C_GET, archive.get)],
    )
    try:
        yield server.socket.getsockname()[1]
    finally:
        server.shutdown()
        for one in threading.enumerate():
            if type(one).__module__.startswith("pynetdicom"):
                one.join(5)


def pulled(archive, memory=None, **settings):
    memory = memory or Memory()
    with served(archive, **settings) as port:
        done = pull(
            MessageArchive(Peer("get", ae_title="OWN", port=port), Listening(seconds=5), memory),
            memory,
            [PATIENT],
        )
    return done, memory


def test_a_success_of_which_nothing_came_is_not_believed():
    archive = Archive()
    archive.sent = lambda _: []
    done, memory = pulled(archive)
    assert (done.missing, memory.objects) == (SLICES, {})
    assert done.notes[0].reason == asked.DID_NOT_COME.format(why=asked.NO_REASON)


def test_a_request_that_fails_at_one_object_brings_the_others():
    bad = f"{ROOT}.2.1002"
    archive = Archive()
    archive.sent, archive.final = (
        lambda wanted: [None if uid == bad else dataset(uid) for uid in wanted],
        0xA702,
    )
    done, memory = pulled(archive)
    assert (done.absent[0].instances, len(memory.objects)) == ((bad,), SLICES - 1)
    assert "C-GET failed with status A702" in done.notes[0].reason
    assert archive.gets < 2 * SLICES


def test_objects_that_were_not_asked_for_are_counted_and_not_taken():
    other = f"{ROOT}.9.1001"
    archive = Archive()
    archive.sent = lambda wanted: [dataset(other), *map(dataset, wanted)]
    done, memory = pulled(archive)
    assert done.passed == {asked.UNASKED: 1}
    assert (other in memory.objects, len(memory.objects)) == (False, SLICES)


def test_series_of_a_study_are_asked_for_in_the_order_of_their_numbers():
    """They are numbered anew as they come."""
    archive = Archive(series=3)
    archive.numbers = {
        uid: {"SeriesNumber": number}
        for uid, number in zip(archive.series, (601, 190704, 2), strict=True)
    }
    done, memory = pulled(archive)
    assert done.missing == 0
    assert list(dict.fromkeys(uid.rpartition(".")[0] for uid in memory.objects)) == [
        archive.series[k] for k in (2, 0, 1)
    ]


def test_answers_that_repeat_are_counted_once_each():
    archive = Archive()
    archive.repeat = 3
    done, memory = pulled(archive)
    assert (done.asked, len(memory.objects)) == (SLICES, SLICES)
    assert done.passed == {asked.REPEATED: 2 + 2 + 2 * SLICES}


def test_an_archive_that_gives_answers_without_end_is_left(monkeypatch):
    monkeypatch.setattr(pacs_messages, "MOST_ANSWERS", 50)
    archive = Archive()
    archive.repeat = 10_000
    done, memory = pulled(archive)
    assert memory.objects == {}
    assert "it gave more than 50 answers" in done.notes[0].reason


def test_a_pull_of_which_nothing_comes_ends_and_says_where_to_look():
    archive = Archive(series=8)
    archive.sent, archive.final = lambda _: [None], 0xA702
    done, _ = pulled(archive)
    assert "nothing came of the first 3 series (C-GET failed with status A702)" in done.stopped
    assert len(done.notes) == asked.SERIES_IN_VAIN


def test_an_archive_without_room_is_tried_again_and_named(monkeypatch):
    monkeypatch.setattr(pacs_messages, "PAUSES", (0.1, 0.1))
    from pynetdicom import AE

    with served(Archive(), maximum_associations=1) as port:
        entity = AE(ae_title="OTHER")
        entity.add_requested_context(f"{MODEL}.1")
        held = entity.associate("127.0.0.1", port)
        memory = Memory()
        archive = MessageArchive(
            Peer("get", ae_title="OWN", port=port), Listening(seconds=5), memory
        )
        assert "it has no association free" in pull(archive, memory, [PATIENT]).stopped
        held.abort()
        held.join(5)
        assert pull(archive, memory, [PATIENT]).asked == SLICES


def test_an_archive_that_offers_no_retrieve_is_named():
    with served(Archive()) as port:
        memory = Memory()
        done = pull(
            MessageArchive(Peer("move", ae_title="OWN", port=port), Listening(seconds=5), memory),
            memory,
            [PATIENT],
        )
    assert "it does not offer Query/Retrieve to us" in done.stopped


def test_orthanc_that_does_not_know_our_title_as_destination_is_named(tmp_path):
    """It answers with an abort in place of a status."""
    orthanc = peers.Orthanc(
        tmp_path / "o",
        peers.free_port(),
        DicomModalities={},
        DicomAlwaysAllowMove=True,
        DicomAlwaysAllowFind=True,
    )
    try:
        for n in range(3):
            orthanc.put(to_bytes(ct(0, series=f"{ROOT}.{2 + n}")))
        memory = Memory()
        done = pull(
            MessageArchive(
                Peer("move", ae_title="ORTHANC", port=orthanc.port), Listening(seconds=5), memory
            ),
            memory,
            [PATIENT],
        )
    finally:
        orthanc.stop()
    assert "AE title" in done.stopped


def test_each_compressed_syntax_is_proposed_in_a_context_of_its_own():
    """An archive that cannot decompress accepts one syntax per context.

    If the context also offers plain syntaxes, it does not accept that of its own files.
    """
    entity = MessageArchive(Peer("get"), Listening(), Memory())._entity(
        [f"{MODEL}.3"], storage=True
    )
    of_ct = [
        context.transfer_syntax
        for context in entity.requested_contexts
        if context.abstract_syntax == CT_CLASS
    ]
    assert [RLELossless] in of_ct
    assert all(
        len(syntaxes) == 1 or not any(s.is_encapsulated for s in syntaxes) for syntaxes in of_ct
    )
    assert len(entity.requested_contexts) <= 128


def test_a_rejection_that_the_end_of_the_connection_overtakes_is_asked_for_again(monkeypatch):
    """Some archives close at once behind their A-ASSOCIATE-RJ, and on a busy machine it is lost."""
    monkeypatch.setattr(pacs_messages, "PAUSES", (0.01, 0.01))
    refusal = bytes(
        [3, 0, 0, 0, 0, 4, 0, 1, 1, 7]
    )  # permanent, by the service user: called AE title not recognised
    requests = []

    def serve(server):
        while len(requests) < 2:
            connection, _ = server.accept()
            with connection:
                connection.settimeout(60)
                head = connection.recv(6, socket.MSG_WAITALL)
                if head:  # nothing where only the port was tried
                    connection.recv(int.from_bytes(head[2:]), socket.MSG_WAITALL)
                    requests.append(None)
                    connection.sendall(refusal if len(requests) == 2 else b"")

    with socket.create_server(("127.0.0.1", 0)) as server:
        peer = threading.Thread(target=serve, args=(server,))
        peer.start()
        archive = MessageArchive(
            Peer("get", ae_title="WRONG", port=server.getsockname()[1]), Listening(), Memory()
        )
        with pytest.raises(PacsError, match="its AE title is not WRONG"):
            list(find_series(archive, PATIENT, (), Counter()))
        peer.join(60)
    assert len(requests) == 2

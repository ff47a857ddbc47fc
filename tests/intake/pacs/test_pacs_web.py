"""DICOMweb servers as they are in practice.

A server of our own gives what Orthanc cannot be made to give.
"""

import datetime as dt
import gzip
import json
from email.utils import format_datetime
from typing import ClassVar

import pytest

from dagster_project.intake.pacs import pacs_pull as asked
from dagster_project.intake.pacs import pacs_web
from dagster_project.intake.pacs.multipart import first_part, media_type
from dagster_project.intake.pacs.pacs_faults import PacsError, RequestError
from dagster_project.intake.pacs.pacs_pull import pull
from dagster_project.intake.pacs.pacs_settings import Listening, Peer
from dagster_project.intake.pacs.pacs_wanted import Wanted
from dagster_project.intake.pacs.pacs_web import WebArchive
from dagster_project.intake.vault.sandbox import close_child
from tests.intake import peers
from tests.intake.builders import CT_CLASS, ROOT, ct, to_bytes
from tests.intake.pacs_site import Memory, Site

SLICES = 5
PATIENT = Wanted("ZY0012345", place="clinical/patients.csv row 2")
JSON = "application/dicom+json"
DICOM = "application/dicom"
WARNING = '299 {SERVICE}: "There are 3 additional results that can be requested"'


@pytest.fixture
def site(tmp_path):
    yield Site(tmp_path)
    close_child()


@pytest.fixture
def memory():
    return Memory()


def row(**elements):
    tags = {
        "study": "0020000D",
        "number": "00100020",
        "date": "00080020",
        "series": "0020000E",
        "modality": "00080060",
        "uid": "00080018",
        "kind": "00080016",
    }
    return {tags[name]: {"vr": "LO", "Value": [value]} for name, value in elements.items()}


def part(data, boundary="b", kind=DICOM):
    head = f"--{boundary}\r\nContent-Type: {kind}\r\n\r\n".encode()
    return head + data + f"\r\n--{boundary}--\r\n".encode()


HEADERS = {"Content-Type": 'multipart/related; type="application/dicom"; boundary=b'}


class Server:
    """A study with one series; what a test overrides is given in place of it."""

    page = 10**6
    warning = ""
    offset = True
    study: ClassVar = row(study=f"{ROOT}.1", number="ZY0012345", date="20240105")

    def __init__(self, **changes):
        self.headers = HEADERS
        self.__dict__.update(changes)
        self.objects = {f"{ROOT}.2.{1001 + i}": to_bytes(ct(i)) for i in range(SLICES)}
        self.failures = []

    def __call__(self, path, query, headers):
        if self.failures:
            return self.failures.pop(0)
        if path.endswith("studies"):
            return self.listed([self.study], query)
        if path.endswith("/series"):
            return self.listed([row(series=f"{ROOT}.2", modality="CT")], query)
        if path.endswith("/instances"):
            return self.listed([row(uid=uid, kind=CT_CLASS) for uid in self.objects], query)
        return self.object(path.rpartition("/")[2], headers)

    def listed(self, rows, query):
        start = int(query.get("offset", 0)) if self.offset else 0
        shown = rows[start : start + min(self.page, int(query["limit"]))]
        if not shown:
            return 204, {}, b""
        return (
            200,
            {"Content-Type": JSON} | ({"Warning": self.warning} if self.warning else {}),
            json.dumps(shown).encode(),
        )

    def object(self, uid, _headers):
        return 200, self.headers, part(self.objects[uid])


def pulled(reception, server, **changes):
    peer = peers.WebPeer(server)
    try:
        archive = WebArchive(
            Peer("dicomweb", url=peer.url, **changes),
            Listening(seconds=1, largest_object_mib=1),
            reception,
        )
        return pull(archive, reception, [PATIENT]), peer.asked
    finally:
        peer.stop()


def reasons(done):
    return [note.reason for note in done.notes]


# ── lists ──


@pytest.mark.parametrize("warning", ["", WARNING])
def test_a_list_in_pages_is_read_to_its_end(memory, warning):
    done, requests = pulled(memory, Server(page=2, warning=warning))
    assert (done.asked, done.missing, reasons(done)) == (SLICES, 0, [])
    offsets = [query["offset"] for path, query in requests if path.endswith("/instances")]
    assert offsets == ["0", "2", "4", "5"]


def test_a_server_that_says_it_has_more_and_does_not_give_it_is_named(memory):
    done, _ = pulled(memory, Server(page=2, warning=WARNING, offset=False))
    assert (done.asked, done.missing) == (2, 0)
    assert reasons(done) == [asked.CUT_SHORT]


def test_a_server_that_gives_one_page_over_and_over_is_read_once(memory):
    done, _ = pulled(memory, Server(offset=False))
    assert (done.asked, done.missing, reasons(done), done.passed) == (SLICES, 0, [], {})


def test_pages_that_overlap_and_leave_out_are_made_whole_from_the_metadata(memory):
    """A server that sorts anew for each page; the series says how many objects it has."""

    class Unsorted(Server):
        def __call__(self, path, query, headers):
            uids = list(self.objects)
            if path.endswith("/series"):
                one = row(series=f"{ROOT}.2", modality="CT") | {
                    "00201209": {"vr": "IS", "Value": [SLICES]}
                }
                return self.listed([one], query)
            if path.endswith("/instances"):
                shown = {"0": uids[:2], "2": uids[1:3]}.get(query["offset"], [])
                return (
                    200,
                    {"Content-Type": JSON},
                    json.dumps([row(uid=uid, kind=CT_CLASS) for uid in shown]).encode(),
                )
            if path.endswith("/metadata"):
                return (
                    200,
                    {"Content-Type": JSON},
                    json.dumps([row(uid=uid, kind=CT_CLASS) for uid in uids]).encode(),
                )
            return super().__call__(path, query, headers)

    done, _ = pulled(memory, Unsorted())
    assert (done.missing, len(memory.objects), done.passed) == (0, SLICES, {asked.REPEATED: 1})


@pytest.mark.parametrize(
    ("study", "text"),
    [
        (row(study=f"{ROOT}.1", date="20240105"), asked.WITHOUT_NUMBER),
        (row(study=f"{ROOT}.1", number="ZY9", date="20240105"), asked.OTHER_NUMBER),
        (row(study=f"{ROOT}.1", number="zy0012345", date="20240105"), asked.OTHER_SPELLING),
        (row(number="ZY0012345"), asked.WITHOUT_UID),
        ({"0020000D": None, "00100020": {"vr": "LO"}}, asked.WITHOUT_NUMBER),
        ("no row at all", asked.WITHOUT_NUMBER),
    ],
)
def test_an_answer_that_cannot_be_compared_is_counted_and_the_patient_named(memory, study, text):
    done, requests = pulled(memory, Server(study=study))
    assert done.passed == {text: 1}
    assert reasons(done) == [asked.NOTHING_FOUND]
    assert not any(path.endswith("/series") for path, _ in requests)


def test_dates_are_compared_with_what_comes_back(memory):
    within = Wanted("ZY0012345", dt.date(2024, 1, 1), dt.date(2024, 1, 31), place="p")
    after = Wanted("ZY0012345", dt.date(2024, 2, 1), dt.date(2024, 3, 31), place="p")
    for study, text, person, series in [
        (Server.study, None, within, 1),
        (Server.study, asked.OUTSIDE_DATES, after, 0),
        (row(study=f"{ROOT}.1", number="ZY0012345"), asked.WITHOUT_DATE, within, 0),
    ]:
        peer = peers.WebPeer(Server(study=study))
        try:
            done = pull(
                WebArchive(Peer("dicomweb", url=peer.url), Listening(), memory), memory, [person]
            )
        finally:
            peer.stop()
        assert (done.series, done.passed) == (series, {text: 1} if text else {})


def test_a_series_without_modality_is_judged_by_its_objects(memory):
    class Bare(Server):
        def __call__(self, path, query, headers):
            if path.endswith("/series"):
                return self.listed(
                    [
                        row(series=f"{ROOT}.2"),
                        row(series=f"{ROOT}.9", modality="MR"),
                        row(series=f"{ROOT}.2"),
                    ],
                    query,
                )
            return super().__call__(path, query, headers)

    done, _ = pulled(memory, Bare())
    assert (done.asked, done.missing) == (SLICES, 0)
    assert done.passed == {asked.OTHER_MODALITY: 1, asked.REPEATED: 1}


@pytest.mark.parametrize(
    ("kind", "body", "text"),
    [
        (
            "text/html",
            b"<html>log in</html>",
            "it answered with text/html in place of application/dicom+json",
        ),
        (JSON, b'[{"0020000D"', "no JSON, or was cut off"),
        (JSON, b'{"error": 1}', "no list"),
        (
            'multipart/related; type="application/dicom+xml"; boundary=b',
            b"--b--",
            "multipart/related in place of",
        ),
    ],
)
def test_a_list_of_another_kind_is_named_and_the_next_patient_asked_for(site, kind, body, text):
    server = Server()
    server.failures = [(200, {"Content-Type": kind}, body)]
    peer = peers.WebPeer(server)
    try:
        archive = WebArchive(Peer("dicomweb", url=peer.url), Listening(), site.reception)
        done = pull(archive, site.reception, [PATIENT, PATIENT])
    finally:
        peer.stop()
    assert text in done.notes[0].reason
    assert (done.asked, done.missing) == (SLICES, 0)
    assert site.refused() == [], "the second time it came"


# ── a server that is busy, or does not let us in ──


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("after", ["0", "1", "soon", ""])
def test_a_busy_server_is_asked_again_when_it_wishes(memory, status, after, monkeypatch):
    waits = []
    monkeypatch.setattr(pacs_web.time, "sleep", waits.append)
    server = Server()
    server.failures = [(status, {"Retry-After": after}, b""), (status, {"Retry-After": after}, b"")]
    done, _ = pulled(memory, server)
    assert (done.asked, done.missing, done.stopped) == (SLICES, 0, "")
    assert waits == ([float(after)] * 2 if after.isdigit() else [1.0, 2.0])


def test_a_server_may_name_the_time_by_a_date(monkeypatch):
    later = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=20)
    assert 15 < pacs_web._pause(format_datetime(later, usegmt=True), 0) <= 20
    assert pacs_web._pause(format_datetime(later - dt.timedelta(days=1), usegmt=True), 0) == 0


@pytest.mark.parametrize(("after", "requests"), [("0", pacs_web.TRIES), ("3600", 1)])
def test_a_server_that_stays_busy_is_left_alone(memory, after, requests):
    done, sent = pulled(memory, lambda *_: (503, {"Retry-After": after}, b""))
    assert f"busy (status 503) and wants to be asked in {after} seconds" in done.stopped
    assert len(sent) == requests


def test_a_server_that_does_not_let_us_in_ends_the_pull(memory):
    done, sent = pulled(memory, lambda *_: (401, {}, b""))
    assert "answered 401; check user, password_file and rights" in done.stopped
    assert len(sent) == 1


def test_a_server_that_is_not_there_is_named(memory):
    archive = WebArchive(
        Peer("dicomweb", url=f"http://127.0.0.1:{peers.free_port()}"), Listening(seconds=2), memory
    )
    assert "does not answer" in pull(archive, memory, [PATIENT]).stopped


# ── objects ──


@pytest.mark.parametrize(
    "content_type",
    [
        'multipart/related; type="application/dicom"; boundary=b',
        "Multipart/Related; Boundary=b",
        'MULTIPART/RELATED;type=application/dicom;boundary="b"',
        (
            'multipart/related; boundary="b"; type=application/dicom; '
            "transfer-syntax=1.2.840.10008.1.2.1"
        ),
    ],
)
def test_a_multipart_answer_in_any_spelling_is_taken(memory, content_type):
    done, _ = pulled(memory, Server(headers={"Content-Type": content_type}))
    assert (done.missing, len(memory.objects)) == (0, SLICES)


def test_a_compressed_answer_is_taken(memory):
    class Packed(Server):
        def object(self, uid, _headers):
            return (
                200,
                {**self.headers, "Content-Encoding": "gzip"},
                gzip.compress(part(self.objects[uid])),
            )

    done, _ = pulled(memory, Packed())
    assert (done.missing, len(memory.objects)) == (0, SLICES)


def test_an_answer_without_parts_is_taken(memory):
    class Single(Server):
        def object(self, uid, _headers):
            return 200, {"Content-Type": "Application/DICOM"}, self.objects[uid]

    assert pulled(memory, Single())[0].missing == 0


def test_a_server_that_does_not_know_the_parameter_of_syntax_is_asked_without_it(memory):
    class Old(Server):
        def object(self, uid, headers):
            return (
                (406, {}, b"")
                if "transfer-syntax" in headers["Accept"]
                else super().object(uid, headers)
            )

    done, sent = pulled(memory, Old())
    assert (done.missing, len(memory.objects)) == (0, SLICES)
    assert sum("/instances/" in path for path, _ in sent) == SLICES + 1, "found out once"


BAD = f"{ROOT}.2.1003"


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (lambda _: (204, {}, b""), "it answered 204"),
        (lambda _: (404, {}, b""), "it answered 404"),
        (lambda _: (500, {}, b"trace"), "it answered 500"),
        (lambda _: (200, HEADERS, b""), "its answer is empty"),
        (lambda data: (200, HEADERS, part(data)[:900]), "its answer was cut off"),
        (
            lambda data: (200, {**HEADERS, "Content-Length": "99999"}, part(data)),
            "its answer was cut off",
        ),
        (lambda data: (200, HEADERS, part(data, "other")), "its answer was cut off"),
        (
            lambda _: (200, {**HEADERS, "Content-Encoding": "gzip"}, b"no gzip"),
            "its answer was cut off",
        ),
        (
            lambda _: (200, {"Content-Type": "text/html; charset=utf-8"}, b"<html>"),
            "it answered with text/html in place of application/dicom",
        ),
        (
            lambda _: (200, HEADERS, part(b"\xff\xd8", kind="image/jpeg")),
            "it answered with image/jpeg in place of application/dicom",
        ),
        (lambda _: (200, HEADERS, part(bytes(2**20))), "larger than 1 MiB"),
    ],
)
def test_an_object_that_does_not_come_whole_is_named_and_the_others_come(memory, answer, text):
    class Faulty(Server):
        def object(self, uid, headers):
            return answer(self.objects[uid]) if uid == BAD else super().object(uid, headers)

    done, _ = pulled(memory, Faulty())
    assert (done.asked, done.missing, len(memory.objects)) == (SLICES, 1, SLICES - 1)
    assert text in reasons(done)[0]
    assert done.absent[0].instances == (BAD,)
    assert all("larger" in reason for reason in memory.refusals)


def test_what_was_cut_off_leaves_nothing_behind_and_comes_the_next_time(site):
    class Faulty(Server):
        def object(self, uid, headers):
            status, said, body = super().object(uid, headers)
            return status, said, body[:900] if uid == BAD else body

    done, _ = pulled(site.reception, Faulty())
    assert (done.missing, len(site.content()), len(site.quarantine())) == (1, SLICES - 1, 1)
    assert list((site.vault / ".incoming").iterdir()) == []
    again, _ = pulled(site.reception, Server())
    assert (again.asked, again.missing, len(site.content()), site.quarantine()) == (
        1,
        0,
        SLICES,
        [],
    )


def test_a_part_ends_at_its_boundary_alone():
    body = (
        b"preamble\r\n--b\r\nContent-Type: application/dicom\r\nContent-Length: 9\r\n\r\n"
        b"ab\r\n--\r\nc\r\n--b\r\n\r\nsecond\r\n--b--"
    )
    assert first_part("multipart/related; boundary=b", body, DICOM) == b"ab\r\n--\r\nc"
    assert first_part("multipart/related; boundary=b", b"--b\r\n\r\nab\r\n--b--", DICOM) == b"ab"
    assert (
        first_part(
            "multipart/related; boundary=b",
            b"--b\nContent-Type: application/dicom\n\nab\n--b--",
            DICOM,
        )
        == b"ab"
    )
    for cut in (b"--b", b"--b\r\n", b"--b\r\nContent-Type: application/dicom", b"--b\r\n\r\nab"):
        with pytest.raises(RequestError, match="cut off"):
            first_part("multipart/related; boundary=b", cut, DICOM)
    assert media_type(" Application/DICOM ;x") == DICOM


def test_a_missing_password_file_is_named(memory, tmp_path):
    with pytest.raises(PacsError, match=r"password_file of pacs\.toml cannot be read"):
        WebArchive(
            Peer("dicomweb", url="http://127.0.0.1", user="u", password_file=str(tmp_path / "no")),
            Listening(),
            memory,
        )

"""What an export wrote arrives at DCMTK's storescp and at Orthanc; what a peer refuses is named."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pydicom
import pytest
from click.testing import CliRunner
from pynetdicom import AE, evt

from dagster_project.cli import main
from dagster_project.flow.export import CONTENTS, Export
from dagster_project.intake.pacs import pacs_send
from dagster_project.intake.pacs.pacs_faults import PacsError
from dagster_project.intake.pacs.pacs_send import (
    CHANGED,
    NO_EXPORT,
    read_export,
    reason_of_status,
    send,
)
from dagster_project.intake.pacs.pacs_settings import Destination, Tls, read_destination
from dagster_project.interchange.segmentation_objects import build_segmentation
from tests.intake import peers
from tests.intake.pacs_site import Relay, certificate
from tests.interchange.scans import SUBJECT, ct, outlined, stacked

pytestmark = pytest.mark.filterwarnings(
    "ignore:Exception ignored in. <(ssl|socket):pytest.PytestUnraisableExceptionWarning"
)
"""pynetdicom leaves a socket that could not connect to the garbage collector."""

CT = "1.2.840.10008.5.1.4.1.1.2"


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> Path:
    """A CT of 14 slices and a SEG, as an export leaves them."""
    root = tmp_path_factory.mktemp("exported")
    series, headers = stacked(root / "ct", ct())
    made = Export(root / "out")
    for number, file in enumerate(sorted((root / "ct").glob("*.dcm")), 1):
        read = pydicom.dcmread(file)
        facts = {"sop_class_uid": read.SOPClassUID, "sop_instance_uid": read.SOPInstanceUID}
        made.write(f"T1/CT/{number:04d}.dcm", file.read_bytes(), **facts)
    seg = build_segmentation(headers, series, [outlined(series, "L1", 3, 9)], SUBJECT, "A")
    made.write_object("T1/SEG_reader_A.dcm", seg)
    made.write("fhir.json", b"{}")
    (made.folder / CONTENTS).write_text(json.dumps({"files": made.files}))
    return made.folder


def test_every_object_arrives_at_storescp_as_it_was_written(exported: Path, tmp_path: Path) -> None:
    port, files = peers.free_port(), read_export(exported)
    peer = subprocess.Popen(
        [peers.of_dcmtk("storescp"), "-od", str(tmp_path), "+xa", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        peers.await_port(port, peer)
        done = send(Destination(ae_title="PEER", port=port), files)
    finally:
        peer.terminate()
        peer.wait(peers.PATIENCE)
    assert (done.stored, done.failed) == (15, [])
    sent = {one.sop_instance_uid: pydicom.dcmread(one.path) for one in files}
    came = {(d := pydicom.dcmread(f)).SOPInstanceUID: d for f in tmp_path.iterdir()}
    assert came == sent


def test_every_object_arrives_at_orthanc_by_both_ways(exported: Path, tmp_path: Path) -> None:
    files = read_export(exported)
    orthanc = peers.Orthanc(tmp_path / "orthanc", 1)
    try:
        web = Destination(method="stow", url=f"{orthanc.url}/dicom-web")
        assert send(web, files[:6]).stored == 6
        assert orthanc.count() == 6
        done = send(Destination(ae_title="ORTHANC", port=orthanc.port), files)
        assert (done.stored, done.failed) == (15, [])
        assert send(web, files).failed == []
        assert orthanc.count() == 15
        with pytest.raises(PacsError, match=r"register that AE title there.*ae_title"):
            send(Destination(ae_title="OTHER", port=orthanc.port), files)
        with pytest.raises(PacsError, match="answered 404; check url"):
            send(Destination(method="stow", url=f"{orthanc.url}/nowhere"), files[:1])
    finally:
        orthanc.stop()


@contextmanager
def peer_of(classes: list[str], answer, tls: Tls | None = None) -> Iterator[int]:
    """A PACS of our own that takes these classes and answers as it is told to."""
    entity = AE(ae_title="PEER")
    for sop_class in classes:
        entity.add_supported_context(sop_class)
    server = entity.start_server(
        ("127.0.0.1", 0),
        block=False,
        evt_handlers=[(evt.EVT_C_STORE, answer)],
        ssl_context=tls.context(server=True) if tls else None,
    )
    try:
        yield server.socket.getsockname()[1]
    finally:
        server.shutdown()


def test_objects_go_over_tls_to_whom_the_settings_trust_and_to_nobody_else(
    exported: Path, tmp_path: Path
) -> None:
    ours, theirs, others = (certificate(tmp_path / name) for name in ("ours", "theirs", "others"))
    peer = Tls(theirs[1], theirs[0], ours[1])
    with peer_of([CT], lambda _: 0x0000, peer) as port:
        files = read_export(exported)[:2]
        trusted = Destination(ae_title="PEER", port=port, tls=Tls(ours[1], ours[0], theirs[1]))
        assert send(trusted, files).stored == 2
        stranger = Destination(ae_title="PEER", port=port, tls=Tls(ours[1], ours[0], others[1]))
        with pytest.raises(PacsError, match=r"cannot be reached.*is not in our ca file"):
            send(stranger, files)


def test_a_class_that_the_peer_does_not_take_is_named_and_the_rest_is_sent(exported: Path) -> None:
    with peer_of([CT], lambda _: 0x0000) as port:
        done = send(Destination(ae_title="PEER", port=port), read_export(exported))
    ((name, reason),) = done.failed
    assert (done.stored, name) == (14, "T1/SEG_reader_A.dcm")
    assert "does not accept Segmentation Storage" in reason
    assert "请其管理员开放" in reason


@pytest.mark.parametrize(
    ("status", "word"),
    [
        (0xA700, "no room"),
        (0xA7FF, "no room"),
        (0xA901, "does not match its class"),
        (0xC123, "cannot process"),
        (0x0124, "does not allow us"),
        (0x0117, "status 0117"),
    ],
)
def test_what_the_peer_refuses_has_its_reason_and_what_to_do(
    exported: Path, status: int, word: str
) -> None:
    files = read_export(exported)[:2]
    answers = iter((0x0000, status))
    with peer_of([CT], lambda _: next(answers)) as port:
        done = send(Destination(ae_title="PEER", port=port), files)
    assert done.stored == 1
    assert [word in reason for _, reason in done.failed] == [True]
    assert "administrator" in reason_of_status(status)


def test_objects_that_the_peer_had_or_changed_are_stored(exported: Path) -> None:
    files = read_export(exported)[:3]
    answers = iter((0x0111, 0xB000, 0xB007))
    with peer_of([CT], lambda _: next(answers)) as port:
        done = send(Destination(ae_title="PEER", port=port), files)
    assert (done.stored, done.failed) == (3, [])


def test_a_connection_that_is_lost_ends_the_sending_with_what_to_do(exported: Path) -> None:
    with peer_of([CT], lambda _: 0x0000) as port:
        line = Relay(port, 20_000)
        with pytest.raises(PacsError, match="send again"):
            send(Destination(ae_title="PEER", port=line.port), read_export(exported))
        line.end()


def test_nobody_listens(exported: Path) -> None:
    port = peers.free_port()
    with pytest.raises(PacsError, match="nothing listens on that port"):
        send(Destination(ae_title="PEER", port=port), read_export(exported))
    with pytest.raises(PacsError, match="cannot be reached"):
        send(Destination(method="stow", url=f"http://127.0.0.1:{port}"), read_export(exported))


@contextmanager
def web_peer(status: int, content: object) -> Iterator[str]:
    """A DICOMweb server that answers every request alike."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            body = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/dicom+json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def refusal(uid: str, reason: int) -> dict:
    return {"00081155": {"vr": "UI", "Value": [uid]}, "00081197": {"vr": "US", "Value": [reason]}}


@pytest.mark.parametrize("status", [202, 409])
def test_what_a_web_server_refuses_is_named_one_by_one(exported: Path, status: int) -> None:
    files = read_export(exported)[:3]
    failed = {"vr": "SQ", "Value": [refusal(files[1].sop_instance_uid, 0xA900)]}
    with web_peer(status, {"00081198": failed}) as url:
        done = send(Destination(method="stow", url=url), files)
    assert done.stored == 2
    assert [(name, "does not match" in reason) for name, reason in done.failed] == [
        (files[1].name, True)
    ]


@pytest.mark.parametrize(
    ("status", "content", "word"),
    [
        (401, {}, "check user, password_file"),
        (503, {}, "send again later"),
        (404, {}, "check url"),
        (409, {"00081198": {"Value": [{}]}}, "answered 409"),
    ],
)
def test_answers_of_a_web_server_that_end_the_sending(
    exported: Path, status: int, content: object, word: str
) -> None:
    with web_peer(status, content) as url, pytest.raises(PacsError, match=word):
        send(Destination(method="stow", url=url), read_export(exported))


def test_a_request_holds_no_more_than_its_limit(exported: Path, monkeypatch) -> None:
    files = read_export(exported)
    most = files[0].path.stat().st_size * 4
    monkeypatch.setattr(pacs_send, "LARGEST_REQUEST", most)
    with web_peer(200, {}) as url:
        assert send(Destination(method="stow", url=url), files).stored == 15
    batches = [*pacs_send._batches(files)]
    assert [file for batch in batches for file in batch] == files
    sizes = [sum(file.path.stat().st_size for file in batch) for batch in batches]
    assert (len(batches) > 3, max(sizes) <= most) == (True, True)


def test_only_a_finished_export_is_sent_and_only_as_it_was_written(
    exported: Path, tmp_path: Path
) -> None:
    with pytest.raises(PacsError, match=NO_EXPORT.partition(";")[0]):
        read_export(tmp_path)
    changed = tmp_path / "changed"
    for file in exported.rglob("*"):
        if file.is_file():
            target = changed / file.relative_to(exported)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(file.read_bytes())
    (changed / "T1" / "beside.dcm").write_bytes(b"of somebody else")
    assert {f.name for f in read_export(changed)} == {f.name for f in read_export(exported)}
    with (changed / "T1/CT/0003.dcm").open("ab") as file:
        file.write(b"\0")
    with pytest.raises(PacsError, match=CHANGED.format(name="T1/CT/0003.dcm").partition(",")[0]):
        read_export(changed)


SETTINGS = """
[AB.send.REPORTS]
ae_title = "PEER"
port = {port}
[AB.send.WEB]
method = "stow"
[AB.send.OTHER]
method = "fax"
ae_title = "X"
"""


def test_a_peer_of_the_settings_is_sent_to_by_its_name(exported: Path, tmp_path: Path) -> None:
    with peer_of([CT], lambda _: 0x0000) as port:
        (tmp_path / "pacs.toml").write_text(SETTINGS.format(port=port))
        command = ["--home", str(tmp_path), "pacs", "send", str(exported), "--site", "AB"]
        done = CliRunner().invoke(main, [*command, "--to", "REPORTS"])
    assert done.exit_code == 1
    assert "objects stored 14, refused 1" in done.output
    unknown = CliRunner().invoke(main, [*command, "--to", "NOBODY"])
    assert "has no section [AB.send.NOBODY]; its peers to send to are OTHER, REPORTS" in (
        unknown.output
    )


@pytest.mark.parametrize(
    ("name", "word"), [("WEB", "url is missing"), ("OTHER", "method is one of store, stow")]
)
def test_settings_that_cannot_be_used_are_named(tmp_path: Path, name: str, word: str) -> None:
    (tmp_path / "pacs.toml").write_text(SETTINGS.format(port=104))
    with pytest.raises(PacsError, match=word):
        read_destination(tmp_path / "pacs.toml", "AB", name)

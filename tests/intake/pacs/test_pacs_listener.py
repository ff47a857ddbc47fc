"""A listener under peers that are slow, idle, broken or many.

No peer is shut out, and nothing is half-written.
"""

import contextlib
import os
import re
import socket
import struct
import threading
import time

import numpy as np
import pytest
import requests
from click.testing import CliRunner

from dagster_project.cli import main
from dagster_project.intake.pacs import pacs_connections, pacs_listener
from dagster_project.intake.pacs.pacs_connections import LARGEST_PDU_TAKEN, MOST_WAITING_OF_ONE
from dagster_project.intake.pacs.pacs_listener import STORAGE_COMMITMENT, Listener
from dagster_project.intake.pacs.pacs_settings import Listening
from dagster_project.intake.vault import vault
from dagster_project.intake.vault.sandbox import close_child
from tests.intake import peers
from tests.intake.builders import ct, to_bytes
from tests.intake.pacs_site import Memory, Relay, Site, folder_of

ABORT_BY_USER = bytes([7, 0, 0, 0, 0, 4, 0, 0, 0, 0])
ABORT_BY_PROVIDER = bytes([7, 0, 0, 0, 0, 4, 0, 0, 2, 6])


@pytest.fixture
def site(tmp_path):
    yield Site(tmp_path)
    close_child()


@contextlib.contextmanager
def listening(**changes):
    """A listener before a reception in memory, and what it says."""
    said = []
    settings = {"callers": ("PACS",), "port": 0, "seconds": 5, **changes}
    with Listener(Listening(**settings), Memory(), said.append) as listener:
        yield listener, said


def connected(listener, said=b""):
    peer = socket.create_connection(("127.0.0.1", listener.port))
    peer.settimeout(20)
    peer.sendall(said)
    return peer


def seconds_until_closed(peer, trickle=b""):
    """How long the listener lets a peer be that sends a byte of `trickle` four times a second."""
    begun, rest = time.monotonic(), list(trickle)
    peer.settimeout(0.25 if rest else 20)
    with contextlib.suppress(ConnectionError):
        while time.monotonic() - begun < 20:
            try:
                if not peer.recv(4096):
                    break
            except TimeoutError:
                peer.sendall(bytes([rest.pop(0)]))
    peer.close()
    return time.monotonic() - begun


def echo(listener, **changes):
    return peers.dcmtk("echoscu", listener.port, **changes).returncode == 0


@contextlib.contextmanager
def association(port, *classes, caller="PACS", called="LAKEHOUSE"):
    """An association of pynetdicom's with the listener, which stays open while the block runs."""
    from pynetdicom import AE

    entity = AE(ae_title=caller)
    entity.acse_timeout = entity.network_timeout = entity.dimse_timeout = 10
    for sop_class in classes or ("1.2.840.10008.1.1",):
        entity.add_requested_context(sop_class)
    made = entity.associate("127.0.0.1", port, ae_title=called)
    try:
        yield made
    finally:
        if made.is_established:
            made.abort()
        if made.ident is not None:
            made.join(5)


# ── before an association ──


def test_a_peer_that_sends_a_byte_now_and_then_is_closed_as_soon_as_a_silent_one():
    request = struct.pack(">BBL", 1, 0, 256) + bytes(256)
    with listening(seconds=2) as (listener, _):
        assert seconds_until_closed(connected(listener), request) < 20, (
            "the request would take a minute"
        )


def test_one_address_may_not_have_too_many_connections_that_do_not_ask(monkeypatch):
    monkeypatch.setattr(pacs_listener, "SECONDS_TO_CALL", 60.0)
    with listening(seconds=60) as (listener, _):
        silent = [connected(listener) for _ in range(MOST_WAITING_OF_ONE)]
        more = connected(listener)
        assert seconds_until_closed(silent[0]) < 20, "the oldest gives way"
        assert echo(listener), "and a caller gets in"
        for peer in (*silent[1:], more):
            peer.close()


def test_hundreds_of_slow_sockets_keep_no_caller_out_and_need_no_hundreds_of_threads():
    """Each socket has sent the first byte of a request and sends no more.

    At first they come from one address, then from many.
    """
    before = threading.active_count()
    with listening(seconds=30) as (listener, _):
        slow = []
        for n in range(300):
            peer = socket.socket()
            peer.bind((f"127.0.{n % 40}.1", 0) if n >= 150 else ("127.0.0.1", 0))
            peer.connect(("127.0.0.1", listener.port))
            slow.append(peer)
            with contextlib.suppress(ConnectionError):
                peer.sendall(b"\1")
            if n % 100 == 99:
                assert echo(listener), f"after {n + 1} slow sockets"
        most = pacs_connections.MOST_WAITING + 5
        assert len(listener._waiting._of) <= most
        deadline = time.monotonic() + 60
        while threading.active_count() - before > 3 * most and time.monotonic() < deadline:
            time.sleep(0.1)
        assert threading.active_count() - before <= 3 * most
        for peer in slow:
            peer.close()


@pytest.mark.parametrize("kind", [1, 4])
def test_a_length_that_no_pdu_has_closes_the_connection_at_once(kind, monkeypatch):
    monkeypatch.setattr(pacs_listener, "SECONDS_TO_CALL", 60.0)
    with listening(seconds=60) as (listener, _):
        for length in (LARGEST_PDU_TAKEN + 1, 2**32 - 1):
            assert (
                seconds_until_closed(connected(listener, struct.pack(">BBL", kind, 0, length))) < 20
            )
        assert echo(listener)


def test_garbage_closes_the_connection_and_nothing_else():
    with listening() as (listener, _):
        for said in (
            b"GET / HTTP/1.1\r\n\r\n",
            b"SSH-2.0-OpenSSH_9.2\r\n",
            os.urandom(200),
            b"\x16\x03\x01" + bytes(200),
        ):
            assert seconds_until_closed(connected(listener, said)) < 20
        assert echo(listener)


# ── places of associations ──


def test_an_idle_association_gives_its_place_to_one_that_waits(monkeypatch):
    with listening(associations=1, seconds=30) as (listener, _), association(listener.port) as idle:
        assert idle.is_established
        assert not echo(listener), "for now there is no room"
        monkeypatch.setattr(pacs_connections, "STALE_SECONDS", 0.0)
        assert echo(listener)
        idle.join(5)
        assert not idle.is_established


def test_an_association_that_is_silent_within_a_pdu_gives_way_too(monkeypatch):
    monkeypatch.setattr(pacs_connections, "STALE_SECONDS", 1.0)
    with listening(associations=1, seconds=30) as (listener, _):
        relay = Relay(listener.port, most=400, hang_up=False)
        sender = threading.Thread(
            target=peers.dcmtk, args=("echoscu", relay.port, "-ta", "3", "-td", "3")
        )
        sender.start()
        time.sleep(1.5)
        assert echo(listener)
        sender.join()
        relay.end()


def test_who_is_refused_takes_nobodys_place():
    with listening(associations=1, seconds=30) as (listener, _):
        with association(listener.port, caller="STRANGER") as stranger:
            assert stranger.is_rejected
        raw = connected(listener, _request("STRANGER"))
        assert raw.recv(1) == b"\x03", "A-ASSOCIATE-RJ"
        assert echo(listener), "while the stranger keeps its connection open"
        raw.close()


def test_an_association_that_says_nothing_more_is_closed_and_its_place_free():
    with listening(associations=1, seconds=2) as (listener, _):
        silent = connected(listener, _request("PACS"))
        assert silent.recv(1) == b"\x02", "A-ASSOCIATE-AC"
        assert seconds_until_closed(silent) < 20
        assert echo(listener)


def _request(caller):
    """A whole A-ASSOCIATE-RQ for Verification."""

    def item(kind, body):
        return struct.pack(">BBH", kind, 0, len(body)) + body

    context = item(
        0x20,
        bytes([1, 0, 0, 0]) + item(0x30, b"1.2.840.10008.1.1") + item(0x40, b"1.2.840.10008.1.2"),
    )
    user = item(0x50, item(0x51, struct.pack(">L", 16384)) + item(0x52, b"1.2.3.4"))
    body = (
        b"\0\1\0\0"
        + b"LAKEHOUSE".ljust(16)
        + caller.encode().ljust(16)
        + bytes(32)
        + item(0x10, b"1.2.840.10008.3.1.1.1")
        + context
        + user
    )
    return struct.pack(">BBL", 1, 0, len(body)) + body


# ── an association ends in the middle of an object ──


@pytest.mark.parametrize("last", [ABORT_BY_USER, ABORT_BY_PROVIDER, b""])
def test_an_abort_within_an_object_leaves_nothing_half_written_and_the_resend_completes(
    site, tmp_path, last
):
    folder = folder_of(tmp_path / "out", [ct(i, pixels=np.full((256, 256), i)) for i in range(4)])
    with site.listener() as listener:
        relay = Relay(listener.port, most=300_000, last=last)
        assert peers.dcmtk("storescu", relay.port, "+sd", str(folder)).returncode != 0
        before = len(site.content())
        assert 0 < before < 4
        assert list(site.landing.rglob("*")) == []
        assert peers.dcmtk("storescu", listener.port, "+sd", str(folder)).returncode == 0
    relay.end()
    assert len(site.content()) == 4
    assert list((site.vault / ".incoming").iterdir()) == []
    assert site.quarantine() == []


# ── a run goes on ──


def test_what_is_sent_while_a_run_goes_on_is_asked_for_again_and_named_until_it_comes(
    site, tmp_path, monkeypatch
):
    monkeypatch.setattr(vault, "RECEPTION_SECONDS", 0.3)
    monkeypatch.setattr(vault, "BUSY_SECONDS", 0.1)
    site.reception._patience = 0.3
    folder = folder_of(tmp_path / "out", [ct(i) for i in range(3)])
    said = []
    with Listener(Listening(callers=("PACS",), port=0), site.reception, said.append) as listener:
        with _run_of(site):
            refused = peers.dcmtk("storescu", listener.port, "-v", "+sd", str(folder), "-nh")
            assert "0xa700" in refused.stderr.lower() or "outofresources" in refused.stderr.lower()
        _until(lambda: (site.vault / "refused.parquet").exists() and site.quarantine())
        assert [reason for _, reason in site.quarantine()] == [vault.PUT_OFF]
        assert peers.dcmtk("storescu", listener.port, "+sd", str(folder)).returncode == 0
    assert len(site.content()) == 3
    assert site.quarantine() == []
    assert any("put off 3" in text for text in said)
    assert said[-1].startswith("stored 3")


@contextlib.contextmanager
def _run_of(site):
    """A run over the site's folder that does not end; its lock is another thread's."""
    held, end = threading.Event(), threading.Event()

    def run():
        with vault.site_lock(site.vault):
            held.set()
            end.wait()

    thread = threading.Thread(target=run)
    thread.start()
    held.wait()
    try:
        yield
    finally:
        end.set()
        thread.join()


def _until(holds, seconds=30):
    deadline = time.monotonic() + seconds
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.1)


# ── one port ──


def _settings(site, orthanc, port):
    (site.home.root / "pacs.toml").write_text(
        f"[AB.listen]\nport = {port}\n"
        'callers = ["ORTHANC", "PACS"]\n'
        f'[AB.peer]\nmethod = "move"\nae_title = "ORTHANC"\nport = {orthanc.port}\n'
    )
    (site.home.root / "numbers.txt").write_text("ZY0012345\n")
    return ["--home", str(site.home.root), "pacs"]


def test_a_pull_by_c_move_uses_the_listener_that_has_the_port(site, tmp_path, monkeypatch):
    for name in ("LAKEHOUSE_HOME", "DAGSTER_HOME", "LAKEHOUSE_KEYS"):
        monkeypatch.setenv(name, "")
    port = peers.free_port()
    orthanc = peers.Orthanc(tmp_path / "o", port)
    try:
        for index in range(3):
            orthanc.put(to_bytes(ct(index)))
        command = _settings(site, orthanc, port)
        pull = [*command, "pull", "--site", "AB", "--numbers", str(site.home.root / "numbers.txt")]
        running = peers.Listening(site.home.root, "AB", port, tmp_path / "tmp")
        beside = CliRunner().invoke(main, pull)
        second = CliRunner().invoke(main, [*command, "listen", "--site", "AB"])
        said = running.end()
        orthanc.put(to_bytes(ct(3)))
        alone = CliRunner().invoke(main, pull)
    finally:
        orthanc.stop()
    assert "pacs listen is running" in beside.output
    assert "requested 3, not received 0" in beside.output
    assert re.search(r"stored 3, refused 0", said)
    assert (second.exit_code, "a listener of this site is running" in second.output) == (1, True)
    assert "requested 1, not received 0" in alone.output
    assert len(site.content()) == 4


# ── storage commitment ──


def test_storage_commitment_is_refused_by_name_and_the_sending_goes_on():
    with listening() as (listener, said):
        for _ in range(2):
            with association(listener.port, "1.2.840.10008.1.1", STORAGE_COMMITMENT) as made:
                assert [str(c.abstract_syntax) for c in made.rejected_contexts] == [
                    STORAGE_COMMITMENT
                ]
                assert made.send_c_echo().Status == 0
    assert (
        len([text for text in said if "PACS wants storage commitment, which is refused" in text])
        == 1
    )


def test_orthanc_hears_that_commitment_is_refused(tmp_path):
    with listening(callers=("ORTHANC",)) as (listener, said):
        orthanc = peers.Orthanc(tmp_path / "o", listener.port)
        try:
            orthanc.put(to_bytes(ct(0)))
            instance = requests.get(f"{orthanc.url}/instances", timeout=30).json()[0]
            sent = requests.post(
                f"{orthanc.url}/modalities/us/store", json={"Resources": [instance]}, timeout=60
            )
            asked = requests.post(
                f"{orthanc.url}/modalities/us/storage-commitment",
                timeout=60,
                json={
                    "DicomInstances": [
                        {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.2", "SOPInstanceUID": "1.2.3"}
                    ]
                },
            )
        finally:
            orthanc.stop()
    assert sent.status_code == 200
    assert asked.status_code >= 400
    assert any("ORTHANC wants storage commitment, which is refused" in text for text in said)

"""TLS towards a PACS: what is wrong with a certificate is named on both sides.

The peers are Orthanc and DCMTK's storescp.
"""

import datetime as dt
import http.server
import ipaddress
import shutil
import ssl
import subprocess
import threading
from contextlib import contextmanager

import pytest
from click.testing import CliRunner
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from dagster_project.cli import main
from dagster_project.intake.pacs.pacs_faults import PacsError
from dagster_project.intake.pacs.pacs_listener import Listener
from dagster_project.intake.pacs.pacs_messages import MessageArchive
from dagster_project.intake.pacs.pacs_pull import pull
from dagster_project.intake.pacs.pacs_settings import Listening, Peer, Tls
from dagster_project.intake.pacs.pacs_wanted import Wanted
from dagster_project.intake.pacs.pacs_web import WebArchive
from tests.intake import peers
from tests.intake.builders import ct, to_bytes
from tests.intake.pacs_site import Memory, Site, certificate

pytestmark = pytest.mark.filterwarnings(
    "ignore:Exception ignored in. <(ssl|socket):pytest.PytestUnraisableExceptionWarning"
)
"""pynetdicom leaves a socket that could not connect to the garbage collector."""

PATIENT = Wanted("ZY0012345")
SLICES = 3


@pytest.fixture(scope="module")
def ours(tmp_path_factory):
    return certificate(tmp_path_factory.mktemp("ours"))


@pytest.fixture(scope="module")
def theirs(tmp_path_factory):
    return certificate(tmp_path_factory.mktemp("theirs"))


@pytest.fixture(scope="module")
def other_name(tmp_path_factory):
    return certificate(
        tmp_path_factory.mktemp("other"), "pacs.hospital.example", "DNS:pacs.hospital.example"
    )


@pytest.fixture(scope="module")
def expired(tmp_path_factory):
    """A certificate that ended yesterday; openssl of Debian 12 makes none."""
    folder = tmp_path_factory.mktemp("expired")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder(
            name, name, key.public_key(), 1, now - dt.timedelta(days=9), now - dt.timedelta(days=1)
        )
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]),
            critical=False,
        )
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "key.pem").write_bytes(private)
    (folder / "certificate.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    return str(folder / "key.pem"), str(folder / "certificate.pem")


@contextmanager
def storescp(tmp_path, shown=None, trusted=None):
    """DCMTK's receiver, by TLS where it shows a certificate; it offers no Query/Retrieve."""
    port = peers.free_port()
    tls = ["+tls", *shown, "+cf", trusted] if shown else []
    process = subprocess.Popen(
        [peers.of_dcmtk("storescp"), *tls, "-od", str(tmp_path), str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        peers.await_port(port, process)
        yield port
    finally:
        process.kill()
        process.wait(30)


def stopped(port, tls, **changes):
    memory = Memory()
    peer = Peer(**{"method": "get", "ae_title": "QR", "port": port, "tls": tls, **changes})
    return pull(MessageArchive(peer, Listening(seconds=5), memory), memory, [PATIENT]).stopped


def tls_of(pair, ca, **changes):
    return Tls(pair[1], pair[0], ca, **changes)


def test_pulls_by_tls_bring_all(tmp_path, ours, theirs):
    port = peers.free_port()
    us = {"AET": "LAKEHOUSE", "Host": "127.0.0.1", "Port": port, "UseDicomTls": True}
    orthanc = peers.Orthanc(
        tmp_path / "o",
        port,
        DicomModalities={"us": us},
        DicomTlsEnabled=True,
        DicomTlsCertificate=theirs[1],
        DicomTlsPrivateKey=theirs[0],
        DicomTlsTrustedCertificates=ours[1],
    )
    try:
        for index in range(SLICES):
            orthanc.put(to_bytes(ct(index)))
        for method in ("get", "move"):
            memory = Memory()
            listening = Listening(
                port=port, callers=("ORTHANC",), tls=tls_of(ours, theirs[1]), seconds=10
            )
            peer = Peer(method, ae_title="ORTHANC", port=orthanc.port, tls=tls_of(ours, theirs[1]))
            with Listener(listening, memory):
                done = pull(MessageArchive(peer, listening, memory), memory, [PATIENT])
            assert (done.asked, done.missing, done.stopped, len(memory.objects)) == (
                SLICES,
                0,
                "",
                SLICES,
            )
    finally:
        orthanc.stop()


@pytest.mark.parametrize(
    ("shown", "ca", "text"),
    [
        ("theirs", "ours", "is signed by itself and is not in our ca file"),
        ("other_name", "other_name", "is not for this IP address"),
        ("expired", "expired", "its certificate has expired"),
    ],
)
def test_what_is_wrong_with_the_peers_certificate_is_named(
    tmp_path, request, ours, shown, ca, text
):
    with storescp(tmp_path, request.getfixturevalue(shown), ours[1]) as port:
        assert text in stopped(port, tls_of(ours, request.getfixturevalue(ca)[1]))


def test_a_name_in_the_certificate_may_differ_from_the_host(tmp_path, ours, other_name):
    with storescp(tmp_path, other_name, ours[1]) as port:
        assert "it does not offer Query/Retrieve" in stopped(
            port, tls_of(ours, other_name[1], name="pacs.hospital.example")
        )


def test_a_peer_that_does_not_know_our_certificate_or_speaks_plainly_is_named(
    tmp_path, ours, theirs
):
    with storescp(tmp_path, theirs, theirs[1]) as port:
        said = stopped(port, tls_of(ours, theirs[1]))
        assert "our certificate" in said or "certificate of ours" in said
        assert "accepts the connection and does not answer" in stopped(port, None), "in the clear"
    with storescp(tmp_path) as port:
        assert "speak TLS on this port" in stopped(port, tls_of(ours, theirs[1]))


def test_a_host_or_port_that_is_not_there_is_named(ours, theirs):
    assert "nothing listens on that port" in stopped(peers.free_port(), None)
    assert "nothing listens on that port" in stopped(peers.free_port(), tls_of(ours, theirs[1]))
    assert "its host name is not known here" in stopped(104, None, host="no-such-host.invalid")


# ── files of the settings ──


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (
            {"ca": "/no/such.pem"},
            r"tls\.ca of pacs\.toml cannot be read \(no such file or directory\)",
        ),
        ({"certificate": "/no/such.pem"}, r"tls\.certificate of pacs\.toml cannot be read"),
        ({"key": "/no/such.pem"}, r"tls\.key of pacs\.toml cannot be read"),
        ({"ca": __file__}, r"tls\.ca of pacs\.toml holds no certificate in PEM form"),
        ({"key": __file__}, "is not in PEM form"),
        ({"certificate": "/"}, "cannot be read"),
    ],
)
@pytest.mark.parametrize("server", [True, False])
def test_a_file_that_is_no_certificate_is_named_by_its_setting(ours, change, text, server):
    with pytest.raises(PacsError, match=text):
        Tls(**{"certificate": ours[1], "key": ours[0], "ca": ours[1], **change}).context(
            server=server
        )


def test_a_key_of_another_certificate_with_a_passphrase_or_expired_is_named(
    tmp_path, ours, theirs, expired
):
    locked = tmp_path / "locked.pem"
    subprocess.run(
        [
            "openssl",
            "pkey",
            "-in",
            ours[0],
            "-aes256",
            "-passout",
            "pass:secret",
            "-out",
            str(locked),
        ],
        check=True,
        capture_output=True,
    )
    for key, shown, text in [
        (theirs[0], ours[1], "does not belong to"),
        (str(locked), ours[1], "passphrase"),
        (expired[0], expired[1], "has expired"),
    ]:
        with pytest.raises(PacsError, match=text):
            Tls(shown, key, ours[1]).context(server=True)


def test_the_command_says_it_without_a_traceback_and_finds_files_beside_the_settings(
    tmp_path, ours, monkeypatch
):
    site = Site(tmp_path)
    for name in ("LAKEHOUSE_HOME", "DAGSTER_HOME"):
        monkeypatch.setenv(name, "")
    (site.home.root / "numbers.txt").write_text("ZY0012345\n")
    shutil.copy(ours[0], site.home.root / "key.pem")
    shutil.copy(ours[1], site.home.root / "own.pem")

    def said(peer):
        (site.home.root / "pacs.toml").write_text(
            f'[AB.listen]\ncallers = ["X"]\n[AB.peer]\nport = {peers.free_port()}\n{peer}'
        )
        return CliRunner().invoke(
            main,
            [
                "--home",
                str(site.home.root),
                "pacs",
                "pull",
                "--site",
                "AB",
                "--numbers",
                str(site.home.root / "numbers.txt"),
            ],
        )

    tls = 'tls = { certificate = "own.pem", key = "key.pem", ca = "no.pem" }'
    for peer, text in [
        (f'method = "get"\n{tls}\n', "tls.ca of pacs.toml cannot be read"),
        ('method = "dicomweb"\nurl = "https://x"\nca = "no.pem"\n', "ca of pacs.toml cannot"),
        (
            f'method = "get"\nae_title = "QR"\n{tls.replace("no.pem", "own.pem")}\n',
            "nothing listens on that port",
        ),
    ]:
        result = said(peer)
        assert (result.exit_code, text in result.output) == (1, True), result.output
        assert isinstance(result.exception, SystemExit)


# ── DICOMweb ──


@contextmanager
def https(pair):
    server = http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair[1], pair[0])
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.handle_error = lambda *_: None
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"https://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_the_certificate_of_a_dicomweb_server_is_named_too(ours, theirs, other_name, expired):
    for shown, ca, text in [
        (theirs, ours[1], "is signed by itself and is not in our ca file"),
        (other_name, other_name[1], "is not for this IP address"),
        (expired, expired[1], "has expired"),
    ]:
        with https(shown) as url:
            done = pull(
                WebArchive(Peer("dicomweb", url=url, ca=ca), Listening(seconds=5), Memory()),
                Memory(),
                [PATIENT],
            )
        assert "the DICOMweb server cannot be trusted: its certificate" in done.stopped
        assert text in done.stopped

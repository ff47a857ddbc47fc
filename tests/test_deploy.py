"""What lies in deploy/ is taken by systemd and nginx as it is, and lets in nobody by accident."""

from __future__ import annotations

import contextlib
import datetime as dt
import grp
import os
import re
import shutil
import ssl
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from dagster_project.lake.home import Home
from dagster_project.lake.sharing import share_tree
from tests.conftest import REPOSITORY
from tests.test_dev import free_port, listens
from tests.test_documents import faults_of

DEPLOY = REPOSITORY / "deploy"
SERVICES = sorted(DEPLOY.glob("*.service"))
PROGRAMS = "/srv/lakehouse/code/.venv/bin"
MOST_EXPOSED = 2.0


def program(name: str) -> str:
    found = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin")
    assert found, f"{name} is missing: run scripts/install-debian-packages"
    return found


@pytest.fixture(scope="module")
def units(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The units, with programs that are there."""
    folder = tmp_path_factory.mktemp("units")
    for name in ("dagster-daemon", "dagster-webserver", "lakehouse"):
        (folder / name).symlink_to("/bin/true")
    for unit in (*SERVICES, *DEPLOY.glob("*.timer")):
        (folder / unit.name).write_text(unit.read_text().replace(PROGRAMS, str(folder)))
    return folder


def test_systemd_takes_every_unit_without_a_word(units: Path) -> None:
    names = [p.name for p in (*units.glob("*.service"), *units.glob("*.timer"))]
    assert len(names) == len(SERVICES) + len(list(DEPLOY.glob("*.timer"))) == 9
    done = subprocess.run(
        [program("systemd-analyze"), "verify", *(f"./{name}" for name in sorted(names))],
        cwd=units,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@pytest.mark.parametrize("service", SERVICES, ids=lambda p: p.name)
def test_a_service_may_do_little_more_than_its_work(units: Path, service: Path) -> None:
    done = subprocess.run(
        [program("systemd-analyze"), "security", "--offline=yes", f"./{service.name}"],
        cwd=units,
        capture_output=True,
        text=True,
        check=True,
    )
    found = re.search(r"Overall exposure level .*?: (\d+\.\d)", done.stdout)
    assert found
    assert float(found[1]) <= MOST_EXPOSED


@pytest.mark.parametrize("timer", sorted(DEPLOY.glob("*.timer")), ids=lambda p: p.name)
def test_a_timer_has_its_service_and_a_time_that_systemd_knows(timer: Path) -> None:
    assert timer.with_suffix(".service").is_file()
    when = re.search(r"^OnCalendar=(.*)$", timer.read_text(), re.MULTILINE)
    assert when
    subprocess.run(
        [program("systemd-analyze"), "calendar", when[1]], check=True, capture_output=True
    )


@pytest.mark.parametrize("service", SERVICES, ids=lambda p: p.name)
def test_what_a_service_starts_is_a_command_of_this_program(service: Path) -> None:
    line = re.search(r"^ExecStart=(.*)$", service.read_text(), re.MULTILINE)
    assert line
    words = line[1].split()
    assert words[0].startswith(f"{PROGRAMS}/")
    name = words[0].removeprefix(f"{PROGRAMS}/")
    assert name in {"lakehouse", "dagster-daemon", "dagster-webserver"}
    assert name != "lakehouse" or faults_of(["lakehouse", *words[1:]]) == []


# -- nginx -----------------------------------------------------------------------------------------


def key_and_certificate(folder: Path, name: str, issuer: tuple | None = None) -> tuple:
    """Files of a key and a certificate, signed by an issuer or by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    signer, by = issuer or (key, subject)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(by)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(signer, hashes.SHA256())
    )
    (folder / f"{name}.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    plain = serialization.NoEncryption()
    pem, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    (folder / f"{name}.key").write_bytes(key.private_bytes(pem, form, plain))
    return key, subject


@pytest.fixture(scope="module")
def viewer() -> Iterator[tuple[Path, int]]:
    """The recipe's nginx before a home with pages; the folder of its certificates, and its port."""
    nginx, port = program("nginx"), free_port()
    with tempfile.TemporaryDirectory(prefix="lake-nginx-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        home = pages_of(folder / "study")
        ca = key_and_certificate(folder, "ca")
        for who in ("server", "viewer"):
            key_and_certificate(folder, who, ca)
        key_and_certificate(folder, "stranger")
        site = (DEPLOY / "nginx-lakehouse.conf").read_text()
        site = site.replace("listen 443", f"listen 127.0.0.1:{port}")
        site = site.replace("/etc/nginx/lakehouse", name).replace("/srv/lakehouse/study", str(home))
        user = "user www-data;" if os.getuid() == 0 else ""
        (folder / "nginx.conf").write_text(
            f"{user} pid {name}/pid; error_log {name}/error.log; daemon off; "
            f"events {{}} http {{ access_log off; {site} }}"
        )
        with subprocess.Popen([nginx, "-c", f"{name}/nginx.conf"]) as process:
            try:
                deadline = time.monotonic() + 60
                while not listens(port):
                    assert process.poll() is None, (folder / "error.log").read_text()
                    assert time.monotonic() < deadline
                    time.sleep(0.05)
                yield folder, port
            finally:
                process.terminate()


def pages_of(root: Path) -> Path:
    """A home whose group is that of nginx's account, with a page and a secret."""
    root.mkdir()
    with contextlib.suppress(KeyError, PermissionError):
        os.chown(root, -1, grp.getgrnam("www-data").gr_gid)
    root.chmod(0o750)
    home = Home(root).make()
    (home.reports / "index.html").write_text("<h1>pages</h1>")
    (home.vault / "secret").write_text("secret")
    share_tree(home.reports, root)
    return root


def get(viewer: tuple[Path, int], path: str, who: str = "") -> tuple[int, str]:
    folder, port = viewer
    context = ssl.create_default_context(cafile=str(folder / "ca.pem"))
    if who:
        context.load_cert_chain(folder / f"{who}.pem", folder / f"{who}.key")
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
    )
    try:
        with opener.open(f"https://localhost:{port}{path}", timeout=30) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_a_viewer_with_a_certificate_sees_pages_and_nothing_else(viewer: tuple[Path, int]) -> None:
    assert get(viewer, "/reports/", "viewer") == (200, "<h1>pages</h1>")
    for path in ("/", "/vault/secret", "/reports/../vault/secret", "/reports../vault/secret"):
        assert get(viewer, path, "viewer")[0] in {400, 404}, path


@pytest.mark.parametrize("who", ["", "stranger"])
def test_nobody_else_sees_a_page(viewer: tuple[Path, int], who: str) -> None:
    status, text = get(viewer, "/reports/", who)
    assert status == 400
    assert "pages" not in text

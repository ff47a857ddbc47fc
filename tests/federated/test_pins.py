"""Pinned keys: by hand, of one hospital each, and never replaced in silence."""

from __future__ import annotations

import datetime as dt
import stat
import subprocess
import sys

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from dagster_project.federated.identities import fingerprint, public_bytes
from dagster_project.federated.pins import Pins, fingerprint_of
from dagster_project.federated.plans import parse_plan
from dagster_project.federated.refusals import (
    NotAFingerprint,
    NotPinned,
    PinnedOtherwise,
    PinsUnreadable,
    UnreadableKey,
)
from tests.federated.hospitals import PINNED

PLAN = parse_plan(
    {
        "plan": {"name": "Look", "hospitals": ["BJCH", "GZSM", "SHFD"], "task": "T1"},
        "auc": {"model": "fusion/3", "bins": 2000, "epsilon": 0, "delta": 1e-5},
    }
)


@pytest.fixture
def pins(tmp_path):
    return Pins(tmp_path / "federated")


def test_pins_are_kept_for_their_owner_alone(pins):
    assert pins.read() == {}
    for code in ("SHFD", "BJCH"):
        pins.pin(code, PINNED[code])
    assert list(Pins(pins.folder).read().items()) == [(c, PINNED[c]) for c in ("BJCH", "SHFD")]
    assert stat.S_IMODE(pins.file.stat().st_mode) == 0o600
    assert stat.S_IMODE(pins.folder.stat().st_mode) == 0o700


@pytest.mark.parametrize(
    "written",
    [
        str.upper,
        lambda t: ":".join(t[i : i + 2] for i in range(0, 64, 2)),
        lambda t: f" {t[:32]} {t[32:]}\n",
    ],
)
def test_a_fingerprint_may_be_written_as_it_is_read_out(pins, written):
    pins.pin("BJCH", written(PINNED["BJCH"]))
    assert pins.read() == {"BJCH": PINNED["BJCH"]}


@pytest.mark.parametrize(
    ("hospital", "stated"),
    [
        ("bjch", "0" * 64),
        ("Zhang San", "0" * 64),
        ("BJCH", "0" * 63),
        ("BJCH", "g" * 64),
        ("BJCH", ""),
    ],
)
def test_what_is_no_code_or_fingerprint_is_refused_and_not_repeated(pins, hospital, stated):
    with pytest.raises(NotAFingerprint) as refusal:
        pins.pin(hospital, stated)
    assert "Zhang San" not in str(refusal.value)
    assert pins.read() == {}


def test_another_key_for_a_hospital_is_pinned_only_when_that_is_said(pins):
    pins.pin("BJCH", PINNED["BJCH"])
    pins.pin("BJCH", PINNED["BJCH"])
    with pytest.raises(PinnedOtherwise, match="BJCH"):
        pins.pin("BJCH", PINNED["GZSM"])
    assert pins.read()["BJCH"] == PINNED["BJCH"]
    pins.pin("BJCH", PINNED["GZSM"], again=True)
    assert pins.read()["BJCH"] == PINNED["GZSM"]
    with pytest.raises(PinnedOtherwise, match="BJCH"):
        pins.pin("GZSM", PINNED["GZSM"], again=True)


@pytest.mark.parametrize(
    "content",
    [
        b"BJCH",
        b"\xff\xfe",
        b"",
        b"[hospitals]\nBJCH = 5\n",
        b'[hospitals]\nBJCH = "00"\n',
        b"[hospitals]\n[more]\n",
        b'[hospitals]\n"Zhang San" = "' + b"0" * 64 + b'"\n',
    ],
)
def test_a_file_that_was_edited_into_something_else_pins_nobody(pins, content):
    pins.pin("BJCH", PINNED["BJCH"])
    pins.file.write_bytes(content)
    with pytest.raises(PinsUnreadable, match=r"hospitals\.toml"):
        pins.read()
    with pytest.raises(PinsUnreadable):
        pins.pin("GZSM", PINNED["GZSM"])
    assert pins.file.read_bytes() == content


def test_a_run_is_of_what_is_pinned(pins):
    pins.pin("BJCH", PINNED["BJCH"])
    with pytest.raises(NotPinned, match="GZSM, SHFD"):
        pins.run(PLAN, "run-1")
    for code in ("GZSM", "SHFD", "WHTJ"):
        pins.pin(code, PINNED[code])
    run = pins.run(PLAN, "run-1")
    assert run.hospitals == tuple((c, PINNED[c]) for c in ("BJCH", "GZSM", "SHFD"))
    assert run.plan == PLAN.digest


def files_of(key, folder):
    """A certificate, a request and the public key, as PEM."""
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "BJCH")])
    start = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(start)
        .not_valid_after(start + dt.timedelta(days=360))
        .sign(key, SHA256())
    )
    request = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, SHA256())
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    contents = {
        "crt": certificate.public_bytes(Encoding.PEM),
        "csr": request.public_bytes(Encoding.PEM),
        "pub": public,
    }
    for ending, content in contents.items():
        (folder / f"key.{ending}").write_bytes(content)
    return [folder / f"key.{ending}" for ending in contents]


def test_certificate_request_and_key_have_one_fingerprint(tmp_path):
    key = generate_private_key(65537, 2048)
    expected = fingerprint(public_bytes(key))
    assert {fingerprint_of(file) for file in files_of(key, tmp_path)} == {expected}


def test_a_request_of_the_engine_has_the_fingerprint_that_the_engine_states(tmp_path):
    # in a process of its own: the engine draws random numbers when it is imported
    program = (
        "import sys; from cryptography import x509\n"
        "from nvflare.tool.cert.cert_commands import _csr_public_key_sha256, _generate_csr\n"
        "_, request = _generate_csr('BJCH', 'hospital', 'client')\n"
        "open(sys.argv[1], 'wb').write(request)\n"
        "print(_csr_public_key_sha256(x509.load_pem_x509_csr(request)))\n"
    )
    file = tmp_path / "BJCH.csr"
    done = subprocess.run(
        [sys.executable, "-c", program, str(file)], capture_output=True, text=True, check=True
    )
    assert done.stdout.split()[-1] == fingerprint_of(file)


def test_a_private_key_or_anything_else_is_not_read(tmp_path):
    key = generate_private_key(65537, 2048)
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    for name, content in (("a", private), ("b", b"no key"), ("c", b"-----BEGIN CERTIFICATE-----")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UnreadableKey):
            fingerprint_of(tmp_path / name)
    with pytest.raises(UnreadableKey):
        fingerprint_of(tmp_path / "nothing")

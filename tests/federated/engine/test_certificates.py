"""Requests, certificates and kits: whose key is certified for what, and what a kit leaves open."""

from __future__ import annotations

import json
import stat

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from dagster_project.federated.engine.certificates import (
    Authority,
    _name,
    make_key,
    make_request,
    read_key,
)
from dagster_project.federated.engine.kits import (
    Address,
    Invitation,
    invite,
    write_coordinator,
    write_hospital,
)
from dagster_project.federated.engine.places import Places
from dagster_project.federated.identities import fingerprint, public_bytes
from dagster_project.federated.refusals import NotApproved

ADDRESS = Address("127.0.0.1", 8443)
KEY = rsa.generate_private_key(public_exponent=65537, key_size=3072)
OTHER = rsa.generate_private_key(public_exponent=65537, key_size=3072)
OWN = fingerprint(public_bytes(KEY))


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path / "authority").make()


DIGEST = SHA256()


def a_request(name, key, digest=DIGEST):
    builder = x509.CertificateSigningRequestBuilder().subject_name(_name(name, None))
    return builder.sign(key, digest).public_bytes(Encoding.PEM)


def test_a_certificate_is_for_the_hospital_and_its_key(authority):
    hospital, certificate = authority.approve(make_request("BJCH", KEY), OWN)
    read = x509.load_pem_x509_certificate(certificate)
    read.verify_directly_issued_by(x509.load_pem_x509_certificate(authority.certificate))
    assert hospital == "BJCH"
    assert fingerprint(public_bytes(KEY)) == authority.approved()["BJCH"]
    assert not read.extensions.get_extension_for_class(x509.BasicConstraints).value.ca


def test_a_fingerprint_may_be_written_in_groups(authority):
    spaced = " ".join(OWN[i : i + 4] for i in range(0, 64, 4)).upper()
    assert authority.approve(make_request("BJCH", KEY), spaced)[0] == "BJCH"


@pytest.mark.parametrize(
    "stated",
    ["", OWN[:63], OWN[:8], fingerprint(public_bytes(OTHER))],
    ids=["none", "cut by one", "the beginning", "another key's"],
)
def test_another_fingerprint_than_the_one_read_out(authority, stated):
    with pytest.raises(NotApproved, match="telephone"):
        authority.approve(make_request("BJCH", KEY), stated)
    assert authority.approved() == {}


def test_a_second_key_for_a_hospital_and_a_second_hospital_for_a_key(authority):
    authority.approve(make_request("BJCH", KEY), OWN)
    authority.approve(make_request("BJCH", KEY), OWN)
    with pytest.raises(NotApproved, match="BJCH"):
        authority.approve(make_request("BJCH", OTHER), fingerprint(public_bytes(OTHER)))
    with pytest.raises(NotApproved, match="BJCH"):
        authority.approve(make_request("GZSM", KEY), OWN)
    assert list(authority.approved()) == ["BJCH"]


@pytest.mark.parametrize("name", ["coordinator", "operator@coordinator", "../BJCH", "bjch"])
def test_names_that_are_no_hospitals_code(authority, name):
    """The operator's name would let a hospital submit jobs, the coordinator's be taken for it."""
    with pytest.raises(NotApproved, match="code"):
        authority.approve(a_request(name, KEY), OWN)


def test_a_request_cannot_bring_a_role(authority):
    builder = x509.CertificateSigningRequestBuilder().subject_name(
        _name("BJCH", "coordinator", "lead")
    )
    asked = builder.sign(KEY, SHA256()).public_bytes(Encoding.PEM)
    _, certificate = authority.approve(asked, OWN)
    subject = x509.load_pem_x509_certificate(certificate).subject.rfc4514_string()
    assert "lead" not in subject
    assert "coordinator" not in subject


def test_requests_that_are_none(authority):
    weak = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    curve = ed25519.Ed25519PrivateKey.generate()
    swapped = make_request("BJCH", KEY).replace(b"A", b"B", 40)
    for data in (b"", swapped, a_request("BJCH", weak), a_request("BJCH", curve, None)):
        with pytest.raises(NotApproved):
            authority.approve(data, OWN)


def test_the_private_key_is_the_owners_alone_and_is_never_replaced(tmp_path):
    key = make_key(tmp_path / "hospital.key")
    assert stat.S_IMODE((tmp_path / "hospital.key").stat().st_mode) == 0o600
    with pytest.raises(FileExistsError):
        make_key(tmp_path / "hospital.key")
    assert public_bytes(read_key(tmp_path / "hospital.key")) == public_bytes(key)
    (tmp_path / "hospital.key").write_text("nothing")
    with pytest.raises(NotApproved, match=r"hospital\.key"):
        read_key(tmp_path / "hospital.key")


def a_hospital(folder, authority, code="BJCH"):
    places = Places(folder)
    places.make()
    key = make_key(places.key)
    _, certificate = authority.approve(make_request(code, key), fingerprint(public_bytes(key)))
    return places, invite(authority, certificate, ADDRESS)


def test_an_invitation_survives_its_way_and_holds_no_secret(tmp_path, authority):
    _, invitation = a_hospital(tmp_path / "a", authority)
    assert Invitation.from_bytes(invitation.to_bytes()) == invitation
    assert b"PRIVATE" not in invitation.to_bytes()
    for broken in (b"", b"[]", b"{}", invitation.to_bytes()[:-9], b"[" * 9000):
        with pytest.raises(NotApproved):
            Invitation.from_bytes(broken)


def test_a_hospital_takes_no_certificate_for_another_key_or_by_another_authority(
    tmp_path, authority
):
    places, own = a_hospital(tmp_path / "a", authority)
    _, others = a_hospital(tmp_path / "b", authority, "GZSM")
    foreign = Authority(tmp_path / "foreign").make()
    mixed = Invitation(own.certificate, foreign.certificate.decode(), ADDRESS)
    for wrong in (others, mixed):
        with pytest.raises(NotApproved):
            write_hospital(places, wrong, "BJCH")
    with pytest.raises(NotApproved, match="GZSM"):
        write_hospital(places, own, "GZSM")
    assert not places.workspace.exists()


@pytest.fixture
def kits(tmp_path, authority):
    hospital, invitation = a_hospital(tmp_path / "BJCH", authority)
    coordinator = Places(tmp_path)
    return write_hospital(hospital, invitation, "BJCH"), write_coordinator(coordinator, ADDRESS)


def test_everything_in_a_kit_is_the_owners_alone(kits):
    for kit in kits:
        for path in (kit, *kit.rglob("*")):
            assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600)


def test_what_nvflare_leaves_open_is_closed(kits):
    hospital, coordinator = kits
    for kit in kits:
        policy = json.loads((kit / "local" / "authorization.json").read_text())["permissions"]
        assert list(policy) == ["lead"]
        for right in ("byoc", "shell_commands", "operate", "download_job", "clone_job"):
            assert policy["lead"][right] == "none"
        resources = json.loads((kit / "local" / "resources.json").read_text())
        assert resources["class_list_enforcement_mode"] == "enforce"
        assert "*" not in resources["class_allow_list"]
        assert "StreamLog" not in json.dumps(resources)
        inner = json.loads((kit / "local" / "comm_config.json").read_text())
        assert inner["internal"]["resources"]["connection_security"] == "mtls"
    at_hospital = json.loads((hospital / "local" / "resources.json").read_text())
    assert at_hospital["allow_log_streaming"] is False
    assert "streamer" not in json.dumps(at_hospital)
    startup = json.loads((hospital / "startup" / "fed_client.json").read_text())
    assert startup["require_signed_jobs"] is True
    assert startup["client"]["connection_security"] == "mtls"
    assert "/tmp/nvflare" not in (coordinator / "local" / "resources.json").read_text()


def test_a_kit_has_no_key_of_another_party(tmp_path, kits):
    hospital, coordinator = kits
    own = (tmp_path / "BJCH" / "hospital.key").read_bytes()
    found = {path: path.read_bytes() for path in tmp_path.rglob("*.key")}
    assert {p for p, content in found.items() if content == own} == {
        tmp_path / "BJCH" / "hospital.key",
        hospital / "startup" / "client.key",
        hospital / "startup" / "server.key",
    }
    assert own not in {p.read_bytes() for p in coordinator.rglob("*.key")}

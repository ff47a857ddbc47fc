"""Keys and certificates of a federation: the private key of each party is made where it stays.

1. A hospital makes a key and a request for a certificate. 2. It reads the fingerprint of the key
out by telephone. 3. The coordinator issues a certificate for the request whose fingerprint it is.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dagster_project.federated.engine.places import write_closed
from dagster_project.federated.identities import fingerprint, public_bytes
from dagster_project.federated.refusals import NotApproved
from dagster_project.protocol import SITE_PATTERN

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    from cryptography.x509 import CertificateSigningRequest, KeyUsage, Name

RSA_BITS = 3072
"""128 bits of security (NIST SP 800-57); the engine's own messages are signed by RSA alone."""

VALID_DAYS = 730
AUTHORITY_DAYS = 3650
COORDINATOR = "coordinator"
"""Name in the coordinator's certificate, to which hospitals hold it."""

LOCALHOST = "localhost"
"""In certificates because the processes of one party talk over loopback, by mTLS as well."""

OPERATOR = "operator@coordinator"
ROLE = "lead"
"""The engine's name of who submits jobs; hospitals allow it that alone (`kits.HOSPITAL_RIGHTS`)."""


def make_key(file: Path) -> RSAPrivateKey:
    """A new private key in a file that its owner alone reads.

    Raises
    ------
    FileExistsError
        Where there is one: what was certified and pinned would be lost.
    """
    from cryptography.hazmat.primitives.asymmetric import rsa
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    key = rsa.generate_private_key(public_exponent=65537, key_size=RSA_BITS)
    descriptor = os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    with os.fdopen(descriptor, "wb") as opened:
        opened.write(
            key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
        )
    return key


def read_key(file: Path) -> RSAPrivateKey:
    """A private key that `make_key` has written.

    Raises
    ------
    NotApproved
    """
    from cryptography.hazmat.primitives.asymmetric import rsa
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(file.read_bytes(), password=None)
    except (OSError, ValueError, TypeError):
        key = None
    if not isinstance(key, rsa.RSAPrivateKey):
        raise NotApproved(
            f"{file.name} is missing or holds no private key; make one with "
            "`lakehouse federated request`, or restore it from the newest backup",
            f"{file.name} 缺失或不含私钥；请用 `lakehouse federated request` 生成，"
            "或从最新备份恢复",
        )
    return key


def make_request(hospital: str, key: RSAPrivateKey) -> bytes:
    """A request for a hospital's certificate, as PEM."""
    from cryptography import x509
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.serialization import Encoding

    builder = x509.CertificateSigningRequestBuilder().subject_name(_name(hospital, hospital))
    return builder.sign(key, SHA256()).public_bytes(Encoding.PEM)


class Authority:
    """The coordinator's certificate authority; it certifies who connects, and no more.

    What hospitals compute with each other is held to fingerprints that they pin themselves.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def certificate(self) -> bytes:
        """Its own certificate, as PEM.

        Raises
        ------
        NotApproved
            Where there is no authority yet.
        """
        try:
            return (self._folder / "authority.crt").read_bytes()
        except FileNotFoundError:
            raise NotApproved(
                "this home has no certificate authority; begin with `lakehouse federated approve`",
                "本目录尚无证书机构；请先运行 `lakehouse federated approve`",
            ) from None

    def make(self) -> Authority:
        """Make the authority's key and certificate where they are missing."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not (self._folder / "authority.crt").exists():
            (self._folder / "authority.key").unlink(missing_ok=True)
            key = make_key(self._folder / "authority.key")
            name = _name("lakehouse federation", None)
            signed = _certificate(name, key.public_key(), name, key, AUTHORITY_DAYS, authority=True)
            write_closed(self._folder / "authority.crt", signed)
        return self

    def approve(self, request: bytes, stated: str) -> tuple[str, bytes]:
        """A hospital's certificate for its request.

        1. The request is signed by its own key, RSA of enough bits.
        2. Its key has the fingerprint that the hospital has read out.
        3. It is for a hospital's code, to which no other key is certified here.

        Returns
        -------
        tuple
            The hospital's code, and the certificate as PEM.

        Raises
        ------
        NotApproved
        """
        read = _read_request(request)
        hospital = _hospital_of(read)
        found = fingerprint(_public(read.public_key()))
        if re.sub(r"[\s:]", "", stated).lower() != found:
            raise NotApproved(
                f"the key in the request of {hospital} is not the one with this fingerprint; ask "
                "the hospital by telephone to read it out again, and certify nothing until they "
                "agree",
                f"{hospital} 请求中的密钥与该指纹不符；请致电该院重新核对，一致前不要签发证书",
            )
        self._hold(hospital, found)
        signed = self.certify(read.public_key(), hospital, hospital, hosts=(LOCALHOST,))
        write_closed(self._folder / f"{hospital}.crt", signed)
        return hospital, signed

    def certify(
        self, public: Any, name: str, organisation: str, role: str = "", hosts: tuple[str, ...] = ()
    ) -> bytes:
        """A certificate for a key, as PEM."""
        from cryptography import x509

        issuer = x509.load_pem_x509_certificate(self.certificate).subject
        key = read_key(self._folder / "authority.key")
        subject = _name(name, organisation, role)
        return _certificate(subject, public, issuer, key, VALID_DAYS, hosts=(name, *hosts))

    def approved(self) -> dict[str, str]:
        """Fingerprints of the hospitals that have a certificate, by code."""
        from cryptography import x509

        found = {}
        for file in sorted(self._folder.glob("*.crt")):
            if re.fullmatch(SITE_PATTERN, file.stem):
                key = x509.load_pem_x509_certificate(file.read_bytes()).public_key()
                found[file.stem] = fingerprint(_public(key))
        return found

    def _hold(self, hospital: str, found: str) -> None:
        for other, known in self.approved().items():
            if (other == hospital) != (known == found):
                raise NotApproved(
                    f"{other} has a certificate for another key, or {hospital} has asked with the "
                    f"key of {other}; take away {other}.crt of the authority only after the "
                    "hospital has confirmed by telephone that its key is a new one",
                    f"{other} 已有其他密钥的证书，或 {hospital} 使用了 {other} 的密钥；"
                    f"经医院电话确认更换密钥后，方可移除证书机构中的 {other}.crt",
                )


def _name(common: str, organisation: str | None, role: str = "") -> Name:
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    parts = [(NameOID.COMMON_NAME, common), (NameOID.ORGANIZATION_NAME, organisation)]
    parts.append((NameOID.UNSTRUCTURED_NAME, role or None))
    return x509.Name([x509.NameAttribute(oid, value) for oid, value in parts if value])


def _certificate(
    subject: Name,
    public: Any,
    issuer: Name,
    key: RSAPrivateKey,
    days: int,
    *,
    authority: bool = False,
    hosts: tuple[str, ...] = (),
) -> bytes:
    from cryptography import x509
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.serialization import Encoding

    now = dt.datetime.now(dt.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=days))
        .add_extension(x509.BasicConstraints(authority, 0 if authority else None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False
        )
    )
    if authority:
        builder = builder.add_extension(_usage_of_authority(), critical=True)
    if hosts:
        names = x509.SubjectAlternativeName([_host(host) for host in hosts])
        builder = builder.add_extension(names, critical=False)
    return builder.sign(key, SHA256()).public_bytes(Encoding.PEM)


def _usage_of_authority() -> KeyUsage:
    from cryptography.x509 import KeyUsage

    return KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )


def _host(host: str) -> Any:
    from cryptography import x509

    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _read_request(data: bytes) -> CertificateSigningRequest:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import rsa

    try:
        read = x509.load_pem_x509_csr(data)
        public = read.public_key()
        sound = isinstance(public, rsa.RSAPublicKey) and public.key_size >= RSA_BITS
    except ValueError:
        sound = False
    if not sound or not read.is_signature_valid:
        raise NotApproved(
            "the file is no request of `lakehouse federated request`, or was changed on its way; "
            "have the hospital send it again",
            "该文件不是 `lakehouse federated request` 生成的请求，或在传输中被更改；请医院重新发送",
        )
    return read


def _hospital_of(request: CertificateSigningRequest) -> str:
    from cryptography.x509.oid import NameOID

    names = [n.value for n in request.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    if len(names) != 1 or re.fullmatch(SITE_PATTERN, str(names[0])) is None:
        raise NotApproved(
            "the request is not for a hospital's code; have the hospital make it anew",
            "该请求的名称不是医院代码；请医院重新生成",
        )
    return str(names[0])


def hold_certificate(certificate: bytes, authority: bytes, key: RSAPrivateKey) -> str:
    """The hospital's code in its certificate.

    Raises
    ------
    NotApproved
        Where the certificate is not by the authority, or not for the key of this home.
    """
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature
    from cryptography.x509.oid import NameOID

    try:
        own = x509.load_pem_x509_certificate(certificate)
        own.verify_directly_issued_by(x509.load_pem_x509_certificate(authority))
        sound = _public(own.public_key()) == public_bytes(key)
        name = str(own.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)
    except (ValueError, TypeError, IndexError, InvalidSignature):
        sound = False
    if not sound:
        raise NotApproved(
            "the certificate is not for the key of this home, or not by the authority beside it; "
            "have the coordinator approve this home's own request",
            "该证书不属于本目录的密钥，或不是由随附证书机构签发；请协调方批准本目录的请求",
        )
    return name


def _public(key: Any) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

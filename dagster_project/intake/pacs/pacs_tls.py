"""Certificates of a connection with a PACS, checked by setting before they are used."""

from __future__ import annotations

import datetime as dt
import socket
import ssl
from dataclasses import dataclass
from pathlib import Path

from dagster_project.intake.pacs.pacs_faults import PacsError, connection_fault

NOT_GREETED = (
    "it ends the connection in the TLS handshake; does it speak TLS on this port, and know our "
    "certificate?"
)

SECONDS_TO_PROBE = 5.0
"""How long the search for the cause of a failed connection may take at each step."""


@dataclass(frozen=True)
class Tls:
    """Who we are, and whose certificates the other side's must be signed with.

    `name` is the name in the peer's certificate where that is not the host's.
    """

    certificate: str
    key: str
    ca: str
    name: str = ""

    def context(self, *, server: bool) -> ssl.SSLContext:
        """Both sides show a certificate (BCP 195 profile of PS3.15: TLS 1.2 at least).

        Raises
        ------
        PacsError
            Where a file is missing, is not PEM, does not belong to the others or has expired.
        """
        made = _trusting(self.ca, server=server)
        _show(made, self.certificate, self.key)
        made.minimum_version = ssl.TLSVersion.TLSv1_2
        made.verify_mode = ssl.CERT_REQUIRED
        return made


def check_readable(setting: str, path: str) -> None:
    """Refuse a file of the settings that is not there.

    Raises
    ------
    PacsError
        Naming the setting, not the file.
    """
    try:
        with Path(path).open("rb") as file:
            file.read(1)
    except OSError as error:
        fault = (error.strerror or "").lower()
        raise PacsError(
            f"{setting} of pacs.toml cannot be read ({fault}); check its path and permissions"
        ) from None


def check_ca(setting: str, path: str) -> None:
    """Refuse a file that holds no certificate authority.

    Raises
    ------
    PacsError
        Where it cannot be read, or holds none.
    """
    check_readable(setting, path)
    try:
        ssl.create_default_context(cafile=path)
    except ssl.SSLError:
        raise PacsError(f"{setting} of pacs.toml holds no certificate in PEM form") from None


def _trusting(ca: str, *, server: bool) -> ssl.SSLContext:
    check_ca("tls.ca", ca)
    purpose = ssl.Purpose.CLIENT_AUTH if server else ssl.Purpose.SERVER_AUTH
    return ssl.create_default_context(purpose, cafile=ca)


def _show(context: ssl.SSLContext, certificate: str, key: str) -> None:
    check_readable("tls.certificate", certificate)
    check_readable("tls.key", key)
    try:
        context.load_cert_chain(certificate, key, password=lambda: "")  # else it asks the terminal
    except ssl.SSLError as error:
        mismatch = "MISMATCH" in str(error.reason)
        raise PacsError(
            "tls.key of pacs.toml does not belong to tls.certificate"
            if mismatch
            else "tls.certificate or tls.key of pacs.toml is not in PEM form, or the key has a "
            "passphrase; take that off, and let nobody else read the file"
        ) from None
    _check_dates(certificate)


def _check_dates(certificate: str) -> None:
    from cryptography import x509

    shown = x509.load_pem_x509_certificate(Path(certificate).read_bytes())
    now = dt.datetime.now(dt.UTC)
    if shown.not_valid_after_utc < now:
        raise PacsError("tls.certificate of pacs.toml has expired; renew it")
    if shown.not_valid_before_utc > now:
        raise PacsError("tls.certificate of pacs.toml is not valid yet; compare the clocks")


def fault_of_connection(host: str, port: int, tls: Tls | None) -> str:
    """Try a connection by itself and say why it fails; empty where it does not.

    A server that wants a certificate of TLS 1.3 says so after the handshake, at the first read.
    """
    context = tls.context(server=False) if tls else None
    name = tls.name or host if tls else ""
    try:
        with socket.create_connection((host, port), SECONDS_TO_PROBE) as plain:
            if context is None:
                return ""
            return _fault_of_greeting(context, plain, name)
    except OSError as error:
        return connection_fault(error)


def _fault_of_greeting(context: ssl.SSLContext, plain: socket.socket, name: str) -> str:
    try:
        with context.wrap_socket(plain, server_hostname=name) as greeted:
            greeted.settimeout(0.5)
            return _silent(greeted)
    except (ConnectionError, ssl.SSLEOFError):
        return NOT_GREETED


def _silent(greeted: ssl.SSLSocket) -> str:
    try:
        greeted.recv(1)
    except TimeoutError:
        return ""
    return ""

"""How a site's PACS is reached and what is let in, as data: `pacs.toml` in the home folder, one section a site."""

from __future__ import annotations

import ssl
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

MEBIBYTE = 2**20

METHODS = ("move", "get", "dicomweb")


class PacsError(Exception):
    """A PACS cannot be spoken with as the settings say; the message names the setting, never a patient."""


@dataclass(frozen=True)
class Tls:
    """Certificates of a connection: who we are, and whose certificates the other side's must be signed with."""

    certificate: str
    key: str
    ca: str

    def context(self, *, server: bool) -> ssl.SSLContext:
        """Both sides show a certificate (BCP 195 profile of PS3.15: TLS 1.2 at least)."""
        try:
            made = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH if server else ssl.Purpose.SERVER_AUTH, cafile=self.ca)
            made.load_cert_chain(self.certificate, self.key)
        except OSError as error:
            raise PacsError(f"a certificate of pacs.toml cannot be read ({type(error).__name__}); check tls") from error
        made.minimum_version = ssl.TLSVersion.TLSv1_2
        made.verify_mode = ssl.CERT_REQUIRED
        return made


@dataclass(frozen=True)
class Listening:
    """Our side: name and address, who may call, and how much of what for how long."""

    ae_title: str = "LAKEHOUSE"
    host: str = "127.0.0.1"
    port: int = 11112
    callers: tuple[str, ...] = ()
    largest_object_mib: int = 512
    seconds: float = 60.0
    associations: int = 4
    quiet_seconds: float = 10.0
    tls: Tls | None = None

    @property
    def largest_object(self) -> int:
        """In bytes."""
        return self.largest_object_mib * MEBIBYTE


@dataclass(frozen=True)
class Peer:
    """The site's PACS: by DICOM messages (`move`, `get`) or by DICOMweb."""

    method: str = "move"
    ae_title: str = ""
    host: str = "127.0.0.1"
    port: int = 104
    tls: Tls | None = None
    url: str = ""
    user: str = ""
    password_file: str = ""
    ca: str = ""


@dataclass(frozen=True)
class SitePacs:
    """One site's section."""

    listen: Listening = field(default_factory=Listening)
    peer: Peer = field(default_factory=Peer)


def read_settings(path: Path, site: str) -> SitePacs:
    """The section of a site; what it does not name has its default.

    Raises
    ------
    PacsError
        Where the file is not TOML, a setting is unknown, or one that is needed is missing.
    """
    try:
        section = tomllib.loads(path.read_text(encoding="utf-8")).get(site) if path.is_file() else None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise PacsError("pacs.toml is not TOML; docs/operations.md has an example") from error
    if section is None:
        raise PacsError(f"pacs.toml has no section [{site}]; write one (docs/operations.md has an example)")
    return SitePacs(_listening(section.get("listen", {}), site), _peer(section.get("peer", {}), site))


def _listening(section: Mapping[str, Any], site: str) -> Listening:
    made = Listening(**_known(Listening, section, f"{site}.listen"))
    if not made.callers:
        raise PacsError(f"[{site}.listen] names no callers: list the AE titles that may send")
    return made


def _peer(section: Mapping[str, Any], site: str) -> Peer:
    made = Peer(**_known(Peer, section, f"{site}.peer"))
    if made.method not in METHODS:
        raise PacsError(f"[{site}.peer] method is one of {', '.join(METHODS)}")
    return made


def _known(kind: type, section: Mapping[str, Any], where: str) -> dict[str, Any]:
    names = {f.name for f in fields(kind)}
    strange = sorted(section.keys() - names)
    if strange:
        raise PacsError(f"[{where}] has unknown settings ({', '.join(strange)}); known are {', '.join(sorted(names))}")
    values: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in section.items()}
    if "tls" in values:
        try:
            values["tls"] = Tls(**values["tls"])
        except TypeError as error:
            raise PacsError(f"[{where}] tls needs certificate, key and ca") from error
    return values

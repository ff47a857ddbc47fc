"""Settings of the connection to a site's PACS, and of what is let in.

They are read from `pacs.toml` in the home folder, one section per site.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from dagster_project.intake.pacs.pacs_faults import PacsError
from dagster_project.intake.pacs.pacs_tls import Tls

MEBIBYTE = 2**20

METHODS = ("move", "get", "dicomweb")

SEND_METHODS = ("store", "stow")

FILE_SETTINGS = ("certificate", "key", "ca", "password_file")
"""Settings that name a file: a relative path starts at the folder of pacs.toml."""

MOST_DIGITS = 64
"""A PatientID (VR LO) has no more characters."""


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
class Remote:
    """A PACS that we call: by DICOM messages at an AE title, or by DICOMweb at `url`."""

    method: str = ""
    ae_title: str = ""
    host: str = "127.0.0.1"
    port: int = 104
    tls: Tls | None = None
    url: str = ""
    user: str = ""
    password_file: str = ""
    ca: str = ""


@dataclass(frozen=True)
class Peer(Remote):
    """The site's PACS: by DICOM messages (`move`, `get`) or by DICOMweb.

    `number_digits`: to how many digits the PACS fills a number of digits alone with zeros in front.
    """

    method: str = "move"
    number_digits: tuple[int, ...] = ()


@dataclass(frozen=True)
class Destination(Remote):
    """Where results are sent: by C-STORE (`store`) as `ours`, or by STOW-RS (`stow`) to `url`."""

    method: str = "store"
    ours: str = "LAKEHOUSE"
    seconds: float = 60.0


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
    section, at = _section(path, site), path.parent
    return SitePacs(
        _listening(section.get("listen", {}), site, at), _peer(section.get("peer", {}), site, at)
    )


def read_destination(path: Path, site: str, name: str) -> Destination:
    """The peer `[SITE.send.NAME]` to which results are sent.

    Raises
    ------
    PacsError
        As `read_settings`, or where there is no such peer.
    """
    known = _section(path, site).get("send", {})
    where = f"{site}.send.{name}"
    if name not in known:
        raise PacsError(
            f"pacs.toml has no section [{where}]; its peers to send to are "
            f"{', '.join(sorted(known)) or 'none'} (docs/pacs.md has an example). "
            f"pacs.toml 中没有 [{where}]，示例见 docs/pacs.md"
        )
    made = Destination(**_known(Destination, known[name], where, path.parent))
    if made.method not in SEND_METHODS:
        raise PacsError(f"[{where}] method is one of {', '.join(SEND_METHODS)}")
    needed = "ae_title" if made.method == "store" else "url"
    if not getattr(made, needed):
        raise PacsError(f"[{where}] {needed} is missing, which method {made.method} needs")
    return made


def _section(path: Path, site: str) -> Mapping[str, Any]:
    try:
        section = (
            tomllib.loads(path.read_text(encoding="utf-8")).get(site) if path.is_file() else None
        )
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise PacsError("pacs.toml is not TOML; docs/operations.md has an example") from error
    if section is None:
        raise PacsError(
            f"pacs.toml has no section [{site}]; write one (docs/operations.md has an example)"
        )
    return section


def _listening(section: Mapping[str, Any], site: str, folder: Path) -> Listening:
    made = Listening(**_known(Listening, section, f"{site}.listen", folder))
    if not made.callers:
        raise PacsError(f"[{site}.listen] names no callers: list the AE titles that may send")
    return made


def _peer(section: Mapping[str, Any], site: str, folder: Path) -> Peer:
    made = Peer(**_known(Peer, section, f"{site}.peer", folder))
    if made.method not in METHODS:
        raise PacsError(f"[{site}.peer] method is one of {', '.join(METHODS)}")
    if not all(type(n) is int and 0 < n <= MOST_DIGITS for n in made.number_digits):
        raise PacsError(f"[{site}.peer] number_digits lists numbers of digits, as [8]")
    return made


def _known(kind: type, section: Mapping[str, Any], where: str, folder: Path) -> dict[str, Any]:
    defaults = {f.name: f.default for f in fields(kind)}
    strange = sorted(section.keys() - defaults.keys())
    if strange:
        known = ", ".join(sorted(defaults))
        raise PacsError(f"[{where}] has unknown settings ({', '.join(strange)}); known are {known}")
    for name, value in section.items():
        _check_kind(where, name, value, defaults[name])
    values: dict[str, Any] = {
        name: tuple(v) if isinstance(v, list) else v
        for name, v in _located(section, folder).items()
    }
    if "tls" in values:
        values["tls"] = _tls(section["tls"], where, folder)
    return values


def _check_kind(where: str, name: str, value: object, default: object) -> None:
    """Text, number, list or table, as the default is."""
    kinds: dict[type, tuple[tuple[type, ...], str]] = {
        str: ((str,), "a text"),
        int: ((int,), "a whole number"),
        float: ((int, float), "a number"),
        tuple: ((list,), "a list"),
        type(None): ((dict,), "a table"),
    }
    right, called = kinds[type(default)]
    if not isinstance(value, right) or isinstance(value, bool):
        raise PacsError(f"[{where}] {name} is {called}")


def _tls(section: Mapping[str, Any], where: str, folder: Path) -> Tls:
    try:
        return Tls(**_located(section, folder))
    except TypeError as error:
        raise PacsError(
            f"[{where}] tls needs certificate, key and ca, and may have name"
        ) from error


def _located(section: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    return {
        name: str(folder / value) if name in FILE_SETTINGS and value else value
        for name, value in section.items()
    }

"""The fingerprints of the hospitals' keys, as this hospital has checked them itself.

Who certifies keys could certify another one for a hospital's name; what is pinned here could not.
"""

from __future__ import annotations

import os
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dagster_project.federated.identities import fingerprint
from dagster_project.federated.key_agreement import Run
from dagster_project.federated.plans import Plan
from dagster_project.federated.refusals import (
    NotAFingerprint,
    NotPinned,
    PinnedOtherwise,
    PinsUnreadable,
    UnreadableKey,
)
from dagster_project.lake.durable import sync_file, sync_folder
from dagster_project.protocol import SITE_PATTERN

FILE = "hospitals.toml"
LARGEST_KEY_FILE = 2**16


@dataclass(frozen=True)
class Pins:
    """Fingerprints by hospital, in a file of the home that its owner alone reads."""

    folder: Path

    @property
    def file(self) -> Path:
        """Where they are."""
        return self.folder / FILE

    def read(self) -> dict[str, str]:
        """Fingerprints by hospital's code, in order; none where there is no file.

        Raises
        ------
        PinsUnreadable
            Where the file was edited into something else: nobody is taken for pinned then.
        """
        try:
            text = self.file.read_text(encoding="utf-8")
        except FileNotFoundError:
            return {}
        except UnicodeDecodeError:
            raise PinsUnreadable(FILE) from None
        try:
            content = tomllib.loads(text)
        except tomllib.TOMLDecodeError:
            raise PinsUnreadable(FILE) from None
        pins = content.get("hospitals")
        if content.keys() != {"hospitals"} or not isinstance(pins, dict) or not _sound(pins):
            raise PinsUnreadable(FILE)
        return dict(sorted(pins.items()))

    def pin(self, hospital: str, stated: str, *, again: bool = False) -> str:
        """Pin a hospital's key.

        Parameters
        ----------
        hospital
            Its code.
        stated
            The fingerprint, in 64 hexadecimal digits of either case; spaces and colons between
            them do not count.
        again
            Whether a hospital that is pinned with another key may be pinned anew.

        Returns
        -------
        str
            The fingerprint as it is kept.

        Raises
        ------
        NotAFingerprint
            Where code or fingerprint have another form.
        PinnedOtherwise
            Where the hospital is pinned with another key, or the key to another hospital.
        """
        kept = re.sub(r"[\s:]", "", stated).lower()
        pins = self.read()
        if not _sound({hospital: kept}):
            raise NotAFingerprint
        if pins.get(hospital, kept) != kept and not again:
            raise PinnedOtherwise(hospital)
        for other, known in pins.items():
            if known == kept and other != hospital:
                raise PinnedOtherwise(other)
        self._write({**pins, hospital: kept})
        return kept

    def run(self, plan: Plan, name: str) -> Run:
        """A run of a plan with the fingerprints that are pinned here.

        Raises
        ------
        NotPinned
            Names the hospitals of the plan that are not.
        """
        pins, hospitals = self.read(), plan.plan.hospitals
        missing = [code for code in hospitals if code not in pins]
        if missing:
            raise NotPinned(missing)
        return Run(name, plan.digest, tuple((code, pins[code]) for code in hospitals))

    def _write(self, pins: dict[str, str]) -> None:
        lines = [f'{code} = "{kept}"' for code, kept in sorted(pins.items())]
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.folder.chmod(0o700)
        fresh = self.file.with_suffix(".new")
        descriptor = os.open(fresh, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write("[hospitals]\n" + "\n".join(lines) + "\n")
        sync_file(fresh)
        fresh.replace(self.file)
        sync_folder(self.folder)


def _sound(pins: dict[str, object]) -> bool:
    return all(
        re.fullmatch(SITE_PATTERN, code)
        and isinstance(kept, str)
        and re.fullmatch(r"[0-9a-f]{64}", kept)
        for code, kept in pins.items()
    )


def fingerprint_of(file: Path) -> str:
    """Fingerprint of the key in a certificate, a request for one, or a public key, as PEM.

    Raises
    ------
    UnreadableKey
        Where the file holds none of them; a private key is not read.
    """
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    key = _public_key(file)
    return fingerprint(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


def _public_key(file: Path) -> Any:
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        with file.open("rb") as opened:
            data = opened.read(LARGEST_KEY_FILE)
        if b"BEGIN CERTIFICATE REQUEST" in data:
            return x509.load_pem_x509_csr(data).public_key()
        if b"BEGIN CERTIFICATE" in data:
            return x509.load_pem_x509_certificate(data).public_key()
        return load_pem_public_key(data)
    except (OSError, ValueError):
        raise UnreadableKey from None

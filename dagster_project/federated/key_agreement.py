"""Keys between each two hospitals of a run, which the coordinator that carries them cannot know.

1. Each hospital draws an X25519 key for the run and signs it with the key of its certificate.
2. Each holds the signing keys to the fingerprints that are pinned at the hospital itself.
3. HKDF makes a key for each pair and purpose; the digest of the run and of all announcements is
   part of it, so that hospitals that were shown different ones have no key in common.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dagster_project.federated.identities import fingerprint, public_bytes, sign, verify
from dagster_project.federated.refusals import (
    ForgedMessage,
    HospitalMissing,
    HospitalTwice,
    NoHospitalCode,
    SameKeyTwice,
    SubstitutedKey,
    TooFewHospitals,
    UnknownHospital,
)
from dagster_project.protocol import SITE_PATTERN

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

    from dagster_project.federated.identities import SigningKey

LEAST_HOSPITALS = 3
"""Of the sum of two, each computes the other's part."""

KEY_BYTES = 32
NONCE_BYTES = 12


@dataclass(frozen=True)
class Run:
    """What the hospitals of a run agree on before anything is computed.

    `name` is drawn for the run, `plan` is the digest of its study plan, and `hospitals` are the
    codes with the fingerprints that are pinned at the hospital which builds this object.
    """

    name: str
    plan: str
    hospitals: tuple[tuple[str, str], ...]

    def __post_init__(self) -> None:
        """Refuse a run that could show a hospital's part, or count one twice."""
        object.__setattr__(self, "hospitals", tuple(sorted(self.hospitals)))
        for position, (code, pinned) in enumerate(self.hospitals):
            _check_form(position, code, pinned)
        if len(self.hospitals) < LEAST_HOSPITALS:
            raise TooFewHospitals(len(self.hospitals), LEAST_HOSPITALS)
        _check_distinct(self.hospitals)

    @property
    def codes(self) -> tuple[str, ...]:
        """The hospitals' codes, in order."""
        return tuple(code for code, _ in self.hospitals)

    @property
    def leader(self) -> str:
        """The hospital that makes the key of the encryption: the first by code."""
        return self.codes[0]

    @property
    def digest(self) -> str:
        """SHA-256 of name, plan and hospitals."""
        content = [self.name, self.plan, list(map(list, self.hospitals))]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()

    def pinned(self, hospital: str) -> str:
        """The fingerprint that is pinned for a hospital.

        Raises
        ------
        UnknownHospital
        """
        found = dict(self.hospitals).get(hospital)
        if found is None:
            raise UnknownHospital(_shown(hospital))
        return found


def _check_form(position: int, code: str, pinned: str) -> None:
    if re.fullmatch(SITE_PATTERN, code) is None:
        raise NoHospitalCode(position, "code")
    if re.fullmatch(r"[0-9a-f]{64}", pinned) is None:
        raise NoHospitalCode(position, "fingerprint")


def _check_distinct(hospitals: Sequence[tuple[str, str]]) -> None:
    codes = Counter(code for code, _ in hospitals)
    if len(codes) < len(hospitals):
        raise HospitalTwice(codes.most_common(1)[0][0])
    key, times = Counter(pinned for _, pinned in hospitals).most_common(1)[0]
    if times > 1:
        raise SameKeyTwice(code for code, pinned in hospitals if pinned == key)


def _shown(code: str) -> str:
    """A code as it may be repeated: what has not its form may be anything."""
    return code if re.fullmatch(SITE_PATTERN, code) else "without a valid code"


@dataclass(frozen=True)
class Announcement:
    """A hospital's key of the run, signed; it may be read by all.

    `exchange` is an X25519 public key (32 bytes), `identity` the SubjectPublicKeyInfo of the
    certificate's key.
    """

    hospital: str
    run: str
    exchange: bytes
    identity: bytes
    signature: bytes

    @property
    def signed(self) -> bytes:
        """What the signature is of."""
        return _announced(self.hospital, self.run, self.exchange)

    def to_bytes(self) -> bytes:
        """As it is sent."""
        content = {
            "hospital": self.hospital,
            "run": self.run,
            "exchange": self.exchange.hex(),
            "identity": self.identity.hex(),
            "signature": self.signature.hex(),
        }
        return json.dumps(content, sort_keys=True).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> Announcement:
        """As it was sent.

        Raises
        ------
        ForgedMessage
            Where it is no announcement.
        """
        try:
            content = json.loads(data)
            keys = [bytes.fromhex(content[n]) for n in ("exchange", "identity", "signature")]
            return cls(str(content["hospital"]), str(content["run"]), *keys)
        except (ValueError, KeyError, TypeError, RecursionError):
            raise ForgedMessage("a hospital", "signed key", "签名密钥") from None


def _announced(hospital: str, run: str, exchange: bytes) -> bytes:
    return json.dumps(["lakehouse federated announcement", hospital, run, exchange.hex()]).encode()


@dataclass(frozen=True)
class Party:
    """A hospital that has entered a run; its secret key is in memory alone, and of this run."""

    run: Run
    announcement: Announcement
    _secret: X25519PrivateKey = field(repr=False)

    @classmethod
    def enter(cls, run: Run, hospital: str, key: SigningKey) -> Party:
        """Draw the hospital's key of the run and sign it.

        Parameters
        ----------
        run
            As this hospital has pinned it.
        hospital
            Its own code.
        key
            The private key of its certificate.

        Raises
        ------
        UnknownHospital
            Where the hospital is not part of the run.
        SubstitutedKey
            Where its own fingerprint is not the one pinned.
        """
        from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

        identity = public_bytes(key)
        if fingerprint(identity) != run.pinned(hospital):
            raise SubstitutedKey(hospital)
        secret = X25519PrivateKey.generate()
        exchange = secret.public_key().public_bytes_raw()
        signature = sign(key, _announced(hospital, run.digest, exchange))
        return cls(run, Announcement(hospital, run.digest, exchange, identity, signature), secret)

    def agree(self, announcements: Sequence[Announcement]) -> Channels:
        """Hold all announcements to what is pinned here, and derive the keys with each hospital.

        1. Each is of a hospital of the run, and of each there is one.
        2. Its identity has the pinned fingerprint. 3. Its signature holds, for this run.
        4. The own one is unchanged. 5. No two hospitals have one key.

        Raises
        ------
        UnknownHospital, HospitalTwice, HospitalMissing, SubstitutedKey, ForgedMessage, SameKeyTwice
        """
        check_attendance(self.run, [a.hospital for a in announcements])
        for announcement in announcements:
            self._check(announcement)
        _check_exchanges(announcements)
        ordered = sorted(announcements, key=lambda a: a.hospital)
        transcript = hashlib.sha256(b"".join(a.to_bytes() for a in ordered)).digest()
        own = self.announcement.hospital
        shared = {a.hospital: self._exchange(a) for a in ordered if a.hospital != own}
        return Channels(self.run, own, transcript, shared)

    def _check(self, announcement: Announcement) -> None:
        hospital = announcement.hospital
        if fingerprint(announcement.identity) != self.run.pinned(hospital):
            raise SubstitutedKey(hospital)
        own = hospital == self.announcement.hospital
        if announcement.run != self.run.digest or (own and announcement != self.announcement):
            raise ForgedMessage(hospital, "signed key", "签名密钥")
        verify(hospital, announcement.identity, announcement.signature, announcement.signed)

    def _exchange(self, announcement: Announcement) -> bytes:
        from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey

        try:
            return self._secret.exchange(X25519PublicKey.from_public_bytes(announcement.exchange))
        except ValueError:
            raise ForgedMessage(announcement.hospital, "signed key", "签名密钥") from None


def check_attendance(run: Run, hospitals: Sequence[str]) -> None:
    """Hold senders to the run: each hospital of it once, and nobody else.

    Raises
    ------
    UnknownHospital, HospitalTwice, HospitalMissing
    """
    for hospital, times in Counter(hospitals).items():
        run.pinned(hospital)
        if times > 1:
            raise HospitalTwice(hospital)
    missing = set(run.codes) - set(hospitals)
    if missing:
        raise HospitalMissing(missing)


def _check_exchanges(announcements: Sequence[Announcement]) -> None:
    by_key: dict[bytes, list[str]] = {}
    for announcement in announcements:
        by_key.setdefault(announcement.exchange, []).append(announcement.hospital)
    for hospitals in by_key.values():
        if len(hospitals) > 1:
            raise SameKeyTwice(hospitals)


@dataclass(frozen=True)
class Channels:
    """A hospital's keys with each other hospital of a run."""

    run: Run
    hospital: str
    transcript: bytes
    _shared: dict[str, bytes] = field(repr=False)

    @property
    def others(self) -> tuple[str, ...]:
        """The other hospitals, in order."""
        return tuple(sorted(self._shared))

    def key(self, other: str, purpose: str) -> bytes:
        """The key of this hospital and another for one purpose: the same at both (32 bytes)."""
        pair = "|".join(sorted((self.hospital, other)))
        return derive_key(self._shared[other], self.transcript, f"{purpose}|{pair}")

    def seal(self, other: str, content: bytes) -> bytes:
        """Encrypt for one other hospital (ChaCha20-Poly1305, RFC 8439)."""
        from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

        nonce = secrets.token_bytes(NONCE_BYTES)
        cipher = ChaCha20Poly1305(self.key(other, "seal"))
        return nonce + cipher.encrypt(nonce, content, self._route(self.hospital, other))

    def unseal(self, other: str, sealed: bytes) -> bytes:
        """What another hospital sealed for this one.

        Raises
        ------
        ForgedMessage
            Where it is not by that hospital, for this one, in this run.
        """
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

        cipher = ChaCha20Poly1305(self.key(other, "seal"))
        route = self._route(other, self.hospital)
        try:
            return cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], route)
        except (InvalidTag, ValueError):
            raise ForgedMessage(other, "sealed key", "密封密钥") from None

    def _route(self, sender: str, receiver: str) -> bytes:
        return json.dumps([self.run.digest, sender, receiver]).encode()


def derive_key(secret: bytes, salt: bytes, purpose: str) -> bytes:
    """HKDF with SHA-256 (RFC 5869): 32 bytes for one purpose."""
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    info = f"lakehouse federated {purpose}".encode()
    return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=salt, info=info).derive(secret)

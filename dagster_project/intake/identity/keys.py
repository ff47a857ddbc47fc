"""The key drive: one folder that the principal investigator keeps offline.

Without it intake neither reads nor links a name.
"""

from __future__ import annotations

import hmac
import secrets
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = "root.age"
IDENTITY = "identity.age"
RECIPIENT = "recipient.txt"
THROWAWAY = "THROWAWAY"
"""Marks a key drive whose root and identity lie unsealed beside the data.

It is for demo and tests, never for patients.
"""

ROOT_BYTES = 32
"""Length of the root, and of what each rotation adds to it."""

SHORTEST_PASSPHRASE = 12


class KeysError(Exception):
    """The key drive cannot be used; the message says what to do and holds no secret."""


@dataclass(frozen=True)
class Keys:
    """Keys of one intake session, in memory only.

    They are picklable, so that worker processes can hold them too.

    `index` blinds hospital numbers, digests and paths; `uid` maps UIDs and labels; `date` gives
    each patient's shift; `recipient` is the public key to which crosswalk rows are sealed; `steps`
    are what rotations added to the index key, oldest first.
    """

    index: bytes = field(repr=False)
    uid: bytes = field(repr=False)
    date: bytes = field(repr=False)
    recipient: str
    version: int = 1
    throwaway: bool = False
    steps: tuple[bytes, ...] = field(default=(), repr=False)

    def digest(self, purpose: str, value: str | bytes, size: int = 16) -> str:
        """Keyed digest of a value.

        The same value gives the same digest, and without the key nothing can be tried against it.
        """
        # the name of a file may be in another encoding (GB18030), which Python hands on as halves
        # of characters
        data = value.encode("utf-8", "surrogateescape") if isinstance(value, str) else value
        return hmac.digest(self.index, purpose.encode() + b"\0" + data, "sha256")[:size].hex()


def create_medium(folder: Path, passphrase: str) -> Path:
    """Make a key drive: a random root, an age identity, and the public recipient.

    Root and identity are each sealed with the passphrase; the recipient is in clear.

    Raises
    ------
    KeysError
        Where the folder already holds a key drive: a second root would cut the link to every
        patient taken in before.
    """
    import pyrage

    _check_new(folder, passphrase)
    return _write_medium(
        folder,
        _sealed(secrets.token_bytes(ROOT_BYTES), pyrage.x25519.Identity.generate(), passphrase),
    )


def _check_new(folder: Path, passphrase: str) -> None:
    _check_empty(folder)
    if len(passphrase) < SHORTEST_PASSPHRASE:
        raise KeysError(
            f"the passphrase has fewer than {SHORTEST_PASSPHRASE} characters; choose a longer one"
        )


def _sealed(root: bytes, identity: Any, passphrase: str) -> dict[str, bytes]:
    import pyrage

    sealed = {
        ROOT: pyrage.passphrase.encrypt(root, passphrase),
        IDENTITY: pyrage.passphrase.encrypt(str(identity).encode(), passphrase),
    }
    return {**sealed, RECIPIENT: str(identity.to_public()).encode()}


def create_throwaway_medium(folder: Path) -> Path:
    """Make a key drive without passphrase, for demo and tests.

    It lies beside what it protects, and every run says so.
    """
    import pyrage

    identity = pyrage.x25519.Identity.generate()
    content = {
        ROOT: secrets.token_bytes(ROOT_BYTES),
        IDENTITY: str(identity).encode(),
        RECIPIENT: str(identity.to_public()).encode(),
        THROWAWAY: b"",
    }
    return _write_medium(folder, content)


def _check_empty(folder: Path) -> None:
    if (folder / ROOT).exists():
        raise KeysError("this folder already holds a key drive; choose an empty folder")


def _write_medium(folder: Path, content: dict[str, bytes]) -> Path:
    _check_empty(folder)
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    for name, data in content.items():
        (folder / name).touch(mode=0o600)
        (folder / name).write_bytes(data)
    return folder


def is_throwaway(folder: Path) -> bool:
    """True where the key drive has no passphrase."""
    return (folder / THROWAWAY).exists()


def unlock(folder: Path, passphrase: str = "") -> Keys:
    """Open the root and derive this session's keys (HKDF-SHA256).

    The identity stays sealed, since intake only seals.

    Raises
    ------
    KeysError
        Where there is no key drive, or the passphrase is not its own.
    """
    root, *steps = _root_and_steps(folder, passphrase)
    recipient = (folder / RECIPIENT).read_text(encoding="ascii").strip()
    return Keys(
        index=_derived(root, b"index"),
        uid=_derived(root, b"uid"),
        date=_derived(root, b"date"),
        recipient=recipient,
        version=1 + len(steps),
        throwaway=is_throwaway(folder),
        steps=tuple(_derived(step, b"index step") for step in steps),
    )


def _root_and_steps(folder: Path, passphrase: str) -> list[bytes]:
    """The root, and the secret that each rotation added to it."""
    whole = _opened(folder, ROOT, passphrase)
    return [whole[start : start + ROOT_BYTES] for start in range(0, len(whole), ROOT_BYTES)]


def rotate_medium(folder: Path, passphrase: str, new_folder: Path, new_passphrase: str) -> Path:
    """Make the next version of a key drive.

    It has a new identity, a new passphrase and one more step of the index; root, UIDs and dates
    stay.

    The crosswalk must be re-sealed and re-indexed with it (`pseudonyms.rotate_crosswalk`); the old
    key drive then opens nothing new.

    Raises
    ------
    KeysError
        Where the old key drive does not open, or the new folder holds a key drive.
    """
    import pyrage

    _check_new(new_folder, new_passphrase)
    whole = b"".join([*_root_and_steps(folder, passphrase), secrets.token_bytes(ROOT_BYTES)])
    identity = pyrage.x25519.Identity.generate()
    return _write_medium(new_folder, _sealed(whole, identity, new_passphrase))


def unlock_identity(folder: Path, passphrase: str = "") -> str:
    """Open the age identity that reads crosswalk rows: only `reidentify` needs it."""
    return _opened(folder, IDENTITY, passphrase).decode("ascii")


def _opened(folder: Path, name: str, passphrase: str) -> bytes:
    if not (folder / name).is_file():
        raise KeysError(
            "no key drive here; put the key drive in place, "
            "or make one with `lakehouse keys create --out KEY_DRIVE`"
        )
    sealed = (folder / name).read_bytes()
    if is_throwaway(folder):
        return sealed
    return _decrypted(sealed, passphrase)


ATTEMPTS, PAUSE_SECONDS = 20, 0.2
"""How often, and how far apart, a busy machine is asked to open a key drive."""


def _decrypted(sealed: bytes, passphrase: str) -> bytes:
    """The content that a passphrase opens.

    At each call age measures this machine's speed for a moment, and refuses work that it then
    thinks too long; so it is called again.
    """
    import pyrage

    for _ in range(ATTEMPTS):
        try:
            return pyrage.passphrase.decrypt(sealed, passphrase)
        except pyrage.DecryptError as error:
            if "Excessive work" not in str(error):
                raise KeysError("the passphrase does not open this key drive; try again") from error
            time.sleep(PAUSE_SECONDS)
    raise KeysError(
        "this machine is too busy or too slow to open the key drive; "
        "try again when it has less to do, or on a faster one"
    )


def _derived(root: bytes, purpose: bytes) -> bytes:
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    return HKDF(algorithm=SHA256(), length=32, salt=None, info=b"lakehouse " + purpose).derive(root)

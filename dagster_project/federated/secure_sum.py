"""The sum of one vector a hospital, of which nobody sees a part: the primitive of all else.

1. Each hospital rounds its vector to fixed point, adds a slot that checks it, and masks both so
   that all masks together are 0.
2. It encrypts the masked vector with a key that the coordinator does not have.
3. The coordinator adds the ciphertexts of all hospitals.
4. Each hospital decrypts the sum, in which the masks have cancelled, and checks it.

The coordinator sees ciphertexts alone. A hospital that opens another's ciphertext sees it masked.
All hospitals but one can compute the last one's part from the sum: only noise limits that.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from dagster_project.federated.ciphertexts import (
    Cipher,
    add_ciphertexts,
    make_key,
    number_of_ciphertexts,
)
from dagster_project.federated.fixed_point import (
    Floats,
    Residues,
    add_residues,
    from_residues,
    to_residues,
)
from dagster_project.federated.key_agreement import (
    KEY_BYTES,
    Channels,
    Run,
    check_attendance,
    derive_key,
)
from dagster_project.federated.masks import check_slot, round_mask
from dagster_project.federated.refusals import FailedCheck, OtherRound, RepeatedRound, WrongLength


@dataclass(frozen=True)
class Part:
    """A hospital's part of a round as the coordinator gets it."""

    hospital: str
    run: str
    number: int
    length: int
    ciphertexts: tuple[bytes, ...] = field(repr=False)

    @property
    def size(self) -> int:
        """Bytes of the ciphertexts."""
        return sum(map(len, self.ciphertexts))


@dataclass(frozen=True)
class Total:
    """The sum of a round as the hospitals get it, still encrypted."""

    run: str
    number: int
    length: int
    ciphertexts: tuple[bytes, ...] = field(repr=False)


@dataclass(frozen=True)
class RunKeys:
    """What one hospital makes for all hospitals of a run and the coordinator never has.

    `check` is for the check slots, `encryption` the key of `ciphertexts`.
    """

    check: bytes = field(repr=False)
    encryption: bytes = field(repr=False)

    @classmethod
    def make(cls) -> RunKeys:
        """Fresh ones.

        Raises
        ------
        ExtraMissing
        """
        return cls(secrets.token_bytes(KEY_BYTES), make_key())

    def seal(self, channels: Channels) -> dict[str, bytes]:
        """Sealed to each other hospital, by its code."""
        content = self.check + self.encryption
        return {other: channels.seal(other, content) for other in channels.others}

    @classmethod
    def unseal(cls, channels: Channels, sealed: bytes) -> RunKeys:
        """As the leading hospital of the run sealed them for this one.

        Raises
        ------
        ForgedMessage
            Where they are not by that hospital.
        """
        content = channels.unseal(channels.run.leader, sealed)
        return cls(content[:KEY_BYTES], content[KEY_BYTES:])


class Masking:
    """A hospital's vectors as residues with check slot and mask, and sums back to values."""

    def __init__(self, channels: Channels, check: bytes) -> None:
        self._channels, self._check = channels, check
        self._last = 0

    @property
    def run(self) -> Run:
        """The run that it is for."""
        return self._channels.run

    @property
    def hospital(self) -> str:
        """Whose vectors."""
        return self._channels.hospital

    def protect(self, values: npt.ArrayLike, number: int, length: int) -> Residues:
        """A vector as residues, with its check slot at the end, masked.

        Parameters
        ----------
        values : float array (length,)
        number
            Of the round: above that of every round before.
        length
            Of the plan.

        Returns
        -------
        uint64 array (length + 1,)

        Raises
        ------
        WrongLength, NotFinite, TooLarge
            Where the vector cannot be summed.
        RepeatedRound
            Where the round's part was made already: a second one would have the same mask.
        """
        vector = np.asarray(values, dtype=np.float64)
        if vector.shape != (length,):
            raise WrongLength(self.hospital, vector.size, length)
        residues = to_residues(vector, len(self.run.codes))
        if number <= self._last:
            raise RepeatedRound(number)
        self._last = number
        checked = np.append(residues, np.uint64(check_slot(residues, self._key(number, length))))
        return add_residues(checked, round_mask(self._channels, number, length + 1))

    def reveal(self, total: Residues, number: int, length: int) -> Floats:
        """Values of a sum over all hospitals.

        Raises
        ------
        FailedCheck
            Where its check slot does not fit.
        """
        values, slot = total[:length], int(total[length])
        wanted = check_slot(values, self._key(number, length), len(self.run.codes))
        if slot != wanted or total[length + 1 :].any():
            raise FailedCheck(number)
        return from_residues(values)

    def _key(self, number: int, length: int) -> bytes:
        salt = bytes.fromhex(self.run.digest)
        return derive_key(self._check, salt, f"check|{number}|{length}")


class Member:
    """A hospital of a run, once it has the run's keys: it sends parts and opens sums."""

    def __init__(self, channels: Channels, keys: RunKeys) -> None:
        """Try the keys.

        Raises
        ------
        ExtraMissing
        UnreadableCiphertext
        """
        self._masking = Masking(channels, keys.check)
        self._cipher = Cipher(keys.encryption)

    def part(self, values: npt.ArrayLike, number: int, length: int) -> Part:
        """The hospital's part of a round.

        Clipping, and the hospital's share of noise, come before (`noise`). The ledger comes before
        too: a part that is sent cannot be taken back.

        Raises
        ------
        WrongLength, NotFinite, TooLarge, RepeatedRound
            As `Masking.protect` does; nothing is to be sent then.
        """
        protected = self._masking.protect(values, number, length)
        run, hospital = self._masking.run.digest, self._masking.hospital
        return Part(hospital, run, number, length, self._cipher.encrypt(protected))

    def open(self, total: Total, number: int, length: int) -> Floats:
        """The sum over all hospitals.

        Parameters
        ----------
        total
            As the coordinator gave it.
        number, length
            Of the round that this hospital has sent its part of.

        Returns
        -------
        float array (length,)

        Raises
        ------
        OtherRound, WrongLength, UnreadableCiphertext, FailedCheck
            Where it is not the sum of all hospitals' parts of this round.
        """
        if (total.run, total.number) != (self._masking.run.digest, number):
            raise OtherRound("the coordinator", total.number, number)
        if total.length != length or len(total.ciphertexts) != number_of_ciphertexts(length + 1):
            raise WrongLength("the coordinator", total.length, length)
        return self._masking.reveal(self._cipher.decrypt(total.ciphertexts), number, length)


def add_parts(run: Run, number: int, length: int, parts: Sequence[Part]) -> Total:
    """What the coordinator does: hold the parts to the round, and add them.

    Raises
    ------
    UnknownHospital, HospitalTwice, HospitalMissing
        Where it is not one part a hospital.
    OtherRound, WrongLength, UnreadableCiphertext
        Where a part is not of this round.
    """
    check_attendance(run, [part.hospital for part in parts])
    for part in parts:
        _check_part(run, number, length, part)
    total = add_ciphertexts([part.ciphertexts for part in parts])
    return Total(run.digest, number, length, total)


def _check_part(run: Run, number: int, length: int, part: Part) -> None:
    if (part.run, part.number) != (run.digest, number):
        raise OtherRound(part.hospital, part.number, number)
    if part.length != length or len(part.ciphertexts) != number_of_ciphertexts(length + 1):
        raise WrongLength(part.hospital, part.length, length)

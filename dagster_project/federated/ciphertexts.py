"""Encryption of residues under which sums can be formed: BFV as TenSEAL has it (SEAL).

The key is symmetric: who has it encrypts and decrypts, and the coordinator, who adds, has none.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, reduce
from typing import Any

import numpy as np

from dagster_project.federated.fixed_point import MODULUS, Residues
from dagster_project.federated.refusals import ExtraMissing, UnreadableCiphertext

SLOTS = 8192
"""Residues that one ciphertext holds: the degree of the polynomials.

With SEAL's own coefficient modulus for it (218 bits) the security is 128 bits.
"""


def make_key() -> bytes:
    """A fresh secret key with its parameters, for all hospitals of one run.

    Raises
    ------
    ExtraMissing
        Where TenSEAL is not installed.
    """
    return _parameters(_new_context(), secret=True)


class Cipher:
    """A hospital's means to encrypt its part and to decrypt the sum."""

    def __init__(self, key: bytes) -> None:
        """Read a key and try it.

        Raises
        ------
        ExtraMissing
        UnreadableCiphertext
            Where it is no secret key, or one of another modulus or size.
        """
        self._context = _read_context(key)
        self._try()

    def encrypt(self, residues: Residues) -> tuple[bytes, ...]:
        """Ciphertexts of `SLOTS` residues each; the last is filled up with 0.

        Parameters
        ----------
        residues : uint64 array (n,)
            Below the modulus.
        """
        filled = np.zeros(SLOTS * number_of_ciphertexts(residues.size), dtype=np.uint64)
        filled[: residues.size] = residues
        return tuple(self._encrypt_block(block) for block in filled.reshape(-1, SLOTS))

    def decrypt(self, ciphertexts: Sequence[bytes]) -> Residues:
        """Residues of all ciphertexts, with those that filled up the last.

        Raises
        ------
        UnreadableCiphertext
        """
        return np.concatenate([self._decrypt_block(block) for block in ciphertexts])

    def _encrypt_block(self, block: Residues) -> bytes:
        return _tenseal().bfv_vector(self._context, block.tolist()).serialize()

    def _decrypt_block(self, data: bytes) -> Residues:
        try:
            plain = _read(self._context, data).decrypt()
        except (ValueError, RuntimeError):
            raise UnreadableCiphertext("a ciphertext", "密文") from None
        return np.mod(np.array(plain, dtype=np.int64), MODULUS).astype(np.uint64)

    def _try(self) -> None:
        """A key of another modulus would give other sums, and no error."""
        largest = np.full(SLOTS, MODULUS - 1, dtype=np.uint64)
        try:
            block = self._encrypt_block(largest)
            doubled = self._decrypt_block(add_ciphertexts([(block,), (block,)])[0])
        except (ValueError, RuntimeError):
            raise UnreadableCiphertext("the key of the encryption", "加密密钥") from None
        if (doubled != MODULUS - 2).any():
            raise UnreadableCiphertext("the key of the encryption", "加密密钥")


def number_of_ciphertexts(n: int) -> int:
    """How many hold n residues."""
    return -(-n // SLOTS)


def add_ciphertexts(parts: Sequence[Sequence[bytes]]) -> tuple[bytes, ...]:
    """Add ciphertexts of several hospitals slot by slot, without any key.

    Parameters
    ----------
    parts
        One sequence a hospital, all of one length.

    Raises
    ------
    ExtraMissing
    UnreadableCiphertext
    """
    return tuple(_add(blocks) for blocks in zip(*parts, strict=True))


def _add(blocks: Sequence[bytes]) -> bytes:
    try:
        vectors = [_read(_keyless_context(), block) for block in blocks]
        return reduce(lambda a, b: a + b, vectors).serialize()
    except (ValueError, RuntimeError) as error:
        if isinstance(error, UnreadableCiphertext):
            raise
        raise UnreadableCiphertext("a ciphertext", "密文") from None


def _read(context: Any, data: bytes) -> Any:
    vector = _tenseal().bfv_vector_from(context, data)
    if vector.size() != SLOTS:
        raise UnreadableCiphertext("a ciphertext", "密文")
    return vector


def _read_context(key: bytes) -> Any:
    tenseal = _tenseal()
    try:
        context = tenseal.context_from(key, n_threads=1)
        usable = context.is_private()
    except (ValueError, RuntimeError):
        usable = False
    if not usable:
        raise UnreadableCiphertext("the key of the encryption", "加密密钥")
    return context


@cache
def _keyless_context() -> Any:
    """The parameters alone."""
    return _tenseal().context_from(_parameters(_new_context(), secret=False), n_threads=1)


def _new_context() -> Any:
    tenseal = _tenseal()
    return tenseal.context(
        tenseal.SCHEME_TYPE.BFV,
        poly_modulus_degree=SLOTS,
        plain_modulus=MODULUS,
        encryption_type=tenseal.ENCRYPTION_TYPE.SYMMETRIC,
        n_threads=1,
    )


def _parameters(context: Any, *, secret: bool) -> bytes:
    return context.serialize(
        save_public_key=False, save_secret_key=secret, save_galois_keys=False, save_relin_keys=False
    )


def _tenseal() -> Any:
    try:
        import tenseal
    except ImportError:
        raise ExtraMissing("tenseal") from None
    return tenseal

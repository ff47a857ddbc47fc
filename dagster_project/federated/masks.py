"""Masks that cancel in the sum over all hospitals, and coefficients that check it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from dagster_project.federated.fixed_point import MODULUS, Residues, add_residues, subtract_residues
from dagster_project.federated.key_agreement import Channels

SPARE = 64
"""Words drawn beyond those needed, so that one draw is nearly always enough."""


def uniform_residues(key: bytes, n: int) -> Residues:
    """Residues drawn from the stream of ChaCha20 (RFC 8439), each as probable as any other.

    Words of as many bits as the prime has are taken from the stream; those not below it are left
    out. A key is for one call.

    Parameters
    ----------
    key
        32 bytes.
    n
        How many.

    Returns
    -------
    uint64 array (n,)
    """
    stream = _stream(key)
    found = np.empty(0, dtype=np.uint64)
    while found.size < n:
        data = stream(8 * (n - found.size + SPARE))
        words = np.frombuffer(data, dtype="<u8") & np.uint64(2 ** MODULUS.bit_length() - 1)
        found = np.concatenate([found, words[words < MODULUS]])
    return found[:n]


def _stream(key: bytes) -> Callable[[int], bytes]:
    from cryptography.hazmat.primitives.ciphers import Cipher
    from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20

    encryptor = Cipher(ChaCha20(key, bytes(16)), mode=None).encryptor()
    return lambda n: encryptor.update(bytes(n))


def round_mask(channels: Channels, number: int, n: int) -> Residues:
    """A hospital's mask of a round: the sum over the other hospitals of plus or minus their own.

    Of each pair the first by code adds and the second subtracts, so that all masks of a round add
    up to 0 modulo the prime, and those of any smaller group are uniform (Bonawitz et al. 2017,
    without their recovery of those that drop out: here such a round has no result).

    Parameters
    ----------
    channels
        Of this hospital.
    number
        Of the round.
    n
        Length of the vector.

    Returns
    -------
    uint64 array (n,)
    """
    mask = np.zeros(n, dtype=np.uint64)
    for other in channels.others:
        drawn = uniform_residues(channels.key(other, f"mask|{number}|{n}"), n)
        change = add_residues if channels.hospital < other else subtract_residues
        mask = change(mask, drawn)
    return mask


def check_slot(residues: Residues, key: bytes, hospitals: int = 1) -> int:
    """Σ r_j x_j + hospitals · r_0 modulo the prime, r drawn from a key the coordinator lacks.

    The slots of all hospitals add up to the slot of the sum. r_0 is there since a sum that is
    multiplied by a number would else fit. Whoever adds to a sum or multiplies it without r matches
    its slot with probability 1/prime (Carter & Wegman 1979).

    Parameters
    ----------
    residues : uint64 array (n,)
        A vector, or the sum of several hospitals'.
    key
        32 bytes.
    hospitals
        Of how many hospitals the vector is the sum.

    Returns
    -------
    int
        Below the prime.
    """
    *coefficients, offset = uniform_residues(key, residues.size + 1).tolist()
    products = map(int.__mul__, coefficients, residues.tolist())
    return (sum(products) + hospitals * offset) % MODULUS

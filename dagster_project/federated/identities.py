"""A hospital's certified key: its fingerprint, signatures by it, and their verification."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from dagster_project.federated.refusals import ForgedMessage

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

    SigningKey = Ed25519PrivateKey | RSAPrivateKey

LEAST_RSA_BITS = 2048
"""Below it RSA is not accepted (NIST SP 800-131A)."""


def public_bytes(key: SigningKey) -> bytes:
    """The public part of a key, as a certificate holds it (SubjectPublicKeyInfo, DER)."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def fingerprint(public: bytes) -> str:
    """SHA-256 of a SubjectPublicKeyInfo, in hexadecimal.

    It is of the key, not of the certificate: a renewed certificate of the same key has the same
    fingerprint, and a certificate that an authority issues for another key has another.
    """
    return hashlib.sha256(public).hexdigest()


def sign(key: SigningKey, message: bytes) -> bytes:
    """Ed25519 (RFC 8032), or RSA-PSS with SHA-256, as the key is."""
    from cryptography.hazmat.primitives.asymmetric import ed25519, padding
    from cryptography.hazmat.primitives.hashes import SHA256

    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key.sign(message)
    salted = padding.PSS(padding.MGF1(SHA256()), padding.PSS.DIGEST_LENGTH)
    return key.sign(message, salted, SHA256())


def verify(hospital: str, public: bytes, signature: bytes, message: bytes) -> None:
    """Hold a signature to the key that it should be by.

    Raises
    ------
    ForgedMessage
        Where it is not by that key, or the key is none that is accepted.
    """
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

    try:
        _verify(public, signature, message)
    except (InvalidSignature, UnsupportedAlgorithm, ValueError):
        raise ForgedMessage(hospital, "signed key", "签名密钥") from None


def _verify(public: bytes, signature: bytes, message: bytes) -> None:
    from cryptography.hazmat.primitives.asymmetric import ed25519, padding, rsa
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.serialization import load_der_public_key

    key = load_der_public_key(public)
    if isinstance(key, ed25519.Ed25519PublicKey):
        key.verify(signature, message)
    elif isinstance(key, rsa.RSAPublicKey) and key.key_size >= LEAST_RSA_BITS:
        salted = padding.PSS(padding.MGF1(SHA256()), padding.PSS.DIGEST_LENGTH)
        key.verify(signature, message, salted, SHA256())
    else:
        raise ValueError("neither Ed25519 nor RSA of enough bits")

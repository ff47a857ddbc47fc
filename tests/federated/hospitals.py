"""Hospitals of a run in one process, each with keys of its own."""

from __future__ import annotations

from functools import cache

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from dagster_project.federated.identities import fingerprint, public_bytes
from dagster_project.federated.key_agreement import Channels, Party, Run

CODES = ("BJCH", "GZSM", "SHFD", "WHTJ", "CDHX", "XAJD", "NJGL", "HZZJ")
KEYS = {code: Ed25519PrivateKey.generate() for code in CODES}
PINNED = {code: fingerprint(public_bytes(key)) for code, key in KEYS.items()}
CHECK = bytes(range(32))
"""A key of check slots, as the leading hospital would draw it."""


def run_of(n: int, name: str = "run-1", plan: str = "a" * 64) -> Run:
    """A run of the first n hospitals."""
    return Run(name, plan, tuple((code, PINNED[code]) for code in CODES[:n]))


def parties(run: Run) -> dict[str, Party]:
    """Each hospital of a run with its fresh key."""
    return {code: Party.enter(run, code, KEYS[code]) for code in run.codes}


@cache
def channels(n: int) -> dict[str, Channels]:
    """Each of n hospitals with its keys to the others."""
    entered = parties(run_of(n))
    announcements = [party.announcement for party in entered.values()]
    return {code: party.agree(announcements) for code, party in entered.items()}

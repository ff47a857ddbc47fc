"""Identifiers of what is exported: the same export has the same ones, and nothing leads back.

They are digests of a pseudonym and of UIDs of the vault, which are keyed: who has no key of the
study finds neither a patient nor an original UID by trying.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

FORMAT = 1
"""Version of what is exported; raise it when other bytes are made of the same rows."""

PROGRAM = "Dynamic iRECIST lakehouse"
"""Manufacturer and device observer of what is exported."""

DATES_SHIFTED = (
    "All dates of this patient are shifted by one secret number of days; intervals are true. "
    "本患者所有日期均按同一保密天数偏移，间隔天数不变。"
)

NOT_SIGNED = (
    "Computed from locked reads and not signed by a person. 由已锁定的阅片计算得出，未经人员签署。"
)


def digest_of_parts(*parts: Any) -> str:
    """SHA-256 of anything that JSON holds, hexadecimal."""
    text = json.dumps(parts, ensure_ascii=False, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def derived_uid(*parts: Any) -> str:
    """A UID of 128 bits of the digest of these parts (PS3.5 B.2).

    >>> derived_uid("a") == derived_uid("a") != derived_uid("b")
    True
    """
    return f"2.25.{int(digest_of_parts('uid', *parts)[:32], 16)}"


def tracking_uid(patient: str, lesion: str) -> str:
    """Tracking Unique Identifier (112040, DCM) of a lesion, the same at every visit."""
    return derived_uid("tracking", patient, lesion)


def tracking_identifier(patient: str, lesion: str) -> str:
    """Tracking Identifier (112039, DCM) of a lesion, the same at every visit."""
    return f"{patient} {lesion}"

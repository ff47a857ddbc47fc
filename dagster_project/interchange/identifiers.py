"""Identifiers of what is exported: the same export has the same ones, and nothing leads back.

They are digests of a pseudonym and of UIDs of the vault, which are keyed: who has no key of the
study finds neither a patient nor an original UID by trying.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Collection
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


def lesion_names(
    patient: str, lesions: Collection[str], readers: Collection[str]
) -> dict[str, str]:
    """Names of a patient's lesions as they are exported: without a reader, and without a hint.

    A lesion that readers number alike and outlined elsewhere is called `L5` for the reader who is
    first by name and `L5 (R2)` for the other. Both are renamed, in an order that follows from a
    digest: that one of two names is odd would say whose it is.

    Returns
    -------
    dict
        By name in the lake.

    >>> names = lesion_names("P1", ["L1", "L5", "L5 (R2)", "L7 (R2)"], ["R1", "R2"])
    >>> names["L1"], sorted([names["L5"], names["L5 (R2)"]]), names["L7 (R2)"]
    ('L1', ['L5-1', 'L5-2'], 'L7')
    """
    alike: dict[str, list[str]] = defaultdict(list)
    for lesion in sorted(set(lesions)):
        suffix = next((f" ({r})" for r in readers if lesion.endswith(f" ({r})")), "")
        alike[lesion.removesuffix(suffix)].append(lesion)
    found: dict[str, str] = {}
    for name, group in alike.items():
        drawn = sorted(group, key=lambda lesion: digest_of_parts("name", patient, lesion))
        dash = _free_dash(name, len(drawn), {*alike, *found.values()})
        for place, lesion in enumerate(drawn, 1):
            found[lesion] = name if len(group) == 1 else f"{name}{dash}{place}"
    return found


def _free_dash(name: str, count: int, taken: Collection[str]) -> str:
    """As many dashes as make names that no lesion has."""
    dash = "-"
    while any(f"{name}{dash}{place}" in taken for place in range(1, count + 1)):
        dash += "-"
    return dash

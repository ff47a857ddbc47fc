"""How files of a vault are called: by pseudonyms, keys and digests, never by anybody's name."""

from __future__ import annotations

import hashlib
import re

from dagster_project.intake.dicom.audit_texts import is_label
from dagster_project.lake.columns import PAGE_CODE_PATTERN

_PATIENT, _SCAN = r"[A-Z]{1,8}\d{0,2}-[A-Z2-7]{17}", r"S[A-Z2-7]{16}"
_READER, _UID = r"(?:SITE|[A-Za-z]{1,8}[-_]?\d{1,2})", r"2\.25\.\d{1,39}"
_DIGEST = r"(?:[a-z]+-)?[0-9a-f]{12,64}"

TAKEN_IN = re.compile(
    rf"{_PATIENT}/(?:{_SCAN}/\d{{4,6}}\.dcm"
    rf"|contours/{_READER}/{_UID}(?:\.dcm|__(?P<label>.+)\.nii\.gz))"
)
"""What intake puts there, below a site's folder."""

_DERIVED = re.compile(
    rf"{_PATIENT}/(?:(?:{_SCAN}/)?[a-z]+/{_DIGEST}\.(?:json|npz|png|crop)"
    r"|decisions/\d{4}\.json|(?:locked|open)_reads\.parquet"
    rf"|boards/(?:T[012]|V\d{{1,4}})_\d{{4}}_{PAGE_CODE_PATTERN.strip('^$')}\.json)"
)
_OF_THE_SITE = re.compile(
    r"manifest\.jsonl|intake\.sqlite|(?:refused/)?[a-z_]+\.parquet|case_report/[a-z_]+\.parquet"
    r"|audit\.json|received|delivery|SIMULATED|\.lock"
)


def is_known(name: str) -> bool:
    """Whether a name below a site's folder is one that this program gives."""
    taken_in = TAKEN_IN.fullmatch(name)
    if taken_in and taken_in["label"]:
        return is_label(taken_in["label"]) or is_label(taken_in["label"].replace("-", "/"))
    return bool(taken_in or _DERIVED.fullmatch(name) or _OF_THE_SITE.fullmatch(name))


def shown(name: str) -> str:
    """A name below the vault as it may be shown: any other is a digest, since it may be a person's.

    >>> shown("BJCH/manifest.jsonl"), shown("BJCH/Zhang San.dcm")
    ('BJCH/manifest.jsonl', 'BJCH, name sha256:cff6e4f28fa8')
    """
    site, _, below = name.partition("/")
    if is_known(below):
        return name
    digest = hashlib.sha256(below.encode("utf-8", "surrogateescape")).hexdigest()[:12]
    return f"{site}, name sha256:{digest}"

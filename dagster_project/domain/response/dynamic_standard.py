"""The dynamic iRECIST standard: its version, and the digest of all that it is made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from dagster_project.study import Study, digest_of

VERSION = "1"
"""Raised where a rule of the standard changes; thresholds and references change the digest."""

SECTIONS = ("timepoints", "recist", "irecist", "dynamic", "endpoints")
"""Sections of the protocol that the standard takes its thresholds from."""


@dataclass(frozen=True, slots=True)
class Standard:
    """Version and digest, which each row of the standard's tables has."""

    version: str
    digest: str


def standard_of(study: Study, references: Mapping[str, object] | None = None) -> Standard:
    """Version and digest of rules, thresholds and reference tables."""
    parts = [VERSION, study.section_digest(*SECTIONS), dict(references or {})]
    return Standard(VERSION, digest_of(parts))

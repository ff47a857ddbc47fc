"""The protocol of the study, read once from study.toml; its digest travels with every result."""

from __future__ import annotations

import hashlib
import json
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

PROTOCOL = Path(__file__).with_name("study.toml")

FEATURE_LIMIT = "feature_icc_lower_minimum"
"""The one limit of readers' agreement on a feature."""

SHARE_IN_PRACTICE = "response_share_in_practice"
"""The share of responders among patients who were not enrolled by outcome."""


@dataclass(frozen=True)
class Study:
    """The protocol: one read-only mapping a section of study.toml, and the digest of the whole.

    >>> load_study().section("recist")["progression_mm"]
    5.0
    """

    sections: Mapping[str, Mapping[str, Any]]
    digest: str

    def section(self, name: str) -> Mapping[str, Any]:
        """One section; KeyError names it where it is missing."""
        return self.sections[name]

    @property
    def learning(self) -> Mapping[str, Any]:
        """What models are trained and judged by: the section [model], the limit by which features are stable ([agreement]), and the share of responders in practice ([endpoints])."""
        shared = {FEATURE_LIMIT: self.section("agreement")[FEATURE_LIMIT], SHARE_IN_PRACTICE: self.section("endpoints")[SHARE_IN_PRACTICE]}
        return MappingProxyType({**self.section("model"), **shared})

    def section_digest(self, *names: str) -> str:
        """Digest of some sections alone, so that a changed threshold elsewhere re-computes nothing."""
        return digest_of({name: dict(self.sections[name]) for name in names})


def digest_of(value: object) -> str:
    """First 16 hexadecimal digits of the SHA-256 of a value's canonical JSON."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:16]


def load_study(path: Path | None = None) -> Study:
    """Read study.toml, or the file that LAKEHOUSE_STUDY names."""
    source = path or Path(os.environ.get("LAKEHOUSE_STUDY") or PROTOCOL)
    sections = tomllib.loads(source.read_text(encoding="utf-8"))
    return Study(MappingProxyType({k: MappingProxyType(v) for k, v in sections.items()}), digest_of(sections))

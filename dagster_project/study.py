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


SITES_FORM = 'study.toml, [study] sites, is a list of codes or a table of codes and names: sites = { BJCH = "full name" }'


class StudyError(ValueError):
    """An entry of study.toml cannot be used; the message names it."""


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

    @property
    def sites(self) -> Mapping[str, str]:
        """Full name by code of the sites that `[study] sites` lists, a code without one by itself; empty where nothing is listed.

        Raises
        ------
        StudyError
            Where it is neither a list of codes nor a table of codes and names.
        """
        return MappingProxyType(_named(self.sections.get("study", {}).get("sites", ())))

    def site_name(self, code: str) -> str:
        """A site for pages: its full name with its code, or its code alone."""
        name = self.sites.get(code, code)
        return code if name == code else f"{name} ({code})"

    def section_digest(self, *names: str) -> str:
        """Digest of some sections alone, so that a changed threshold elsewhere re-computes nothing."""
        return digest_of({name: dict(self.sections[name]) for name in names})


def _named(listed: object) -> dict[str, str]:
    pairs: list[tuple[Any, Any]] = [(None, None)]
    if isinstance(listed, Mapping):
        pairs = list(listed.items())
    elif isinstance(listed, (list, tuple)):
        pairs = [(one, "") for one in listed]
    if not all(isinstance(text, str) for pair in pairs for text in pair):
        raise StudyError(SITES_FORM)
    return {code: " ".join(name.split()) or code for code, name in pairs}


def digest_of(value: object) -> str:
    """First 16 hexadecimal digits of the SHA-256 of a value's canonical JSON."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:16]


def protocol_file() -> Path:
    """study.toml, or the file that LAKEHOUSE_STUDY names."""
    return Path(os.environ.get("LAKEHOUSE_STUDY") or PROTOCOL)


def load_study(path: Path | None = None) -> Study:
    """Read study.toml, or the file that LAKEHOUSE_STUDY names."""
    source = path or protocol_file()
    sections = tomllib.loads(source.read_text(encoding="utf-8"))
    return Study(MappingProxyType({k: MappingProxyType(v) for k, v in sections.items()}), digest_of(sections))

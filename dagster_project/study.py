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

from dagster_project.registration import Amendment, amendments_in_force, find_problems

PROTOCOL = Path(__file__).with_name("study.toml")

FEATURE_LIMIT = "feature_icc_lower_minimum"
"""The one limit of readers' agreement on a feature."""

SHARE_IN_PRACTICE = "response_share_in_practice"
"""The share of responders among patients who were not enrolled by outcome."""


SITES_FORM = 'study.toml, [study] sites, is a list of codes or a table of codes and names: sites = { BJCH = "full name" }'


NOT_OF_RESULTS = ("publish",)
"""Sections that no result depends on: a change there trains and measures nothing anew."""


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

    @property
    def amendments(self) -> tuple[Amendment, ...]:
        """Recorded decisions by which this protocol is looser than the registration."""
        return amendments_in_force(self.sections)

    @property
    def amended(self) -> str | None:
        """The same as text, a line each; None where there is none."""
        return "\n".join(a.words() for a in self.amendments) or None

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
    """Read study.toml, or the file that LAKEHOUSE_STUDY names.

    Raises
    ------
    StudyError
        Where it is looser than the registration without a recorded decision, or holds a key that nobody knows
        (`registration.find_problems`).
    """
    protocol, shipped = _sections(path or protocol_file()), _sections(PROTOCOL)
    problems = find_problems(protocol, shipped)
    if problems:
        raise StudyError("\n".join([*(p.en for p in problems), *(p.zh for p in problems)]))
    results = {name: keys for name, keys in protocol.items() if name not in NOT_OF_RESULTS}
    return Study(MappingProxyType({k: MappingProxyType(v) for k, v in protocol.items()}), digest_of(results))


def _sections(source: Path) -> dict[str, dict[str, Any]]:
    try:
        return tomllib.loads(source.read_text(encoding="utf-8"))
    except OSError as error:
        raise StudyError(f"the protocol, {source.name}, cannot be read ({error.strerror}): see LAKEHOUSE_STUDY") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise StudyError(f"the protocol, {source.name}, is no TOML in UTF-8: {error}") from None

"""The protocol of the study, read once from study.toml; its digest travels with every result."""

from __future__ import annotations

import hashlib
import json
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from dagster_project.protocol import Protocol
from dagster_project.registration import Amendment, amendments_in_force, find_problems

PROTOCOL = Path(__file__).with_name("study.toml")

FEATURE_LIMIT = "feature_icc_lower_minimum"
"""The one limit of readers' agreement on a feature."""

TARGET_PREVALENCE = "target_prevalence"
"""The share of responders among patients who were not enrolled by outcome."""
NOT_OF_RESULTS = ("publish",)
"""Sections that no result depends on: a change there trains and measures nothing anew."""


class StudyError(ValueError):
    """An entry of study.toml cannot be used; the message names it."""


@dataclass(frozen=True)
class Study:
    """The protocol: one read-only mapping a section of study.toml, and the digest of the whole.

    >>> load_study().section("recist")["progression_mm"]
    5.0
    >>> load_study().protocol.recist.progression_mm
    5.0
    """

    sections: Mapping[str, Mapping[str, Any]]
    digest: str

    def section(self, name: str) -> Mapping[str, Any]:
        """One section; KeyError names it where it is missing."""
        return self.sections[name]

    @cached_property
    def protocol(self) -> Protocol:
        """The same with a type for every setting."""
        return Protocol.model_validate({name: dict(keys) for name, keys in self.sections.items()})

    @property
    def learning(self) -> Mapping[str, Any]:
        """Settings by which models are trained and judged.

        The section [model], the limit by which features are stable ([agreement]), and the share of
        responders in practice ([endpoints]).
        """
        shared = {
            FEATURE_LIMIT: self.section("agreement")[FEATURE_LIMIT],
            TARGET_PREVALENCE: self.section("endpoints")[TARGET_PREVALENCE],
        }
        return MappingProxyType({**self.section("model"), **shared})

    @property
    def sites(self) -> Mapping[str, str]:
        """Full name by code of the sites that `[study] sites` lists.

        A code without a name stands for itself; empty where nothing is listed.
        """
        listed = self.sections.get("study", {}).get("sites", ())
        named = listed if isinstance(listed, Mapping) else dict.fromkeys(listed, "")
        return MappingProxyType(
            {code: " ".join(name.split()) or code for code, name in named.items()}
        )

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
        """Digest of some sections alone.

        So a changed threshold elsewhere leads to no new computation.
        """
        return digest_of({name: dict(self.sections[name]) for name in names})


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
        Where it is looser than the registration without a recorded decision, or holds a key that
        nobody knows (`registration.find_problems`).
    """
    source = path or protocol_file()
    return _study(_text(source), source.name)


@lru_cache(maxsize=8)
def _study(text: str, name: str) -> Study:
    """A text is read once, however many steps and objects need it."""
    protocol = _parse(text, name)
    problems = find_problems(protocol, read_sections(PROTOCOL))
    if problems:
        raise StudyError("\n".join([*(p.en for p in problems), *(p.zh for p in problems)]))
    sections = Protocol.model_validate(protocol).model_dump(exclude_unset=True)
    results = {section: keys for section, keys in sections.items() if section not in NOT_OF_RESULTS}
    return Study(
        MappingProxyType({k: MappingProxyType(v) for k, v in sections.items()}), digest_of(results)
    )


def read_sections(source: Path) -> dict[str, dict[str, Any]]:
    """A protocol as it is written, unchecked."""
    return _parse(_text(source), source.name)


def _text(source: Path) -> str:
    try:
        return source.read_text(encoding="utf-8")
    except OSError as error:
        raise StudyError(
            f"the protocol, {source.name}, cannot be read ({error.strerror}): see LAKEHOUSE_STUDY"
        ) from None
    except UnicodeDecodeError as error:
        raise StudyError(f"the protocol, {source.name}, is no TOML in UTF-8: {error}") from None


def _parse(text: str, name: str) -> dict[str, dict[str, Any]]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise StudyError(f"the protocol, {name}, is no TOML in UTF-8: {error}") from None

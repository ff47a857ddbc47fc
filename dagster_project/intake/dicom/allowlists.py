"""The allowlists as data: which elements of CT, RTSTRUCT and SEG stay, and what is done to each."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from pydicom.datadict import dictionary_VM, tag_for_keyword
from pydicom.tag import BaseTag, Tag

FILES = tuple(
    Path(__file__).with_name(f"allowlist_{name}.toml") for name in ("ct", "rtstruct", "seg")
)

CT, RTSTRUCT, SEG = (
    "1.2.840.10008.5.1.4.1.1.2",
    "1.2.840.10008.5.1.4.1.1.481.3",
    "1.2.840.10008.5.1.4.1.1.66.4",
)
LABEL_MAP_SEG = "1.2.840.10008.5.1.4.1.1.66.7"
"""The SOP classes that are taken in."""


@dataclass(frozen=True)
class Rule:
    """What is done to one element, and why it stays."""

    tag: BaseTag
    keyword: str
    vrs: tuple[str, ...]
    multiplicity: str
    action: str
    argument: str
    reason: str
    items: tuple[Rule, ...] = ()

    @property
    def number(self) -> int:
        """The tag as a plain integer."""
        return int(self.tag)


@dataclass(frozen=True)
class Allowlist:
    """Everything that may stay of one SOP class, in the order of the tags.

    A file without a `required` element is refused; so is one with a `vital` element that is there
    and not plausible, since leaving it out would silently change what is measured. A `type_2`
    element is written without a value where its own does not stay.
    """

    sop_class: str
    edition: str
    options: tuple[str, ...]
    required: frozenset[str]
    vital: frozenset[str]
    type_2: frozenset[str]
    rules: tuple[Rule, ...]

    def all_rules(self) -> tuple[Rule, ...]:
        """The rules of every depth."""
        return _flattened(self.rules)


def _flattened(rules: tuple[Rule, ...]) -> tuple[Rule, ...]:
    return tuple(found for rule in rules for found in (rule, *_flattened(rule.items)))


@cache
def load_allowlists() -> Mapping[str, Allowlist]:
    """The allowlist of each SOP class that is taken in."""
    return {allowlist.sop_class: allowlist for path in FILES for allowlist in _read(path)}


def _read(path: Path) -> list[Allowlist]:
    """One for each SOP class that a file is about."""
    raw = tomllib.loads(path.read_text(encoding="utf-8"))
    first = _allowlist(raw)
    return [
        replace(first, sop_class=sop_class)
        for sop_class in (first.sop_class, *raw.get("same_for", ()))
    ]


def _allowlist(raw: dict[str, Any]) -> Allowlist:
    return Allowlist(
        raw["sop_class"],
        raw["edition"],
        tuple(raw["options"]),
        frozenset(raw["required"]),
        frozenset(raw["vital"]),
        frozenset(raw["type_2"]),
        _rules(raw, "dataset"),
    )


def _rules(raw: Mapping[str, dict[str, list[str]]], section: str) -> tuple[Rule, ...]:
    rules = (_rule(raw, keyword, *parts) for keyword, parts in raw[section].items())
    return tuple(sorted(rules, key=lambda rule: rule.tag))


def _rule(
    raw: Mapping[str, dict[str, list[str]]], keyword: str, vr: str, done: str, reason: str
) -> Rule:
    tag = Tag(_known_tag(keyword))
    action, _, argument = done.partition(" ")
    items = _rules(raw, argument) if action == "items" else ()
    return Rule(
        tag, keyword, tuple(vr.split(" or ")), dictionary_VM(tag), action, argument, reason, items
    )


def _known_tag(keyword: str) -> int:
    tag = tag_for_keyword(keyword)
    if tag is None:
        raise KeyError(
            f"allowlist: {keyword} is not in the DICOM data dictionary; correct the keyword"
        )
    return tag

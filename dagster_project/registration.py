"""The floors of the registration: how loose a protocol may be.

Also the recorded decisions by which it may be looser.
"""

from __future__ import annotations

import datetime as dt
import difflib
import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from dagster_project.protocol import (
    RENAMED,
    ROLES,
    Fault,
    Relation,
    Sections,
    find_broken_relations,
    find_faults,
    is_code_or_role,
    is_usable,
    section_types,
    setting_keys,
    wording_of,
)

FLOORS = Path(__file__).with_name("registration.toml")

DECISION = ("key", "value", "decided_by", "decided_on", "reason")
"""What an amendment has to say."""

WHERE = "[registration] amendments"
"""Where a protocol records them."""

LONGEST_LINE, LONGEST_VALUE = 80, 40
"""Characters of a setting that a message repeats."""


@dataclass(frozen=True)
class Floor:
    """The bound of one key."""

    key: str
    at_least: float | None = None
    at_most: float | None = None
    among: tuple[str, ...] | None = None

    @property
    def bound(self) -> float | None:
        """The registered number."""
        return self.at_most if self.at_least is None else self.at_least

    def allows(self, value: Any) -> bool:
        """Whether a value that has a meaning is as strict as registered, or stricter."""
        if self.among is not None:
            return set(value) <= set(self.among)
        return value >= self.at_least if self.at_least is not None else value <= self.at_most

    def words(self) -> tuple[str, str]:
        """The bound in English and in Chinese."""
        if self.among is not None:
            return f"only {', '.join(self.among)}", f"仅限{'、'.join(self.among)}"
        side = ("at least", "不低于") if self.at_least is not None else ("at most", "不高于")
        return f"{side[0]} {self.bound:g}", f"{side[1]}{self.bound:g}"


@dataclass(frozen=True)
class Amendment:
    """A recorded decision that one key is looser than registered."""

    key: str
    value: Any
    decided_by: str
    decided_on: str
    reason: str

    def words(self) -> str:
        """The decision in one line, as it stands on reports, model cards and rows."""
        registered = floors()[self.key].words()[0]
        return (
            f"{self.key} = {_shown(self.value)} (registered: {registered}), "
            f"{self.decided_by}, {self.decided_on}: {self.reason}"
        )


@dataclass(frozen=True)
class Problem:
    """What is wrong with a protocol, in English and in Chinese.

    Each names the key and what to do.
    """

    en: str
    zh: str


@cache
def floors() -> Mapping[str, Floor]:
    """The floors by key, such as `agreement.icc_minimum`."""
    sections = tomllib.loads(FLOORS.read_text(encoding="utf-8"))
    return {
        f"{s}.{k}": _floor(f"{s}.{k}", facts)
        for s, keys in sections.items()
        for k, facts in keys.items()
    }


def _floor(key: str, facts: Mapping[str, Any]) -> Floor:
    among = tuple(facts["among"]) if "among" in facts else None
    return Floor(key, facts.get("at_least"), facts.get("at_most"), among)


def find_problems(protocol: Sections, shipped: Sections) -> list[Problem]:
    """What keeps a protocol from being used; nothing where it may be.

    1. A section or key that is not known: a misspelled key would leave its rule without effect. One
       that had another name in an earlier version is named with the present name.
    2. A key that is missing, as in a protocol of an earlier version.
    3. A value of another kind, or outside what has a meaning (NaN, a negative number, a number as
       text, a misspelled word).
    4. An amendment that does not say key, value, who (a code or a role), when and why, or of a key
       without a floor.
    5. Two values that cannot be meant together (`protocol.RELATIONS`).
    6. A value looser than registered, without an amendment of this very value.

    Parameters
    ----------
    protocol, shipped
        Sections of the protocol that is used, and of the one that the program comes with.
    """
    faults = find_faults(protocol)
    wrong = [*(_faulty(fault, protocol, shipped) for fault in faults), *_incomplete(protocol)]
    if wrong:
        return wrong
    return [*map(_broken, find_broken_relations(protocol)), *_looser(protocol)]


def amendments_in_force(protocol: Sections) -> tuple[Amendment, ...]:
    """The decisions of a sound protocol without which it would be looser than registered."""
    found = [Amendment(**{name: entry[name] for name in DECISION}) for entry in _entries(protocol)]
    return tuple(
        a
        for a in found
        if _value(protocol, a.key) == a.value and not floors()[a.key].allows(a.value)
    )


def _unknown_key(name: str) -> Problem:
    known = [*setting_keys(), *section_types()]
    near = difflib.get_close_matches(name, sorted(known), n=1)
    en, zh = (f" Is {_place(near[0])} meant?", f"是否指 {_place(near[0])}？") if near else ("", "")
    return Problem(
        f"{_place(name)} is not known.{en} "
        "Correct the spelling or take it out: an unknown key changes nothing.",
        f"{_place(name)} 未定义。{zh}请更正拼写或删除：未定义的键不起任何作用。",
    )


def _former_name(name: str) -> Problem:
    """A setting that stands under the name of an earlier version; its value may stay."""
    new = _place(RENAMED[name])
    return Problem(
        f"{_place(name)} has another name in this version: {new}. "
        "Rename it; its values mean what they meant.",
        f"{_place(name)} 在本版本中已更名为 {new}。请改用新名称，取值含义不变。",
    )


def _faulty(fault: Fault, protocol: Sections, shipped: Sections) -> Problem:
    place = _place(fault.key)
    if fault.kind == "renamed":
        return _former_name(fault.key)
    if fault.kind == "unknown":
        return _unknown_key(fault.key)
    if "." not in fault.key:
        return Problem(
            f"{place} is missing, or is no section: "
            "copy it from the study.toml that the program comes with.",
            f"{place} 缺失，或不是一个节：请从程序自带的 study.toml 中复制该节。",
        )
    allowed, floor = wording_of(fault.key), floors().get(fault.key)
    en, zh = floor.words() if floor else ("", "")
    registered_en, registered_zh = (
        (f"; registered is {en}", f"；注册方案为{zh}") if floor else ("", "")
    )
    if fault.kind == "missing":
        line = _line(fault.key, shipped)
        return Problem(
            f"{place} is missing: write {allowed.en}{registered_en}. "
            f"The study.toml that the program comes with has {line}.",
            f"{place} 缺失：请填写{allowed.zh}{registered_zh}。程序自带的 study.toml 中为 {line}。",
        )
    value = _shown_value(_value(protocol, fault.key))
    inside_en = "".join(
        f", entry {part}" if isinstance(part, int) else f", {part}" for part in fault.inside
    )
    inside_zh = "".join(
        f"，第 {part} 项" if isinstance(part, int) else f"，{part}" for part in fault.inside
    )
    return Problem(
        f"{place}{value}{inside_en} has no value that can be used: "
        f"write {allowed.en}{registered_en}.",
        f"{place}{value}{inside_zh} 取值无效：请填写{allowed.zh}{registered_zh}。",
    )


def _line(key: str, shipped: Sections) -> str:
    """A setting as the shipped protocol has it; a long list is not written out."""
    text = f"{key.partition('.')[2]} = {json.dumps(_value(shipped, key), ensure_ascii=False)}"
    return text if len(text) <= LONGEST_LINE else f"{text[:LONGEST_LINE]}…"


def _shown_value(value: Any) -> str:
    """A number or a word as it was written; lists and long texts are left to the file."""
    if not isinstance(value, (bool, int, float, str)) or len(str(value)) > LONGEST_VALUE:
        return ""
    return f" = {json.dumps(value, ensure_ascii=False)}"


def _broken(relation: Relation) -> Problem:
    first, second = (
        _place(f"{relation.section}.{key}") for key in (relation.first, relation.second)
    )
    return Problem(
        f"{first} has to be {relation.words.en} {second}.",
        f"{first} 须{relation.words.zh} {second}。",
    )


def _incomplete(protocol: Sections) -> Iterator[Problem]:
    for number, entry in enumerate(_entries(protocol), start=1):
        wrong = _wrong_in(entry)
        if wrong:
            yield Problem(
                f"{WHERE}, entry {number}: {', '.join(wrong)}. Write {_example('section.key')}.",
                f"{WHERE} 第{number}项不完整或无效（{'、'.join(wrong)}）。"
                f"请按此填写：{_example('section.key')}。",
            )


def _wrong_in(entry: Any) -> list[str]:
    """Names of what is missing or cannot be meant in an entry."""
    if not isinstance(entry, Mapping):
        return ["no entry"]
    wrong = [f"{name} unknown" for name in entry if name not in DECISION]
    floor = floors().get(str(entry.get("key")))
    sound = {
        "key": floor is not None,
        "value": floor is not None and is_usable(floor.key, entry.get("value")),
        "decided_by": is_code_or_role(entry.get("decided_by")),
        "decided_on": _is_past_day(entry.get("decided_on")),
        "reason": isinstance(entry.get("reason"), str) and len(entry["reason"].split()) > 0,
    }
    return wrong + [name for name, right in sound.items() if not right]


def _is_past_day(text: Any) -> bool:
    if re.fullmatch(r"\d{4}-\d{2}-\d{2}", str(text)) is None:
        return False
    try:
        return dt.date.fromisoformat(str(text)) <= dt.datetime.now(dt.UTC).date()
    except ValueError:
        return False


def _looser(protocol: Sections) -> Iterator[Problem]:
    decided = {entry["key"]: entry["value"] for entry in _entries(protocol)}
    for key, floor in floors().items():
        value = _value(protocol, key)
        if not floor.allows(value) and decided.get(key) != value:
            en, zh = floor.words()
            yield Problem(
                f"{_place(key)} is looser than registered, {en}. Set it within that; "
                "or, where the study team has decided so, "
                f"record the decision on this very value under {WHERE}: {_example(key)}.",
                f"{_place(key)} 比注册方案宽松（注册：{zh}）。请改回该范围；"
                f"研究组另有决定的，请在 {WHERE} 中就该取值登记：{_example(key)}。",
            )


def _example(key: str) -> str:
    entry = (
        f'{{key = "{key}", value = …, decided_by = "PI", decided_on = "YYYY-MM-DD", reason = "…"}}'
    )
    return f"{entry} (decided_by: a code or {', '.join(ROLES)})"


def _entries(protocol: Sections) -> list[Any]:
    entries = protocol.get("registration", {}).get("amendments", [])
    return entries if isinstance(entries, list) else []


def _value(protocol: Sections, key: str) -> Any:
    section, _, name = key.partition(".")
    keys = protocol.get(section, {})
    return keys.get(name) if isinstance(keys, Mapping) else None


def _place(key: str) -> str:
    section, _, name = key.partition(".")
    return f"study.toml [{section}] {name}".rstrip()


def _shown(value: Any) -> str:
    return ", ".join(value) if isinstance(value, list) else f"{value:g}"

"""The floors of the registration: how loose a protocol may be, and the recorded decisions by which it may be looser."""

from __future__ import annotations

import datetime as dt
import difflib
import math
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

FLOORS = Path(__file__).with_name("registration.toml")

OPTIONAL = frozenset({"study.sites"})
"""Keys of a protocol that study.toml as shipped does not hold."""

WITH_DEFAULTS = frozenset({"study.data_cutoff", "registration", "publish"})
"""Sections and keys that a protocol may leave out: what is done then is the same as by the shipped one."""

ROLES = ("PI", "ethics_committee", "steering_committee", "data_monitoring_committee", "sponsor", "statistician")
"""Who decides on an amendment, beside codes such as R1 or AB12: never a person's name, since it goes to pages and rows."""

DECISION = ("key", "value", "decided_by", "decided_on", "reason")
"""What an amendment has to say."""

WHERE = "[registration] amendments"
"""Where a protocol records them."""

Sections = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Floor:
    """The bound of one key, and the values that have a meaning at all; `lowest` and `highest` are inclusive."""

    key: str
    at_least: float | None = None
    at_most: float | None = None
    among: tuple[str, ...] | None = None
    lowest: float = -math.inf
    highest: float = math.inf

    @property
    def bound(self) -> float | None:
        """The registered number."""
        return self.at_most if self.at_least is None else self.at_least

    def allows(self, value: Any) -> bool:
        """Whether a value that has a meaning is as strict as registered, or stricter."""
        if self.among is not None:
            return set(value) <= set(self.among)
        return value >= self.at_least if self.at_least is not None else value <= self.at_most

    def means_something(self, value: Any) -> bool:
        """Whether a value is of the kind and in the range that the key needs; a text or true is no number, and NaN is none."""
        if self.among is not None:
            return isinstance(value, list) and bool(value) and all(isinstance(one, str) for one in value)
        kinds = (int,) if isinstance(self.bound, int) else (int, float)
        return isinstance(value, kinds) and not isinstance(value, bool) and self.lowest <= value <= self.highest

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
        return f"{self.key} = {_shown(self.value)} (registered: {registered}), {self.decided_by}, {self.decided_on}: {self.reason}"


@dataclass(frozen=True)
class Problem:
    """What is wrong with a protocol, in English and in Chinese; each names the key and what to do."""

    en: str
    zh: str


@cache
def floors() -> Mapping[str, Floor]:
    """The floors by key, such as `agreement.icc_minimum`."""
    sections = tomllib.loads(FLOORS.read_text(encoding="utf-8"))
    return {f"{s}.{k}": _floor(f"{s}.{k}", facts) for s, keys in sections.items() for k, facts in keys.items()}


def _floor(key: str, facts: Mapping[str, Any]) -> Floor:
    lowest, highest = facts.get("range", (-math.inf, math.inf))
    among = tuple(facts["among"]) if "among" in facts else None
    return Floor(key, facts.get("at_least"), facts.get("at_most"), among, lowest, highest)


def find_problems(protocol: Sections, shipped: Sections) -> list[Problem]:
    """What keeps a protocol from being used; nothing where it may be.

    1. A section or key that the shipped protocol does not have: a misspelled key would leave its rule without effect.
    2. A key of the shipped protocol that is missing, as in a protocol of an earlier version.
    3. A key with a floor whose value is of another kind or outside the range that has a meaning (NaN, a negative number,
       a number as text).
    4. An amendment that does not say key, value, who (a code or a role), when and why, or of a key without a floor.
    5. A value looser than registered, without an amendment of this very value.

    Parameters
    ----------
    protocol, shipped
        Sections of the protocol that is used, and of the one that the program comes with.
    """
    unknown = list(_unknown(protocol, shipped))
    if unknown:
        return unknown
    wrong = [*_missing(protocol, shipped), *_senseless(protocol), *_incomplete(protocol)]
    return wrong or list(_looser(protocol))


def amendments_in_force(protocol: Sections) -> tuple[Amendment, ...]:
    """The decisions of a sound protocol without which it would be looser than registered."""
    found = [Amendment(**{name: entry[name] for name in DECISION}) for entry in _entries(protocol)]
    return tuple(a for a in found if _value(protocol, a.key) == a.value and not floors()[a.key].allows(a.value))


def _unknown(protocol: Sections, shipped: Sections) -> Iterator[Problem]:
    known = {f"{s}.{k}" for s, keys in shipped.items() for k in keys} | OPTIONAL
    for section, keys in protocol.items():
        names = [f"{section}.{key}" for key in keys] if isinstance(keys, Mapping) and section in shipped else [section]
        for name in names:
            if name not in known:
                yield _unknown_key(name, known | set(shipped))


def _unknown_key(name: str, known: set[str]) -> Problem:
    near = difflib.get_close_matches(name, sorted(known), n=1)
    en, zh = (f" Is {_place(near[0])} meant?", f"是否指 {_place(near[0])}？") if near else ("", "")
    return Problem(
        f"{_place(name)} is not known.{en} Correct the spelling or take it out: an unknown key changes nothing.",
        f"{_place(name)} 未定义。{zh}请更正拼写或删除：未定义的键不起任何作用。",
    )


def _missing(protocol: Sections, shipped: Sections) -> Iterator[Problem]:
    """Keys that are not there; those with a floor are left to `_senseless`, which names it."""
    needed = [f"{s}.{k}" for s, keys in shipped.items() if s not in WITH_DEFAULTS for k in keys]
    for key in needed:
        if key not in WITH_DEFAULTS and key not in floors() and _value(protocol, key) is None:
            yield Problem(
                f"{_place(key)} is missing: copy its line from the study.toml that the program comes with.",
                f"{_place(key)} 缺失：请从程序自带的 study.toml 中复制该行。",
            )


def _senseless(protocol: Sections) -> Iterator[Problem]:
    for key, floor in floors().items():
        value = _value(protocol, key)
        if not floor.means_something(value):
            en, zh = floor.words()
            is_en, is_zh = ("is missing", "缺失") if value is None else ("has no value that can be used", "取值无效")
            form_en, form_zh = _form(floor)
            yield Problem(
                f"{_place(key)} {is_en}: write {form_en}; registered is {en}.",
                f"{_place(key)} {is_zh}：请填写{form_zh}；注册方案为{zh}。",
            )


def _form(floor: Floor) -> tuple[str, str]:
    if floor.among is not None:
        return "a list of words", "词列表"
    whole = isinstance(floor.bound, int)
    kind = ("a whole number", "整数") if whole else ("a number", "数字")
    en = f"{kind[0]} from {floor.lowest:g} to {floor.highest:g}, without quotes"
    return en, f"{floor.lowest:g} 至 {floor.highest:g} 的{kind[1]}，不加引号"


def _incomplete(protocol: Sections) -> Iterator[Problem]:
    section = protocol.get("registration", {})
    if not isinstance(section.get("amendments", []), list):
        yield Problem(f"{WHERE} is a list of decisions.", f"{WHERE} 应为决定列表。")
        return
    for number, entry in enumerate(_entries(protocol), start=1):
        wrong = _wrong_in(entry)
        if wrong:
            yield Problem(
                f"{WHERE}, entry {number}: {', '.join(wrong)}. Write {_example('section.key')}.",
                f"{WHERE} 第{number}项不完整或无效（{'、'.join(wrong)}）。请按此填写：{_example('section.key')}。",
            )


def _wrong_in(entry: Any) -> list[str]:
    """Names of what is missing or cannot be meant in an entry."""
    if not isinstance(entry, Mapping):
        return ["no entry"]
    wrong = [f"{name} unknown" for name in entry if name not in DECISION]
    floor = floors().get(str(entry.get("key")))
    sound = {
        "key": floor is not None,
        "value": floor is not None and floor.means_something(entry.get("value")),
        "decided_by": _is_code_or_role(entry.get("decided_by")),
        "decided_on": _is_past_day(entry.get("decided_on")),
        "reason": isinstance(entry.get("reason"), str) and len(entry["reason"].split()) > 0,
    }
    return wrong + [name for name, right in sound.items() if not right]


def _is_code_or_role(text: Any) -> bool:
    return isinstance(text, str) and (text in ROLES or re.fullmatch(r"[A-Z]{1,3}[0-9]{1,2}", text) is not None)


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
                f"{_place(key)} is looser than registered, {en}. Set it within that; or, where the study team has decided "
                f"so, record the decision on this very value under {WHERE}: {_example(key)}.",
                f"{_place(key)} 比注册方案宽松（注册：{zh}）。请改回该范围；研究组另有决定的，请在 {WHERE} 中就该取值登记：{_example(key)}。",
            )


def _example(key: str) -> str:
    entry = f'{{key = "{key}", value = …, decided_by = "PI", decided_on = "YYYY-MM-DD", reason = "…"}}'
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

"""Translates what was refused into Chinese.

Reasons and places are templates of reasons_zh.toml; what has none stays English.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from functools import cache, lru_cache
from pathlib import Path

CATALOGUE = Path(__file__).with_name("reasons_zh.toml")

_PLACEHOLDER = re.compile(r"\{(\w+)\}")

STOPS = ((" | ", " | "), ("; ", "；"), (". ", "。"))
"""Where a reason falls into pieces that may be in the catalogue by themselves."""

Template = tuple[re.Pattern[str], str]

REASONS_LIST = "reasons"
"""The section of the catalogue that has the reasons; others have places and words of figures."""


def chinese_reason(reason: str) -> str:
    """A reason in Chinese, as far as the catalogue has it.

    1. The whole reason, the template with the most words of its own first; what is in a placeholder
       is looked up too.
    2. Else its pieces between semicolons and full stops, each by itself; a piece without a template
       stays English.

    >>> chinese_reason("is not a date; write YYYY-MM-DD, the year in four digits and first; the cell is left out")
    '不是日期；请写 YYYY-MM-DD，四位年份在前；该单元格未采用'
    """  # noqa: E501
    return _translated(reason, REASONS_LIST)


def chinese_item(item: str) -> str:
    """The place of what was refused in Chinese.

    >>> chinese_item("clinical/patients.csv row 6 column age")
    'clinical/patients.csv 第 6 行 age 列'
    """
    return _translated(item, "items")


def chinese_label(label: str, names: Mapping[str, str] | None = None) -> str:
    """The words of a figure in Chinese; a label that is a code, a name or a number stays.

    Parameters
    ----------
    names
        Chinese of what this figure names; it comes before the catalogue.

    >>> chinese_label("Patients (n = 12)"), chinese_label("T0 → T1")
    ('患者（n = 12）', 'T0 → T1')
    >>> chinese_label("   3  Age 18 or above", {"Age 18 or above": "年龄≥18岁"})
    '   3  年龄≥18岁'
    """
    if names and label in names:
        return names[label]
    for template, chinese in _templates()["figures"]:
        found = template.fullmatch(label)
        if found:
            parts = found.groupdict().items()
            return chinese.format(**{name: chinese_label(part, names) for name, part in parts})
    return label


@lru_cache(maxsize=4096)
def _translated(text: str, section: str) -> str:
    for template, chinese in _templates()[section]:
        found = template.fullmatch(text)
        if found:
            return chinese.format(
                **{name: _within(part, text, section) for name, part in found.groupdict().items()}
            )
    for stop, mark in STOPS:
        head, _, tail = text.rpartition(stop)
        if head:
            return f"{_translated(head, section)}{mark}{_translated(tail, section)}"
    return text


def _within(part: str, whole: str, section: str) -> str:
    """What a placeholder holds: a reason or a place, else as it is."""
    if part == whole or section == "items":
        return part
    translated = _translated(part, section)
    return _translated(part, "items") if translated == part else translated


def reason_templates() -> dict[str, str]:
    """Every template of a reason in English, and its Chinese."""
    return _catalogue()[REASONS_LIST]


@cache
def _catalogue() -> dict[str, dict[str, str]]:
    return tomllib.loads(CATALOGUE.read_text(encoding="utf-8"))


@cache
def _templates() -> Mapping[str, Sequence[Template]]:
    return {
        section: [(_pattern(en), zh) for en, zh in sorted(entries.items(), key=_weight)]
        for section, entries in _catalogue().items()
    }


def _weight(entry: tuple[str, str]) -> int:
    """Sort key: templates with the most characters of their own first.

    Their placeholders leave the least freedom.
    """
    return -len(_PLACEHOLDER.sub("", entry[0]))


def _pattern(english: str) -> re.Pattern[str]:
    """A template as a pattern; a placeholder that occurs again holds the same text."""
    pattern, seen = "", set[str]()
    for n, part in enumerate(_PLACEHOLDER.split(english)):
        if n % 2 == 0:
            pattern += re.escape(part)
        else:
            pattern += f"(?P={part})" if part in seen else f"(?P<{part}>.+?)"
            seen.add(part)
    return re.compile(pattern, re.DOTALL)

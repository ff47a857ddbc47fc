"""Cells of the case report: from a site's spelling to a value of the schema, or a reason why not."""

from __future__ import annotations

import datetime as dt
import re
import unicodedata
from collections.abc import Callable
from typing import Any, NamedTuple

from dagster_project.lake.vocabulary import find_drugs, is_missing, known_value

EARLIEST, LATEST = dt.date(1900, 1, 1), dt.date(2100, 1, 1)
"""Dates outside are typing errors."""

_DATE = re.compile(r"(\d{4})\s*[-/.年]\s*(\d{1,2})\s*[-/.月]\s*(\d{1,2})\s*日?(?:[T ].*)?|(\d{4})(\d{2})(\d{2})")
_STAGE = re.compile(r"(?:stage)?[cpy]{0,2}(IV|III|II|I|[1-4])([ABC]?)([1-3]?)(?:期|stage)?", re.IGNORECASE)
_NUMBER = re.compile(r"([<>≤≥~约]|<=|>=)?\s*(\d+(?:[.,]\d+)?)\s*(?:%|mm|毫米|岁|years?|y|分|线|周期|个?疗程)?")
_CYCLE = re.compile(r"(?:第|cycle|c)?\s*(\d{1,2})\s*(?:周期|疗程|次)?")
_ROMAN = {"1": "I", "2": "II", "3": "III", "4": "IV"}


class ValueFault(ValueError):
    """A cell that is not understood; the reason never quotes it."""


class Parsed(NamedTuple):
    """A value, and what had to be left out of the cell to reach it."""

    value: Any
    remark: str = ""


def plain(text: str) -> str:
    """Full-width forms made plain, outer spaces dropped."""
    return unicodedata.normalize("NFKC", text).strip()


def parse_date(text: str) -> dt.date:
    """A calendar date: 2024-01-05, 2024/1/5, 20240105, 2024年1月5日; a time behind it does not count.

    Day-first and month-first forms are refused, since 3/4/2024 is two days.

    >>> parse_date("2024年1月5日"), parse_date("２０２４/1/5")
    (datetime.date(2024, 1, 5), datetime.date(2024, 1, 5))
    """
    match = _DATE.fullmatch(plain(text))
    if match is None:
        raise ValueFault("is not a date; write YYYY-MM-DD")
    year, month, day = (int(part) for part in match.groups() if part)
    try:
        date = dt.date(year, month, day)
    except ValueError as error:
        raise ValueFault("is not a day of the calendar; write YYYY-MM-DD") from error
    if not EARLIEST <= date < LATEST:
        raise ValueFault("is not a plausible date; write YYYY-MM-DD")
    return date


def parse_time(text: str) -> dt.datetime:
    """A point in time in ISO 8601; without a zone it counts as UTC.

    >>> parse_time("2026-01-12T08:30:00+08:00").isoformat()
    '2026-01-12T00:30:00+00:00'
    """
    try:
        time = dt.datetime.fromisoformat(plain(text).replace("/", "-"))
    except ValueError as error:
        raise ValueFault("is not a time; write ISO 8601, such as 2026-01-12T08:30:00+08:00") from error
    return (time if time.tzinfo else time.replace(tzinfo=dt.UTC)).astimezone(dt.UTC)


def parse_number(text: str) -> float:
    """A number; a unit behind it (mm, %, 岁) does not count.

    >>> parse_number("12,5 mm"), parse_number("63岁")
    (12.5, 63.0)
    """
    match = _NUMBER.fullmatch(plain(text).lower())
    if match is None or match[1]:
        raise ValueFault("is not a number")
    return float(match[2].replace(",", "."))


def parse_stage(text: str) -> str:
    """Clinical stage: ⅢB, IIIb, 3B期, cT-prefix or not.

    >>> parse_stage("ⅢB期"), parse_stage("4a"), parse_stage("Stage IIIA2")
    ('IIIB', 'IVA', 'IIIA2')
    """
    match = _STAGE.fullmatch(re.sub(r"\s", "", plain(text)))
    if match is None:
        raise ValueFault("is not a stage; write I to IV with its sub-stage, such as IIIB")
    number = match[1].upper()
    return _ROMAN.get(number, number) + match[2].upper() + match[3]


def parse_proportion(text: str) -> float:
    """PD-L1 tumour proportion score in percent.

    1. "<1%" and "negative" are 0: below the lowest cut-off.
    2. "≥50%" is 50: the bound that is known.
    3. A range ("1-49%") is refused: it is not a figure.

    >>> parse_proportion("<1%"), parse_proportion("≥50%"), parse_proportion("阴性"), parse_proportion("35")
    (0.0, 50.0, 0.0, 35.0)
    """
    if known_value("boolean", text) == "no" and not plain(text).isdigit():
        return 0.0
    match = _NUMBER.fullmatch(plain(text).lower())
    if match is None:
        raise ValueFault("is not a percentage; write one figure from 0 to 100")
    number = float(match[2].replace(",", "."))
    if match[1] in {"<", "≤", "<="}:
        if number > 1:
            raise ValueFault("is not a percentage; write one figure from 0 to 100")
        return 0.0
    return number


def parse_cycle(text: str) -> int:
    """Number of a cycle: 3, C3, 第3周期.

    >>> parse_cycle("第3周期"), parse_cycle("C2")
    (3, 2)
    """
    match = _CYCLE.fullmatch(plain(text).lower())
    if match is None or not 1 <= int(match[1]) <= 99:
        raise ValueFault("is not the number of a cycle, 1 to 99")
    return int(match[1])


def parse_ecog(text: str) -> int:
    """ECOG performance status, 0 to 5.

    >>> parse_ecog("PS 1"), parse_ecog("0分")
    (1, 0)
    """
    match = re.fullmatch(r"(?:ecog|ps)?[\s:=]*([0-5])分?", plain(text).lower())
    if match is None:
        raise ValueFault("is not a performance status, 0 to 5")
    return int(match[1])


def parse_age(text: str) -> int:
    """Age in whole years.

    >>> parse_age("63岁")
    63
    """
    age = int(parse_number(text))
    if age > 120:
        raise ValueFault("is not an age, 0 to 120")
    return age


def in_range(minimum: float, maximum: float, parse: Callable[[str], float]) -> Callable[[str], float]:
    """The same parser, refusing figures outside a range."""
    def parsed(text: str) -> float:
        number = parse(text)
        if not minimum <= number <= maximum:
            raise ValueFault(f"is not within {minimum:g} to {maximum:g}")
        return number
    return parsed


def word_of(field: str, hint: str) -> Callable[[str], str]:
    """A parser of the words that the vocabulary knows for a field."""
    def parsed(text: str) -> str:
        known = known_value(field, text)
        if known is None:
            raise ValueFault(f"is not in the vocabulary; write {hint}")
        return known
    return parsed


def parse_boolean(text: str) -> bool:
    """Yes or no, 是 or 否, 有 or 无, 1 or 0.

    >>> parse_boolean("有"), parse_boolean("N")
    (True, False)
    """
    known = known_value("boolean", text)
    if known is None:
        raise ValueFault("is neither yes nor no")
    return known == "yes"


def parse_line(text: str) -> int:
    """Line of treatment: 1, 一线, first-line."""
    return int(word_of("line", "1 to 9")(text))


def parse_drugs(text: str) -> Parsed:
    """Generic names joined by +; what is not in the drug dictionary is left out and said so."""
    drugs = find_drugs(text)
    if drugs.text is None:
        raise ValueFault("names no drug of the dictionary; see dagster_project/lake/vocabulary.toml")
    return Parsed(drugs.text, "names more than the drug dictionary knows; that part is left out" if drugs.partly_unknown else "")


def parse_reader(text: str) -> str:
    """A reader's or arbiter's short name.

    >>> parse_reader("R1")
    'R1'
    """
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,32}", plain(text)):
        raise ValueFault("is not a reader's short name (letters, digits, - and _)")
    return plain(text)


def parse_cell(text: str, parse: Callable[[str], Any]) -> Parsed:
    """A cell's value by a parser; None for an empty cell and for words that say that the value is missing."""
    try:
        value = parse(text) if text else None
    except ValueFault:
        if is_missing(text):
            return Parsed(None)
        raise
    return value if isinstance(value, Parsed) else Parsed(value)

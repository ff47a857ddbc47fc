"""The study's vocabulary: what a site's word for a column, a value or a drug means.

The words themselves are in vocabulary.toml.
"""

from __future__ import annotations

import re
import tomllib
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

VOCABULARY = Path(__file__).with_name("vocabulary.toml")

DASHES = dict.fromkeys(map(ord, "‐‑‒–—―−﹘﹣－"), "-")
"""The many hyphens and minus signs, and the plain one."""

_IGNORED = re.compile(r"[\s\u200b-\u200f\u2060\ufeff\u00ad_\-·()\[\]/\\.:：,，、。;；'\"*#]+")
_DOSE = re.compile(
    r"\d+(\.\d+)?\s*(mg|g|ml|μg|ug|iu)(/m2|/m²|/kg)?|auc\s*[=:]?\s*\d+(\.\d+)?"
    r"|q\s*[1-4]\s*w|d\s*\d+(\s*[-,~]\s*d?\d+)*|\d+"
)
_BRACKETS = re.compile(r"[(\[【{<](.*?)[)\]】}>]")
_LATIN = re.compile(r"[a-z0-9]")
_CHINESE = re.compile(r"[\u4e00-\u9fff]")


@dataclass(frozen=True)
class Drugs:
    """Drugs found in a text: generic names in the order of the text.

    `partly_unknown` is true where some of the text was not understood.
    """

    names: tuple[str, ...]
    partly_unknown: bool
    denied: bool = False
    """A word like 未 or "without" is left beside a drug."""

    @property
    def text(self) -> str | None:
        """The generic names joined by `+`; None where there is none."""
        return "+".join(self.names) or None


@dataclass(frozen=True)
class Vocabulary:
    """vocabulary.toml, turned round: from the word to its meaning."""

    headers: Mapping[str, Mapping[str, str]]
    values: Mapping[str, Mapping[str, str]]
    missing: frozenset[str]
    drugs: Mapping[str, str]
    classes: Mapping[str, str]
    filler: tuple[str, ...]
    denials: tuple[str, ...]
    sheets: Mapping[str, str]
    units: Mapping[str, str]
    measures: Mapping[str, frozenset[str]]
    remarks: frozenset[str]
    qualifiers: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class Header:
    """What a header means: the column, and the remarks beside it.

    A remark is in brackets, or is a unit behind the words.
    """

    column: str
    remarks: tuple[str, ...] = ()


def fold(text: str) -> str:
    """The form in which words are compared.

    Full width becomes half width (and Ⅲ becomes iii), case and outer spaces are dropped.

    >>> fold(" ＥＣＯＧ ")
    'ecog'
    """
    return unicodedata.normalize("NFKC", text).casefold().strip()


def word_key(text: str) -> str:
    """`fold` without spaces, punctuation and invisible characters.

    A text of punctuation alone stays, since "-" and "+" are values.

    >>> word_key("PD-L1 (TPS)"), word_key(" - ")
    ('pdl1tps', '-')
    """
    folded = fold(text)
    return _IGNORED.sub("", folded) or folded


@cache
def _file() -> Mapping[str, Any]:
    return tomllib.loads(VOCABULARY.read_text(encoding="utf-8"))


@cache
def load_vocabulary() -> Vocabulary:
    """Read vocabulary.toml once a process."""
    raw = _file()
    values = {field: _turned(words) for field, words in raw["values"].items() if field != "missing"}
    groups = {name: group for name, group in raw["drugs"].items() if name != "filler"}
    return Vocabulary(
        headers={table: _turned(columns) for table, columns in raw["headers"].items()},
        values=values,
        missing=frozenset(word_key(w) for w in raw["values"]["missing"]),
        drugs={
            fold(word): generic
            for group in groups.values()
            for generic, words in group.items()
            for word in (generic, generic.replace("_", " "), *words)
        },
        classes={generic: name for name, group in groups.items() for generic in group},
        filler=tuple(sorted(map(fold, raw["drugs"]["filler"]), key=len, reverse=True)),
        denials=tuple(map(fold, raw["denials"]["words"])),
        sheets=_turned(raw["sheets"]),
        units=_turned(raw["units"]),
        measures={column: frozenset(units) for column, units in raw["measures"].items()},
        remarks=frozenset(map(word_key, raw["remarks"]["harmless"])),
        qualifiers={
            field: tuple(sorted(map(fold, words), key=len, reverse=True))
            for field, words in raw["qualifiers"].items()
        },
    )


def _turned(words: Mapping[str, list[str]]) -> dict[str, str]:
    return {
        word_key(word): meaning for meaning, known in words.items() for word in (meaning, *known)
    }


def header_column(table: str, header: str) -> str | None:
    """The column that a header of a case-report file means; None where the header is not known.

    >>> header_column("patients", "住院号"), header_column("patients", "年龄（岁）"), header_column(
    ...     "patients", "Favourite colour"
    ... )
    ('patient_id', 'age', None)
    """
    meaning = header_meaning(table, header)
    return meaning.column if meaning else None


def header_meaning(table: str, header: str) -> Header | None:
    """What a header of a case-report file means; None where it is not known.

    `table` is patients, treatments, follow_up, lesions, arbitrations, or any (headers that identify
    a person).

    1. The words as the vocabulary has them.
    2. The words without what stands in brackets, which is a remark.
    3. Of a measure also the words without the unit behind them, which is a remark too.
    4. A box of a multiple choice ("… (choice=…)") is not known: it is one answer of several, not
       the column.

    >>> header_meaning("lesions", "最长径（cm）"), header_meaning("lesions", "LD_cm")
    (Header(column='ld_mm', remarks=('cm',)), Header(column='ld_mm', remarks=('cm',)))
    """
    known, folded = load_vocabulary().headers[table], fold(header)
    exact = known.get(word_key(folded))
    if exact or "choice=" in folded:
        return Header(exact) if exact else None
    bare, remarks = _BRACKETS.sub(" ", folded), tuple(r.strip() for r in _BRACKETS.findall(folded))
    column = known.get(word_key(bare))
    return Header(column, remarks) if column else _before_unit(known, bare, remarks)


def _before_unit(known: Mapping[str, str], text: str, remarks: tuple[str, ...]) -> Header | None:
    key, vocabulary = word_key(text), load_vocabulary()
    for word in sorted(vocabulary.units, key=len, reverse=True):
        column = known.get(key.removesuffix(word)) if key.endswith(word) else None
        if column and column in vocabulary.measures:
            return Header(column, (word, *remarks))
    return None


def header_unit(header: Header) -> str | None:
    """The unit that the header of a measure states; empty where it states none.

    None where it states one that is not accepted.

    >>> header_unit(Header("ld_mm", ("cm",))), header_unit(Header("ld_mm")), header_unit(
    ...     Header("ld_mm", ("inch",))
    ... )
    ('cm', '', None)
    """
    vocabulary = load_vocabulary()
    if header.column not in vocabulary.measures:
        return ""
    words = {
        word for remark in header.remarks for word in re.split(r"[,，、;/]", remark) if word.strip()
    }
    units = {
        vocabulary.units.get(word_key(word))
        for word in words
        if word_key(word) not in vocabulary.remarks
    }
    if units - vocabulary.measures[header.column] or len(units) > 1:
        return None
    return next(iter(units), "")


def sheet_table(name: str) -> str | None:
    """The table that the name of a workbook's sheet means; None where it means none.

    >>> sheet_table("治疗"), sheet_table("Follow-up"), sheet_table("Sheet1")
    ('treatments', 'follow_up', None)
    """
    return load_vocabulary().sheets.get(word_key(name))


def unit_of(text: str) -> str | None:
    """The unit that a word means; None where it is none.

    One of mm, cm, year, percent, month, week, day and other.
    """
    return load_vocabulary().units.get(word_key(text))


def without_qualifiers(field: str, text: str) -> str:
    """A text without the words that do not change its meaning.

    >>> without_qualifiers("histology", "腺癌，低分化").strip(",，")
    '腺癌'
    """
    folded = fold(text)
    for word in load_vocabulary().qualifiers.get(field, ()):
        folded = folded.replace(word, "")
    return folded


def is_missing(text: str) -> bool:
    """True for an empty cell and for the words that say that a value is missing.

    >>> is_missing(" 不详 "), is_missing("N/A"), is_missing("0")
    (True, True, False)
    """
    return word_key(text) in load_vocabulary().missing


def known_value(field: str, text: str) -> str | None:
    """The allowed value that a site's word means; None where the word is not known.

    >>> known_value("sex", "女性"), known_value("egfr", "19del"), known_value("smoking", "yes")
    ('F', 'mutant', None)
    """
    return load_vocabulary().values[field].get(word_key(text))


def find_drugs(text: str) -> Drugs:
    """Every drug that a text names.

    The longest name is matched first, so that nab-paclitaxel is not taken for paclitaxel.

    Doses, days and words that only join are set aside; anything else that is left makes it partly
    unknown.

    >>> find_drugs("帕博利珠单抗200mg联合培美曲塞、卡铂").text
    'pembrolizumab+pemetrexed+carboplatin'
    >>> find_drugs("nab-paclitaxel + miracle").partly_unknown
    True
    """
    vocabulary, folded = load_vocabulary(), fold(text)
    names = dict.fromkeys(vocabulary.drugs[word] for word in _drug_pattern().findall(folded))
    rest = _DOSE.sub(" ", _drug_pattern().sub(" ", folded))
    denied = bool(names) and _denial_pattern().search(rest) is not None
    for word in vocabulary.filler:
        rest = rest.replace(word, " ")
    return Drugs(tuple(names), bool(re.search(r"[^\W\d_]", rest)), denied)


@cache
def _denial_pattern() -> re.Pattern[str]:
    return re.compile("|".join(_bounded(word) for word in load_vocabulary().denials))


@cache
def _drug_pattern() -> re.Pattern[str]:
    """Drug names, the longest first; a Latin name counts only as a whole word.

    "gem" inside another word is not gemcitabine.
    """
    words = sorted(load_vocabulary().drugs, key=len, reverse=True)
    return re.compile("|".join(_bounded(word) for word in words))


def _bounded(word: str) -> str:
    before = r"(?<![a-z])" if _LATIN.match(word) else ""
    after = r"(?![a-z])" if _LATIN.match(word[-1]) else ""
    return before + re.escape(word) + after


def drug_class(name: str) -> str | None:
    """Class of a drug by its generic name or any other name; None where unknown.

    Classes are pd1, pdl1, ctla4, chemo, antiangiogenic, tki and other.

    >>> drug_class("pembrolizumab"), drug_class("卡铂"), drug_class("aspirin")
    ('pd1', 'chemo', None)
    """
    vocabulary = load_vocabulary()
    return vocabulary.classes.get(vocabulary.drugs.get(fold(name), ""))


def regimen_classes(regimen: str | None) -> frozenset[str]:
    """Classes of the drugs of a regimen written as generic names joined by `+`.

    >>> sorted(regimen_classes("sintilimab+pemetrexed+carboplatin"))
    ['chemo', 'pd1']
    """
    found = (drug_class(name) for name in (regimen or "").split("+"))
    return frozenset(c for c in found if c)


@cache
@cache
def chinese_word(field: str, code: str) -> str | None:
    """The Chinese word for a value of a field, or for a drug: the first one that the file lists.

    >>> chinese_word("histology", "adenocarcinoma"), chinese_word("drugs", "nab_paclitaxel")
    ('腺癌', '白蛋白结合型紫杉醇')
    """
    raw = _file()
    groups = [raw["values"].get(field, {})]
    if field == "drugs":
        groups = [group for name, group in raw["drugs"].items() if name != "filler"]
    words = next((group[code] for group in groups if code in group), ())
    return next((word for word in words if _CHINESE.search(word)), None)

"""Texts of a vault that identify nobody: the words of dicom_texts.toml.

The words are read as data, by none of the code that writes.
"""

from __future__ import annotations

import re
import tomllib
from functools import cache
from pathlib import Path
from typing import NamedTuple

VOCABULARIES = Path(__file__).with_name("dicom_texts.toml")
"""The words that may stay in a header."""

MODEL, KERNEL = 0x00081090, 0x00181210
LABELS = frozenset({0x30060026, 0x30060085, 0x00620005, 0x00620020})
"""ROIName, ROIObservationLabel, SegmentLabel, TrackingID."""

WRITTEN_HERE = frozenset(
    {
        "",
        "removed",
        "yes",
        "modified",
        "iso_ir 192",
        "lakehouse_1",
        "structures",
        "segmentation",
        "algorithm",
        "00",
        "01",
        "dcm",
        "sct",
        "srt",
        "ps3.15 annex e basic profile by allowlist",
        "basic application confidentiality profile",
        "clean descriptors option",
        "retain longitudinal temporal information modified dates option",
        "retain patient characteristics option",
    }
)
"""Texts that intake puts into files, spelt out a second time on purpose."""

CODES = frozenset({"113100", "113105", "113107", "113108"})
"""DCM codes of the profile and its options; lesion codes are on the list of dicom_texts.toml."""

NAME = re.compile(
    r"[A-Z][a-z]+\^[A-Z]?[A-Za-z]*|\b[A-Z][a-z]{2,} [A-Z][a-z]{2,}(?: [A-Z][a-z]+)?\b"
    r"|[\u4e00-\u9fff]{2,}"
)
"""Two capitalised words, a caret, or Chinese characters."""

LONG_NUMBER = re.compile(r"(?<![\d.])\d{7,18}[Xx]?(?![\d.])")
"""Hospital, accession, telephone and identity numbers."""

NUMBER_FOUND, NAME_FOUND = "text with a long number", "text like a name"
UNKNOWN = "text that is on no list"

_KEYED = re.compile(r"(?:lesion|roi)_[a-z2-7]{8}")
"""What intake writes for a label that could be a person."""

_PIECE = re.compile(r"[a-z]{1,3}\d{1,2}[-._ ]\d")
"""A piece of a lesion that split: L1-1."""

_MERGED = re.compile(r"[+/&,]")
_TOKEN = re.compile(r"[A-Za-z]+|\d+|[\u4e00-\u9fff]+")
_BETWEEN_LABEL_WORDS = re.compile(r"[\s_\-.:#()]+")
_BETWEEN_MODEL_WORDS = re.compile(r"[\s_\-/(),.]+")
_DIGITS_OF_A_LABEL = 2


class Vocabularies(NamedTuple):
    """Phrases of the lists, and what models, kernels and labels are made of."""

    phrases: frozenset[str]
    kernels: re.Pattern[str]
    models: frozenset[str]
    variants: frozenset[str]
    labels: frozenset[str]
    labels_zh: re.Pattern[str]


@cache
def load_vocabularies() -> Vocabularies:
    """Read the lists once a process."""
    raw = tomllib.loads(VOCABULARIES.read_text(encoding="utf-8"))
    phrases = [phrase for words in raw["words"].values() for phrase in words]
    phrases += [text for codes in raw["codes"].values() for code in codes for text in code]
    phrases += [*raw["contrast"]["agents"], raw["contrast"]["neutral"]]
    zh = "|".join(raw["label"]["words_zh"])
    return Vocabularies(
        _folded(phrases) | CODES,
        re.compile("|".join(raw["patterns"]["kernel"])),
        _folded(raw["model"]["tokens"]),
        _folded(raw["model"]["variants"]),
        _folded(raw["label"]["words"]),
        re.compile(f"(?:{zh})+"),
    )


def _folded(words: list[str]) -> frozenset[str]:
    return frozenset(word.casefold() for word in words)


def text_fault(tag: int, text: str) -> str:
    """What is wrong with a text of an element; empty where it is of our own words.

    >>> [text_fault(0x00080070, t) for t in ("Canon Medical Systems", "Canon Zhang", "murong")]
    ['', 'text like a name', 'text that is on no list']
    """
    if is_plain(tag, text):
        return ""
    if LONG_NUMBER.search(text):
        return NUMBER_FOUND
    return NAME_FOUND if NAME.search(text) else UNKNOWN


def is_plain(tag: int, text: str) -> bool:
    """True where a text is of our own words: they are the name of no person.

    1. Every value of it is a phrase of a list, or one that intake writes.
    2. Of a kernel: or each of its values matches a pattern of kernels.
    3. Of a model: or its words are on the list, and one more numbers a variant.
    4. Of a label: or it is made of the list's words and one number of at most two digits, or keyed.
    """
    known = load_vocabularies()
    values = [value.strip().casefold() for value in text.split("\\")]
    if all(value in known.phrases or value in WRITTEN_HERE for value in values):
        return True
    if tag == KERNEL:
        return all(
            v.casefold() in known.phrases or known.kernels.fullmatch(v) for v in text.split("\\")
        )
    if tag == MODEL:
        return _is_model(known, text)
    return tag in LABELS and is_label(text)


def _is_model(known: Vocabularies, text: str) -> bool:
    words = [word for word in _BETWEEN_MODEL_WORDS.split(text.casefold()) if word]
    others = [word for word in words if word not in known.models]
    return len(others) <= 1 and known.variants.issuperset(others)


def is_label(text: str) -> bool:
    """True for a label of a lesion that holds no name, date or number of a person.

    >>> [is_label(t) for t in ("GTV-1", "病灶3", "L1-1", "lesion_ABCDEFGH", "GTV 61-04-09", "张三")]
    [True, True, True, True, False, False]
    >>> is_label("T01/T02"), is_label("GTV 24/02/20")
    (True, False)
    """
    folded = text.strip().casefold()
    if _KEYED.fullmatch(folded) or _PIECE.fullmatch(folded):
        return True
    first, *merged = _MERGED.split(folded)
    return _is_part_of_label(first) and all(
        _is_part_of_label(p) and not p.strip().isdigit() for p in merged
    )


def _is_part_of_label(text: str) -> bool:
    known, tokens = load_vocabularies(), _TOKEN.findall(text)
    if _BETWEEN_LABEL_WORDS.sub("", text) != "".join(tokens):
        return False
    numbers = [token for token in tokens if token.isdigit()]
    if len(numbers) > 1 or any(len(number) > _DIGITS_OF_A_LABEL for number in numbers):
        return False
    letters = "[a-z]" if numbers else "(?!)"
    others = [t for t in tokens if t not in numbers and not re.fullmatch(letters, t)]
    return all(word in known.labels or known.labels_zh.fullmatch(word) for word in others)

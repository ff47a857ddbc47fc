"""Which texts of a DICOM header may stay: those of dicom_texts.toml, whoever wrote them."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import tomllib
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from dagster_project.domain.imaging.labels import MERGED, normal_label

TEXTS = Path(__file__).with_name("dicom_texts.toml")

_SEPARATORS = re.compile(r"[\s_\-.,:#()/+]+")
_TOKENS = re.compile(r"[A-Za-z]+|\d+|[\u4e00-\u9fff]+")

_PIECE = re.compile(r"(?:[a-z]|tl|nl|nt|ntl)\d{1,2}[-.]\d")
"""A piece of a lesion that split, as a normal label.

Behind a word such as GTV two numbers may be a day and a month.
"""


@dataclass(frozen=True)
class Texts:
    """dicom_texts.toml in the form in which it is asked."""

    words: Mapping[str, frozenset[str]]
    patterns: Mapping[str, re.Pattern[str]]
    model: Mapping[str, Any]
    contrast: Mapping[str, Any]
    label: Mapping[str, Any]
    codes: Mapping[str, Sequence[Sequence[str]]]
    everything: str


@cache
def load_texts() -> Texts:
    """Read dicom_texts.toml once a process."""
    content = TEXTS.read_text(encoding="utf-8")
    raw = tomllib.loads(content)
    words = {
        name: frozenset(word.casefold() for word in known) for name, known in raw["words"].items()
    }
    patterns = {
        name: re.compile("|".join(f"(?:{p})" for p in known))
        for name, known in raw["patterns"].items()
    }
    return Texts(
        words,
        patterns,
        raw["model"],
        raw["contrast"],
        raw["label"],
        raw["codes"],
        content.casefold(),
    )


def is_word(kind: str, text: str) -> bool:
    """True where a text is on a list, or matches a pattern, of that kind.

    >>> is_word("kernel", "B30f"), is_word("kernel", "Zhang San"), is_word("body_part", "chest")
    (True, False, True)
    """
    texts = load_texts()
    pattern = texts.patterns.get(kind)
    return text.casefold() in texts.words[kind] or (
        pattern is not None and pattern.fullmatch(text) is not None
    )


def is_model(text: str) -> bool:
    """True where every token of a scanner's model name is known.

    At most one of the tokens numbers a variant.

    >>> is_model("SOMATOM Definition AS+"), is_model("Brilliance 16P"), is_model("Emotion Zhang San")
    (True, True, False)
    >>> is_model("Force 1949 0511"), is_model("Emotion 16 64")
    (False, False)
    """  # noqa: E501
    model = load_texts().model
    known, variants = (
        {token.casefold() for token in model[kind]} for kind in ("tokens", "variants")
    )
    tokens = [token.casefold() for token in re.split(r"[\s_\-/(),.]+", text) if token]
    numbers = [token for token in tokens if token not in known]
    return len(numbers) <= model["variants_at_most"] and variants.issuperset(numbers)


def contrast_word(text: str) -> str | None:
    """None where no agent was given; a known agent as it is; CONTRAST for any other text.

    >>> contrast_word("none"), contrast_word("Iohexol"), contrast_word("80 ml, Dr Wang")
    (None, 'IOHEXOL', 'CONTRAST')
    """
    contrast, written = load_texts().contrast, text.strip().upper()
    if written in contrast["none"]:
        return None
    return written if written in contrast["agents"] else contrast["neutral"]


def known_code(kind: str, value: str, scheme: str) -> Sequence[str]:
    """Code, scheme and meaning as this project's list has them.

    The first of the list for a code that is not on it.
    """
    codes = load_texts().codes[kind]
    return next((code for code in codes if (code[0], code[1]) == (value, scheme)), codes[0])


def is_plain_label(text: str) -> bool:
    """True where a label is made of known words and at most one number of at most two digits.

    1. A date (GTV 24.02.20) and a number in groups (138 001) have more numbers or digits than that.
    2. A single letter counts as a word where a number is beside it.
    3. A piece of a lesion may have a number of one digit behind that of the lesion, where that
       follows its letter (L1-1, T01.2).
    4. A mass of lesions that merged (T01/T02) is plain where each of them is, and has a word or a
       letter.

    >>> [is_plain_label(t) for t in ("GTV-1", "L12a", "病灶3", "L1-1", "T01/T02", "GTV Zhang San", "ROI 138")]
    [True, True, True, True, True, False, False]
    >>> [is_plain_label(t) for t in ("GTV 61-04-09", "GTV 24.02.20", "GTV 2-4", "L1 L2", "L61/04/09")]
    [False, False, False, False, False]
    """  # noqa: E501
    folded = unicodedata.normalize("NFKC", text).strip()
    if len(folded) > load_texts().label["longest"]:
        return False
    parts = MERGED.split(folded)
    if len(parts) == 1:
        return _PIECE.fullmatch(normal_label(folded)) is not None or _is_plain_part(folded)
    return all(_is_plain_part(part) and not part.isdigit() for part in parts)


def _is_plain_part(text: str) -> bool:
    label, tokens = load_texts().label, _TOKENS.findall(text)
    if not tokens or _SEPARATORS.sub("", text) != "".join(tokens):
        return False
    numbers = [token for token in tokens if token.isdigit()]
    short = (
        all(len(token) <= label["digits_at_most"] for token in numbers)
        and len(numbers) <= label["numbers_at_most"]
    )
    beside = zip(["", *tokens[:-1]], [*tokens[1:], ""], strict=True)
    return short and all(
        _label_token(token, before + after)
        for token, (before, after) in zip(tokens, beside, strict=True)
    )


def _label_token(token: str, beside: str) -> bool:
    words, words_zh = _label_words()
    if token.isdigit():
        return True
    if token.isascii():
        return token.casefold() in words or (len(token) == 1 and any(c.isdigit() for c in beside))
    return words_zh.fullmatch(token) is not None


@cache
def _label_words() -> tuple[frozenset[str], re.Pattern[str]]:
    label = load_texts().label
    return frozenset(w.casefold() for w in label["words"]), re.compile(
        f"(?:{'|'.join(label['words_zh'])})+"
    )


def clean_label(text: str, *, key: bytes, target: re.Pattern[str]) -> str:
    """The label itself where it is plain, else a neutral one.

    One lesion has the same label in every file and table.

    Spellings that mean one lesion (`normal_label`) give one neutral label. A label that counts as a
    target by the protocol's pattern keeps that: its neutral name begins with `lesion`.
    """
    plain = unicodedata.normalize("NFKC", text).strip()
    if is_plain_label(plain):
        return plain
    drawn = hmac.new(key, b"label\0" + normal_label(plain).encode(), hashlib.sha256).digest()[:5]
    return ("lesion_" if target.match(plain) else "ROI_") + base64.b32encode(drawn).decode()

"""Words that this program writes itself: a text of other words may be a person's."""

from __future__ import annotations

import ast
import contextlib
import json
import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from pydicom._dicom_dict import DicomDictionary
from pydicom._uid_dict import UID_dictionary

from dagster_project.intake.dicom.audit_texts import (
    KERNEL,
    LONG_NUMBER,
    is_plain,
    load_vocabularies,
)
from dagster_project.lake.columns import PAGE_CODE_PATTERN
from dagster_project.lake.files import write_whole
from dagster_project.study import digest_of

CACHE = Path(__file__).with_name("__pycache__") / "audit_words.json"
"""Words and numbers of the program, by the times and sizes of its files.

Parsing all of them takes seconds. Where nothing can be written it is done anew each time.
"""

PACKAGES = ("dagster_project", "assets", "checks", "models")
NAMES_OF_NOBODY = ("simulation",)
"""Packages of which the strings are names and addresses, though nobody's."""

FORMS = re.compile(
    r"(?<![A-Za-z0-9])(?:[A-Z]{1,8}[0-9]{0,2}-[A-Z2-7]{17}|2\.25\.\d{30,39}|S[A-Z2-7]{16}"
    r"|(?:lesion|ROI)_[A-Z2-7]{8}|[0-9a-f]{12}|[0-9a-f]{16}|[0-9a-f]{32}|[0-9a-f]{64}"
    r"|[A-Z]{1,3}\d{1,2}|\d{1,3}[dr]\d|\([0-9A-F]{4},[0-9A-F]{4}\)"
    rf"|{PAGE_CODE_PATTERN.strip('^$')}"
    r"|(?<=status )[0-9A-F]{4}"
    r"|(?:[A-Z][a-z]*)+(?:Error|Exception|Warning|Iteration)(?: in [\w.]+:\d{1,5})?"
    r"|(?<=row )[1-9]\d{5}|[1-9]\d{5}(?= (?:of|objects|files|entries|such|more)\b)"
    r"|[1-9]\d{5,7}(?= (?:rows|contours)\b)"
    r")(?![A-Za-z0-9])"
)
"""Forms of the program's own texts.

Tags, pseudonyms, keyed UIDs, names of scans, keyed labels, digests, codes of pages, sites and
readers; what a PACS answers, kinds of errors with their place in the code, rows and counts of a
large delivery.
"""

HEADERS_ZH = frozenset({"住院号"})
"""Chinese headers that reasons name."""

FORMER_REASONS = (
    "undecodable pixels: the encoding is not supported or the stream is broken; "
    "export uncompressed",
)
"""Reasons of earlier versions with a word that none has now.

Registers hold what was refused by the network.
"""

DAY = re.compile(
    r"(?<!\d)(?:19|20)\d\d\s*[-/.年]?\s*(?:0?[1-9]|1[0-2])\s*[-/.月]\s*\d{1,2}(?!\d)"
    r"|(?<!\d)(?:19|20)\d{6}(?!\d)|(?<!\d)\d{1,2}[-/.]\d{1,2}[-/.](?:19|20)?\d\d(?!\d)"
)
"""A day of the calendar as people write it."""

SIX_DIGITS = re.compile(r"(?<![\d.])\d{6,}(?![\d.])")
_CODE = re.compile(r"[A-Z]+\d{0,2}")
_WORD = re.compile(r"[^\W\d_\u4e00-\u9fff]+|[\u4e00-\u9fff]+")

NUMBER, DATE, WORD = "text with a long number", "text with a date", "text that is on no list"


def words_fault(text: str, sites: frozenset[str] = frozenset()) -> str:
    """What a text holds that this program has not written; empty where there is nothing.

    1. Pseudonyms, digests and other forms of our own are left out, and so are codes of `sites`.
    2. What is left has no number of six digits, no date, and no word that no text of the program
       has (a reason may say how a date is written).
    3. A label of a lesion may be Chinese, also within a reason; a kernel is what makers call it.

    >>> [words_fault(t) for t in ("row 6 column age is not a date", "murong shuangyan")]
    ['', 'text that is on no list']
    >>> words_fault("1949-05-11")
    'text with a date'
    """
    rest = _CODE.sub(lambda code: " " if code[0] in sites else code[0], FORMS.sub(" ", text))
    numbers = {*SIX_DIGITS.findall(rest), *LONG_NUMBER.findall(rest)}
    if not numbers <= program_numbers():
        return NUMBER
    if not set(DAY.findall(rest)) <= program_numbers():
        return DATE
    words = [word for word in _WORD.findall(rest) if len(word) > 1 or not word.isascii()]
    strange = [word for word in words if not _is_ours(word)]
    return WORD if strange and not is_plain(KERNEL, text) else ""


def _is_ours(word: str) -> bool:
    chinese = word in HEADERS_ZH or load_vocabularies().labels_zh.fullmatch(word)
    return word.casefold() in program_words() or bool(chinese)


@cache
def program_words() -> frozenset[str]:
    """Every word of the program's strings and lists, and of the DICOM dictionary.

    Reasons give the dictionary's words.
    """
    lists = load_vocabularies()
    names = [
        *(entry[0] for entry in UID_dictionary.values()),
        *(entry[4] for entry in DicomDictionary.values()),
    ]
    return frozenset(_in_program()["words"]) | _words(names) | lists.labels | lists.models


@cache
def program_numbers() -> frozenset[str]:
    """Dates and long numbers of the program's strings: examples of how something is written."""
    return frozenset(_in_program()["numbers"])


@cache
def _in_program() -> dict[str, list[str]]:
    """Words and numbers of `program_texts`, read from `CACHE` while no source has changed."""
    state = digest_of([(str(f), f.stat().st_mtime_ns, f.stat().st_size) for f in _sources()])
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
        cached = json.loads(CACHE.read_text(encoding="utf-8"))
        if cached["state"] == state:
            return cached["found"]
    texts = program_texts()
    numbers = {
        number
        for text in texts
        for pattern in (DAY, SIX_DIGITS, LONG_NUMBER)
        for number in pattern.findall(text)
    }
    found = {"words": sorted(_words(texts)), "numbers": sorted(numbers)}
    with contextlib.suppress(OSError):
        write_whole(CACHE, json.dumps({"state": state, "found": found}).encode())
    return found


def _words(texts: Iterable[str]) -> frozenset[str]:
    words = (word for text in texts for word in _WORD.findall(text) if word.isascii())
    return frozenset(word.casefold() for word in words)


def program_texts() -> tuple[str, ...]:
    """The program's strings and lists, `FORMER_REASONS` among them.

    Docstrings and invented persons are left out.
    """
    return tuple(text for file in _sources() for text in _texts(file))


def _sources() -> list[Path]:
    root = Path(__file__).resolve().parents[3]
    files = (file for package in PACKAGES for file in sorted((root / package).rglob("*.*")))
    return [
        file
        for file in files
        if file.suffix in {".py", ".toml"} and not set(NAMES_OF_NOBODY) & set(file.parts)
    ]


def _texts(file: Path) -> list[str]:
    content = file.read_text(encoding="utf-8")
    return [content] if file.suffix == ".toml" else _strings(ast.parse(content))


def _strings(tree: ast.Module) -> list[str]:
    """String constants, those that stand alone (docstrings) left out, and names of arguments.

    One walk over what nodes hold: `ast.walk` takes three times as long for all of the program.
    """
    found: list[str] = []
    left: list[ast.AST] = [tree]
    while left:
        node = left.pop()
        if isinstance(node, ast.Constant):
            if isinstance(node.value, str):
                found.append(node.value)
            continue
        if isinstance(node, (ast.keyword, ast.arg)) and node.arg:
            found.append(node.arg)
        for held in vars(node).values():
            if isinstance(held, list):
                left += [one for one in held if isinstance(one, ast.AST) and not _alone(one)]
            elif isinstance(held, ast.AST):
                left.append(held)
    return found


def _alone(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)

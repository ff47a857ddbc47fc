"""The language that commands print and explain themselves in: English or Chinese.

English stands in the code and is the key of words_zh.toml. Dagster's own log lines stay English.
"""

from __future__ import annotations

import os
import re
import tomllib
import unicodedata
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

import click

LANGUAGES = ("en", "zh")
"""Languages that commands print in."""

VARIABLES = ("LAKEHOUSE_LANGUAGE", "LAKEHOUSE_LANG")
"""Environment variables that choose one, for all commands; the second is an earlier name."""

LOCALE = ("LC_ALL", "LC_MESSAGES", "LANG")
"""What else says it, as for other programs: the first of them that is set."""

CATALOGUE = Path(__file__).with_name("words_zh.toml")

_CHINESE = re.compile(r"[\u4e00-\u9fff]")

_FRAME = {"Options": "选项", "Commands": "命令", "Usage: ": "用法："}
"""Click's own headings."""

_MARKS = (("default: ", "默认："), ("required", "必填"))
"""What click writes in brackets behind the help of an option."""

_EXAMPLE = re.compile(r"^Example(, from an empty folder)?:$", re.MULTILINE)

_NOT_FIRST = "。，；：、）！？”"
"""Punctuation that does not begin a line."""


def chosen_language() -> str:
    """The language of the environment.

    1. that of LAKEHOUSE_LANGUAGE
    2. else Chinese where the locale is one of Chinese
    3. else English

    Raises
    ------
    click.UsageError
        Where LAKEHOUSE_LANGUAGE has another value.
    """
    for name in VARIABLES:
        value = os.environ.get(name)
        if value in LANGUAGES:
            return value
        if value:
            raise click.UsageError(f"{name} is one of {', '.join(LANGUAGES)}")
    locale = next(filter(None, map(os.environ.get, LOCALE)), "")
    return "zh" if locale.startswith("zh") else "en"


def printed(text: str, *values: object) -> str:
    """A sentence of a command in the language of the environment, its numbered places filled."""
    chinese = chosen_language() == "zh"
    return (_words()["printed"].get(text, text) if chinese else text).format(*values)


def in_one_language(message: str) -> str:
    """An error in the language of the environment, as far as it has one.

    Errors that a hospital reads have their Chinese below the English; of others the catalogue of
    reasons has the pieces.
    """
    from dagster_project.lake.reasons import chinese_reason

    if chosen_language() == "en":
        return message
    lines = message.split("\n")
    chinese = [line for line in lines if _CHINESE.search(line)]
    return "\n".join(chinese) if chinese else "\n".join(map(chinese_reason, lines))


@cache
def _words() -> dict[str, dict[str, str]]:
    sections = tomllib.loads(CATALOGUE.read_text(encoding="utf-8"))
    return {
        section: {_key(en) if section == "help" else en: zh for en, zh in entries.items()}
        for section, entries in sections.items()
    }


def _key(text: str) -> str:
    """A text however its lines are broken."""
    return " ".join(text.split())


# -- help ------------------------------------------------------------------------------------------


class Formatter(click.HelpFormatter):
    """Help in the language of the environment."""

    def write_usage(self, prog: str, args: str = "", prefix: str | None = None) -> None:
        """The line of usage."""
        chinese = _FRAME["Usage: "] if chosen_language() == "zh" else prefix
        super().write_usage(prog, args, chinese)

    def write_heading(self, heading: str) -> None:
        """The heading of a list."""
        chinese = chosen_language() == "zh"
        super().write_heading(_FRAME.get(heading, heading) if chinese else heading)

    def write_text(self, text: str) -> None:
        """What a command does, paragraph by paragraph."""
        columns = self.width - self.current_indent
        chinese = chosen_language() == "zh"
        super().write_text(_chinese_help(text, columns) if chinese else text)

    def write_dl(
        self, rows: Iterable[tuple[str, str]], col_max: int = 30, col_spacing: int = 2
    ) -> None:
        """Options or commands, each with its help."""
        shown = list(rows)
        if chosen_language() == "zh":
            first = min(max(len(name) for name, _ in shown), col_max) + col_spacing
            columns = max(self.width - self.current_indent - first, 20)
            shown = [(name, _as_it_is(_chinese_row(text), columns)) for name, text in shown]
        super().write_dl(shown, col_max, col_spacing)


class Context(click.Context):
    """The context of every command, whose help is written by `Formatter`."""

    formatter_class = Formatter


def with_words(command: click.Command) -> click.Command:
    """The command and those below it, explained in the language of the environment."""
    command.context_class = Context
    for below in getattr(command, "commands", {}).values():
        with_words(below)
    return command


def _chinese_help(text: str, columns: int) -> str:
    return "\n\n".join(_chinese_paragraph(part, columns) for part in text.split("\n\n"))


def _chinese_paragraph(paragraph: str, columns: int) -> str:
    """A paragraph in Chinese; the example at its end stays, as the command that it is."""
    own, example = paragraph.removeprefix("\b\n"), ""
    begins = _EXAMPLE.search(own)
    if begins:
        head = "示例（从空文件夹开始）：" if begins[1] else "示例："
        own, example = own[: begins.start()], head + own[begins.end() :]
    chinese = _looked_up(own)
    lines = [*_wrapped(chinese, columns), *([example] if example else [])]
    return "\b\n" + "\n".join(lines)


def _looked_up(text: str) -> str:
    return _words()["help"].get(_key(text), _key(text))


def _chinese_row(text: str) -> str:
    """The help of an option with what click adds in brackets, or the beginning of a command's."""
    found = _looked_up(text)
    if _CHINESE.search(found):
        return found
    head, bracket, added = text.rpartition("  [")
    if bracket:
        for english, chinese in _MARKS:
            added = added.replace(english, chinese)
        return f"{_looked_up(head)}  [{added}"
    return _first_sentence(text)


def _first_sentence(text: str) -> str:
    """The Chinese of a command of which a list shows the first sentence, cut where it is long."""
    begins = text.removesuffix("...").strip()
    whole = (zh for en, zh in _words()["help"].items() if begins and en.startswith(begins))
    return next(whole, text).partition("。")[0]


def _as_it_is(text: str, columns: int) -> str:
    """A text for click to print in these lines: it counts a Chinese character as one column."""
    return "\b\n" + "\n".join(_wrapped(text, columns))


def _wrapped(text: str, columns: int) -> list[str]:
    """Lines of at most so many columns, broken at spaces and between Chinese characters.

    >>> _wrapped("只读查询 lake sql。", 9)
    ['只读查询', 'lake sql。']
    """
    lines, line = list[str](), ""
    for piece in _pieces(text):
        if line and _width(line + piece.rstrip()) > columns and piece not in _NOT_FIRST:
            lines.append(line.rstrip())
            line = ""
        line += piece.lstrip() if not line else piece
    return [*lines, line.rstrip()] if line.strip() else lines


def _pieces(text: str) -> Iterator[str]:
    """What a line is not broken within: a character of two columns, or a word and its space."""
    return (found[0] for found in re.finditer(r"[\u3000-\uffef]|[^\s\u3000-\uffef]+|\s+", text))


def _width(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)

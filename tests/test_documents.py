"""What the documents name is there: commands, options, modules, targets, files and headings."""

from __future__ import annotations

import importlib.util
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import gdcm  # noqa: F401 - commands load it, and it sets a variable of the environment once
import pytest

from dagster_project.cli import main
from tests.conftest import REPOSITORY

PAGES = [
    *REPOSITORY.glob("README*.md"),
    *(REPOSITORY / "docs").glob("*.md"),
    *(REPOSITORY / "docs" / "decisions").glob("*.md"),
]
GUIDES = [page for page in PAGES if page.parent.name != "decisions" and page.stem != "changelog"]
"""What somebody follows today; decisions and the changelog speak of their day."""

CODE = re.compile(r"```(?:sh|bash)\n(.*?)```|`([^`\n]+)`", re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


def name_of(page: Path) -> str:
    return page.relative_to(REPOSITORY).as_posix()


def commands(page: Path) -> Iterator[list[str]]:
    """Each command that a page has, in words; comments and what follows a pipe are left out."""
    for block, inline in CODE.findall(page.read_text(encoding="utf-8")):
        for line in (block or inline).splitlines():
            for part in re.split(r"&&|\||;", line):
                lexer = shlex.shlex(part, posix=True, punctuation_chars=False)
                lexer.whitespace_split, lexer.commenters = True, "#"
                try:
                    words = list(lexer)
                except ValueError:  # a quote that goes on in the next line
                    words = part.split()
                yield [w for w in words if not re.fullmatch(r"[A-Z_]+=\S*", w)]


def faults_of(words: list[str]) -> list[str]:
    """What in a `lakehouse` command is not there; `…` stands for anything."""
    command: click.Command = main
    with click.Context(main) as context:
        for position, word in enumerate(words[1:], start=1):
            if not isinstance(command, click.Group) or not re.fullmatch(r"[a-z][a-z-]*", word):
                return _unknown(command, words[position:])
            found = command.get_command(context, word)
            if found is None:
                return [word]
            command = found
    return []


def _unknown(command: click.Command, words: list[str]) -> list[str]:
    known = {o for p in command.params for o in (*p.opts, *p.secondary_opts)} | {"--help"}
    known |= {o for p in main.params for o in p.opts}
    return [
        w for w in words if w.startswith("--") and w.partition("=")[0].strip("[],.…") not in known
    ]


@pytest.mark.parametrize("page", GUIDES, ids=name_of)
def test_every_lakehouse_command_is_there(page: Path) -> None:
    found = [words for words in commands(page) if words[:1] == ["lakehouse"] and len(words) > 1]
    assert {" ".join(w): faults_of(w) for w in found if faults_of(w)} == {}


def test_a_command_that_is_not_there_would_be_found() -> None:
    assert faults_of(shlex.split("lakehouse sql 'SELECT 1' --csv")) == []
    assert faults_of(shlex.split("lakehouse keys agent KEY_DRIVE")) == []
    assert faults_of(shlex.split("lakehouse sqll 'SELECT 1'")) == ["sqll"]
    assert faults_of(shlex.split("lakehouse sql 'SELECT 1' --cvs")) == ["--cvs"]
    assert faults_of(shlex.split("lakehouse pacs listn --site A")) == ["listn"]


@pytest.mark.parametrize("page", GUIDES, ids=name_of)
def test_every_module_and_target_is_there(page: Path) -> None:
    targets = re.findall(r"^([a-z]+):", (REPOSITORY / "Makefile").read_text("utf-8"), re.MULTILINE)
    missing = []
    for words in commands(page):
        if words[:1] == ["make"] and len(words) > 1 and re.fullmatch(r"[a-z]+", words[1]):
            missing += [words[1]] if words[1] not in targets else []
        if "-m" in words[:3] and len(words) > words.index("-m") + 1:
            module = words[words.index("-m") + 1]
            ours = module.partition(".")[0] in {"dagster_project", "benchmarks", "tests", "models"}
            missing += [module] if ours and importlib.util.find_spec(module) is None else []
    assert missing == []


def anchors(page: Path) -> set[str]:
    """Anchors of a page's headings, as GitHub makes them."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    plain = (re.sub(r"[`*]|\[([^\]]*)\]\([^)]*\)", r"\1", h) for h in HEADING.findall(text))
    return {re.sub(r"[^\w\- ]", "", h.strip().lower()).replace(" ", "-") for h in plain}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_leads_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```|`[^`\n]*`", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    links = [link for link in LINK.findall(text) if not re.match(r"https?:|mailto:", link)]
    assert [link for link in links if not _leads_somewhere(page, link)] == []


def _leads_somewhere(page: Path, link: str) -> bool:
    file, _, anchor = link.partition("#")
    target = (page.parent / file).resolve() if file else page
    if not target.exists():
        return False
    return not anchor or target.suffix != ".md" or anchor in anchors(target)

"""What the documents name is there: commands, options, modules, targets, files and headings."""

from __future__ import annotations

import ast
import configparser
import importlib.util
import re
import shlex
import subprocess
import tomllib
from collections.abc import Iterator
from itertools import dropwhile
from pathlib import Path

import click
import gdcm  # noqa: F401 - commands load it, and it sets a variable of the environment once
import pytest

from dagster_project.cli import main
from dagster_project.flow.alert_channels import Alerts, Mail, Webhook, read_alerts
from dagster_project.intake.pacs.pacs_settings import read_destination, read_settings
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
    flags = {o for p in main.params if getattr(p, "is_flag", False) for o in p.opts}
    words = [words[0], *dropwhile(flags.__contains__, words[1:])]
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


# -- blocks of what an administrator follows -------------------------------------------------------

OPERATED = [REPOSITORY / name for name in ("README.md", "README.zh-CN.md", "docs/operations.md")]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
BLOCKS = [
    pytest.param(language, text, id=f"{page.name}-{number}-{language or 'text'}")
    for page in OPERATED
    for number, (language, text) in enumerate(BLOCK.findall(page.read_text(encoding="utf-8")))
]
NOT_HERE = {"r", "sql", ""}
"""R runs in tests/lake/test_publish.py, SQL in tests/test_postgres.py; the rest is a tree."""


@pytest.mark.parametrize(("language", "text"), BLOCKS)
def test_every_block_is_of_its_language(language: str, text: str) -> None:
    match language:
        case "sh":
            subprocess.run(["bash", "-n"], input=text, text=True, check=True)
        case "python":
            imported = [n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.ImportFrom)]
            for node in imported:
                module = importlib.import_module(str(node.module))
                assert [a.name for a in node.names if not hasattr(module, a.name)] == []
        case "toml":
            assert tomllib.loads(text)
        case "ini":
            configparser.ConfigParser().read_string(text)
        case _:
            assert language in NOT_HERE


def block(page: Path, language: str, words: str) -> str:
    found = [t for kind, t in BLOCK.findall(page.read_text("utf-8")) if kind == language]
    (text,) = [t for t in found if words in t]
    return text


def test_the_example_of_the_alerts_is_accepted_whole(tmp_path: Path) -> None:
    (tmp_path / "alerts.toml").write_text(block(OPERATED[2], "toml", "[webhook]"), "utf-8")
    alerts = read_alerts(tmp_path)
    assert alerts.webhook is not None
    assert alerts.mail is not None
    named = {*Alerts.model_fields, *Webhook.model_fields, *Mail.model_fields}
    assert [n for n in named if n not in block(OPERATED[2], "toml", "[webhook]")] == []


def test_the_example_of_a_pacs_is_accepted(tmp_path: Path) -> None:
    (tmp_path / "pacs.toml").write_text(block(OPERATED[2], "toml", "[BJCH.listen]"), "utf-8")
    settings = read_settings(tmp_path / "pacs.toml", "BJCH")
    assert settings.listen.callers == ("PACS1", "CT3")
    assert read_destination(tmp_path / "pacs.toml", "BJCH", "REPORTS").ae_title == "REPORTS"


def test_units_and_recipes_that_are_named_are_there() -> None:
    text = OPERATED[2].read_text("utf-8")
    there = {p.name for p in (REPOSITORY / "deploy").iterdir()}
    named = set(re.findall(r"lakehouse-[a-z]+@?(?:\.service|\.timer)", text))
    assert named
    assert named - there == set()
    started = re.findall(r"^systemctl enable --now (.*)$", text, re.MULTILINE)
    units = [u for line in started for u in line.split()]
    assert [u for u in units if not {u, f"{u}.service"} & {*there, "lakehouse-pacs@BJCH"}] == []


def test_both_readmes_have_the_same_blocks_of_commands() -> None:
    """Comments are in each language; the commands are one."""
    first, second = (
        [
            [line.partition(" #")[0].rstrip() for line in text.splitlines()]
            for language, text in BLOCK.findall(page.read_text("utf-8"))
            if language == "sh"
        ]
        for page in OPERATED[:2]
    )
    assert first == second

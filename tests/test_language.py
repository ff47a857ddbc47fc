"""Commands in Chinese: chosen as for other programs, whole in help and in what they print."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from dagster_project.cli import main
from dagster_project.commands import backup, status, words
from dagster_project.commands.words import chosen_language, in_one_language, printed
from dagster_project.lake.errors import DamagedFile, UnmigratedLake, UnreadableCatalogue
from tests.reports.browser import CHINESE
from tests.reports.pages import SENTENCE

COMMANDS = Path(words.__file__).parent


def _walk(command, names=()):
    yield names
    if isinstance(command, click.Group):
        for name in command.list_commands(click.Context(command)):
            below = command.get_command(click.Context(command), name)
            yield from _walk(below, (*names, name))


EVERY_COMMAND = list(_walk(main))


@pytest.fixture(autouse=True)
def no_language(monkeypatch):
    for name in (*words.VARIABLES, *words.LOCALE):
        monkeypatch.delenv(name, raising=False)


def _help(names, **environment):
    found = CliRunner().invoke(main, [*names, "--help"], prog_name="lakehouse", env=environment)
    assert found.exit_code == 0
    return found.output


@pytest.mark.parametrize("names", EVERY_COMMAND, ids="-".join)
def test_the_help_of_a_command_is_whole_in_chinese(names):
    text = _help(names, LAKEHOUSE_LANGUAGE="zh")
    explained = "\n".join(line for line in text.splitlines() if "lakehouse " not in line)
    assert not SENTENCE.findall(re.sub(r"\[默认：.*?\]", "", explained, flags=re.DOTALL))
    assert CHINESE.search(explained)
    assert "Example" not in text


@pytest.mark.parametrize("names", EVERY_COMMAND, ids="-".join)
def test_in_english_it_has_no_chinese(names):
    assert not CHINESE.search(_help(names))


def test_nothing_is_translated_that_no_command_says():
    said = "".join("".join(_help(names).split()) for names in EVERY_COMMAND)
    left = [en for en in words._words()["help"] if "".join(en.split()).rstrip(".") not in said]
    assert left == []


@pytest.mark.parametrize(
    ("environment", "language"),
    [
        ({}, "en"),
        ({"LANG": "zh_CN.UTF-8"}, "zh"),
        ({"LANG": "zh_CN.UTF-8", "LC_ALL": "C"}, "en"),
        ({"LANG": "zh_CN.UTF-8", "LAKEHOUSE_LANGUAGE": "en"}, "en"),
        ({"LANG": "de_DE.UTF-8", "LAKEHOUSE_LANGUAGE": "zh"}, "zh"),
        ({"LAKEHOUSE_LANG": "zh"}, "zh"),
        ({"LAKEHOUSE_LANG": "zh", "LAKEHOUSE_LANGUAGE": "en"}, "en"),
    ],
)
def test_the_language_is_that_of_the_setting_then_of_the_locale(monkeypatch, environment, language):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert chosen_language() == language


def test_another_language_is_refused_by_name(monkeypatch):
    monkeypatch.setenv("LAKEHOUSE_LANGUAGE", "fr")
    with pytest.raises(click.UsageError, match="LAKEHOUSE_LANGUAGE is one of en, zh"):
        chosen_language()


def _literals(file, callee):
    """The texts that a module prints by a function, constants of the module among them."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    constants = {
        node.targets[0].id: node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == callee and node.args:
            text = node.args[0]
            text = constants.get(text.id, text) if isinstance(text, ast.Name) else text
            branches = [text.body, text.orelse] if isinstance(text, ast.IfExp) else [text]
            yield from (b.value for b in branches if isinstance(b, ast.Constant))


def test_every_line_that_a_command_prints_has_its_chinese():
    said = {text for file in COMMANDS.glob("*.py") for text in _literals(file, "printed")}
    assert len(said) > 10
    assert sorted(said - set(words._words()["printed"])) == []
    for module in (status, backup):
        own = set(_literals(Path(module.__file__), "words"))
        assert own
        assert sorted(own - set(module.ZH)) == []


def test_places_for_values_are_the_same_in_both():
    for en, zh in words._words()["printed"].items():
        assert set(re.findall(r"{\d}", en)) == set(re.findall(r"{\d}", zh))


def test_what_a_run_says_without_a_delivery(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for language, said in (("zh", "没有可处理的内容"), ("en", "Nothing to do")):
        environment = {"LAKEHOUSE_LANGUAGE": language}
        found = CliRunner().invoke(main, ["--home", "home", "run"], env=environment)
        assert found.exit_code == 0
        assert found.output.startswith(said)
    missing = CliRunner().invoke(main, ["--home", "no", "status"], env={"LANG": "zh_CN.UTF-8"})
    assert "没有数据湖" in missing.output
    assert missing.exit_code == 1


@pytest.mark.parametrize(
    "error",
    [
        DamagedFile("reads", "NORTH"),
        DamagedFile("reads", None, "has other bytes than were written"),
        UnreadableCatalogue(),
        UnmigratedLake(1, 2),
    ],
    ids=lambda e: type(e).__name__,
)
def test_a_fault_of_the_lake_is_in_one_language(error, monkeypatch):
    monkeypatch.setenv("LAKEHOUSE_LANGUAGE", "zh")
    text = re.sub(r"`[^`]*`", "", in_one_language(str(error)))
    assert not SENTENCE.findall(text)
    assert CHINESE.search(text)


def test_a_sentence_without_chinese_stays():
    assert printed("{0} of {1}", 1, 2) == "1 of 2"

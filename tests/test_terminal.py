"""What a run shows on its way: a bar, or one line per stage in a log, and no path of a module."""

from __future__ import annotations

import io
import os
import subprocess
import sys

import dagster as dg
import pytest
from rich.console import Console

from dagster_project.commands import progress
from dagster_project.commands.progress import Stage, shown
from dagster_project.commands.run import _in_our_words
from dagster_project.console import LISTENERS, console
from tests.conftest import REPOSITORY

STAGE = Stage("site BJCH", 2, 4, 150.0)


@dg.op
def first() -> None:
    """A step."""


@dg.op(ins={"after": dg.In(dg.Nothing)})
def second() -> None:
    """Another one."""


@dg.job(logger_defs={"console": console})
def two_steps() -> None:
    second(first())


def said(monkeypatch: pytest.MonkeyPatch, *, terminal: bool) -> str:
    out = io.StringIO()
    shown_on = Console(file=out, force_terminal=terminal, width=100, highlight=False)
    monkeypatch.setattr(progress, "CONSOLE", shown_on)
    with shown(STAGE, 2):
        result = two_steps.execute_in_process(run_config={"loggers": {"console": {}}})
    assert result.success
    assert LISTENERS == []
    return out.getvalue()


def test_a_log_has_one_line_per_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    (line,) = said(monkeypatch, terminal=False).splitlines()
    assert line.startswith("site BJCH (2 of 4, 2.5 min the last time)")


def test_a_terminal_has_a_bar_that_counts_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    text = said(monkeypatch, terminal=True)
    assert "2/2" in text
    assert "site BJCH second" in text


@pytest.mark.parametrize(
    ("message", "shown_as"),
    [
        (
            "dagster_project.flow.intake.DeliveryError: site BJCH could not be taken in",
            "site BJCH could not be taken in",
        ),
        ("models.operation.registry.Unknown: no such model", "no such model"),
        ("polars.exceptions.ComputeError: cannot parse", "ComputeError: cannot parse"),
        ("MemoryError: 3 GiB", "MemoryError: 3 GiB"),
        ("OSError: [Errno 28] No space left on device: 'x'", "the disk is full"),
    ],
)
def test_no_message_begins_with_the_path_of_a_module(message: str, shown_as: str) -> None:
    assert _in_our_words(message).startswith(shown_as)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_shell_completes_commands(shell: str) -> None:
    """As README.md says to set it up: the shell asks the program itself."""
    program = "import sys; sys.argv[0] = 'lakehouse'; from dagster_project.cli import main; main()"
    asked = {"COMP_WORDS": "lakehouse st", "COMP_CWORD": "1" if shell != "fish" else "st"}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, **asked, "_LAKEHOUSE_COMPLETE": f"{shell}_complete"},
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "status" in done.stdout, done.stderr

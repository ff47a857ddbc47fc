"""What `lakehouse grade` and `lakehouse evaluate` have in common: tables in, files out."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import polars as pl

if TYPE_CHECKING:
    from dagster_project.flow.trial_tables import Trial

PLACES_SHOWN = 10
"""Rows that are named on the screen for each rule; all of them are in the table of flags."""

folder_argument = click.argument(
    "folder", metavar="DIR", type=click.Path(exists=True, file_okay=False, path_type=Path)
)
"""The folder with the tables of a trial."""


def _with_rows(_: click.Context, __: click.Parameter, file: Path) -> Path:
    if file.suffix.lower() not in {".csv", ".parquet"}:
        raise click.ClickException("--out must end in .csv or .parquet")
    return file


def out_option(text: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The file that is written, with the help text of the command."""
    return click.option(
        "--out",
        "file",
        required=True,
        metavar="FILE",
        type=click.Path(dir_okay=False, path_type=Path),
        callback=_with_rows,
        help=text,
    )


def print_input(trial: Trial, flags: pl.DataFrame) -> None:
    """What was read, what was not, and which rows were flagged by which rule."""
    from dagster_project.commands.terminal import print_table

    print_table("Read", ["File", "Table", "Rows"], trial.files)
    _print_lines(
        "Not read", [f"{u.name}: {u.why.removeprefix('not read: ')}" for u in trial.unread]
    )
    _print_lines("Flagged", _by_rule(flags))


def _print_lines(title: str, lines: Iterable[str]) -> None:
    """Print lines that are never wrapped, so that a place can be searched for."""
    from rich.markup import escape

    from dagster_project.commands.terminal import CONSOLE

    found = list(lines)
    CONSOLE.print(f"\n[bold]{title}[/bold]{'' if found else ': none'}")
    for line in found:
        CONSOLE.print(escape(line), soft_wrap=True)


def _by_rule(flags: pl.DataFrame) -> list[str]:
    """Each rule, how many rows it flagged and where the first of them are."""
    found = flags.group_by("rule", maintain_order=True).agg(
        pl.len().alias("n"), pl.col("place").unique(maintain_order=True).alias("places")
    )
    rows = found.sort("n", "rule", descending=[True, False]).iter_rows()
    return [f"{rule} {n}: {_places(places)}" for rule, n, places in rows]


def _places(places: list[str]) -> str:
    return ", ".join(places[:PLACES_SHOWN]) + (", …" if len(places) > PLACES_SHOWN else "")

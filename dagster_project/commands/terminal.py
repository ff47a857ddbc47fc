"""How commands speak on the terminal."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from dagster_project.lake.home import Home, find_home

CONSOLE = Console(highlight=False)


def tell(title: str, columns: list[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print a table under its title; numbers in four figures, nothing for NULL."""
    CONSOLE.print(f"\n[bold]{title}[/bold]{'' if rows else ': none'}")
    if rows:
        table = Table(*columns, box=None, header_style="dim", pad_edge=False)
        for row in rows:
            table.add_row(*("" if v is None else f"{v:.4g}" if isinstance(v, float) else escape(str(v)) for v in row))
        CONSOLE.print(table)


def existing_home() -> Home:
    """The home, where a lake was made in it.

    Raises
    ------
    click.ClickException
        Where there is none, saying how to make one.
    """
    home = find_home()
    if not (os.environ.get("LAKEHOUSE_CATALOG") or home.lake_made):
        raise click.ClickException(f"there is no lake in {home.root}; make one with `lakehouse run`, or name its folder with --home")
    return home

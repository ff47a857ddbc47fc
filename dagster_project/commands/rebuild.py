"""`lakehouse rebuild`: rows whose file was lost or damaged are derived again.

They are derived from the vault and the tables before.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING

import click
from rich.markup import escape

from dagster_project.commands.terminal import CONSOLE, existing_home, refuse_other_schema
from dagster_project.lake.home import Home
from dagster_project.lake.locks import home_locked

if TYPE_CHECKING:
    from dagster_project.lake.damage import Damage


@click.command()
@click.argument("table", required=False)
@click.option("--site", help="Only this site's rows.  [default: all sites]")
def rebuild(table: str | None, site: str | None) -> None:
    """Bring back the rows of TABLE whose Parquet file is lost or damaged.

    Without TABLE, those of every table. Every file is read.

    \b
    Needs no delivery and no key. What is whole stays as it is; where nothing is damaged nothing is
    done.
    Example:
      lakehouse rebuild reads --site BJCH
    """
    home = refuse_other_schema(existing_home())
    with home_locked(home, "lakehouse rebuild", waiting=click.echo):
        damages = _let_damaged_go(home, table, site)
        if not damages:
            click.echo("no data file " + (f"of {table} " if table else "") + "is lost or damaged")
            return
        for damage in damages:
            CONSOLE.print(
                escape(f"{damage.table} {damage.site or ''}: a file {damage.what}"), soft_wrap=True
            )
        failed = _derive(home, damages)
        _finish(home)
    for line in failed:
        CONSOLE.print(f"[red]failed[/red] {escape(line)}", soft_wrap=True)
    if failed:
        sys.exit(1)
    click.echo(
        "the rows are back and published; `lakehouse status` says whether anything is left to do"
    )


def _let_damaged_go(home: Home, table: str | None, site: str | None) -> list[Damage]:
    """Damaged files that were asked about, taken out of the newest snapshot."""
    from dagster_project.lake.damage import find_damage, let_go
    from dagster_project.lake.store import open_lake
    from dagster_project.lake.tables import BY_NAME

    if table is not None and table not in BY_NAME:
        raise click.ClickException(
            f"there is no table {table}; tables are {', '.join(sorted(BY_NAME))}"
        )
    with open_lake(home) as lake:
        found = [
            d
            for d in find_damage(lake, home, every_byte=True)
            if table in {None, d.table} and (site in {None, d.site} or d.site is None)
        ]
        let_go(lake, found)
    return found


def _derive(home: Home, damages: Iterable[Damage]) -> list[str]:
    """Materialise the tables, site by site, then those of the cohort; what failed."""
    from dagster_project.commands.run import materialise_tables
    from dagster_project.lake.tables import BY_NAME

    by_site: dict[str | None, set[str]] = {}
    for damage in damages:
        by_site.setdefault(damage.site if BY_NAME[damage.table].by_site else None, set()).add(
            damage.table
        )
    known = [site for site in home.sites() if site in by_site]
    parts = [
        *((site, by_site[site]) for site in known),
        *([(None, by_site[None])] if None in by_site else []),
    ]
    return [line for site, tables in parts for line in materialise_tables(home, site, tables)]


def _finish(home: Home) -> None:
    """What analysts open follows, and the new files are noted."""
    from dagster_project.flow.publication import publish_home
    from dagster_project.lake.damage import note_files
    from dagster_project.lake.store import open_lake
    from dagster_project.study import load_study

    with open_lake(home) as lake:
        note_files(lake, home)
        publish_home(lake, home, load_study())

"""`lakehouse sql`: the lake in SQL, read-only, now or as it was."""

from __future__ import annotations

import csv
import json
import sys
from typing import Any

import click

from dagster_project.commands.terminal import existing_home


@click.command()
@click.argument("statement")
@click.option("--csv", "as_csv", is_flag=True, help="Comma-separated values.")
@click.option("--json", "as_json", is_flag=True, help="A JSON array of objects.")
@click.option(
    "--as-of",
    type=int,
    default=None,
    help="The lake as it was at this snapshot, under the names of today.",
)
def sql(statement: str, as_csv: bool, as_json: bool, as_of: int | None) -> None:
    """Query the lake, read-only; tables and columns are described in docs/dictionary.md.

    One query at a time; it writes nothing and reads no file. Save its rows with --csv or --json and
    the shell's `>`.

    \b
    Example:
      lakehouse sql "SELECT visit, count(*) FROM timepoints GROUP BY visit"
      lakehouse sql "SELECT * FROM responses" --as-of 40 --csv
    """
    import duckdb

    from dagster_project.lake.confinement import check_query
    from dagster_project.lake.errors import LakeError
    from dagster_project.lake.free_space import fault_of
    from dagster_project.lake.store import read_lake

    home = existing_home()
    try:
        check_query(statement)
        with read_lake(home, as_of=as_of) as lake:
            fault = lake.fault()
            if fault is not None:
                click.echo(fault, err=True)
            lake.confine()
            result = lake.query(statement)
            _print_rows(
                [d[0] for d in result.description or []],
                result.fetchall(),
                as_csv=as_csv,
                as_json=as_json,
            )
    except LakeError as error:
        raise click.ClickException(str(error)) from None
    except duckdb.Error as error:
        named = fault_of(error, home)
        if named:
            raise click.ClickException(str(named)) from None
        raise click.ClickException(
            f'{error}\nTables: lakehouse sql "SHOW TABLES"; columns: lakehouse sql "DESCRIBE scans"'
        ) from None


def _print_rows(
    names: list[str], rows: list[tuple[Any, ...]], *, as_csv: bool, as_json: bool
) -> None:
    if as_json:
        click.echo(
            json.dumps(
                [dict(zip(names, row, strict=True)) for row in rows],
                ensure_ascii=False,
                default=str,
            )
        )
    elif as_csv:
        csv.writer(sys.stdout, lineterminator="\n").writerows([names, *rows])
    else:
        _print_table(names, rows)


def _print_table(names: list[str], rows: list[tuple[Any, ...]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(*names)
    for row in rows:
        table.add_row(*("" if v is None else str(v) for v in row))
    Console(width=None if sys.stdout.isatty() else 250, markup=False).print(table)

"""`lakehouse publish` and `lakehouse report`: what analysts and the study team open, made anew."""

from __future__ import annotations

from pathlib import Path

import click

from dagster_project.commands.terminal import existing_home, refuse_other_schema
from dagster_project.lake.locks import home_locked


@click.command()
@click.option(
    "--anew",
    is_flag=True,
    help=(
        "Write everything from nothing: for a copy that is handed on: "
        "its order of rows does not reveal whose data came last."
    ),
)
@click.option(
    "--statistics",
    type=click.Path(file_okay=False, path_type=Path),
    help="Also write each table for SAS (.xpt), SPSS (.sav) and Stata (.dta) into this folder.",
)
def publish(anew: bool, statistics: Path | None) -> None:
    """Write what analysts open: published/lakehouse.duckdb and published/parquet/latest.

    \b
    Sites that the audit of the vault blocks are left out.
    Example:
      lakehouse publish && duckdb -readonly .lakehouse/published/lakehouse.duckdb
    """
    from dagster_project.flow.export import IN_HOME
    from dagster_project.flow.publication import publish_home
    from dagster_project.flow.statistical_files import write_statistical_files
    from dagster_project.resources import Lakehouse

    home, lakehouse = refuse_other_schema(existing_home()), Lakehouse()
    if statistics and statistics.resolve().is_relative_to(home.root.resolve()):
        raise click.ClickException(IN_HOME)
    with home_locked(home, "lakehouse publish", waiting=click.echo):
        made = publish_home(lakehouse.lake, home, lakehouse.study, anew=anew)
    click.echo(
        f"snapshot {made.snapshot} {'published' if made.fresh else 'was published already'}: "
        f"{home.published / 'lakehouse.duckdb'}"
    )
    if statistics:
        for kind, count in write_statistical_files(made.database, statistics).items():
            click.echo(f"{kind} {count}: {statistics / kind}")


@click.command()
def report() -> None:
    """Write the pages anew from what is in the lake.

    \b
    Example:
      lakehouse report
    """
    from dagster_project.flow.arbitration_pages import write_pages
    from dagster_project.flow.pages import (
        write_due_list,
        write_evaluation_page,
        write_patient_pages,
        write_study_page,
    )
    from dagster_project.flow.reader_pages import write_pages as write_reader_pages
    from dagster_project.resources import Lakehouse

    home = refuse_other_schema(existing_home())
    with home_locked(home, "lakehouse report", waiting=click.echo):
        write_study_page(Lakehouse())
        write_evaluation_page(Lakehouse())
        write_patient_pages(Lakehouse())
        write_pages(Lakehouse())
        write_due_list(Lakehouse())
        write_reader_pages(Lakehouse())
    click.echo(f"{home.reports / 'index.html'}")

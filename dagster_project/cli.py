"""The `lakehouse` command."""

from __future__ import annotations

import csv
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from dagster_project.lake.home import Home, find_home

EXIT_GATE_CLOSED = 3

WHAT_TO_PUT = """Nothing to do: {landing} holds no site.

Put a site's delivery there, one folder a site (2 to 8 capital letters or digits):
  {landing}/<SITE>/clinical/patients.csv      one row a patient
  {landing}/<SITE>/clinical/treatments.csv    one row an administered cycle
  {landing}/<SITE>/clinical/follow_up.csv     one row an event or last contact
  {landing}/<SITE>/dicom/**                   CT, RTSTRUCT, SEG as the PACS exports them
  {landing}/<SITE>/reads/<reader>/**          a reader's contours, lesions.csv and LOCKED
Everything is optional but one of clinical/ and dicom/. README.md says more.
Or try a synthetic study first:  lakehouse simulate && lakehouse run"""


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.option("--home", type=click.Path(file_okay=False, path_type=Path), envvar="LAKEHOUSE_HOME", default=".lakehouse", show_default=True,
              help="The study's folder.")
def main(home: Path) -> None:
    """Serial CT of a multicentre study: de-identify, measure, compare, grade, model, report.

    \b
    Example, from an empty folder:
      lakehouse simulate
      lakehouse run
      lakehouse sql "SELECT * FROM outcomes"
    """
    os.environ["LAKEHOUSE_HOME"] = str(home.resolve())
    os.environ["DAGSTER_HOME"] = str(home.resolve() / "dagster")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")


@main.command()
@click.option("--plan", type=click.Choice(["demo", "tiny"]), default="demo", show_default=True, help="Size of the cohort.")
@click.option("--seed", type=int, default=None, help="Another seed gives other patients.")
@click.option("--into", type=click.Path(file_okay=False, path_type=Path), default=None, help="Landing folder.  [default: HOME/landing]")
@click.option("--truth", type=click.Path(file_okay=False, path_type=Path), default=None, help="Where the truth goes, outside the landing.  [default: HOME/truth]")
def simulate(plan: str, seed: int | None, into: Path | None, truth: Path | None) -> None:
    """Write a synthetic landing with known truth, kept apart from it.

    \b
    Example:
      lakehouse simulate --plan demo --into landing --truth truth
    """
    from dagster_project.commands import simulate_landing

    simulate_landing(find_home().make(), plan, seed, into, truth)


@main.command()
@click.option("--site", multiple=True, help="Only this site's part (may be repeated).  [default: all sites]")
@click.option("--require-model", is_flag=True, help=f"Exit with {EXIT_GATE_CLOSED} where the gate is closed.")
def run(site: Sequence[str], require_model: bool) -> None:
    """The whole flow on HOME/landing: sites, cohort, reports, publication.

    \b
    Exit 0 also when the data close the gate (it says so and why); 1 when a step failed.
    Example:
      lakehouse run --site BJCH
    """
    home = find_home().make()
    if not home.sites():
        click.echo(WHAT_TO_PUT.format(landing=home.landing))
        return
    unknown = sorted(set(site) - set(home.sites()))
    if unknown:
        raise click.ClickException(f"{', '.join(unknown)} has neither a landing folder nor a vault; sites are {', '.join(home.sites())}")
    from dagster_project.commands import run_flow

    outcome = run_flow(home, list(site))
    if outcome.failed:
        sys.exit(1)
    sys.exit(EXIT_GATE_CLOSED if require_model and not outcome.gate_open else 0)


@main.command()
@click.argument("statement")
@click.option("--csv", "as_csv", is_flag=True, help="Comma-separated values.")
@click.option("--json", "as_json", is_flag=True, help="A JSON array of objects.")
@click.option("--as-of", type=int, default=None, help="The lake as it was at this snapshot.")
def sql(statement: str, as_csv: bool, as_json: bool, as_of: int | None) -> None:
    """Query the lake, read-only; tables and columns are described in docs/dictionary.md.

    \b
    Example:
      lakehouse sql "SELECT visit, count(*) FROM timepoints GROUP BY visit"
      lakehouse sql "SELECT * FROM responses" --as-of 40 --csv
    """
    import duckdb

    from dagster_project.lake.store import read_lake

    home = _existing(find_home())
    try:
        with read_lake(home, as_of=as_of) as lake:
            result = lake.query(statement)
            _print_rows([d[0] for d in result.description or []], result.fetchall(), as_csv=as_csv, as_json=as_json)
    except duckdb.Error as error:
        raise click.ClickException(f'{error}\nTables: lakehouse sql "SHOW TABLES"; columns: lakehouse sql "DESCRIBE scans"') from None


@main.command()
def status() -> None:
    """What is in, refused, open for arbitration; the gate, and why.

    \b
    Example:
      lakehouse status
    """
    from dagster_project.commands import show_status

    show_status(_existing(find_home()))


@main.command()
def publish() -> None:
    """Write what analysts open: published/lakehouse.duckdb and published/parquet/latest.

    \b
    Example:
      lakehouse publish && duckdb -readonly .lakehouse/published/lakehouse.duckdb
    """
    from dagster_project.lake.publish import publish as publish_lake
    from dagster_project.lake.store import open_lake

    home = _existing(find_home())
    with open_lake(home) as lake:
        made = publish_lake(lake, home.published)
    click.echo(f"snapshot {made.snapshot} {'published' if made.fresh else 'was published already'}: {home.published / 'lakehouse.duckdb'}")


@main.command()
def report() -> None:
    """Write the pages anew from what is in the lake.

    \b
    Example:
      lakehouse report
    """
    from dagster_project.reporting import write_patient_pages, write_study_page
    from dagster_project.resources import Lakehouse

    home = _existing(find_home())
    write_study_page(Lakehouse())
    write_patient_pages(Lakehouse())
    click.echo(f"{home.reports / 'index.html'}")


@main.command()
def demo() -> None:
    """A synthetic study through the whole flow: the gate closes, the arbiter decides, the gate opens, a model is trained.

    \b
    Example:
      lakehouse --home /tmp/demo demo
    """
    from dagster_project.commands import run_demo

    if not run_demo(find_home()):
        sys.exit(1)


@main.command()
@click.option("--port", type=int, default=3000, show_default=True, help="Dagster's port.")
@click.option("--mlflow-port", type=int, default=5000, show_default=True, help="MLflow's port.")
def dev(port: int, mlflow_port: int) -> None:
    """Dagster UI with schedules and sensors running, and MLflow UI, on 127.0.0.1. Ctrl-C stops both.

    \b
    Example:
      lakehouse dev --port 3333
    """
    from dagster_project.commands import serve

    serve(find_home().make(), port, mlflow_port)


def _existing(home: Home) -> Home:
    if not (os.environ.get("LAKEHOUSE_CATALOG") or home.lake_made):
        raise click.ClickException(f"there is no lake in {home.root}; make one with `lakehouse run`, or name its folder with --home")
    return home


def _print_rows(names: list[str], rows: list[tuple[Any, ...]], *, as_csv: bool, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps([dict(zip(names, row, strict=True)) for row in rows], ensure_ascii=False, default=str))
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


if __name__ == "__main__":
    main()

"""`lakehouse manifest`: what intake did, and whether anybody changed the record of it."""

from __future__ import annotations

import sys

import click

from dagster_project.lake.home import find_home


@click.group()
def manifest() -> None:
    """The hash-chained record of everything that was taken in and refused.

    \b
    Example:
      lakehouse manifest verify
    """


@manifest.command()
@click.option("--site", default=None, help="Only this site's.  [default: all sites]")
@click.option(
    "--head", default="", help="Head that a run reported: shows a chain that was cut at its end."
)
def verify(site: str | None, head: str) -> None:
    """Follow each site's chain line by line; exit 1, naming the first line that breaks it.

    \b
    Example:
      lakehouse manifest verify --site BJCH --head 5c1f…
    """
    from dagster_project.intake.vault.manifest import verify_manifest

    home = find_home()
    files = {
        f.parent.name: f
        for f in sorted(home.vault.glob("*/manifest.jsonl"))
        if site in {None, f.parent.name}
    }
    if not files:
        raise click.ClickException(
            "there is no manifest here; `lakehouse run` writes one for each site"
        )
    verdicts = {name: verify_manifest(file, head) for name, file in files.items()}
    for name, found in verdicts.items():
        counts = (
            ", ".join(f"{n} {event}" for event, n in sorted(found.events.items())) or "no records"
        )
        click.echo(f"{name}: {counts}; head {found.head}")
        if found.broken_line:
            click.echo(f"{name}: line {found.broken_line} {found.reason}")
    sys.exit(1 if any(found.broken_line for found in verdicts.values()) else 0)

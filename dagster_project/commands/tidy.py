"""`lakehouse tidy`: expire earlier states that nothing names, and merge the lake's small files."""

from __future__ import annotations

import click

from dagster_project.commands.terminal import existing_home, refuse_other_schema
from dagster_project.lake.locks import home_locked

KEPT_DAYS = 180
"""How far back every state of the lake can be asked for, where nothing else is said."""


@click.command()
@click.option(
    "--days",
    type=click.IntRange(min=1),
    default=KEPT_DAYS,
    show_default=True,
    help="Keep every snapshot of so many days.",
)
def tidy(days: int) -> None:
    """Let old snapshots expire, merge small files and delete what no snapshot needs.

    Snapshots that a model was trained on or that are published stay, however old. Files go a day
    after their snapshot.

    \b
    Example:
      lakehouse tidy --days 365
    """
    from dagster_project.lake.publish import published_snapshots
    from dagster_project.lake.store import open_lake
    from dagster_project.lake.tables import MODEL_RUNS

    home = refuse_other_schema(existing_home())
    with home_locked(home, "lakehouse tidy", waiting=click.echo), open_lake(home) as lake:
        named = {
            *lake.read(MODEL_RUNS.name)["snapshot"].to_list(),
            *published_snapshots(home.published),
        }
        expired = lake.tidy(days=days, kept=named)
        left = len(lake.query("SELECT snapshot_id FROM lake.snapshots()").fetchall())
    click.echo(f"snapshots expired: {expired}; left: {left}")

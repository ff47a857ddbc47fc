"""`lakehouse simulate`: a synthetic delivery with known truth."""

from __future__ import annotations

from pathlib import Path

import click

from dagster_project.commands.terminal import CONSOLE
from dagster_project.lake.home import Home, find_home


@click.command()
@click.option(
    "--plan",
    type=click.Choice(["demo", "tiny"]),
    default="demo",
    show_default=True,
    help="Size of the cohort.",
)
@click.option("--seed", type=int, default=None, help="Another seed gives other patients.")
@click.option(
    "--into",
    type=click.Path(file_okay=False, path_type=Path),
    default=None,
    help="Delivery folder.  [default: HOME/landing]",
)
@click.option(
    "--truth",
    type=click.Path(file_okay=False, path_type=Path),
    default=None,
    help="Where the truth goes, outside the delivery.  [default: HOME/truth]",
)
def simulate(plan: str, seed: int | None, into: Path | None, truth: Path | None) -> None:
    """Write a synthetic delivery with known truth, kept apart from it.

    \b
    Example:
      lakehouse simulate --plan demo --into landing --truth truth
    """
    simulate_landing(find_home().make(), plan, seed, into, truth)


def simulate_landing(
    home: Home, plan: str, seed: int | None, into: Path | None, truth: Path | None
) -> None:
    """Write a synthetic delivery and say where its truth is."""
    from dataclasses import replace

    from rich.progress import Progress

    from dagster_project.simulation.cohort import simulate_cohort
    from dagster_project.simulation.plan import DEMO, TINY

    chosen = {"demo": DEMO, "tiny": TINY}[plan]
    chosen = chosen if seed is None else replace(chosen, seed=seed)
    landing, known = into or home.landing, truth or home.root / "truth"
    with Progress(transient=True) as bar:
        task = bar.add_task("scans simulated", total=None)
        simulate_cohort(
            landing,
            known,
            chosen,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    CONSOLE.print(
        f"Synthetic delivery in {landing}; its truth, which no asset reads, in {known}",
        soft_wrap=True,
    )

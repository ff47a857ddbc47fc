"""`lakehouse status`: what is in, stale, refused, open for arbitration; the gate, and why."""

from __future__ import annotations

import click

from dagster_project.commands.terminal import CONSOLE, existing_home, tell
from dagster_project.lake.home import Home
from dagster_project.lake.store import Lake, read_lake
from dagster_project.lake.tables import TABLES


@click.command()
def status() -> None:
    """What is in, refused, open for arbitration; the gate, and why.

    \b
    Example:
      lakehouse status
    """
    show_status(existing_home())


def show_status(home: Home) -> None:
    """Print what is in, what is stale, what was refused, what waits for the arbiter, and the gate."""
    with read_lake(home) as lake:
        CONSOLE.print(f"Lake at snapshot {lake.snapshot()} in {home.root}", soft_wrap=True)
        tell("Rows by site", ["table", *home.sites()], _rows_by_site(lake, home.sites()))
        tell("Delivery", ["site", "state"], [(s, _delivery(home, s)) for s in home.sites()])
        tell("Refused", ["site", "stage", "items", "reason"], lake.query(
            "SELECT site, stage, count(*), reason FROM quarantine GROUP BY ALL ORDER BY site, stage, 3 DESC").fetchall())
        _tell_reconciliation(lake)
        tell("Open for arbitration", ["site", "patient", "why"], lake.query(
            "SELECT site, patient, array_to_string(triggers, '; ') FROM arbitrations WHERE status = 'open' ORDER BY ALL").fetchall())
        _tell_gate(lake)


def _rows_by_site(lake: Lake, sites: list[str]) -> list[tuple[str, ...]]:
    rows = []
    for table in (t for t in TABLES if "site" in t.names):
        counts = dict(lake.query(f'SELECT site, count(*) FROM "{table.name}" GROUP BY site').fetchall())
        rows.append((table.name, *(str(counts.get(site, 0)) for site in sites)))
    return rows


def _tell_reconciliation(lake: Lake) -> None:
    """How many patients have only a row or only images; by name those with a nearly equal number, and the numbers of nobody."""
    tell("Rows and images", ["site", "finding", "patients"], lake.query(
        "SELECT site, replace(finding, '_', ' '), count(DISTINCT (patient, item)) FROM reconciliation GROUP BY ALL ORDER BY ALL").fetchall())
    tell("Who is this?", ["site", "patient or place", "question"], lake.query(
        "SELECT site, CASE WHEN patient = '*' THEN item ELSE patient END, question FROM reconciliation "
        "WHERE other_patient <> '*' OR patient = '*' ORDER BY ALL").fetchall())


def _delivery(home: Home, site: str) -> str:
    taken, folder = home.vault / site / "delivery", home.landing / site
    if not folder.is_dir():
        return "no landing folder; the vault is kept"
    if not taken.is_file():
        return "new: run `lakehouse run`"
    return "taken in" if taken.read_text(encoding="utf-8") == home.delivery(site) else "changed since the last run: run `lakehouse run`"


def _tell_gate(lake: Lake) -> None:
    asked = lake.query("SELECT rule, scope, figure, \"limit\", verdict, detail FROM quality_verdicts WHERE kind = 'cohort' ORDER BY ALL").fetchall()
    closed = [v for v in asked if v[4] in {"fail", "cannot_evaluate"}]
    state = "not judged yet" if not asked else "closed" if closed else "open"
    CONSOLE.print(f"\n[bold]Gate[/bold] {state}")
    if closed:
        _tell_standing(lake)
        tell("Why", ["rule", "scope", "figure", "limit", "verdict", "detail"], closed)


def _tell_standing(lake: Lake) -> None:
    """What stands behind a closed gate from the last night on which it was open."""
    snapshot, cohort = lake.query("SELECT max(snapshot), count(*) FROM training_cohort").fetchall()[0]
    (predicted,) = lake.query("SELECT count(*) FROM predictions").fetchall()[0]
    if cohort or predicted:
        CONSOLE.print(f"Cohort, models, {predicted} predictions and the dynamic reading stand as of snapshot {snapshot}, when the gate was last open; "
                      "they say nothing of what arrived since.", soft_wrap=True)

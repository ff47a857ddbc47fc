"""`lakehouse demo`: one act of the study, from three hospitals' deliveries to a trained model."""

from __future__ import annotations

import shutil
import sys
import time

import click

from dagster_project.commands.progress import in_words
from dagster_project.commands.run import run_flow
from dagster_project.commands.simulate import simulate_landing
from dagster_project.commands.terminal import CONSOLE, print_table
from dagster_project.lake.free_space import in_bytes
from dagster_project.lake.home import Home, find_home
from dagster_project.lake.store import read_lake
from dagster_project.lake.tables import TABLES

HOW_LONG = (
    "Four steps, about 7 minutes on two cores; each stage says how far it is, and the last line "
    "how long it took and how large the demo is."
)

DEMO_MARK = "DEMO"
"""A file in a home that the demo made and may therefore begin anew."""


@click.command()
def demo() -> None:
    """A synthetic study through the whole flow.

    The gate closes, the arbiter decides, the gate opens, a model is trained.

    \b
    Example:
      lakehouse --home /tmp/demo demo
    """
    if not run_demo(find_home()):
        sys.exit(1)


def run_demo(home: Home) -> bool:
    """Simulate three sites and run the flow twice, before and after the arbiter's decisions.

    The gate refuses the first run.

    Returns
    -------
    bool
        True where the gate was closed at first, open afterwards, and nothing failed.
    """
    if home.root.is_dir() and any(home.root.iterdir()) and not (home.root / DEMO_MARK).is_file():
        raise click.ClickException(
            f"{home.root} holds another study; give the demo a folder of its own: "
            "lakehouse --home FOLDER demo"
        )
    shutil.rmtree(home.root, ignore_errors=True)
    home.make()
    began = time.monotonic()
    CONSOLE.print(HOW_LONG, soft_wrap=True)
    (home.root / DEMO_MARK).touch()
    _step(
        "1. Three hospitals deliver scans, contours and case reports "
        "(synthetic, with planted trouble)"
    )
    simulate_landing(home, "demo", None, None, None)
    _step("2. The whole flow: one hospital's second reader was careless, so the gate stays closed")
    before = run_flow(home, [])
    _step("3. The arbiter's decisions arrive")
    _deliver_decisions(home)
    _step(
        "4. The flow again: only what the decisions touch is computed, the gate opens, "
        "the model is trained"
    )
    after = run_flow(home, [])
    _print_demo(home)
    _print_cost(home, time.monotonic() - began)
    return not (before.failed or after.failed) and not before.gate_open and after.gate_open


def _print_cost(home: Home, seconds: float) -> None:
    """How long the demo took and how large it is."""
    size = sum(f.stat().st_size for f in home.root.rglob("*") if f.is_file() and not f.is_symlink())
    CONSOLE.print(
        f"\nThe demo took {in_words(seconds)} and holds {in_bytes(size)} in {home.root}.",
        soft_wrap=True,
    )


def _step(text: str) -> None:
    CONSOLE.print(f"\n[bold reverse] {text} [/bold reverse]\n")


def _deliver_decisions(home: Home) -> None:
    for decisions in sorted((home.root / "truth" / "arbitration").glob("*/*.csv")):
        target = home.landing / decisions.parent.name / "arbitration"
        target.mkdir(exist_ok=True)
        shutil.copy(decisions, target)
        CONSOLE.print(
            f"  {decisions.parent.name}: "
            f"{sum(1 for _ in decisions.open(encoding='utf-8')) - 1} decisions"
        )


def _print_demo(home: Home) -> None:
    with read_lake(home) as lake:
        print_table(
            "What was made",
            ["table", "rows", "what it is"],
            [(t.name, lake.count(t.name), t.en) for t in TABLES],
        )
        runs = lake.query(
            """
            SELECT task, model, n_patients, format('{:.2f}', auc) || """
            """coalesce(format(' ({:.2f}-{:.2f})', auc_lower, auc_upper), ''),
                   format('{:.2f}', sensitivity), format('{:.2f}', specificity), alias
            FROM model_runs ORDER BY task, auc DESC"""
        ).fetchall()
        print_table(
            "Models (synthetic patients: these figures say nothing of real ones)",
            ["task", "model", "n", "AUC (95 %)", "sens.", "spec.", "alias"],
            runs,
        )
    print_table(
        "Where to look",
        ["what", "how"],
        [
            ("study report", home.reports / "study_report.html"),
            ("patients", home.reports / "index.html"),
            ("a visit, for the board", home.reports / "board"),
            ("the dynamic standard judged", home.reports / "evaluation.html"),
            ("what is due", home.due / "due_list.html"),
            ("tables in SQL", 'lakehouse sql "SELECT * FROM response_over_time"'),
            ("analysts' file", home.published / "lakehouse.duckdb"),
            ("Dagster and MLflow", "make dev"),
            ("state and refusals", "lakehouse status"),
            ("what was true", home.root / "truth"),
        ],
    )

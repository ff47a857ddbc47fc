"""`lakehouse arbitration`: the arbiter's worklist, one case, and a decision.

A case has both reads masked; a decision is only ever added.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import click

from dagster_project.commands.terminal import (
    CONSOLE,
    existing_home,
    print_table,
    refuse_other_schema,
)

if TYPE_CHECKING:
    import polars as pl

    from dagster_project.resources import Lakehouse

Letters = dict[str, str]
"""The letter that masks each reader."""

Days = dict[str, int | None]
"""The day of each visit."""


@click.group()
def arbitration() -> None:
    """Cases in which two blinded readers differ: list them, look at one, decide it.

    \b
    Example:
      lakehouse arbitration list
    """


@arbitration.command("list")
@click.option("--all", "everything", is_flag=True, help="The settled cases too.")
@click.option("--json", "as_json", is_flag=True, help="A JSON array of objects.")
def list_cases(everything: bool, as_json: bool) -> None:
    """The open cases, by site.

    \b
    Example:
      lakehouse arbitration list
    """
    home = existing_home()
    cases = _lakehouse().lake.read("arbitrations").sort("site", "status", "patient")
    found = cases if everything else cases.filter(status="open")
    if as_json:
        shown = found.select("site", "patient", "status", "n_lesion_visits", "triggers")
        click.echo(json.dumps(shown.to_dicts(), ensure_ascii=False))
        return
    asked = found.to_dicts()
    print_table(
        "Cases" if everything else "Open cases",
        ["site", "case", "status", "lesion-visits", "why"],
        [
            (c["site"], c["patient"], c["status"], c["n_lesion_visits"], "; ".join(c["triggers"]))
            for c in asked
        ],
    )
    CONSOLE.print(f"\nPages: {home.reports / 'arbitration.html'}", soft_wrap=True)


@arbitration.command()
@click.argument("case")
def show(case: str) -> None:
    """Both reads of CASE (a pseudonym) as A and B, and the response that each would give.

    \b
    Example:
      lakehouse arbitration show P0123456789AB
    """
    from dagster_project.domain.reading.arbitration import mask_readers
    from dagster_project.domain.reading.blinded_names import with_blinded_lesions
    from dagster_project.flow.arbitration_pages import WITH_LESIONS
    from dagster_project.flow.arbitrations import find_case

    home, lakehouse = existing_home(), _lakehouse()
    row = _or_refuse(lambda: find_case(lakehouse, case))
    letters = {
        reader: letter
        for letter, reader in mask_readers(
            row["site"], case, (row["reader_a"], row["reader_b"])
        ).items()
    }
    names = ("responses", "timepoints", *WITH_LESIONS)
    own = {
        name: frame.filter(patient=case)
        for name, frame in zip(names, lakehouse.read(*names), strict=True)
    }
    own |= with_blinded_lesions({name: own[name] for name in WITH_LESIONS})
    days = dict(own["timepoints"].select("visit", "day").iter_rows())
    CONSOLE.print(
        f"{row['site']} {case}: {row['status']}; {'; '.join(row['triggers'])}", soft_wrap=True
    )
    _print_responses(own, letters, days)
    _print_measurements(own, letters, days)
    CONSOLE.print(
        f"\nBoth contours on the same slices: {home.reports / 'arbitration' / f'{case}.html'}",
        soft_wrap=True,
    )


def _print_responses(own: Mapping[str, pl.DataFrame], letters: Letters, days: Days) -> None:
    from dagster_project.reports.arbitration import list_responses

    names = ("sum_mm", "overall_response", "irecist_response")
    print_table(
        "Response that each read would give",
        ["visit", "A sum mm", "A RECIST", "A iRECIST", "B sum mm", "B RECIST", "B iRECIST"],
        [
            (r["visit"], *(_of(r, letter, name) for letter in "AB" for name in names))
            for r in list_responses(own["responses"], letters, days)
        ],
    )


def _print_measurements(own: Mapping[str, pl.DataFrame], letters: Letters, days: Days) -> None:
    from dagster_project.reports.arbitration import list_measurements

    names = {
        "longest mm": "longest_diameter_mm",
        "short mm": "short_axis_mm",
        "volume mm3": "volume_mm3",
    }
    headings = [f"{letter} {short}" for letter in "AB" for short in names]
    rows = [
        (
            r["lesion"],
            r["visit"],
            *(_of(r, letter, name) for letter in "AB" for name in names.values()),
            r["dice"],
            r["hd95_mm"],
        )
        for r in list_measurements(own, letters, days)
    ]
    print_table("Measurements", ["lesion", "visit", *headings, "Dice", "HD95 mm"], rows)


def _of(row: dict[str, Any], letter: str, name: str) -> Any:
    return row["of"][letter][name] if letter in row["of"] else None


@arbitration.command()
@click.argument("case")
@click.option(
    "--accept",
    type=click.Choice(["A", "B"]),
    required=True,
    help="The read that is endorsed, whole.",
)
@click.option(
    "--by",
    "arbiter",
    required=True,
    metavar="ID",
    help="The arbiter's code; neither of the two readers'.",
)
def decide(case: str, accept: str, arbiter: str) -> None:
    """Endorse one whole read of CASE; both stay. The next run applies it to what it touches.

    \b
    Example:
      lakehouse arbitration decide P0123456789AB --accept A --by ARBITER1
    """
    from dagster_project.flow.arbitrations import decide_case
    from dagster_project.intake.case_report.case_report import is_reader_name

    refuse_other_schema(existing_home())
    if not is_reader_name(arbiter):
        raise click.ClickException(
            "--by is no code of an arbiter: one to three capital letters or the word ARBITER, "
            "then one or two digits; never a person's name"
        )
    _or_refuse(lambda: decide_case(_lakehouse(), case, accept, arbiter, dt.datetime.now(dt.UTC)))
    CONSOLE.print(
        f"Recorded: read {accept} of {case} is endorsed. Apply it with `lakehouse run`.",
        soft_wrap=True,
    )


def _lakehouse() -> Lakehouse:
    from dagster_project.resources import Lakehouse

    return Lakehouse()


def _or_refuse(work: Callable[[], Any]) -> Any:
    from dagster_project.flow.arbitrations import UndecidableCase

    try:
        return work()
    except UndecidableCase as error:
        raise click.ClickException(str(error)) from None

"""`lakehouse evaluate`: the dynamic standard judged on another trial's SDTM tumour tables."""

from __future__ import annotations

import datetime as dt
from functools import partial
from pathlib import Path

import click

from dagster_project.commands.trial_tables import folder_argument, out_option, print_input

SHOWN = ("timing", "reclassification", "rescan", "progression")
"""Questions whose figures are printed; all of them are in the file and on the page."""


@click.command()
@folder_argument
@out_option("The figures, .csv or .parquet; the page lies beside it as .html.")
@click.option(
    "--evaluator", metavar="NAME", help="Whose assessments, where the tables have those of several."
)
def evaluate(folder: Path, file: Path, evaluator: str | None) -> None:
    """Judge the dynamic standard on the SDTM tables of DIR; needs no lake.

    The tables are read and graded as `lakehouse grade` does. Every decision is replayed from what
    was known on its day, and judged beside the RECIST category, size, the calendar and the base
    rate. What the number of events does not allow is in the file with its reason.

    \b
    Example:
      lakehouse evaluate trial/sdtm --out evaluation.csv
    """
    from dagster_project.commands.terminal import print_table
    from dagster_project.domain.external_trials.trial_courses import (
        SeveralEvaluators,
        UnknownEvaluator,
    )
    from dagster_project.flow.trial_evaluation import NothingToEvaluate, evaluate_trial
    from dagster_project.flow.trial_tables import UnreadableTable
    from dagster_project.flow.whole_files import write_frame, write_together
    from dagster_project.reports.evaluation import render_evaluation, written
    from dagster_project.study import load_study

    study = load_study()
    try:
        found = evaluate_trial(folder, study, evaluator)
    except SeveralEvaluators as error:
        raise click.ClickException(f"{error} with --evaluator") from None
    except (NothingToEvaluate, UnknownEvaluator, UnreadableTable) as error:
        raise click.ClickException(str(error)) from None
    page = render_evaluation(found.rows, study, snapshot=None, generated_at=dt.datetime.now(dt.UTC))
    write_together(
        {
            file: partial(write_frame, found.rows, metadata={"protocol": study.digest}),
            file.with_suffix(".html"): lambda path: path.write_text(page, encoding="utf-8"),
        }
    )
    print_input(found.trial, found.flags)
    print_table(
        "Evaluation",
        ["Question", "Population", "Of", "Figure", "Value", "95 %", "n"],
        [
            (
                r["question"],
                r["population"],
                r["comparator"],
                r["statistic"],
                written(r["value"], r["unit"]),
                _bounds(r["lower"], r["upper"], r["unit"]),
                r["n"],
            )
            for r in found.rows.to_dicts()
            if r["question"] in SHOWN and r["estimable"]
        ],
    )
    if found.undated:
        click.echo(
            f"\n{found.undated} graded visits have no day from baseline and are left out, "
            f"and with them {found.left_out} subjects"
        )
    missing = found.rows.filter(estimable=False).height
    click.echo(
        f"\n{found.subjects} subjects, {found.rows.height} figures, {missing} of them not "
        f"estimable or withheld: {file}, {file.with_suffix('.html').name}"
    )


def _bounds(lower: float | None, upper: float | None, unit: str) -> str:
    from dagster_project.reports.evaluation import written

    known = (lower, upper) != (None, None)
    return f"{written(lower, unit)} – {written(upper, unit)}" if known else ""

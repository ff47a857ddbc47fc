"""`lakehouse grade`: another trial's SDTM tumour tables by RECIST 1.1 and iRECIST."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

import click
import polars as pl

from dagster_project.commands.trial_tables import folder_argument, out_option, print_input


@click.command()
@folder_argument
@out_option("The graded visits, .csv or .parquet.")
def grade(folder: Path, file: Path) -> None:
    """Grade the SDTM tables TU, TR and RS of DIR by RECIST 1.1 and iRECIST; needs no lake.

    Read are CSV, Parquet, SAS transport files (.xpt, versions 5 and 8) and Dataset-JSON 1.1 (.json,
    .ndjson, .dsjc); what
    else lies in DIR is named. Files are known by their columns; DM tells deaths.

    For each subject, evaluator and visit: target, non-target, new lesion and overall response with
    the rule that gave it, and each difference from RS where RS is there. What was flagged goes, by
    rule and row, to a second file: FILE with `.flags` before its suffix. A third, with `.blocks`,
    has the unconfirmed progressions: what became of each, and what would have confirmed it.

    \b
    Example:
      lakehouse grade trial/sdtm --out graded.csv
    """
    from dagster_project.flow.trial_tables import UnreadableTable, grade_tables, read_trial
    from dagster_project.flow.whole_files import write_frame, write_together
    from dagster_project.study import load_study

    try:
        trial = read_trial(folder)
    except UnreadableTable as error:
        raise click.ClickException(str(error)) from None
    study = load_study()
    graded = grade_tables(trial, study)
    flags = pl.concat([_not_read(trial.unread, graded.flags), graded.flags])
    flagged, blocks = (
        file.with_name(f"{file.stem}.{kind}{file.suffix}") for kind in ("flags", "blocks")
    )
    write_together(
        {
            file: partial(write_frame, graded.visits, metadata={"protocol": study.digest}),
            flagged: partial(write_frame, flags),
            blocks: partial(write_frame, graded.blocks),
        }
    )
    print_input(trial, graded.flags)
    differing = f"{graded.differences} differ from what was recorded"
    written = ", ".join(path.name for path in (file, flagged, blocks))
    click.echo(f"\n{_counts(graded.visits)}, {differing}: {written}")


def _not_read(unread: Iterable[Any], like: pl.DataFrame) -> pl.DataFrame:
    """A flag for each file that was not read, in the columns of the others."""
    rules = [("file_unreadable" if u.broken else "file_not_read", u.name, u.why) for u in unread]
    found = pl.DataFrame(
        rules, schema={"rule": pl.String, "place": pl.String, "what": pl.String}, orient="row"
    )
    return pl.concat([like.clear(), found], how="diagonal")


def _counts(visits: pl.DataFrame) -> str:
    """How many visits were graded, and how many are in RS alone."""
    graded = visits.drop_nulls("overall_response")
    alone = visits.height - graded.height
    recorded = f", {alone} recorded in RS alone and not graded" if alone else ""
    return f"{graded.height} visits of {graded['subject'].n_unique()} subjects graded{recorded}"

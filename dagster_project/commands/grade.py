"""`lakehouse grade`: another trial's SDTM tumour tables through this project's RECIST 1.1 and iRECIST."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--out", "file", required=True, metavar="FILE", type=click.Path(dir_okay=False, path_type=Path), help="The graded visits, .csv or .parquet.")
def grade(folder: Path, file: Path) -> None:
    """Grade the SDTM tables TU, TR and RS (CSV or Parquet) of DIR by RECIST 1.1 and iRECIST; needs no lake.

    For each subject, evaluator and visit: target, non-target, new lesion and overall response with the rule that gave it,
    and each difference from RS where RS is there. What was flagged goes, by rule and row, to a second file: FILE with
    `.flags` before its suffix. Files are known by their columns; DM tells deaths.

    \b
    Example:
      lakehouse grade trial/sdtm --out graded.csv
    """
    from dagster_project.commands.terminal import tell
    from dagster_project.domain.trial_grading import grade_trial
    from dagster_project.flow.trial_tables import UnreadableTable, read_trial, write_frame
    from dagster_project.study import load_study

    if file.suffix.lower() not in {".csv", ".parquet"}:
        raise click.ClickException("--out must end in .csv or .parquet")
    try:
        tables = read_trial(folder)
    except UnreadableTable as error:
        raise click.ClickException(str(error)) from None
    study = load_study()
    graded = grade_trial(tables["TU"], tables["TR"], tables["RS"], tables["DM"], study.section("recist"), study.section("irecist"))
    write_frame(graded.visits, file, {"protocol": study.digest})
    flagged = file.with_name(f"{file.stem}.flags{file.suffix}")
    write_frame(graded.flags, flagged)
    tell("Flagged", ["Rule", "Rows"], graded.flags.group_by("rule").len().sort("len", "rule", descending=[True, False]).rows())
    click.echo(f"\n{graded.visits.height} visits of {graded.visits['subject'].n_unique()} subjects graded, {graded.differences} differ from what was recorded: {file.name}, {flagged.name}")

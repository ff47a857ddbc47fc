"""`lakehouse adam`: ADSL, ADRS, ADTR and ADTTE for statisticians."""

from __future__ import annotations

from pathlib import Path

import click

from dagster_project.commands.terminal import existing_home


@click.command()
@click.option(
    "--out",
    "folder",
    required=True,
    metavar="DIR",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of the files; made where it is not there.",
)
@click.option("--as-of", type=int, default=None, help="The lake as it was at this snapshot.")
def adam(folder: Path, as_of: int | None) -> None:
    """Write responses, diameters and survival times as ADaM datasets: ADSL, ADRS, ADTR and ADTTE.

    Each is written as SAS transport file (.xpt, version 5), Dataset-JSON 1.1 (.json), Parquet and
    CSV. Dates are shifted, a
    patient's all alike, as everywhere in the lake. What [publish] of the protocol leaves out of
    publications is left out here too.

    \b
    Example:
      lakehouse adam --out adam
    """
    from dagster_project.flow.adam import (
        OtherProtocolError,
        SuppressedError,
        analysis_datasets,
        write_datasets,
    )
    from dagster_project.lake.store import read_lake
    from dagster_project.study import load_study

    study = load_study()
    try:
        with read_lake(existing_home(), as_of=as_of) as lake:
            lake.check_schema()
            datasets = analysis_datasets(lake, study)
    except (OtherProtocolError, SuppressedError) as error:
        raise click.ClickException(str(error)) from None
    refused = write_datasets(datasets, folder, study.section("study")["registration"])
    click.echo(
        ", ".join(f"{name.lower()}: {frame.height} records" for name, frame in datasets.items())
    )
    if refused:
        click.echo(
            "no SAS transport file was written where a text is longer than 200 bytes: "
            f"{', '.join(refused)}; take the .json or .parquet file",
            err=True,
        )

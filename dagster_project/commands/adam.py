"""`lakehouse adam`: ADRS, ADTR and ADTTE for statisticians, as Parquet and CSV."""

from __future__ import annotations

from pathlib import Path

import click

from dagster_project.commands.terminal import existing_home


@click.command()
@click.option("--out", "folder", required=True, metavar="DIR", type=click.Path(file_okay=False, path_type=Path), help="Folder of the files; made where it is not there.")
@click.option("--as-of", type=int, default=None, help="The lake as it was at this snapshot.")
def adam(folder: Path, as_of: int | None) -> None:
    """Write responses, sums and survival times like CDISC's ADRS, ADTR and ADTTE, each as Parquet and as CSV.

    \b
    Example:
      lakehouse adam --out adam
    """
    from dagster_project.domain.adam import derive_adrs, derive_adtr, derive_adtte
    from dagster_project.flow.whole_files import write_frame
    from dagster_project.lake.store import read_lake

    with read_lake(existing_home(), as_of=as_of) as lake:
        responses, outcomes, lesions, times = (lake.read(name) for name in ("responses", "outcomes", "lesions", "time_to_event"))
    made = {"adrs": derive_adrs(responses, outcomes), "adtr": derive_adtr(responses, lesions), "adtte": derive_adtte(times)}
    folder.mkdir(parents=True, exist_ok=True)
    for name, frame in made.items():
        for suffix in (".parquet", ".csv"):
            write_frame(frame, folder / f"{name}{suffix}")
    click.echo(", ".join(f"{name}: {frame.height} records" for name, frame in made.items()))

"""`lakehouse export`: a patient's scans, outlines and results for other systems."""

from __future__ import annotations

from pathlib import Path

import click

from dagster_project.commands.leaving import pending
from dagster_project.commands.terminal import CONSOLE, existing_home, refuse_other_schema


@click.command()
@click.argument("pseudonym")
@click.option(
    "--out",
    "folder",
    required=True,
    metavar="DIR",
    type=click.Path(file_okay=False, path_type=Path),
    help="An empty folder outside the home; made where it is not there.",
)
@click.option(
    "--visit",
    "visits",
    multiple=True,
    metavar="VISIT",
    help="A visit such as T1; may be given several times.  [default: all]",
)
def export(pseudonym: str, folder: Path, visits: tuple[str, ...]) -> None:
    """Write a patient, or the case of a patient, as DICOM (CT, SEG, SR) and FHIR R4.

    For OHIF, 3D Slicer or a PACS. Readers have letters. While a read is not locked the images leave
    alone, and while a case waits for its arbiter the outlines without a response. Dates are
    shifted, and every object says so. Reports are unverified until a person signs them elsewhere.

    \b
    Example:
      lakehouse export BJCH-… --out export
      lakehouse export BJCH-… --visit T0 --visit T1 --out export
    """
    from importlib.metadata import version

    from dagster_project.flow.export import export_patient
    from dagster_project.flow.exported_patient import WITHDRAWN, ExportRefused
    from dagster_project.resources import Lakehouse

    leaving = pending(refuse_other_schema(existing_home()))
    program = version("dynamic-irecist-lakehouse")
    try:
        if leaving and pseudonym in leaving.patients:
            raise ExportRefused(WITHDRAWN)
        made = export_patient(Lakehouse(), pseudonym, folder, visits, version=program)
    except ExportRefused as error:
        raise click.ClickException(str(error)) from None
    for visit, note in made.notes:
        CONSOLE.print(f"{visit}: {note}", soft_wrap=True)
    CONSOLE.print(
        f"{len(made.files)} files in {folder}. They hold CT of a patient: delete them when they "
        "have served, and where the patient withdraws. "
        "其中含患者CT，用毕或患者退出时请删除。",
        soft_wrap=True,
    )

"""`lakehouse site remove`: remove a hospital, or a folder taken in as a site by mistake."""

from __future__ import annotations

import sys

import click

from dagster_project.commands.leaving import Leaving, begin, complete_pending, pending, whole
from dagster_project.commands.terminal import CONSOLE, existing_home, refuse_other_schema
from dagster_project.lake.home import Home


@click.group()
def site() -> None:
    """A hospital as a whole.

    \b
    Example:
      lakehouse site remove BJCH
    """


@site.command()
@click.argument("code", metavar="SITE")
@click.option(
    "--purpose",
    default="site left the study",
    show_default=True,
    help="Why; it stands in the audit.",
)
@click.option("--yes", is_flag=True, help="Do not ask.")
def remove(code: str, purpose: str, yes: bool) -> None:
    """Take a site out of everything and mark the models that were trained on it.

    It is removed from vault, crosswalk, tables, snapshots, publications, pages and histories.

    \b
    Needs no key. Move its delivery folder away and stop the service before. Earlier snapshots
    expire. Exit 1 where a trace is left.
    What is interrupted is completed by the same command or the next `lakehouse run`.
    Example:
      lakehouse site remove BJCH --purpose "contract ended"
    """
    home = refuse_other_schema(existing_home())
    begun, known = pending(home), [*home.sites(), *home.former_sites()]
    if (begun is None or begun.who != code) and (
        not (home.vault / code).is_dir() or code not in known
    ):
        raise click.ClickException(f"there is no vault of that site; sites are {', '.join(known)}")
    if (home.landing / code).exists():
        raise click.ClickException(
            f"landing/{code} is still there, and the next run would take it in again; "
            "move it away first"
        )
    if not yes:
        click.confirm(
            f"Everything of {code} and of its patients is deleted, "
            "and every earlier snapshot of the lake expires. Go on?",
            abort=True,
        )
    with whole(home, "lakehouse site remove"):
        before = complete_pending(home)
        left = [] if before is not None and before.who == code else remove_site(home, code, purpose)
    for name in left:
        CONSOLE.print(f"[red]a trace is left[/red] in {name}", soft_wrap=True)
    if left:
        sys.exit(1)
    CONSOLE.print(
        f"Nothing of {code} is left in this home but the line of the audit. Still to do by hand: "
        "backups, what was exported or sent, and copies that analysts have made."
    )


def remove_site(home: Home, code: str, purpose: str) -> list[str]:
    """Remove a site; the files in which one of its patients is left, which should be none.

    1. Its patients are listed, and the models that were trained on them.
    2. That is written down, and everything is removed (`leaving.complete`).
    """
    from dagster_project.flow import withdrawal
    from dagster_project.intake.identity.pseudonyms import patients_of
    from dagster_project.resources import Lakehouse

    lakehouse = Lakehouse(root=str(home.root))
    patients = tuple(patients_of(home.crosswalk, code))
    runs = sorted(
        {run for patient in patients for run in withdrawal.find_marked_runs(lakehouse, patient)}
    )
    left = begin(home, Leaving(code, code, purpose, patients, patients, tuple(runs)))
    CONSOLE.print(
        f"{len(patients)} patients; {len(runs)} models were trained on them and are marked."
    )
    return left

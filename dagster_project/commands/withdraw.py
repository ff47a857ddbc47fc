"""`lakehouse withdraw`: a patient leaves the study, and nothing of the patient's data stays."""

from __future__ import annotations

import sys

import click

from dagster_project.commands.leaving import Leaving, begin, complete_pending, whole
from dagster_project.commands.terminal import CONSOLE, existing_home, refuse_other_schema
from dagster_project.lake.home import Home

MARKED = (
    "models were trained on the patient: they are marked and predict nothing any more. "
    "`lakehouse run` trains others without the patient."
)


@click.command()
@click.argument("pseudonym")
@click.option(
    "--purpose",
    default="consent withdrawn",
    show_default=True,
    help="Why; it stands in the audit, without the pseudonym.",
)
@click.option("--yes", is_flag=True, help="Do not ask.")
def withdraw(pseudonym: str, purpose: str, yes: bool) -> None:
    """Take a patient out of everything and mark the models trained on the patient.

    The patient is removed from vault, tables, snapshots, publications, pages and histories.

    \b
    Needs no key. Stop the service before. Earlier snapshots expire: time travel begins anew.
    Exit 1 where a trace is left.
    What is interrupted is completed by the same command or the next `lakehouse run`.
    Example:
      lakehouse withdraw BJCH-…
    """
    from dagster_project.intake.identity.pseudonyms import UnknownPseudonymError
    from dagster_project.intake.vault.vault import IntakeError

    home = refuse_other_schema(existing_home())
    if not yes:
        click.confirm(
            f"Everything of {pseudonym} is deleted, and every earlier snapshot of the lake "
            "expires. Go on?",
            abort=True,
        )
    try:
        with whole(home, "lakehouse withdraw"):
            before = complete_pending(home)
            done = before is not None and before.who == pseudonym
            left = [] if done else withdraw_patient(home, pseudonym, purpose)
    except (UnknownPseudonymError, IntakeError) as error:
        raise click.ClickException(str(error)) from None
    for name in left:
        CONSOLE.print(f"[red]a trace is left[/red] in {name}", soft_wrap=True)
    if left:
        sys.exit(1)
    CONSOLE.print(
        "Nothing of the patient is left in this home. Still to do by hand: the delivery folder, "
        "backups, what was exported or sent, and copies that analysts have made."
    )


def withdraw_patient(home: Home, pseudonym: str, purpose: str) -> list[str]:
    """Withdraw a patient; the files in which a trace is left, which should be none.

    1. What the patient's data are known by is listed, and the models that were trained on them.
    2. That is written down, and everything is removed (`leaving.complete`).
    """
    from dagster_project.flow import withdrawal
    from dagster_project.intake.identity.pseudonyms import mark_of
    from dagster_project.resources import Lakehouse

    lakehouse = Lakehouse(root=str(home.root))
    mark = mark_of(home.crosswalk, pseudonym)
    traces, runs = (
        withdrawal.find_traces(lakehouse, pseudonym),
        withdrawal.find_marked_runs(lakehouse, pseudonym),
    )
    pictures = withdrawal.find_pictures(lakehouse, pseudonym)
    left = begin(
        home,
        Leaving(
            pseudonym,
            mark,
            purpose,
            (pseudonym,),
            tuple(sorted(traces)),
            tuple(runs),
            tuple(sorted(pictures)),
        ),
    )
    CONSOLE.print(
        f"{len(runs)} {MARKED}" if runs else "No model was trained on the patient.", soft_wrap=True
    )
    return left

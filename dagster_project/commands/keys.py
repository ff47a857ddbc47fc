"""`lakehouse keys` and `lakehouse reidentify`.

`keys` is about the key drive, the session that it opens, and who is known under which number.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dagster_project.intake.identity import agent as key_agent
from dagster_project.intake.identity.keys import (
    RECIPIENT,
    Keys,
    KeysError,
    create_medium,
    is_throwaway,
    rotate_medium,
    unlock_identity,
)
from dagster_project.intake.identity.keys import unlock as unlock_medium
from dagster_project.lake.home import Home, find_home, why_no_site

if TYPE_CHECKING:
    from dagster_project.intake.identity.pseudonyms import Crosswalk

KEY_DRIVE = click.argument(
    "medium", metavar="KEY_DRIVE", type=click.Path(file_okay=False, path_type=Path)
)
HOURS = click.option(
    "--hours",
    type=click.FloatRange(min=0, min_open=True),
    default=key_agent.HOURS,
    show_default=True,
    help="The agent forgets the keys after so long.",
)


@click.group()
def keys() -> None:
    """Make the key drive, unlock intake with it, rotate it.

    Also numbers that mean the same patient.

    \b
    Example:
      lakehouse keys create --out KEY_DRIVE
    """


@contextmanager
def _told() -> Iterator[None]:
    """What goes wrong with keys or crosswalk is a message, not a traceback."""
    from dagster_project.intake.identity.pseudonyms import (
        IssuerConflictError,
        UnknownPseudonymError,
    )

    try:
        yield
    except (KeysError, UnknownPseudonymError, IssuerConflictError) as error:
        raise click.ClickException(str(error)) from None


def _passphrase(text: str = "Passphrase", *, new: bool = False, medium: Path | None = None) -> str:
    """The passphrase, prompted for without echo; empty for a trial key drive.

    It is read from LAKEHOUSE_PASSPHRASE_FILE where that is set and the passphrase is not a new one.
    """
    if medium is not None and is_throwaway(medium):
        return ""
    file = os.environ.get("LAKEHOUSE_PASSPHRASE_FILE")
    if file and not new:
        return Path(file).read_text(encoding="utf-8").rstrip("\n")
    return str(click.prompt(text, hide_input=True, confirmation_prompt=new))


@keys.command()
@click.option(
    "--out",
    "folder",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="An empty folder, on a key drive that leaves the server.",
)
def create(folder: Path) -> None:
    """Make the key drive of this home, once, before the first real patient.

    \b
    Example:
      lakehouse keys create --out /media/pi/key-drive
    """
    from dagster_project.intake.identity.pseudonyms import bind_medium, medium_of

    home = find_home()
    with _told():
        if medium_of(home.crosswalk):
            raise KeysError(
                "this home already has a key drive (trial keys count); "
                "begin a new home, or rotate: `lakehouse keys rotate`"
            )
        create_medium(folder, _passphrase("Passphrase, 12 characters or more", new=True))
        bind_medium(home.make().crosswalk, (folder / RECIPIENT).read_text(encoding="ascii").strip())
    click.echo(
        f"Made {folder}: root.age (intake), identity.age (re-identification alone), "
        "recipient.txt (public; this home keeps it).\n"
        "Copy it twice, to two places, apart from every backup of the crosswalk. "
        "Intake is locked now; open a session with `lakehouse keys unlock`."
    )


@keys.command()
@KEY_DRIVE
@HOURS
def unlock(medium: Path, hours: float) -> None:
    """Start a session: a key agent in the background, whose memory alone holds the keys.

    The key drive can then be taken away.

    \b
    Example:
      lakehouse keys unlock /media/pi/key-drive --hours 2
    """
    home = find_home().make()
    with _told():
        key_agent.start_agent(home.agent, _keys_of(home, medium), hours=hours)
    click.echo(
        f"Unlocked for {hours:g} hours; end it sooner with `lakehouse keys lock`. "
        "The key drive can be taken away."
    )


@keys.command()
@KEY_DRIVE
@HOURS
def agent(medium: Path, hours: float) -> None:
    """The same agent in the foreground.

    For a service manager, or a socket that ssh forwards from the PI's workstation.

    \b
    Example:
      LAKEHOUSE_AGENT=/run/user/1000/lakehouse.socket lakehouse keys agent KEY_DRIVE --hours 10
    """
    home = find_home().make()
    with _told():
        opened = _keys_of(home, medium)
        click.echo("The agent listens; Ctrl-C locks.")
        try:
            key_agent.serve_agent(home.agent, opened, hours=hours)
        except KeyboardInterrupt:
            click.echo("Locked.")


@keys.command()
def lock() -> None:
    """End the session: the agent forgets the keys, and intake refuses until it is unlocked again.

    \b
    Example:
      lakehouse keys lock
    """
    with _told():
        key_agent.lock_agent(find_home().agent)
    click.echo("Locked.")


@keys.command()
@KEY_DRIVE
@click.option(
    "--out",
    "folder",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="An empty folder for the new key drive.",
)
def rotate(medium: Path, folder: Path) -> None:
    """A new key drive in place of one that may have been seen.

    The crosswalk is re-sealed and re-indexed; pseudonyms, UIDs and dates stay.

    \b
    Example:
      lakehouse keys rotate OLD_DRIVE --out NEW_DRIVE
    """
    from dagster_project.intake.identity.pseudonyms import rotate_crosswalk

    home, was = find_home(), _passphrase("Passphrase of the old key drive", medium=medium)
    with _told():
        if key_agent.is_running(home.agent):
            raise KeysError(
                "a key agent holds the old keys; end it with `lakehouse keys lock` first"
            )
        old, identity = _opened(home, medium, was), unlock_identity(medium, was)
        passphrase = _passphrase("Passphrase of the new key drive, 12 characters or more", new=True)
        new = unlock_medium(rotate_medium(medium, was, folder, passphrase), passphrase)
        sealed = rotate_crosswalk(home.crosswalk, old=old, new=new, identity=identity)
    click.echo(
        f"Version {new.version}: {sealed} sealed rows moved to {folder}. "
        "Keep the old key drive until a backup of this crosswalk is made, then destroy it."
    )


@keys.command()
@click.argument("pseudonym")
@click.option("--site", required=True, help="The site whose number it is.")
@click.option(
    "--issuer", default="", help="Issuer of Patient ID (0010,0021), where images name one."
)
def alias(pseudonym: str, site: str, issuer: str) -> None:
    """Another hospital number of a known patient.

    It is prompted for without echo and leads to the same pseudonym from now on.

    \b
    Example:
      lakehouse keys alias BJCH-… --site BJCH
    """
    with _told():
        reason = why_no_site(site)
        if reason:
            raise KeysError(reason)
        book = _open_crosswalk()
        number = str(click.prompt("Hospital number", hide_input=True))
        other = book.find(site, number, issuer)
        if other not in {None, pseudonym}:
            raise KeysError(
                "this number already has a pseudonym of its own; "
                "join the two with `lakehouse keys merge`"
            )
        book.add_alias(pseudonym, site, number, issuer)
    _write_audit("alias", pseudonym, "")
    click.echo("Known under this number too.")


@keys.command()
@click.argument("pseudonym")
@click.argument("into")
@click.option("--purpose", required=True, help="Why; it stands in the audit.")
def merge(pseudonym: str, into: str, purpose: str) -> None:
    """Join two pseudonyms that turned out to be one person.

    PSEUDONYM's numbers lead to INTO, and the next run reads its files anew under INTO.

    \b
    Example:
      lakehouse keys merge BJCH-… BJCH-… --purpose "two numbers, confirmed by the ward"
    """
    from dagster_project.intake.vault.vault import give_up_patient

    home, site = find_home(), pseudonym.rpartition("-")[0]
    with _told():
        if into.rpartition("-")[0] != site or into == pseudonym:
            raise KeysError("two pseudonyms of one site are joined")
        if not (home.landing / site).is_dir():
            raise KeysError(
                "the site's delivery folder is not there, so the files could not be read anew; "
                "put the delivery back first"
            )
        book = _open_crosswalk()
        book.merge(pseudonym, into)
        give_up_patient(home.vault / site, pseudonym)
    _write_audit("merge", into, purpose)
    click.echo(f"Joined. `lakehouse run --site {site}` reads the files anew.")


@keys.command()
@click.argument("pseudonym")
@click.option("--purpose", required=True, help="Why; it stands in the audit.")
def confirm(pseudonym: str, purpose: str) -> None:
    """Confirm that images refused as another person's are of this patient.

    Birth date, sex, age and name of PSEUDONYM's images and row are compared no more.

    \b
    Example:
      lakehouse keys confirm BJCH-… --purpose "birth date corrected, confirmed by the ward"
    """
    from dagster_project.intake.vault.vault import confirm_person

    home, site = find_home(), pseudonym.rpartition("-")[0]
    with _told():
        if not _open_crosswalk().knows(pseudonym):
            raise KeysError("no patient has this pseudonym")
        confirm_person(home.vault / site, pseudonym)
    _write_audit("confirm", pseudonym, purpose)
    click.echo(f"Confirmed. `lakehouse run --site {site}` takes the refused images in.")


@click.command()
@click.argument("pseudonym")
@click.option(
    "--key-drive",
    "medium",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="The key drive, with identity.age.",
)
@click.option("--purpose", required=True, help="Why; it stands in the audit.")
@click.option(
    "--crosswalk",
    type=click.Path(path_type=Path),
    default=None,
    help="The crosswalk's folder or file.  [default: HOME/crosswalk]",
)
def reidentify(pseudonym: str, medium: Path, purpose: str, crosswalk: Path | None) -> None:
    """Who a pseudonym is.

    Needs the key drive and the crosswalk, not the lake; the audit is written first.

    \b
    Example:
      lakehouse reidentify BJCH-… --key-drive /media/pi/key-drive --purpose "incidental finding"
    """
    from dagster_project.intake.identity.pseudonyms import reidentify as open_sealed

    home = find_home()
    book = crosswalk or home.crosswalk
    audit = (book if book.is_dir() else book.parent) / home.audit.name
    with _told():
        records = open_sealed(
            pseudonym,
            crosswalk=book,
            medium=medium,
            audit=audit,
            passphrase=_passphrase(medium=medium),
            purpose=purpose,
        )
    for record in records:
        click.echo(json.dumps(record, ensure_ascii=False))


def _keys_of(home: Home, medium: Path) -> Keys:
    return _opened(home, medium, _passphrase(medium=medium))


def _opened(home: Home, medium: Path, passphrase: str) -> Keys:
    """Keys of a key drive, where it is this home's."""
    from dagster_project.intake.identity.pseudonyms import bind_medium

    opened = unlock_medium(medium, passphrase)
    bind_medium(home.crosswalk, opened.recipient)
    return opened


def _open_crosswalk() -> Crosswalk:
    from dagster_project.flow.intake import session_keys
    from dagster_project.intake.identity.pseudonyms import Crosswalk

    home = find_home()
    return Crosswalk(home.crosswalk, session_keys(home))


def _write_audit(action: str, pseudonym: str, purpose: str) -> None:
    from dagster_project.intake.identity.pseudonyms import write_audit

    write_audit(find_home().audit, action, pseudonym, purpose)

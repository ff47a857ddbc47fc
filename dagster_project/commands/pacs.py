"""`lakehouse pacs`: scans straight from a site's PACS, de-identified at once; results to a peer."""

from __future__ import annotations

import datetime as dt
import json
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dagster_project.commands.terminal import language
from dagster_project.lake.home import Home, find_home, why_no_site

if TYPE_CHECKING:
    from dagster_project.intake.pacs.pacs_listener import Listener
    from dagster_project.intake.pacs.pacs_pull import Archive, Pulled
    from dagster_project.intake.pacs.pacs_settings import SitePacs
    from dagster_project.intake.pacs.pacs_wanted import Query, Wanted
    from dagster_project.intake.vault.vault import Reception

LOOK_SECONDS = 1.0
"""How often a listener that runs writes its state, where it has changed."""

DAY = click.DateTime(["%Y-%m-%d"])


@click.group()
def pacs() -> None:
    """Scans straight from a site's PACS, and results to a peer; HOME/pacs.toml says who is who.

    \b
    Example:
      lakehouse pacs listen --site BJCH
      lakehouse pacs pull --site BJCH
      lakehouse pacs send export --site BJCH --to REPORTS
    """


@pacs.command()
@click.option("--site", required=True, help="Whose scans are sent.")
def listen(site: str) -> None:
    """Receive what a PACS or scanner sends (C-ECHO, C-STORE), until interrupted.

    \b
    Example:
      lakehouse pacs listen --site BJCH
    """
    from dagster_project.intake.pacs.pacs_listener import Listener

    with _opened(site) as (settings, reception), _port_of(site) as ours:
        if not ours:
            raise click.ClickException(
                "a listener of this site is running; end it first, or let it run: "
                "a pull uses it too"
            )
        with Listener(settings.listen, reception, click.echo) as listener:
            click.echo(
                f"{settings.listen.ae_title} listens on {settings.listen.host}:{listener.port} "
                f"for {site}; Ctrl-C ends it"
            )
            _await_end(find_home().watch / f"pacs.{site}.json", listener)


@pacs.command()
@click.option("--site", required=True, help="Whose PACS is asked.")
@click.option(
    "--numbers",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Hospital numbers, one per line.  [default: the delivery folder's patients.csv]",
)
@click.option("--from", "start", type=DAY, help="Earliest study date, with --numbers and --to.")
@click.option("--to", "end", type=DAY, help="Latest study date, with --numbers and --from.")
@click.option(
    "--before",
    type=click.IntRange(0),
    default=42,
    show_default=True,
    help="Days before the first cycle.",
)
@click.option(
    "--after",
    type=click.IntRange(0),
    default=90,
    show_default=True,
    help="Days after the last cycle.",
)
@language("what was not received, and why")
@click.option(
    "--uids",
    is_flag=True,
    help=(
        "Name what did not come by the UIDs of the PACS, on this screen only: they identify scans."
    ),
)
def pull(
    site: str,
    numbers: Path | None,
    start: dt.datetime | None,
    end: dt.datetime | None,
    before: int,
    after: int,
    uids: bool,
    lang: str,
) -> None:
    """Request the scans of the study's patients from a PACS.

    A second pull requests only what is missing.

    \b
    Example:
      lakehouse pacs pull --site BJCH --numbers numbers.txt --from 2026-01-01 --to 2026-12-31
    """
    from dagster_project.intake.pacs.pacs_wanted import Query, wanted_of_list

    if (start is None) != (end is None) or (start and not numbers):
        raise click.UsageError("--from and --to go together, and with --numbers")
    with _opened(site) as (settings, reception):
        dates = (start.date(), end.date()) if start and end else None
        query = (
            Query(wanted_of_list(numbers, dates))
            if numbers
            else _query_of_landing(site, before, after)
        )
        _report(
            _pulled(site, settings, reception, query.wanted),
            len(query.unused),
            uids=uids,
            chinese=lang == "zh",
        )


@pacs.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--site", required=True, help="Whose section of pacs.toml has the peer.")
@click.option(
    "--to", "name", required=True, metavar="NAME", help="The peer: section [SITE.send.NAME]."
)
def send(folder: Path, site: str, name: str) -> None:
    """Send what `lakehouse export` wrote into FOLDER to a peer, by C-STORE or STOW-RS.

    Files that were changed since, or lie beside them, are not sent. Exit 1 where the peer did not
    take all.

    \b
    Example:
      lakehouse pacs send export --site BJCH --to REPORTS
    """
    from dagster_project.intake.pacs.pacs_faults import PacsError
    from dagster_project.intake.pacs.pacs_send import read_export
    from dagster_project.intake.pacs.pacs_send import send as send_to
    from dagster_project.intake.pacs.pacs_settings import read_destination

    try:
        destination = read_destination(find_home().root / "pacs.toml", site, name)
        done = send_to(destination, read_export(folder))
    except PacsError as error:
        raise click.ClickException(str(error)) from None
    click.echo(f"objects stored {done.stored}, refused {len(done.failed)}")
    for reason, files in _by_reason(done.failed).items():
        click.echo(f"{files[0]}{f' + {len(files) - 1}' if len(files) > 1 else ''}: {reason}")
    if done.failed:
        raise click.ClickException(
            "some objects were not taken; do what their reasons say, then send again. "
            "部分对象未被接收，请按上述原因处理后重发"
        )


def _by_reason(failed: Sequence[tuple[str, str]]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for file, reason in failed:
        found.setdefault(reason, []).append(file)
    return found


def _query_of_landing(site: str, before: int, after: int) -> Query:
    """Who is wanted by the case report; names the cells that had no part in it."""
    from dagster_project.intake.case_report.chronology import cut_off_of
    from dagster_project.intake.pacs.pacs_wanted import wanted_of_landing
    from dagster_project.study import load_study

    cut_off = cut_off_of(load_study().section("study"), dt.datetime.now(dt.UTC))
    query = wanted_of_landing(find_home().landing / site, cut_off, before=before, after=after)
    for cell in query.unused:
        click.echo(f"not used: {cell.item}: {cell.reason}")
    return query


def _pulled(site: str, settings: SitePacs, reception: Reception, wanted: list[Wanted]) -> Pulled:
    from dagster_project.intake.pacs.pacs_pull import pull as pull_from

    with _receiving(site, settings, reception) if settings.peer.method == "move" else nullcontext():
        return pull_from(
            _archive(settings, reception), reception, wanted, settings.peer.number_digits
        )


@contextmanager
def _receiving(site: str, settings: SitePacs, reception: Reception) -> Iterator[None]:
    """A listener of our own while the block runs, or the one that has the port already."""
    from dagster_project.intake.pacs.pacs_listener import Listener

    with _port_of(site) as ours:
        if not ours:
            click.echo("lakehouse pacs listen is running: it receives what this pull requests")
            yield
            return
        with Listener(settings.listen, reception):
            yield


@contextmanager
def _port_of(site: str) -> Iterator[bool]:
    """Whether this process may listen for the site.

    A PACS knows one port of ours, and one process has it.
    """
    from dagster_project.lake.locks import HeldError, locked

    with ExitStack() as stack:
        try:
            stack.enter_context(
                locked(find_home().root / f"pacs.{site}.lock", "lakehouse pacs", seconds=0)
            )
            ours = True
        except HeldError:
            ours = False
        yield ours


def _archive(settings: SitePacs, reception: Reception) -> Archive:
    if settings.peer.method == "dicomweb":
        from dagster_project.intake.pacs.pacs_web import WebArchive

        return WebArchive(settings.peer, settings.listen, reception)
    from dagster_project.intake.pacs.pacs_messages import MessageArchive

    return MessageArchive(settings.peer, settings.listen, reception)


def _report(done: Pulled, unused: int, *, uids: bool, chinese: bool) -> None:
    """Counts, what was not taken and why, and what was not received, by patient and series."""
    from dagster_project.lake.reasons import chinese_item, chinese_reason

    click.echo(
        f"patients {done.patients}, series {done.series}; objects known {done.known}, "
        f"requested {done.asked}, not received {done.missing}; cells not used {unused}"
    )
    for text, count in sorted(done.passed.items()):
        click.echo(
            f"未取：{chinese_reason(text)}：{count}" if chinese else f"not taken: {text}: {count}"
        )
    for note in done.notes:
        item = note.counted(len(note.uids))
        click.echo(
            f"{chinese_item(item)}：{chinese_reason(note.reason)}"
            if chinese
            else f"{item}: {note.reason}"
        )
    for one in done.absent if uids else ():
        click.echo(f"study {one.found.study} series {one.found.series}: {' '.join(one.instances)}")
    if done.stopped:
        raise click.ClickException(f"the pull ended before its end: {done.stopped}")
    if done.missing:
        raise click.ClickException(
            "some objects were not received; run the pull again, it requests what is missing"
        )


@contextmanager
def _opened(site: str) -> Iterator[tuple[SitePacs, Reception]]:
    """The site's settings and a reception under the session's keys.

    Faults are shown without a traceback.
    """
    from dagster_project.flow.intake import session_keys
    from dagster_project.intake.identity.keys import KeysError
    from dagster_project.intake.pacs.pacs_faults import PacsError
    from dagster_project.intake.pacs.pacs_settings import read_settings
    from dagster_project.intake.vault.sandbox import close_child
    from dagster_project.intake.vault.vault import IntakeError, Reception

    reason = why_no_site(site)
    if reason:
        raise click.ClickException(reason)
    home = find_home().make()
    try:
        settings = read_settings(home.root / "pacs.toml", site)
        reception = Reception(
            _landing(home, site),
            home.vault / site,
            keys=session_keys(home),
            crosswalk=home.crosswalk,
        )
        yield settings, reception
    except (PacsError, IntakeError, KeysError) as error:
        raise click.ClickException(str(error)) from None
    finally:
        close_child()


def _landing(home: Home, site: str) -> Path:
    """The site's folder, empty where it has none, so that runs and the sensor know the site."""
    folder = home.landing / site
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def _await_end(file: Path, listener: Listener) -> None:
    """Wait for a signal, and meanwhile write what `lakehouse check` looks at.

    The file goes where the listener was ended, and stays where it was killed.
    """
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    try:
        _write_state(file, listener)
        while not ended.wait(LOOK_SECONDS):
            _write_state(file, listener)
    except KeyboardInterrupt:
        click.echo("ended")
    finally:
        file.unlink(missing_ok=True)


def _write_state(file: Path, listener: Listener) -> None:
    from dagster_project.lake.files import write_whole

    since = listener.put_off_since
    state = {"put_off": listener.put_off, "put_off_since": since and since.isoformat()}
    content = json.dumps(state).encode()
    with suppress(OSError):  # a full disk ends no listener
        if not file.is_file() or file.read_bytes() != content:
            write_whole(file, content)

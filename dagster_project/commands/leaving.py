"""A patient or a site leaves.

It is written down before anything is removed, so that it is never half done.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import click

from dagster_project.commands.interruption import Interrupted, interruptible
from dagster_project.commands.terminal import CONSOLE
from dagster_project.lake.files import write_whole
from dagster_project.lake.home import Home
from dagster_project.lake.locks import home_locked

NOTHING_REMOVED = "Interrupted: nothing was removed. Give the same command again."
HALF_WAY = (
    "Interrupted half-way: what was begun is written down, and the same command, or the next "
    "`lakehouse run`, completes it before anything else. Until then earlier publications are "
    "still there."
)
PENDING = "A withdrawal or removal was interrupted before its end; `lakehouse run` completes it."
LEFT_TO_THE_NEXT_RUN = ("intake", "model_runs", "published")
"""Steps that are left out: no delivery is read, no model is trained.

The publication comes when snapshots have gone.
"""

COMPLETES = "A withdrawal or removal was interrupted before its end; it is completed first."


@dataclass(frozen=True)
class Leaving:
    """Who leaves, and all that has to be known to complete it whatever is gone already.

    Parameters
    ----------
    who
        A patient's pseudonym, or a site's code.
    mark
        What takes the place of a pseudonym; the code itself for a site.
    patients
        Pseudonyms that leave.
    traces
        Texts of which nothing may be left in the home.
    runs
        MLflow runs that learnt from the patients.
    pictures
        What pictures of the patients are known by, of which none may be left either.
    """

    who: str
    mark: str
    purpose: str
    patients: tuple[str, ...]
    traces: tuple[str, ...]
    runs: tuple[str, ...]
    pictures: tuple[str, ...] = ()

    @property
    def is_site(self) -> bool:
        """Whether a whole site leaves."""
        return self.who == self.mark


def leaving_file(home: Home) -> Path:
    """Where it is written down: beside the crosswalk, closed to others, gone when all is done."""
    return home.crosswalk / "leaving.json"


def pending(home: Home) -> Leaving | None:
    """What was begun and not completed."""
    file = leaving_file(home)
    if not file.is_file():
        return None
    written = json.loads(file.read_text(encoding="utf-8"))
    return Leaving(
        written["who"],
        written["mark"],
        written["purpose"],
        tuple(written["patients"]),
        tuple(written["traces"]),
        tuple(written["runs"]),
        tuple(written.get("pictures", ())),
    )


@contextmanager
def whole(home: Home, command: str) -> Iterator[None]:
    """Hold the home for a command that removes.

    A signal ends it before anything was removed, or leaves what the next command completes.
    """
    try:
        with interruptible(lambda: _message(home)), home_locked(home, command, waiting=click.echo):
            yield
    except Interrupted as error:  # also that of the run within
        raise Interrupted(error.exit_code - 128, _message(home)) from None


def _message(home: Home) -> str:
    return HALF_WAY if leaving_file(home).is_file() else NOTHING_REMOVED


def begin(home: Home, leaving: Leaving) -> list[str]:
    """Write it down, then complete it; the files in which a trace is left, which should be none."""
    write_whole(leaving_file(home), json.dumps(asdict(leaving), ensure_ascii=False).encode())
    return complete(home, leaving)


def complete_pending(home: Home) -> Leaving | None:
    """Complete what was begun and not completed, if there is any.

    Raises
    ------
    click.ClickException
        Where a trace is left after all.
    """
    leaving = pending(home)
    if leaving is None:
        return None
    CONSOLE.print(COMPLETES, soft_wrap=True)
    left = complete(home, leaving)
    if left:
        raise click.ClickException(f"a trace is left in {', '.join(left)}")
    return leaving


def complete(home: Home, leaving: Leaving) -> list[str]:
    """Everything that has to be done, each step again where it was done before.

    1. Vault, crosswalk and tables forget; models that learnt from who leaves lose their alias.
    2. Histories go; every table and page is derived anew without reading a delivery. No model is
       trained: that may take hours, and the next run does it.
    3. Snapshots, publications, and the partition of a site go.
    4. The whole home is searched; then nothing has to be written down any more.
    """
    from dagster_project.commands.run import run_flow
    from dagster_project.flow import withdrawal
    from dagster_project.resources import Lakehouse

    lakehouse = Lakehouse(root=str(home.root))
    if leaving.is_site:
        withdrawal.remove_site(lakehouse, leaving.who, leaving.patients, leaving.purpose)
        withdrawal.forget_partition(leaving.who)
    else:
        withdrawal.withdraw_patient(lakehouse, leaving.who, leaving.mark, leaving.purpose)
    withdrawal.forget_history(home)
    withdrawal.mark_learnt(lakehouse, leaving.runs)
    if home.sites():
        run_flow(home, [], leave_out=LEFT_TO_THE_NEXT_RUN)
    withdrawal.purge_history(lakehouse)
    if leaving.traces:
        withdrawal.redact_stores(home, leaving.traces, leaving.mark)
    left = _search(home, leaving)
    leaving_file(home).unlink()
    return left


def _search(home: Home, leaving: Leaving) -> list[str]:
    from dagster_project.flow.trace_search import search_home
    from dagster_project.resources import Lakehouse

    if not leaving.traces:
        return []
    lake = None if home.lake_made else Lakehouse(root=str(home.root)).lake
    return search_home(
        home, leaving.traces, besides=(leaving_file(home),), pictures=leaving.pictures, lake=lake
    )

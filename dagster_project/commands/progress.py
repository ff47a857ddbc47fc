"""How far a run is: a bar with an estimate on a terminal, one line per stage in a log."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from dagster_project.commands.terminal import CONSOLE
from dagster_project.commands.words import printed
from dagster_project.console import LISTENERS, STEP_ENDS
from dagster_project.flow.nights import Night


@dataclass(frozen=True)
class Stage:
    """One job of a run: its name, and which of how many it is."""

    name: str
    number: int
    of: int
    seconds: float | None
    """How long it took when it last ended well; None where it never did."""

    @property
    def line(self) -> str:
        """The stage in one line."""
        took = printed(", {0} the last time", in_words(self.seconds or 0))
        last = took if self.seconds is not None else ""
        return f"[bold]{self.name}[/bold] ({printed('{0} of {1}', self.number, self.of)}{last})"


def seconds_of_last_time(nights: list[Night]) -> Mapping[tuple[str, str], float]:
    """How long the last run of each job and site that ended well and made everything took."""
    return {
        (n.job, n.site): (n.ended - n.began).total_seconds()
        for n in nights
        if n.status == "good" and n.ended and not n.quiet
    }


def in_words(seconds: float) -> str:
    """A duration in one unit.

    >>> in_words(42), in_words(150), in_words(7200)
    ('42 s', '2.5 min', '2.0 h')
    """
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


@contextmanager
def shown(stage: Stage, steps: int) -> Iterator[None]:
    """Show a stage while the block runs it: its line, and on a terminal a bar of its steps."""
    CONSOLE.rule(stage.line, align="left")
    if not CONSOLE.is_terminal or CONSOLE.quiet:
        yield
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=CONSOLE, transient=True) as progress:
        task = progress.add_task(stage.name, total=steps)

        def listen(event: str, step: str) -> None:
            ended = event in STEP_ENDS
            progress.update(task, advance=int(ended), description=f"{stage.name} {step}")

        LISTENERS.append(listen)
        try:
            yield
        finally:
            LISTENERS.remove(listen)


def today() -> dt.datetime:
    """The present moment, by which runs of earlier nights are read."""
    return dt.datetime.now(dt.UTC)

"""What a step of the flow hands to its asset, how it says how far it is, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import polars as pl

from dagster_project.compute import Outcome
from dagster_project.lake.schema import conform, empty
from dagster_project.lake.store import Write
from dagster_project.lake.tables import QUARANTINE, Table

if TYPE_CHECKING:
    from dagster_project.resources import Lakehouse

Say = Callable[[str], None]
"""Takes one line of progress."""


@dataclass(frozen=True)
class StepResult:
    """Rows to write, what was computed, reused and refused, and a picture where one helps."""

    rows: pl.DataFrame
    counts: dict[str, int]
    picture: bytes | None = None
    write: Write | None = None
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def written(self) -> Write:
        """What a step that writes by itself has written.

        Raises
        ------
        LookupError
            Where the rows are written by the asset.
        """
        if self.write is None:
            raise LookupError("the rows of this step are written by its asset")
        return self.write


def report_progress(
    outcomes: Iterable[Outcome[Any, Any]], total: int, what: str, say: Say
) -> Iterator[Outcome[Any, Any]]:
    """Pass outcomes on and say about ten times how far the work is."""
    step = -(-total // 10)
    for number, outcome in enumerate(outcomes, start=1):
        if number % step == 0 or number == total:
            say(f"{what}: {number} of {total}")
        yield outcome


def is_simulated(lakehouse: Lakehouse, site: str) -> bool:
    """Whether the site's landing is marked as simulated.

    The mark is stored in the vault, since only intake reads the landing.
    """
    return (lakehouse.home.vault / site / "SIMULATED").is_file()


def refusal(site: str, stage: str, item: str, reason: str, *, simulated: bool) -> dict[str, Any]:
    """A row of the quarantine."""
    return dict(zip(QUARANTINE.names, (site, stage, item, reason, simulated), strict=True))


def frame_of(rows: list[dict[str, Any]], table: Table) -> pl.DataFrame:
    """Rows as a frame of a table; what a row does not have is NULL."""
    whole = [{name: row.get(name) for name in table.names} for row in rows]
    return conform(pl.DataFrame(whole, infer_schema_length=None), table) if rows else empty(table)


def gather_refusals(lakehouse: Lakehouse) -> tuple[Write, pl.DataFrame]:
    """Make what each stage of each site refuses now the rows of the quarantine."""
    rows = lakehouse.refusals()
    return lakehouse.lake.replace(QUARANTINE.name, rows), rows


def refuse_by_site(lakehouse: Lakehouse, stage: str, refused: pl.DataFrame) -> None:
    """Give each site the refusals of a stage that looks at all of them."""
    for site in lakehouse.home.sites():
        lakehouse.refuse(
            site, stage, refused.filter(site=site) if refused.height else empty(QUARANTINE)
        )

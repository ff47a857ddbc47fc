"""What an asset may reach: the home folder, the lake, the protocol. One connection a process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import dagster as dg
import polars as pl

from dagster_project.lake.clock import CLOCK, CLOCK_SCHEMA
from dagster_project.lake.errors import HalfRestored
from dagster_project.lake.files import write_parquet_whole
from dagster_project.lake.free_space import refuse_little_space
from dagster_project.lake.home import Home, find_home
from dagster_project.lake.locks import home_locked
from dagster_project.lake.schema import conform, empty
from dagster_project.lake.store import Lake, open_lake
from dagster_project.lake.tables import BY_NAME, CONTRADICTORY, QUARANTINE
from dagster_project.run_processes import ANY_SPACE, process_tags
from dagster_project.study import Study, load_study


class Lakehouse(dg.ConfigurableResource):
    """The study's home folder, and the lake in it."""

    root: str = ""

    @property
    def home(self) -> Home:
        """The folders; LAKEHOUSE_HOME where none is configured."""
        return Home(Path(self.root)) if self.root else find_home()

    @property
    def lake(self) -> Lake:
        """The connection of this process."""
        return _open(self.home)

    @property
    def study(self) -> Study:
        """The protocol."""
        return load_study()

    @contextmanager
    def yield_for_execution(self, context: dg.InitResourceContext) -> Iterator[Lakehouse]:
        """A run that Dagster starts waits for a `lakehouse run` in the same home, and that for it.

        It bears its process before it waits, so that one that is killed is known for dead. A lake
        of another schema ends it before any step.
        """
        if context.run and context.instance:
            context.instance.add_run_tags(context.run.run_id, process_tags())
        say = context.log.info if context.log else print
        what = f"Dagster's run of {context.run.job_name}" if context.run else "Dagster"
        with home_locked(self.home, what, shared=True, waiting=say):
            if self.home.half_restored:
                raise HalfRestored
            if context.run and ANY_SPACE not in context.run.tags:
                refuse_little_space(self.home)
            if self.home.has_lake:
                self.lake.check_schema()
            yield self

    def read(
        self, *tables: str, site: str | None = None, as_of: int | None = None
    ) -> list[pl.DataFrame]:
        """Several tables of the same snapshot, in the order asked."""
        lake = self.lake
        with lake.one_snapshot():
            return [
                lake.read(t, site=site if BY_NAME[t].by_site else None, as_of=as_of) for t in tables
            ]

    def case_report(self, site: str, name: str) -> pl.DataFrame:
        """What intake left of a site's case report: a de-identified Parquet file.

        No rows where the site sent none.
        """
        file = self.case_report_file(site, name)
        return pl.read_parquet(file) if file.is_file() else pl.DataFrame()

    def case_report_file(self, site: str, name: str) -> Path:
        """Where intake leaves a table of a site's case report."""
        return self.home.vault / site / "case_report" / f"{name}.parquet"

    def clock(self) -> pl.DataFrame:
        """The day of each site's last intake, shifted as the dates of each patient.

        Columns site, patient and as_of_date; no row of a site that was taken in before there was a
        clock.
        """
        found = [self.case_report(site, CLOCK) for site in self.home.sites()]
        return pl.concat([pl.DataFrame(schema=CLOCK_SCHEMA), *(f for f in found if f.height)])

    def held_out(self, site: str) -> frozenset[str]:
        """Patients held out of all tables until a person says whether they withdrew.

        Their files are in the vault.
        """
        patients = self.case_report(site, "patients")
        if not patients.height:
            return frozenset()
        return frozenset(patients.filter(consent=CONTRADICTORY)["patient"])

    def refuse(self, site: str, stage: str, rows: pl.DataFrame) -> int:
        """Keep a stage's current refusals of a site until the quarantine asset gathers them.

        An empty frame clears them.
        """
        kept = conform(rows, QUARANTINE) if rows.height else empty(QUARANTINE)
        write_parquet_whole(
            self.home.vault / site / "refused" / f"{stage}.parquet",
            kept.unique(QUARANTINE.key, maintain_order=True),
        )
        return kept.height

    def refusals(self) -> pl.DataFrame:
        """All current refusals of all sites and stages."""
        files = sorted(
            [
                *self.home.vault.glob("*/refused/*.parquet"),
                *self.home.vault.glob("*/refused.parquet"),
            ]
        )
        rows = [conform(pl.read_parquet(f), QUARANTINE) for f in files]
        return pl.concat([empty(QUARANTINE), *rows]).unique(QUARANTINE.key, maintain_order=True)


@cache
def _open(home: Home) -> Lake:
    return open_lake(home)

"""A site of one scan, and what says nothing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import polars as pl

from dagster_project.flow.scans import describe_new_scans
from dagster_project.resources import Lakehouse


def silent(_: str) -> None:
    """Say nothing."""


@dataclass
class Site:
    """A site of one scan that is described without being read."""

    lakehouse: Lakehouse
    name: str

    @property
    def folder(self) -> Path:
        return self.lakehouse.home.vault / self.name / "P" / "SCAN"

    @property
    def scans(self) -> pl.DataFrame:
        return self.lakehouse.lake.read("scans", site=self.name)

    @property
    def refusals(self) -> pl.DataFrame:
        return self.lakehouse.refusals().filter(site=self.name)

    def run(self) -> dict[str, int]:
        done = describe_new_scans(self.lakehouse, self.name, silent)
        self.lakehouse.lake.replace("scans", done.rows, site=self.name)
        return done.counts

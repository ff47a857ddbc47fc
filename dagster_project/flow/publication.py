"""Publishing from a home: without the sites that the audit blocks, and with what the protocol leaves out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dagster_project.domain.disclosure import derive_disclosure
from dagster_project.flow.vault_audit import blocked_sites
from dagster_project.lake.home import Home
from dagster_project.lake.minimisation import Minimisation
from dagster_project.lake.publish import Published, publish
from dagster_project.lake.store import Lake, Write
from dagster_project.lake.tables import DISCLOSURE, PATIENTS
from dagster_project.study import Study

if TYPE_CHECKING:
    import polars as pl


def count_disclosure(lake: Lake, study: Study) -> tuple[Write, pl.DataFrame]:
    """Bring the table disclosure up to date with patients and [publish]; nothing is written where it is."""
    rows = derive_disclosure(lake.read(PATIENTS.name), Minimisation.of(study))
    return lake.replace(DISCLOSURE.name, rows), rows


def publish_home(lake: Lake, home: Home, study: Study, *, anew: bool = False) -> Published:
    """Publish the newest snapshot, or all of it anew; every command and asset publishes by this alone."""
    count_disclosure(lake, study)
    return publish(lake, home.published, without=blocked_sites(home), minimised=Minimisation.of(study), anew=anew)

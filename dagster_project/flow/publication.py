"""Publishing from a home.

Sites that an audit blocks and what the protocol leaves out are not published.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dagster_project.domain.cohort.disclosure import derive_disclosure
from dagster_project.flow.gate import mark_rows
from dagster_project.flow.lake_audit import EVERY_SITE, audit_lake
from dagster_project.flow.vault_audit import BLOCKED, blocked_sites
from dagster_project.lake.errors import LakeError
from dagster_project.lake.home import Home
from dagster_project.lake.minimisation import Minimisation
from dagster_project.lake.publish import Published, publish
from dagster_project.lake.store import Lake, Write
from dagster_project.lake.tables import DISCLOSURE, PATIENTS
from dagster_project.study import Study

if TYPE_CHECKING:
    import polars as pl


def count_disclosure(lake: Lake, study: Study) -> tuple[Write, pl.DataFrame]:
    """Bring the table disclosure up to date with patients and [publish].

    Nothing is written where it already is.
    """
    rows = derive_disclosure(lake.read(PATIENTS.name), Minimisation.of(study))
    return lake.replace(DISCLOSURE.name, rows), rows


def bring_up_to_date(lake: Lake, study: Study) -> None:
    """Update the mark of the gate and the counts of disclosure, before anything shows them."""
    mark_rows(lake, study)
    count_disclosure(lake, study)


class NothingPublished(LakeError):
    """A table that names no site holds what could identify a person."""

    def __init__(self) -> None:
        super().__init__(
            f"a table of all sites has a finding of the audit: nothing is published. {BLOCKED}"
        )


def publish_home(lake: Lake, home: Home, study: Study, *, anew: bool = False) -> Published:
    """Audit the lake, then publish the newest snapshot, or all of it anew.

    Every command and asset publishes by this function alone.

    Raises
    ------
    NothingPublished
        Where a table of all sites has a finding.
    """
    bring_up_to_date(lake, study)
    audit_lake(lake, home)
    blocked = blocked_sites(home)
    if EVERY_SITE in blocked:
        raise NothingPublished
    return publish(
        lake, home.published, without=blocked, minimised=Minimisation.of(study), anew=anew
    )

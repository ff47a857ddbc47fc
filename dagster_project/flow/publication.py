"""Publishing from a home: without the sites that the audit blocks, and with what the protocol leaves out."""

from __future__ import annotations

from dagster_project.flow.vault_audit import blocked_sites
from dagster_project.lake.home import Home
from dagster_project.lake.minimisation import Minimisation
from dagster_project.lake.publish import Published, publish
from dagster_project.lake.store import Lake
from dagster_project.study import Study


def publish_home(lake: Lake, home: Home, study: Study, *, anew: bool = False) -> Published:
    """Publish the newest snapshot, or all of it anew; every command and asset publishes by this alone."""
    return publish(lake, home.published, without=blocked_sites(home), minimised=Minimisation.of(study), anew=anew)

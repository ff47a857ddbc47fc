"""What a run of the cohort is made from, as one digest: while it stays, a run would write nothing.

1. the data versions of every site's tables and of its delivery
2. decisions of arbiters that were recorded here, and results of federated runs
3. findings of audits, which leave a site out of the publication
4. the protocol, and the version of the code of each asset
5. the day, since what is due moves with the calendar
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import dagster as dg

from dagster_project.flow.arbitrations import DECISIONS
from dagster_project.flow.vault_audit import open_findings
from dagster_project.jobs import SITE_ASSET_NAMES
from dagster_project.lake.home import Home, delivery_signature
from dagster_project.materialisation import TIMEZONE
from dagster_project.study import digest_of, protocol_file

if TYPE_CHECKING:
    from dagster._core.definitions.assets.graph.asset_graph import AssetGraph

INPUTS = "lakehouse/inputs"
"""Tag of a run of the cohort: the digest of what it was made from."""

VERSION = "dagster/data_version"
"""Tag of a materialisation, as Dagster names it."""


def inputs_digest(
    instance: dg.DagsterInstance, home: Home, graph: AssetGraph, now: dt.datetime
) -> str:
    """Digest of all that a run of the cohort would be made from at this moment.

    Parameters
    ----------
    graph
        The assets, with the versions of their code.
    now
        An aware moment; its day counts in the time zone of the nightly schedule.

    Returns
    -------
    str
        16 hexadecimal digits, which show no name.
    """
    parts = {
        "versions": list(_data_versions(instance, home.sites())),
        "decisions": sorted(str(file) for file in home.vault.glob(f"*/*/{DECISIONS}/*.json")),
        "federated": delivery_signature(home.federated),
        "findings": open_findings(home),
        "protocol": digest_of(protocol_file().read_text(encoding="utf-8")),
        "code": sorted(
            map(str, (graph.get(key).code_version for key in graph.get_all_asset_keys()))
        ),
        "day": now.astimezone(ZoneInfo(TIMEZONE)).date(),
    }
    return digest_of(parts)


def _data_versions(
    instance: dg.DagsterInstance, sites: list[str]
) -> Iterator[tuple[str, str, str | None]]:
    """Asset, site and data version of what was made last; None where nothing was made yet."""
    for name in SITE_ASSET_NAMES:
        for site in sites:
            asked = dg.AssetRecordsFilter(asset_key=dg.AssetKey(name), asset_partitions=[site])
            records = instance.fetch_materializations(asked, limit=1).records
            made = records[0].asset_materialization if records else None
            yield name, site, (made.tags or {}).get(VERSION) if made else None

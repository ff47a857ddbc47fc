"""What a run is made from, as one digest: while it stays, the run would write what is there.

Of a site's run:

1. its delivery
2. the protocol, and the version of the code of each asset

Of the cohort's run:

1. the data versions of every site's tables and of its delivery
2. decisions of arbiters that were recorded here, and results of federated runs
3. findings of audits, which leave a site out of the publication
4. the protocol, and the version of the code of each asset
5. the day, since what is due moves with the calendar
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import dagster as dg
import duckdb

from dagster_project.flow.arbitrations import DECISIONS
from dagster_project.flow.nights import QUIET
from dagster_project.flow.reads import waits_for_a_lock
from dagster_project.flow.vault_audit import open_findings
from dagster_project.jobs import SITE_ASSET_NAMES, cohort_job, site_job
from dagster_project.lake.errors import LakeError
from dagster_project.lake.home import Home, delivery_signature
from dagster_project.lake.store import Lake, read_lake
from dagster_project.lake.tables import LESIONS, TABLES, Table
from dagster_project.materialisation import TIMEZONE, data_version
from dagster_project.study import digest_of, protocol_file

if TYPE_CHECKING:
    from dagster._core.definitions.assets.graph.asset_graph import AssetGraph

INPUTS = "lakehouse/inputs"
"""Tag of a run: the digest of what it was made from."""

INPUTS_BUT_DAY = "lakehouse/inputs_but_day"
"""Tag of a run of the cohort: the same digest without the day."""

VERSION = "dagster/data_version"
"""Tag of a materialisation, as Dagster names it."""

PARTITION = "dagster/partition"
"""Tag of a site's run, as Dagster names it."""

WHOLE_AFTER = dt.timedelta(days=6, hours=12)
"""Once a week every table is made and checked, whatever the digests say."""


@dataclass(frozen=True)
class SiteInputs:
    """Signature of a site's delivery, and digest of all that a run of it would be made from."""

    delivery: str
    whole: str

    @property
    def tags(self) -> dict[str, str]:
        """Tags of the run."""
        return {INPUTS: self.whole}


def site_inputs(home: Home, graph: AssetGraph, site: str) -> SiteInputs:
    """What a run of a site would be made from at this moment, in 16 hexadecimal digits each."""
    delivery = home.delivery(site)
    return SiteInputs(delivery, digest_of({"delivery": delivery, **_protocol_and_code(graph)}))


@dataclass(frozen=True)
class CohortInputs:
    """Digests of all that a run of the cohort would be made from, in 16 hexadecimal digits."""

    whole: str
    but_day: str

    @property
    def tags(self) -> dict[str, str]:
        """Tags of the run."""
        return {INPUTS: self.whole, INPUTS_BUT_DAY: self.but_day}


def cohort_inputs(
    instance: dg.DagsterInstance, home: Home, graph: AssetGraph, now: dt.datetime
) -> CohortInputs:
    """Digests of all that a run of the cohort would be made from at this moment.

    Parameters
    ----------
    graph
        The assets, with the versions of their code.
    now
        An aware moment; its day counts in the time zone of the nightly schedule.
    """
    parts = {
        "versions": list(_data_versions(instance, home.sites())),
        "decisions": sorted(str(file) for file in home.vault.glob(f"*/*/{DECISIONS}/*.json")),
        "federated": delivery_signature(home.federated),
        "findings": open_findings(home),
        **_protocol_and_code(graph),
    }
    day = now.astimezone(ZoneInfo(TIMEZONE)).date()
    return CohortInputs(digest_of({**parts, "day": day}), digest_of(parts))


def is_quiet_site(
    instance: dg.DagsterInstance, home: Home, site: str, inputs: SiteInputs, now: dt.datetime
) -> bool:
    """Whether a run of a site would write nothing, so that it is enough to look at its delivery.

    1. Its last run ended well, and was made from the same; what another command wrote (a patient
       who left, a table made anew) is a run without that digest.
    2. The vault holds the delivery.
    3. No read waits for the time of its lock to come.
    4. Each table holds the rows that were written last, within `WHOLE_AFTER`.
    """
    last = newest_run(instance, site_job.name, site)
    return (
        tag_of_good_run(last, INPUTS) == inputs.whole
        and home.taken_in(site) == inputs.delivery
        and not waits_for_a_lock(home, site)
        and _as_last_written(instance, home, site, now)
    )


def is_quiet_cohort(instance: dg.DagsterInstance, inputs: CohortInputs, now: dt.datetime) -> bool:
    """Whether a run of the cohort would write only what moves with the calendar.

    1. Its last run ended well, and was made from the same on another day.
    2. Since then only quiet runs of sites were started.
    3. Its tables were all made within `WHOLE_AFTER`.
    """
    last = newest_run(instance, cohort_job.name)
    if last is None or tag_of_good_run(last, INPUTS_BUT_DAY) != inputs.but_day:
        return False
    about_then = last.create_timestamp - dt.timedelta(seconds=1)  # times of runs are whole seconds
    of_sites = dg.RunsFilter(job_name=site_job.name, updated_after=about_then)
    later = [r for r in instance.get_run_records(of_sites) if r.storage_id > last.storage_id]
    made_by_each_whole_run = dg.AssetRecordsFilter(asset_key=dg.AssetKey(LESIONS.name))
    return all(QUIET in record.dagster_run.tags for record in later) and _is_recent(
        _newest(instance, made_by_each_whole_run), now
    )


def newest_run(instance: dg.DagsterInstance, job: str, site: str = "") -> dg.RunRecord | None:
    """The run of a job (and site) that was asked for last."""
    asked = dg.RunsFilter(job_name=job, tags={PARTITION: site} if site else None)
    return next(iter(instance.get_run_records(asked, limit=1)), None)


def tag_of_good_run(record: dg.RunRecord | None, tag: str) -> str:
    """A tag of a run that ended well; empty where there is no such run, or it has no such tag."""
    if record is None or record.dagster_run.status != dg.DagsterRunStatus.SUCCESS:
        return ""
    return record.dagster_run.tags.get(tag, "")


def _protocol_and_code(graph: AssetGraph) -> dict[str, object]:
    return {
        "protocol": digest_of(protocol_file().read_text(encoding="utf-8")),
        "code": sorted(
            map(str, (graph.get(key).code_version for key in graph.get_all_asset_keys()))
        ),
    }


def _as_last_written(instance: dg.DagsterInstance, home: Home, site: str, now: dt.datetime) -> bool:
    """Whether each table of a site is in the lake as its last materialisation left it.

    Not where the lake cannot be read: the whole run says why.
    """
    if not home.has_lake:
        return False
    try:
        with read_lake(home) as lake:
            return all(
                _is_unchanged(instance, lake, table, site, now) for table in TABLES if table.by_site
            )
    except (LakeError, duckdb.Error):
        return False


def _is_unchanged(
    instance: dg.DagsterInstance, lake: Lake, table: Table, site: str, now: dt.datetime
) -> bool:
    record = _newest(instance, _asked(table.name, site))
    return _is_recent(record, now) and _version(record) == data_version(lake, table, site).value


def _asked(name: str, site: str) -> dg.AssetRecordsFilter:
    return dg.AssetRecordsFilter(asset_key=dg.AssetKey(name), asset_partitions=[site])


def _newest(instance: dg.DagsterInstance, asked: dg.AssetRecordsFilter) -> dg.EventLogRecord | None:
    return next(iter(instance.fetch_materializations(asked, limit=1).records), None)


def _is_recent(record: dg.EventLogRecord | None, now: dt.datetime) -> bool:
    return record is not None and now.timestamp() - record.timestamp < WHOLE_AFTER.total_seconds()


def _version(record: dg.EventLogRecord | None) -> str | None:
    """Data version of a materialisation; None where nothing was made yet."""
    made = record.asset_materialization if record else None
    return (made.tags or {}).get(VERSION) if made else None


def _data_versions(
    instance: dg.DagsterInstance, sites: list[str]
) -> Iterator[tuple[str, str, str | None]]:
    """Asset, site and data version of what was made last; None where nothing was made yet."""
    for name in SITE_ASSET_NAMES:
        for site in sites:
            yield name, site, _version(_newest(instance, _asked(name, site)))

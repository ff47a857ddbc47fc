"""Sensors that start a run after new deliveries or after other runs.

New deliveries start their site's run. One run of the cohort follows the last site's where anything
changed, and the reports follow that.
"""

from __future__ import annotations

import datetime as dt
import json
from typing import TYPE_CHECKING

import dagster as dg

from dagster_project.flow.nights import QUIET
from dagster_project.jobs import BY_DAY_ASSETS, cohort_job, report_job, site_job
from dagster_project.lake.home import find_home
from dagster_project.partitions import SITES
from dagster_project.run_inputs import (
    INPUTS,
    CohortInputs,
    cohort_inputs,
    is_quiet_cohort,
    newest_run,
    site_inputs,
    tag_of_good_run,
)
from dagster_project.run_processes import end_dead_runs, longest_seconds

if TYPE_CHECKING:
    from dagster._core.definitions.assets.graph.asset_graph import AssetGraph

BUSY = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
ENDED = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE]
"""A job that failed may have written some of its tables, and what follows goes on with them."""


@dg.sensor(
    job=site_job,
    minimum_interval_seconds=60,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Runs a site whose delivery changed and has been quiet since the last look.",
)
def landing(context: dg.SensorEvaluationContext) -> dg.SensorResult:
    """Compare each site's delivery with the last two looks and with its vault.

    1. Unchanged since the last look: at rest.
    2. Neither run by this sensor before, nor taken in by anybody's run (`lakehouse run`, a night):
       run.
    """
    end_dead_runs(context.instance)
    home = find_home()
    seen = json.loads(context.cursor or "{}")
    sites = home.landing_sites()
    now = {site: home.delivery(site) for site in sites}
    rest = [s for s in sites if seen.get(s, {}).get("seen") == now[s]]
    ready = [s for s in rest if now[s] not in {seen[s].get("run"), home.taken_in(s)}]
    cursor = {
        s: {"seen": now[s], "run": now[s] if s in ready else seen.get(s, {}).get("run")}
        for s in sites
    }
    requests = [
        dg.RunRequest(
            run_key=f"{s}-{now[s]}",
            partition_key=s,
            tags={"landing": now[s], **site_inputs(home, _graph(context), s).tags},
        )
        for s in ready
    ]
    return dg.SensorResult(
        run_requests=requests,
        cursor=json.dumps(cursor),
        dynamic_partitions_requests=[SITES.build_add_request(sites)] if sites else [],
    )


@dg.sensor(
    jobs=[cohort_job, report_job],
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Runs the cohort once all sites are done and something changed; then the reports.",
)
def next_job(context: dg.SensorEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    """Look whether the cohort is due, and else whether the reports are.

    A job is due where all of this holds:

    1. No run of the job before it or of itself is busy that is younger than the longest time of a
       run.
    2. A run of the job before it ended after the last run of the job itself was asked for.
    3. Of the cohort: the digest of its inputs is not that of its last run, or that run failed.
       Where the day alone differs, only what moves with the calendar is made.
    """
    instance = context.instance
    end_dead_runs(instance)
    ended, why_not = _newest_result(instance, site_job.name, cohort_job.name)
    if ended:
        inputs = _inputs(context)
        if tag_of_good_run(newest_run(instance, cohort_job.name), INPUTS) != inputs.whole:
            quiet = is_quiet_cohort(instance, inputs, dt.datetime.now(dt.UTC))
            return dg.RunRequest(
                run_key=ended.run_id,
                job_name=cohort_job.name,
                asset_selection=sorted(BY_DAY_ASSETS.resolve(_graph(context))) if quiet else None,
                tags={**inputs.tags, **({QUIET: "yes"} if quiet else {})},
            )
        why_not = f"the inputs of {cohort_job.name} are those of its last run"
    ended, why_no_report = _newest_result(instance, cohort_job.name, report_job.name)
    if ended:
        return dg.RunRequest(run_key=ended.run_id, job_name=report_job.name)
    return dg.SkipReason(f"{why_not}; {why_no_report}")


def _newest_result(
    instance: dg.DagsterInstance, first: str, then: str
) -> tuple[dg.DagsterRun | None, str]:
    """The run of `first` that ended last, where `then` may follow it; else why not."""
    busy = _busy_job(instance, first, then)
    if busy:
        return None, f"a run of {busy} is still going"
    mine = newest_run(instance, then)
    since = mine.create_timestamp if mine else None
    asked = dg.RunsFilter(job_name=first, statuses=ENDED, updated_after=since)
    results = [r for r in instance.get_run_records(asked) if not since or _end(r) > since]
    if not results:
        return None, f"no run of {first} has ended since the last run of {then}"
    return max(results, key=_end).dagster_run, ""


def _busy_job(instance: dg.DagsterInstance, *jobs: str) -> str:
    """The first of these jobs of which a run is busy; empty where none is."""
    oldest = dt.datetime.now(dt.UTC).timestamp() - longest_seconds(instance)
    for job in jobs:
        records = instance.get_run_records(dg.RunsFilter(job_name=job, statuses=BUSY))
        if any((r.start_time or r.create_timestamp.timestamp()) > oldest for r in records):
            return job
    return ""


def _end(record: dg.RunRecord) -> dt.datetime:
    """When a run ended; one that bears no such time, when it was written last."""
    if record.end_time is None:
        return record.update_timestamp
    return dt.datetime.fromtimestamp(record.end_time, dt.UTC)


def _inputs(context: dg.SensorEvaluationContext) -> CohortInputs:
    """Digests of what a run of the cohort would be made from now."""
    return cohort_inputs(context.instance, find_home(), _graph(context), dt.datetime.now(dt.UTC))


def _graph(context: dg.SensorEvaluationContext) -> AssetGraph:
    """The assets, with the versions of their code.

    Raises
    ------
    LookupError
        Where the sensor was called without the definitions that it belongs to.
    """
    if context.repository_def is None:
        raise LookupError("a sensor needs the definitions: versions of code lie in them")
    return context.repository_def.asset_graph


SENSORS = [landing, next_job]

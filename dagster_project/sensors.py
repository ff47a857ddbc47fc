"""Sensors that start a run after new deliveries or after other runs.

New deliveries start their site's run; the cohort's run follows the last site's, and the reports
follow that.
"""

from __future__ import annotations

import json

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from dagster_project.jobs import cohort_job, report_job, site_job
from dagster_project.lake.home import find_home
from dagster_project.partitions import SITES
from dagster_project.run_processes import end_dead_runs

BUSY = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
]


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
        dg.RunRequest(run_key=f"{s}-{now[s]}", partition_key=s, tags={"landing": now[s]})
        for s in ready
    ]
    return dg.SensorResult(
        run_requests=requests,
        cursor=json.dumps(cursor),
        dynamic_partitions_requests=[SITES.build_add_request(sites)] if sites else [],
    )


def _when_idle(context: dg.RunStatusSensorContext, job: str) -> dg.RunRequest | dg.SkipReason:
    """The next job's run, once no living run of `job` is left.

    It does not matter whether the last one succeeded or failed.
    """
    end_dead_runs(context.instance)
    running = context.instance.get_runs(dg.RunsFilter(job_name=job, statuses=BUSY), limit=1)
    return (
        dg.SkipReason(f"another run of {job} is still going")
        if running
        else dg.RunRequest(run_key=context.dagster_run.run_id)
    )


def follow(
    first: UnresolvedAssetJobDefinition,
    then: UnresolvedAssetJobDefinition,
    status: dg.DagsterRunStatus,
) -> dg.SensorDefinition:
    """A sensor that runs `then` after the last run of `first` ended with `status`."""

    @dg.run_status_sensor(
        name=f"{then.name}_after_{first.name}_{status.value.lower()}",
        run_status=status,
        monitored_jobs=[first],
        request_job=then,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"Run {then.name} after the last {first.name} run ({status.value.lower()}).",
    )
    def following(context: dg.RunStatusSensorContext) -> dg.RunRequest | dg.SkipReason:
        return _when_idle(context, first.name)

    return following


ENDS = (dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE)
SENSORS = [
    landing,
    *(
        follow(first, then, end)
        for first, then in ((site_job, cohort_job), (cohort_job, report_job))
        for end in ENDS
    ),
]

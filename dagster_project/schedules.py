"""Every night all sites are looked at again; work that has been done is not done twice."""

from __future__ import annotations

from collections.abc import Iterator

import dagster as dg

from dagster_project.jobs import site_job
from dagster_project.lake.home import find_home
from dagster_project.materialisation import TIMEZONE
from dagster_project.partitions import SITES
from dagster_project.run_processes import end_dead_runs


@dg.schedule(
    job=site_job,
    cron_schedule="30 1 * * *",
    execution_timezone=TIMEZONE,
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Materialise every site at 01:30; the cohort follows when the last site is done.",
)
def nightly(context: dg.ScheduleEvaluationContext) -> Iterator[dg.RunRequest]:
    """One run per site: one that fails, or was killed, does not hold up the others."""
    end_dead_runs(context.instance)
    sites = find_home().sites()
    context.instance.add_dynamic_partitions(SITES.name or "site", sites)
    night = context.scheduled_execution_time.date().isoformat()
    yield from (
        dg.RunRequest(run_key=f"{night}-{site}", partition_key=site, tags={"nightly": night})
        for site in sites
    )

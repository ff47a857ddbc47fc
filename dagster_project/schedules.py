"""Every night all sites are looked at again; work that has been done is not done twice.

Where a run would write nothing, its delivery alone is looked at, and its vault audited.
"""

from __future__ import annotations

from collections.abc import Iterator

import dagster as dg

from dagster_project.flow.nights import QUIET
from dagster_project.jobs import site_job
from dagster_project.lake.home import find_home
from dagster_project.materialisation import TIMEZONE
from dagster_project.partitions import SITES
from dagster_project.run_inputs import is_quiet_site, site_inputs
from dagster_project.run_processes import end_dead_runs


@dg.schedule(
    job=site_job,
    cron_schedule="30 1 * * *",
    execution_timezone=TIMEZONE,
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description=(
        "Look at every site at 01:30 and materialise what may differ, once a week everything; "
        "the cohort follows when the last site is done."
    ),
)
def nightly(context: dg.ScheduleEvaluationContext) -> Iterator[dg.RunRequest]:
    """One run per site: one that fails, or was killed, does not hold up the others."""
    if context.repository_def is None:
        raise LookupError("the schedule needs the definitions: versions of code lie in them")
    graph, home = context.repository_def.asset_graph, find_home()
    end_dead_runs(context.instance)
    sites = home.sites()
    context.instance.add_dynamic_partitions(SITES.name or "site", sites)
    night = context.scheduled_execution_time.date().isoformat()
    for site in sites:
        inputs = site_inputs(home, graph, site)
        now = context.scheduled_execution_time
        quiet = is_quiet_site(context.instance, home, site, inputs, now)
        yield dg.RunRequest(
            run_key=f"{night}-{site}",
            partition_key=site,
            asset_selection=[dg.AssetKey("intake")] if quiet else None,
            tags={"nightly": night, **inputs.tags, **({QUIET: "yes"} if quiet else {})},
        )

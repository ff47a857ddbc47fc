"""How a test evaluates a check: of everything, or in a run of one site."""

from __future__ import annotations

import random

import dagster as dg

from dagster_project.partitions import SITES
from dagster_project.resources import Lakehouse


def evaluate(check: dg.AssetChecksDefinition, lakehouse: Lakehouse) -> dg.AssetCheckResult:
    """The check of all sites; Dagster's context draws from Python's random numbers."""
    drawn = random.getstate()
    try:
        return check(dg.build_asset_check_context(), lakehouse)
    finally:
        random.setstate(drawn)


def evaluate_site(
    check: dg.AssetChecksDefinition, lakehouse: Lakehouse, site: str, name: str = ""
) -> dg.AssetCheckEvaluation:
    """The check as a run of one site evaluates it; of several in one step that of a name."""
    key = next(iter(check.check_keys))

    @dg.asset(name=key.asset_key.to_user_string(), partitions_def=SITES)
    def as_it_is() -> None:
        """The rows are there."""

    defs = dg.Definitions(
        assets=[as_it_is],
        asset_checks=[check],
        resources={"lakehouse": lakehouse},
        jobs=[dg.define_asset_job("look", "*")],
        executor=dg.in_process_executor,
    )
    drawn = random.getstate()
    try:
        with dg.DagsterInstance.ephemeral() as instance:
            instance.add_dynamic_partitions("site", [site])
            result = defs.resolve_job_def("look").execute_in_process(
                instance=instance, partition_key=site
            )
            evaluations = result.get_asset_check_evaluations()
            (found,) = (e for e in evaluations if name in {"", e.check_name})
    finally:
        random.setstate(drawn)
    return found

"""A site's delivery, de-identified into its vault: read once, by this asset alone."""

from dataclasses import asdict

import dagster as dg

from dagster_project.code_versions import code_version
from dagster_project.flow.intake import content_of_vault, take_in_site
from dagster_project.flow.nights import QUIET
from dagster_project.materialisation import FRESH, OWNERS
from dagster_project.partitions import SITES
from dagster_project.resources import Lakehouse


@dg.asset(
    group_name="intake",
    partitions_def=SITES,
    kinds={"dicom"},
    owners=OWNERS,
    code_version=code_version(__name__),
    freshness_policy=FRESH,
)
def intake(context: dg.AssetExecutionContext, lakehouse: Lakehouse) -> dg.MaterializeResult:
    """De-identify by allowlist what is new in landing/<site>/, and quarantine the rest.

    UIDs are keyed and dates are shifted. The data version is the signature of the delivery.

    A quiet run makes no table. Where it finds something new all the same, since the delivery
    changed after it was asked for or a refused file can be read by now, the site runs once more,
    the next night at the latest.
    """
    site, quiet = context.partition_key, QUIET in context.run.tags
    before = content_of_vault(lakehouse.home, site) if quiet else ""
    report = take_in_site(lakehouse.home, site, context.log.info)
    if quiet and content_of_vault(lakehouse.home, site) != before:
        lakehouse.home.forget_taken_in(site)
    version = dg.DataVersion(lakehouse.home.taken_in(site) or "none")
    if report is None:
        return dg.MaterializeResult(
            metadata={"landing": "none; the vault is kept"}, data_version=version
        )
    counts = {k: v for k, v in asdict(report).items() if isinstance(v, int)}
    return dg.MaterializeResult(
        metadata={
            "computed": report.accepted,
            **counts,
            **{f"rows_{n}": c for n, c in report.rows.items()},
        },
        data_version=version,
    )

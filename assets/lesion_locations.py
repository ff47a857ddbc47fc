"""Where each known lesion is proposed to lie on a later scan."""

import dagster as dg

from dagster_project.flow.lesion_locations import locate_lesions
from dagster_project.lake.tables import LESION_LOCATIONS
from dagster_project.materialisation import materialize_result, table_asset
from dagster_project.resources import Lakehouse


@table_asset(LESION_LOCATIONS, deps=["reads", "timepoints"], kinds=["simpleitk"])
def lesion_locations(
    context: dg.AssetExecutionContext, lakehouse: Lakehouse
) -> dg.MaterializeResult:
    """Move the last outline of every lesion as the lungs moved; refuse what cannot be trusted."""
    site = context.partition_key
    done = locate_lesions(lakehouse, site, context.log.info)
    write = lakehouse.lake.replace(LESION_LOCATIONS.name, done.rows, site=site)
    return materialize_result(write, done.rows, facts=done.counts)

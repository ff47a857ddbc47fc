"""Reader agreement: every form of ICC, mask distances, response, and the trend over time."""

import dagster as dg

from dagster_project.flow.reader_figures import derive_figures
from dagster_project.lake.tables import READER_FIGURES
from dagster_project.materialisation import materialize_result, table_asset
from dagster_project.resources import Lakehouse


@table_asset(READER_FIGURES, deps=["reads", "scans", "responses", "arbitrations"])
def reader_figures(lakehouse: Lakehouse) -> dg.MaterializeResult:
    """Compare the two readers by further figures; none of them opens or closes the gate."""
    rows = derive_figures(lakehouse)
    return materialize_result(
        lakehouse.lake.replace(READER_FIGURES.name, rows), rows.filter(scope="cohort")
    )

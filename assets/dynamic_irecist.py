"""State, block and advice of each visit beside iRECIST."""

import dagster as dg

from dagster_project.domain.response.comparison_classes import shipped_classes
from dagster_project.domain.response.dynamic import derive_dynamic_irecist
from dagster_project.domain.response.dynamic_standard import standard_of
from dagster_project.lake.tables import DYNAMIC_IRECIST
from dagster_project.materialisation import materialize_result, table_asset
from dagster_project.resources import Lakehouse


@table_asset(DYNAMIC_IRECIST, deps=["responses", "irecist_blocks", "dhi"], by_day=True)
def dynamic_irecist(lakehouse: Lakehouse) -> dg.MaterializeResult:
    """State and advice of each visit; no gate holds this back."""
    responses, blocks, dhi = lakehouse.read("responses", "irecist_blocks", "dhi")
    study = lakehouse.study
    rows = derive_dynamic_irecist(
        responses, blocks, dhi, study.sections, standard_of(study, shipped_classes())
    )
    return materialize_result(lakehouse.lake.replace(DYNAMIC_IRECIST.name, rows), rows)

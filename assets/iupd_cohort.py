"""Labels of unconfirmed progressions: what the next evaluable CT showed."""

import dagster as dg

from dagster_project.domain.response.comparison_classes import shipped_classes
from dagster_project.domain.response.dynamic_standard import standard_of
from dagster_project.domain.response.iupd_cohort import derive_iupd_cohort
from dagster_project.domain.response.sum_error import find_reader_error
from dagster_project.lake.tables import IUPD_COHORT
from dagster_project.materialisation import materialize_result, table_asset
from dagster_project.resources import Lakehouse


@table_asset(IUPD_COHORT, deps=["responses", "irecist_blocks"], by_day=True)
def iupd_cohort(lakehouse: Lakehouse) -> dg.MaterializeResult:
    """Label each block of the accepted read; no gate holds this back, and no page shows it."""
    responses, blocks = lakehouse.read("responses", "irecist_blocks")
    study = lakehouse.study
    rows = derive_iupd_cohort(
        responses,
        blocks,
        find_reader_error(responses, study.section("dynamic")),
        study.sections,
        standard_of(study, shipped_classes()),
    )
    return materialize_result(lakehouse.lake.replace(IUPD_COHORT.name, rows), rows)

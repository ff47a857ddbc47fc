"""The accepted read of every lesion at every visit."""

import dagster as dg

from dagster_project.domain.reading.lesions import derive_lesions
from dagster_project.lake.tables import LESIONS
from dagster_project.materialisation import materialize_result, table_asset
from dagster_project.resources import Lakehouse


@table_asset(LESIONS, deps=["reads", "arbitrations"])
def lesions(lakehouse: Lakehouse) -> dg.MaterializeResult:
    """Take the endorsed read, or the first reader's where the two agree."""
    reads, arbitrations = lakehouse.read("reads", "arbitrations")
    rows = derive_lesions(reads, arbitrations, lakehouse.study.section("reads"))
    return materialize_result(lakehouse.lake.replace(LESIONS.name, rows), rows)

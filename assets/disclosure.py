"""k-anonymity of the patients by their quasi-identifiers, in the lake and as published."""

import dagster as dg

from dagster_project.flow.publication import count_disclosure
from dagster_project.lake.tables import DISCLOSURE
from dagster_project.materialisation import materialize_result, table_asset
from dagster_project.resources import Lakehouse


@table_asset(DISCLOSURE, deps=["patients"])
def disclosure(lakehouse: Lakehouse) -> dg.MaterializeResult:
    """Count the classes of patients with the same values."""
    write, rows = count_disclosure(lakehouse.lake, lakehouse.study)
    return materialize_result(write, rows)

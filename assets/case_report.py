"""What the case-report tables have in common.

Intake has already read, checked and de-identified them.
"""

import dagster as dg

from dagster_project.lake.schema import empty, with_fingerprint
from dagster_project.lake.tables import Table
from dagster_project.materialisation import materialize_result
from dagster_project.resources import Lakehouse


def write_case_report(table: Table, site: str, lakehouse: Lakehouse) -> dg.MaterializeResult:
    """Make a site's de-identified case-report rows the table's rows of that site."""
    rows = lakehouse.case_report(site, table.name)
    rows = with_fingerprint(rows) if rows.height else empty(table)
    return materialize_result(lakehouse.lake.replace(table.name, rows, site=site), rows)

"""How many patients share what could tell them apart, in the lake and as published."""

import dagster as dg

from dagster_project.domain.disclosure import derive_disclosure
from dagster_project.lake.minimisation import Minimisation
from dagster_project.lake.tables import DISCLOSURE
from dagster_project.materialisation import materialize_result, table_asset
from dagster_project.resources import Lakehouse


@table_asset(DISCLOSURE, deps=["patients"])
def disclosure(lakehouse: Lakehouse) -> dg.MaterializeResult:
    """Count the classes of patients with the same values."""
    (patients,) = lakehouse.read("patients")
    rows = derive_disclosure(patients, Minimisation.of(lakehouse.study))
    return materialize_result(lakehouse.lake.replace(DISCLOSURE.name, rows), rows)

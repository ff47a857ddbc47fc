"""Pages of the study and of each patient, and what analysts open; they follow whether or not the gate let a model through."""

import dagster as dg

from dagster_project.lake.publish import publish
from dagster_project.materialisation import OWNERS
from dagster_project.reporting import write_pages
from dagster_project.resources import Lakehouse

SPOKEN_OF = ["dynamic_irecist", "quality_verdicts", "quarantine", "eligibility", "outcomes", "reader_agreement"]


@dg.asset(name="study_report", deps=SPOKEN_OF, group_name="reports", kinds={"html"}, owners=OWNERS)
def study_report(lakehouse: Lakehouse) -> dg.MaterializeResult:
    """Enrolment, flow, agreement, response, heterogeneity, models and the gate, and a page for each patient: static HTML, offline."""
    pages = write_pages(lakehouse)
    return dg.MaterializeResult(metadata={"pages": len(pages), "open": dg.MetadataValue.path(str(pages[0])), "snapshot": lakehouse.lake.snapshot()})


@dg.asset(deps=SPOKEN_OF, group_name="reports", kinds={"duckdb", "parquet"}, owners=OWNERS)
def published(lakehouse: Lakehouse) -> dg.MaterializeResult:
    """One self-contained DuckDB file and plain Parquet, swapped in by a link: analysts hold no lock that the pipeline needs."""
    made = publish(lakehouse.lake, lakehouse.home.published)
    return dg.MaterializeResult(metadata={"snapshot": made.snapshot, "fresh": made.fresh, "database": dg.MetadataValue.path(str(made.database))})

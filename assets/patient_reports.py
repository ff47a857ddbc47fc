"""A dynamic iRECIST page for each patient, and the index that leads to them."""

import dagster as dg

from dagster_project.flow.pages import write_patient_pages
from dagster_project.materialisation import page_asset
from dagster_project.resources import Lakehouse


@page_asset(kinds=["html"])
def patient_reports(lakehouse: Lakehouse) -> dg.MaterializeResult:
    """Write each patient's page under the pseudonym: course, states, heterogeneity and pictures.

    A lesion is drawn once.
    """
    pages = write_patient_pages(lakehouse)
    return dg.MaterializeResult(
        metadata={
            "pages": len(pages),
            "open": dg.MetadataValue.path(str(pages[0])),
            "snapshot": lakehouse.lake.snapshot(),
        }
    )

"""Every rule of the gate with its figure.

The report explains by them why the gate is open or closed.
"""

import dagster as dg

from dagster_project.domain.cohort.quality import gate_closed
from dagster_project.flow.gate import describe, judge
from dagster_project.lake.tables import QUALITY_VERDICTS
from dagster_project.materialisation import table_asset
from dagster_project.resources import Lakehouse


@table_asset(
    QUALITY_VERDICTS,
    deps=[
        "patients",
        "scans",
        "reader_agreement",
        "arbitrations",
        "eligibility",
        "responses",
        "outcomes",
        "delta_features",
        "dhi",
    ],
)
def quality_verdicts(lakehouse: Lakehouse) -> dg.MaterializeResult:
    """Judge the newest snapshot.

    This asset succeeds whatever the verdict; a closed gate fails the assets behind it.
    """
    verdicts, snapshot = judge(lakehouse)
    closed = gate_closed(verdicts)
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": len(verdicts),
            "snapshot": snapshot,
            "gate": "closed" if closed else "open",
            "why": " ".join(map(describe, closed)) or "every rule passes",
        }
    )

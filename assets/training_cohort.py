"""Which patients a task may learn from; nothing is written here while the gate is closed."""

from collections.abc import Iterator

import dagster as dg
import polars as pl

from dagster_project.domain.cohort.training_cohort import derive_training_cohort
from dagster_project.flow.gate import pass_gate, refuse_other_protocol
from dagster_project.lake.stamps import keep_stamps
from dagster_project.lake.tables import TRAINING_COHORT
from dagster_project.materialisation import materialize_result, pass_or_skip, table_asset
from dagster_project.resources import Lakehouse


@table_asset(
    TRAINING_COHORT,
    deps=["quality_verdicts", "eligibility", "responses", "outcomes", "timepoints"],
    behind_gate=True,
)
def training_cohort(
    context: dg.AssetExecutionContext, lakehouse: Lakehouse
) -> Iterator[dg.MaterializeResult | dg.AssetCheckResult]:
    """Pass the gate, then apply the row rules to the very snapshot that was judged."""
    yield from pass_or_skip(context, lambda: _derive(lakehouse))


def _derive(lakehouse: Lakehouse) -> dg.MaterializeResult:
    _, snapshot = pass_gate(lakehouse)
    names = ("eligibility", "outcomes", "responses", "timepoints")
    eligibility, outcomes, responses, timepoints = lakehouse.read(*names, as_of=snapshot)
    derived = derive_training_cohort(eligibility, outcomes, responses, timepoints, lakehouse.study)
    fresh = derived.with_columns(snapshot=pl.lit(snapshot, pl.Int64))
    refuse_other_protocol(lakehouse)
    rows = keep_stamps(
        fresh, lakehouse.lake.read(TRAINING_COHORT.name), TRAINING_COHORT, ("snapshot",)
    )
    return materialize_result(
        lakehouse.lake.replace(TRAINING_COHORT.name, rows),
        rows,
        facts={"included": rows["included"].sum()},
    )

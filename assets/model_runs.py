"""Models trained behind the gate, one row each, with figures on patients they had not seen."""

from collections.abc import Iterator

import dagster as dg

from dagster_project.flow.model_runs import train_behind_the_gate
from dagster_project.flow.unfinished_training import training_is_written
from dagster_project.lake.tables import MODEL_RUNS
from dagster_project.materialisation import materialize_result, pass_or_skip, table_asset
from dagster_project.resources import Lakehouse


@table_asset(
    MODEL_RUNS,
    deps=[
        "training_cohort",
        "patients",
        "responses",
        "lesions",
        "radiomic_features",
        "delta_features",
        "dhi",
        "habitats",
    ],
    kinds=["mlflow", "scikitlearn"],
    behind_gate=True,
)
def model_runs(
    context: dg.AssetExecutionContext, lakehouse: Lakehouse
) -> Iterator[dg.MaterializeResult | dg.AssetCheckResult]:
    """Pass the gate anew, and train only what has not been trained on these rows.

    The gate is judged again whatever an earlier run decided.
    """
    yield from pass_or_skip(context, lambda: _train(lakehouse))


def _train(lakehouse: Lakehouse) -> dg.MaterializeResult:
    learned = train_behind_the_gate(lakehouse)
    write = lakehouse.lake.replace(MODEL_RUNS.name, learned.model_runs)
    training_is_written(lakehouse)
    facts = {
        "trained": ", ".join(learned.trained) or "none",
        "trained_on_snapshot": learned.snapshot,
        "left_out": "; ".join(f"{what}: {why}" for what, why in learned.left_out.items()) or "none",
        "promotion": learned.promotion,
        "not_asked": "; ".join(learned.not_asked) or "none",
    }
    return materialize_result(
        write, learned.model_runs.sort("trained_at", descending=True), facts=facts
    )

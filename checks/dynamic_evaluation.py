"""What the evaluation says of the standard itself: it is whole, and misled nobody."""

import dagster as dg
import polars as pl

from dagster_project.lake.tables import DYNAMIC_EVALUATION
from dagster_project.resources import Lakehouse


@dg.asset_check(
    asset=DYNAMIC_EVALUATION.name,
    description=(
        "Each figure has a value within its bounds, or the reason why there is none.\n\n"
        "每项指标有数值且在区间内，否则附原因。"
    ),
)
def whole(lakehouse: Lakehouse) -> dg.AssetCheckResult:
    """Count figures without a value and a reason, or outside their bounds."""
    rows = lakehouse.lake.read(DYNAMIC_EVALUATION.name)
    silent = rows.filter(
        (pl.col("value").is_null() & pl.col("reason").is_null())
        | (pl.col("estimable") == pl.col("value").is_null())
    )
    outside = rows.filter(
        (pl.col("value") < pl.col("lower") - TOLERANCE)
        | (pl.col("value") > pl.col("upper") + TOLERANCE)
    )
    return dg.AssetCheckResult(
        passed=not silent.height and not outside.height,
        description=(
            f"of {rows.height} figures {silent.height} are without value and reason, "
            f"{outside.height} outside their bounds"
        ),
        metadata={"figures": rows.height, "silent": silent.height, "outside": outside.height},
    )


TOLERANCE = 1e-9


@dg.asset_check(
    asset=DYNAMIC_EVALUATION.name,
    description=(
        "No progression that was reset had other advice than a CT before that.\n\n"
        "已重置的进展在重置前，除复查CT外未给出其他建议。"
    ),
)
def nobody_misled(lakehouse: Lakehouse) -> dg.AssetCheckResult:
    """Count patients whose progression was reset and whom a visit before had advised otherwise."""
    rows = lakehouse.lake.read(DYNAMIC_EVALUATION.name).filter(
        statistic="recoverers_given_other_advice"
    )
    misled, n = int(rows["events"].sum() or 0), int(rows["n"].sum() or 0)
    return dg.AssetCheckResult(
        passed=misled == 0,
        description=f"{misled} of {n} progressions that were reset had other advice",
        metadata={"reset": n, "misled": misled},
    )

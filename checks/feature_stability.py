"""What was measured again on purpose: the negative controls must tell nothing of the response."""

import dagster as dg

from dagster_project.flow.control_features import judge_controls
from dagster_project.lake.tables import CONTROL_FEATURES, FEATURE_STABILITY, OUTCOMES
from dagster_project.resources import Lakehouse


@dg.asset_check(
    asset=FEATURE_STABILITY.name,
    additional_deps=[CONTROL_FEATURES.name, OUTCOMES.name],
    description=(
        "Shuffled voxels, and the mask moved into muscle, predict response no better than chance: "
        "AUC 0.5 within its range.\n\n"
        "打乱体素、掩膜移入肌肉后，对疗效的 AUC 应在随机范围内（0.5 附近）。"
    ),
)
def negative_controls(lakehouse: Lakehouse) -> dg.AssetCheckResult:
    """Alarm where features that are not about the tumour predict response.

    Where there are too few patients, the check states it.
    """
    judged = judge_controls(lakehouse)
    figures = {
        f"{j.control} AUC": j.auc.value if j.auc.value is not None else str(j.auc.reason)
        for j in judged
    }
    return dg.AssetCheckResult(
        passed=all(j.verdict != "fail" for j in judged),
        severity=dg.AssetCheckSeverity.WARN,
        description="; ".join(j.detail for j in judged),
        metadata=figures | {f"{j.control} verdict": j.verdict for j in judged},
    )

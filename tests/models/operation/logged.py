"""One training logged, and how another is."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from dagster_project.domain.cohort.quality import GateVerdict
from models.operation.log import log_models
from tests.models.cohorts import dataset

MOMENT = datetime(2026, 1, 12, 3, 4, 5, tzinfo=UTC)
DATA = dataset(effect=0.3)


PASSED = (
    GateVerdict("icc_resolved", "NORTH", "cohort", 0.93, 0.85, "pass", "ICC(2,1) of 40 pairs"),
    GateVerdict("icc_lower", "NORTH", "cohort", 0.80, 0.75, "warn", "below .85"),
    GateVerdict("slice_thickness", "cohort", "row", 3.0, None, "fail", "3 patients excluded"),
)


@dataclass(frozen=True)
class Log:
    """One training logged into a folder of its own."""

    folder: Path
    uri: str
    runs: pl.DataFrame
    client: object

    def run(self, model: str):
        return self.client.get_run(
            self.runs.filter(pl.col("model") == model)["mlflow_run_id"].item()
        )

    def artifacts(self, model: str) -> Path:
        return self.folder / "artifacts" / self.run(model).info.run_id / "artifacts"


def log(trained, folder: Path, **changed) -> pl.DataFrame:
    arguments = {
        "tracking_uri": f"sqlite:///{folder}/mlflow.db",
        "artifact_root": folder / "artifacts",
        "snapshot": 17,
        "verdicts": PASSED,
        "protocol_digest": "0123456789abcdef",
        "alias": "candidate",
        "trained_at": MOMENT,
    }
    return log_models(trained, **{**arguments, **changed})

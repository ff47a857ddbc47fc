"""State of each task's last training.

Where its inputs have not changed since, a run reads no features and predicts nobody again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import polars as pl

from dagster_project.flow.result_cache import CODE_VERSION
from dagster_project.lake.files import write_whole
from dagster_project.resources import Lakehouse

INPUTS = (
    "training_cohort",
    "patients",
    "responses",
    "lesions",
    "dhi",
    "outcomes",
    "radiomic_features",
    "delta_features",
    "timepoints",
    "scans",
    "habitats",
)
"""Tables that a data set is made of, and those whose digests lead to its files in the vault."""


@dataclass(frozen=True)
class TrainingState:
    """A task's last training: the snapshot it read, what else it depends on, and what was left out.

    Parameters
    ----------
    cohort_digest
        Of the data set; None where none could be made, and `left_out` says why.
    served
        The alias of each run that had one when patients were predicted.
    """

    snapshot: int
    protocol_digest: str
    cohort_digest: str | None
    served: Mapping[str, str]
    left_out: Mapping[str, str]
    not_asked: tuple[str, ...]
    code: str = CODE_VERSION

    def is_current(
        self, lakehouse: Lakehouse, snapshot: int, runs: pl.DataFrame, served: Mapping[str, str]
    ) -> bool:
        """Whether the task would find tonight what it found then.

        1. The code, the protocol and the aliases are the same, and the runs of that training are in
           the table.
        2. Every snapshot since still exists, so that what it wrote is known, and none wrote a table
           of `INPUTS`.
        """
        same = (
            self.code == CODE_VERSION
            and self.protocol_digest == lakehouse.study.digest
            and dict(self.served) == dict(served)
        )
        trained = (
            self.cohort_digest is None
            or runs.filter(
                cohort_digest=self.cohort_digest, protocol_digest=self.protocol_digest
            ).height
            > 0
        )
        if not (same and trained and lakehouse.lake.has_snapshots(self.snapshot, snapshot)):
            return False
        return not lakehouse.lake.tables_written(since=self.snapshot, until=snapshot).intersection(
            INPUTS
        )


def load_training_state(lakehouse: Lakehouse, task: str) -> TrainingState | None:
    """The stored state of a task; None where there is none, or other code wrote it."""
    file = _file(lakehouse, task)
    if not file.is_file():
        return None
    try:
        stored = json.loads(file.read_text(encoding="utf-8"))
        return TrainingState(**{**stored, "not_asked": tuple(stored["not_asked"])})
    except (ValueError, TypeError, KeyError):
        return None


def save_training_state(lakehouse: Lakehouse, task: str, state: TrainingState) -> None:
    """Store it for the next run."""
    write_whole(_file(lakehouse, task), json.dumps(asdict(state)).encode())


def _file(lakehouse: Lakehouse, task: str) -> Path:
    return lakehouse.home.mlflow / f"learnt-{task}.json"

"""What a hospital computes of its rows for each kind of plan, and what the sums say.

Rows come from a table with one row per patient. Its column `patient` identifies patients and stays
where it is; the other columns are those that the plan names:

| kind | columns |
|---|---|
| counts | `arm` |
| survival | `days`, `event`, `group` |
| auc | `score`, `label` |
| moments | those of the plan |
| logistic | those of the plan, and `label` |
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from dagster_project.federated.counts import CountsByArm, DayGrid, ScoreBins, rows_of
from dagster_project.federated.engine.hospital import Computation
from dagster_project.federated.logistic import descent, gradients
from dagster_project.federated.moments import Moments
from dagster_project.federated.noise import noise_of_sum
from dagster_project.federated.noisy_counts import read_auc, read_counts, read_survival
from dagster_project.federated.plans import (
    AucSection,
    CountsSection,
    LogisticSection,
    MomentsSection,
    Plan,
    SurvivalSection,
)
from dagster_project.federated.refusals import KindNotRun, RowsUnusable

if TYPE_CHECKING:
    import polars as pl

PATIENT = "patient"


@dataclass(frozen=True)
class Rows:
    """A hospital's rows for one plan; `cohort` is their digest, whatever their order."""

    table: Mapping[str, list[Any]]
    cohort: str

    def texts(self, column: str) -> list[str]:
        """A column of names."""
        return self.table[column]

    def flags(self, column: str) -> npt.NDArray[np.bool_]:
        """A column of marks."""
        return np.array(self.table[column], dtype=bool)

    def numbers(self, *columns: str) -> npt.NDArray[np.float64]:
        """Columns of numbers (patients, columns); NaN where a patient has no value."""
        table = [self.table[column] for column in columns]
        return np.array(table, dtype=np.float64).reshape(len(columns), -1).T


def read_rows(plan: Plan, file: Path) -> Rows:
    """A hospital's rows from a CSV or Parquet file.

    1. There is a column `patient`, whose values are all there and all different: a patient in two
       rows would count twice, and noise would not cover it.
    2. Each column of the plan is there, and of its type.
    3. Names, marks and times have no gaps; columns of numbers may.

    Raises
    ------
    RowsUnusable
        Names the columns.
    KindNotRun
        Where the engine has no computation for the plan's kind.
    """
    wanted = _columns(plan)
    frame = read_frame(file)
    missing = [c for c in (PATIENT, *wanted) if c not in frame.columns]
    if missing:
        raise RowsUnusable(missing, "is missing", "缺失")
    if frame[PATIENT].null_count() or frame[PATIENT].n_unique() < frame.height:
        raise RowsUnusable([PATIENT], "has a gap, or a patient twice", "有空值或重复患者")
    table = {name: _typed(frame[name], kind) for name, kind in wanted.items()}
    return Rows(table, _digest([[str(p) for p in frame[PATIENT].to_list()], *table.values()]))


def _columns(plan: Plan) -> dict[str, type]:
    """Names and types of the columns that a plan is computed from."""
    match plan.asked:
        case CountsSection():
            return {"arm": str}
        case SurvivalSection():
            return {"days": int, "event": bool, "group": str}
        case AucSection():
            return {"score": int, "label": bool}
        case MomentsSection() as asked:
            return dict.fromkeys(asked.columns, float)
        case LogisticSection() as asked:
            return {**dict.fromkeys(asked.columns, float), "label": bool}
    raise KindNotRun(plan.kind)


def read_frame(file: Path) -> pl.DataFrame:
    """A table from a CSV or Parquet file.

    Raises
    ------
    RowsUnusable
    """
    import polars as pl

    read: Callable[..., pl.DataFrame] = pl.read_csv
    options: dict[str, Any] = {"infer_schema_length": None}
    if file.suffix == ".parquet":
        read, options = pl.read_parquet, {}
    try:
        return read(file, **options)
    except (OSError, pl.exceptions.PolarsError):
        raise RowsUnusable([file.suffix or "file"], "cannot be read", "无法读取") from None


def _typed(column: pl.Series, kind: type) -> list[Any]:
    """Values of a column as the kind wants them.

    `str` and `bool` are exact, `int` stands for a number without gaps, `float` for one with.
    """
    import polars as pl

    if kind is float and column.null_count() == column.len():
        return [float("nan")] * column.len()
    fits = {str: column.dtype == pl.String, bool: column.dtype == pl.Boolean}.get(
        kind, column.dtype.is_numeric()
    )
    gaps = kind is not float and column.null_count() > 0
    if gaps or (column.len() and not fits):
        raise RowsUnusable([column.name], "has gaps, or values of another type", "有空值或类型不符")
    if kind in {int, float}:
        return column.cast(pl.Float64).fill_null(float("nan")).to_list()
    return column.to_list()


def _digest(columns: list[list[Any]]) -> str:
    rows = sorted(json.dumps(row) for row in zip(*columns, strict=True))
    return hashlib.sha256("\n".join(rows).encode()).hexdigest()


def computation(plan: Plan, hospital: str, rows: Rows) -> Computation:
    """All vectors of a plan at one hospital, and the result from the sums.

    Raises
    ------
    KindNotRun
    """
    sd = noise_of_sum(plan.asked.noise_sd, len(plan.plan.hospitals))
    match plan.asked:
        case CountsSection() as asked:
            return _counts(asked, hospital, rows, sd)
        case SurvivalSection() as asked:
            return _survival(asked, rows)
        case AucSection() as asked:
            return _auc(asked, rows)
        case MomentsSection() as asked:
            return _moments(asked, rows)
        case LogisticSection() as asked:
            return _logistic(asked, rows)
    raise KindNotRun(plan.kind)


def _by_slot(slots: npt.NDArray[np.int64], length: int, noisy: bool) -> npt.NDArray[np.float64]:
    """One row per patient where noise is added, and their sum where it is not."""
    rows = rows_of(slots, length)
    return rows if noisy else rows.sum(axis=0)


def _counts(asked: CountsSection, hospital: str, rows: Rows, sd: float) -> Computation:
    query = CountsByArm(tuple(asked.arms), tuple(sorted(asked.hospitals)))
    slots = query.slots(hospital, rows.texts("arm"))
    total = yield _by_slot(slots, query.length, asked.epsilon > 0)
    if not asked.epsilon:
        return {"patients": query.read(total)}
    found = read_counts(query, total, sd)
    return {
        "patients": {
            name: {arm: asdict(estimate) for arm, estimate in arms.items()}
            for name, arms in found.items()
        }
    }


def _survival(asked: SurvivalSection, rows: Rows) -> Computation:
    query = DayGrid(tuple(asked.groups), asked.last_day, asked.width_days)
    slots = query.slots(rows.numbers("days")[:, 0], rows.flags("event"), rows.texts("group"))
    total = yield _by_slot(slots, query.length, asked.epsilon > 0)
    if asked.epsilon:
        return {"curves": {name: asdict(c) for name, c in read_survival(query, total).items()}}
    found = query.read(total)
    return {
        "curves": {name: asdict(curve) for name, curve in found.curves.items()},
        "log_rank": asdict(found.log_rank) if found.log_rank else None,
    }


def _auc(asked: AucSection, rows: Rows) -> Computation:
    query = ScoreBins(asked.bins)
    slots = query.slots(rows.flags("label"), rows.numbers("score")[:, 0])
    total = yield _by_slot(slots, query.length, asked.epsilon > 0)
    if asked.epsilon:
        return {"auc": asdict(read_auc(query, total))}
    return asdict(query.read(total))


def _moments(asked: MomentsSection, rows: Rows) -> Computation:
    query = Moments(tuple(asked.columns), tuple(asked.centres), tuple(asked.units))
    total = yield query.vector(rows.numbers(*asked.columns))
    return {"columns": {name: asdict(found) for name, found in query.read(total).items()}}


def _logistic(asked: LogisticSection, rows: Rows) -> Computation:
    model = asked.model()
    values, labels = rows.numbers(*asked.columns), rows.flags("label")
    steps = descent(model)
    weights = next(steps)
    while True:
        total = yield gradients(model, weights, values, labels)
        try:
            weights = steps.send(total)
        except StopIteration as done:
            intercept, *slopes = done.value.tolist()
            return {"intercept": intercept, **dict(zip(asked.columns, slopes, strict=True))}

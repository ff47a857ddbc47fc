"""What a hospital computes of its rows for each kind of plan, and what the sums say.

Rows come from the hospital's lake where the plan has a section [rows], else from a table with one
row per patient. Its column `patient` identifies patients and stays where it is; the other columns
are those that the plan names:

| kind | columns |
|---|---|
| counts | `arm` |
| survival | `days`, `event`, `group` |
| auc | `score`, `label` |
| readers | `reader_1`, `reader_2`, … |
| moments | those of the plan |
| combat | those of the plan, and `batch` |
| logistic | those of the plan, and `label` |

`dhi_limits` are of pairs of copies and `network` of lesions over visits: both come from the lake
alone.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from dagster_project.federated.combat import Design, Lesions, Residuals, fit_own_batches
from dagster_project.federated.counts import CountsByArm, DayGrid, ScoreBins, rows_of
from dagster_project.federated.engine.hospital import Computation
from dagster_project.federated.lake_rows import LakeRows, read_lake_rows
from dagster_project.federated.limits import CombinedRatios, ComponentRatios
from dagster_project.federated.logistic import descent, gradients
from dagster_project.federated.moments import Moments, ReaderAgreement
from dagster_project.federated.network import Averaging, train
from dagster_project.federated.noise import noise_of_sum
from dagster_project.federated.noisy_counts import read_auc, read_counts, read_survival
from dagster_project.federated.plans import (
    Asked,
    AucSection,
    CombatSection,
    CountsSection,
    DhiLimitsSection,
    LogisticSection,
    MomentsSection,
    NetworkSection,
    Plan,
    ReadersSection,
    SurvivalSection,
)
from dagster_project.federated.refusals import KindNotRun, NoTable, NotHarmonised, RowsUnusable
from dagster_project.radiomics.harmonisation import HarmonisationError
from dagster_project.study import load_study

if TYPE_CHECKING:
    import polars as pl

    from dagster_project.federated.engine.places import Places
    from models.data.datasets import Dataset

PATIENT = "patient"


@dataclass(frozen=True)
class Rows:
    """A hospital's rows for one plan; `cohort` is their digest, whatever their order.

    `ratios` (pairs of copies, components) and `n_lesions` are for DHI's limits, `dataset` for
    networks.
    """

    table: Mapping[str, list[Any]]
    cohort: str
    ratios: npt.NDArray[np.float64] | None = field(default=None, compare=False)
    n_lesions: int = 0
    dataset: Dataset | None = field(default=None, compare=False)

    def texts(self, column: str) -> list[str]:
        """A column of names."""
        return self.table[column]

    def flags(self, column: str) -> npt.NDArray[np.bool_]:
        """A column of marks."""
        return np.array(self.table[column], dtype=bool)

    def numbers(self, *columns: str) -> npt.NDArray[np.float64]:
        """Columns of numbers (patients, columns); NaN where a patient has no value."""
        n = len(next(iter(self.table.values()), []))
        table = [self.table[column] for column in columns]
        return np.array(table, dtype=np.float64).reshape(len(columns), n).T


def rows_at(places: Places, plan: Plan, hospital: str) -> Rows:
    """A hospital's rows, from its lake where the plan says so, else from the table it has named.

    Raises
    ------
    NoTable
    Refusal
        As `read_rows` and `read_lake_rows` raise them.
    """
    if plan.rows is not None:
        found = read_lake_rows(places.home, plan, hospital, places.read_medium())
        return rows_of_lake(plan, found)
    if not places.rows.is_file():
        raise NoTable
    return read_rows(plan, Path(places.rows.read_text(encoding="utf-8")))


def rows_of_lake(plan: Plan, found: LakeRows) -> Rows:
    """The same rows with their digest, held to their types as those of a table are."""
    if found.dataset is not None:
        return Rows({}, _digest([[found.dataset.digest]]), dataset=found.dataset)
    if found.ratios is None:
        return typed_rows(plan, found.frame)
    cohort = _digest([found.frame[PATIENT].to_list()])
    content = hashlib.sha256(np.ascontiguousarray(found.ratios).tobytes()).hexdigest()
    return Rows({}, _digest([[cohort], [content]]), found.ratios, found.n_lesions)


def read_rows(plan: Plan, file: Path) -> Rows:
    """A hospital's rows from a CSV or Parquet file.

    Raises
    ------
    RowsUnusable, KindNotRun
        As `typed_rows` raises them; also where the file cannot be read.
    """
    _columns(plan)
    return typed_rows(plan, read_frame(file))


def typed_rows(plan: Plan, frame: pl.DataFrame) -> Rows:
    """A hospital's rows from a frame.

    1. There is a column `patient`, whose values are all there and all different: a patient in two
       rows would count twice, and noise would not cover it.
    2. Each column of the plan is there, and of its type.
    3. Names, marks and times have no gaps; columns of numbers may.

    Raises
    ------
    RowsUnusable
        Names the columns.
    KindNotRun
        Where the plan's kind has no rows of this form.
    """
    wanted = _columns(plan)
    missing = [c for c in (PATIENT, *wanted) if c not in frame.columns]
    if missing:
        raise RowsUnusable(missing, "is missing", "缺失")
    if frame[PATIENT].null_count() or frame[PATIENT].n_unique() < frame.height:
        raise RowsUnusable([PATIENT], "has a gap, or a patient twice", "有空值或重复患者")
    table = {name: _typed(frame[name], kind) for name, kind in wanted.items()}
    return Rows(table, _digest([[str(p) for p in frame[PATIENT].to_list()], *table.values()]))


def _columns(plan: Plan) -> dict[str, type]:
    """Names and types of the columns that a plan is computed from."""
    found: dict[str, type] = {}
    match plan.asked:
        case CountsSection():
            found = {"arm": str}
        case SurvivalSection():
            found = {"days": int, "event": bool, "group": str}
        case AucSection():
            found = {"score": int, "label": bool}
        case ReadersSection() as asked:
            found = {f"reader_{i + 1}": int for i in range(asked.readers)}
        case MomentsSection() as asked:
            found = dict.fromkeys(asked.columns, float)
        case CombatSection() as asked:
            found = {"batch": str, **dict.fromkeys([*asked.columns, *asked.covariates], int)}
        case LogisticSection() as asked:
            found = {**dict.fromkeys(asked.columns, float), "label": bool}
    if not found:
        raise KindNotRun(plan.kind)
    return found


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
    if isinstance(plan.asked, CountsSection):
        sd = noise_of_sum(plan.asked.noise_sd, len(plan.plan.hospitals))
        return _counts(plan.asked, hospital, rows, sd)
    made = COMPUTATIONS.get(type(plan.asked))
    if made is None:
        raise KindNotRun(plan.kind)
    return made(plan.asked, rows)


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


def _readers(asked: ReadersSection, rows: Rows) -> Computation:
    query = ReaderAgreement(asked.readers, asked.centre_mm, asked.unit_mm, asked.one_pair_a_patient)
    total = yield query.vector(rows.numbers(*(f"reader_{i + 1}" for i in range(asked.readers))))
    return {"icc": asdict(query.read(total)), "pairs": round(float(total[0]))}


def _combat(asked: CombatSection, rows: Rows) -> Computation:
    """The level and spread of all hospitals' rows; shift and scale of this hospital's batches."""
    design = Design(
        tuple(asked.batches), tuple(asked.centres), tuple(asked.units), len(asked.covariates)
    )
    own = Lesions(
        rows.numbers(*asked.columns), rows.texts("batch"), rows.numbers(*asked.covariates)
    )
    try:
        level = design.read((yield design.vector(own)))
        residuals = Residuals(design, level)
        sd = residuals.read((yield residuals.vector(own)))
        fitted = fit_own_batches(design, level, sd, own)
    except HarmonisationError:
        raise NotHarmonised from None
    return {
        "level": dict(zip(asked.columns, fitted.mean.tolist(), strict=True)),
        "sd": dict(zip(asked.columns, fitted.sd.tolist(), strict=True)),
        "rows": dict(zip(asked.batches, level.counts.tolist(), strict=True)),
        OWN: {
            str(batch): {"shift": shift.tolist(), "scale": fitted.scale[batch].tolist()}
            for batch, shift in fitted.shift.items()
        },
    }


OWN = "own"
"""Part of a result that is of this hospital alone."""


def _dhi_limits(_: DhiLimitsSection, rows: Rows) -> Computation:
    """By the quantile of the protocol, which the plan's digest names."""
    assert rows.ratios is not None
    quantile = float(load_study().section("dhi")["quantile"])
    query = ComponentRatios(quantile)
    components, n_lesions = query.read((yield query.vector(rows.ratios, rows.n_lesions)))
    combination = CombinedRatios(quantile, components, n_lesions)
    return asdict(combination.read((yield combination.vector(rows.ratios))))


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


def _network(asked: NetworkSection, rows: Rows) -> Computation:
    """The study's network with the regions and features of its protocol."""
    from dagster_project.radiomics.regions import region_names

    assert rows.dataset is not None
    study = load_study()
    averaging = Averaging(
        asked,
        tuple(region_names(study.section("radiomics"))),
        tuple(study.learning["network_features"]),
        rows.dataset.task.visits,
        study.learning,
    )
    return train(averaging, rows.dataset)


COMPUTATIONS: Mapping[type[Asked], Callable[[Any, Rows], Computation]] = {
    SurvivalSection: _survival,
    AucSection: _auc,
    ReadersSection: _readers,
    MomentsSection: _moments,
    CombatSection: _combat,
    DhiLimitsSection: _dhi_limits,
    LogisticSection: _logistic,
    NetworkSection: _network,
}
"""By what is asked; `[counts]` is apart, since it needs the hospital's code."""

"""A hospital's rows for a plan, from its own lake behind its own gate, or why there are none.

1. The protocol, the version of the tables and the key drive are those that the plan and the
   hospital's joining name.
2. The gate is judged anew on the newest snapshot, and everything is read as of it.
3. The population's patients at this hospital, with the plan's outcome.
4. The plan's columns, as the study's own models have them; a feature has to be stable by the
   hospital's own reads. DHI is divided by the shipped limits, in which no patient took part, so
   that it means the same at each hospital.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from dagster_project.domain.cohort.quality import gate_closed
from dagster_project.federated.plans import (
    AucSection,
    CombatSection,
    CountsSection,
    DhiLimitsSection,
    LogisticSection,
    NetworkSection,
    Plan,
    ReadersSection,
    RowsSection,
    SurvivalSection,
)
from dagster_project.federated.refusals import (
    ClosedGate,
    ColumnsMissing,
    ColumnsNotStable,
    NoEligiblePatients,
    NoLake,
    OneClassOnly,
    OtherKindOfRows,
    OtherMedium,
    OtherProtocol,
    OtherSchemaVersion,
)
from dagster_project.flow.dhi import load_comparisons_as_of
from dagster_project.flow.gate import judge_snapshot
from dagster_project.flow.model_runs import CHANGES_SEEN, FEATURES_SEEN, KERNELS
from dagster_project.intake.identity.pseudonyms import medium_of
from dagster_project.lake.errors import LakeError
from dagster_project.lake.store import read_lake
from dagster_project.resources import Lakehouse

if TYPE_CHECKING:
    from dagster_project.federated.fixed_point import Floats
    from dagster_project.lake.home import Home
    from dagster_project.radiomics.dhi_limits import Comparisons
    from models.data.datasets import Dataset

KEY = ("site", "patient")
LABELLED = ("response", "progression_free")

FEATURE = re.compile(r"(?P<feature>[^@]+)@(?P<region>tumor|ring_\d+_\d+)@T\d(?P<later>-T\d)?")
"""Columns of radiomic features and of their changes, as `models.data.datasets` names them."""

ANY_FEATURE = "SELECT min(feature) FROM delta_features"
"""Without a change of any feature there is no data set of a task."""


@dataclass(frozen=True)
class LakeRows:
    """One row per patient, `patient` first.

    `ratios` (pairs of copies, components) and `n_lesions` are DHI's calibration; `dataset` is what
    networks see.
    """

    frame: pl.DataFrame
    ratios: Floats | None = None
    n_lesions: int = 0
    dataset: Dataset | None = None


def read_lake_rows(home: Home, plan: Plan, hospital: str, medium: str) -> LakeRows:
    """A hospital's rows.

    Parameters
    ----------
    home
        The hospital's.
    plan
        With a section [rows].
    hospital
        Its code: rows of other sites in the lake are not read.
    medium
        Public recipient of the key drive with which the hospital joined.

    Raises
    ------
    NoLake, OtherProtocol, OtherSchemaVersion, OtherMedium, ClosedGate, OtherKindOfRows
    NoEligiblePatients, OneClassOnly, ColumnsMissing, ColumnsNotStable
    """
    asked = plan.rows
    assert asked is not None
    lakehouse = Lakehouse(root=str(home.root))
    _check_study(lakehouse, asked)
    _check_medium(home, asked, medium)
    snapshot = lakehouse.lake.snapshot()
    if gate_closed(judge_snapshot(lakehouse, snapshot)):
        raise ClosedGate
    (cohort,) = lakehouse.read("training_cohort", as_of=snapshot)
    people = _population(cohort, plan, asked, hospital)
    found = _Source(lakehouse, snapshot, plan, asked, people).rows()
    _check_classes(asked, found.frame)
    return found


def _check_study(lakehouse: Lakehouse, asked: RowsSection) -> None:
    if lakehouse.study.digest != asked.protocol:
        raise OtherProtocol
    if not lakehouse.home.has_lake:
        raise NoLake
    try:
        with read_lake(lakehouse.home) as lake:
            lake.check_schema()
            same = lake.version() == asked.schema_version
    except LakeError:
        same = False
    if not same:
        raise OtherSchemaVersion


def _check_medium(home: Home, asked: RowsSection, medium: str) -> None:
    trial = home.throwaway_medium.exists()
    if medium_of(home.crosswalk) != medium or (trial and not asked.simulated):
        raise OtherMedium


def _population(
    cohort: pl.DataFrame, plan: Plan, asked: RowsSection, hospital: str
) -> pl.DataFrame:
    """The cohort's rows of the plan's patients, marked as included."""
    from models.data.datasets import UNTRAINED

    begun = [pl.col("exclusion").str.starts_with(name).fill_null(value=False) for name in UNTRAINED]
    taken = pl.col("included")
    if asked.population == "eligible":
        taken = pl.any_horizontal(taken, *begun)
    own = cohort.filter((pl.col("site") == hospital) & (pl.col("task") == plan.plan.task), taken)
    if own.is_empty():
        raise NoEligiblePatients
    if own["simulated"].n_unique() > 1 or own["simulated"][0] != asked.simulated:
        raise OtherKindOfRows
    return own.with_columns(included=True).sort(KEY)


def _check_classes(asked: RowsSection, frame: pl.DataFrame) -> None:
    if frame.is_empty():
        raise NoEligiblePatients
    if asked.outcome in LABELLED and frame["label"].n_unique() < 2:
        raise OneClassOnly


@dataclass(frozen=True)
class _Source:
    """Where the rows of one plan come from."""

    lakehouse: Lakehouse
    snapshot: int
    plan: Plan
    asked: RowsSection
    people: pl.DataFrame

    def rows(self) -> LakeRows:
        """By what is asked."""
        asked = self.plan.asked
        if isinstance(asked, DhiLimitsSection):
            return self._ratios()
        if isinstance(asked, NetworkSection):
            return self._sequences()
        return LakeRows(self._frame(asked))

    def _frame(self, asked: Any) -> pl.DataFrame:
        match asked:
            case CountsSection():
                found = self._grouped("arm")
            case SurvivalSection():
                found = self._times(asked)
            case AucSection():
                found = self._scores(asked)
            case ReadersSection():
                found = self._reads(asked)
            case CombatSection():
                found = self._batches(asked)
            case LogisticSection():
                found = self._labelled(self._columns(asked.columns))
            case _:
                found = self._columns(asked.columns)
        return found

    def _read(self, name: str) -> pl.DataFrame:
        """Rows of a table of the plan's patients, as of the snapshot."""
        (frame,) = self.lakehouse.read(name, as_of=self.snapshot)
        return frame.join(self.people.select(KEY), on=KEY, how="semi")

    def _labelled(self, frame: pl.DataFrame) -> pl.DataFrame:
        return frame.join(self.people.select("patient", "label"), on="patient", how="left")

    def _grouped(self, name: str) -> pl.DataFrame:
        """Patients with the plan's group; one whose group is not known is not in it."""
        if self.asked.group == "none":
            return self.people.select("patient", pl.lit("all").alias(name))
        patients = self._read("patients").drop_nulls(self.asked.group)
        return patients.select("patient", pl.col(self.asked.group).alias(name)).sort("patient")

    def _times(self, asked: SurvivalSection) -> pl.DataFrame:
        """Days and events from the first cycle; patients without a time are not in it."""
        times = self._read("time_to_event").filter(
            endpoint=asked.endpoint, version="main", origin="first_cycle"
        )
        known = times.drop_nulls(["days", "event"]).select("patient", "days", "event")
        return known.join(self._grouped("group"), on="patient").sort("patient")

    def _scores(self, asked: AucSection) -> pl.DataFrame:
        """Probabilities by models of this hospital that had not seen the patient."""
        (runs,) = self.lakehouse.read("model_runs", as_of=self.snapshot)
        newest = runs.filter(task=self.plan.plan.task, model=asked.model).sort("trained_at")
        held_out = self._read("predictions").filter(
            pl.col("fold").is_not_null(),
            task=self.plan.plan.task,
            model=asked.model,
            model_version=newest["model_version"][-1] if newest.height else "",
        )
        if held_out.is_empty():
            raise ColumnsMissing([asked.model])
        return self._labelled(held_out.select("patient", score="probability").sort("patient"))

    def _reads(self, asked: ReadersSection) -> pl.DataFrame:
        """Sums of diameters of the two readers of each patient at the task's last visit."""
        from models.data.datasets import TASKS

        landmark = TASKS[self.plan.plan.task].landmark
        read = self._read("responses").filter(
            pl.col("visit") == landmark, pl.col("evaluator") != "accepted"
        )
        by_patient = (
            read.drop_nulls("sum_mm")
            .sort("evaluator")
            .group_by("patient")
            .agg(sums="sum_mm")
            .filter(pl.col("sums").list.len() == asked.readers)
        )
        columns = {f"reader_{i + 1}": pl.col("sums").list.get(i) for i in range(asked.readers)}
        return by_patient.select("patient", **columns).sort("patient")

    def _columns(self, columns: list[str]) -> pl.DataFrame:
        """Columns of the study's own data set."""
        dataset = self._dataset(columns)
        missing = [name for name in columns if name not in dataset.feature_names]
        if missing:
            raise ColumnsMissing(missing)
        self._check_stable(columns)
        values = dataset.values_of(columns)
        frame = pl.DataFrame(values, schema=dict.fromkeys(columns, pl.Float64), orient="row")
        return frame.fill_nan(None).insert_column(0, pl.Series("patient", dataset.patients))

    def _check_stable(self, columns: list[str]) -> None:
        (checked,) = self.lakehouse.read("feature_stability", as_of=self.snapshot)
        stable = set(checked.filter("stable").select("feature", "region").iter_rows())
        named = {name: FEATURE.fullmatch(name) for name in columns}
        unstable = [
            name for name, m in named.items() if m and (m["feature"], m["region"]) not in stable
        ]
        if unstable:
            raise ColumnsNotStable(unstable)

    def _batches(self, asked: CombatSection) -> pl.DataFrame:
        """Columns and covariates of patients who have all of them, and hospital and kernel."""
        frame = self._columns([*asked.columns, *asked.covariates]).drop_nulls()
        with read_lake(self.lakehouse.home, as_of=self.snapshot) as frozen:
            kernels = frozen.query(KERNELS).pl()
        batch = pl.concat_str("site", pl.col("kernel").fill_null("unknown"), separator="/")
        known = self.people.select(KEY).join(kernels, on=KEY, how="left")
        return frame.join(known.select("patient", batch=batch), on="patient", how="left")

    def _ratios(self) -> LakeRows:
        """Held-back ratios of the patients' lesions between the task's visits."""
        from models.data.datasets import TASKS
        from models.data.fold_dhi import place_comparisons

        pairs = TASKS[self.plan.plan.task].pairs
        found = load_comparisons_as_of(self.lakehouse, self.snapshot, pairs)
        placed = place_comparisons(self.people.with_row_index("row"), pairs, found)
        lesions = np.unique(placed.at[np.unique(placed.ratio_row)][:, [0, 2]], axis=0)
        return LakeRows(self.people.select("patient"), placed.ratios, len(lesions))

    def _sequences(self) -> LakeRows:
        """Lesions over the visits, with the features that the study's networks see."""
        features = self.lakehouse.study.learning["network_features"]
        dataset = self._dataset([f"{name}@tumor@T0" for name in features])
        frame = pl.DataFrame({"patient": dataset.patients, "label": dataset.y.astype(bool)})
        return LakeRows(frame, dataset=dataset)

    def _dataset(self, columns: list[str]) -> Dataset:
        """The study's own data set of the plan's patients, with what these columns need."""
        from models.data.datasets import TASKS, DatasetError, build_dataset

        task = TASKS[self.plan.plan.task]
        names = ("patients", "responses", "lesions", "dhi")
        tables: dict[str, Any] = {name: self._read(name) for name in names}
        tables |= self._measured(columns, list(task.visits))
        try:
            return build_dataset(
                task,
                cohort=self.people.with_columns(pl.col("label").fill_null(value=False)),
                **tables,
                comparisons=self._comparisons(columns, task.pairs),
            )
        except DatasetError:  # its text may name patients
            raise ColumnsMissing(columns) from None

    def _measured(self, columns: list[str], visits: list[str]) -> dict[str, pl.DataFrame | None]:
        """Features and their changes, of the columns alone."""
        named = list(filter(None, map(FEATURE.fullmatch, columns)))
        features = sorted({m["feature"] for m in named})
        level = any(not m["later"] for m in named)
        with read_lake(self.lakehouse.home, as_of=self.snapshot) as frozen:
            if not features:
                features = [f for (f,) in frozen.query(ANY_FEATURE).fetchall()]
            changes = frozen.query(
                f"{CHANGES_SEEN} AND list_contains(?, feature)", [visits, visits, features]
            )
            return {
                "delta_features": changes.pl(),
                "radiomic_features": frozen.query(FEATURES_SEEN, [features]).pl()
                if level
                else None,
            }

    def _comparisons(
        self, columns: list[str], pairs: tuple[tuple[str, str], ...]
    ) -> Comparisons | None:
        from models.data.fold_dhi import LIMITED

        if not any(name.split("@")[0] in LIMITED for name in columns):
            return None
        return load_comparisons_as_of(self.lakehouse, self.snapshot, pairs)

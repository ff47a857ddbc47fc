"""What a model may see: one row per patient, and no column later than the task's landmark."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations
from typing import Any

import numpy as np
import polars as pl

from dagster_project.radiomics.dhi_limits import Comparisons, FoldLimits, patient_free_limits
from dagster_project.radiomics.habitat_histograms import CohortHistograms
from models.data.fold_dhi import LIMITED, PatientComparisons, place_comparisons
from models.data.lesion_sequences import LesionSequences, build_sequences
from models.data.risk_groups import TimeToProgression, build_time_to_progression
from models.data.stability import ReaderMoments, build_moments

CLINICAL, PD_L1, SIZE, RADIOMICS, DELTA, DHI, SERIES = (
    "clinical",
    "pd_l1",
    "size",
    "radiomics",
    "delta",
    "dhi",
    "series",
)
"""The blocks of columns.

In order: case report, its PD-L1, size alone, radiomics of the baseline, change of radiomic
features, Dynamic Heterogeneity Index; and the lesions over the visits, which are no columns.
"""

BASELINE = "T0"
"""The visit before treatment.

What the case report knows at the first cycle counts as known at this visit.
"""

DHI_COLUMNS = (
    "dhi",
    "dhi_magnitude",
    "u_texture",
    "u_density",
    "u_spatial",
    "u_radial",
    "dhi_maximum",
    "dhi_spread",
    "delta_median_hu",
    "delta_log_sd",
)
"""Columns of `dhi` that are offered.

delta_log_volume is left to the block `size`, which DHI is compared with.
"""

_KEY = ["site", "patient"]


@dataclass(frozen=True)
class Task:
    """A prediction: the label and the visits that may be seen.

    The visits are in order; the last is the landmark.
    """

    name: str
    visits: tuple[str, ...]
    label: str

    @property
    def landmark(self) -> str:
        """The last visit that may be seen."""
        return self.visits[-1]

    @property
    def pairs(self) -> tuple[tuple[str, str], ...]:
        """The pairs of visits between which change may be seen, earlier first."""
        return tuple(combinations(self.visits, 2))


TASKS = {
    task.name: task
    for task in (
        Task("T0", ("T0",), "response (CR or PR) after T0"),
        Task("T1", ("T0", "T1"), "response (CR or PR) after T1"),
        Task("T2", ("T0", "T1", "T2"), "free of progression for six months after T2"),
    )
}
"""The tasks that can be trained, each with its landmark."""


@dataclass(frozen=True)
class FeatureColumn:
    """A column offered to a model: its block, and every visit it was computed from."""

    name: str
    block: str
    visits: tuple[str, ...]


class LeakageError(ValueError):
    """Columns that are based on a visit which the task may not see."""

    def __init__(self, task: Task, columns: Sequence[FeatureColumn]) -> None:
        shown = ", ".join(f"{c.name} ({', '.join(c.visits)})" for c in columns)
        super().__init__(
            f"task {task.name} may see {', '.join(task.visits)} alone; refused: {shown}. "
            "Leave these columns out or take a later task"
        )


class DatasetError(ValueError):
    """A cohort or table from which no data set can be made; the message says what to do."""


@dataclass(frozen=True, eq=False)
class Dataset:
    """The columns and labels of patients: one row per patient, sorted by site and pseudonym.

    Missing values in `X` are NaN until a training fold imputes them. NaN stays inside this matrix:
    no table and no artifact receives it. A data set that breaks a rule cannot be made:

    1. every column is based on the task's visits alone, else LeakageError;
    2. a patient has one row, hence one site, else DatasetError;
    3. no comparison of lesions is based on another pair of visits than the task's, else
       LeakageError;
    4. no block of columns comes already standardised: mean 0 and deviation 1 in every varying
       column can only have been fitted on all patients, before any split, else DatasetError.
    """

    task: Task
    columns: tuple[FeatureColumn, ...]
    X: np.ndarray
    y: np.ndarray
    patients: tuple[str, ...]
    sites: tuple[str, ...]
    simulated: np.ndarray
    label_definition: str
    series: LesionSequences | None = None
    progression: TimeToProgression | None = None
    readers: ReaderMoments | None = None
    batches: tuple[str, ...] | None = None
    comparisons: PatientComparisons | None = None

    def __post_init__(self) -> None:
        """Refuse what breaks a rule."""
        offered = (
            *self.columns,
            *(
                FeatureColumn(f"lesion series at {v}", SERIES, (v,))
                for v in (self.series.visits if self.series else ())
            ),
            *(
                FeatureColumn(f"comparisons {a}-{b}", DHI, (a, b))
                for a, b in (self.comparisons.pairs if self.comparisons else ())
            ),
        )
        late = [c for c in offered if not set(c.visits) <= set(self.task.visits)]
        if late:
            raise LeakageError(self.task, late)
        scaled = scaled_before_the_split(self)
        if scaled:
            raise DatasetError(
                f"task {self.task.name}: the columns of block {', '.join(scaled)} "
                "come scaled over all patients, which tells a training fold of "
                "those held out; hand over raw values, each fold scales for itself"
            )
        if len(set(self.patients)) < len(self.patients):
            repeated = sorted({p for p in self.patients if self.patients.count(p) > 1})
            raise DatasetError(
                f"task {self.task.name}: patients {', '.join(repeated)} "
                "have several rows or sites; correct training_cohort"
            )

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Names of the columns, in order."""
        return tuple(c.name for c in self.columns)

    @property
    def feature_blocks(self) -> tuple[str, ...]:
        """Blocks of the columns, in order."""
        return tuple(c.block for c in self.columns)

    @cached_property
    def digest(self) -> str:
        """Digest of task, patients, labels, columns and values.

        The first 16 hexadecimal digits of their SHA-256.
        """
        facts = (
            self.task.name,
            self.label_definition,
            self.patients,
            self.sites,
            self.y.tolist(),
            self.feature_names,
            self.batches,
        )
        series = self.series.digest.encode() if self.series else b""
        readers = self.readers.digest if self.readers else b""
        compared = self.comparisons.digest if self.comparisons else b""
        return hashlib.sha256(
            repr(facts).encode()
            + np.ascontiguousarray(self.X).tobytes()
            + series
            + readers
            + compared
        ).hexdigest()[:16]

    def take(self, rows: np.ndarray) -> Dataset:
        """The rows of a truth-valued mask, in order."""
        names = [
            tuple(np.asarray(values)[rows].tolist())
            for values in (self.patients, self.sites, self.batches or self.sites)
        ]
        return replace(
            self,
            X=self.X[rows],
            y=self.y[rows],
            patients=names[0],
            sites=names[1],
            simulated=self.simulated[rows],
            series=self.series.take(rows) if self.series else None,
            progression=self.progression.take(rows) if self.progression else None,
            readers=self.readers.take(rows) if self.readers else None,
            batches=names[2] if self.batches else None,
            comparisons=self.comparisons.take(rows) if self.comparisons else None,
        )

    def scale_dhi(self, limits: FoldLimits | None) -> Dataset:
        """The data set with DHI divided by limits.

        The data set itself where there are no limits, or no comparisons to divide. `X` holds DHI
        divided by the shipped limits, in which no patient took part; the table's own values, whose
        limits the whole cohort gave, are never in it where comparisons are.
        """
        if limits is None or self.comparisons is None:
            return self
        x, place = self.X.copy(), {name: i for i, name in enumerate(self.feature_names)}
        for name, values in self.comparisons.columns(limits).items():
            if name in place:
                x[:, place[name]] = values
        return replace(self, X=x)

    def values_divided(self, names: Sequence[str], limits: FoldLimits | None) -> np.ndarray:
        """The columns of these names, DHI divided by a model's own limits.

        Raises
        ------
        DatasetError
            A column is not there; or the model was trained on DHI divided otherwise than this data
            set can divide it.
        """
        if any(name.split("@")[0] in LIMITED for name in names) and (limits is None) != (
            self.comparisons is None
        ):
            source = (
                "the table's DHI, and here it is divided anew"
                if limits is None
                else "DHI divided by its own limits, and here are no comparisons to divide"
            )
            raise DatasetError(
                f"task {self.task.name}: the model was trained on {source}; "
                "train it anew on a data set like this one"
            )
        return self.scale_dhi(limits).values_of(names)

    def fit_dhi_limits(self) -> FoldLimits | None:
        """Limits of DHI fitted on these patients alone; None without comparisons."""
        return self.comparisons.fit_limits(self.patients) if self.comparisons else None

    def of_blocks(self, blocks: Sequence[str]) -> Dataset:
        """The columns of some blocks; DatasetError where a block has none."""
        lacking = [
            b for b in blocks if b not in self.feature_blocks and not (b == SERIES and self.series)
        ]
        if lacking:
            raise DatasetError(
                f"task {self.task.name}: no column in block {', '.join(lacking)}; "
                "materialise its tables first"
            )
        keep = np.isin(self.feature_blocks, list(blocks))
        return replace(
            self,
            X=self.X[:, keep],
            columns=tuple(c for c in self.columns if c.block in blocks),
            series=self.series if SERIES in blocks else None,
            comparisons=self.comparisons if DHI in blocks else None,
        )

    def values_of(self, names: Sequence[str]) -> np.ndarray:
        """The columns of these names, in this order; DatasetError where one is not there."""
        place = {name: i for i, name in enumerate(self.feature_names)}
        absent = [name for name in names if name not in place]
        if absent:
            raise DatasetError(
                f"task {self.task.name}: the model asks for {len(absent)} columns "
                f"that are not there, first {absent[0]}; "
                "build the data set with the protocol that the model was trained under"
            )
        return self.X[:, [place[name] for name in names]]

    def with_features_permuted(self, seed: int) -> Dataset:
        """The negative control, whose AUC is 0.5.

        Each patient gets the columns of a patient drawn without replacement.
        """
        order = np.random.default_rng(seed).permutation(len(self.patients))
        return replace(
            self,
            X=self.X[order],
            series=self.series.take(order) if self.series else None,
            comparisons=self.comparisons.take(order) if self.comparisons else None,
        )


def scaled_before_the_split(dataset: Dataset) -> list[str]:
    """Blocks of at least two varying columns that were scaled before the split.

    All of the block's varying columns have mean 0 and standard deviation 1 (either form) over the
    rows.
    """
    found = []
    for block in dict.fromkeys(dataset.feature_blocks):
        x = dataset.X[:, np.isin(dataset.feature_blocks, [block])]
        known = ~np.isnan(x)
        n = known.sum(axis=0)
        mean = np.divide(np.nansum(x, axis=0), n, out=np.ones(n.shape), where=n > 0)
        squares = np.divide(
            np.nansum((x - mean) ** 2, axis=0), n - 1, out=np.zeros(n.shape), where=n > 2
        )
        vary = squares > 1e-12
        unit = (
            np.minimum(np.abs(squares - 1), np.abs(squares * (n - 1) / np.maximum(n, 1) - 1)) < 1e-6
        )
        if vary.sum() > 1 and (unit & (np.abs(mean) < 1e-6))[vary].all():
            found.append(block)
    return found


def build_dataset(
    task: Task,
    *,
    cohort: pl.DataFrame,
    patients: pl.DataFrame,
    responses: pl.DataFrame,
    lesions: pl.DataFrame,
    delta_features: pl.DataFrame,
    dhi: pl.DataFrame,
    radiomic_features: pl.DataFrame | None = None,
    outcomes: pl.DataFrame | None = None,
    reader_pairs: pl.DataFrame | None = None,
    kernels: pl.DataFrame | None = None,
    habitat_histograms: CohortHistograms | None = None,
    comparisons: Comparisons | None = None,
) -> Dataset:
    """Bring the task's columns to one row per patient.

    Parameters
    ----------
    task : Task
        Its visits decide which rows of the tables are looked at; rows of later visits change
        nothing.
    cohort, patients, responses, lesions, delta_features, dhi : pl.DataFrame
        The tables training_cohort, patients and so on. Only included patients of this task are
        used.
    radiomic_features : pl.DataFrame, optional
        Rows of the accepted reads, of the features that the networks look at; without them there is
        no block `series` or `radiomics`.
    outcomes : pl.DataFrame, optional
        The table of that name, to judge risk groups by; no model sees it.
    reader_pairs : pl.DataFrame, optional
        What both readers' values of each patient, visit, region and feature amount to
        (`models.data.stability`); each fold judges features by those of its own.
    kernels : pl.DataFrame, optional
        site, patient, kernel of the baseline scan: with the hospital, the batch that ComBat takes
        out where the protocol asks for it.
    habitat_histograms : CohortHistograms, optional
        Words of the lesions, from which each fold fits habitats of its own; without them habitats
        are no nodes.
    comparisons : Comparisons, optional
        DHI before its limits, which each fold fits anew; without them the columns are those of the
        table, whose limits the whole cohort gave.

    Raises
    ------
    DatasetError
        No patient, a missing label, or no change of any feature between the task's visits.
    """
    return assemble(
        task,
        _roster(task, cohort),
        patients,
        responses,
        lesions,
        delta_features,
        dhi,
        radiomic_features,
        outcomes,
        reader_pairs,
        kernels,
        habitat_histograms,
        comparisons,
    )


def assemble(
    task: Task,
    roster: pl.DataFrame,
    patients: pl.DataFrame,
    responses: pl.DataFrame,
    lesions: pl.DataFrame,
    delta_features: pl.DataFrame,
    dhi: pl.DataFrame,
    radiomic_features: pl.DataFrame | None = None,
    outcomes: pl.DataFrame | None = None,
    reader_pairs: pl.DataFrame | None = None,
    kernels: pl.DataFrame | None = None,
    habitat_histograms: CohortHistograms | None = None,
    comparisons: Comparisons | None = None,
) -> Dataset:
    """The data set of a roster, in its order.

    The roster has the columns `row`, site, patient, label, simulated and label_definition.
    """
    blocks = [
        _clinical_block(roster, patients),
        _size_block(task, roster, responses, lesions),
        *(
            [_delta_block(task, roster, delta_features, lesions), _dhi_block(task, roster, dhi)]
            if task.pairs
            else []
        ),
    ]
    series = (
        None
        if radiomic_features is None
        else build_sequences(
            roster, task.visits, responses, lesions, radiomic_features, habitat_histograms
        )
    )
    if series is not None:
        blocks += [_radiomics_block(series)]
    made = Dataset(
        task=task,
        columns=tuple(c for columns, _ in blocks for c in columns),
        X=np.hstack([values for _, values in blocks]),
        y=roster["label"].to_numpy(),
        patients=tuple(roster["patient"]),
        sites=tuple(roster["site"]),
        simulated=roster["simulated"].to_numpy(),
        label_definition="; ".join(roster["label_definition"].unique().sort()),
        series=series,
        progression=None
        if outcomes is None
        else build_time_to_progression(roster, task.landmark, outcomes, responses),
        readers=None if reader_pairs is None else build_moments(roster, task.visits, reader_pairs),
        batches=None if kernels is None else _batches(roster, kernels),
        comparisons=None
        if comparisons is None or not task.pairs
        else place_comparisons(roster, task.pairs, comparisons),
    )
    return made.scale_dhi(patient_free_limits())


def _batches(roster: pl.DataFrame, kernels: pl.DataFrame) -> tuple[str, ...]:
    """Hospital and kernel of each patient's baseline scan; an unknown kernel is one of its own."""
    known = roster.select(_KEY).join(
        kernels.select(*_KEY, "kernel"), on=_KEY, how="left", validate="1:1", maintain_order="left"
    )
    return tuple(
        known.select(b=pl.concat_str("site", pl.col("kernel").fill_null("unknown"), separator=" "))[
            "b"
        ]
    )


_Block = tuple[tuple[FeatureColumn, ...], np.ndarray]


def _roster(task: Task, cohort: pl.DataFrame) -> pl.DataFrame:
    included = cohort.filter((pl.col("task") == task.name) & pl.col("included")).sort(_KEY)
    unlabelled = included.filter(pl.col("label").is_null())["patient"].to_list()
    if included.is_empty():
        raise DatasetError(
            f"task {task.name}: training_cohort includes no patient; see its column `exclusion`"
        )
    if unlabelled:
        raise DatasetError(
            f"task {task.name}: patients {', '.join(unlabelled)} are included without a label; "
            "exclude them in training_cohort"
        )
    return included.with_row_index("row")


def _clinical_block(roster: pl.DataFrame, patients: pl.DataFrame) -> _Block:
    facts = {
        "age_years": pl.col("age_years"),
        "male": pl.col("sex") == "M",
        "former_smoker": pl.col("smoking") == "former",
        "current_smoker": pl.col("smoking") == "current",
        "ecog": pl.col("ecog"),
        "stage_iv": pl.col("stage").str.starts_with("IV"),
        "pd_l1_tps": pl.col("pd_l1_tps"),
        "egfr_mutant": pl.col("egfr") == "mutant",
        "alk_rearranged": pl.col("alk") == "rearranged",
        "line": pl.col("line"),
    }
    frame = patients.select(*_KEY, **facts)
    return _joined(
        roster,
        frame,
        [FeatureColumn(n, PD_L1 if n == "pd_l1_tps" else CLINICAL, (BASELINE,)) for n in facts],
    )


UNTRAINED = ("progressed_by_", "responded_by_", "no_response_after_", "short_follow_up_after_")
"""Exclusions of patients for whom a model may still predict.

They are eligible, and were decided or not yet followed.
"""


def build_inference_set(task: Task, *, cohort: pl.DataFrame, **tables: Any) -> Dataset | None:
    """The eligible patients whom the cohort leaves out, with the columns of all.

    These were excluded for a reason in UNTRAINED. None where there are none. Their labels
    mean nothing here and are False throughout.
    """
    included = pl.col("included")
    asked = cohort.filter(
        (pl.col("task") == task.name)
        & (included | pl.any_horizontal(pl.col("exclusion").str.starts_with(e) for e in UNTRAINED))
    )
    if asked["included"].all():
        return None
    roster = asked.sort(_KEY).with_row_index("row")
    seen = roster.with_columns(label=pl.lit(value=False))
    return assemble(task, seen, **tables).take(~roster["included"].to_numpy())


def _radiomics_block(series: LesionSequences) -> _Block:
    """Mean over the lesions of each region's features at baseline."""
    first = series.values[:, :, :, 0]
    n = (~np.isnan(first)).sum(axis=1)
    means = np.divide(np.nansum(first, axis=1), n, out=np.full(n.shape, np.nan), where=n > 0)
    columns = tuple(
        FeatureColumn(f"{f}@{r}@{BASELINE}", RADIOMICS, (BASELINE,))
        for r in series.regions
        for f in series.features
    )
    return columns, means.reshape(len(means), -1)


def _size_block(
    task: Task, roster: pl.DataFrame, responses: pl.DataFrame, lesions: pl.DataFrame
) -> _Block:
    """Sum of target diameters and total target volume at baseline, and their change.

    The change is the symmetric one between the visits.
    """
    sums = responses.filter(pl.col("evaluator") == "accepted").select(
        *_KEY, "visit", what=pl.lit("sum_mm"), value="sum_mm"
    )
    long = pl.concat(
        [
            sums,
            _target_volumes(lesions).select(
                *_KEY, "visit", what=pl.lit("volume_mm3"), value="volume_mm3"
            ),
        ]
    )
    frame, columns = roster.select(_KEY), []
    for what in ("sum_mm", "volume_mm3"):
        wide = {
            v: long.filter((pl.col("what") == what) & (pl.col("visit") == v)).select(
                *_KEY, pl.col("value").alias(f"{what}@{v}")
            )
            for v in task.visits
        }
        for visit_values in wide.values():
            frame = frame.join(visit_values, on=_KEY, how="left", validate="1:1")
        columns.append(FeatureColumn(f"{what}@{BASELINE}", SIZE, (BASELINE,)))
        columns += [FeatureColumn(f"{what}_change@{a}-{b}", SIZE, (a, b)) for a, b in task.pairs]
        frame = frame.with_columns(
            _symmetric(f"{what}@{a}", f"{what}@{b}").alias(f"{what}_change@{a}-{b}")
            for a, b in task.pairs
        )
    return _joined(roster, frame, columns)


def _target_volumes(lesions: pl.DataFrame) -> pl.DataFrame:
    """Total volume of a patient's targets at a visit.

    NULL where a target of the baseline was not measured there.
    """
    targets = lesions.filter(pl.col("role") == "target")
    volume = pl.when(pl.col("is_present")).then("volume_mm3").otherwise(0.0)
    totals = targets.group_by(*_KEY, "visit").agg(
        volume_mm3=volume.sort_by("lesion").sum(), unmeasured=volume.is_null().sum(), n=pl.len()
    )
    at_baseline = totals.filter(pl.col("visit") == BASELINE).select(*_KEY, n_baseline="n")
    whole = (pl.col("unmeasured") == 0) & (pl.col("n") == pl.col("n_baseline"))
    return totals.join(at_baseline, on=_KEY, how="left").with_columns(
        pl.when(whole).then("volume_mm3")
    )


def _symmetric(before: str, after: str) -> pl.Expr:
    """(b − a) over the mean of both, from −2 to 2; NULL where both are 0.

    It is like delta_features.delta_symmetric.
    """
    mean = (pl.col(before) + pl.col(after)) / 2
    return pl.when(mean > 0).then((pl.col(after) - pl.col(before)) / mean)


def _delta_block(
    task: Task, roster: pl.DataFrame, delta_features: pl.DataFrame, lesions: pl.DataFrame
) -> _Block:
    """Symmetric change of every feature and region between the visits.

    It is the mean over the patient's lesions, weighted by volume at the earlier visit. A vanished
    lesion has no features and is not part of the mean; the block `size` shows that it vanished.
    """
    weights = lesions.select(*_KEY, "lesion", from_visit="visit", weight="volume_mm3").filter(
        pl.col("weight") > 0
    )
    valued = _of_pairs(task, delta_features).filter(pl.col("delta_symmetric").is_not_null())
    weighted = valued.join(roster.select("row", *_KEY), on=_KEY).join(
        weights, on=[*_KEY, "lesion", "from_visit"]
    )
    if weighted.is_empty():
        raise DatasetError(
            f"task {task.name}: delta_features has no value between {', '.join(task.visits)} "
            "for the cohort; materialise it first"
        )
    offered = weighted.select(_OFFERED).unique().sort(_OFFERED).with_row_index("column")
    columns = (
        FeatureColumn(f"{feature}@{region}@{a}-{b}", DELTA, (a, b))
        for feature, region, a, b in offered.select(_OFFERED).iter_rows()
    )
    return tuple(columns), _weighted_means(
        weighted.join(offered, on=_OFFERED).sort("row", "column", "lesion"),
        roster.height,
        offered.height,
    )


_OFFERED = ["feature", "region", "from_visit", "to_visit"]


def _weighted_means(cells: pl.DataFrame, n_rows: int, n_columns: int) -> np.ndarray:
    """Means by row and column, NaN where there is none.

    They are summed in the order of the cells, so that the last bit never changes.
    """
    place = cells["row"].to_numpy().astype(np.int64) * n_columns + cells["column"].to_numpy()
    weight, size = cells["weight"].to_numpy(), n_rows * n_columns
    total = np.bincount(place, weight, size)
    summed = np.bincount(place, weight * cells["delta_symmetric"].to_numpy(), size)
    return np.divide(summed, total, out=np.full(size, np.nan), where=total > 0).reshape(
        n_rows, n_columns
    )


def _dhi_block(task: Task, roster: pl.DataFrame, dhi: pl.DataFrame) -> _Block:
    """The patient's DHI between the visits with its components.

    Columns exist even where no value could be computed.
    """
    mine, frame, columns = (
        _of_pairs(task, dhi).filter(pl.col("scope") == "patient"),
        roster.select(_KEY),
        [],
    )
    for a, b in task.pairs:
        named = {f"{name}@{a}-{b}": name for name in DHI_COLUMNS}
        pair = mine.filter((pl.col("from_visit") == a) & (pl.col("to_visit") == b)).select(
            *_KEY, **named
        )
        frame = frame.join(pair, on=_KEY, how="left", validate="1:1")
        columns += [FeatureColumn(name, DHI, (a, b)) for name in named]
    return _joined(roster, frame, columns)


def _of_pairs(task: Task, frame: pl.DataFrame) -> pl.DataFrame:
    pairs = pl.DataFrame(
        task.pairs, schema={"from_visit": pl.String, "to_visit": pl.String}, orient="row"
    )
    return frame.join(pairs, on=["from_visit", "to_visit"], how="semi")


def _joined(roster: pl.DataFrame, frame: pl.DataFrame, columns: list[FeatureColumn]) -> _Block:
    values = roster.select(_KEY).join(
        frame, on=_KEY, how="left", validate="1:1", maintain_order="left"
    )
    numbers = values.select(
        pl.col(c.name).cast(pl.Float64).fill_null(float("nan")) for c in columns
    )
    return tuple(columns), numbers.to_numpy()

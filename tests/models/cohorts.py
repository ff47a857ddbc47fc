"""Small cohorts in the lake's own tables, whose responders shrink.

Each model's task therefore has a known answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import polars as pl

from dagster_project.lake import tables
from dagster_project.lake.schema import polars_schema
from dagster_project.study import load_study
from models.data.datasets import TASKS, Dataset, build_dataset

STUDY = load_study()
SECTION = MappingProxyType({**STUDY.learning, "univariate_keep": 8})
SITES = ("NORTH", "SOUTH", "EAST")
PAIRS = (("T0", "T1"), ("T1", "T2"), ("T0", "T2"))


def frame(table: tables.Table, rows: list[dict]) -> pl.DataFrame:
    """Rows of a table, every column of it there, what is not given NULL."""
    return pl.DataFrame(
        [{"simulated": True, **row} if "simulated" in table.names else row for row in rows],
        schema=polars_schema(table),
    )


@dataclass(frozen=True)
class Cohort:
    """Tables of one simulated cohort."""

    cohort: pl.DataFrame
    patients: pl.DataFrame
    responses: pl.DataFrame
    lesions: pl.DataFrame
    delta_features: pl.DataFrame
    dhi: pl.DataFrame

    def replace(self, **frames: pl.DataFrame) -> dict[str, pl.DataFrame]:
        """Arguments of build_dataset with some tables replaced."""
        return {**vars(self), **frames}


def simulate(n: int = 24, n_features: int = 30, seed: int = 1, effect: float = 1.0) -> Cohort:
    """`n` patients from three sites in turn; every other patient of a site is a responder.

    Feature 0 and the size carry the effect, of strength `effect`.
    """
    rng = np.random.default_rng(seed)
    who = [{"site": SITES[i % 3], "patient": f"{SITES[i % 3]}-{i:03d}"} for i in range(n)]
    responder = np.arange(n) // 3 % 2 == 0
    shrink = effect * np.where(responder, 0.4, 0.0) + rng.normal(0, 0.1, n)
    return Cohort(
        cohort=frame(
            tables.TRAINING_COHORT,
            [
                {
                    **w,
                    "task": "T1",
                    "included": True,
                    "label": bool(r),
                    "label_definition": "CR or PR at T2",
                }
                for w, r in zip(who, responder, strict=True)
            ],
        ),
        patients=frame(
            tables.PATIENTS,
            [
                {
                    **w,
                    "sex": "MF"[int(rng.integers(2))],
                    "age_years": int(rng.integers(40, 85)),
                    "smoking": str(rng.choice(["never", "former", "current"])),
                    "ecog": int(rng.integers(3)),
                    "stage": str(rng.choice(["IIIB", "IVA"])),
                    "egfr": "wild_type",
                    "alk": "negative",
                    "pd_l1_tps": float(rng.uniform(0, 100)),
                    "line": int(rng.integers(1, 4)),
                }
                for w in who
            ],
        ),
        responses=frame(
            tables.RESPONSES,
            [
                {**w, "visit": visit, "evaluator": evaluator, "sum_mm": 60.0 * (1 - s * k)}
                for w, s in zip(who, shrink, strict=True)
                for k, visit in enumerate(("T0", "T1", "T2"))
                for evaluator in ("accepted", "READER1")
            ],
        ),
        lesions=frame(
            tables.LESIONS,
            [
                {
                    **w,
                    "visit": visit,
                    "lesion": lesion,
                    "role": "target",
                    "is_present": True,
                    "volume_mm3": 4000.0 * (1 + j) * (1 - s * k / 2),
                }
                for w, s in zip(who, shrink, strict=True)
                for k, visit in enumerate(("T0", "T1", "T2"))
                for j, lesion in enumerate(("L1", "L2"))
            ],
        ),
        delta_features=_deltas(who, responder, n_features, rng, effect),
        dhi=frame(
            tables.DHI,
            [
                {
                    **w,
                    "scope": "patient",
                    "lesion": "*",
                    "from_visit": a,
                    "to_visit": b,
                    "dhi": float(rng.gamma(2, 0.5) + effect * r),
                    "u_texture": float(rng.gamma(2)),
                    "u_density": None,
                    "u_spatial": float(rng.gamma(2)),
                    "delta_median_hu": float(rng.normal(0, 20)),
                    "delta_log_sd": float(rng.normal(0, 0.2)),
                    "dhi_maximum": float(rng.gamma(3)),
                }
                for w, r in zip(who, responder, strict=True)
                for a, b in PAIRS
            ],
        ),
    )


def _deltas(
    who: list[dict], responder: np.ndarray, n_features: int, rng: np.random.Generator, effect: float
) -> pl.DataFrame:
    values = np.clip(rng.normal(0, 0.4, (len(who), 2, n_features)), -2, 2)
    values[:, :, 0] -= 0.5 * effect * responder[:, None]
    rows = [
        {
            **w,
            "lesion": lesion,
            "region": "tumor",
            "feature": f"original_firstorder_F{k}",
            "from_visit": a,
            "to_visit": b,
            "days": 63,
            "delta_symmetric": float(np.clip(values[i, j, k], -2, 2)),
        }
        for i, w in enumerate(who)
        for j, lesion in enumerate(("L1", "L2"))
        for k in range(n_features)
        for a, b in PAIRS
    ]
    return frame(tables.DELTA_FEATURES, rows)


def dataset(n: int = 24, n_features: int = 30, seed: int = 1, effect: float = 1.0) -> Dataset:
    """The T1 data set of such a cohort."""
    return build_dataset(TASKS["T1"], **vars(simulate(n, n_features, seed, effect)))

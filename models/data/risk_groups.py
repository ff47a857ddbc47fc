"""Time without progression after the landmark, and how the groups that a call makes fare."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from dagster_project.statistics.estimate import Estimate
from dagster_project.statistics.survival import KaplanMeier, kaplan_meier, log_rank

GROUPS = ("low_risk", "high_risk")
"""Called a responder at the cut-off of the fold, and not."""


@dataclass(frozen=True, eq=False)
class TimeToProgression:
    """Days from the landmark, and whether they end in an event; one entry per patient.

    Days are NaN where unknown, or over before the landmark.
    """

    days: np.ndarray
    events: np.ndarray

    def take(self, rows: np.ndarray) -> TimeToProgression:
        """The rows of a mask."""
        return TimeToProgression(self.days[rows], self.events[rows])


def build_time_to_progression(
    roster: pl.DataFrame, landmark: str, outcomes: pl.DataFrame, responses: pl.DataFrame
) -> TimeToProgression:
    """Progression-free days after the landmark, in the roster's order.

    1. Days = outcomes.pfs_days - the day of the landmark visit, both counted from the first cycle;
       a visit before it counts as day 0.
    2. Unknown where either is missing, or where the time was over on the day of the visit.
    """
    key = ["site", "patient"]
    visit = responses.filter(
        (pl.col("evaluator") == "accepted") & (pl.col("visit") == landmark)
    ).select(*key, "day")
    known = roster.select(key).join(
        outcomes.select(*key, "pfs_days", "pfs_event"),
        on=key,
        how="left",
        validate="1:1",
        maintain_order="left",
    )
    known = known.join(visit, on=key, how="left", validate="1:1", maintain_order="left")
    left = known.select(
        d=(pl.col("pfs_days") - pl.col("day").clip(0)).cast(pl.Float64).fill_null(float("nan"))
    )["d"].to_numpy()
    return TimeToProgression(
        np.where(left > 0, left, np.nan), known["pfs_event"].fill_null(value=False).to_numpy()
    )


def compare_risk_groups(
    time: TimeToProgression, positive: np.ndarray
) -> tuple[pl.DataFrame, dict[str, Estimate]]:
    """Kaplan-Meier curves of the two groups, their medians with bounds, and the log-rank p.

    Groups without a patient are left out.
    """
    known = ~np.isnan(time.days)
    members = {name: known & (positive == (name == GROUPS[0])) for name in GROUPS}
    curves = {
        name: kaplan_meier(time.days[m].tolist(), time.events[m].tolist())
        for name, m in members.items()
        if m.any()
    }
    medians = {
        f"pfs_median_days_{name}": Estimate(
            c.median,
            c.median_lower,
            c.median_upper,
            None if c.median else "survival stays above one half",
        )
        for name, c in curves.items()
    }
    comparable = len(curves) == 2 and bool(time.events[known].any())
    test = (
        log_rank(time.days[known].tolist(), time.events[known].tolist(), positive[known].tolist()).p
        if comparable
        else None
    )
    medians["pfs_log_rank_p"] = Estimate(
        test, reason=None if comparable else "needs two groups and an event"
    )
    return pl.concat([_steps(name, curve) for name, curve in curves.items()]) if curves else _steps(
        "", None
    ), medians


def _steps(group: str, curve: KaplanMeier | None) -> pl.DataFrame:
    columns = {
        "day": "time",
        "survival": "survival",
        "lower": "lower",
        "upper": "upper",
        "at_risk": "at_risk",
        "events": "events",
    }
    schema = {
        "group": pl.String,
        **dict.fromkeys(("day", "survival", "lower", "upper"), pl.Float64),
        "at_risk": pl.Int64,
        "events": pl.Int64,
    }
    steps = {
        name: list(getattr(curve, attribute)) if curve else []
        for name, attribute in columns.items()
    }
    return pl.DataFrame({"group": [group] * len(steps["day"]), **steps}, schema=schema)

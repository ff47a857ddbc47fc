"""The gate: the same pure rules, on the exact snapshot that a model would be trained on.

Where a rule fails or cannot be judged, the gate is closed: a state of the data and no fault.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import asdict
from types import MappingProxyType

import polars as pl

from dagster_project.domain.cohort.quality import GateVerdict, evaluate_gate, gate_closed, is_open
from dagster_project.lake.query_cache import violations_of
from dagster_project.lake.stamps import keep_stamps
from dagster_project.lake.store import Lake, read_lake
from dagster_project.lake.tables import (
    ATTRIBUTIONS,
    DYNAMIC_RISK,
    PREDICTIONS,
    QUALITY_VERDICTS,
    TABLES,
)
from dagster_project.resources import Lakehouse
from dagster_project.study import Study

JUDGED = (
    "patients",
    "treatments",
    "scans",
    "timepoints",
    "reads",
    "reader_agreement",
    "arbitrations",
    "lesions",
    "eligibility",
    "responses",
    "outcomes",
)
"""Tables that rules look at row by row; contracts look at all."""

MADE_BY_AN_OPEN_GATE = (
    "training_cohort",
    "model_runs",
    "predictions",
    "attributions",
    "dynamic_risk",
)
"""Tables that are left as they are while the gate is closed."""

ESTIMATES = ("survival_curves", "survival_medians", "response_rates")
"""Tables of figures that are derived of tables which the gate judges."""

OF_FEDERATED_RUNS = ("federated_runs", "federated_results", "privacy_ledger")
"""Tables of what all hospitals computed together; they are based on no row that the gate judges."""

DOWNSTREAM = (
    *MADE_BY_AN_OPEN_GATE,
    "dynamic_irecist",
    "quality_verdicts",
    "disclosure",
    *ESTIMATES,
    *OF_FEDERATED_RUNS,
)
"""Tables behind the gate; what an earlier night left in them says nothing about tonight's data."""

MARKED = (PREDICTIONS, ATTRIBUTIONS, DYNAMIC_RISK)
"""Tables each row of which says whether the gate is open."""


class GateClosed(Exception):
    """The data close the gate, or a protocol that was changed after the gate was judged.

    Parameters
    ----------
    why
        Rule, scope, figure and limit of each verdict that closes it, in sentences.
    facts
        The same by rule and scope, and the snapshot that was judged.
    """

    def __init__(self, why: str, facts: Mapping[str, str | int] = MappingProxyType({})) -> None:
        super().__init__(f"{CLOSED} {why}")
        self.facts = facts


CLOSED = "The gate is closed."
"""What a run, a check and `lakehouse status` begin with where no model may be trained."""


def gate_state(lake: Lake, study: Study) -> str:
    """`open` or `closed`, by the newest verdicts and the protocol in use."""
    return "open" if is_open(lake.read(QUALITY_VERDICTS.name), study.digest) else "closed"


def mark_rows(lake: Lake, study: Study) -> str:
    """Bring the mark of every row behind the gate up to date; the state.

    Nothing is written while the state is as it was.
    """
    state = gate_state(lake, study)
    for table in MARKED:
        others = lake.query(
            f'SELECT count(*) FROM "{table.name}" WHERE gate <> ?', [state]
        ).fetchall()[0][0]
        if others:
            lake.replace(table.name, lake.read(table.name).with_columns(gate=pl.lit(state)))
    return state


def refuse_other_protocol(lakehouse: Lakehouse) -> None:
    """Stop where study.toml was changed after the gate was judged.

    Raises
    ------
    GateClosed
        The verdict was on another protocol than what follows would be based on.
    """
    judged = set(lakehouse.lake.read(QUALITY_VERDICTS.name)["protocol_digest"])
    if judged != {lakehouse.study.digest}:
        raise GateClosed(OTHER_PROTOCOL)


OTHER_PROTOCOL = (
    "study.toml was changed after the gate was judged: run again with the protocol that is meant."
)
"""Why a change of the protocol between verdict and training closes the gate."""


def judge(lakehouse: Lakehouse) -> tuple[list[GateVerdict], int]:
    """All rules on the newest snapshot, stored with it.

    Returns
    -------
    tuple
        The verdicts, and the snapshot they are about.
    """
    study, snapshot = lakehouse.study, lakehouse.lake.snapshot()
    verdicts = judge_snapshot(lakehouse, snapshot)
    lakehouse.lake.replace(
        QUALITY_VERDICTS.name, verdict_rows(verdicts, snapshot, lakehouse, study.digest)
    )
    mark_rows(lakehouse.lake, study)
    return verdicts, snapshot


def judge_snapshot(lakehouse: Lakehouse, snapshot: int) -> list[GateVerdict]:
    """All rules on a snapshot; nothing is written."""
    tables = dict(zip(JUDGED, lakehouse.read(*JUDGED, as_of=snapshot), strict=True))
    with read_lake(lakehouse.home, as_of=snapshot) as frozen:
        asked = [t for t in TABLES if t.name not in DOWNSTREAM]
        broken = [v for table in asked for v in violations_of(frozen, lakehouse.home, table)]
    return evaluate_gate(tables, broken, lakehouse.study)


def verdict_rows(
    verdicts: list[GateVerdict], snapshot: int, lakehouse: Lakehouse, protocol_digest: str
) -> pl.DataFrame:
    """Verdicts as rows; the time and snapshot of a verdict stay while nothing in it changes."""
    now = dt.datetime.now(dt.UTC)
    rows = [
        {**asdict(v), "protocol_digest": protocol_digest, "snapshot": snapshot, "evaluated_at": now}
        for v in verdicts
    ]
    fresh = pl.DataFrame(
        rows,
        schema_overrides={"statistic": pl.Float64, "threshold": pl.Float64},
        infer_schema_length=None,
    )
    return keep_stamps(
        fresh,
        lakehouse.lake.read(QUALITY_VERDICTS.name),
        QUALITY_VERDICTS,
        ("snapshot", "evaluated_at"),
    )


def pass_gate(lakehouse: Lakehouse) -> tuple[list[GateVerdict], int]:
    """The verdicts, and the snapshot to train on.

    Raises
    ------
    GateClosed
        Where a cohort rule fails or cannot be evaluated, naming rule, scope, figure and limit.
    """
    verdicts, snapshot = judge(lakehouse)
    closed = gate_closed(verdicts)
    if closed:
        facts = {
            f"{v.rule} [{v.scope}]": (
                f"figure {_figure(v.statistic)}, limit {_figure(v.threshold)}: {v.detail}"
            )
            for v in closed
        }
        raise GateClosed(" ".join(map(describe, closed)), {**facts, "snapshot": snapshot})
    return verdicts, snapshot


def describe(verdict: GateVerdict) -> str:
    """A verdict in one sentence."""
    return (
        f"{verdict.rule} at {verdict.scope}: figure {_figure(verdict.statistic)}, "
        f"limit {_figure(verdict.threshold)} ({verdict.detail})."
    )


def _figure(value: float | None) -> str:
    return "none" if value is None else f"{value:.4g}"

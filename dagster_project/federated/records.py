"""What a hospital has of its federated runs, as rows: runs, their figures, and its ledger."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import polars as pl

from dagster_project.lake.schema import polars_schema
from dagster_project.lake.tables import FEDERATED_RESULTS, FEDERATED_RUNS, PRIVACY_LEDGER, Table

if TYPE_CHECKING:
    from dagster_project.federated.engine.outcomes import Outcome
    from dagster_project.federated.ledger import Budget
    from dagster_project.federated.plans import Plan

OWN = "own"
"""Part of a result that is of one hospital alone, and no row."""

MODELS = ("logistic", "network")
"""Kinds of plans by which a model is learned."""

Outcomes = Mapping[str, "Outcome"]
Row = dict[str, Any]


def run_rows(outcomes: Outcomes, budget: Budget | None) -> pl.DataFrame:
    """FEDERATED_RUNS of what lies in the home."""
    return _frame(
        FEDERATED_RUNS, [_run_row(name, o, budget) for name, o in outcomes.items() if o.plan]
    )


def _run_row(name: str, outcome: Outcome, budget: Budget | None) -> Row:
    from dagster_project.federated.accounting import compose, epsilon_of

    plan = _plan(outcome)
    sent = outcome.number if outcome.request in {"part", "close"} else 0
    mu, epsilon = plan.asked.mu, None
    if mu is not None and budget is not None:
        epsilon = epsilon_of(compose([mu] * sent), budget.delta)
    return {
        **_shared(name, plan),
        "plan_name": plan.plan.name,
        "state": outcome.state,
        "rounds": plan.asked.rounds,
        "rounds_sent": sent,
        "epsilon": epsilon,
        "model_released": released(plan) if outcome.state == "done" else None,
        "reason": outcome.en or None,
        "ended_at": dt.datetime.fromisoformat(outcome.at),
    }


def released(plan: Plan) -> str | None:
    """Whether what a plan has learned may leave the consortium; None where that is no model."""
    if plan.kind not in MODELS:
        return None
    return "releasable" if plan.asked.mu is not None else "consortium_only"


def _plan(outcome: Outcome) -> Plan:
    from dagster_project.federated.plans import parse_plan

    return parse_plan(outcome.plan or {})


def _shared(name: str, plan: Plan) -> Row:
    source = "table" if plan.rows is None else "lake"
    if plan.rows is not None and plan.rows.simulated:
        source = "simulated_lake"
    return {
        "run": name,
        "plan_digest": plan.digest,
        "kind": plan.kind,
        "task": plan.plan.task,
        "hospitals": plan.plan.hospitals,
        "rows_from": source,
    }


def result_rows(outcomes: Outcomes) -> pl.DataFrame:
    """FEDERATED_RESULTS of the runs that are done."""
    rows: list[Row] = []
    for name, outcome in outcomes.items():
        if outcome.plan is None or outcome.result is None:
            continue
        plan = _plan(outcome)
        epsilon = plan.epsilon(getattr(plan.asked, "delta", 0.0)) if plan.asked.mu else None
        shared = {**_shared(name, plan), "epsilon": epsilon, "provenance": "federated"}
        shared |= dict.fromkeys(("lower", "upper", "reason"))
        rows += [shared | found for found in statistics_of(outcome.result)]
    return _frame(FEDERATED_RESULTS, rows)


def statistics_of(result: Mapping[str, Any], place: str = "") -> Iterator[Row]:
    """The figures of a result by name: `/` between its parts, `@` before a day of a curve.

    Examples
    --------
    >>> [r["statistic"] for r in statistics_of({"auc": {"value": 0.7, "lower": None}, "n": 3})]
    ['auc', 'n']
    """
    for name, part in result.items():
        if name == OWN:
            continue
        where = f"{place}/{name}" if place else name
        if isinstance(part, Mapping) and "value" in part:
            bounds = {key: part.get(key) for key in ("value", "lower", "upper", "reason")}
            yield {"statistic": where, **bounds}
        elif isinstance(part, Mapping) and "survival" in part:
            yield from _points(part, where)
        elif isinstance(part, Mapping):
            yield from statistics_of(part, where)
        elif isinstance(part, int | float) and not isinstance(part, bool):
            yield {"statistic": where, "value": float(part)}
        elif isinstance(part, list | tuple) and all(isinstance(x, int | float) for x in part):
            yield from (
                {"statistic": f"{where}/{i}", "value": float(x)} for i, x in enumerate(part)
            )


def _points(curve: Mapping[str, Any], place: str) -> Iterator[Row]:
    """A survival curve: its value on each day of an event, and its median."""
    days: Sequence[float] = curve.get("time") or curve.get("days") or ()
    bounds = [curve.get(name) or [None] * len(days) for name in ("lower", "upper")]
    for day, value, lower, upper in zip(days, curve["survival"], *bounds, strict=True):
        yield {"statistic": f"{place}@{day:g}", "value": value, "lower": lower, "upper": upper}
    if "median" in curve:
        names = {"value": "median", "lower": "median_lower", "upper": "median_upper"}
        yield {"statistic": f"{place}/median", **{k: curve[v] for k, v in names.items()}}


def ledger_rows(records: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
    """PRIVACY_LEDGER of a ledger's records, oldest first."""
    from dagster_project.federated.accounting import compose, epsilon_of

    if not records:
        return _frame(PRIVACY_LEDGER, [])
    budget, spent, rows = records[0], [], []
    for number, record in enumerate(records, start=1):
        if record["event"] == "spent" and record["mu"] is not None:
            spent.append(record["mu"])
        rows.append(
            {
                "line": number,
                "event": record["event"],
                "plan_digest": record.get("plan"),
                "run_digest": record.get("run"),
                "round": record.get("number"),
                "hospitals": list(record.get("hospitals", record.get("ledgers", ()))),
                "epsilon_spent": epsilon_of(compose(spent), budget["delta"]),
                "epsilon_budget": budget["epsilon"],
                "delta": budget["delta"],
                "noted_at": dt.datetime.fromisoformat(record["at"]),
            }
        )
    return _frame(PRIVACY_LEDGER, rows)


def _frame(table: Table, rows: list[Row]) -> pl.DataFrame:
    schema = polars_schema(table)
    frame = pl.DataFrame(rows, schema=dict(schema), orient="row")
    return frame.sort(table.key)

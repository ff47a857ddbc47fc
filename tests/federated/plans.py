"""Plans of the tests of a run, from a hospital's side and over processes."""

from __future__ import annotations

from dagster_project.federated.plans import parse_plan

CODES = ("BJCH", "GZSM", "SHFD")
COUNTS = {"arms": ["A", "B", "C"], "hospitals": [], "epsilon": 0, "delta": 1e-5}
LOGISTIC = {
    "columns": ["size", "dhi"],
    "centres": [0, 0],
    "units": [1, 1],
    "patients": 60,
    "steps": 4,
    "clip": 1.0,
    "rate": 2.0,
    "penalty": 0.05,
    "reach": 3.0,
    "epsilon": 0,
    "delta": 1e-5,
}


def plan_of(codes=CODES, **asked):
    section = {"name": "Look", "hospitals": list(codes), "task": "T1"}
    return parse_plan({"plan": section, **(asked or {"counts": COUNTS})})

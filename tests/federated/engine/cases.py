"""Plans, rows and hospitals of the engine's tests."""

from __future__ import annotations

import numpy as np

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


def a_table(n=60, seed=3):
    """Rows with every column that a plan can name."""
    random = np.random.default_rng(seed)
    size, dhi = random.normal(0, 1, (2, n)).round(6)
    return {
        "patient": [f"P{i:03d}" for i in range(n)],
        "arm": random.choice(["A", "B", "C"], n).tolist(),
        "group": random.choice(["low", "high"], n).tolist(),
        "days": random.integers(1, 400, n).tolist(),
        "event": (random.random(n) < 0.6).tolist(),
        "score": random.random(n).round(4).tolist(),
        "label": (random.random(n) < 1 / (1 + np.exp(-size))).tolist(),
        "size": size.tolist(),
        "dhi": dhi.tolist(),
    }

"""What a round over NVFlare's processes costs: a coordinator and three hospitals on a machine."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl

from dagster_project.federated.engine.simulation import Federation, deal
from dagster_project.federated.ledger import Budget
from dagster_project.federated.plans import parse_plan

CODES = ["BJCH", "GZSM", "SHFD"]
ROUNDS = 40


def plan_of(steps: int, codes: Sequence[str] = CODES):
    """A logistic model without noise."""
    asked = {"columns": ["size", "dhi"], "centres": [0, 0], "units": [1, 1], "patients": 300}
    asked |= {"steps": steps, "clip": 1.0, "rate": 2.0, "penalty": 0.05, "reach": 3.0}
    section = {"name": f"{steps} rounds", "hospitals": list(codes), "task": "T1"}
    return parse_plan({"plan": section, "logistic": {**asked, "epsilon": 0, "delta": 1e-5}})


def table(file: Path) -> Path:
    """300 patients."""
    random = np.random.default_rng(1)
    size, dhi = random.normal(0, 1, (2, 300))
    columns = {"patient": [f"P{i}" for i in range(300)], "size": size, "dhi": dhi}
    pl.DataFrame({**columns, "label": random.random(300) < 0.4}).write_parquet(file)
    return file


def measured(federation: Federation, steps: int) -> tuple[list[float], float, float]:
    """Times of the requests, CPU seconds of the slowest hospital, and of the coordinator."""
    times, cpu = [], []

    def seen(outcome):
        times.append(time.monotonic())
        cpu.append(outcome.cpu_s)

    outcomes = federation.carry_out(plan_of(steps), 60, seen)
    return times, max(o.cpu_s for o in outcomes.values()), cpu[-1]


def main() -> None:
    """One round and many, in one federation; the difference is what rounds cost."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        tables = deal(table(place / "all.parquet"), CODES, place)
        federation = Federation.make(place, tables, Budget(3.0, 1e-5))
        federation.allow(plan_of(1))
        federation.allow(plan_of(ROUNDS))
        started = time.monotonic()
        with federation.started():
            first, hospital, coordinator = measured(federation, 1)
            many, more, at_coordinator = measured(federation, ROUNDS)
    print(f"to the first request: {first[0] - started:.1f} s; {hospital:.2f} s CPU a hospital")
    print(f"{ROUNDS} rounds: {many[-1] - many[0]:.1f} s, from the first request to the last answer")
    print(f"a round: {(many[-1] - many[0]) / ROUNDS:.2f} s")
    print(f"hospital and round: {(more - hospital) / (ROUNDS - 1) * 1000:.1f} ms CPU")
    print(
        f"coordinator and round: {(at_coordinator - coordinator) / (ROUNDS - 1) * 1000:.1f} ms CPU"
    )


if __name__ == "__main__":
    main()

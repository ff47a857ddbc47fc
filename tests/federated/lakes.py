"""Three hospitals whose lakes pass their gates, simulated once for all tests of a process."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path

from dagster_project.federated.plans import parse_plan
from dagster_project.federated.simulated_lakes import simulate_hospitals
from dagster_project.lake.migrations import latest
from dagster_project.study import load_study
from tests.federated.plans import CODES

PATIENTS, SEED = 84, 5


@cache
def simulated():
    """The folder of the homes, and all hospitals' tables together."""
    folder = Path(tempfile.mkdtemp(prefix="lakehouse-hospitals-"))
    return folder, simulate_hospitals(folder, CODES, patients=PATIENTS, seed=SEED)


def rows_section(**changes):
    section = {
        "outcome": "response",
        "population": "training",
        "group": "none",
        "protocol": load_study().digest,
        "schema_version": latest(),
        "simulated": True,
    }
    return section | changes


def lake_plan(rows=(), codes=CODES, **asked):
    """A plan whose rows come from the lakes."""
    section = {"name": "From the lakes", "hospitals": list(codes), "task": "T1"}
    return parse_plan({"plan": section, "rows": rows_section(**dict(rows)), **asked})

"""Three simulated hospitals that learn a model together, on this machine and by real processes.

Each hospital has a home of its own: a lake that passes its gate, trial keys, a certificate, pins
and a ledger. Rows come from the lakes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dagster_project.federated.engine.simulation import Federation
from dagster_project.federated.ledger import Budget
from dagster_project.federated.logistic import LogisticPlan, descend, gradients
from dagster_project.federated.plans import LogisticSection, Plan, parse_plan
from dagster_project.federated.simulated_lakes import simulate_hospitals
from dagster_project.lake.migrations import latest
from dagster_project.simulation.tables import Truth, simulate_tables
from dagster_project.statistics.roc import auc_delong
from dagster_project.study import load_study

if TYPE_CHECKING:
    from dagster_project.federated.engine.outcomes import Outcome
    from models.data.datasets import Dataset

CODES = ("BJCH", "GZSM", "SHFD")
PATIENTS, JUDGED_ON = 150, 500
SEED, OTHER_SEED = 11, 999
EPSILON, DELTA = 3.0, 1e-5
STEPS, TIMEOUT_S = 20, 60
FEATURES = 6
"""Delta features of the tumour, beside PD-L1, change of size and DHI."""

SCALES = {"pd_l1_tps": (50.0, 25.0), "sum_mm_change@T0-T1": (-0.1, 0.2), "dhi@T0-T1": (1.0, 0.5)}
"""Centre and unit of each; those of delta features are 0 and 0.5."""

NO_CLIP = 1e6

Say = Callable[[str], None]
Result = Mapping[str, Any]


@dataclass(frozen=True)
class Compared:
    """AUC on patients of another simulated cohort, by how the model was learned."""

    alone: float
    pooled: float
    federated: float
    private: float
    epsilon: float
    difference: float
    """Largest coefficient of federated less pooled, both with the same clip."""

    def rows(self) -> Iterator[tuple[str, str]]:
        """As they are shown."""
        yield "each hospital alone, mean", f"{self.alone:.3f}"
        yield "all rows in one place", f"{self.pooled:.3f}"
        yield "federated, exact sums (stays in the consortium)", f"{self.federated:.3f}"
        yield f"federated, ε = {self.epsilon:g} (may be released)", f"{self.private:.3f}"


def demo_plan(epsilon: float, patients: int = PATIENTS) -> Plan:
    """The logistic model of the demonstration, with noise where ε is above 0."""
    study = load_study()
    names = study.section("model")["network_features"][:FEATURES]
    scales = {**SCALES, **{f"{name}@tumor@T0-T1": (0.0, 0.5) for name in names}}
    centres, units = zip(*scales.values(), strict=True)
    asked: dict[str, Any] = {
        "columns": list(scales),
        "centres": list(centres),
        "units": list(units),
    }
    asked |= {"patients": patients, "steps": STEPS, "clip": 1.0, "rate": 2.0, "penalty": 0.05}
    asked |= {"reach": 3.0, "epsilon": epsilon, "delta": DELTA}
    rows: dict[str, Any] = {"outcome": "response", "population": "training", "group": "none"}
    rows["simulated"] = True
    rows |= {"protocol": study.digest, "schema_version": latest()}
    name = "Response after T1, " + (f"ε = {epsilon:g}" if epsilon else "exact")
    section = {"name": name, "hospitals": list(CODES), "task": "T1"}
    return parse_plan({"plan": section, "rows": rows, "logistic": asked})


def run_demo(folder: Path, say: Say) -> Compared:
    """Simulate, federate, learn twice, and compare; every process has ended when this returns.

    Raises
    ------
    EngineFailed
    """
    from models.data.datasets import TASKS, build_dataset

    say("three hospitals, each with a lake, keys and a ledger of its own")
    whole = simulate_hospitals(folder, CODES, patients=PATIENTS, seed=SEED)
    federation = Federation.make(folder, dict.fromkeys(CODES), Budget(EPSILON, DELTA))
    results = []
    plans = [demo_plan(0.0), demo_plan(EPSILON)]
    for plan in plans:
        federation.allow(plan)
    say("their processes and the coordinator's start, over loopback by mTLS")
    with federation.started():
        for plan in plans:
            say(f"{plan.plan.name}: {plan.asked.rounds} rounds")
            results.append(_result(federation, plan, say))
    say("all processes have ended")
    pooled = build_dataset(TASKS["T1"], **whole.of_dataset())
    return compare(pooled, results, plans[0])


def _result(federation: Federation, plan: Plan, say: Say) -> Result:
    shown = max(1, plan.asked.rounds // 4)

    def progress(outcome: Outcome) -> None:
        if outcome.request == "part" and outcome.number % shown == 0:
            say(f"  round {outcome.number} of {outcome.rounds}")

    outcomes = federation.carry_out(plan, TIMEOUT_S, progress)
    found = next(iter(outcomes.values())).result
    assert found is not None
    return found


def compare(pooled: Dataset, results: Sequence[Result], plan: Plan) -> Compared:
    """All models on patients of another cohort.

    Parameters
    ----------
    pooled
        All hospitals' patients.
    results
        Of the run without noise, and of the one with it.
    plan
        Of the run without noise.
    """
    asked = plan.asked
    assert isinstance(asked, LogisticSection)
    model, judged = asked.model(), _judged()
    rows = np.arange(len(pooled.patients))
    sites = np.array(pooled.sites)
    exact, noisy = (np.array(list(result.values())) for result in results)
    own = [fit(model, pooled, rows[sites == code], NO_CLIP) for code in CODES]
    whole = fit(model, pooled, rows, NO_CLIP)
    return Compared(
        alone=float(np.mean([auc(model, weights, judged) for weights in own])),
        pooled=auc(model, whole, judged),
        federated=auc(model, exact, judged),
        private=auc(model, noisy, judged),
        epsilon=EPSILON,
        difference=float(np.abs(exact - fit(model, pooled, rows, model.clip)).max()),
    )


def _judged() -> Dataset:
    from models.data.datasets import TASKS, build_dataset

    features = load_study().section("model")["network_features"]
    drawn = simulate_tables(Truth(), features, patients=JUDGED_ON, seed=OTHER_SEED)
    return build_dataset(TASKS["T1"], **drawn.of_dataset())


def fit(model: LogisticPlan, data: Dataset, rows: np.ndarray, clip: float) -> np.ndarray:
    """Weights by rows that lie in one place."""
    chosen = replace(model, clip=clip)
    if clip == NO_CLIP:
        chosen = replace(chosen, patients=len(rows))
    values, labels = data.values_of(list(model.columns))[rows], data.y.astype(bool)[rows]
    return descend(chosen, lambda _, w: gradients(chosen, w, values, labels).sum(axis=0))


def auc(model: LogisticPlan, weights: np.ndarray, judged: Dataset) -> float:
    """Of the patients that no model was learned from."""
    scores = model.probabilities(weights, judged.values_of(list(model.columns)))
    return auc_delong(judged.y.astype(bool), scores).value or 0.0

"""Each kind of plan over real processes: beside all rows together, and what the coordinator holds.

Each hospital has a lake of its own; a coordinator and the hospitals are processes that connect by
mTLS over loopback. What each hospital sends and gets is first computed in one process. During the
run the writable memory of the coordinator's two processes is searched for windows of every
hospital's vectors, of the sums, and for the result's figures: as floats, residues and text.

    python -m benchmarks.federated_statistics [--hospitals 3 8] [--only combat readers]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import psutil

from benchmarks.federated_hosts import CODES
from benchmarks.federated_networks import averaging_of, fixed_sum
from benchmarks.process_memory import held
from dagster_project.federated.engine.computations import Rows, computation, rows_at
from dagster_project.federated.engine.outcomes import Outcome
from dagster_project.federated.engine.simulation import Federation
from dagster_project.federated.fixed_point import Floats, to_residues
from dagster_project.federated.ledger import Budget
from dagster_project.federated.limits import MIDDLES
from dagster_project.federated.noise import clip_rows
from dagster_project.federated.plans import Plan, parse_plan
from dagster_project.federated.rows import as_table
from dagster_project.federated.simulated_lakes import simulate_hospitals
from dagster_project.lake.migrations import latest
from dagster_project.radiomics.dhi_limits_fit import fit_limits
from dagster_project.radiomics.harmonisation import fit_combat
from dagster_project.resources import Lakehouse
from dagster_project.simulation.tables import SimulatedTables
from dagster_project.statistics.icc import icc
from dagster_project.statistics.roc import auc_delong
from dagster_project.statistics.survival import kaplan_meier
from dagster_project.study import load_study
from models.data.datasets import TASKS, Dataset, build_dataset

PATIENTS = 28
"""Of each hospital, in the mean."""

TIMEOUT_S = 180
FREE = {"epsilon": 0, "delta": 1e-5}
COLUMNS = ["pd_l1_tps", "sum_mm_change@T0-T1", "dhi@T0-T1"]
SCALED = {"columns": COLUMNS, "centres": [50, -0.1, 1.0], "units": [25, 0.2, 0.5]}
DESCENT = {"patients": 200, "steps": 4, "clip": 1.0, "rate": 2.0, "penalty": 0.05, "reach": 3.0}

Results = Mapping[str, dict[str, Any]]


@dataclass(frozen=True)
class Study:
    """The hospitals of a federation, and all their rows together."""

    folder: Path
    codes: Sequence[str]
    whole: SimulatedTables
    pooled: Dataset
    scores: pl.DataFrame

    @classmethod
    def make(cls, folder: Path, codes: Sequence[str]) -> Study:
        whole = simulate_hospitals(folder, codes, patients=PATIENTS * len(codes), seed=5)
        random = np.random.default_rng(1)
        n = 40 * len(codes)
        label = random.random(n) < 0.4
        score = (random.random(n) + 0.5 * label).round(6) / 2
        frame = pl.DataFrame(
            {"patient": [f"P{i}" for i in range(n)], "score": score, "label": label}
        )
        return cls(folder, codes, whole, build_dataset(TASKS["T1"], **whole.of_dataset()), frame)

    def tables(self) -> dict[str, Path]:
        """Each hospital's table, for plans that do not take rows from the lake."""
        files = {code: self.folder / f"{code}.csv" for code in self.codes}
        for i, file in enumerate(files.values()):
            self.scores[i :: len(self.codes)].write_csv(file)
        return files

    def read(self, code: str, name: str) -> pl.DataFrame:
        """A table of one hospital's lake."""
        return Lakehouse(root=str(self.folder / code)).lake.read(name)

    def kernels(self) -> dict[str, str]:
        return {code: self.read(code, "scans")["kernel"][0] for code in self.codes}


# -- what is asked ---------------------------------------------------------------------------------


def sections(study: Study) -> Iterator[tuple[dict[str, str] | None, dict[str, Any]]]:
    """[rows] and what is asked, of each plan."""
    kinds = study.whole.patients["smoking"].unique().sort().to_list()
    none = {"outcome": "none"}
    yield {**none, "group": "smoking"}, {"counts": {"arms": kinds, "hospitals": [], **FREE}}
    survival = {"endpoint": "pfs", "groups": ["all"], "last_day": 800, "width_days": 1}
    yield {"outcome": "pfs"}, {"survival": {**survival, **FREE}}
    yield None, {"auc": {"model": "given", "bins": 2000, **FREE}}
    pairs = {"readers": 2, "centre_mm": 60.0, "unit_mm": 30.0, "one_pair_a_patient": True}
    yield none, {"readers": pairs}
    yield none, {"moments": SCALED}
    yield none, {"combat": {**harmonised(), "batches": batches(study), "covariates": []}}
    yield none, {"dhi_limits": {}}
    yield {}, {"logistic": {**SCALED, **DESCENT, **FREE}}
    network = averaging_of("st_gcn", 2).asked.model_dump() | {"folds": 2}
    yield {}, {"network": network}


def harmonised() -> dict[str, Any]:
    names = load_study().learning["network_features"][:2]
    columns = [f"{name}@tumor@T0-T1" for name in names]
    return {"columns": columns, "centres": [0, 0], "units": [0.5, 0.5]}


def batches(study: Study) -> list[str]:
    return [f"{code}/{kernel}" for code, kernel in study.kernels().items()]


def plans(study: Study, only: Sequence[str]) -> Iterator[Plan]:
    known = {"outcome": "response", "population": "training", "group": "none", "simulated": True}
    known |= {"protocol": load_study().digest, "schema_version": latest()}
    for rows, asked in sections(study):
        section = {"name": "Over processes", "hospitals": list(study.codes), "task": "T1"}
        lake = {} if rows is None else {"rows": {**known, **rows}}
        plan = parse_plan({"plan": section, **lake, **asked})
        if not only or plan.kind in only:
            yield plan


# -- beside all rows together: what is compared, and the largest difference ------------------------


def of_counts(study: Study, found: Results) -> float:
    wanted = dict(study.whole.patients.group_by("smoking").len().iter_rows())
    each = found[study.codes[0]]["patients"]["all"]
    return float(max(abs(each[name] - n) for name, n in wanted.items()))


def of_survival(study: Study, found: Results) -> float:
    times = study.whole.outcomes
    wanted = kaplan_meier(times["pfs_days"].to_numpy().astype(float), times["pfs_event"].to_numpy())
    curve = found[study.codes[0]]["curves"]["all"]["survival"]
    return largest(curve, wanted.survival)


def of_auc(study: Study, found: Results) -> float:
    wanted = auc_delong(study.scores["label"].to_numpy(), study.scores["score"].to_numpy())
    return largest(found[study.codes[0]]["auc"]["value"], wanted.value)


def of_readers(study: Study, found: Results) -> float:
    read = pl.concat([study.read(code, "responses") for code in study.codes])
    read = read.filter(pl.col("visit") == "T1", pl.col("evaluator") != "accepted")
    sums = read.pivot(on="evaluator", index=["site", "patient"], values="sum_mm")
    wanted, each = icc(sums.select("R1", "R2").to_numpy()), found[study.codes[0]]["icc"]
    names = ("value", "lower", "upper")
    return largest([each[n] for n in names], [getattr(wanted, n) for n in names])


def of_moments(study: Study, found: Results) -> float:
    values = study.pooled.values_of(COLUMNS)
    each = [found[study.codes[0]]["columns"][name] for name in COLUMNS]
    units = np.array(SCALED["units"])
    means = (np.array([c["mean"] for c in each]) - np.nanmean(values, axis=0)) / units
    sds = (np.array([c["sd"] for c in each]) - np.nanstd(values, axis=0, ddof=1)) / units
    return largest([*means, *sds], 0)


def of_combat(study: Study, found: Results) -> float:
    """Level, spread, and each hospital's own shift and scale."""
    kernels, columns = study.kernels(), harmonised()["columns"]
    values = study.pooled.values_of(columns)
    known = np.isfinite(values).all(axis=1)
    of_patient = np.array([f"{site}/{kernels[site]}" for site in study.pooled.sites])
    wanted = fit_combat(values[known], of_patient[known].tolist())
    first = found[study.codes[0]]
    differences = [
        largest(list(first["level"].values()), wanted.mean),
        largest(list(first["sd"].values()), wanted.sd),
    ]
    for code, batch in zip(study.codes, batches(study), strict=True):
        own = found[code]["own"][batch]
        differences += [
            largest(own["shift"], wanted.shift[batch]),
            largest(own["scale"], wanted.scale[batch]),
        ]
    return max(differences)


def of_limits(study: Study, found: Results) -> float:
    """Relative."""
    each, comparisons = found[study.codes[0]], study.pooled.comparisons
    assert comparisons is not None
    quantile = load_study().section("dhi")["quantile"]
    wanted = fit_limits([comparisons.ratios], quantile, each["n_lesions"])
    limits = np.array([*each["components"], each["combined"]])
    return largest(limits / np.array([*wanted.components, wanted.combined]), 1)


def of_logistic(study: Study, found: Results) -> float:
    plan = next(plans(study, ["logistic"]))
    values = {name: study.pooled.values_of([name])[:, 0].tolist() for name in COLUMNS}
    rows = Rows({**values, "label": study.pooled.y.astype(bool).tolist()}, "")
    own = next(iter(in_one_process(plan, {study.codes[0]: rows}).results.values()))
    return largest(list(found[study.codes[0]].values()), list(own.values()))


def largest(found: Any, wanted: Any) -> float:
    return float(np.max(np.abs(np.asarray(found, dtype=float) - np.asarray(wanted, dtype=float))))


COMPARED: Mapping[str, Callable[[Study, Results], float]] = {
    "counts": of_counts,
    "survival": of_survival,
    "auc": of_auc,
    "readers": of_readers,
    "moments": of_moments,
    "combat": of_combat,
    "dhi_limits": of_limits,
    "logistic": of_logistic,
}
"""By kind; an average of networks is that of no training on all rows together."""


# -- the same in one process -----------------------------------------------------------------------


@dataclass(frozen=True)
class Reference:
    """Results of the hospitals, and every vector and sum by who and round."""

    results: Results
    vectors: Mapping[tuple[str, int], Floats]


def in_one_process(plan: Plan, rows: Mapping[str, Rows]) -> Reference:
    computations = {code: computation(plan, code, own) for code, own in rows.items()}
    values = {code: next(each) for code, each in computations.items()}
    vectors: dict[tuple[str, int], Floats] = {}
    results: dict[str, dict[str, Any]] = {}
    number = 0
    while not results:
        number += 1
        sent = {code: sent_of(plan, given) for code, given in values.items()}
        total = fixed_sum(list(sent.values()))
        vectors |= {(code, number): vector for code, vector in sent.items()}
        vectors["sum", number] = total
        for code, each in computations.items():
            try:
                values[code] = each.send(total)
            except StopIteration as done:
                results[code] = done.value
    return Reference(results, vectors)


def sent_of(plan: Plan, values: Any) -> Floats:
    """As a participant makes a vector of what it is handed."""
    norm = plan.asked.row_norm
    if norm is None:
        return np.asarray(values, dtype=np.float64)
    return clip_rows(as_table(values, plan.asked.length), norm).sum(axis=0)


# -- what the coordinator holds --------------------------------------------------------------------

WINDOW = 6
WINDOWS = (WINDOW, 200)
"""Values of a window: the longer one where the values are counts that are mostly 0."""

CHANGES = 8


def patterns_of(reference: Reference, hospitals: int) -> dict[tuple[Any, ...], bytes]:
    """Windows of the first and the last two vectors in three forms; figures of the result.

    A limit of DHI is the middle of one of the bins that everybody knows: it is no figure to find.
    """
    found: dict[tuple[Any, ...], bytes] = {}
    last = max(number for _, number in reference.vectors)
    for (who, number), vector in reference.vectors.items():
        if number not in {1, last - 1, last}:
            continue
        for at, size in [(at, n) for n in WINDOWS for at in telling(vector, n)][:1]:
            window = vector[at : at + size]
            fixed = to_residues(window, 1 if who == "sum" else hospitals)
            found[who, number, at, "floats"] = window.tobytes()
            found[who, number, at, "residues"] = fixed.tobytes()
            found[who, number, at, "text"] = json.dumps(window[:WINDOW].tolist())[1:-1][
                :60
            ].encode()
    own = [v for v in figures(next(iter(reference.results.values()))) if v not in MIDDLES]
    for value in own[:3]:
        found["result", value, "float"] = np.float64(value).tobytes()
        found["result", value, "text"] = repr(value)[:14].encode()
    return found


def telling(vector: Floats, size: int) -> list[int]:
    """Places of windows that chance does not make, of short ones or of long ones of counts."""
    places = range(max(1, len(vector) - size + 1))
    tells = is_telling if size == WINDOW else has_many_changes
    return [i for i in places if tells(vector[i : i + size])]


def is_telling(window: Floats) -> bool:
    """Three different values that are not 0, and no row of numbers: 5, 6, 7 is in any process."""
    values = set(window.tolist()) - {0.0}
    steps = set(np.diff(window).tolist())
    return len(values) >= min(3, len(window)) and (len(steps) > 1 or len(window) < 3)


def has_many_changes(window: Floats) -> bool:
    """Counts by day are mostly 0."""
    return np.count_nonzero(np.diff(window)) >= CHANGES


def figures(result: Any) -> list[float]:
    """Numbers of a result that chance does not make."""
    if isinstance(result, dict):
        result = list(result.values())
    if isinstance(result, list):
        return [value for each in result for value in figures(each)]
    return [result] if isinstance(result, float) and len(repr(result)) > 12 else []


class Search:
    """Looks in the last round that is seen; the run's own process is halted for it."""

    def __init__(self, parent: int, patterns: Mapping[tuple[Any, ...], bytes]) -> None:
        self.parent, self.patterns = psutil.Process(parent), {**patterns, OWN: b"BJCH"}
        self.found: set[tuple[Any, ...]] = set()
        self.looks = 0

    def __call__(self, outcome: Outcome) -> None:
        if outcome.request == "part" and outcome.number == outcome.rounds:
            for child in self.parent.children(recursive=True):
                with suppress(psutil.NoSuchProcess), halted(child):
                    self.look(child.pid)
            self.look(self.parent.pid)

    def look(self, pid: int) -> None:
        with suppress(FileNotFoundError, ProcessLookupError):
            found = held(pid, self.patterns)
            self.looks += OWN in found
            self.found |= found - {OWN}


OWN = ("own",)
"""A pattern that the coordinator holds, so that a search that reads nothing is seen."""


@contextmanager
def halted(process: psutil.Process) -> Iterator[None]:
    process.suspend()
    try:
        yield
    finally:
        process.resume()


KEEP = (
    "import json, sys; kept = [bytes.fromhex(h) for h in json.loads(sys.stdin.readline())];"
    "print(len(kept), flush=True); sys.stdin.readline()"
)


def found_where_plain(patterns: Mapping[tuple[Any, ...], bytes]) -> int:
    """The control: how many the search finds in a process that was handed them plain."""
    with subprocess.Popen(
        [sys.executable, "-c", KEEP], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as plain:
        assert plain.stdin is not None
        assert plain.stdout is not None
        plain.stdin.write(json.dumps([p.hex() for p in patterns.values()]) + "\n")
        plain.stdin.flush()
        plain.stdout.readline()
        found = held(plain.pid, patterns)
        plain.stdin.write("\n")
    return len(found)


# -- the table -------------------------------------------------------------------------------------


def row(study: Study, federation: Federation, plan: Plan, coordinator: int) -> str:
    """A plan over the processes that have started."""
    rows = {code: rows_at(federation.places(code), plan, code) for code in study.codes}
    reference = in_one_process(plan, rows)
    search = Search(coordinator, patterns_of(reference, len(study.codes)))
    started = time.monotonic()
    outcomes = federation.carry_out(plan, TIMEOUT_S, search)
    seconds = time.monotonic() - started
    results = {code: outcome.result or {} for code, outcome in outcomes.items()}
    same = results == json.loads(json.dumps(reference.results))
    compared = COMPARED.get(plan.kind)
    difference = f"{compared(study, results):.0e}" if compared else "–"
    planted = len(search.patterns) - 1
    for what in sorted(search.found, key=str):
        print(f"  held by the coordinator: {what}", file=sys.stderr, flush=True)
    looked = f"{len(search.found)} of {planted}" if search.looks >= 2 else "NOT SEARCHED"
    plain = found_where_plain({k: v for k, v in search.patterns.items() if k != OWN})
    return (
        f"| {len(study.codes)} | {plan.kind} | {plan.asked.rounds} | {'yes' if same else 'NO'} | "
        f"{difference} | {looked} | {plain} of {planted} | {seconds:.0f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hospitals", type=int, nargs="+", default=[3, 8])
    parser.add_argument("--only", nargs="+", default=[])
    chosen = parser.parse_args()
    print(
        "| hospitals | kind | rounds | each hospital's result is that of one process "
        "| largest difference from all rows together | found at the coordinator "
        "| found where plain | s |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for count in chosen.hospitals:
        with tempfile.TemporaryDirectory() as place:
            study = Study.make(Path(place), CODES[:count])
            federation = Federation.make(study.folder, study.tables(), Budget(3.0, 1e-5))
            for plan in plans(study, chosen.only):
                federation.allow(plan)
            with federation.started() as running:
                for plan in plans(study, chosen.only):
                    pid = running["coordinator"].process.pid
                    print(row(study, federation, plan, pid), flush=True)


if __name__ == "__main__":
    main()

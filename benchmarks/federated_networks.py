"""The networks by federated averaging, beside one hospital alone and all rows in one place.

Simulated cohorts are trained on, one the size of the study each; all models are judged on one other
simulated cohort. Sums go through the fixed point; masks and encryption change nothing in a sum.
All are trained by the code of a hospital (`federated.network`): one hospital with all patients is
`pooled`, each hospital by itself is `alone` (mean). Nothing is added to the sums.

    python -m benchmarks.federated_networks [--seeds 1 2 3 4 5] [--patients 500] [--hospitals 3 8]
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import numpy as np

from benchmarks.federated_logistic import JUDGED_ON
from dagster_project.federated.fixed_point import add_residues, from_residues, to_residues
from dagster_project.federated.network import Averaging, train
from dagster_project.federated.plans import NetworkSection
from dagster_project.radiomics.regions import region_names
from dagster_project.simulation.tables import Truth, simulate_tables
from dagster_project.statistics.logistic import sigmoid
from dagster_project.statistics.roc import auc_delong
from dagster_project.study import load_study
from models.data.datasets import TASKS, Dataset, build_dataset
from models.data.lesion_sequences import SequenceScaler, arrange
from models.learners.networks import ARCHITECTURES, architecture, ensemble_logits

FOLDS = 2


def simulate(seed: int, patients: int) -> Dataset:
    features = load_study().learning["network_features"]
    tables = simulate_tables(Truth(), features, patients=patients, seed=seed).of_dataset()
    return build_dataset(TASKS["T1"], **{**tables, "habitat_histograms": None})


def averaging_of(name: str, chosen: argparse.Namespace) -> Averaging:
    study = load_study()
    features = tuple(study.learning["network_features"])
    regions = tuple(region_names(study.section("radiomics")))
    facts = {"visits": list(TASKS["T1"].visits), "regions": list(regions), "features": features}
    facts |= {k: study.learning[f"network_{k}"] for k in ("width", "dropout")}
    weights = sum(w.numel() for w in architecture(name, facts).parameters())
    asked = NetworkSection(
        architecture=name,
        weights=weights,
        centres=[1.0] * len(features),
        units=[1.0] * len(features),
        average=chosen.rounds,
        epochs=1,
        rate=float(study.learning["learning_rate"]),
        folds=FOLDS,
        seed=1,
    )
    return Averaging(asked, regions, features, TASKS["T1"].visits, study.learning)


def together(averaging: Averaging, hospitals: Sequence[Dataset]) -> dict:
    """The result of a run; each hospital in turn, sums in fixed point."""
    computations = [train(averaging, own) for own in hospitals]
    sent = [next(c) for c in computations]
    while True:
        total = to_residues(np.zeros(len(sent[0])), len(hospitals))
        for vector in sent:
            total = add_residues(total, to_residues(np.asarray(vector), len(hospitals)))
        summed, result = from_residues(total), None
        for i, computation in enumerate(computations):
            try:
                sent[i] = computation.send(summed)
            except StopIteration as done:
                result = done.value
        if result is not None:
            return result


def auc(averaging: Averaging, result: dict, judged: Dataset) -> float:
    """Of the network of all patients, on the cohort that nobody has seen."""
    own = result["own"]
    scaler = SequenceScaler(**{k: np.array(v) for k, v in own["scaler"].items()})
    arrays = scaler.apply(arrange(judged.series, averaging.facts))
    arrays.pop("contacts", None)
    weights = {name: np.array([w], dtype=np.float32) for name, w in own["weights"].items()}
    scores = sigmoid(ensemble_logits(averaging.facts, weights, arrays)[0])
    return auc_delong(judged.y.astype(bool), scores).value or 0.0


def parts_of(cohort: Dataset, count: int) -> list[Dataset]:
    """Hospitals, where neighbours are put together to so many."""
    sites = np.unique(np.array(cohort.sites), return_inverse=True)[1] % count
    return [cohort.take(sites == k) for k in range(count)]


def measure(
    averaging: Averaging, cohort: Dataset, judged: Dataset, hospitals: Sequence[int]
) -> list[float]:
    found = [auc(averaging, together(averaging, [cohort]), judged)]
    for count in hospitals:
        parts = parts_of(cohort, count)
        alone = [auc(averaging, together(averaging, [own]), judged) for own in parts]
        found += [float(np.mean(alone)), auc(averaging, together(averaging, parts), judged)]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    parser.add_argument("--patients", type=int, default=500)
    parser.add_argument("--hospitals", type=int, nargs="+", default=[3, 8])
    parser.add_argument("--rounds", type=int, default=16)
    chosen = parser.parse_args()
    judged = simulate(JUDGED_ON, 2 * chosen.patients)
    names = [f"{what}, {n} hospitals" for n in chosen.hospitals for what in ("alone", "federated")]
    print("| cohort | network | pooled | " + " | ".join(names) + " |")
    print("|---|---|" + "---|" * (1 + len(names)))
    rows: dict[str, list[list[float]]] = {name: [] for name in ARCHITECTURES}
    for seed in chosen.seeds:
        cohort = simulate(seed, chosen.patients)
        for name in ARCHITECTURES:
            found = measure(averaging_of(name, chosen), cohort, judged, chosen.hospitals)
            rows[name].append(found)
            print(f"| {seed} | {name} | {' | '.join(f'{a:.3f}' for a in found)} |", flush=True)
    for name, all_of in rows.items():
        means = np.mean(all_of, axis=0)
        print(f"| mean | {name} | {' | '.join(f'{a:.3f}' for a in means)} |")


if __name__ == "__main__":
    main()

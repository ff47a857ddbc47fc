"""What one penalised score of features adds to size, in the risk of progression after a visit.

Cohorts simulated as tables, whose features tell nothing, or something, of the time to progression.
"""

from __future__ import annotations

import argparse
import time

from dagster_project.domain.evaluation.risk_figures import progression_figures
from dagster_project.domain.evaluation.supermodel import WITH_FEATURES, is_landmark
from dagster_project.simulation.landmarks import landmarks_of_tables
from dagster_project.simulation.tables import Truth, simulate_tables
from dagster_project.study import load_study
from models.data.visit_features import build_visit_features
from models.learners.feature_score import ScoredFeatures

TRUTHS = (0.0, 1.0, 2.0)
"""Log odds of response, to which the log hazard is half opposed, per standard deviation of q."""


def written(found, digits=3):
    """Value and bounds."""
    ends = "" if found.lower is None else f" ({found.lower:.{digits}f} – {found.upper:.{digits}f})"
    return f"{found.value:.{digits}f}{ends}"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--patients", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    chosen, study = parser.parse_args(), load_study()
    rules, section = study.section("evaluation"), study.learning
    print("| features tell | visit | n | events | C of size | C with features | CPU s |")
    print("|---|---|---:|---:|---:|---:|---:|")
    gains = []
    for heterogeneity in TRUTHS:
        drawn = simulate_tables(
            Truth(heterogeneity=heterogeneity),
            section["network_features"],
            patients=chosen.patients,
            seed=chosen.seed,
        )
        features = build_visit_features(
            drawn.lesions, drawn.radiomic_features, drawn.delta_features, drawn.dhi
        )
        rows = [r for r in landmarks_of_tables(drawn) if is_landmark(r)]
        begun = time.process_time()
        source = ScoredFeatures(features, section)
        figures = progression_figures(rows, "*", rules, brief=False, features=source)
        found = {(f.population.name, f.comparator, f.statistic): f for f in figures}
        spent = time.process_time() - begun
        for visit in ("first_visit", "second_visit"):
            own, size = (found[visit, c, "c_index"] for c in (WITH_FEATURES, "supermodel"))
            cells = [written(size.found), written(own.found), f"{spent:.1f}"]
            head = f"| {heterogeneity:g} | {visit} | {own.n} | {own.events}"
            print(f"{head} | {' | '.join(cells)} |", flush=True)
        for horizon in rules["horizons_days"]:
            gain = found["all", WITH_FEATURES, f"brier_gain_over_size_{horizon}"]
            gains.append(f"| {heterogeneity:g} | {horizon} | {gain.n} | {written(gain.found, 4)} |")
    print("\n| features tell | days | n | Brier score gained over size |\n|---|---:|---:|---:|")
    print("\n".join(gains))


if __name__ == "__main__":
    main()

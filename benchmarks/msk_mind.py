"""The clinical baselines on 120 real patients (MSK-MIND).

They are trained by the same code as the study's models.

.venv/bin/python -m benchmarks.msk_mind ../shared/data/response
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import numpy as np

from dagster_project.statistics.calibration import calibration
from dagster_project.study import load_study
from models.data.datasets import CLINICAL, PD_L1, TASKS, Dataset, FeatureColumn
from models.evaluation.training import TrainedModel, train
from models.learners.baselines import BASELINES, FURTHER


def rows_of(file: Path) -> list[dict[str, str]]:
    lines = [
        line for line in file.read_text(encoding="utf-8").splitlines() if not line.startswith("#")
    ]
    return list(csv.DictReader(lines, delimiter="\t"))


def number(text: str) -> float:
    return float(text) if text.replace(".", "", 1).isdigit() else np.nan


def read_cohort(folder: Path) -> Dataset:
    """Response (CR or PR) from what was known before treatment.

    What the table lacks (stage) has no column.
    """
    samples = {row["PATIENT_ID"]: row for row in rows_of(folder / "msk_mind_samples_part1.txt")}
    patients = rows_of(folder / "msk_mind_patients_part1.txt")
    facts = {
        "age_years": lambda p, _: number(p["AGE"]),
        "male": lambda p, _: float(p["SEX"] == "Male"),
        "former_smoker": lambda p, _: float(p["SMOKING_STATUS"].startswith("Former")),
        "current_smoker": lambda p, _: float(p["SMOKING_STATUS"].startswith("Current")),
        "ecog": lambda p, _: number(p["ECOG"]),
        "line": lambda p, _: number(p["IO_LINE"]),
        "egfr_mutant": lambda _, s: float(s["EGFR_DRIVER"] == "TRUE"),
        "alk_rearranged": lambda _, s: float(s["ALK_DRIVER"] == "TRUE"),
        "pd_l1_tps": lambda _, s: number(s["CLINICAL_PDL1_SCORE"]),
    }
    values = np.array(
        [[fact(p, samples[p["PATIENT_ID"]]) for fact in facts.values()] for p in patients]
    )
    return Dataset(
        task=TASKS["T0"],
        columns=tuple(
            FeatureColumn(n, PD_L1 if n == "pd_l1_tps" else CLINICAL, ("T0",)) for n in facts
        ),
        X=values,
        y=np.array([p["BOR"] in {"CR", "PR"} for p in patients]),
        patients=tuple(p["PATIENT_ID"] for p in patients),
        sites=("MSK",) * len(patients),
        simulated=np.zeros(len(patients), dtype=bool),
        label_definition="best overall response CR or PR",
    )


def train_clinical(data: Dataset) -> list[TrainedModel]:
    section = load_study().learning
    return train([FURTHER[0], BASELINES[0]], data, section, section["seed"])


def main() -> None:
    data = read_cohort(Path(sys.argv[1]))
    print(
        "| model | patients | CR + PR | AUC (95 %) | sensitivity | specificity | Brier "
        "| calibration slope |\n|---|---|---|---|---|---|---|---|"
    )
    for m in train_clinical(data):
        e, (_, slope) = m.evaluation, calibration(data.y, m.probabilities)
        print(
            f"| {m.name} | {data.y.size} | {data.y.sum()} "
            f"| {e.auc.value:.3f} ({e.auc.lower:.3f}-{e.auc.upper:.3f}) "
            f"| {e.sensitivity.value:.2f} | {e.specificity.value:.2f} | {e.brier:.3f} "
            f"| {slope:.2f} |"
        )


if __name__ == "__main__":
    main()

"""What it costs to grade a synthetic cohort by RECIST 1.1 and iRECIST.

The cost of deriving its end points and survival times is printed as well.
"""

from __future__ import annotations

import argparse
import time
from datetime import date, timedelta

import numpy as np
import polars as pl

from dagster_project.domain.response.endpoints import derive_outcomes
from dagster_project.domain.response.responses import derive_responses
from dagster_project.domain.response.time_to_event import derive_time_to_event
from dagster_project.lake.schema import polars_schema
from dagster_project.lake.tables import BY_NAME
from dagster_project.study import load_study

DAY_ZERO = date(2024, 3, 1)
VISITS = {"T0": -7, "T1": 56, "T2": 98, "V1": 160, "V2": 222}


def frame(name, rows):
    """Rows of a declared table; a column that a row leaves out is NULL."""
    return pl.DataFrame(
        [{c.name: row.get(c.name) for c in BY_NAME[name].columns} for row in rows],
        schema=polars_schema(BY_NAME[name]),
        orient="row",
    )


def cohort(n, seed=20260112):
    """Five visits per patient with four targets and a non-target.

    Some have a doubtful and then a certain new lesion; 3 % of measurements are missing.
    """
    random, found = np.random.default_rng(seed), []
    for patient in range(n):
        sizes, trend = random.uniform(12, 60, 4), random.normal(0.92, 0.18)
        for place, visit in enumerate(VISITS):
            who = {
                "site": f"S{patient % 8}",
                "patient": f"P{patient:04}",
                "visit": visit,
                "scan": f"P{patient}-{visit}",
                "simulated": True,
                "is_lymph_node": False,
                "is_present": True,
            }
            found += [
                who
                | {
                    "lesion": f"L{k}",
                    "role": "target",
                    "organ": f"organ {k}",
                    "too_small_to_measure": False,
                    "longest_diameter_mm": float(size * trend**place * random.normal(1, 0.03)),
                }
                for k, size in enumerate(sizes)
                if place == 0 or random.random() > 0.03
            ]
            found.append(
                who
                | {
                    "lesion": "P1",
                    "role": "non_target",
                    "too_small_to_measure": False,
                    "nontarget_state": "NON_CR_NON_PD",
                }
            )
            if place > 1 and patient % 5 == 0:
                found.append(
                    who
                    | {
                        "lesion": "N1",
                        "role": "new",
                        "too_small_to_measure": False,
                        "unequivocal": place > 2,
                        "longest_diameter_mm": 9.0 + place,
                    }
                )
    return frame("lesions", found)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--patients", type=int, default=500)
    n, study = parser.parse_args().patients, load_study()
    lesions, people = (
        cohort(n),
        [{"site": f"S{p % 8}", "patient": f"P{p:04}", "simulated": True} for p in range(n)],
    )
    visits = frame(
        "timepoints",
        [
            who
            | {
                "visit": v,
                "scan": f"{who['patient']}-{v}",
                "day": d,
                "scan_date": DAY_ZERO + timedelta(d),
            }
            for who in people
            for v, d in VISITS.items()
        ],
    )
    treatments = frame(
        "treatments", [who | {"cycle": 1, "day": 0, "treatment_date": DAY_ZERO} for who in people]
    )
    begun = time.process_time()
    graded = derive_responses(
        lesions,
        visits,
        evaluator="accepted",
        recist=study.section("recist"),
        irecist=study.section("irecist"),
    )
    responses_s = time.process_time() - begun
    others = (treatments, frame("follow_up", []), frame("patients", people), visits)
    outcomes = derive_outcomes(graded, *others, study.section("endpoints"), study.section("recist"))
    times = derive_time_to_event(graded, *others, study.section("endpoints"))
    print("| what | rows in | rows out | CPU s |\n|---|---|---|---|")
    print(
        f"| RECIST 1.1 and iRECIST at every visit, {n} patients | {lesions.height} "
        f"| {graded.height} | {responses_s:.2f} |"
    )
    print(
        f"| the same, with best responses and survival times | {lesions.height} "
        f"| {graded.height + outcomes.height + times.height} | {time.process_time() - begun:.2f} |"
    )
    print("\nResponses:", dict(graded["overall_response"].value_counts(sort=True).iter_rows()))


if __name__ == "__main__":
    main()

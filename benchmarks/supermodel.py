"""What size alone says of progression after a visit, on published trials.

The supermodel of all landmarks beside the RECIST category and size, with a progression dated by the
CT that shows it and by the middle between two CTs.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np

from dagster_project.domain.evaluation.courses import landmarks_of
from dagster_project.domain.evaluation.risk_figures import VISITS, progression_figures
from dagster_project.domain.evaluation.supermodel import is_landmark
from dagster_project.domain.external_trials.trial_courses import SeveralEvaluators, courses_of_trial
from dagster_project.flow.trial_tables import grade_tables, read_trial
from dagster_project.study import load_study

SHOWN = {
    "C": ("c_index",),
    "C, midpoint": ("c_index_midpoint",),
    "AUC at day 90": ("auc_90",),
    "at 180": ("auc_180",),
    "Brier gained at day 90": ("brier_gain_90",),
    "at day 180": ("brier_gain_180",),
}


def written(figure):
    """Value and bounds."""
    if figure is None or figure.found.value is None:
        return "–"
    found = figure.found
    digits = 4 if "brier" in figure.statistic else 3
    return f"{found.value:.{digits}f} ({found.lower:.{digits}f} – {found.upper:.{digits}f})"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="SDTM tumour tables, or the table of sums alone")
    parser.add_argument("--evaluator", help="whose assessments, where there are those of several")
    given, study = parser.parse_args(), load_study()
    trial, rules = read_trial(given.folder), study.section("endpoints")
    try:
        graded = grade_tables(trial, study)
        courses = courses_of_trial(graded, graded.dm, rules, given.evaluator)
    except SeveralEvaluators as error:
        parser.error(str(error))
    landmarks = [r for c in courses for r in landmarks_of(c, study.section("irecist"))]
    begun, rules = time.process_time(), study.section("evaluation")
    figures = list(progression_figures(landmarks, "*", rules, brief=False))
    spent = time.process_time() - begun
    found = {(f.population.name, f.comparator, f.statistic): f for f in figures}
    print(f"| visit | by | n | events | {' | '.join(SHOWN)} |")
    print(f"|---|---|---:|---:|{'---:|' * len(SHOWN)}")
    for name in VISITS.values():
        for by in ("recist", "size", "supermodel"):
            head = found[name, by, "c_index"]
            cells = [written(found.get((name, by, s))) for (s,) in SHOWN.values()]
            print(f"| {name} | {by} | {head.n} | {head.events} | {' | '.join(cells)} |")
    used = [r for r in landmarks if is_landmark(r) and r.days is not None]
    events = int(np.sum([bool(r.event) for r in used]))
    patients = len({r.patient for r in used})
    print(f"\n{len(used)} landmarks of {patients} patients, {events} events; {spent:.1f} CPU s")


if __name__ == "__main__":
    main()

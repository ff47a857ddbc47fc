"""Makes the figures of the supermodel that are shipped, from the trials' published sums.

Run `python -m dagster_project.flow.reference_supermodel FILE [--check]`, FILE the table of sums.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from dagster_project.domain.evaluation.courses import landmarks_of
from dagster_project.domain.evaluation.figures import ALL_SITES, Figure
from dagster_project.domain.evaluation.published_supermodel import SHIPPED
from dagster_project.domain.evaluation.risk_figures import VISITS, progression_figures
from dagster_project.domain.external_trials.trial_courses import courses_of_trial
from dagster_project.domain.response.comparison_classes import shipped_classes
from dagster_project.flow.shipped_references import read_trial_file, write_or_check
from dagster_project.flow.trial_tables import grade_tables
from dagster_project.study import Study

HEAD = """\
# Made by `python -m dagster_project.flow.reference_supermodel`; do not edit.
# C of the supermodel of size after the first three visits of controlled patients, cross-fitted, and
# of the RECIST category of the same visits.
"""

DIGITS = 3


def write_figures(file: Path, study: Study) -> str:
    """The figures as TOML."""
    trial = read_trial_file(file)
    graded = grade_tables(trial, study)
    courses = courses_of_trial(graded, graded.dm, study.section("endpoints"))
    landmarks = [r for c in courses for r in landmarks_of(c, study.section("irecist"))]
    rules = study.section("evaluation")
    figures = {
        (f.population.name, f.comparator, f.statistic): f
        for f in progression_figures(landmarks, ALL_SITES, rules, brief=False)
    }
    shipped = shipped_classes()
    named = "".join(f'{name} = "{shipped[name]}"\n' for name in ("source", "citation", "licence"))
    return HEAD + named + "".join(_entries(figures))


def _entries(figures: dict[tuple[str, str, str], Figure]) -> Iterator[str]:
    for visit in VISITS.values():
        own = figures[visit, "supermodel", "c_index"]
        category = figures[visit, "recist", "c_index"].found.value or 0.0
        bounds = (own.found.value or 0.0, own.found.lower or 0.0, own.found.upper or 0.0)
        value, lower, upper = (round(b, DIGITS) for b in bounds)
        yield (
            f'\n[[visit]]\nname = "{visit}"\nn = {own.n}\nevents = {own.events}\n'
            f"c_index = {value}\nlower = {lower}\nupper = {upper}\n"
            f"c_index_of_category = {round(category, DIGITS)}\n"
        )


def main(arguments: list[str]) -> int:
    """Write the figures, or with --check say whether they are what would be written."""
    return write_or_check(arguments, write_figures, SHIPPED)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))

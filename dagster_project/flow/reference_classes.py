"""Makes the comparison classes that are shipped, from the trials' published sums.

Run `python -m dagster_project.flow.reference_classes FILE [--check]`, FILE the table of sums.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

from dagster_project.domain.external_trials.trial_courses import courses_of_trial
from dagster_project.domain.external_trials.trial_grading import Graded
from dagster_project.domain.response.comparison_classes import (
    FIRST,
    LATER,
    SHIPPED,
    Resolved,
    count_class,
    margin_class,
    progression_margin,
)
from dagster_project.domain.response.iupd_cohort import next_evaluable, next_outcome
from dagster_project.flow.shipped_references import read_trial_file, write_or_check
from dagster_project.flow.trial_tables import grade_tables
from dagster_project.study import Study

HEAD = """\
# Made by `python -m dagster_project.flow.reference_classes`; do not edit.
# What became of the first unconfirmed progression of each patient of three trials of atezolizumab,
# where a CT followed: by its margin in reader errors, and the visit at which it was seen. n of them
# were confirmed or reset at any later CT; next_n had an evaluable one, and next_* is what the first
# of these showed.
source = "trials of atezolizumab (Ghaffari Laleh 2022, studies 1-3)"
citation = "Ghaffari Laleh N. et al., PLoS Comput Biol 2022;18(2):e1009822, S1 Data"
licence = "CC BY 4.0"
"""


def write_classes(file: Path, study: Study) -> str:
    """The classes as TOML."""
    trial = read_trial_file(file)
    dynamic, recist = study.section("dynamic"), study.section("recist")
    graded = grade_tables(trial, study)
    following = _outcomes_at_next(graded, study)
    edges, error = dynamic["class_edges"], dynamic["reader_error"]
    blocks, at_next = [], []
    for row in graded.blocks.filter(block=1, rescanned=True).iter_rows(named=True):
        margin = progression_margin(row["sum_at_open_mm"], row["nadir_mm"], error, recist)
        if margin is not None:
            visit = FIRST if row["at_first_visit"] else LATER
            number = margin_class(margin, edges)
            found = Resolved(("", row["subject"]), number, visit, row["outcome"])
            blocks.append(found)
            if row["subject"] in following:
                at_next.append(replace(found, outcome=following[row["subject"]]))
    head = f"{HEAD}reader_error = {error:g}\nedges = {[float(e) for e in edges]}\n"
    return head + "".join(
        _entry(blocks, at_next, number, visit, edges)
        for number in range(len(edges) + 1)
        for visit in (FIRST, LATER)
    )


def _outcomes_at_next(graded: Graded, study: Study) -> dict[str, str]:
    """What the next evaluable CT made of the first block of each subject who had one."""
    courses = courses_of_trial(graded, graded.dm, study.section("endpoints"))
    found: dict[str, str | None] = {}
    for course in courses:
        first = next((b for b in course.blocks if b["block"] == 1), None)
        if first is not None:
            visit = next_evaluable(first, course.visits, study.section("irecist"))
            found[course.patient[1]] = next_outcome(first, visit)
    return {subject: outcome for subject, outcome in found.items() if outcome is not None}


def _entry(
    blocks: list[Resolved], at_next: list[Resolved], number: int, visit: str, edges: list[float]
) -> str:
    found = count_class(blocks, number, visit, edges, "")
    following = count_class(at_next, number, visit, edges, "")
    counts = {
        "n": found.n,
        "confirmed": found.confirmed,
        "reset": found.reset,
        "next_n": following.n,
        "next_confirmed": following.confirmed,
        "next_reset": following.reset,
    }
    lines = "".join(f"{name} = {count}\n" for name, count in counts.items())
    head = f"\n[[class]]  # {found.label}\n"
    return f'{head}margin = {number}\nvisit = "{visit}"\n{lines}'


def main(arguments: list[str]) -> int:
    """Write the classes, or with --check say whether they are what would be written."""
    return write_or_check(arguments, write_classes, SHIPPED)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))

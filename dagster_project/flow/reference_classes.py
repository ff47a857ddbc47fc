"""Makes the comparison classes that are shipped, from the trials' published sums.

Run `python -m dagster_project.flow.reference_classes FILE [--check]`, FILE the table of sums.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from dagster_project.domain.response.comparison_classes import (
    FIRST,
    LATER,
    SHIPPED,
    Resolved,
    count_class,
    margin_class,
    progression_margin,
)
from dagster_project.flow.trial_tables import grade_tables, read_trial
from dagster_project.study import Study, load_study

HEAD = """\
# Made by `python -m dagster_project.flow.reference_classes`; do not edit.
# What became of the first unconfirmed progression of each patient of three trials of atezolizumab,
# where a CT followed: by its margin in reader errors, and the visit at which it was seen.
source = "trials of atezolizumab (Ghaffari Laleh 2022, studies 1-3)"
citation = "Ghaffari Laleh N. et al., PLoS Comput Biol 2022;18(2):e1009822, S1 Data"
licence = "CC BY 4.0"
"""


def write_classes(file: Path, study: Study) -> str:
    """The classes as TOML."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / file.name).write_bytes(file.read_bytes())
        trial = read_trial(Path(folder))
    dynamic, recist = study.section("dynamic"), study.section("recist")
    graded = grade_tables(trial, study)
    edges, error = dynamic["class_edges"], dynamic["reader_error"]
    blocks = []
    for row in graded.blocks.filter(block=1, rescanned=True).iter_rows(named=True):
        margin = progression_margin(row["sum_at_open_mm"], row["nadir_mm"], error, recist)
        if margin is not None:
            visit = FIRST if row["at_first_visit"] else LATER
            number = margin_class(margin, edges)
            blocks.append(Resolved(("", row["subject"]), number, visit, row["outcome"]))
    head = f"{HEAD}reader_error = {error:g}\nedges = {[float(e) for e in edges]}\n"
    return head + "".join(
        _entry(blocks, number, visit, edges)
        for number in range(len(edges) + 1)
        for visit in (FIRST, LATER)
    )


def _entry(blocks: list[Resolved], number: int, visit: str, edges: list[float]) -> str:
    found = count_class(blocks, number, visit, edges, "")
    return (
        f'\n[[class]]  # {found.label}\nmargin = {number}\nvisit = "{visit}"\n'
        f"n = {found.n}\nconfirmed = {found.confirmed}\nreset = {found.reset}\n"
    )


def main(arguments: list[str]) -> int:
    """Write the classes, or with --check say whether they are what would be written."""
    text = write_classes(Path(arguments[0]), load_study())
    if "--check" in arguments:
        current = SHIPPED.read_text(encoding="utf-8")
        if current != text:
            sys.stderr.write(f"{SHIPPED.name} is not what the trials' sums give\n")
        return int(current != text)
    SHIPPED.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))

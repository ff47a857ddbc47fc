"""Every interval that is printed stands in the documentation with what it covers.

What is printed is taken from the declared columns, from a trained model's figures and tables, and
from the readers' figures: not from a list.
"""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from benchmarks.interval_coverage import FAMILIES, measured, shown, table
from benchmarks.worlds.cases import Coverage, coverage, held
from dagster_project.lake import tables
from dagster_project.statistics.estimate import Estimate
from models.evaluation.training import train
from models.learners.baselines import Baseline
from models.operation.card import figures as logged
from tests.domain.reading.test_reader_figures import cohort, figures, graded
from tests.models.evaluation.test_appraisal import CLINICAL_SIZE, DATA, QUICK

DOCS = Path(__file__).parents[2] / "docs" / "benchmarks.md"

END = re.compile(r"(^|_)(lower|upper|low|high)$")
"""How a column or figure is named that is an end of an interval."""

TOLD = re.compile(r"\b(bounds?|intervals?|limits? of agreement|percentile)\b")
"""What the description of a column says that is such an end, or is judged by one."""


def section() -> str:
    """The part of the documentation that lists the intervals."""
    text = DOCS.read_text(encoding="utf-8")
    return text.partition("## Every interval that is printed")[2].partition("\n## ")[0]


def listed() -> set[str]:
    """What the list names."""
    rows = section().partition("### ")[0]
    return {name for row in rows.splitlines() for name in re.findall(r"`([^`]+)`", row)}


def is_listed(name: str) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in listed())


def printed_columns() -> list[str]:
    """One for each interval of the lake's tables: its lower end, or the figure itself."""
    declared = [t for t in vars(tables).values() if isinstance(t, tables.Table)]
    return [
        f"{t.name}.{c.name}"
        for t in declared
        for c in t.columns
        if (END.search(c.name) or TOLD.search(c.en)) and not c.name.endswith(("upper", "high"))
    ]


def test_every_interval_of_a_table_is_listed():
    found = printed_columns()
    assert {"model_runs.auc_lower", "predictions.lower", "dhi.dhi"} <= set(found)
    assert [name for name in found if not is_listed(name)] == []
    assert not is_listed("model_runs.a_column_of_tomorrow_lower")


def test_an_upper_end_has_a_lower_one():
    for t in (t for t in vars(tables).values() if isinstance(t, tables.Table)):
        upper = {c.name for c in t.columns if c.name.endswith("upper")}
        assert {name.replace("upper", "lower") for name in upper} <= set(t.names)


@pytest.fixture(scope="module")
def trained():
    section = {**QUICK, "leave_site_out_for": "all", "held_out_intervals": "none"}
    return train([Baseline("clinical", ("clinical",), "ridge"), CLINICAL_SIZE], DATA, section, 3)


def test_every_interval_that_mlflow_logs_is_listed(trained):
    names = {name.removesuffix("_lower") for t in trained for name in logged(t, trained)}
    with_bounds = {
        name.removesuffix("_lower")
        for t in trained
        for name in logged(t, trained)
        if name.endswith("_lower")
    }
    assert {"auc", "auc_held_out_sites", "auc_gain_over_clinical"} <= with_bounds <= names
    assert sorted(name for name in with_bounds if not is_listed(name)) == []


def test_every_table_of_an_appraisal_with_bounds_is_listed(trained):
    found = {
        f"appraisal/{name}"
        for t in trained
        for name, of in t.appraisal.tables.items()
        if any(END.search(column) for column in of.columns)
    }
    assert {"appraisal/subgroups", "appraisal/decision_curve"} <= found
    assert sorted(name for name in found if not is_listed(name)) == []


def test_every_figure_of_the_readers_with_bounds_is_listed():
    answers = [("PR", "PR"), ("SD", "SD"), ("PD", "SD"), ("SD", "PR")]
    rows = [r for i, (a, b) in enumerate(answers) for r in graded(a, b, f"P{i:02}")]
    found = figures(cohort(), responses=rows).filter(pl.col("lower").is_not_null())
    names = set(found["statistic"])
    assert {"ICC(3,k)", "difference_percent", "weighted_kappa"} <= names
    assert sorted(name for name in names if not is_listed(name)) == []


def test_what_measures_an_interval_exists():
    rows = section().partition("### ")[0]
    measured_by = [row.split(" | ")[3] for row in rows.splitlines() if row.startswith("| ")][1:]
    assert len(measured_by) > 20
    for cell in measured_by:
        for name in re.findall(r"`([^`]+)`", cell):
            module = DOCS.parents[1] / "benchmarks" / f"{name}.py"
            assert name in FAMILIES or module.is_file(), name


@pytest.mark.parametrize("family", FAMILIES)
def test_every_figure_of_a_family_stands_in_its_table(family):
    stated = {line.split(" | ")[0].removeprefix("| ") for line in section().splitlines()}
    found = measured(FAMILIES[family], 60, 1, seed=2)
    assert [figure for figure in found if figure not in stated] == []


def test_coverage_is_the_share_of_intervals_and_its_error_is_over_repeats():
    alone = coverage([[True]] * 90 + [[False]] * 10)
    assert alone.share == 0.9
    assert alone.error == pytest.approx(np.sqrt(0.9 * 0.1 / 99))
    copied = coverage([[True] * 5] * 90 + [[False] * 5] * 10)
    assert (copied.share, copied.error) == (0.9, pytest.approx(alone.error))
    some = coverage([[True, None], [None, None], [False, True]])
    assert (some.share, some.bounded) == (pytest.approx(2 / 3), pytest.approx(0.5))
    assert np.isnan(coverage([[None]]).share)


def test_an_interval_holds_its_ends_and_nothing_beyond():
    found = Estimate(0.5, 0.4, 0.6)
    assert [held(found, x) for x in (0.4, 0.6, 0.39, 0.61)] == [True, True, False, False]
    assert held(Estimate(0.5, reason="none"), 0.5) is None


def test_intervals_of_a_known_coverage_are_measured_rightly():
    """Of a normal mean ± 1 standard error 68 % hold the truth."""

    def world(_patients, random):
        for model in ("a", "b"):
            x = random.normal()
            yield f"mean | {model}", Estimate(x, x - 1, x + 1), 0.0

    for found in measured(world, 60, 3000, seed=1)["mean"].values():
        assert found.share == pytest.approx(0.6827, abs=4 * found.error)
        assert found.error == pytest.approx(np.sqrt(0.68 * 0.32 / 3000), rel=0.05)


def test_a_cell_shows_the_extremes_the_error_and_what_has_no_bounds():
    assert shown({"": Coverage(0.951, 0.0049, 1.0)}) == "95.1 ± 0.5"
    models = {"a": Coverage(0.9, 0.01, 1.0), "b": Coverage(0.97, 0.02, 0.6)}
    assert shown(models) == "90.0–97.0 ± 2.0 (bounds in 60 %)"
    assert table("copies", [60], 2, 1).startswith("| copies | 60 patients |\n|---|---:|\n| ICC")

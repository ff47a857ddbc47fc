"""Rule I5: the criterion, the check and the report say the same of every scan."""

from __future__ import annotations

import doctest
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dagster_project.domain.cohort.eligibility import judge_slices
from dagster_project.domain.imaging import slice_limits
from dagster_project.domain.imaging.slice_limits import has_fault, mark_slices
from dagster_project.domain.response import recist
from dagster_project.reports.summaries.quality import SCAN_FLAGS, summarise_scans
from dagster_project.reports.wording import criterion_words
from dagster_project.study import PROTOCOL, Study, load_study

STUDY = load_study(PROTOCOL)
RULES = STUDY.section("scans")

THICKNESS = st.none() | st.sampled_from([0.5, 1.0, 1.009, 1.011, 1.05, 5.0])
SCANS = st.fixed_dictionaries(
    {
        "slice_thickness_mm": THICKNESS,
        "slice_spacing_mm": THICKNESS,
        "n_missing_slices": st.none() | st.integers(0, 2),
        "n_duplicate_slices": st.none() | st.integers(0, 2),
    }
)
SCHEMA = {
    "slice_thickness_mm": pl.Float64,
    "slice_spacing_mm": pl.Float64,
    "n_missing_slices": pl.Int64,
    "n_duplicate_slices": pl.Int64,
}


def frame(scans: list[dict[str, Any]]) -> pl.DataFrame:
    rows = pl.DataFrame(scans, schema=SCHEMA, orient="row")
    flags = (
        pl.lit(value=None, dtype=pl.Boolean).alias(name) for name in ("chest_flag", *SCAN_FLAGS)
    )
    return rows.with_columns(*flags, site=pl.lit("AA"))


@given(st.lists(SCANS, min_size=1, max_size=8))
def test_criterion_check_and_report_agree(scans: list[dict[str, Any]]) -> None:
    met = [judge_slices(scan, RULES)[0] == "met" for scan in scans]
    assert mark_slices(frame(scans), RULES).select(~has_fault()).to_series().to_list() == met
    (row,) = summarise_scans(frame(scans), RULES)
    assert (row["scans"], row["thin"]) == (len(scans), sum(met))


@given(SCANS)
def test_what_is_above_the_limit_is_so_whatever_is_unknown(scan: dict[str, Any]) -> None:
    marks = mark_slices(frame([scan]), RULES).row(0, named=True)
    verdict, _ = judge_slices(scan, RULES)
    assert (verdict == "not_met") == any(marks[kind] for kind in slice_limits.FAULTS)


def changed(section: str, **values: Any) -> Study:
    """The shipped protocol with other values."""
    rules = {**STUDY.section(section), **values}
    return replace(STUDY, sections=MappingProxyType({**STUDY.sections, section: rules}))


@pytest.mark.parametrize(("thickness", "thin"), [(1.0, 1), (1.5, 2), (5.0, 3)])
def test_another_limit_is_followed_by_all_three_and_by_the_words(
    thickness: float, thin: int
) -> None:
    study = changed("scans", slice_thickness_mm=thickness)
    whole = {"n_missing_slices": 0, "n_duplicate_slices": 0}
    scans = [{"slice_thickness_mm": mm, "slice_spacing_mm": mm, **whole} for mm in (1.0, 1.5, 5.0)]
    rules = study.section("scans")
    assert sum(judge_slices(scan, rules)[0] == "met" for scan in scans) == thin
    assert summarise_scans(frame(scans), rules)[0]["thin"] == thin
    english, chinese = criterion_words(study)["I5"]
    assert f"≤ {thickness:g} mm" in english
    assert f"≤{thickness:g} mm" in chinese


def test_age_and_stages_in_words_are_those_of_the_protocol() -> None:
    words = criterion_words(changed("eligibility", minimum_age_years=21, stages=["IV"]))
    assert words["I9"] == ("Age 21 or above", "年龄≥21岁")
    assert words["I2"][0] == "Stage IV, not resectable"


def test_the_stored_evidence_of_progression_is_the_protocols() -> None:
    rules = {
        **STUDY.section("recist"),
        "progression_mm": 10.0,
        "progression_ratio": 1.5,
        "response_ratio": 0.6,
    }
    baseline = recist.Baseline(targets={"L1": False}, nontargets={}, sum_mm=100.0)
    grown, shrunk = (
        recist.Targets(measured_mm=mm, there=("L1",), missing=()) for mm in (200.0, 50.0)
    )
    assert recist.target_response(grown, baseline, 100.0, rules) == (
        "PD",
        "sum at least 10 mm and 50 % above nadir",
    )
    assert recist.target_response(shrunk, baseline, 50.0, rules) == (
        "PR",
        "sum at most 60 % of baseline",
    )


def test_the_examples_hold() -> None:
    assert doctest.testmod(slice_limits).failed == 0
    assert doctest.testmod(recist).failed == 0

"""Quartiles against polars, which interpolates by the same definition."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dagster_project.statistics.description import quartiles


@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=40))
def test_quartiles_are_those_of_polars(values):
    found, series = quartiles(values), pl.Series(values)
    expected = [series.quantile(q, "linear") for q in (0.25, 0.5, 0.75)]
    assert [found.low, found.median, found.high] == pytest.approx(expected)


def test_nobody_has_no_quartiles():
    assert quartiles([]) is None

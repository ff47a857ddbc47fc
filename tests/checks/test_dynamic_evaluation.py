"""A figure without value and reason, one outside its bounds, and a misled patient are found."""

from __future__ import annotations

import pytest

from checks.dynamic_evaluation import nobody_misled, whole
from dagster_project.resources import Lakehouse

FIGURE = {
    "question": "timing",
    "population": "all",
    "site": "*",
    "comparator": "standard",
    "unit": "1",
    "value": 0.5,
    "lower": 0.4,
    "upper": 0.6,
    "estimable": True,
}


@pytest.mark.parametrize(
    ("changed", "passed"),
    [
        ({}, True),
        ({"lower": None, "upper": None}, True),
        ({"value": None, "estimable": False, "reason": "not estimable"}, True),
        ({"value": None, "estimable": False}, False),
        ({"value": None, "reason": "not estimable"}, False),
        ({"lower": 0.51}, False),
        ({"upper": 0.49}, False),
    ],
)
def test_a_figure_has_a_value_within_its_bounds_or_a_reason(
    lakehouse: Lakehouse, fill, changed, passed
) -> None:
    fill("dynamic_evaluation", {**FIGURE, "statistic": "sound"}, {**FIGURE, **changed})
    assert whole(lakehouse).passed == passed


@pytest.mark.parametrize(("events", "passed"), [(0, True), (1, False)])
def test_a_recoverer_with_other_advice_is_counted(
    lakehouse: Lakehouse, fill, events, passed
) -> None:
    row = {"statistic": "recoverers_given_other_advice", "events": events, "n": 3}
    fill("dynamic_evaluation", {**FIGURE, **row})
    found = nobody_misled(lakehouse)
    assert (found.passed, found.metadata["misled"].value) == (passed, events)

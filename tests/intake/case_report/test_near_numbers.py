"""One slip of the finger makes a number of another; two do not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dagster_project.intake.case_report.near_numbers import NearNumbers, likeness

NUMBERS = st.text("0123456789AB", min_size=4, max_size=8)


@pytest.mark.parametrize(
    ("one", "other", "how"),
    [
        ("12345678", "12345679", "differ in one character"),
        ("12345678", "12435678", "differ by two neighbours swapped"),
        ("12345678", "1234578", "differ by one character more"),
        ("ZY0012345", "ZY0012245", "differ in one character"),
        ("12345678", "12345678", ""),
        ("12345678", "12354687", ""),
        ("12345678", "82345671", ""),
        ("12345678", "123456", ""),
        ("1234", "1235", ""),
        ("12345678", "12543678", ""),
    ],
)
def test_likeness(one: str, other: str, how: str) -> None:
    assert likeness(one, other) == likeness(other, one) == how


@given(st.dictionaries(st.integers().map(str), NUMBERS, max_size=20), NUMBERS)
def test_the_search_finds_what_a_comparison_with_each_finds(
    numbers: dict[str, str], number: str
) -> None:
    assert NearNumbers(numbers).like(number) == {
        name: how for name, other in sorted(numbers.items()) if (how := likeness(number, other))
    }


@given(NUMBERS, st.data())
def test_every_slip_is_found(number: str, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(number) - 1))
    slips = {
        number[:place] + number[place + 1 :],
        number[:place] + "7" + number[place:],
        number[:place] + "7" + number[place + 1 :],
        number[:place] + number[place : place + 2][::-1] + number[place + 2 :],
    } - {number}
    for slip in slips:
        assert likeness(number, slip) or min(len(number), len(slip)) < 5

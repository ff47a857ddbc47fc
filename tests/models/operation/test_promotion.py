"""A champion is made at registered looks alone.

The error of all looks together is the protocol's.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.operation.promotion import look_due, next_look

LOOKS = {"promotion_p": 0.05, "promotion_looks": [100, 200, 300, 400, 500]}

sections = st.builds(
    lambda looks, p: {"promotion_p": p, "promotion_looks": looks},
    st.lists(st.integers(2, 2000), min_size=1, max_size=12, unique=True),
    st.sampled_from([0.01, 0.05, 0.1]),
)


def test_before_the_first_look_nothing_is_tested():
    assert look_due(99, 0, LOOKS) is None


def test_a_look_is_taken_once_and_the_next_when_its_patients_are_there():
    first = look_due(100, 0, LOOKS)
    assert first is not None
    assert first.number == 1
    assert look_due(199, 1, LOOKS) is None
    assert look_due(200, 1, LOOKS).number == 2
    assert look_due(5000, 5, LOOKS) is None


def test_patients_who_withdraw_give_no_look_back():
    """Below the patients of a look that was taken the next one is the one after it."""
    assert look_due(150, 2, LOOKS) is None
    assert next_look(2, LOOKS) == "the next look is at 300 patients"
    assert (next_look(0, LOOKS), next_look(5, LOOKS)) == (
        "the next look is at 100 patients",
        "the last look has been taken",
    )


def test_the_levels_are_those_of_obrien_and_fleming():
    """Lan and DeMets's spending function at two-sided 5 % and five equal looks.

    The values are those that ldbounds and gsDesign print.
    """
    levels = [look_due(n, k, LOOKS).level for k, n in enumerate(LOOKS["promotion_looks"])]
    spent = [sum(levels[: k + 1]) for k in range(5)]
    assert spent == pytest.approx([1.17e-5, 0.00194, 0.01140, 0.02844, 0.05], rel=5e-3)


def test_a_cohort_that_comes_at_once_may_spend_what_was_not():
    assert look_due(320, 0, LOOKS).level == pytest.approx(
        sum(look_due(n, k, LOOKS).level for k, n in enumerate((100, 200, 300)))
    )


@given(sections, st.lists(st.integers(1, 60), max_size=80))
def test_whatever_the_nights_bring_the_levels_never_exceed_the_error(section, arrivals):
    patients, looked, spent = 0, 0, 0.0
    for more in arrivals:
        patients += more
        look = look_due(patients, looked, section)
        if look is not None:
            assert look.number > looked
            looked, spent = look.number, spent + look.level
    assert spent <= section["promotion_p"] + 1e-12

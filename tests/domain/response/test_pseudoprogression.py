"""Pseudoprogression by each definition."""

from __future__ import annotations

import pytest

from dagster_project.domain.response.pseudoprogression import (
    Graded,
    find_pseudoprogression,
    is_immune_pseudoprogression,
)
from tests.domain.courses import RECIST, irecist, recist


def found(**lesions):
    visits = [
        Graded(
            a.sum_mm,
            a.baseline_sum_mm,
            a.nadir_mm,
            a.target_arithmetic,
            a.nontarget,
            bool(a.new_lesions),
            a.overall,
        )
        for a in recist(**lesions)
    ]
    p = find_pseudoprogression(visits, RECIST)
    return p.d1, p.d1_nadir, p.d2, p.d2_nadir


CASES = {
    #                                                       D1     D1 nadir  D2     D2 nadir
    "1 no progression": ({"L1": [100, 90, 60]}, (False, False, False, False)),
    "2 progression is the last visit": ({"L1": [100, 130]}, (False, False, False, False)),
    "3 PD, then PR": ({"L1": [100, 130, 60]}, (True, True, True, True)),
    "4 PD, then SD": ({"L1": [100, 130, 110]}, (False, False, True, True)),
    "5 PD, then still PD": ({"L1": [100, 130, 125]}, (False, False, False, False)),
    "6 PD over a nadir, then PR against baseline alone": (
        {"L1": [100, 50, 62, 55]},
        (True, False, True, True),
    ),
    "7 PD over a nadir, then below baseline but still over the nadir": (
        {"L1": [100, 50, 62, 62]},
        (False, False, True, False),
    ),
    "8 PD, then CR": ({"L1": [100, 130, "gone"]}, (True, True, True, True)),
    "9 a new lesion that stays is iRECIST's matter": (
        {"L1": [100, 100, 60], "N1": [None, 12, 12]},
        (False, False, False, False),
    ),
    "10 a new lesion that went": (
        {"L1": [100, 100, 60], "N1": [None, 12, "gone"]},
        (True, True, True, True),
    ),
    "11 non-targets still progressed": (
        {"L1": [100, 100, 60], "P1": ["NON_CR_NON_PD", "PD", "PD"]},
        (False, False, False, False),
    ),
    "12 never evaluable": ({"L1": [100, None, None]}, (None, None, None, None)),
    "13 not evaluable between": ({"L1": [100, 130, None, 60]}, (True, True, True, True)),
}


@pytest.mark.parametrize(("lesions", "expected"), CASES.values(), ids=CASES.keys())
def test_definitions(lesions, expected):
    assert found(**lesions) == expected


def test_the_irecist_version():
    assert is_immune_pseudoprogression(irecist(L1=[100, 100, 60], N1=[None, 12, 12]))
    assert not is_immune_pseudoprogression(irecist(L1=[100, 60, 80, 90]))

"""iRECIST, one numbered case per rule.

The patterns are those of Seymour 2017 and of the working group's questions and answers.
"""

from __future__ import annotations

import pytest

from tests.domain.courses import irecist, irecist_rules

CASES = {
    "1 before any progression it mirrors RECIST 1.1": (
        {"L1": [100, 90, 60, "gone"]},
        ["iSD", "iPR", "iCR"],
    ),
    "1 non-target disease only": (
        {"P1": ["NON_CR_NON_PD", "NON_CR_NON_PD", "CR"]},
        ["iNON_CR_NON_PD", "iCR"],
    ),
    "1 not evaluable": ({"L1": [100, None]}, ["iNE"]),
    "1 response is kept as in RECIST 1.1": ({"L1": [100, 70, 70, 80, 80, 80]}, ["iPR"] * 5),
    "1 the first progression is unconfirmed, however large": ({"L1": [100, 300]}, ["iUPD"]),
    "4 targets grow on by 5 mm": ({"L1": [100, 120, 125]}, ["iUPD", "iCPD"]),
    "4 targets grow on by less": ({"L1": [100, 120, 124.9]}, ["iUPD", "iUPD"]),
    "4 steps add up: 4 mm, then 2 mm": ({"L1": [100, 120, 124, 126]}, ["iUPD", "iUPD", "iCPD"]),
    "4 growth counts from the smallest sum since": (
        {"L1": [100, 125, 121, 126]},
        ["iUPD", "iUPD", "iCPD"],
    ),
    "4 a target missing at the iUPD is no growth when it is back": (
        {"L1": [50, 120, 120], "L2": [20, None, 20]},
        ["iUPD", "iUPD"],
    ),
    "4 non-targets: another one progressed": (
        {
            "L1": [50, 50, 50],
            "P1": ["NON_CR_NON_PD", "PD", "PD"],
            "P2": ["NON_CR_NON_PD", "NON_CR_NON_PD", "PD"],
        },
        ["iUPD", "iCPD"],
    ),
    "4 non-targets: any further increase of the measured ones": (
        {"L1": [50, 50, 50], "P1": [("NON_CR_NON_PD", 20), ("PD", 28), ("PD", 28.5)]},
        ["iUPD", "iCPD"],
    ),
    "4 non-targets: no change since": (
        {"L1": [50, 50, 50], "P1": [("NON_CR_NON_PD", 20), ("PD", 28), ("PD", 28)]},
        ["iUPD", "iUPD"],
    ),
    "4 new-lesion targets grow on by 5 mm": (
        {"L1": [50, 50, 50], "N1": [None, 12, 17]},
        ["iUPD", "iCPD"],
    ),
    "4 new-lesion targets: 4 mm, then 2 mm": (
        {"L1": [50] * 4, "N1": [None, 12, 16, 18]},
        ["iUPD", "iUPD", "iCPD"],
    ),
    "4 any growth of a new lesion below 10 mm": (
        {"L1": [50, 50, 50], "N1": [None, 7, 7.5]},
        ["iUPD", "iCPD"],
    ),
    "4 a further new lesion": (
        {"L1": [50, 50, 50], "N1": [None, 12, 12], "N2": [None, None, 6]},
        ["iUPD", "iCPD"],
    ),
    "4 in another category: targets, then a new lesion": (
        {"L1": [100, 120, 120], "N1": [None, None, 12]},
        ["iUPD", "iCPD"],
    ),
    "4 in another category: a new lesion, then targets": (
        {"L1": [100, 100, 120], "N1": [None, 12, 12]},
        ["iUPD", "iCPD"],
    ),
    "4 in another category: targets, then non-targets": (
        {"L1": [100, 120, 120], "P1": ["NON_CR_NON_PD", "NON_CR_NON_PD", "PD"]},
        ["iUPD", "iCPD"],
    ),
    "4 an equivocal lesion is not yet a further one": (
        {"L1": [50, 50, 50], "N1": [None, 12, 12], "N2": [None, None, ("?", 6)]},
        ["iUPD", "iUPD"],
    ),
    "5a no change stays unconfirmed, a later scan can confirm": (
        {"L1": [100, 120, 120, 130]},
        ["iUPD", "iUPD", "iCPD"],
    ),
    "5b back below 20 % resets": ({"L1": [100, 120, 110]}, ["iUPD", "iSD"]),
    "5b response against baseline resets": ({"L1": [100, 130, 70]}, ["iUPD", "iPR"]),
    "5b after a reset progression is unconfirmed again": (
        {"L1": [100, 120, 110, 130, 140]},
        ["iUPD", "iSD", "iUPD", "iCPD"],
    ),
    "5b the nadir before the iUPD still counts": (
        {"L1": [100, 50, 60, 58, 61, 66]},
        ["iPR", "iUPD", "iPR", "iUPD", "iCPD"],
    ),
    "5b below 70 % of baseline but above the nadir's 120 %: no reset": (
        {"L1": [100, 50, 65, 64]},
        ["iPR", "iUPD", "iUPD"],
    ),
    "5b scenario B: new lesion, then shrinkage": (
        {"L1": [100, 100, 60], "N1": [None, 12, 12]},
        ["iUPD", "iPR"],
    ),
    "5b scenario F: response, then new lesion, no change": (
        {"L1": [100, 50, 50, 50], "N1": [None, None, 12, 12]},
        ["iPR", "iUPD", "iUPD"],
    ),
    "5b new lesion, stable disease, no change": (
        {"L1": [100, 100, 100], "N1": [None, 12, 12]},
        ["iUPD", "iUPD"],
    ),
    "5b new lesion gone, stable disease": (
        {"L1": [100, 100, 100], "N1": [None, 12, "gone"]},
        ["iUPD", "iSD"],
    ),
    "5b new lesion shrinks by 5 mm": (
        {"L1": [100, 100, 100], "N1": [None, 20, 14]},
        ["iUPD", "iSD"],
    ),
    "5b iCR needs the new lesions gone": (
        {"L1": [50, 50, "gone", "gone"], "N1": [None, 12, 12, "gone"]},
        ["iUPD", "iPR", "iCR"],
    ),
    "5b non-targets no longer progressed": (
        {"L1": [50, 50, 50], "P1": ["NON_CR_NON_PD", "PD", "NON_CR_NON_PD"]},
        ["iUPD", "iSD"],
    ),
    "5b a lesion let pass is no new one": (
        {"L1": [100, 100, 60, 60], "N1": [None, 12, 12, 12]},
        ["iUPD", "iPR", "iPR"],
    ),
    "5b a lesion let pass grows by 20 % and 5 mm": (
        {"L1": [100, 100, 60, 60, 60], "N1": [None, 12, 12, 17, 22]},
        ["iUPD", "iPR", "iUPD", "iCPD"],
    ),
    "5b an old new lesion does not hold a later block": (
        {"L1": [100, 100, 60, 75, 62], "N1": [None, 12, 12, 12, 12]},
        ["iUPD", "iPR", "iUPD", "iPR"],
    ),
    "6 not evaluable neither confirms nor resets": (
        {"L1": [100, 120, None, 126]},
        ["iUPD", "iNE", "iCPD"],
    ),
    "6 the category it began in is not evaluable": (
        {"L1": [50] * 4, "P1": ["NON_CR_NON_PD", "PD", "NE", "NON_CR_NON_PD"]},
        ["iUPD", "iNE", "iSD"],
    ),
    "7 confirmed stays confirmed": (
        {"L1": [100, 120, 126, 60, None]},
        ["iUPD", "iCPD", "iCPD", "iCPD"],
    ),
    "8 reappearance after complete response": (
        {"L1": [50, "gone", 3, 3, 8]},
        ["iCR", "iUPD", "iUPD", "iCPD"],
    ),
    "9 baseline not measured": ({"L1": ["seen", 50]}, ["iNE"]),
    "10 no disease at baseline": ({"L1": ["gone", None]}, ["iNED"]),
}


@pytest.mark.parametrize(("lesions", "expected"), CASES.values(), ids=CASES.keys())
def test_state_machine(lesions, expected):
    assert irecist(**lesions) == expected


WINDOW_CASES = {
    "1 25 days: too early, disregarded": ([0, 60, 85], {}, ["iUPD", "iUPD"]),
    "2 26 days: within the tolerance": ([0, 60, 86], {}, ["iUPD", "iCPD"]),
    "3 56 days": ([0, 60, 116], {}, ["iUPD", "iCPD"]),
    "4 late": ([0, 60, 160], {}, ["iUPD", "iCPD"]),
    "5 days unknown: the order alone counts": ([None, None, None], {}, ["iUPD", "iCPD"]),
    "6 early for a new symptom, but no further new lesion": (
        [0, 60, 75],
        {"symptoms": (2,)},
        ["iUPD", "iUPD"],
    ),
}


@pytest.mark.parametrize(
    ("days", "more", "expected"), WINDOW_CASES.values(), ids=WINDOW_CASES.keys()
)
def test_window_of_confirmation(days, more, expected):
    assert irecist(L1=[100, 120, 130], days=days, **more) == expected


def test_late_confirmation_is_flagged():
    late, timely = (irecist_rules(L1=[100, 120, 130], days=[0, 60, day])[-1] for day in (119, 118))
    assert "confirmation late" in late
    assert "confirmation late" not in timely


def test_an_early_scan_does_not_reset_either():
    assert irecist(L1=[100, 120, 60, 60], days=[0, 60, 70, 100]) == ["iUPD", "iUPD", "iPR"]


def test_early_scan_for_a_symptom_that_shows_a_further_new_lesion_confirms():
    """The question of the working group.

    New liver lesions, 14 days later a new lesion elsewhere on a scan for new symptoms.
    """
    lesions = {"L1": [50, 50, 50, 50], "N1": [None, 12, 12, 12], "N2": [None, None, 8, 8]}
    assert irecist(**lesions, days=[0, 60, 74, 92], symptoms=(2,)) == ["iUPD", "iCPD", "iCPD"]
    assert irecist(**lesions, days=[0, 60, 74, 92]) == ["iUPD", "iUPD", "iCPD"]


def test_the_grounds_of_confirmation_are_told():
    assert (
        irecist_rules(L1=[100, 100, 120], N1=[None, 12, 17])[-1]
        == "iCPD: new lesions grew on; progression in T as well"
    )

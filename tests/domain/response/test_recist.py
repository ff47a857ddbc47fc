"""RECIST 1.1, one numbered case a rule; then real subjects and real sums."""

from __future__ import annotations

from collections import Counter, defaultdict

import pytest

from dagster_project.domain.response.findings import Finding, RecistVisit, measure, read_baseline
from dagster_project.domain.response.recist import (
    assess,
    is_progression,
    is_response,
    nontarget_response,
    overall_response,
)
from tests.domain.courses import RECIST, course, finding, overall, recist, rows_of

TARGET_CASES = {
    # name                                            L1, L2 ... at baseline and later       target
    # response by the sums
    "1 a target not evaluated": ({"L1": [50, 50], "L2": [50, None]}, ["NE"]),
    "1 a target seen without a size": ({"L1": [50, 50], "L2": [50, "seen"]}, ["NE"]),
    "2 all gone": ({"L1": [50, "gone"], "L2": [50, 0]}, ["CR"]),
    "2 nodes below 10 mm are normal": ({"L1": [50, "gone"], "K1": [20, 9.9]}, ["CR"]),
    "2 a node of 10 mm is not": ({"L1": [50, "gone"], "K1": [20, 10]}, ["PR"]),
    "2 gone but one not evaluated": ({"L1": [50, "gone"], "L2": [50, None]}, ["NE"]),
    "2 nodes that were normal at baseline cannot be gone": ({"K1": [8, 7, 11]}, ["NE", "SD"]),
    "2 a node that was normal at baseline beside a lesion": (
        {"L1": [50, "gone"], "K1": [8, 7]},
        ["CR"],
    ),
    "2 CR goes before PD: nodes 3 to 9 mm": ({"K1": [20, 3, 9]}, ["CR", "CR"]),
    "3 20 % and 5 mm above baseline": ({"L1": [100, 120]}, ["PD"]),
    "3 20 % but not 5 mm": ({"L1": [20, 24.9]}, ["SD"]),
    "3 5 mm but not 20 %": ({"L1": [100, 119.9]}, ["SD"]),
    "3 above the nadir, below baseline": ({"L1": [100, 50, 60]}, ["PR", "PD"]),
    "3 exactly 20 % in floating point": ({"L1": [33.3, 33.3 * 1.2]}, ["PD"]),
    "3 by the measured part alone": ({"L1": [50, 120], "L2": [50, None]}, ["PD"]),
    "3 an incomplete sum is no nadir": ({"L1": [50, 20, 50], "L2": [50, None, 50]}, ["NE", "SD"]),
    "4 exactly 30 % below baseline": ({"L1": [33.3, 33.3 * 0.7]}, ["PR"]),
    "4 PR is measured from baseline": ({"L1": [100, 65, 69]}, ["PR", "PR"]),
    "5 else": ({"L1": [100, 71]}, ["SD"]),
    "6 reappears after complete response, below 5 mm": ({"L1": [50, "gone", 3]}, ["CR", "PD"]),
    "6 node back to 10 mm after complete response": (
        {"L1": [50, "gone", "gone"], "K1": [20, 8, 10]},
        ["CR", "PD"],
    ),
    "6 node 9 to 11 mm without complete response": (
        {"L1": [50, 30, 30], "K1": [20, 9, 11]},
        ["PR", "PR"],
    ),
    "6 reappears while others are there": (
        {"L1": [50, "gone", 3], "L2": [50, 30, 30]},
        ["PR", "PR"],
    ),
    "6 CR was not that of the patient": (
        {"L1": [50, "gone", 3], "P1": ["NON_CR_NON_PD"] * 3},
        ["CR", "PR"],
    ),
    "6 still there after it reappeared": ({"L1": [50, "gone", 3, 3]}, ["CR", "PD", "PD"]),
    "6 a visit not evaluated lies between": ({"L1": [50, "gone", None, 3]}, ["CR", "NE", "PD"]),
    "7 no number at baseline": ({"L1": ["seen", 30]}, ["NE"]),
    "8 no target": ({"P1": ["NON_CR_NON_PD"] * 2}, ["NONE"]),
}


@pytest.mark.parametrize(("lesions", "expected"), TARGET_CASES.values(), ids=TARGET_CASES.keys())
def test_target_response_by_the_sums(lesions, expected):
    assert [a.target_arithmetic for a in recist(**lesions)] == expected


KEPT_CASES = {
    "1 165, 63, 65 mm is a continuing PR": ([165, 63, 65], ["PR", "PR"], ["PR", "PR"]),
    "2 80 is 20 % below baseline and 14 % above nadir": (
        [100, 70, 70, 80, 80, 80],
        ["PR", "PR", "SD", "SD", "SD"],
        ["PR"] * 5,
    ),
    "3 a visit not evaluated changes nothing": (
        [100, 70, None, 80],
        ["PR", "NE", "SD"],
        ["PR", "NE", "PR"],
    ),
    "4 progression ends it": ([100, 60, 80, 75], ["PR", "PD", "PD"], ["PR", "PD", "PD"]),
    "5 after progression it has to be met again": (
        [100, 60, 80, 71],
        ["PR", "PD", "SD"],
        ["PR", "PD", "SD"],
    ),
}


@pytest.mark.parametrize(
    ("sums", "arithmetic", "target"), KEPT_CASES.values(), ids=KEPT_CASES.keys()
)
def test_stable_disease_is_not_reassigned_after_response(sums, arithmetic, target):
    found = recist(L1=sums)
    assert [a.target_arithmetic for a in found] == arithmetic
    assert [a.target for a in found] == target


EORTC_CASES = {
    # EORTC's questions and answers on RECIST 1.1: a line per lesion, a column per visit
    # overall response
    "A lesion that is too small for a number counts 5 mm; one that is measured at 3 mm counts 3": (
        {"L1": [20, "small", 3]},
        ["PR", "PR"],
    ),
    "Nodes below 10 mm are normal; the sum of a complete response need not be 0": (
        {"L1": [30, "gone"], "K1": [18, 8]},
        ["CR"],
    ),
    "A node of 9 that measures 11 mm again is not of itself progression": (
        {"L1": [40, 25, 25], "K1": [18, 9, 11]},
        ["PR", "PR"],
    ),
    "A lesion that went and came back while others remained is no new lesion": (
        {"L1": [40, 0, 6], "L2": [40, 40, 40]},
        ["PR", "PR"],
    ),
    "After a definite complete response whatever comes back is progression": (
        {"L1": [40, "gone", 4]},
        ["CR", "PD"],
    ),
    "A small increase after a deep response is no stable disease again": (
        {"L1": [165, 63, 65]},
        ["PR", "PR"],
    ),
    "20 % above a small nadir, but not 5 mm: no progression": ({"L1": [30, 10, 13]}, ["PR", "PR"]),
    "One target not measured, and the others alone have grown by 20 % and 5 mm": (
        {"L1": [40, 90], "L2": [20, None]},
        ["PD"],
    ),
    "One target not measured, and the others shrank": ({"L1": [40, 10], "L2": [20, None]}, ["NE"]),
    "Targets gone, non-targets not assessed: no complete response": (
        {"L1": [40, "gone"], "P1": ["NON_CR_NON_PD", "NE"]},
        ["PR"],
    ),
    "A doubtful new lesion that was one: progression from its first appearance": (
        {"L1": [40, 40, 40], "N1": [None, ("?", 5), 9]},
        ["PD", "PD"],
    ),
    "A doubtful new lesion that was none": (
        {"L1": [40, 40, 40], "N1": [None, ("?", 5), "gone"]},
        ["SD", "SD"],
    ),
    "No target: neither response nor stable disease, but non-CR/non-PD": (
        {"P1": ["NON_CR_NON_PD", "NON_CR_NON_PD", "CR"]},
        ["NON_CR_NON_PD", "CR"],
    ),
}


@pytest.mark.parametrize(("lesions", "expected"), EORTC_CASES.values(), ids=EORTC_CASES.keys())
def test_questions_and_answers_of_the_eortc(lesions, expected):
    assert overall(**lesions) == expected


def test_nadir_and_sum_are_those_of_complete_visits():
    found = recist(L1=[100, 60, None, 70], L2=[10, 5, 5, 5])
    assert [a.sum_mm for a in found] == [65, None, 75]
    assert [a.nadir_mm for a in found] == [110, 65, 65]
    assert {a.baseline_sum_mm for a in found} == {110}


def test_fragments_are_added_and_a_merged_mass_counts_once():
    baseline, (split,) = course(L1=[40, None], L2=[30, 20], L1a=[None, 15], L1b=[None, 10])
    assert assess(baseline, [split], RECIST)[0].sum_mm == 45
    merged = RecistVisit("V1", 42, (Finding("L1+L2", "target", diameter_mm=48.0),))
    assert assess(baseline, [merged], RECIST)[0].sum_mm == 48
    gone = RecistVisit("V1", 42, (Finding("L1+L2", "target", present=False),))
    assert assess(baseline, [gone], RECIST)[0].overall == "CR"


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        pytest.param({}, "NONE", id="1 none at baseline"),
        pytest.param(
            {"P1": "NON_CR_NON_PD", "P2": "PD", "P3": "NE"},
            "PD",
            id="2 unequivocal progression of one",
        ),
        pytest.param({"P1": "NON_CR_NON_PD", "P2": None}, "NE", id="4 one not looked at"),
        pytest.param({"P1": "CR", "P2": "NE"}, "NE", id="4 one not evaluable"),
        pytest.param({"P1": "CR", "P2": "gone"}, "CR", id="5 all gone"),
        pytest.param({"P1": "CR", "Q1": 9.0}, "CR", id="5 a node below 10 mm"),
        pytest.param({"P1": "CR", "Q1": 10.0}, "NON_CR_NON_PD", id="6 a node of 10 mm"),
        pytest.param(
            {"P1": "CR", "P2": 40.0}, "NON_CR_NON_PD", id="6 larger without the reader's word"
        ),
    ],
)
def test_nontarget_response(states, expected):
    baseline = RecistVisit(
        "T0", 0, (*(finding(label, 12.0) for label in states), finding("L1", 30))
    )
    visit = RecistVisit(
        "V1",
        42,
        tuple(finding(label, value) for label, value in states.items() if value is not None),
    )
    assert nontarget_response(visit, read_baseline(baseline, RECIST), RECIST) == expected


def test_nontarget_that_comes_back_after_complete_response_is_progression_unless_a_node():
    assert overall(L1=[50, "gone", "gone"], P1=["NON_CR_NON_PD", "CR", "NON_CR_NON_PD"]) == [
        "CR",
        "PD",
    ]
    assert overall(L1=[50, "gone", "gone"], Q1=[12, 8, 11]) == ["CR", "PR"]


OVERALL_TABLE = [
    ("CR", "CR", False, "CR"),
    ("CR", "NONE", False, "CR"),
    ("CR", "NON_CR_NON_PD", False, "PR"),
    ("CR", "NE", False, "PR"),
    ("PR", "CR", False, "PR"),
    ("PR", "NON_CR_NON_PD", False, "PR"),
    ("PR", "NE", False, "PR"),
    ("PR", "NONE", False, "PR"),
    ("SD", "CR", False, "SD"),
    ("SD", "NON_CR_NON_PD", False, "SD"),
    ("SD", "NE", False, "SD"),
    ("SD", "NONE", False, "SD"),
    ("NE", "CR", False, "NE"),
    ("NE", "NON_CR_NON_PD", False, "NE"),
    ("NE", "NE", False, "NE"),
    ("NE", "NONE", False, "NE"),
    ("NONE", "CR", False, "CR"),
    ("NONE", "NON_CR_NON_PD", False, "NON_CR_NON_PD"),
    ("NONE", "NE", False, "NE"),
    ("NONE", "NONE", False, "NED"),
]
"""Eisenhauer 2009, tables 1 and 2: target, non-target, new lesion, overall."""


@pytest.mark.parametrize(("target", "nontarget", "new", "expected"), OVERALL_TABLE)
def test_overall_response_by_the_tables(target, nontarget, new, expected):
    assert overall_response(target, nontarget, new_lesion=new) == expected


@pytest.mark.parametrize("target", ["CR", "PR", "SD", "NE", "PD", "NONE"])
@pytest.mark.parametrize("nontarget", ["CR", "NON_CR_NON_PD", "NE", "PD", "NONE"])
def test_any_progression_is_progression(target, nontarget):
    assert overall_response(target, nontarget, new_lesion=True) == "PD"
    assert (overall_response(target, nontarget, new_lesion=False) == "PD") == (
        "PD" in (target, nontarget)
    )


NEW_CASES = {
    "1 unequivocal": ({"L1": [50, 50], "N1": [None, 12]}, ["PD"]),
    "2 equivocal goes on": ({"L1": [50, 50], "N1": [None, ("?", 6)]}, ["SD"]),
    "3 equivocal, then certain: PD from its first appearance": (
        {"L1": [50, 50, 50], "N1": [None, ("?", 6), 9]},
        ["PD", "PD"],
    ),
    "4 stays a new lesion while nothing is said of it": (
        {"L1": [50, 50, 50], "N1": [None, 12, None]},
        ["PD", "PD"],
    ),
    "5 until it has gone": ({"L1": [50, 50, 50], "N1": [None, 12, "gone"]}, ["PD", "SD"]),
    "6 a node of 9 mm is normal": ({"L1": [50, 50], "M1": [None, 9]}, ["SD"]),
    "7 a node of 11 mm that the reader doubts": (
        {"L1": [50, 50, 50], "M1": [None, 9, ("?", 11)]},
        ["SD", "SD"],
    ),
    "8 absent where no disease was": ({"L1": ["gone", None]}, ["NED"]),
    "9 new where no disease was": ({"L1": ["gone", None], "N1": [None, 12]}, ["PD"]),
}


@pytest.mark.parametrize(("lesions", "expected"), NEW_CASES.values(), ids=NEW_CASES.keys())
def test_new_lesions(lesions, expected):
    assert overall(**lesions) == expected


def test_the_rule_tells_what_was_found():
    early, late = recist(L1=[50, 30, 50], N1=[None, ("?", 6), 9])
    assert "new lesion N1 called unequivocal later" in early.rule
    assert "target PD: sum at least 5 mm and 20 % above nadir" in late.rule
    assert "PR kept" in recist(L1=[100, 70, 80])[1].rule


def test_a_target_that_was_not_there_at_baseline_is_told_and_left_out():
    (found,) = recist(L1=[50, 50], L2=[None, 30])
    assert (found.overall, found.sum_mm) == ("SD", 50)
    assert "L2 called target but not there at baseline" in found.rule


@pytest.mark.real_data
def test_every_response_of_the_sdtm_subjects_from_raw_diameters(shared_data):
    """Three subjects x investigator and two radiologists (pharmaversesdtm).

    The node's short axis is LPERP.
    """
    read = {
        name: rows_of(shared_data / "response" / f"sdtm_{name}_recist.csv")
        for name in ("tr", "tu", "rs")
    }
    nodes = {
        (r["USUBJID"], r["TUEVALID"], r["TULNKID"])
        for r in read["tu"]
        if r["TULOC"] == "LYMPH NODE"
    }
    expected = {
        (r["USUBJID"], r["RSEVALID"], r["VISITNUM"]): r["RSSTRESC"]
        .replace("-", "_")
        .replace("/", "_")
        for r in read["rs"]
    }
    found = {
        (*who, a.visit): a.overall
        for who, visits in sdtm_visits(read["tr"], nodes).items()
        for a in assess(visits[0], visits[1:], RECIST)
    }
    assert len(expected) == 24
    assert found == expected


def sdtm_visits(rows, nodes):
    found = defaultdict(lambda: defaultdict(list))
    for r in rows:
        who, node = (
            (r["USUBJID"], r["TREVALID"]),
            (r["USUBJID"], r["TREVALID"], r["TRLNKID"]) in nodes,
        )
        if r["TRTESTCD"] == ("LPERP" if node else "LDIAM"):
            size = float(r["TRSTRESN"])
            found[who][r["VISITNUM"]].append(
                Finding(r["TRLNKID"], "target", node=node, present=size > 0, diameter_mm=size)
            )
        elif r["TRTESTCD"] == "TUMSTATE" and r["TRLNKID"] not in {
            f.lesion for f in found[who][r["VISITNUM"]]
        }:
            found[who][r["VISITNUM"]].append(
                Finding(r["TRLNKID"], "non_target", present=r["TRSTRESC"] == "PRESENT")
            )
    return {
        who: [
            RecistVisit(number, None, tuple(findings))
            for number, findings in sorted(visits.items())
        ]
        for who, visits in found.items()
    }


@pytest.mark.real_data
def test_progression_then_response_in_three_trials(shared_data):
    """Sums of atezolizumab trials: PD then PR or CR in 2, 3 and 5 patients.

    They have words for numbers, blanks and repeated days.
    """
    counts = Counter()
    for who, visits in trial_visits(shared_data).items():
        before = [
            place
            for place, v in enumerate(visits)
            if v.day <= 7 and (measure(v.findings[0], RECIST) or 0) > 0
        ]
        if before:
            responses = [
                a.overall for a in assess(visits[before[-1]], visits[before[-1] + 1 :], RECIST)
            ]
            after = responses[responses.index("PD") :] if "PD" in responses else []
            counts[who[0]] += bool({"PR", "CR"}.intersection(after))
    assert counts == {"Study1": 2, "Study2": 3, "Study3": 5}


def trial_visits(shared_data):
    found = defaultdict(dict)
    for r in rows_of(shared_data / "response" / "target_lesion_diameters_studies_1_3.csv"):
        text = r["target_lesion_long_diam_mm"]
        number = float(text) if text.replace(".", "").isdigit() else None
        found[r["study"], r["patient"]][int(r["day"])] = Finding(
            "L1",
            "target",
            present=number != 0,
            diameter_mm=number,
            too_small=text == "TOO SMALL TO MEASURE",
        )
    return {
        who: [RecistVisit(str(day), day, (by_day[day],)) for day in sorted(by_day)]
        for who, by_day in found.items()
    }


@pytest.mark.real_data
def test_response_of_lesion_pairs(shared_data):
    """DeepLesion's forward pairs of the `valid` split.

    There are 426, of which 13 shrank to PR and 33 grew to PD.
    """
    pairs = [
        r
        for r in rows_of(shared_data / "response" / "deeplesion_longitudinal_pairs.csv")
        if r["split"] == "valid" and int(r["source_study"]) < int(r["target_study"])
    ]
    sizes = [(float(r["source_long_mm"]), float(r["target_long_mm"])) for r in pairs]
    assert len(pairs) == 426
    assert sum(is_response(later, first, RECIST) for first, later in sizes) == 13
    assert sum(is_progression(later, first, RECIST) for first, later in sizes) == 33

"""The register of new lesions: which enter, when, as what, and which have gone."""

from __future__ import annotations

from dagster_project.domain.response.findings import Finding, RecistVisit, read_baseline
from dagster_project.domain.response.new_lesions import (
    find_new_lesions,
    is_gone,
    register_new_lesions,
)
from tests.domain.courses import RECIST, course


def test_new_lesion_targets_are_the_largest_five_and_two_an_organ():
    sizes = {"N1": 30, "N2": 28, "N3": 26, "N4": 24, "N5": 8, "N6": 12}
    organs = {"N1": "lung", "N2": "lung", "N3": "lung", "N4": "liver", "N5": "liver", "N6": "bone"}
    findings = tuple(
        Finding(n, "new", diameter_mm=float(s), unequivocal=True, organ=organs[n])
        for n, s in sizes.items()
    )
    baseline = read_baseline(
        RecistVisit("T0", 0, (Finding("L1", "target", diameter_mm=20.0),)), RECIST
    )
    (found,) = register_new_lesions([RecistVisit("V1", 42, findings)], baseline, RECIST)
    assert sorted(found.targets) == ["N1", "N2", "N4", "N6"]
    assert found.sum_mm == 30 + 28 + 24 + 12
    assert found.others == {"N3": 26.0, "N5": 8.0}


def test_sum_of_new_lesions_is_never_added_to_the_targets():
    baseline, visits = course(L1=[50, 50], N1=[None, 20])
    (found,) = register_new_lesions(visits, read_baseline(baseline, RECIST), RECIST)
    assert found.sum_mm == 20


def test_a_lesion_enters_when_it_is_called_unequivocal_and_keeps_its_first_appearance():
    baseline, visits = course(
        L1=[50] * 4, N1=[None, ("?", 6), 8, None], N2=[None, None, ("?", 5), ("?", 5)]
    )
    old = read_baseline(baseline, RECIST)
    assert [(n.label, n.appeared, n.certain) for n in find_new_lesions(visits, old, RECIST)] == [
        ("N1", 0, 1),
        ("N2", 1, None),
    ]
    assert [sorted(r.known) for r in register_new_lesions(visits, old, RECIST)] == [
        [],
        ["N1"],
        ["N1"],
    ]


def test_a_fragment_of_a_new_lesion_is_no_further_one():
    baseline, visits = course(
        L1=[50] * 3, N1=[None, 20, None], N1a=[None, None, 9], N1b=[None, None, 8]
    )
    register = register_new_lesions(visits, read_baseline(baseline, RECIST), RECIST)
    assert [(sorted(r.known), r.sum_mm) for r in register] == [(["N1"], 20.0), (["N1"], 17.0)]


def test_silence_leaves_a_lesion_where_it_was():
    _, visits = course(L1=[50] * 5, N1=[None, 12, None, "gone", None])
    assert [is_gone("N1", visits, place, ["N1"]) for place in range(4)] == [
        False,
        False,
        True,
        True,
    ]

"""What must hold of every course, whatever it is."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from dagster_project.domain.response.best_response import (
    Graded,
    best_response,
    confirmed_best_response,
    until_progression,
)
from dagster_project.domain.response.findings import RecistVisit
from dagster_project.domain.response.irecist import assess_irecist
from dagster_project.domain.response.progression_free import FollowUp, progression_free_survival
from dagster_project.domain.response.recist import assess
from tests.domain.courses import ENDPOINTS, IRECIST, RECIST, course

SIZE = st.one_of(st.sampled_from(["gone", "small", None]), st.integers(3, 60))
STATE = st.sampled_from(["CR", "NON_CR_NON_PD", "NON_CR_NON_PD", "PD", "NE", None])
NEW = st.one_of(st.none(), st.sampled_from(["gone", ("?", 6)]), st.integers(5, 25))


@st.composite
def drawn_courses(draw):
    """Two targets, a node, a non-target and two lesions that may appear, at up to six visits."""
    n = draw(st.integers(1, 6))
    later = {"L1": SIZE, "L2": SIZE, "K1": SIZE, "P1": STATE, "N1": NEW, "N2": NEW}
    lines = {
        label: [draw(st.lists(values, min_size=n, max_size=n))] for label, values in later.items()
    }
    first = {"L1": 40, "L2": 25, "K1": 18, "P1": "NON_CR_NON_PD", "N1": None, "N2": None}
    gaps = draw(st.lists(st.integers(14, 90), min_size=n, max_size=n))
    days = [0, *(sum(gaps[: place + 1]) for place in range(n))]
    return course(days=days, **{label: [first[label], *lines[label][0]] for label in first})


def both(baseline, visits):
    return (
        [a.overall for a in assess(baseline, visits, RECIST)],
        [a.response for a in assess_irecist(baseline, visits, RECIST, IRECIST)],
    )


COURSES = settings(deadline=None, max_examples=60)


@COURSES
@given(drawn_courses(), st.randoms(use_true_random=False))
def test_the_order_of_findings_does_not_matter(drawn, random):
    baseline, visits = drawn
    shuffled = [
        replace(v, findings=tuple(random.sample(v.findings, len(v.findings))))
        for v in (baseline, *visits)
    ]
    assert both(shuffled[0], shuffled[1:]) == both(baseline, visits)


@COURSES
@given(drawn_courses())
def test_labels_are_only_names(drawn):
    baseline, visits = drawn
    new = {"L1": "T07", "L2": "T03", "K1": "T11", "P1": "NT2", "N1": "X9", "N2": "X1"}
    renamed = [
        replace(v, findings=tuple(replace(f, lesion=new[f.lesion]) for f in v.findings))
        for v in (baseline, *visits)
    ]
    assert both(renamed[0], renamed[1:]) == both(baseline, visits)


@COURSES
@given(drawn_courses(), st.integers(-2000, 2000))
def test_dates_may_be_shifted(drawn, shift):
    baseline, visits = drawn
    moved = [replace(v, day=v.day + shift) for v in (baseline, *visits)]
    assert both(moved[0], moved[1:]) == both(baseline, visits)


@COURSES
@given(drawn_courses(), st.integers(0, 6))
def test_a_visit_at_which_nothing_was_seen_changes_no_other(drawn, place):
    baseline, visits = drawn
    place = min(place, len(visits))
    day = ([baseline, *visits][place].day or 0) + 1
    with_blank = [*visits[:place], RecistVisit("blank", day, ()), *visits[place:]]
    recist, irecist = both(baseline, with_blank)
    assert [r for n, r in enumerate(recist) if n != place] == both(baseline, visits)[0]
    assert irecist[place] in {"iNE", "iUPD", "iCPD"}
    assert [r for n, r in enumerate(irecist) if n != place] == both(baseline, visits)[1]


@COURSES
@given(drawn_courses(), st.integers(1, 5))
def test_irecist_knows_nothing_of_later_visits(drawn, n):
    baseline, visits = drawn
    assert both(baseline, visits[:n])[1] == both(baseline, visits)[1][:n]


@COURSES
@given(drawn_courses())
def test_progression_is_confirmed_only_after_it_was_unconfirmed(drawn):
    _, irecist = both(*drawn)
    if "iCPD" in irecist:
        first = irecist.index("iCPD")
        assert "iUPD" in irecist[:first]
        assert set(irecist[first:]) == {"iCPD"}
    assert [r for r in irecist if r not in {"iNE", "iSD", "iPR", "iCR", "iNON_CR_NON_PD", "iNED"}][
        :1
    ] in ([], ["iUPD"])


@COURSES
@given(drawn_courses())
def test_the_first_progression_by_recist_is_unconfirmed_by_irecist_and_before_it_they_agree(drawn):
    recist, irecist = both(*drawn)
    first = recist.index("PD") if "PD" in recist else len(recist)
    assert [r.removeprefix("i") for r in irecist[:first]] == recist[:first]
    equivocal_then = [
        a for a in assess(*drawn, RECIST)[first : first + 1] if "called unequivocal later" in a.rule
    ]
    assert irecist[first : first + 1] in ([], ["iUPD"]) or equivocal_then


@COURSES
@given(drawn_courses(), drawn_courses())
def test_nothing_after_the_first_progression_changes_best_response_or_survival(drawn, other):
    baseline, visits = drawn
    graded = [Graded(a.day, a.overall) for a in assess(baseline, visits, RECIST)]
    until = until_progression(graded)
    tail = [
        Graded(v.day + (visits[-1].day or 0), r)
        for v, r in zip(other[1], both(*other)[0], strict=True)
    ]
    if until and until[-1].response == "PD":
        longer = until_progression([*until, *tail])
        assert best_response(longer, RECIST) == best_response(until, RECIST)
        assert confirmed_best_response(longer, RECIST) == confirmed_best_response(until, RECIST)
        assert survival([*until, *tail]) == survival(until)


def survival(graded):
    return progression_free_survival(
        FollowUp(has_baseline=True, responses=[(v.day, v.response) for v in graded]), ENDPOINTS
    )


@COURSES
@given(drawn_courses())
def test_confirmation_never_makes_a_response_better(drawn):
    order = ["CR", "PR", "SD", "NON_CR_NON_PD", "PD", "NE", "NED"]
    graded = until_progression([Graded(a.day, a.overall) for a in assess(*drawn, RECIST)])
    with_it, without = confirmed_best_response(graded, RECIST), best_response(graded, RECIST)
    assert order.index(with_it) >= order.index(without)


@COURSES
@given(drawn_courses())
def test_sums_are_never_below_the_nadir_unless_they_become_it(drawn):
    found = assess(*drawn, RECIST)
    for earlier, later in pairwise(found):
        assert later.nadir_mm == min(x for x in (earlier.nadir_mm, earlier.sum_mm) if x is not None)
    assert all(
        (a.sum_mm is None) == (a.target_arithmetic == "NE") or a.target_arithmetic == "PD"
        for a in found
    )

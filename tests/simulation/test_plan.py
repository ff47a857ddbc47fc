from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dagster_project.simulation.plan import (
    DEMO,
    EXCLUDING,
    EXPECTED,
    RESPONDING,
    TINY,
    TROUBLES,
    Trouble,
)


def eligible(plan):
    return [
        (site.courses[ordinal] in RESPONDING, index)
        for index, site in enumerate(plan.sites)
        for ordinal in range(plan.patients_per_site)
        if not plan.troubles_of(index, ordinal) & EXCLUDING
    ]


def test_demo_leaves_enough_of_both_classes_at_every_site():
    answers = eligible(DEMO)
    assert len(answers) >= 18
    assert min(sum(a for a, _ in answers), sum(not a for a, _ in answers)) >= 6
    assert {(a, site) for a, site in answers} == {
        (a, site) for a in (True, False) for site in range(3)
    }


def test_demo_plants_every_kind_of_trouble_and_every_course():
    assert {trouble.kind for trouble in DEMO.planted()} == set(TROUBLES)
    assert {course for site in DEMO.sites for course in site.courses} == set(EXPECTED)


def test_careless_reads_are_at_one_site_and_touch_about_a_third_of_the_patients():
    careless = [site for site in DEMO.sites if site.careless]
    assert len(careless) == 1
    assert 0.3 <= len(careless[0].careless) / DEMO.patients_per_site <= 0.5


def test_sites_differ_in_scanner_charset_csv_and_contours():
    for facts in (
        {site.scanner.manufacturer for site in DEMO.sites},
        {site.scanner.kernel for site in DEMO.sites},
        {site.charset for site in DEMO.sites},
        {(site.csv_encoding, site.csv_separator) for site in DEMO.sites},
        {site.formats for site in DEMO.sites},
    ):
        assert len(facts) == len(DEMO.sites)


def test_a_stream_depends_on_seed_and_purpose_alone():
    assert (
        TINY.random("a", 1).random() == replace(TINY, patients_per_site=9).random("a", 1).random()
    )
    assert (
        len(
            {TINY.random(*purpose).random() for purpose in (("a", 1), ("a", 2), ("b", 1))}
            | {replace(TINY, seed=1).random("a", 1).random()}
        )
        == 4
    )


def test_troubles_of_patients_that_do_not_exist_are_not_planted():
    assert (
        Trouble("metal", 0, 99)
        not in replace(TINY, troubles=(*TINY.troubles, Trouble("metal", 0, 99))).planted()
    )


@pytest.mark.parametrize(
    "change",
    [{"troubles": (Trouble("flood", 0, 0),)}, {"signal": 1.5}, {"sites": TINY.sites[:1] * 2}],
)
def test_a_plan_that_cannot_be_drawn_is_refused(change):
    with pytest.raises(ValueError, match=r"Plan\."):
        replace(TINY, **change)


def test_excluding_troubles_and_responding_courses_are_known():
    assert set(TROUBLES) >= EXCLUDING
    assert set(EXPECTED) >= RESPONDING
    assert np.all([set(answers) == {"T1", "T2", "V1"} for answers in EXPECTED.values()])

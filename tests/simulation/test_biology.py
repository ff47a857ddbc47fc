from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from dagster_project.simulation.anatomy import body_extent_mm
from dagster_project.simulation.biology import draw_patient
from dagster_project.simulation.plan import DEMO, VISITS

UNDECIDED = ("late_responder", "stable")


@cache
def draw(signal=DEMO.signal):
    """One site's first 120 patients, all of them undecided at T1."""
    site = replace(DEMO.sites[0], courses=UNDECIDED)
    wide = replace(DEMO, sites=(site,), patients_per_site=120, troubles=(), signal=signal)
    return [
        draw_patient(wide, 0, ordinal, body_extent_mm(wide, site.scanner)) for ordinal in range(120)
    ]


def auc(positive, negative):
    return (np.array(positive)[:, None] > np.array(negative)).mean()


def separation(patients, value):
    return auc(
        [value(p) for p in patients if p.responder], [value(p) for p in patients if not p.responder]
    )


@pytest.mark.parametrize(
    ("signal", "low", "high"), [(0.0, 0.38, 0.62), (0.55, 0.74, 0.90), (1.0, 0.999, 1.0)]
)
def test_the_latent_value_separates_as_strongly_as_the_plan_says(signal, low, high):
    assert low <= separation(draw(signal), lambda p: p.latent) <= high
    assert separation(draw(signal), lambda p: p.change) == separation(
        draw(signal), lambda p: p.latent
    )
    assert low <= replace(DEMO, signal=signal).signal_auc <= high


def test_tissue_changes_by_an_amount_that_grows_with_the_response_and_never_turns_its_sign():
    for patient in draw(0.0):
        lesion = patient.lesions[0]
        before, after = lesion.states["T0"], lesion.states["T1"]
        assert 0 < patient.change < 1
        assert before.rearrangement == 0
        assert after.rearrangement == pytest.approx(
            min(0.95, max(0.0, 0.95 * patient.change)), abs=0.2
        )
        assert np.log(after.heterogeneity_hu / before.heterogeneity_hu) == pytest.approx(
            -0.7 * patient.change, abs=0.4
        )


def test_responders_become_smaller_and_more_even_by_t1_only_where_there_is_a_signal():
    def shrinkage(p):
        return -p.lesions[0].states["T1"].size_mm / p.lesions[0].states["T0"].size_mm

    def evening(p):
        return (
            -p.lesions[0].states["T1"].heterogeneity_hu / p.lesions[0].states["T0"].heterogeneity_hu
        )

    strong, none = draw(0.55), draw(0.0)
    for value in (shrinkage, evening):
        assert separation(strong, value) > 0.68
        assert 0.36 < separation(none, value) < 0.64


def test_visits_fall_into_their_windows():
    for patient in draw():
        cycles, days = patient.cycle_days, patient.visit_days
        assert -28 <= days["T0"] <= 0
        assert cycles[2] < days["T1"] <= cycles[3] + 7
        assert cycles[4] < days["T2"] <= cycles[5] + 7
        assert 28 <= days["T2"] - days["T1"] <= 56
        assert days["V1"] > cycles[5] + 35


def test_targets_are_of_measurable_size_at_baseline():
    low, high = DEMO.lesion_mm
    for patient in draw():
        sizes = {
            lesion.label: lesion.states["T0"].size_mm
            for lesion in patient.lesions
            if lesion.role == "target"
        }
        assert all(low <= size <= high for label, size in sizes.items() if label != "L3")
        assert sizes.get("L3", 15.0) >= 15.0


def test_every_course_reports_its_lesions_at_the_right_visits():
    extent = body_extent_mm(DEMO, DEMO.sites[0].scanner)
    cohort = {(s, o): draw_patient(DEMO, s, o, extent) for s in range(3) for o in range(9)}
    split = {lesion.label: set(lesion.states) for lesion in cohort[0, 8].lesions}
    assert (split["L1"], split["L1.1"], split["L1.2"]) == ({"T0", "T1"}, {"T2", "V1"}, {"T2", "V1"})
    new = {lesion.label: lesion for lesion in cohort[0, 5].lesions}["L5"]
    assert (new.role, [new.seen(visit) for visit in VISITS]) == ("new", [False, False, True, True])
    gone = cohort[1, 8].lesions
    assert [all(lesion.seen(visit) for lesion in gone) for visit in VISITS] == [
        True,
        True,
        False,
        False,
    ]

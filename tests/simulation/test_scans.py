from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dagster_project.simulation.anatomy import body_extent_mm, build_anatomy, draw_patterns
from dagster_project.simulation.biology import draw_patient
from dagster_project.simulation.plan import TINY, Trouble
from dagster_project.simulation.scans import draw_scan


@pytest.fixture(scope="module")
def patterns():
    return draw_patterns(TINY, 0)


def scan(patterns, visit="T0", *kinds, ordinal=0, plan=TINY):
    planned = replace(plan, troubles=tuple(Trouble(kind, 0, ordinal) for kind in kinds))
    patient = draw_patient(planned, 0, ordinal, body_extent_mm(planned, planned.sites[0].scanner))
    return draw_scan(
        planned, patient, visit, build_anatomy(planned, 0, ordinal, patterns), patterns
    )


def largest(scan):
    return scan.patient.lesions[0], scan.frame.centre(scan.patient.lesions[0])


def sphere(scan, centre, radius):
    z, y, x = (scan.frame.grid.axis(d) - centre[2 - d] for d in range(3))
    return (z[:, None, None] ** 2 + y[:, None] ** 2 + x**2) < radius**2


def test_a_chest_has_air_around_it_lungs_inside_and_bones(patterns):
    hu = scan(patterns).hu
    edge = np.concatenate(
        [hu[:, 0].ravel(), hu[:, -1].ravel(), hu[:, :, 0].ravel(), hu[:, :, -1].ravel()]
    )
    assert abs(np.median(edge) + 1000) < 10
    body = hu > -950
    assert 0.15 < ((hu > -950) & (hu < -700)).sum() / body.sum() < 0.6
    assert (hu > 300).sum() > 500
    assert (hu.min(), hu.dtype) == (pytest.approx(-1024, abs=30), np.int16)


def test_a_lesion_is_soft_tissue_with_an_edge_and_texture(patterns):
    found = scan(patterns)
    lesion, centre = largest(found)
    state = lesion.states["T0"]
    inside = found.hu[sphere(found, centre, 0.25 * state.size_mm)]
    assert -15 < inside.mean() < 75
    assert inside.std() > 0.6 * state.heterogeneity_hu
    assert (
        np.median(
            found.hu[
                sphere(found, centre, state.size_mm) & ~sphere(found, centre, 0.75 * state.size_mm)
            ]
        )
        < -600
    )


def test_noise_differs_between_visits_and_texture_stays(patterns):
    still = replace(
        TINY,
        sites=(
            replace(TINY.sites[0], scanner=replace(TINY.sites[0].scanner, noise_hu=0.0)),
            *TINY.sites[1:],
        ),
    )
    quiet, noisy, again = scan(patterns, plan=still), scan(patterns), scan(patterns)
    assert np.array_equal(noisy.hu, again.hu)
    muscle = np.abs(quiet.hu - 52) < 3
    assert np.std((noisy.hu - quiet.hu)[muscle]) == pytest.approx(12.0, rel=0.1)


def test_noise_is_correlated_within_a_slice(patterns):
    noise = patterns.noise
    assert noise.std() == pytest.approx(1.0, abs=0.01)
    assert np.mean(noise[:, :, 1:] * noise[:, :, :-1]) > 0.5


def test_thick_slices_average_five(patterns):
    thin, thick = scan(patterns), scan(patterns, "T0", "thick_slices")
    assert thick.hu.shape == (8, 128, 128)
    assert thick.frame.grid.spacing_mm[0] == 5.0
    _, centre = largest(thick)
    assert thick.hu[sphere(thick, centre, 4.0)].mean() > -60
    assert thin.frame.grid.spacing_mm[0] == 1.0


def test_metal_is_above_3000_hu_with_streaks(patterns):
    plain, metal = scan(patterns), scan(patterns, "T0", "metal")
    assert (metal.hu >= 3000).sum() * 1.5**2 > 20
    where = (metal.hu >= 3000).any((1, 2))
    changed = np.abs(metal.hu[where].astype(int) - plain.hu[where])
    assert changed[changed < 1500].std() > 10
    assert np.array_equal(metal.hu[~where], plain.hu[~where])


def test_motion_displaces_the_outline_at_t1_alone(patterns):
    def worst_step(found):
        left = (found.hu > -500).any(1).argmax(1)
        return np.abs(np.diff(left)).max() * 1.5

    assert worst_step(scan(patterns, "T1", "motion")) > 6.0
    assert worst_step(scan(patterns, "T0", "motion")) <= 3.0
    assert worst_step(scan(patterns, "T1")) <= 3.0


def test_another_kernel_is_named_and_smoother(patterns):
    changed, plain = scan(patterns, "T2", "kernel_change"), scan(patterns, "T2")
    assert (changed.kernel, plain.kernel) == ("B31f", "Br40d")
    assert np.std(changed.hu[:, :5]) < 0.9 * np.std(plain.hu[:, :5])

"""Bounds on patients and noise on sums."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from dagster_project.federated.noise import clip_rows, noise_of_sum, noise_share
from dagster_project.federated.refusals import NotFinite

RNG = np.random.default_rng(20)


@given(arrays(np.float64, (4, 3), elements=st.floats(-1e6, 1e6)), st.floats(1e-3, 1e3))
def test_no_row_is_longer_than_the_clip_and_shorter_ones_are_left(rows, clip):
    clipped = clip_rows(rows, clip)
    norms, before = np.linalg.norm(clipped, axis=1), np.linalg.norm(rows, axis=1)
    assert (norms <= clip * (1 + 1e-12)).all()
    np.testing.assert_allclose(norms, np.minimum(before, clip), rtol=1e-9)
    inside = before <= clip
    assert np.array_equal(clipped[inside], rows[inside])


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_what_is_no_number_is_refused_by_its_column(value):
    with pytest.raises(NotFinite, match=r"\[1\]"):
        clip_rows(np.array([[1.0, value], [1.0, 1.0]]), 1.0)


@pytest.mark.parametrize("clip", [0.0, -1.0, np.nan])
def test_a_clip_is_above_0(clip):
    with pytest.raises(ValueError, match="above 0"):
        clip_rows(np.ones((1, 1)), clip)


@pytest.mark.parametrize("hospitals", [3, 8])
def test_what_is_left_for_each_hospital_has_the_deviation_that_is_wanted(hospitals):
    parts = [noise_share(20_000, 2.5, hospitals, RNG.bytes) for _ in range(hospitals)]
    left = np.sum(parts[1:], axis=0)
    assert stats.kstest(left, "norm", (0, 2.5)).pvalue > 1e-3
    whole = stats.kstest(np.sum(parts, axis=0), "norm", (0, noise_of_sum(2.5, hospitals)))
    assert whole.pvalue > 1e-3
    assert abs(np.corrcoef(parts)[0, 1]) < 0.03


def test_a_hospital_alone_adds_no_noise_that_it_would_know():
    with pytest.raises(ValueError, match="alone"):
        noise_share(1, 1.0, 1)
    assert noise_share(2, 0.0, 1).tolist() == [0.0, 0.0]
    assert noise_of_sum(0.0, 1) == 0.0


def test_noise_is_drawn_anew_each_time():
    assert not np.array_equal(noise_share(5, 1.0, 3), noise_share(5, 1.0, 3))
    assert not noise_share(5, 0.0, 3).any()


def test_the_ends_of_what_can_be_drawn_are_finite():
    for end in (b"\x00", b"\xff"):
        assert np.isfinite(noise_share(1, 1.0, 3, lambda n, end=end: end * n)).all()


@pytest.mark.parametrize("sd", [-1.0, np.nan, np.inf])
def test_a_standard_deviation_is_0_or_more(sd):
    with pytest.raises(ValueError, match="0 or more"):
        noise_share(1, sd, 3)

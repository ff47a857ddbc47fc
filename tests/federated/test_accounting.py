"""The cost of noise against closed forms, an integral, a bound of others, and published figures."""

from math import exp, inf, log, sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

from dagster_project.federated.accounting import compose, delta_of, epsilon_of, mu_of, noise_for

MUS = st.floats(0.01, 20)
DELTAS = st.floats(1e-10, 1e-2)


# σ of the analytic Gaussian mechanism at ε = 1, δ = 1e-5, Δ = 1 as the authors' program for Balle &
# Wang 2018 gives it; the others by Google's dp-accounting 0.6 (`benchmarks/accountant.py`), which
# rounds privacy losses upwards to multiples of 1e-4.
@pytest.mark.parametrize(
    ("sigma", "steps", "delta", "epsilon", "tolerance"),
    [
        (3.730631634815942, 1, 1e-5, 1.0, 1e-9),
        (10.0, 40, 1e-5, 2.594384, 1e-6),
        (24.0, 40, 1e-5, 0.981469, 2e-6),
        (60.0, 40, 1e-6, 0.419857, 5e-6),
        (20.0, 200, 1e-6, 3.307602, 1e-6),
    ],
)
def test_figures_of_others(sigma, steps, delta, epsilon, tolerance):
    assert epsilon_of(sqrt(steps) / sigma, delta) == pytest.approx(epsilon, rel=tolerance)


@given(MUS, st.integers(1, 200), DELTAS)
def test_t_steps_of_sigma_are_one_step_of_sigma_over_root_t(mu, steps, delta):
    together = compose([mu / sqrt(steps)] * steps)
    assert together == pytest.approx(mu, rel=1e-12)
    assert epsilon_of(together, delta) == pytest.approx(epsilon_of(mu, delta), rel=1e-8)


@settings(max_examples=25)
@given(st.floats(0.1, 4), st.floats(0, 6))
def test_delta_is_the_hockey_stick_divergence_of_two_normals(mu, epsilon):
    # ∫ max(0, p(x) − e^ε q(x)) dx with p = N(μ, 1), q = N(0, 1): the integrand ends at one point.
    start = epsilon / mu + mu / 2
    value, _ = integrate.quad(
        lambda x: stats.norm.pdf(x - mu) - exp(epsilon) * stats.norm.pdf(x), start, start + 40,
        limit=200,
    )  # fmt: skip
    assert delta_of(mu, epsilon) == pytest.approx(value, abs=1e-9)


@given(MUS, DELTAS)
def test_epsilon_and_mu_are_inverse(mu, delta):
    epsilon = epsilon_of(mu, delta)
    if epsilon > 1e-6:
        assert mu_of(epsilon, delta) == pytest.approx(mu, rel=1e-6)


@given(MUS, DELTAS)
def test_renyi_accounting_never_finds_less(mu, delta):
    # Conversion of Canonne, Kamath & Steinke 2020, proposition 12, over orders α.
    alphas = 1 + np.logspace(-3, 4, 2000)
    renyi = alphas * mu**2 / 2
    bounds = renyi + np.log1p(-1 / alphas) - (log(delta) + np.log(alphas)) / (alphas - 1)
    assert epsilon_of(mu, delta) <= max(0.0, float(bounds.min())) + 1e-9


@given(st.lists(MUS, min_size=1, max_size=20), DELTAS)
def test_more_steps_cost_more_and_their_order_is_indifferent(mus, delta):
    assert compose(mus) == pytest.approx(compose(sorted(mus)), rel=1e-12)
    assert epsilon_of(compose(mus), delta) >= epsilon_of(compose(mus[:-1]), delta)


@given(st.floats(0.1, 20), DELTAS, st.integers(1, 100))
def test_the_noise_for_a_budget_spends_it(epsilon, delta, steps):
    mu = compose([1 / noise_for(epsilon, delta, steps)] * steps)
    assert epsilon_of(mu, delta) == pytest.approx(epsilon, rel=1e-6)


def test_ends():
    assert epsilon_of(0.0, 1e-5) == 0.0
    assert epsilon_of(inf, 1e-5) == inf
    assert epsilon_of(2e-5, 1e-5) == 0.0
    assert delta_of(0.0, 1.0) == 0.0


@pytest.mark.parametrize("delta", [0.0, 1.0, -1.0, float("nan")])
def test_delta_is_within_0_and_1(delta):
    with pytest.raises(ValueError, match="δ"):
        epsilon_of(1.0, delta)


@pytest.mark.parametrize("epsilon", [0.0, -1.0, inf, float("nan")])
def test_a_budget_is_above_0(epsilon):
    with pytest.raises(ValueError, match="ε"):
        mu_of(epsilon, 1e-5)

"""R-hat and effective sample size where they are known: independent draws, autoregressions, chains apart."""

import numpy as np
import pytest

from radio_bnn.evaluation.chains import effective_sample_size, split_rhat


def autoregression(rho: float, chains: int = 4, draws: int = 4000, seed: int = 0) -> np.ndarray:
    """Chains whose draws are N(0, 1) with the autocorrelation rho^lag."""
    noise = np.random.default_rng(seed).normal(size=(draws, chains))
    found = [noise[0]]
    for e in noise[1:]:
        found.append(rho * found[-1] + np.sqrt(1 - rho**2) * e)
    return np.array(found).T


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9, -0.5])
def test_an_autoregression_is_worth_what_its_correlation_time_says(rho):
    draws = autoregression(rho)
    expected = min(draws.size * (1 - rho) / (1 + rho), draws.size * np.log10(draws.size))
    assert effective_sample_size(draws) == pytest.approx(expected, rel=0.15)
    assert split_rhat(draws) < 1.01


def test_the_variance_of_a_mean_is_that_of_so_many_independent_draws():
    means = [autoregression(0.8, draws=500, seed=k).mean() for k in range(300)]
    worth = np.mean([effective_sample_size(autoregression(0.8, draws=500, seed=k)) for k in range(20)])
    assert np.var(means) * worth == pytest.approx(1, rel=0.25)


def test_chains_apart_in_location_or_in_scale_are_seen_and_so_is_a_drift():
    draws = autoregression(0.0, draws=400)
    apart, wide = draws.copy(), draws.copy()
    apart[0] += 2
    wide[0] *= 5
    drift = draws + np.linspace(0, 2, 400)
    for wrong in (apart, wide, drift):
        assert split_rhat(wrong) > 1.05 > 1.02 > split_rhat(draws)
    assert effective_sample_size(apart) < 40 < 1000 < effective_sample_size(draws)


def test_order_preserving_transformations_change_nothing_and_arrays_go_element_by_element():
    draws = np.stack([autoregression(rho, draws=200, seed=3) for rho in (0.1, 0.7)], axis=-1)
    for of in (split_rhat, effective_sample_size):
        each = of(draws)
        assert each.shape == (2,) and each[0] == pytest.approx(of(draws[..., 0]), rel=1e-12)
    assert effective_sample_size(np.exp(draws)) == pytest.approx(effective_sample_size(draws), rel=1e-12)


def test_what_never_moves_agrees_and_chains_that_stand_apart_never_do():
    still = np.full((4, 10), 3.0)
    assert split_rhat(still) == 1 and effective_sample_size(still) == 40
    stuck = np.repeat(np.arange(4.0)[:, None], 10, axis=1)
    assert split_rhat(stuck) == np.inf and effective_sample_size(stuck) < 10
    with pytest.raises(ValueError, match=r"values of shape \(2, 3\): expected chains x draws, with four draws"):
        split_rhat(np.zeros((2, 3)))

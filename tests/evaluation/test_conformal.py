"""Sets worked by hand, and guarantees by simulation with the bound that they promise."""

import math

import numpy as np
import pytest
from scenarios import logits_of
from scipy.stats import betabinom, binom

from radio_bnn.evaluation.conformal import (
    conformal_sets,
    conformal_threshold,
    coverage_range,
    mean_p_values,
    summarise_sets,
)


def test_threshold_by_hand():
    scores = [0.9, 0.1, 0.4, 0.2]  # ranks ceil(5 x 0.8) = 4, ceil(5 x 0.5) = 3, ceil(5 x 0.9) = 5 > 4
    assert conformal_threshold(scores, alpha=0.2) == 0.9
    assert conformal_threshold(scores, alpha=0.5) == 0.4
    assert conformal_threshold(scores, alpha=0.1) == math.inf


def test_rank_is_exact_where_floating_point_is_not():
    assert math.ceil(25 * (1 - 0.44)) == 15
    for n, alpha, rank in [(24, 0.44, 14), (9, 0.7, 3), (19, 0.05, 19), (29, 0.1, 27), (39, 0.15, 34), (99, 0.01, 99)]:
        assert conformal_threshold(np.arange(1, n + 1), alpha=alpha) == rank


def test_sets_by_hand():
    # Scores 1 - p_y of the calibration galaxies: FRI 0.1, 0.3, 0.6; FRII 0.2, 0.5, 0.7.
    given = logits_of([[0.9, 0.7, 0.4, 0.2, 0.5, 0.7]]), np.array([0, 0, 0, 1, 1, 1])
    asked = logits_of([[0.95, 0.45, 0.35]])
    # alpha = 0.3: rank ceil(7 x 0.7) = 5, threshold 0.6, so classes with p >= 0.4.
    np.testing.assert_array_equal(conformal_sets(given, asked, alpha=0.3), [[1, 0], [1, 1], [0, 1]])
    # alpha = 0.7: rank 3, threshold 0.3, so p >= 0.7: some galaxies keep no class.
    np.testing.assert_array_equal(conformal_sets(given, asked, alpha=0.7), [[1, 0], [0, 0], [0, 0]])
    # Per class, alpha = 0.5: ranks ceil(4 x 0.5) = 2, thresholds 0.3 and 0.5, so p_FRI >= 0.7 or p_FRII >= 0.5.
    found = conformal_sets(given, asked, alpha=0.5, class_conditional=True)
    np.testing.assert_array_equal(found, [[1, 0], [0, 1], [0, 1]])


def test_too_few_calibration_galaxies_give_every_class():
    given = logits_of([[0.9, 0.1]]), np.array([0, 1])
    assert conformal_sets(given, logits_of([[0.999, 0.001]]), alpha=0.1).all()


def test_summary_by_hand():
    sets = np.array([[1, 0], [1, 1], [0, 0], [1, 0]], bool)
    assert summarise_sets(sets, np.array([0, 1, 0, 1])) == (50, 50, 25, 25)
    assert math.isnan(summarise_sets(sets, None).coverage)


@pytest.mark.parametrize("class_conditional", [False, True])
def test_coverage_is_guaranteed_for_a_network_that_is_wrong(class_conditional):
    """2000 trials of 40 calibration galaxies and one new galaxy each, from a network that is badly overconfident.

    Each trial covers with a probability of at least 1 - alpha: the binomial probability of what is seen, or less, must
    not fall below 1e-6.
    """
    rng = np.random.default_rng(7)
    trials, n, alpha = 2000, 40, 0.2
    covered = {0: [], 1: []}
    for _ in range(trials):
        p = rng.uniform(0.02, 0.98, n + 1)
        labels = (rng.random(n + 1) > p).astype(int)
        claimed = logits_of([p**3 / (p**3 + (1 - p) ** 3)])
        given = claimed[:, :n], labels[:n]
        sets = conformal_sets(given, claimed[:, n : n + 1], alpha=alpha, class_conditional=class_conditional)
        covered[labels[n]].append(sets[0, labels[n]])
    groups = covered.values() if class_conditional else [covered[0] + covered[1]]
    for hits in groups:
        assert binom.cdf(sum(hits), len(hits), 1 - alpha) > 1e-6


def test_coverage_is_not_far_above_its_level():
    """Continuous scores: coverage is at most 1 - alpha + 1 / (n + 1)."""
    rng, trials, n, alpha = np.random.default_rng(8), 5000, 49, 0.2
    scores = rng.random((trials, n + 1))
    covered = sum(row[n] <= conformal_threshold(row[:n], alpha=alpha) for row in scores)
    assert binom.sf(covered - 1, trials, 1 - alpha + 1 / (n + 1)) > 1e-6
    assert binom.cdf(covered, trials, 1 - alpha) > 1e-6


def test_coverage_range_is_that_of_simulated_scores():
    """Covered galaxies of 4000 pairs of sets against the beta-binomial: Kolmogorov distance below its 1e-6 bound."""
    rng, trials, m, n, alpha = np.random.default_rng(9), 4000, 30, 20, 0.1
    thresholds = [conformal_threshold(row, alpha=alpha) for row in rng.random((trials, m))]
    covered = (rng.random((trials, n)) <= np.array(thresholds)[:, None]).sum(axis=1)
    expected = betabinom(n, 28, 3)  # rank ceil(31 x 0.9) = 28
    distance = max(abs((covered <= k).mean() - expected.cdf(k)) for k in range(n + 1))
    assert distance < math.sqrt(math.log(2 / 1e-6) / (2 * trials))  # Dvoretzky-Kiefer-Wolfowitz
    found = coverage_range([(m, n)], alpha=alpha)
    assert found.value == pytest.approx(100 * 28 / 31)
    assert found[1:] == (100 * expected.ppf(0.025) / n, 100 * expected.ppf(0.975) / n)


def test_more_calibrations_have_the_same_mean_and_a_smaller_range():
    """The number covered by all of them is simulated: sums of independent beta-binomials."""
    one, four = coverage_range([(30, 20)]), coverage_range([(30, 20)] * 4)
    assert four.value == pytest.approx(one.value)
    total = betabinom(20, 28, 3).rvs((20_000, 4), random_state=np.random.default_rng(0)).sum(axis=1)
    np.testing.assert_allclose(four[1:], 100 * np.quantile(total, [0.025, 0.975]) / 80, atol=1.3)  # one galaxy
    assert four.high - four.low < one.high - one.low


def test_too_few_calibration_galaxies_cover_everything():
    assert coverage_range([(5, 100)], alpha=0.1) == (100, 100, 100)


def test_errors_name_the_value_and_what_was_expected():
    logits, labels = np.zeros((2, 9, 2)), np.zeros(9, int)
    with pytest.raises(ValueError, match="alpha is 10; expected a number between 0 and 1"):
        conformal_sets((logits, labels), logits, alpha=10)
    with pytest.raises(ValueError, match="labels hold 5"):
        conformal_sets((logits, labels + 5), logits)


def test_mean_p_values_by_hand():
    # At least 0.4: two of (0.1, 0.4, 0.9), so 3/4; one of (0.5,), so 2/2. At least 0.6: one, so 2/4; none, so 1/2.
    found = mean_p_values([[0.9, 0.1, 0.4], [0.5]], [[0.4, 0.6], [0.4, 0.6]])
    np.testing.assert_allclose(found, [(3 / 4 + 1) / 2, (2 / 4 + 1 / 2) / 2])


def test_mean_p_values_cover_whatever_the_networks_have_in_common():
    """The true class's mean p-value is at most alpha with at most 2 alpha, also where all networks say the same."""
    rng = np.random.default_rng(5)
    trials, n, networks, alpha = 3000, 19, 4, 0.2
    for shared in (0.0, 1.0):
        common, own = rng.normal(size=(trials, 1, n + 1)), rng.normal(size=(trials, networks, n + 1))
        every = shared * common + (1 - shared) * own
        p = np.array([mean_p_values(trial[:, :n], trial[:, n]) for trial in every])
        assert binom.sf((p <= alpha).sum() - 1, trials, 2 * alpha) > 1e-6
        if shared:  # one network: its own guarantee, which is reached where (n + 1) alpha is whole
            assert abs((p <= alpha).mean() - alpha) < 4 * np.sqrt(alpha * (1 - alpha) / trials)

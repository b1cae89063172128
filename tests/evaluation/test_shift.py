"""Scores of unlikeness where they are known: normal features, and two normal scores apart."""

import numpy as np
import pytest
from scipy.stats import norm

from radio_bnn.evaluation.shift import auroc, false_positive_rate, mahalanobis

RNG = np.random.default_rng(0)


def test_features_like_those_of_the_training_have_the_distance_of_chi_squared():
    d, mix = 5, RNG.normal(size=(5, 5))
    means = np.array([[0.0] * d, [40.0] * d])
    labels = RNG.integers(0, 2, 4000)
    draw = RNG.normal(size=(4000, d)) @ mix + means[labels]
    other = RNG.normal(size=(3000, d)) @ mix + means[RNG.integers(0, 2, 3000)]
    found = mahalanobis(draw, labels, other)
    assert found.mean() == pytest.approx(d, rel=0.1) and found.var() == pytest.approx(2 * d, rel=0.2)
    far = mahalanobis(draw, labels, other + 20.0)
    assert auroc(found, far) > 0.95


def test_a_linear_change_of_features_changes_nothing_without_shrinkage_to_speak_of():
    labels = RNG.integers(0, 2, 5000)
    train, other = RNG.normal(size=(5000, 3)) + labels[:, None], RNG.normal(size=(50, 3))
    turn = np.linalg.qr(RNG.normal(size=(3, 3)))[0]
    np.testing.assert_allclose(mahalanobis(train @ turn, labels, other @ turn), mahalanobis(train, labels, other))


def test_more_features_than_galaxies_still_have_a_distance():
    labels = np.repeat([0, 1], 10)
    train = RNG.normal(size=(20, 60))
    found = mahalanobis(train, labels, RNG.normal(size=(7, 60)))
    assert found.shape == (7,) and np.isfinite(found).all() and (found > 0).all()


@pytest.mark.parametrize("apart", [0.0, 1.0, 2.5])
def test_two_normal_scores_have_the_area_and_the_rate_that_follow(apart):
    known, shifted = RNG.normal(size=40_000), RNG.normal(size=40_000) + apart
    assert auroc(known, shifted) == pytest.approx(norm.cdf(apart / np.sqrt(2)), abs=0.01)
    expected = norm.sf(norm.ppf(0.05) + apart)
    assert false_positive_rate(known, shifted) == pytest.approx(expected, abs=0.012)


def test_the_rate_counts_the_threshold_itself_on_both_sides():
    assert false_positive_rate(np.array([1.0, 2.0, 3.0, 4.0]), np.array([3.0, 5.0])) == 0.5
    assert false_positive_rate(np.array([1.0, 2.0]), np.arange(100.0) + 3) == 0

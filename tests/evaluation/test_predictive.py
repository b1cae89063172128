"""Every uncertainty against a value worked by hand, then what must hold for any predictions."""

import math

import numpy as np
import pytest
from scenarios import HAND, logits_of, predictions
from scipy.stats import binom, norm

from radio_bnn.evaluation import predictive
from radio_bnn.evaluation.predictive import UNCERTAINTIES

LN2 = math.log(2)


def entropy(p):
    """Entropy of (p, 1 - p) in nats."""
    return -p * math.log(p) - (1 - p) * math.log(1 - p)


# Values worked by hand


def test_softmax_and_predictive_mean():
    np.testing.assert_allclose(predictive.softmax([[[0.0, math.log(3)]]]), [[[0.25, 0.75]]], rtol=1e-15)
    np.testing.assert_allclose(predictive.predictive_mean(HAND)[:, 0], [0.65, 0.70, 0.99], rtol=1e-14)


def test_central_samples():
    # Three of five, per galaxy; the middle ones of 0.1 0.2 0.3 0.4 0.5 and of 0.5 0.6 0.7 0.8 0.9.
    logits = logits_of([[0.3, 0.9], [0.1, 0.8], [0.5, 0.7], [0.4, 0.6], [0.2, 0.5]])
    kept = predictive.softmax(predictive.central_samples(logits, share=0.6))[..., 0]
    np.testing.assert_allclose(kept, [[0.2, 0.6], [0.3, 0.7], [0.4, 0.8]])
    assert predictive.central_samples(np.zeros((200, 1, 2))).shape == (128, 1, 2)


def test_entropies():
    total = np.array([entropy(0.65), entropy(0.70), entropy(0.99)])
    aleatoric = np.array([(entropy(0.9) + entropy(0.4)) / 2, (entropy(0.8) + entropy(0.6)) / 2, entropy(0.99)])
    np.testing.assert_allclose(predictive.predictive_entropy(HAND), total, rtol=1e-13)
    np.testing.assert_allclose(predictive.expected_entropy(HAND), aleatoric, rtol=1e-13)
    np.testing.assert_allclose(predictive.mutual_information(HAND), total - aleatoric, atol=1e-15)
    first = [entropy(0.9), entropy(0.8), entropy(0.99)]
    np.testing.assert_allclose(predictive.expected_entropy(HAND, as_released=True), first, rtol=1e-13)


def test_overlap_of_two_kernels_is_twice_a_normal_tail():
    # One sample: two normal densities of width 0.1 with centres 0.2 and 0.4 apart cross half-way. The minimum has one
    # kink, where its slope jumps by at most 2 x 0.242 / 0.1^2: a grid of 0.1 / 20 errs by jump x step^2 / 8 = 1.5e-4.
    overlap = predictive.overlap_index(logits_of([[0.6, 0.7]]))
    np.testing.assert_allclose(overlap, [2 * norm.cdf(-1), 2 * norm.cdf(-2)], atol=1.5e-4)


def test_overlap_is_one_for_classes_with_the_same_samples():
    p = np.linspace(0.05, 0.95, 19)
    overlap = predictive.overlap_index(logits_of([p, 1 - p]))
    np.testing.assert_allclose(overlap, 1, atol=1e-6)
    assert (overlap <= 1).all()


def test_overlap_of_two_samples_against_a_direct_integration():
    x = np.linspace(-1, 2, 300_001)
    density = [(norm.pdf(x, a, 0.1) + norm.pdf(x, b, 0.1)) / 2 for a, b in ((0.9, 0.4), (0.1, 0.6))]
    expected = np.trapezoid(np.minimum(*density), x)
    np.testing.assert_allclose(predictive.overlap_index(HAND)[0], expected, atol=1e-3)


def test_overlap_as_released_sums_over_the_unit_interval():
    # A kernel at 0.5 sums to 99 (spacing 1/99) of the hundred it is divided by; one at 0.9 against 0.1: by the grid.
    overlap = predictive.overlap_index(logits_of([[0.5, 0.9]]), definition="as_released")
    grid = np.linspace(0, 1, 100)
    by_grid = np.minimum(norm.pdf(grid, 0.9, 0.1), norm.pdf(grid, 0.1, 0.1)).sum() / 100
    np.testing.assert_allclose(overlap, [0.99, by_grid], atol=1e-6)


def test_logit_overlap_as_released_does_not_see_logits_outside_the_unit_interval():
    logits = np.array([[[5.2, 5.0]]])
    np.testing.assert_allclose(predictive.overlap_index(logits, space="logits"), 2 * norm.cdf(-1), atol=1e-3)
    assert predictive.overlap_index(logits, space="logits", definition="as_released")[0] < 1e-200


def test_energy_score():
    logits = np.array([[[0.0, 0.0]], [[math.log(3), 0.0]]])
    np.testing.assert_allclose(predictive.energy_score(logits), [-(math.log(2) + math.log(4)) / 2])


def test_predictive_variance_by_hand():
    # Class 0: 0.9 and 0.4 around 0.65, 0.8 and 0.6 around 0.7, twice 0.99.
    logits = logits_of([[0.9, 0.8, 0.99], [0.4, 0.6, 0.99]])
    np.testing.assert_allclose(predictive.predictive_variance(logits), [0.25**2, 0.1**2, 0], atol=1e-15)
    assert predictive.predictive_variance([[[40.0, 0]], [[0, 40.0]]]) == pytest.approx(1 / 4)


# Limits and invariances


@pytest.mark.parametrize("name", UNCERTAINTIES)
def test_every_uncertainty_is_larger_for_a_coin_than_for_a_certainty(name):
    rng = np.random.default_rng(0)
    coin, certain = rng.normal(0, 1, (2, 50, 1, 2)) + np.array([[[0, 0]], [[9, -9]]])[:, None]
    assert UNCERTAINTIES[name].of(coin) > UNCERTAINTIES[name].of(certain)


@pytest.mark.parametrize("classes", [2, 3, 5])
@pytest.mark.parametrize("name", [name for name, (_, largest) in UNCERTAINTIES.items() if largest is not None])
def test_the_largest_value_is_reached_and_not_exceeded(name, classes):
    """By samples that are certain of every class in turn, or, where the single ones must doubt, by equal logits."""
    of, largest = UNCERTAINTIES[name]
    extreme = np.stack([60.0 * np.eye(classes), np.zeros((classes, classes))], axis=1)  # (S = C, N = 2, C)
    assert of(extreme).max() == pytest.approx(largest(classes), rel=1e-6)
    anything = np.random.default_rng(1).normal(0, 5, (20, 50, classes))
    assert (of(anything) >= 0).all() and (of(anything) <= largest(classes) * (1 + 1e-9)).all()


def test_extreme_logits_have_finite_uncertainties():
    assert predictive.mutual_information([[[1e4, 0.0]], [[0.0, 1e4]]]) == pytest.approx(LN2)
    assert predictive.overlap_index(np.array([[[6e4, -6e4]]]), space="logits") == 0


def test_identical_samples_have_no_epistemic_uncertainty():
    logits, _ = predictions()
    same = np.repeat(logits[:1], 7, axis=0)
    np.testing.assert_allclose(predictive.mutual_information(same), 0, atol=1e-15)
    assert (predictive.mutual_information(same) >= 0).all()
    np.testing.assert_allclose(predictive.expected_entropy(same), predictive.predictive_entropy(logits[:1]), rtol=1e-12)


@pytest.mark.parametrize("classes", [2, 3, 10])
def test_uniform_predictions_have_the_largest_entropy(classes):
    uniform = np.full((3, 4, classes), 7.0)
    np.testing.assert_allclose(predictive.predictive_entropy(uniform), math.log(classes))
    np.testing.assert_allclose(predictive.expected_entropy(uniform), math.log(classes))
    np.testing.assert_allclose(predictive.mutual_information(uniform), 0, atol=1e-15)


def test_total_uncertainty_is_the_sum_of_its_parts():
    logits, _ = predictions()
    epistemic = predictive.mutual_information(logits)
    assert (epistemic >= 0).all()
    np.testing.assert_allclose(
        predictive.predictive_entropy(logits) - predictive.expected_entropy(logits), epistemic, atol=1e-14
    )


def test_mutual_information_of_certain_samples_falls_short_by_half_an_inverse_sample():
    """E MI over the Binomial(S, 1/2) number of votes, exactly: ln 2 - 1/(2 S) - 1/(4 S^2) + O(1/S^3)."""
    for samples in (50, 100, 200):
        votes = np.arange(samples + 1)
        certain = 40.0 * np.where(np.arange(samples)[:, None] < votes, 1, -1)
        logits = np.stack([certain, np.zeros_like(certain)], axis=-1)
        expected = binom.pmf(votes, samples, 0.5) @ predictive.mutual_information(logits)
        assert expected == pytest.approx(LN2 - 1 / (2 * samples) - 1 / (4 * samples**2), abs=1 / samples**3)


def test_an_offset_shifts_the_energy():
    logits, _ = predictions()
    np.testing.assert_allclose(predictive.energy_score(logits.astype(float) + 2), predictive.energy_score(logits) - 2)


@pytest.mark.parametrize("name", UNCERTAINTIES)
def test_order_and_common_offsets_do_not_matter_but_to_the_energy(name):
    (logits, _), of = predictions(), UNCERTAINTIES[name].of
    rng = np.random.default_rng(2)
    samples, galaxies = rng.permutation(40), rng.permutation(60)
    np.testing.assert_allclose(of(logits[samples][:, galaxies]), of(logits)[galaxies], rtol=1e-9)
    if name != "energy_score":
        np.testing.assert_allclose(of(logits + rng.normal(0, 3, (40, 60, 1))), of(logits), rtol=1e-9, atol=1e-15)


# Errors

BAD = np.zeros((2, 3, 2))
NAN, INF = BAD.copy(), BAD.copy()
NAN[1, 2, 0], INF[0, 1, 1] = np.nan, np.inf
BAD_LOGITS = [
    (NAN, r"nan \(first at sample 1, galaxy 2, class 0\); expected finite"),
    (INF, r"inf \(first at sample 0, galaxy 1, class 1\)"),
    (BAD[0], r"shape \(3, 2\); expected three axes"),
    (BAD[:, :0], "at least one sample, one galaxy"),
    (BAD[:0], "at least one sample"),
    (BAD[..., :1], "two classes"),
]


@pytest.mark.parametrize(("logits", "message"), BAD_LOGITS)
@pytest.mark.parametrize("function", [predictive.central_samples, *(of for of, _ in UNCERTAINTIES.values())])
def test_bad_logits_are_named(function, logits, message):
    with pytest.raises(ValueError, match=message):
        function(logits)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 1], r"labels have shape \(2,\); expected \(3,\)"),
        ([0, 1, 2], "labels hold 2; expected integers 0..1"),
        ([0, -1, 0], "labels hold -1; expected integers 0..1"),
        ([0.0, 1.0, 0.0], "dtype float64; expected integers"),
    ],
)
def test_bad_labels_are_named(labels, message):
    with pytest.raises(ValueError, match=message):
        predictive.check(BAD, labels)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: predictive.overlap_index(HAND, definition="sum"), "definition is 'sum'; choose one of integral"),
        (lambda: predictive.overlap_index(HAND, space="probabilities"), "space is 'probabilities'"),
        (lambda: predictive.overlap_index(HAND, bandwidth=0), "bandwidth is 0; expected a positive"),
        (lambda: predictive.central_samples(HAND, share=64), "share is 64"),
        (lambda: predictive.central_samples(np.zeros((2, 2, 3))), "3 classes"),
        (lambda: predictive.check_count("bins", 1.5), "bins is 1.5; expected a whole number"),
        (lambda: predictive.check_count("bins", True), "bins is True"),
        (lambda: predictive.check_fraction("level", 95), "level is 95; expected a number between 0 and 1"),
    ],
)
def test_bad_options_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()

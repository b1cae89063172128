"""Every metric against a value worked by hand, then what must hold for any predictions."""

import inspect
import json
import math

import numpy as np
import pytest
from scipy.stats import binom, norm, t
from sklearn.metrics import brier_score_loss, log_loss

from radio_bnn import metrics

LN2 = math.log(2)


def entropy(p):
    """Entropy of (p, 1 - p) in nats."""
    return -p * math.log(p) - (1 - p) * math.log(1 - p)


def logits_of(class_0):
    """Two-class logits whose softmax is (p, 1 - p); (S, N) -> (S, N, 2)."""
    p = np.asarray(class_0, float)
    return np.log(np.stack([p, 1 - p], axis=-1))


# Two samples (rows) of three galaxies. Averaged: 0.65, 0.70, 0.99 for class 0. Sample 1 is wrong on galaxy 0, both
# samples and the average are wrong on galaxy 1, nobody is wrong on galaxy 2.
HAND = logits_of([[0.9, 0.8, 0.99], [0.4, 0.6, 0.99]])
LABELS = np.array([0, 1, 0])


@pytest.fixture(scope="module")
def predictions():
    """A plausible run: 40 samples of 60 galaxies as stored, float16, with their labels."""
    rng = np.random.default_rng(1)
    labels = rng.integers(2, size=60)
    evidence = rng.normal(1.0, 1.5, 60) * (1 - 2 * labels)
    logits = np.stack([evidence, -evidence], axis=-1) + rng.normal(0, 1, (40, 60, 2))
    return logits.astype(np.float16), labels


# Values worked by hand


def test_softmax_and_predictive_mean():
    np.testing.assert_allclose(metrics.softmax([[[0.0, math.log(3)]]]), [[[0.25, 0.75]]], rtol=1e-15)
    np.testing.assert_allclose(metrics.predictive_mean(HAND)[:, 0], [0.65, 0.70, 0.99], rtol=1e-14)


def test_errors():
    assert metrics.error(HAND, LABELS) == pytest.approx(100 / 3)
    np.testing.assert_allclose(metrics.single_sample_error(HAND, LABELS), [100 / 3, 200 / 3])
    assert metrics.METRICS["single_sample_error_percent"](HAND, LABELS) == pytest.approx(50)


def test_nll():
    assert metrics.nll(HAND, LABELS) == pytest.approx(-(math.log(0.65) + math.log(0.30) + math.log(0.99)) / 3)


def test_brier():
    # Both classes are off by the same amount: 2 x (0.35^2, 0.70^2, 0.01^2) = 0.2450, 0.9800, 0.0002.
    assert metrics.brier(HAND, LABELS) == pytest.approx((0.2450 + 0.9800 + 0.0002) / 3)


def test_entropies():
    total = np.array([entropy(0.65), entropy(0.70), entropy(0.99)])
    aleatoric = np.array([(entropy(0.9) + entropy(0.4)) / 2, (entropy(0.8) + entropy(0.6)) / 2, entropy(0.99)])
    np.testing.assert_allclose(metrics.predictive_entropy(HAND), total, rtol=1e-13)
    np.testing.assert_allclose(metrics.expected_entropy(HAND), aleatoric, rtol=1e-13)
    np.testing.assert_allclose(metrics.mutual_information(HAND), total - aleatoric, atol=1e-15)
    first = [entropy(0.9), entropy(0.8), entropy(0.99)]
    np.testing.assert_allclose(metrics.expected_entropy(HAND, as_released=True), first, rtol=1e-13)


def test_overlap_of_two_kernels_is_twice_a_normal_tail():
    # One sample: two normal densities of width 0.1 with centres 0.2 and 0.4 apart cross half-way. The minimum has one
    # kink, where its slope jumps by at most 2 x 0.242 / 0.1^2: a grid of 0.1 / 20 errs by jump x step^2 / 8 = 1.5e-4.
    overlap = metrics.overlap_index(logits_of([[0.6, 0.7]]))
    np.testing.assert_allclose(overlap, [2 * norm.cdf(-1), 2 * norm.cdf(-2)], atol=1.5e-4)


def test_overlap_is_one_for_classes_with_the_same_samples():
    p = np.linspace(0.05, 0.95, 19)
    overlap = metrics.overlap_index(logits_of([p, 1 - p]))
    np.testing.assert_allclose(overlap, 1, atol=1e-6)
    assert (overlap <= 1).all()


def test_overlap_of_two_samples_against_a_direct_integration():
    x = np.linspace(-1, 2, 300_001)
    density = [(norm.pdf(x, a, 0.1) + norm.pdf(x, b, 0.1)) / 2 for a, b in ((0.9, 0.4), (0.1, 0.6))]
    expected = np.trapezoid(np.minimum(*density), x)
    np.testing.assert_allclose(metrics.overlap_index(HAND)[0], expected, atol=1e-3)


def test_overlap_as_released_sums_over_the_unit_interval():
    # A kernel at 0.5 sums to 99 (spacing 1/99) of the hundred it is divided by; one at 0.9 against 0.1: by the grid.
    overlap = metrics.overlap_index(logits_of([[0.5, 0.9]]), definition="as_released")
    grid = np.linspace(0, 1, 100)
    by_grid = np.minimum(norm.pdf(grid, 0.9, 0.1), norm.pdf(grid, 0.1, 0.1)).sum() / 100
    np.testing.assert_allclose(overlap, [0.99, by_grid], atol=1e-6)


def test_logit_overlap_as_released_does_not_see_logits_outside_the_unit_interval():
    logits = np.array([[[5.2, 5.0]]])
    np.testing.assert_allclose(metrics.overlap_index(logits, space="logits"), 2 * norm.cdf(-1), atol=1e-3)
    assert metrics.overlap_index(logits, space="logits", definition="as_released")[0] < 1e-200


def test_uce():
    # u = H / ln 2 is 0.934 and 0.881 (bin 7 of 8) and 0.081 (bin 0); twice the wrong share is 1, 2 and 0.
    u = np.array([entropy(0.65), entropy(0.70), entropy(0.99)]) / LN2
    expected = 100 * (2 / 3 * abs((u[0] + u[1]) / 2 - (1 + 2) / 2) + 1 / 3 * abs(u[2] - 0))
    assert metrics.uce(HAND, LABELS) == pytest.approx(expected)


def test_classwise_uce():
    # Class 0 holds galaxies 0 and 2, in different bins; class 1 galaxy 1 alone.
    u = np.array([entropy(0.65), entropy(0.70), entropy(0.99)]) / LN2
    expected = [100 * (abs(u[0] - 1) / 2 + u[2] / 2), 100 * abs(u[1] - 2)]
    np.testing.assert_allclose(metrics.classwise_uce(HAND, LABELS), expected)
    assert metrics.METRICS["uce_fri_percent"](HAND, LABELS) == pytest.approx(expected[0])
    assert metrics.METRICS["uce_frii_percent"](HAND, LABELS) == pytest.approx(expected[1])
    assert metrics.METRICS["classwise_uce_percent"](HAND, LABELS) == pytest.approx(sum(expected) / 2)


@pytest.mark.parametrize(
    ("uncertainty", "scaled"),
    [
        ("expected_entropy", lambda: metrics.expected_entropy(HAND) / LN2),
        ("mutual_information", lambda: metrics.mutual_information(HAND) / LN2),
        ("overlap_index", lambda: metrics.overlap_index(HAND)),
    ],
)
def test_uce_of_other_uncertainties_with_one_bin(uncertainty, scaled):
    expected = 100 * abs(scaled().mean() - (1 + 2 + 0) / 3)
    assert metrics.uce(HAND, LABELS, uncertainty=uncertainty, bins=1) == pytest.approx(expected)


def test_uce_of_three_classes_scales_by_the_uniform_guess():
    # A uniform predictive of 3 classes: u = 1; the tie goes to class 0, so e = (3/2) (0, 1, 1), mean 1: no error.
    assert metrics.uce(np.zeros((1, 3, 3)), [0, 1, 2]) == pytest.approx(0, abs=1e-12)


def test_ece():
    # Confidence 0.65, 0.70, 0.99; correct 1, 0, 1.
    assert metrics.ece(HAND, LABELS) == pytest.approx(100 * (0.35 + 0.70 + 0.01) / 3)
    assert metrics.ece(HAND, LABELS, bins=1) == pytest.approx(100 * abs(2.34 - 2) / 3)
    assert metrics.ece(HAND, LABELS, bins=3, strategy="quantile") == pytest.approx(100 * (0.35 + 0.70 + 0.01) / 3)
    # Two equal-mass bins of three: {0.65, 0.70} and {0.99}.
    assert metrics.ece(HAND, LABELS, bins=2, strategy="quantile") == pytest.approx(100 * (0.35 + 0.01) / 3)


def test_a_bin_holds_its_lower_edge():
    # Confidence 0.5 (right, by the tie rule) and 0.75 (wrong) share the upper of two bins: |(0.5 - 1) + 0.75| / 2.
    logits = np.array([[[0.0, 0.0], [math.log(3), 0.0]]])
    assert metrics.ece(logits, [0, 1], bins=2) == pytest.approx(100 * 0.25 / 2)


def test_energy_score():
    logits = np.array([[[0.0, 0.0]], [[math.log(3), 0.0]]])
    np.testing.assert_allclose(metrics.energy_score(logits), [-(math.log(2) + math.log(4)) / 2])


def test_auroc():
    # Of the four pairs, 0.35 > 0.1, 0.8 > 0.1 and 0.8 > 0.4 are in order.
    assert metrics.auroc([0.1, 0.4, 0.35, 0.8], [0, 0, 1, 1]) == 0.75


def test_mcnemar():
    # Only a is wrong on 1 galaxy, only b on 6, both on 2: p = 2 (C(7,0) + C(7,1)) / 2^7.
    wrong_a = np.array([1] + [0] * 6 + [1, 1, 0])
    wrong_b = np.array([0] + [1] * 6 + [1, 1, 0])
    a, b = (logits_of([np.where(wrong, 0.2, 0.8)]) for wrong in (wrong_a, wrong_b))
    labels = np.zeros(10, int)
    assert metrics.mcnemar(a, b, labels) == pytest.approx(2 * (1 + 7) / 128)
    assert metrics.mcnemar(b, a, labels) == metrics.mcnemar(a, b, labels)
    assert metrics.mcnemar(a, a, labels) == 1


def test_central_samples():
    # Three of five, per galaxy; the middle ones of 0.1 0.2 0.3 0.4 0.5 and of 0.5 0.6 0.7 0.8 0.9.
    logits = logits_of([[0.3, 0.9], [0.1, 0.8], [0.5, 0.7], [0.4, 0.6], [0.2, 0.5]])
    kept = metrics.softmax(metrics.central_samples(logits, share=0.6))[..., 0]
    np.testing.assert_allclose(kept, [[0.2, 0.6], [0.3, 0.7], [0.4, 0.8]])
    assert metrics.central_samples(np.zeros((200, 1, 2))).shape == (128, 1, 2)


def test_interval_format():
    assert f"{metrics.Interval(11.54, 6.7, 17.31):.1f}" == "11.5 [6.7, 17.3]"


# Limits and invariances


def test_scores_against_scikit_learn(predictions):
    logits, labels = predictions
    mean = metrics.predictive_mean(logits)
    assert metrics.nll(logits, labels) == pytest.approx(log_loss(labels, mean))
    assert metrics.brier(logits, labels) == pytest.approx(2 * brier_score_loss(labels, mean[:, 1]))


def test_extreme_logits_have_finite_scores():
    assert metrics.nll([[[1000.0, 0.0]]], [1]) == pytest.approx(1000)
    assert metrics.nll(np.array([[[60000, -60000]]], np.float16), [1]) == pytest.approx(120000)
    assert metrics.mutual_information([[[1e4, 0.0]], [[0.0, 1e4]]]) == pytest.approx(LN2)
    assert metrics.overlap_index(np.array([[[6e4, -6e4]]]), space="logits") == 0


def test_identical_samples_have_no_epistemic_uncertainty(predictions):
    logits, _ = predictions
    same = np.repeat(logits[:1], 7, axis=0)
    np.testing.assert_allclose(metrics.mutual_information(same), 0, atol=1e-15)
    assert (metrics.mutual_information(same) >= 0).all()
    np.testing.assert_allclose(metrics.expected_entropy(same), metrics.predictive_entropy(logits[:1]), rtol=1e-12)


@pytest.mark.parametrize("classes", [2, 3, 10])
def test_uniform_predictions_have_the_largest_entropy(classes):
    uniform = np.full((3, 4, classes), 7.0)
    np.testing.assert_allclose(metrics.predictive_entropy(uniform), math.log(classes))
    np.testing.assert_allclose(metrics.expected_entropy(uniform), math.log(classes))
    np.testing.assert_allclose(metrics.mutual_information(uniform), 0, atol=1e-15)


def test_total_uncertainty_is_the_sum_of_its_parts(predictions):
    logits, _ = predictions
    epistemic = metrics.mutual_information(logits)
    assert (epistemic >= 0).all()
    np.testing.assert_allclose(
        metrics.predictive_entropy(logits) - metrics.expected_entropy(logits), epistemic, atol=1e-14
    )


def test_mutual_information_of_certain_samples_falls_short_by_half_an_inverse_sample():
    """E MI over the Binomial(S, 1/2) number of votes, exactly: ln 2 - 1/(2 S) - 1/(4 S^2) + O(1/S^3)."""
    for samples in (50, 100, 200):
        votes = np.arange(samples + 1)
        certain = 40.0 * np.where(np.arange(samples)[:, None] < votes, 1, -1)
        logits = np.stack([certain, np.zeros_like(certain)], axis=-1)
        expected = binom.pmf(votes, samples, 0.5) @ metrics.mutual_information(logits)
        assert expected == pytest.approx(LN2 - 1 / (2 * samples) - 1 / (4 * samples**2), abs=1 / samples**3)


@pytest.mark.parametrize("name", metrics.METRICS)
def test_order_of_samples_and_galaxies_does_not_matter(name, predictions):
    logits, labels = predictions
    value, rng = metrics.METRICS[name](logits, labels), np.random.default_rng(2)
    samples, galaxies = rng.permutation(40), rng.permutation(60)
    assert metrics.METRICS[name](logits[samples], labels) == pytest.approx(value, rel=1e-12)
    assert metrics.METRICS[name](logits[:, galaxies], labels[galaxies]) == pytest.approx(value, rel=1e-12)


@pytest.mark.parametrize("name", metrics.METRICS)
def test_an_offset_common_to_the_classes_does_not_matter(name, predictions):
    logits, labels = predictions
    offset = np.random.default_rng(3).normal(0, 3, (40, 60, 1))
    assert metrics.METRICS[name](logits + offset, labels) == pytest.approx(
        metrics.METRICS[name](logits, labels), rel=1e-9
    )


def test_an_offset_shifts_the_energy(predictions):
    logits, _ = predictions
    np.testing.assert_allclose(metrics.energy_score(logits.astype(float) + 2), metrics.energy_score(logits) - 2)


def test_float16_is_read_as_the_numbers_it_holds(predictions):
    logits, labels = predictions
    for metric in metrics.METRICS.values():
        assert metric(logits, labels) == metric(logits.astype(np.float64), labels)


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (getattr(metrics, n), m)
        for n, m in [
            ("error", "error_percent"),
            ("nll", "nll"),
            ("brier", "brier"),
            ("uce", "uce_percent"),
            ("ece", "ece_percent"),
        ]
    ],
)
def test_registry_and_functions_agree(function, name, predictions):
    assert metrics.METRICS[name](*predictions) == function(*predictions)


# Calibrated nulls


def test_uce_of_a_perfectly_calibrated_classifier_is_not_zero():
    """Audit A8. Rarer class with p ~ U(0, 1/2): E H(p)/ln 2 - E 2p = 1/(2 ln 2) - 1/2 = 22.1 %, bin by bin positive."""
    rng = np.random.default_rng(4)
    p = rng.uniform(0, 0.5, 200_000)
    labels = (rng.random(p.size) < p).astype(int)
    u = -(p * np.log2(p) + (1 - p) * np.log2(1 - p))
    standard_error = 100 * (u - 2 * labels).std() / math.sqrt(p.size)
    assert abs(metrics.uce(logits_of([1 - p]), labels) - 100 * (0.5 / LN2 - 0.5)) < 5 * standard_error


def test_null_has_the_probabilities_of_the_predictive():
    """Galaxies with p = 0.1 and 0.4 of an error: the four outcomes and their UCE are known."""
    logits = logits_of([[0.9, 0.6]])
    u = np.array([entropy(0.9), entropy(0.6)]) / LN2  # 0.469 and 0.971, bins 3 and 7
    null = metrics.uce_null(logits, draws=20_000)
    for wrong, probability in {(0, 0): 0.54, (1, 0): 0.06, (0, 1): 0.36, (1, 1): 0.04}.items():
        value = 100 * np.abs(u - 2 * np.array(wrong)).mean()
        share = np.isclose(null, value).mean()
        assert abs(share - probability) < 5 * math.sqrt(probability * (1 - probability) / 20_000)


@pytest.mark.parametrize("name", metrics.CALIBRATION)
def test_fast_null_equals_the_plain_one(name, predictions):
    logits, _ = predictions
    plain = metrics.calibrated_null(lambda x, y: metrics.METRICS[name](x, y), logits, draws=20)
    np.testing.assert_allclose(metrics.calibrated_null(name, logits, draws=20), plain, rtol=1e-12)


@pytest.mark.parametrize("name", ["uce_percent", "classwise_uce_percent", "ece_percent"])
def test_a_calibrated_classifier_ranks_uniformly_within_its_null(name):
    """Mean mid-rank of 200 classifiers among 99 draws: 1/2 with standard error sqrt(1/12/200) = 0.020."""
    rng, ranks = np.random.default_rng(5), []
    for trial in range(200):
        logits = rng.normal(0, 2, (1, 40, 2)) + rng.normal(0, 1, (8, 40, 2))
        labels = (rng.random(40) > metrics.predictive_mean(logits)[:, 0]).astype(int)
        value = metrics.METRICS[name](logits, labels)
        null = metrics.calibrated_null(name, logits, draws=99, seed=trial)
        ranks.append((null < value).mean() / 2 + (null <= value).mean() / 2)
    assert abs(np.mean(ranks) - 0.5) < 4 * math.sqrt(1 / 12 / 200)


def test_excess_is_read_off_the_null_and_rejects_an_overconfident_classifier(predictions):
    logits, labels = predictions
    null = metrics.uce_null(logits, draws=400)
    expected = metrics.uce(logits, labels) - np.quantile(null, [0.5, 0.95, 0.05])
    np.testing.assert_allclose(metrics.uce_excess(logits, labels, draws=400, level=0.9), expected)
    flipped = np.where(np.arange(60) % 3 == 0, 1 - labels, labels)
    assert metrics.uce_excess(logits.astype(float) * 10, flipped).low > 0


# Bootstrap


def test_bootstrap_of_two_galaxies():
    # One right, one wrong: resampling gives 0, 50, 100 % with probability 1/4, 1/2, 1/4.
    logits, labels = logits_of([[0.9, 0.9]]), [0, 1]
    drawn = metrics.bootstrap_draws("error_percent", logits, labels, draws=10_000)
    for value, probability in ((0, 0.25), (50, 0.5), (100, 0.25)):
        assert abs((drawn == value).mean() - probability) < 5 * math.sqrt(probability * (1 - probability) / 10_000)
    assert metrics.bootstrap("error_percent", logits, labels) == (50, 0, 100)


def test_bootstrap_spread_is_the_standard_error_of_a_share():
    """12 of 104 wrong: sqrt(p (1 - p) / n); the spread of B draws is known to 1 / sqrt(2 B), here 1.1 %."""
    labels = (np.arange(104) < 12).astype(int)
    drawn = metrics.bootstrap_draws("error_percent", logits_of([[0.9] * 104]), labels, draws=4000)
    p = 12 / 104
    assert drawn.std() == pytest.approx(100 * math.sqrt(p * (1 - p) / 104), rel=5 / math.sqrt(2 * 4000))


def test_bootstrap_interval_covers_the_truth_at_its_level():
    """Percentile intervals of a Gaussian mean use z for t and 1/n in the variance, so they cover a little less."""
    rng = np.random.default_rng(6)
    statistic = metrics.Metric(lambda logits, _: (logits[0, :, 0],), needs_labels=False)
    trials, n = 500, 100
    covered = 0
    for trial in range(trials):
        logits = np.stack([rng.normal(0, 1, (1, n)), np.zeros((1, n))], axis=-1)
        interval = metrics.bootstrap(statistic, logits, None, draws=1000, level=0.9, seed=trial)
        covered += interval.low <= 0 <= interval.high
    expected = 1 - 2 * t.sf(norm.ppf(0.95) * math.sqrt((n - 1) / n), n - 1)
    assert abs(covered / trials - expected) < 4 * math.sqrt(expected * (1 - expected) / trials)


@pytest.mark.parametrize("name", metrics.METRICS)
def test_fast_bootstrap_equals_the_plain_one(name, predictions):
    fast = metrics.bootstrap_draws(name, *predictions, draws=10, seed=3)
    plain = metrics.bootstrap_draws(lambda x, y: metrics.METRICS[name](x, y), *predictions, draws=10, seed=3)
    np.testing.assert_allclose(fast, plain, rtol=1e-12)


def test_bootstrap_in_blocks_equals_one_block(predictions, monkeypatch):
    whole = metrics.bootstrap("uce_percent", *predictions, draws=101)
    monkeypatch.setattr(metrics, "BLOCK", 600)
    assert metrics.bootstrap("uce_percent", *predictions, draws=101) == whole


def test_a_flawless_test_set_gets_the_wilson_interval():
    # Wilson's score interval for k = 0: [0, z^2 / (n + z^2)]; mirrored for k = n.
    logits, z2 = logits_of([[0.9] * 104]), norm.ppf(0.975) ** 2
    none, every = (metrics.bootstrap(metrics.error, logits, np.full(104, label)) for label in (0, 1))
    assert none == pytest.approx((0, 0, 100 * z2 / (104 + z2)))
    assert every == pytest.approx((100, 100 - 100 * z2 / (104 + z2), 100))


def test_paired_bootstrap_of_identical_predictions_is_zero(predictions):
    logits, labels = predictions
    for name in metrics.METRICS:
        assert metrics.paired_bootstrap(name, (logits, logits), labels, draws=50) == (0, 0, 0)


def test_paired_bootstrap_has_the_spread_of_the_differences():
    """Two-sided 95 % width of the mean of d_n: 2 x 1.96 std(d)/sqrt(n), a fifth of the unpaired width here."""
    rng, n = np.random.default_rng(7), 400
    labels = np.zeros(n, int)
    p = rng.uniform(0.2, 0.9, n)
    a, b = logits_of([p]), logits_of([p * rng.uniform(0.8, 1.0, n)])
    difference = np.log(metrics.predictive_mean(b)[:, 0]) - np.log(p)
    interval = metrics.paired_bootstrap("nll", (a, b), labels, draws=4000)
    assert interval.value == pytest.approx(difference.mean())
    # A 2.5 % quantile of B normal draws has standard error 2.67 sigma / sqrt(B); the two ends nearly independently.
    sigma = difference.std() / math.sqrt(n)
    tolerance = 5 * math.sqrt(2) * 2.67 * sigma / math.sqrt(4000)
    assert interval.high - interval.low == pytest.approx(2 * 1.96 * sigma, abs=tolerance)


def test_paired_bootstrap_over_seeds(predictions):
    logits, labels = predictions
    worse = logits / 2
    one = metrics.paired_bootstrap("nll", (logits, worse), labels)
    assert metrics.paired_bootstrap("nll", ([logits, logits], [worse, worse]), labels) == pytest.approx(one, rel=1e-9)
    assert metrics.paired_bootstrap("nll", (np.stack([logits] * 2), [worse] * 2), labels) == pytest.approx(one)
    # Two seeds whose differences are d and -d: drawing seeds gives d, 0, -d with probability 1/4, 1/2, 1/4.
    wrong = -logits
    d = metrics.paired_bootstrap("nll", (wrong, logits), labels)
    assert d.low > d.value / 2 > 0
    both = metrics.paired_bootstrap("nll", ([wrong, logits], [logits, wrong]), labels)
    assert both.value == pytest.approx(0, abs=1e-15)
    assert both.low < -d.value / 2 and both.high > d.value / 2


# Summary and contracts


def test_summary_survives_json_and_holds_every_metric(predictions):
    summary = metrics.summarise(*predictions, draws=100)
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary
    assert summary == metrics.summarise(*predictions, draws=100)
    for name, metric in metrics.METRICS.items():
        assert summary[name]["value"] == metric(*predictions)
        assert summary[name]["low"] < summary[name]["high"]
    null = metrics.uce_null(predictions[0], draws=100)
    assert summary["uce_null_percent"]["value"] == np.median(null)
    assert summary["uce_excess_percent"] == metrics.uce_excess(*predictions, draws=100)._asdict()


def test_summary_without_labels_or_without_a_class(predictions):
    logits, labels = predictions
    uncertainties = {"predictive_entropy", "expected_entropy", "mutual_information", "overlap_index"}
    assert set(metrics.summarise(logits, draws=10)) == uncertainties
    absent = {name for name in metrics.summarise(logits, labels, draws=10) if "frii" in name or "classwise" in name}
    assert absent == set(metrics.summarise(logits, labels, draws=10)) - set(
        metrics.summarise(logits, np.zeros_like(labels), draws=10)
    )


def test_options_are_keyword_only_and_documented():
    required = {"logits", "labels", "scores", "positive", "statistic", "pair", "logits_a", "logits_b"}
    for name, function in inspect.getmembers(metrics, inspect.isfunction):
        if function.__module__ == metrics.__name__ and not name.startswith("_"):
            assert function.__doc__, name
            for parameter in inspect.signature(function).parameters.values():
                assert parameter.name in required or parameter.kind is parameter.KEYWORD_ONLY, (name, parameter.name)


BAD = np.zeros((2, 3, 2))
NAN, INF = BAD.copy(), BAD.copy()
NAN[1, 2, 0], INF[0, 1, 1] = np.nan, np.inf


@pytest.mark.parametrize(
    ("logits", "labels", "message"),
    [
        (NAN, [0, 1, 0], r"nan \(first at sample 1, galaxy 2, class 0\); expected finite"),
        (INF, [0, 1, 0], r"inf \(first at sample 0, galaxy 1, class 1\)"),
        (BAD[0], [0, 1, 0], r"shape \(3, 2\); expected three axes"),
        (BAD[:, :0], [], "at least one sample, one galaxy"),
        (BAD[:0], [0, 1, 0], "at least one sample"),
        (BAD[..., :1], [0, 0, 0], "two classes"),
        (BAD, [0, 1], r"labels have shape \(2,\); expected \(3,\)"),
        (BAD, [0, 1, 2], "labels hold 2; expected integers 0..1"),
        (BAD, [0, -1, 0], "labels hold -1; expected integers 0..1"),
        (BAD, [0.0, 1.0, 0.0], "dtype float64; expected integers"),
    ],
)
@pytest.mark.parametrize(
    "call",
    [
        metrics.error,
        metrics.single_sample_error,
        metrics.nll,
        metrics.brier,
        metrics.uce,
        metrics.classwise_uce,
        metrics.ece,
        metrics.summarise,
        lambda x, y: metrics.bootstrap("nll", x, y),
        metrics.uce_excess,
        lambda x, y: metrics.mcnemar(x, x, y),
        lambda x, y: metrics.paired_bootstrap("nll", (x, x), y),
    ],
)
def test_bad_arrays_are_named(call, logits, labels, message):
    with pytest.raises(ValueError, match=message):
        call(logits, labels)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: metrics.uce(HAND, LABELS, uncertainty="entropy"),
            "uncertainty is 'entropy'; choose one of predictive",
        ),
        (lambda: metrics.uce(HAND, LABELS, bins=0), "bins is 0; expected a whole number"),
        (lambda: metrics.ece(HAND, LABELS, strategy="mass"), "strategy is 'mass'; choose one of uniform, quantile"),
        (lambda: metrics.overlap_index(HAND, definition="sum"), "definition is 'sum'"),
        (lambda: metrics.overlap_index(HAND, space="probabilities"), "space is 'probabilities'"),
        (lambda: metrics.overlap_index(HAND, bandwidth=0), "bandwidth is 0; expected a positive"),
        (lambda: metrics.bootstrap("accuracy", HAND, LABELS), "statistic is 'accuracy'; choose one of error_percent"),
        (lambda: metrics.bootstrap(None, HAND, LABELS), "statistic is None"),
        (lambda: metrics.bootstrap("nll", HAND, LABELS, level=95), "level is 95; expected a number between 0 and 1"),
        (lambda: metrics.bootstrap("nll", HAND, LABELS, draws=0), "draws is 0"),
        (lambda: metrics.bootstrap("nll", HAND, None), "labels are None"),
        (lambda: metrics.bootstrap("uce_frii_percent", HAND, [0, 0, 0]), "nan on these galaxies"),
        (lambda: metrics.calibrated_null("nll", HAND, draws=1.5), "draws is 1.5"),
        (lambda: metrics.classwise_uce(HAND, [0, 0, 0]), "no galaxy of class 1"),
        (lambda: metrics.paired_bootstrap("nll", ([HAND], [HAND, HAND]), LABELS), "1 and 2 runs"),
        (lambda: metrics.paired_bootstrap("predictive_entropy", (HAND, HAND[:, :2]), None), r"\[2, 3\] galaxies"),
        (lambda: metrics.central_samples(HAND, share=64), "share is 64"),
        (lambda: metrics.central_samples(np.zeros((2, 2, 3))), "3 classes"),
        (lambda: metrics.auroc([0.1, 0.2], [1, 1]), r"positive holds \[1\]; expected both"),
        (lambda: metrics.auroc([0.1, np.nan], [0, 1]), "scores hold nan"),
        (lambda: metrics.auroc([0.1, 0.2, 0.3], [0, 1]), r"scores \(3,\) and positive \(2,\)"),
    ],
)
def test_bad_options_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_network_that_never_predicts_a_class_has_no_null_for_it():
    logits = np.tile([50.0, -50.0], (3, 4, 1))
    summary = metrics.summarise(logits, np.array([0, 0, 1, 1]))
    assert "uce_frii_percent" in summary
    assert "uce_frii_null_percent" not in summary
    assert "uce_null_percent" in summary

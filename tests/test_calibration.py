"""Values worked by hand, guarantees by simulation with the bound that they promise, limits and invariances."""

import itertools
import math

import numpy as np
import pytest
from scipy.stats import betabinom, binom

from radio_bnn import calibration, metrics, tables
from radio_bnn.calibration import (
    auroc_bootstrap,
    conformal_sets,
    conformal_threshold,
    coverage_range,
    rejection_area,
    rejection_curve,
    reliability,
)
from radio_bnn.train import selection_half


def logits_of(class_0):
    """Two-class logits whose softmax is (p, 1 - p); (S, N) -> (S, N, 2)."""
    p = np.asarray(class_0, float)
    return np.log(np.stack([p, 1 - p], axis=-1))


def world(n, seed=0, samples=6):
    """A network that is calibrated by construction: labels drawn from its own averaged predictive."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (1, n, 2)) + rng.normal(0, 1, (samples, n, 2))
    return logits, (rng.random(n) > metrics.predictive_mean(logits)[:, 0]).astype(int)


def test_predictive_variance_by_hand():
    # Class 0: 0.9 and 0.4 around 0.65, 0.8 and 0.6 around 0.7, twice 0.99.
    logits = logits_of([[0.9, 0.8, 0.99], [0.4, 0.6, 0.99]])
    np.testing.assert_allclose(calibration.predictive_variance(logits), [0.25**2, 0.1**2, 0], atol=1e-15)
    assert calibration.predictive_variance([[[40.0, 0]], [[0, 40.0]]]) == pytest.approx(1 / 4)


@pytest.mark.parametrize("name", calibration.UNCERTAINTIES)
def test_every_uncertainty_is_larger_for_a_coin_than_for_a_certainty(name):
    rng = np.random.default_rng(0)
    coin, certain = rng.normal(0, 1, (2, 50, 1, 2)) + np.array([[[0, 0]], [[9, -9]]])[:, None]
    assert calibration.UNCERTAINTIES[name](coin) > calibration.UNCERTAINTIES[name](certain)


# AUROC over galaxies and seeds


def test_auroc_of_groups_averages_over_seeds():
    # Entropy falls from p = 0.5 to 1. Seed 1: 0.6 beats both, 0.8 beats one of two: 3/4. Seed 2: all equal: 1/2.
    confident = [logits_of([[0.7, 0.9]]), logits_of([[0.7, 0.7]])]
    uncertain = [logits_of([[0.6, 0.8]]), logits_of([[0.3, 0.7]])]
    found = auroc_bootstrap("predictive_entropy", (confident, uncertain))
    assert found.value == pytest.approx((3 / 4 + 1 / 2) / 2)
    assert 0 <= found.low <= found.value <= found.high <= 1
    assert auroc_bootstrap("predictive_entropy", (uncertain, confident)).value == pytest.approx(1 - found.value)


def test_auroc_equals_scikit_learn_also_when_resampled():
    a, b = world(30, seed=1)[0], world(20, seed=2)[0]
    scores = [metrics.mutual_information(x) for x in (a, b)]
    found = auroc_bootstrap("mutual_information", (a, b), draws=50, seed=3)
    assert found.value == pytest.approx(metrics.auroc(np.concatenate(scores), [0] * 30 + [1] * 20))
    rng, replicates = np.random.default_rng(3), []
    counts_b, counts_a = (rng.multinomial(k, np.full(k, 1 / k), size=50) for k in (20, 30))
    for repeat_a, repeat_b in zip(counts_a, counts_b, strict=True):
        drawn = np.concatenate([np.repeat(scores[0], repeat_a), np.repeat(scores[1], repeat_b)])
        replicates.append(metrics.auroc(drawn, [0] * 30 + [1] * 20))
    np.testing.assert_allclose(found[1:], np.quantile(replicates, [0.025, 0.975]))


def test_auroc_interval_has_the_width_of_hanley_and_mcneil():
    """Binormal groups: the stated variance of an AUROC, within 10 % of the bootstrap's half-width over 1.96."""
    rng = np.random.default_rng(4)
    p = 1 / (1 + np.exp(-np.concatenate([rng.normal(4, 1, 400), rng.normal(3, 1, 400)])))
    found = auroc_bootstrap("predictive_entropy", (logits_of([p[:400]]), logits_of([p[400:]])), draws=4000)
    area, n = found.value, 400
    q1, q2 = area / (2 - area), 2 * area**2 / (1 + area)
    variance = (area * (1 - area) + (n - 1) * (q1 - area**2) + (n - 1) * (q2 - area**2)) / n**2
    assert (found.high - found.low) / 2 / 1.96 == pytest.approx(math.sqrt(variance), rel=0.1)


def test_auroc_of_an_uncertainty_that_is_equal_for_all_is_chance():
    one_sample = logits_of([[0.9, 0.6, 0.5]])  # a single network has no spread
    assert auroc_bootstrap("predictive_variance", (one_sample, one_sample[:, :2])) == (0.5, 0.5, 0.5)


def test_seeds_that_disagree_widen_the_interval():
    good = (logits_of([[0.99] * 40]), logits_of([[0.6] * 40]))
    bad = good[::-1]
    assert auroc_bootstrap("predictive_entropy", ([good[0]] * 2, [good[1]] * 2)) == (1, 1, 1)
    both = auroc_bootstrap("predictive_entropy", ([good[0], bad[0]], [good[1], bad[1]]))
    assert both == (0.5, 0, 1)  # both seeds drawn alike, with a probability of 1/4 each way


# Reliability


def test_reliability_by_hand():
    # P(FRII) 0.1, 0.2 | 0.6, 0.9: of the first bin none is FRII, of the second one.
    found = reliability(logits_of([[0.9, 0.8, 0.4, 0.1]]), [0, 0, 0, 1], bins=2)
    np.testing.assert_allclose(found.forecast, [0.15, 0.75])
    np.testing.assert_allclose(found.frequency, [0, 0.5])
    np.testing.assert_array_equal(found.count, [2, 2])
    # Number of FRII in bin 1: 0 with 0.72, 1 with 0.26, 2 with 0.02; in bin 2: 0.04, 0.42, 0.54.
    np.testing.assert_array_equal([found.low, found.high], [[0, 0], [0.5, 1]])
    narrow = reliability(logits_of([[0.9, 0.8, 0.4, 0.1]]), [0, 0, 0, 1], bins=2, level=0.9)
    np.testing.assert_array_equal([narrow.low, narrow.high], [[0, 0.5], [0.5, 1]])


def test_band_of_equal_forecasts_is_the_binomial_one():
    found = reliability(logits_of([[0.7] * 25]), [0] * 25, bins=8, level=0.9)
    np.testing.assert_allclose([found.low, found.high], np.array([binom.interval(0.9, 25, 0.3)]).T / 25)


def test_band_against_all_outcomes():
    p = np.array([0.05, 0.3, 0.5, 0.55, 0.9])
    probability = np.zeros(6)
    for outcome in itertools.product([0, 1], repeat=5):
        probability[sum(outcome)] += np.prod(np.where(outcome, p, 1 - p))
    found = reliability(logits_of([1 - p]), [0] * 5, bins=1, level=0.8)
    low, high = round(5 * found.low[0]), round(5 * found.high[0])
    assert probability[:low].sum() <= 0.1 < probability[: low + 1].sum()
    assert probability[high + 1 :].sum() <= 0.1 < probability[high:].sum()


@pytest.mark.parametrize("forecast", calibration.FORECASTS)
@pytest.mark.parametrize("strategy", ["uniform", "quantile"])
def test_band_holds_a_calibrated_network_at_least_at_its_level(forecast, strategy):
    """Bins of 300 calibrated networks; fewer inside than 5 standard errors below the level would be a wrong band."""
    inside = []
    for seed in range(300):
        found = reliability(*world(60, seed), forecast=forecast, strategy=strategy, bins=4, level=0.9)
        inside += list((found.low <= found.frequency) & (found.frequency <= found.high))
    assert np.mean(inside) > 0.9 - 5 * math.sqrt(0.9 * 0.1 / 300)  # bins of one network are independent, and help


def test_band_leaves_out_an_overconfident_network():
    logits, labels = world(2000)
    found = reliability(6 * logits, labels, bins=4)
    assert found.frequency[0] > found.high[0]
    assert found.frequency[-1] < found.low[-1]


@pytest.mark.parametrize(("bins", "strategy"), [(15, "uniform"), (15, "quantile"), (7, "quantile"), (200, "quantile")])
def test_reliability_and_ece_use_the_same_bins(bins, strategy):
    logits, labels = world(97)
    found = reliability(logits, labels, forecast="confidence", bins=bins, strategy=strategy)
    gap = 100 * (found.count * np.abs(found.forecast - found.frequency)).sum() / 97
    assert gap == pytest.approx(metrics.ece(logits, labels, bins=bins, strategy=strategy))


# Rejection


def test_rejection_curve_by_hand():
    # By uncertainty: losses 0, 1, 0, 1; all: 2/4, without the last 1/3, then 1/2, then 0.
    curve = rejection_curve([1, 0, 1, 0], [0.3, 0.1, 0.9, 0.5])
    np.testing.assert_allclose(curve, [1 / 2, 1 / 3, 1 / 2, 0])


def test_ties_are_rejected_in_expectation():
    loss, uncertainty = np.array([1.0, 0, 3, 5]), [2, 2, 2, 9]
    orders = [rejection_curve(loss, [*order, 9]) for order in itertools.permutations([0, 1, 2])]
    np.testing.assert_allclose(rejection_curve(loss, uncertainty), np.mean(orders, axis=0))


def test_rejection_of_many_rows_is_row_by_row():
    rng = np.random.default_rng(5)
    loss, uncertainty = rng.normal(size=(7, 11)), rng.integers(4, size=(7, 11))
    rows = [rejection_curve(a, b) for a, b in zip(loss, uncertainty, strict=True)]
    np.testing.assert_allclose(rejection_curve(loss, uncertainty), rows)


@pytest.mark.parametrize("by", calibration.UNCERTAINTIES)
@pytest.mark.parametrize("score", calibration.SCORES)
def test_no_uncertainty_beats_the_oracle_and_random_gives_the_score(score, by):
    logits, labels = world(60)
    loss, uncertainty = calibration.rejection_columns(logits, labels, score=score, by=by)
    oracle, random = (calibration.rejection_columns(logits, labels, score=score, by=b)[1] for b in ("oracle", "random"))
    model, everything = rejection_curve(loss, uncertainty), metrics.METRICS[score](logits, labels)
    assert (rejection_curve(loss, oracle) <= model + 1e-12).all()
    assert (model <= rejection_curve(loss, -loss) + 1e-12).all()
    np.testing.assert_allclose(rejection_curve(loss, random), everything)
    assert model[0] == pytest.approx(everything)


def test_an_uncertainty_that_follows_the_loss_is_the_oracle():
    loss = np.random.default_rng(6).random(30)
    np.testing.assert_allclose(rejection_curve(loss, np.exp(3 * loss)), rejection_curve(loss, loss))


def test_areas_of_all_orders_average_to_random():
    loss = np.array([0.0, 1, 4, 9])
    areas = [rejection_curve(loss, order).mean() for order in itertools.permutations(range(4))]
    assert np.mean(areas) == pytest.approx(loss.mean())


def test_oracle_area_of_the_error_by_hand():
    # One of four wrong, rejected first: errors 25, 0, 0, 0 %.
    logits = logits_of([[0.9, 0.8, 0.7, 0.6]])
    assert rejection_area("error_percent", "oracle")(logits, [0, 0, 0, 1]) == pytest.approx(25 / 4)
    assert rejection_area("error_percent", "predictive_entropy")(logits, [0, 0, 0, 1]) == pytest.approx(25 / 4)
    # Rejected last, it is all that is kept in the end: 25, 33, 50, 100 %.
    worst = rejection_area("error_percent", "predictive_entropy")(logits, [1, 0, 0, 0])
    assert worst == pytest.approx(100 * (1 / 4 + 1 / 3 + 1 / 2 + 1) / 4)


def test_area_is_a_metric_that_can_be_bootstrapped_and_paired():
    logits, labels = world(50)
    area = rejection_area("nll", "mutual_information")
    found = metrics.bootstrap(area, logits, labels, draws=200)
    assert found.low < found.value < found.high
    plain = metrics.bootstrap(lambda x, y: area(x, y), logits, labels, draws=200)
    np.testing.assert_allclose(found, plain)
    assert metrics.paired_bootstrap(area, (logits, logits), labels, draws=20) == (0, 0, 0)


# Conformal prediction


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
    assert calibration.summarise_sets(sets, np.array([0, 1, 0, 1])) == (50, 50, 25, 25)
    assert math.isnan(calibration.summarise_sets(sets, None).coverage)


def test_table_of_sets_by_hand():
    sets = {("confident", "one"): np.array([[1, 0], [1, 1], [0, 0], [1, 0]], bool), ("hybrid", "one"): np.eye(2) > 0}
    rows = tables.conformal(sets, {"confident": np.array([0, 1, 0, 1]), "hybrid": None}).splitlines()[2:]
    assert rows == ["| confident | one | 50 | 50 | 50 | 50 | 25 | 25 |", "| hybrid | one | – | – | – | 100 | 0 | 0 |"]


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
    found = coverage_range(m, n, alpha=alpha)
    assert found.value == pytest.approx(100 * 28 / 31)
    assert found[1:] == (100 * expected.ppf(0.025) / n, 100 * expected.ppf(0.975) / n)


def test_too_few_calibration_galaxies_cover_everything():
    assert coverage_range(5, 100, alpha=0.1) == (100, 100, 100)


def test_selection_and_calibration_halves_share_no_galaxy_and_leave_none_out():
    from scenarios import galaxies

    members = galaxies()[:15]
    half = calibration.calibration_half(np.zeros((3, 15, 2)), np.arange(15))
    assert half[0].shape == (3, 8, 2)
    assert len(selection_half(members)) + len(half[1]) == 15
    assert half[1].tolist() == list(range(len(selection_half(members)), 15))


# Errors


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda x, y: auroc_bootstrap("entropy", (x, x)), "uncertainty is 'entropy'; choose one of predictive_entropy"),
        (lambda x, y: auroc_bootstrap("energy_score", ([x, x], [x])), r"\[9, 9\] and \[9\] galaxies"),
        (lambda x, y: auroc_bootstrap("energy_score", ([], [])), "no run given"),
        (lambda x, y: auroc_bootstrap("energy_score", (x, x), level=95), "level is 95"),
        (lambda x, y: reliability(x, y, forecast="fri"), "forecast is 'fri'; choose one of frii, confidence"),
        (lambda x, y: reliability(x, y, strategy="equal"), "strategy is 'equal'"),
        (lambda x, y: reliability(x, y, bins=0), "bins is 0"),
        (lambda x, y: reliability(x, y[:3]), r"labels have shape \(3,\)"),
        (lambda x, y: rejection_area("uce_percent")(x, y), "score is 'uce_percent'"),
        (lambda x, y: rejection_area("nll", "luck")(x, y), "by is 'luck'.*random"),
        (lambda x, y: conformal_sets((x, y), x, alpha=10), "alpha is 10; expected a number between 0 and 1"),
        (lambda x, y: conformal_sets((x, y + 5), x), "labels hold 5"),
    ],
)
def test_errors_name_the_value_and_what_was_expected(call, says):
    with pytest.raises(ValueError, match=says):
        call(np.zeros((2, 9, 2)), np.zeros(9, int))

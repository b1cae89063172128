import numpy as np
import pytest
from scenarios import calibrated
from scipy.optimize import minimize_scalar
from scipy.stats import binom, norm, ttest_1samp
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from radio_bnn.evaluation import crossval
from radio_bnn.evaluation.crossval import (
    Estimate,
    Excess,
    _weights,
    auroc,
    averaged,
    coefficient,
    difference,
    false_alarms,
    paired_error_interval,
    pooled,
    ranking,
)
from radio_bnn.evaluation.metrics import METRICS, Metric
from radio_bnn.evaluation.predictive import predictive_entropy, predictive_variance
from radio_bnn.evaluation.shift import false_positive_rate

SHARE = 104 / 584
VALUE = Metric(lambda logits, _: (logits[0, :, 0],), needs_labels=False)  # one number per galaxy, its mean


def network(n, *, samples=4, seed=0, shift=0.0):
    rng = np.random.default_rng(seed)
    return rng.normal(shift, 1.5, (1, n, 2)) + rng.normal(0, 1, (samples, n, 2))


def folds(sizes=(30, 31, 29), seed=0, **settings):
    logits = [[network(n, seed=seed + k, **settings)] for k, n in enumerate(sizes)]
    labels = [np.random.default_rng(100 + k).integers(2, size=n) for k, n in enumerate(sizes)]
    return logits, labels


def at_least(covered, trials, level=0.95):
    """Whether so many intervals of this level may have failed by chance: all but one in a thousand series have."""
    return covered >= binom.ppf(0.001, trials, level)


# Pooled


def test_a_score_pools_the_galaxies_and_knows_the_folds():
    logits, labels = folds()
    found = pooled("nll", [(1.0, logits)], labels, test_share=SHARE, resamples=50)
    together = METRICS["nll"](np.concatenate([runs[0] for runs in logits], axis=1), np.concatenate(labels))
    assert found.value == pytest.approx(together, rel=1e-12)
    assert found.by_fold == pytest.approx([METRICS["nll"](x[0], y) for x, y in zip(logits, labels, strict=True)])
    assert found.folds == 3 and found.resampled.shape == (50,)


def test_binned_errors_are_those_of_all_galaxies_together():
    logits, labels = folds()
    found = pooled("classwise_uce_percent", [(1.0, logits)], labels, test_share=SHARE, resamples=10)
    whole = np.concatenate([runs[0] for runs in logits], axis=1)
    assert found.value == pytest.approx(METRICS["classwise_uce_percent"](whole, np.concatenate(labels)))


@pytest.mark.parametrize("statistic", ["nll", Excess(METRICS["classwise_uce_percent"])], ids=["score", "excess"])
def test_a_group_differs_from_itself_by_exactly_nothing(statistic):
    logits, labels = folds()
    found = pooled(statistic, [(1.0, logits), (-1.0, logits)], labels, test_share=SHARE, resamples=50)
    assert found.value == 0 and not found.resampled.any() and tuple(found.interval()) == (0, 0, 0)


@pytest.mark.parametrize("statistic", ["nll", Excess(METRICS["uce_percent"])], ids=["score", "excess"])
def test_two_estimates_pair_as_one_contrast_does(statistic):
    (a, labels), (b, _) = folds(), folds(seed=50)
    settings = {"labels": labels, "test_share": SHARE, "resamples": 40}
    together = pooled(statistic, [(1.0, a), (-1.0, b)], **settings)
    apart = difference(pooled(statistic, [(1.0, a)], **settings), pooled(statistic, [(1.0, b)], **settings))
    assert apart.value == pytest.approx(together.value)
    np.testing.assert_allclose(apart.resampled, together.resampled, atol=1e-12)
    np.testing.assert_allclose(apart.by_fold, together.by_fold, atol=1e-12)


def test_estimates_of_other_folds_do_not_pair():
    one, two = (Estimate(0.0, np.zeros(9), np.zeros(n), SHARE) for n in (2, 3))
    with pytest.raises(ValueError, match="on 2 and 3 folds"):
        difference(one, two)


def test_the_order_of_the_folds_changes_no_value():
    logits, labels = folds()
    found, other = (
        pooled("brier", [(1.0, logits[::way])], labels[::way], test_share=SHARE, resamples=5) for way in (1, -1)
    )
    assert found.value == pytest.approx(other.value, rel=1e-12)
    assert found.t_interval() == pytest.approx(other.t_interval())


def test_repeats_of_a_fold_are_averaged_before_anything_else():
    (a, labels), (b, _) = folds(), folds(seed=50)
    both = [[x[0], y[0]] for x, y in zip(a, b, strict=True)]
    one, two, mean = (pooled("nll", [(1.0, group)], labels, test_share=SHARE, resamples=20) for group in (a, b, both))
    assert mean.value == pytest.approx((one.value + two.value) / 2)
    assert mean.by_fold == pytest.approx((one.by_fold + two.by_fold) / 2)
    assert mean.resampled == pytest.approx((one.resampled + two.resampled) / 2)


def test_galaxies_are_resampled_within_their_fold():
    """Every galaxy of a fold has the fold's number: whatever is drawn, the mean is the same."""
    logits = [[np.full((1, n, 2), float(k))] for k, n in enumerate((10, 20))]
    found = pooled(VALUE, [(1.0, logits)], [np.zeros(10, int), np.zeros(20, int)], test_share=SHARE, resamples=30)
    assert found.resampled == pytest.approx(np.full(30, 20 / 30))


def test_pairing_cancels_what_two_groups_share():
    logits, labels = folds((300, 300, 300))
    shifted = [[x[0] + np.array([0.05, 0.0])] for x in logits]
    alone = pooled("nll", [(1.0, logits)], labels, test_share=SHARE, resamples=200).resampled.std()
    paired = pooled("nll", [(1.0, shifted), (-1.0, logits)], labels, test_share=SHARE, resamples=200).resampled.std()
    assert paired < alone / 5


def test_groups_that_do_not_fit_are_refused_by_name():
    logits, labels = folds()
    for groups in ([(1.0, logits[:2])], [(1.0, [*logits[:2], logits[2] * 2])], [(1.0, [*logits[:2], []])]):
        with pytest.raises(ValueError, match="expected the same folds"):
            pooled("nll", groups, labels, test_share=SHARE)
    with pytest.raises(ValueError, match="not defined in fold number 1"):
        pooled("uce_fri_percent", [(1.0, logits)], [labels[0], labels[1] * 0 + 1, labels[2]], test_share=SHARE)


# Intervals


def test_the_t_intervals_are_the_textbook_ones_and_the_wider_interval_decides():
    x = np.array([0.1, 0.3, 0.2, 0.5, 0.25])
    found = Estimate(float(x.mean()), np.full(100, x.mean()), x, SHARE)
    expected = ttest_1samp(x, 0).confidence_interval(0.9)
    assert found.t_interval(0.9)[1:] == pytest.approx((expected.low, expected.high))
    corrected = found.corrected_interval(0.9)
    ratio = (corrected.high - corrected.low) / (expected.high - expected.low)
    assert ratio == pytest.approx(np.sqrt((1 / 5 + SHARE) / (1 / 5)))
    assert found.interval(0.9) == found.t_interval(0.9)
    wide = Estimate(found.value, np.linspace(-5, 5, 100), x, SHARE)
    assert wide.interval() == wide.resampled_interval()


def test_a_single_fold_has_galaxies_alone():
    found = Estimate(0.0, np.linspace(-1, 1, 100), np.array([0.0]), SHARE)
    assert found.interval() == found.resampled_interval()
    with pytest.raises(ValueError, match="at least two"):
        found.corrected_interval()


@pytest.mark.parametrize("spread", [0.0, 1.0], ids=["galaxies alone", "folds differ"])
def test_the_interval_covers_the_truth_as_often_as_it_says(spread):
    rng, covered, trials = np.random.default_rng(0), 0, 200
    for _ in range(trials):
        logits = [[np.full((1, 40, 2), rng.normal(0, spread)) + rng.normal(size=(1, 40, 1))] for _ in range(8)]
        low, high = pooled(VALUE, [(1.0, logits)], [np.zeros(40, int)] * 8, test_share=SHARE, resamples=200).interval()[
            1:
        ]
        covered += low <= 0 <= high
    assert at_least(covered, trials)


# Excess over the null


def test_the_excess_of_a_calibrated_network_contains_0_as_often_as_it_says():
    covered, trials, statistic = 0, 60, Excess(METRICS["classwise_uce_percent"])
    for trial in range(trials):
        parts = [calibrated(100, seed=10 * trial + k) for k in range(4)]
        found = pooled(
            statistic, [(1.0, [[x] for x, _ in parts])], [y for _, y in parts], test_share=SHARE, resamples=200
        )
        covered += found.interval().low <= 0 <= found.interval().high
    assert at_least(covered, trials)


def test_the_excess_is_the_error_less_the_mean_of_its_null_and_finds_overconfidence():
    parts = [calibrated(400, seed=k) for k in range(3)]
    labels = [y for _, y in parts]
    bold = [[4 * x] for x, _ in parts]
    found = pooled(Excess(METRICS["ece_percent"]), [(1.0, bold)], labels, test_share=SHARE, resamples=100)
    raw = pooled("ece_percent", [(1.0, bold)], labels, test_share=SHARE, resamples=10)
    assert found.interval().low > 0 and found.value < raw.value
    whole = np.concatenate([x[0] for x in bold], axis=1)
    rng, draws = np.random.default_rng(5), []
    p = np.exp(whole) / np.exp(whole).sum(-1, keepdims=True)
    for _ in range(300):
        draws.append(METRICS["ece_percent"](whole, (rng.random(1200) > p.mean(0)[:, 0]).astype(int)))
    error = np.std(draws) / np.sqrt(300)
    assert found.value == pytest.approx(raw.value - np.mean(draws), abs=5 * error)


# Within each network


def doubt(seed=0, n=40, m=60, strength=0.0):
    """Three networks; the doubtful galaxies are the same but for one that the last network does not score."""
    rng = np.random.default_rng(seed)
    ids = [np.arange(m), np.arange(m), np.arange(m - 1)]
    certain = [rng.normal(0, 1, (1, n, 2)) * 3 + rng.normal(0, 1, (5, n, 2)) for _ in ids]
    shared = rng.normal(0, 1, (1, m, 2)) * 3 * (1 - strength)
    doubtful = [(shared + rng.normal(0, 1, (5, m, 2)))[:, : len(i)] for i in ids]
    return certain, doubtful, ids


def test_the_auroc_is_that_of_each_network_averaged():
    certain, doubtful, ids = doubt(strength=0.5)
    found = auroc("predictive_entropy", certain, doubtful, ids, test_share=SHARE, resamples=20)
    each = [
        roc_auc_score(
            np.repeat([0, 1], [a.shape[1], b.shape[1]]), np.concatenate([predictive_entropy(a), predictive_entropy(b)])
        )
        for a, b in zip(certain, doubtful, strict=True)
    ]
    assert found.by_fold == pytest.approx(each) and found.value == pytest.approx(np.mean(each))


def test_doubtful_galaxies_are_drawn_once_for_all_networks():
    """Networks that see the same galaxies alike vary together; galaxies drawn for each would average out."""
    certain, doubtful, ids = doubt()
    same = auroc("predictive_entropy", [certain[0]] * 8, [doubtful[0]] * 8, [ids[0]] * 8, test_share=SHARE)
    other = [ids[0] + 100 * k for k in range(8)]
    apart = auroc("predictive_entropy", [certain[0]] * 8, [doubtful[0]] * 8, other, test_share=SHARE)
    assert same.value == apart.value and same.resampled.std() > 1.5 * apart.resampled.std()


def test_a_ranking_of_uncertainties_is_their_auroc_and_turns_with_their_sign():
    certain, doubtful, ids = doubt(4)
    low, high = ([predictive_entropy(x) for x in side] for side in (certain, doubtful))
    found = auroc("predictive_entropy", certain, doubtful, ids, test_share=SHARE, resamples=20)
    same = ranking(low, high, ids, test_share=SHARE, resamples=20)
    assert same.value == found.value and np.array_equal(same.resampled, found.resampled)
    turned = ranking([-x for x in low], [-x for x in high], ids, test_share=SHARE, resamples=20)
    np.testing.assert_allclose(turned.by_fold, 1 - found.by_fold)


def test_false_alarms_are_those_of_each_network_and_of_galaxies_that_repeat():
    rng = np.random.default_rng(6)
    low, high = [rng.normal(0, 1, 300) for _ in range(3)], [rng.normal(1.5, 1, 200).round(1) for _ in range(3)]
    found = false_alarms(low, high, [np.arange(200)] * 3, test_share=SHARE, resamples=5)
    each = [false_positive_rate(a, b) for a, b in zip(low, high, strict=True)]
    assert found.by_fold == pytest.approx(each) and found.value == pytest.approx(np.mean(each))
    weights = _weights([300] * 3, [np.arange(200)] * 3, 5, 0)
    drawn = [
        [
            false_positive_rate(np.repeat(a, own[k].astype(int)), np.repeat(b, shared[k].astype(int)))
            for a, b, (own, shared) in zip(low, high, weights, strict=True)
        ]
        for k in range(1, 6)
    ]
    assert found.resampled == pytest.approx(np.mean(drawn, axis=1))
    expected = norm.sf(norm.ppf(0.05) + 1.5)
    assert found.interval(0.999).low < expected < found.interval(0.999).high


def test_a_score_that_is_the_same_everywhere_raises_the_alarm_everywhere():
    found = false_alarms([np.zeros(9)], [np.zeros(4)], [np.arange(4)], test_share=SHARE, resamples=9)
    assert found.value == 1 and found.resampled.min() == 1
    with pytest.raises(ValueError, match="caught is 1"):
        false_alarms([np.zeros(9)], [np.zeros(4)], [np.arange(4)], caught=1, test_share=SHARE)


def test_a_mean_over_networks_counts_what_it_is_told_to():
    values, counted = [np.array([1.0, 2.0, 9.0]), np.array([4.0, 6.0])], [np.array([True, True, False])] * 2
    found = averaged(values, [counted[0], np.ones(2, bool)], [np.arange(3), np.arange(2)], test_share=SHARE)
    assert found.by_fold == pytest.approx([1.5, 5.0]) and found.value == pytest.approx(3.25)


def test_more_networks_of_the_same_galaxies_do_not_make_a_mean_surer():
    value, ids = np.random.default_rng(0).normal(size=50), np.arange(50)
    one = averaged([value], [value < 9], [ids], test_share=SHARE)
    eight = averaged([value] * 8, [value < 9] * 8, [ids] * 8, test_share=SHARE)
    assert eight.resampled_interval() == pytest.approx(one.resampled_interval())
    assert one.resampled.std() == pytest.approx(value.std() / np.sqrt(50), rel=0.1)


def test_the_auroc_of_noise_covers_one_half():
    found = [auroc("predictive_variance", *doubt(seed), test_share=SHARE, resamples=200) for seed in range(100)]
    covered = sum(f.interval().low <= 0.5 <= f.interval().high for f in found)
    assert at_least(covered, len(found))


def test_the_coefficient_is_that_of_scikit_learn_on_standardised_columns():
    certain, doubtful, ids = doubt(strength=0.5)
    rng = np.random.default_rng(3)
    za, zb = ([rng.normal(size=(x.shape[1], 2)) for x in group] for group in (certain, doubtful))
    found = coefficient("predictive_variance", certain, doubtful, ids, za, zb, test_share=SHARE, resamples=30)
    for k, (a, b) in enumerate(zip(certain, doubtful, strict=True)):
        u = np.concatenate([predictive_variance(a), predictive_variance(b)])
        x = np.column_stack([u, np.concatenate([za[k], zb[k]])])
        x = (x - x.mean(0)) / x.std(0)
        y = np.repeat([0, 1], [a.shape[1], b.shape[1]])
        expected = LogisticRegression(C=np.inf, tol=1e-12, max_iter=10_000).fit(x, y).coef_[0, 0]
        assert found.by_fold[k] == pytest.approx(expected, abs=1e-5)
    assert np.isfinite(found.resampled).all()
    za[0][0, 0] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        coefficient("predictive_variance", certain, doubtful, ids, za, zb, test_share=SHARE)


def test_what_separates_the_sets_has_no_coefficient():
    x = np.array([[-2.0], [-1.0], [1.0], [2.0]])
    assert np.isnan(crossval._logistic(x, np.array([0.0, 0, 1, 1]), np.ones((1, 4)))).all()


# Shares


def test_the_largest_share_ends_where_the_rise_first_exceeds_the_margin():
    rises = np.array([[0, 0.0, 0.02, 0.0], [0, 0, 0, 0], [0, 0.02, 0, 0]])
    assert crossval.largest_share(rises, 0.01).tolist() == [1, 3, 0]


def test_the_contrast_of_shares_counts_what_is_kept_by_hand():
    grid = (0.0, 0.5, 0.9, 0.99)
    a = [np.array([[0.0] * 6, [0.0] * 6, [0.005] * 6, [0.5] * 6]) for _ in range(2)]  # up to 0.9
    b = [np.array([[0.0] * 6, [0.0] * 6, [0.005] * 6, [0.005] * 6]) for _ in range(2)]  # up to 0.99
    found = crossval.share_contrast(a, b, grid, margin=0.01, test_share=SHARE, resamples=20)
    assert found.value == pytest.approx(1.0) and found.by_fold == pytest.approx([1.0, 1.0])
    assert found.resampled == pytest.approx(np.ones(20))
    assert crossval.share_contrast(a, a, grid, margin=0.01, test_share=SHARE, resamples=20).value == 0


# Errors


def score_statistic(n, a, b, difference):
    """Tango's, with the restricted likelihood maximised numerically."""
    low, high = max(0.0, -difference), (1 - difference) / 2

    def minus_log_likelihood(q):
        terms = [(a, q + difference), (b, q), (n - a - b, 1 - 2 * q - difference)]
        return -sum(k * np.log(p) for k, p in terms if k)

    q = minimize_scalar(
        minus_log_likelihood, bounds=(low + 1e-12, high - 1e-12), method="bounded", options={"xatol": 1e-12}
    ).x
    return (a - b - n * difference) / np.sqrt(n * (2 * q + difference * (1 - difference)))


@pytest.mark.parametrize(("n", "a", "b"), [(104, 3, 1), (833, 10, 25), (50, 0, 4)])
def test_the_ends_of_the_score_interval_solve_the_score_equation(n, a, b):
    wrong_a, wrong_b = np.zeros(n, bool), np.zeros(n, bool)
    wrong_a[:a], wrong_b[a : a + b] = True, True
    value, low, high = paired_error_interval(wrong_a, wrong_b)
    assert value == pytest.approx(100 * (a - b) / n)
    z = norm.ppf(0.975)
    assert score_statistic(n, a, b, low / 100) == pytest.approx(z, abs=1e-3)
    assert score_statistic(n, a, b, high / 100) == pytest.approx(-z, abs=1e-3)
    mirrored = paired_error_interval(wrong_b, wrong_a)
    assert (mirrored.low, mirrored.high) == pytest.approx((-high, -low), abs=1e-6)


def test_without_a_discordant_pair_the_interval_has_a_width():
    z2 = norm.ppf(0.975) ** 2
    found = paired_error_interval(np.ones(104, bool), np.ones(104, bool))
    assert found.value == 0 and (found.low, found.high) == pytest.approx(
        (-100 * z2 / (104 + z2), 100 * z2 / (104 + z2))
    )


def test_the_score_interval_covers_a_difference_of_errors():
    rng, covered, trials = np.random.default_rng(0), 0, 400
    for _ in range(trials):
        kind = rng.choice(4, size=100, p=[0.85, 0.06, 0.03, 0.06])
        found = paired_error_interval((kind == 1) | (kind == 3), (kind == 2) | (kind == 3))
        covered += found.low <= 3 <= found.high
    assert at_least(covered, trials)


def test_errors_of_other_galaxies_are_refused():
    with pytest.raises(ValueError, match="one entry per galaxy"):
        paired_error_interval([True], [True, False])

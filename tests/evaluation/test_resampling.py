"""Intervals and nulls against closed forms and plain loops, coverage by simulation, and what must cancel exactly."""

import json
import math

import numpy as np
import pytest
import scipy
from scenarios import HAND, HAND_LABELS, calibrated, logits_of, predictions
from scipy.stats import binom, norm

from radio_bnn.evaluation import resampling
from radio_bnn.evaluation.metrics import CALIBRATION, METRICS, Metric, auroc_of, uce, uce_of
from radio_bnn.evaluation.predictive import mutual_information, predictive_entropy, predictive_mean
from radio_bnn.evaluation.resampling import Interval, bootstrap, calibrated_null, contrast, exact_interval, summarise

LN2 = math.log(2)
FIRST_LOGIT = Metric(lambda logits, _: (logits[0, :, 0],), needs_labels=False)
SHARE_OF_ONES = Metric(lambda _, labels: (labels,))


def group(g: int, runs: int = 3) -> list[np.ndarray]:
    """Runs of 30 galaxies that group g tells apart the better the larger g is."""
    signal = (1 + g / 2) * (2 * (np.arange(30) % 2) - 1)
    noise = [np.random.default_rng(10 * g + r).normal(size=(5, 30, 2)) for r in range(runs)]
    return [np.stack([-signal, signal], -1) + x for x in noise]


GROUPS = [group(g) for g in range(4)]
LABELS = np.arange(30) % 2


def plainly(statistic, terms, labels, *, strata, resamples, seed, level=0.95):
    """``contrast`` by its definition, one resample and one run at a time."""
    rng, n, runs = np.random.default_rng(seed), len(labels), len(terms[0][1])
    sizes = [np.sum(strata == s) for s in strata]
    galaxies = rng.integers(sizes, size=(resamples, n))
    seeds = np.random.default_rng([seed, 1]).integers(runs, size=(runs, resamples))
    found = []
    for drawn, chosen in zip(galaxies, seeds.T, strict=True):
        index = [np.flatnonzero(strata == s)[i] for s, i in zip(strata, drawn, strict=True)]
        one = [[c * statistic(group[r][:, index], labels[index]) for c, group in terms] for r in chosen]
        found.append(np.sum(one) / runs)
    value = np.sum([[c * statistic(run, labels) for run in group] for c, group in terms]) / runs
    return value, *np.nanquantile(found, [(1 - level) / 2, (1 + level) / 2])


def test_interval_format():
    assert f"{Interval(11.54, 6.7, 17.31):.1f}" == "11.5 [6.7, 17.3]"


def test_what_rounds_to_nothing_has_no_negative_sign():
    assert f"{Interval(-0.01, -4.0, 0.04):.1f}" == "0.0 [-4.0, 0.0]"
    assert f"{Interval(-0.01, -0.2, 0.04):+.1f}" == "+0.0 [-0.2, +0.0]"


def test_the_exact_interval_solves_the_binomial_tails():
    found = exact_interval(7, 20)
    assert found.value == 35
    assert binom.sf(6, 20, found.low / 100) == pytest.approx(0.025)
    assert binom.cdf(7, 20, found.high / 100) == pytest.approx(0.025)
    assert exact_interval(0, 20).low == 0 and exact_interval(20, 20).high == 100
    assert exact_interval(0, 20).high == pytest.approx(100 * (1 - 0.025 ** (1 / 20)))


# One run


def test_bootstrap_of_two_galaxies():
    # One right, one wrong: resampling gives 0, 50, 100 % with probability 1/4, 1/2, 1/4.
    logits, labels = logits_of([[0.9, 0.9]]), [0, 1]
    assert bootstrap("error_percent", logits, labels) == (50, 0, 100)
    assert bootstrap("error_percent", logits, labels, level=0.45) == (50, 50, 50)


def test_width_is_that_of_the_standard_error_of_a_share():
    """12 of 104 wrong: sqrt(p (1 - p) / n); a quantile of B resamples is known to 2.67 sigma / sqrt(B)."""
    labels, p = (np.arange(104) < 12).astype(int), 12 / 104
    found = bootstrap("error_percent", logits_of([[0.9] * 104]), labels, resamples=4000)
    sigma = 100 * math.sqrt(p * (1 - p) / 104)
    tolerance = 5 * math.sqrt(2) * 2.67 * sigma / math.sqrt(4000) + 100 / 104  # and to the spacing of shares
    assert found.high - found.low == pytest.approx(2 * 1.96 * sigma, abs=tolerance)


@pytest.mark.parametrize("name", ["nll", "uce_percent", "mutual_information"])
def test_scipy_draws_the_same_galaxies(name):
    logits, labels = predictions()
    columns = METRICS[name].checked_columns(logits, labels)
    expected = scipy.stats.bootstrap(
        (np.arange(60),),
        lambda index, axis: METRICS[name].reduce(*(column[index] for column in columns)),
        n_resamples=200,
        confidence_level=0.9,
        method="percentile",
        rng=np.random.default_rng(7),
    ).confidence_interval
    found = bootstrap(name, logits, labels, resamples=200, level=0.9, seed=7)
    assert found[1:] == pytest.approx(tuple(expected), rel=1e-12)


def test_resampling_in_blocks_equals_one_block(monkeypatch):
    logits, labels = predictions()
    options = {"resamples": 101, "strata": labels}
    whole = contrast("uce_percent", [(1, [logits])], labels, **options)
    monkeypatch.setattr(resampling, "BLOCK", 600)
    assert contrast("uce_percent", [(1, [logits])], labels, **options) == whole


def test_a_flawless_test_set_gets_the_wilson_interval():
    # Wilson's score interval for k = 0: [0, z^2 / (n + z^2)]; mirrored for k = n.
    logits, z2 = logits_of([[0.9] * 104]), norm.ppf(0.975) ** 2
    none, every = (bootstrap("error_percent", logits, np.full(104, label)) for label in (0, 1))
    assert none == pytest.approx((0, 0, 100 * z2 / (104 + z2)))
    assert every == pytest.approx((100, 100 - 100 * z2 / (104 + z2), 100))


# Groups of runs


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize("strata", [np.zeros(30, int), np.repeat([2, 5, 1], [7, 11, 12])])
def test_a_contrast_is_its_definition(name, strata):
    """The stream is part of it: what a record or a chapter holds must not move."""
    terms = list(zip((1.0, -1.0, 0.5), GROUPS, strict=False))
    found = contrast(name, terms, LABELS, strata=strata, resamples=9, seed=3)
    assert found == pytest.approx(plainly(METRICS[name], terms, LABELS, strata=strata, resamples=9, seed=3), rel=1e-9)


def test_one_stratum_is_none():
    terms = [(1.0, GROUPS[0]), (-1.0, GROUPS[1])]
    assert contrast("nll", terms, LABELS) == contrast("nll", terms, LABELS, strata=["all"] * 30)


@pytest.mark.parametrize("name", METRICS)
def test_identical_groups_differ_by_exactly_nothing(name):
    a, b = GROUPS[:2]
    assert contrast(name, [(1, a), (-1, a)], LABELS, resamples=50) == (0, 0, 0)
    found = contrast(name, [(1, a), (-1, b), (-1, a), (1, b)], LABELS, resamples=50)
    assert found == pytest.approx((0, 0, 0), abs=1e-12)  # each group varies, their spread cancels


def test_equal_runs_are_as_good_as_one():
    expected = bootstrap("nll", GROUPS[0][0], LABELS)
    for n in (1, 3):
        assert contrast("nll", [(1.0, GROUPS[0][:1] * n)], LABELS) == pytest.approx(expected, rel=1e-12)


def test_the_value_is_the_combination_of_the_means_and_is_linear():
    factors = (1.0, -1.0, -2.0, 0.5)
    found = contrast("brier", list(zip(factors, GROUPS, strict=True)), LABELS)
    means = [np.mean([METRICS["brier"](x, LABELS) for x in runs]) for runs in GROUPS]
    assert found.value == pytest.approx(np.dot(factors, means))
    doubled = contrast("brier", [(2 * f, runs) for f, runs in zip(factors, GROUPS, strict=True)], LABELS)
    assert doubled == pytest.approx([2 * x for x in found])


def test_a_difference_has_the_spread_of_the_differences():
    """Two-sided 95 % width of the mean of d_n: 2 x 1.96 std(d) / sqrt(n), a fifth of the unpaired width here."""
    rng, n = np.random.default_rng(7), 400
    p = rng.uniform(0.2, 0.9, n)
    a, b = logits_of([p]), logits_of([p * rng.uniform(0.8, 1.0, n)])
    difference = np.log(predictive_mean(b)[:, 0]) - np.log(p)
    found = contrast("nll", [(1, [a]), (-1, [b])], np.zeros(n, int), resamples=4000)
    assert found.value == pytest.approx(difference.mean())
    # A 2.5 % quantile of B normal resamples has standard error 2.67 sigma / sqrt(B); the two ends nearly independently.
    sigma = difference.std() / math.sqrt(n)
    tolerance = 5 * math.sqrt(2) * 2.67 * sigma / math.sqrt(4000)
    assert found.high - found.low == pytest.approx(2 * 1.96 * sigma, abs=tolerance)


def test_seeds_that_disagree_widen_the_interval():
    # Two seeds whose differences are d and -d: drawing seeds gives d, 0, -d with probability 1/4, 1/2, 1/4.
    logits, labels = predictions()
    d = contrast("nll", [(1, [-logits]), (-1, [logits])], labels)
    assert d.low > d.value / 2 > 0
    both = contrast("nll", [(1, [-logits, logits]), (-1, [logits, -logits])], labels)
    assert both.value == pytest.approx(0, abs=1e-15)
    assert both.low < -d.value / 2 and both.high > d.value / 2


@pytest.mark.parametrize("runs", [1, 8])
def test_the_interval_covers_the_truth_at_its_level(runs):
    """Two groups that share run and galaxy effects ten times as large as the effects a_r + b_n of their difference.

    Its mean has the variance 1/R + 1/N; the bootstrap's is that of the maximum-likelihood estimates, so the coverage of
    +- z is the mean of 2 Phi(z sqrt(v)) - 1 over v, the ratio of both, which independent chi-squares give. One run has
    no effect of its own.
    """
    rng, trials, n, level = np.random.default_rng(6), 400, 40, 0.9
    spread, covered = float(runs > 1), 0
    for trial in range(trials):
        shared = 10 * rng.normal(size=(runs, 1)) + 10 * rng.normal(size=n)
        effect = spread * rng.normal(size=(runs, 1)) + rng.normal(size=n)
        a, b = ([np.stack([row, 0 * row], -1)[None] for row in x] for x in (shared + effect, shared))
        found = contrast(FIRST_LOGIT, [(1, a), (-1, b)], None, resamples=500, level=level, seed=trial)
        covered += found.low <= 0 <= found.high
    estimate = spread * rng.chisquare(max(runs - 1, 1), 100_000) / runs**2 + rng.chisquare(n - 1, 100_000) / n**2
    z = norm.ppf((1 + level) / 2) * np.sqrt(estimate / (spread / runs + 1 / n))
    expected = np.mean(2 * norm.cdf(z) - 1)
    assert abs(covered / trials - expected) < 4 * math.sqrt(expected * (1 - expected) / trials)


# Strata


def test_strata_keep_their_sizes():
    logits, labels = predictions()
    share = labels.mean()
    assert contrast(SHARE_OF_ONES, [(1, [logits])], labels, strata=labels) == (share, share, share)
    free = contrast(SHARE_OF_ONES, [(1, [logits])], labels)
    assert free.low < share < free.high


def test_strata_of_single_galaxies_leave_everything_as_it_is():
    value = METRICS["nll"](GROUPS[0][0], LABELS)
    found = contrast("nll", [(1, GROUPS[0][:1])], LABELS, strata=np.arange(30)[::-1])
    assert found == pytest.approx((value, value, value), rel=1e-12)


def test_a_class_that_strata_keep_is_never_absent():
    """Without strata, resamples without the one FRII are undefined and are left out; with them there are none."""
    logits, labels = predictions()
    labels = (np.arange(60) == 0).astype(int)
    free = contrast("uce_frii_percent", [(1, [logits])], labels)
    kept = contrast("uce_frii_percent", [(1, [logits])], labels, strata=labels)
    assert kept == pytest.approx((free.value,) * 3) == free  # one galaxy, repeated or not, has one gap


# Two sets of galaxies


def between(uncertainty, a, b, **options):
    """The AUROC of runs a (sure) and b (doubtful), resampled within each set."""
    member = np.repeat([0, 1], [a[0].shape[1], b[0].shape[1]])
    runs = [np.concatenate(pair, axis=1) for pair in zip(a, b, strict=True)]
    return contrast(auroc_of(uncertainty), [(1.0, runs)], member, strata=member, **options)


def test_auroc_averages_over_seeds():
    # Entropy falls from p = 0.5 to 1. Seed 1: 0.6 beats both, 0.8 beats one of two: 3/4. Seed 2: all equal: 1/2.
    confident = [logits_of([[0.7, 0.9]]), logits_of([[0.7, 0.7]])]
    uncertain = [logits_of([[0.6, 0.8]]), logits_of([[0.3, 0.7]])]
    found = between("predictive_entropy", confident, uncertain)
    assert found.value == pytest.approx((3 / 4 + 1 / 2) / 2)
    assert 0 <= found.low <= found.value <= found.high <= 1
    assert between("predictive_entropy", uncertain, confident).value == pytest.approx(1 - found.value)


def test_auroc_interval_is_that_of_all_pairs_of_the_resampled_sets():
    a, b = calibrated(30, seed=1)[0], calibrated(20, seed=2)[0]
    low, high = mutual_information(a), mutual_information(b)
    found = between("mutual_information", [a], [b], resamples=50, seed=3)
    drawn = np.random.default_rng(3).integers([30] * 30 + [20] * 20, size=(50, 50))
    plain = [(high[i[30:], None] > low[i[:30]]).mean() for i in drawn]
    assert found == pytest.approx([(high[:, None] > low).mean(), *np.quantile(plain, [0.025, 0.975])])


def test_auroc_interval_has_the_width_of_hanley_and_mcneil():
    """Binormal sets: the stated variance of an AUROC, within 10 % of the bootstrap's half-width over 1.96."""
    rng, n = np.random.default_rng(4), 400
    p = 1 / (1 + np.exp(-np.concatenate([rng.normal(4, 1, n), rng.normal(3, 1, n)])))
    found = between("predictive_entropy", [logits_of([p[:n]])], [logits_of([p[n:]])], resamples=4000)
    area = found.value
    q1, q2 = area / (2 - area), 2 * area**2 / (1 + area)
    variance = (area * (1 - area) + (n - 1) * (q1 - area**2) + (n - 1) * (q2 - area**2)) / n**2
    assert (found.high - found.low) / 2 / 1.96 == pytest.approx(math.sqrt(variance), rel=0.1)


def test_sets_that_are_apart_have_no_width_unless_seeds_disagree():
    sure, doubtful = logits_of([[0.99] * 40]), logits_of([[0.6] * 40])
    assert between("predictive_entropy", [sure] * 2, [doubtful] * 2) == (1, 1, 1)
    # Both seeds drawn alike with a probability of 1/4 each way.
    assert between("predictive_entropy", [sure, doubtful], [doubtful, sure]) == (0.5, 0, 1)
    assert between("predictive_variance", [sure], [doubtful]) == (0.5, 0.5, 0.5)  # one sample has no spread


# Nulls


def test_null_has_the_probabilities_of_the_predictive():
    """Galaxies with p = 0.1 and 0.4 of an error: the four outcomes and their UCE are known."""
    logits = logits_of([[0.9, 0.6]])
    u = predictive_entropy(logits) / LN2  # 0.469 and 0.971, bins 3 and 7
    null = calibrated_null("uce_percent", logits, resamples=20_000)
    for wrong, probability in {(0, 0): 0.54, (1, 0): 0.06, (0, 1): 0.36, (1, 1): 0.04}.items():
        value = 100 * np.abs(u - 2 * np.array(wrong)).mean()
        share = np.isclose(null, value).mean()
        assert abs(share - probability) < 5 * math.sqrt(probability * (1 - probability) / 20_000)


@pytest.mark.parametrize("name", CALIBRATION)
def test_null_is_the_metric_on_redrawn_labels(name):
    logits, _ = predictions()
    below = predictive_mean(logits)[:, 0]
    redrawn = (np.random.default_rng(0).random((20, 60)) > below).astype(int)
    plain = [METRICS[name](logits, labels) for labels in redrawn]
    np.testing.assert_allclose(calibrated_null(name, logits, resamples=20), plain, rtol=1e-12)


@pytest.mark.parametrize("name", ["uce_percent", "classwise_uce_percent", "ece_percent"])
def test_a_calibrated_classifier_ranks_uniformly_within_its_null(name):
    """Mean mid-rank of 200 classifiers among 99 draws: 1/2 with standard error sqrt(1/12/200) = 0.020."""
    ranks = []
    for trial in range(200):
        logits, labels = calibrated(40, seed=trial, samples=8)
        value, null = METRICS[name](logits, labels), calibrated_null(name, logits, resamples=99, seed=trial)
        ranks.append((null < value).mean() / 2 + (null <= value).mean() / 2)
    assert abs(np.mean(ranks) - 0.5) < 4 * math.sqrt(1 / 12 / 200)


# Summary


def test_excess_is_read_off_the_null_and_rejects_an_overconfident_classifier():
    logits, labels = predictions()
    null = calibrated_null(uce_of(), logits, resamples=400)
    summary = summarise(logits, labels, resamples=400, level=0.9)
    assert list(summary["uce_null_percent"].values()) == pytest.approx(np.quantile(null, [0.5, 0.05, 0.95]))
    excess = uce(logits, labels) - np.quantile(null, [0.5, 0.95, 0.05])
    assert list(summary["uce_excess_percent"].values()) == pytest.approx(excess)
    flipped = np.where(np.arange(60) % 3 == 0, 1 - labels, labels)
    assert summarise(logits.astype(float) * 10, flipped, resamples=400)["uce_excess_percent"]["low"] > 0


def test_summary_survives_json_and_holds_every_metric():
    logits, labels = predictions()
    summary = summarise(logits, labels, resamples=100)
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary
    assert summary == summarise(logits, labels, resamples=100)
    for name in METRICS:
        assert Interval(**summary[name]) == bootstrap(name, logits, labels, resamples=100)
        assert summary[name]["low"] < summary[name]["high"]


def test_summary_without_labels_or_without_a_class():
    logits, labels = predictions()
    uncertainties = {"predictive_entropy", "expected_entropy", "mutual_information", "overlap_index"}
    assert set(summarise(logits, resamples=10)) == uncertainties
    whole = set(summarise(logits, labels, resamples=10))
    absent = {name for name in whole if "frii" in name or "classwise" in name}
    assert absent == whole - set(summarise(logits, np.zeros_like(labels), resamples=10))


def test_a_network_that_never_predicts_a_class_has_no_null_for_it():
    summary = summarise(np.tile([50.0, -50.0], (3, 4, 1)), np.array([0, 0, 1, 1]))
    assert "uce_frii_percent" in summary
    assert "uce_frii_null_percent" not in summary
    assert "uce_null_percent" in summary


# Errors

A, B = GROUPS[:2]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: contrast("nll", [(1, A), (-1, B[:1])], LABELS), r"\[1, 3\] runs"),
        (lambda: contrast("nll", [(1, A[:1]), (-1, [B[0][:, :28]])], LABELS), r"\[28, 30\] galaxies"),
        (lambda: contrast("nll", [(1, [])], LABELS), r"\[0\] runs"),
        (lambda: contrast("nll", [], LABELS), r"\[\] runs"),
        (lambda: contrast("nll", [(1, A)], LABELS[:4]), r"labels have shape \(4,\); expected \(30,\)"),
        (lambda: contrast("nll", [(1, A)], LABELS, strata=LABELS[:4]), r"strata have shape \(4,\); expected \(30,\)"),
        (lambda: contrast("accuracy", [(1, A)], LABELS), "statistic is 'accuracy'; choose one of error_percent"),
        (lambda: bootstrap(None, HAND, HAND_LABELS), "statistic is None"),
        (lambda: bootstrap("nll", HAND[0], HAND_LABELS), r"shape \(3, 2\); expected three axes"),
        (lambda: bootstrap("nll", HAND, HAND_LABELS, level=95), "level is 95; expected a number between 0 and 1"),
        (lambda: bootstrap("nll", HAND, HAND_LABELS, resamples=0), "resamples is 0; expected a whole number"),
        (lambda: bootstrap("nll", HAND, None), "labels are None"),
        (lambda: bootstrap("uce_frii_percent", HAND, [0, 0, 0]), "nan on these galaxies"),
        (lambda: calibrated_null("nll", HAND, resamples=1.5), "resamples is 1.5"),
        (lambda: calibrated_null("accuracy", HAND), "statistic is 'accuracy'"),
        (lambda: summarise(HAND * np.nan, HAND_LABELS), "logits hold nan"),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()

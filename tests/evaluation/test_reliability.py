"""Values worked by hand, bands by simulation with the bound that they promise, limits and invariances."""

import itertools
import math

import numpy as np
import pytest
from scenarios import calibrated, logits_of
from scipy.stats import binom

from radio_bnn.evaluation import metrics, reliability, resampling
from radio_bnn.evaluation.predictive import UNCERTAINTIES
from radio_bnn.evaluation.reliability import rejection_area, rejection_curve

# Reliability


def test_reliability_by_hand():
    # P(FRII) 0.1, 0.2 | 0.6, 0.9: of the first bin none is FRII, of the second one.
    found = reliability.reliability(logits_of([[0.9, 0.8, 0.4, 0.1]]), [0, 0, 0, 1], bins=2)
    np.testing.assert_allclose(found.forecast, [0.15, 0.75])
    np.testing.assert_allclose(found.frequency, [0, 0.5])
    np.testing.assert_array_equal(found.count, [2, 2])
    # Number of FRII in bin 1: 0 with 0.72, 1 with 0.26, 2 with 0.02; in bin 2: 0.04, 0.42, 0.54.
    np.testing.assert_array_equal([found.low, found.high], [[0, 0], [0.5, 1]])
    narrow = reliability.reliability(logits_of([[0.9, 0.8, 0.4, 0.1]]), [0, 0, 0, 1], bins=2, level=0.9)
    np.testing.assert_array_equal([narrow.low, narrow.high], [[0, 0.5], [0.5, 1]])


def test_band_of_equal_forecasts_is_the_binomial_one():
    found = reliability.reliability(logits_of([[0.7] * 25]), [0] * 25, bins=8, level=0.9)
    np.testing.assert_allclose([found.low, found.high], np.array([binom.interval(0.9, 25, 0.3)]).T / 25)


def test_band_against_all_outcomes():
    p = np.array([0.05, 0.3, 0.5, 0.55, 0.9])
    probability = np.zeros(6)
    for outcome in itertools.product([0, 1], repeat=5):
        probability[sum(outcome)] += np.prod(np.where(outcome, p, 1 - p))
    found = reliability.reliability(logits_of([1 - p]), [0] * 5, bins=1, level=0.8)
    low, high = round(5 * found.low[0]), round(5 * found.high[0])
    assert probability[:low].sum() <= 0.1 < probability[: low + 1].sum()
    assert probability[high + 1 :].sum() <= 0.1 < probability[high:].sum()


@pytest.mark.parametrize("forecast", reliability.FORECASTS)
@pytest.mark.parametrize("strategy", ["uniform", "quantile"])
def test_band_holds_a_calibrated_network_at_least_at_its_level(forecast, strategy):
    """Bins of 300 calibrated networks; fewer inside than 5 standard errors below the level would be a wrong band."""
    inside = []
    for seed in range(300):
        found = reliability.reliability(*calibrated(60, seed), forecast=forecast, strategy=strategy, bins=4, level=0.9)
        inside += list((found.low <= found.frequency) & (found.frequency <= found.high))
    assert np.mean(inside) > 0.9 - 5 * math.sqrt(0.9 * 0.1 / 300)  # bins of one network are independent, and help


def test_band_leaves_out_an_overconfident_network():
    logits, labels = calibrated(2000)
    found = reliability.reliability(6 * logits, labels, bins=4)
    assert found.frequency[0] > found.high[0]
    assert found.frequency[-1] < found.low[-1]


@pytest.mark.parametrize(("bins", "strategy"), [(15, "uniform"), (15, "quantile"), (7, "quantile"), (200, "quantile")])
def test_reliability_and_ece_use_the_same_bins(bins, strategy):
    logits, labels = calibrated(97)
    found = reliability.reliability(logits, labels, forecast="confidence", bins=bins, strategy=strategy)
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


@pytest.mark.parametrize("by", UNCERTAINTIES)
@pytest.mark.parametrize("score", reliability.SCORES)
def test_no_uncertainty_beats_the_oracle_and_random_gives_the_score(score, by):
    logits, labels = calibrated(60)
    loss, uncertainty = reliability.rejection_columns(logits, labels, score=score, by=by)
    oracle, random = (reliability.rejection_columns(logits, labels, score=score, by=b)[1] for b in ("oracle", "random"))
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


def test_area_is_a_metric_that_can_be_resampled_and_paired():
    logits, labels = calibrated(50)
    area = rejection_area("nll", "mutual_information")
    found = resampling.bootstrap(area, logits, labels, resamples=200)
    assert found.low < found.value < found.high
    drawn = np.random.default_rng(0).integers(50, size=(200, 50))
    plain = [area(logits[:, index], labels[index]) for index in drawn]
    np.testing.assert_allclose(found, [area(logits, labels), *np.quantile(plain, [0.025, 0.975])])
    assert resampling.contrast(area, [(1, [logits]), (-1, [logits])], labels, resamples=20) == (0, 0, 0)


# Errors


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (
            lambda x, y: reliability.reliability(x, y, forecast="fri"),
            "forecast is 'fri'; choose one of frii",
        ),
        (lambda x, y: reliability.reliability(x, y, strategy="equal"), "strategy is 'equal'"),
        (lambda x, y: reliability.reliability(x, y, bins=0), "bins is 0"),
        (lambda x, y: reliability.reliability(x, y, level=95), "level is 95"),
        (lambda x, y: reliability.reliability(x, y[:3]), r"labels have shape \(3,\)"),
        (lambda x, y: rejection_area("uce_percent")(x, y), "score is 'uce_percent'"),
        (lambda x, y: rejection_area("nll", "luck")(x, y), "by is 'luck'.*random"),
    ],
)
def test_errors_name_the_value_and_what_was_expected(call, says):
    with pytest.raises(ValueError, match=says):
        call(np.zeros((2, 9, 2)), np.zeros(9, int))

"""Every score against a value worked by hand, then what must hold for any predictions."""

import inspect
import math

import numpy as np
import pytest
from scenarios import HAND, HAND_LABELS, logits_of, predictions
from sklearn.metrics import brier_score_loss, log_loss, roc_auc_score

from radio_bnn.evaluation import conformal, metrics, predictive, reliability, resampling

LN2 = math.log(2)


def entropy(p):
    """Entropy of (p, 1 - p) in nats."""
    return -p * math.log(p) - (1 - p) * math.log(1 - p)


# Values worked by hand


def test_errors():
    assert metrics.error(HAND, HAND_LABELS) == pytest.approx(100 / 3)
    assert [metrics.error(HAND[[s]], HAND_LABELS) for s in (0, 1)] == pytest.approx([100 / 3, 200 / 3])
    assert metrics.METRICS["single_sample_error_percent"](HAND, HAND_LABELS) == pytest.approx(50)


def test_nll():
    assert metrics.nll(HAND, HAND_LABELS) == pytest.approx(-(math.log(0.65) + math.log(0.30) + math.log(0.99)) / 3)


def test_brier():
    # Both classes are off by the same amount: 2 x (0.35^2, 0.70^2, 0.01^2) = 0.2450, 0.9800, 0.0002.
    assert metrics.brier(HAND, HAND_LABELS) == pytest.approx((0.2450 + 0.9800 + 0.0002) / 3)


def test_uce():
    # u = H / ln 2 is 0.934 and 0.881 (bin 7 of 8) and 0.081 (bin 0); twice the wrong share is 1, 2 and 0.
    u = np.array([entropy(0.65), entropy(0.70), entropy(0.99)]) / LN2
    expected = 100 * (2 / 3 * abs((u[0] + u[1]) / 2 - (1 + 2) / 2) + 1 / 3 * abs(u[2] - 0))
    assert metrics.uce(HAND, HAND_LABELS) == pytest.approx(expected)


def test_classwise_uce():
    # Class 0 holds galaxies 0 and 2, in different bins; class 1 galaxy 1 alone.
    u = np.array([entropy(0.65), entropy(0.70), entropy(0.99)]) / LN2
    expected = [100 * (abs(u[0] - 1) / 2 + u[2] / 2), 100 * abs(u[1] - 2)]
    np.testing.assert_allclose(metrics.classwise_uce(HAND, HAND_LABELS), expected)
    assert metrics.METRICS["uce_fri_percent"](HAND, HAND_LABELS) == pytest.approx(expected[0])
    assert metrics.METRICS["uce_frii_percent"](HAND, HAND_LABELS) == pytest.approx(expected[1])
    assert metrics.METRICS["classwise_uce_percent"](HAND, HAND_LABELS) == pytest.approx(sum(expected) / 2)


@pytest.mark.parametrize(
    ("uncertainty", "scaled"),
    [
        ("expected_entropy", lambda: predictive.expected_entropy(HAND) / LN2),
        ("mutual_information", lambda: predictive.mutual_information(HAND) / LN2),
        ("overlap_index", lambda: predictive.overlap_index(HAND)),
        ("predictive_variance", lambda: 4 * np.array([0.25**2, 0.1**2, 0])),
    ],
)
def test_uce_of_other_uncertainties_with_one_bin(uncertainty, scaled):
    expected = 100 * abs(scaled().mean() - (1 + 2 + 0) / 3)
    assert metrics.uce(HAND, HAND_LABELS, uncertainty=uncertainty, bins=1) == pytest.approx(expected)


def test_uce_of_three_classes_scales_by_the_uniform_guess():
    # A uniform predictive of 3 classes: u = 1; the tie goes to class 0, so e = (3/2) (0, 1, 1), mean 1: no error.
    assert metrics.uce(np.zeros((1, 3, 3)), [0, 1, 2]) == pytest.approx(0, abs=1e-12)


def test_ece():
    # Confidence 0.65, 0.70, 0.99; correct 1, 0, 1.
    assert metrics.ece(HAND, HAND_LABELS) == pytest.approx(100 * (0.35 + 0.70 + 0.01) / 3)
    assert metrics.ece(HAND, HAND_LABELS, bins=1) == pytest.approx(100 * abs(2.34 - 2) / 3)
    assert metrics.ece(HAND, HAND_LABELS, bins=3, strategy="quantile") == pytest.approx(100 * (0.35 + 0.70 + 0.01) / 3)
    # Two equal-mass bins of three: {0.65, 0.70} and {0.99}.
    assert metrics.ece(HAND, HAND_LABELS, bins=2, strategy="quantile") == pytest.approx(100 * (0.35 + 0.01) / 3)


def test_a_bin_holds_its_lower_edge():
    # Confidence 0.5 (right, by the tie rule) and 0.75 (wrong) share the upper of two bins: |(0.5 - 1) + 0.75| / 2.
    logits = np.array([[[0.0, 0.0], [math.log(3), 0.0]]])
    assert metrics.ece(logits, [0, 1], bins=2) == pytest.approx(100 * 0.25 / 2)


# The area under the ROC curve


def area(scores, members):
    return metrics.auroc_of("energy_score").reduce(np.asarray(scores), np.asarray(members))


def test_auroc():
    # Of the four pairs, 0.35 > 0.1, 0.8 > 0.1 and 0.8 > 0.4 are in order; a tie counts half.
    assert area([0.1, 0.4, 0.35, 0.8], [0, 0, 1, 1]) == 0.75
    assert area([0.1, 0.4, 0.4, 0.8], [0, 0, 1, 1]) == 0.875
    assert area([1, 2, 3], [0, 0, 1]) == 1
    assert area([1, 2, 3], [1, 0, 0]) == 0
    assert area([5, 5, 5, 5], [0, 1, 0, 1]) == 0.5
    assert np.isnan(area([1, 2], [1, 1]))


def test_auroc_of_an_uncertainty_by_hand():
    # Entropy falls from p = 0.5 to 1: 0.6 beats both of 0.7 and 0.9, 0.8 beats one of two.
    logits = logits_of([[0.7, 0.9, 0.6, 0.8]])
    assert metrics.auroc_of("predictive_entropy")(logits, [0, 0, 1, 1]) == 3 / 4
    assert metrics.auroc_of("predictive_variance")(logits, [0, 0, 1, 1]) == 1 / 2  # one sample has no spread


def test_auroc_of_many_rows_is_that_of_scikit_learn_row_by_row():
    rng = np.random.default_rng(5)
    scores = np.concatenate([rng.integers(4, size=(20, 31)), rng.normal(size=(20, 31))])  # with ties, and without
    members = rng.random((40, 31)) < 0.4
    rows = [roc_auc_score(m, s) for m, s in zip(members, scores, strict=True)]
    np.testing.assert_allclose(area(scores, members), rows, rtol=1e-12)


def test_auroc_sees_the_order_alone_and_mirrors_where_the_sets_change_places():
    rng = np.random.default_rng(6)
    scores, members = rng.integers(9, size=50) / 4, np.arange(50) % 3 == 0
    assert area(np.exp(scores), members) == area(scores, members)
    assert area(-scores, members) == pytest.approx(1 - area(scores, members))
    assert area(scores, ~members) == pytest.approx(1 - area(scores, members))


# Limits and invariances


def test_scores_against_scikit_learn():
    logits, labels = predictions()
    mean = predictive.predictive_mean(logits)
    assert metrics.nll(logits, labels) == pytest.approx(log_loss(labels, mean))
    assert metrics.brier(logits, labels) == pytest.approx(2 * brier_score_loss(labels, mean[:, 1]))


def test_extreme_logits_have_finite_scores():
    assert metrics.nll([[[1000.0, 0.0]]], [1]) == pytest.approx(1000)
    assert metrics.nll(np.array([[[60000, -60000]]], np.float16), [1]) == pytest.approx(120000)


@pytest.mark.parametrize("name", metrics.METRICS)
def test_order_of_samples_and_galaxies_does_not_matter(name):
    logits, labels = predictions()
    value, rng = metrics.METRICS[name](logits, labels), np.random.default_rng(2)
    samples, galaxies = rng.permutation(40), rng.permutation(60)
    assert metrics.METRICS[name](logits[samples], labels) == pytest.approx(value, rel=1e-12)
    assert metrics.METRICS[name](logits[:, galaxies], labels[galaxies]) == pytest.approx(value, rel=1e-12)


@pytest.mark.parametrize("name", metrics.METRICS)
def test_an_offset_common_to_the_classes_does_not_matter(name):
    logits, labels = predictions()
    offset = np.random.default_rng(3).normal(0, 3, (40, 60, 1))
    assert metrics.METRICS[name](logits + offset, labels) == pytest.approx(
        metrics.METRICS[name](logits, labels), rel=1e-9
    )


def test_float16_is_read_as_the_numbers_it_holds():
    logits, labels = predictions()
    for metric in metrics.METRICS.values():
        assert metric(logits, labels) == metric(logits.astype(np.float64), labels)


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (metrics.error, "error_percent"),
        (metrics.nll, "nll"),
        (metrics.brier, "brier"),
        (metrics.uce, "uce_percent"),
        (metrics.ece, "ece_percent"),
    ],
)
def test_registry_and_functions_agree(function, name):
    assert metrics.METRICS[name](*predictions()) == function(*predictions())


def test_uce_of_a_perfectly_calibrated_classifier_is_not_zero():
    """Audit A8. Rarer class with p ~ U(0, 1/2): E H(p)/ln 2 - E 2p = 1/(2 ln 2) - 1/2 = 22.1 %, bin by bin positive."""
    rng = np.random.default_rng(4)
    p = rng.uniform(0, 0.5, 200_000)
    labels = (rng.random(p.size) < p).astype(int)
    u = -(p * np.log2(p) + (1 - p) * np.log2(1 - p))
    standard_error = 100 * (u - 2 * labels).std() / math.sqrt(p.size)
    assert abs(metrics.uce(logits_of([1 - p]), labels) - 100 * (0.5 / LN2 - 0.5)) < 5 * standard_error


@pytest.mark.parametrize("module", [predictive, metrics, resampling, reliability, conformal])
def test_options_are_keyword_only(module):
    """What has a default is an option, but for labels that hybrids lack and the names that choose a metric."""
    for name, function in inspect.getmembers(module, inspect.isfunction):
        if function.__module__ == module.__name__ and not name.startswith("_"):
            for p in inspect.signature(function).parameters.values():
                positional = p.default is p.empty or p.name in ("labels", "uncertainty", "score", "by")
                assert positional or p.kind is p.KEYWORD_ONLY, (name, p.name)


# Errors


@pytest.mark.parametrize("function", [metrics.error, metrics.nll, metrics.brier, metrics.uce, metrics.classwise_uce])
def test_arrays_are_checked(function):
    with pytest.raises(ValueError, match="labels hold 2; expected integers 0..1"):
        function(HAND, [0, 1, 2])
    with pytest.raises(ValueError, match="logits hold nan"):
        function(HAND * np.nan, HAND_LABELS)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: metrics.uce(HAND, HAND_LABELS, uncertainty="entropy"), "uncertainty is 'entropy'; choose one of pred"),
        (lambda: metrics.uce_of("energy_score"), "uncertainty is 'energy_score'; choose one of .*_variance$"),
        (lambda: metrics.auroc_of("entropy"), "uncertainty is 'entropy'; choose one of .*energy_score$"),
        (lambda: metrics.uce(HAND, HAND_LABELS, bins=0), "bins is 0; expected a whole number"),
        (
            lambda: metrics.ece(HAND, HAND_LABELS, strategy="mass"),
            "strategy is 'mass'; choose one of uniform",
        ),
        (lambda: metrics.classwise_uce(HAND, [0, 0, 0]), "no galaxy of class 1"),
        (lambda: metrics.METRICS["nll"](HAND), "labels are None"),
        (lambda: metrics.resolve("accuracy"), "statistic is 'accuracy'; choose one of error_percent"),
        (lambda: metrics.resolve(metrics.nll), "statistic is <function nll"),
    ],
)
def test_bad_options_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()

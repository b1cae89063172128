"""How far a prediction can be trusted, galaxy by galaxy: reliability, rejection, conformal sets, human uncertainty.

Shapes, checks and units are those of ``metrics``: ``logits`` (S, N, C), ``labels`` (N,), entropies in nats. Consistency
bands and the expected range of a conformal coverage are exact; what is resampled is resampled from an explicit seed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial, reduce
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import betabinom

from radio_bnn import metrics
from radio_bnn.metrics import METRICS, Interval, Metric


def _check_fraction(name: str, value: float) -> None:
    if not 0 < value < 1:
        raise ValueError(f"{name} is {value}; expected a number between 0 and 1")


def _check_known(name: str, value: object, known: Sequence[str]) -> None:
    if value not in known:
        raise ValueError(f"{name} is {value!r}; choose one of {', '.join(known)}")


# Uncertainty of one galaxy


def predictive_variance(logits: ArrayLike) -> np.ndarray:
    """Posterior variance of the class probabilities, mean_c Var_s p_snc; (S, N, C) -> (N,), 0..1/4.

    For two classes it is the variance of either probability, 1/4 where half of the samples are certain of each class.
    """
    return metrics.softmax(logits).var(axis=0).mean(axis=-1)


UNCERTAINTIES: dict[str, Callable[[ArrayLike], np.ndarray]] = {
    "predictive_entropy": metrics.predictive_entropy,
    "mutual_information": metrics.mutual_information,
    "expected_entropy": metrics.expected_entropy,
    "overlap_index": metrics.overlap_index,
    "predictive_variance": predictive_variance,
    "energy_score": metrics.energy_score,
}
"""What ranks galaxies by uncertainty: (S, N, C) -> (N,), larger is less certain."""


def _uncertainty(name: str) -> Callable[[ArrayLike], np.ndarray]:
    _check_known("uncertainty", name, tuple(UNCERTAINTIES))
    return UNCERTAINTIES[name]


# Over galaxies and seeds


def _quantiles(value: float, draws: np.ndarray, level: float) -> Interval:
    _check_fraction("level", level)
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(value), float(low), float(high))


def auroc_bootstrap(
    uncertainty: str,
    groups: tuple[ArrayLike | Sequence[ArrayLike], ArrayLike | Sequence[ArrayLike]],
    *,
    draws: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """P(a galaxy of the second group is less certain than one of the first) + P(equal) / 2, over galaxies and seeds.

    ``groups`` is (a, b), each logits (S, N, C) or a list of R such arrays, one per training seed, in the same order: b
    holds the galaxies that should be less certain. 1/2 is chance, and what an uncertainty that is equal for all gives.
    Every draw resamples the galaxies within each group once for all runs (a stratified bootstrap) and, if R > 1, the
    runs. R seeds underestimate the variance between seeds by (R - 1) / R; groups that are perfectly apart show no
    spread. Raises ValueError for an unknown uncertainty and for unequal numbers of runs or galaxies.
    Source: Hanley & McNeil 1982; Efron & Tibshirani 1993.
    """
    low, high = ([_uncertainty(uncertainty)(run) for run in metrics.as_runs(group)] for group in groups)
    if len(low) != len(high) or len({run.shape for run in low}) > 1 or len({run.shape for run in high}) > 1:
        sizes = [[len(run) for run in group] for group in (low, high)]
        raise ValueError(f"the groups hold {sizes[0]} and {sizes[1]} galaxies; expected one run of each per seed")
    above = np.stack([(b[:, None] > a) + 0.5 * (b[:, None] == a) for a, b in zip(low, high, strict=True)])
    runs, m, n = above.shape
    rng = np.random.default_rng(seed)
    times_b, times_a, times = (rng.multinomial(k, np.full(k, 1 / k), size=draws) for k in (m, n, runs))
    pairs = np.einsum("dm,rmn,dn->dr", times_b, above, times_a, optimize=True)
    return _quantiles(above.mean(), (pairs * times).sum(axis=1) / (m * n * runs), level)


# Reliability


class Reliability(NamedTuple):
    """A reliability diagram: one entry per occupied bin, (B,) each.

    ``forecast`` mean forecast, ``frequency`` share of galaxies where it came true, ``low`` and ``high`` the consistency
    band of that share, ``count`` galaxies.
    """

    forecast: np.ndarray
    frequency: np.ndarray
    low: np.ndarray
    high: np.ndarray
    count: np.ndarray


def _frii(logits: ArrayLike, labels: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    return metrics.predictive_mean(logits)[:, 1], np.asarray(labels) == 1


FORECASTS: dict[str, Callable] = {"frii": _frii, "confidence": METRICS["ece_percent"].columns}
"""Forecast and whether it came true: P(FRII) and "is FRII"; the largest probability and "is classified correctly"."""


def reliability(
    logits: ArrayLike,
    labels: ArrayLike,
    *,
    forecast: str = "frii",
    bins: int = 8,
    strategy: str = "uniform",
    level: float = 0.95,
) -> Reliability:
    """How often galaxies with a forecast p come true, in bins of p, with the band of a calibrated network.

    ``forecast`` is "frii" (class 1) or "confidence". Bins as in ``metrics.ece``: "uniform" of equal width on [0, 1],
    "quantile" of equally many galaxies; empty ones are left out. The consistency band holds the share in a bin with a
    probability of at least ``level`` if every forecast is the truth: quantiles of the Poisson-binomial distribution
    of the bin's own forecasts, exact where Broecker & Smith resample. It is pointwise: of many bins some fall outside.
    Source: Broecker & Smith 2007.
    """
    _check_known("forecast", forecast, tuple(FORECASTS))
    _check_known("strategy", strategy, ("uniform", "quantile"))
    _check_fraction("level", level)
    if bins < 1:
        raise ValueError(f"bins is {bins}; expected a whole number of at least 1")
    METRICS["error_percent"].checked_columns(logits, labels)
    p, true = FORECASTS[forecast](np.asarray(logits, float), np.asarray(labels))
    members = _bins(p, bins, strategy)
    band = np.array([_consistency(p[index], level) for index in members]).T
    mean = [[values[index].mean() for index in members] for values in (p, true)]
    return Reliability(*map(np.array, mean), *band, np.array([len(index) for index in members]))


def _bins(position: np.ndarray, bins: int, strategy: str) -> list[np.ndarray]:
    if strategy == "quantile":
        cuts = -(-np.arange(1, bins) * len(position) // bins)
        members = np.split(position.argsort(kind="stable"), cuts)
    else:
        index = np.minimum((position * bins).astype(int), bins - 1)
        members = [np.flatnonzero(index == b) for b in range(bins)]
    return [index for index in members if len(index)]


def _consistency(p: np.ndarray, level: float) -> tuple[float, float]:
    """Quantiles of the share of successes in independent trials of probabilities p (n,)."""
    tail = (1 - level) / 2
    below = reduce(np.convolve, np.stack([1 - p, p], axis=-1)).cumsum()
    low, high = np.searchsorted(below, tail, side="right"), np.searchsorted(below, 1 - tail)
    return low / len(p), min(high, len(p)) / len(p)


# Rejection

SCORES = ("error_percent", "nll", "brier")
REFERENCES: dict[str, Callable[[np.ndarray], np.ndarray]] = {"oracle": np.copy, "random": np.zeros_like}
"""Orders to compare with, from the loss of each galaxy: worst first (it knows the labels), and no order at all."""


def rejection_curve(loss: ArrayLike, uncertainty: ArrayLike) -> np.ndarray:
    """Mean loss of the galaxies kept when the 0, 1, ..., N - 1 most uncertain are rejected; (..., N) -> (..., N).

    Equal uncertainties are rejected in random order, in expectation: a constant one gives the mean loss throughout.
    Source: El-Yaniv & Wiener 2010 (risk and coverage).
    """
    loss = _in_order(np.asarray(loss, float), np.asarray(uncertainty, float))
    return (loss.cumsum(axis=-1) / np.arange(1, loss.shape[-1] + 1))[..., ::-1]


def _in_order(loss: np.ndarray, uncertainty: np.ndarray) -> np.ndarray:
    """Losses by ascending uncertainty, ties replaced by their mean; (..., N) -> (..., N)."""
    order = uncertainty.argsort(axis=-1, kind="stable")
    loss, uncertainty = (np.take_along_axis(a, order, axis=-1) for a in (loss, uncertainty))
    tie = (np.diff(uncertainty, axis=-1, prepend=-np.inf) > 0).cumsum().reshape(loss.shape) - 1
    return (np.bincount(tie.ravel(), loss.ravel()) / np.bincount(tie.ravel()))[tie]


def rejection_columns(
    logits: ArrayLike, labels: ArrayLike, *, score: str = "error_percent", by: str = "predictive_entropy"
) -> tuple[np.ndarray, np.ndarray]:
    """What ``rejection_curve`` takes: the loss of each galaxy by ``score`` and the uncertainty ``by``; (N,) each.

    ``score`` is one of ``SCORES`` (percent, nats, 0..2); ``by`` one of ``UNCERTAINTIES`` or ``REFERENCES``.
    """
    _check_known("score", score, SCORES)
    _check_known("by", by, (*UNCERTAINTIES, *REFERENCES))
    [loss] = METRICS[score].checked_columns(logits, labels)
    return loss, REFERENCES[by](loss) if by in REFERENCES else UNCERTAINTIES[by](logits)


def rejection_area(score: str = "error_percent", by: str = "predictive_entropy") -> Metric:
    """The area under the rejection curve, mean_k of its N values, as a metric: called, bootstrapped, paired like any.

    In units of the score, lower is better: by = "random" gives the score itself, by = "oracle" the least that any
    order can reach. Source: Geifman et al. 2019.
    """
    return Metric(partial(rejection_columns, score=score, by=by), _mean_of_curve)


def _mean_of_curve(loss: np.ndarray, uncertainty: np.ndarray) -> np.ndarray:
    return rejection_curve(loss, uncertainty).mean(axis=-1)


# Conformal prediction


def calibration_half(logits: ArrayLike, labels: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """The second half of the validation galaxies: the first may have selected the network (``train.selection_half``).

    logits (S, N, C), labels (N,) -> the last N - N // 2 galaxies of both.
    """
    logits, labels = np.asarray(logits), np.asarray(labels)
    return logits[:, len(labels) // 2 :], labels[len(labels) // 2 :]


def _rank(n: int, alpha: float) -> int:
    return math.ceil((n + 1) * (1 - alpha) - 1e-9)  # 25 x (1 - 0.44) is 14.000000000000002 in floating point


def conformal_threshold(scores: ArrayLike, *, alpha: float) -> float:
    """The ceil((n + 1)(1 - alpha))-th smallest of n calibration scores; infinite where there are too few.

    A new score of the same distribution is at most that with a probability of at least 1 - ``alpha``, and at most
    1 - ``alpha`` + 1 / (n + 1) if no scores are equal. Source: Vovk et al. 2005.
    """
    _check_fraction("alpha", alpha)
    scores = np.sort(np.asarray(scores, float))
    rank = _rank(len(scores), alpha)
    return float(scores[rank - 1]) if rank <= len(scores) else math.inf


def conformal_sets(
    calibration: tuple[ArrayLike, ArrayLike], logits: ArrayLike, *, alpha: float = 0.1, class_conditional: bool = False
) -> np.ndarray:
    """The classes that each galaxy may have, {c: 1 - p_nc <= threshold_c}; (S, N, C) -> (N, C) boolean.

    ``calibration`` holds logits (S, M, C) and labels (M,) of galaxies that had no part in training or selection. The
    scores are 1 - p of the true class, in the averaged predictive. One threshold makes the true class a member with a
    probability of at least 1 - ``alpha`` on average over galaxies; with ``class_conditional`` (Mondrian) sets, one
    threshold per class, also on average over each true class. Both hold for galaxies exchangeable with the calibration
    galaxies, and for no others. {FRI, FRII} reads "ask a human"; no class at all is also possible.
    Source: Vovk et al. 2005; Sadinle et al. 2019.
    """
    given, labels = calibration
    METRICS["error_percent"].checked_columns(given, labels)
    p, labels = metrics.predictive_mean(given), np.asarray(labels)
    scores, every = 1 - p[np.arange(len(labels)), labels], range(p.shape[1])
    chosen = [labels == c if class_conditional else slice(None) for c in every]
    thresholds = [conformal_threshold(scores[members], alpha=alpha) for members in chosen]
    return 1 - metrics.predictive_mean(logits) <= thresholds


class SetSummary(NamedTuple):
    """Conformal sets in percent of galaxies: ``coverage`` (true class a member), and how many classes they hold."""

    coverage: float
    one: float
    several: float
    none: float


def summarise_sets(sets: ArrayLike, labels: ArrayLike | None) -> SetSummary:
    """Coverage and sizes of conformal sets (N, C) boolean; the coverage is nan without ``labels`` (hybrids)."""
    sets = np.asarray(sets)
    size = sets.sum(axis=-1)
    covered = np.nan if labels is None else 100 * float(sets[np.arange(len(sets)), labels].mean())
    return SetSummary(covered, *(100 * float(share.mean()) for share in (size == 1, size > 1, size == 0)))


def coverage_range(n_calibration: int, n: int, *, alpha: float = 0.1, level: float = 0.95) -> Interval:
    """Coverage in percent that n exchangeable galaxies show with one calibration set: its mean and central range.

    The number covered is beta-binomial(n, k, n_calibration + 1 - k), k the rank of the threshold, if no scores are
    equal. Few calibration galaxies make it wide: the guarantee is an average over calibration sets. Source: Vovk 2012.
    """
    _check_fraction("alpha", alpha)
    _check_fraction("level", level)
    rank = _rank(n_calibration, alpha)
    if rank > n_calibration:
        return Interval(100.0, 100.0, 100.0)
    covered = betabinom(n, rank, n_calibration + 1 - rank)
    tails = covered.ppf([(1 - level) / 2, (1 + level) / 2])
    return Interval(*(float(100 * share / n) for share in (covered.mean(), *tails)))

"""How far probabilities and uncertainties can be trusted: reliability diagrams and rejection.

Shapes, checks and units are those of ``predictive``: ``logits`` (S, N, C), ``labels`` (N,). Nothing here is resampled:
consistency bands are exact, and the area under a rejection curve is a ``metrics.Metric``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, reduce
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from radio_bnn.evaluation.metrics import METRICS, Metric, bin_index
from radio_bnn.evaluation.predictive import UNCERTAINTIES, check, check_choice, check_fraction, predictive_mean

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


def _frii(logits: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return predictive_mean(logits)[:, 1], labels == 1


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

    ``forecast`` is "frii" (class 1) or "confidence". Bins are those of ``metrics.bin_index``; empty ones are left out.
    The consistency band holds the share in a bin with a probability of at least ``level`` if every forecast is the
    truth: quantiles of the Poisson-binomial distribution of the bin's own forecasts, exact where Broecker & Smith
    resample. It is pointwise: of many bins some fall outside.
    Source: Broecker & Smith 2007.
    """
    check_choice("forecast", forecast, FORECASTS)
    check_fraction("level", level)
    p, true = FORECASTS[forecast](*check(logits, labels))
    index = bin_index(p, bins=bins, strategy=strategy)
    members = [index == b for b in np.unique(index)]
    band = np.array([_consistency(p[inside], level) for inside in members]).T
    mean = [[values[inside].mean() for inside in members] for values in (p, true)]
    return Reliability(*map(np.array, mean), *band, np.array([inside.sum() for inside in members]))


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
    check_choice("score", score, SCORES)
    check_choice("by", by, (*UNCERTAINTIES, *REFERENCES))
    [loss] = METRICS[score].checked_columns(logits, labels)
    return loss, REFERENCES[by](loss) if by in REFERENCES else UNCERTAINTIES[by].of(logits)


def rejection_area(score: str = "error_percent", by: str = "predictive_entropy") -> Metric:
    """The area under the rejection curve, mean_k of its N values, as a metric: called and resampled like any.

    In units of the score, lower is better: by = "random" gives the score itself, by = "oracle" the least that any
    order can reach. Source: Geifman et al. 2019.
    """
    return Metric(partial(rejection_columns, score=score, by=by), _mean_of_curve)


def _mean_of_curve(loss: np.ndarray, uncertainty: np.ndarray) -> np.ndarray:
    return rejection_curve(loss, uncertainty).mean(axis=-1)

"""Conformal sets: the classes that a galaxy may have, with a guarantee that needs no trust in the probabilities.

Shapes and checks are those of ``predictive``: ``logits`` (S, N, C), ``labels`` (N,). The expected range of a coverage
is exact.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import reduce
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import betabinom

from radio_bnn.evaluation.predictive import check, check_fraction, predictive_mean
from radio_bnn.evaluation.resampling import Interval


def _rank(n: int, alpha: float) -> int:
    return math.ceil((n + 1) * (1 - alpha) - 1e-9)  # 25 x (1 - 0.44) is 14.000000000000002 in floating point


def conformal_threshold(scores: ArrayLike, *, alpha: float) -> float:
    """The ceil((n + 1)(1 - alpha))-th smallest of n calibration scores; infinite where there are too few.

    A new score of the same distribution is at most that with a probability of at least 1 - ``alpha``, and at most
    1 - ``alpha`` + 1 / (n + 1) if no scores are equal. Source: Vovk et al. 2005.
    """
    check_fraction("alpha", alpha)
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
    given, labels = check(*calibration)
    p = predictive_mean(given)
    scores, every = 1 - p[np.arange(len(labels)), labels], range(p.shape[1])
    chosen = [labels == c if class_conditional else slice(None) for c in every]
    thresholds = [conformal_threshold(scores[members], alpha=alpha) for members in chosen]
    return 1 - predictive_mean(logits) <= thresholds


def mean_p_values(known: Sequence[ArrayLike], scores: Sequence[ArrayLike]) -> np.ndarray:
    """mean_k (1 + #{i: known_ki >= scores_k}) / (n_k + 1) over K networks; K arrays (n_k,), K arrays (...) -> (...).

    ``known``: scores that each network gives to the galaxies that it was not trained on; ``scores``: those that it
    gives to new ones. Each term is at most alpha with a probability of at most alpha for a galaxy exchangeable with the
    known ones, their mean with at most 2 alpha, however the networks depend on each other. So the classes whose value,
    with 1 - p_c as score, is above alpha hold the true one with a probability of at least 1 - 2 alpha: cross-conformal
    sets. Source: Vovk 2015; Vovk & Wang 2020.
    """
    terms = []
    for mine, new in zip(known, scores, strict=True):
        mine = np.sort(np.asarray(mine, float))
        terms.append((1 + len(mine) - np.searchsorted(mine, np.asarray(new, float), side="left")) / (len(mine) + 1))
    return np.mean(terms, axis=0)


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


def coverage_range(sets: Sequence[tuple[int, int]], *, alpha: float = 0.1, level: float = 0.95) -> Interval:
    """Coverage in percent that exchangeable galaxies show: its mean and central range.

    ``sets`` holds pairs (calibration galaxies m, galaxies n), one for each calibration, taken as independent. Of one,
    the number covered is beta-binomial(n, k, m + 1 - k), k the rank of the threshold, if no scores are equal. Few
    calibration galaxies make it wide: the guarantee is an average over calibration sets. Source: Vovk 2012.
    """
    check_fraction("alpha", alpha)
    check_fraction("level", level)
    chance = reduce(np.convolve, [_covered(m, n, alpha) for m, n in sets])
    covered, below, tail = np.arange(len(chance)), chance.cumsum(), (1 - level) / 2
    ends = covered @ chance, *np.searchsorted(below, [tail - 1e-12, 1 - tail - 1e-12])
    return Interval(*(float(100 * share / covered[-1]) for share in ends))


def _covered(m: int, n: int, alpha: float) -> np.ndarray:
    """The probability of each number covered, (n + 1,)."""
    rank = _rank(m, alpha)
    return np.eye(n + 1)[n] if rank > m else betabinom(n, rank, m + 1 - rank).pmf(np.arange(n + 1))

"""Do several chains agree, and how many independent draws are they worth? Vehtari et al. (2021), for whole arrays."""

from __future__ import annotations

import numpy as np
from scipy.special import ndtri
from scipy.stats import rankdata


def split_rhat(values: np.ndarray) -> np.ndarray:
    """Rank-normalised split R-hat of C chains of S draws: 1 where all halves agree in location and in scale.

    values (C, S, ...) -> (...): the larger of that of the values and of their distances from the median. Raises
    ValueError for fewer than four draws. Where all values are equal it is 1.
    """
    values = _halves(values)
    folded = np.abs(values - np.median(values, axis=(0, 1)))
    return np.maximum(_rhat(_normalised(values)), _rhat(_normalised(folded)))


def effective_sample_size(values: np.ndarray) -> np.ndarray:
    """How many independent draws C chains of S draws are worth, from their autocorrelation after rank normalisation.

    values (C, S, ...) -> (...), at most C S log10(C S). The sum of autocorrelations ends where that of a pair of lags
    turns negative, and never rises (Geyer 1992). Raises ValueError for fewer than four draws.
    """
    x = _normalised(_halves(values))
    c, s, *_ = x.shape
    covariance = _autocovariance(x).mean(axis=0)
    within = covariance[0] * s / (s - 1)
    total = within * (s - 1) / s + x.mean(axis=1).var(axis=0, ddof=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        rho = 1 - (within - covariance * s / (s - 1)) / total
    rho[0] = 1
    pairs = rho[: 2 * (s // 2)].reshape(s // 2, 2, *rho.shape[1:]).sum(axis=1)
    positive = np.logical_and.accumulate(np.nan_to_num(pairs, nan=-1.0) > 0, axis=0)
    falling = np.minimum.accumulate(np.where(positive, pairs, 0.0), axis=0)
    time = np.maximum(2 * falling.sum(axis=0) - 1, 1 / np.log10(c * s))
    return np.where(total > 0, c * s / time, 1.0 * c * s)


def _halves(values: np.ndarray) -> np.ndarray:
    """The halves of every chain as chains of their own, (C, S, ...) -> (2 C, S // 2, ...)."""
    values = np.asarray(values, np.float64)
    if values.ndim < 2 or values.shape[1] < 4:
        raise ValueError(f"values of shape {values.shape}: expected chains x draws, with four draws or more")
    half = values.shape[1] // 2
    return np.concatenate([values[:, :half], values[:, -half:]])


def _normalised(values: np.ndarray) -> np.ndarray:
    """Normal scores of the ranks of all draws of all chains together."""
    c, s, *rest = values.shape
    ranks = rankdata(values.reshape(c * s, -1), axis=0)
    return ndtri((ranks - 0.375) / (c * s + 0.25)).reshape(c, s, *rest)


def _rhat(x: np.ndarray) -> np.ndarray:
    s = x.shape[1]
    within, between = x.var(axis=1, ddof=1).mean(axis=0), x.mean(axis=1).var(axis=0, ddof=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        found = np.sqrt((s - 1) / s + between / within)
    return np.where(within > 0, found, np.where(between > 0, np.inf, 1.0))


def _autocovariance(x: np.ndarray) -> np.ndarray:
    """The biased autocovariance of each chain at every lag, (C, S, ...) -> (C, S, ...)."""
    s = x.shape[1]
    centred = x - x.mean(axis=1, keepdims=True)
    spectrum = np.fft.rfft(centred, n=2 * s, axis=1)
    return np.fft.irfft(np.abs(spectrum) ** 2, n=2 * s, axis=1)[:, :s] / s

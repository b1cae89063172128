"""Statistics over the test sets of cross-validation folds, in which every galaxy is judged by one network.

Shapes, checks and units are those of ``predictive``. Held-out scores pool the numbers per galaxy of all F folds; an
AUROC and a regression coefficient are taken within each network and averaged. Every estimate has two intervals, and the
wider one decides: galaxies resampled within folds, and Student's t over folds. A seed fixes every resample.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import brentq
from scipy.special import expit
from scipy.stats import norm, t

from radio_bnn.evaluation.metrics import Metric, resolve
from radio_bnn.evaluation.predictive import UNCERTAINTIES, check_choice, check_fraction, check_logits, predictive_mean
from radio_bnn.evaluation.resampling import BLOCK, Interval, percentiles, resampled

RESAMPLES = 2000
NEWTON_STEPS = 12
Folds = Sequence[Sequence[ArrayLike]]


@dataclass(frozen=True, eq=False)
class Estimate:
    """A number from F folds: ``value``, the same on B resamples of the galaxies, (B,), and in each fold alone, (F,).

    ``test_share``: test galaxies over training galaxies of a fold. The t intervals are centred on ``value``, which for
    a mean is that of the folds but for their sizes; a binned error of one fold alone would be biased.
    """

    value: float
    resampled: np.ndarray
    by_fold: np.ndarray
    test_share: float

    @property
    def folds(self) -> int:
        """How many folds it stands on."""
        return len(self.by_fold)

    def interval(self, level: float = 0.95) -> Interval:
        """The wider of ``resampled_interval`` and ``t_interval``; of a single fold the first."""
        found = [self.resampled_interval(level)]
        if self.folds > 1:
            found.append(self.t_interval(level))
        return widest(*found)

    def resampled_interval(self, level: float = 0.95) -> Interval:
        """The central ``level`` of the resamples: from the finite number of galaxies, the networks held fixed."""
        return percentiles(self.value, self.resampled, level)

    def t_interval(self, level: float = 0.95) -> Interval:
        """value +- t_{F-1} s / sqrt(F), with s the deviation of the folds. Raises ValueError for a single fold."""
        return self._student(level, 1 / self.folds)

    def corrected_interval(self, level: float = 0.95) -> Interval:
        """value +- t_{F-1} s sqrt(1/F + test_share): the folds share training galaxies. Raises ValueError for one fold.

        Source: Nadeau & Bengio 2003.
        """
        return self._student(level, 1 / self.folds + self.test_share)

    def _student(self, level: float, variance: float) -> Interval:
        check_fraction("level", level)
        if self.folds < 2:
            raise ValueError("an interval over folds needs at least two of them, there is one")
        half = t.ppf((1 + level) / 2, self.folds - 1) * self.by_fold.std(ddof=1) * np.sqrt(variance)
        return Interval(self.value, self.value - float(half), self.value + float(half))


def difference(a: Estimate, b: Estimate) -> Estimate:
    """a minus b, paired: both are of the same galaxies and networks' folds, resampled with the same seed.

    Raises ValueError for estimates that do not fit together.
    """
    if a.resampled.shape != b.resampled.shape or a.folds != b.folds:
        raise ValueError(
            f"estimates on {a.folds} and {b.folds} folds with {len(a.resampled)} and {len(b.resampled)} resamples "
            "cannot be paired"
        )
    return Estimate(a.value - b.value, a.resampled - b.resampled, a.by_fold - b.by_fold, a.test_share)


def widest(*intervals: Interval) -> Interval:
    """The interval of the largest width, the first of equals."""
    return max(intervals, key=lambda interval: interval.high - interval.low)


# Pooled over folds


class Excess(NamedTuple):
    """A calibration error minus its calibrated null, the mean over ``draws`` of labels from the predictive.

    The null is drawn anew in every resample of galaxies: labels for the galaxies as they are, which then repeat as the
    galaxies do, so that repeating biases both alike.
    """

    metric: Metric
    draws: int = 4


class _Pool:
    """The columns of one network per fold, joined, and those under either label for a null."""

    def __init__(self, statistic: Metric | Excess, logits: Sequence[ArrayLike], labels: Sequence[ArrayLike]) -> None:
        self.metric = statistic.metric if isinstance(statistic, Excess) else statistic
        pairs = list(zip(logits, labels, strict=True))
        self.columns = _joined([self.metric.checked_columns(x, y) for x, y in pairs])
        if isinstance(statistic, Excess):
            checked = [check_logits(x) for x in logits]
            classes = range(checked[0].shape[2])
            each = [_joined([self.metric.columns(x, np.full(x.shape[1], c)) for x in checked]) for c in classes]
            self.by_label = [np.stack(column) for column in zip(*each, strict=True)]
            self.below = np.concatenate([predictive_mean(x).cumsum(axis=-1)[:, :-1] for x in checked])

    def of(self, index: np.ndarray) -> np.ndarray:
        """The metric of the galaxies ``index`` (..., N) -> (...)."""
        return self.metric.reduce(*(column[index] for column in self.columns))

    def null(self, index: np.ndarray, uniform: np.ndarray) -> np.ndarray:
        """The metric of the galaxies ``index`` (..., n) with labels drawn by ``uniform`` (..., N) of all of them."""
        drawn = (uniform[..., None] > self.below).sum(axis=-1)
        place = np.take_along_axis(drawn, index, axis=-1) * drawn.shape[-1] + index
        return self.metric.reduce(*(column.ravel()[place] for column in self.by_label))


def _joined(parts: Sequence[tuple[np.ndarray, ...]]) -> list[np.ndarray]:
    return [np.concatenate(column) for column in zip(*parts, strict=True)]


def pooled(
    statistic: str | Metric | Excess,
    terms: Sequence[tuple[float, Folds]],
    labels: Sequence[ArrayLike],
    *,
    test_share: float,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Estimate:
    """sum_g c_g s_g, with s_g the statistic of group g on the galaxies of all folds together.

    ``terms`` holds pairs (c_g, folds): for every fold its networks' logits (S, N_f, C), one for each repeat, whose
    statistics are averaged. ``labels`` (N_f,) of every fold. A resample draws galaxies within folds, the same for all
    groups, so what groups share cancels: identical groups differ by exactly 0.
    Raises ValueError for groups that do not fit together and for a statistic that is not defined in a fold.
    """
    statistic = statistic if isinstance(statistic, Excess) else resolve(statistic)
    sizes = _checked_sizes([folds for _, folds in terms], labels)
    pools = [(c, [_Pool(statistic, run, labels) for run in zip(*folds, strict=True)]) for c, folds in terms]
    fold = np.repeat(np.arange(len(sizes)), sizes)
    whole = np.arange(len(fold))
    rng = np.random.default_rng(seed)
    draws = _blocks(statistic, fold, resamples, rng)
    found = np.concatenate([_combined(statistic, pools, index, np.random.default_rng([seed, k])) for k, index in draws])
    value = float(_value(statistic, pools, whole, seed))
    by_fold = np.array([float(_value(statistic, pools, np.flatnonzero(fold == k), seed)) for k in range(len(sizes))])
    if np.isnan(by_fold).any():
        raise ValueError(
            f"the statistic is not defined in fold number {int(np.isnan(by_fold).argmax())} of those given"
        )
    return Estimate(value, found, by_fold, test_share)


def _checked_sizes(groups: Sequence[Folds], labels: Sequence[ArrayLike]) -> list[int]:
    sizes = [len(y) for y in labels]
    for folds in groups:
        found = [[np.shape(x)[1] for x in runs] for runs in folds]
        if len({len(runs) for runs in found}) != 1 or not found[0] or found != [[n] * len(found[0]) for n in sizes]:
            raise ValueError(
                f"the groups have {found} galaxies by fold and repeat, the labels {sizes}: expected the same folds, "
                "equally many repeats in each, and the same galaxies"
            )
    return sizes


def _blocks(statistic: Metric | Excess, fold: np.ndarray, resamples: int, rng: np.random.Generator):
    draws = statistic.draws if isinstance(statistic, Excess) else 1
    return enumerate(resampled(fold, resamples, rng, block=max(1, BLOCK // (draws * len(fold)))))


def _combined(statistic: Metric | Excess, pools: Sequence, index: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """sum_g c_g s_g on the galaxies ``index`` (b, N), minus the mean of nulls drawn anew -> (b,)."""
    found = sum(c * np.mean([pool.of(index) for pool in runs], axis=0) for c, runs in pools)
    if not isinstance(statistic, Excess):
        return found
    nulls = [rng.random(index.shape) for _ in range(statistic.draws)]
    return found - np.mean([_nulls(pools, index, uniform) for uniform in nulls], axis=0)


def _nulls(pools: Sequence, index: np.ndarray, uniform: np.ndarray) -> np.ndarray:
    return sum(c * np.mean([pool.null(index, uniform) for pool in runs], axis=0) for c, runs in pools)


def _value(statistic: Metric | Excess, pools: Sequence, index: np.ndarray, seed: int, nulls: int = 1000) -> np.ndarray:
    """The same on the galaxies ``index`` (n,) themselves, minus the mean of many nulls."""
    found = sum(c * np.mean([pool.of(index) for pool in runs], axis=0) for c, runs in pools)
    if not isinstance(statistic, Excess):
        return found
    n = len(pools[0][1][0].columns[0])
    uniform = np.random.default_rng([seed, n]).random((nulls, n))
    return found - np.nanmean(_nulls(pools, np.broadcast_to(index, (nulls, len(index))), uniform))


# Within each network


def _multiplicities(n: int, resamples: int, rng: np.random.Generator) -> np.ndarray:
    """How often each of n galaxies is drawn, (resamples, n); the first row is all of them once."""
    drawn = rng.multinomial(n, np.full(n, 1 / n), size=resamples)
    return np.concatenate([np.ones((1, n)), drawn]).astype(np.float64)


def _weights(
    certain: Sequence[int], ids: Sequence[np.ndarray], resamples: int, seed: int
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Of every fold the multiplicities of its test galaxies, (B, N_f), and of the others, (B, M_f), once for all."""
    rng = np.random.default_rng(seed)
    union = np.unique(np.concatenate(ids))
    shared = _multiplicities(len(union), resamples, rng)
    own = [_multiplicities(n, resamples, rng) for n in certain]
    return [(mine, shared[:, np.searchsorted(union, found)]) for mine, found in zip(own, ids, strict=True)]


def _averaged(by_network: Sequence[np.ndarray], test_share: float) -> Estimate:
    """The mean over networks of numbers whose first is of all galaxies and whose others are of resamples."""
    each = np.stack(by_network)
    return Estimate(float(each[:, 0].mean()), each[:, 1:].mean(axis=0), each[:, 0], test_share)


def auroc(
    uncertainty: str,
    certain: Sequence[ArrayLike],
    doubtful: Sequence[ArrayLike],
    ids: Sequence[np.ndarray],
    *,
    test_share: float,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Estimate:
    """P(a doubtful galaxy is less certain than a certain one) + P(equal) / 2 within each network, and their mean.

    Of every fold the logits of its test galaxies, (S, N_f, C), and of the doubtful galaxies that it scores,
    (S, M_f, C), with ``ids`` (M_f,) that are equal for the same galaxy. A resample draws the doubtful galaxies once for
    all networks. ``uncertainty``: a name of ``UNCERTAINTIES``. Source: Hanley & McNeil 1982.
    """
    check_choice("uncertainty", uncertainty, UNCERTAINTIES)
    of = UNCERTAINTIES[uncertainty].of
    low, high = [of(x) for x in certain], [of(x) for x in doubtful]
    return ranking(low, high, ids, test_share=test_share, resamples=resamples, seed=seed)


def ranking(
    low: Sequence[np.ndarray],
    high: Sequence[np.ndarray],
    ids: Sequence[np.ndarray],
    *,
    test_share: float,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Estimate:
    """``auroc`` of any numbers: those of a fold's test galaxies, (N_f,), and of its doubtful ones, (M_f,)."""
    weights = _weights([len(x) for x in low], ids, resamples, seed)
    found = []
    for a, b, (own, shared) in zip(low, high, weights, strict=True):
        above = (b[:, None] > a) + 0.5 * (b[:, None] == a)
        found.append(((shared @ above) * own).sum(axis=1) / (shared.sum(axis=1) * own.sum(axis=1)))
    return _averaged(found, test_share)


def false_alarms(
    low: Sequence[np.ndarray],
    high: Sequence[np.ndarray],
    ids: Sequence[np.ndarray],
    *,
    caught: float = 0.95,
    test_share: float,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Estimate:
    """The share of ``low`` at or above the number at or above which a share ``caught`` of ``high`` lies; 0..1.

    Within each network, and their mean; arguments and resamples are those of ``ranking``, the threshold is set anew in
    each. With equal numbers throughout it is 1.
    """
    check_fraction("caught", caught)
    weights = _weights([len(x) for x in low], ids, resamples, seed)
    found = []
    for a, b, (own, shared) in zip(low, high, weights, strict=True):
        falling = np.argsort(-b, kind="stable")
        above = shared[:, falling].cumsum(axis=1)
        threshold = b[falling][(above >= caught * above[:, -1:] - 1e-9).argmax(axis=1)]
        found.append(((a >= threshold[:, None]) * own).sum(axis=1) / own.sum(axis=1))
    return _averaged(found, test_share)


def averaged(
    values: Sequence[np.ndarray],
    counted: Sequence[np.ndarray],
    ids: Sequence[np.ndarray],
    *,
    test_share: float,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Estimate:
    """The mean over networks of numbers of galaxies that several networks score, of those that are ``counted``.

    Of every fold values (M_f,), counted (M_f,) boolean, and ``ids`` (M_f,) that are equal for the same galaxy. A
    resample draws the galaxies once for all networks: eight networks make no galaxy eight.
    """
    weights = _weights([1] * len(values), ids, resamples, seed)
    found = []
    for value, kept, (_, shared) in zip(values, counted, weights, strict=True):
        total = shared @ kept.astype(float)
        found.append(np.where(total > 0, (shared @ (value * kept)) / np.maximum(total, 1), np.nan))
    return _averaged(found, test_share)


def coefficient(
    uncertainty: str,
    certain: Sequence[ArrayLike],
    doubtful: Sequence[ArrayLike],
    ids: Sequence[np.ndarray],
    certain_covariates: Sequence[np.ndarray],
    doubtful_covariates: Sequence[np.ndarray],
    *,
    test_share: float,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Estimate:
    """The log odds of being doubtful per standard deviation of an uncertainty, adjusted, and its mean over networks.

    Within each network the maximum-likelihood coefficient of a logistic regression of doubtful (1) against certain (0)
    on the uncertainty and the covariates (N_f, K) and (M_f, K), each standardised. Resamples are those of ``auroc``.
    A resample in which the classes can be separated has no maximum and is left out. Raises ValueError for covariates
    that are not finite.
    """
    check_choice("uncertainty", uncertainty, UNCERTAINTIES)
    of = UNCERTAINTIES[uncertainty].of
    weights = _weights([np.shape(x)[1] for x in certain], ids, resamples, seed)
    found = []
    for a, b, za, zb, (own, shared) in zip(
        certain, doubtful, certain_covariates, doubtful_covariates, weights, strict=True
    ):
        design = np.column_stack([np.concatenate([of(a), of(b)]), np.concatenate([za, zb])])
        if not np.isfinite(design).all():
            raise ValueError("the covariates are not finite: a regression needs a number for every galaxy")
        design = (design - design.mean(axis=0)) / design.std(axis=0)
        y = np.repeat([0.0, 1.0], [own.shape[1], shared.shape[1]])
        found.append(_logistic(design, y, np.concatenate([own, shared], axis=1))[:, 0])
    return _averaged(found, test_share)


def _logistic(design: np.ndarray, y: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Coefficients (B, K) of logistic regressions on the columns of ``design`` (n, K), with weights (B, n); or nan.

    Newton's method with an intercept, all at once that have not come to rest.
    """
    x = np.column_stack([design, np.ones(len(design))])
    products = (x[:, :, None] * x[:, None, :]).reshape(len(x), -1)
    beta, moving = np.zeros((len(weights), x.shape[1])), np.arange(len(weights))
    for _ in range(NEWTON_STEPS):
        p, w = expit(np.clip(beta[moving] @ x.T, -30, 30)), weights[moving]
        gradient = (w * (y - p)) @ x
        hessian = ((w * p * (1 - p)) @ products).reshape(-1, x.shape[1], x.shape[1])
        step = np.linalg.solve(hessian + 1e-9 * np.eye(x.shape[1]), gradient[..., None])[..., 0]
        beta[moving] += step
        moving = moving[np.abs(step).max(axis=1) >= 1e-6]
        if not len(moving):
            break
    beta[moving] = np.nan
    return beta[:, :-1]


# Shares


def largest_share(rises: np.ndarray, margin: float) -> np.ndarray:
    """The place on the grid up to which no rise exceeds ``margin``; rises (..., G), the first 0 -> (...) integers."""
    return np.logical_and.accumulate(rises <= margin, axis=-1).sum(axis=-1) - 1


def share_contrast(
    a: Sequence[np.ndarray],
    b: Sequence[np.ndarray],
    grid: Sequence[float],
    *,
    margin: float,
    test_share: float,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Estimate:
    """log10 of what ranking ``a`` must keep over what ``b`` must, each removing its ``largest_share``.

    Of every fold the rise of each galaxy's score at every share of ``grid`` (G,), 0 first and below 1, (G, N_f). The
    means are those of all galaxies together.
    """
    kept = np.log10(1 - np.asarray(grid))
    rng, counts = np.random.default_rng(seed), [x.shape[1] for x in a]
    weights = [_multiplicities(n, resamples, rng) for n in counts]

    def place(rises: Sequence[np.ndarray]) -> np.ndarray:
        total = sum(w @ x.T for w, x in zip(weights, rises, strict=True))
        return kept[largest_share(total / sum(counts), margin)]

    found = place(a) - place(b)
    alone = [
        kept[largest_share(x.mean(axis=1), margin)] - kept[largest_share(y.mean(axis=1), margin)]
        for x, y in zip(a, b, strict=True)
    ]
    return Estimate(float(found[0]), found[1:], np.array(alone), test_share)


# Errors


def paired_error_interval(wrong_a: ArrayLike, wrong_b: ArrayLike, level: float = 0.95) -> Interval:
    """The error of ``a`` minus that of ``b`` on the same galaxies with its score interval, in percentage points.

    wrong_a, wrong_b (N,) boolean. It has a width also where no galaxy is classified differently, which a bootstrap
    has not. Source: Tango 1998.
    """
    check_fraction("level", level)
    a, b = np.asarray(wrong_a, bool), np.asarray(wrong_b, bool)
    if a.shape != b.shape or a.ndim != 1 or not len(a):
        raise ValueError(f"the errors have shapes {a.shape} and {b.shape}; expected one entry per galaxy in both")
    n, only_a, only_b = len(a), int((a & ~b).sum()), int((b & ~a).sum())
    z, value = norm.ppf((1 + level) / 2), (only_a - only_b) / n

    def beyond(bound: float, sign: int) -> float:
        return _tango(n, only_a, only_b, bound) - sign * z

    edge = 1e-12
    low = brentq(beyond, -1 + edge, value, args=(1,)) if value > -1 else -1.0
    high = brentq(beyond, value, 1 - edge, args=(-1,)) if value < 1 else 1.0
    return Interval(100 * value, 100 * low, 100 * high)


def _tango(n: int, only_a: int, only_b: int, difference: float) -> float:
    """The score statistic of the hypothesis that the error rates differ by ``difference``."""
    a, c = 2 * n, -only_b * difference * (1 - difference)
    b = -only_a - only_b + (2 * n - only_a + only_b) * difference
    q = (np.sqrt(max(b * b - 4 * a * c, 0.0)) - b) / (2 * a)
    variance = n * (2 * q + difference * (1 - difference))
    excess = only_a - only_b - n * difference
    return excess / np.sqrt(variance) if variance > 0 else np.copysign(np.inf, excess) if excess else 0.0

"""Intervals by resampling galaxies and runs, and nulls by redrawing the labels of a calibrated network.

Shapes, checks and units are those of ``predictive``: ``logits`` (S, N, C), ``labels`` (N,). A statistic is a name of
``metrics.METRICS`` or a ``metrics.Metric``. A seed fixes every resample: equal seeds and numbers of galaxies draw the
same galaxies.

R training seeds underestimate the variance between seeds by (R - 1) / R; a statistic that is equal for all galaxies has
an interval without width; binned calibration errors grow when galaxies repeat, so their interval lies high and may
leave out the value. ``scipy.stats.bootstrap`` would draw the same galaxies (a test compares), but it refuses a single
run, and one resample in which the statistic is not defined makes its interval nan.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import binomtest

from radio_bnn.evaluation.metrics import CALIBRATION, METRICS, Metric, resolve
from radio_bnn.evaluation.predictive import check_count, check_fraction, check_logits, predictive_mean

BLOCK = 1_000_000  # resampled galaxies held in memory at once


class Interval(NamedTuple):
    """A number with the two ends of its interval; ``f"{interval:.1f}"`` reads ``11.5 [6.7, 17.3]``."""

    value: float
    low: float
    high: float

    def __format__(self, spec: str) -> str:
        value, low, high = (_unsigned_zero(x, spec) for x in self)
        return f"{value} [{low}, {high}]"


def _unsigned_zero(x: float, spec: str) -> str:
    """The number as text; what rounds to nothing is not written as a negative zero."""
    text = f"{x:{spec}}"
    return text if any(digit in "123456789" for digit in text) else f"{abs(x):{spec}}"


def exact_interval(count: int, n: int, *, level: float = 0.95) -> Interval:
    """The share ``count`` of ``n`` in percent, with its exact interval. Source: Clopper & Pearson 1934."""
    check_count("n", n)
    check_fraction("level", level)
    ends = binomtest(count, n).proportion_ci(level, method="exact")
    return Interval(100 * count / n, 100 * float(ends.low), 100 * float(ends.high))


def percentiles(value: float, replicates: np.ndarray, level: float) -> Interval:
    """The central ``level`` of the replicates; those in which the statistic is not defined (nan) are left out."""
    check_fraction("level", level)
    defined = replicates[~np.isnan(replicates)]
    if np.isnan(value) or not len(defined):
        raise ValueError("the statistic is nan on these galaxies; a class-wise one needs galaxies of every class")
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(value), float(low), float(high))


# Contrasts


def contrast(
    statistic: str | Metric,
    terms: Sequence[tuple[float, Sequence[ArrayLike]]],
    labels: ArrayLike | None,
    *,
    strata: ArrayLike | None = None,
    resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """mean_r sum_g c_g s(g, r) with its percentile-bootstrap interval: a linear combination over groups of runs.

    ``terms`` holds pairs (c_g, runs of group g); runs are logits (S, N, C), one per training seed r, in the same order
    in every group. Every resample draws galaxies with replacement, the same for all runs, and seeds, the same for all
    groups, so the spread that groups share cancels. One group gives a mean over seeds, two with c = (1, -1) a paired
    difference, which is 0 [0, 0] for identical predictions. ``strata`` (N,) resamples within its equal entries.
    Raises ValueError for unequal numbers of runs or of galaxies, and for a statistic that is unknown, or nan.
    Source: Efron & Tibshirani 1993, ch. 13.
    """
    check_count("resamples", resamples)
    metric, groups = resolve(statistic), _paired([runs for _, runs in terms])
    columns = [[metric.checked_columns(run, labels) for run in runs] for runs in groups]
    strata = _checked_strata(strata, groups[0][0].shape[1])

    def combined(index: np.ndarray) -> np.ndarray:
        """Galaxies (..., N) -> sum_g c_g s(g, r) on them, (R, ...)."""
        parts = [[metric.reduce(*(column[index] for column in run)) for run in runs] for runs in columns]
        return sum(factor * np.stack(part) for (factor, _), part in zip(terms, parts, strict=True))

    drawn = resampled(strata, resamples, np.random.default_rng(seed))
    replicates = np.concatenate([combined(index) for index in drawn], axis=1)
    chosen = np.random.default_rng([seed, 1]).integers(len(replicates), size=replicates.shape)
    means = np.take_along_axis(replicates, chosen, axis=0).mean(axis=0)
    return percentiles(combined(np.arange(len(strata))).mean(), means, level)


def _paired(groups: Sequence[Sequence[ArrayLike]]) -> list[list[np.ndarray]]:
    checked = [[check_logits(logits) for logits in runs] for runs in groups]
    runs, galaxies = {len(group) for group in checked}, {logits.shape[1] for group in checked for logits in group}
    if len(runs) != 1 or len(galaxies) != 1:
        raise ValueError(
            f"the groups have {sorted(runs)} runs of {sorted(galaxies)} galaxies; expected one run per training seed "
            "and the same galaxies in all"
        )
    return checked


def _checked_strata(strata: ArrayLike | None, n: int) -> np.ndarray:
    strata = np.zeros(n, np.int64) if strata is None else np.asarray(strata)
    if strata.shape != (n,):
        raise ValueError(f"strata have shape {strata.shape}; expected ({n},), one per galaxy of the logits")
    return strata


def resampled(
    strata: np.ndarray, resamples: int, rng: np.random.Generator, *, block: int | None = None
) -> Iterator[np.ndarray]:
    """Galaxies (b, N) that replace each by one of its stratum, in blocks of b that fit in memory."""
    _, stratum, count = np.unique(strata, return_inverse=True, return_counts=True)
    members, first, size = stratum.argsort(kind="stable"), (count.cumsum() - count)[stratum], count[stratum]
    block = block or max(1, BLOCK // len(strata))
    for start in range(0, resamples, block):
        shape = min(block, resamples - start), len(strata)
        yield members[first + rng.integers(size, size=shape)]


def bootstrap(
    statistic: str | Metric,
    logits: ArrayLike,
    labels: ArrayLike | None,
    *,
    resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """``contrast`` of a single run: the interval from the finite test set alone, the trained network held fixed.

    Where the error is exactly 0 or 100 % resampling sees no spread, and the Wilson interval stands in.
    Source: Wilson 1927.
    """
    found = contrast(statistic, [(1.0, [logits])], labels, resamples=resamples, level=level, seed=seed)
    if resolve(statistic).binary and found.value in (0.0, 100.0):
        n = np.shape(logits)[1]
        wilson = binomtest(n if found.value else 0, n).proportion_ci(level, method="wilson")
        return Interval(found.value, 100 * float(wilson.low), 100 * float(wilson.high))
    return found


# Nulls


def calibrated_null(statistic: str | Metric, logits: ArrayLike, *, resamples: int = 1000, seed: int = 0) -> np.ndarray:
    """Distribution of ``statistic`` if the predictive were the truth: y_n ~ Categorical(p_n), (resamples,).

    What a calibration error is compared with: it is not 0 for a calibrated network (audit A8). Class-wise metrics are
    nan in resamples without that class. Source: Broecker & Smith 2007 (consistency resampling).
    """
    logits, metric = check_logits(logits), resolve(statistic)
    check_count("resamples", resamples)
    _, n, classes = logits.shape
    uniform = np.random.default_rng(seed).random((resamples, n, 1))
    drawn = (uniform > predictive_mean(logits).cumsum(axis=-1)[:, :-1]).sum(axis=-1)
    per_class = [metric.columns(logits, np.full(n, c)) for c in range(classes)]
    return metric.reduce(*[np.stack(column)[drawn, np.arange(n)] for column in zip(*per_class, strict=True)])


def summarise(
    logits: ArrayLike, labels: ArrayLike | None = None, *, resamples: int = 1000, level: float = 0.95, seed: int = 0
) -> dict[str, dict[str, float]]:
    """Every metric of METRICS with its interval, as a record keeps it: {name: {"value", "low", "high"}}, JSON-able.

    Intervals are those of ``bootstrap``. Each calibration metric ``x_percent`` comes with ``x_null_percent``, median
    and quantiles of its ``calibrated_null``, and ``x_excess_percent``, the metric minus these, in percentage points: an
    excess that leaves out 0 rejects calibration on these galaxies at 1 - ``level``; it is no confidence interval of the
    miscalibration. Without ``labels``, as for hybrid galaxies, whose labels are no FR class, only the uncertainties;
    class-wise metrics of absent classes are left out, and the null of a class that the network never predicts.
    """
    summary: dict[str, Interval] = {}
    for name, metric in METRICS.items():
        if (metric.needs_labels and labels is None) or np.isnan(value := metric(logits, labels)):
            continue
        summary[name] = bootstrap(metric, logits, labels, resamples=resamples, level=level, seed=seed)
        null = calibrated_null(metric, logits, resamples=resamples, seed=seed) if name in CALIBRATION else np.nan
        if not np.isnan(null).all():
            middle, low, high = percentiles(np.nanmedian(null), null, level)
            summary[name.replace("_percent", "_null_percent")] = Interval(middle, low, high)
            summary[name.replace("_percent", "_excess_percent")] = Interval(value - middle, value - high, value - low)
    return {name: interval._asdict() for name, interval in summary.items()}

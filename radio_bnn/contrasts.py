"""Contrasts between groups of stored runs, paired over training seeds and galaxies; curves along one setting."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from radio_bnn import metrics, store
from radio_bnn.config import Config

Runs = Sequence[store.Run | None]
FIRST_SEED, FIRST_DATA_SEED = Config().seed, Config().data_seed
# Of the chapters' runs; the chapter on cold posteriors shows on paired seeds what it changes.
PRECISION = "bf16"


class Contrast(NamedTuple):
    """A contrast and the number of ``seeds`` on which it stands; ``interval`` None: not run."""

    interval: metrics.Interval | None
    seeds: int

    def __format__(self, spec: str) -> str:
        return "not run" if self.interval is None else f"{self.interval:{spec}}"


class Point(NamedTuple):
    """One point of a curve: a value with its interval, and the values of the single seeds."""

    interval: metrics.Interval
    values: list[float]


def config_of(seed: int = FIRST_SEED, **changes: Any) -> Config:
    """The run that the chapters show: ``Config.converged`` in ``PRECISION``, its data seed moving with ``seed``.

    The first pair of seeds is the published one, 122 and 14.
    """
    data_seed = FIRST_DATA_SEED + seed - FIRST_SEED
    return Config.converged(**{"seed": seed, "data_seed": data_seed, "precision": PRECISION, **changes})


def stored(*, seeds: int, **changes: Any) -> list[store.Run | None]:
    """The stored runs of ``config_of(122 + i, **changes)``, i < ``seeds``; None where a run is not stored.

    Raises ValueError for ``seeds`` below 1.
    """
    if seeds < 1:
        raise ValueError(f"seeds={seeds} must be at least 1")
    return [store.find(config_of(FIRST_SEED + i, **changes)) for i in range(seeds)]


def along_temperature(
    temperatures: Sequence[float], *, seeds: int, **changes: Any
) -> dict[float, list[store.Run | None]]:
    """``stored`` at each temperature, coldest first: {T: runs}."""
    return {t: stored(seeds=seeds, temperature=t, **changes) for t in sorted(temperatures)}


def warm_minus_cold(*, seeds: int, factor: float = 1.0, **changes: Any) -> list[tuple[float, Runs]]:
    """The terms of ``factor`` x (T = 1 minus T = 0.01), the size of the cold posterior effect, for ``of_runs``."""
    ends = ((factor, 1.0), (-factor, 0.01))
    return [(sign, stored(seeds=seeds, temperature=t, **changes)) for sign, t in ends]


def contrast(
    statistic: str | metrics.Metric,
    terms: Sequence[tuple[float, Sequence[ArrayLike]]],
    labels: ArrayLike,
    *,
    draws: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> metrics.Interval:
    """mean_r sum_g c_g s(g, r) with its percentile-bootstrap interval: a linear combination over groups of runs.

    ``terms`` holds pairs (c_g, runs of group g); runs are logits (S, N, C), one per training seed r, in the same order
    in every group. Every draw resamples the galaxies once for all runs and the seeds once for all groups, so the spread
    that groups share cancels. One group gives a mean over seeds; two with c = (1, -1) give
    ``metrics.paired_bootstrap``. R seeds underestimate the variance between seeds by (R - 1) / R.
    Raises ValueError for unequal numbers of runs, or of galaxies.
    """
    runs = {len(group) for _, group in terms}
    galaxies = {np.shape(logits)[1] for _, group in terms for logits in group}
    if len(runs) != 1 or 0 in runs or len(galaxies) != 1:
        raise ValueError(
            f"the groups have {sorted(runs)} runs of {sorted(galaxies)} galaxies; expected one run per training seed "
            "and the same galaxies in all"
        )
    options = {"draws": draws, "seed": seed}
    metric = metrics.METRICS[statistic] if isinstance(statistic, str) else statistic
    value, replicates = 0.0, 0.0
    for factor, group in terms:
        value += factor * np.mean([metric(logits, labels) for logits in group])
        replicates += factor * np.stack([metrics.bootstrap_draws(metric, x, labels, **options) for x in group])
    chosen = np.random.default_rng([seed, 1]).integers(len(replicates), size=replicates.shape)
    means = np.take_along_axis(replicates, chosen, axis=0).mean(axis=0)
    low, high = np.nanquantile(means, [(1 - level) / 2, (1 + level) / 2])
    return metrics.Interval(float(value), float(low), float(high))


def of_runs(statistic: str, terms: Sequence[tuple[float, Runs]], *, scored: str = "test") -> Contrast:
    """``contrast`` of stored runs on the seeds for which every group has its run.

    Raises ValueError for a statistic that no record holds.
    """
    if statistic not in metrics.METRICS:
        raise ValueError(f"statistic={statistic!r} is not known: choose one of {', '.join(metrics.METRICS)}")
    whole = [row for row in zip(*(runs for _, runs in terms), strict=True) if None not in row]
    if not whole:
        return Contrast(None, 0)
    groups = [[run.logits[scored] for run in group] for group in zip(*whole, strict=True)]
    factors = [factor for factor, _ in terms]
    interval = contrast(statistic, list(zip(factors, groups, strict=True)), whole[0][0].labels[scored])
    return Contrast(interval, len(whole))


def curve(by_value: Mapping[float, Runs], name: str) -> dict[float, Point | None]:
    """A metric of the test galaxies, or the last epoch's value of a history, at each setting; None where not run.

    Intervals of metrics are 95 % over galaxies and seeds; those of a history are the range of the seeds.
    """
    return {value: _point([run for run in runs if run is not None], name) for value, runs in by_value.items()}


def scaled(points: Mapping[float, Point | None], factor: float) -> dict[float, Point | None]:
    """The curve with every value times ``factor`` > 0, such as a number of weights."""
    return {
        at: point and Point(metrics.Interval(*(factor * x for x in point.interval)), [factor * x for x in point.values])
        for at, point in points.items()
    }


def _point(runs: list[store.Run], name: str) -> Point | None:
    if not runs:
        return None
    if name in runs[0].record["history"]:
        values = [run.record["history"][name][-1] for run in runs]
        return Point(metrics.Interval(float(np.mean(values)), min(values), max(values)), values)
    return Point(of_runs(name, [(1.0, runs)]).interval, [run.metric(name).value for run in runs])

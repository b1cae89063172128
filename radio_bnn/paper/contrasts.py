"""Contrasts between groups of stored runs, paired over training seeds and galaxies; curves along one setting."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeVar

import numpy as np

from radio_bnn.config import Config
from radio_bnn.evaluation.metrics import Metric, resolve
from radio_bnn.evaluation.resampling import Interval, contrast
from radio_bnn.runs.records import Run, find

Runs = Sequence[Run | None]
Key = TypeVar("Key")


class Contrast(NamedTuple):
    """A contrast and the number of ``runs`` of each group on which it stands; ``interval`` None: not run."""

    interval: Interval | None
    runs: int

    def __format__(self, spec: str) -> str:
        return "not run" if self.interval is None else f"{self.interval:{spec}}"


class Point(NamedTuple):
    """One point of a curve: a value with its interval, and the values of the single seeds."""

    interval: Interval
    values: list[float]


def stored(configs: Sequence[Config]) -> list[Run | None]:
    """The stored runs of ``configs``, in order; None where a run is not stored."""
    return [find(config) for config in configs]


def along(groups: Mapping[Key, Sequence[Config]]) -> dict[Key, list[Run | None]]:
    """``stored`` of each group: {key: runs}, such as {T: runs} of ``experiments.ladder``."""
    return {key: stored(configs) for key, configs in groups.items()}


def stored_terms(terms: Sequence[tuple[float, Sequence[Config]]]) -> list[tuple[float, list[Run | None]]]:
    """``stored`` of each group of ``experiments.terms``, with its factor, for ``of_runs``."""
    return [(factor, stored(configs)) for factor, configs in terms]


def of_runs(
    statistic: str | Metric, terms: Sequence[tuple[float, Runs]], *, scored: str | tuple[str, str] = "test"
) -> Contrast:
    """``resampling.contrast`` of stored runs on the seeds for which every group has its run.

    ``scored`` names a set of galaxies, or for ``metrics.auroc_of`` two, (a, b), of which b should be less certain; they
    are resampled within each. Raises ValueError for an unknown statistic, one that does not fit ``scored``, and runs
    that score different galaxies.
    """
    metric, sets = resolve(statistic), (scored,) if isinstance(scored, str) else scored
    if len(sets) != 1 + metric.between_sets:
        raise ValueError(f"scored={scored!r}: metrics.auroc_of takes two sets of galaxies, any other statistic one")
    whole = [row for row in zip(*(runs for _, runs in terms), strict=True) if None not in row]
    if not whole:
        return Contrast(None, 0)
    labels = [shared_labels([run.labels[name] for row in whole for run in row]) for name in sets]
    member = np.repeat(np.arange(len(sets)), [len(of_set) for of_set in labels])
    logits = [[np.concatenate([run.logits[name] for name in sets], axis=1) for run in row] for row in whole]
    paired = [(factor, group) for (factor, _), group in zip(terms, zip(*logits, strict=True), strict=True)]
    found = contrast(metric, paired, member if metric.between_sets else labels[0], strata=member)
    return Contrast(found, len(whole))


def shared_labels(labels: Sequence[np.ndarray]) -> np.ndarray:
    """The labels (N,) that all runs share, int64. Raises ValueError if the runs score different galaxies."""
    if any(not np.array_equal(other, labels[0]) for other in labels):
        raise ValueError("the runs score different galaxies: they cannot be paired")
    return labels[0].astype(np.int64)


def curve(by_value: Mapping[float, Runs], name: str) -> dict[float, Point | None]:
    """A metric of the test galaxies, or the last epoch's value of a history, at each setting; None where not run.

    Intervals of metrics are 95 % over galaxies and seeds; those of a history are the range of the seeds.
    """
    return {value: _point([run for run in runs if run is not None], name) for value, runs in by_value.items()}


def scaled(points: Mapping[float, Point | None], factor: float) -> dict[float, Point | None]:
    """The curve with every value times ``factor`` > 0, such as a number of weights."""
    return {
        at: point and Point(Interval(*(factor * x for x in point.interval)), [factor * x for x in point.values])
        for at, point in points.items()
    }


def _point(runs: list[Run], name: str) -> Point | None:
    if not runs:
        return None
    if name in runs[0].content["history"]:
        values = [run.content["history"][name][-1] for run in runs]
        return Point(Interval(float(np.mean(values)), min(values), max(values)), values)
    return Point(of_runs(name, [(1.0, runs)]).interval, [run.metric(name).value for run in runs])

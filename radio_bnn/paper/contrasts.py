"""Contrasts of stored runs on the folds that they share, paired by galaxy; curves along one setting.

Groups of runs have one run for each fold, in the order of the folds, or None where it is not stored.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

import numpy as np

from radio_bnn.config import Config
from radio_bnn.evaluation import crossval
from radio_bnn.evaluation.crossval import Estimate
from radio_bnn.evaluation.metrics import METRICS
from radio_bnn.evaluation.reliability import rejection_area
from radio_bnn.evaluation.resampling import Interval
from radio_bnn.paper import tables
from radio_bnn.runs.records import Run, find

Runs = Sequence[Run | None]
Key = TypeVar("Key")
DOUBTED, TRUSTED = "uncertain", "test"


class Point(NamedTuple):
    """One point of a curve: a value with its interval, and the values of the single folds."""

    interval: Interval
    values: list[float]


class Side(NamedTuple):
    """One side of a contrast: of every fold logits (S, N, 2), labels (N,), and which galaxies they are, (N,)."""

    logits: list[np.ndarray]
    labels: list[np.ndarray]
    places: list[np.ndarray]


def stored(configs: Sequence[Config], kind: type = Run) -> list[Any]:
    """The stored records of ``configs``, in order; None where one is not stored."""
    return [find(config, kind) for config in configs]


def along(groups: Mapping[Key, Sequence[Config]]) -> dict[Key, list[Run | None]]:
    """``stored`` of each group, such as {T: runs}."""
    return {key: stored(configs) for key, configs in groups.items()}


def lacking(*groups: Sequence[Any]) -> int:
    """How many records the groups lack."""
    return sum(record is None for group in groups for record in group)


def shared(*groups: Sequence[Any]) -> list[list[Any]]:
    """The groups on the folds that all of them have, at most as many as the shortest has."""
    rows = [row for row in zip(*groups, strict=False) if None not in row]
    return [list(column) for column in zip(*rows, strict=True)] if rows else [[] for _ in groups]


def side(runs: Sequence[Run], scored: str = TRUSTED) -> Side:
    """What ``runs`` predict for one of their sets."""
    return Side(
        [run.logits_of(scored) for run in runs],
        [run.labels[scored].astype(np.int64) for run in runs],
        [run.galaxies[scored] for run in runs],
    )


def test_share(runs: Sequence[Run]) -> float:
    """Test galaxies over training galaxies, the mean of the folds."""
    return float(np.mean([len(run.labels[TRUSTED]) / run.content["reached"]["galaxies"] for run in runs]))


@dataclass
class Comparison:
    """Sides of contrasts on the same galaxies of the same folds, each by its name."""

    sides: dict[str, Side]
    share: float
    keep: Callable[[np.ndarray], np.ndarray] | None = None
    folds: int = field(init=False)

    def __post_init__(self) -> None:
        first = next(iter(self.sides.values()))
        self.folds = len(first.logits)
        for name, other in self.sides.items():
            for a, b in zip(first.places, other.places, strict=True):
                if not np.array_equal(a, b):
                    raise ValueError(
                        f"{name} scores other galaxies than {next(iter(self.sides))}: they cannot be paired"
                    )

    def estimate(self, statistic: Any, **factors: float) -> Estimate:
        """sum of factor x statistic over the sides named; of a single one with ``factors`` 1 its value."""
        chosen = {name: self.sides[name] for name in factors}
        kept = [
            np.ones(len(p), bool) if self.keep is None else self.keep(p) for p in next(iter(chosen.values())).places
        ]
        used = [k for k, mask in enumerate(kept) if mask.any()]
        terms = [(factors[name], [[found.logits[k][:, kept[k]]] for k in used]) for name, found in chosen.items()]
        labels = [next(iter(chosen.values())).labels[k][kept[k]] for k in used]
        return crossval.pooled(statistic, terms, labels, test_share=self.share)

    def interval(self, statistic: Any, **factors: float) -> Interval:
        """The interval of ``estimate``; of a difference of errors the score interval, where that is wider.

        A bootstrap can't see discordant pairs that did not happen.
        """
        found = self.estimate(statistic, **factors).interval()
        if statistic != "error_percent" or sorted(factors.values()) != [-1.0, 1.0]:
            return found
        minus, plus = sorted(factors, key=factors.get)
        return crossval.widest(found, crossval.paired_error_interval(self._wrong(plus), self._wrong(minus)))

    def _wrong(self, name: str) -> np.ndarray:
        """Which galaxies of all folds a side misclassifies."""
        side = self.sides[name]
        of = METRICS["error_percent"].columns
        return np.concatenate([of(x, y)[0] > 0 for x, y in zip(side.logits, side.labels, strict=True)])


def compare(keep: Callable[[np.ndarray], np.ndarray] | None = None, **groups: Runs) -> Comparison | None:
    """The groups of runs on the folds that all have; None where there is no such fold."""
    found = shared(*groups.values())
    if not found[0]:
        return None
    return Comparison({n: side(runs) for n, runs in zip(groups, found, strict=True)}, test_share(found[0]), keep)


def curve(by_value: Mapping[float, Runs], name: str) -> dict[float, Point | None]:
    """A metric of the held-out galaxies, or what training reached, at each setting; None where not run.

    ``name``: a metric of ``metrics.METRICS``, or "train_nll" and "kl_per_weight" of the last epoch. Intervals of
    metrics are those of ``crossval.pooled``, those of a training the range of the folds.
    """
    return {value: point([run for run in runs if run is not None], name) for value, runs in by_value.items()}


def curves(ladders: Mapping[str, Mapping[float, Runs]], name: str) -> dict[str, dict[float, Point | None]]:
    """``curve`` of each of several ladders, {title: {value: point}}."""
    return {title: curve(by_value, name) for title, by_value in ladders.items()}


def point(runs: Sequence[Run], name: str) -> Point | None:
    """The point of a curve that ``runs`` make; None without any."""
    if not runs:
        return None
    if name in runs[0].content["history"]:
        values = [run.content["history"][name][-1] for run in runs]
        return Point(Interval(float(np.mean(values)), min(values), max(values)), values)
    estimate = compare(runs=runs).estimate(name, runs=1.0)
    return Point(estimate.interval(0.95), list(map(float, estimate.by_fold)))


def scaled(points: Mapping[float, Point | None], factor: float) -> dict[float, Point | None]:
    """The curve with every value times ``factor`` > 0, such as a number of weights."""
    return {
        at: point and Point(Interval(*(factor * x for x in point.interval)), [factor * x for x in point.values])
        for at, point in points.items()
    }


# Tables


def rejection_rows(runs: Runs, orders: Mapping[str, str]) -> list[list[str]]:
    """Area under the rejection curve, error in percent and NLL in nats, of every order {name: title}, in words."""
    held, formats = compare(runs=runs), {"error_percent": ".1f", "nll": ".3f"}
    return [
        [title, *(f"{held.estimate(rejection_area(m, by), runs=1.0).interval():{spec}}" for m, spec in formats.items())]
        for by, title in orders.items()
    ]


def difference_table(groups: Mapping[str, Runs], columns: Mapping[str, tuple[Any, str]] = tables.DIFFERENCES) -> str:
    """Each group minus the first on the same galaxies and folds, with intervals, as Markdown."""
    (reference, base), *others = groups.items()
    rows = []
    for name, runs in others:
        found = compare(other=runs, base=base)
        rows.append([name, *_cells(found, columns, other=1.0, base=-1.0), str(found.folds) if found else "0"])
    return tables.markdown([f"minus {reference}", *columns, "folds"], rows)


def _cells(found: Comparison | None, columns: Mapping[str, tuple[Any, str]], **factors: float) -> list[str]:
    if found is None:
        return ["not run"] * len(columns)
    intervals = {title: found.interval(statistic, **factors) for title, (statistic, _) in columns.items()}
    return [tables.unbroken(intervals[title], spec) for title, (_, spec) in columns.items()]
